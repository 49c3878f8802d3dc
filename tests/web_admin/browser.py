"""Debian's chromium, driven through Playwright; and what a page of ours must not do in it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import BrowserContext, Page, async_playwright

CHROMIUM = shutil.which("chromium") or ""


class Tab:
    """A page that remembers every complaint of the browser: a blocked script, a failed request."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: object) -> None:
        if getattr(message, "type", "") in ("error", "warning"):
            self.complaints.append(getattr(message, "text", ""))


@asynccontextmanager
async def browsing(
    *, width: int = 1280, javascript: bool = True, bypass_csp: bool = False
) -> AsyncIterator[BrowserContext]:
    """A browser window of its own, without cookies."""
    assert CHROMIUM, "the browser tests need chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        # Tests may run as root in a container, where chromium's own sandbox does not start.
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield await browser.new_context(
                viewport={"width": width, "height": 900},
                java_script_enabled=javascript,
                bypass_csp=bypass_csp,
            )
        finally:
            await browser.close()
