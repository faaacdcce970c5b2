"""The signers of one lane at work: who signs next, and why nobody can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from relayer.adapter import Wait
from relayer.errors import RelayerError, SigningRefused
from relayer.message import Address, Reason
from relayer.pipeline.nonces import SignerLane

POOR_RECHECK_S = 30.0
BUSY_RECHECK_S = 1.0
AGAIN_S = 2.0
NOTHING_FAILED: Mapping[Address, RelayerError] = MappingProxyType({})


class Crew:
    """Chooses among a lane's signers; those that failed in a turn are passed over in it."""

    def __init__(self, signers: Sequence[SignerLane], *, lacks_signers: bool) -> None:
        """`lacks_signers`: some that are configured could not be opened yet."""
        self._signers = signers
        self.lacks_signers = lacks_signers

    def freest(self) -> SignerLane | None:
        """The one with most room for transactions, None when none has any."""
        return max(
            (signer for signer in self._signers if signer.room() > 0),
            key=lambda signer: signer.room(),
            default=None,
        )

    def room(self) -> int:
        """Transactions that all of them may send now."""
        return sum(signer.room() for signer in self._signers)

    def pick(
        self,
        worst_cost: int,
        failed: Mapping[Address, RelayerError],
        *,
        sender: Address | None,
    ) -> SignerLane | Wait:
        """A signer with room and money that has not failed yet, else what to wait for.

        Only `sender`, where the call must come from it.
        """
        able = [one for one in self._keys(sender) if one.room() > 0 and one.address not in failed]
        if not able:
            busy = Wait(Reason.PROVED, "every signer is busy", recheck_s=BUSY_RECHECK_S)
            return self.no_key(failed, sender) or busy
        for candidate in sorted(able, key=lambda one: -one.room()):
            if candidate.balance >= worst_cost + candidate.committed():
                return candidate
        detail = f"needs up to {worst_cost} wei; no signer of the lane has it"
        return Wait(Reason.INSUFFICIENT_BALANCE, detail, recheck_s=POOR_RECHECK_S)

    def no_key(
        self,
        failed: Mapping[Address, RelayerError] = NOTHING_FAILED,
        sender: Address | None = None,
    ) -> Wait | None:
        """Why ready messages wait when no key of the lane can be used; None when one can."""
        troubles = {
            one.address: one.trouble or str(failed.get(one.address, ""))
            for one in self._keys(sender)
        }
        if not all(troubles.values()):
            return None  # there is a signer that is only busy
        causes = [f"{address}: {trouble}" for address, trouble in troubles.items()]
        if self.lacks_signers:
            causes.append("others could not be opened yet")
        if not troubles and sender is not None:
            causes.append(f"{sender}, who must send it, is none of them")
        detail = f"no signer of the lane can sign: {'; '.join(causes)}"
        return Wait(Reason.SOURCE_UNREACHABLE, detail[:300], recheck_s=AGAIN_S)

    def all_refuse(
        self, failed: Mapping[Address, RelayerError], sender: Address | None = None
    ) -> bool:
        """Whether nobody may sign, or `sender` may not; a signer not open yet might."""
        keys = self._keys(sender)
        refuse = [isinstance(failed.get(one.address), SigningRefused) for one in keys]
        return all(refuse) and (sender is not None or not self.lacks_signers)

    def _keys(self, sender: Address | None) -> list[SignerLane]:
        """Those that can sign at all, and may make the call."""
        return [one for one in self._signers if one.has_key and sender in (None, one.address)]
