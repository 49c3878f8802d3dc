"""The gate that every tool call passes: a hook that defers, a callback that releases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from claude_agent_sdk import (
    HookContext,
    PermissionResultAllow,
    PermissionResultDeny,
    PermissionUpdate,
    ToolPermissionContext,
)
from claude_agent_sdk.types import HookInput, HookJSONOutput

from agent_service.claude import show
from agent_service.claude.calls import MessageCalls
from agent_service.claude.outgoing import SEND_FILE
from agent_service.policy.asks import EDITS, why_it_asks
from agent_service.policy.canonical import (
    LARGEST,
    TOO_LARGE,
    input_sha256,
    same_target,
    target_sha256,
)
from agent_service.policy.effective import Effective
from agent_service.turns.port import Release, SessionFailed
from agent_service.workspaces.directory import Workspace

_log = structlog.get_logger(__name__)

ALONE = (
    "This call needs a person's answer, and so do others of the same message. "
    "Make this call again, alone in its message."
)
MAIN_SESSION = (
    "This call needs a person's answer, which a subagent cannot wait for. "
    "Report back, and let the main session make the call."
)
AGAIN = "This call needs a person's answer. Make exactly the same call again, alone."
OVER = "This call is not let go: its turn was stopped, or it was let go before."
PLANNING = (
    "You are in plan mode: nothing is changed before the plan is approved. Present your plan."
)
CHANGED = (
    "The call, or the file it changes, is not what the person was shown, so it was not run. "
    "Look again and make the call anew."
)
LARGE = (
    f"The file is larger than {LARGEST >> 20} MiB, and of so large a file nobody can be shown what "
    "an edit changes, so it was not run. Change it by a command instead."
)


def _decision(verdict: str, reason: str = "") -> HookJSONOutput:
    output: dict[str, Any] = {"hookEventName": "PreToolUse", "permissionDecision": verdict}
    if reason:
        output["permissionDecisionReason"] = reason
    return {"hookSpecificOutput": output}  # type: ignore[typeddict-item]


class Gate:
    """Decides for one session. `policy` follows what holds for the session."""

    def __init__(
        self,
        workspace: Workspace,
        policy: Effective,
        calls: MessageCalls,
        release: Release | None,
        settled: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """`settled` is called once the unresolved call of a resumed session was answered."""
        self.policy = policy
        self._workdir = workspace.work
        self._plans = workspace.config / "plans"
        self._calls = calls
        self._release = release
        self._settled = settled
        self._must_ask: set[str] = set()
        self._asked = asyncio.Event()
        self._governed: asyncio.Task[None] | None = None

    def _asks(self, tool: str, tool_input: dict[str, Any]) -> bool:
        asked_before = input_sha256(tool, tool_input) in self._must_ask
        return asked_before or bool(self.why(tool, tool_input))

    def why(self, tool: str, tool_input: dict[str, Any]) -> str:
        """Why a call asks, in words for people; empty where it seems not to."""
        return why_it_asks(tool, tool_input, self.policy, self._workdir, self._plans)

    @property
    def holds_release(self) -> bool:
        """A call lies unresolved that was not asked for yet."""
        return self._release is not None

    async def asked_within(self, seconds: float) -> bool:
        """Whether the call that was to be settled is asked for in time. Later it is not let go."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            if self._asked.is_set():
                return True
            self._release = None
            return False
        return True

    async def ran(self, tool_use_id: str) -> None:
        """A call has its result. The one that lay unresolved may have run without being asked for:
        the CLI took it for harmless."""
        release = self._release
        if release is None or release.tool_use_id != tool_use_id:
            return
        self._release = None
        self._asked.set()
        if release.allow and release.record is not None:
            await release.record()
        # Not waited for here: the CLI answers only while somebody reads what it says.
        self._governed = asyncio.create_task(self._settled())
        self._governed.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def governed(self) -> None:
        """Returns once the session has its own policy. Raises `SessionFailed`."""
        if self._governed is not None:
            await asyncio.shield(self._governed)

    async def pre_tool_use(
        self, hook_input: HookInput, tool_use_id: str | None, _context: HookContext
    ) -> HookJSONOutput:
        """Defer a call that needs a person. Of several in one message only the last can be."""
        try:
            await self.governed()
        except SessionFailed:
            return _decision("deny", OVER)
        data: dict[str, Any] = dict(hook_input)
        tool, tool_input = str(data["tool_name"]), dict(data["tool_input"])
        if tool_use_id is None or not self._asks(tool, tool_input):
            # Otherwise some modes would deny it, for want of somebody to ask.
            return _decision("allow") if tool == SEND_FILE and tool_use_id else {}
        if self.policy.mode == "plan" and tool in EDITS:
            return _decision("deny", PLANNING)
        if not self._calls.started:
            return {}  # left over from before a resume: the callback settles it, or denies it
        if data.get("agent_id"):  # a deferral inside a subagent is lost without a word
            return _decision("deny", MAIN_SESSION)
        asking = [c for c in await self._calls.siblings(tool_use_id) if self._asks(c.tool, c.input)]
        if len(asking) > 1 and asking[-1].id != tool_use_id:
            return _decision("deny", ALONE)
        return _decision("defer")

    async def can_use_tool(
        self, tool: str, tool_input: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResultAllow | PermissionResultDeny:
        """Let go exactly the call that was decided, once. Anything else is denied at once:
        nobody is ever waited for in here."""
        release = self._release
        if release is None or release.tool_use_id not in ("", context.tool_use_id):
            if tool == SEND_FILE and not self._asks(tool, tool_input):
                return PermissionResultAllow(updated_input=tool_input)
            self._must_ask.add(input_sha256(tool, tool_input))
            agent = getattr(context, "agent_id", None)
            return PermissionResultDeny(message=MAIN_SESSION if agent else AGAIN)
        self._release = None
        self._asked.set()
        await self._settled()
        if not release.allow:
            return PermissionResultDeny(message=release.message, interrupt=release.stop)
        same = (
            tool == release.tool
            and input_sha256(tool, tool_input) == release.input_sha256
            and same_target(
                release.file_sha256,
                await asyncio.to_thread(target_sha256, tool, tool_input, self._workdir),
            )
        )
        if not same:
            _log.warning("release.changed", tool=tool)
            large = release.file_sha256 == TOO_LARGE
            return PermissionResultDeny(message=LARGE if large else CHANGED)
        if release.record is not None and not await release.record():
            return PermissionResultDeny(message=OVER, interrupt=True)
        if tool == "AskUserQuestion":
            answers = show.answers(tool_input, release.answers)
            return PermissionResultAllow(updated_input={**tool_input, "answers": answers})
        if tool == "ExitPlanMode":
            # By itself the CLI would go on in `default`.
            mode = PermissionUpdate(type="setMode", mode=self.policy.mode, destination="session")
            return PermissionResultAllow(updated_input=tool_input, updated_permissions=[mode])
        return PermissionResultAllow(updated_input=tool_input)
