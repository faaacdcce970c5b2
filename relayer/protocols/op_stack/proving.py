"""Proves withdrawals: against which root, with what proof, and why not yet.

The newest root covers the most, costs no time (both clocks start later than any root did), and
its state is what nodes are surest to have. A root that ours contradicts is passed over and told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from relayer.adapter import Call, ChainReader, Header, Wait
from relayer.errors import BadChainData
from relayer.message import BridgeName, Gate, Reason
from relayer.protocols.op_stack.claims import Claim, Claims
from relayer.protocols.op_stack.parcels import Parcel, Steps
from relayer.protocols.op_stack.portal import Generation, Rules
from relayer.protocols.op_stack.snapshots import NoState, Snapshot, Snapshots

ROOT_RECHECK_S = 300.0
"""The gate wakes what waits for a root; this is for the case that we missed it."""
WRONG_RECHECK_S = 60.0
FAR_OFF = 86_400
"""A claim of a block or second so far beyond our final one is nobody's business yet."""
STATE_RECHECK_S = 10.0
TRIED = 8
"""Claims whose state is looked into for one batch."""


@dataclass(frozen=True, slots=True)
class _Excuse:
    """Why messages that a claim covers were not proved against it."""

    reason: Reason
    detail: str
    recheck_s: float
    upto: int


class Proving:
    """Finds the proof step of one bridge's withdrawals."""

    def __init__(
        self,
        *,
        name: BridgeName,
        rollup: ChainReader,
        claims: Claims,
        snapshots: Snapshots,
        gate: Gate,
    ) -> None:
        self._rollup = rollup
        self._claims = claims
        self._snapshots = snapshots
        self._gate = gate
        self._log = structlog.get_logger("relayer").bind(bridge=name)
        self._told: set[bytes] = set()

    async def add_steps(
        self, rules: Rules, parcels: Sequence[tuple[Parcel, str]], steps: Steps
    ) -> None:
        """Prove each parcel or say what it waits for; with it comes what happened to its proof."""
        if not parcels:
            return
        claims = await self._claims.newest(rules)
        final = await self._rollup.final_header()
        left = {parcel.id: (parcel, before) for parcel, before in parcels}
        excuses: list[_Excuse] = []
        tried = 0
        for claim in self._usable(claims):
            block = await self._block_of(claim, final, excuses)
            covered = [one for one, _ in left.values() if block is not None and one.block <= block]
            if block is None or not covered or await self._is_wrong(claim, block, excuses):
                continue
            if tried == TRIED:
                break
            tried += 1
            snapshot = await self._trusted(claim, block, covered, excuses)
            if snapshot is None:
                continue
            for parcel in covered:
                steps[parcel.id] = _step(rules, parcel, claim, snapshot)
                del left[parcel.id]
        for parcel, before in left.values():
            steps[parcel.id] = self._wait(parcel, before, claims, excuses)

    async def level(self, rules: Rules) -> int:
        """The highest layer-2 block that a claim covers which is not known to be wrong."""
        final = await self._rollup.final_header()
        covered = -1
        for claim in self._usable(await self._claims.newest(rules)):
            place: int | None = claim.place
            if claim.is_super:
                is_past = claim.place <= final.timestamp
                place = await self._snapshots.last_block(claim.place, final) if is_past else None
            if place is None or place > final.number:
                continue
            known = self._snapshots.known_root(place)
            if known is None or known == claim.root:
                covered = max(covered, place)
        return covered

    def _usable(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those without a flaw, those of the latest state first."""
        good = [claim for claim in claims if not claim.flaw]
        return sorted(good, key=lambda claim: (claim.place, claim.index), reverse=True)

    async def _block_of(self, claim: Claim, final: Header, excuses: list[_Excuse]) -> int | None:
        """The layer-2 block that the claim is of; None when ours is not final up to there."""
        reached = final.timestamp if claim.is_super else final.number
        if claim.place > reached:
            if claim.place <= reached + FAR_OFF:
                unit, upto = ("time", 2**63) if claim.is_super else ("block", claim.place)
                detail = f"{claim} is of {unit} {claim.place}, ours is final up to {reached:.0f}"
                excuses.append(_Excuse(Reason.AWAITING_FINALITY, detail, ROOT_RECHECK_S, upto))
            return None
        if not claim.is_super:
            return claim.place
        return await self._snapshots.last_block(claim.place, final)

    async def _trusted(
        self, claim: Claim, block: int, covered: Sequence[Parcel], excuses: list[_Excuse]
    ) -> Snapshot | None:
        """Our own snapshot of the block, if the claim's root is its root."""
        slots = [parcel.withdrawal.slot for parcel in covered]
        try:
            snapshot = await self._snapshots.of(block, slots)
        except (NoState, BadChainData) as error:
            detail = f"the state of block {block}, which {claim} is of, is not to be had: {error}"
            excuse = _Excuse(Reason.SOURCE_UNREACHABLE, detail[:300], STATE_RECHECK_S, block)
            excuses.append(excuse)
            return None
        if await self._is_wrong(claim, block, excuses):
            return None
        await self._snapshots.keep(snapshot)
        return snapshot

    async def _is_wrong(self, claim: Claim, block: int, excuses: list[_Excuse]) -> bool:
        """Whether the claim's root is known not to be the block's."""
        ours = await self._snapshots.standing_root(block)
        if ours is None or ours == claim.root:
            return False
        detail = (
            f"{claim} claims 0x{claim.root.hex()[:16]}.. for block {block},"
            f" by our reckoning it is 0x{ours.hex()[:16]}.."
        )
        excuses.append(_Excuse(Reason.ROOT_MISMATCH, detail, ROOT_RECHECK_S, block))
        self._tell(claim, block, ours)
        return True

    def _tell(self, claim: Claim, block: int, ours: bytes) -> None:
        """A wrong root stands on layer 1: somebody must know, once."""
        if claim.root in self._told:
            return
        if len(self._told) >= 1000:
            self._told.clear()
        self._told.add(claim.root)
        self._log.error(
            "wrong_root_claimed",
            claim=str(claim),
            block=block,
            claimed="0x" + claim.root.hex(),
            ours="0x" + ours.hex(),
        )

    def _wait(
        self, parcel: Parcel, before: str, claims: Sequence[Claim], excuses: Sequence[_Excuse]
    ) -> Wait:
        """Why no claim serves it: the word on one that covers it, or on the newest of all."""
        for excuse in excuses:
            if parcel.block <= excuse.upto:
                # a claim that only lacks its state holds the gate open: no use waiting there
                gate = None if excuse.reason is Reason.SOURCE_UNREACHABLE else self._gate
                value = 0 if gate is None else parcel.block
                detail = before + excuse.detail
                return Wait(excuse.reason, detail, gate, value, recheck_s=excuse.recheck_s)
        detail = f"{before}sent in block {parcel.block}; {_newest(claims)}"
        return Wait(
            Reason.AWAITING_ROOT, detail, self._gate, parcel.block, recheck_s=ROOT_RECHECK_S
        )


def _newest(claims: Sequence[Claim]) -> str:
    """What the newest claim is, for people."""
    if not claims:
        return "layer 1 has no root yet"
    newest = claims[0]
    if newest.flaw:
        return f"{newest} is {newest.flaw}"
    return f"{newest} is of {'time' if newest.is_super else 'block'} {newest.place}"


def _step(rules: Rules, parcel: Parcel, claim: Claim, snapshot: Snapshot) -> Call | Wait:
    """The proof, as anybody may make it.

    Where proofs are their submitters' they are sent alone: in company Multicall3 would be the
    submitter, and whoever else proved through it would start the proof's clock anew.
    """
    output = snapshot.output
    nodes = snapshot.nodes.get(parcel.withdrawal.slot)
    if nodes is None:
        said = f"it is not in the state of block {snapshot.block}, which {claim} is of"
        return Wait(Reason.ROOT_MISMATCH, said, recheck_s=WRONG_RECHECK_S)
    evidence = {
        "against": str(claim),
        "root": "0x" + claim.root.hex(),
        "index": str(claim.index),
        "l2_block": str(snapshot.block),
        "state_root": "0x" + output.state_root.hex(),
        "storage_root": "0x" + output.storage_root.hex(),
        "block_hash": "0x" + output.block_hash.hex(),
        "slot": "0x" + parcel.withdrawal.slot.hex(),
        "proof": " ".join("0x" + node.hex() for node in nodes),
    }
    return Call(
        message_id=parcel.id,
        to=rules.portal,
        data=parcel.withdrawal.prove_call(claim.index, output, nodes),
        shareable=rules.generation is Generation.OUTPUTS,
        what="prove",
        final=False,
        evidence=evidence,
    )
