"""Keeps the outbox trees: grows them from leaves, reads proofs at any past size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from relayer.adapter import NodeAt, TreeSpec
from relayer.errors import UnknownRecord
from relayer.message import LeafAdded, TreeId
from relayer.store import Lease, Store
from relayer.trees import append_only

GROW_STEP = 4096
"""Leaves taken into a tree per round trip."""


class Forest:
    """`adapter.TreeReader` over the store, plus growth under the follower's lease."""

    def __init__(self, store: Store, specs: Iterable[TreeSpec]) -> None:
        self._store = store
        self._specs = {spec.id: spec for spec in specs}

    def spec(self, tree: TreeId) -> TreeSpec:
        """The tree's shape and chain; `UnknownRecord` when no bridge has it."""
        try:
            return self._specs[tree]
        except KeyError:
            raise UnknownRecord(f"no configured bridge has the tree {tree!r}") from None

    def add(self, spec: TreeSpec) -> None:
        """Keep one more tree."""
        self._specs[spec.id] = spec

    async def size(self, tree: TreeId) -> int:
        return await self._store.tree_size(self.spec(tree).chain, tree)

    async def roots(self, tree: TreeId, sizes: Sequence[int]) -> list[bytes]:
        spec = self.spec(tree)
        nodes = await self._nodes(spec, (at for size in sizes for at in append_only.peaks(size)))
        return [append_only.root(spec.shape, size, nodes) for size in sizes]

    async def proofs(self, tree: TreeId, wanted: Sequence[tuple[int, int]]) -> list[list[bytes]]:
        spec = self.spec(tree)
        needs = (
            at for index, size in wanted for at in append_only.proof_needs(spec.shape, index, size)
        )
        nodes = await self._nodes(spec, needs)
        return [append_only.proof(spec.shape, index, size, nodes) for index, size in wanted]

    async def grow(self, lease: Lease, leaves: Sequence[LeafAdded]) -> None:
        """Store the leaves, then take every contiguous one into its tree."""
        by_tree: dict[TreeId, list[LeafAdded]] = {}
        for leaf in leaves:
            by_tree.setdefault(leaf.tree, []).append(leaf)
        for tree, group in by_tree.items():
            await self._store.save_leaves(
                lease,
                tree,
                {leaf.index: (leaf.leaf, leaf.at.block, leaf.at.block_hash) for leaf in group},
            )
            await self._take_in(lease, self.spec(tree))

    async def _take_in(self, lease: Lease, spec: TreeSpec) -> None:
        while True:
            size = await self.size(spec.id)
            loose = await self._store.loose_leaves(spec.chain, spec.id, size, GROW_STEP)
            fresh = [loose[index] for index in sorted(loose)]
            if not fresh:
                return
            peaks = await self._nodes(spec, append_only.peaks(size))
            nodes = append_only.append(spec.shape, size, peaks, fresh)
            await self._store.extend_tree(
                lease, spec.id, expected_size=size, new_size=size + len(fresh), nodes=nodes
            )

    async def _nodes(self, spec: TreeSpec, needs: Iterable[NodeAt]) -> Mapping[NodeAt, bytes]:
        wanted = list(dict.fromkeys(needs))
        if not wanted:
            return {}
        return await self._store.tree_nodes(spec.chain, spec.id, wanted)
