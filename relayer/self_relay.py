"""What a message needs now, for anybody who wants to deliver it: computed afresh, within bounds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from relayer.adapter import Adapter, Call, Done, Refuse, Step, Wait, carrier_of
from relayer.errors import RelayerError, Transient
from relayer.message import BridgeName, ChainId, MessageId, Record, Status
from relayer.ops.api.discreet import discreet
from relayer.ops.views import printable
from relayer.ops.web import Refused

AT_ONCE = 4
"""Proofs under way for one destination; each may cost some reads of a chain."""
MOST_WAITING = 16
"""Askers for one destination, so that one that hangs leaves room for the others."""
MOST_ALTOGETHER = 48
KEPT_S = 5.0
"""Seconds a computed step is given to whoever asks for the same message."""
MOST_KEPT = 500


@dataclass(slots=True, weakref_slot=True)
class _Queue:
    """Who asks for one destination now."""

    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A step, and of what it was computed: of a message that went on since it says nothing."""

    status: Status
    until: float
    view: Mapping[str, Any]


class SelfRelay:
    """Computes steps for strangers without letting them load the chains."""

    def __init__(
        self, adapters: Callable[[], Mapping[BridgeName, Adapter]], clock: Callable[[], float]
    ) -> None:
        self._adapters = adapters
        self._clock = clock
        # Both live as long as somebody asks.
        self._queues: WeakValueDictionary[ChainId, _Queue] = WeakValueDictionary()
        self._turns: WeakValueDictionary[MessageId, asyncio.Lock] = WeakValueDictionary()
        self._kept: OrderedDict[MessageId, _Kept] = OrderedDict()

    async def prove(self, record: Record) -> Mapping[str, Any]:
        """The step as JSON; `Refused` when we cannot say."""
        view = self._known(record)
        if view is not None:
            return view
        queue = self._queues.setdefault(record.route.destination, _Queue())
        turn = self._turns.setdefault(record.id, asyncio.Lock())
        altogether = sum(one.waiting for one in self._queues.values())
        if queue.waiting >= MOST_WAITING or altogether >= MOST_ALTOGETHER:
            raise Refused(503, "too many proofs at once; try again", retry_after_s=2)
        queue.waiting += 1
        try:
            async with turn:  # who asks for the same message waits for the same answer
                return self._known(record) or await self._proved(record, queue)
        finally:
            queue.waiting -= 1

    def _known(self, record: Record) -> Mapping[str, Any] | None:
        kept = self._kept.get(record.id)
        if kept is None or self._clock() >= kept.until or kept.status is not record.status:
            return None
        return kept.view

    async def _proved(self, record: Record, queue: _Queue) -> Mapping[str, Any]:
        async with queue.room:
            view = await self._computed(record)
        self._kept[record.id] = _Kept(record.status, self._clock() + KEPT_S, view)
        self._kept.move_to_end(record.id)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return view

    async def _computed(self, record: Record) -> Mapping[str, Any]:
        adapter = carrier_of(self._adapters(), record.route)
        if adapter is None:
            raise Refused(404, "its route is not served any more", field="id", value=record.id)
        try:
            step = (await adapter.next_steps([record]))[record.id]
        except Transient:
            raise
        except RelayerError as error:
            raise Refused(503, f"no proof now: {error.label}", retry_after_s=30) from None
        view = step_view(step)
        if isinstance(step, Call):
            view["chain"] = record.route.destination
        return view


def step_view(step: Step) -> dict[str, Any]:
    """An adapter's answer as JSON."""
    match step:
        case Wait():
            return {
                "step": "wait",
                "reason": step.reason.value,
                "detail": discreet(step.detail),
                "gate": str(step.gate) if step.gate else None,
                "gate_value": str(step.gate_value),
                "recheck_s": step.recheck_s,
                "clocks": [{"name": clock.name, "at": clock.at} for clock in step.clocks],
            }
        case Refuse():
            return {
                "step": "refuse",
                "reason": step.reason.value,
                "detail": discreet(step.detail),
                "dead": step.dead,
            }
        case Done():
            return {"step": "done", "detail": discreet(step.detail)}
        case Call():
            return _call_view(step)


def _call_view(call: Call) -> dict[str, Any]:
    return {
        "step": "call",
        "what": call.what,
        "to": call.to,
        "data": "0x" + call.data.hex(),
        "value_wei": str(call.value),
        "gas_floor": call.gas_floor,
        "access_list": [
            {"address": address, "storageKeys": ["0x" + key.hex() for key in keys]}
            for address, keys in call.access_list
        ],
        "shareable": call.shareable,
        "final": call.final,
        "evidence": {key: printable(value, 20_000) for key, value in call.evidence.items()},
    }
