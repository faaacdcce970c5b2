"""Asks each endpoint and socket of a chain by itself, where the pool would ask the next one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import aiohttp

from relayer.chains.client import ChainClient, open_session
from relayer.chains.heads import MAX_NOTE_BYTES
from relayer.chains.redaction import shown_name, shown_names
from relayer.chains.wire import mapping, quantity
from relayer.errors import BadChainData, RelayerError
from relayer.foreign_json import parse_json
from relayer.settings import ChainSettings, EndpointSettings

SUBSCRIBE = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
CHAIN_ID = {"jsonrpc": "2.0", "id": 2, "method": "eth_chainId", "params": []}
MOST_NOTES = 32
"""Messages that a socket may send before it has answered both."""


@dataclass(frozen=True, slots=True)
class Present:
    """Whether one URL serves the chain."""

    field: str
    """Where it is configured: `chains.alpha.endpoints[0].ws_url`."""
    name: str
    """The URL without its secrets."""
    problem: str
    """Empty when it serves the chain."""


async def roll_call(chain: str, settings: ChainSettings) -> list[Present]:
    """Every endpoint in the order of the configuration, then every socket; never raises for one."""
    endpoints = settings.endpoints
    names = shown_names(one.url.get_secret_value() for one in endpoints)
    at = [f"chains.{chain}.endpoints[{place}]" for place in range(len(endpoints))]
    return await asyncio.gather(
        *(
            _endpoint(f"{field}.url", name, _alone(settings, endpoint))
            for field, name, endpoint in zip(at, names, endpoints, strict=True)
        ),
        *(
            _socket(f"{field}.ws_url", endpoint.ws_url.get_secret_value(), settings)
            for field, endpoint in zip(at, endpoints, strict=True)
            if endpoint.ws_url is not None
        ),
    )


def _alone(settings: ChainSettings, endpoint: EndpointSettings) -> ChainSettings:
    return settings.model_copy(
        update={"endpoints": [endpoint], "quorum": 1, "multicall": None},
    )


async def _endpoint(field: str, name: str, settings: ChainSettings) -> Present:
    client = ChainClient(name, settings)
    try:
        await client.start()
        await client.header("latest")
    except RelayerError as error:
        return Present(field, name, str(error))
    finally:
        await client.aclose()
    return Present(field, name, "")


async def _socket(field: str, url: str, settings: ChainSettings) -> Present:
    """Whether it takes a subscription to new heads, of the right chain."""
    name = shown_name(url)
    try:
        async with asyncio.timeout(settings.timeout_s), open_session() as session:
            found = await _asked(session, url)
    except TimeoutError:
        return Present(field, name, f"did not answer within {settings.timeout_s:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:  # their texts may hold the URL
        return Present(field, name, f"does not answer: {type(error).__name__}")
    except BadChainData as error:
        return Present(field, name, str(error))
    if found != settings.id:
        return Present(field, name, f"serves chain {found}, the configuration says {settings.id}")
    return Present(field, name, "")


async def _asked(session: aiohttp.ClientSession, url: str) -> int:
    """The chain id that a socket tells, once it has taken the subscription as well."""
    async with session.ws_connect(url, max_msg_size=MAX_NOTE_BYTES) as socket:
        for request in (SUBSCRIBE, CHAIN_ID):
            await socket.send_str(json.dumps(request))
        answers: dict[object, object] = {}
        for _ in range(MOST_NOTES):
            note = await socket.receive()
            if note.type is not aiohttp.WSMsgType.TEXT:
                raise BadChainData("hung up, or sent no text, before it had answered")
            reply = mapping(parse_json(note.data.encode()), "a note")
            if reply.get("error") is not None:
                raise BadChainData("refuses eth_subscribe or eth_chainId")
            if reply.get("id") in (1, 2):
                answers[reply["id"]] = reply.get("result")
            if len(answers) == 2:
                return quantity(answers[2], "chain id")
    raise BadChainData("sent other things than what it was asked for")
