"""`bascule up` with its third process, the web admin."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil
import pytest

from agent_service.testing import ScriptedMessages
from tests.deployment import Deployment, command
from tests.web_admin.pages_house import PASSWORD, Visitor
from tests.web_admin.proxies import free_port


async def test_the_pages_come_up_with_the_rest(place: Path) -> None:
    """They are claimed by the code of `bascule claim`, survive the death of their process, and a
    stop ends them too."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with ScriptedMessages() as model:
        made = Deployment(place, model, ADMIN_LISTEN=f"127.0.0.1:{port}", PUBLIC_URL=url)
        visitor = Visitor(url)
        try:
            await _claimed_killed_and_back(made, visitor, place)
            assert await made.stop() == 0
            await made.nothing_left()
        finally:
            await visitor.close()
            await made.stop()


async def _claimed_killed_and_back(made: Deployment, visitor: Visitor, place: Path) -> None:
    await made.start()
    code, out, err = await command("claim", home=place, **made.settings)
    assert code == 0, err
    claim = out.split()[-1]
    answer = await visitor.send(
        "/claim", "/claim", code=claim, name="Olga", login="olga", password=PASSWORD,
        again=PASSWORD,
    )  # fmt: skip
    assert "First steps" in answer.text, answer.text
    assert "Everything works." in (await visitor.get("/")).text
    (pages,) = [p for p in made.everything() if "web_admin" in p.cmdline()]
    pages.send_signal(signal.SIGKILL)
    await made.until(lambda: _again(made, pages))
    assert "Olga, operator" in (await _served(visitor)).text


def _again(made: Deployment, before: psutil.Process) -> bool:
    found = [p for p in made.everything() if "web_admin" in p.cmdline() and p.pid != before.pid]
    return bool(found)


async def _served(visitor: Visitor):
    async with asyncio.timeout(30):
        while True:
            try:
                return await visitor.get("/")
            except OSError:
                await asyncio.sleep(0.05)


async def test_a_port_that_is_taken(place: Path) -> None:
    """`up` does not start, and says which setting to change."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with ScriptedMessages() as model:
        made = Deployment(place, model, ADMIN_LISTEN=f"127.0.0.1:{port}")
        await made.begin()
        assert await made.process.wait() == 2
        assert "ADMIN_LISTEN" in made.text()
        assert "choose another host:port" in made.text()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("PUBLIC_URL", "http://bascule.example.org", "plain http"),
        ("TRUSTED_PROXIES", "everybody", "no address"),
        ("ADMIN_LISTEN", "8481", "host:port"),
        ("ADMIN_LISTN", "off", "did you mean ADMIN_LISTEN"),
    ],
)
async def test_settings_that_are_wrong(place: Path, name: str, value: str, word: str) -> None:
    """`doctor` and `up` name the setting and what is wrong with it."""
    for words in ("doctor", "up"):
        code, out, err = await command(words, home=place, **{name: value})
        assert code == 2
        assert word in out + err
        assert "Traceback" not in out + err
