"""What the scripted model answers to a request.

A script is a row of rounds, each some text and then the tool calls of one assistant message. How
many rounds are done shows in the request. Calls that the script does not name (loading a tool,
reading a file before it is changed, making a call again) are marked in their ids and count for
no round.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from agent_service.testing import prose
from agent_service.testing.commands import COMMANDS
from agent_service.testing.lookup import fitted, preparations
from agent_service.testing.request import Made, Request
from agent_service.testing.script import parse
from agent_service.testing.steps import (
    Call,
    Calls,
    Drop,
    Echo,
    Fail,
    Say,
    Step,
    Tell,
    Think,
    Topic,
    Trouble,
    Wrong,
)

_PREPARES = "toolu_01Prepares"
_AGAIN = "toolu_01Again"
_MOST_AGAIN = 8
_UNREAD = re.compile(r"has not been read yet|read it first", re.IGNORECASE)
_ALONE = re.compile(r"\bagain, alone\b", re.IGNORECASE)
_ANSWER = re.compile(r'"([^"]*)"="([^"]*)"')
_NAME = re.compile(r"my name is\s+([^\n.,;!?]+)", re.IGNORECASE)
_QUOTED = 2000


@dataclass(frozen=True)
class ToolUse:
    """A tool call with its id."""

    id: str
    call: Call


@dataclass(frozen=True)
class Reply:
    """One assistant message: its parts in order, and what goes wrong after them.

    `spends` is the number of a step that happens only once in this conversation.
    """

    parts: tuple[Say | Think | ToolUse, ...]
    trouble: Trouble | None = None
    spends: int | None = None


def reply(request: Request, spent: Container[int] = ()) -> Reply:
    """The answer to `request`; steps in `spent` that happen once are over."""
    makeup = _made_up_for(request)
    if makeup:
        return Reply((makeup,))
    lead, calls = _round(parse(request.text), _rounds_done(request))
    parts: list[Say | Think | ToolUse] = []
    for number, step in lead:
        if isinstance(step, Fail | Drop) and step.once:
            if number not in spent:
                return Reply(_joined(parts), step, spends=number)
            if request.cut_off:  # the client kept what came before
                parts = []
        elif isinstance(step, Trouble):
            return Reply(_joined(parts), step)
        else:
            parts.append(step if isinstance(step, Think) else _said(step, request))
    if calls is None and not any(isinstance(part, Say) for part in parts):
        return Reply((*_joined(parts), Say(_closing(request))))
    parts = [*_failures(request), *parts]
    if calls is None:
        return Reply(_joined(parts))
    wanted = [fitted(call, request) for call in calls.calls]
    done = [(made.name, dict(made.input)) for made in request.made]
    missing = [p for p in preparations(wanted, request) if (p.tool, dict(p.input)) not in done]
    if missing:
        return Reply(tuple(ToolUse(_id(_PREPARES), call) for call in missing))
    return Reply((*_joined(parts), *(ToolUse(_id("toolu_01"), call) for call in wanted)))


def _id(start: str) -> str:
    return start + secrets.token_hex(16)[: 30 - len(start)]


def _rounds_done(request: Request) -> int:
    return len({m.turn for m in request.made if not m.id.startswith((_PREPARES, _AGAIN))})


def _round(script: tuple[Step, ...], number: int) -> tuple[list[tuple[int, Step]], Calls | None]:
    """The texts of a round with their numbers in the script, and the calls that end it."""
    lead: list[tuple[int, Step]] = []
    for index, step in enumerate(script):
        if not isinstance(step, Calls):
            lead.append((index, step))
        elif number == 0:
            return lead, step
        else:
            number -= 1
            lead = []
    return (lead if number == 0 else []), None


def _made_up_for(request: Request) -> ToolUse | None:
    """A call that failed for a reason that a model would mend by itself, mended."""
    made = request.made
    failed = [
        (index, call)
        for index, call in enumerate(made)
        if call.failed and (_UNREAD.search(call.result or "") or _ALONE.search(call.result or ""))
    ]
    again = sum(call.id.startswith(_AGAIN) for call in made)
    if again >= min(len(failed), _MOST_AGAIN):
        return None
    index, call = failed[again]
    if _UNREAD.search(call.result or "") and not any(m.name == "Read" for m in made[index:]):
        read = Call("Read", {"file_path": str(call.input.get("file_path", ""))})
        return ToolUse(_id(_PREPARES), read)
    return ToolUse(_id(_AGAIN), Call(call.name, call.input))


def _failures(request: Request) -> list[Say | Think | ToolUse]:
    """What the newest results refused, so that the reason is seen to have arrived."""
    last = max((call.turn for call in request.made), default=0)
    return [Say(_outcome(call)) for call in request.made if call.turn == last and call.failed]


def _closing(request: Request) -> str:
    done = [call for call in request.made if not call.id.startswith(_PREPARES)]
    if not done:
        return "That went well this time."
    return "\n\n".join(_outcome(call) for call in done)


def _outcome(call: Made) -> str:
    result = (call.result or "").strip()
    shown = result if len(result) <= _QUOTED else result[:_QUOTED] + " …"
    if call.failed:
        return f"**{call.name}** was refused or failed:\n\n{prose.fenced(shown)}"
    answers = _ANSWER.findall(result) if call.name == "AskUserQuestion" else []
    if answers:
        return "\n\n".join(f"You chose: {answer}" for _, answer in answers)
    return (
        f"**{call.name}** is done:\n\n{prose.fenced(shown)}"
        if shown
        else (f"**{call.name}** is done.")
    )


def _said(step: Step, request: Request) -> Say:
    match step:
        case Say():
            return step
        case Echo(text):
            return Say(prose.echo(text, request.attachments))
        case Wrong(problem, usage):
            return Say(prose.mistake(problem, usage))
        case Tell(topic):
            return Say(_told(topic, request))
    raise TypeError(step)


def _told(topic: Topic, request: Request) -> str:
    match topic:
        case "help":
            return prose.help_text(COMMANDS)
        case "history":
            lines = "\n".join(f"{n}. {text}" for n, text in enumerate(request.earlier, 1))
            return f"You said:\n\n{lines}" if lines else "You said nothing before this."
        case "name":
            names: list[Any] = [n for text in request.earlier for n in _NAME.findall(text)]
            return f"Your name is {names[-1].strip()}." if names else "You did not tell me."
        case "attachments":
            return f"I see {request.attachments}." if request.attachments else "I see words only."
        case "system":
            return prose.fenced(request.system[-2000:])
        case "tools":
            return "\n".join(f"- {name}" for name in request.tools) or "There are no tools."
        case "model":
            return f"You asked for `{request.model}`."


def _joined(parts: list[Say | Think | ToolUse]) -> tuple[Say | Think | ToolUse, ...]:
    """Neighbouring texts as one, as a model would write them."""
    joined: list[Say | Think | ToolUse] = []
    for part in parts:
        before = joined[-1] if joined else None
        if (
            isinstance(part, Say)
            and isinstance(before, Say)
            and part.seconds == before.seconds == 0
        ):
            joined[-1] = Say(f"{before.text}\n\n{part.text}")
        else:
            joined.append(part)
    return tuple(joined)
