"""Fakes of the adapter port: a chain that answers views from a table, trees and a context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relayer.adapter import (
    Adapter,
    ChainReader,
    Header,
    Log,
    NodeAt,
    TreeShape,
    TreeTruth,
    View,
    ViewResult,
)
from relayer.errors import Permanent, RelayerError, StaleEndpoint
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    ChainId,
    Gas,
    Timestamp,
    TreeId,
    Wei,
)
from relayer.trees import append_only

Answer = Callable[[bytes], bytes]
"""Arguments of a view (without selector) -> its return data; raise `Reverts` to revert."""


class Reverts(Exception):
    """A fake contract reverts with this data."""

    def __init__(self, revert: bytes = b"") -> None:
        super().__init__(revert.hex())
        self.revert = revert


class FakeChain:
    """`adapter.ChainReader` whose contracts are Python functions."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = ChainId(chain_id)
        self._contracts: dict[tuple[Address, bytes], Answer] = {}
        self.failure: RelayerError | None = None
        """Raised by every read while set."""
        self.reads: list[Sequence[View]] = []
        """Every batch of views asked so far."""
        self.final = BlockNumber(100)

    @property
    def chain_id(self) -> ChainId:
        return self._chain_id

    def answer(self, to: str, selector: bytes, answer: Answer | bytes) -> None:
        """Let a contract answer a selector, with a constant or by a function of the arguments."""
        say = (lambda _: answer) if isinstance(answer, bytes) else answer
        self._contracts[Address(to), selector] = say

    async def read(
        self, views: Sequence[View], *, block: BlockNumber | str = "latest"
    ) -> list[ViewResult]:
        if self.failure is not None:
            raise self.failure
        self.reads.append(views)
        return [self._one(view) for view in views]

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        if not isinstance(block, int):
            raise StaleEndpoint(f"no block {block}")
        return fake_header(BlockNumber(block))

    async def final_header(self) -> Header:
        return fake_header(self.final)

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        return []

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        raise StaleEndpoint(f"no method {method}")

    async def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        answers: list[Any] = []
        for method, params in requests:
            try:
                answers.append(await self.rpc(method, params))
            except Permanent as refusal:
                answers.append(refusal)
        return answers

    def _one(self, view: View) -> ViewResult:
        say = self._contracts.get((view.to, view.data[:4]))
        if say is None:
            return ViewResult(False, b"")
        try:
            return ViewResult(True, say(view.data[4:]))
        except Reverts as reverts:
            return ViewResult(False, reverts.revert)


async def truths_of(adapter: Adapter) -> list[TreeTruth]:
    """What the auditors of all origins of a bridge are told."""
    chains = dict.fromkeys(spec.chain for spec in adapter.trees())
    return [truth for chain in chains for truth in await adapter.truth(chain)]


def fake_header(number: BlockNumber) -> Header:
    """A header of no particular chain."""
    return Header(
        number=number,
        hash=BlockHash(f"0x{number:064x}"),
        parent_hash=BlockHash(f"0x{number - 1:064x}"),
        timestamp=Timestamp(1_000_000.0 + number),
        state_root=bytes(32),
        base_fee=Wei(10**9),
        gas_limit=Gas(30_000_000),
    )


class FakeTrees:
    """`adapter.TreeReader` over leaves in memory."""

    def __init__(self, shape: TreeShape) -> None:
        self._shape = shape
        self._sizes: dict[TreeId, int] = {}
        self._nodes: dict[TreeId, dict[NodeAt, bytes]] = {}

    def grow(self, tree: TreeId, leaves: Sequence[bytes]) -> None:
        """Append leaves."""
        nodes, size = self._nodes.setdefault(tree, {}), self._sizes.get(tree, 0)
        nodes |= append_only.append(self._shape, size, nodes, leaves)
        self._sizes[tree] = size + len(leaves)

    def truncate(self, tree: TreeId, size: int) -> None:
        """Forget leaves from `size` on, as a reorg does."""
        self._sizes[tree] = size

    def root(self, tree: TreeId, size: int) -> bytes:
        """The root of the first `size` leaves."""
        return append_only.root(self._shape, size, self._nodes.get(tree, {}))

    async def size(self, tree: TreeId) -> int:
        return self._sizes.get(tree, 0)

    async def roots(self, tree: TreeId, sizes: Sequence[int]) -> list[bytes]:
        assert all(size <= self._sizes.get(tree, 0) for size in sizes)
        return [self.root(tree, size) for size in sizes]

    async def proofs(self, tree: TreeId, wanted: Sequence[tuple[int, int]]) -> list[list[bytes]]:
        assert all(size <= self._sizes.get(tree, 0) for _, size in wanted)
        nodes = self._nodes.get(tree, {})
        return [append_only.proof(self._shape, index, size, nodes) for index, size in wanted]


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self.at = at

    def __call__(self) -> Timestamp:
        return Timestamp(self.at)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.at += seconds


@dataclass
class FakeContext:
    """`adapter.AdapterContext` of fakes."""

    chains: Mapping[str, ChainReader]
    trees: FakeTrees
    now: FakeClock = field(default_factory=FakeClock)
