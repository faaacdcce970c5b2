"""Prices: what a quote offers within the cap, what a bump raises, what refusals mean."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from relayer.chains.fees import FeeQuote, bump, quote
from relayer.chains.transactions import SendProblem, classify_send_error
from relayer.errors import BadChainData, EndpointDown, RelayerError, RpcRefused
from relayer.message import Wei
from relayer.settings import ChainSettings, EndpointSettings, FeeSettings

GWEI = 10**9
MISSING = RpcRefused(-32601, "no such method")


class Prices:
    """A chain that says given prices."""

    def __init__(
        self,
        *,
        base: Sequence[int] | None = (30 * GWEI,),
        rewards: Sequence[int] = (),
        suggested: Any = MISSING,
        price: Any = MISSING,
        history: Any = None,
        **limits: Any,
    ) -> None:
        self.settings = ChainSettings(
            id=1,
            endpoints=[EndpointSettings(url=SecretStr("http://127.0.0.1:1"))],
            fees=FeeSettings(**limits),
        )
        reward = {"reward": [[hex(one)] for one in rewards]} if rewards else {}
        fees = {} if base is None else {"baseFeePerGas": [hex(one) for one in base]}
        self._answers = [history or (reward | fees), suggested, price]

    async def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        assert [method for method, _ in requests] == [
            "eth_feeHistory",
            "eth_maxPriorityFeePerGas",
            "eth_gasPrice",
        ]
        return self._answers


async def test_quote_leaves_room_for_the_base_fee_to_double() -> None:
    """Twice the next block's base fee, plus the middle of what others tipped."""
    found = await quote(Prices(base=[10 * GWEI, 30 * GWEI], rewards=[GWEI, 5 * GWEI, 2 * GWEI]))
    assert found == FeeQuote(Wei(62 * GWEI), Wei(2 * GWEI))


async def test_tip_falls_back_to_the_nodes_suggestion() -> None:
    """Blocks without tips say nothing; a chain that suggests nothing gets no tip."""
    assert (await quote(Prices(rewards=[0, 0], suggested=hex(GWEI)))).tip == GWEI
    assert (await quote(Prices(suggested=hex(GWEI)))).tip == GWEI
    assert (await quote(Prices())).tip == 0


async def test_operators_tip_wins() -> None:
    """`tip_gwei` is used as it is, in exact decimals."""
    found = await quote(Prices(rewards=[GWEI], tip_gwei=Decimal("0.000000001")))
    assert found.tip == 1


async def test_cap_bounds_every_price_a_node_may_claim() -> None:
    """A node that claims absurd prices costs at most `max_fee_gwei`."""
    found = await quote(Prices(base=[10**30], rewards=[10**30], max_fee_gwei=Decimal(50)))
    assert found == FeeQuote(Wei(50 * GWEI), Wei(50 * GWEI))
    legacy = await quote(Prices(price=hex(10**30), mode="legacy", max_fee_gwei=Decimal(50)))
    assert legacy == FeeQuote(Wei(50 * GWEI), Wei(0), Wei(50 * GWEI))


@pytest.mark.parametrize(
    "chain",
    [
        {"mode": "legacy"},
        {"base": None},
        {"base": [0, 0]},
        {"history": MISSING},
    ],
)
async def test_chain_without_a_base_fee_gets_a_legacy_price(chain: dict[str, Any]) -> None:
    """By choice or by nature: a tenth over the node's gas price."""
    found = await quote(Prices(price=hex(100), **chain))
    assert found == FeeQuote(Wei(110), Wei(0), Wei(110))


async def test_free_chain_stays_eip1559() -> None:
    """A base fee of zero with rewards is a price, not a chain from before EIP-1559."""
    found = await quote(Prices(base=[0, 0], rewards=[7, 7], price="0x1"))
    assert found == FeeQuote(Wei(7), Wei(7))


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        ({"history": EndpointDown("e", "timed out")}, EndpointDown),
        ({"base": None, "mode": "eip1559"}, BadChainData),
        ({"history": MISSING, "mode": "eip1559"}, RpcRefused),
        ({"mode": "legacy"}, RpcRefused),
        ({"mode": "legacy", "price": "cheap"}, BadChainData),
        ({"history": {"baseFeePerGas": ["cheap"]}}, BadChainData),
        ({"history": "none"}, BadChainData),
    ],
)
async def test_no_price_is_an_error(chain: dict[str, Any], kind: type[RelayerError]) -> None:
    """Without a price there is no quote, and a node that is down does not make a chain legacy."""
    with pytest.raises(kind):
        await quote(Prices(**chain))


_PRICE = st.integers(0, 10**13)


@given(_PRICE, _PRICE, _PRICE, _PRICE, st.integers(1, 10**13), st.floats(12.5, 200))
def test_bump_is_always_a_replacement_within_the_cap(
    max_fee: int, tip: int, fresh_fee: int, fresh_tip: int, cap: int, percent: float
) -> None:
    """Every part rises by the percentage and by a wei, never over the cap; else None."""
    before = FeeQuote(Wei(max_fee), Wei(min(tip, max_fee)))
    after = bump(before, FeeQuote(Wei(fresh_fee), Wei(fresh_tip)), percent, Wei(cap))
    if after is None:
        assert cap < max(max_fee + 1, max_fee * (1 + percent / 100)) + 1
        return
    assert after.tip <= after.max_fee <= cap
    for old, new in ((before.max_fee, after.max_fee), (before.tip, after.tip)):
        assert new > old
        assert new >= old * (1 + percent / 100) * (1 - 1e-12)


def test_bump_follows_a_price_that_rose_more() -> None:
    """A fresh price over the least raise is taken, up to the cap."""
    before, fresh = FeeQuote(Wei(100), Wei(10)), FeeQuote(Wei(300), Wei(50))
    assert bump(before, fresh, 12.5, Wei(1000)) == FeeQuote(Wei(300), Wei(50))
    assert bump(before, fresh, 12.5, Wei(200)) == FeeQuote(Wei(200), Wei(50))
    assert bump(before, fresh, 12.5, Wei(112)) is None
    assert bump(before, FeeQuote(Wei(1), Wei(1)), 12.5, Wei(113)) == FeeQuote(Wei(113), Wei(12))


def test_legacy_bump_stays_legacy() -> None:
    """A legacy transaction is replaced by a legacy one, whatever the chain says now."""
    before = FeeQuote(Wei(100), Wei(0), Wei(100))
    after = bump(before, FeeQuote(Wei(50), Wei(1)), 12.5, Wei(1000))
    assert after is not None
    assert after.gas_price == after.max_fee == 113
    assert bump(before, before, 12.5, Wei(112)) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonce too low: next nonce 5, tx nonce 4", SendProblem.NONCE_TOO_LOW),
        ("NONCE_TOO_LOW", SendProblem.NONCE_TOO_LOW),
        ("nonce has already been used", SendProblem.NONCE_TOO_LOW),
        ("FeeTooLow", SendProblem.UNDERPRICED),
        ("OldNonce", SendProblem.NONCE_TOO_LOW),
        ("already known", SendProblem.ALREADY_KNOWN),
        ("AlreadyKnown", SendProblem.ALREADY_KNOWN),
        ("transaction already imported", SendProblem.ALREADY_KNOWN),
        ("known transaction: 0xabc", SendProblem.ALREADY_KNOWN),
        ("replacement transaction underpriced", SendProblem.UNDERPRICED),
        ("transaction underpriced: tip needed 1", SendProblem.UNDERPRICED),
        ("max fee per gas less than block base fee: address 0x0", SendProblem.UNDERPRICED),
        ("insufficient funds for gas * price + value", SendProblem.INSUFFICIENT_FUNDS),
        ("Insufficient funds for gas * price + value", SendProblem.INSUFFICIENT_FUNDS),
        ("Upfront cost exceeds account balance", SendProblem.INSUFFICIENT_FUNDS),
        ("nonce too high", SendProblem.NONCE_TOO_HIGH),
        ("exceeds block gas limit", SendProblem.GAS_LIMIT),
        ("intrinsic gas too low", SendProblem.GAS_LIMIT),
        ("intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", SendProblem.GAS_LIMIT),
        ("invalid sender", SendProblem.OTHER),
        ("", SendProblem.OTHER),
    ],
)
def test_refused_transactions_are_classified(text: str, problem: SendProblem) -> None:
    """Every client's wording means one of the few things the engine acts on."""
    assert classify_send_error(text) is problem
