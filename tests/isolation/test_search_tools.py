"""Escapes by the CLI's own Glob and Grep. The service's agents are not offered them, and search by
commands; but whoever turns them on must not find a way out."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import make_home
from tests.isolation.ordinary import REPOSITORY, before, give


@dataclass(frozen=True, slots=True)
class Search:
    """It succeeds where the secret stands in what the tool gives: in a name, or in a line."""

    name: str
    tries: str
    tool: str
    given: dict[str, Any] = field(default_factory=dict)
    secret: str = "other's file"


def glob(name: str, tries: str, pattern: str, path: str = ".", secret: str = "a name") -> Search:
    return Search(name, tries, "Glob", {"pattern": pattern, "path": path}, secret)


def grep(name: str, tries: str, path: str, secret: str = "other's file") -> Search:
    given = {"pattern": "canary", "path": path, "output_mode": "content"}
    return Search(name, tries, "Grep", given, secret)


SEARCHES = [
    glob("glob-other", "Lists another person's files.", "**/*", "$OTHER"),
    glob("glob-absolute", "The same by an absolute pattern.", "$OTHER/**/*"),
    glob("glob-parent", "The same by parent folders.", "*", "../../other/work"),
    glob("glob-link", "The same through a planted link.", "*", "$WORK/planted-link"),
    glob("glob-all", "Lists the workspaces of all.", "*/work/*", "$HOME/workspaces"),
    glob("glob-keys", "Lists what lies beside the keys.", "*", "$HOME/secrets", "key name"),
    glob("glob-people", "Lists people's sign-ins.", "**/.*", "$HOME/people", "person"),
    grep("grep-other", "Finds words in another person's files.", "$OTHER"),
    grep("grep-parent", "The same by parent folders.", "../../other"),
    grep("grep-link", "The same through a planted link.", "$WORK/planted-link"),
    grep("grep-all", "Finds words in everybody's files.", "$HOME/workspaces"),
    grep("grep-keys", "Finds the service's keys.", "$HOME/secrets", "signing key"),
    grep("grep-people", "Finds people's sign-ins.", "$HOME/people/p9/.credentials.json", "sign-in"),
]  # fmt: skip
OWN = [
    glob("glob-own", "Lists its own files.", "**/*", secret="own name"),
    grep("grep-own", "Finds words in its own files.", "$WORK", "own file"),
]
"""What they are for: that works in the sandbox too."""


class Searched:
    """A home with somebody's files, and what the tools gave there."""

    def __init__(self, *, sandboxed: bool) -> None:
        self.home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
        self._mode = "required" if sandboxed else "off"
        self.secrets = {
            name: f"canary-{secrets.token_hex(8)}"
            for name in {search.secret for search in (*SEARCHES, *OWN)}
        }
        self.gave: dict[str, str] = {}

    def _plant(self) -> None:
        put, workspaces = self.secrets, self.home / "workspaces"
        other, work = workspaces / "other" / "work", workspaces / "w1" / "work"
        people = self.home / "people" / "p9"
        for folder in (other, work, people):
            folder.mkdir(parents=True)
        (other / f"{put['a name']}.txt").write_text(put["other's file"])
        (work / f"{put['own name']}.txt").write_text(put["own file"])
        (work / "planted-link").symlink_to(other)
        (self.home / "secrets" / put["key name"]).write_text(put["signing key"])
        (people / ".credentials.json").write_text(put["sign-in"])
        (people / f".{put['person']}").touch()
        give(self.home)

    async def run(self) -> None:
        self._plant()
        names = {"$OTHER": "workspaces/other", "$WORK": "workspaces/w1/work", "$HOME": ""}
        calls = []
        for search in (*SEARCHES, *OWN):
            given = json.dumps(search.given)
            for name, path in names.items():
                given = given.replace(name, str(self.home / path))
            calls.append([search.tool, json.loads(given)])
        async with ScriptedMessages() as model:
            process = await asyncio.create_subprocess_exec(
                *before(self.home), sys.executable, "-m", "tests.isolation.searching",
                str(self.home), self._mode, model.url, cwd=REPOSITORY, stdin=-1, stdout=-1,
                stderr=-1, env={"PATH": "/usr/bin:/bin", "HOME": str(self.home)},
            )  # fmt: skip
            said, log = await process.communicate(json.dumps(calls).encode())
            assert process.returncode == 0, log.decode()
        searches = (search.name for search in (*SEARCHES, *OWN))
        self.gave = dict(zip(searches, json.loads(said.splitlines()[-1]), strict=True))

    def found(self, search: Search) -> bool:
        """Whether the tool was there, and gave the secret."""
        assert self.gave[search.name], f"The CLI did not make this call: {search.tool}"
        return self.secrets[search.secret] in self.gave[search.name]


async def _searched(*, sandboxed: bool) -> AsyncIterator[Searched]:
    made = Searched(sandboxed=sandboxed)
    try:
        await made.run()
        yield made
    finally:
        shutil.rmtree(made.home, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandboxed() -> AsyncIterator[Searched]:
    """After every search was tried in the sandbox."""
    async for made in _searched(sandboxed=True):
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unprotected() -> AsyncIterator[Searched]:
    """After every search was tried without."""
    async for made in _searched(sandboxed=False):
        yield made


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.name)
def test_it_fails_in_the_sandbox(sandboxed: Searched, search: Search) -> None:
    """Nothing of anybody else's is found, neither what was looked for nor anything by the way."""
    assert not sandboxed.found(search), sandboxed.gave[search.name]
    own = {search.secret for search in OWN}
    for name, secret in sandboxed.secrets.items():
        assert name in own or secret not in sandboxed.gave[search.name], name


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.name)
def test_it_succeeds_without(unprotected: Searched, search: Search) -> None:
    """Without the sandbox the same search finds it: so it really probes."""
    assert unprotected.found(search), unprotected.gave[search.name]


@pytest.mark.parametrize("search", OWN, ids=lambda search: search.name)
def test_its_own_is_found(sandboxed: Searched, search: Search) -> None:
    """In the sandbox the tools do what they are for."""
    assert sandboxed.found(search), sandboxed.gave[search.name]
