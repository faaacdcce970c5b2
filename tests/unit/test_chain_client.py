"""The chain client over one or more nodes: failover, lag, quorum, scans, views, sending, heads."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from eth_abi import decode, encode

from relayer.adapter import View, ViewResult
from relayer.chains import ChainClient
from relayer.chains.queries import Account
from relayer.errors import (
    CallReverted,
    ChainMismatch,
    EndpointsDisagree,
    EndpointsExhausted,
    RangeTooWide,
    RpcRefused,
    StaleEndpoint,
)
from relayer.keccak import keccak256
from relayer.message import Address, BlockNumber, TxHash, Wei
from relayer.settings import FinalitySettings
from tests.unit.chain_node import (
    CHAIN,
    MULTICALL,
    OUTBOX,
    TOPIC,
    Node,
    Refused,
    Time,
    block_hash,
    client_of,
    header,
    log,
    running,
    settings,
)

NOBODY = Address("0x" + "00" * 20)
WANTED: dict[str, Any] = {"addresses": [Address(OUTBOX)], "topics": [[TOPIC]]}


def _refuse(code: int, text: str, data: Any = None) -> Any:
    def refuse(params: Any) -> Any:
        raise Refused(code, text, data)

    return refuse


def _down(body: Any) -> web.StreamResponse:
    return web.Response(status=503)


# --- start -----------------------------------------------------------------------------------


async def test_wrong_chain_id_is_fatal_at_start() -> None:
    """One endpoint of another chain among good ones stops the start and is named."""
    good, wrong = Node(), Node()
    wrong.on["eth_chainId"] = lambda params: "0x8"
    with pytest.raises(ChainMismatch, match="serves chain 8, the configuration says 7"):
        async with client_of(good, wrong):
            pass


async def test_endpoint_down_at_start_is_checked_before_its_first_use() -> None:
    """A wrong chain that hides behind a failure at start is still never believed."""
    time = Time()
    wrong = Node()
    wrong.reply = _down
    async with client_of(wrong, clock=time) as chain:
        wrong.reply = None
        wrong.on["eth_chainId"] = lambda params: "0x8"
        time.now += 1
        with pytest.raises(EndpointsExhausted, match="serves chain 8"):
            await chain.tip()
        time.now += 10_000
        assert chain.health()[0].healthy is False
        with pytest.raises(EndpointsExhausted):
            await chain.tip()
        assert "eth_getBlockByNumber" not in wrong.methods()


async def test_dead_chain_does_not_fail_the_start() -> None:
    """A chain whose endpoints are all down starts, and says so when it is asked."""
    node = Node()
    node.reply = _down
    async with client_of(node) as chain:
        assert chain.health()[0].healthy is False
        with pytest.raises(EndpointsExhausted, match="cooling down after: HTTP status 503"):
            await chain.tip()


async def test_a_pause_that_ends_does_not_make_an_endpoint_healthy() -> None:
    """A chain that hangs is not ready by the clock, only by an answer; one failure is forgiven."""
    time = Time()
    node = Node()
    async with client_of(node, clock=time) as chain:
        assert chain.trouble() == ""
        node.on["eth_getBalance"] = lambda params: "0x1"
        node.reply = _down
        for healthy in (True, False):
            with pytest.raises(EndpointsExhausted):
                await chain.balance(NOBODY)
            assert chain.trouble() == "no endpoint answers"
            time.now += 60
            assert chain.health()[0].healthy is healthy
        node.reply = None
        await chain.balance(NOBODY)
        assert chain.trouble() == ""


async def test_a_quorum_that_does_not_answer_is_trouble() -> None:
    """One of two that must agree is as good as none, and is said."""
    first, second = Node(), Node()
    async with client_of(first, second, quorum=2) as chain:
        assert chain.trouble() == ""
        second.reply = _down
        await chain.start()  # asks every endpoint
        assert chain.trouble() == "1 of 2 endpoints that must agree answer"


# --- failover --------------------------------------------------------------------------------


async def test_failover_and_return_to_the_preferred_endpoint() -> None:
    """The second endpoint serves while the first cools down, and only as long."""
    time = Time()
    first, second = Node(), Node()
    second.on["eth_getBalance"] = lambda params: "0x2"
    first.on["eth_getBalance"] = lambda params: "0x1"
    async with client_of(first, second, clock=time) as chain:
        assert await chain.balance(NOBODY) == 1
        first.reply = _down
        assert await chain.balance(NOBODY) == 2
        first.reply = None
        assert await chain.balance(NOBODY) == 2
        assert [one.healthy for one in chain.health()] == [False, True]
        time.now += 0.6
        assert await chain.balance(NOBODY) == 1
        assert [one.errors for one in chain.health()] == [1, 0]


@pytest.mark.parametrize(
    ("method", "refused", "kind"),
    [
        ("eth_call", _refuse(3, "execution reverted", "0x01"), CallReverted),
        ("eth_call", _refuse(-32000, "out of gas"), CallReverted),
        ("eth_call", _refuse(-32000, "stack limit reached 1024"), RpcRefused),
    ],
)
async def test_the_chains_own_word_is_not_asked_twice(
    method: str, refused: Any, kind: type
) -> None:
    """Reverts and refusals are answers: no failover, no count against the endpoint."""
    first, second = Node(), Node()
    first.on[method] = refused
    async with client_of(first, second) as chain:
        with pytest.raises(kind):
            await chain.call({"to": NOBODY})
        assert method not in second.methods()
        assert [one.errors for one in chain.health()] == [0, 0]


async def test_method_that_one_endpoint_lacks_is_asked_of_the_next() -> None:
    """A missing method is a lack of the endpoint, and no failure of it."""
    first, second = Node(), Node()
    second.on["zks_getProof"] = lambda params: {"proof": []}
    async with client_of(first, second) as chain:
        assert await chain.rpc("zks_getProof", []) == {"proof": []}
        assert await chain.batch([("zks_getProof", []), ("eth_blockNumber", [])]) == [
            {"proof": []},
            hex(100),
        ]
        assert [one.errors for one in chain.health()] == [0, 0]


async def test_batch_items_that_an_endpoint_lacks_are_asked_of_the_next() -> None:
    """Only the missing items of a batch travel on; what is answered is kept."""
    first, second = Node(), Node()
    first.on["eth_getProof"] = _refuse(-32000, "missing trie node abc")
    first.on["eth_getBalance"] = lambda params: "0x1"
    second.on["eth_getProof"] = lambda params: {"ok": 1}
    second.on["eth_getBalance"] = lambda params: "0x2"
    async with client_of(first, second) as chain:
        found = await chain.batch([("eth_getBalance", []), ("eth_getProof", [])])
    assert found == ["0x1", {"ok": 1}]
    assert "eth_getBalance" not in second.methods()


async def test_all_down_names_every_cause() -> None:
    """When nobody answers, the error lists each endpoint with its cause."""
    first, second = Node(), Node()
    async with client_of(first, second) as chain:
        first.reply = second.reply = _down
        with pytest.raises(EndpointsExhausted) as caught:
            await chain.balance(NOBODY)
        assert first.url in str(caught.value)
        assert second.url in str(caught.value)


# --- lag -------------------------------------------------------------------------------------


async def test_lagging_endpoint_is_asked_last() -> None:
    """An endpoint far behind the best head loses its priority until it catches up."""
    behind, fresh = Node(head=100), Node(head=1000)
    async with client_of(behind, fresh) as chain:
        assert [(one.healthy, one.lag_blocks) for one in chain.health()] == [
            (False, 900),
            (True, 0),
        ]
        head, _ = await chain.tip()
        assert head.number == 1000
        fresh.reply = _down
        assert (await chain.tip())[0].number == 100
        behind.head = 1000
        fresh.reply = None
        await chain.start()
        assert chain.health()[0].healthy is True


async def test_one_liar_cannot_make_the_others_look_late() -> None:
    """Of three heads the second best counts, so an absurd one changes nothing."""
    honest, also, liar = Node(head=100), Node(head=101), Node()
    liar.on["eth_blockNumber"] = lambda params: hex(10**15)
    async with client_of(honest, also, liar) as chain:
        assert [one.lag_blocks for one in chain.health()] == [1, 0, 0]


async def test_block_that_the_first_endpoint_lacks_is_asked_of_the_next() -> None:
    """A missing block is looked for elsewhere, and StaleEndpoint when nobody has it."""
    behind, fresh = Node(head=100), Node(head=110)
    async with client_of(behind, fresh) as chain:
        assert (await chain.header(BlockNumber(105))).hash == block_hash(105)
        with pytest.raises(StaleEndpoint):
            await chain.header(BlockNumber(111))
        assert [one.errors for one in chain.health()] == [0, 0]


# --- headers and tips ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "final"),
    [
        (FinalitySettings(tag="finalized"), 90),
        (FinalitySettings(tag="safe"), 95),
        (FinalitySettings(tag="latest"), 100),
        (FinalitySettings(depth=0), 100),
        (FinalitySettings(depth=7), 93),
        (FinalitySettings(depth=500), 0),
    ],
)
async def test_tip_by_every_finality_rule(rule: FinalitySettings, final: int) -> None:
    """Latest and final by the rule, with a tag in one HTTP request."""
    node = Node()
    async with client_of(node, finality=rule) as chain:
        node.bodies.clear()
        head, found = await chain.tip()
        assert (head.number, found.number) == (100, final)
        assert len(node.bodies) == (2 if rule.depth else 1)
        assert (await chain.final_header()).number == final


async def test_a_watched_head_makes_a_tip_by_depth_one_request() -> None:
    """The block at the depth is asked for together with the head that we were told of; when the
    head is another by then, its own is read, never one that is less deep."""
    node, time = Node(), Time()
    async with client_of(node, finality=FinalitySettings(depth=7), clock=time) as chain:
        async with contextlib.aclosing(chain.heads()) as heads:
            assert await anext(heads) == 100
        node.bodies.clear()
        assert [block.number for block in await chain.tip()] == [100, 93]
        assert len(node.bodies) == 1
        for head, requests in ((99, 2), (103, 2)):
            node.head = head
            time.now += 1
            node.bodies.clear()
            assert [block.number for block in await chain.tip()] == [head, head - 7]
            assert len(node.bodies) == requests


async def test_one_read_of_the_head_serves_all_who_ask() -> None:
    """Tips and latest headers share a read until a newer head is told of, or time has passed."""
    node, time = Node(), Time()
    async with client_of(node, clock=time, poll_s=1.0) as chain:
        heads = chain.heads()
        assert await anext(heads) == 100
        node.bodies.clear()
        (head, _), latest = await asyncio.gather(chain.tip(), chain.header("latest"))
        time.now += 1.9
        assert (head, await chain.header("latest"), (await chain.tip())[0]) == (latest,) * 3
        assert len(node.bodies) == 1
        node.head = 101
        waiting = asyncio.ensure_future(anext(heads))
        assert await waiting == 101
        assert (await chain.tip())[0].number == (await chain.header("latest")).number == 101
        node.head = 102
        time.now += 2.0
        assert (await chain.header("latest")).number == 102
        await heads.aclose()


@pytest.mark.parametrize(
    "lie",
    [
        {"hash": None},
        {"number": "0x1"},
        {"parentHash": "0x12"},
        {"timestamp": hex(2**41)},
        {"stateRoot": None},
        {"gasLimit": 30_000_000},
        {"baseFeePerGas": "lots"},
    ],
)
async def test_misshapen_header_is_the_endpoints_failure(lie: dict[str, Any]) -> None:
    """A header that lacks a field, or is another block's, sends us to the next endpoint."""
    liar, honest = Node(), Node()
    liar.on["eth_getBlockByNumber"] = lambda params: header(50) | lie
    async with client_of(liar, honest) as chain:
        assert (await chain.header(BlockNumber(50))).hash == block_hash(50)
        assert [one.errors for one in chain.health()] == [1, 0]


async def test_header_by_hash_must_be_that_block() -> None:
    """Asked for a hash, a header with another hash is a lie."""
    node = Node()
    async with client_of(node) as chain:
        assert (await chain.header(block_hash(42))).number == 42
        node.on["eth_getBlockByHash"] = lambda params: header(41)
        with pytest.raises(EndpointsExhausted, match="asked for block"):
            await chain.header(block_hash(42))


async def test_latest_header_is_reused_for_a_moment() -> None:
    """Many askers within a fraction of the poll interval cost one request."""
    time = Time()
    node = Node()
    async with client_of(node, clock=time, poll_s=4.0) as chain:
        node.asked.clear()
        for _ in range(5):
            await chain.header("latest")
        assert len(node.asked) == 1
        time.now += 1.1
        await chain.header("latest")
        assert len(node.asked) == 2


# --- scans -----------------------------------------------------------------------------------


async def test_scan_gives_logs_in_chain_order_with_the_last_header() -> None:
    """Logs and the header of the last block come from one batch."""
    node = Node()
    node.logs = [log(50, 3), log(50, 1), log(40, 9), log(80, 0)]
    async with client_of(node) as chain:
        node.bodies.clear()
        logs, last = await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
        assert [(one.at.block, one.at.log_index) for one in logs] == [(40, 9), (50, 1), (50, 3)]
        assert last.hash == block_hash(50)
        assert len(node.bodies) == 1
        assert logs[0].at.chain == CHAIN


async def test_scan_beyond_the_endpoints_head_is_stale_not_empty() -> None:
    """`[]` from a node that lacks the last block is never taken for "no logs"."""
    node = Node(head=100)
    async with client_of(node) as chain:
        with pytest.raises(StaleEndpoint):
            await chain.scan(BlockNumber(90), BlockNumber(101), **WANTED)
        assert chain.health()[0].errors == 0


async def test_scan_between_two_forks_is_stale() -> None:
    """Logs of the last block with another block hash than the header's are not used."""
    node = Node()
    node.logs = [log(50, 0, fork=1)]
    async with client_of(node) as chain:
        with pytest.raises(StaleEndpoint, match="two forks"):
            await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)


@pytest.mark.parametrize(
    "lie",
    [
        {"blockNumber": hex(51)},
        {"address": "0x" + "cd" * 20},
        {"topics": ["0x" + "22" * 32]},
        {"topics": []},
        {"topics": ["0x11"]},
        {"topics": ["0x" + "11" * 32] * 5},
        {"data": "0xabc"},
        {"data": None},
        {"blockHash": None},
        {"logIndex": None},
        {"transactionHash": "0x"},
        {"removed": True},
    ],
)
async def test_log_that_was_not_asked_for_or_misshapen_is_a_lie(lie: dict[str, Any]) -> None:
    """Every log is checked for shape and against the question, else the endpoint is left."""
    liar, honest = Node(), Node()
    liar.on["eth_getLogs"] = lambda params: [log(40) | lie]
    honest.logs = [log(40)]
    async with client_of(liar, honest) as chain:
        logs, _ = await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
        assert [one.at.block for one in logs] == [40]
        assert [one.errors for one in chain.health()] == [1, 0]


async def test_two_hashes_for_one_block_or_a_log_twice_are_lies() -> None:
    """Logs must agree among themselves."""
    for lies in ([log(40, 0), log(40, 1, fork=1)], [log(40, 0), log(40, 0)]):
        node = Node()
        node.logs = lies
        async with client_of(node) as chain:
            with pytest.raises(EndpointsExhausted, match=r"two block hashes|occurs twice"):
                await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)


async def test_scan_of_nothing_asks_for_no_logs() -> None:
    """No address and no topic means no logs, not every log of the chain."""
    node = Node()
    node.logs = [log(40)]
    async with client_of(node) as chain:
        logs, last = await chain.scan(BlockNumber(1), BlockNumber(50), addresses=[], topics=[[]])
        assert (logs, last.number) == ([], 50)
        assert "eth_getLogs" not in node.methods()


async def test_any_refusal_of_many_blocks_asks_for_fewer() -> None:
    """However a provider words it, a refused range shrinks; one refused block is a refusal."""
    node = Node()
    node.on["eth_getLogs"] = _refuse(-32602, "nope")
    async with client_of(node) as chain:
        with pytest.raises(RangeTooWide):
            await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
        with pytest.raises(RpcRefused):
            await chain.scan(BlockNumber(50), BlockNumber(50), **WANTED)
        assert chain.health()[0].errors == 0


# --- quorum ----------------------------------------------------------------------------------


async def test_quorum_reads_outvote_a_liar() -> None:
    """Two honest endpoints of three decide, though the liar has the highest priority."""
    liar, honest, also = Node(), Node(), Node()
    liar.logs = [log(40, data="0x" + "66" * 32)]
    honest.logs = also.logs = [log(40)]
    liar.on["eth_call"] = lambda params: "0x66"
    honest.on["eth_call"] = also.on["eth_call"] = lambda params: "0x01"
    async with client_of(liar, honest, also, quorum=2) as chain:
        logs, _ = await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
        assert logs[0].data == b"\xee" * 32
        answers = await chain.read([View(NOBODY, b"")], block=BlockNumber(50))
        assert answers == [ViewResult(True, b"\x01")]


async def test_quorum_is_asked_of_no_more_endpoints_than_needed() -> None:
    """Where the first two agree the third is left in peace."""
    nodes = [Node(), Node(), Node()]
    async with client_of(*nodes, quorum=2) as chain:
        nodes[2].asked.clear()
        await chain.header(BlockNumber(50))
        assert nodes[2].asked == []


async def test_disagreement_is_an_error_and_not_a_choice() -> None:
    """Two endpoints with two answers give none."""
    one, other = Node(), Node()
    other.fork = 1
    async with client_of(one, other, quorum=2) as chain:
        with pytest.raises(EndpointsDisagree):
            await chain.header(BlockNumber(50))
        with pytest.raises(EndpointsDisagree):
            await chain.tip()
        with pytest.raises(EndpointsDisagree):
            await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)


async def test_failover_never_lowers_the_quorum() -> None:
    """With one of two endpoints down, the other alone decides nothing."""
    one, other = Node(), Node()
    async with client_of(one, other, quorum=2) as chain:
        other.reply = _down
        with pytest.raises(EndpointsDisagree, match="2 equal answers needed"):
            await chain.header(BlockNumber(50))
        with pytest.raises(EndpointsDisagree):
            await chain.tip()
        with pytest.raises(EndpointsDisagree):
            await chain.read([View(NOBODY, b"")])


async def test_one_endpoint_cannot_fake_a_revert() -> None:
    """With a quorum a refusal is an answer like any other: it needs as many voices."""
    liar, honest, also = Node(), Node(), Node()
    liar.on["eth_call"] = _refuse(3, "execution reverted", "0x01")
    honest.on["eth_call"] = also.on["eth_call"] = lambda params: "0x02"
    async with client_of(liar, honest, also, quorum=2) as chain:
        assert await chain.read([View(NOBODY, b"")]) == [ViewResult(True, b"\x02")]
        honest.on["eth_call"] = also.on["eth_call"] = liar.on["eth_call"]
        assert await chain.read([View(NOBODY, b"")]) == [ViewResult(False, b"\x01")]


async def test_quorum_tip_is_the_newest_block_that_enough_endpoints_have() -> None:
    """One endpoint that is ahead, or that claims height 0, moves the tip of a quorum nowhere."""
    ahead, normal, stuck = Node(head=105), Node(head=100), Node(head=100)
    stuck.on["eth_getBlockByNumber"] = lambda params: header(0)
    async with client_of(ahead, normal, stuck, quorum=2) as chain:
        head, final = await chain.tip()
        assert (head.number, final.number) == (100, 90)


# --- views -----------------------------------------------------------------------------------


def _aggregate3(params: Sequence[Any]) -> str:
    """Multicall3 with targets that echo their input, or fail on 0xff."""
    payload = bytes.fromhex(params[0]["data"][2:])
    assert payload[:4] == keccak256(b"aggregate3((address,bool,bytes)[])")[:4]
    ((calls),) = decode(["(address,bool,bytes)[]"], payload[4:])
    answers = [(call[2] != b"\xff", call[2]) for call in calls]
    return "0x" + encode(["(bool,bytes)[]"], [answers]).hex()


async def test_views_travel_in_one_multicall() -> None:
    """Hundreds of views are one HTTP request, answered in order, failures in their place."""
    node = Node()
    node.on["eth_getCode"] = lambda params: "0x60"
    node.on["eth_call"] = _aggregate3
    async with client_of(node, multicall=MULTICALL) as chain:
        node.bodies.clear()
        views = [View(Address(OUTBOX), n.to_bytes(2, "big") * n) for n in range(300)]
        views[7] = View(Address(OUTBOX), b"\xff")
        answers = await chain.read(views, block=BlockNumber(50))
        assert answers == [ViewResult(n != 7, view.data) for n, view in enumerate(views)]
        assert len(node.bodies) == 1
        assert {params[1] for _, params in node.asked if _ == "eth_call"} == {hex(50)}


@pytest.mark.parametrize(
    "pack", [lambda params: "0x", _refuse(-32000, "out of gas"), _refuse(-32000, "too big")]
)
async def test_views_are_read_apart_where_multicall_does_not_answer(pack: Any) -> None:
    """No code at that block, or a view that eats all gas: each view is asked by itself."""

    def answer(params: Sequence[Any]) -> Any:
        return pack(params) if params[0]["to"] == MULTICALL else params[0]["data"]

    node = Node()
    node.on["eth_getCode"] = lambda params: "0x60"
    node.on["eth_call"] = answer
    async with client_of(node, multicall=MULTICALL) as chain:
        views = [View(Address(OUTBOX), bytes([n])) for n in range(3)]
        assert await chain.read(views) == [ViewResult(True, bytes([n])) for n in range(3)]


async def test_missing_multicall_is_learnt_and_told() -> None:
    """Without code at its address `settings.multicall` is None, so that nobody packs calls."""
    node = Node()
    node.on["eth_call"] = lambda params: params[0]["data"]
    async with client_of(node, multicall=MULTICALL) as chain:
        assert chain.settings.multicall is None
        views = [View(Address(OUTBOX), bytes([n])) for n in range(3)]
        assert await chain.read(views) == [ViewResult(True, bytes([n])) for n in range(3)]
        assert MULTICALL not in str(node.asked[-1])


async def test_multicall_counts_only_once_it_was_seen() -> None:
    """A chain that was down at start is not trusted to have Multicall3 until it shows code."""
    time = Time()
    node = Node()
    node.on["eth_getCode"] = lambda params: "0x60"
    node.reply = _down
    async with client_of(node, multicall=MULTICALL, clock=time) as chain:
        assert chain.settings.multicall is None
        node.reply = None
        time.now += 10
        await chain.tip()
        assert chain.settings.multicall == MULTICALL


async def test_misshapen_multicall_answer_is_the_endpoints_failure() -> None:
    """Offsets that point outside of the answer are nonsense, not an exception."""
    node = Node()
    node.on["eth_getCode"] = lambda params: "0x60"
    node.on["eth_call"] = lambda params: "0x" + "ff" * 256
    async with client_of(node, multicall=MULTICALL) as chain:
        with pytest.raises(EndpointsExhausted, match="Multicall3"):
            await chain.read([View(NOBODY, b"")] * 2)


# --- transactions ----------------------------------------------------------------------------

RAW = b"\x02signed"
HASH = "0x" + keccak256(RAW).hex()


async def test_transaction_goes_to_every_endpoint() -> None:
    """All endpoints get it; one that takes it is enough."""
    nodes = [Node(), Node(), Node()]
    nodes[0].on["eth_sendRawTransaction"] = _refuse(-32000, "insufficient funds for gas")
    nodes[1].on["eth_sendRawTransaction"] = lambda params: HASH
    nodes[2].reply = _down
    async with client_of(*nodes) as chain:
        nodes[2].reply = _down
        assert await chain.send_raw([RAW]) == [None]
        assert all("eth_sendRawTransaction" in node.methods() for node in nodes[:2])


async def test_transaction_that_is_known_already_was_sent() -> None:
    """`already known` is what a repeated broadcast hears, and it is good news."""
    node = Node()
    node.on["eth_sendRawTransaction"] = _refuse(-32000, "already known")
    async with client_of(node) as chain:
        assert await chain.send_raw([RAW]) == [None]


async def test_many_transactions_go_to_an_endpoint_in_one_request() -> None:
    """Each has an answer of its own: what one endpoint refuses another may take."""
    raws = [bytes([2, turn]) for turn in range(3)]
    taken: list[dict[str, str]] = [{}, {}]

    def node(place: int, *refused: bytes) -> Node:
        def take(params: Any) -> str:
            raw = bytes.fromhex(params[0][2:])
            if raw in refused:
                raise Refused(-32000, "transaction underpriced")
            return taken[place].setdefault(params[0], "0x" + keccak256(raw).hex())

        made = Node()
        made.on["eth_sendRawTransaction"] = take
        return made

    nodes = [node(0, raws[0], raws[2]), node(1, raws[0])]
    async with client_of(*nodes) as chain:
        for one in nodes:
            one.bodies.clear()
        outcomes = await chain.send_raw(raws)
        assert [type(outcome) for outcome in outcomes] == [RpcRefused, type(None), type(None)]
        assert [len(told) for told in taken] == [1, 2]
        assert [len(one.bodies) for one in nodes] == [1, 1]


async def test_transaction_that_all_refuse_has_the_refusal() -> None:
    """Refusals never count against an endpoint; an endpoint that is down does not hide them."""
    refusing, down = Node(), Node()
    refusing.on["eth_sendRawTransaction"] = _refuse(-32000, "nonce too low")
    async with client_of(refusing, down) as chain:
        down.reply = _down
        (refusal,) = await chain.send_raw([RAW])
        assert isinstance(refusal, RpcRefused)
        assert "nonce too low" in str(refusal)
        assert chain.health()[0].errors == 0
        refusing.reply = _down
        (outcome,) = await chain.send_raw([RAW])
        assert isinstance(outcome, EndpointsExhausted)


async def test_another_transactions_hash_is_not_an_acceptance() -> None:
    """An endpoint that answers with a foreign hash did not take our transaction."""
    node = Node()
    node.on["eth_sendRawTransaction"] = lambda params: "0x" + "00" * 32
    async with client_of(node) as chain:
        (outcome,) = await chain.send_raw([RAW])
        assert isinstance(outcome, EndpointsExhausted)
        assert "another transaction" in str(outcome)


def _receipt(tx: str, **changes: Any) -> dict[str, Any]:
    return {
        "transactionHash": tx,
        "blockHash": block_hash(50),
        "blockNumber": hex(50),
        "status": "0x1",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x1",
        "logs": [],
    } | changes


async def test_receipt_that_one_endpoint_lacks_is_asked_of_the_others() -> None:
    """A lagging endpoint cannot make a mined transaction look lost."""
    behind, fresh = Node(), Node()
    hashes = ["0x" + f"{n:064x}" for n in range(3)]
    behind.on["eth_getTransactionReceipt"] = lambda params: (
        _receipt(params[0]) if params[0] == hashes[0] else None
    )
    fresh.on["eth_getTransactionReceipt"] = lambda params: (
        None if params[0] == hashes[2] else _receipt(params[0])
    )
    async with client_of(behind, fresh) as chain:
        found = await chain.receipts(hashes)
    assert [one and one["transactionHash"] for one in found] == [hashes[0], hashes[1], None]
    assert [
        params[0] for method, params in fresh.asked if method == "eth_getTransactionReceipt"
    ] == (hashes[1:])


@pytest.mark.parametrize(
    "lie",
    [
        {"transactionHash": "0x" + "66" * 32},
        {"status": None},
        {"gasUsed": "much"},
        {"logs": None},
        {"blockHash": None},
    ],
)
async def test_misshapen_receipt_is_the_endpoints_failure(lie: dict[str, Any]) -> None:
    """A receipt is used only if it is whole and of the transaction asked for."""
    node = Node()
    node.on["eth_getTransactionReceipt"] = lambda params: _receipt(params[0]) | lie
    async with client_of(node) as chain:
        with pytest.raises(EndpointsExhausted, match="answered nonsense"):
            await chain.receipts(["0x" + "01" * 32])


async def test_one_endpoints_receipt_is_not_a_quorums() -> None:
    """Under a quorum a receipt counts when so many endpoints tell the same, else there is none."""
    nodes = [Node(), Node(), Node()]
    lie = log(50)
    for node, logs in zip(nodes, ([lie], [], []), strict=True):
        node.on["eth_getTransactionReceipt"] = lambda params, logs=logs: _receipt(
            params[0], logs=logs
        )
    tx = TxHash("0x" + "01" * 32)
    async with client_of(*nodes, quorum=2) as chain:
        (found,) = await chain.receipts([tx])
        assert found is not None
        assert found["logs"] == []
        nodes[2].on["eth_getTransactionReceipt"] = lambda params: None
        assert await chain.receipts([tx]) == [None]


async def test_a_nonce_is_read_under_the_quorum() -> None:
    """One endpoint cannot say that a nonce is used; what any of them holds pending counts."""
    nodes = [Node(), Node(), Node()]
    for node, (mined, pending) in zip(nodes, ((9, 9), (5, 6), (5, 8)), strict=True):
        node.on["eth_getTransactionCount"] = lambda params, m=mined, p=pending: hex(
            p if params[1] == "pending" else m
        )
        node.on["eth_getBalance"] = lambda params: hex(10)
    async with client_of(*nodes, quorum=2) as chain:
        assert await chain.accounts([NOBODY]) == [Account(5, Wei(10))]
        assert await chain.pending_nonce(NOBODY) == 9
        nodes[2].on["eth_getTransactionCount"] = lambda params: "0x7"
        with pytest.raises(EndpointsDisagree):
            await chain.accounts([NOBODY])
    async with client_of(nodes[1]) as chain:
        assert await chain.accounts([NOBODY]) == [Account(5, Wei(10))]


async def test_endpoints_a_block_apart_agree_on_a_nonce() -> None:
    """A quorum's nonce is read at a block that so many endpoints have, not at each one's latest."""
    nodes = [Node(head=101), Node(head=100)]
    for node in nodes:
        node.on["eth_getTransactionCount"] = lambda params, node=node: hex(
            node.head if params[1] == "latest" else int(params[1], 16)
        )
        node.on["eth_getBalance"] = lambda params: hex(10)
    async with client_of(*nodes, quorum=2) as chain:
        assert await chain.accounts([NOBODY]) == [Account(100, Wei(10))]


# --- heads -----------------------------------------------------------------------------------


async def test_heads_are_polled_without_a_socket() -> None:
    """Each new number is yielded once, and a failing poll ends nothing."""
    ticks = itertools.count(1_000.0, 1.0)
    node = Node(head=1)
    seen = 0

    def height(params: Any) -> str:
        nonlocal seen
        seen += 1
        if seen % 3 == 0:
            raise Refused(429, "too many requests")
        return hex(seen // 2)

    async with client_of(node, clock=lambda: next(ticks)) as chain:
        node.on["eth_blockNumber"] = height
        async with contextlib.aclosing(chain.heads()) as heads:
            numbers = [await anext(heads) for _ in range(4)]
    assert numbers == sorted(set(numbers))


async def test_heads_are_pushed_over_a_socket_and_polled_after_it_breaks() -> None:
    """newHeads wake us at once; when the socket is gone polling takes over."""
    node = Node(head=5)

    async def heads_of(chain: Any) -> list[int]:
        async with contextlib.aclosing(chain.heads()) as heads:
            first = await anext(heads)
            second = asyncio.ensure_future(anext(heads))
            await node.subscribed.wait()
            await node.push_head(6)
            pushed = await second
            third = asyncio.ensure_future(anext(heads))
            node.head = 7
            for socket in node.sockets:
                await socket.close()
            return [first, pushed, await third]

    async with contextlib.AsyncExitStack() as stack:
        chain = await stack.enter_async_context(_with_socket(node))
        assert await heads_of(chain) == [5, 6, 7]


@contextlib.asynccontextmanager
async def _with_socket(node: Node) -> Any:
    async with running(node):
        ws = f"ws://127.0.0.1:{node.port}/ws"
        chain = ChainClient("seven", settings(node, endpoint={"ws_url": ws}), clock=Time())
        try:
            yield chain
        finally:
            await chain.aclose()


async def test_lying_socket_falls_back_to_polling() -> None:
    """A socket that sends rubbish is dropped; heads keep coming from polls."""
    node = Node(head=5)
    async with _with_socket(node) as chain, contextlib.aclosing(chain.heads()) as heads:
        assert await anext(heads) == 5
        waiting = asyncio.ensure_future(anext(heads))
        await node.subscribed.wait()
        node.head = 6
        await node.sockets[0].send_str("[" * 100_000)
        assert await waiting == 6
