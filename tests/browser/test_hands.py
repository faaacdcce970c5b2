"""The page by keyboard, on a phone, in both themes, and to those who do not see it."""

from __future__ import annotations

import time

import pytest
from playwright.async_api import Browser

from relayer.message import Timestamp
from relayer.ops.views import iso
from tests.browser.stage import Stage, message
from tests.browser.window import DESKTOP, PHONE, window
from tests.unit.sample_records import id_of, tx_of

VIEWS = ("/", "/messages", "/messages?status=dead", f"/messages/{id_of(1)}")


def busy(stage: Stage) -> None:
    """One message of every look, and a dead letter."""
    looks = [
        ("waiting", "awaiting_quorum"),
        ("dead", "target_failed"),
        ("held", "held_by_operator"),
        ("submitted", "broadcast"),
        ("delivered", "delivered_by_us"),
    ]
    stage.messages = [
        message(number, status=status, reason=reason, evidence={"revert": "not today"})
        for number, (status, reason) in enumerate(looks, start=1)
    ]
    stage.routes[0]["messages"].update(dead=1, held=1)
    stage.routes[0]["reasons"] += [
        {"status": "dead", "reason": "target_failed", "count": 1},
        {"status": "held", "reason": "held_by_operator", "count": 1},
    ]
    stage.routes[0]["problems"] = ["no signer of optimism has money"]
    stage.chains[0]["endpoints"] = {"total": 2, "healthy": 1}
    stage.chains[1]["endpoints"] = {"total": 1, "healthy": 0}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_no_serious_accessibility_fault(
    chromium: Browser, stage: Stage, scheme: str, size: tuple[int, int]
) -> None:
    """axe-core, contrast included, finds nothing serious in any view; nothing scrolls sideways."""
    busy(stage)
    async with window(chromium, stage.origin, size=size, scheme=scheme) as shown:
        for path in VIEWS:
            await shown.open(path)
            assert await shown.accessibility_faults() == []
            assert not await shown.is_wider_than_the_screen()


async def test_by_keyboard_alone(chromium: Browser, stage: Stage) -> None:
    """Skip link, search, rows and a message, never touching the mouse."""
    busy(stage)
    async with window(chromium, stage.origin) as shown:
        page, press = shown.page, shown.page.keyboard.press
        await shown.open("/")
        await press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await press("/")
        assert await page.evaluate("document.activeElement.id") == "sought"
        await page.keyboard.type("nonsense")
        await press("Enter")
        assert "64 hex digits" in await shown.text("#search-said")
        await press("Control+A")
        await page.keyboard.type(id_of(3))
        await press("Enter")
        await page.wait_for_selector(f"h1:has-text('{id_of(3)}')")
        await page.go_back()
        await page.wait_for_selector("[data-key=routes]")
        await shown.open("/messages")
        await page.focus("tbody a")
        await press("ArrowDown")
        await press("j")
        await press("k")
        assert await page.evaluate("document.activeElement.title") == id_of(2)
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        await press("Enter")
        await page.wait_for_selector(f"h1:has-text('{id_of(2)}')")
        assert "Relayer" in await page.title()


async def test_search_finds_what_a_transaction_sent(chromium: Browser, stage: Stage) -> None:
    """A transaction hash leads to its messages, whatever its case and spaces."""
    async with window(chromium, stage.origin) as shown:
        await shown.open("/")
        await shown.page.fill("#sought", f"  {tx_of(1).upper().replace('0X', '0x')} ")
        await shown.page.press("#sought", "Enter")
        await shown.page.wait_for_selector("h1:has-text('Messages of a transaction')")
        assert shown.page.url.endswith(f"tx={tx_of(1)}")
        assert await shown.page.locator("tbody tr").count() == 1


async def test_an_unknown_message_is_said_kindly(chromium: Browser, stage: Stage) -> None:
    """The server's words are shown; the page is not broken by them."""
    async with window(chromium, stage.origin, expected=("404",)) as shown:
        await shown.open(f"/messages/{id_of(99)}")
        assert "no such message" in await shown.text(".notice")


async def test_a_wait_shows_its_clocks_and_its_estimate(chromium: Browser, stage: Stage) -> None:
    """What the bridge makes it wait for, when, and what the estimate rests on; only real dates."""
    in_an_hour = time.time() + 3600.5
    estimate = {"at": iso(Timestamp(in_an_hour)), "latest": None, "basis": "clock", "samples": 0}
    evidence = {"clock:challenge": str(in_an_hour), "clock:never": "9e99", "clock:odd": "soon"}
    stage.messages = [message(1, evidence=evidence, estimate=estimate, next_wake_up="unknown")]
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        facts = await shown.text(".head .facts")
        assert "challenge: in 1 h 00 m" in facts
        assert "Delivery expected: in 1 h 00 m (when a delay that the bridge imposes is" in facts
        assert "Next look: when the chains say something new" in facts
        assert "never" not in facts
        assert "odd" not in facts
        assert await shown.page.locator("[data-key=evidence]").count() == 0


async def test_filters_live_in_the_address(chromium: Browser, stage: Stage) -> None:
    """A choice can be sent to a colleague, and the way back undoes it."""
    busy(stage)
    async with window(chromium, stage.origin) as shown:
        await shown.open("/messages")
        await shown.page.select_option("select[name=status]", "dead")
        await shown.page.wait_for_selector("h1:has-text('Dead letters')")
        assert shown.page.url.endswith("/messages?status=dead")
        assert await shown.page.locator("tbody tr").count() == 1
        await shown.page.go_back()
        await shown.page.wait_for_selector("tbody tr:nth-child(5)")
        assert await shown.page.input_value("select[name=status]") == ""


async def test_the_chosen_theme_is_kept(chromium: Browser, stage: Stage) -> None:
    """The button overrules the system's choice, for the next visit too, before the first paint."""
    ground = "getComputedStyle(document.body).backgroundColor"
    async with window(chromium, stage.origin, scheme="light") as shown:
        await shown.open("/")
        light = await shown.page.evaluate(ground)
        await shown.page.click("#theme")
        await shown.page.click("#theme")
        assert await shown.text("#theme") == "Theme: dark"
        dark = await shown.page.evaluate(ground)
        assert dark != light
        await shown.open("/messages")
        assert await shown.page.evaluate(ground) == dark


async def test_the_public_page_offers_no_acts(chromium: Browser, stage: Stage) -> None:
    """Not even a button that would be refused."""
    busy(stage)
    async with window(chromium, stage.origin) as shown:
        for path in VIEWS:
            await shown.open(path)
            assert await shown.page.locator("[data-verb]").count() == 0
            assert not await shown.page.is_visible("#operator")


TOKEN = "operator-token-of-this-very-test-0123456789"


async def test_an_operator_sees_who_paused_a_message_and_lets_it_go_on(chromium: Browser) -> None:
    """Where the message is, and not only in the overview; pauses of other things are not shown."""
    pause = {"who": "on-call", "why": "an exercise", "since": iso(Timestamp(time.time() - 60))}
    stage = Stage(operator=True)
    stage.pauses = [
        {"kind": "lane", "name": "10", "chain": "optimism", **pause},
        {"kind": "lane", "name": "1", "chain": "mainnet", **pause},
        {"kind": "route", "name": "other:1>10", "chain": None, **pause},
    ]
    async with stage, window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        assert await shown.page.locator("[data-key=pauses]").count() == 0
        await shown.page.click("#operator")
        await shown.page.fill("#token-text", TOKEN)
        await shown.page.press("#token-text", "Enter")
        await shown.page.wait_for_selector("[data-key=pauses]")
        (row,) = await shown.page.locator("[data-key=pauses] tbody tr").all_inner_texts()
        assert "lane optimism" in row
        assert "on-call" in row
        assert "an exercise" in row
        await shown.page.click("[data-key=pauses] [data-verb=resume]")
        await shown.page.wait_for_selector("[data-key=pauses]", state="detached")
        assert [one["name"] for one in stage.pauses] == ["1", "other:1>10"]


async def test_what_can_be_no_token_is_not_kept(chromium: Browser) -> None:
    """Letters that no header can carry would fail at every request, as if nobody answered."""
    stage = Stage(operator=True)
    async with stage, window(chromium, stage.origin) as shown:
        await shown.open("/")
        await shown.page.click("#operator")
        for text in ("жетон" * 8, "short", TOKEN.replace("-", " ")):
            await shown.page.fill("#token-text", text)
            await shown.page.press("#token-text", "Enter")
            assert not await shown.page.evaluate(
                "document.querySelector('#token-text').validity.valid"
            )
            assert await shown.page.is_visible("#token")
        await shown.page.fill("#token-text", f"  {TOKEN} ")
        await shown.page.press("#token-text", "Enter")
        await shown.page.wait_for_selector("#operator:has-text('Sign out')")


async def test_without_scripts_it_says_where_to_look(chromium: Browser, stage: Stage) -> None:
    """An empty page would be the worst answer."""
    async with window(chromium, stage.origin, javascript=False) as shown:
        await shown.page.goto(stage.origin)
        assert "/v1/messages" in await shown.text("noscript")


async def test_copy_takes_the_whole_hash(chromium: Browser, stage: Stage) -> None:
    """Short to read, whole in the clipboard."""
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        await shown.page.click("h1 .copy")
        assert await shown.page.evaluate("navigator.clipboard.readText()") == id_of(1)


async def test_long_call_data_is_copied_whole(chromium: Browser, stage: Stage) -> None:
    """What is shown is cut; what is copied, to deliver by hand, is not."""
    data = "0x" + "5f" * 100_000
    stage.proof = {"step": "call", "chain": 10, "to": "0x" + "ab" * 20, "data": data}
    async with window(chromium, stage.origin) as shown:
        await shown.open(f"/messages/{id_of(1)}")
        await shown.page.click("summary")
        await shown.page.click("[data-keep] .copy >> nth=1")
        await shown.page.wait_for_selector("#said:has-text('Copied')", state="attached")
        assert await shown.page.evaluate("navigator.clipboard.readText()") == data
        assert len(await shown.text("[data-keep]")) < 5000
