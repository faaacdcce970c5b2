"""What the public API is told of routes and chains: troubles in public words, amounts, delays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from pydantic import SecretStr

from relayer.acts import Pause, Target
from relayer.adapter import Delay
from relayer.chains import ChainClient
from relayer.errors import EndpointDown
from relayer.message import Address, BridgeName, ChainId, Route, Timestamp
from relayer.ops.api import Finality, Native
from relayer.serving import CARRIED_WITHIN_S, NO_SIGNER, LiveNetwork, Served
from relayer.settings import ChainSettings, EndpointSettings
from relayer.store import Store
from tests.redis.api_world import ROUTE, serving
from tests.redis.sample_facts import ONE, TEN
from tests.redis.servers import Server

pytestmark = pytest.mark.redis

SIGNERS = (Address("0x" + "5a" * 20), Address("0x" + "5b" * 20))
SECRET_WHY = "wallet 0x5a is drained, call 555-0100"
KEY = "key-in-the-url"


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: answers do not depend on where keys are."""
    return redis_server


class Foreseeing:
    """An adapter that knows its delay, or whose chain does not answer."""

    def __init__(self, route: Route, delay: Delay | None) -> None:
        self._route = route
        self._delay = delay

    def routes(self) -> Sequence[Route]:
        return [self._route]

    async def delays(self) -> Mapping[Route, Delay]:
        if self._delay is None:
            raise EndpointDown(f"http://rpc/{KEY}", "down")
        return {self._route: self._delay}


@pytest.fixture
async def chains() -> AsyncIterator[dict[str, ChainClient]]:
    """Two chains that nobody answers for."""
    endpoint = EndpointSettings(url=SecretStr(f"http://127.0.0.1:1/{KEY}"))
    found = {
        name: ChainClient(
            name,
            ChainSettings.model_validate(
                {"id": chain_id, "endpoints": [endpoint], "native": {"symbol": symbol}}
            ),
        )
        for name, chain_id, symbol in (("one", ONE, "ETH"), ("ten", TEN, "POL"))
    }
    yield found
    for chain in found.values():
        await chain.aclose()


def network_of(store: Store, chains: Mapping[str, ChainClient], *pauses: Pause) -> LiveNetwork:
    other = Route(BridgeName("slow"), ONE, TEN)
    served = Served(
        chains,
        {
            BridgeName("hyper"): Foreseeing(ROUTE, Delay(60.0, 90.0, "signatures")),  # type: ignore[dict-item]
            BridgeName("slow"): Foreseeing(other, None),  # type: ignore[dict-item]
        },
        {TEN: SIGNERS},
        pauses,
    )
    return LiveNetwork(store, lambda: served, lambda: 0.0)


def pause(target: Target) -> Pause:
    return Pause(target, "on-call.alice", SECRET_WHY, Timestamp(1_700_000_000.0))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            Target.route(ROUTE),
            f"route {ROUTE} paused by an operator since 2023-11-14T22:13:20.000Z",
        ),
        (Target.lane(TEN), "lane to ten paused by an operator since 2023-11-14T22:13:20.000Z"),
        (Target.chain(ONE), "chain one paused by an operator since 2023-11-14T22:13:20.000Z"),
        (Target.chain(TEN), "chain ten paused by an operator since 2023-11-14T22:13:20.000Z"),
        (Target.signer(SIGNERS[1]), "1 of 2 signers for ten paused by an operator"),
    ],
)
async def test_a_pause_is_a_problem_of_its_route(
    store: Store, chains: dict[str, ChainClient], target: Target, words: str
) -> None:
    """What is paused since when, never by whom and why: that may hold what only operators know."""
    network = network_of(store, chains, pause(target))
    async with serving(store, network=network) as api:
        _, routes = await api.ask("/v1/routes")
        _, all_chains = await api.ask("/v1/chains")
    route = next(one for one in routes["routes"] if one["route"] == str(ROUTE))
    assert route["health"] == "degraded"
    assert words in route["problems"]
    shown = f"{routes} {all_chains}"
    assert "alice" not in shown
    assert "555-0100" not in shown
    assert KEY not in shown
    ten = next(one for one in all_chains["chains"] if one["id"] == TEN)
    assert [one["paused"] for one in ten["signers"]] == [
        False, target == Target.signer(SIGNERS[1]),
    ]  # fmt: skip


async def test_other_pauses_are_no_problem_of_it(
    store: Store, chains: dict[str, ChainClient]
) -> None:
    """A lane to the origin, another route and a stranger's signer stop nothing here."""
    others = (
        Target.lane(ONE),
        Target.route(Route(BridgeName("slow"), TEN, ONE)),
        Target.signer(Address("0x" + "77" * 20)),
    )
    (report, _) = await network_of(store, chains, *map(pause, others)).routes()
    assert report.problems == []


async def test_a_route_that_nobody_delivers_says_so(
    store: Store, chains: dict[str, ChainClient]
) -> None:
    """Without a signer for the destination nothing goes, and nothing else would tell."""
    served = Served(chains, {BridgeName("hyper"): Foreseeing(ROUTE, None)}, {})  # type: ignore[dict-item]
    (report,) = await LiveNetwork(store, lambda: served, lambda: 0.0).routes()
    assert NO_SIGNER in report.problems


async def test_a_chain_tells_its_rule_and_coin(
    store: Store, chains: dict[str, ChainClient]
) -> None:
    """Known from the configuration while no endpoint answers; the rest is unknown, not zero."""
    network = network_of(store, chains)
    one, ten = await network.chains()
    assert (one.finality, one.final_behind_s, one.head) == (Finality("finalized", None), None, None)
    assert ten.native == Native("POL", 18)
    assert network.natives() == {ONE: Native("ETH", 18), ChainId(TEN): Native("POL", 18)}


async def test_outlooks_of_bridges_that_answer(
    store: Store, chains: dict[str, ChainClient]
) -> None:
    """A bridge whose chain is away is left out and does not take the others along."""
    outlooks = await network_of(store, chains).outlooks()
    assert set(outlooks) == {ROUTE}
    assert outlooks[ROUTE].latest_s == 90.0 + CARRIED_WITHIN_S
