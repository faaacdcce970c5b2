"""A browser for each test that asks for one; skipped with the reason where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.browser.chromium import NoBrowser, find_chromium
from tests.browser.stage import Stage
from tests.browser.window import browser


@pytest.fixture(scope="session")
def _a_browser() -> None:
    try:
        find_chromium()
    except NoBrowser as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def chromium(_a_browser: None) -> AsyncIterator[Browser]:
    async with browser() as one:
        yield one


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage() as one:
        yield one
