"""How a script's tool calls fit what the CLI offers: absolute paths, tools that go by other names,
and what has to be done before a call."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

from agent_service.testing.request import Request
from agent_service.testing.steps import Call

_BASH = "Run what the script asks for"


def fitted(call: Call, request: Request) -> Call:
    """The call as the CLI of this request takes it."""
    if call.tool == "Agent" and "Agent" not in request.tools and "Task" in request.tools:
        return Call("Task", call.input)
    # CLIs with search built into their shell offer neither of these.
    if call.tool == "Glob" and "Glob" not in request.tools:
        pattern = str(call.input.get("pattern", ""))
        how = ["-path", f"./{pattern}"] if "/" in pattern else ["-name", pattern]
        return _bash(["find", ".", *how])
    if call.tool == "Grep" and "Grep" not in request.tools:
        return _bash(["grep", "-rn", "-e", str(call.input.get("pattern", "")), "."])
    path = call.input.get("file_path")
    if isinstance(path, str) and request.cwd:
        return Call(call.tool, {**call.input, "file_path": posixpath.join(request.cwd, path)})
    return call


def _bash(words: list[str]) -> Call:
    return Call("Bash", {"command": shlex.join(words), "description": _BASH})


def preparations(calls: Sequence[Call], request: Request) -> list[Call]:
    """What has to be done before these calls."""
    before: list[Call] = []
    search = [call.tool for call in calls if request.offers_on_search(call.tool)]
    if search:
        names = ",".join(dict.fromkeys(search))
        before.append(Call("ToolSearch", {"query": f"select:{names}", "max_results": len(search)}))
    for call in calls:
        path = str(call.input.get("file_path", ""))
        if call.tool == "ExitPlanMode" and request.plan_file:
            given = {"file_path": request.plan_file, "content": str(call.input.get("plan", ""))}
            before.append(Call("Write", given))
        if call.tool == "Edit" and not request.touched(path):
            before.append(Call("Read", {"file_path": path}))
    return before
