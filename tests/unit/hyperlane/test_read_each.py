"""Reading views of strangers' contracts from real endpoints: a bad one has a bad answer, alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from relayer.adapter import View, ViewResult
from relayer.errors import EndpointsDisagree, RpcRefused
from relayer.message import Address
from relayer.protocols.hyperlane.isms import read_each
from tests.unit.chain_node import MULTICALL, OUTBOX, Node, Refused, client_of

VIEWS = [View(Address(OUTBOX), bytes([n])) for n in range(8)]
BAD = "0x05"


def echo(params: Sequence[Any]) -> Any:
    """Single views echo their input; the chain has no Multicall3 that answers."""
    return "0x" if params[0]["to"] == MULTICALL else params[0]["data"]


async def test_a_view_that_the_node_refuses() -> None:
    """Its refusal stands in its place, the others are answered."""

    def answer(params: Sequence[Any]) -> Any:
        if params[0]["data"] == BAD:
            raise Refused(-32000, "execution aborted (timeout = 5s)")
        return echo(params)

    node = Node()
    node.on["eth_call"] = answer
    async with client_of(node) as chain:
        answers = await read_each(chain, VIEWS)
    assert isinstance(answers.pop(5), RpcRefused)
    assert answers == [ViewResult(True, view.data) for view in VIEWS if view.data != b"\x05"]


async def test_a_view_that_answers_every_endpoint_differently() -> None:
    """A contract that looks at its gas splits a quorum; only its own message waits for that."""
    one, other = Node(), Node()
    one.on["eth_call"] = echo
    other.on["eth_call"] = lambda p: "0x77" if p[0]["data"] == BAD else echo(p)
    async with client_of(one, other, quorum=2) as chain:
        answers = await read_each(chain, VIEWS)
    assert isinstance(answers.pop(5), EndpointsDisagree)
    assert answers == [ViewResult(True, view.data) for view in VIEWS if view.data != b"\x05"]


async def test_endpoints_on_two_forks_are_asked_once() -> None:
    """Where there is no common block, no view has an answer, and nobody asks view by view."""
    one, other = Node(), Node()
    one.on["eth_call"] = other.on["eth_call"] = echo
    async with client_of(one, other, quorum=2) as chain:
        other.fork = 1
        one.asked.clear()
        with pytest.raises(EndpointsDisagree):
            await read_each(chain, VIEWS)
        assert len(one.asked) <= 4
