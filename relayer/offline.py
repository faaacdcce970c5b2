"""What can be said of a configuration without asking anybody: chains are silent here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relayer import protocols
from relayer.adapter import (
    Adapter,
    ChainReader,
    Header,
    Log,
    Plugin,
    ProofKeeper,
    RootReader,
    TreeReader,
    View,
    ViewResult,
)
from relayer.errors import EndpointDown, RelayerError
from relayer.message import (
    BlockNumber,
    BridgeName,
    ChainId,
    Gate,
    RootSeen,
    Timestamp,
    TreeId,
)
from relayer.ops.views import Finding
from relayer.settings import (
    Exposed,
    Settings,
    exposed_files,
    parse_section,
    problems_in,
    read_tokens,
)
from relayer.twins import twins


def offline_findings(settings: Settings) -> list[Finding]:
    """What can be said of the bridges, signers and files without asking a chain."""
    found = bridge_findings(settings)
    for name, chain in settings.chains.items():
        found += _check_signers(settings, name)
        if not chain.signers:
            text = "none: messages to this chain are followed and proved, never sent"
            found.append(Finding(f"chains.{name}.signers", True, text))
    found += _check_tokens(settings)
    return [*found, *(_exposed(one) for one in exposed_files(settings))]


def bridge_findings(settings: Settings) -> list[Finding]:
    """What can be said of the bridges; no file is read."""
    if not settings.bridges:
        return [Finding("bridges", False, "is empty: nothing would be relayed; add a bridge")]
    found = [
        finding
        for name, raw in settings.bridges.items()
        for finding in _check_bridge(settings, name, raw)
    ]
    if all(finding.ok for finding in found):
        adapters = [offline_adapter(settings, *one) for one in settings.bridges.items()]
        names = {ChainId(chain.id): name for name, chain in settings.chains.items()}
        found += [Finding(f"bridges.{name}", False, text) for name, text in twins(adapters, names)]
    return found


def _exposed(one: Exposed) -> Finding:
    return Finding(one.field, True, one.text, warns=True)


def offline_adapter(settings: Settings, bridge: str, raw: Mapping[str, Any]) -> Adapter:
    """A bridge's adapter whose chains do not answer: enough for routes and sources."""
    plugin, fields = _plugin_of(raw)
    section = parse_section(plugin.settings, fields, f"bridges.{bridge}")
    return plugin.build(BridgeName(bridge), section, _Offline(settings))


def _plugin_of(raw: Mapping[str, Any]) -> tuple[Plugin, dict[str, Any]]:
    """The protocol that a bridge's section names, and the fields that are the protocol's own."""
    fields = {key: value for key, value in raw.items() if key != "protocol"}
    return protocols.load(str(raw["protocol"])), fields


def _check_bridge(settings: Settings, name: str, raw: Mapping[str, Any]) -> list[Finding]:
    """One finding a mistake in the section, else one about the bridge."""
    subject = f"bridges.{name}"
    try:
        plugin, fields = _plugin_of(raw)
        problems = problems_in(plugin.settings, fields, subject)
        if problems:
            return [Finding(problem.field, False, problem.text) for problem in problems]
        count = len(offline_adapter(settings, name, raw).routes())
    except RelayerError as error:
        return [_of_error(subject, error)]
    if not count:
        return [Finding(subject, False, "carries no route: name at least two configured chains")]
    return [Finding(subject, True, f"{raw['protocol']}, {count} routes")]


def _of_error(subject: str, error: RelayerError) -> Finding:
    """A finding whose subject is the field that the error names, if it names one below."""
    field, colon, text = str(error).partition(": ")
    if colon and field.startswith(subject):
        return Finding(field, False, text)
    return Finding(subject, False, str(error))


def _check_signers(settings: Settings, chain: str) -> list[Finding]:
    from relayer.chains.signers import LOCAL_KINDS, openers_of

    found = []
    seen: dict[str, str] = {}
    for opener in openers_of(settings, chain, os.environ):
        try:
            address = opener.known_address()
        except RelayerError as error:
            found.append(_of_error(opener.at, error))
            continue
        if address is not None and address.lower() in seen:
            text = f"signs as {address}, like {seen[address.lower()]}: take one of them out"
            found.append(Finding(opener.at, False, text))
            continue
        if address is not None:
            seen[address.lower()] = opener.at
        is_local = opener.settings.kind in LOCAL_KINDS
        kind = "" if is_local else f"{opener.settings.kind}, asked with --online only: "
        found.append(Finding(opener.at, True, f"{kind}signs as {address or 'its key says'}"))
    return found


def _check_tokens(settings: Settings) -> list[Finding]:
    if settings.operator is None:
        return []
    try:
        names = ", ".join(read_tokens(settings.operator))
    except RelayerError as error:
        return [_of_error("operator", error)]
    return [Finding("operator.token_files", True, f"lets in whoever has {names}")]


@dataclass(frozen=True, slots=True)
class _Offline:
    """`adapter.AdapterContext` of a configuration that nobody runs."""

    settings: Settings

    @property
    def chains(self) -> Mapping[str, ChainReader]:
        return {
            name: _SilentChain(name, ChainId(chain.id))
            for name, chain in self.settings.chains.items()
        }

    @property
    def trees(self) -> TreeReader:
        return _NoTrees()

    @property
    def roots(self) -> RootReader:
        return _NoRoots()

    @property
    def proofs(self) -> ProofKeeper:
        return _NoProofs()

    def now(self) -> Timestamp:
        return Timestamp(0.0)


@dataclass(frozen=True, slots=True)
class _SilentChain:
    """A chain that knows its id and answers nothing."""

    name: str
    chain_id: ChainId

    async def read(
        self, views: Sequence[View], *, block: BlockNumber | str = "latest"
    ) -> list[ViewResult]:
        raise self._silence()

    async def header(self, block: BlockNumber | str) -> Header:
        raise self._silence()

    async def final_header(self) -> Header:
        raise self._silence()

    async def logs(self, first: BlockNumber, last: BlockNumber, **_: Any) -> list[Log]:
        raise self._silence()

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        raise self._silence()

    async def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        raise self._silence()

    def _silence(self) -> EndpointDown:
        return EndpointDown(self.name, "not asked: this command works offline")


class _NoRoots:
    """Roots that nobody stored."""

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        return None

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        return None


class _NoProofs:
    """Proofs that nobody keeps."""

    async def keep_proofs(self, chain: ChainId, proofs: Mapping[str, bytes]) -> None:
        return None

    async def kept_proofs(self, chain: ChainId, names: Sequence[str]) -> dict[str, bytes]:
        return {}


class _NoTrees:
    """Trees that were never grown."""

    async def size(self, tree: TreeId) -> int:
        return 0

    async def roots(self, tree: TreeId, sizes: Sequence[int]) -> list[bytes]:
        raise EndpointDown(tree, "not read: this command works offline")

    async def proofs(self, tree: TreeId, wanted: Sequence[tuple[int, int]]) -> list[list[bytes]]:
        raise EndpointDown(tree, "not read: this command works offline")
