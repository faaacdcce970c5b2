"""A person with the page open: from the overview to a stuck message, its reason, its delivery.

A real relayer on real local chains. The screenshots that people are shown are made here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser

from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.recipients import REVERT_BOMB, SWITCHED, reverting_with
from relayer.devnet.service import RelayerProcess
from relayer.devnet.traffic import Parcel
from relayer.devnet.world import Devnet, WorldPlan
from relayer.message import Address
from tests.browser.window import DESKTOP, PHONE, Window, window
from tests.fault.conftest import all_delivered, until

SCREENS = Path("build/screens")
TOKEN = "operator-token-of-this-very-test-0123456789"
WRONG_TOKEN = "a-wrong-token-that-is-long-enough-0123456789"
GOOD = 60
LATE = 24
MARKUP = "<img src=x onerror=owned=1><b>\u202eyadot\u202c ton</b>"
HOSTILE = reverting_with(MARKUP, Address("0x00000000000000000000000000000000000bad11"))

pytestmark = [pytest.mark.chain, pytest.mark.timeout(300)]


@dataclass
class Show:
    """The running service, and what was sent through it."""

    world: Devnet
    relayer: RelayerProcess
    operator: str
    stuck: Sent
    """Its recipient refuses it until it is switched on."""
    hostile: Sent
    """Its recipient refuses it with markup and reordering marks."""
    bomb: Sent
    """Its recipient refuses it with a megabyte."""


@pytest.fixture
async def show(tmp_path: Path) -> AsyncIterator[Show]:
    port, operator_port = free_port(), free_port()
    token_file = tmp_path / "on-call"
    token_file.touch(mode=0o600)
    token_file.write_text(TOKEN, encoding="ascii")
    plan = WorldPlan(
        more_settings={
            "http": {"host": "127.0.0.1", "port": port},
            "operator": {
                "host": "127.0.0.1",
                "port": operator_port,
                "token_files": [str(token_file)],
            },
        },
        more_chain_settings={
            "lane": {"max_attempts": 2},
            "explorer": "https://explorer.example",
        },
    )
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = RelayerProcess(world.config_path, port, tmp_path / "relayer.log")
        await relayer.start()
        try:
            yield await _sent(world, relayer, f"http://127.0.0.1:{operator_port}")
        finally:
            await relayer.stop()


async def _sent(world: Devnet, relayer: RelayerProcess, operator: str) -> Show:
    alpha, beta = world.sites["alpha"], world.sites["beta"]
    traffic = world.traffic
    good = await traffic.spread(GOOD)
    bad = await traffic.send(
        [
            Parcel(alpha, beta, await recipient.install(beta.rpc), b"for %d" % turn)
            for turn, recipient in enumerate((SWITCHED, HOSTILE, REVERT_BOMB))
        ]
    )
    await all_delivered(world, good)

    await until(lambda: _counts(relayer, len(bad), status="dead", reason="target_failed"))
    await world.pause_operators()  # validators sign nothing of what comes now
    await traffic.spread(LATE, label="late")
    await until(lambda: _counts(relayer, LATE, status="waiting", reason="awaiting_quorum"))
    return Show(world, relayer, operator, *bad)


async def _counts(relayer: RelayerProcess, wanted: int, *, status: str, reason: str) -> bool:
    """Whether so many messages are in that status for that reason, on all routes together."""
    routes = (await relayer.get("/v1/routes"))["routes"]
    counts = [one for route in routes for one in route["reasons"]]
    asked = (status, reason)
    return wanted == sum(one["count"] for one in counts if asked == (one["status"], one["reason"]))


async def picture(shown: Window, name: str) -> None:
    """What is in sight, for people."""
    await shown.page.wait_for_selector("#live[data-state=live]")
    await shown.page.screenshot(path=SCREENS / f"{name}.png")


async def test_a_stuck_message_is_found_retried_and_seen_delivered(
    chromium: Browser, show: Show
) -> None:
    """The on-call engineer's walk, and what everybody else sees of it meanwhile."""
    async with (
        window(chromium, show.relayer.url) as public,
        window(chromium, show.operator, expected=("401",)) as desk,
    ):
        await _reads_the_overview(public)
        await public.page.click(f"[data-key=dead] a[href='/messages/{show.stuck.id}']")
        await _reads_the_reason(public)
        await picture(public, "message")
        await desk.open(f"/messages/{show.stuck.id}")
        await show.world.sites["beta"].rpc.call(
            "eth_sendTransaction", {"from": str(DEPLOYER.address), "to": str(SWITCHED.address)}
        )
        await _retries(desk)
        for one in (desk, public):
            await one.page.wait_for_selector(".head .pill.good", timeout=60_000)
            assert "Delivered by this relayer" in await one.text(".why")
            assert "retried by operator" in await one.text(".timeline")
            assert await one.page.locator("[data-verb]").count() == 0
    assert not await show.world.traffic.undelivered([show.stuck])


async def _reads_the_overview(shown: Window) -> None:
    """What is shown is what happened on the chains."""
    await shown.open("/")
    assert await shown.text(".tile:has-text('Delivered') strong") == str(GOOD)
    assert await shown.text(".tile:has-text('Dead letters') strong") == "3"
    assert await shown.text(".tile:has-text('Under way') strong") == str(LATE)
    routes = shown.page.locator("[data-key=routes] tbody tr")
    assert await routes.count() == 6
    first = await routes.first.inner_text()  # that in trouble
    for part in ("alpha → beta", "3 dead: target failed", f"{LATE // 6} awaiting quorum"):
        assert part in first
    assert await shown.page.locator("[data-key=chains] tbody tr").count() == 3
    signers = shown.page.locator("[data-key=signers] tbody tr")
    assert await signers.count() >= 3
    nonces = await signers.locator("td[data-label=Nonce]").all_inner_texts()
    assert sum(int(text) for text in nonces) > 0
    assert await shown.page.locator("[data-key=dead] tbody tr").count() == 3
    await picture(shown, "desktop")


async def _reads_the_reason(shown: Window) -> None:
    await shown.page.wait_for_selector(".timeline")
    assert await shown.text(".head .pill") == "dead"
    assert "not switched on yet" in await shown.text("main")
    assert await shown.page.locator("a[href^='https://explorer.example/tx/0x']").count() >= 1
    await shown.page.click("summary")
    await shown.page.wait_for_selector("pre[aria-label='Call data']")
    assert "Anybody may send this call on beta" in await shown.text("[data-keep]")
    await shown.page.click("summary")


async def _retries(shown: Window) -> None:
    """Asked for a token, a wrong one is refused, the right one is kept in this tab."""
    await shown.page.click("[data-verb=retry]")
    await shown.page.fill("#token-text", WRONG_TOKEN)
    await shown.page.press("#token-text", "Enter")
    await shown.page.wait_for_selector("#token-said:has-text('did not take')")
    assert await shown.accessibility_faults() == []
    await picture(shown, "operator")
    await shown.page.fill("#token-text", TOKEN)
    await shown.page.press("#token-text", "Enter")
    await shown.page.wait_for_selector("#said:has-text('taken up again')", state="attached")
    kept = "[sessionStorage.length, localStorage.length, document.cookie]"
    assert await shown.page.evaluate(kept) == [1, 0, ""]
    assert TOKEN not in await shown.page.content()


async def test_what_chains_say_is_inert_and_the_page_fits_everywhere(
    chromium: Browser, show: Show
) -> None:
    """Reverts with markup, marks and a megabyte; both themes and a phone, by axe too."""
    for name, size, scheme in (("dark", DESKTOP, "dark"), ("phone", PHONE, "light")):
        async with window(chromium, show.relayer.url, size=size, scheme=scheme) as shown:
            await shown.open("/")
            await picture(shown, name)
            for one in (None, show.hostile, show.bomb):
                if one is not None:
                    await shown.open(f"/messages/{one.id}")
                assert await shown.accessibility_faults() == []
                assert not await shown.is_wider_than_the_screen()
                assert await shown.page.locator("main img, main b b").count() == 0
            await shown.open(f"/messages/{show.hostile.id}")
            assert "<img src=x onerror=owned=1>" in await shown.text("main")
            assert "\u202e" not in await shown.page.content()


async def test_a_chain_is_paused_with_a_reason_and_resumed(chromium: Browser, show: Show) -> None:
    """Paused from the page, listed with who and why, and let go on again; then the relayer stops.

    Windows that listen at both addresses keep it from nothing.
    """
    gone = ("net::ERR_",)
    async with (
        window(chromium, show.operator, expected=gone) as shown,
        window(chromium, show.relayer.url, expected=gone) as public,
    ):
        await public.open("/")
        await public.page.wait_for_selector("#live[data-state=live]")
        await shown.open("/")
        await shown.page.click("[data-verb=pause][data-kind=chain][data-name=beta]")
        await shown.page.fill("#sure-why", "beta's sequencer is being moved")
        assert await shown.accessibility_faults() == []
        await shown.page.click("#sure-go")
        await shown.page.fill("#token-text", TOKEN)
        await shown.page.press("#token-text", "Enter")
        await shown.page.wait_for_selector("[data-key=pauses]")
        row = await shown.text("[data-key=pauses] tbody tr")
        assert "chain beta" in row
        assert "sequencer is being moved" in row
        assert "on-call" in row
        assert await shown.accessibility_faults() == []
        await shown.page.click("[data-verb=resume]")
        await shown.page.wait_for_selector("[data-key=pauses]", state="detached")
        await shown.page.click("#operator")
        assert await shown.page.evaluate("sessionStorage.length") == 0
        async with asyncio.timeout(10):
            assert await show.relayer.stop() == 0
        for one in (shown, public):
            await one.page.wait_for_selector("#live[data-state=disconnected]", timeout=20_000)
