"""Hostile endpoints and hostile contracts: what they can spoil is their own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from eth_abi import decode, encode

from relayer.adapter import View, ViewResult
from relayer.errors import (
    EndpointsDisagree,
    EndpointsExhausted,
    RangeTooWide,
    RpcRefused,
)
from relayer.message import Address, BlockNumber, TxHash
from relayer.settings import FinalitySettings
from tests.unit.chain_node import (
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
)

NOBODY = Address("0x" + "00" * 20)
WANTED: dict[str, Any] = {"addresses": [Address(OUTBOX)], "topics": [[TOPIC]]}
TX = TxHash(f"0x{50:064x}")  # as `log(50)` says


def _down(body: Any) -> web.StreamResponse:
    return web.Response(status=503)


def _inner(params: Sequence[Any]) -> list[bytes]:
    """The calldata of each view in an `aggregate3` call."""
    payload = bytes.fromhex(params[0]["data"][2:])
    ((calls),) = decode(["(address,bool,bytes)[]"], payload[4:])
    return [call[2] for call in calls]


def _packed(answers: Sequence[tuple[bool, bytes]]) -> str:
    return "0x" + encode(["(bool,bytes)[]"], [list(answers)]).hex()


# --- contracts -------------------------------------------------------------------------------


async def test_a_view_that_burns_the_gas_of_its_pack_fails_alone() -> None:
    """Views that had no gas left in company are asked by themselves; real failures stay."""
    burner, failing = b"\xff", b"\xfe"

    def answer(params: Sequence[Any]) -> str:
        if params[0]["to"] != MULTICALL:
            if params[0]["data"] in ("0xff", "0xfe"):
                raise Refused(-32000, "execution reverted")
            return str(params[0]["data"])
        inner = _inner(params)
        at = inner.index(burner)
        with_gas = [(one != failing, one if one != failing else b"") for one in inner[:at]]
        return _packed([*with_gas, *[(False, b"")] * (len(inner) - at)])

    node = Node()
    node.on["eth_getCode"] = lambda params: "0x60"
    node.on["eth_call"] = answer
    async with client_of(node, multicall=MULTICALL) as chain:
        payloads = [b"\x01", failing, b"\x02", burner, *(bytes([n]) for n in range(3, 20))]
        answers = await chain.read([View(NOBODY, one) for one in payloads])
        assert answers == [
            ViewResult(False, b"") if one in (burner, failing) else ViewResult(True, one)
            for one in payloads
        ]


async def test_a_contract_that_answers_megabytes_is_refused_and_the_endpoint_is_not_blamed() -> (
    None
):
    """Too large an answer to a call is the contract's doing, so the call is refused."""
    node = Node()
    node.on["eth_call"] = lambda params: "0x" + "00" * (40_000 if params[0]["data"] else 0)
    async with client_of(node, max_response_bytes=2**16) as chain:
        with pytest.raises(RpcRefused, match="over 65536 bytes"):
            await chain.read([View(NOBODY, b"\x01")])
        with pytest.raises(RpcRefused, match="over 65536 bytes"):
            await chain.read([View(NOBODY, b"\x01")] * 3)
        assert chain.health()[0].errors == 0


@pytest.mark.parametrize("multicall", [None, MULTICALL])
async def test_a_long_revert_of_a_view_comes_whole(multicall: str | None) -> None:
    """ERC-3668 hands a request over in a revert: it is longer than an error text."""
    revert = bytes(range(256)) * 40
    node = Node()
    node.on["eth_getCode"] = lambda params: "0x60"

    def answer(params: Sequence[Any]) -> Any:
        raise Refused(3, "execution reverted", "0x" + revert.hex())

    node.on["eth_call"] = answer
    async with client_of(node, multicall=multicall) as chain:
        assert await chain.read([View(NOBODY, b"\x01")]) == [ViewResult(False, revert)]


# --- one endpoint ----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["later", "after a failure"])
async def test_an_endpoint_that_turns_to_another_chain_is_noticed(when: str) -> None:
    """The chain id is asked again now and then, and at once when an endpoint comes back."""
    time = Time()
    turncoat, honest = Node(), Node()
    turncoat.on["eth_getBalance"] = lambda params: "0x66"
    honest.on["eth_getBalance"] = lambda params: "0x1"
    async with client_of(turncoat, honest, clock=time) as chain:
        assert await chain.balance(NOBODY) == 0x66
        turncoat.on["eth_chainId"] = lambda params: "0x8"
        if when == "later":
            time.now += 61
        else:
            turncoat.reply = _down
            assert await chain.balance(NOBODY) == 1
            turncoat.reply = None
            time.now += 1
        assert await chain.balance(NOBODY) == 1
        assert chain.health()[0].healthy is False


async def test_the_chain_id_is_not_asked_before_every_request() -> None:
    """Checking costs one request a minute."""
    time = Time()
    node = Node()
    node.on["eth_getBalance"] = lambda params: "0x1"
    async with client_of(node, clock=time) as chain:
        for _ in range(50):
            await chain.balance(NOBODY)
            time.now += 1
        assert node.methods().count("eth_chainId") == 1


@pytest.mark.parametrize(
    "shuffle",
    [
        lambda replies: replies[:-1],
        lambda replies: [*replies, replies[0]],
        lambda replies: [replies[0], replies[0]],
        lambda replies: [{**one, "id": one["id"] + 1} for one in replies],
        lambda replies: [{**one, "id": str(one["id"])} for one in replies],
        lambda replies: [{**one, "id": None} for one in replies],
        lambda replies: [{**one, "id": True} for one in replies],
        lambda replies: [{**replies[0], "id": [1]}, replies[1]],
        lambda replies: [[], None],
        lambda replies: {},
    ],
    ids=["short", "long", "double", "shifted", "text", "null", "bool", "list", "junk", "object"],
)
async def test_a_batch_whose_ids_are_mixed_up_is_no_answer(shuffle: Any) -> None:
    """No answer is ever given to another question than it belongs to."""
    node, honest = Node(), Node()
    async with client_of(node, honest) as chain:
        node.reply = lambda body: (
            web.json_response(shuffle([node.reply_to(one) for one in body]))
            if isinstance(body, list)
            else web.json_response(node.reply_to(body))
        )
        head, final = await chain.tip()
        assert (head.number, final.number) == (100, 90)
        assert "eth_getBlockByNumber" in honest.methods()
        assert chain.health()[0].errors > 0


@pytest.mark.parametrize(
    "number",
    ["0x-1", "-0x1", "0x" + "f" * 65, "0x" + "f" * 17, 100, 1e400, "", "0x", "0x64 ", "1_0", True],
)
async def test_numbers_that_are_none_are_the_endpoints_failure(number: Any) -> None:
    """Negative, huge, decimal or empty block numbers send us to the next endpoint."""
    liar, honest = Node(), Node()
    liar.on["eth_getBlockByNumber"] = lambda params: header(50) | {"number": number}
    async with client_of(liar, honest) as chain:
        assert (await chain.tip())[0].number == 100
        assert chain.health()[0].errors == 1


async def test_hex_in_capitals_is_the_same_hex() -> None:
    """Checksummed addresses and capital hashes are read in lower case, and agree in a quorum."""
    capital, plain = Node(), Node()
    one = log(40, address=OUTBOX, data="0x" + "ef" * 32)
    plain.logs = [one]
    capital.logs = [
        one
        | {name: "0x" + one[name][2:].upper() for name in ("address", "data", "blockHash")}
        | {"topics": ["0x" + topic[2:].upper() for topic in one["topics"]]}
    ]
    upper = header(50) | {"hash": "0x" + block_hash(50)[2:].upper()}
    capital.on["eth_getBlockByNumber"] = lambda params: (
        upper if params[0] == hex(50) else capital.answer("eth_getBlockByNumber", params)
    )
    async with client_of(capital, plain, quorum=2) as chain:
        logs, last = await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
    assert (logs[0].address, logs[0].data, last.hash) == (OUTBOX, b"\xef" * 32, block_hash(50))


# --- quorum ----------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", [0, 10**15], ids=["far behind", "far ahead"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "rule",
    [FinalitySettings(tag="finalized"), FinalitySettings(tag="latest"), FinalitySettings(depth=10)],
    ids=["finalized", "latest", "depth"],
)
async def test_one_liar_about_tips_stops_nobody(
    rule: FinalitySettings, place: int, claim: int
) -> None:
    """Two honest endpoints one block apart have a tip, whatever the third claims of any tag."""
    nodes = [Node(head=101), Node(head=100)]
    liar = Node()
    nodes.insert(place, liar)
    liar.on["eth_getBlockByNumber"] = lambda params: (
        header(claim if params[0] in ("latest", "finalized") else int(params[0], 16), fork=9)
        | {"timestamp": hex(1_700_000_000)}
    )
    async with client_of(*nodes, quorum=2, finality=rule) as chain:
        head, final = await chain.tip()
        assert head.number in (100, 101)
        assert head.hash == block_hash(head.number)
        assert (
            final.number in {"latest": (100, 101), "finalized": (90, 91), None: (90, 91)}[rule.tag]
        )
        assert final.hash == block_hash(final.number)
        assert (await chain.header("latest")).hash == block_hash(head.number)
        assert (await chain.read([View(NOBODY, b"")]))[0].ok


@pytest.mark.parametrize(
    "lie",
    [
        {"stateRoot": "0x" + "66" * 32},
        {"timestamp": hex(1)},
        {"parentHash": "0x" + "66" * 32},
        {"baseFeePerGas": hex(10**30)},
        {"gasLimit": hex(1)},
    ],
    ids=lambda lie: next(iter(lie)),
)
async def test_a_right_hash_does_not_vouch_for_the_rest_of_a_header(lie: dict[str, Any]) -> None:
    """Under a quorum every field we use was told alike, not only the hash."""
    liar, one, other = Node(), Node(), Node()
    liar.on["eth_getBlockByNumber"] = lambda params: header(50) | lie
    async with client_of(liar, one, other, quorum=2) as chain:
        honest = await chain.header(BlockNumber(50))
        assert honest.state_root == b"\xcc" * 32
        assert (honest.timestamp, honest.base_fee) == (1_700_000_050, 10**9)
        assert (honest.gas_limit, honest.parent_hash) == (30_000_000, block_hash(49))
        _, last = await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
        assert last == honest
        other.reply = _down
        with pytest.raises(EndpointsDisagree):
            await chain.header(BlockNumber(50))


async def test_one_endpoint_cannot_make_the_range_shrink() -> None:
    """A refusal for size counts only when those who answer are too few."""
    picky, one, other = Node(), Node(), Node()

    def refuse(params: Any) -> Any:
        raise Refused(-32005, "query returned more than 10000 results")

    picky.on["eth_getLogs"] = refuse
    one.logs = other.logs = [log(40)]
    async with client_of(picky, one, other, quorum=2) as chain:
        logs, _ = await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)
        assert len(logs) == 1
        other.on["eth_getLogs"] = refuse
        with pytest.raises(RangeTooWide):
            await chain.scan(BlockNumber(1), BlockNumber(50), **WANTED)


def _receipt(**changes: Any) -> dict[str, Any]:
    return {
        "transactionHash": TX,
        "blockHash": block_hash(50),
        "blockNumber": hex(50),
        "status": "0x1",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x1",
        "logs": [log(50)],
    } | changes


@pytest.mark.parametrize(
    "lie",
    [
        {"blockNumber": hex(2**62)},
        {"logs": [log(50) | {"blockNumber": hex(51)}]},
        {"logs": [log(50) | {"blockHash": block_hash(51)}]},
        {"logs": [log(50) | {"transactionHash": "0x" + "66" * 32}]},
        {"logs": [log(50) | {"removed": True}]},
        {"logs": [log(50), 7]},
        {"logs": [None]},
    ],
    ids=["block", "log block", "log hash", "log tx", "removed", "more", "none"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_receipt_is_told_alike_in_all_that_is_used(lie: dict[str, Any], place: int) -> None:
    """A liar cannot hide a false place behind a true outcome, in whatever order it is asked."""
    nodes = [Node(), Node(), Node()]
    for number, node in enumerate(nodes):
        told = _receipt(**lie) if number == place else _receipt()
        node.on["eth_getTransactionReceipt"] = lambda params, told=told: told
    async with client_of(*nodes, quorum=2) as chain:
        (found,) = await chain.receipts([TX])
        assert found is not None
        assert found["blockNumber"] == hex(50)
        assert found["logs"] == [log(50)]


async def test_an_endpoint_of_another_chain_has_no_voice() -> None:
    """One that was down at start and turns out to serve another chain counts for no quorum."""
    time = Time()
    wrong, one, other = Node(), Node(), Node()
    wrong.reply = _down
    async with client_of(wrong, one, other, quorum=2, clock=time) as chain:
        wrong.reply = None
        wrong.on["eth_chainId"] = lambda params: "0x8"
        time.now += 40
        assert (await chain.tip())[0].number == 100
        other.reply = _down
        with pytest.raises((EndpointsDisagree, EndpointsExhausted)):
            await chain.tip()
        assert "eth_getBlockByNumber" not in wrong.methods()
