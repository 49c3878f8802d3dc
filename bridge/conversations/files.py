"""Commands about a person's own workspace: its files, and what its agent is always told."""

from __future__ import annotations

from datetime import UTC, datetime

from agent_service.contract import errors, size_in_words
from bridge.conversations.asked import Asked, Commands, Reply, Suggestions, first_words
from bridge.conversations.errands import Errand, Files, Told
from bridge.people import deciders
from bridge.present.decision import fenced
from bridge.present.files import file_out, too_large

SHOWN = 15
"""Files that a list on a phone holds."""
LONGEST_SHOWN = 1500
"""Characters of instructions that are shown in the chat; longer ones come as a file."""
NOT_A_DECIDER = "Only those who may decide in this workspace can do that."
HOW_FILES = "Write `files`, `files FOLDER`, `files get PATH` or `files delete PATH`."
HOW_INSTRUCTIONS = (
    "Write `instructions`, `instructions set …`, `instructions append …` or `instructions clear`."
)
NEXT_TURN = "It holds from your next message on."


def _files(asked: Asked) -> Reply:
    if refused := asked.refusal:
        return Reply(refused)
    verb, _, rest = asked.rest.strip().partition(" ")
    path = _path(rest)
    if verb.lower() in ("get", "delete") and not path:
        return Reply(HOW_FILES)
    workspace = asked.workspace
    if verb.lower() == "get":
        return Reply("", errand=_get(workspace, path))
    if verb.lower() == "delete":
        if asked.who.id not in deciders.of(asked.con, workspace):
            return Reply(NOT_A_DECIDER)
        return Reply("", errand=_delete(workspace, path))
    return Reply("", errand=_list(workspace, _path(asked.rest)))


def _list(workspace: str, folder: str) -> Errand:
    async def run(files: Files, _most: int) -> Told:
        try:
            found = await files.newest(workspace, folder, SHOWN + 1)
        except errors.NotFound:
            found = []
        if not found:
            where = f"in {_code(folder)}" if folder else "in your workspace"
            return Told(f"There are no files {where} yet.")
        lines = [
            f"- {_code(entry.path)}, {size_in_words(entry.size)}, {_when(entry.modified)}"
            for entry in found[:SHOWN]
        ]
        more = "\n\nThere are more: `files FOLDER` lists one." if len(found) > SHOWN else ""
        return Told(
            "Your files, newest first:\n\n" + "\n".join(lines) + more + "\n\n`files get PATH` sends"
            " one to you."
        )

    return run


def _get(workspace: str, path: str) -> Errand:
    async def run(files: Files, most: int) -> Told:
        try:
            data = await files.download(workspace, path, most)
        except errors.TooLarge as error:
            return Told(too_large(path, int(error.fields.get("size", 0)), most).markdown)
        name = path.rpartition("/")[2]
        return Told(f"{_code(path)}, {size_in_words(len(data))}", file_out(name, data))

    return run


def _delete(workspace: str, path: str) -> Errand:
    async def run(files: Files, _most: int) -> Told:
        gone = await files.remove(workspace, path)
        return Told(f"Deleted: {_code(gone.path)}, {size_in_words(gone.size)}.")

    return run


def _instructions(asked: Asked) -> Reply:
    if refused := asked.refusal:
        return Reply(refused)
    workspace = asked.workspace
    verb, _, text = asked.rest.lstrip().partition(" ")
    # What follows may begin on the next line.
    if "\n" in verb:
        verb, _, text = asked.rest.lstrip().partition("\n")
    verb = verb.lower()
    if not verb:
        return Reply("", errand=_show(workspace))
    if verb not in ("set", "append", "clear") or bool(text.strip()) == (verb == "clear"):
        return Reply(HOW_INSTRUCTIONS)
    if asked.who.id not in deciders.of(asked.con, workspace):
        return Reply(NOT_A_DECIDER)
    return Reply("", errand=_change(workspace, verb, text.strip()))


def _show(workspace: str) -> Errand:
    async def run(files: Files, most: int) -> Told:
        text = await files.instructions(workspace)
        if not text.strip():
            return Told(f"Your agent has no instructions of yours yet. {HOW_INSTRUCTIONS}")
        data = text.encode("utf-8", "replace")
        if len(text) <= LONGEST_SHOWN or len(data) > most:
            shown = text[:LONGEST_SHOWN]
            cut = "" if shown == text else "\n\nThis is only the beginning."
            return Told(f"What your agent is always told:\n\n{fenced(shown)}{cut}")
        return Told(
            f"What your agent is always told, {size_in_words(len(data))}:",
            file_out("CLAUDE.md", data),
        )

    return run


def _change(workspace: str, verb: str, text: str) -> Errand:
    async def run(files: Files, _most: int) -> Told:
        whole = text
        if verb == "append" and (before := (await files.instructions(workspace)).rstrip()):
            whole = f"{before}\n{text}"
        await files.instruct(workspace, f"{whole}\n" if whole else "")
        if verb == "clear":
            return Told(f"Your instructions are gone. {NEXT_TURN}")
        size = size_in_words(len(whole.encode("utf-8", "replace")))
        return Told(f"Noted; your instructions have {size} now. {NEXT_TURN}")

    return run


def _path(text: str) -> str:
    """As people write and copy paths: in backticks, with ./ or / at either end."""
    path = text.strip().strip("`").removeprefix("./").rstrip("/")
    return "" if path == "." else path


def _code(text: str) -> str:
    words = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return f"`{words.replace('`', 'ˋ')}`"


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%d %b %H:%M}"


COMMANDS: Commands = {
    "files": (_files, "your files, newest first; `files get PATH`, `files delete PATH`"),
    "instructions": (_instructions, "what your agent is always told: `set`, `append`, `clear`"),
}
SUGGESTIONS: Suggestions = {
    "files": first_words("get", "delete"),
    "instructions": first_words("set", "append", "clear"),
}
