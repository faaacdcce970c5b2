"""What may stand on the command line for ids, hashes, routes and blocks."""

from __future__ import annotations

import re
from typing import Any

import click

from relayer.message import Route

_ACCOUNT = re.compile(r"0x([0-9a-fA-F]{24})?[0-9a-fA-F]{40}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


class Hash32(click.ParamType[str]):
    """0x and 64 hex digits, made lower-case."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text in lower case, or fail naming it."""
        text = str(value)
        if not _HASH.fullmatch(text):
            shown = text if len(text) <= 80 else text[:77] + "..."
            self.fail(f"{shown!r} is not 0x and 64 hex digits", param, ctx)
        return text.lower()


class Account(click.ParamType[str]):
    """An address, or the 32-byte word of one."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text in lower case, or fail naming it."""
        text = str(value)
        if not _ACCOUNT.fullmatch(text):
            self.fail(f"{text[:80]!r} is not 0x and 40 or 64 hex digits", param, ctx)
        return text.lower()


class WholeNumber(click.IntRange):
    """A number within limits, which the error names."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__(least, most)
        self._wanted = f"a whole number from {least} to {most}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail naming the text and the limits."""
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{str(value)[:80]!r} is not {self._wanted}", param, ctx)
        return number


class RouteText(click.ParamType[Route]):
    """A route in the form `<bridge>:<origin id>><destination id>`."""

    name = "route"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Route:
        """Return the route, or fail naming what is wrong."""
        try:
            return Route.parse(str(value))
        except ValueError:
            self.fail(
                f"{str(value)[:80]!r} is not <bridge>:<origin id>><destination id>;"
                " `relayer routes` lists them",
                param,
                ctx,
            )


class Mark(click.ParamType[str]):
    """The mark that a page ended with, which the next one goes on from."""

    name = "mark"

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern, re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is, or fail naming it."""
        text = str(value)
        if not self._pattern.fullmatch(text):
            self.fail(f"{text[:80]!r} is not the mark that a page ended with", param, ctx)
        return text


ACCOUNT = Account()
MESSAGE_ID = Hash32("message id")
TX_HASH = Hash32("transaction hash")
ID_OR_TX = Hash32("message id or transaction hash")
PAGE_MARK = Mark(r"\d{1,15}(\.\d{1,6})? 0x[0-9a-f]{64}")
"""Of a page of messages: when the last one was seen, and its id."""
AUDIT_MARK = Mark(r"\d{1,20}-\d{1,20}")
"""Of a page of the audit log: an entry of a Redis stream."""
CHAIN_BLOCK = WholeNumber(0, 2**63 - 1)
ROUTE = RouteText()
