"""Simulates ready calls and packs those that work into transactions, one bad call at a time out.

A pack is estimated with no failure allowed, so the estimate covers every call in it, and sent with
failure allowed, so that a call which fails later spoils nothing but itself. A pack whose estimate
could hide one call over the gas cap, or with a call whose cost decides whether it is sent, is
estimated call by call: nobody may travel on what another pays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from relayer.chains import ChainClient
from relayer.chains.multicall import encode_aggregate3_value
from relayer.chains.transactions import AccessList
from relayer.chains.wire import quantity
from relayer.errors import BadChainData, CallReverted, EndpointDown, RelayerError, Transient
from relayer.message import Address, Gas, MessageId, Reason, Record, Wei
from relayer.pipeline.inbox import ReadyCall
from relayer.pipeline.suspects import Suspects

CALL_OVERHEAD_GAS = 12_000
"""Multicall3's own cost per call (loop, memory, cold account), rounded up."""
INTRINSIC_GAS = 21_000
CALLDATA_GAS_PER_BYTE = 16
CALL_OVERHEAD_BYTES = 192
"""ABI words around each packed call."""
PACKS_AT_ONCE = 4
"""Simulated in one request: a slow node must be through with them before `timeout_s`."""
ACCESS_KEY_BYTES = 33
"""A key of an access list in RLP."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Calls that travel in one transaction, with the gas to send."""

    items: tuple[ReadyCall, ...]
    gas: Gas
    own: tuple[Gas, ...] = ()
    """What each call needs by itself, in order; empty when they were only estimated together."""

    @property
    def shares(self) -> tuple[Gas, ...]:
        """Each call's part of `gas`, by what it needs; even parts where that is not known."""
        needs = self.own or (Gas(1),) * len(self.items)
        whole = sum(needs)
        return tuple(Gas(-(-self.gas * need // whole)) for need in needs)

    def without(self, places: Collection[int]) -> Pack:
        """The pack without the calls at `places`, and without their gas."""
        if not places:
            return self
        kept = [place for place in range(len(self.items)) if place not in places]
        shares = self.shares
        return Pack(
            tuple(self.items[place] for place in kept),
            Gas(sum(shares[place] for place in kept)),
            tuple(self.own[place] for place in kept if self.own),
        )


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that must not be sent: `error` says why, else a limit of ours by reason and detail."""

    item: ReadyCall
    error: RelayerError | None = None
    reason: Reason = Reason.GAS_CAP_EXCEEDED
    detail: str = ""
    dead: bool = False
    """Trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a transaction does, apart from who sends it and at what price."""

    to: Address
    data: bytes
    value: Wei
    access_list: AccessList = ()


def body_of(chain: ChainClient, items: Sequence[ReadyCall], *, lenient: bool) -> Body:
    """The body that carries `items`; `lenient` lets single calls fail without undoing the rest."""
    access_list = _united_access(items)
    if len(items) == 1:
        call = items[0].call
        return Body(call.to, call.data, call.value, access_list)
    multicall = chain.settings.multicall
    assert multicall is not None  # `Packer` never shares without one
    calls = [(item.call.to, lenient, item.call.value, item.call.data) for item in items]
    value = Wei(sum(item.call.value for item in items))
    return Body(multicall, encode_aggregate3_value(calls), value, access_list)


def _united_access(items: Sequence[ReadyCall]) -> AccessList:
    """One entry for each address with all calls' keys in order, repeated ones too: what a key
    means may depend on the one before it."""
    united: dict[Address, list[bytes]] = {}
    for item in items:
        for address, keys in item.call.access_list:
            united.setdefault(address, []).extend(keys)
    return tuple((address, tuple(keys)) for address, keys in united.items())


class Packer:
    """Simulation and packing for one lane; remembers the cheapest call seen as a sound floor."""

    def __init__(
        self, chain: ChainClient, suspects: Suspects, is_weighed: Callable[[Record], bool]
    ) -> None:
        """`is_weighed` says of which messages the single cost matters."""
        self._chain = chain
        self._suspects = suspects
        self._is_weighed = is_weighed
        self._lane = chain.settings.lane
        self._cheapest: Gas | None = None

    async def pack(
        self, items: Sequence[ReadyCall], sender: Address
    ) -> tuple[list[Pack], list[Failed]]:
        """Split `items` into packs that simulate well now, and calls that failed."""
        most = self._lane.max_tx_bytes
        failed = [_too_large(item, most) for item in items if len(item.call.data) > most]
        small = [item for item in items if len(item.call.data) <= most]
        groups = self._groups([item for item in small if self.may_share(item)])
        known = await self._estimate_together(groups, sender)
        packs = [
            Pack(tuple(group), self._with_margin(gas, group))
            for group, gas in zip(groups, known, strict=True)
            if gas is not None
        ]
        apart = [group for group, gas in zip(groups, known, strict=True) if gas is None]
        apart += [[item] for item in small if not self.may_share(item)]
        needs, bad = await self._one_by_one([item for group in apart for item in group], sender)
        for group in apart:
            packs += self._combine([(i, needs[i.record.id]) for i in group if i.record.id in needs])
        return packs, failed + bad

    def may_share(self, item: ReadyCall) -> bool:
        """Whether a call may travel with others."""
        call = item.call
        if self._chain.settings.multicall is None or not call.shareable or call.sender is not None:
            return False
        return not item.record.alone and self._suspects.company(item.record, 2) > 1

    def _groups(self, items: Sequence[ReadyCall]) -> list[list[ReadyCall]]:
        """Bounded by count, bytes and the gas that the cheapest call seen lets us expect."""
        groups: list[list[ReadyCall]] = []
        size = 0
        most = self._lane.batch_calls
        if self._cheapest:
            most = max(1, min(most, self._lane.batch_gas // self._cheapest))
        company = {item.record.id: self._suspects.company(item.record, most) for item in items}
        for item in sorted(items, key=lambda one: -company[one.record.id]):
            named = sum(len(keys) for _, keys in item.call.access_list)
            weight = len(item.call.data) + CALL_OVERHEAD_BYTES + ACCESS_KEY_BYTES * named
            full = not groups or len(groups[-1]) >= company[item.record.id]
            if full or size + weight > self._lane.max_tx_bytes:
                groups.append([])
                size = 0
            groups[-1].append(item)
            size += weight
        return groups

    async def _estimate_together(
        self, groups: Sequence[Sequence[ReadyCall]], sender: Address
    ) -> list[Gas | None]:
        """What each group needs, a few in a batch; None where calls must be estimated apart."""
        asked = [place for place, group in enumerate(groups) if self._may_estimate_together(group)]
        bodies = [body_of(self._chain, groups[place], lenient=False) for place in asked]
        requests = [
            ("eth_estimateGas", [_request(body, sender, self._lane.batch_gas * 2)])
            for body in bodies
        ]
        answers: list[Any] = []
        for first in range(0, len(requests), PACKS_AT_ONCE):
            answers += await self._chain.batch(requests[first : first + PACKS_AT_ONCE])
        known: list[Gas | None] = [None] * len(groups)
        for place, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Transient):
                raise answer
            gas = _gas_of(answer)
            if gas is not None and self._none_over_cap(gas, len(groups[place])):
                known[place] = gas
        return known

    def _may_estimate_together(self, group: Sequence[ReadyCall]) -> bool:
        if len(group) < 2 or self._cheapest is None:
            return False
        return not any(self._is_weighed(item.record) for item in group)

    def _none_over_cap(self, gas: Gas, count: int) -> bool:
        """No call can cost more than the cap if the others cost at least the cheapest seen."""
        assert self._cheapest is not None
        most_one_can_cost = gas - (count - 1) * self._cheapest
        return most_one_can_cost <= self._lane.gas_cap and gas <= self._lane.batch_gas

    async def _one_by_one(
        self, items: Sequence[ReadyCall], sender: Address
    ) -> tuple[dict[MessageId, Gas], list[Failed]]:
        """What each call needs by itself, in one batch, and those that must not be sent."""
        cap = self._lane.gas_cap
        bodies = [body_of(self._chain, [item], lenient=False) for item in items]
        answers = await self._chain.batch(
            [
                ("eth_estimateGas", [_request(body, item.call.sender or sender, cap)])
                for item, body in zip(items, bodies, strict=True)
            ]
        )
        needs: dict[MessageId, Gas] = {}
        failed: list[Failed] = []
        for item, answer in zip(items, answers, strict=True):
            found = _gas_of(answer)
            if found is None:
                odd = EndpointDown(self._chain.name, "eth_estimateGas answered no number")
                failed.append(Failed(item, answer if isinstance(answer, RelayerError) else odd))
                continue
            gas = Gas(max(found, item.call.gas_floor))
            if gas > cap:
                detail = f"needs {gas} gas, lane.gas_cap is {cap}"
                failed.append(Failed(item, detail=detail))
                continue
            needs[item.record.id] = gas
            self._cheapest = gas if self._cheapest is None else Gas(min(self._cheapest, gas))
        return needs, failed

    def _combine(self, good: Sequence[tuple[ReadyCall, Gas]]) -> list[Pack]:
        """Packs by the sum of single estimates, an upper bound of the whole."""
        groups: list[list[tuple[ReadyCall, Gas]]] = []
        total = 0
        for item, gas in good:
            need = _in_company(gas)
            if not groups or total + need > self._lane.batch_gas:
                groups.append([])
                total = 0
            groups[-1].append((item, gas))
            total += need
        return [self._pack_of(group) for group in groups]

    def _pack_of(self, group: Sequence[tuple[ReadyCall, Gas]]) -> Pack:
        needs = [gas if len(group) == 1 else _in_company(gas) for _, gas in group]
        total = self._with_margin(Gas(sum(needs)))
        return Pack(tuple(item for item, _ in group), total, tuple(needs))

    def _with_margin(self, gas: Gas, items: Sequence[ReadyCall] = ()) -> Gas:
        floor = sum(item.call.gas_floor for item in items)
        return Gas(max(gas, floor) * (100 + self._lane.gas_margin_percent) // 100)


def _gas_of(answer: object) -> Gas | None:
    """What `eth_estimateGas` answered; None when it is no number."""
    try:
        return Gas(quantity(answer, "gas"))
    except BadChainData:
        return None


def _in_company(gas: Gas) -> Gas:
    """What a call needs inside Multicall3, which hands on all but one 64th of what it has left."""
    return Gas((gas + CALL_OVERHEAD_GAS) * 64 // 63)


def _too_large(item: ReadyCall, most: int) -> Failed:
    """No node takes it; sent, it would hold its nonce up until an empty transfer replaced it."""
    detail = f"a call of {len(item.call.data)} bytes, lane.max_tx_bytes is {most}"
    return Failed(item, reason=Reason.UNDELIVERABLE, detail=detail, dead=True)


def _request(body: Body, sender: Address, gas: int) -> dict[str, Any]:
    """JSON-RPC form; `gas` bounds what a call that burns everything can cost the node."""
    intrinsic = INTRINSIC_GAS + CALLDATA_GAS_PER_BYTE * len(body.data)
    request: dict[str, Any] = {
        "from": sender,
        "to": body.to,
        "data": "0x" + body.data.hex(),
        "value": hex(body.value),
        "gas": hex(gas + intrinsic),
    }
    if body.access_list:
        request["accessList"] = [
            {"address": address, "storageKeys": ["0x" + key.hex() for key in keys]}
            for address, keys in body.access_list
        ]
    return request


def revert_of(error: RelayerError) -> bytes:
    """The bounded revert data of a failed call, empty when the node gave none."""
    return error.revert if isinstance(error, CallReverted) else b""
