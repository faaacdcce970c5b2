"""Where validators say they publish: the origin's ValidatorAnnounce, remembered for a while."""

from __future__ import annotations

from collections.abc import Sequence

from relayer.adapter import ChainReader, View
from relayer.errors import BadChainData, EndpointDown, RelayerError
from relayer.message import Address
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.isms import Answer, read_each
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

        Each is asked by itself: one with a list too long to be read is nobody else's trouble.
        Raises `Transient` when the origin cannot be asked.
        """
        known = {validator: self._memory.get(validator) for validator in validators}
        missing = [validator for validator, found in known.items() if found is None]
        if missing:
            told = await self._ask(missing)
            if len(missing) == len(known) and not any(texts is not None for texts in told):
                raise EndpointDown(str(self._contract), "ValidatorAnnounce does not answer")
            for validator, texts in zip(missing, told, strict=True):
                if texts is not None:
                    known[validator] = self._memory.put(validator, tuple(_readable(texts)))
        return {validator: found or () for validator, found in known.items()}

    async def _ask(self, validators: Sequence[Address]) -> list[tuple[str, ...] | None]:
        views = [View(self._contract, contracts.locations_call([one])) for one in validators]
        return [_told(answer) for answer in await read_each(self._reader, views)]


def _told(answer: Answer) -> tuple[str, ...] | None:
    """The locations of the one validator asked about, None when that was no answer."""
    if isinstance(answer, RelayerError) or not answer.ok:
        return None
    try:
        return contracts.read_locations(answer.data, 1)[0]
    except BadChainData:
        return None


def _readable(texts: Sequence[str]) -> list[Location]:
    found = []
    for text in reversed(texts[-NEWEST:]):
        try:
            found.append(parse_location(text))
        except BadChainData:
            continue
    return found
