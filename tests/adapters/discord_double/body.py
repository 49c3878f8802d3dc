"""What travels in requests and answers: messages, their files, and what Discord refuses in them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.adapters.discord_double.world import JSON, World


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


async def body_of(
    world: World, base: str, largest: int, request: web.Request, channel: str
) -> JSON:
    """What was posted, its files put on the content network."""
    if not request.content_type.startswith("multipart/"):
        return dict(await request.json())
    given: JSON = {}
    files: dict[str, tuple[str, bytes]] = {}
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if part.name == "payload_json":
            given = json.loads(await part.text())
        else:
            data = bytes(await part.read())
            files[part.name[6:-1]] = (part.filename or "file", data)
    if sum(len(data) for _, data in files.values()) > largest:
        raise Refused(413, 40005, "Request entity too large")
    attachments = []
    for described in given.get("attachments", []):
        known = files.get(str(described["id"]))
        if known is not None:
            name = described.get("filename") or known[0]
            attachments.append(world.attach(name, known[1], base, channel))
        else:
            attachments.append(described)
    return {**given, "attachments": attachments}


def check_message(given: JSON) -> None:
    """What Discord refuses in a message, whoever sends it."""
    content, parts = given.get("content") or "", given.get("components") or []
    if len(content) > 2000:
        raise Refused(400, 50035, "Invalid Form Body: content must be 2000 or fewer in length.")
    if not content.strip() and not given.get("attachments") and not parts:
        raise Refused(400, 50006, "Cannot send an empty message")
    if len(str(given.get("nonce", ""))) > 25:
        raise Refused(400, 50035, "Invalid Form Body: nonce")
    seen: set[str] = set()
    if len(parts) > 5:
        raise Refused(400, 50035, "Invalid Form Body: components")
    for row in parts:
        if len(row["components"]) > 5:
            raise Refused(400, 50035, "Invalid Form Body: too many components in a row")
        for part in row["components"]:
            custom = part.get("custom_id", "")
            bad = not 1 <= len(custom) <= 100 or custom in seen or len(part.get("label") or "") > 80
            options = part.get("options", [])
            bad = bad or len(options) > 25
            bad = bad or any(len(o["value"]) > 100 or len(o["label"]) > 100 for o in options)
            if bad:
                raise Refused(400, 50035, f"Invalid Form Body: {part}")
            seen.add(custom)


def answer(value: Any, *, status: int = 200, headers: JSON | None = None) -> web.Response:
    """As Discord answers: discord.py reads no other content type as JSON."""
    body = json.dumps(value).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
