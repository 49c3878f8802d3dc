"""Behind real reverse proxies with TLS, set up by the lines of docs/admin.md."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from tests.web_admin.pages_house import PASSWORD, PagesHouse, Parsed
from tests.web_admin.proxies import NAME, Proxy, certificate, free_port
from web_admin.store import schema

pytestmark = pytest.mark.full
KINDS = ["nginx", "caddy"]


class Public:
    """The pages behind a proxy, and a browser that comes by its name."""

    def __init__(self, house: PagesHouse, proxy: Proxy, http: aiohttp.ClientSession, base: str):
        self.house, self.proxy, self.http = house, proxy, http
        self.origin = f"https://{NAME}:{proxy.port}"
        self.url = self.origin + base

    async def get(self, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, str]:
        async with self.http.get(self.url + path, headers=headers) as answer:
            return answer, await answer.text()

    async def send(self, path: str, **fields: str) -> tuple[aiohttp.ClientResponse, str]:
        _, text = await self.get(path)
        form = Parsed(text).form(path)
        data = {**form.fields, **fields}
        headers = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        async with self.http.post(self.origin + form.action, data=data, headers=headers) as answer:
            return answer, await answer.text()


class Here(aiohttp.abc.AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list:
        return [{"hostname": host, "host": "127.0.0.1", "port": port,
                 "family": socket.AF_INET, "proto": 0, "flags": 0}]  # fmt: skip

    async def close(self) -> None:
        pass


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["", "/bascule"], ids=["root", "base path"])
async def public(
    kind: str, request: pytest.FixtureRequest, home: Path, tmp_path: Path
) -> AsyncIterator[Public]:
    base = request.param
    trust = certificate(tmp_path)
    port, behind = free_port(), free_port()
    house = PagesHouse(home)
    await house.start_agent()
    await house.open(
        admin_listen=f"127.0.0.1:{behind}",
        public_url=f"https://{NAME}:{port}{base}/",
        trusted_proxies="127.0.0.1",
    )
    proxy = Proxy(kind, tmp_path, port, behind, base)
    await proxy.start()
    # From another address than the proxy's, which is trusted.
    connector = aiohttp.TCPConnector(ssl=trust, resolver=Here(), local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Public(house, proxy, http, base)
    await proxy.stop()
    await house.shut()
    await house.stop()


async def test_everything_works_behind_it(public: Public) -> None:
    """Claiming, secure cookies, HSTS, signing out and in again, and what the page says of it."""
    answer, text = await public.send(
        "/claim", code=public.house.code, name="Olga", login="olga", password=PASSWORD,
        again=PASSWORD,
    )  # fmt: skip
    assert (answer.status, "First steps" in text) == (200, True), text
    cookies = {c.key: c for c in public.http.cookie_jar}
    session = next(c for name, c in cookies.items() if name.endswith("bascule_session"))
    assert session.key.startswith(("__Host-", "__Secure-"))
    assert session["secure"]
    answer, text = await public.get("/settings")
    assert "By https, through a proxy that is trusted. All is well." in text
    assert answer.headers["Strict-Transport-Security"]
    assert "Server" not in answer.headers or "aiohttp" not in answer.headers["Server"]
    answer, text = await public.get("")
    assert (answer.status, "Overview" in text) == (200, True)


async def test_a_made_up_address_is_not_believed(public: Public) -> None:
    """A client that writes X-Forwarded-* itself changes neither its address nor the scheme."""
    await public.send(
        "/claim", code=public.house.code, name="Olga", login="olga", password=PASSWORD,
        again=PASSWORD,
    )  # fmt: skip
    spoofed = {"X-Forwarded-For": "203.0.113.66", "X-Forwarded-Proto": "http",
               "Forwarded": "for=203.0.113.66"}  # fmt: skip
    answer, text = await public.get("/settings", **spoofed)
    assert answer.status == 200
    assert "<dd>203.0.113.66</dd>" not in text
    query = sa.select(schema.web_session.c.address)
    found = await public.house.admin.database.tx(lambda db: db.scalars(query).all())
    assert found == ["127.0.0.2"]


async def test_past_the_proxy_is_nothing(public: Public) -> None:
    """Who reaches the port itself under the public name is refused."""
    async with aiohttp.ClientSession() as http:
        headers = {"Host": f"{NAME}:{public.proxy.port}"}
        async with http.get(public.house.url, headers=headers) as answer:
            assert answer.status == 403
