"""The tool by which the agent gives a person a file of the workspace."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath
from typing import Any

from claude_agent_sdk import McpSdkServerConfig, ToolAnnotations, create_sdk_mcp_server, tool

from agent_service.claude.show import one_line
from agent_service.contract.errors import BadRequest, ServiceError
from agent_service.contract.events import FileReady
from agent_service.contract.workspaces import SEND_LIMIT
from agent_service.workspaces import beneath

SERVER = "bascule"
SEND_FILE = f"mcp__{SERVER}__send_file"
MOST = 20
"""Files that one prompt can send."""
CAPTION_LIMIT = 500
_WORDS = (
    "Send a file of the workspace to the person you are talking with; it appears in the chat. "
    "`path` is relative to the workspace; `caption` is one line about the file. Use it for what "
    f"they asked to have, at most {MOST} files at a time and {SEND_LIMIT >> 20} MiB a file."
)
_INPUT = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "caption": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}


class Outgoing:
    """One a session. What is sent is only told of here: whoever shows it fetches the file."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._ready: list[FileReady] = []
        self._sent = 0

    def begin(self) -> None:
        """A new prompt."""
        self._sent = 0

    def take(self) -> list[FileReady]:
        """What was sent since the last time."""
        ready, self._ready = self._ready, []
        return ready

    def server(self) -> McpSdkServerConfig:
        """The tool, for the options of the session."""
        hints = ToolAnnotations(readOnlyHint=True, openWorldHint=False)
        send = tool("send_file", _WORDS, _INPUT, hints)(self.send)
        made = create_sdk_mcp_server(SERVER, tools=[send])
        # Or the model would have to search for it first. The SDK's type does not know it.
        made["alwaysLoad"] = True  # type: ignore[typeddict-unknown-key]
        return made

    async def send(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the tool does; its result, as the model reads it."""
        try:
            found = await asyncio.to_thread(self._look, str(given["path"]))
            if self._sent >= MOST:
                raise BadRequest(
                    f"{MOST} files were sent already.", remedy="Put the rest into one archive."
                )
        except ServiceError as error:
            return _said(f"Not sent: {error.message} {error.remedy}".strip(), failed=True)
        self._sent += 1
        path, size = found
        name = PurePosixPath(path).name
        caption = one_line(str(given.get("caption", "")), CAPTION_LIMIT)
        self._ready.append(FileReady(path, name, size, caption))
        return _said(f"{path} is on its way to the person.")

    def _look(self, path: str) -> tuple[str, int]:
        """(its path in the workspace, its size). Follows no link. Raises `ServiceError`."""
        asked = PurePosixPath(path)
        if asked.is_absolute():
            if not asked.is_relative_to(self._work):
                raise BadRequest(
                    "That is outside the workspace.", remedy="Copy it into the workspace first."
                )
            asked = asked.relative_to(self._work)
        parts = beneath.parts_of(asked.as_posix())
        with beneath.opened(self._work) as top:
            handle, info = beneath.open_file(top, parts)
        os.close(handle)
        if info.st_size > SEND_LIMIT:
            raise BadRequest(
                f"The file has {info.st_size:,} bytes; {SEND_LIMIT:,} are possible.",
                remedy="Make it smaller, or split it.",
            )
        return "/".join(parts), info.st_size


def _said(text: str, *, failed: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "is_error": failed}
