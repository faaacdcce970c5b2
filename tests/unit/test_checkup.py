"""What is said of each URL and of each setting, whatever nodes and contracts answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from pydantic import SecretStr

from relayer.adapter import Adapter, Expectation, LogSource
from relayer.chains.roll_call import roll_call
from relayer.checkup import check_bridge, check_chain
from relayer.keccak import keccak256
from relayer.message import Address, BlockNumber, BridgeName, ChainId
from relayer.settings import EndpointSettings, Settings
from tests.unit.chain_node import CHAIN, OUTBOX, Node, Refused, client_of, running, settings

PORTAL = Address("0x" + "cd" * 20)
NEWER, OLDER = "portal()", "PORTAL()"


@dataclass
class Bridge:
    """The part of an adapter that is looked at."""

    expected: Sequence[Expectation] = ()
    start_block: int = 5

    @property
    def name(self) -> BridgeName:
        return BridgeName("bridge")

    def sources(self) -> list[LogSource]:
        topics = (bytes(32),)
        start = BlockNumber(self.start_block)
        return [LogSource(ChainId(CHAIN), (Address(OUTBOX),), topics, start)]

    def expectations(self) -> Sequence[Expectation]:
        return self.expected


def portal(value: Address | int | None = PORTAL, **changes: Any) -> Expectation:
    contract = Address(OUTBOX)
    return Expectation("l1.portal", value, ChainId(CHAIN), contract, (NEWER, OLDER), **changes)


def contract_with(**views: str) -> Callable[[Sequence[Any]], str]:
    """An `eth_call` that reverts but for these views (`old` and `new`)."""
    names = {"new": NEWER, "old": OLDER}
    known = {"0x" + keccak256(names[k].encode())[:4].hex(): told for k, told in views.items()}

    def answer(params: Sequence[Any]) -> str:
        if params[0]["data"] not in known:
            raise Refused(3, "execution reverted", "0x")
        return known[params[0]["data"]]

    return answer


async def found(node: Node, bridge: Bridge) -> dict[str, tuple[bool, str]]:
    """Findings of the bridge by subject, that of the code left out."""
    node.on["eth_getCode"] = lambda _: "0x00"
    async with client_of(node) as chain:
        findings = await check_bridge(chain, cast(Adapter, bridge))
    return {one.subject: (one.ok, one.text) for one in findings if "code at" not in one.text}


def word(content: str) -> str:
    return "0x" + content.removeprefix("0x").rjust(64, "0")


@pytest.mark.parametrize(
    ("views", "expected", "ok", "text"),
    [
        ({"new": word(PORTAL)}, portal(), True, "answers portal() with 0xcdcd"),
        ({"old": word(PORTAL)}, portal(), True, "answers PORTAL() with 0xcdcd"),
        ({"new": word("ee" * 20)}, portal(), False, f"is 0x{'ee' * 20}, the configuration says"),
        ({"new": word("1f")}, portal(30), False, "is 31, the configuration says 30"),
        ({"new": word("1e")}, portal(30), True, "with 30"),
        ({"new": word("0") + "00" * 64}, portal(None), True, "answers portal()"),
        ({}, portal(), False, "does not answer portal() or PORTAL(): correct the address"),
        ({"new": "0x"}, portal(None), False, "does not answer"),
        ({"new": "0x" + "cd" * 20}, portal(), False, "does not answer"),
        ({"new": "0x" + "ff" * 12 + "cd" * 20}, portal(), False, "the configuration says"),
        ({}, portal(may_be_silent=True), True, "nothing to compare"),
        ({"new": word("0")}, portal(may_be_silent=True), True, "nothing to compare"),
        ({"new": word("1")}, portal(may_be_silent=True), False, "the configuration says"),
    ],
)
async def test_a_setting_is_compared_with_the_contract_s_word(
    views: dict[str, str], expected: Expectation, ok: bool, text: str
) -> None:
    """Versions, lies and silence; the finding names the field, the contract and both values."""
    node = Node()
    node.on["eth_call"] = contract_with(**views)
    told = (await found(node, Bridge([expected])))["bridges.bridge.l1.portal"]
    assert told[0] is ok
    assert text in told[1]
    assert OUTBOX in told[1]


async def test_a_start_block_beyond_the_newest_block_is_named() -> None:
    """The newest block itself is in order."""
    assert await found(Node(head=100), Bridge(start_block=100)) == {}
    (finding,) = (await found(Node(head=100), Bridge(start_block=101))).values()
    assert finding[0] is False
    assert "start_block 101 is beyond the newest block 100" in finding[1]


async def test_a_chain_that_does_not_answer_is_a_finding_and_no_exception() -> None:
    """Nothing is called ok that could not be asked."""
    node = Node()
    node.on["eth_getBlockByNumber"] = lambda _: "nonsense"
    told = await found(node, Bridge([portal()]))
    ((ok, text),) = told.values()
    assert not ok
    assert "could not be checked" in text


async def test_a_chain_that_the_bridge_does_not_use_is_not_asked() -> None:
    """Its trouble is no finding about the bridge."""
    node = Node()
    async with client_of(node, start=False, id=CHAIN + 1) as chain:
        assert await check_bridge(chain, cast(Adapter, Bridge([portal()]))) == []
    assert node.asked == []


async def test_each_endpoint_answers_for_itself() -> None:
    """One of another chain and one that is down are named, in order, by what may be shown."""
    good, other, down = Node(), Node(), Node()
    other.on["eth_chainId"] = lambda _: "0x8"
    async with running(down):
        pass
    async with running(good, other):
        present = await roll_call("seven", settings(good, other, down, path="/secretkey"))
    assert [one.field for one in present] == [
        f"chains.seven.endpoints[{place}].url" for place in range(3)
    ]
    assert [one.name for one in present] == [good.url, other.url, down.url]
    assert present[0].problem == ""
    assert "serves chain 8, the configuration says 7" in present[1].problem
    assert present[2].problem != ""
    assert "secretkey" not in str(present)


async def test_a_socket_of_another_chain_is_named() -> None:
    """The endpoint beside it is right."""
    node = Node()
    async with running(node):
        url, socket = f"{node.url}/", f"ws://127.0.0.1:{node.port}/ws"
        endpoint = EndpointSettings(url=SecretStr(url), ws_url=SecretStr(socket))
        chosen = settings(node).model_copy(update={"endpoints": [endpoint]})
        http, pushed = await roll_call("seven", chosen)
    assert http.problem == ""
    assert pushed.field == "chains.seven.endpoints[0].ws_url"
    assert pushed.name == f"ws://127.0.0.1:{node.port}"
    assert pushed.problem == "serves chain 1, the configuration says 7"


@pytest.mark.parametrize(
    ("chain_id", "is_development", "ok"), [(7, False, False), (7, True, True), (31337, False, True)]
)
async def test_a_chain_at_another_time_is_wrong_only_where_there_is_money(
    chain_id: int, is_development: bool, ok: bool
) -> None:
    """The node's blocks are years behind our clock, as those of a test that leapt are ahead."""
    node = Node()
    node.on["eth_chainId"] = lambda _: hex(chain_id)
    async with running(node):
        chains = {"seven": settings(node, id=chain_id)}
        findings = await check_chain("seven", Settings(chains=chains, development=is_development))
    (clock,) = [one for one in findings if one.subject == "chains.seven.clock"]
    assert (clock.ok, clock.warns) == (ok, ok)
    assert "s from our clock" in clock.text
