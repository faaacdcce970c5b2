"""What refusals of portal, oracle, games and messenger mean. Pure.

A target's own revert never shows here: portal and messenger swallow it, unless they are called for
an estimate. Sources: `src/L1/OptimismPortal*.sol`, `src/universal/CrossDomainMessenger.sol`,
`src/libraries/{PortalErrors,trie/MerkleTrie}.sol` of contracts-bedrock, several versions.
"""

from __future__ import annotations

from relayer.abi import revert_text
from relayer.adapter import Action, Outcome, Verdict
from relayer.keccak import keccak256
from relayer.message import Reason

TARGET_FAILED = "the target failed"

_Meaning = tuple[Action, Reason, str]
_WAIT_ROOT = (Action.WAIT, Reason.AWAITING_ROOT)
_WAIT_TIME = (Action.WAIT, Reason.AWAITING_TIME)
_REBUILD = (Action.RETRY, Reason.REBUILD_PROOF)
_DONE = (Action.DONE, Reason.DELIVERED_BY_OTHER)
_PAUSED = (Action.WAIT, Reason.PAUSED)
_FAILED = (Action.RETRY, Reason.TARGET_FAILED)

_ERRORS: dict[str, _Meaning] = {
    # since version 4 with the contract's name before them, in version 3 (and late 2) without
    "Unproven": (*_WAIT_ROOT, "it is not proved (any more): to be proved again"),
    "ProofNotOldEnough": (*_WAIT_TIME, "the proof is not old enough"),
    "InvalidRootClaim": (*_WAIT_TIME, "its game is open, in its air gap, or good for nothing"),
    "InvalidProofTimestamp": (*_WAIT_TIME, "its game is of this very second"),
    "ImproperDisputeGame": (*_WAIT_ROOT, "its game is good for nothing: another one is needed"),
    "InvalidDisputeGame": (*_WAIT_ROOT, "its game is good for nothing: another one is needed"),
    "InvalidGameType": (*_WAIT_ROOT, "its game's type is not respected"),
    "Blacklisted": (*_WAIT_ROOT, "its game is blacklisted: another one is needed"),
    "LegacyGame": (*_WAIT_ROOT, "its game is of an older generation: another one is needed"),
    "ProposalNotValidated": (*_WAIT_TIME, "its game is not decided, or not for long enough"),
    "AlreadyFinalized": (*_DONE, "the portal has finalised it"),
    "CallPaused": (*_PAUSED, "the portal is paused"),
    "InvalidOutputRootProof": (*_REBUILD, "the output root is made of something else"),
    "InvalidMerkleProof": (*_REBUILD, "the storage proof does not hold"),
    "InvalidProof": (*_REBUILD, "the proof does not hold"),
    "BadTarget": (Action.DEAD, Reason.UNDELIVERABLE, "the portal never calls this target"),
    "GasEstimation": (*_FAILED, TARGET_FAILED),
    "NoReentrancy": (Action.RETRY, Reason.CALL_REVERTED, "the portal is in the middle of a call"),
    "NonReentrant": (Action.RETRY, Reason.CALL_REVERTED, "the portal is in the middle of a call"),
    # of the trie's library
    "EmptyItem": (*_REBUILD, "the storage proof has an empty item"),
    "UnexpectedString": (*_REBUILD, "the storage proof is not RLP"),
    "UnexpectedList": (*_REBUILD, "the storage proof is not RLP"),
    "InvalidDataRemainder": (*_REBUILD, "the storage proof is not RLP"),
    "ContentLengthMismatch": (*_REBUILD, "the storage proof is not RLP"),
    "InvalidHeader": (*_REBUILD, "the storage proof is not RLP"),
}
_BY_SELECTOR: dict[bytes, tuple[str, _Meaning]] = {
    keccak256(f"{prefix}{name}()".encode())[:4]: (f"{prefix}{name}()", meaning)
    for name, meaning in _ERRORS.items()
    for prefix in ("", "OptimismPortal_")
}

_WORDS: tuple[tuple[str, Action, Reason], ...] = (
    ("withdrawal has already been finalized", *_DONE),
    ("message has already been relayed", *_DONE),
    ("legacy withdrawal already relayed", *_DONE),
    ("withdrawal hash has already been proven", *_WAIT_TIME),
    ("has not been proven yet", *_WAIT_ROOT),
    ("timestamp less than", *_WAIT_ROOT),
    ("has been blacklisted", *_WAIT_ROOT),
    ("invalid game type", *_WAIT_ROOT),
    ("before respected game type was updated", *_WAIT_ROOT),
    ("against invalid dispute games", *_WAIT_ROOT),
    ("has not been proposed", *_WAIT_ROOT),
    ("has not been validated", *_WAIT_TIME),
    ("has not matured", *_WAIT_TIME),
    ("period has not elapsed", *_WAIT_TIME),
    ("in air-gap", *_WAIT_TIME),
    ("not the same as current output root", *_WAIT_ROOT),
    ("invalid output root proof", *_REBUILD),
    ("invalid withdrawal inclusion proof", *_REBUILD),
    ("merkletrie:", *_REBUILD),
    ("rlpreader:", *_REBUILD),
    ("paused", *_PAUSED),
    ("not enough gas", Action.RETRY, Reason.OUT_OF_GAS),
    ("out of gas", Action.RETRY, Reason.OUT_OF_GAS),
    ("failed to relay message", *_FAILED),
    ("optimismportal: withdrawal failed", *_FAILED),
    ("message cannot be replayed", *_WAIT_TIME),
    ("blocked system address", Action.DEAD, Reason.UNDELIVERABLE),
    ("you cannot send messages to the portal", Action.DEAD, Reason.UNDELIVERABLE),
    ("one withdrawal per transaction", Action.RETRY, Reason.CALL_REVERTED),
)


def classify_outcome(outcome: Outcome) -> Verdict:
    """Say what a proof, finalisation or replay that did not do its work means."""
    known = _BY_SELECTOR.get(outcome.revert[:4])
    if known is not None:
        name, (action, reason, words) = known
        return Verdict(action, reason, f"{words} ({name})")
    said = revert_text(outcome.revert)
    detail = said or outcome.text[:300]
    words = f"{said} {outcome.text}".lower()
    for sign, action, reason in _WORDS:
        if sign in words:
            return Verdict(action, reason, detail)
    if outcome.mined and not outcome.revert:
        return Verdict(*_FAILED, detail or TARGET_FAILED)
    return Verdict(Action.RETRY, Reason.CALL_REVERTED, detail or "reverted without a reason")


def is_failed_target(revert: bytes, text: str) -> bool:
    """Whether a call made for an estimate was refused because the target fails."""
    verdict = classify_outcome(Outcome(revert, text, mined=False))
    return verdict.reason is Reason.TARGET_FAILED
