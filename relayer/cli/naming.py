"""What stands on a command line for a chain, lane, route or signer, and what there is to name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from relayer.acts import Nameable, PauseKind
from relayer.cli.invocation import Invocation
from relayer.errors import RelayerError
from relayer.message import Address, ChainId, Route
from relayer.offline import offline_adapter
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.chains.signers import Opener


def one_named(named: Mapping[str, str | None]) -> tuple[PauseKind, str]:
    """The one thing that was given, with its kind."""
    given = [(PauseKind(kind), text) for kind, text in named.items() if text is not None]
    if len(given) != 1:
        raise click.UsageError("give exactly one of --chain, --lane, --route and --signer")
    return given[0]


def chains_of(settings: Settings) -> dict[str, ChainId]:
    """The configured chains by name."""
    return {name: ChainId(chain.id) for name, chain in settings.chains.items()}


def nameable(asked: Invocation, settings: Settings, kind: PauseKind) -> Nameable:
    """What there is of one kind; whose keys the signers are is asked only where it matters."""
    if kind is PauseKind.SIGNER:
        return asked.run(_signers(settings))
    routes = _routes(settings) if kind is PauseKind.ROUTE else ()
    return Nameable(chains_of(settings), routes)


def _routes(settings: Settings) -> set[Route]:
    return {
        route
        for bridge, raw in settings.bridges.items()
        for route in offline_adapter(settings, bridge, raw).routes()
    }


async def _signers(settings: Settings) -> Nameable:
    from relayer.chains.signers import openers_of

    openers = [one for chain in settings.chains for one in openers_of(settings, chain, os.environ)]
    found = await asyncio.gather(*(_address_of(opener) for opener in openers))
    known = {address for address in found if address is not None}
    unread = [one.at for one, address in zip(openers, found, strict=True) if address is None]
    return Nameable(chains_of(settings), (), known, unread)


async def _address_of(opener: Opener) -> Address | None:
    """As the configuration says, else as the key or its keeper does; None when it cannot be had."""
    if opener.settings.address is not None:
        return opener.settings.address
    try:
        signer = await opener.open()
    except RelayerError:
        return None
    await signer.aclose()
    return signer.address
