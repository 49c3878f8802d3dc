"""The web admin with a real bridge and a real agent service behind it, and browsers of people."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
from argon2 import PasswordHasher

from adapters.contract import Identity, Sender
from agent_service.settings import AgentSettings
from bridge.contract import links
from tests.bridge.house import House
from web_admin.service import WebAdmin
from web_admin.settings import AdminSettings

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Argon2 itself, with little memory: tests need many."""
PASSWORD = "seven geese over the mill"
ADA = Sender(Identity("memory", "t", "ada"), "Ada Byron")
BEN = Sender(Identity("memory", "t", "ben"), "Ben Bitdiddle")


class Form:
    """A form of a page, as a browser would send it untouched."""

    def __init__(self, action: str, method: str) -> None:
        self.action, self.method = action, method
        self.fields: dict[str, str] = {}
        self.buttons: list[str] = []


class Parsed(HTMLParser):
    """The forms and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self._form: Form | None = None
        self._area = ""
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get"))
            self.forms.append(self._form)
        elif tag == "a":
            self.links.append(given.get("href", ""))
        if self._form is None or "name" not in given:
            return
        if tag == "input" and given.get("type") in ("checkbox", "radio"):
            if "checked" in given:
                self._form.fields[given["name"]] = given.get("value", "on")
        elif tag == "input":
            self._form.fields[given["name"]] = given.get("value", "")
        elif tag in ("textarea", "select"):
            self._area = given["name"]
            self._form.fields.setdefault(given["name"], "")
        elif tag == "button":
            self._form.buttons.append(given["name"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        if tag in ("textarea", "select"):
            self._area = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._area and self._form is not None:
            self._form.fields[self._area] += data

    def form(self, action: str) -> Form:
        found = [one for one in self.forms if one.action.endswith(action)]
        assert found, f"no form for {action} among {[one.action for one in self.forms]}"
        return found[0]


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: str, url: str) -> None:
        self.status, self.headers, self.body, self.url = status, headers, body, url
        self.page = Parsed(body) if "html" in headers.get("Content-Type", "") else None

    @property
    def text(self) -> str:
        return self.page.text if self.page is not None else self.body


class Visitor:
    """A browser without JavaScript: it keeps cookies, says where its forms come from, follows."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.headers = headers
        self.jar = aiohttp.CookieJar(unsafe=True)
        self.http = aiohttp.ClientSession(cookie_jar=self.jar)

    async def close(self) -> None:
        await self.http.close()

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._go("GET", path, None, headers)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """A form with these fields and nothing else."""
        usual = {"Sec-Fetch-Site": "same-origin", "Origin": self.url}
        return await self._go("POST", path, fields, {**usual, **headers})

    async def send(self, path: str, action: str, **fields: str) -> Answer:
        """Open a page, fill in the form for `action` and send it."""
        opened = await self.get(path)
        assert opened.page is not None, opened.body
        form = opened.page.form(action)
        return await self.post(form.action, {**form.fields, **fields})

    async def _go(
        self, method: str, path: str, fields: dict[str, str] | None, headers: dict[str, str]
    ) -> Answer:
        given = {**self.headers, **headers}
        async with self.http.request(method, self.url + path, data=fields, headers=given) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.text(), str(answer.url))

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.jar}


class PagesHouse(House):
    """A bridge, an agent service (scripted sessions), the web admin, and visitors."""

    admin: WebAdmin

    def use_model(self, url: str, **settings: object) -> None:
        """What the agent service asks where a key is tested."""
        self.agent_settings = AgentSettings(
            _env_file=None,
            bascule_home=self.home,
            agent_socket=self.agent_settings.socket,
            agent_upstream_url=url,
            agent_api_key="sk-ant-canary-of-the-pages",
            **settings,
        )

    def admin_settings(self, **values: object) -> AdminSettings:
        return AdminSettings(
            _env_file=None,
            **{"bascule_home": self.home, "admin_listen": "127.0.0.1:0", **values},
        )

    async def open(self, **values: object) -> None:
        """The bridge and the pages."""
        if self.bridge is None:
            await self.start()
        await self.open_pages(**values)

    async def open_pages(self, **values: object) -> None:
        self.visitors: list[Visitor] = []
        self.admin = WebAdmin(self.admin_settings(**values), hasher=QUICK)
        await self.admin.start()
        host, port = self.admin.address
        self.url = f"http://{host}:{port}"

    async def shut(self) -> None:
        for visitor in self.visitors:
            await visitor.close()
        await self.admin.stop()

    def visitor(self, **headers: str) -> Visitor:
        made = Visitor(self.url, **headers)
        self.visitors.append(made)
        return made

    @property
    def code(self) -> str:
        """The claim code, as `bascule claim` reads it."""
        return (self.home / "secrets" / "claim-code").read_text().strip()

    async def claimed(self) -> Visitor:
        """Olga claims the deployment on its pages."""
        olga = self.visitor()
        answer = await olga.send(
            "/claim", "/claim", code=self.code, name="Olga", login="olga", password=PASSWORD,
            again=PASSWORD,
        )  # fmt: skip
        assert answer.status == 200, answer.text
        return olga

    async def let_in(self, sender: Sender, by: Visitor) -> None:
        """Somebody writes, and an operator lets them in on the page."""
        text = await self.command("whoami", _own(sender), sender=sender)
        code = re.search(r"`([0-9A-Z-]{9})`", text).group(1)
        answer = await by.send("/people", "/people/let-in", code=code)
        assert answer.status == 200, answer.text

    async def link_of(self, sender: Sender, word: str = "web") -> str:
        """The token of the link that the bot gives."""
        told = await self.command(word, _own(sender), sender=sender)
        return told.rpartition("#")[2].split()[0]

    async def by_link(self, sender: Sender, word: str = "web") -> Visitor:
        """Somebody signs in by the bot's link."""
        made = self.visitor()
        token = await self.link_of(sender, word)
        answer = await made.send(f"/{links.PATH}", f"/{links.PATH}", token=token)
        assert answer.status == 200, answer.text
        return made

    def database_file(self) -> Path:
        return self.home / "admin" / "admin.db"


def _own(sender: Sender) -> str:
    """Where only this person and the bot write."""
    return f"dm-{sender.identity.user}"
