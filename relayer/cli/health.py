"""`relayer health`: whether the relayer of this configuration is ready, for a container's check.

It needs no shell and no other program in the image, and ends within seconds whatever happens.
"""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException

import click
from pydantic import BaseModel, ValidationError

from relayer.cli.invocation import FAILURE, OK, Invocation, common, with_invocation
from relayer.errors import ConfigInvalid
from relayer.ops.views import printable

ANSWER_WITHIN_S = 7.0
"""Longer than the server takes at most, shorter than what a container's check is given."""
MAX_ANSWER = 1 << 20


class Part(BaseModel):
    """Redis or one chain, as /readyz tells of it."""

    ready: bool
    detail: str


class Readyz(BaseModel):
    """What /readyz answers."""

    status: str
    store: Part
    chains: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the relayer is ready, and what ails it."""

    ready: bool
    status: str
    detail: str


@click.command()
@common
@with_invocation
def health(asked: Invocation) -> None:
    """Ask the running relayer whether it is ready: exit 0 when it is, else 1."""
    at = asked.settings().http
    if at.port == 0:
        raise ConfigInvalid("http.port: 0 means any free one, so it cannot be asked; name a port")
    found = ask(reachable(at.host), at.port)
    shown = f"{found.status}: {found.detail}" if found.detail else found.status
    asked.show(asdict(found), shown)
    raise SystemExit(OK if found.ready else FAILURE)


COMMANDS = (health,)


def ask(host: str, port: int) -> Verdict:
    """What the relayer at an address says about itself; not to be reached is a verdict too."""
    connection = HTTPConnection(host, port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        code, body = response.status, response.read(MAX_ANSWER)
    except (OSError, HTTPException) as error:
        return Verdict(False, "not ready", f"{host}:{port}/readyz: {silence(error)}")
    finally:
        connection.close()
    try:
        said = Readyz.model_validate_json(body)
    except ValidationError:
        return Verdict(False, "not ready", f"{host}:{port}/readyz answered {code} and no more")
    parts = {"store": said.store, **said.chains}
    ailing = [f"{name} ({part.detail})" for name, part in parts.items() if not part.ready]
    return Verdict(code == 200, printable(said.status, 60), printable(", ".join(ailing), 1000))


def silence(error: OSError | HTTPException) -> str:
    """Why a server of ours did not answer, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = error.strerror if isinstance(error, OSError) else None
    return printable(told or f"no HTTP answer ({type(error).__name__})", 100)


def reachable(host: str) -> str:
    """An address to connect to: a server that listens on every one listens on loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
