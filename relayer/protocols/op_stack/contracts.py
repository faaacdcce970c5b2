"""Events, selectors and byte layouts of the OP Stack's bridge contracts, coded by hand.

Source: ethereum-optimism/specs (`protocol/withdrawals.md`) and contracts-bedrock of
ethereum-optimism/optimism (`src/L1`, `src/dispute`, `src/libraries/{Hashing,Types}.sol`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import address_of, address_word, array, dynamic, selector, word
from relayer.adapter import ViewResult
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

MESSAGE_PASSED = keccak256(b"MessagePassed(uint256,address,address,uint256,uint256,bytes,bytes32)")
WITHDRAWAL_PROVEN = keccak256(b"WithdrawalProven(bytes32,address,address)")
WITHDRAWAL_FINALIZED = keccak256(b"WithdrawalFinalized(bytes32,bool)")
RELAYED_MESSAGE = keccak256(b"RelayedMessage(bytes32)")
FAILED_RELAYED_MESSAGE = keccak256(b"FailedRelayedMessage(bytes32)")
OUTPUT_PROPOSED = keccak256(b"OutputProposed(bytes32,uint256,uint256,uint256)")
GAME_CREATED = keccak256(b"DisputeGameCreated(address,uint32,bytes32)")

_TX = "(uint256,address,address,uint256,uint256,bytes)"
PROVE = selector(
    f"proveWithdrawalTransaction({_TX},uint256,(bytes32,bytes32,bytes32,bytes32),bytes[])"
)
FINALIZE = selector(f"finalizeWithdrawalTransaction({_TX})")
FINALIZE_EXTERNAL = selector(f"finalizeWithdrawalTransactionExternalProof({_TX},address)")
RELAY_MESSAGE = selector("relayMessage(uint256,address,address,uint256,uint256,bytes)")

VERSION = selector("version()")
PAUSED = selector("paused()")
L2_ORACLE = selector("l2Oracle()")
L2_ORACLE_OLD = selector("L2_ORACLE()")
FACTORY = selector("disputeGameFactory()")
REGISTRY = selector("anchorStateRegistry()")
RESPECTED_TYPE = selector("respectedGameType()")
RESPECTED_SINCE = selector("respectedGameTypeUpdatedAt()")
MATURITY_DELAY = selector("proofMaturityDelaySeconds()")
FINALITY_DELAY = selector("disputeGameFinalityDelaySeconds()")
FINALIZED = selector("finalizedWithdrawals(bytes32)")
PROVEN_OLD = selector("provenWithdrawals(bytes32)")
PROVEN = selector("provenWithdrawals(bytes32,address)")
SUBMITTER_COUNT = selector("numProofSubmitters(bytes32)")
SUBMITTER = selector("proofSubmitters(bytes32,uint256)")

PERIOD = selector("FINALIZATION_PERIOD_SECONDS()")
NEXT_OUTPUT = selector("nextOutputIndex()")
OUTPUT = selector("getL2Output(uint256)")

GAME_COUNT = selector("gameCount()")
GAME_AT = selector("gameAtIndex(uint256)")
IS_REGISTERED = selector("isGameRegistered(address)")
IS_RESPECTED = selector("isGameRespected(address)")
IS_BLACKLISTED = selector("isGameBlacklisted(address)")
IS_RETIRED = selector("isGameRetired(address)")
PORTAL_BLACKLIST = selector("disputeGameBlacklist(address)")

ROOT_CLAIM = selector("rootClaim()")
ROOT_CLAIM_OF = selector("rootClaimByChainId(uint256)")
GAME_BLOCK = selector("l2BlockNumber()")
GAME_SEQUENCE = selector("l2SequenceNumber()")
GAME_TYPE = selector("gameType()")
CREATED_AT = selector("createdAt()")
GAME_STATUS = selector("status()")
RESOLVED_AT = selector("resolvedAt()")
CLOCK_LIMIT = selector("maxClockDuration()")

PORTAL_OF = (selector("portal()"), selector("PORTAL()"))
"""The messenger's word on its portal, in newer and older versions."""
SUCCESSFUL_MESSAGES = selector("successfulMessages(bytes32)")
FAILED_MESSAGES = selector("failedMessages(bytes32)")
MESSAGE_NONCE = selector("messageNonce()")

SUPER_TYPES = frozenset({4, 5, 7, 9})
"""Games over super roots, whose sequence number is a layer-2 timestamp (as viem has them)."""
IN_PROGRESS, CHALLENGER_WINS, DEFENDER_WINS = 0, 1, 2
NONCE_BITS = 240
"""Of a nonce; the two bytes above them are the encoding's version."""
U64 = 2**64
MAX_TIME = 2**40
"""The year 36812: a second beyond it is in another unit, or a lie."""
_HEAD_BYTES = 6 * 32


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What the portal calls a withdrawal transaction."""

    nonce: int
    sender: Address
    target: Address
    value: int
    """Wei that the portal pays out to the target."""
    gas_limit: int
    """What the target gets at least."""
    data: bytes

    def encode(self) -> bytes:
        """What is hashed: `abi.encode` of the six fields."""
        who = address_word(self.sender) + address_word(self.target)
        amounts = word(self.value) + word(self.gas_limit)
        return word(self.nonce) + who + amounts + word(_HEAD_BYTES) + dynamic(self.data)

    @property
    def hash(self) -> bytes:
        """The withdrawal hash."""
        return keccak256(self.encode())

    @property
    def slot(self) -> bytes:
        """Where the message passer keeps that it was sent: `sentMessages` is its slot 0."""
        return keccak256(self.hash + bytes(32))

    @property
    def number(self) -> int:
        """The nonce without its version: how many were sent before it."""
        return self.nonce % (1 << NONCE_BITS)

    def prove_call(self, index: int, output: OutputProof, nodes: Sequence[bytes]) -> bytes:
        """`proveWithdrawalTransaction`; `index` is the output's or the game's."""
        tx = self.encode()
        head = 7 * 32
        offsets = word(head), word(head + len(tx))
        return (
            PROVE
            + offsets[0]
            + word(index)
            + output.words()
            + offsets[1]
            + tx
            + array([dynamic(node) for node in nodes])
        )

    def finalize_call(self, submitter: Address | None) -> bytes:
        """Finalise on a submitter's proof; None where the portal keeps one proof for all."""
        if submitter is None:
            return FINALIZE + word(32) + self.encode()
        return FINALIZE_EXTERNAL + word(64) + address_word(submitter) + self.encode()


@dataclass(frozen=True, slots=True)
class Relay:
    """The call of a cross-domain message that a withdrawal to the layer-1 messenger carries."""

    nonce: int
    sender: Address
    target: Address
    value: int
    gas_limit: int
    body: bytes

    def encode(self) -> bytes:
        """`relayMessage(...)`: the withdrawal's data, and the call that makes it again."""
        who = address_word(self.sender) + address_word(self.target)
        amounts = word(self.value) + word(self.gas_limit)
        fields = word(self.nonce) + who + amounts + word(_HEAD_BYTES)
        return RELAY_MESSAGE + fields + dynamic(self.body)

    @property
    def hash(self) -> bytes:
        """What the messenger calls it (`Hashing.hashCrossDomainMessageV1`)."""
        return keccak256(self.encode())


@dataclass(frozen=True, slots=True)
class OutputProof:
    """What an output root of version 0 commits to."""

    state_root: bytes
    storage_root: bytes
    """Of the message passer."""
    block_hash: bytes

    def words(self) -> bytes:
        """The four words that are hashed, and that the portal wants to see."""
        return bytes(32) + self.state_root + self.storage_root + self.block_hash

    @property
    def root(self) -> bytes:
        return keccak256(self.words())


def decode_withdrawal(encoded: bytes) -> Withdrawal:
    """Read what `Withdrawal.encode` writes; `BadChainData` for anything else."""
    words, data = _fields(encoded)
    withdrawal = Withdrawal(
        int.from_bytes(words[0], "big"),
        address_of(words[1]),
        address_of(words[2]),
        int.from_bytes(words[3], "big"),
        int.from_bytes(words[4], "big"),
        data,
    )
    if withdrawal.encode() != encoded:
        raise BadChainData("the stored withdrawal is not in its one canonical form")
    return withdrawal


def read_relay(withdrawal: Withdrawal, messengers: tuple[Address, Address]) -> Relay | None:
    """The cross-domain message in a withdrawal from one messenger to the other, if it is one."""
    if (withdrawal.sender, withdrawal.target) != messengers:
        return None
    if withdrawal.data[:4] != RELAY_MESSAGE:
        return None
    try:
        words, body = _fields(withdrawal.data[4:])
        relay = Relay(
            int.from_bytes(words[0], "big"),
            address_of(words[1]),
            address_of(words[2]),
            int.from_bytes(words[3], "big"),
            int.from_bytes(words[4], "big"),
            body,
        )
    except BadChainData:
        return None
    return relay if relay.encode() == withdrawal.data else None


def _fields(encoded: bytes) -> tuple[list[bytes], bytes]:
    """The first six words, and the bytes behind their length."""
    if len(encoded) < _HEAD_BYTES + 32:
        raise BadChainData(f"{len(encoded)} bytes are no withdrawal")
    words = [encoded[at : at + 32] for at in range(0, _HEAD_BYTES, 32)]
    size = min(int.from_bytes(encoded[_HEAD_BYTES : _HEAD_BYTES + 32], "big"), len(encoded))
    return words, encoded[_HEAD_BYTES + 32 :][:size]


# --- answers of views -------------------------------------------------------------------------


def read_word(answer: ViewResult, what: str) -> bytes:
    """A view's answer of exactly one word; `BadChainData` names what did not answer."""
    return read_words(answer, 1, what)[0]


def read_words(answer: ViewResult, count: int, what: str) -> list[bytes]:
    """A view's answer of so many words, no more and no less."""
    if not answer.ok or len(answer.data) != 32 * count:
        raise BadChainData(f"{what} does not answer: wrong address or chain?")
    return [answer.data[at : at + 32] for at in range(0, 32 * count, 32)]


def read_flag(answer: ViewResult, what: str) -> bool:
    """A bool; anything but 0 and 1 is `BadChainData`."""
    number = read_number(answer, what, below=2)
    return number == 1


def read_number(answer: ViewResult, what: str, *, below: int = 2**256) -> int:
    """A number below a bound."""
    return number_of(read_word(answer, what), what, below=below)


def number_of(value: bytes, what: str, *, below: int) -> int:
    """The number in one word; `BadChainData` when it is too large to be true."""
    number = int.from_bytes(value, "big")
    if number >= below:
        raise BadChainData(f"{what} is {number}, which cannot be")
    return number


def read_address(answer: ViewResult) -> Address | None:
    """An address that is not zero; None when there is no such view, or it names nobody."""
    if not answer.ok or len(answer.data) != 32 or not any(answer.data):
        return None
    return address_of(answer.data)
