"""Events, selectors and the ABI layouts of Linea's contracts, coded by hand.

Source: `contracts/src/messaging/**` and `contracts/src/rollup/LineaRollupBase.sol` of
Consensys/linea-monorepo; all of it is the same in the contracts of early 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from relayer.abi import WORD, selector, word
from relayer.adapter import View, ViewResult
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

MESSAGE_SENT = keccak256(b"MessageSent(address,address,uint256,uint256,uint256,bytes,bytes32)")
MESSAGE_CLAIMED = keccak256(b"MessageClaimed(bytes32)")
ROOT_ADDED = keccak256(b"L2MerkleRootAdded(bytes32,uint256)")
BLOCK_ANCHORED = keccak256(b"L2MessagingBlockAnchored(uint256)")
HASHES_ADDED = keccak256(b"L1L2MessageHashesAddedToInbox(bytes32[])")

CLAIM_WITH_PROOF = selector(
    "claimMessageWithProof((bytes32[],uint256,uint32,address,address,uint256,uint256,address,"
    "bytes32,bytes))"
)
CLAIM = selector("claimMessage(address,address,uint256,uint256,address,bytes,uint256)")
IS_CLAIMED = selector("isMessageClaimed(uint256)")
INBOX_STATUS = selector("inboxL1L2MessageStatus(bytes32)")
NEXT_NUMBER = selector("nextMessageNumber()")
LAST_ANCHORED = selector("lastAnchoredL1MessageNumber()")
LAST_FINALISED = selector("currentL2BlockNumber()")
ROOT_DEPTH = selector("l2MerkleRootsDepths(bytes32)")
IS_PAUSED = selector("isPaused(uint8)")
LIMIT = selector("limitInWei()")
PERIOD_USED = selector("currentPeriodAmountInWei()")
PERIOD_END = selector("currentPeriodEnd()")

PAUSE_ALL, PAUSE_L1_L2, PAUSE_L2_L1 = 1, 2, 3
"""`IPauseManager.PauseType`, and before that the uint8 constants of the same values."""


def pause_views(contract: Address, direction: int) -> list[View]:
    """Is everything paused, is this direction?"""
    return [View(contract, IS_PAUSED + word(kind)) for kind in (PAUSE_ALL, direction)]


def read_number(answer: ViewResult, what: str) -> int:
    """The number that a view answered; `BadChainData` names the view when it did not."""
    if not answer.ok or len(answer.data) != WORD:
        raise BadChainData(f"{what} does not answer a number; is the address right?")
    return int.from_bytes(answer.data, "big")


def read_number_or(answer: ViewResult, default: int) -> int:
    """The same for a view that some versions of the contract do not have."""
    if not answer.ok or len(answer.data) != WORD:
        return default
    return int.from_bytes(answer.data, "big")


def read_words(content: bytes, what: str) -> list[bytes]:
    """Data that are one `bytes32[]`."""
    if len(content) < 2 * WORD or content[:WORD] != word(WORD):
        raise BadChainData(f"{what} has a wrong shape")
    count = int.from_bytes(content[WORD : 2 * WORD], "big")
    if len(content) != (2 + count) * WORD:
        raise BadChainData(f"{what} does not hold {count} words")
    return [content[start : start + WORD] for start in range(2 * WORD, len(content), WORD)]


def join(words: Sequence[bytes]) -> bytes:
    """Words one after the other, after their number."""
    return word(len(words)) + b"".join(words)
