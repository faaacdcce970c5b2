"""A key service that is down when the relayer starts joins its lane when it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relayer.chains.signers import LocalSigner, openers_of
from relayer.errors import ConfigInvalid, SignerUnavailable
from relayer.pipeline.roster import Roster
from tests.keepers.gcp import GcpKms
from tests.unit.signers.conftest import SECRET
from tests.unit.signers.test_opening import ENVIRON, configuration, gcp_of, key_file

OWN = b"\x0c" * 32
LOCAL, REMOTE = LocalSigner(OWN).address, LocalSigner(SECRET).address


@pytest.fixture
async def roster(tmp_path: Path, gcp: GcpKms) -> AsyncIterator[Roster]:
    settings = configuration(tmp_path, key_file(tmp_path, OWN), gcp_of(gcp))
    made = Roster("sea", openers_of(settings, "sea", ENVIRON))
    yield made
    await made.aclose()


async def test_all_there(roster: Roster) -> None:
    """Every signer is open after the start."""
    await roster.open()
    assert {one.address for one in roster.signers} == {LOCAL, REMOTE}
    assert roster.missing == 0
    assert await roster.tick() is False


async def test_one_down_at_the_start_joins_later(roster: Roster, gcp: GcpKms) -> None:
    """The others are there at once; whoever waits for more is told."""
    gcp.refusal = 503, "starting"
    with capture_logs() as logs:
        await roster.open()
    (event,) = logs
    assert (event["event"], event["log_level"]) == ("signer_unavailable", "error")
    assert event["field"] == "chains.sea.signers[1]"
    assert "starting" in event["error"]
    assert [one.address for one in roster.signers] == [LOCAL]
    waiting = asyncio.ensure_future(roster.grown(beyond=1))
    with pytest.raises(SignerUnavailable, match="starting"):
        await roster.tick()
    assert not waiting.done()
    gcp.refusal = None
    assert await roster.tick() is False
    await waiting
    assert [one.address for one in roster.signers] == [LOCAL, REMOTE]
    assert roster.missing == 0


async def test_a_mistake_ends_the_start_and_never_what_runs(roster: Roster, gcp: GcpKms) -> None:
    """What needs a person is fatal at the start; found out later, it only keeps its signer out."""
    gcp.refusal = 403, "denied"
    with pytest.raises(ConfigInvalid, match=r"chains\.sea\.signers\[1\]: .*denied"):
        await roster.open()
    with pytest.raises(SignerUnavailable, match="denied"):
        await roster.tick()


async def test_the_same_key_twice_is_refused(tmp_path: Path, gcp: GcpKms) -> None:
    """Two signers of one account would take the same nonces."""
    (tmp_path / "more").mkdir()
    keys = key_file(tmp_path, OWN), key_file(tmp_path / "more", OWN)
    roster = Roster("sea", openers_of(configuration(tmp_path, *keys), "sea", ENVIRON))
    with pytest.raises(ConfigInvalid, match=rf"signers\[[01]\]: signs as {LOCAL}, like another"):
        await roster.open()
    await roster.aclose()
