"""Several endpoints as one: choice by priority and health, failover, and quorum reads.

A failover happens when an endpoint does not answer, answers nonsense, or has not seen the block;
what the chain itself refuses is an answer. A quorum is never lowered because endpoints are down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

from relayer.chains.endpoint import Endpoint
from relayer.chains.health import EndpointHealth
from relayer.chains.refusals import may_differ_elsewhere
from relayer.chains.wire import printable, quantity
from relayer.errors import (
    BadChainData,
    CallReverted,
    ChainMismatch,
    EndpointDown,
    EndpointsDisagree,
    EndpointsExhausted,
    RangeTooWide,
    RelayerError,
    RpcRefused,
    StaleEndpoint,
)
from relayer.message import ChainId

T = TypeVar("T")

LAG_TIME_S = 30.0
"""An endpoint this far behind the best one, in blocks of the chain's usual time, is not healthy."""
LEAST_LAG_BLOCKS = 3
"""Blocks in the air make any endpoint look late by one or two."""
MAX_HEAD = 2**63 - 1


class Pool:
    """The endpoints of one chain."""

    def __init__(
        self,
        chain: str,
        chain_id: ChainId,
        endpoints: Sequence[Endpoint],
        *,
        quorum: int,
        block_time_s: float,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.quorum = quorum
        self._chain = chain
        self._chain_id = chain_id
        self.lag_limit = max(LEAST_LAG_BLOCKS, int(LAG_TIME_S / block_time_s))

    def health(self) -> list[EndpointHealth]:
        """Each endpoint's health, in the order of the configuration."""
        return [endpoint.report(self.lag_limit) for endpoint in self.endpoints]

    async def start(self) -> None:
        """Check the chain id of every endpoint that answers, the others' before their first use.

        ChainMismatch names an endpoint of another chain.
        """
        checks = [self._verify(endpoint) for endpoint in self.endpoints]
        for found in await asyncio.gather(*checks, return_exceptions=True):
            if isinstance(found, ChainMismatch):
                raise found
            if isinstance(found, BaseException) and not isinstance(found, RelayerError):
                raise found
        await self.probe()

    async def probe(self) -> None:
        """Ask every endpoint for its height at one moment, to know who lags behind or is back."""
        if len(self.endpoints) == 1 and self.health()[0].healthy:
            return
        asked = [endpoint for endpoint in self.endpoints if not endpoint.is_cooling()]
        found = await asyncio.gather(*(self._height(endpoint) for endpoint in asked))
        heights = {e: height for e, height in zip(asked, found, strict=True) if height is not None}
        if not heights:
            return
        best = _believable(list(heights.values()))
        for endpoint, height in heights.items():
            endpoint.health.lag_blocks = max(0, best - height)

    # --- asking ------------------------------------------------------------------------------

    async def ask(self, what: str, operation: Callable[[Endpoint], Awaitable[T]]) -> T:
        """The answer of the first endpoint that has one.

        Raises what the chain refused, `StaleEndpoint` when no endpoint knows the block, and
        `EndpointsExhausted` when none answered.
        """
        problems: list[RelayerError] = []
        for endpoint in self.in_order():
            try:
                return await self.one(endpoint, operation)
            except RelayerError as error:
                if not may_differ_elsewhere(error):
                    raise
                problems.append(error)
        raise self.exhausted(what, problems)

    async def agree(
        self,
        what: str,
        operation: Callable[[Endpoint], Awaitable[T]],
        key: Callable[[T], Hashable],
    ) -> T:
        """An answer that `quorum` endpoints gave with the same `key`; refusals are answers too.

        Raises `EndpointsDisagree` when there is none, `RangeTooWide` when some only want less.
        """
        if self.quorum == 1:
            return await self.ask(what, operation)
        votes: dict[Hashable, list[T | RelayerError]] = {}
        problems: list[RelayerError] = []
        waiting = self.in_order()
        while waiting:
            missing = self.quorum - max((len(v) for v in votes.values()), default=0)
            wave, waiting = waiting[:missing], waiting[missing:]
            for answer in await self._gathered(wave, operation):
                if isinstance(answer, RelayerError) and _is_no_vote(answer):
                    problems.append(answer)
                    continue
                vote = _refusal_key(answer) if isinstance(answer, RelayerError) else key(answer)
                votes.setdefault(vote, []).append(answer)
            for same in votes.values():
                if len(same) >= self.quorum:
                    return _value(same[0])
        for problem in problems:
            if isinstance(problem, RangeTooWide):
                raise problem
        raise self._no_quorum(what, votes, problems)

    async def ask_each(self, what: str, operation: Callable[[Endpoint], Awaitable[T]]) -> list[T]:
        """Answers of all endpoints that have one, at least `quorum` of them."""
        answers = await self._gathered(self.in_order(), operation)
        good = [answer for answer in answers if not isinstance(answer, RelayerError)]
        if len(good) >= self.quorum:
            return good
        problems = [answer for answer in answers if isinstance(answer, RelayerError)]
        if not good:
            raise self.exhausted(what, problems)
        raise self._no_quorum(what, {i: [a] for i, a in enumerate(good)}, problems)

    def in_order(self) -> list[Endpoint]:
        """Usable endpoints: those that keep up first, then by priority, then as configured."""
        usable = [endpoint for endpoint in self.endpoints if not endpoint.is_cooling()]
        limit = self.lag_limit
        return sorted(usable, key=lambda e: (e.health.lag_blocks > limit, e.priority))

    def exhausted(self, what: str, problems: Sequence[RelayerError]) -> RelayerError:
        """The error that says why no endpoint had an answer to `what`."""
        if problems and all(isinstance(problem, RpcRefused) for problem in problems):
            return problems[0]
        cooling = [
            EndpointDown(e.name, f"cooling down after: {e.health.cause}")
            for e in self.endpoints
            if not problems and e.is_cooling()
        ]
        causes = printable("; ".join(str(p) for p in [*problems, *cooling]), most=900)
        if any(isinstance(problem, StaleEndpoint) for problem in problems):
            return StaleEndpoint(f"chain {self._chain}: {what}: {causes}")
        return EndpointsExhausted(f"chain {self._chain}: {what}: {causes}")

    # --- one endpoint ------------------------------------------------------------------------

    async def one(self, endpoint: Endpoint, operation: Callable[[Endpoint], Awaitable[T]]) -> T:
        """One endpoint's answer; an answer in a wrong shape is the endpoint's failure."""
        try:
            await self._verify(endpoint)
            return await operation(endpoint)
        except ChainMismatch as error:
            raise EndpointDown(endpoint.name, str(error)) from None
        except BadChainData as error:
            raise endpoint.blame(f"answered nonsense: {error}") from None

    async def _gathered(
        self, endpoints: Sequence[Endpoint], operation: Callable[[Endpoint], Awaitable[T]]
    ) -> list[T | RelayerError]:
        found = await asyncio.gather(
            *(self.one(endpoint, operation) for endpoint in endpoints), return_exceptions=True
        )
        answers: list[T | RelayerError] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, RelayerError):
                raise one
            answers.append(one)
        return answers

    async def _verify(self, endpoint: Endpoint) -> None:
        """Ask for the chain id now and then; an endpoint of another chain is never asked again."""
        if endpoint.is_verified:
            return
        async with endpoint.verifying:
            if not endpoint.is_verified:
                await self._check_id(endpoint)

    async def _check_id(self, endpoint: Endpoint) -> None:
        try:
            found = quantity(await endpoint.request("eth_chainId", []), "chain id")
        except BadChainData as error:
            raise endpoint.blame(f"answered nonsense: {error}") from None
        if found != self._chain_id:
            text = f"serves chain {found}, the configuration says {self._chain_id}"
            endpoint.health.is_misfit = True
            endpoint.health.failed(0.0, text)
            raise ChainMismatch(f"chains.{self._chain}: endpoint {endpoint.name} {text}")
        endpoint.verified()

    async def _height(self, endpoint: Endpoint) -> int | None:
        async def ask(one: Endpoint) -> int:
            return quantity(await one.request("eth_blockNumber", []), "height", most=MAX_HEAD)

        try:
            return await self.one(endpoint, ask)
        except RelayerError:
            return None

    def _no_quorum(
        self,
        what: str,
        votes: dict[Hashable, list[T | RelayerError]] | dict[int, list[T]],
        problems: Sequence[RelayerError],
    ) -> RelayerError:
        if not votes:
            return self.exhausted(what, problems)
        causes = "; ".join(str(problem) for problem in problems) or "all answered"
        counts = " and ".join(str(len(same)) for same in votes.values())
        text = f"{what}: {self.quorum} equal answers needed, got {counts} of each kind; {causes}"
        return EndpointsDisagree(f"chain {self._chain}: {printable(text, most=900)}")


def _believable(heights: list[int]) -> int:
    """The best head: of three or more, the second best, so that one liar makes nobody look late."""
    ranked = sorted(heights, reverse=True)
    return ranked[1] if len(ranked) >= 3 else ranked[0]


def _is_no_vote(error: RelayerError) -> bool:
    """Whether an error says something of the endpoint and nothing of the chain."""
    return isinstance(error, RangeTooWide) or may_differ_elsewhere(error)


def _refusal_key(error: RelayerError) -> Hashable:
    """Two refusals are the same answer when the chain's part of them is the same."""
    if isinstance(error, CallReverted):
        return (CallReverted.label, error.revert)
    if isinstance(error, RpcRefused):
        return (RpcRefused.label, error.code)
    return (error.label,)


def _value(answer: T | RelayerError) -> T:
    if isinstance(answer, RelayerError):
        raise answer
    return answer
