"""A browser window under watch: what it complains of, what it asks for, where it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
)

from tests.browser.chromium import find_chromium

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = (1280, 820)
PHONE = (360, 760)
WITHIN_MS = 15_000
AXE = Path("node_modules/axe-core/axe.min.js")

# What a policy forbade is told to the window that forbade it, and kept where the test can read it.
_NOTE_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@dataclass
class Window:
    """One page of one origin, and everything that went wrong in it."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    """Requests that left the origin."""
    expected: Sequence[str] = ()
    """Parts of complaints that the test brings about itself."""

    async def open(self, path: str) -> None:
        """Go there and wait for the first facts."""
        await self.page.goto(self.origin + path)
        await self.settled()

    async def settled(self) -> None:
        """Wait until the view is drawn."""
        await self.page.wait_for_selector("main:not([aria-busy])")

    async def text(self, selector: str) -> str:
        """What is shown there."""
        return await self.page.inner_text(selector)

    async def is_wider_than_the_screen(self) -> bool:
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    async def accessibility_faults(self) -> list[str]:
        """Serious and critical findings of axe-core, run in an isolated copy of the page."""
        await self.page.evaluate(await asyncio.to_thread(AXE.read_text, "utf-8") + ";0")
        found: dict[str, Any] = await self.page.evaluate("axe.run()")
        assert found["passes"], "axe looked at nothing"
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]

    def hear(self, said: ConsoleMessage) -> None:
        """The browser's console said something."""
        if said.type in {"error", "warning"}:
            self.complaints.append(said.text)

    def note(self, asked: Request) -> None:
        """The page asked for something."""
        if not asked.url.startswith((f"{self.origin}/", "data:")):
            self.strangers.append(asked.url)

    async def assert_clean(self) -> None:
        """Nothing was complained of, forbidden, or asked of anybody else."""
        unexpected = [
            one for one in self.complaints if not any(part in one for part in self.expected)
        ]
        assert unexpected == []
        assert self.strangers == []
        assert await self.page.evaluate("window.violations") == []


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A fresh headless browser with an empty profile."""
    found = find_chromium()
    async with async_playwright() as playwright:
        one = await playwright.chromium.launch(
            executable_path=found.path, args=list(ARGUMENTS), env=dict(found.environment)
        )
        try:
            yield one
        finally:
            await one.close()


@asynccontextmanager
async def window(
    running: Browser,
    origin: str,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: str = "light",
    expected: Sequence[str] = (),
    javascript: bool = True,
) -> AsyncIterator[Window]:
    """A window on a page of `origin`; when the test is through it must be clean."""
    width, height = size
    context: BrowserContext = await running.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        java_script_enabled=javascript,
        permissions=["clipboard-read", "clipboard-write"],
    )
    try:
        context.set_default_timeout(WITHIN_MS)
        await context.add_init_script(_NOTE_VIOLATIONS)
        page = await context.new_page()
        one = Window(page, origin, expected=expected)
        page.on("console", one.hear)
        page.on("pageerror", lambda error: one.complaints.append(str(error)))
        page.on("request", one.note)
        yield one
        await one.assert_clean()
    finally:
        await context.close()
