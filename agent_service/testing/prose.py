"""The texts the scripted model writes. The same input always gives the same text."""

from __future__ import annotations

from itertools import count, cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_service.testing.commands import Command

_SENTENCE = (
    "The bridge opens when the keeper turns the wheel, and the water below it runs on "
    "as it always has, past the mill and the two grey boats."
)


def numbers(most: int) -> str:
    """The numbers from 1 to `most`, one a line."""
    return "\n".join(str(n) for n in range(1, most + 1)) or "There is nothing to count."


def long(words: int) -> str:
    """Markdown of about `words` words: headings, paragraphs, lists, tables and code."""
    written: list[str] = []
    so_far = 0
    for part in _parts():
        if so_far >= words:
            break
        written.append(part)
        so_far += len(part.split())
    return "\n\n".join(written) or "Nothing."


def _parts() -> Iterator[str]:
    words = _SENTENCE.split()
    for n in count(1):
        yield f"## Section {n}"
        yield " ".join(islice(cycle(words), n, n + 60)) + "."
        yield f"- First, **{words[n % 20]}**.\n- Then `{words[n % 7]}`.\n- {_SENTENCE}"
        yield f"| Number | Square |\n| --- | --- |\n| {n} | {n * n} |\n| {n + 1} | {(n + 1) ** 2} |"
        yield f"```python\ndef section_{n}() -> int:\n    return {n}\n```"


def help_text(commands: tuple[Command, ...]) -> str:
    """The language as a Markdown table."""
    rows = "\n".join(f"| `{_cell(c.usage)}` | {_cell(c.does)} |" for c in commands)
    return (
        "I am a scripted model: I do what these say, through the real Claude CLI.\n\n"
        f"| Type | What happens |\n| --- | --- |\n{rows}\n\n"
        "Several steps: a line each, or ` then ` between them."
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def echo(text: str, attachments: str) -> str:
    """A friendly answer to text that is no script; it contains the text."""
    quoted = "\n".join(f"> {line}" for line in text.splitlines()) or "> (nothing)"
    seen = f"\n\nI also see {attachments}." if attachments else ""
    return (
        f"I am the **scripted model**, a stand-in for Claude. You wrote:\n\n{quoted}{seen}\n\n"
        "Try `write a file`, `run a command` or `ask me a question`; `help` lists everything."
    )


def mistake(problem: str, usage: str) -> str:
    """What is wrong with a script, and how the step is written."""
    return f"I could not follow that: {problem}. It is written `{usage}`; `help` lists everything."


def fenced(text: str) -> str:
    """The text as a code block, whatever it contains."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
