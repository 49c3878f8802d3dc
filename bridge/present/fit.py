"""What is too long for a post: its beginning, and all of it as a file."""

from __future__ import annotations

from dataclasses import replace

from adapters.contract import FileOut, MessageOut
from bridge.present.decision import PLAIN
from bridge.present.split import SMALLEST_LIMIT, split

WHOLE = "This is only its beginning: the file has all of it."
NAME = "whole.md"


def fit(message: MessageOut, text_limit: int, file_limit: int) -> MessageOut:
    """The message, within `text_limit` characters; a text that is longer comes whole as a file
    besides. Where that would be larger than `file_limit` bytes, it says how long it was."""
    text = message.markdown
    if len(text) <= text_limit:
        return message
    data = text.encode("utf-8", "replace")
    if len(data) <= file_limit:
        note, files = WHOLE, (*message.files, FileOut(NAME, PLAIN, data))
    else:
        note, files = f"(Too long for this chat: {len(text):,} characters.)", message.files
    room = text_limit - len(note) - 2
    pieces = split(text, room) if room >= SMALLEST_LIMIT else []
    shown = f"{pieces[0]}\n\n{note}" if pieces else note[:text_limit]
    return replace(message, markdown=shown, files=files)
