"""Gives signed transactions to every endpoint, and makes one answer of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from relayer.chains.endpoint import Endpoint
from relayer.chains.pool import Pool
from relayer.chains.transactions import SendProblem, classify_send_error
from relayer.chains.wire import octets
from relayer.errors import BadChainData, RelayerError, RpcRefused
from relayer.keccak import keccak256

GRACE_S = 1.0
"""Once one endpoint has taken it, the others get this long to take it too."""


Outcome = RelayerError | None
"""None: taken, or there already; else why not."""


async def send_to_all(pool: Pool, raws: Sequence[bytes]) -> list[Outcome]:
    """Return when each transaction is taken by one endpoint, or every endpoint has answered.

    What nobody took is `RpcRefused` where some refused it, else `EndpointsExhausted`.
    """
    sending = {asyncio.create_task(_send(pool, one, raws)) for one in pool.in_order()}
    told: list[list[Outcome]] = [[] for _ in raws]
    try:
        pending = sending
        while pending and not all(None in outcomes for outcomes in told):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                for outcomes, outcome in zip(told, task.result(), strict=True):
                    outcomes.append(outcome)
        if pending:
            await asyncio.wait(pending, timeout=GRACE_S)
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
    return [_verdict(pool, outcomes) for outcomes in told]


def _verdict(pool: Pool, outcomes: Sequence[Outcome]) -> Outcome:
    problems = [outcome for outcome in outcomes if outcome is not None]
    if len(problems) < len(outcomes):
        return None
    refused = (problem for problem in problems if isinstance(problem, RpcRefused))
    return next(refused, None) or pool.exhausted("eth_sendRawTransaction", problems)


async def _send(pool: Pool, endpoint: Endpoint, raws: Sequence[bytes]) -> list[Outcome]:
    """What one endpoint makes of each, in one batch."""

    async def send(one: Endpoint) -> list[Outcome]:
        answers = await one.batch([("eth_sendRawTransaction", ["0x" + raw.hex()]) for raw in raws])
        return [_outcome(answer, raw) for answer, raw in zip(answers, raws, strict=True)]

    try:
        return await pool.one(endpoint, send)
    except RelayerError as error:
        return [error] * len(raws)


def _outcome(answer: object, raw: bytes) -> Outcome:
    if isinstance(answer, RpcRefused):
        known = classify_send_error(answer.text) is SendProblem.ALREADY_KNOWN
        return None if known else answer
    if isinstance(answer, RelayerError):
        return answer
    if octets(answer, "transaction hash", size=32) != keccak256(raw):
        raise BadChainData("the hash of another transaction came back")
    return None
