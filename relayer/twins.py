"""Bridges that would carry the same messages: what one delivers, the other would take for lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from relayer.adapter import Adapter
from relayer.errors import ConfigInvalid
from relayer.message import BridgeName, ChainId, Route


def twins(
    adapters: Iterable[Adapter], names: Mapping[ChainId, str]
) -> Iterator[tuple[BridgeName, str]]:
    """The name of each bridge that is one too many, and what is wrong with it.

    A route belongs to one bridge: that of the contracts at its two ends. Other routes may share
    them. `names` are those of the chains.
    """
    former: list[Adapter] = []
    for adapter in adapters:
        for other in former:
            shared = sorted(_ends(adapter, other))
            if shared:
                ends = [f"{names.get(a, a)} to {names.get(b, b)}" for a, b in shared[:3]]
                more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
                yield (
                    adapter.name,
                    f"has the contracts of bridges.{other.name} from {', '.join(ends)}{more}:"
                    " take one of the two out, or give them different `routes`",
                )
                break
        former.append(adapter)


def refuse_twins(adapters: Iterable[Adapter], names: Mapping[ChainId, str]) -> None:
    """ConfigInvalid with a line for each bridge that is one too many."""
    found = [f"bridges.{name}: {text}" for name, text in twins(adapters, names)]
    if found:
        raise ConfigInvalid("\n".join(found))


def _ends(one: Adapter, other: Adapter) -> set[tuple[ChainId, ChainId]]:
    """Origin and destination of the routes that both carry between the same contracts."""
    return {
        (origin, destination)
        for origin, destination in _pairs(one.routes()) & _pairs(other.routes())
        if _contracts(one, origin) & _contracts(other, origin)
        and _is_same_end(_contracts(one, destination), _contracts(other, destination))
    }


def _is_same_end(one: set[str], other: set[str]) -> bool:
    """Bridges that follow nothing at an end cannot be told apart there."""
    return bool(one & other) or not (one or other)


def _pairs(routes: Iterable[Route]) -> set[tuple[ChainId, ChainId]]:
    return {(route.origin, route.destination) for route in routes}


def _contracts(adapter: Adapter, chain: ChainId) -> set[str]:
    return {
        address.lower()
        for source in adapter.sources()
        if source.chain == chain
        for address in source.addresses
    }
