"""What validators sign: reading a published checkpoint, checking its signature, counting a quorum.

Pure. Everything a validator publishes is hostile until its signature and its root are checked.
Source: `rust/main/hyperlane-core/src/{types/checkpoint,traits/signing}.rs` and
`solidity/contracts/libs/CheckpointLib.sol` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coincurve import PublicKey

from relayer.errors import BadChainData
from relayer.foreign_json import parse_json
from relayer.keccak import keccak256
from relayer.message import Address

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1: a larger s is refused on chain (EIP-2)."""
MAX_INDEX = 2**32 - 1
SIGNATURE_BYTES = 65
TOTAL_WEIGHT = 10**10
"""More than this a weighted ISM may not ask for (`AbstractWeightedMultisigIsm.TOTAL_WEIGHT`)."""
_HEX = re.compile(r"0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of the origin's tree once `message_id` was its leaf `index`; `hook` is 32 bytes."""

    domain: int
    hook: bytes
    root: bytes
    index: int
    message_id: bytes

    def digest(self) -> bytes:
        """The hash a validator signs, EIP-191 prefix included."""
        inner = keccak256(
            domain_hash(self.domain, self.hook)
            + self.root
            + self.index.to_bytes(4, "big")
            + self.message_id
        )
        return keccak256(b"\x19Ethereum Signed Message:\n32" + inner)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with a signature of 65 bytes: r, s, v (27 or 28)."""

    checkpoint: Checkpoint
    signature: bytes


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """Who may sign and how much is enough; `weights` are all 1 in the unweighted ISMs."""

    validators: tuple[Address, ...]
    weights: tuple[int, ...]
    threshold: int
    is_weighted: bool = False

    @property
    def can_reach(self) -> bool:
        """True when all signatures together are enough (and some are needed)."""
        if self.is_weighted and self.threshold > TOTAL_WEIGHT:
            return False
        return 0 < self.threshold <= sum(self.weights)

    def level(self, latest: Mapping[Address, int | None]) -> int:
        """The highest index up to which enough validators have signed, -1 when none."""
        signed = sorted(
            (
                (index, weight)
                for validator, weight in zip(self.validators, self.weights, strict=True)
                if (index := latest.get(validator)) is not None
            ),
            reverse=True,
        )
        total = 0
        for index, weight in signed:
            total += weight
            if total >= self.threshold > 0:
                return index
        return -1


@dataclass(frozen=True, slots=True)
class Quorum:
    """One checkpoint and just enough signatures of it, in the order of the validator set."""

    checkpoint: Checkpoint
    signatures: tuple[bytes, ...]
    padding: int = 0
    """Blank signatures to put behind them. A weighted ISM looks for signers only among as many
    validators as there are signatures, and reads none when the weight is enough
    (`AbstractWeightedMultisigIsm.verify`)."""

    @property
    def signed_by(self) -> bytes:
        """The signatures as they end the metadata."""
        return b"".join(self.signatures) + bytes(SIGNATURE_BYTES * self.padding)


def domain_hash(domain: int, hook: bytes) -> bytes:
    """What ties a checkpoint to one origin's tree."""
    return keccak256(domain.to_bytes(4, "big") + hook + b"HYPERLANE")


def parse_checkpoint(raw: bytes) -> SignedCheckpoint:
    """Read a published checkpoint file; `BadChainData` says what is wrong with it.

    The signature is only brought to its canonical form here; `signer` says whose it is.
    """
    try:
        found = parse_json(raw)
    except ValueError:
        raise BadChainData("not JSON") from None
    try:
        value, signature = found["value"], found["signature"]
        inner = value["checkpoint"]
        checkpoint = Checkpoint(
            domain=_number(inner["mailbox_domain"]),
            hook=_word(inner["merkle_tree_hook_address"]),
            root=_word(inner["root"]),
            index=_number(inner["index"]),
            message_id=_word(value["message_id"]),
        )
        return SignedCheckpoint(checkpoint, _signature(signature))
    except (KeyError, TypeError):
        raise BadChainData("not a checkpoint") from None


def parse_index(raw: bytes) -> int:
    """Read a latest-index file: a bare integer."""
    text = raw.strip()
    if not text.isdigit() or len(text) > 10 or int(text) > MAX_INDEX:
        raise BadChainData("latest index is not a number")
    return int(text)


def signer(signed: SignedCheckpoint) -> Address:
    """Whose signature it is; `BadChainData` when it is nobody's."""
    signature = signed.signature
    recoverable = signature[:64] + bytes([signature[64] - 27])
    try:
        key = PublicKey.from_signature_and_message(
            recoverable, signed.checkpoint.digest(), hasher=None
        )
    except ValueError:
        raise BadChainData("bad signature") from None
    return Address("0x" + keccak256(key.format(compressed=False)[1:])[12:].hex())


def count_quorum(members: ValidatorSet, signed: Mapping[Address, SignedCheckpoint]) -> list[Quorum]:
    """Return a quorum for each checkpoint that enough of `signed` agree on.

    Signatures follow the set's order, as the contracts' two-pointer loop demands, and stop as soon
    as they are enough. Each signature must have been checked to be its validator's.
    """
    found = []
    for checkpoint in dict.fromkeys(item.checkpoint for item in signed.values()):
        signatures: list[bytes] = []
        total = 0
        voters = zip(members.validators, members.weights, strict=True)
        for passed, (validator, weight) in enumerate(voters, start=1):
            item = signed.get(validator)
            if item is None or item.checkpoint != checkpoint:
                continue
            signatures.append(item.signature)
            total += weight
            if total >= members.threshold > 0:
                padding = passed - len(signatures) if members.is_weighted else 0
                found.append(Quorum(checkpoint, tuple(signatures), padding))
                break
    return found


def unweighted(validators: Sequence[Address], threshold: int) -> ValidatorSet:
    """A set in which every validator counts the same."""
    return ValidatorSet(tuple(validators), (1,) * len(validators), threshold)


def _signature(found: Any) -> bytes:
    r, s, v = _scalar(found["r"]), _scalar(found["s"]), _number(found["v"])
    v = v + 27 if v in (0, 1) else v
    if v not in (27, 28):
        raise BadChainData(f"bad signature: v is {v}")
    if s > HALF_ORDER:
        raise BadChainData("bad signature: s is not the low one")
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v])


def _scalar(text: Any) -> int:
    """A U256 as hex, leading zeros left out or not."""
    if not isinstance(text, str) or not _HEX.fullmatch(text) or len(text) > 66:
        raise BadChainData("bad signature: r or s is not a 256-bit hex number")
    return int(text, 16)


def _number(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MAX_INDEX:
        raise BadChainData("a number is out of range")
    return found


def _word(text: Any) -> bytes:
    if not isinstance(text, str) or not _HEX.fullmatch(text) or len(text) % 2:
        raise BadChainData("a word is not hex")
    found = bytes.fromhex(text[2:])
    if len(found) == 20:
        found = bytes(12) + found
    if len(found) != 32:
        raise BadChainData(f"a word has {len(found)} bytes")
    return found
