"""Gives one signed transaction to every endpoint, and makes one answer of theirs."""

from __future__ import annotations

import asyncio

from relayer.chains.endpoint import Endpoint
from relayer.chains.pool import Pool
from relayer.chains.transactions import SendProblem, classify_send_error
from relayer.chains.wire import octets
from relayer.errors import BadChainData, RelayerError, RpcRefused
from relayer.keccak import keccak256

GRACE_S = 1.0
"""Once one endpoint has taken it, the others get this long to take it too."""


async def send_to_all(pool: Pool, raw: bytes) -> None:
    """Return when one endpoint takes the transaction or has it already.

    `RpcRefused` when all that answered refuse it, `EndpointsExhausted` when none answered.
    """
    endpoints = pool.in_order()
    sending = {asyncio.create_task(_send(pool, one, raw)) for one in endpoints}
    problems: list[RelayerError] = []
    try:
        pending = sending
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            outcomes = [task.result() for task in done]
            problems += [outcome for outcome in outcomes if outcome is not None]
            if None in outcomes:
                if pending:
                    await asyncio.wait(pending, timeout=GRACE_S)
                return
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
    refused = [problem for problem in problems if isinstance(problem, RpcRefused)]
    raise refused[0] if refused else pool.exhausted("eth_sendRawTransaction", problems)


async def _send(pool: Pool, endpoint: Endpoint, raw: bytes) -> RelayerError | None:
    """None when the endpoint took it or has it, else why not."""

    async def send(one: Endpoint) -> None:
        answer = await one.request("eth_sendRawTransaction", ["0x" + raw.hex()])
        if octets(answer, "transaction hash", size=32) != keccak256(raw):
            raise BadChainData("the hash of another transaction came back")

    try:
        await pool.one(endpoint, send)
    except RpcRefused as error:
        known = classify_send_error(error.text) is SendProblem.ALREADY_KNOWN
        return None if known else error
    except RelayerError as error:
        return error
    return None
