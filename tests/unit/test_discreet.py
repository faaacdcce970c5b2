"""What strangers are told of a message, and what only operators read."""

from __future__ import annotations

import json
import time

import pytest

from relayer.errors import EndpointDown, EndpointsExhausted, SignerUnavailable
from relayer.message import Moment, Reason, Status
from relayer.ops.api.discreet import PUBLIC_SENTENCES, discreet, public_view
from relayer.ops.views import record_view
from tests.unit.sample_records import NOON, record_of

RPC = EndpointDown("http://127.0.0.1:43613", "timed out")
EXHAUSTED = str(EndpointsExhausted(f"chain gamma: eth_call: {RPC}; {RPC}"))
PAUSE = "lane gamma is paused by cli:root@vm since 2023-11-14T22:13:20.000Z: SECRETWHY since x"


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        (EXHAUSTED, "chain gamma: eth_call: one endpoint failed"),
        (PAUSE, "lane gamma is paused by an operator since 2023-11-14T22:13:20.000Z"),
        (
            "signer 0xab is paused by op since 2023-11-14T22:13:20.000Z",
            "signer 0xab is paused by an operator since 2023-11-14T22:13:20.000Z",
        ),
        (
            f"no signer of the lane can sign: {SignerUnavailable('vault', 'refused by hsm-7')}",
            "no signer of the lane can sign: one signer failed",
        ),
        ("Cannot connect to host rpc.internal:8545", "Cannot connect to host [hidden]"),
        ("asked https://user:key@rpc.internal/v2/key", "asked [hidden]"),
        ("1 of 2 signatures", "1 of 2 signatures"),
        ("claims are paused by the security council", "claims are paused by the security council"),
        ("no answer of geth:8545", "no answer of [hidden]"),
        ("0x12:53535 is on main:10>42161", "0x12:53535 is on main:10>42161"),
        ("since 2023-11-14T22:13:20.000Z", "since 2023-11-14T22:13:20.000Z"),
    ],
)
def test_details_name_nothing_behind_the_relayer(detail: str, told: str) -> None:
    """The chain and the kind of trouble stay; endpoints, signers, operators and hosts go."""
    assert discreet(detail) == told


def test_the_whole_message_is_discreet() -> None:
    """Explanation, timeline and evidence alike; operators read all of it."""
    record = record_of(
        reason=Reason.SOURCE_UNREACHABLE,
        detail=EXHAUSTED,
        timeline=(
            Moment(NOON, Status.WAITING, Reason.PAUSED, PAUSE),
            Moment(NOON, Status.WAITING, Reason.SOURCE_UNREACHABLE, EXHAUSTED),
        ),
        evidence={"asked": "http://127.0.0.1:43613/key"},
    )
    public, full = json.dumps(public_view(record)), json.dumps(record_view(record))
    for private in ("43613", "root@vm", "SECRETWHY"):
        assert private in full
        assert private not in public
    assert public_view(record).keys() == record_view(record).keys()


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("status", [Status.WAITING, Status.DEAD])
def test_strangers_are_given_no_commands(reason: Reason, status: Status) -> None:
    """They cannot run the relayer's command line, nor change its settings."""
    view = public_view(record_of(reason=reason, status=status, detail=""))
    assert "`" not in view["explanation"]
    assert len(set(PUBLIC_SENTENCES.values())) == len(PUBLIC_SENTENCES)


@pytest.mark.parametrize("piece", ["a-", "a.", "endpoint ", "chain is paused by ", "http+", "x:1"])
def test_hostile_text_costs_little(piece: str) -> None:
    """No text has the patterns go over it again and again."""
    record = record_of(
        detail=piece * 10_000,
        timeline=tuple(
            Moment(NOON, Status.WAITING, Reason.NEW, piece * 10_000) for _ in range(200)
        ),
        evidence={str(number): piece * 10_000 for number in range(32)},
    )
    began = time.process_time()
    public_view(record)
    assert time.process_time() - began < 1.0
