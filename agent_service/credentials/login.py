"""The unmodified CLI's own `auth` commands, in one person's config directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agent_service.contract.credentials import SignInKind, TestResult
from agent_service.contract.redaction import hide_text
from agent_service.credentials.directory import LARGEST, OWN, TOKENS, ready
from agent_service.sandbox.launch import with_the_service

STATUS_SECONDS = 30
TEST_SECONDS = 60
LOGOUT_SECONDS = 30
"""The CLI itself gives the provider 5 s."""
PIPE_SECONDS = 2
# One word of answer, no tool, no settings.
_TEST = ("-p", "say ok", "--output-format", "json", "--tools", "", "--no-session-persistence")
_TEST_CLEAN = (*_TEST, "--setting-sources", "", "--strict-mcp-config")
CONSOLE_KEYS = "https://platform.claude.com/settings/keys"


class LoginFailed(Exception):
    """The CLI could not be run, or said what we do not understand. Both texts are for people."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start, with its whole environment."""

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


class Cli(Protocol):
    async def command(self, config: Path, words: Sequence[str]) -> Command:
        """The CLI with these arguments on this config directory.

        Where there is a sandbox, it runs in one that shows this directory only and lets out to the
        hosts of the sign-in only. It dies with the service.
        """
        ...


def environment(config: Path, home: str) -> dict[str, str]:
    """All that the CLI needs to be told for a sign-in."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "CLAUDE_CONFIG_DIR": str(config),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "BROWSER": "true",  # the page belongs on the person's screen, not on this machine's
    }


class PlainCli:
    """The CLI without a sandbox: to sign out what is left over where that is off."""

    def __init__(self, cli: Path, environment: Mapping[str, str]) -> None:
        """`environment` is all it gets besides what a sign-in needs."""
        self._cli = cli
        self._environment = environment

    async def command(self, config: Path, words: Sequence[str]) -> Command:
        start = (*with_the_service("--no-new-privs"), str(self._cli))
        whole = {**environment(config, str(config)), **self._environment}
        return Command((*start, *words), whole, config)


@dataclass(frozen=True, slots=True)
class Status:
    """Who is signed in, as the CLI has it noted; whether that still holds, only a test tells."""

    kind: SignInKind | None
    account: str = ""
    plan: str = ""


class ClaudeLogin:
    """The commands. Each raises `LoginFailed` and leaves no process, cancelled ones too."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    async def begin(self, config: Path, kind: SignInKind) -> asyncio.subprocess.Process:
        """Start `auth login`. An earlier sign-in there stays until this one has succeeded."""
        flag = {"subscription": "--claudeai", "console": "--console"}[kind]
        return await self._start(config, ("auth", "login", flag))

    async def status(self, config: Path) -> Status:
        _, out, _ = await self._run(config, ("auth", "status"), STATUS_SECONDS)
        try:
            told: Any = json.loads(out)
            method, logged_in = told["authMethod"], told["loggedIn"]
        except (ValueError, KeyError, TypeError):
            raise LoginFailed(
                "The Claude CLI answered in a form that this release does not know.",
                remedy="An operator should check AGENT_CLAUDE_CLI, and run `bascule doctor`.",
            ) from None
        kind: SignInKind | None = None
        if logged_in is True and method == "claude.ai":
            kind = "subscription"
        elif logged_in is True and told.get("apiKeySource") == "/login managed key":
            kind = "console"
        account, plan = (str(told.get(k) or "")[:200] for k in ("email", "planTier"))
        return Status(kind, account, plan)

    async def test(self, config: Path) -> TestResult:
        """A real turn of one word."""
        _, out, err = await self._run(config, _TEST_CLEAN, TEST_SECONDS)
        try:
            told: Any = json.loads(out)
            if told["is_error"] is False:
                return TestResult("works", "The model answered.")
            said, status = str(told.get("result") or ""), told.get("api_error_status")
        except (ValueError, KeyError, TypeError):
            said, status = err or out, None
        said = hide_text(said.strip())[:300]
        words = said.lower()
        if status in (401, 403) or any(word in words for word in ("authenticat", "/login")):
            return TestResult(
                "refused", f"The sign-in was refused. It says: {said}", "Sign in again."
            )
        if status == 429 or "limit" in words:
            return TestResult("over_limit", f"It says: {said}", "Wait until the limit is reset.")
        if status is None and "connect" in words:
            return TestResult("unreachable", f"It says: {said}", "Check the network.")
        return TestResult("failed", f"The test turn failed. It says: {said}", "Try again later.")

    async def logout(self, config: Path, kind: SignInKind) -> str:
        """Sign out at the provider and here; gives one line about how that went.

        What lies here is deleted however the rest goes; then it raises what went wrong.
        """
        if not (config / TOKENS).exists() and not (config / OWN).exists():
            return "There was nothing left here."
        try:
            code, out, err = await self._run(config, ("auth", "logout"), LOGOUT_SECONDS)
        finally:
            self.delete(config)
        said = hide_text((err or out).strip())[:300]
        if code != 0:
            raise LoginFailed(f"`claude auth logout` failed: {said}")
        if kind == "console":
            # Observed: for a key of the Console the CLI calls nobody.
            return f"Deleted here. Delete the key itself at {CONSOLE_KEYS}."
        return said

    @staticmethod
    def delete(config: Path) -> None:
        """Delete what lies here."""
        (config / TOKENS).unlink(missing_ok=True)
        (config / OWN).unlink(missing_ok=True)

    # ---- processes ----

    async def _start(self, config: Path, words: Sequence[str]) -> asyncio.subprocess.Process:
        try:
            await asyncio.to_thread(ready, config)
        except OSError as error:
            raise LoginFailed(
                f"The sign-in's folder cannot be prepared: {os.strerror(error.errno or 0)}.",
                remedy="An operator should look at the disk.",
            ) from None
        command = await self._cli.command(config, words)
        try:
            return await asyncio.create_subprocess_exec(
                *command.words,
                env=dict(command.environment),
                cwd=command.folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=LARGEST,
            )
        except OSError as error:
            raise LoginFailed(
                f"The Claude CLI cannot be started: {os.strerror(error.errno or 0)}.",
                remedy="An operator should check AGENT_CLAUDE_CLI, and run `bascule doctor`.",
            ) from None

    async def _run(
        self, config: Path, words: Sequence[str], seconds: float
    ) -> tuple[int, str, str]:
        process = await self._start(config, words)
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate(b"")
        except TimeoutError:
            name = " ".join(words[:2])
            raise LoginFailed(
                f"`claude {name}` did not end within {seconds:g} s.", remedy="Try again later."
            ) from None
        finally:
            await end(process)
        code = process.returncode or 0
        if code in (126, 127):  # what starts it could not
            raise LoginFailed(
                f"The Claude CLI cannot be started: {err.decode(errors='replace').strip()[:200]}",
                remedy="An operator should check AGENT_CLAUDE_CLI, and run `bascule doctor`.",
            )
        return code, out.decode(errors="replace"), err.decode(errors="replace")


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process with all that it started. Nobody may be reading from it. Safe to repeat."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PIPE_SECONDS):
            await process.communicate()  # its pipes are closed with this
