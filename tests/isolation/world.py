"""A deployment full of secrets, a bystander with more of them, and an agent that wants them all."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from agent_service.claude.options import bundled_cli
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Caller, Turn, make_home
from tests.isolation import traces
from tests.isolation.files import FILES, LATER, LEAVE, NEIGHBOUR, TOOLS
from tests.isolation.kernel import KERNEL, PROCESSES
from tests.isolation.model import MODEL
from tests.isolation.network import NETWORK
from tests.isolation.ordinary import IS_ROOT, REPOSITORY, OrdinaryAgent, before, give
from tests.isolation.probe import Asked, Changed, Leak, Probe
from tests.isolation.traces import Kept

TABLES = [FILES, PROCESSES, KERNEL, NETWORK, MODEL]
PROBES = [*(probe for table in TABLES for probe in table), *TOOLS, *NEIGHBOUR, *LATER]
REACH = Path(__file__).parent / "reach.sh"
CONFIRMED = "Everything of it stays here."
TOKENS = frozenset({"another session's token", "an old token"})
KEPT = (
    Kept("*/secrets/bridge.keys", frozenset({"signing key"}), "The service reads them there."),
    Kept("*/secrets/encryption.keys", frozenset({"encryption key"}), "The same."),
    Kept("*/.env", frozenset({"model's key"}), "An operator puts it there."),
    Kept("*/.netrc", frozenset({"home"}), "It is the user's that runs the service."),
    Kept("*/people/other/.credentials.json", frozenset({"other's own sign-in"}),
         "The CLI keeps a sign-in there."),
    Kept("*/workspaces/other/*", frozenset({
        "other's file", "other's notebook", "other's movable", "other's transcript",
        "other's sign-in", "other's prompt"}), "They are that person's own files."),
    Kept("*/agent/agent.db*", frozenset({"other's prompt"}), "Turns that may have to be run again "
         "after a crash."),
    Kept("events", frozenset({"other's prompt"}), "That person is told their own."),
    Kept("*/work/reach.sh", frozenset({"abstract name"}) | TOKENS, "What the probes have to try."),
    Kept("*/work/probes/key-environment.out", TOKENS,
         "The probe shows its environment, which holds what it was to try."),
    Kept("*/work/token.txt", TOKENS, "A probe put "
         "it there: every agent can read its own."),
)  # fmt: skip


def address() -> str:
    """An IPv4 address of this machine beyond loopback; empty where it has none."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    for name, found in psutil.net_if_addrs().items():
        for entry in found if name in up else ():
            if entry.family == socket.AF_INET and not entry.address.startswith("127."):
                return str(entry.address)
    return ""


class World:
    """One service, sandboxed or not. `run` tries every probe once; then ask `succeeded`."""

    kind = OrdinaryAgent

    def __init__(self, *, sandboxed: bool) -> None:
        self.sandboxed = sandboxed
        self.out = Path(tempfile.mkdtemp(prefix="bsc-out-"))
        self.home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
        self.other = self.home / "workspaces" / "other"
        self.secrets = {
            name: f"canary-{name.replace(' ', '-')}-{secrets.token_hex(8)}"
            for name in {
                *(p.shows.secret for p in PROBES if isinstance(p.shows, Leak)),
                "model's key", "environment", "signing key", "key", "encryption key", "stored key",
            }
        }  # fmt: skip
        # A shape that the memory probe knows, and no quote in a header.
        self.secrets["model's key"] = f"canary-key-{secrets.token_hex(8)}"
        self.output: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self.names: dict[str, Any] = {}
        self._before: dict[str, bytes | None] = {}
        self.model = ScriptedMessages(api_key=self.secrets["model's key"], keep=5000)

    # ---- the deployment ----

    def _plant(self) -> None:
        put = self.secrets
        for folder in ("work", "config/projects/x", "movable"):
            (self.other / folder).mkdir(parents=True)
        (self.other / "work" / "private.txt").write_text(put["other's file"])
        note = {"cells": [{"cell_type": "markdown", "metadata": {},
                           "source": [put["other's notebook"]]}],
                "metadata": {}, "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
        (self.other / "work" / "private.ipynb").write_text(json.dumps(note))
        (self.other / "movable" / "private.txt").write_text(put["other's movable"])
        (self.other / "config/projects/x/y.jsonl").write_text(put["other's transcript"])
        (self.other / "config" / ".credentials.json").write_text(put["other's sign-in"])
        (self.home / "people" / "other").mkdir(mode=0o700, parents=True)
        own = self.home / "people" / "other" / ".credentials.json"
        own.write_text(put["other's own sign-in"])
        (self.home / "secrets" / "bridge.keys").write_text(
            f"{secrets.token_hex(32)}\n{put['signing key']}-{secrets.token_hex(16)}\n"
        )
        sealing = self.home / "secrets" / "encryption.keys"
        sealing.write_text(f"{put['encryption key']}-{secrets.token_hex(16)}\n")
        sealing.chmod(0o600)
        (self.home / ".netrc").write_text(put["home"])
        key = put["model's key"]
        (self.home / ".env").write_text(f"AGENT_API_KEY={key}\n")
        (self.home / "cli").mkdir()
        shutil.copy2(bundled_cli(), self.home / "cli" / "claude")
        for folder in ("cwd", "changed", "cc-socks"):
            (self.out / folder).mkdir()
        (self.out / "cwd" / "in-cwd.txt").write_text(put["cwd"])
        (self.out / "in-tmp.txt").write_text(put["temporary"])
        (self.out / "cc-socks" / "secret").write_text(put["temporary"])
        (self.out / "changed" / "tool-edit").write_text("before\n")
        work = self.home / "workspaces" / "w1" / "work"
        work.mkdir(parents=True)
        (work / "planted-link").symlink_to(self.other / "work")
        (work / "planted-out").symlink_to(self.out / "changed")
        give(self.out)
        give(self.home)
        if IS_ROOT:
            (self.out / "roots.txt").write_text(put["root's file"])
            (self.out / "roots.txt").chmod(0o600)

    async def start(self) -> None:
        self._plant()
        await self.model.start()
        self.bystander = await asyncio.create_subprocess_exec(
            *before(self.out), sys.executable, "-m", "tests.isolation.bystander", str(self.out),
            self.secrets["argument"], cwd=REPOSITORY, stdin=-1, stdout=-1,
            env={"PATH": "/usr/bin:/bin", "BYSTANDERS": self.secrets["environment"]},
        )  # fmt: skip
        assert self.bystander.stdin is not None
        assert self.bystander.stdout is not None
        self.bystander.stdin.write(json.dumps(self.secrets).encode() + b"\n")
        self.by = json.loads(await self.bystander.stdout.readline())
        self.agent = self.kind(self.home, self.model, **self._settings())
        self.work = self.agent.work
        await self.agent.start()
        admin = Caller(self.home, "admin")
        body = {"kind": "api_key", "secret": self.secrets["stored key"], "person": "p9"}
        status, answer = await admin.call("POST", "/v1/credentials", body)
        await admin.http.close()
        assert status == 200, answer

    def _settings(self) -> dict[str, Any]:
        return {
            "agent_api_key": self.secrets["model's key"],
            "agent_sandbox": "required" if self.sandboxed else "off",
            "agent_models": "claude-opus-*,claude-sonnet-*,claude-haiku-*",
            "agent_claude_cli": self.home / "cli" / "claude",
            "agent_egress": f"localhost:{self.by['tcp']},127.0.0.1:{self.by['tcp']}",
            "service_secret": self.secrets["environment"],
            "log_level": "debug",
        }

    async def stop(self) -> None:
        await self.agent.stop()
        await self.agent.no_sessions()
        assert self.bystander.stdin is not None
        self.bystander.stdin.close()
        await self.bystander.wait()
        await self.model.stop()
        for folder in ("/tmp", "/dev/shm"):  # what `LEAVE` left outside where there was no sandbox
            Path(folder, f"bsc-{self.agent.process.pid}-left").unlink(missing_ok=True)
        for folder in (self.home, self.out):
            shutil.rmtree(folder, ignore_errors=True)

    # ---- the attempts ----

    async def run(self) -> None:
        """Try every probe."""
        await self._tokens()
        self._variables()
        self._watch()
        await self._batch("leave", [Probe("leave", "Leaves things for later.", LEAVE)])
        near = self.other if self.sandboxed else self.work.parent
        await self._batch("neighbour", NEIGHBOUR, "c-neighbour", near, person="p2")
        for number, table in enumerate(TABLES):
            await self._batch(f"table-{number}", table)
        await self._tools()
        await self.agent.caller.call("POST", "/v1/conversations/c1/close")
        await self._batch("later", LATER, conversation="c-later")

    async def _turn(self, words: str, **fields: Any) -> Turn:
        turn = await self.agent.turn(words, **fields)
        self.events += turn.events
        while turn.last["kind"] == "turn.waiting":
            turn = await self.agent.decided(turn, "allow")
            self.events += turn.events
        assert turn.last["outcome"] == "completed", (words, turn.events, self._log())
        return turn

    def _log(self) -> str:
        return self.agent.log.read_text()[-3000:]

    async def _tokens(self) -> None:
        """Tokens of a session that has ended, and of one that stays."""
        near = "other" if self.sandboxed else "w1"
        self._write_reach(self.work)
        say = "run . ./reach.sh; own_token > token.txt"
        if self.sandboxed:
            self._write_reach(self.other / "work")
        words = self.secrets["other's prompt"]
        await self._turn(f"say {words}", conversation="c0", workspace=near)
        await self._turn(say, conversation="c-old")
        self.old_token = (self.work / "token.txt").read_text().strip()
        await self.agent.caller.call("POST", "/v1/conversations/c-old/close")
        await self._turn(say, conversation="c0", workspace=near)
        file = (self.other / "work" if self.sandboxed else self.work) / "token.txt"
        self.others_token = file.read_text().strip()
        assert self.old_token.startswith("bsct-")
        assert self.others_token.startswith("bsct-")
        sockets = [path for path in self.home.glob("run/s/*/model.sock") if path.is_socket()]
        self.other_socket = str(sockets[0] if sockets else self.out / "by.sock")

    def _variables(self) -> None:
        service = self.agent.process.pid
        self.names = {
            "DEPLOYMENT": self.home, "OTHER": self.other, "OUT": self.out, "WORK": self.work,
            "SERVICE": service, "BYSTANDER": self.by["pid"], "CLI": self.home / "cli" / "claude",
            "PORT": self.by["tcp"], "UDP": self.by["udp"],
            "KEY": self.by["key"], "SHM": self.by["shm"], "UPSTREAM": self.model.url,
            "OTHERS_TOKEN": self.others_token, "OLD_TOKEN": self.old_token,
            "OTHER_SOCKET": self.other_socket, "HOST_IP": address(),
            "HOST_NAME": socket.gethostname(),
        }  # fmt: skip
        for kind in ("pid", "net", "ipc", "mnt", "user", "uts"):
            self.names[f"NS_{kind}"] = Path(f"/proc/{service}/ns/{kind}").readlink()
        self._write_reach(self.work)
        if IS_ROOT:
            shutil.copy("/bin/cat", self.work / "suid-cat")

    def _write_reach(self, folder: Path) -> None:
        (folder / "probes").mkdir(exist_ok=True)
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in self.names.items()]
        if self.names:  # its name is a secret too, which must not lie about
            hidden = base64.b64encode(self.by["abstract"].encode()).decode()
            lines.append(f"ABSTRACT=$(echo {hidden} | base64 -d)")
        (folder / "reach.sh").write_text("\n".join([*lines, REACH.read_text()]))
        give(folder)

    def _changed(self) -> dict[str, bytes | None]:
        folder = self.out / "changed"
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def _watch(self) -> None:
        self._before = self._changed()

    async def _batch(
        self,
        name: str,
        table: Iterable[Probe],
        conversation: str = "c1",
        workspace: Path | None = None,
        person: str = "p1",
        **fields: Any,
    ) -> None:
        """Try some probes in one command: in `w1`, if no other workspace is given."""
        base = workspace or self.work.parent
        work = base / "work"
        self._write_reach(work)
        probes = work / "probes"
        run = [f"cd {shlex.quote(str(work))}"]
        for probe in table:
            script = probes / f"{probe.name}.sh"
            script.write_text(f". ./reach.sh\nMARK={probe.name}\n{probe.script}\n")
            run.append(
                f"timeout -k 1 8 bash probes/{probe.name}.sh > probes/{probe.name}.out 2>&1 "
                "</dev/null"
            )
        (probes / f"{name}.run").write_text("\n".join([*run, f"echo {CONFIRMED}"]))
        give(work)
        if IS_ROOT:
            os.chown(self.work / "suid-cat", 0, 0)
            (self.work / "suid-cat").chmod(0o4755)
        turn = await self._turn(
            f"run bash probes/{name}.run",
            conversation=conversation,
            workspace=base.name,
            asker={"person": person, "name": person},
            **fields,
        )
        assert CONFIRMED in turn.text, (turn.events, self._log())
        for probe in table:
            found = (probes / f"{probe.name}.out").read_bytes()
            self.output[probe.name] = found.decode("utf-8", "replace")

    async def _tools(self) -> None:
        for probe in TOOLS:
            words = probe.script
            for name, value in self.names.items():
                words = words.replace(f"${name}/", f"{value}/").replace(f"${name}", str(value))
            before = len(self.events)
            turn = await self._turn(words)
            self.output[probe.name] = turn.text + json.dumps(self.events[before:])

    # ---- what came of them ----

    def succeeded(self, probe: Probe) -> bool:
        """Whether the probe's success shows, in the way of its row."""
        output = self.output[probe.name]
        match probe.shows:
            case Leak(secret):
                return self.secrets[secret] in output
            case Changed(file):
                return self._changed().get(file) != self._before.get(file)
            case Asked():
                return any(self._is_asked(probe, request) for request in self.model.requests)
            case _:
                return "ESCAPED" in output

    def _is_asked(self, probe: Probe, request: Any) -> bool:
        if request.headers.get("x-api-key") != self.secrets["model's key"]:
            return False
        marked = (request.body or {}).get("metadata") or {}
        return marked.get("user_id") == probe.name or f"mark={probe.name}" in request.path

    def texts(self) -> dict[str, bytes]:
        """All that the service and its sessions wrote, and every event, by where it stands."""
        return {**traces.files([self.home]), "events": json.dumps(self.events).encode()}

    def leaked(self, text: str) -> list[str]:
        """The names of the secrets that stand in a text."""
        return [name for name, secret in self.secrets.items() if secret in text]
