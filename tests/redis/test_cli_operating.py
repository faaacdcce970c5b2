"""The operator's commands on a real embedded server: done, counted, and in the audit log."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.acts import Act, Pause, PauseKind, Target
from relayer.chains.signers import LocalSigner
from relayer.cli.acting import whoami
from relayer.message import BlockNumber, ChainId, Timestamp
from relayer.settings import RedisSettings
from relayer.store import Store
from tests.redis.test_cli_store import MESSAGES, SECRET, answer, call, config
from tests.unit.sample_records import ROUTE, id_of

pytestmark = pytest.mark.redis

__all__ = ["config"]
"""A fixture of that module."""


KEY = "0x" + "11" * 32
OURS = LocalSigner(bytes.fromhex(KEY[2:])).address
TYPO = OURS[:-1] + ("0" if OURS[-1] != "0" else "1")


@pytest.fixture(autouse=True)
def key_file(config: str, tmp_path: Path) -> None:
    """The second chain has a signer."""
    (tmp_path / "key").write_text(KEY, encoding="ascii")
    (tmp_path / "key").chmod(0o600)
    whole = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    whole["chains"]["ten"]["signers"] = [{"key_file": str(tmp_path / "key")}]
    Path(config).write_text(yaml.safe_dump(whole), encoding="utf-8")


def acts(config: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer(config, "audit")["acts"]
    return found


def test_verbs_by_filter_say_how_many(config: str) -> None:
    """A dry run changes nothing; a filter that matches nobody is no error."""
    told = answer(config, "drop", "--status", "waiting", "--dry-run")
    assert (told["matched"], told["changed"]) == (MESSAGES, 0)
    assert answer(config, "drop", "--bridge", "other", "--status", "waiting")["matched"] == 0
    told = answer(config, "drop", "--route", str(ROUTE), "--origin", "one", "--destination", "10")
    assert (told["matched"], told["changed"]) == (MESSAGES, MESSAGES)
    assert len(answer(config, "dead")["messages"]) == MESSAGES
    shown = call(config, "retry", "--reason", "dropped_by_operator").stdout
    assert f"{MESSAGES} messages found; {MESSAGES} changed by retry" in shown
    assert answer(config, "dead")["messages"] == []
    assert [(act["what"], act["detail"]) for act in acts(config)] == [
        ("retry", f"matched {MESSAGES}, changed {MESSAGES}"),
        ("drop", f"matched {MESSAGES}, changed {MESSAGES}"),
        ("drop", "matched 0, changed 0"),
        ("drop", f"matched {MESSAGES}, changed 0"),
    ]
    newest = answer(config, "audit", "--limit", "1")
    assert answer(config, "audit", "--after", newest["after"])["acts"] == acts(config)[1:]
    assert json.loads(acts(config)[-1]["arguments"]) == {"status": "waiting", "dry_run": True}
    for other in (id_of(2), id_of(3)):
        answer(config, "hold", other)
    shown = call(config, "drop", "--status", "waiting", "--dry-run").stdout
    assert shown == "1 message would be changed by drop; this was a dry run\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("drop",), 2, "give ids of messages, or filters"),
        (("drop", "--dry-run"), 2, "give ids of messages, or filters"),
        (("drop", id_of(1), "--status", "waiting"), 2, "not both"),
        (("drop", id_of(1), "--dry-run"), 2, "not both"),
        (("drop", "--sender", "0x12"), 2, "40 or 64 hex digits"),
        (("drop", "--origin", "nowhere"), 3, "known: one, ten"),
        (("retry", "--status", "delivered"), 4, "possible: dead, ready, waiting"),
        (("pause",), 2, "exactly one of --chain"),
        (("pause", "--chain", "one", "--lane", "ten"), 2, "exactly one of --chain"),
        (("pause", "--chain", "nowhere"), 3, "known: one, ten"),
        (("pause", "--route", "x:1>2"), 3, "known: none"),
        (("pause", "--signer", "0x12"), 3, "40 hex digits"),
        (("pause", "--signer", TYPO), 3, f"is none of ours; did you mean {OURS}? known: {OURS}"),
        (("resume", "--chain", "99"), 3, "known: one, ten; paused: none"),
        (("resume", "--signer", TYPO), 3, "is none of ours"),
        (("backfill", "--chain", "tan", "--from", "1", "--to", "2"), 3, "did you mean ten?"),
        (("backfill", "--chain", "10", "--from", "1", "--to", "2", "--cancel"), 3, "ten has no"),
        (("webhooks", "--retry", "shp"), 3, "known: shop"),
        (("pause", "--chain", "one", "--why", "x" * 201), 2, "at most 200"),
        (("audit", "--after", "soon"), 2, "is not the mark that a page ended with"),
        (("log-level",), 2, "operator: is not configured"),
        (("log-level", "loud"), 2, "loud"),
        (("reload",), 2, "SIGHUP"),
        (("completion", "tcsh"), 2, "tcsh"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_its_exit_code(
    config: str, arguments: tuple[str, ...], code: int, text: str
) -> None:
    """Wrong use is 2, unknown things 3, what is illegal 4; nothing changes."""
    result = call(config, *arguments)
    assert (result.exit_code, text in result.stderr) == (code, True), result.stderr
    assert result.stderr.count("\n") == 1
    assert len(answer(config, "list", "--status", "waiting")["messages"]) == MESSAGES
    assert answer(config, "paused")["pauses"] == []


def test_pausing_and_resuming(config: str) -> None:
    """By name or id; twice is once; who and why is told and kept."""
    first = answer(config, "pause", "--lane", "ten", "--why", "maintenance")
    assert answer(config, "pause", "--lane", "10", "--why", "else") == first
    assert (first["chain"], first["who"], first["why"]) == ("ten", whoami(), "maintenance")
    assert "maintenance" in call(config, "paused").stdout
    assert answer(config, "resume", "--lane", "ten")["changed"] is True
    assert answer(config, "resume", "--lane", "ten")["changed"] is False
    assert [(act["what"], act["detail"], act["who"]) for act in acts(config)] == [
        ("resume", "was not paused", whoami()),
        ("resume", "resumed", whoami()),
        ("pause", "was paused already", whoami()),
        ("pause", "paused", whoami()),
    ]


def test_a_signer_is_paused_by_its_address(config: str) -> None:
    """In any spelling; and resumed when it is configured no more, like everything else."""
    shown = answer(config, "pause", "--signer", OURS.upper().replace("0X", "0x"))
    assert (shown["name"], "warning" in shown) == (OURS, False)
    gone = ("--chain", "99"), ("--lane", "98"), ("--route", "gone:1>99"), ("--signer", TYPO)
    asyncio.run(_pause_all(Path(config).parent, [(kind[2:], name) for kind, name in gone]))
    for kind, name in gone:
        assert answer(config, "resume", kind, name)["changed"] is True
    assert answer(config, "resume", "--signer", OURS)["changed"] is True
    assert answer(config, "resume", "--signer", OURS)["changed"] is False
    assert answer(config, "paused")["pauses"] == []


def test_a_signer_whose_keeper_is_away_can_be_paused_and_that_is_said(config: str) -> None:
    """A key that cannot be read is the very one that may have been stolen."""
    (Path(config).parent / "key").unlink()
    result = call(config, "--json", "pause", "--signer", TYPO)
    assert result.exit_code == 0
    assert "chains.ten.signers[0] cannot be read now" in json.loads(result.stdout)["warning"]
    assert result.stderr.startswith("warning: not checked")


async def _pause_all(directory: Path, targets: list[tuple[str, str]]) -> None:
    store = await Store.open(RedisSettings(), directory)
    try:
        for kind, name in targets:
            await store.pause(Pause(Target(PauseKind(kind), name), "ops", "", Timestamp(1.0)))
    finally:
        await store.aclose()


def test_what_is_to_be_read_again_is_listed_and_taken_back(config: str) -> None:
    """By name or id of the chain; and taking back is written down."""
    assert answer(config, "backfills") == {"backfills": []}
    asyncio.run(_ask_rescan(Path(config).parent))
    told = {"chain": "ten", "first": 5, "last": 9, "next": 5, "failure": ""}
    assert answer(config, "backfills") == {"backfills": [told]}
    assert "ten" in call(config, "backfills").stdout
    blocks = ("--from", "5", "--to", "9", "--cancel")
    assert answer(config, "backfill", "--chain", "10", *blocks)["chain"] == "ten"
    assert answer(config, "backfills") == {"backfills": []}
    assert [(act["what"], act["outcome"]) for act in acts(config)] == [("backfill --cancel", "ok")]


async def _ask_rescan(directory: Path) -> None:
    store = await Store.open(RedisSettings(), directory)
    try:
        await store.ask_rescan(ChainId(10), BlockNumber(5), BlockNumber(9))
    finally:
        await store.aclose()


def test_telling_a_webhook_again_is_written_down(config: str) -> None:
    """It is an act like any other."""
    assert answer(config, "webhooks", "--retry", "shop")["told_again"] == 1
    (act,) = acts(config)
    assert (act["what"], act["detail"]) == ("webhooks --retry", "1 are told again")


def test_a_filter_on_a_bridge_that_is_none_of_ours_is_said(config: str) -> None:
    """Nothing matches, which is no mistake; a typo must show all the same."""
    result = call(config, "hold", "--bridge", "hyperlame")
    assert result.exit_code == 0
    assert "warning: bridge 'hyperlame' is not configured; known: none" in result.stderr


def test_a_relayer_that_is_not_there_is_told_with_the_way_out(config: str, tmp_path: Path) -> None:
    """What only the running process can do says where it was looked for."""
    (tmp_path / "token").write_text("a1" * 20, encoding="ascii")
    whole = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    whole["operator"] = {"port": 1, "token_files": [str(tmp_path / "token")]}
    Path(config).write_text(yaml.safe_dump(whole), encoding="utf-8")
    for arguments in (("reload",), ("log-level",), ("config", "show", "--running")):
        result = call(config, *arguments)
        assert result.exit_code == 5
        assert "operator 127.0.0.1:1: Connection refused; is the relayer running" in result.stderr


def test_a_secret_that_is_pasted_as_a_reason_is_not_kept(config: str, tmp_path: Path) -> None:
    """A token, a webhook's secret: hidden where it is shown, and in the audit log."""
    token = "planted-token-" + "a1" * 16
    (tmp_path / "token").write_text(token, encoding="ascii")
    whole = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    whole["operator"] = {"token_files": [str(tmp_path / "token")]}
    Path(config).write_text(yaml.safe_dump(whole), encoding="utf-8")
    why = f"with {token} and {SECRET}, see https://status.example/incident/7"
    shown = answer(config, "pause", "--lane", "ten", "--why", why)
    assert shown["why"] == "with [hidden] and [hidden], see https://status.example/incident/7"
    kept = str(answer(config, "paused")) + str(acts(config))
    assert kept.count("[hidden] and [hidden]") == 2
    assert token not in kept
    assert SECRET not in kept


def test_named_verbs_and_refusals_are_written_down(config: str) -> None:
    """One line a command, with the ids; what changed nothing, by id too, as refused."""
    assert call(config, "hold", id_of(1), id_of(99)).exit_code == 3
    assert call(config, "retry", "--status", "held").exit_code == 4
    assert call(config, "release", id_of(2), id_of(99)).exit_code == 4
    nothing, refused, held = acts(config)
    assert (refused["outcome"], held["outcome"]) == ("refused", "ok")
    assert (nothing["outcome"], nothing["what"]) == ("refused", "release")
    assert nothing["detail"].startswith("0 changed, 2 refused: ")
    assert json.loads(held["arguments"]) == {"ids": [id_of(1), id_of(99)]}
    assert held["detail"].startswith("1 changed, 1 refused: no message 0x")


def test_the_configuration_is_shown_without_secrets(tmp_path: Path) -> None:
    """Every default is there; no secret, wherever it stands, is."""
    secrets = [f"planted{number}secret" for number in range(6)]
    hosted = f"https://user:{secrets[0]}@rpc.example:8545/v2/{secrets[1]}?key={secrets[2]}"
    supervised = {"supervisor": f"https://super.example/{secrets[5]}"}
    interop = {"protocol": "op_interop", "chains": {"one": supervised, "ten": {}}}
    path = tmp_path / "relayer.yaml"
    whole = {
        "data_dir": str(tmp_path),
        "redis": {"url": f"redis://:{secrets[3]}@db.example:6380/1"},
        "chains": {
            "one": {"id": 1, "endpoints": [{"url": hosted}]},
            "ten": {
                "id": 10,
                "endpoints": [
                    {"url": "http://127.0.0.1:1", "ws_url": f"wss://x.example/{secrets[4]}"}
                ],
            },
        },
        "bridges": {"interop": interop},
    }
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    shown = call(str(path), "--json", "config", "show")
    assert shown.exit_code == 0, shown.stderr
    view = json.loads(shown.stdout)
    assert view["chains"]["one"]["endpoints"][0]["url"] == "https://rpc.example:8545/[hidden]"
    assert view["redis"]["url"] == "redis://db.example:6380/[hidden]"
    assert view["chains"]["one"]["lane"]["window"] == 16
    section = view["bridges"]["interop"]
    assert section["chains"]["one"]["supervisor"] == "https://super.example/[hidden]"
    assert section["codeless_targets"] == "hold"
    people = call(str(path), "config", "show").stdout
    assert yaml.safe_load(people) == view
    assert not [secret for secret in secrets if secret in shown.stdout + people]


def test_output_that_is_no_terminal_has_no_colours(config: str) -> None:
    """Scripts read text; so does whoever sets NO_COLOR."""
    for arguments in (("list",), ("paused",), ("audit",), ("doctor",), ("config", "show")):
        assert "\x1b" not in call(config, *arguments).output


def test_doctor_says_what_to_do_next(config: str, tmp_path: Path) -> None:
    """Chains that do not answer, dead letters and pauses each have their way out."""
    answer(config, "drop", id_of(1))
    asyncio.run(_ail(tmp_path))
    result = call(config, "--json", "doctor")
    assert result.exit_code == 1
    found = {one["subject"]: one for one in json.loads(result.stdout)["findings"]}
    assert not found["chains.one"]["ok"]
    assert "held by nobody" in found["chains.ten follower"]["text"]
    assert "relayer resume --lane 10" in found["lane 10"]["text"]
    assert "a cause" in found["lane 10"]["text"]
    assert "relayer run" in found["relayer"]["text"]
    assert found["messages"]["text"] == f"{MESSAGES} are stored"


async def _ail(directory: Path) -> None:
    store = await Store.open(RedisSettings(), directory)
    try:
        await store.pause(Pause(Target.lane(ChainId(10)), "ops", "a cause", Timestamp(1.0)))
        await store.note_stranger(Act(Timestamp(1.0), "nobody", "::1", "GET /", "", "refused"))
    finally:
        await store.aclose()


def test_strangers_are_shown_apart(config: str, tmp_path: Path) -> None:
    """Who was turned away is there for those who ask."""
    asyncio.run(_ail(tmp_path))
    assert acts(config) == []
    assert answer(config, "audit", "--strangers")["acts"][0]["who"] == "nobody"
