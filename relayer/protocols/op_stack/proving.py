"""Proves withdrawals: against which root, with what proof, and why not yet.

The newest root covers the most, costs no time (both clocks start later than any root did), and
its state is what nodes are surest to have. A root that ours contradicts is passed over and told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from relayer.adapter import Call, ChainReader, Header, Wait
from relayer.errors import BadChainData
from relayer.message import BlockNumber, BridgeName, Gate, MessageId, Reason
from relayer.protocols.op_stack.claims import Claim, Claims
from relayer.protocols.op_stack.parcels import Parcel, Steps, Unproved
from relayer.protocols.op_stack.portal import Generation, Rules
from relayer.protocols.op_stack.snapshots import NoState, Snapshot, Snapshots

ROOT_RECHECK_S = 300.0
"""The gate wakes what waits for a root; this is for the case that we missed it."""
WRONG_RECHECK_S = 60.0
FAR_OFF = 86_400
"""A claim of a block or second so far beyond our final one is nobody's business yet."""
STATE_RECHECK_S = 10.0
DRIFT_S = 3600.0
"""A rollup's clock may run ahead of layer 1's by its sequencer drift, half an hour at most."""
TRIED = 8
"""Claims whose state is looked into for one batch."""


@dataclass(frozen=True, slots=True)
class _Excuse:
    """Why messages that a claim covers were not proved against it."""

    reason: Reason
    detail: str
    recheck_s: float
    upto: int


@dataclass(slots=True)
class _Turn:
    """How far one batch has come."""

    final: Header
    left: dict[MessageId, Unproved]
    """What is not served yet."""
    excuses: list[_Excuse] = field(default_factory=list)
    tried: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether more claims are to be looked at."""
        return bool(self.left) and self.tried < TRIED

    def covered_by(self, claim: Claim, block: int | None) -> list[Parcel]:
        """What the claim of that block serves."""
        if block is None:
            return []
        left = (one for one in self.left.values() if claim.made > one.newer_than)
        return [one.parcel for one in left if one.parcel.block <= block]


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

    async def add_steps(self, rules: Rules, parcels: Sequence[Unproved], steps: Steps) -> None:
        """Prove each parcel or say what it waits for."""
        if not parcels:
            return
        turn = _Turn(await self._rollup.final_header(), {one.parcel.id: one for one in parcels})
        claims = page = await self._claims.newest(rules)
        await self._serve(rules, page, turn, steps)
        since = await self._sent_since(turn) if turn.goes_on else 0.0
        while page and turn.goes_on:
            page = await self._claims.older(rules, known=len(claims), since=since)
            claims = [*claims, *page]
            await self._serve(rules, page, turn, steps)
        for one in turn.left.values():
            steps[one.parcel.id] = self._wait(one, claims, turn.excuses)

    async def _serve(
        self, rules: Rules, claims: Sequence[Claim], turn: _Turn, steps: Steps
    ) -> None:
        """Prove against these claims what they cover."""
        for claim in self._usable(claims):
            block = await self._block_of(claim, turn.final, turn.excuses)
            covered = turn.covered_by(claim, block)
            if block is None or not covered or await self._is_wrong(claim, block, turn.excuses):
                continue
            if not turn.goes_on:
                break
            turn.tried += 1
            snapshot = await self._trusted(claim, block, covered, turn.excuses)
            if snapshot is None:
                continue
            for parcel in covered:
                steps[parcel.id] = _step(rules, parcel, claim, snapshot)
                del turn.left[parcel.id]

    async def _sent_since(self, turn: _Turn) -> float:
        """No root that covers what is left is older than this, in seconds of layer 1."""
        oldest = min(one.parcel.block for one in turn.left.values())
        sent = await self._rollup.header(BlockNumber(oldest))
        return sent.timestamp - DRIFT_S

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
        self, unproved: Unproved, claims: Sequence[Claim], excuses: Sequence[_Excuse]
    ) -> Wait:
        """Why no claim serves it: the word on one that covers it, or on the newest of all."""
        parcel, before = unproved.parcel, unproved.before
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
