"""Where validators say they publish: the origin's ValidatorAnnounce, remembered for a while."""

from __future__ import annotations

from collections.abc import Sequence

from relayer.adapter import ChainReader, View
from relayer.errors import BadChainData, EndpointDown
from relayer.message import Address
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.storage import Location, parse_location

NEWEST = 3
"""Locations of one validator that are tried, newest first."""


class Announcements:
    """The announced locations of one origin's validators."""

    def __init__(
        self, reader: ChainReader, contract: Address, memory: Memory[Address, tuple[Location, ...]]
    ) -> None:
        self._reader = reader
        self._contract = contract
        self._memory = memory

    async def locations(self, validators: Sequence[Address]) -> dict[Address, tuple[Location, ...]]:
        """The readable forms of each validator's newest locations, newest first.

        Raises `Transient` when the origin cannot be asked.
        """
        known = {validator: self._memory.get(validator) for validator in validators}
        missing = [validator for validator, found in known.items() if found is None]
        if missing:
            for validator, texts in zip(missing, await self._ask(missing), strict=True):
                known[validator] = self._memory.put(validator, tuple(_readable(texts)))
        return {validator: found or () for validator, found in known.items()}

    async def _ask(self, validators: Sequence[Address]) -> list[tuple[str, ...]]:
        view = View(self._contract, contracts.locations_call(validators))
        (answer,) = await self._reader.read([view])
        if not answer.ok:
            raise EndpointDown(str(self._contract), "ValidatorAnnounce does not answer")
        try:
            return contracts.read_locations(answer.data, len(validators))
        except BadChainData as error:
            raise EndpointDown(str(self._contract), str(error)) from None


def _readable(texts: Sequence[str]) -> list[Location]:
    found = []
    for text in reversed(texts[-NEWEST:]):
        try:
            found.append(parse_location(text))
        except BadChainData:
            continue
    return found
