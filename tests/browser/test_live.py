"""The page follows by itself: events when it can, asking when it must, and it says which."""

from __future__ import annotations

import asyncio

from playwright.async_api import Browser, expect

from relayer.message import Reason, Status
from relayer.ops.api.discreet import public_view
from tests.browser.stage import Stage, chain, message, route
from tests.browser.window import Window, window
from tests.unit.sample_records import id_of, record_of, tx_of

EVENT = {"id": id_of(1), "status": "delivered", "reason": "delivered_by_us", "route": "hyper:1>10"}
GONE = ("net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_EMPTY")


async def state(shown: Window, name: str) -> None:
    """Wait until the page says it is in that state."""
    await shown.page.wait_for_selector(f"#live[data-state={name}]", timeout=20_000)


async def test_an_event_brings_the_news(chromium: Browser, stage: Stage) -> None:
    """A delivery shows within a second or two, without a touch, and without drawing anew."""
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        await state(shown, "live")
        heading = await shown.page.query_selector("h1")
        stage.messages = [message(1, status="delivered", reason="delivered_by_us")]
        stage.tell(EVENT)
        await shown.page.wait_for_selector(".head .pill.good", timeout=5000)
        assert heading is not None
        assert await heading.is_visible()  # the same element: it was patched, not replaced


async def test_other_peoples_events_cost_a_message_page_nothing(
    chromium: Browser, stage: Stage
) -> None:
    """Events of other messages make no request; many of one's own make few."""
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        await state(shown, "live")
        await asyncio.sleep(2)  # the read that follows the connection
        before = stage.reads
        for number in range(500):
            stage.tell({**EVENT, "id": id_of(1000 + number)})
        for _ in range(500):
            stage.tell(EVENT)
        stage.messages = [message(1, status="held", reason="held_by_operator")]
        stage.tell(EVENT)
        await shown.page.wait_for_selector(".head .pill.warn", timeout=5000)
        assert 1 <= stage.reads - before <= 3


async def test_what_is_not_final_yet_is_shown_without_a_page_of_its_own(
    chromium: Browser, stage: Stage
) -> None:
    """With its sentence, and no link that leads nowhere; once it is followed it has one."""
    seen = record_of(
        status=Status.SEEN, reason=Reason.AWAITING_FINALITY, detail="block 100 of mainnet"
    )
    stage.messages = [message(1, **public_view(seen))]
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages?tx={tx_of(1)}")
        await state(shown, "live")
        row = await shown.text("tbody tr")
        assert "Waiting until its origin block is final. (block 100 of mainnet)" in row
        assert "seen" in row.lower()
        assert await shown.page.locator("tbody a").count() == 0
        stage.messages = [message(1)]
        stage.tell({**EVENT, "status": "waiting", "reason": "new"})
        await shown.page.wait_for_selector(f"tbody a[href='/messages/{id_of(1)}']", timeout=5000)
        await shown.open("/messages")
        assert await shown.page.locator("select[name=status] option[value=seen]").count() == 0


async def test_what_is_gone_is_said_and_comes_back(chromium: Browser, stage: Stage) -> None:
    """Without the relayer the old facts stay in sight with a warning; it mends itself."""
    async with window(chromium, stage.origin, expected=GONE) as shown:
        await shown.open("/")
        await state(shown, "live")
        await stage.fall()
        await state(shown, "disconnected")
        assert "Not up to date" in await shown.text("[role=alert].notice")
        assert await shown.text(".tile:has-text('Delivered') strong") == "40"
        stage.routes = [route(messages={"delivered": 41})]
        await stage.rise()
        await state(shown, "live")
        await shown.page.wait_for_selector(".tile:has-text('Delivered') strong:has-text('41')")
        assert await shown.page.locator(".notice").count() == 0


async def test_without_events_it_asks(chromium: Browser, stage: Stage) -> None:
    """A proxy that lets no event stream through makes it slower and no less true."""
    async with window(chromium, stage.origin, expected=("net::ERR_FAILED",)) as shown:
        await shown.page.route("**/v1/events", lambda one: one.abort())
        await shown.open("/")
        await state(shown, "polling")
        stage.routes = [route(messages={"delivered": 99})]
        await shown.page.wait_for_selector(
            ".tile:has-text('Delivered') strong:has-text('99')", timeout=10_000
        )


async def test_reading_on_keeps_focus_and_open_details(chromium: Browser, stage: Stage) -> None:
    """An update moves neither the focus nor what the person has opened."""
    stage.proof = {"step": "call", "chain": 10, "to": "0x" + "ab" * 20, "data": "0x12"}
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        await state(shown, "live")
        await shown.page.click("summary")
        await shown.page.wait_for_selector("details pre:has-text('0x12')")
        await shown.page.focus("summary")
        stage.messages = [message(1, status="submitted", reason="broadcast")]
        stage.tell(EVENT)
        await shown.page.wait_for_selector(".head .pill.busy", timeout=5000)
        assert await shown.page.evaluate("document.activeElement.tagName") == "SUMMARY"
        assert await shown.page.is_visible("details pre:has-text('0x12')")


async def test_amounts_have_their_unit(chromium: Browser, stage: Stage) -> None:
    """Each in the coin of its chain, by that coin's decimals."""
    coin = {"symbol": "USDX", "decimals": 6}
    signer = {"address": "0x" + "ab" * 20, "balance_wei": "1500000", "nonce": 7, "in_flight": 1}
    stage.chains = [chain(1, "mainnet"), chain(10, "optimism", native=coin, signers=[signer])]
    stage.routes = [route(native={"origin": None, "destination": coin}, cost_wei="12")]
    async with window(chromium, stage.origin) as shown:
        await shown.open("/")
        for text in ("1.5 USDX", "1 ETH", "0.000012 USDX"):
            await expect(shown.page.get_by_text(text, exact=True).first).to_be_visible()
        await shown.open(f"/messages/{id_of(1)}")
        paid = shown.page.get_by_text("1,208,925 ETH", exact=True)
        await expect(paid).to_be_visible()
