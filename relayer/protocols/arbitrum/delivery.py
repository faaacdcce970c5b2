"""What messages need next: look at the outbox, prove against the newest good root, make calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from relayer.abi import word
from relayer.adapter import (
    AdapterContext,
    Call,
    ChainReader,
    Done,
    Refuse,
    Step,
    View,
    ViewResult,
    Wait,
)
from relayer.errors import BadChainData
from relayer.message import Gate, MessageId, Reason, Record
from relayer.protocols.arbitrum import contracts
from relayer.protocols.arbitrum.cross_check import CrossCheck
from relayer.protocols.arbitrum.events import Ends
from relayer.protocols.arbitrum.message import item_of, leaf_of, message_id
from relayer.protocols.arbitrum.roots import Accepted, Roots, Standing
from relayer.trees import append_only

ROOT_RECHECK_S = 600.0
"""The gate is what wakes such a message; this only renews what it says."""
LAGGING_RECHECK_S = 15.0
MUTE_RECHECK_S = 30.0
CODE_RECHECK_S = 600.0
FORGED_RECHECK_S = 15.0
"""It may have been read otherwise meanwhile, and that reading is then tried."""

Steps = dict[MessageId, Step]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A stored message that is what its id says."""

    record: Record
    position: int
    packed: bytes
    """`message.Send`, encoded."""

    @property
    def id(self) -> MessageId:
        return self.record.id

    @property
    def has_call_data(self) -> bool:
        return len(self.packed) > contracts.SEND_HEAD

    @property
    def leaf(self) -> bytes:
        return leaf_of(item_of(self.packed))


class Delivery:
    """The outbox of one bridge."""

    def __init__(
        self,
        ends: Ends,
        parent: ChainReader,
        context: AdapterContext,
        roots: Roots,
        cross_check: CrossCheck | None,
    ) -> None:
        self._ends = ends
        self._parent = parent
        self._context = context
        self._roots = roots
        self._cross_check = cross_check

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when the parent cannot be read."""
        steps: Steps = {}
        parcels = [parcel for record in records if (parcel := self._unpack(record, steps))]
        if any(parcel.record.reason is Reason.REBUILD_PROOF for parcel in parcels):
            self._roots.doubt()
        standing = await self._roots.standing()
        provable = await self._look(parcels, standing, steps)
        if provable:
            steps |= await self._prove(provable, standing.usable)
        return steps

    def _unpack(self, record: Record, steps: Steps) -> Parcel | None:
        """Check that the stored message is what its id says and belongs here."""
        position, ends = record.message.leaf_index, self._ends
        if position is None or record.id != message_id(
            ends.parent, ends.outbox, ends.child, position
        ):
            text = "its id names another leaf or another outbox"
            steps[record.id] = Refuse(Reason.INVALID_MESSAGE, text, dead=True)
            return None
        packed = record.message.payload
        if len(packed) < contracts.SEND_HEAD:
            text = f"its payload of {len(packed)} bytes is no send"
            steps[record.id] = Refuse(Reason.INVALID_MESSAGE, text, dead=True)
            return None
        return Parcel(record, position, packed)

    async def _look(
        self, parcels: Sequence[Parcel], standing: Standing, steps: Steps
    ) -> list[Parcel]:
        """Those that can be proved now, after one read of the outbox; the others get a step."""
        if not parcels:
            return []
        outbox, root = self._ends.outbox, standing.usable.root
        views = [View(outbox, contracts.IS_SPENT + word(p.position)) for p in parcels]
        views.append(View(outbox, contracts.ROOTS + root.rjust(32, b"\x00")))
        *spent, known = await self._parent.read(views)
        is_known = known.ok and any(known.data)
        if not is_known:
            self._roots.doubt()
        provable = []
        for parcel, answer in zip(parcels, spent, strict=True):
            step = _spent(answer) or self._obstacle(parcel, standing, is_known=is_known)
            if step is None:
                provable.append(parcel)
            else:
                steps[parcel.id] = step
        return provable

    def _obstacle(self, parcel: Parcel, standing: Standing, *, is_known: bool) -> Wait | None:
        """Why a leaf cannot be proved, with the gate that says when it can."""
        newest = standing.newest
        if parcel.position < standing.usable.size:
            return None if is_known else _LAGGING
        if isinstance(newest, Wait):
            return _at(self._ends.provable, parcel, newest)
        if newest.obstacle is not None and parcel.position < newest.size:
            return _at(self._ends.provable, parcel, newest.obstacle)
        reach = standing.reach
        detail = f"it is leaf {parcel.position}; the newest accepted root has {reach}"
        wait = Wait(Reason.AWAITING_ROOT, detail, recheck_s=ROOT_RECHECK_S)
        return _at(self._ends.accepted, parcel, wait)

    async def _prove(self, parcels: Sequence[Parcel], against: Accepted) -> Steps:
        """Calls with proofs that lead to the accepted root, checked here first."""
        wanted = [(parcel.position, against.size) for parcel in parcels]
        proofs = await self._context.trees.proofs(self._ends.tree, wanted)
        steps: Steps = {}
        for parcel, proof in zip(parcels, proofs, strict=True):
            if _leads_to(against, parcel, proof):
                steps[parcel.id] = self._call(parcel, against, proof)
            else:
                detail = "the accepted root has another leaf in its place"
                steps[parcel.id] = Wait(
                    Reason.ROOT_MISMATCH, detail, recheck_s=FORGED_RECHECK_S, disproved=True
                )
        doubts = await self._contradicted(parcels, proofs, against)
        return {**steps, **doubts, **await self._codeless(parcels)}

    def _call(self, parcel: Parcel, against: Accepted, proof: Sequence[bytes]) -> Call:
        return Call(
            message_id=parcel.id,
            to=self._ends.outbox,
            data=contracts.execute_call(proof, parcel.position, send=parcel.packed),
            evidence={
                "root": "0x" + against.root.hex(),
                "size": str(against.size),
                "index": str(parcel.position),
                "leaf": "0x" + parcel.leaf.hex(),
                "proof": ",".join("0x" + sibling.hex() for sibling in proof),
            },
        )

    async def _contradicted(
        self, parcels: Sequence[Parcel], proofs: Sequence[Sequence[bytes]], against: Accepted
    ) -> Steps:
        """Waits for those of which the child's own node would prove something else."""
        check = self._cross_check
        if check is None:
            return {}
        doubts = await asyncio.gather(
            *(
                check.doubt(parcel.position, against.size, root=against.root, proof=proof)
                for parcel, proof in zip(parcels, proofs, strict=True)
            )
        )
        return {p.id: wait for p, wait in zip(parcels, doubts, strict=True) if wait is not None}

    async def _codeless(self, parcels: Sequence[Parcel]) -> Steps:
        """Waits for those that failed before and whose recipient has no code; others are free."""
        doubted = [
            parcel
            for parcel in parcels
            if parcel.has_call_data and parcel.record.reason is Reason.AWAITING_TARGET
        ]
        recipients = sorted({parcel.record.message.recipient for parcel in doubted})
        answers = await asyncio.gather(
            *(self._parent.rpc("eth_getCode", [address, "latest"]) for address in recipients)
        )
        code = dict(zip(recipients, answers, strict=True))
        return {p.id: _NO_CODE for p in doubted if code[p.record.message.recipient] == "0x"}


_MUTE = Wait(
    Reason.SOURCE_UNREACHABLE, "no outbox answers at its address", recheck_s=MUTE_RECHECK_S
)
_LAGGING = Wait(
    Reason.AWAITING_ROOT,
    "the outbox does not have the accepted root at its latest block",
    recheck_s=LAGGING_RECHECK_S,
)
_NO_CODE = Wait(
    Reason.AWAITING_TARGET,
    "the recipient has no code and the message has call data, which the bridge refuses",
    recheck_s=CODE_RECHECK_S,
)


def _spent(answer: ViewResult) -> Step | None:
    """What `isSpent` says, None when it says no."""
    try:
        if answer.ok:
            return Done("the outbox has it") if contracts.read_flag(answer.data) else None
    except BadChainData:
        pass
    return _MUTE


def _at(gate: Gate, parcel: Parcel, wait: Wait) -> Wait:
    return replace(wait, gate=gate, gate_value=parcel.position + 1)


def _leads_to(against: Accepted, parcel: Parcel, proof: Sequence[bytes]) -> bool:
    """A proof is as long as the tree is high; it leads from the message's own leaf to the root."""
    if len(proof) != (against.size - 1).bit_length():
        return False
    return append_only.root_from_proof(parcel.leaf, parcel.position, proof) == against.root
