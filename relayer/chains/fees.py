"""What to offer for gas now, and what to offer more when a transaction is stuck.

Prices come from an endpoint, so the operator's `max_fee_gwei` bounds every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from eth_abi.abi import encode

from relayer.adapter import View
from relayer.chains.wire import mapping, quantity
from relayer.errors import BadChainData, RelayerError, Transient
from relayer.message import Address, Wei
from relayer.settings import ChainSettings

GWEI = 10**9
HISTORY_BLOCKS = 5
BASE_FEE_ROOM = 2
"""The base fee can double in six full blocks (EIP-1559: at most 12.5% a block)."""
LEGACY_ROOM = Fraction(11, 10)
"""A legacy price is a guess of the node; a tenth more saves a replacement."""


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """Wei per gas; with a `gas_price` the transaction is legacy and `max_fee` equals it."""

    max_fee: Wei
    tip: Wei
    gas_price: Wei | None = None

    def expected(self, base_fee: Wei | None) -> Wei:
        """What a unit of gas is likely to cost in the next block."""
        if self.gas_price is not None or base_fee is None:
            return self.max_fee
        return Wei(min(self.max_fee, base_fee + self.tip))


GET_L1_FEE = bytes.fromhex("49948e0e")
"""`getL1Fee(bytes)` of the predeploys GasPriceOracle and L1GasPriceOracle."""
ENVELOPE = b"\xff" * 112
"""Stands for the fields of a transaction besides its calldata."""


def data_fee_view(oracle: Address, data: bytes) -> View:
    """Ask for what the chain adds for publishing a transaction with this calldata."""
    return View(oracle, GET_L1_FEE + encode(["bytes"], [data + ENVELOPE]))


class FeeSource(Protocol):
    """The part of a chain client that a quote needs."""

    @property
    def settings(self) -> ChainSettings: ...

    async def batch(
        self, requests: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[Any | RelayerError]: ...


async def quote(chain: FeeSource) -> FeeQuote:
    """Ask the chain, in one batch, for a price within the configured cap."""
    limits = chain.settings.fees
    cap = int(limits.max_fee_gwei * GWEI)
    history, suggested, price = await chain.batch(
        [
            ("eth_feeHistory", [hex(HISTORY_BLOCKS), "latest", [50]]),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_gasPrice", []),
        ]
    )
    base = None if limits.mode == "legacy" else _next_base_fee(history)
    if base is None:
        if limits.mode == "eip1559":
            raise _unpriced(history, "eth_feeHistory shows no base fee, and fees.mode is eip1559")
        return _legacy(price, cap)
    tip = _tip(history, suggested) if limits.tip_gwei is None else int(limits.tip_gwei * GWEI)
    max_fee = min(base * BASE_FEE_ROOM + tip, cap)
    return FeeQuote(max_fee=Wei(max_fee), tip=Wei(min(tip, max_fee)))


def bump(previous: FeeQuote, fresh: FeeQuote, percent: float, cap: Wei) -> FeeQuote | None:
    """A price that nodes take as a replacement of `previous`, None when `cap` leaves no room.

    Every part rises by at least `percent` and by one wei, and to `fresh` where that is higher.
    """
    if previous.gas_price is not None:
        least = _raised(previous.gas_price, percent)
        price = min(max(least, fresh.gas_price or fresh.max_fee), cap)
        return None if price < least else FeeQuote(Wei(price), fresh.tip, Wei(price))
    least = _raised(previous.max_fee, percent)
    least_tip = _raised(previous.tip, percent)
    max_fee = min(max(least, fresh.max_fee), cap)
    if max_fee < least or max_fee < least_tip:
        return None
    return FeeQuote(Wei(max_fee), Wei(min(max(least_tip, fresh.tip), max_fee)))


def _raised(price: int, percent: float) -> int:
    return max(price + 1, math.ceil(price * (1 + Fraction(str(percent)) / 100)))


def _next_base_fee(history: object) -> int | None:
    """Of the block after the newest; None when the chain has no base fee."""
    if isinstance(history, RelayerError):
        if isinstance(history, Transient):
            raise history
        return None
    fees = mapping(history, "fee history").get("baseFeePerGas")
    if not isinstance(fees, list) or not fees:
        return None
    base = [quantity(fee, "base fee") for fee in fees]
    return base[-1] if any(base) else _zero_base(history)


def _zero_base(history: object) -> int | None:
    """Nodes fill in zeros for blocks before EIP-1559; rewards tell a free chain from an old one."""
    return 0 if mapping(history, "fee history").get("reward") else None


def _tip(history: object, suggested: object) -> int:
    """The middle of what half the gas of recent blocks paid, else the node's suggestion."""
    rewards = mapping(history, "fee history").get("reward")
    paid = sorted(
        quantity(row[0], "reward")
        for row in (rewards if isinstance(rewards, list) else [])
        if isinstance(row, list) and row
    )
    middle = paid[len(paid) // 2] if paid else 0
    if middle or isinstance(suggested, RelayerError):
        return middle
    return quantity(suggested, "suggested tip")


def _legacy(price: object, cap: int) -> FeeQuote:
    if isinstance(price, RelayerError):
        raise price
    offered = Wei(min(math.ceil(quantity(price, "gas price") * LEGACY_ROOM), cap))
    return FeeQuote(max_fee=offered, tip=Wei(0), gas_price=offered)


def _unpriced(history: object, text: str) -> RelayerError:
    return history if isinstance(history, RelayerError) else BadChainData(text)
