"""The operator API: who is let in, what is refused, and that every act is done and written down."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from relayer.acts import Pause, PauseKind, Selection, Target, Verb
from relayer.adapter import Refuse
from relayer.errors import ConfigInvalid, IllegalTransition
from relayer.message import Reason, Status
from relayer.ops.operator.door import FAILURES_BURST, NOTES_BURST, REQUESTS_BURST, SLOWED_BURST
from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.operator_world import (
    NEW_TOKEN,
    OLD_TOKEN,
    QUOTED_TOKEN,
    ROUTE,
    SIGNER,
    OperatorWorld,
)
from tests.redis.sample_facts import TEN, id_of, message
from tests.redis.servers import Server

pytestmark = pytest.mark.redis

HOLD = f"messages/{id_of(1)}/hold"


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the store is tested on a cluster by itself."""
    return redis_server


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock) -> AsyncIterator[OperatorWorld]:
    """Messages 1 to 5, of which 1 is dead, and the API before them."""
    await store.save_facts(leases.follower, [message(number) for number in range(1, 6)])
    refuse = Refuse(Reason.INVALID_MESSAGE, "no good", dead=True)
    await store.note_refused(leases.lane, [(id_of(1), refuse, {"revert": "0x01"})])
    async with OperatorWorld(store, clock).served() as served:
        yield served


async def statuses(store: Store) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, count in (await store.counts()).items():
        found[key.status.value] = found.get(key.status.value, 0) + count
    return found


# --- Show 3: who is not let in ----------------------------------------------------------------

STRANGERS = [
    ([], 401, "no_token"),
    ([("Authorization", "Bearer " + "x" * 36)], 401, "wrong_token"),
    ([("Authorization", f"Bearer {NEW_TOKEN}x")], 401, "wrong_token"),
    ([("Authorization", f"Bearer {NEW_TOKEN[:-1]}")], 401, "wrong_token"),
    ([("Authorization", "Bearer ")], 401, "no_token"),
    ([("Authorization", f"Basic {NEW_TOKEN}")], 401, "no_token"),
    ([("Authorization", NEW_TOKEN)], 401, "no_token"),
    ([("Authorization", f"Bearer {NEW_TOKEN}")] * 2, 400, "many_tokens"),
    ([("Authorization", f"Bearer {NEW_TOKEN}"), ("Authorization", "x")], 400, "many_tokens"),
]


@pytest.mark.parametrize(("headers", "status", "why"), STRANGERS)
async def test_strangers_are_refused_counted_logged_and_change_nothing(
    world: OperatorWorld, headers: list[tuple[str, str]], status: int, why: str
) -> None:
    """Whatever they ask for: an act, a page that exists, and one that does not."""
    before = await statuses(world.store)
    with structlog.testing.capture_logs() as logs:
        for method, path in (("POST", HOLD), ("GET", "config"), ("POST", "nowhere")):
            assert (await world.ask(method, path, headers=headers))[0] == status
        drop = {"status": "waiting"}
        assert (await world.ask("POST", "messages/drop", drop, headers=headers))[0] == status
    assert await statuses(world.store) == before
    assert world.counted("relayer_operator_refusals_total", why=why) == 4
    refused = [line for line in logs if line["event"] == "operator_refused"]
    assert [line["why"] for line in refused] == [why] * 4
    assert [line["remote"] for line in refused] == ["127.0.0.1"] * 4
    assert (await world.store.acts()).acts == ()
    noted = (await world.store.acts(strangers=True)).acts
    assert [act.outcome for act in noted] == ["refused"] * 4
    assert all(secret not in str(logs) + str(noted) for secret in (NEW_TOKEN, OLD_TOKEN))


async def test_a_token_in_the_query_is_no_token(world: OperatorWorld) -> None:
    """It would stand in the logs of every proxy; ours does not have it either."""
    with structlog.testing.capture_logs() as logs:
        url = f"/v1/operator/config?token={NEW_TOKEN}"
        async with world.session.get(url) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert NEW_TOKEN not in str(logs) + str(await world.store.acts(strangers=True))


async def test_one_who_guesses_is_limited_and_does_not_lock_operators_out(
    world: OperatorWorld,
) -> None:
    """From the same address the right token is still let in."""
    wrong = {"headers": {"Authorization": "Bearer " + "y" * 40}}
    url = "/v1/operator/config"
    answers = [
        (await world.session.get(url, **wrong)).status
        for _ in range(FAILURES_BURST + 5)  # type: ignore[arg-type]
    ]
    assert answers == [401] * FAILURES_BURST + [429] * 5
    assert world.counted("relayer_operator_refusals_total", why="too_many_failures") == 5
    assert (await world.ask("GET", "config"))[0] == 200


async def test_a_flood_of_strangers_fills_neither_log_nor_store(world: OperatorWorld) -> None:
    """All are counted; told one by one is only so many."""
    many = NOTES_BURST + 40
    with structlog.testing.capture_logs() as logs:
        for _ in range(many):
            await world.session.post("/v1/operator/reload")
    assert world.counted("relayer_operator_refusals_total") == many
    assert len([line for line in logs if line["event"] == "operator_refused"]) == NOTES_BURST
    assert len((await world.store.acts(strangers=True, limit=500)).acts) == NOTES_BURST


async def test_over_the_limit_an_operator_is_refused_and_nothing_changes(
    world: OperatorWorld,
) -> None:
    """A script that runs away is told to slow down, and its last request was not done."""
    headers = {"Authorization": f"Bearer {NEW_TOKEN}"}
    for _ in range(REQUESTS_BURST):
        async with world.session.get("/v1/operator/log-level", headers=headers) as answer:
            assert answer.status == 200
    before = await statuses(world.store)
    with structlog.testing.capture_logs() as logs:
        async with world.session.post(f"/v1/operator/{HOLD}", headers=headers) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert await statuses(world.store) == before
    assert world.counted("relayer_operator_refusals_total", why="too_many_requests") == 1
    assert [line["detail"] for line in logs] == ["too_many_requests"]
    (act,) = (await world.store.acts()).acts
    assert (act.who, act.outcome, act.detail) == ("new", "refused", "too_many_requests")
    world.seconds += 1
    assert (await world.ask("GET", "log-level"))[0] == 200


async def test_a_script_that_runs_away_fills_no_log_and_keeps_no_other_token_out(
    world: OperatorWorld,
) -> None:
    """A colleague gets in meanwhile, and the audit log has room for what people do."""
    headers = {"Authorization": f"Bearer {NEW_TOKEN}"}
    for _ in range(REQUESTS_BURST + 50):
        async with world.session.post(f"/v1/operator/{HOLD}x", headers=headers) as answer:
            last = answer.status
    assert last == 429
    assert world.counted("relayer_operator_refusals_total", why="too_many_requests") == 50
    slowed = [one for one in (await world.store.acts(limit=500)).acts if "too_many" in one.detail]
    assert len(slowed) == SLOWED_BURST
    old = {"Authorization": f"Bearer {OLD_TOKEN}"}
    async with world.session.get("/v1/operator/pauses", headers=old) as answer:
        assert answer.status == 200


async def test_strangers_starve_no_operator_and_hide_none(world: OperatorWorld) -> None:
    """However many are refused: who has a token is let in, and is written down when slowed."""
    for _ in range(REQUESTS_BURST * 3):
        await world.session.get("/v1/operator/config", headers={"Authorization": "Bearer no"})
    headers = {"Authorization": f"Bearer {NEW_TOKEN}"}
    codes = [
        (await world.session.get("/v1/operator/pauses", headers=headers)).status
        for _ in range(REQUESTS_BURST + 1)
    ]
    assert codes == [200] * REQUESTS_BURST + [429]
    assert [act.who for act in (await world.store.acts()).acts] == ["new"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("pause", {"lane": "ten", "why": f"see {OLD_TOKEN} and https://status.example/incident/7"}),
        ("pause", {"lane": "ten", "why": f"not {QUOTED_TOKEN}"}),
        ("pause", {"lane": "ten", "why": f"not {QUOTED_TOKEN}", "unknown": [QUOTED_TOKEN]}),
        ("pause", {"lane": "x" * 80 + QUOTED_TOKEN}),
        ("pause", [QUOTED_TOKEN]),
        ("messages/hold", {"reason": "x" * 80 + QUOTED_TOKEN}),
        ("pause", {"lane": f"ten{OLD_TOKEN}"}),
        ("pause", {"lane": "ten", OLD_TOKEN: 1}),
        ("resume", {"signer": OLD_TOKEN}),
        (f"messages/{OLD_TOKEN}/hold", {}),
        ("messages/hold", {"route": OLD_TOKEN}),
        (f"webhooks/{OLD_TOKEN}/retry", {}),
        (OLD_TOKEN, {}),
    ],
)
async def test_a_secret_in_the_wrong_place_is_neither_kept_logged_nor_answered(
    world: OperatorWorld, path: str, body: Any
) -> None:
    """Pasted where it does not belong, in plain or escaped; what else was said stays."""
    for escape in (False, True):
        text = json.dumps(body)
        text = text.replace("old-", "\u006fld-") if escape else text
        headers = [
            ("Authorization", f"Bearer {NEW_TOKEN}"),
            ("Content-Type", "application/json"),
        ]
        with structlog.testing.capture_logs() as logs:
            _, answer = await world.ask("POST", path, headers=headers, data=text)
        kept = str(await world.store.pauses()) + str(await world.store.acts()) + str(logs)
        assert "0123456789abcdef" not in kept + str(answer)
        if "why" in body and OLD_TOKEN in body["why"]:
            assert "see [hidden] and https://status.example/incident/7" in kept


async def test_what_is_no_json_is_not_kept(world: OperatorWorld) -> None:
    """Nobody can tell what is a secret in it: a text may be escaped in many ways."""
    for data in ('{"why": "' + QUOTED_TOKEN.replace("q", "\\u0071"), QUOTED_TOKEN):
        headers = [("Authorization", f"Bearer {NEW_TOKEN}"), ("Content-Type", "application/json")]
        with structlog.testing.capture_logs() as logs:
            code, answer = await world.ask("POST", "pause", headers=headers, data=data)
        assert code == 400
        assert "0123456789abcdef" not in str(await world.store.acts()) + str(logs) + str(answer)
    assert "bytes that are no JSON" in (await world.store.acts()).acts[0].arguments


@pytest.mark.parametrize(
    ("kind", "data", "kept"),
    [
        ("application/json", "", ""),
        ("application/json", "{}", ""),
        ("text/plain", "{}", "2 bytes of text/plain"),
        ("application/json", "{", "1 bytes that are no JSON"),
        ("application/json", "[]", "2 bytes that are no JSON object"),
    ],
)
async def test_the_audit_log_says_what_a_body_was(
    world: OperatorWorld, kind: str, data: str, kept: str
) -> None:
    """An empty object says nothing, and is not the same as what could not be read."""
    headers = [("Authorization", f"Bearer {NEW_TOKEN}"), ("Content-Type", kind)]
    await world.ask("POST", f"messages/{id_of(2)}/hold", headers=headers, data=data)
    assert (await world.store.acts()).acts[0].arguments == kept


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ('{"lane": "one", "lane": "ten"}', "lane"),
        ('{"lane": "ten", "why": "a", "wh\\u0079": "b"}', "why"),
        ('{"lane": "ten", "why": {"deep": 1, "deep": 2}}', "deep"),
    ],
)
async def test_a_name_that_is_given_twice_is_refused(
    world: OperatorWorld, data: str, name: str
) -> None:
    """Whoever looks at the request before us may take the other one for what counts."""
    headers = [("Authorization", f"Bearer {NEW_TOKEN}"), ("Content-Type", "application/json")]
    code, answer = await world.ask("POST", "pause", headers=headers, data=data)
    error = answer["error"]
    assert (code, error["field"], error["text"]) == (400, name, "is given twice")
    assert await world.store.pauses() == []
    assert f"with '{name}' twice" in (await world.store.acts()).acts[0].arguments


async def test_two_tokens_are_valid_until_one_is_taken_away(world: OperatorWorld) -> None:
    """Rotation: both, then only the new one; the audit log tells which was used."""
    old = [("Authorization", f"bearer {OLD_TOKEN}")]
    assert (await world.ask("POST", f"messages/{id_of(2)}/hold", headers=old))[0] == 200
    world.tokens.replace({"new": NEW_TOKEN})
    assert (await world.ask("POST", f"messages/{id_of(3)}/hold", headers=old))[0] == 401
    assert (await world.ask("POST", f"messages/{id_of(3)}/hold"))[0] == 200
    assert [act.who for act in (await world.store.acts()).acts] == ["new", "old"]


# --- what operators do ------------------------------------------------------------------------


async def test_verbs_by_id_are_done_and_written_down(world: OperatorWorld) -> None:
    """Each answers the message as it is then, and leaves one line with who, what and outcome."""
    for verb, status in (
        ("retry", "waiting"),
        ("hold", "held"),
        ("release", "waiting"),
        ("drop", "dead"),
    ):
        code, body = await world.ask("POST", f"messages/{id_of(1)}/{verb}")
        assert (code, body["status"]) == (200, status)
    acts = (await world.store.acts()).acts
    assert [act.what.rpartition("/")[2] for act in acts] == ["drop", "release", "hold", "retry"]
    assert {(act.who, act.remote, act.outcome) for act in acts} == {("new", "127.0.0.1", "ok")}
    assert acts[0].detail == "dead (dropped_by_operator)"
    assert world.counted("relayer_operator_acts_total", outcome="ok") == 4


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"messages/{id_of(1)}/hold", 409, "it is dead"),
        (f"messages/{id_of(99)}/hold", 404, "no message"),
        ("messages/0x12/hold", 400, "64 hex digits"),
        (f"messages/{id_of(1)}/explode", 404, "not found"),
        (f"messages/{id_of(1)}/hold?force=1", 400, "unknown parameter"),
    ],
)
async def test_refused_acts_are_written_down_too(
    world: OperatorWorld, path: str, status: int, text: str
) -> None:
    """An operator's mistake is answered with its cause, and is in the audit log as refused."""
    before = await statuses(world.store)
    code, body = await world.ask("POST", path)
    assert (code, text in body["error"]["text"]) == (status, True), body
    assert await statuses(world.store) == before
    (act,) = (await world.store.acts()).acts
    assert (act.outcome, text in act.detail) == ("refused", True)
    assert world.counted("relayer_operator_acts_total", outcome="refused") == 1


async def test_verbs_by_filter_say_how_many(world: OperatorWorld) -> None:
    """A dry run first, then all; the arguments are in the audit log."""
    wanted: dict[str, Any] = {"status": "waiting", "origin": "one", "destination": 10}
    code, told = await world.ask("POST", "messages/hold", {**wanted, "dry_run": True})
    assert (code, told["matched"], told["changed"], told["after"]) == (200, 4, 0, None)
    code, told = await world.ask("POST", "messages/hold", wanted)
    assert (code, told["matched"], told["changed"]) == (200, 4, 4)
    assert await statuses(world.store) == {"held": 4, "dead": 1}
    newest = (await world.store.acts()).acts[0]
    assert json.loads(newest.arguments) == wanted
    assert newest.detail == "matched 4, changed 4"


async def test_dead_letters_are_listed_with_their_evidence(world: OperatorWorld) -> None:
    """What a person needs to decide is in the list."""
    code, body = await world.ask("GET", f"dead?route={ROUTE}&reason=invalid_message&limit=5")
    assert code == 200
    (letter,) = body["messages"]
    assert (letter["id"], letter["evidence"]) == (id_of(1), {"revert": "0x01"})
    assert (await world.ask("GET", "dead?reason=undeliverable"))[1]["messages"] == []


async def test_pausing_and_resuming(world: OperatorWorld) -> None:
    """Twice is once; who and why is told; the engine looks at once."""
    code, body = await world.ask("POST", "pause", {"lane": "ten", "why": "maintenance"})
    assert (code, body["changed"], body["chain"], body["who"]) == (200, True, "ten", "new")
    assert (await world.ask("POST", "pause", {"lane": TEN}))[1]["changed"] is False
    await world.ask("POST", "pause", {"route": str(ROUTE)})
    await world.ask("POST", "pause", {"signer": "0x" + "AB" * 20})
    _, listed = await world.ask("GET", "pauses")
    assert [(one["kind"], one["name"], one["why"]) for one in listed["pauses"]] == [
        ("lane", "10", "maintenance"),
        ("route", str(ROUTE), ""),
        ("signer", "0x" + "ab" * 20, ""),
    ]
    assert (await world.ask("POST", "resume", {"lane": 10}))[1]["changed"] is True
    assert (await world.ask("POST", "resume", {"lane": "10"}))[1]["changed"] is False
    assert [pause.target for pause in await world.store.pauses()] == [
        Target.route(ROUTE),
        Target.signer("0x" + "ab" * 20),  # type: ignore[arg-type]
    ]
    assert world.process.looks == 6


async def test_reading_again_is_asked_of_the_process(world: OperatorWorld) -> None:
    """A range or a transaction is handed on as it was given."""
    code, body = await world.ask("POST", "backfill", {"chain": "ten", "first": 5, "last": 9})
    assert (code, body) == (202, {"chain": "ten", "first": 5, "last": 9})
    await world.ask("POST", "backfill", {"chain": "ten", "tx": id_of(7)})
    assert world.process.asked[1]["tx"] == id_of(7)
    assert len((await world.ask("GET", "backfills"))[1]["backfills"]) == 2
    assert (await world.ask("POST", "backfill", {"chain": "x", "tx": id_of(7)}))[0] == 404
    by_id = {"chain": 10, "first": 6, "last": 7}
    assert (await world.ask("POST", "backfill", by_id))[1] == {**by_id, "chain": "ten"}
    code, told = await world.ask("POST", "backfill/cancel", {**by_id, "chain": "10"})
    assert (code, told["chain"], told["cancelled"]) == (200, "ten", True)
    code, told = await world.ask("POST", "backfill/cancel", by_id)
    assert (code, "no open range" in told["error"]["text"]) == (404, True)


async def test_webhooks_are_shown_and_told_again(world: OperatorWorld) -> None:
    """What the command line can, the API can."""
    _, told = await world.ask("GET", "webhooks")
    assert told == {
        "webhooks": [{"name": "shop", "pending": 0, "dead": 0, "lost": 0}],
        "dead_letters": [],
    }
    assert (await world.ask("POST", "webhooks/shop/retry"))[1] == {
        "webhook": "shop",
        "told_again": 0,
    }


async def test_a_signer_is_taken_at_its_word_where_not_all_are_known(world: OperatorWorld) -> None:
    """A typo is refused with what was meant; a key service that is away stops nobody."""
    typo = SIGNER[:-1] + "c"
    code, told = await world.ask("POST", "pause", {"signer": typo})
    assert (code, f"did you mean {SIGNER}" in told["error"]["text"]) == (404, True)
    world.process.unread = ("chains.ten.signers[1]",)
    code, told = await world.ask("POST", "pause", {"signer": typo})
    assert (code, "chains.ten.signers[1]" in told["warning"]) == (200, True)
    assert "warning" not in (await world.ask("POST", "pause", {"signer": SIGNER}))[1]


@pytest.mark.parametrize("kind", ["chain", "lane", "route", "signer"])
async def test_what_is_configured_no_more_can_be_resumed(world: OperatorWorld, kind: str) -> None:
    """And not be paused anew."""
    name = {"route": "gone:1>99", "signer": "0x" + "ee" * 20}.get(kind, "99")
    target = Target(PauseKind(kind), name)
    await world.store.pause(Pause(target, "ops", "", world.store.now()))
    assert (await world.ask("POST", "resume", {kind: name}))[1]["changed"] is True
    code, told = await world.ask("POST", "resume", {kind: name})
    assert (code, "paused: none" in told["error"]["text"]) == (404, True)
    assert (await world.ask("POST", "pause", {kind: name}))[0] == 404


WORDED = [
    ("messages/drop", {}, None, "give at least one of status, reason, route"),
    ("messages/drop", {"after": "1"}, None, "give at least one of status"),
    ("messages/drop", {"status": "wating"}, "status", "must be 'seen'"),
    ("messages/drop", {"staus": "waiting"}, "staus", "did you mean status?"),
    ("messages/drop", {"status": "waiting", "sender": "0x1"}, "sender", "40 hex digits"),
    ("messages/drop", {"status": "waiting", "origin": 1.5}, "origin", "a chain's name or id"),
    ("pause", {"lane": True}, "lane", "a chain's name or id"),
    ("pause", {"lane": []}, "lane", "a chain's name or id"),
    ("pause", {"lane": "ten", "why": 5}, "why", "must be text"),
    ("pause", {"lane": "ten", "why": "x" * 201}, "why", "at most 200 characters"),
    ("backfill", {"chain": "ten", "first": -1, "last": 5}, "first", "must be 0 or more"),
    ("backfill", {"chain": "ten", "first": "1", "last": 5}, "first", "must be a whole number"),
    ("backfill", {"first": 1, "last": 5}, "chain", "is required"),
    ("backfill", {"chain": "ten", "tx": "0x1"}, "tx", "64 hex digits"),
    ("pause", [], None, "must be a JSON object"),
]


@pytest.mark.parametrize(("path", "body", "field", "text"), WORDED)
async def test_a_mistake_is_told_with_field_and_way_out_in_our_words(
    world: OperatorWorld, path: str, body: Any, field: str | None, text: str
) -> None:
    """Nothing of the library that found it shows."""
    code, answer = await world.ask("POST", path, body)
    error = answer["error"]
    assert (code, error.get("field"), text in error["text"]) == (400, field, True), error
    assert not {"str", "int", "Input", "String", "valid", "pattern"} & set(error["text"].split())


async def test_the_log_level_is_read_and_set(world: OperatorWorld) -> None:
    """The former level is told, to be put back."""
    assert await world.ask("GET", "log-level") == (
        200,
        {"level": "info", "replica": "host:1"},
    )
    assert await world.ask("PUT", "log-level", {"level": "debug"}) == (
        200,
        {"level": "debug", "before": "info", "replica": "host:1"},
    )
    assert (await world.ask("PUT", "log-level", {"level": "loud"}))[0] == 400
    assert world.process.level == "debug"


async def test_a_refused_reload_names_the_field(world: OperatorWorld) -> None:
    """What is wrong with the file is the answer, and a busy process says so."""
    assert (await world.ask("POST", "reload"))[1] == {"reloaded": True, "changes": ["policy"]}
    world.process.refusal = ConfigInvalid("chains.x.id: must be a whole number (got 'one')")
    code, body = await world.ask("POST", "reload")
    assert (code, body["error"]["text"]) == (400, str(world.process.refusal))
    world.process.refusal = IllegalTransition("a reload is under way")
    assert (await world.ask("POST", "reload"))[0] == 409
    _, log = await world.ask("GET", "audit?limit=2")
    assert [act["outcome"] for act in log["acts"]] == ["refused", "refused"]


async def test_the_audit_log_is_read_in_pages_and_reading_leaves_no_line(
    world: OperatorWorld,
) -> None:
    """Newest first; questions are no acts."""
    for number in (2, 3, 4):
        await world.ask("POST", f"messages/{id_of(number)}/hold")
    _, first = await world.ask("GET", "audit?limit=2")
    _, rest = await world.ask("GET", f"audit?limit=2&after={first['after']}")
    shown = [act["what"] for act in (*first["acts"], *rest["acts"])]
    assert shown == [f"POST /v1/operator/messages/{id_of(n)}/hold" for n in (4, 3, 2)]
    assert first["acts"][0].keys() == {
        *("at", "who", "remote", "what", "arguments", "outcome", "detail")
    }
    await world.ask("GET", "config", headers=[])
    assert len((await world.ask("GET", "audit?strangers=true"))[1]["acts"]) == 1


# --- hostile requests of somebody who has a token ----------------------------------------------

HOSTILE: list[tuple[str, bytes]] = [
    ("messages/drop", b"{}"),
    ("messages/drop", b'{"dry_run": false}'),
    ("messages/drop", b'{"dry_run": true, "after": "1 0x"}'),
    ("messages/drop", b'{"status": "delivered"}'),
    ("messages/drop", b'{"status": "waiting", "dry_run": "no"}'),
    ("messages/drop", b'{"status": "waiting", "dry_run": 0}'),
    ("messages/drop", b'{"status": ["waiting"]}'),
    ("messages/drop", b'{"status": "waiting", "limit": 5}'),
    ("messages/drop", b'{"status": "waiting", "after": "soon"}'),
    ("messages/drop", b'{"status": "waiting", "route": "*"}'),
    ("messages/drop", b'{"status": "waiting", "route": "a:1>b"}'),
    ("messages/drop", b'{"status": "waiting", "origin": "nowhere"}'),
    ("messages/drop", b'{"status": "waiting", "origin": 1.5}'),
    ("messages/drop", b'{"status": "waiting", "origin": true}'),
    ("messages/drop", b'{"status": "waiting", "sender": "0x12"}'),
    ("messages/drop", b'{"status": "waiting", "bridge": ""}'),
    ("messages/drop", b'{"status": "waiting"'),
    ("messages/drop", b'{"status": "waiting"} trailing'),
    ("messages/drop", b'\xff\xfe{"status": "waiting"}'),
    ("messages/drop", b"null"),
    ("messages/drop", b"[]"),
    ("messages/drop", b'"waiting"'),
    ("messages/drop", b"[" * 10_000),
    ("messages/drop", b'{"status": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
    (f"messages/{id_of(2)}/drop", b'{"force": true}'),
    ("pause", b"{}"),
    ("pause", b'{"chain": "one", "lane": "ten"}'),
    ("pause", b'{"chain": "nowhere"}'),
    ("pause", b'{"chain": null}'),
    ("pause", b'{"route": "hyper:1>99"}'),
    ("pause", b'{"signer": "everybody"}'),
    ("pause", b'{"lane": "ten", "why": "' + b"x" * 201 + b'"}'),
    ("pause", b'{"lane": "ten", "who": "somebody else"}'),
    ("backfill", b'{"chain": "ten"}'),
    ("backfill", b'{"chain": "ten", "first": 1}'),
    ("backfill", b'{"chain": "ten", "first": 9, "last": 1}'),
    ("backfill", b'{"chain": "ten", "first": -1, "last": 1}'),
    ("backfill", b'{"chain": "ten", "first": 1, "last": 9223372036854775808}'),
    ("backfill", b'{"chain": "ten", "first": "1", "last": "2"}'),
    ("backfill", b'{"chain": "ten", "first": 1, "last": 2, "tx": "0x12"}'),
    ("backfill", b'{"chain": "ten", "tx": "0x12"}'),
    ("backfill", b'{"chain": 11, "first": 1, "last": 2}'),
    ("backfill", b'{"chain": true, "first": 1, "last": 2}'),
    ("backfill/cancel", b'{"chain": "ten", "first": 1}'),
    ("backfill/cancel", b'{"chain": "ten", "first": 1, "last": 2}'),
    ("webhooks/nobody/retry", b"{}"),
    ("reload", b'{"path": "/etc/passwd"}'),
]


@pytest.mark.parametrize(("path", "body"), HOSTILE)
async def test_hostile_bodies_are_refused_and_change_nothing(
    world: OperatorWorld, path: str, body: bytes
) -> None:
    """A clear 4xx in our shape, a line in the audit log, and everything as it was."""
    before = await statuses(world.store)
    headers = [
        ("Authorization", f"Bearer {NEW_TOKEN}"),
        ("Content-Type", "application/json"),
    ]
    code, answer = await world.ask("POST", path, headers=headers, data=body)
    assert code in {400, 404, 409}, answer
    assert set(answer["error"]) <= {"code", "text", "field", "value"}
    assert len(json.dumps(answer)) < 1000
    assert await statuses(world.store) == before
    assert await world.store.pauses() == []
    assert world.process.asked == []
    (act,) = (await world.store.acts()).acts
    assert act.outcome == "refused"


POSTS = [
    *(f"messages/{verb}" for verb in Verb),
    *(f"messages/{id_of(2)}/{verb}" for verb in Verb),
    *("pause", "resume", "backfill", "reload"),
]
WORDS = [
    *("status", "reason", "route", "bridge", "origin", "destination", "sender", "recipient"),
    *("dry_run", "after", "chain", "lane", "signer", "why", "first", "last", "tx", "level"),
    *(
        "waiting",
        "dead",
        "one",
        "ten",
        str(ROUTE),
        id_of(2),
        "0x" + "ab" * 20,
        "",
        "\x00",
        "\ud800",
    ),
]


def anything(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON, made of words that mean something here."""
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind >= 6:
        count = rng.randrange(5)
        if kind == 6:
            return [anything(rng, depth + 1) for _ in range(count)]
        return {rng.choice(WORDS): anything(rng, depth + 1) for _ in range(count)}
    numbers = [0, 1, 10, -1, 2**63, 10**400, 1.5, 1e308]
    return rng.choice([rng.choice(WORDS), rng.choice(numbers), True, None])


async def test_no_body_breaks_it(world: OperatorWorld) -> None:
    """Two thousand of them: a clear answer or a clear refusal, and a line for each."""
    rng = random.Random(20_240_229)
    headers = [("Authorization", f"Bearer {NEW_TOKEN}"), ("Content-Type", "application/json")]
    codes: set[int] = set()
    for _ in range(2000):
        body = {rng.choice(WORDS): anything(rng) for _ in range(rng.randrange(4))}
        data = json.dumps(body if rng.random() < 0.9 else anything(rng)).encode()
        code, answer = await world.ask("POST", rng.choice(POSTS), headers=headers, data=data)
        codes.add(code)
        assert code < 500, (data, answer)
        assert ("error" in answer) == (code >= 400)
    assert {200, 400, 404, 409} <= codes
    assert world.counted("relayer_operator_acts_total") == 2000
    assert world.counted("relayer_operator_acts_total", outcome="failed") == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_read(world: OperatorWorld, content_type: str) -> None:
    """A form that a browser can send is refused before it is looked at."""
    headers = [("Authorization", f"Bearer {NEW_TOKEN}"), ("Content-Type", content_type)]
    code, _ = await world.ask(
        "POST", "messages/drop", headers=headers, data=b'{"status":"waiting"}'
    )
    assert code == 415
    assert (await statuses(world.store))["waiting"] == 4


async def test_a_large_body_is_cut_off(world: OperatorWorld) -> None:
    """A megabyte is refused; the audit log has the line without it."""
    code, body = await world.ask("POST", "pause", {"lane": "ten", "why": "x" * 10**6})
    assert (code, body["error"]["code"]) == (413, "too_large")
    (act,) = (await world.store.acts()).acts
    assert (act.outcome, act.arguments) == ("refused", "")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=1e2", "limit=0000000100", "limit=-1", "limit=%D9%A1", "x=1",
     "limit=1&limit=2", "reason=none", "route=x", "after=soon"],
)  # fmt: skip
async def test_wrong_questions_are_named(world: OperatorWorld, query: str) -> None:
    """What is not understood is not guessed."""
    code, body = await world.ask("GET", f"dead?{query}")
    assert code in {400, 404}
    assert body["error"]["text"]


async def test_an_act_is_written_down_when_the_caller_goes_away(world: OperatorWorld) -> None:
    """A connection cut in the middle leaves no act without its line."""
    calls = [
        asyncio.create_task(world.ask("POST", f"messages/{id_of(number)}/hold"))
        for number in (2, 3, 4, 5)
    ]
    await asyncio.sleep(0)
    for number, call in enumerate(calls):
        for _ in range(number):
            await asyncio.sleep(0)
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(10):
        while True:
            held = (await statuses(world.store)).get("held", 0)
            acts = len((await world.store.acts()).acts)
            if acts >= held:
                break
            await asyncio.sleep(0.01)
    assert (await world.ask("POST", f"messages/{id_of(1)}/retry"))[0] == 200


async def test_the_store_verbs_meet_the_same_messages(world: OperatorWorld) -> None:
    """What the API drops by filter the store finds dropped."""
    await world.ask("POST", "messages/drop", {"status": "waiting"})
    again = await world.store.operate_all(Verb.RETRY, Selection(status=Status.DEAD))
    assert (again.matched, again.changed) == (5, 5)


async def test_a_bridge_that_is_none_of_ours_is_said_beside_the_zero(world: OperatorWorld) -> None:
    """It may be a typo; one of ours, or one that still has messages, is not spoken of."""
    _, told = await world.ask("POST", "messages/hold", {"bridge": "hyperlame"})
    assert told["matched"] == 0
    assert told["warning"] == f"bridge 'hyperlame' is not configured; known: {ROUTE.bridge}"
    _, told = await world.ask("POST", "messages/hold", {"bridge": ROUTE.bridge, "dry_run": True})
    assert "warning" not in told
