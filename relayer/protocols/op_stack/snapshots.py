"""The rollup's own word on its state: output roots computed here, and proofs of withdrawals.

Nothing that a node says is taken as it is: the account proof must lead to the header's state root,
and each slot's to the account's storage root. Nodes have old state for a while only, so what was
proved is kept, and verified again when it is used.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relayer.adapter import ChainReader, Header, ProofKeeper
from relayer.errors import BadChainData, RpcRefused, StaleEndpoint
from relayer.foreign_json import parse_json
from relayer.message import Address, BlockNumber, BridgeName
from relayer.protocols.op_stack.contracts import OutputProof
from relayer.trees.state_proof import MAX_NODE_BYTES, MAX_NODES, prove_account, prove_slot

SLOTS_AT_ONCE = 256
"""Slots in one `eth_getProof`; each answers some 4 kB."""
HEADERS_KEPT = 256
"""More than there are claims looked through, lest wrong ones be reckoned over and over."""
MOST_STEPS = 128
"""Headers read to find a block by its time: bisection needs 63 at worst."""


class NoState(Exception):
    """The rollup's nodes do not serve the state of that block (any more, or yet)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a final block of the rollup commits to."""

    block: BlockNumber
    output: OutputProof
    nodes: dict[bytes, tuple[bytes, ...]]
    """By slot: the way to each withdrawal that is in the state, inlined nodes on their own."""
    fresh: dict[str, bytes]
    """What a node proved just now, by the name to keep it under."""


class Snapshots:
    """Snapshots of one rollup at blocks that its finality rule accepts."""

    def __init__(
        self,
        name: BridgeName,
        reader: ChainReader,
        passer: Address,
        keeper: Callable[[], ProofKeeper],
    ) -> None:
        self._name = name
        self._reader = reader
        self._passer = passer
        self._keeper = keeper
        self._outputs: OrderedDict[int, OutputProof] = OrderedDict()
        self._blocks: OrderedDict[int, BlockNumber | None] = OrderedDict()

    def known_root(self, block: int) -> bytes | None:
        """The block's output root when it was computed before."""
        output = self._outputs.get(block)
        return None if output is None else output.root

    async def standing_root(self, block: int) -> bytes | None:
        """The same, if it is still the root of that block: a rollup may replace blocks."""
        output = self._outputs.get(block)
        if output is None:
            return None
        header = await self._reader.header(BlockNumber(block))
        if header.hash != "0x" + output.block_hash.hex():
            del self._outputs[block]
            return None
        return output.root

    async def last_block(self, timestamp: int, final: Header) -> BlockNumber | None:
        """The last block whose time is at most `timestamp`, which is no later than `final`'s.

        None when the first block is later.
        """
        if timestamp not in self._blocks:
            found = await self._search(timestamp, final)
            _keep(self._blocks, timestamp, found)
        return self._blocks[timestamp]

    async def of(self, block: int, slots: Sequence[bytes]) -> Snapshot:
        """What a final block commits to, with proofs of `slots`, in one request if possible.

        Raises `NoState` when no node serves it and it was not kept, `BadChainData` when what they
        serve does not hold.
        """
        number = BlockNumber(block)
        header = await self._reader.header(number)
        prefix = f"{self._name}/{header.hash}/"
        names = [prefix + "account", *(prefix + slot.hex() for slot in slots)]
        kept = await self._keeper().kept_proofs(self._reader.chain_id, names)
        root = self._storage_root(header, _unpack(kept.get(names[0])))
        nodes = {}
        if root is not None:
            nodes = _held(root, {slot: _unpack(kept.get(prefix + slot.hex())) for slot in slots})
        missing = [slot for slot in slots if slot not in nodes]
        fresh: dict[str, bytes] = {}
        if root is None or missing:
            root, fetched = await self._fetch(header, missing, fresh=fresh, prefix=prefix)
            nodes |= fetched
        output = OutputProof(header.state_root, root, bytes.fromhex(header.hash[2:]))
        _keep(self._outputs, block, output)
        return Snapshot(number, output, nodes, fresh)

    async def keep(self, snapshot: Snapshot) -> None:
        """Keep what is new in it; for snapshots whose root stands on layer 1 and no others."""
        if snapshot.fresh:
            await self._keeper().keep_proofs(self._reader.chain_id, snapshot.fresh)

    def _storage_root(self, header: Header, account: Sequence[bytes] | None) -> bytes | None:
        """The message passer's storage root by a kept proof; None when there is none that holds."""
        if account is None:
            return None
        try:
            return self._proved_root(header, account)
        except BadChainData:
            return None

    def _proved_root(self, header: Header, account: Sequence[bytes]) -> bytes:
        passer = bytes.fromhex(self._passer[2:])
        return prove_account(header.state_root, passer, account).storage_root

    async def _fetch(
        self, header: Header, slots: Sequence[bytes], *, fresh: dict[str, bytes], prefix: str
    ) -> tuple[bytes, dict[bytes, tuple[bytes, ...]]]:
        """Ask a node, verify, and note in `fresh` what it proved."""
        nodes: dict[bytes, tuple[bytes, ...]] = {}
        root = b""
        for start in range(0, max(1, len(slots)), SLOTS_AT_ONCE):
            part = slots[start : start + SLOTS_AT_ONCE]
            account, proofs = await self._ask(header, part)
            root = self._proved_root(header, account)
            fresh[prefix + "account"] = _pack(account)
            for slot, proof in zip(part, proofs, strict=True):
                value, proved = prove_slot(root, slot, proof)
                if value == 1:
                    nodes[slot] = proved.nodes
                    fresh[prefix + slot.hex()] = _pack(proved.nodes)
        return root, nodes

    async def _ask(
        self, header: Header, slots: Sequence[bytes]
    ) -> tuple[list[bytes], list[list[bytes]]]:
        """The nodes of the account's proof, and of each slot's in order."""
        keys = ["0x" + slot.hex() for slot in slots]
        try:
            answer = await self._reader.rpc(
                "eth_getProof", [self._passer, keys, hex(header.number)]
            )
        except (RpcRefused, StaleEndpoint) as error:
            raise NoState(str(error)[:200]) from None
        if not isinstance(answer, dict):
            raise BadChainData("eth_getProof did not answer an object")
        storage = answer.get("storageProof")
        if not isinstance(storage, list) or len(storage) != len(slots):
            raise BadChainData("eth_getProof answered other slots than it was asked for")
        proofs = [_nodes(one.get("proof") if isinstance(one, dict) else None) for one in storage]
        return _nodes(answer.get("accountProof")), proofs

    async def _search(self, timestamp: int, final: Header) -> BlockNumber | None:
        """Guess by the block time, then halve what is left."""
        low, high = 0, int(final.number)
        if final.timestamp <= timestamp:
            return final.number
        low_time, high_time = (await self._reader.header(BlockNumber(0))).timestamp, final.timestamp
        if low_time > timestamp:
            return None
        for step in range(MOST_STEPS):
            if high - low <= 1:
                return BlockNumber(low)
            middle = (low + high) // 2
            if step % 2 == 0 and high_time > low_time:
                part = (timestamp - low_time) / (high_time - low_time)
                middle = min(high - 1, max(low + 1, low + int((high - low) * part)))
            told = (await self._reader.header(BlockNumber(middle))).timestamp
            if told <= timestamp:
                low, low_time = middle, told
            else:
                high, high_time = middle, told
        raise BadChainData(f"the rollup's block times lead to no block at the time {timestamp}")


def _held(root: bytes, proofs: dict[bytes, list[bytes] | None]) -> dict[bytes, tuple[bytes, ...]]:
    """Those kept proofs that still hold, each for a withdrawal that is in the state."""
    held = {}
    for slot, proof in proofs.items():
        if proof is None:
            continue
        try:
            value, proved = prove_slot(root, slot, proof)
        except BadChainData:
            continue
        if value == 1:
            held[slot] = proved.nodes
    return held


def _nodes(told: object) -> list[bytes]:
    """A list of nodes, bounded before anything is computed with it."""
    if not isinstance(told, list) or len(told) > MAX_NODES:
        raise BadChainData("a proof of eth_getProof is no list, or longer than any trie is deep")
    return [_octets(node) for node in told]


def _octets(told: object) -> bytes:
    if not isinstance(told, str) or not told.startswith("0x") or len(told) > 2 + 2 * MAX_NODE_BYTES:
        raise BadChainData("a node of eth_getProof is no hex, or larger than any node")
    try:
        return bytes.fromhex(told[2:])
    except ValueError:
        raise BadChainData("a node of eth_getProof is no hex") from None


def _pack(nodes: Sequence[bytes]) -> bytes:
    return json.dumps(["0x" + node.hex() for node in nodes]).encode()


def _unpack(kept: bytes | None) -> list[bytes] | None:
    """The nodes of a kept proof; None when there is none that can be read."""
    if kept is None:
        return None
    try:
        return _nodes(parse_json(kept))
    except (ValueError, BadChainData):
        return None


def _keep(memory: OrderedDict[int, Any], key: int, value: Any) -> None:
    memory[key] = value
    while len(memory) > HEADERS_KEPT:
        memory.popitem(last=False)
