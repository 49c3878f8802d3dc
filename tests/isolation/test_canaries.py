"""No secret of the service's, nor of a person's, is written down anywhere but where it belongs."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_service.credentials.vault import Vault
from agent_service.sandbox.box import TEMPORARY
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Caller, Turn, make_home, session_processes
from tests.agent_service.claude_account import ClaudeAccount
from tests.isolation import traces
from tests.isolation.ordinary import OrdinaryAgent, give
from tests.isolation.traces import Kept, Trace

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

OWN = {"person": "ann", "name": "Ann"}
OTHER = {"person": "bob", "name": "Bob"}
OF_THE_SIGN_IN = frozenset({"sign-in: access token", "sign-in: refresh token"})
KEPT = (
    Kept("*/secrets/bridge.keys", frozenset({"signing key"}), "The service reads them there."),
    Kept("*/secrets/admin.keys", frozenset({"admin's signing key"}), "The same."),
    Kept("*/secrets/encryption.keys", frozenset({"encryption key"}), "The same."),
    Kept("*/people/ann/.credentials.json", OF_THE_SIGN_IN, "The CLI keeps a sign-in there."),
    Kept("*/workspaces/w-bob/work/private.txt", frozenset({"neighbour's file"}), "It is theirs."),
    Kept("*/workspaces/w-bob/config/projects/*.jsonl", frozenset({"neighbour's words"}),
         "What they said: their own transcript."),
    Kept("*/agent/agent.db*", frozenset({"neighbour's words"}), "Turns that may have to be run "
         "again after a crash."),
    Kept("events of bob", frozenset({"neighbour's words"}), "They are told their own."),
    Kept("*/workspaces/w-ann-read/config/projects/*.jsonl", OF_THE_SIGN_IN,
         "A person's own agent can read their own token, and its transcript says what it read."),
)  # fmt: skip


class Deployment(OrdinaryAgent):
    """A service that holds a secret of every kind, and has used each."""

    module = "tests.isolation.abroad"

    def __init__(
        self, home: Path, model: ScriptedMessages, account: ClaudeAccount, key: str
    ) -> None:
        self.secrets = {
            name: f"canary-{number}-{secrets.token_hex(12)}"
            for number, name in enumerate((
                "environment", "signing key", "admin's signing key", "encryption key",
                "stored key", "stored key of a person", "revoked key", "neighbour's file",
                "neighbour's words",
            ))
        }  # fmt: skip
        self.secrets["model's key"] = key
        for name, file in (
            ("signing key", "bridge.keys"),
            ("admin's signing key", "admin.keys"),
            ("encryption key", "encryption.keys"),
        ):
            path = home / "secrets" / file
            path.write_text(f"{self.secrets[name]}-{secrets.token_hex(8)}\n")
            path.chmod(0o600)
        super().__init__(
            home, model, agent_api_key=key, agent_personal_sign_in=True, log_level="debug",
            service_secret=self.secrets["environment"], port_of_all=account.port,
            authority_of_all=account.authority,
        )  # fmt: skip
        self.account = account
        self.answers: list[str] = []
        """What the API said, whoever asked."""
        self.heard: dict[str, list[Any]] = {"ann": [], "bob": []}
        """Events, by whose turns they are of."""
        self.tokens: set[str] = set()
        """Of all sessions that were ever seen alive."""

    async def start(self, *, ready: bool = True) -> None:
        await super().start(ready=ready)
        self.admin = Caller(self.home, "admin")

    async def kill(self, number: int = signal.SIGKILL) -> None:
        await self.admin.http.close()
        await super().kill(number)

    async def asked(self, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
        """A call of the admin's, whose answer is kept."""
        status, answer = await self.admin.call(method, path, body)
        self.answers.append(json.dumps(answer))
        assert status == expected, answer
        return answer

    async def add(self, name: str, **more: str) -> str:
        body = {"kind": "api_key", "secret": self.secrets[name], "url": self.model.url, **more}
        return str((await self.asked("POST", "/v1/credentials", body))["id"])

    async def told(self, prompt: str, asker: dict[str, str], **more: Any) -> Turn:
        """A turn in which everything is allowed."""
        fields = {"workspace": f"w-{asker['person']}", "asker": asker, **more}
        fields.setdefault("conversation", f"c-{fields['workspace']}")
        turn = await self.turn(prompt, **fields)
        self.heard[asker["person"]] += turn.events
        self._see_tokens()
        while turn.last["kind"] == "turn.waiting":
            turn = await self.decided(turn, "allow")
            self.heard[asker["person"]] += turn.events
            self._see_tokens()
        return turn

    def _see_tokens(self) -> None:
        for process in session_processes(self.home):
            try:
                found = process.environ().get("ANTHROPIC_AUTH_TOKEN", "")
            except Exception:  # noqa: BLE001 - it just ended
                continue
            self.tokens.update({found} - {""})

    async def sign_in(self) -> None:
        begun = await self.asked(
            "POST", "/v1/credentials/sign-ins", {"person": "ann", "kind": "subscription"}
        )
        path = f"/v1/credentials/sign-ins/{begun['id']}"
        assert (await self.asked("POST", path, {"code": "good#state"}))["state"] == "signed_in"
        kept = json.loads((self.home / "people" / "ann" / ".credentials.json").read_text())
        self.secrets["sign-in: access token"] = kept["claudeAiOauth"]["accessToken"]
        self.secrets["sign-in: refresh token"] = kept["claudeAiOauth"]["refreshToken"]

    async def live(self) -> None:
        """Use every secret, in good days and bad ones."""
        await self.told("say by the environment's", OWN)
        revoked = await self.add("revoked key", person="bob")
        await self.told("say hello", OTHER)
        await self.asked("DELETE", f"/v1/credentials/{revoked}")
        await self.add("stored key")
        await self.add("stored key of a person", person="bob")
        await self.sign_in()
        (self.home / "workspaces" / "w-bob" / "work" / "private.txt").write_text(
            self.secrets["neighbour's file"]
        )
        words = self.secrets["neighbour's words"]
        await self.told(f"say {words}", OTHER)
        await self.told("run env; cat /proc/*/environ; true", OTHER)
        await self.told("say by the deployment's", OWN)
        turn = await self.told("say on my own", OWN, own=True)
        assert turn.text == "on my own"
        read = {"own": True, "workspace": "w-ann-read"}
        turn = await self.told("run cat $CLAUDE_CONFIG_DIR/.credentials.json", OWN, **read)
        assert "[hidden]" in json.dumps(turn.events)
        for trouble in ("error 401", "error 400", "malformed", "drop"):
            await self.told(trouble, OTHER)
        for credential in await self.asked("GET", "/v1/credentials"):
            expected = 409 if credential["state"] == "revoked" else 200
            await self.asked("POST", f"/v1/credentials/{credential['id']}/test", expected=expected)
        # A session that crashes, and then the service itself.
        turn_id = await self.put("slow 30 " + "word " * 200, workspace="w-bob", asker=OTHER,
                                 conversation="c-crash")  # fmt: skip
        await self.until_running(turn_id)
        self._see_tokens()
        for process in session_processes(self.home):
            if process.name() == "claude":
                process.send_signal(signal.SIGSEGV)
        self.heard["bob"] += Turn(turn_id, await self.caller.events(turn_id)).events
        await self.kill(signal.SIGSEGV)
        await self.start()
        await self.told("say again", OTHER)
        await self.told("say again on my own", OWN, own=True)
        # Whatever else they leave in memory, the search must see it.
        await self.told("run echo here > /tmp/left; echo here > ~/left", OWN, own=True)
        await self.told("run echo here > /tmp/left; echo here > ~/left", OTHER)
        after = 0
        while page := await self.asked("GET", f"/v1/audit?after={after}"):
            after = page[-1]["seq"]
        for path in ("/v1/revocations", "/v1/usage", "/v1/policy"):
            await self.asked("GET", path)

    def in_boxes(self) -> dict[str, bytes]:
        """The files that sessions have in memory: their home, /tmp and /dev/shm."""
        found: dict[str, bytes] = {}
        for process in session_processes(self.home):
            if process.name() == "claude":
                root = Path(f"/proc/{process.pid}/root")
                found |= traces.files(root / folder.lstrip("/") for folder in TEMPORARY)
        return found

    def texts(self) -> dict[str, bytes]:
        """All that was written or said, by where. The database is open: its log is there too, and
        so is what lies in the memory of the boxes that are alive."""
        found = traces.files([self.home]) | self.in_boxes()
        said = {f"events of {who}": json.dumps(events) for who, events in self.heard.items()}
        said["answers of the API"] = "\n".join(self.answers)
        return found | {name: text.encode() for name, text in said.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lived() -> AsyncIterator[Deployment]:
    """After all that; the service runs still."""
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    key = f"canary-key-{secrets.token_hex(12)}"
    provider = home / "provider"
    provider.mkdir()
    async with (
        ScriptedMessages() as model,
        ScriptedMessages() as own,
        ClaudeAccount(provider, own.url) as account,
    ):
        give(home)
        made = Deployment(home, model, account, key)
        await made.start()
        try:
            await made.live()
            yield made
        finally:
            await made.stop()
            await made.no_sessions()
    shutil.rmtree(home, ignore_errors=True)


async def test_no_secret_is_written_down(lived: Deployment) -> None:
    """Not in a database or its log, a transcript, the service's log, an event, an answer of the
    API, a start script, another person's folders; plainly, in hexadecimal or in base64. The places
    that hold one by design are named, and hold what they are named for."""
    texts = lived.texts()
    for needed in ("agent/agent.db", "agent/agent.db-wal", "service.log", "people/ann/"):
        assert any(needed in place for place in texts), needed
    left = [place for place in texts if place.endswith("/left")]
    assert len([p for p in left if "/root/tmp/" in p]) == 2, left
    assert len([p for p in left if "/root/home/agent/" in p]) == 2, left
    assert any("/run/s/" in place and place.endswith("/claude") for place in texts)
    assert any(place.endswith(".jsonl") and "w-ann/" in place for place in texts)
    found = traces.traces(texts, lived.secrets)
    assert traces.unexplained(found, KEPT) == set()
    assert traces.idle(found, KEPT) == []


async def test_no_sessions_token_is_written_down(lived: Deployment) -> None:
    """What sessions reach the broker with stands in their own environment only."""
    assert len(lived.tokens) >= 3
    tokens = {str(number): token for number, token in enumerate(lived.tokens)}
    read = Kept("*/workspaces/w-bob/config/projects/*.jsonl", frozenset(tokens),
                "An agent can read its own session's token, and its transcript says what it read; "
                "it is good for that session's own socket, until its end.")  # fmt: skip
    found = traces.traces(lived.texts(), tokens)
    assert traces.unexplained(found, [read]) == set()
    assert found


async def test_every_secret_was_in_use(lived: Deployment) -> None:
    """So the search looks for what was really there: each key came to the model, the sign-in to
    its provider, and what lies sealed is sealed."""
    used = {request.headers.get("x-api-key") for request in lived.model.requests}
    for name in ("model's key", "stored key", "stored key of a person", "revoked key"):
        assert lived.secrets[name] in used, name
    bearers = {seen.bearer for seen in lived.account.requests}
    assert lived.secrets["sign-in: access token"] in bearers
    with sqlite3.connect(f"file:{lived.home}/agent/agent.db?mode=ro", uri=True) as database:
        rows = database.execute("select sealed from credential where sealed is not null").fetchall()
    database.close()
    vault = Vault([(lived.home / "secrets" / "encryption.keys").read_text().strip()])
    assert len(rows) == 2
    assert all(vault.is_current(sealed) for (sealed,) in rows)


async def test_no_core_file_is_left(lived: Deployment) -> None:
    """A CLI and a service crashed; neither left its memory anywhere."""
    beside = (Path(tempfile.gettempdir()), Path.cwd(), lived.home.parent)
    places = {*lived.home.rglob("*"), *(path for folder in beside for path in folder.iterdir())}
    assert traces.cores(places) == []


async def test_no_process_of_a_session_holds_one(lived: Deployment) -> None:
    """Nor does the environment or the command line of anything that a session started."""
    said = {}
    for process in session_processes(lived.home):
        for name in ("environ", "cmdline"):
            try:
                said[f"{process.pid} {name}"] = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:
                continue
    assert said
    assert traces.traces(said, lived.secrets) == set()


async def test_the_search_finds_what_is_there(lived: Deployment) -> None:
    """It sees hidden files, files in the middle of others, and what is encoded."""
    secret = lived.secrets["stored key"]
    place = lived.home / "people" / ".deep" / "er"
    place.mkdir(parents=True)
    for number, form in enumerate(sorted(traces.forms(secret))):
        (place / f".{number}").write_bytes(os.urandom(5000) + form + os.urandom(5000))
    found = traces.traces(traces.files([lived.home / "people"]), {"stored key": secret})
    assert {trace.place for trace in found} == {os.fspath(p) for p in place.iterdir()}
    assert traces.unexplained(found, KEPT) == found
    (place / "core.1").write_bytes(b"\x7fELF" + b"\0" * 12 + b"\x04\0")
    assert traces.cores(lived.home.rglob("*")) == [place / "core.1"]
    shutil.rmtree(place.parent)
    assert traces.idle([Trace("/x/secrets/bridge.keys", "signing key")], KEPT) == list(KEPT[1:])
