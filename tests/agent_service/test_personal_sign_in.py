"""A person's own sign-in in their own turns: the real CLI, in the real sandbox, against a stand-in
of the provider; the broker leads to another model, which must hear nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from agent_service.service import AgentService, StartFailed
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Agent, Caller, Turn, make_home, session_processes
from tests.agent_service.claude_account import CONSOLE, ClaudeAccount

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


class World(Agent):
    """A service with its admin, the provider of the sign-ins, and two models: `model` behind the
    broker, `own` behind the sign-ins."""

    def __init__(
        self, home: Path, model: ScriptedMessages, own: ScriptedMessages, account: ClaudeAccount
    ) -> None:
        super().__init__(home, model, agent_personal_sign_in=True)
        self.own = own
        self.account = account

    def made(self) -> AgentService:
        return AgentService(self.settings, network=self.account.network())

    async def start(self) -> None:
        await super().start()
        self.admin = Caller(self.home, "admin")

    async def stop(self) -> None:
        await self.admin.http.close()
        await super().stop()

    def config(self, person: str) -> Path:
        return self.home / "people" / person

    async def sign_in(self, person: str, kind: str = "subscription") -> str:
        """A finished sign-in; gives its credential."""
        path, body = "/v1/credentials/sign-ins", {"person": person, "kind": kind}
        status, begun = await self.admin.call("POST", path, body)
        assert status == 200, begun
        code = {"code": f"{CONSOLE if kind == 'console' else 'good'}#state"}
        status, done = await self.admin.call("POST", f"{path}/{begun['id']}", code)
        assert (status, done["state"]) == (200, "signed_in"), done
        return str(done["credential"])

    def asked(self, person: str, **fields: Any) -> dict[str, Any]:
        """Fields of a turn of this person, in a conversation of their own workspace."""
        base = {"asker": {"person": person}, "conversation": f"c-{person}", "own": True}
        return {**base, "workspace": f"w-{person}", **fields}

    def work_of(self, workspace: str) -> Path:
        return self.home / "workspaces" / workspace / "work"

    def said(self, model: ScriptedMessages, words: str) -> bool:
        """Whether a model was ever told these words."""
        return any(words in json.dumps(r.body or {}) for r in model.requests)

    def secret(self, person: str) -> str:
        """The access token that the person's sign-in has now."""
        found = json.loads((self.config(person) / ".credentials.json").read_text())
        return str(found["claudeAiOauth"]["accessToken"])

    async def view(self, credential: str) -> dict[str, Any]:
        return dict((await self.admin.call("GET", f"/v1/credentials/{credential}"))[1])

    async def signed_out(self, credential: str) -> dict[str, Any]:
        """Revoke a credential, and wait until nothing of that is open; gives the revocation."""
        status, made = await self.admin.call("DELETE", f"/v1/credentials/{credential}")
        assert status == 200, made
        async with asyncio.timeout(30):
            while True:
                _, views = await self.admin.call("GET", "/v1/revocations")
                (view,) = [view for view in views if view["id"] == made["id"]]
                if view["finished_at"]:
                    return dict(view)
                await asyncio.sleep(0.05)


async def world(home: Path) -> AsyncIterator[World]:
    folder = home / "provider"
    folder.mkdir()
    async with (
        ScriptedMessages() as model,
        ScriptedMessages() as own,
        ClaudeAccount(folder, own.url) as account,
    ):
        made = World(home, model, own, account)
        await made.start()
        yield made
        await made.stop()
    assert session_processes(home) == []
    kept = [p for p in (home / "agent").iterdir() if p.is_file()]
    stored = b"".join(p.read_bytes() for p in kept)
    assert all(secret.encode() not in stored for secret in account.issued)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[World]:
    """One world for tests of different people."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    async for made in world(home):
        yield made
    shutil.rmtree(home)


@pytest.fixture
def home() -> Iterator[Path]:
    path = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture(loop_scope="module")
async def alone(home: Path) -> AsyncIterator[World]:
    """A world of this test's own."""
    async for made in world(home):
        yield made


async def seen_by(world: World, person: str, script: str, **fields: Any) -> str:
    """What a shell script of the agent sees in a turn of this person."""
    asked = world.asked(person, **fields)
    turn = await world.allow_all(f"run {{ {script} ; }} > seen.txt 2>&1", **asked)
    assert turn.last["outcome"] == "completed", turn.events
    return (world.work_of(asked["workspace"]) / "seen.txt").read_text()


async def test_an_own_turn_runs_on_the_sign_in(shared: World) -> None:
    """It goes to the provider with the person's bearer; the broker hears nothing, and what was
    used is counted all the same."""
    credential = await shared.sign_in("ann")
    turn = await shared.turn("say over the wall", **shared.asked("ann"))
    assert turn.text == "over the wall"
    assert turn.last["outcome"] == "completed"
    assert shared.said(shared.own, "over the wall")
    assert not shared.said(shared.model, "over the wall")
    asked = [r for r in shared.account.requests if "over the wall" in r.body]
    assert {r.bearer for r in asked} == {shared.secret("ann")}
    assert {r.host for r in asked} == {"api.anthropic.com"}
    await asyncio.sleep(0.1)
    _, used = await shared.caller.call("GET", f"/v1/turns/{turn.id}/usage")
    assert used["output_tokens"] > 0, used
    assert used["cost_usd"] > 0
    assert (await shared.view(credential))["state"] == "active"


async def test_the_session_knows_no_broker(shared: World) -> None:
    """No address, token or socket of the broker is in it, and of people's directories one."""
    await shared.sign_in("bea")
    seen = await seen_by(shared, "bea", f"env; ls /run; ls {shared.home}/people")
    assert "ANTHROPIC" not in seen
    assert "bsct-" not in seen
    assert "model.sock" not in seen
    assert f"CLAUDE_CONFIG_DIR={shared.config('bea')}" in seen
    assert seen.endswith("\nbea\n")


async def test_a_person_s_own_agent_reads_their_token(shared: World) -> None:
    """That is so, and documented: but no event and no log shows it in passing."""
    await shared.sign_in("cem")
    seen = await seen_by(shared, "cem", "cat $CLAUDE_CONFIG_DIR/.credentials.json")
    assert shared.secret("cem") in seen
    turn = await shared.allow_all(
        "run cat $CLAUDE_CONFIG_DIR/.credentials.json", **shared.asked("cem")
    )
    assert "[hidden]" in turn.text + json.dumps(turn.events)
    for secret in shared.account.issued:
        assert secret not in json.dumps([e for e in turn.events if e["kind"] != "text.delta"])


@pytest.mark.parametrize(
    ("person", "own"),
    [("dan", False), ("eve", True), pytest.param("eve", False, marks=pytest.mark.full)],
)
async def test_another_turn_is_the_brokers(shared: World, person: str, own: bool) -> None:
    """In the same conversation: one that is not the person's own alone, or somebody else's, runs
    in another session, by the broker, and sees nothing of the sign-in."""
    if not shared.config("dan").exists():
        await shared.sign_in("dan")
    mine = shared.asked("dan")
    await shared.turn("say mine", **mine)
    held = str(shared.config("dan"))
    assert held in configs(shared)
    fields = {**mine, "asker": {"person": person}, "own": own}
    await shared.turn(f"say by {person} {own}", **fields)
    assert shared.said(shared.model, f"by {person} {own}")
    assert not shared.said(shared.own, f"by {person} {own}")
    assert held not in configs(shared)
    steal = (
        f"cat {held}/.credentials.json; ls -la {held} {held}/..; find / -name .credentials.json; "
        "env; cat /proc/*/environ"
    )
    seen = await seen_by(shared, person, steal, workspace="w-dan", conversation="c-dan", own=own)
    assert "CANARY" not in seen
    assert ".credentials.json: No such file" in seen
    assert "ANTHROPIC_BASE_URL" in seen


def configs(world: World) -> set[str | None]:
    """The config directories of all live sessions."""
    return {p.environ().get("CLAUDE_CONFIG_DIR") for p in session_processes(world.home)}


async def test_a_conversation_goes_on_either_way(shared: World) -> None:
    """From the broker to the sign-in and back: each knows what was said before, decisions too."""
    mine = shared.asked("fay")
    await shared.turn("say first by the broker", **mine)
    await shared.sign_in("fay")
    turn = await shared.turn("what did I say", **mine)
    assert "first by the broker" in turn.text
    turn = await shared.allow_all("run touch made.txt", **mine)
    assert (shared.work_of("w-fay") / "made.txt").exists()
    turn = await shared.turn("what did I say", **{**mine, "own": False})
    assert "touch made.txt" in turn.text
    assert shared.said(shared.model, "touch made.txt")
    turn = await shared.turn("say back on mine", **mine)
    assert not shared.said(shared.model, "back on mine")
    turn = await shared.turn("what did I say", **mine)
    assert "first by the broker" in turn.text
    assert "back on mine" in turn.text


async def test_only_the_hosts_of_the_sign_in(shared: World) -> None:
    """The way out leads to the provider, and nowhere else."""
    await shared.sign_in("gus")
    ask = "curl -sS -o /dev/null -w '%{http_connect} ' https://"
    hosts = ("api.anthropic.com", "platform.claude.com", "claude.ai", "example.org")
    seen = await seen_by(shared, "gus", " ; ".join(f"{ask}{host}/" for host in hosts))
    assert re.findall(r"\b(200|403|000) ", seen) == ["200", "200", "403", "403"], seen


async def test_a_refused_sign_in_is_told(shared: World) -> None:
    """Whose it is, and what to do; it is in doubt, and no other key takes its place."""
    credential = await shared.sign_in("hal")
    shared.account.revoke(shared.secret("hal"))
    for _ in range(2):
        turn = await shared.turn("say unheard", **shared.asked("hal"))
        assert turn.last["reason"] == "sign_in_refused"
        assert turn.last["message"].startswith("Your own sign-in to Claude was refused.")
        assert "Sign in again" in turn.last["remedy"]
    assert (await shared.view(credential))["state"] == "in_doubt"
    assert not shared.said(shared.model, "unheard")
    again = await shared.sign_in("hal")
    turn = await shared.turn("say heard", **shared.asked("hal"))
    assert turn.text == "heard"
    assert (await shared.view(again))["state"] == "active"


async def test_a_sign_in_that_the_agent_deleted(shared: World) -> None:
    """Their own agent may remove it: told as refused, nothing else is used instead."""
    await shared.sign_in("ida")
    await shared.allow_all("run rm $CLAUDE_CONFIG_DIR/.credentials.json", **shared.asked("ida"))
    await shared.caller.call("POST", "/v1/conversations/c-ida/close")
    turn = await shared.turn("say unsigned", **shared.asked("ida"))
    assert turn.last["reason"] == "sign_in_refused", turn.events
    assert not shared.said(shared.model, "unsigned")


async def test_what_an_agent_planted_steers_nothing(shared: World) -> None:
    """Settings, hooks and servers left in the person's directory change neither their later
    sessions nor what `projects` leads to."""
    await shared.sign_in("jan")
    hook = {"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [
        {"type": "command", "command": "touch hooked"}]}]},
        "permissions": {"allow": ["Bash(*)"], "defaultMode": "bypassPermissions"},
        "mcpServers": {"x": {"command": "touch", "args": ["served"]}}}  # fmt: skip
    work = shared.work_of("w-jan")
    await shared.turn("say hello", **shared.asked("jan"))
    (work / "planted.json").write_text(json.dumps(hook))
    names = "settings.json settings.local.json remote-settings.json policy-limits.json"
    add = (
        "import json, os; f = os.environ['CLAUDE_CONFIG_DIR'] + '/.claude.json'; "
        "d = json.load(open(f)); d.update(json.load(open('planted.json'))); "
        "json.dump(d, open(f, 'w'))"
    )
    seen = await seen_by(
        shared,
        "jan",
        f'python3 -c "{add}"; cp planted.json $CLAUDE_CONFIG_DIR/x.json; cd $CLAUDE_CONFIG_DIR; '
        f"for f in {names}; do cat x.json > $f; mv -f x.json $f; rm $f; done; "
        "rm -rf projects plans; ln -sfn /etc projects; mv plans p; mkdir -p commands; "
        "echo 'touch commanded' > commands/x.md; cd - >/dev/null",
    )
    assert seen.count("Read-only file system") >= 4, seen
    assert seen.count("busy") >= 4, seen
    assert "mcpServers" in (shared.config("jan") / ".claude.json").read_text()
    await shared.caller.call("POST", "/v1/conversations/c-jan/close")
    turn = await shared.turn("run touch unasked", **shared.asked("jan"))
    assert turn.last["kind"] == "turn.waiting", turn.events
    turn = await shared.decided(turn, "deny")
    assert not {"hooked", "served", "commanded", "unasked"} & {p.name for p in work.iterdir()}
    config = shared.config("jan")
    assert (config / "projects").is_dir()
    assert not (config / "projects").is_symlink()
    assert "mcpServers" not in json.loads((config / ".claude.json").read_text())
    for name in names.split():
        assert (config / name).read_bytes() == b""
    turn = await shared.turn("what did I say", **shared.asked("jan"))
    assert "touch unasked" in turn.text


async def test_tokens_are_renewed_in_the_box(shared: World) -> None:
    """The CLI renews what expires by itself, and the new ones are hidden as well."""
    shared.account.expires_in = 1
    try:
        await shared.sign_in("kim")
        first = shared.secret("kim")
        turn = await shared.allow_all(
            "run cat $CLAUDE_CONFIG_DIR/.credentials.json", **shared.asked("kim")
        )
    finally:
        shared.account.expires_in = 28800
    assert turn.last["outcome"] == "completed", turn.events
    assert shared.secret("kim") != first
    told = json.dumps([e for e in turn.events if e["kind"] != "text.delta"])
    assert "CANARY" not in told


async def test_an_account_of_the_console(shared: World) -> None:
    """Its key is used and hidden in the same way."""
    await shared.sign_in("lea", "console")
    turn = await shared.allow_all(
        "run cat $CLAUDE_CONFIG_DIR/.claude.json\nsay at the console", **shared.asked("lea")
    )
    assert shared.said(shared.own, "at the console")
    assert not shared.said(shared.model, "at the console")
    assert "CANARY" not in json.dumps([e for e in turn.events if e["kind"] != "text.delta"])


@pytest.mark.parametrize(
    "scope",
    [
        "credential",
        pytest.param("person", marks=pytest.mark.full),
        pytest.param("everything", marks=pytest.mark.full),
    ],
)
async def test_revoked_while_a_turn_runs(alone: World, scope: str) -> None:
    """Once it is answered the turn has ended and its processes are gone, warmed idle sessions too;
    the person is signed out at the provider, and nothing is used again."""
    credential = await alone.sign_in("p1")
    mine = {"own": True}
    turn_id = await alone.put("say begun then hang", **mine)
    body = {"workspace": "w1", "person": "p1", "own": True}
    await alone.caller.call("POST", "/v1/conversations/c2/warm", body)
    async with asyncio.timeout(20):
        while not alone.said(alone.own, "begun"):
            await asyncio.sleep(0.02)
        while not (await alone.caller.call("GET", "/v1/conversations/c2"))[1]["live"]:
            await asyncio.sleep(0.02)
    assert not alone.said(alone.model, "begun")
    subject = {"credential": credential, "person": "p1", "everything": ""}[scope]
    status, made = await alone.admin.call(
        "POST", "/v1/revocations", {"scope": scope, "subject": subject}
    )
    assert status == 200, made
    for process in session_processes(alone.home):
        with contextlib.suppress(psutil.NoSuchProcess):
            # What is left may be signing out.
            assert "CLAUDE_CODE_ENTRYPOINT" not in process.environ(), process
    turn = Turn(turn_id, await alone.caller.events(turn_id))
    assert turn.last["reason"] == "revoked", turn.events
    async with asyncio.timeout(20):
        while alone.account.tokens or (alone.config("p1") / ".credentials.json").exists():
            await asyncio.sleep(0.05)
    turn = await alone.turn("say afterwards", **mine)
    assert not alone.said(alone.own, "afterwards")
    assert alone.said(alone.model, "afterwards") == (scope == "credential")


async def test_a_restart_in_between(alone: World) -> None:
    """The sign-in, the conversation and a decision that waits outlive the service."""
    await alone.sign_in("p1")
    await alone.turn("say before", own=True)
    waiting = await alone.turn("run touch later.txt", own=True)
    assert waiting.last["kind"] == "turn.waiting"
    await alone.stop()
    assert session_processes(alone.home) == []
    await alone.start()
    await alone.decided(waiting, "allow")
    assert (alone.work / "later.txt").exists()
    turn = await alone.turn("what did I say", own=True)
    assert "say before" in turn.text
    assert not alone.said(alone.model, "before")
    assert not alone.said(alone.model, "later.txt")


async def test_turned_off_again(alone: World) -> None:
    """An operator who turns it off: the sign-in is not used and none begins; signing out works."""
    credential = await alone.sign_in("p1")
    await alone.turn("say on mine", own=True)
    await alone.stop()
    alone.settings.agent_personal_sign_in = False
    await alone.start()
    turn = await alone.turn("say turned off", own=True)
    assert turn.text == "turned off"
    assert alone.said(alone.model, "turned off")
    assert not alone.said(alone.own, "turned off")
    status, refused = await alone.admin.call(
        "POST", "/v1/credentials/sign-ins", {"person": "p1", "kind": "subscription"}
    )
    assert status == 403
    assert "AGENT_PERSONAL_SIGN_IN" in refused["error"]["remedy"]
    view = await alone.signed_out(credential)
    assert all(step["state"] == "done" for step in view["steps"]), view
    assert alone.account.tokens == set()


async def test_it_needs_the_sandbox(home: Path) -> None:
    """Without one nothing would keep the sign-in from others: the service does not start."""
    async with ScriptedMessages() as model:
        agent = Agent(home, model, agent_sandbox="off", agent_personal_sign_in=True)
        service = AgentService(agent.settings)
        with pytest.raises(StartFailed, match="AGENT_SANDBOX") as refused:
            await service.start()
        assert refused.value.remedy
        await service.stop()
