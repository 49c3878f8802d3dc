"""One live Claude Code process behind the port that turns are run through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import structlog
from claude_agent_sdk import (
    ClaudeSDKClient,
    ClaudeSDKError,
    ResultMessage,
    StreamEvent,
    SystemMessage,
)

from agent_service.claude import options, prompt
from agent_service.claude.calls import MessageCalls
from agent_service.claude.gate import Gate
from agent_service.claude.outgoing import Outgoing
from agent_service.claude.outward import Outward
from agent_service.claude.own import OwnAccount
from agent_service.claude.translate import Translator
from agent_service.contract.budgets import Budget
from agent_service.contract.events import EgressRefused, ToolFinished
from agent_service.contract.turns import TurnRequest
from agent_service.policy.effective import Effective
from agent_service.sandbox.launch import Launch
from agent_service.sandbox.watchdog import Breach, Watchdog
from agent_service.turns.port import Deferred, Ended, Opening, SessionFailed, SessionItem

_log = structlog.get_logger(__name__)

CLOSE_SECONDS = 2
"""How long an idle CLI may take to end by itself (it takes 0.05 s)."""
AT_REST_SECONDS = 5
"""How long a session may take to ask for a call that does not seem to lie in it any more."""
BUSY_CLOSE_SECONDS = 0.2
"""The same in the middle of a turn, where it does not end before its turn has."""
MOST_NAMED = 20
"""Refused hosts that one prompt tells of; the audit log has all."""
CRASHED = Ended(
    "failed",
    "agent_crashed",
    "The agent's process ended in the middle.",
    "Retry, or just go on: the conversation so far is kept.",
    broken=True,
)
NOT_THERE = Ended(
    "failed",
    "interrupted",
    "The service stopped in the middle, and the agent does not have the allowed call any more: it "
    "is not being run now.",
    "Look at the state of things, then retry.",
    broken=True,
)
HEARD = Ended(
    "failed",
    "interrupted",
    "The service stopped when the agent had its answer already, and before it went on. Nothing is "
    "being run now.",
    "Look at the state of things, then retry it or go on.",
    broken=True,
)
NOT_WATCHED = Ended(
    "failed",
    "agent_crashed",
    "The agent was ended: what it takes of the machine could not be watched any more.",
    "Retry; if it happens again, an operator should look at the agent service's log.",
    broken=True,
)
OVER_LIMIT = Ended(
    "failed", "over_limit", "", "Ask for less at once, or free space in the workspace.", broken=True
)


class ClaudeSession:
    """A connected client. Made by `ClaudeSessions`."""

    def __init__(
        self,
        client: ClaudeSDKClient,
        gate: Gate,
        calls: MessageCalls,
        opening: Opening,
        outward: Outward,
        launched: Launch,
        own: OwnAccount | None,
        outgoing: Outgoing,
        *,
        news: Callable[[], str],
        at_rest: bool,
    ) -> None:
        """`own` where it runs on a person's own sign-in. `news` is what the next prompt has to say
        besides. `at_rest`: it was opened to settle what may lie unresolved, and nothing does."""
        self._news = news
        self._outgoing = outgoing
        self._own = own
        self.model = opening.model or ""
        self._outward = outward
        self._launched = launched
        self._client = client
        self._gate = gate
        self._calls = calls
        self._opening = opening
        self._at_rest = at_rest
        self._busy = False
        self._closing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._watchdog: Watchdog | None = None
        self._broke_off = CRASHED
        self._counted = launched.token.spend.usd
        self._governing = asyncio.Lock()
        self._applied = gate.policy
        self._then = opening.release.then if opening.release is not None else gate.policy

    async def connect(self) -> None:
        """Start the process. Raises `ClaudeSDKError`."""
        await self._client.connect()

    def cleaned(self, text: str) -> str:
        """Without what must not leave the session."""
        return self._outward.text(text)

    def watch(self, watchdog: Watchdog | None) -> None:
        """End the session when it takes more of the machine than it may."""
        self._watchdog = watchdog
        if watchdog is not None:
            self._watching = asyncio.create_task(self._watch(watchdog))

    async def _watch(self, watchdog: Watchdog) -> None:
        try:
            await watchdog.run()
        except Breach as breach:
            _log.warning(
                "session.over_limit", conversation=self._opening.conversation, reason=str(breach)
            )
            self._broke_off = _over(str(breach))
            await asyncio.to_thread(self._launched.end)
        except Exception:  # noqa: BLE001 - whatever it is: what nobody watches must not go on
            _log.exception("session.not_watched", conversation=self._opening.conversation)
            self._broke_off = NOT_WATCHED
            await asyncio.to_thread(self._launched.end)

    @property
    def memory(self) -> int | None:
        """What its watchdog saw last."""
        return None if self._watchdog is None else self._watchdog.memory

    def charge(self, turn_id: str, person: str, budgets: tuple[Budget, ...]) -> None:
        """What is used from here on is used by this person's turn."""
        token = self._launched.token
        # A call that was let go may have run already, while its session was opened.
        if token.turn not in ("", turn_id):
            self._launched.take_refusals()
        token.turn, token.person, token.budgets = turn_id, person, budgets

    async def prompt(self, request: TurnRequest) -> None:
        """Hand over a prompt as blocks that the CLI does not expand."""

        work = self._opening.workspace.work
        content = await asyncio.to_thread(lambda: prompt.content(request, work, self._news()))
        self._outgoing.begin()

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield {
                "type": "user",
                "message": {"role": "user", "content": content},
                "parent_tool_use_id": None,
            }

        self._at_rest = False
        try:
            await self._client.query(one())
        except ClaudeSDKError:
            # The process is gone; `items` says so.
            _log.warning("session.gone", conversation=self._opening.conversation)

    async def items(self) -> AsyncIterator[SessionItem]:
        """Events, then one `Deferred` or `Ended`."""
        if self._at_rest:
            self._at_rest = False
            release = self._opening.release
            if release is None or release.stop:
                yield Ended("completed")
                return
            # The agent may have given the call up when it saw the service go, and take it up again
            # all the same: it is let go, or denied, where it asks for it.
            if not await self._gate.asked_within(AT_REST_SECONDS):
                yield NOT_THERE if release.allow else HEARD
                return
        self._busy = True
        own, work = self._own, self._opening.workspace.work
        translator = Translator(
            work, self._cost, self._outward, self._gate.why, own=own is not None
        )
        named: set[tuple[str, int]] = set()
        try:
            async for message in self._client.receive_response():
                if own is not None:
                    own.see(message)
                if isinstance(message, StreamEvent) and message.parent_tool_use_id is None:
                    await self._calls.see(message.event)
                elif isinstance(message, SystemMessage) and message.subtype == "init":
                    self.model = str(message.data.get("model", self.model))
                translated = translator.items(message)
                if isinstance(message, ResultMessage) and message.deferred_tool_use is not None:
                    # Files are read for that.
                    translated = iter(await asyncio.to_thread(list, translated))
                items = [*self._refused(named), *self._outgoing.take(), *translated]
                if own is not None:
                    own.account(message, self.model)
                for item in items:
                    if isinstance(item, ToolFinished):
                        await self._gate.ran(item.id)
                    last = isinstance(item, (Deferred, Ended))
                    if last:
                        await self._gate.governed()
                    self._busy = not last
                    if own is not None and isinstance(item, Ended):
                        await own.ended(item)
                    yield self._outward.item(item)
                    if last:
                        return
        except Exception as error:  # noqa: BLE001 - the SDK raises whatever ended its reader
            _log.warning(
                "session.crashed",
                conversation=self._opening.conversation,
                reason=self._outward.text(str(error))[:300],
            )
        if self._broke_off is CRASHED and (overrun := self._overrun()):
            self._broke_off = _over(overrun)
        yield self._broke_off

    def _cost(self, message: ResultMessage) -> float:
        """US dollars since the last time: the broker's own count, or where there is none, what the
        tokens would have cost."""
        if self._own is not None:
            return self._own.cost(message, self.model)
        before, self._counted = self._counted, self._launched.token.spend.usd
        return self._counted - before

    def _overrun(self) -> str:
        """What the session took too much of, where that may be why the CLI is gone."""
        crowded = "" if self._watchdog is None else self._watchdog.crowded
        return self._launched.overrun() or crowded

    def _refused(self, named: set[tuple[str, int]]) -> Iterator[EgressRefused]:
        for attempt in self._launched.take_refusals():
            target = (attempt.host, attempt.port)
            if target not in named and len(named) < MOST_NAMED:
                named.add(target)
                yield EgressRefused(*target, attempt.reason)

    async def interrupt(self) -> None:
        """Ask the CLI to stop."""
        # It may be gone, or not listen: the SDK raises a bare Exception then.
        with contextlib.suppress(Exception):
            await self._client.interrupt()

    async def govern(self, policy: Effective) -> None:
        """From here on this mode and these rules hold, at once, in the middle of a turn too; where
        a call lies unresolved, once that is settled.

        Raises `SessionFailed`: a session that keeps laxer ones must not be used.
        """
        async with self._governing:
            self._then = policy
            if not self._gate.holds_release:
                await self._apply(policy)

    async def _apply(self, policy: Effective) -> None:
        before, self._applied, self._gate.policy = self._applied, policy, policy
        rules = {"allow": policy.allow, "ask": policy.ask, "deny": policy.deny}
        try:
            if rules != {"allow": before.allow, "ask": before.ask, "deny": before.deny}:
                await self._set_rules({name: list(given) for name, given in rules.items()})
            if policy.mode != before.mode:
                await self._client.set_permission_mode(policy.mode)
        except Exception as error:
            _log.warning(
                "session.not_governed",
                conversation=self._opening.conversation,
                reason=self._outward.text(str(error))[:300],
            )
            raise SessionFailed(CRASHED) from error

    async def _set_rules(self, rules: dict[str, list[str]]) -> None:
        # The SDK has no call of its own for this request of the CLI's protocol. Unlike rules that
        # a session is started with, these replace those of the last such request (observed).
        query = self._client._query
        if query is None:
            raise SessionFailed(CRASHED)
        permissions = {**options.PERMISSIONS, **rules}
        await query._send_control_request(
            {"subtype": "apply_flag_settings", "settings": {"permissions": permissions}}
        )

    async def settled(self) -> None:
        """The unresolved call was answered: from here on the session has its own policy."""
        async with self._governing:
            await self._apply(self._then)

    async def close(self, *, at_once: bool = False) -> None:
        """End the process and all that it started. Never raises; whoever calls waits for it."""
        if at_once:
            await asyncio.to_thread(self._launched.end)
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        disconnecting = asyncio.create_task(self._client.disconnect())
        patience = BUSY_CLOSE_SECONDS if self._busy else CLOSE_SECONDS
        await asyncio.wait({disconnecting}, timeout=patience)
        # Cancelling the SDK here would leave the process to itself: killed, it comes to its end.
        if self._watching is not None:
            self._watching.cancel()
        # Closing must not fail, whatever state the CLI or the disk is in.
        try:
            await self._launched.close()
        except Exception:  # noqa: BLE001
            _log.exception("session.close_failed", conversation=self._opening.conversation)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await disconnecting
        except Exception:  # noqa: BLE001
            _log.exception("session.close_failed", conversation=self._opening.conversation)


def _over(why: str) -> Ended:
    return replace(OVER_LIMIT, message=f"The agent was ended. {why}")
