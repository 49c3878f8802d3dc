"""Builds the step of a command from what follows its keyword."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from agent_service.testing.steps import Call, Calls, Fail, Say, Step, Tell, Topic

STATUSES = ("400", "401", "403", "404", "413", "429", "500", "529")
_LONGEST_WAIT = 3600
_MOST_WORDS = 200_000
_TOPICS: dict[str, Topic] = {"system": "system", "tools": "tools", "model": "model"}


class MistakeError(Exception):
    """What a person reads when a step cannot be built from what follows its keyword."""


def needed(rest: str, what: str) -> str:
    if not rest.strip():
        raise MistakeError(f"{what} is missing")
    return rest.strip()


def number(word: str, what: str, most: int) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", word):
        raise MistakeError(f"`{word}` is not a number of {what}")
    if float(word) > most:
        raise MistakeError(f"{word} is more than {most} {what}")
    return float(word)


def one(tool: str, **given: Any) -> Calls:
    return Calls((Call(tool, given),))


def bash(command: str) -> Call:
    return Call("Bash", {"command": command, "description": "Run what the script asks for"})


def write(rest: str) -> Step:
    path, _, text = needed(rest, "the path").partition(" ")
    return one("Write", file_path=path, content=needed(text, "the text") + "\n")


def send(rest: str) -> Step:
    path, _, caption = needed(rest, "the path").partition(" ")
    return one("mcp__bascule__send_file", path=path, caption=caption.strip())


def edit(rest: str) -> Step:
    path, _, change = needed(rest, "the path").partition(" ")
    old, arrow, new = change.partition("=>")
    if not arrow or not old.strip():
        raise MistakeError("the change is not written as `OLD => NEW`")
    return one("Edit", file_path=path, old_string=old.strip(), new_string=new.strip())


def tool(rest: str) -> Call:
    name, _, given = needed(rest, "the tool's name").partition(" ")
    try:
        values = json.loads(given.strip() or "{}")
    except (ValueError, RecursionError) as error:
        raise MistakeError(f"what follows `{name}` is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise MistakeError(f"what follows `{name}` is JSON, but no object")
    return Call(name, values)


def question(many: bool) -> Callable[[str], Step]:
    def build(rest: str) -> Step:
        question, *options = [part.strip() for part in rest.split("|")]
        options = list(dict.fromkeys(option for option in options if option))
        if not question or not 2 <= len(options) <= 4:
            raise MistakeError("a question has two to four different options, separated by `|`")
        asked = {
            "question": question,
            "header": "Question",
            "options": [{"label": o, "description": f"Choose {o}"} for o in options],
            "multiSelect": many,
        }
        return one("AskUserQuestion", questions=[asked])

    return build


def both(rest: str) -> Step:
    parts = [part.strip() for part in rest.split(";;")]
    if len(parts) < 2 or not all(parts):
        raise MistakeError("two or more calls are separated by `;;`")
    return Calls(
        tuple(tool(p[5:]) if p[:5].lower() == "tool " else bash(p) for p in parts),
    )


def subagent(rest: str) -> Step:
    return one(
        "Agent",
        description="Run a script",
        prompt=needed(rest, "the subagent's script"),
        subagent_type="general-purpose",
        run_in_background=False,
    )


def slow(rest: str) -> Step:
    time, _, text = rest.partition(" ")
    return Say(needed(text, "the text"), seconds(time))


def fail(rest: str) -> Step:
    status, _, more = rest.partition(" ")
    if status not in STATUSES:
        raise MistakeError(f"the status is one of {', '.join(STATUSES)}")
    return Fail(int(status), once(more))


def once(rest: str) -> bool:
    if rest.strip().lower() not in {"", "once"}:
        raise MistakeError(f"only `once` may follow, not `{rest.strip()}`")
    return bool(rest.strip())


def show(rest: str) -> Step:
    topic = _TOPICS.get(rest.strip().lower())
    if topic is None:
        raise MistakeError("there is `show system`, `show tools` and `show model`")
    return Tell(topic)


def seconds(rest: str) -> float:
    return number(rest, "seconds", _LONGEST_WAIT)


def words(rest: str) -> int:
    return int(number(rest, "words", _MOST_WORDS))
