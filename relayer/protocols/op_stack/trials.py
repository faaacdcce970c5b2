"""Tries calls out without sending them: would the target take it now, and with how much gas?

Neither portal nor messenger reverts when a target fails, so an ordinary estimate shows nothing,
and may even be the gas at which the target runs dry. Both make an exception for one origin of
transactions, made for estimates: called from there they revert. Source: `ESTIMATION_ADDRESS` in
`src/libraries/Constants.sol` of contracts-bedrock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import ChainReader
from relayer.errors import BadChainData, CallReverted, Permanent, RelayerError
from relayer.message import Address, Gas
from relayer.protocols.op_stack.reverts import is_failed_target

ESTIMATOR = Address("0x0000000000000000000000000000000000000001")
MOST_GAS = 2**32


@dataclass(frozen=True, slots=True)
class Trial:
    """What a call would do at the latest block."""

    gas: Gas | None
    """With this much the target takes it; None when that is not known."""
    is_target_failing: bool = False
    is_known: bool = True
    """False: no node could try it."""
    detail: str = ""


class Trials:
    """Tries calls out on layer 1."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader

    async def run(self, calls: Sequence[tuple[Address, bytes]]) -> list[Trial]:
        """One trial for each call, in one batch; raises `Transient` when no endpoint answers."""
        answers = await self._reader.batch(
            [
                ("eth_estimateGas", [{"from": ESTIMATOR, "to": to, "data": "0x" + data.hex()}])
                for to, data in calls
            ]
        )
        return [_trial(answer) for answer in answers]


def _trial(answer: object) -> Trial:
    try:
        return Trial(_gas(answer), detail="taken")
    except CallReverted as error:
        # other refusals are left to the engine's own simulation, which tells the reason
        return Trial(None, is_failed_target(error.revert, str(error)), detail="refused")
    except Permanent:  # the node cannot estimate from there, or answers nonsense
        return Trial(None, is_known=False, detail="not possible")


def _gas(answer: object) -> Gas:
    if isinstance(answer, RelayerError):
        raise answer
    try:
        gas = int(str(answer), 16)
    except ValueError:
        raise BadChainData("eth_estimateGas answered no number") from None
    if not 0 < gas < MOST_GAS:
        raise BadChainData(f"eth_estimateGas answered {gas}")
    return Gas(gas)
