"""What the messages of one destination need next: read inbox and ISMs, prove, make calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from relayer.abi import address_word, revert_text
from relayer.adapter import Call, ChainReader, Done, Refuse, Step, View, Wait
from relayer.errors import BadChainData, RelayerError, Transient
from relayer.message import Address, ChainId, Gate, MessageId, Reason, Record, Timestamp
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.gates import Gates
from relayer.protocols.hyperlane.isms import Answer, IsmReader, is_unread, read_each
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.message import HyperlaneMessage, decode_message
from relayer.protocols.hyperlane.proving import SICK_RECHECK_S, Origin, Parcel, PartProver
from relayer.protocols.hyperlane.steps import Parts, assemble

SOONEST_S = 2.0
LATEST_S = 120.0
"""Bounds of the pause before a message without a gate to wait at is looked at again."""
MUTE_RECHECK_S = 30.0

Steps = dict[MessageId, Step]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stored message that is what its id says."""

    record: Record
    message: HyperlaneMessage
    leaf: bytes
    recipient: Address

    @property
    def id(self) -> MessageId:
        return self.record.id


class Destination:
    """One destination's mailbox."""

    def __init__(
        self,
        *,
        domain: int,
        mailbox: Address,
        reader: ChainReader,
        isms: IsmReader,
        recipient_isms: Memory[Address, Address],
        origins: Mapping[ChainId, Origin],
        prover: PartProver,
        gates: Gates,
        now: Callable[[], Timestamp],
    ) -> None:
        self._domain = domain
        self._mailbox = mailbox
        self._reader = reader
        self._isms = isms
        self._recipient_isms = recipient_isms
        self._origins = origins
        self._prover = prover
        self._gates = gates
        self._now = now

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when the destination cannot be read."""
        steps: Steps = {}
        parcels: list[_Opened] = []
        for record in records:
            unpacked = self._unpack(record)
            if isinstance(unpacked, _Opened):
                parcels.append(unpacked)
            else:
                steps[record.id] = unpacked
        wanted = await self._undelivered(parcels, steps)
        isms = await self._isms.resolve([(address, parcel.message) for parcel, address in wanted])
        by_origin: dict[ChainId, list[Parcel]] = {}
        for (opened, _), ism in zip(wanted, isms, strict=True):
            parcel = Parcel(opened.record, opened.message, opened.leaf, ism)
            by_origin.setdefault(opened.record.route.origin, []).append(parcel)
        groups = [self._from_origin(self._origins[o], group) for o, group in by_origin.items()]
        for answer in await asyncio.gather(*groups):
            steps.update(answer)
        return steps

    def _unpack(self, record: Record) -> _Opened | Refuse:
        """Check that the stored message is what its id says and belongs here."""
        origin = self._origins[record.route.origin]
        try:
            message = decode_message(record.message.payload)
        except BadChainData as error:
            return Refuse(Reason.INVALID_MESSAGE, str(error), dead=True)
        if "0x" + message.id.hex() != record.id:
            return Refuse(Reason.INVALID_MESSAGE, "payload does not hash to the id", dead=True)
        if (message.origin, message.destination) != (origin.domain, self._domain):
            return Refuse(Reason.INVALID_MESSAGE, "wrong origin or destination domain", dead=True)
        recipient = message.recipient_address
        if recipient is None:
            return Refuse(Reason.INVALID_MESSAGE, "recipient is not an EVM address", dead=True)
        return _Opened(record, message, message.id, Address(recipient))

    async def _undelivered(
        self, parcels: Sequence[_Opened], steps: Steps
    ) -> list[tuple[_Opened, Address]]:
        """What the inbox has not taken yet, with the recipients' ISMs, in one batched read."""
        self._doubt(parcels)
        known = {parcel.recipient: self._recipient_isms.get(parcel.recipient) for parcel in parcels}
        unknown = [recipient for recipient, ism in known.items() if ism is None]
        delivered = [View(self._mailbox, contracts.DELIVERED + parcel.leaf) for parcel in parcels]
        asked = [
            View(self._mailbox, contracts.RECIPIENT_ISM + address_word(recipient))
            for recipient in unknown
        ]
        answers = await read_each(self._reader, [*delivered, *asked])
        said = answers[len(parcels) :]
        barred: dict[Address, Wait | Refuse] = {}
        for recipient, answer in zip(unknown, said, strict=True):
            found = _ism_of(answer)
            if isinstance(found, Wait | Refuse):
                barred[recipient] = found
            else:
                known[recipient] = self._recipient_isms.put(recipient, found)
        open_parcels = []
        for parcel, answer in zip(parcels, answers, strict=False):
            step = _delivered(answer) or barred.get(parcel.recipient)
            ism = known[parcel.recipient]
            if step is None and ism is not None:
                open_parcels.append((parcel, ism))
            elif isinstance(step, Wait):
                steps[parcel.id] = self._patient(parcel.record, step)
            elif step is not None:
                steps[parcel.id] = step
        return open_parcels

    def _doubt(self, parcels: Iterable[_Opened]) -> None:
        """What the inbox refused before was perhaps made for an ISM that has changed."""
        for parcel in parcels:
            if parcel.record.reason is Reason.REBUILD_PROOF:
                ism = self._recipient_isms.get(parcel.recipient)
                self._recipient_isms.forget(parcel.recipient)
                self._isms.forget([] if ism is None else [ism])

    async def _from_origin(self, origin: Origin, parcels: Sequence[Parcel]) -> Steps:
        """One origin's messages; its trouble is a wait for them only."""
        try:
            found = await self._prover.parts(origin, parcels)
            steps = await asyncio.gather(*(self._step(origin, p, found[p.id]) for p in parcels))
        except Transient as error:
            sick = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
            return {parcel.id: sick for parcel in parcels}
        return {parcel.id: step for parcel, step in zip(parcels, steps, strict=True)}

    async def _step(self, origin: Origin, parcel: Parcel, parts: Parts) -> Step:
        part = assemble(parcel.ism, parts)
        if isinstance(part, Refuse):
            return part
        if isinstance(part, Wait):
            return await self._wait(origin, parcel, part)
        return Call(
            message_id=parcel.id,
            to=self._mailbox,
            data=contracts.process_call(part.metadata, parcel.record.message.payload),
            sender=part.sender,
            evidence=part.evidence,
        )

    async def _wait(self, origin: Origin, parcel: Parcel, wait: Wait) -> Wait:
        """Wait at a gate where one is shut, else for a while that grows with the message's age."""
        if wait.reason is Reason.AWAITING_QUORUM and parcel.index is not None:
            gate = await self._gate(origin, parcel, parcel.index)
            if gate is not None:
                return replace(wait, gate=gate, gate_value=parcel.index)
        if wait.reason in (Reason.AWAITING_QUORUM, Reason.ROOT_MISMATCH):
            return self._patient(parcel.record, replace(wait, recheck_s=SOONEST_S))
        return self._patient(parcel.record, wait) if is_unread(parcel.ism) else wait

    def _patient(self, record: Record, wait: Wait) -> Wait:
        """A pause that grows with the message's age: what does not heal must not cost much."""
        age_s = self._now() - record.seen_at
        return replace(wait, recheck_s=min(LATEST_S, max(wait.recheck_s, age_s / 4)))

    async def _gate(self, origin: Origin, parcel: Parcel, index: int) -> Gate | None:
        try:
            return await self._gates.closed_for(origin.domain, parcel.ism, index)
        except Transient:  # the message waits without a gate; the others' proofs are good
            return None


def _delivered(answer: Answer) -> Step | None:
    """What `delivered(id)` says, None when it says no."""
    if isinstance(answer, RelayerError):
        return _mute(str(answer))
    if not answer.ok or len(answer.data) != 32:
        return _mute("no such view at this block")
    return Done("the mailbox has it") if any(answer.data) else None


def _ism_of(answer: Answer) -> Address | Wait | Refuse:
    """The ISM the mailbox would ask for a recipient.

    A recipient without one, or that reverts, has the default ISM (`Mailbox.recipientIsm`): it fails
    only while the recipient answers what is no address, which an upgrade of it may change.
    """
    if isinstance(answer, RelayerError):
        return _mute(str(answer))
    if not answer.ok:
        why = revert_text(answer.data) or "no reason given"
        text = f"the mailbox cannot tell the recipient's ISM: {why}"
        return Refuse(Reason.UNDELIVERABLE, text)
    try:
        return contracts.read_address(answer.data)
    except BadChainData as error:
        return _mute(str(error))


def _mute(why: str) -> Wait:
    text = f"the mailbox does not answer: {why}"
    return Wait(Reason.SOURCE_UNREACHABLE, text[:300], recheck_s=MUTE_RECHECK_S)
