"""Commands about the set-up: is the configuration right, which routes and protocols are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table

from relayer import __version__, protocols
from relayer.cli.invocation import FAILURE, OK, USAGE, Invocation, common, with_invocation, written
from relayer.cli.invocation import table as table_of
from relayer.offline import offline_adapter, offline_findings
from relayer.ops.views import Finding, finding_view
from relayer.settings import json_schema


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


def findings_table(findings: Sequence[Finding]) -> Table:
    """What was found, one row each."""
    rows = [
        (("warning" if f.warns else "ok") if f.ok else "WRONG", f.subject, f.text) for f in findings
    ]
    return table_of(("", "what", "found"), rows)


def _first_line(model: type) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]
