"""In a real browser: the bot's link, revocation in two clicks, phones, keys, no JavaScript."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from bridge.contract import links
from bridge.store.schema import conversation, person
from tests.web_admin.browser import Tab, browsing
from tests.web_admin.pages_house import ADA, PASSWORD, PagesHouse, Visitor

pytestmark = pytest.mark.timeout(180)
PAGES = ("/", "/welcome", "/decisions", "/conversations", "/claude", "/modes", "/people", "/usage",
         "/audit", "/settings", "/settings/adapters/console", "/me", "/me/claude")  # fmt: skip

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
"""Of every page at both widths, to be looked at."""
AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js"
RULES = json.dumps(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"])


async def sign_in(page, house: PagesHouse) -> None:
    await page.goto(f"{house.url}/sign-in")
    await page.fill("#login", "olga")
    await page.fill("#password", PASSWORD)
    await page.press("#password", "Enter")
    await page.wait_for_url(f"{house.url}/")


async def test_the_bots_link_in_a_browser(house: PagesHouse, olga: Visitor) -> None:
    """The token leaves the address bar, the button signs in, and no policy is in the way."""
    await house.let_in(ADA, olga)
    told = await house.command("web", sender=ADA)
    url = next(word for word in told.split() if word.startswith("http"))
    url = url.replace("http://127.0.0.1:8481", house.url)
    assert f"/{links.PATH}#" in url
    async with browsing() as window:
        tab = Tab(await window.new_page())
        await tab.page.goto(url)
        assert "#" not in tab.page.url
        await tab.page.get_by_role("button", name="Sign in").click()
        await tab.page.wait_for_url(f"{house.url}/me")
        assert "Ada Byron" in await tab.page.inner_text("h1")
        assert tab.complaints == []


async def test_revoking_in_two_clicks(house: PagesHouse, olga: Visitor) -> None:
    """The first tells what will stop, the second stops it, and the proof is on the next page."""
    async with browsing() as window:
        tab = Tab(await window.new_page())
        await sign_in(tab.page, house)
        await tab.page.goto(f"{house.url}/claude")
        await tab.page.get_by_text("Revoke everything…").click()
        assert await tab.page.get_by_text("no agent of this deployment reaches").is_visible()
        await tab.page.get_by_role("button", name="Revoke everything now").click()
        await tab.page.wait_for_url("**/claude/revocations/*")
        await tab.page.get_by_text("All of it is done").wait_for()
        assert tab.complaints == []


@pytest.mark.full
async def test_the_overview_renews_itself(house: PagesHouse, olga: Visitor) -> None:
    """Somebody who asks to be let in stands there without a reload, within the policy."""
    async with browsing() as window:
        tab = Tab(await window.new_page())
        await sign_in(tab.page, house)
        await tab.page.get_by_text("Everything works.").wait_for()
        await house.command("whoami", sender=ADA)
        await tab.page.get_by_text("Somebody asks to be let in.").wait_for(timeout=20_000)
        assert tab.complaints == []


@pytest.mark.full
async def test_without_a_mouse(house: PagesHouse, olga: Visitor) -> None:
    """The first key leads to the content; a confirmation opens and is given by keys alone."""
    async with browsing() as window:
        page = await window.new_page()
        await sign_in(page, house)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "To the content"
        await page.goto(f"{house.url}/claude")
        await page.get_by_text("Revoke everything…").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        focused = await page.evaluate("document.activeElement.textContent")
        assert focused == "Revoke everything now"


@pytest.mark.full
async def test_without_javascript(house: PagesHouse, olga: Visitor) -> None:
    """Signing in, the menu of a phone, a confirmation and the bot's link by hand all work."""
    await house.let_in(ADA, olga)
    token = await house.link_of(ADA)
    async with browsing(width=390, javascript=False) as window:
        page = await window.new_page()
        await sign_in(page, house)
        await page.get_by_text("Overview ▾").click()
        await page.get_by_role("link", name="People", exact=True).click()
        await page.wait_for_url("**/people")
        await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"{house.url}/{links.PATH}#{token}")
        await page.get_by_label("What stands behind the #").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{house.url}/me")


@pytest.mark.full
@pytest.mark.parametrize("width", [1280, 360])
async def test_every_page_fits(house: PagesHouse, olga: Visitor, width: int) -> None:
    """No page is wider than the screen, none makes the browser complain, and axe finds nothing
    that WCAG 2.2 AA forbids, in the light and in the dark."""
    await house.let_in(ADA, olga)
    await house.say(f"bash echo {'long' * 60} && touch x.txt", sender=ADA)
    await house.card()
    mine = await house.bridge.db.tx(lambda con: con.execute(sa.select(person)).first())
    found = await house.bridge.db.tx(lambda con: con.scalar(sa.select(conversation.c.id)))
    more = (f"/people/{mine.id}", f"/workspaces/{mine.workspace}", f"/conversations/{found}")
    async with browsing(width=width) as window:
        tab = Tab(await window.new_page())
        await sign_in(tab.page, house)
        for path in (*PAGES, *more):
            await tab.page.goto(house.url + path)
            wide = await tab.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, path
            assert tab.complaints == [], path
            name = path.replace(mine.id, "person").replace(mine.workspace, "workspace")
            name = name.replace(found, "one").strip("/").replace("/", "-") or "overview"
            await tab.page.screenshot(path=SHOTS / f"{name}-{width}.png", full_page=True)
    async with browsing(width=width, bypass_csp=True) as window:
        page = await window.new_page()
        await sign_in(page, house)
        for path, scheme in ((p, s) for p in (*PAGES, *more) for s in ("light", "dark")):
            await page.emulate_media(color_scheme=scheme)
            await page.goto(house.url + path)
            await page.add_script_tag(path=AXE)
            told = await page.evaluate(f"axe.run(document, {{runOnly: {RULES}}})")
            wrong = [(one["id"], one["nodes"][0]["html"]) for one in told["violations"]]
            assert wrong == [], (path, scheme)
