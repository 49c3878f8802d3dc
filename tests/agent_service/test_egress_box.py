"""The way out of the real box, with the programs that people's agents use."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from agent_service.service import AgentService
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Agent, Caller, Turn, make_home, session_processes
from tests.agent_service.internet import Internet

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Not every machine has a pip under /usr; every Python that can make environments brings one.
PROGRAMS = """
exec 2>&1
wheel() { find /usr/share/python-wheels "$(python3 -c \
'import ensurepip; print(ensurepip.__path__[0])')" -name 'pip-*.whl' 2>/dev/null | head -1; }
pip() { if python3 -m pip --version >/dev/null 2>&1; then python3 -m pip "$@"; else
  python3 "$(wheel)/pip" "$@"; fi; }
page() { curl -sSN -m 20 "https://$1.example:$PORT/${2:-}"; }
cloned() { rm -rf repo; timeout 20 git clone -q https://git.example:$PORT/repo.git repo &&
  cat repo/hello.txt; }
installed() { rm -rf got; pip --disable-pip-version-check --retries 1 install -q --no-cache-dir \
  --no-deps --index-url https://pypi.example:$PORT/simple --target got small &&
  PYTHONPATH=got python3 -c 'import small; print(small.word)'; }
package() { rm -rf node && mkdir node && cd node && timeout 60 npm install --no-audit --no-fund \
  --no-update-notifier --fetch-retries=0 --cache $HOME/npm \
  --registry https://npm.example:$PORT/ small && node -p 'require("small")'; }
"""


class OnlineAgent(Agent):
    """A service whose agents live in a small internet of their own."""

    def __init__(self, home: Path, model: ScriptedMessages) -> None:
        super().__init__(home, model)
        folder = home / "internet"
        folder.mkdir()
        self.internet = Internet(folder, self.work / "authority.pem")

    def made(self) -> AgentService:
        return AgentService(self.settings, network=self.internet.network)

    async def start(self) -> None:
        await self.internet.start()
        await super().start()
        self.admin = Caller(self.home, "admin")
        settings = f"PORT={self.internet.port}\n"
        (self.work / "programs.sh").write_text(settings + PROGRAMS)

    async def stop(self) -> None:
        await self.admin.http.close()
        await super().stop()
        await self.internet.stop()

    async def allow(self, *hosts: str, method: str = "PUT") -> None:
        """Allow hosts at the internet's port, as the bridge does for a person."""
        for host in hosts:
            query = {"pattern": f"{host}:{self.internet.port}", "by": "p1"}
            path = URL("/v1/workspaces/w1/egress").with_query(query)
            status, answer = await self.caller.call(method, str(path))
            assert status == 200, answer

    async def take_back(self, *hosts: str) -> None:
        await self.allow(*hosts, method="DELETE")

    async def shell(self, script: str, **fields: Any) -> tuple[Turn, list[dict[str, Any]]]:
        """Have the agent run a script; gives the turn's end, and which hosts it was refused."""
        (self.work / "script.sh").write_text(f". ./programs.sh\n{script}\n")
        return await self.whole("run bash script.sh", **fields)

    async def whole(self, prompt: str, **fields: Any) -> tuple[Turn, list[dict[str, Any]]]:
        turn = await self.turn(prompt, **fields)
        events = list(turn.events)
        while turn.last["kind"] == "turn.waiting":
            turn = await self.decided(turn, "allow")
            events += turn.events
        assert turn.last["outcome"] == "completed", events
        return turn, [refused for event in events for refused in refusals(event)]

    async def audit(self) -> list[dict[str, Any]]:
        """All entries of egress so far."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            _, page = await self.admin.call("GET", f"/v1/audit?after={after}")
            found += [entry for entry in page if entry["kind"].startswith("egress.")]
            if not page:
                return found
            after = page[-1]["seq"]


def refusals(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The host that an event names as refused: asked about where a person can allow it."""
    if event["kind"] == "egress.refused":
        return [event]
    if event["kind"] == "decision.requested" and event["decision"]["kind"] == "network":
        host, _, port = event["decision"]["shown"].rpartition(":")
        return [{"host": host, "port": int(port), "reason": "not_listed"}]
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def online() -> AsyncIterator[OnlineAgent]:
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    async with ScriptedMessages() as model:
        made = OnlineAgent(home, model)
        await made.start()
        yield made
        await made.stop()
    assert session_processes(home) == []
    shutil.rmtree(home, ignore_errors=True)


async def test_nothing_is_reached_that_is_not_allowed(online: OnlineAgent) -> None:
    """curl, git, pip and WebFetch fail, nothing arrives, and each host is named once a turn."""
    script = "page web; page web; cloned; installed; cat /dev/null"
    turn, refused = await online.shell(script)
    port = online.internet.port
    assert [(e["host"], e["port"], e["reason"]) for e in refused] == [
        (host, port, "not_listed") for host in ("web.example", "git.example", "pypi.example")
    ]
    assert turn.text.count("403") >= 4
    assert "not on the list of allowed hosts" in turn.text  # pip shows the proxy's words
    turn, refused = await online.whole(f"fetch https://web.example:{port}/")
    assert [e["host"] for e in refused] == ["web.example"]
    assert "A page" not in turn.text
    assert online.internet.requests == []
    assert online.internet.resolved == []


async def test_what_is_allowed_works(online: OnlineAgent) -> None:
    """The same programs reach the same hosts once they are allowed, with nothing set in the box."""
    hosts = ("web.example", "git.example", "pypi.example")
    await online.allow(*hosts)
    turn, refused = await online.shell("page web; echo; cloned; installed")
    assert refused == []
    assert "A page of the internet" in turn.text
    assert "from git" in turn.text
    assert "from pip" in turn.text
    before = len(online.internet.requests)
    turn, refused = await online.whole(f"fetch https://web.example:{online.internet.port}/it")
    assert refused == []
    assert online.internet.requests[before:] == ["web.example/it"]
    await online.take_back(*hosts)


@pytest.mark.full
async def test_npm_installs_what_is_allowed(online: OnlineAgent) -> None:
    """npm is refused in the proxy's words and the registry hears nothing; allowed, it installs from
    there, and the package can be used."""
    shown = shutil.which("npm", path="/usr/local/bin:/usr/bin:/bin")
    assert shown, "There is no npm that a sandbox shows: apt-get install npm"
    turn, refused = await online.shell("package", conversation="c-npm")
    assert [e["host"] for e in refused] == ["npm.example"]
    assert "not on the list of allowed hosts" in turn.text or "403" in turn.text
    assert not any(asked.startswith("npm.example") for asked in online.internet.requests)
    await online.allow("npm.example")
    turn, refused = await online.shell("package", conversation="c-npm")
    await online.take_back("npm.example")
    assert refused == []
    assert "from npm" in turn.text, turn.text
    asked = [path for path in online.internet.requests if path.startswith("npm.example")]
    assert asked == ["npm.example/small", "npm.example/small.tgz"]


async def test_a_person_allows_a_host_that_was_refused(online: OnlineAgent) -> None:
    """The host is asked about while the turn goes on; allowed, it is reached from then on."""
    turn, _ = await online.shell("page late; true", conversation="c-asked")
    asked = [e for e in turn.events if e["kind"] == "decision.requested"][-1]["decision"]
    assert (asked["kind"], turn.last["outcome"]) == ("network", "completed")
    path = f"/v1/turns/{turn.id}/decisions/{asked['id']}"
    wrong = {"outcome": "allow", "decided_by": "p9"}
    assert (await online.caller.call("POST", path, wrong))[0] == 403
    status, answer = await online.caller.call("POST", path, {**wrong, "decided_by": "p1"})
    assert (status, answer["state"]) == (200, "allowed")
    again, refused = await online.shell("page late", conversation="c-asked")
    assert refused == []
    assert "A page of the internet" in again.text
    await online.take_back("late.example")


async def test_a_change_acts_in_the_middle_of_a_command(online: OnlineAgent) -> None:
    """A running command reaches a host as soon as it is allowed, and loses it when taken back."""
    script = (
        "until page late >/dev/null; do sleep 0.1; done; echo reached | tee reached.txt; "
        "page late endless > endless.txt; echo ended with $?; page late"
    )
    running = asyncio.create_task(online.shell(script))
    async with asyncio.timeout(60):
        # Not before it was refused once.
        while not any(e["subject"] == "late.example" for e in await online.audit()):
            await asyncio.sleep(0.1)
        await online.allow("late.example")
        endless = online.work / "endless.txt"
        while not (endless.exists() and endless.stat().st_size):
            await asyncio.sleep(0.05)
        await online.take_back("late.example")
        turn, refused = await running
    assert "reached" in turn.text
    assert "ended with" in turn.text
    assert "ended with 0" not in turn.text
    assert "ended with 28" not in turn.text  # that would be curl's own patience
    assert [e["host"] for e in refused] == ["late.example"]


async def test_no_name_leads_inside(online: OnlineAgent) -> None:
    """An allowed name that leads into the own network is refused, also when it changes its mind:
    each connection looks it up once, and goes where it looked."""
    hosts = ("inside.example", "rebind.example")
    await online.allow(*hosts)
    online.internet.resolved.clear()
    script = "page rebind; echo; page rebind; page inside; page inside"
    turn, refused = await online.shell(script)
    assert turn.text.count("A page of the internet") == 1
    assert online.internet.resolved == ["rebind.example"] * 2 + ["inside.example"] * 2
    assert [(e["host"], e["reason"]) for e in refused] == [
        ("rebind.example", "not_public"),
        ("inside.example", "not_public"),
    ]
    assert online.internet.intruded == 0
    await online.take_back(*hosts)


async def test_every_connection_is_in_the_audit_log(online: OnlineAgent) -> None:
    """Made or refused, with who asked for the turn that made it."""
    await online.allow("web.example")
    asker = {"person": "p7", "name": "Ida"}
    script = "page web > /dev/null; page git; curl -s http://web.example/; cat < /dev/null"
    turn, refused = await online.shell(script, conversation="c7", asker=asker)
    await online.take_back("web.example")
    async with asyncio.timeout(10):
        while (
            len(found := [e for e in await online.audit() if e["detail"].get("person") == "p7"]) < 3
        ):
            await asyncio.sleep(0.1)
    assert [(e["kind"], e["subject"], e["detail"]["reason"]) for e in found] == [
        ("egress.connected", "web.example", ""),
        ("egress.refused", "git.example", "not_listed"),
        ("egress.refused", "", "no_connect"),
    ]
    for entry in found:
        assert entry["actor"] == "workspace:w1"
        assert entry["detail"]["turn"] == turn.id
        assert entry["detail"]["conversation"] == "c7"
        assert entry["detail"]["count"] == 1
    assert found[0]["detail"]["address"] == "127.0.0.2"
    assert found[0]["detail"]["port"] == online.internet.port
    assert [e["host"] for e in refused] == ["git.example"]  # what is no host is not named
