"""Keeps the outbox trees: grows them from leaves, reads proofs at any past size.

Nodes of complete subtrees change only when their tree is cut, which its epoch tells: those read
before are kept, and each use of them asks the store whether the epoch is still theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from relayer.adapter import NodeAt, TreeSpec
from relayer.errors import Permanent, Transient, UnknownRecord
from relayer.message import LeafAdded, TreeId
from relayer.store import Lease, Store, TreeState
from relayer.trees import append_only

GROW_STEP = 4096
"""Leaves taken into a tree per round trip."""
MAX_NODES = 65_536
"""Nodes kept in memory for all trees together: under 0.4 KiB each, so under 26 MiB."""


class NodeMemory:
    """Nodes of many trees, a tree's of one epoch only; the least recently used go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._nodes: OrderedDict[tuple[TreeId, NodeAt], bytes] = OrderedDict()
        self._states: dict[TreeId, TreeState] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def recall(
        self, tree: TreeId, wanted: Iterable[NodeAt]
    ) -> tuple[TreeState | None, dict[NodeAt, bytes]]:
        """Those of the wanted nodes that are known, and the state they were read in."""
        found: dict[NodeAt, bytes] = {}
        for node in wanted:
            value = self._nodes.get((tree, node))
            if value is not None:
                self._nodes.move_to_end((tree, node))
                found[node] = value
        return self._states.get(tree), found

    def keep(self, tree: TreeId, state: TreeState, nodes: Mapping[NodeAt, bytes]) -> None:
        """Keep nodes read in this state; what was read in another epoch of the tree goes."""
        if not is_still(self._states.get(tree), state):
            for key in [key for key in self._nodes if key[0] == tree]:
                del self._nodes[key]
        self._states[tree] = state
        for node, value in nodes.items():
            self._nodes[tree, node] = value
            self._nodes.move_to_end((tree, node))
        while len(self._nodes) > self._most:
            self._nodes.popitem(last=False)


def is_still(then: TreeState | None, now: TreeState) -> bool:
    """Whether nodes read in the state `then` are true `now`: no cut, and not another store."""
    return then is not None and then.epoch == now.epoch and then.size <= now.size


@dataclass(frozen=True, slots=True)
class Grown:
    """What taking leaves in came to, besides larger trees."""

    replaced: list[LeafAdded] = field(default_factory=list)
    """First leaf of each tree that was known with another value; all after it were cut off."""
    failed: dict[TreeId, Permanent] = field(default_factory=dict)
    """Trees that could not take their leaves; the auditor finds what they lack."""


class Forest:
    """`adapter.TreeReader` over the store, plus growth under the follower's lease."""

    def __init__(
        self, store: Store, specs: Iterable[TreeSpec], *, most_nodes: int = MAX_NODES
    ) -> None:
        self._store = store
        self._memory = NodeMemory(most_nodes)
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

    async def grow(self, lease: Lease, leaves: Sequence[LeafAdded]) -> Grown:
        """Store the leaves, then take every contiguous one into its tree; trees fail apart."""
        by_tree: dict[TreeId, list[LeafAdded]] = {}
        for leaf in leaves:
            by_tree.setdefault(leaf.tree, []).append(leaf)
        grown = Grown()
        for tree, group in by_tree.items():
            try:
                if (replaced := await self._save(lease, tree, group)) is not None:
                    grown.replaced.append(replaced)
                await self._take_in(lease, self.spec(tree))
            except Permanent as error:
                grown.failed[tree] = error
        return grown

    async def _save(
        self, lease: Lease, tree: TreeId, leaves: Sequence[LeafAdded]
    ) -> LeafAdded | None:
        by_index = {leaf.index: leaf for leaf in leaves}
        rows = {
            index: (leaf.leaf, leaf.at.block, leaf.at.block_hash)
            for index, leaf in by_index.items()
        }
        replaced = await self._store.save_leaves(lease, tree, rows)
        return None if replaced is None else by_index[replaced]

    async def _take_in(self, lease: Lease, spec: TreeSpec) -> None:
        """Take contiguous leaves in; when the tree is cut meanwhile, from where it was cut."""
        while True:
            state = await self._store.tree_state(spec.chain, spec.id)
            size = state.size
            loose = await self._store.loose_leaves(spec.chain, spec.id, size, GROW_STEP)
            fresh = [loose[index] for index in sorted(loose)]
            if not fresh:
                return
            peaks = await self._nodes(spec, append_only.peaks(size))
            nodes = append_only.append(spec.shape, size, peaks, fresh)
            await self._store.extend_tree(
                lease,
                spec.id,
                expected_size=size,
                new_size=size + len(fresh),
                nodes=nodes,
                epoch=state.epoch,
            )

    async def _nodes(self, spec: TreeSpec, needs: Iterable[NodeAt]) -> Mapping[NodeAt, bytes]:
        """The nodes in one round trip; in one more when the tree was cut since some were read.

        `Transient` when the tree no longer has one of them.
        """
        wanted = list(dict.fromkeys(needs))
        if not wanted:
            return {}
        then, known = self._memory.recall(spec.id, wanted)
        missing = [node for node in wanted if node not in known]
        now, found = await self._read(spec, missing)
        if known and not is_still(then, now):
            known = {}
            now, found = await self._read(spec, wanted)
        self._memory.keep(spec.id, now, found)
        nodes = known | found
        if len(nodes) < len(wanted):
            raise Transient(f"tree {spec.id} was cut to {now.size} leaves while it was read")
        return nodes

    async def _read(
        self, spec: TreeSpec, nodes: Sequence[NodeAt]
    ) -> tuple[TreeState, dict[NodeAt, bytes]]:
        if nodes:
            return await self._store.tree_nodes(spec.chain, spec.id, nodes)
        return await self._store.tree_state(spec.chain, spec.id), {}
