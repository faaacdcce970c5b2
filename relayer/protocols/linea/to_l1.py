"""What messages to L1 need next: their finalisation, a proof, room in the rate limit, a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from relayer.abi import word
from relayer.adapter import Call, ChainReader, Done, View, ViewResult, Wait
from relayer.message import Address, MessageId, Reason, Record, Timestamp, Wei
from relayer.protocols.linea.contracts import (
    IS_CLAIMED,
    LAST_FINALISED,
    PAUSE_L2_L1,
    ROOT_DEPTH,
    pause_views,
    read_number_or,
)
from relayer.protocols.linea.fees import incomes
from relayer.protocols.linea.finalisations import Finalisations, Found
from relayer.protocols.linea.parcels import Parcel, Steps, open_parcels, pause_s, unanswered
from relayer.protocols.linea.proofs import Proof
from relayer.protocols.linea.rate_limit import LIMIT_VIEWS, RateLimit
from relayer.protocols.linea.settings import ZERO_ADDRESS

PAUSED_RECHECK_S = 30.0


class ToL1:
    """Delivery by `LineaRollup.claimMessageWithProof`."""

    def __init__(
        self,
        *,
        rollup: Address,
        reader: ChainReader,
        finalisations: Finalisations,
        fee_recipient: Address | None,
        now: Callable[[], Timestamp],
    ) -> None:
        self._rollup = rollup
        self._reader = reader
        self._finalisations = finalisations
        self._fee_recipient = fee_recipient
        self._now = now
        self._rate_limit = RateLimit(rollup, reader, now)

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when L1 cannot be read."""
        steps: Steps = {}
        parcels = open_parcels(records, steps)
        if not parcels:
            return steps
        for parcel in parcels:
            if parcel.record.reason is Reason.REBUILD_PROOF:
                self._finalisations.forget(parcel.block)
        views = [View(self._rollup, IS_CLAIMED + word(one.message.number)) for one in parcels]
        views.append(View(self._rollup, LAST_FINALISED))
        views += [*self._rate_limit.views(), *pause_views(self._rollup, PAUSE_L2_L1)]
        answers = await self._reader.read(views)
        unclaimed: list[Parcel] = []
        for parcel, answer in zip(parcels, answers, strict=False):
            claimed = read_number_or(answer, -1)
            if claimed > 0:
                steps[parcel.id] = Done("the rollup has it claimed")
            elif claimed < 0:
                steps[parcel.id] = unanswered("rollup")
            else:
                unclaimed.append(parcel)
        finalised, *others = answers[len(parcels) :]
        if any(read_number_or(answer, 0) for answer in others[LIMIT_VIEWS:]):
            paused = Wait(Reason.PAUSED, "claims on L1 are paused", recheck_s=PAUSED_RECHECK_S)
            return steps | {parcel.id: paused for parcel in unclaimed}
        proved = await self._prove(unclaimed, read_number_or(finalised, -1), steps)
        ready = [parcel for parcel in unclaimed if parcel.id in proved]
        held = await self._rate_limit.hold_back(ready, others[:LIMIT_VIEWS])
        passing = [one for one in ready if one.id not in held]
        paid = await incomes(self._reader, passing)
        calls = {one.id: self._call(one, proved[one.id], paid[one.id]) for one in passing}
        return steps | held | calls

    async def _prove(
        self, parcels: Sequence[Parcel], finalised: int, steps: Steps
    ) -> dict[MessageId, Proof]:
        """Proofs against roots that the rollup has now; what has none waits in `steps`."""
        covering = await self._finalisations.covering(
            {parcel.block for parcel in parcels}, finalised=finalised
        )
        groups: dict[int, tuple[Found, list[Parcel]]] = {}
        for parcel in parcels:
            found = covering[parcel.block]
            groups.setdefault(id(found), (found, []))[1].append(parcel)
        proofs: dict[MessageId, Proof] = {}
        for found, group in groups.values():
            if isinstance(found, Wait):
                steps |= {one.id: self._in_turn(one, found) for one in group}
                continue
            wanted = [(parcel.message.number, parcel.digest) for parcel in group]
            for parcel, proof in zip(group, found.proofs(wanted), strict=True):
                if proof is None:
                    text = f"{parcel.id} is in no root of {found.finalisation.at.tx}"
                    steps[parcel.id] = self._mismatch(parcel, text)
                else:
                    proofs[parcel.id] = proof
        return await self._accepted(parcels, proofs, steps)

    async def _accepted(
        self, parcels: Sequence[Parcel], proofs: dict[MessageId, Proof], steps: Steps
    ) -> dict[MessageId, Proof]:
        """Those proofs whose root the rollup knows now, with that depth."""
        depths = await self._depths({proof.root for proof in proofs.values()})
        for parcel in parcels:
            proof = proofs.get(parcel.id)
            if proof is not None and depths[proof.root] != len(proof.siblings):
                text = (
                    f"the rollup has depth {depths[proof.root]} for the root 0x{proof.root.hex()}"
                )
                steps[parcel.id] = self._mismatch(parcel, text)
                del proofs[parcel.id]
        return proofs

    async def _depths(self, roots: Iterable[bytes]) -> dict[bytes, int]:
        asked = sorted(roots)
        if not asked:
            return {}
        views = [View(self._rollup, ROOT_DEPTH + root) for root in asked]
        answers: Sequence[ViewResult] = await self._reader.read(views)
        return {
            root: read_number_or(answer, 0) for root, answer in zip(asked, answers, strict=True)
        }

    def _in_turn(self, parcel: Parcel, wait: Wait) -> Wait:
        is_doubt = wait.reason is Reason.ROOT_MISMATCH
        return self._mismatch(parcel, wait.detail) if is_doubt else wait

    def _mismatch(self, parcel: Parcel, text: str) -> Wait:
        """An endpoint may have hidden a log: look again, soon at first."""
        recheck_s = pause_s(parcel.record, self._now())
        return Wait(Reason.ROOT_MISMATCH, text, recheck_s=recheck_s)

    def _call(self, parcel: Parcel, proof: Proof, income: Wei) -> Call:
        message = parcel.message
        return Call(
            message_id=parcel.id,
            to=self._rollup,
            data=message.claim_with_proof_call(
                proof.siblings,
                proof.leaf,
                root=proof.root,
                fee_recipient=self._fee_recipient or ZERO_ADDRESS,
            ),
            income=income,
            shareable=self._fee_recipient is not None or not message.fee,
            evidence={
                "root": "0x" + proof.root.hex(),
                "leaf_index": str(proof.leaf),
                "depth": str(len(proof.siblings)),
                "message_number": str(message.number),
            },
        )
