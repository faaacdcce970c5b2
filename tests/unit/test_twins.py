"""Which bridges would carry the same messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from relayer.adapter import LogSource
from relayer.errors import ConfigInvalid
from relayer.message import Address, BlockNumber, BridgeName, ChainId, Route
from relayer.twins import refuse_twins, twins

ONE, TEN = ChainId(1), ChainId(10)
NAMES = {ONE: "one", TEN: "ten"}
OUTBOX, INBOX, OTHER = (Address("0x" + digit * 40) for digit in "abc")


@dataclass
class Bridge:
    """What a bridge follows, and carries."""

    name: BridgeName
    follows: dict[ChainId, Address]
    carries: tuple[tuple[ChainId, ChainId], ...] = ((ONE, TEN),)

    def routes(self) -> list[Route]:
        return [Route(self.name, *ends) for ends in self.carries]

    def sources(self) -> list[LogSource]:
        return [
            LogSource(chain, (address,), (), BlockNumber(0))
            for chain, address in self.follows.items()
        ]


FIRST: Any = Bridge(BridgeName("first"), {ONE: OUTBOX, TEN: INBOX})


@pytest.mark.parametrize(
    ("follows", "carries", "is_twin"),
    [
        ({ONE: OUTBOX, TEN: INBOX}, ((ONE, TEN),), True),
        ({ONE: Address(OUTBOX.upper().replace("X", "x")), TEN: INBOX}, ((ONE, TEN),), True),
        ({ONE: OUTBOX, TEN: INBOX}, ((TEN, ONE),), False),
        ({ONE: OUTBOX, TEN: OTHER}, ((ONE, TEN),), False),
        ({ONE: OTHER, TEN: INBOX}, ((ONE, TEN),), False),
        ({ONE: OUTBOX}, ((ONE, TEN),), False),
    ],
)
def test_twins_have_a_route_and_its_contracts_in_common(
    follows: dict[ChainId, Address], carries: Any, is_twin: bool
) -> None:
    """An outbox may feed many bridges, and a mailbox serve many routes."""
    second: Any = Bridge(BridgeName("second"), follows, carries)
    assert [name for name, _ in twins([FIRST, second], NAMES)] == ["second"] * is_twin


def test_both_are_named_with_the_route_and_the_way_out() -> None:
    """The operator decides which of the two stays."""
    second: Any = Bridge(BridgeName("second"), FIRST.follows)
    with pytest.raises(ConfigInvalid) as caught:
        refuse_twins([FIRST, second], NAMES)
    assert str(caught.value).startswith(
        "bridges.second: has the contracts of bridges.first from one to ten: take one"
    )
