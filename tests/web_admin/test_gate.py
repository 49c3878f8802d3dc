"""The gate: every page needs a session of enough rank, every form a page of ours."""

from __future__ import annotations

import aiohttp
import pytest

from tests.web_admin.pages_house import ADA, PagesHouse, Visitor

SAFE = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def concrete(path: str) -> str:
    """A path of the route table with something in its parts."""
    return "/".join("x_1" if part.startswith("{") else part for part in path.split("/"))


async def test_no_page_without_a_session(house: PagesHouse, olga: Visitor) -> None:
    """Every page but those for anyone leads to the sign-in; nothing of it is shown or done."""
    sam = house.visitor()
    await sam.get("/sign-in")
    token = (await sam.get("/sign-in")).page.form("/sign-in").fields["csrf"]
    guarded = [page for page in house.admin.pages if page.who != "anyone"]
    assert len(guarded) > 3
    for page in guarded:
        if page.method == "GET":
            answer = await sam.get(concrete(page.path))
        else:
            answer = await sam.post(concrete(page.path), {"csrf": token})
        assert "/sign-in" in answer.url, page.key


async def test_no_page_above_ones_rank(house: PagesHouse, olga: Visitor) -> None:
    """A member opens no page of admins or operators, and none of their forms does anything."""
    await house.let_in(ADA, olga)
    ada = await house.by_link(ADA)
    token = (await ada.get("/me")).page.form("/sign-out").fields["csrf"]
    above = [page for page in house.admin.pages if page.who in ("admin", "operator")]
    assert above
    for page in above:
        if page.method == "GET":
            answer = await ada.get(concrete(page.path))
        else:
            answer = await ada.post(concrete(page.path), {"csrf": token})
        assert answer.status == 403, page.key


async def test_every_form_is_checked(house: PagesHouse, olga: Visitor) -> None:
    """Without its token, with another session's, from another site or from nowhere: refused."""
    other = house.visitor()
    foreign = (await other.get("/sign-in")).page.form("/sign-in").fields["csrf"]
    mine = (await olga.get("/")).page.form("/sign-out").fields["csrf"]
    for page in (p for p in house.admin.pages if p.method == "POST"):
        path = concrete(page.path)
        for fields, headers in (
            ({}, {}),
            ({"csrf": foreign}, {}),
            ({"csrf": mine}, {"Sec-Fetch-Site": "cross-site"}),
            ({"csrf": mine}, {"Sec-Fetch-Site": "same-site"}),
            ({"csrf": mine}, {"Origin": "https://evil.example"}),
            ({"csrf": mine}, {"Origin": "null"}),
        ):
            answer = await olga.post(path, fields, **headers)
            assert answer.status == 403, (page.key, fields, headers)
    assert (await olga.get("/")).status == 200


async def test_a_browser_that_says_nothing(house: PagesHouse, olga: Visitor) -> None:
    """A form without Origin and without Sec-Fetch-Site is not taken."""
    token = (await olga.get("/")).page.form("/sign-out").fields["csrf"]
    async with olga.http.post(house.url + "/sign-out", data={"csrf": token}) as answer:
        assert answer.status == 403
        assert "does not say which page" in await answer.text()


async def test_headers_of_every_answer(house: PagesHouse, olga: Visitor) -> None:
    """Pages, redirects, errors and files: no script from elsewhere, no frame, nothing sniffed."""
    for path in ("/", "/sign-in", "/nowhere", "/healthz", "/static/style.css"):
        answer = await olga.get(path)
        for name, value in SAFE.items():
            if path.startswith("/static") and name == "Cache-Control":
                continue
            assert value in answer.headers.get(name, ""), (path, name)
        assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
        assert "Server" not in answer.headers
        assert "Strict-Transport-Security" not in answer.headers


async def test_no_inline_script_or_style(house: PagesHouse, olga: Visitor) -> None:
    """What the policy would block is in no page."""
    for page in (p for p in house.admin.pages if p.method == "GET" and "{" not in p.path):
        if page.path.startswith("/static"):
            continue
        body = (await olga.get(page.path)).body
        for forbidden in ("<style", " style=", " onclick=", "<script>", "javascript:"):
            assert forbidden not in body, (page.path, forbidden)


async def test_cookies_on_this_machine(house: PagesHouse, olga: Visitor) -> None:
    """HttpOnly and SameSite, of our path only."""
    cookie = next(c for c in olga.jar if c.key == "bascule_session")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")


@pytest.fixture
async def public(home) -> PagesHouse:
    """Behind a proxy on this machine, under a base path."""
    made = PagesHouse(home)
    await made.start_agent()
    await made.open(public_url="https://example.org/bascule/", trusted_proxies="127.0.0.1")
    yield made
    await made.shut()
    await made.stop()


FORWARDED = {
    "Host": "example.org",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
}


async def test_behind_a_proxy(public: PagesHouse) -> None:
    """Cookies are secure and of the base path, HSTS is sent, links keep the path."""
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        url = f"{public.url}/bascule/claim"
        async with http.get(url, headers=FORWARDED) as answer:
            assert answer.status == 200
            assert answer.headers["Strict-Transport-Security"]
            assert 'action="/bascule/claim"' in await answer.text()
            (cookie,) = answer.cookies.values()
            assert cookie.key == "__Secure-bascule_visit"
            assert (cookie["secure"], cookie["path"]) == (True, "/bascule/")
            token = cookie.value
        form = {"csrf": token, "code": public.code, "name": "Olga", "login": "olga",
                "password": "seven geese over", "again": "seven geese over"}  # fmt: skip
        headers = {**FORWARDED, "Origin": "https://example.org", "Sec-Fetch-Site": "same-origin",
                   "Cookie": f"__Secure-bascule_visit={token}"}  # fmt: skip
        async with http.post(url, data=form, headers=headers, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/bascule/welcome")
            assert answer.cookies["__Secure-bascule_session"]["secure"]
        async with http.get(f"{public.url}/bascule", headers=FORWARDED) as answer:
            assert str(answer.url).endswith("/bascule/sign-in")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"X-Forwarded-Proto": "http"}, "plain HTTP"),
        ({"Host": "evil.example"}, "PUBLIC_URL"),
        ({"X-Forwarded-Proto": ""}, "whether you came by https"),
    ],
)
async def test_what_is_wrong_is_shown(
    public: PagesHouse, change: dict[str, str], word: str
) -> None:
    """A page says how the request arrived and what to do, and nothing else is served."""
    given = {**FORWARDED, **change}
    headers = {name: value for name, value in given.items() if value}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{public.url}/bascule/sign-in", headers=headers) as answer:
            text = await answer.text()
            assert answer.status == 403
            assert word in text
            assert "203.0.113.9" in text
            assert "form" not in text


async def test_a_spoofed_header_from_elsewhere(house: PagesHouse) -> None:
    """Who is no trusted proxy and says X-Forwarded-For is refused, whatever it says."""
    async with aiohttp.ClientSession() as http:
        headers = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}
        async with http.get(f"{house.url}/sign-in", headers=headers) as answer:
            assert answer.status == 403
            assert "TRUSTED_PROXIES=127.0.0.1" in await answer.text()


async def test_a_form_that_is_too_large(house: PagesHouse, olga: Visitor) -> None:
    """It is refused in words."""
    token = (await olga.get("/")).page.form("/sign-out").fields["csrf"]
    answer = await olga.post("/sign-out", {"csrf": token, "x": "y" * 600_000})
    assert (answer.status, "too large" in answer.text) == (413, True)
