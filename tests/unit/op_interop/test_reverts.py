"""Every refusal has a meaning, and a target's words are never taken for the inbox's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode

from relayer.adapter import Action, Call, Outcome, Verdict
from relayer.keccak import keccak256
from relayer.message import Moment, Reason, Record, Status, Timestamp
from relayer.protocols.op_interop.contracts import MESSENGER, UNSAFE_TARGETS
from tests.unit.op_interop.world import World


def judged(world: World, record: Record, *, revert: str = "", text: str = "") -> Verdict:
    call = Call(record.id, MESSENGER, b"")
    outcome = Outcome(bytes.fromhex(revert), text or "execution reverted", mined=False)
    return world.adapter.classify(record, call, outcome)


@pytest.mark.parametrize(
    ("revert", "action", "reason"),
    [
        ("e3c00816", Action.RETRY, Reason.REBUILD_PROOF),  # NotInAccessList
        ("9ca9480b", Action.DONE, Reason.DELIVERED_BY_OTHER),  # MessageAlreadyRelayed
        ("7987c157", Action.HOLD, Reason.INTERNAL_ERROR),  # IdOriginNot...
        ("df1eb586", Action.HOLD, Reason.INTERNAL_ERROR),  # EventPayloadNotSentMessage
        ("31ac2211", Action.HOLD, Reason.UNSUPPORTED),  # MessageDestinationNotRelayChain
        ("37ed32e8", Action.RETRY, Reason.TARGET_FAILED),  # ReentrantCall: the target's doing
        ("d1f79e82", Action.HOLD, Reason.INTERNAL_ERROR),  # BlockNumberTooHigh
        ("94338eba", Action.HOLD, Reason.INTERNAL_ERROR),  # LogIndexTooHigh
        ("596a19a9", Action.HOLD, Reason.INTERNAL_ERROR),  # TimestampTooHigh
        ("deadbeef", Action.RETRY, Reason.TARGET_FAILED),
    ],
)
def test_errors_of_the_predeploys(
    world: World, revert: str, action: Action, reason: Reason
) -> None:
    """Selectors of the contracts, and a custom error of a target."""
    (record,) = world.send()
    verdict = judged(world, record, revert=revert)
    assert (verdict.action, verdict.reason) == (action, reason)


@pytest.mark.parametrize(
    ("text", "action", "reason"),
    [
        ("failsafe is enabled", Action.WAIT, Reason.PAUSED),
        (
            "not enough time has passed since initiating message (need 6s, got 4s)",
            Action.WAIT,
            Reason.AWAITING_TIME,
        ),
        ("chain 903 not in dependency set", Action.HOLD, Reason.UNSUPPORTED),
        ("no chain found for chain id: 903", Action.HOLD, Reason.UNSUPPORTED),
        ("unknown chain", Action.HOLD, Reason.UNSUPPORTED),
        ("uninitialized chain database", Action.WAIT, Reason.AWAITING_FINALITY),
        ("future data", Action.WAIT, Reason.AWAITING_FINALITY),
        (
            "failed to fetch executing message block: not found",
            Action.WAIT,
            Reason.AWAITING_FINALITY,
        ),
        ("conflicting data", Action.RETRY, Reason.REBUILD_PROOF),
        ("initiating message not found", Action.RETRY, Reason.REBUILD_PROOF),
        (
            "executing message identifier does not match block timestamp",
            Action.RETRY,
            Reason.REBUILD_PROOF,
        ),
        (
            "executing and initiating message fields are not equal",
            Action.RETRY,
            Reason.REBUILD_PROOF,
        ),
        ("message has expired", Action.HOLD, Reason.UNDELIVERABLE),
        ("out of gas", Action.RETRY, Reason.OUT_OF_GAS),
        ("who knows", Action.RETRY, Reason.CALL_REVERTED),
    ],
)
def test_words_of_nodes_and_filters(
    world: World, text: str, action: Action, reason: Reason
) -> None:
    """A refusal without data is the node's own."""
    (record,) = world.send()
    verdict = judged(world, record, text=f"rpc error -32602: {text}")
    assert (verdict.action, verdict.reason) == (action, reason)


def test_a_target_s_words_are_not_the_filter_s(world: World) -> None:
    """A target that reverts with "failsafe is enabled" pauses nobody: it failed."""
    (record,) = world.send()
    revert = "08c379a0" + encode(["string"], ["failsafe is enabled"]).hex()
    verdict = judged(world, record, revert=revert, text="reverted: failsafe is enabled")
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)
    assert "failsafe is enabled" in verdict.detail


def test_already_relayed_is_believed_until_no_delivery_shows(world: World) -> None:
    """A target can say it too; then no delivery becomes final, and it is the target's failure."""
    (record,) = world.send()
    reopened = replace(
        record, timeline=(*record.timeline, Moment(Timestamp(0.0), Status.WAITING, Reason.REORGED))
    )
    assert judged(world, record, revert="9ca9480b").action is Action.DONE
    assert judged(world, reopened, revert="9ca9480b").reason is Reason.TARGET_FAILED


def test_unsafe_is_only_what_the_messenger_calls_unsafe(world: World) -> None:
    """MessageTargetUnsafe about an ordinary target is the target's own invention."""
    unsafe = sorted(UNSAFE_TARGETS)[0]
    (bad,), (good,) = world.send(target=unsafe), world.send()
    for name in ("MessageTargetUnsafe()", "L2ToL2CrossDomainMessenger_MessageTargetUnsafe()"):
        revert = selector(name)
        assert judged(world, bad, revert=revert).action is Action.DEAD
        assert judged(world, good, revert=revert).reason is Reason.TARGET_FAILED


def selector(signature: str) -> str:
    return keccak256(signature.encode())[:4].hex()
