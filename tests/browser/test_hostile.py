"""Whatever chains, contracts and even the API say, the page shows it as text and nothing more."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.browser.stage import Stage, chain, message, route
from tests.browser.window import DESKTOP, PHONE, Window, window
from tests.unit.sample_records import id_of

MARKUP = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'><b id=own>b</b>"
REORDERED = "pay \u202e001\u202c\u2066x\u2069\u200b\u0000\u0007\r\nline two\ud83d"
HUGE = "A" * 400_000
SCRIPT_LINK = "javascript:window.owned=3//"
HOSTILE = (MARKUP, REORDERED, HUGE, SCRIPT_LINK)


def hostile_message(number: int, text: str) -> dict[str, Any]:
    """Every text of a message that is not of a closed set says `text`."""
    sample = message(number)
    texts = ("explanation", "sender", "recipient", "bridge", "nonce", "origin_tx", "tx")
    return {
        **sample,
        **dict.fromkeys(texts, text),
        "origin_block_hash": text,
        "status": "dead",
        "waits_for": {"gate": text, "value": text},
        "timeline": [{**sample["timeline"][0], "detail": text, "reason": text}],
        "evidence": {text[:64]: text, "revert": text},
    }


async def assert_inert(shown: Window) -> None:
    """No part of the text became an element, ran, or reached the document as a control."""
    found = await shown.page.evaluate(
        """() => ({
          owned: window.owned ?? null,
          elements: document.querySelectorAll("main script, main img, main iframe, #own").length,
          scripted: [...document.querySelectorAll("[href]")].filter(
            (one) => !/^(https?:\\/\\/|\\/)/.test(one.getAttribute("href"))
              && !one.getAttribute("href").startsWith("#")).length,
          handlers: [...document.querySelectorAll("main *")].filter(
            (one) => one.getAttributeNames().some((name) => name.startsWith("on"))).length,
          controls: /[\\u0000-\\u0008\\u200b-\\u200f\\u202a-\\u202e\\u2066-\\u2069]/.test(
            document.body.innerHTML),
          size: document.body.textContent.length,
        })"""
    )
    assert found["owned"] is None
    assert (found["elements"], found["scripted"], found["handlers"]) == (0, 0, 0)
    assert not found["controls"]
    assert found["size"] < 100_000


@pytest.mark.parametrize("text", HOSTILE, ids=["markup", "reordered", "huge", "script_link"])
async def test_hostile_text_is_inert_everywhere(chromium: Browser, stage: Stage, text: str) -> None:
    """In every view, on a phone too, nothing runs, nothing is reordered, nothing grows wide."""
    stage.messages = [hostile_message(1, text)]
    reasons = [{"status": text, "reason": text, "count": 3}]
    stage.routes = [route(f"{text[:5000]}:1>10", bridge=text, reasons=reasons, problems=[text])]
    stage.chains = [
        chain(1, text, explorer=text, endpoints={"total": text, "healthy": text}),
        chain(10, text, explorer=SCRIPT_LINK, signers=[{"address": text, "balance_wei": text}]),
        chain(11, "coin", native={"symbol": text, "decimals": text}),
    ]
    call = {"step": "call", "to": text, "data": text, "chain": text, "evidence": {text[:64]: text}}
    stage.proof = call
    for size in (DESKTOP, PHONE):
        async with window(chromium, stage.origin, size=size) as shown:
            for path in ("/", "/messages", f"/messages/{id_of(1)}"):
                await shown.open(path)
                await assert_inert(shown)
                assert not await shown.is_wider_than_the_screen()
            await shown.page.click("summary")
            await shown.page.wait_for_selector("details pre")
            await assert_inert(shown)


@pytest.mark.parametrize(
    "answer",
    ["null", "[]", "3", '"text"', "{", '{"routes": 7}', '{"routes": [null]}', '{"routes": [{}]}'],
)
async def test_an_answer_of_another_shape_is_complained_of(
    chromium: Browser, stage: Stage, answer: str
) -> None:
    """The page says that it cannot read the answer, and goes on living."""
    async with window(chromium, stage.origin) as shown:
        await shown.page.route(
            "**/v1/routes", lambda one: one.fulfill(body=answer, content_type="application/json")
        )
        await shown.page.goto(stage.origin)
        await shown.settled()
        assert await shown.text("main")
        await shown.page.unroute("**/v1/routes")
        await shown.page.click("text=Messages")
        await shown.page.wait_for_selector("h1:has-text('Messages')")


async def test_thousands_of_routes_stay_a_page(chromium: Browser, stage: Stage) -> None:
    """Rows are bounded; those in trouble come first; the rest is one press away."""
    stage.routes = [route(f"bridge{number:04}:1>10") for number in range(3000)]
    stage.routes[2345]["messages"]["dead"] = 1
    async with window(chromium, stage.origin) as shown:
        await shown.open("/")
        rows = shown.page.locator("[data-key=routes] tbody tr")
        assert await rows.count() == 50
        assert "bridge2345" in await rows.first.inner_text()
        assert "50 of 3,000 shown" in await shown.text("[data-key=routes] .more")
        await shown.page.click("[data-key=routes] .more button")
        assert await rows.count() == 250
        assert await shown.text(".tile:has-text('Delivered') strong") == "120,000"
