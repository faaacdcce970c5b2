"""Messages of blocks that are not final yet: shown by transaction, never stored, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from relayer.adapter import LogSource
from relayer.chains import ChainClient
from relayer.early import AT_ONCE, BURST, KEPT_S, NOT_ASKED, RATE_PER_S, EarlyLook
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    ChainId,
    Record,
    Route,
    Status,
    TxHash,
)
from relayer.ops.api import models
from relayer.store import Lease, Store
from tests.api_fakes import StillNetwork
from tests.redis.api_world import Served, serving
from tests.redis.conftest import Clock
from tests.redis.follower_world import (
    FINAL,
    MALFORMED,
    MESSAGE,
    SEVEN,
    TEN,
    Bridge,
    FollowerWorld,
    following,
    id_of,
    said,
)
from tests.redis.servers import Server
from tests.unit.chain_node import OUTBOX, TOPIC, Node, Refused, Time, block_hash, client_of, log

pytestmark = pytest.mark.redis

EARLY, LATE, SETTLED = 95, 85, 60
"""Blocks that are not final, final and not followed, and followed."""
EIGHT = ChainId(8)
SEEN = ("seen", "awaiting_finality")


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


def tx_in(block: int) -> TxHash:
    """The transaction that says something in a block of the node."""
    return TxHash(f"0x{block:064x}")


class Honest(Node):
    """A node that also knows receipts: of the logs it has."""

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        if method != "eth_getTransactionReceipt":
            return super().answer(method, params)
        logs = [one for one in self.logs if one["transactionHash"] == params[0]]
        return self.receipt(logs) if logs else None

    def receipt(self, logs: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
        first = logs[0]
        place = {name: first[name] for name in ("transactionHash", "blockNumber", "blockHash")}
        return {**place, "status": "0x1", "gasUsed": "0x5208", "logs": logs, **changes}


@pytest.fixture
def node() -> Honest:
    """A message in each kind of block."""
    node = Honest()
    node.logs = [
        said(MESSAGE, 1, block=SETTLED, more=10),
        said(MESSAGE, 2, block=LATE, more=10),
        said(MESSAGE, 3, block=EARLY, more=10),
    ]
    return node


@dataclass
class World:
    """A chain that is followed, and the look that is under test."""

    follower: FollowerWorld
    look: EarlyLook
    time: Time
    node: Honest

    async def found(self, block: int) -> list[Record]:
        """Records of the transaction in a block, asked for anew."""
        self.time.now += KEPT_S
        return list((await self.look.ask(tx_in(block))).records)


@contextlib.asynccontextmanager
async def looking(
    node: Honest,
    *,
    store: Store,
    lease: Lease,
    clock: Clock,
    bridge: Bridge | None = None,
) -> AsyncIterator[World]:
    """Followed up to block 80, while block 90 is final and block 100 the newest."""
    spoken, time = bridge or Bridge(), Time()
    async with (
        following(node, store=store, lease=lease, clock=clock, bridge=spoken) as world,
        client_of(node) as chain,
    ):
        node.head = FINAL
        await world.settle()
        node.head = 100
        node.asked.clear()
        node.bodies.clear()
        yield World(world, look_at(store, [chain], [spoken], clock=time), time, node)


def look_at(
    store: Store,
    chains: Sequence[ChainClient],
    bridges: Sequence[Bridge],
    *,
    clock: Callable[[], float] | None = None,
    **changes: Any,
) -> EarlyLook:
    adapters: dict[BridgeName, Any] = {BridgeName(f"b{n}"): one for n, one in enumerate(bridges)}
    by_name = {str(place): chain for place, chain in enumerate(chains)}
    return EarlyLook(
        store, lambda: by_name, lambda: adapters, clock=clock or Time(), now=store.now, **changes
    )


async def of_tx(api: Served, block: int) -> Any:
    """What the API answers of the transaction in a block, as its document promises."""
    status, body = await api.ask(f"/v1/messages?tx={tx_in(block)}")
    assert status == 200
    models.MessagesOfTransaction.model_validate(body, extra="forbid")
    return body


async def test_a_message_is_shown_before_its_block_is_final(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """By its transaction alone and never stored; once it is followed the store speaks."""
    network = StillNetwork(times_s={Route(BridgeName("pretended"), SEVEN, TEN): [30.0] * 9})
    async with (
        looking(node, store=store, lease=lease, clock=clock) as world,
        serving(store, early=world.look.ask, network=network) as api,
    ):
        body = await of_tx(api, EARLY)
        (view,) = body["messages"]
        assert body["chains_answered"] is True
        assert (view["id"], view["status"], view["reason"]) == (id_of(3), *SEEN)
        assert view["explanation"] == (
            "Waiting until its origin block is final. (block 95 of seven, which is final up to 90)"
        )
        assert (view["origin_block"], view["origin_block_hash"]) == (EARLY, block_hash(EARLY))
        # Sent at second 95, and final blocks are 10 s behind: then the route's usual 30 s.
        assert view["seen_at"] == "2023-11-14T22:14:55.000Z"
        assert view["next_wake_up"] == "2023-11-14T22:15:05.000Z"
        assert view["estimate"]["at"] == "2023-11-14T22:15:35.000Z"
        assert (await of_tx(api, LATE))["messages"][0]["reason"] == "new"  # final, not read yet
        assert (await api.ask(f"/v1/messages/{id_of(3)}"))[0] == 404
        _, listed = await api.ask("/v1/messages?status=seen")
        assert listed["messages"] == []
        assert await world.follower.knows(1, 2, 3) == [True, False, False]
        filtered = await api.ask(f"/v1/messages?tx={tx_in(EARLY)}&status=waiting")
        assert filtered[1]["messages"] == []

        node.head = 110
        await world.follower.settle()
        node.asked.clear()
        stored = await of_tx(api, EARLY)
        assert [one["status"] for one in stored["messages"]] == ["waiting"]
        assert stored["chains_answered"] is None
        assert node.asked == []


async def test_without_early_display_nothing_is_asked(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """As it always was: what is not stored is not there."""
    async with looking(node, store=store, lease=lease, clock=clock), serving(store) as api:
        body = await of_tx(api, EARLY)
    assert (body["messages"], body["chains_answered"], node.asked) == ([], None, [])


async def test_a_replaced_block_takes_its_messages_with_it(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """No trace is left; what is in another block now is shown there."""
    async with looking(node, store=store, lease=lease, clock=clock) as world:
        assert [one.id for one in await world.found(EARLY)] == [id_of(3)]
        node.fork, kept = 1, node.logs.pop()
        assert await world.found(EARLY) == []
        node.logs.append(kept | {"blockNumber": hex(97), "blockHash": block_hash(97, 1)})
        (moved,) = await world.found(EARLY)
        assert moved.message.at.block == 97
        node.logs.append(node.logs.pop() | {"blockHash": block_hash(97, 0)})  # of the old fork
        assert await world.found(EARLY) == []


async def test_what_is_followed_is_for_the_store_to_tell(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """Old transactions are not shown as new; one that was stored just now is not missed."""
    async with looking(node, store=store, lease=lease, clock=clock) as world:
        node.logs.append(said(MESSAGE, 4, block=50, more=10))  # read without it, and not any more
        assert await world.found(50) == []
        (known,) = await world.found(SETTLED)
        assert (known.id, known.status) == (id_of(1), Status.WAITING)
        assert "eth_getLogs" not in node.methods()


async def test_a_chain_that_nobody_follows_yet_begins_where_its_bridge_does(
    node: Honest, store: Store
) -> None:
    """Blocks before the first that will be read are not shown."""
    async with client_of(node) as chain:
        look = look_at(store, [chain], [Bridge(start=LATE)])
        assert (await look.ask(tx_in(SETTLED))).records == ()
        assert len((await look.ask(tx_in(LATE))).records) == 1


class Choosy(Bridge):
    """Reads messages to both destinations and carries those to one."""

    def routes(self) -> Sequence[Route]:
        return [Route(self.name, SEVEN, TEN)]


async def test_only_messages_of_the_transaction_that_are_carried(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """Not its neighbours in the block, nor what goes where no route does."""
    tx = tx_in(EARLY)
    node.logs += [
        said(MESSAGE, 5, block=EARLY, more=20) | {"transactionHash": tx, "logIndex": "0x1"},
        said(MESSAGE, 6, block=EARLY, more=10)
        | {"transactionHash": tx_in(1000), "logIndex": "0x2"},
    ]
    async with looking(node, store=store, lease=lease, clock=clock, bridge=Choosy()) as world:
        assert [one.id for one in await world.found(EARLY)] == [id_of(3)]


async def test_a_malformed_log_costs_only_its_own_transaction(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """What cannot be read yields nothing and breaks nothing."""
    bad = said(MALFORMED, 0, block=EARLY) | {"logIndex": "0x1"}
    node.logs.append(bad | {"transactionHash": tx_in(1000)})
    async with looking(node, store=store, lease=lease, clock=clock) as world:
        assert [one.id for one in await world.found(EARLY)] == [id_of(3)]
        node.logs[-1] = bad
        assert await world.found(EARLY) == []
        assert (await world.look.ask(tx_in(EARLY))).is_complete  # it was not the chain that failed


RECEIPTS: dict[str, Callable[[Honest], Any]] = {
    "text": lambda _: "garbage",
    "a list": lambda _: [{}],
    "a number": lambda _: 7,
    "nothing in it": lambda _: {},
    "pending": lambda node: node.receipt(node.logs[2:], blockNumber=None),
    "no logs": lambda node: node.receipt(node.logs[2:]) | {"logs": None},
    "logs of text": lambda node: node.receipt(node.logs[2:]) | {"logs": ["log", 3]},
    "removed logs": lambda node: node.receipt([log(EARLY, removed=True)]),
    "a log twice": lambda node: node.receipt(node.logs[2:] * 2),
    "block in words": lambda node: node.receipt(node.logs[2:], blockNumber="ninety-five"),
    "a block beyond all": lambda node: node.receipt(node.logs[2:], blockNumber="0x" + "f" * 64),
    "a block to come": lambda node: node.receipt(node.logs[2:], blockNumber=hex(10**12)),
    "another block": lambda node: node.receipt(node.logs[2:], blockNumber=hex(96)),
    "another fork": lambda node: node.receipt(node.logs[2:], blockHash=block_hash(EARLY, 9)),
    "hash of a kind": lambda node: node.receipt(node.logs[2:], blockHash=5),
    "logs of somebody else": lambda node: node.receipt(
        [log(EARLY, address="0x" + "cd" * 20), log(EARLY, 1, topics=[])]
    ),
}


@pytest.mark.parametrize("what", RECEIPTS)
async def test_a_receipt_that_lies_yields_nothing(
    what: str, node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """No 500, no message, and no endpoint is called bad for it: a stranger chose the receipt."""
    async with (
        looking(node, store=store, lease=lease, clock=clock) as world,
        serving(store, early=world.look.ask) as api,
    ):
        node.on["eth_getTransactionReceipt"] = lambda _: RECEIPTS[what](node)
        assert (await of_tx(api, EARLY))["messages"] == []
        del node.on["eth_getTransactionReceipt"]
        assert len(await world.found(EARLY)) == 1


async def test_one_endpoint_cannot_make_a_message_up(store: Store) -> None:
    """Where a quorum is wanted for truth, it is wanted for this as well."""
    honest, liar = Honest(), Honest()
    liar.logs = [said(MESSAGE, 3, block=EARLY, more=10)]
    async with client_of(liar, honest, quorum=2) as chain:
        look = look_at(store, [chain], [Bridge()])
        told = await look.ask(tx_in(EARLY))
    assert (told.records, told.is_complete) == ((), False)
    assert "eth_getLogs" in honest.methods()


class Elsewhere(Bridge):
    """The same contract on chain 8."""

    def routes(self) -> Sequence[Route]:
        return [Route(self.name, EIGHT, TEN)]

    def sources(self) -> Sequence[LogSource]:
        return [LogSource(EIGHT, (Address(OUTBOX),), (TOPIC,), BlockNumber(1))]


@pytest.mark.parametrize("trouble", ["down", "silent", "refuses"])
async def test_a_chain_that_does_not_answer_is_passed_over(
    trouble: str, node: Honest, store: Store
) -> None:
    """The others are shown all the same, and the answer says that it is not whole."""
    other, hung = Honest(), asyncio.Event()
    other.on["eth_chainId"] = lambda _: hex(EIGHT)
    async with client_of(node) as seven, client_of(other, id=EIGHT) as eight:
        look = look_at(store, [seven, eight], [Bridge(), Elsewhere()], within_s=0.5)
        whole = await look.ask(tx_in(LATE))
        assert (len(whole.records), whole.is_complete) == (1, True)
        match trouble:
            case "down":
                other.reply = lambda _: web_failure()
            case "silent":
                other.reply = lambda body: late(other, body, hung)
            case "refuses":
                other.on["eth_getTransactionReceipt"] = refuse
        told = await look.ask(tx_in(EARLY))
        assert ([one.id for one in told.records], told.is_complete) == ([id_of(3)], False)
        hung.set()


def web_failure() -> web.Response:
    return web.Response(status=502)


async def late(node: Node, body: Any, hung: asyncio.Event) -> web.Response:
    """The answer to one request, when the node does not hang any more."""
    await hung.wait()
    return web.json_response(node.reply_to(body))


def refuse(_: Sequence[Any]) -> Any:
    raise Refused(-32000, "transaction indexing is in progress")


async def test_what_a_look_costs(node: Honest, store: Store, lease: Lease, clock: Clock) -> None:
    """One request where there is nothing, three where there is; shared for a few seconds."""
    async with looking(node, store=store, lease=lease, clock=clock) as world:
        await asyncio.gather(*(world.look.ask(tx_in(7777)) for _ in range(20)))
        assert node.methods() == ["eth_getTransactionReceipt"]
        world.time.now += KEPT_S - 0.1
        await world.look.ask(tx_in(7777))
        assert len(node.bodies) == 1
        world.time.now += 0.1
        await world.look.ask(tx_in(7777))
        assert len(node.bodies) == 2
        node.logs.append(log(96, address="0x" + "cd" * 20))  # somebody else's transaction
        await world.look.ask(tx_in(96))
        assert len(node.bodies) == 3
        node.logs.pop()
        node.bodies.clear()
        await asyncio.gather(*(world.look.ask(tx_in(EARLY)) for _ in range(20)))
        assert [len(body) if isinstance(body, list) else 1 for body in node.bodies] == [1, 2, 2]


async def test_looks_are_bounded(node: Honest, store: Store, lease: Lease, clock: Clock) -> None:
    """So many in a burst and a second, whoever asks; beyond them nobody asks a chain."""
    async with (
        looking(node, store=store, lease=lease, clock=clock) as world,
        serving(store, early=world.look.ask) as api,
    ):
        for number in range(BURST):
            assert (await of_tx(api, 5000 + number))["chains_answered"] is True
        body = await of_tx(api, EARLY)
        assert (body["messages"], body["chains_answered"]) == ([], False)
        assert len(node.bodies) == BURST
        assert (await of_tx(api, 5000))["chains_answered"] is True  # kept, so it costs nothing
        world.time.now += 1 / RATE_PER_S
        assert len((await of_tx(api, EARLY))["messages"]) == 1  # "not asked" was not kept


async def test_few_are_under_way_at_once(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """While a chain is slow, no heap of questions grows; who asks for the same one waits."""
    async with looking(node, store=store, lease=lease, clock=clock) as world:
        hung = asyncio.Event()
        node.reply = lambda body: late(node, body, hung)
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(world.look.ask(tx_in(6000 + number)))
            same = group.create_task(world.look.ask(tx_in(6000)))
            await until(lambda: len(node.bodies) == AT_ONCE)
            assert await world.look.ask(tx_in(EARLY)) is NOT_ASKED
            assert not same.done()
            hung.set()
        node.reply = None
        assert len(await world.found(EARLY)) == 1


async def until(what: Callable[[], bool]) -> None:
    """Let everything else go on until the world is so."""
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - the node rings no bell
            await asyncio.sleep(0.01)


async def test_a_message_id_is_no_transaction(
    node: Honest, store: Store, lease: Lease, clock: Clock
) -> None:
    """Who searches for either asks for a transaction first: that costs no chain anything."""
    async with (
        looking(node, store=store, lease=lease, clock=clock) as world,
        serving(store, early=world.look.ask) as api,
    ):
        body = (await api.ask(f"/v1/messages?tx={id_of(1)}"))[1]
        assert (body["messages"], body["chains_answered"], node.asked) == ([], None, [])
