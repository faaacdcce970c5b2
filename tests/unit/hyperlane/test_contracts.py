"""Hand-written ABI coding against `eth_abi` and published selectors and topics."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode as abi_encode

from relayer.errors import BadChainData
from relayer.message import Address
from relayer.protocols.hyperlane import contracts

A = Address("0x" + "ab" * 20)
B = Address("0x" + "cd" * 20)


@pytest.mark.parametrize(
    ("found", "published"),
    [
        (contracts.DISPATCH, "769f711d20c679153d382254f59892613b58a97cc876b249134ac25c80f9c814"),
        (contracts.PROCESS, "0d381c2a574ae8f04e213db7cfb4df8df712cdbd427d9868ffef380660ca6574"),
        (contracts.PROCESS_ID, "1cae38cdd3d3919489272725a5ae62a4f48b2989b0dae843d3c279fee18073a9"),
        (
            contracts.INSERTED_INTO_TREE,
            "253a3a04cab70d47c1504809242d9350cd81627b4f1d50753e159cf8cd76ed33",
        ),
        (contracts.GAS_PAYMENT, "65695c3748edae85a24cc2c60b299b31f463050bc259150d2e5802ec8d11720a"),
        (contracts.PROCESS_CALL, "7c39d130"),
        (contracts.DELIVERED, "e495f1d4"),
        (contracts.RECIPIENT_ISM, "e70f48ac"),
        (contracts.MODULE_TYPE, "6465e69f"),
        (contracts.VALIDATORS_AND_THRESHOLD, "2e0ed234"),
        (contracts.MODULES_AND_THRESHOLD, "6f72df75"),
        (contracts.ROUTE, "15ce45a2"),
        (contracts.COUNT, "06661abd"),
        (contracts.ROOT, "ebf0c717"),
        (contracts.ANNOUNCED_LOCATIONS, "51abe7cc"),
        (contracts.OFFCHAIN_VERIFY_INFO, "bbac9bc8"),
        (contracts.OFFCHAIN_LOOKUP, "556f1830"),
    ],
)
def test_published_selectors_and_topics(found: bytes, published: str) -> None:
    """They are those of the deployed contracts (and of ERC-3668)."""
    assert found.hex() == published


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 500])
def test_process_call(size: int) -> None:
    """`process` is coded as any ABI library codes it, at every padding."""
    metadata, message = bytes(range(256))[: size % 200], b"\x07" * size
    expected = contracts.PROCESS_CALL + abi_encode(["bytes", "bytes"], [metadata, message])
    assert contracts.process_call(metadata, message) == expected
    one = contracts.ROUTE + abi_encode(["bytes"], [message])
    assert contracts.bytes_call(contracts.ROUTE, message) == one


def test_locations_round_trip() -> None:
    """The question is coded as `address[]`, the answer read as `string[][]`."""
    expected = contracts.ANNOUNCED_LOCATIONS + abi_encode(["address[]"], [[A, B]])
    assert contracts.locations_call([A, B]) == expected
    answer = abi_encode(["string[][]"], [[["s3://a", "s3://b"], []]])
    assert contracts.read_locations(answer, 2) == [("s3://a", "s3://b"), ()]
    with pytest.raises(BadChainData, match="2 lists"):
        contracts.read_locations(answer, 3)


def test_a_location_that_is_not_text_is_left_out() -> None:
    """One validator's broken location hides only itself."""
    answer = abi_encode(["bytes[][]"], [[[b"\xff\xfe"], [b"gs://ok/key"]]])
    assert contracts.read_locations(answer, 2) == [(), ("gs://ok/key",)]


def test_sets() -> None:
    """Validator sets are read in order, with their threshold or weights."""
    answer = abi_encode(["address[]", "uint8"], [[B, A], 2])
    assert contracts.read_addresses_and_number(answer) == ((B, A), 2)
    answer = abi_encode(["(address,uint96)[]", "uint96"], [[(B, 3), (A, 4)], 7])
    assert contracts.read_weights(answer) == ((B, A), (3, 4), 7)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        bytes(31),
        b"\xff" * 64,
        b"\xff" * 96,
        (64).to_bytes(32, "big") + bytes(32) + (2**255).to_bytes(32, "big"),
        (64).to_bytes(32, "big") + bytes(32) + (10**6).to_bytes(32, "big"),
        bytes(contracts.MAX_ANSWER_BYTES + 1),
        abi_encode(["address[]", "uint8"], [[A] * 257, 1]),
    ],
)
def test_hostile_answers_are_refused(answer: bytes) -> None:
    """Answers that are cut short, lie about lengths or are too large are errors."""
    with pytest.raises(BadChainData):
        contracts.read_addresses_and_number(answer)


def test_an_address_with_dirt_is_refused() -> None:
    """Twelve leading bytes of an address word are zero."""
    with pytest.raises(BadChainData):
        contracts.read_address(b"\x01" * 32)


def test_lookup_round_trip() -> None:
    """The `OffchainLookup` revert is read back; any other revert is not one."""
    lookup = contracts.Lookup(A, ("https://a.example/{data}",), b"\x01\x02")
    revert = contracts.encode_lookup(lookup)
    assert contracts.read_lookup(revert) == lookup
    for other in (b"", b"\x08\xc3\x79\xa0" + revert[4:], revert[:40]):
        with pytest.raises(BadChainData):
            contracts.read_lookup(other)
