"""A decision as a card: what exactly would happen, and the buttons that answer it.

What a button means is read back by `bridge.engine.answers`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from adapters.contract import Choice, Field, FileOut, MessageOut
from agent_service.contract import Decision, Question
from agent_service.contract.events import DecisionApproved, DecisionResolved
from bridge.present.split import split

MOST_BUTTONS = 5
_ROOM_FOR_ENDING = 330
"""Characters for who decided, and before that who allowed it while others had to as well."""
_ENDINGS = {
    "allowed": "✓ Allowed",
    "denied": "✗ Denied",
    "answered": "✓ Answered",
    "expired": "✗ Nobody answered in time, so it counts as denied",
    "cancelled": "✗ Withdrawn",
}
_NAMES = {"bash": "command.sh", "diff": "change.diff", "json": "call.json"}
_ABOUT = "about.md"
PLAIN = "text/plain; charset=utf-8"
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&@-])")


def card(decision: Decision, limit: int, file_limit: int) -> MessageOut:
    """The question, whole, in a post of at most `limit` characters (500 or more): what is too
    long for it is a file with it.

    What is longer than a file may be, in bytes, is named with its size, and cannot be allowed; nor
    can a pattern whose meaning has no room.
    """
    room = limit - min(_ROOM_FOR_ENDING, limit // 5)
    context, about, explained = _context(decision, room // 3, file_limit)
    body, files, whole = _body(decision, room - len(context) - 2, file_limit)
    choices = _CHOICES.get(decision.kind, _tool_choices)(decision)
    if not whole:
        choices = tuple(choice for choice in choices if ":allow" not in choice.action)
    elif not explained:
        choices = tuple(choice for choice in choices if ":allow." not in choice.action)
    text = f"{body}\n\n{context}".strip()
    return MessageOut(text, choices=choices, files=(*files, *about), tone="decision")


def approved(asked: MessageOut, event: DecisionApproved, limit: int) -> MessageOut:
    """The card once somebody allowed it, while others have to as well."""
    others = "one more person has" if event.missing == 1 else f"{event.missing} more people have"
    word = f"**✓ Allowed by {plain(event.by, 60)}; {others} to allow it.**"
    return replace(asked, markdown=_with(asked.markdown, word, limit), files=())


def resolved(asked: MessageOut, event: DecisionResolved, limit: int) -> MessageOut:
    """The card once it is over: what was asked stays, the buttons go."""
    ending = _ENDINGS.get(event.state, plain(event.state, 60))
    if event.decided_by:
        ending += f" by {plain(event.decided_by, 60)}"
    if event.reason:
        ending += f": {plain(event.reason, 80)}"
    text = _with(asked.markdown, f"**{ending}**", limit)
    return replace(asked, markdown=text, choices=(), files=())


def form_of(decision: Decision, action: str) -> tuple[Field, ...]:
    """The form of the card's choice with this action; empty where there is none."""
    choices = _CHOICES.get(decision.kind, _tool_choices)(decision)
    return next((c.form for c in choices if c.action == action and c.form), ())


def _with(asked: str, word: str, limit: int) -> str:
    """The word below what was asked, which is shown as far as there is room."""
    text = f"{asked}\n\n{word}"
    if len(text) <= limit:
        return text
    return f"{split(asked, limit - len(word) - 5)[0]}\n\n…\n\n{word}"


def plain(text: str, limit: int = 300) -> str:
    """Somebody's words on one line of at most `limit` characters, without any meaning as Markdown;
    `…` where they were longer."""
    line = " ".join(text.split())
    shown = _SPECIAL.sub(r"\\\1", line)
    if len(shown) <= limit:
        return shown
    kept, room = 0, limit - 1
    for character in line:
        room -= 2 if _SPECIAL.match(character) else 1
        if room < 0:
            break
        kept += 1
    return _SPECIAL.sub(r"\\\1", line[:kept]) + "…"


def fenced(text: str, language: str = "") -> str:
    """The text in a code block that it cannot end."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    mark = "`" * (longest + 1)
    return f"{mark}{language}\n{text}\n{mark}"


def _code(text: str) -> str:
    return f"`{text.replace('`', 'ˋ')}`"


def _body(decision: Decision, room: int, file_limit: int) -> tuple[str, tuple[FileOut, ...], bool]:
    """(text of at most `room` characters, files, whether the two together hold all of it)."""
    name = _NAMES.get(decision.language, "whole.txt")
    language = decision.language if decision.language in _NAMES else ""
    title = plain(decision.title or decision.tool, min(300, room // 4))
    if decision.kind == "question":
        whole, head = _questions(decision.questions), "**The agent asks:**"
    elif decision.kind == "plan":
        whole, head, language, name = decision.shown, "**The agent has a plan:**", "", "plan.md"
    elif decision.kind == "network":
        whole = fenced(decision.shown)
        head = "**The agent tried to reach a host that is not allowed here:**"
    elif decision.again:
        whole = fenced(decision.shown, language)
        head = f"**Run this again?** {title}"
    elif decision.tool == "Bash":
        whole, head = fenced(decision.shown, "bash"), "**May the agent run this?**"
    else:
        whole = fenced(decision.shown, language)
        head = f"**May the agent do this?** {title}"
    if len(head) + 2 + len(whole) <= room:
        return f"{head}\n\n{whole}", (), True
    text = whole if decision.kind == "question" else decision.shown
    data = text.encode("utf-8", "replace")
    fits = len(data) <= file_limit
    if fits:
        warning = f"⚠ This is only its beginning: **read {name} before you answer.**"
    else:
        warning = f"⚠ Only its beginning: {name} with {len(data):,} bytes is too large for a file."
        if decision.kind != "question":
            warning += " **It cannot be allowed.**"
    left = room - len(head) - len(warning) - 20
    parts = [head, warning]
    if left > 0:
        parts.insert(1, fenced(text[:left].replace("`", "ˋ"), language))
    files = (FileOut(name, PLAIN, data),) if fits else ()
    return "\n\n".join(parts), files, fits


def _questions(questions: tuple[Question, ...]) -> str:
    parts = []
    for asked in questions:
        lines = [f"**{plain(asked.question, 1000)}**"]
        lines += [
            f"- {plain(option.label)}: {plain(option.description)}"
            for option in asked.options
            if option.description
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _context(
    decision: Decision, most: int, file_limit: int
) -> tuple[str, tuple[FileOut, ...], bool]:
    """(text, a file where that would be longer than `most`, whether what the pattern means is in
    one of the two)."""
    said, brief = [], []
    if decision.claim:
        said.append(f"> It says: {plain(decision.claim, 200)}")
    if decision.kind == "tool" and decision.cwd:
        said.append(f"> In the folder {_code(decision.cwd)}")
    if decision.why:
        said.append(f"> Why it asks: {plain(decision.why, 200)}")
    if decision.needs > 1:
        brief.append(f"**{decision.needs} different people have to allow it.**")
    if decision.pattern:
        said.append(f"> The pattern means {decision.pattern_words} ({_code(decision.pattern)}).")
    if decision.expires_at:
        until = datetime.fromtimestamp(decision.expires_at, UTC)
        words = {"question": "is given up", "network": "stays refused"}
        word = words.get(decision.kind, "counts as denied")
        brief.append(f"_Unanswered, it {word} on {until:%d %B at %H:%M} UTC._")
    text = "\n\n".join([*said, *brief])
    if len(text) <= most or not said:
        return text, (), True
    data = "\n\n".join(said).encode("utf-8", "replace")
    if len(data) > file_limit:
        return "\n\n".join(["> More about it has no room here.", *brief]), (), False
    more = "what the pattern means" if decision.pattern else "why it asks"
    pointer = f"> More about it, and {more}, is in **{_ABOUT}**."
    return "\n\n".join([pointer, *brief]), (FileOut(_ABOUT, PLAIN, data),), True


def _tool_choices(decision: Decision) -> tuple[Choice, ...]:
    action = f"d:{decision.id}"
    return (
        *_allowing(decision, action),
        Choice(f"{action}:deny", "Go on without" if decision.again else "Deny", "danger"),
        Choice(
            f"{action}:deny",
            "Deny and say why",
            form=(Field("reason", "What should it know?"),),
            hint="the agent goes on, knowing why",
        ),
        Choice(
            f"{action}:instead",
            "Deny and do this instead",
            form=(Field("text", "What should it do instead?"),),
            hint="this turn ends, and what you write comes next",
        ),
    )


def _allowing(decision: Decision, action: str) -> tuple[Choice, ...]:
    if decision.again:
        return (Choice(f"{action}:allow", "Run it again", hint="this one call, as shown"),)
    once = Choice(f"{action}:allow", "Allow once", "primary", hint="this one call, as shown")
    if not decision.pattern:
        return (once,)
    # What the pattern means stands in the card, whole; a button has no room for it.
    return (
        once,
        Choice(
            f"{action}:allow.conversation",
            "Allow this pattern here",
            hint=f"in this conversation: {_meant(decision)}",
        ),
        Choice(
            f"{action}:allow.workspace",
            "Always allow this pattern",
            hint=f"in this workspace: {_meant(decision)}",
        ),
    )


def _meant(decision: Decision) -> str:
    return decision.pattern_words.replace("`", "")


def _network_choices(decision: Decision) -> tuple[Choice, ...]:
    action = f"d:{decision.id}"
    hint = "the agent may reach it from now on, in every conversation of this workspace"
    return (
        Choice(f"{action}:allow", "Allow this host for this workspace", hint=hint),
        Choice(f"{action}:deny", "Leave it refused"),
    )


def _plan_choices(decision: Decision) -> tuple[Choice, ...]:
    return (
        Choice(
            f"d:{decision.id}:allow",
            "Approve",
            "primary",
            hint="it starts to work, and asks before it changes anything",
        ),
        Choice(
            f"d:{decision.id}:allow.edits",
            "Approve, with edits",
            hint="it starts to work, and changes files unasked",
        ),
        Choice(
            f"d:{decision.id}:deny",
            "Keep planning",
            form=(Field("reason", "What should be different?", required=False),),
        ),
    )


def _question_choices(decision: Decision) -> tuple[Choice, ...]:
    action = f"d:{decision.id}:answer"
    first = decision.questions[0]
    if len(decision.questions) == 1 and not first.many and len(first.options) <= MOST_BUTTONS:
        buttons = [Choice(f"{action}.0.{n}", o.label) for n, o in enumerate(first.options)]
        other = Choice(action, "Something else", form=(Field("q0", first.question),))
    else:
        fields: list[Field] = []
        for number, asked in enumerate(decision.questions):
            options = tuple((o.label, o.label) for o in asked.options)
            menu = Field(f"q{number}", asked.question, options, asked.many, required=False)
            fields += [menu, Field(f"q{number}.other", "Or in your words", required=False)]
        buttons = []
        other = Choice(action, "Answer", "primary", form=tuple(fields))
    return (*buttons, other, Choice(f"d:{decision.id}:deny", "Do not answer"))


_CHOICES = {
    "question": _question_choices,
    "plan": _plan_choices,
    "network": _network_choices,
}
