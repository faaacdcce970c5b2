"""Addresses, events, selectors and the few ABI layouts of ArbSys, NodeInterface and the Outbox.

Source: `src/{bridge,precompiles,node-interface,libraries}` of OffchainLabs/nitro-contracts. Answers
come from nodes that may lie, so every decoder checks sizes and raises `BadChainData`.
"""

from __future__ import annotations

from collections.abc import Sequence

from relayer.abi import selector, word
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

ARB_SYS = Address("0x0000000000000000000000000000000000000064")
NODE_INTERFACE = Address("0x00000000000000000000000000000000000000c8")
"""Not a contract: the node itself answers an `eth_call` to it, so no contract can ask it."""


L2_TO_L1_TX = keccak256(
    b"L2ToL1Tx(address,address,uint256,uint256,uint256,uint256,uint256,uint256,bytes)"
)
SEND_ROOT_UPDATED = keccak256(b"SendRootUpdated(bytes32,bytes32)")
EXECUTED = keccak256(b"OutBoxTransactionExecuted(address,address,uint256,uint256)")

EXECUTE_TRANSACTION = selector(
    "executeTransaction(bytes32[],uint256,address,address,uint256,uint256,uint256,uint256,bytes)"
)
ROLLUP = selector("rollup()")
CONFIRM_PERIOD_BLOCKS = selector("confirmPeriodBlocks()")
FAST_CONFIRMER = selector("anyTrustFastConfirmer()")
"""Of the rollup (`src/rollup/IRollupCore.sol`); the last is newer, zero without a committee."""
IS_SPENT = selector("isSpent(uint256)")
ROOTS = selector("roots(bytes32)")
SEND_MERKLE_TREE_STATE = selector("sendMerkleTreeState()")
CONSTRUCT_OUTBOX_PROOF = selector("constructOutboxProof(uint64,uint64)")

UNKNOWN_ROOT = selector("UnknownRoot(bytes32)")
ALREADY_SPENT = selector("AlreadySpent(uint256)")
PATH_NOT_MINIMAL = selector("PathNotMinimal(uint256,uint256)")
PROOF_TOO_LONG = selector("ProofTooLong(uint256)")
MERKLE_PROOF_TOO_LONG = selector("MerkleProofTooLong(uint256,uint256)")
NOT_CONTRACT = selector("NotContract(address)")
NOT_OUTBOX = selector("NotOutbox(address)")
BRIDGE_CALL_FAILED = selector("BridgeCallFailed()")
CALL_TARGET_NOT_ALLOWED = selector("CallTargetNotAllowed(address)")
"""Of ERC20Bridge: the recipient is the gas token itself."""
CALL_NOT_ALLOWED = selector("CallNotAllowed()")
"""Of ERC20Bridge: the recipient took gas tokens from the bridge."""

SEND_HEAD = 168
"""Bytes before the call data of a packed send: two addresses and four words."""
MAX_PROOF = 64
"""Siblings of a tree of at most 2^64 leaves, which is what ArbSys can count."""


def execute_call(proof: Sequence[bytes], index: int, *, send: bytes) -> bytes:
    """`Outbox.executeTransaction`; `send` is packed as `message.Send` packs it."""
    payload = send[SEND_HEAD:]
    proof_at = 9 * 32
    payload_at = proof_at + 32 + 32 * len(proof)
    return b"".join(
        (
            EXECUTE_TRANSACTION,
            word(proof_at),
            word(index),
            bytes(12) + send[:20],
            bytes(12) + send[20:40],
            send[40:SEND_HEAD],  # l2Block, l1Block, l2Timestamp, value
            word(payload_at),
            word(len(proof)),
            *proof,
            word(len(payload)),
            payload,
            bytes(-len(payload) % 32),
        )
    )


def read_proof(call_data: bytes) -> list[bytes]:
    """The proof in what `execute_call` made."""
    body = call_data[4:]
    start = 10 * 32
    count = int.from_bytes(body[start - 32 : start], "big")
    return [body[at : at + 32] for at in range(start, start + 32 * count, 32)]


def read_flag(answer: bytes) -> bool:
    """An answer of one `bool`."""
    if len(answer) != 32 or any(answer[:31]) or answer[31] > 1:
        raise BadChainData("an answer is not a bool")
    return answer[31] == 1


def read_tree_state(answer: bytes) -> tuple[int, bytes]:
    """(size, root) of `sendMerkleTreeState()`; the partial nodes behind them are not needed."""
    if len(answer) < 128:
        raise BadChainData(f"ArbSys answered {len(answer)} bytes for its tree")
    return int.from_bytes(answer[:32], "big"), answer[32:64]


def read_outbox_proof(answer: bytes) -> tuple[bytes, list[bytes]]:
    """(root, proof) of `constructOutboxProof`."""
    if len(answer) < 128 or int.from_bytes(answer[64:96], "big") != 96:
        raise BadChainData("NodeInterface answered no proof")
    count = int.from_bytes(answer[96:128], "big")
    if count > MAX_PROOF or len(answer) != 128 + 32 * count:
        raise BadChainData("NodeInterface answered a proof of a wrong length")
    return answer[32:64], [answer[at : at + 32] for at in range(128, len(answer), 32)]


def read_hex(answer: object) -> bytes:
    """The bytes of a JSON-RPC answer."""
    try:
        if isinstance(answer, str) and answer.startswith("0x"):
            return bytes.fromhex(answer[2:])
    except ValueError:
        pass
    raise BadChainData("a node answered no hex data")
