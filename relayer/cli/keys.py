"""Commands about signing keys: make one, and see whose they are and what they have."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from textwrap import indent

import click
from rich.text import Text

from relayer.cli.invocation import FAILURE, Invocation, common, with_invocation
from relayer.cli.invocation import table as table_of
from relayer.errors import ConfigInvalid, RelayerError
from relayer.settings import Settings

SHORTEST_PASSWORD = 12
UNKNOWN = "unknown without --online"
MAX_WIDTH = 10_000
"""Columns of YAML: no path is broken into two lines."""

_password_file = partial(click.option, "--password-file", type=click.Path(path_type=Path))


@click.group()
@common
def keys() -> None:
    """Make signing keys, and see whose they are."""


@keys.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File to write; must not exist."
)
@_password_file(help="File that holds the password; without it you are asked.")
@common
@with_invocation
def create(asked: Invocation, out: Path, password_file: Path | None) -> None:
    """Make a new key in an encrypted keystore (Web3 Secret Storage, version 3)."""
    from relayer.chains.signers import LocalSigner, create_keystore, read_password

    if out.exists():
        raise ConfigInvalid(f"--out {out}: there is a file already; it is never overwritten")
    if password_file is not None:
        password = read_password(password_file, "--password-file")
    else:
        password = _asked_password()
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigInvalid(
            f"the password has {len(password)} characters, and whoever gets hold of the file can"
            f" try all of them: take {SHORTEST_PASSWORD} or more"
        )
    address = LocalSigner(create_keystore(out, password)).address
    signer = {  # absolute, and not resolved: a mounted secret is a link
        "keystore": os.path.abspath(out),
        "keystore_password_file": os.path.abspath(password_file) if password_file else None,
    }
    paste = "To sign with it on a chain, put this into the chain's section of the configuration:"
    asked.show(
        {"file": str(out), "address": address, "signers": [signer]},
        Text(f"{address} in {out}\n\n{paste}\n\n{_section(signer)}".rstrip()),
    )


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@_password_file(help="Decrypt the keystore, rather than believe the address it states.")
@common
@with_invocation
def address(asked: Invocation, file: Path, password_file: Path | None) -> None:
    """Print the address of a keystore, or of a file that holds a key as hex."""
    from relayer.chains.signers import (
        LocalSigner,
        hex_key,
        read_key_text,
        read_keystore,
        read_password,
        stated_address,
    )

    text = read_key_text(file, "FILE")
    stated = stated_address(text)
    found: str
    if password_file is not None:
        password = read_password(password_file, "--password-file")
        found = LocalSigner(read_keystore(file, password)).address
    elif stated is not None:
        found = stated
    else:
        found = LocalSigner(
            hex_key(text, f"FILE: {file} is no keystore with an address, and")
        ).address
    is_checked = password_file is not None or stated is None
    asked.show({"file": str(file), "address": found, "checked": is_checked}, found)


@keys.command()
@click.option("--online", is_flag=True, help="Also open every signer and ask for its balance.")
@common
@with_invocation
def show(asked: Invocation, online: bool) -> None:
    """List the configured signers: chain, kind, address, and balance with --online."""
    settings = asked.settings()
    shown: list[_Shown] = []
    for chain in settings.chains:
        shown += _online(asked, settings, chain) if online else _offline(settings, chain)
    columns = ("signer", "kind", "address", *(("balance",) if online else ()))
    rows = [(one.signer, one.kind, *_words(one))[: len(columns)] for one in shown]
    asked.show({"signers": [asdict(one) for one in shown]}, table_of(columns, rows))
    if any(one.problem for one in shown):
        raise SystemExit(FAILURE)


@dataclass(frozen=True, slots=True)
class _Shown:
    chain: str
    chain_id: int
    signer: str
    kind: str
    address: str | None
    balance_wei: str | None
    problem: str | None


def _offline(settings: Settings, chain: str) -> list[_Shown]:
    from relayer.chains.signers import openers_of

    found = []
    for opener in openers_of(settings, chain, os.environ):
        known, problem = None, None
        try:
            known = opener.known_address()
        except RelayerError as error:
            problem = str(error)
        kind = opener.settings.kind
        found.append(_Shown(chain, opener.chain_id, opener.at, kind, known, None, problem))
    return found


def _online(asked: Invocation, settings: Settings, chain: str) -> list[_Shown]:
    from relayer.chains.signers import openers_of
    from relayer.checkup import ask_signers

    openers = openers_of(settings, chain, os.environ)
    with asked.progress() as bar:
        bar.add_task(f"asking the signers of {chain}", total=None)
        answers = asked.run(ask_signers(chain, settings))
    return [
        _Shown(
            chain,
            opener.chain_id,
            opener.at,
            opener.settings.kind,
            answer.address,
            None if answer.balance is None else str(answer.balance),
            answer.problem or None,
        )
        for opener, answer in zip(openers, answers, strict=True)
    ]


def _words(one: _Shown) -> Sequence[str]:
    """The address and the balance for people, or what went wrong in their place."""
    if one.balance_wei is not None:
        return one.address or "", f"{int(one.balance_wei) / 10**18:.6f}"
    return one.address or one.problem or UNKNOWN, (one.problem or "") if one.address else ""


def _section(signer: Mapping[str, str | None]) -> str:
    """The lines that name a signer, as deep as they stand below a chain."""
    import yaml

    told = {key: value or "/the/file/with/its/password" for key, value in signer.items()}
    return indent(yaml.safe_dump({"signers": [told]}, sort_keys=False, width=MAX_WIDTH), " " * 4)


def _asked_password() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked for a password here: give --password-file")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


COMMANDS = (keys,)
