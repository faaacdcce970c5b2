"""Proves each part of each message's ISM: signatures with Merkle proofs, or a server's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import ChainReader, Refuse, TreeReader, View, Wait
from relayer.errors import BadChainData, RelayerError, Transient
from relayer.message import MessageId, Reason, Record, TreeId
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.ccip import CcipReader
from relayer.protocols.hyperlane.checkpoints import Quorum
from relayer.protocols.hyperlane.isms import (
    Answer,
    CcipRead,
    Ism,
    Multisig,
    lookups,
    multisigs,
    read_each,
)
from relayer.protocols.hyperlane.message import HyperlaneMessage
from relayer.protocols.hyperlane.metadata import merkle_root_metadata, message_id_metadata
from relayer.protocols.hyperlane.quorums import Quorums, Shortfall
from relayer.protocols.hyperlane.steps import Part, Proved
from relayer.trees.append_only import root_from_proof

LEAF_RECHECK_S = 1.0
SICK_RECHECK_S = 10.0
CCIP_RECHECK_S = 15.0


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin chain's tree and the quorums over it."""

    domain: int
    tree: TreeId
    quorums: Quorums


@dataclass(frozen=True, slots=True)
class Parcel:
    """An undelivered message, its leaf (the id), and what its recipient's ISM wants."""

    record: Record
    message: HyperlaneMessage
    leaf: bytes
    ism: Ism

    @property
    def id(self) -> MessageId:
        return self.record.id

    @property
    def index(self) -> int | None:
        return self.record.message.leaf_index


Found = dict[MessageId, dict[Multisig | CcipRead, Part]]
_Indexed = tuple[Parcel, int]
"""A parcel and its leaf index."""


class PartProver:
    """Proves parts for one destination, every distinct multisig once for all its messages."""

    def __init__(self, *, reader: ChainReader, trees: TreeReader, ccip: CcipReader) -> None:
        self._reader = reader
        self._trees = trees
        self._ccip = ccip

    async def parts(self, origin: Origin, parcels: Sequence[Parcel]) -> Found:
        """What was found for each part of each parcel's ISM; raises `Transient`."""
        size = await self._trees.size(origin.tree)
        found: Found = {parcel.id: {} for parcel in parcels}
        groups: dict[Multisig, list[_Indexed]] = {}
        asked: list[tuple[Parcel, CcipRead]] = []
        for parcel in parcels:
            asked.extend((parcel, lookup) for lookup in set(lookups(parcel.ism)))
            for multisig in set(multisigs(parcel.ism)):
                placed = _place(parcel, multisig, size)
                if isinstance(placed, int):
                    groups.setdefault(multisig, []).append((parcel, placed))
                else:
                    found[parcel.id][multisig] = placed
        proofs = await asyncio.gather(
            *(self._prove(origin, part, group, size=size) for part, group in groups.items())
        )
        for part, answers in zip(groups, proofs, strict=True):
            for message_id, answer in answers.items():
                found[message_id][part] = answer
        for (parcel, lookup), metadata in zip(asked, await self._look_up(asked), strict=True):
            found[parcel.id][lookup] = metadata
        return found

    async def _prove(
        self, origin: Origin, part: Multisig, group: Sequence[_Indexed], *, size: int
    ) -> dict[MessageId, Part]:
        """What was found for one multisig; its trouble is not that of other parts."""
        try:
            if part.by_root:
                return await self._prove_by_root(origin, part, group, size=size)
            return await self._prove_by_id(origin, part, group)
        except Transient as error:
            sick = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
            return {parcel.id: sick for parcel, _ in group}

    async def _prove_by_id(
        self, origin: Origin, part: Multisig, group: Sequence[_Indexed]
    ) -> dict[MessageId, Part]:
        leaves = [(index, parcel.leaf) for parcel, index in group]
        found = await origin.quorums.exact(part.members, leaves)
        return {parcel.id: _by_id(found[index, parcel.leaf], index) for parcel, index in group}

    async def _prove_by_root(
        self, origin: Origin, part: Multisig, group: Sequence[_Indexed], *, size: int
    ) -> dict[MessageId, Part]:
        """One signed root for all that are below it, and a proof of each against it."""
        indices = [index for _, index in group]
        quorum = await origin.quorums.newest(part.members, leaves=indices, size=size)
        if isinstance(quorum, Shortfall):
            return {parcel.id: Wait(quorum.reason, quorum.detail) for parcel, _ in group}
        signed = quorum.checkpoint.index
        below = [(parcel, index) for parcel, index in group if index <= signed]
        late = Wait(Reason.AWAITING_QUORUM, f"enough validators have signed up to leaf {signed}")
        found: dict[MessageId, Part] = {parcel.id: late for parcel, _ in group}
        proofs = await self._trees.proofs(origin.tree, [(index, signed + 1) for _, index in below])
        for (parcel, index), siblings in zip(below, proofs, strict=True):
            found[parcel.id] = _by_root(quorum, parcel, index, siblings=siblings)
        return found

    async def _look_up(self, asked: Sequence[tuple[Parcel, CcipRead]]) -> list[Part]:
        """Ask each CCIP-read ISM what it wants of which server, then the servers."""
        question = contracts.OFFCHAIN_VERIFY_INFO
        views = [
            View(part.address, contracts.bytes_call(question, parcel.record.message.payload))
            for parcel, part in asked
        ]
        answers = await read_each(self._reader, views)
        return await asyncio.gather(
            *(self._fetch(part, answer) for (_, part), answer in zip(asked, answers, strict=True))
        )

    async def _fetch(self, part: CcipRead, answer: Answer) -> Part:
        if isinstance(answer, RelayerError):
            return Wait(Reason.SOURCE_UNREACHABLE, str(answer)[:300], recheck_s=CCIP_RECHECK_S)
        try:
            lookup = contracts.read_lookup(answer.data)
            return Proved(await self._ccip.fetch(lookup, part.address))
        except BadChainData as error:
            return Refuse(Reason.UNSUPPORTED, f"CCIP_READ ISM {part.address}: {error}")
        except Transient as error:
            return Wait(Reason.SOURCE_UNREACHABLE, str(error), recheck_s=CCIP_RECHECK_S)


def _place(parcel: Parcel, part: Multisig, size: int) -> int | Wait | Refuse:
    """The leaf index under which the parcel can be proved, or why it cannot (yet)."""
    if not part.members.can_reach:
        total = sum(part.members.weights)
        text = f"MULTISIG ISM wants {part.members.threshold} of a total weight of {total}"
        return Refuse(Reason.UNSUPPORTED, text)
    index = parcel.index
    if index is None:
        text = "its dispatch did not use the Merkle tree hook, so no validator signs it"
        return Refuse(Reason.UNDELIVERABLE, text)
    if index >= size:
        text = f"leaf {index} is not in our tree of {size} leaves yet"
        return Wait(Reason.AWAITING_LEAF, text, recheck_s=LEAF_RECHECK_S)
    return index


def _by_id(quorum: Quorum | Shortfall, index: int) -> Part:
    if isinstance(quorum, Shortfall):
        return Wait(quorum.reason, quorum.detail, disproved=quorum.disproved)
    return Proved(message_id_metadata(quorum), evidence=_evidence(quorum, index, "message_id"))


def _by_root(quorum: Quorum, parcel: Parcel, index: int, *, siblings: Sequence[bytes]) -> Part:
    """Metadata with a proof that was checked here first, as the contract will check it."""
    if root_from_proof(parcel.leaf, index, siblings) != quorum.checkpoint.root:
        text = f"{parcel.id} is not leaf {index} of the signed tree"
        return Wait(Reason.ROOT_MISMATCH, text, disproved=True)
    metadata = merkle_root_metadata(quorum, index, siblings)
    return Proved(metadata, evidence=_evidence(quorum, index, "merkle_root"))


def _evidence(quorum: Quorum, index: int, kind: str) -> dict[str, str]:
    return {
        "proof": kind,
        "root": "0x" + quorum.checkpoint.root.hex(),
        "signed_index": str(quorum.checkpoint.index),
        "leaf_index": str(index),
        "signatures": str(len(quorum.signatures)),
    }
