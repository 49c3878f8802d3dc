"""The agent service without a CLI: it speaks `/v1` and plays the script of each prompt.

For load and for the bridge's tests. Everything but the session is the real service: signatures,
store, numbering, decisions, budgets, restarts. The language is that of README.md, as far as it
needs no tool to run: calls are only told about, and those that need a person are deferred. Any host
is refused to a page that is fetched. Each step that was played counts as an answer of the model
`scripted`: a token in for every four characters of the prompt, and one out; `AGENT_PRICES_FILE`
says what that costs.

python -m agent_service.testing.scripted_service (settings as for `python -m agent_service`)
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

from agent_service import log
from agent_service.broker.broker import Broker
from agent_service.broker.meter import Tokens
from agent_service.broker.rules import Checked
from agent_service.broker.tokens import Grant, SessionToken
from agent_service.claude import show, trouble
from agent_service.claude.outgoing import SEND_FILE, Outgoing
from agent_service.contract.budgets import Budget
from agent_service.contract.events import (
    EgressRefused,
    Text,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from agent_service.contract.turns import TurnRequest, says_nothing
from agent_service.policy.asks import why_it_asks
from agent_service.policy.effective import Effective
from agent_service.service import AgentService
from agent_service.settings import AgentSettings, load
from agent_service.testing.script import parse
from agent_service.testing.steps import Calls, Drop, Echo, Fail, Hang, Say, Step, Think, Wrong
from agent_service.turns.port import (
    Deferred,
    Ended,
    Opening,
    Release,
    SessionFactory,
    SessionItem,
)

_WORDS = re.compile(r"\S+\s*")


class ScriptedSession:
    """One session. What it was asked and how far it came is kept beside the workspace."""

    def __init__(self, opening: Opening, broker: Broker) -> None:
        self.model = opening.model or "scripted"
        self._broker = broker
        grant = Grant(opening.session_id, opening.conversation, opening.workspace.id)
        self._token = SessionToken.mint(grant)
        self.charge(opening.turn, opening.person, opening.budgets)
        self._opening = opening
        self._state = opening.workspace.config / f"scripted-{opening.session_id}.json"
        self._stopped = asyncio.Event()
        self._policy = opening.policy
        self._release = opening.release
        self._outgoing = Outgoing(opening.workspace.work)

    def _read(self) -> tuple[str, int]:
        if not self._state.exists():
            return "", 0
        prompt, done = json.loads(self._state.read_text("utf-8"))
        return prompt, done

    def _write(self, prompt: str, done: int) -> None:
        self._state.write_text(json.dumps([prompt, done]), "utf-8")

    def charge(self, turn_id: str, person: str, budgets: tuple[Budget, ...]) -> None:
        token = self._token
        token.turn, token.person, token.budgets = turn_id, person, budgets

    async def prompt(self, request: TurnRequest) -> None:
        self._stopped.clear()
        prompt = request.prompt
        if says_nothing(prompt):
            prompt = f"say I see {', '.join(file.path for file in request.attachments)}"
        self._write(prompt, 0)

    async def items(self) -> AsyncIterator[SessionItem]:
        prompt, done = self._read()
        release, self._release = self._release, None
        if release is not None and not release.tool_use_id:
            yield Ended("completed")  # nothing lies unresolved here
            return
        tokens, usd = Tokens(), 0.0
        for index, step in enumerate(parse(prompt)):
            if index < done:
                continue
            bill = await self._broker.bill(self._token)
            checked = Checked(self.model, max_tokens=1, streams=True)
            most = self._broker.most_usd(checked, len(prompt) + 4)
            if refusal := await bill.begin(most):
                yield Usage(tokens.input, tokens.output, usd)
                yield trouble.ended(403, "", refusal)
                return
            try:
                async for item in self._play(step, index, release):
                    if isinstance(item, (Deferred, Ended)):
                        yield Usage(tokens.input, tokens.output, usd)
                    yield item
                    if isinstance(item, (Deferred, Ended)):
                        return
                answer = Tokens(len(prompt) // 4 + 1, output=1)
                usd += self._account(answer)
            finally:
                bill.end(most)
            tokens += answer
            self._write(prompt, index + 1)
            release = None
        yield Usage(tokens.input, tokens.output, usd)
        yield Ended("completed")

    def _account(self, answer: Tokens) -> float:
        token = self._token
        return self._broker.account(token, token.turn, token.person, "", self.model, answer)

    async def _play(
        self, step: Step, index: int, release: Release | None
    ) -> AsyncIterator[SessionItem]:
        if isinstance(step, Calls):
            async for item in self._call(step, index, release):
                yield item
        elif isinstance(step, Fail):
            yield Ended("failed", "model_error", f"The model answered {step.status}.", "Retry.")
        elif isinstance(step, Drop):
            yield Ended("failed", "model_unreachable", "The model broke off.", "Retry.")
        elif isinstance(step, (Think, Hang)):
            seconds = step.seconds if isinstance(step, Think) else 3600.0
            if await self._sleep(seconds):
                yield Ended("interrupted", "stopped", "Stopped.")
        else:
            text = step.text if isinstance(step, (Say, Echo)) else "ok"
            text = step.problem if isinstance(step, Wrong) else text
            words = _WORDS.findall(text) or [text]
            pause = step.seconds / len(words) if isinstance(step, Say) else 0.0
            for word in words:
                yield TextDelta(word)
                if pause and await self._sleep(pause):
                    yield Ended("interrupted", "stopped", "Stopped.")
                    return
            yield Text(text)

    async def _call(
        self, step: Calls, index: int, release: Release | None
    ) -> AsyncIterator[SessionItem]:
        workdir = self._opening.workspace.work
        for number, call in enumerate(step.calls):
            call_id, made = f"call_{index}_{number}", dict(call.input)
            if release is None:
                yield ToolStarted(call_id, call.tool, show.title(call.tool, made, workdir))
                if why := why_it_asks(call.tool, made, self._policy, workdir):
                    shown = show.decision(call.tool, made, workdir, why)
                    yield Deferred(call_id, call.tool, made, shown)
                    return
            allowed = release is None or release.allow
            if release is not None and release.allow and release.record is not None:
                allowed = await release.record()
            if allowed and call.tool == "WebFetch":
                yield EgressRefused(
                    urlsplit(str(made.get("url"))).hostname or "", 443, "not_listed"
                )
            if allowed and call.tool == SEND_FILE:
                allowed = not (await self._outgoing.send(made))["is_error"]
                for ready in self._outgoing.take():
                    yield ready
            yield ToolFinished(call_id, allowed, "done" if allowed else "not allowed")
            if release is not None and allowed and release.answers:
                chosen = ", ".join(text for texts in release.answers.values() for text in texts)
                yield Text(f"You chose: {chosen}")
            if release is not None and release.stop:
                yield Ended("completed")
                return

    async def _sleep(self, seconds: float) -> bool:
        """True if it was interrupted meanwhile."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return False
        return True

    @property
    def memory(self) -> int:
        return 0

    async def interrupt(self) -> None:
        self._stopped.set()

    async def govern(self, policy: Effective) -> None:
        self._policy = policy

    async def close(self, *, at_once: bool = False) -> None:
        self._stopped.set()


def _sessions(broker: Broker) -> SessionFactory:
    async def open_one(opening: Opening) -> ScriptedSession:
        return ScriptedSession(opening, broker)

    return open_one


def scripted_service(
    settings: AgentSettings, *, clock: Callable[[], float] = time.time
) -> AgentService:
    """The service on the settings' socket, without a CLI. Start and stop it like the real one."""
    return AgentService(settings, sessions=_sessions, clock=clock)


def main() -> int:
    """Serve until SIGTERM."""
    settings = load()
    log.configure(settings.log_format, settings.log_level)
    Path(settings.home).mkdir(parents=True, exist_ok=True)
    asyncio.run(scripted_service(settings).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
