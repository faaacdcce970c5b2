"""The finality rule as questions to a node: which block may be acted on.

Tags are execution-apis block tags; an L2's `safe` and `finalized` follow what its node has derived
from the L1, so what they promise is the protocol's own rule.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from relayer.adapter import Header
from relayer.chains.endpoint import Endpoint
from relayer.chains.headers import header_request, parse_header
from relayer.chains.pool import Pool
from relayer.chains.queries import value
from relayer.errors import BadChainData, EndpointsDisagree, StaleEndpoint
from relayer.message import BlockNumber
from relayer.settings import FinalitySettings


def final_number(rule: FinalitySettings, latest: BlockNumber) -> BlockNumber:
    """The newest final block by a depth rule; block 0 while the chain is shorter than the depth."""
    assert rule.depth is not None
    return BlockNumber(max(0, latest - rule.depth))


async def read_header(endpoint: Endpoint, block: BlockNumber | str) -> Header:
    """One header of one endpoint; `StaleEndpoint` when it does not know the block."""
    method, params = header_request(block)
    return parse_header(await endpoint.request(method, params), block)


async def agreed_header(pool: Pool, block: BlockNumber | str) -> Header:
    """A header that the quorum tells alike in every field, not only in its hash."""
    return await pool.agree("header", partial(read_header, block=block), lambda header: header)


async def newest_header(pool: Pool, tag: str) -> Header:
    """The header of a tag; with a quorum, the newest block that so many endpoints have.

    Endpoints are a few blocks apart, and one may claim anything: where the newest number that
    enough claim to have reached finds no agreement, the claims a little below it are tried.
    """
    if pool.quorum == 1:
        return await pool.ask("header", partial(read_header, block=tag))
    found = await pool.ask_each("header", partial(read_header, block=tag))
    claims = sorted((header.number for header in found), reverse=True)[pool.quorum - 1 :]
    numbers = list(dict.fromkeys(n for n in claims if claims[0] - n <= pool.lag_limit))
    for number in numbers[:-1]:
        with suppress(EndpointsDisagree, StaleEndpoint):
            return await agreed_header(pool, number)
    return await agreed_header(pool, numbers[-1])


async def read_tip(
    endpoint: Endpoint, rule: FinalitySettings, told: BlockNumber | None = None
) -> tuple[Header, Header]:
    """(latest, final) of one endpoint, in one batch; by a depth, only if its latest is `told`.

    Otherwise the block at the depth takes a second request.
    """
    if rule.tag == "latest" or rule.depth == 0:
        head = await read_header(endpoint, "latest")
        return head, head
    guess: BlockNumber | str | None = rule.tag
    if guess is None:
        if told is None:
            return await _read_deep(endpoint, rule, await read_header(endpoint, "latest"))
        guess = final_number(rule, told)
    head_answer, final_answer = await endpoint.batch(
        [header_request("latest"), header_request(guess)]
    )
    head = parse_header(value(head_answer), "latest")
    if rule.tag is None and head.number != told:
        return await _read_deep(endpoint, rule, head)
    final = parse_header(value(final_answer), guess)
    if final.number > head.number:
        raise BadChainData(f"final block {final.number} is after the latest, {head.number}")
    return head, final


async def _read_deep(
    endpoint: Endpoint, rule: FinalitySettings, head: Header
) -> tuple[Header, Header]:
    return head, await read_header(endpoint, final_number(rule, head.number))
