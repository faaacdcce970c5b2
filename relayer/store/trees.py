"""Tree nodes in packed strings, the leaves not yet in a tree, and truncation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relayer.adapter import NodeAt
from relayer.errors import BadChainData
from relayer.message import BlockHash, BlockNumber, ChainId, TreeId
from relayer.store.facts import Facts
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Lease, TreeState

WORD = 32
CHUNK = 256
"""Nodes per string: 8 KiB, small enough to rewrite, large enough to cost no overhead."""
NODES_PER_CALL = 20_000


class Trees(Facts):
    """Leaves are facts too, with a place of their own; nodes of complete subtrees never change."""

    async def tree_size(self, chain: ChainId, tree: TreeId) -> int:
        """Leaves in the tree, 0 for a tree never stored."""
        return (await self.tree_state(chain, tree)).size

    async def tree_state(self, chain: ChainId, tree: TreeId) -> TreeState:
        """Size and epoch: nodes read under the same epoch are still true.

        `UnreadableRecord` naming the key when it holds something else.
        """
        size, epoch = await self.run("tree_state", chain, {"tree": tree})
        return TreeState(int(size), int(epoch))

    async def tree_nodes(
        self, chain: ChainId, tree: TreeId, wanted: Sequence[NodeAt]
    ) -> tuple[TreeState, dict[NodeAt, bytes]]:
        """The wanted nodes, without those not complete at the present size, and that state.

        One round trip, but one for each `NODES_PER_CALL`; then the state is the first part's.
        """
        found: dict[NodeAt, bytes] = {}
        states: list[TreeState] = []
        ordered = sorted(set(wanted), key=lambda node: (node.level, node.index))
        for start in range(0, max(1, len(ordered)), NODES_PER_CALL):
            part = ordered[start : start + NODES_PER_CALL]
            state, some = await self._read_nodes(chain, tree, part)
            states.append(state)
            found |= some
        return states[0], found

    async def _read_nodes(
        self, chain: ChainId, tree: TreeId, ordered: Sequence[NodeAt]
    ) -> tuple[TreeState, dict[NodeAt, bytes]]:
        chunks: dict[tuple[int, int], list[NodeAt]] = {}
        for node in ordered:
            chunks.setdefault((node.level, node.index // CHUNK), []).append(node)
        asked = [
            [level, chunk, [node.index % CHUNK for node in nodes]]
            for (level, chunk), nodes in chunks.items()
        ]
        size, epoch, *parts = await self.run("tree_nodes", chain, {"tree": tree, "chunks": asked})
        found: dict[NodeAt, bytes] = {}
        for nodes, packed in zip(chunks.values(), parts, strict=True):
            for place, node in enumerate(nodes):
                word = packed[place * WORD : (place + 1) * WORD]
                if (node.index + 1) << node.level <= int(size) and any(word):
                    found[node] = word
        return TreeState(int(size), int(epoch)), found

    async def extend_tree(
        self,
        lease: Lease,
        tree: TreeId,
        expected_size: int,
        new_size: int,
        nodes: Mapping[NodeAt, bytes],
        *,
        epoch: int | None = None,
    ) -> bool:
        """Write newly complete nodes and the new size; False (nothing written) when the size,
        or the epoch if given, is not what was expected.
        """
        _require_words(tree, nodes.values())
        runs, blobs = _runs(nodes)
        args = self._tree_args(
            lease,
            tree,
            expected=str(expected_size),
            size=str(new_size),
            epoch="" if epoch is None else str(epoch),
            runs=runs,
        )
        return bool(await self.run("extend_tree", lease.chain, args, blobs=blobs))

    async def truncate_tree(self, lease: Lease, tree: TreeId, size: int) -> None:
        """Keep the first `size` leaves only, in the tree and among those to come."""
        await self.run("truncate_tree", lease.chain, self._tree_args(lease, tree, size=str(size)))

    async def save_leaves(
        self,
        lease: Lease,
        tree: TreeId,
        leaves: Mapping[int, tuple[bytes, BlockNumber, BlockHash]],
    ) -> int | None:
        """Keep leaves with their blocks until they are contiguous with the tree.

        Repeating is fine. An index that is known with another value is cut off with all after it,
        and the new value counts. Returns the index if the leaf's block was passed already: one of
        two answers was a lie, and the blocks after it must be read again.
        """
        if not leaves:
            return None
        _require_words(tree, (leaf for leaf, _, _ in leaves.values()))
        order = sorted(leaves)
        blocks: dict[int, tuple[int, str]] = {}
        for index in order:
            _, block, digest = leaves[index]
            blocks.setdefault(block, (index, digest))
        args = self._tree_args(
            lease,
            tree,
            indexes=[str(index) for index in order],
            blocks=[[str(block), str(index), digest] for block, (index, digest) in blocks.items()],
        )
        blob = b"".join(leaves[index][0] for index in order)
        replaced = await self._after_undo(
            lease, lambda: self.run("save_leaves", lease.chain, args, blobs=[blob])
        )
        return None if replaced is None else int(replaced)

    async def loose_leaves(
        self, chain: ChainId, tree: TreeId, first: int, count: int
    ) -> dict[int, bytes]:
        """Stored leaves `first`, `first + 1`, ... without a gap, at most `count`."""
        if count <= 0:
            return {}
        key = f"{base(self._prefix, chain)}leaves:{tree}"
        words = await self.command("HMGET", key, *range(first, first + count))
        found: dict[int, bytes] = {}
        for index, word in enumerate(words, first):
            if word is None:
                break
            if len(word) != WORD:
                raise BadChainData(f"the key {key} holds a leaf {index} of {len(word)} bytes")
            found[index] = word
        return found

    def _tree_args(self, lease: Lease, tree: TreeId, **args: object) -> Mapping[str, object]:
        return {"lease": lease_text(lease), "role": lease.role.value, "tree": tree, **args}


def _require_words(tree: TreeId, words: Any) -> None:
    for word in words:
        if len(word) != WORD or not any(word):
            raise BadChainData(f"tree {tree}: a node is zero or not 32 bytes")


def _runs(nodes: Mapping[NodeAt, bytes]) -> tuple[list[list[int]], list[bytes]]:
    """Neighbours of one level and chunk joined: [level, chunk, first slot] and their bytes."""
    runs: list[list[int]] = []
    blobs: list[bytearray] = []
    last: NodeAt | None = None
    for node in sorted(nodes, key=lambda node: (node.level, node.index)):
        joins = last == NodeAt(node.level, node.index - 1) and node.index % CHUNK != 0
        if not joins:
            runs.append([node.level, node.index // CHUNK, node.index % CHUNK])
            blobs.append(bytearray())
        blobs[-1] += nodes[node]
        last = node
    return runs, [bytes(blob) for blob in blobs]
