"""The bytes that ISMs want with a message. Pure.

Source: `solidity/contracts/isms/libs/{MessageIdMultisigIsmMetadata,MerkleRootMultisigIsmMetadata,
AggregationIsmMetadata}.sol` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

from collections.abc import Sequence

from relayer.protocols.hyperlane.checkpoints import Quorum


def message_id_metadata(quorum: Quorum) -> bytes:
    """Hook, root and index of the signed checkpoint, then its signatures."""
    signed = quorum.checkpoint
    return b"".join((signed.hook, signed.root, _u32(signed.index), quorum.signed_by))


def merkle_root_metadata(quorum: Quorum, leaf_index: int, siblings: Sequence[bytes]) -> bytes:
    """A proof of the leaf against the signed root, and that root's signatures.

    `siblings` are the 32 bottom-up siblings of leaf `leaf_index` in the tree of `index + 1` leaves.
    """
    signed = quorum.checkpoint
    return b"".join(
        (
            signed.hook,
            _u32(leaf_index),
            signed.message_id,
            *siblings,
            _u32(signed.index),
            quorum.signed_by,
        )
    )


def aggregation_metadata(blobs: Sequence[bytes | None]) -> bytes:
    """A (start, end) pair per module, then the blobs; None is a module that is left out.

    Exactly `threshold` modules may have a blob: the contract underflows on more.
    """
    ranges: list[bytes] = []
    end = 8 * len(blobs)
    for blob in blobs:
        if blob is None:
            ranges.append(bytes(8))
            continue
        start, end = end, end + len(blob)
        ranges.append(_u32(start) + _u32(end))
    return b"".join((*ranges, *(blob for blob in blobs if blob is not None)))


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
