"""The options of a session: what the CLI may read, see and be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import claude_agent_sdk
from claude_agent_sdk import ClaudeAgentOptions, HookMatcher, McpSdkServerConfig

from agent_service.claude.gate import Gate
from agent_service.claude.outgoing import SEND_FILE, SERVER
from agent_service.contract.turns import Mode
from agent_service.sandbox.launch import Launch
from agent_service.turns.port import Opening

DISALLOWED = ["SendMessage", "ListAgents", "CronCreate", "ScheduleWakeup", "Monitor", "Workflow"]
"""Tools that act outside the turn: between sessions, or later by themselves."""

# disableAutoMode: plan mode would otherwise ask a classifier on the server.
PERMISSIONS = {"disableAutoMode": "disable"}

MAX_FRAME = 32 * 1024 * 1024
"""Bytes of one message from the CLI, such as a tool result with an image."""

HOUSE_RULES = (
    "You are reached by chat. Some tool calls need a person's answer, which may take hours: "
    "make such a call alone in its message, and in the main session, not in a subagent. "
    "Where a proxy refuses a host with 403, it is not allowed here and there is no other way to "
    "it: say which host you need and what for, and go on without it as far as you can. "
    f"A file that the person should have is sent with the tool {SEND_FILE}; what they send lies in "
    "inbox/."
)


def bundled_cli() -> Path:
    """The CLI that came with the SDK."""
    return Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


def environment(retries: int, *, own: bool = False) -> dict[str, str]:
    """How the CLI behaves, by its environment; `retries` of a model that fails; `own` where it
    finds the model and a sign-in by itself. All else is the launcher's."""
    routed = {} if own else {"CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1"}
    return {
        **routed,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CODE_MAX_RETRIES": str(retries),
        "DISABLE_AUTOUPDATER": "1",
    }


def starting_mode(opening: Opening) -> Mode:
    """A session with an unresolved call starts in a mode that lets nothing by: the callback alone
    settles it. A plan is only taken, or sent back, in the mode `plan`, which is as strict."""
    if opening.release is None:
        return opening.policy.mode
    return "plan" if opening.release.tool == "ExitPlanMode" else "default"


def options(
    opening: Opening,
    gate: Gate,
    instructions: str,
    launched: Launch,
    sending: McpSdkServerConfig,
    stderr: Callable[[str], None],
    *,
    bypass: bool,
) -> ClaudeAgentOptions:
    """Options under which workspace files configure nothing and every call passes the gate.

    `bypass`: the mode bypassPermissions may be chosen. No rule is among them but
    those by which a denied call asks: what a session was started with it keeps, so rules come by
    `ClaudeSession.govern`.
    """
    append = HOUSE_RULES
    release = opening.release
    asks = {"ask": list(release.must_ask)} if release is not None and release.must_ask else {}
    settings = {"permissions": {**PERMISSIONS, **asks}, "skipWebFetchPreflight": True}
    if instructions.strip():
        append += f"\n\nThe workspace's own instructions (CLAUDE.md):\n\n{instructions}"
    return ClaudeAgentOptions(
        cli_path=launched.script,
        stderr=stderr,
        cwd=opening.workspace.work,
        env=launched.environment,
        setting_sources=[],
        strict_mcp_config=True,
        mcp_servers={SERVER: sending},
        settings=json.dumps(settings),
        system_prompt={"type": "preset", "preset": "claude_code", "append": append},
        permission_mode=starting_mode(opening),
        # Resumed without one, the CLI goes on with the model that answered last (observed).
        model=opening.model or ("default" if opening.resume else None),
        disallowed_tools=list(DISALLOWED),
        can_use_tool=gate.can_use_tool,
        hooks={"PreToolUse": [HookMatcher(hooks=[gate.pre_tool_use])]},
        include_partial_messages=True,
        session_id=None if opening.resume else opening.session_id,
        resume=opening.session_id if opening.resume else None,
        max_buffer_size=MAX_FRAME,
        extra_args={"allow-dangerously-skip-permissions": None} if bypass else {},
    )
