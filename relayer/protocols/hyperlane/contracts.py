"""Events, selectors and the few ABI layouts of Hyperlane's contracts, coded by hand.

Source: `solidity/contracts/` of hyperlane-xyz/hyperlane-monorepo. Answers come from contracts that
anybody may write, so every decoder checks sizes and raises `BadChainData`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError

from relayer.abi import address_word, dynamic, selector, word
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

MAX_ANSWER_BYTES = 256 * 1024
"""No honest view of these contracts answers more."""
MAX_SET = 256
"""Validators or modules of one ISM; the contracts count them in a uint8."""


DISPATCH = keccak256(b"Dispatch(address,uint32,bytes32,bytes)")
PROCESS = keccak256(b"Process(uint32,bytes32,address)")
PROCESS_ID = keccak256(b"ProcessId(bytes32)")
INSERTED_INTO_TREE = keccak256(b"InsertedIntoTree(bytes32,uint32)")
GAS_PAYMENT = keccak256(b"GasPayment(bytes32,uint32,uint256,uint256)")

PROCESS_CALL = selector("process(bytes,bytes)")
DELIVERED = selector("delivered(bytes32)")
RECIPIENT_ISM = selector("recipientIsm(address)")
MODULE_TYPE = selector("moduleType()")
VALIDATORS_AND_THRESHOLD = selector("validatorsAndThreshold(bytes)")
VALIDATORS_AND_WEIGHT = selector("validatorsAndThresholdWeight(bytes)")
MODULES_AND_THRESHOLD = selector("modulesAndThreshold(bytes)")
ROUTE = selector("route(bytes)")
OFFCHAIN_VERIFY_INFO = selector("getOffchainVerifyInfo(bytes)")
PAUSED = selector("paused()")
TRUSTED_RELAYER = selector("trustedRelayer()")
ANNOUNCED_LOCATIONS = selector("getAnnouncedStorageLocations(address[])")
COUNT = selector("count()")
ROOT = selector("root()")

OFFCHAIN_LOOKUP = selector("OffchainLookup(address,string[],bytes,bytes4,bytes)")
"""ERC-3668's error."""


class ModuleType(IntEnum):
    """`IInterchainSecurityModule.Types`: what metadata an ISM wants."""

    UNUSED = 0
    ROUTING = 1
    AGGREGATION = 2
    LEGACY_MULTISIG = 3
    MERKLE_ROOT_MULTISIG = 4
    MESSAGE_ID_MULTISIG = 5
    NULL = 6
    CCIP_READ = 7
    ARB_L2_TO_L1 = 8
    WEIGHTED_MERKLE_ROOT_MULTISIG = 9
    WEIGHTED_MESSAGE_ID_MULTISIG = 10
    OP_L2_TO_L1 = 11
    POLYMER = 12


@dataclass(frozen=True, slots=True)
class Lookup:
    """What an `OffchainLookup` revert asks for (ERC-3668), its callback left out."""

    sender: Address
    urls: tuple[str, ...]
    call_data: bytes


def bytes_call(function: bytes, payload: bytes) -> bytes:
    """A call of a function whose one argument is `bytes`."""
    return function + word(32) + dynamic(payload)


def process_call(metadata: bytes, message: bytes) -> bytes:
    """`Mailbox.process(metadata, message)`."""
    first = dynamic(metadata)
    return PROCESS_CALL + word(64) + word(64 + len(first)) + first + dynamic(message)


def locations_call(validators: Sequence[Address]) -> bytes:
    """`ValidatorAnnounce.getAnnouncedStorageLocations(validators)`."""
    words = b"".join(map(address_word, validators))
    return ANNOUNCED_LOCATIONS + word(32) + word(len(validators)) + words


def read_word(answer: bytes) -> bytes:
    """The first word of an answer that has at least one."""
    if len(answer) < 32:
        raise BadChainData(f"an answer of {len(answer)} bytes holds no word")
    return answer[:32]


def read_uint(answer: bytes) -> int:
    """An answer of one number."""
    return int.from_bytes(read_word(answer), "big")


def read_address(answer: bytes) -> Address:
    """An answer of one address."""
    found = read_word(answer)
    if any(found[:12]):
        raise BadChainData("an answer is not an address")
    return Address("0x" + found[12:].hex())


def read_addresses_and_number(answer: bytes) -> tuple[tuple[Address, ...], int]:
    """`(address[], uint8)`: validators or modules, and the threshold."""
    addresses, number = _decode(["address[]", "uint8"], answer)
    return _checked_addresses(addresses), int(number)


def read_weights(answer: bytes) -> tuple[tuple[Address, ...], tuple[int, ...], int]:
    """`((address,uint96)[], uint96)`: validators, their weights, and the threshold weight."""
    members, threshold = _decode(["(address,uint96)[]", "uint96"], answer)
    validators = _checked_addresses([member[0] for member in members])
    return validators, tuple(int(member[1]) for member in members), int(threshold)


def read_locations(answer: bytes, count: int) -> list[tuple[str, ...]]:
    """`string[][]`: every location of each of `count` validators, oldest first.

    Locations that are not UTF-8 are left out: one validator must not spoil the others' answer.
    """
    (found,) = _decode(["bytes[][]"], answer)
    if len(found) != count:
        raise BadChainData(f"{len(found)} lists of storage locations for {count} validators")
    return [tuple(_texts(locations)) for locations in found]


def read_lookup(revert: bytes) -> Lookup:
    """Read the revert data of `OffchainLookup`; `BadChainData` for any other revert."""
    if revert[:4] != OFFCHAIN_LOOKUP:
        raise BadChainData("the ISM did not revert with OffchainLookup")
    kinds = ["address", "bytes[]", "bytes", "bytes4", "bytes"]
    sender, urls, call_data, _, _ = _decode(kinds, revert[4:])
    return Lookup(Address(sender.lower()), tuple(_texts(urls)), call_data)


def encode_lookup(lookup: Lookup) -> bytes:
    """The revert data a CCIP-read ISM gives, for fakes and tests."""
    kinds = ["address", "string[]", "bytes", "bytes4", "bytes"]
    values = [lookup.sender, list(lookup.urls), lookup.call_data, bytes(4), b""]
    try:
        return OFFCHAIN_LOOKUP + abi_encode(kinds, values)
    except EncodingError as error:
        raise BadChainData(str(error)[:200]) from None


def _decode(kinds: Sequence[str], answer: bytes) -> tuple[Any, ...]:
    if len(answer) > MAX_ANSWER_BYTES:
        raise BadChainData(f"an answer of {len(answer)} bytes is too large")
    try:
        return abi_decode(kinds, answer)
    except (DecodingError, OverflowError, ValueError) as error:
        raise BadChainData(f"an answer is not {','.join(kinds)}: {str(error)[:100]}") from None


def _checked_addresses(found: Sequence[str]) -> tuple[Address, ...]:
    if len(found) > MAX_SET:
        raise BadChainData(f"a set of {len(found)} members is too large")
    return tuple(Address(address.lower()) for address in found)


def _texts(found: Sequence[bytes]) -> Iterator[str]:
    for raw in found:
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError:
            continue
