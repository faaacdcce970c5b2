"""What nodes send, read strictly: JSON, hex, refusals, Multicall3 answers, revert data, names."""

from __future__ import annotations

import json

import pytest
from eth_abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from relayer.adapter import View, ViewResult
from relayer.chains.headers import block_param, header_request, parse_header
from relayer.chains.logs import is_range_refusal, logs_request, parse_logs
from relayer.chains.multicall import (
    CHUNK_BYTES,
    CHUNK_VIEWS,
    chunks,
    decode_aggregate3,
    encode_aggregate3,
    encode_aggregate3_value,
)
from relayer.chains.redaction import Redactor, shown_name, shown_names
from relayer.chains.refusals import may_differ_elsewhere, refusal
from relayer.chains.wire import octets, printable, quantity
from relayer.errors import (
    BadChainData,
    CallReverted,
    EndpointDown,
    RangeTooWide,
    RpcRefused,
    StaleEndpoint,
)
from relayer.foreign_json import MAX_DEPTH, parse_json
from relayer.keccak import keccak256
from relayer.message import Address, BlockNumber, ChainId
from tests.unit.chain_node import OUTBOX, TOPIC, header, log

CHAIN = ChainId(7)


# --- wire ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [None, 1, True, "", "0x", "1", "0xg", "0x-1", "0x 1", "0x1_0", "0x" + "f" * 65, "0X1"]
)
def test_quantity_is_hex_or_an_error(bad: object) -> None:
    """Only 0x and 1 to 64 hex digits are a number; what int() also takes is not."""
    with pytest.raises(BadChainData):
        quantity(bad, "it")


@pytest.mark.parametrize("bad", [None, 1, "", "00", "0x0", "0xgg", "0x 0", "0x00 00", "0x\n00"])
def test_octets_are_hex_or_an_error(bad: object) -> None:
    """Only 0x and whole bytes are data; white space that bytes.fromhex takes is not."""
    with pytest.raises(BadChainData):
        octets(bad, "it")


def test_limits_of_quantity_and_octets() -> None:
    """The largest allowed value and the exact size pass, one more does not."""
    assert quantity("0xff", "it", most=255) == 255
    with pytest.raises(BadChainData):
        quantity("0x100", "it", most=255)
    assert octets("0x0102", "it", size=2) == b"\x01\x02"
    with pytest.raises(BadChainData):
        octets("0x0102", "it", size=3)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'["' + b'\\"' * 100_000 + b'",' + b"[" * 100_000,
        b"[{]}" * 40,
    ],
)
def test_deep_nesting_is_refused_before_it_is_parsed(text: bytes) -> None:
    """Depth that would overflow the parser's C stack is an ordinary ValueError."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=200,
)


@given(_JSON)
def test_ordinary_json_is_read_whatever_its_strings_hold(value: object) -> None:
    """Brackets and quotes inside strings do not count as nesting."""
    padded = [value, "[{" * MAX_DEPTH, '\\"[', *[[] for _ in range(MAX_DEPTH)]]
    assert parse_json(json.dumps(padded).encode()) == padded
    assert parse_json(json.dumps(padded, ensure_ascii=False).encode()) == padded


def test_printable_is_bounded_and_harmless() -> None:
    """Terminal escapes and line breaks become blanks; the length has a limit."""
    assert printable("a\x1b[31mb\nc") == "a [31mb c"
    assert len(printable("x" * 1000)) == 300
    assert printable("x" * 300) == "x" * 300


# --- names and secrets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:pass@node.example/v3/key?x=1#y", "https://node.example"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("http://[::1]:8545/abc", "http://[::1]:8545"),
        ("wss://node.example/ws/key", "wss://node.example"),
    ],
)
def test_shown_name_is_scheme_host_and_port(url: str, name: str) -> None:
    """Userinfo, path, query and fragment are never part of a name."""
    assert shown_name(url) == name


def test_two_keys_at_one_provider_have_two_names() -> None:
    """Names are metric labels, so they are distinct though the keys are hidden."""
    names = shown_names(["https://a/key1", "https://b/", "https://a/key2"])
    assert names == ["https://a", "https://b", "https://a#2"]


def test_redactor_hides_every_secret_part() -> None:
    """Path segments, query values and userinfo disappear, plain and percent-encoded."""
    redactor = Redactor(["https://joe:s3cr3t%21@h/v3/abcdefgh12345678?key=q%2Fuery"])
    text = "no abcdefgh12345678 s3cr3t! s3cr3t%21 q/uery v3"
    assert redactor.clean(text) == "no *** *** *** *** v3"
    assert "abcdefgh" not in repr(redactor)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
        "query returned more than 10000 results. Try with this block range [0x1, 0x2].",
        "eth_getLogs is limited to a 10,000 range",
        "eth_getLogs and eth_newFilter are limited to a 10,000 blocks range",
        "block range is too wide",
        "Block range limit exceeded. See more details",
        "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800",
        "ranges over 10000 blocks are not supported on freetier",
        "Please limit the query to at most 500 blocks",
        "exceed maximum block range: 50000",
        "query exceeds max results 20000, retry with the range 1-100",
        "query exceeds max block range 100000",
        "eth_getLogs is limited to 0 - 10000 blocks range",
        "query timeout exceeded",
        "requested too many blocks from 1 to 2, maximum is set to 2048",
        "response size should not greater than 10000000 bytes",
        "backend response too large",
        "Response is too big",
    ],
)
def test_providers_range_limits_are_recognised(text: str) -> None:
    """However a provider words its limit on eth_getLogs, it becomes RangeTooWide."""
    assert is_range_refusal(text)
    error = refusal("eth_getLogs", {"code": -32005, "message": text}, endpoint="e")
    assert isinstance(error, RangeTooWide)


@pytest.mark.parametrize("text", ["execution reverted", "method not found", "unauthorized"])
def test_other_refusals_are_no_range_limit(text: str) -> None:
    """Ordinary refusals do not shrink the range."""
    assert not is_range_refusal(text)


@pytest.mark.parametrize(
    ("method", "code", "text", "kind"),
    [
        ("eth_call", 3, "execution reverted", CallReverted),
        ("eth_estimateGas", -32000, "gas required exceeds allowance (21000)", CallReverted),
        ("eth_estimateGas", -32000, "always failing transaction", CallReverted),
        ("eth_call", -32015, "VM execution error.", CallReverted),
        ("eth_getBalance", -32000, "execution reverted", RpcRefused),
        ("eth_call", -32000, "header not found", StaleEndpoint),
        (
            "eth_call",
            -32000,
            "missing trie node 12ab (path ) state 0x12 is not available",
            StaleEndpoint,
        ),
        ("eth_getBlockByNumber", -32001, "Unknown block", StaleEndpoint),
        ("eth_getLogs", -32000, "block range extends beyond current head block", StaleEndpoint),
        ("eth_call", -32005, "daily request count exceeded, request rate limited", EndpointDown),
        ("eth_call", 429, "exceeded its compute units per second capacity", EndpointDown),
        ("eth_getLogs", -32016, "over rate limit", EndpointDown),
        ("eth_sendRawTransaction", -32000, "nonce too low", RpcRefused),
        ("eth_sendRawTransaction", -32000, "header not found", RpcRefused),
        ("eth_call", -32602, "invalid argument 0", RpcRefused),
    ],
)
def test_refusals_are_told_apart(method: str, code: int, text: str, kind: type) -> None:
    """The chain's word, a lack of the endpoint and a rate limit are three different things."""
    error = refusal(method, {"code": code, "message": text}, endpoint="e")
    assert type(error) is kind


@pytest.mark.parametrize("error", [None, "no", 7, ["no"]])
def test_error_that_is_no_object_is_nonsense(error: object) -> None:
    """The error member of a reply is an object by JSON-RPC 2.0."""
    assert isinstance(refusal("eth_call", error, endpoint="e"), EndpointDown)


def test_only_lacks_of_an_endpoint_are_asked_elsewhere() -> None:
    """What the chain said is the same everywhere."""
    assert may_differ_elsewhere(StaleEndpoint("x"))
    assert may_differ_elsewhere(RpcRefused(-32601, "x"))
    assert may_differ_elsewhere(RpcRefused(-32603, "x"))
    assert not may_differ_elsewhere(RpcRefused(-32000, "x"))
    assert not may_differ_elsewhere(CallReverted("x"))


# --- blocks and logs -------------------------------------------------------------------------


def test_block_parameters() -> None:
    """Numbers, tags and hashes have one form each; anything else is our own mistake."""
    assert block_param(BlockNumber(255)) == "0xff"
    assert header_request("safe") == ("eth_getBlockByNumber", ["safe", False])
    assert header_request("0x" + "ab" * 32)[0] == "eth_getBlockByHash"
    for bad in ("newest", "0x12", "0x" + "AB" * 32):
        with pytest.raises(ValueError, match="not a block"):
            block_param(bad)


def test_header_keeps_what_a_protocol_may_need_but_not_the_transactions() -> None:
    """Fields of a chain's own stay in `raw`; the bulk does not."""
    found = parse_header(header(5) | {"l1BlockNumber": "0x1"}, BlockNumber(5))
    assert found.raw["l1BlockNumber"] == "0x1"
    assert "transactions" not in found.raw
    legacy = {key: value for key, value in header(5).items() if key != "baseFeePerGas"}
    assert parse_header(legacy, BlockNumber(5)).base_fee is None


@pytest.mark.parametrize(
    ("time", "seconds"), [(None, 0.0), ("0x10", 16.0), (16, 16.0), ("0x0", 0.0)]
)
def test_block_time_in_a_log_is_optional(time: object, seconds: float) -> None:
    """Nodes give it as hex, as a number, or not at all."""
    (found,) = parse_logs(CHAIN, [log(5, blockTimestamp=time)])
    assert found.at.timestamp == seconds


@pytest.mark.parametrize("raw", [None, {}, "0x", [None], [[]], [log(5, blockTimestamp=2**41)]])
def test_logs_are_a_list_of_objects(raw: object) -> None:
    """Anything else is BadChainData."""
    with pytest.raises(BadChainData):
        parse_logs(CHAIN, raw)


def test_logs_request_has_hex_and_wildcards() -> None:
    """Topics are words or null by position."""
    _, (query,) = logs_request(
        BlockNumber(1), BlockNumber(16), addresses=[Address(OUTBOX)], topics=[[TOPIC], None]
    )
    assert query == {
        "fromBlock": "0x1",
        "toBlock": "0x10",
        "address": [OUTBOX],
        "topics": [["0x" + TOPIC.hex()], None],
    }


# --- multicall -------------------------------------------------------------------------------

_PAYLOADS = st.lists(st.binary(max_size=100), max_size=8)


@given(_PAYLOADS, st.booleans())
def test_aggregate3_is_what_the_generic_codec_writes(payloads: list[bytes], allow: bool) -> None:
    """Our fixed layout equals ABI coding by eth_abi, byte for byte."""
    views = [View(Address(OUTBOX), payload) for payload in payloads]
    selector = keccak256(b"aggregate3((address,bool,bytes)[])")[:4]
    wanted = encode(["(address,bool,bytes)[]"], [[(OUTBOX, allow, p) for p in payloads]])
    assert encode_aggregate3(views, allow_failure=allow) == selector + wanted


@given(_PAYLOADS, st.integers(0, 2**256 - 1))
def test_aggregate3_value_is_what_the_generic_codec_writes(
    payloads: list[bytes], value: int
) -> None:
    """The same for the calls that carry value."""
    selector = keccak256(b"aggregate3Value((address,bool,uint256,bytes)[])")[:4]
    calls = [(Address(OUTBOX), n % 2 == 0, value, p) for n, p in enumerate(payloads)]
    wanted = encode(["(address,bool,uint256,bytes)[]"], [calls])
    assert encode_aggregate3_value(calls) == selector + wanted


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=100)), max_size=8))
def test_answers_are_read_as_the_generic_codec_writes_them(
    answers: list[tuple[bool, bytes]],
) -> None:
    """Results come back in order with their success flags."""
    packed = encode(["(bool,bytes)[]"], [answers])
    assert decode_aggregate3(packed, len(answers)) == [ViewResult(*one) for one in answers]
    with pytest.raises(BadChainData):
        decode_aggregate3(packed, len(answers) + 1)


@given(st.binary(max_size=400), st.integers(1, 5))
def test_garbage_from_multicall_is_bad_chain_data(garbage: bytes, count: int) -> None:
    """Whatever the bytes, either they decode as eth_abi says or BadChainData is raised."""
    try:
        found = decode_aggregate3(garbage, count)
    except BadChainData:
        return
    ((wanted),) = decode(["(bool,bytes)[]"], garbage, strict=False)
    assert found == [ViewResult(*one) for one in wanted]


def test_chunks_bound_count_and_bytes() -> None:
    """Chunks keep the order and fit one eth_call each."""
    views = [View(Address(OUTBOX), bytes(n % 3000)) for n in range(1000)]
    split = chunks(views)
    assert [view for part in split for view in part] == views
    assert max(len(part) for part in split) <= CHUNK_VIEWS
    assert max(sum(len(view.data) for view in part) for part in split) <= CHUNK_BYTES
    assert chunks([View(Address(OUTBOX), bytes(CHUNK_BYTES * 2))] * 2) != []
