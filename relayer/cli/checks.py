"""Commands about the set-up: is the configuration right, which routes and protocols are there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.table import Table

from relayer import __version__, protocols
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
from relayer.cli.invocation import FAILURE, OK, USAGE, Invocation, common, with_invocation, written
from relayer.cli.invocation import table as table_of
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
from relayer.ops.views import Finding, finding_view
from relayer.settings import (
    Exposed,
    Settings,
    exposed_files,
    json_schema,
    parse_section,
    problems_in,
    read_tokens,
)


@click.command(name="check-config")
@click.option("--online", is_flag=True, help="Also ask the endpoints, contracts and the store.")
@common
@with_invocation
def check_config(asked: Invocation, online: bool) -> None:
    """Check the configuration; exit code 2 when it is wrong, 1 when the world disagrees."""
    settings = asked.settings()
    findings = [Finding(str(asked.config), True, "reads well"), *offline_findings(settings)]
    code = OK if all(finding.ok for finding in findings) else USAGE
    if online and code == OK:
        from relayer import app

        with asked.progress() as bar:
            bar.add_task("asking endpoints", total=None)
            seen = asked.run(app.check_online(settings))
        findings += seen
        code = OK if all(finding.ok for finding in seen) else FAILURE
    asked.show(
        {"ok": code == OK, "findings": [finding_view(finding) for finding in findings]},
        findings_table(findings),
    )
    raise SystemExit(code)


@click.command()
@common
@with_invocation
def routes(asked: Invocation) -> None:
    """List every route the configuration carries."""
    settings = asked.settings()
    names = {chain.id: name for name, chain in settings.chains.items()}
    rows = [
        (str(route), raw["protocol"], names[route.origin], names[route.destination])
        for bridge, raw in settings.bridges.items()
        for route in sorted(offline_adapter(settings, bridge, raw).routes())
    ]
    keys = ("route", "protocol", "origin", "destination")
    asked.show(
        {"routes": [dict(zip(keys, row, strict=True)) for row in rows]}, table_of(keys, rows)
    )


@click.command(name="protocols")
@common
@with_invocation
def list_protocols(asked: Invocation) -> None:
    """List the protocols this program speaks."""
    rows = [(name, _first_line(protocols.load(name).settings)) for name in protocols.available()]
    views = [{"protocol": name, "settings": text} for name, text in rows]
    asked.show({"protocols": views}, table_of(("protocol", "settings"), rows))


@click.command()
@common
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors."""
    with written():
        click.echo(json.dumps(full_schema(), indent=2))


@click.command()
@common
@with_invocation
def version(asked: Invocation) -> None:
    """Print the version."""
    asked.show({"version": __version__}, __version__)


COMMANDS = (check_config, routes, list_protocols, schema, version)


def offline_findings(settings: Settings) -> list[Finding]:
    """What can be said of the bridges and signers without asking a chain."""
    found = [
        finding
        for name, raw in settings.bridges.items()
        for finding in _check_bridge(settings, name, raw)
    ]
    if not settings.bridges:
        found.append(Finding("bridges", False, "is empty: nothing would be relayed; add a bridge"))
    for name, chain in settings.chains.items():
        found += _check_signers(settings, name)
        if not chain.signers:
            text = "none: messages to this chain are followed and proved, never sent"
            found.append(Finding(f"chains.{name}.signers", True, text))
    found += _check_tokens(settings)
    return [*found, *(_exposed(one) for one in exposed_files(settings))]


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


def full_schema() -> dict[str, Any]:
    """The schema of the file with each bridge section spelt out by its protocol."""
    whole = json_schema()
    kinds = {name: _section_schema(name, whole["$defs"]) for name in protocols.available()}
    (name_pattern,) = whole["properties"]["bridges"]["patternProperties"]
    whole["properties"]["bridges"]["patternProperties"][name_pattern] = {
        "type": "object",
        "required": ["protocol"],
        "properties": {"protocol": {"enum": list(kinds)}},
        "allOf": [  # not `oneOf`: an editor then says what is wrong for the protocol named
            {"if": {"properties": {"protocol": {"const": name}}}, "then": {"$ref": reference}}
            for name, reference in kinds.items()
        ],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _section_schema(protocol: str, definitions: dict[str, Any]) -> str:
    """The reference to the schema of the protocol's section, which is put into `definitions`."""
    template = f"#/$defs/{protocol}.{{model}}"
    section = protocols.load(protocol).settings.model_json_schema(ref_template=template)
    for part, spelt in section.pop("$defs", {}).items():
        definitions[f"{protocol}.{part}"] = spelt
    section["properties"] = {"protocol": {"const": protocol}, **section.get("properties", {})}
    section["required"] = ["protocol", *section.get("required", [])]
    definitions[protocol] = section
    return f"#/$defs/{protocol}"


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
    for opener in openers_of(settings, chain, os.environ):
        try:
            address = opener.known_address()
        except RelayerError as error:
            found.append(_of_error(opener.at, error))
            continue
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


def findings_table(findings: Sequence[Finding]) -> Table:
    """What was found, one row each."""
    rows = [
        (("warning" if f.warns else "ok") if f.ok else "WRONG", f.subject, f.text) for f in findings
    ]
    return table_of(("", "what", "found"), rows)


def _first_line(model: type) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]


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
