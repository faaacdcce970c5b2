"""What the outbox's, the bridge's and the recipient's refusals mean. Pure.

The outbox hands on whatever its recipient reverts with, so an error counts as the outbox's own
only when its argument is the one the outbox would give. Source: `src/bridge/AbsOutbox.sol`,
`AbsBridge.sol`, `ERC20Bridge.sol` and `src/libraries/Error.sol` of OffchainLabs/nitro-contracts.
"""

from __future__ import annotations

from collections.abc import Sequence

from relayer.abi import address_word, revert_text, word
from relayer.adapter import Action, Call, Outcome, Verdict
from relayer.message import Reason, Record
from relayer.protocols.arbitrum import contracts
from relayer.protocols.arbitrum.message import item_of, leaf_of
from relayer.trees import append_only

LONGEST = 255
"""Siblings that the outbox takes; its library takes one more."""


def classify_outcome(record: Record, call: Call, outcome: Outcome) -> Verdict:
    """Say what a failed `executeTransaction` means."""
    recipient = address_word(record.message.recipient)
    index, proof = record.message.leaf_index or 0, contracts.read_proof(call.data)
    revert = outcome.revert
    if revert == contracts.ALREADY_SPENT + word(index):
        return Verdict(Action.DONE, Reason.DELIVERED_BY_OTHER, "the outbox has it: AlreadySpent")
    if revert[:4] == contracts.UNKNOWN_ROOT and _leads_to(revert[4:], record, proof):
        detail = f"the outbox does not know root 0x{revert[4:].hex()}"
        return Verdict(Action.RETRY, Reason.REBUILD_PROOF, detail)
    if revert and revert in _refusals_of_form(index, len(proof)):
        detail = f"the outbox refused the form of our proof: 0x{revert.hex()}"
        return Verdict(Action.HOLD, Reason.INTERNAL_ERROR, detail)
    if revert == contracts.NOT_OUTBOX + address_word(call.to):
        detail = f"the bridge does not let outbox {call.to} act: an old outbox is configured?"
        return Verdict(Action.HOLD, Reason.UNSUPPORTED, detail)
    if revert == contracts.NOT_CONTRACT + recipient:
        return _no_contract(record)
    if revert == contracts.CALL_TARGET_NOT_ALLOWED + recipient:
        detail = "the recipient is the gas token, which the bridge never calls"
        return Verdict(Action.DEAD, Reason.UNDELIVERABLE, detail)
    return _target_failed(outcome)


def _leads_to(root: bytes, record: Record, proof: Sequence[bytes]) -> bool:
    """Whether this is the root that the outbox computes from our call."""
    index, leaf = record.message.leaf_index or 0, leaf_of(item_of(record.message.payload))
    fits = not index >> len(proof)
    return fits and append_only.root_from_proof(leaf, index, proof) == root


def _refusals_of_form(index: int, length: int) -> list[bytes]:
    """What the outbox says of a proof of that length; nothing of one that has the right form."""
    said = []
    if index >> length:
        numbers = word(index) + word(1 << length)
        said.append(contracts.PATH_NOT_MINIMAL + numbers)
    if length > LONGEST:
        said.append(contracts.PROOF_TOO_LONG + word(length))
    if length > LONGEST + 1:
        numbers = word(length) + word(LONGEST + 1)
        said.append(contracts.MERKLE_PROOF_TOO_LONG + numbers)
    return said


def _no_contract(record: Record) -> Verdict:
    """Free until code exists. `Delivery` looks for code before it tries such a message again, so
    the second time in a row it is a recipient with code that says this of itself."""
    if record.reason is Reason.AWAITING_TARGET:
        detail = "the recipient has code and reverts with NotContract"
        return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
    detail = "the recipient has no code and the message has call data"
    return Verdict(Action.WAIT, Reason.AWAITING_TARGET, detail)


def _target_failed(outcome: Outcome) -> Verdict:
    if "out of gas" in outcome.text.lower():
        return Verdict(Action.RETRY, Reason.OUT_OF_GAS, outcome.text[:200])
    if outcome.revert[:4] == contracts.BRIDGE_CALL_FAILED:
        detail = "the recipient refused without a reason, or the bridge lacks the money"
        return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
    if outcome.revert[:4] == contracts.CALL_NOT_ALLOWED:
        detail = "the recipient took gas tokens from the bridge"
        return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
    if outcome.revert:
        return Verdict(Action.RETRY, Reason.TARGET_FAILED, revert_text(outcome.revert))
    detail = outcome.text[:200] or "reverted without a reason"
    return Verdict(Action.RETRY, Reason.CALL_REVERTED, detail)
