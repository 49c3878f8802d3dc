"""What a person is shown of a call: the whole of it, and nothing that looks like something else."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from pathlib import Path, PurePath
from typing import Any

from agent_service.contract.decisions import Decision, Question, QuestionOption
from agent_service.policy.suggest import suggestion

_KEEP = {"\n", "\t", " "}
_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
# What Unicode has nobody draw, and what is drawn as nothing, though it counts as letter or mark.
_BLANK = frozenset(
    chr(point)
    for first, last in (
        (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065),
        (0x2800, 0x2800), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
        (0xE0000, 0xE0FFF),
    )
    for point in range(first, last + 1)
)  # fmt: skip
# Not str.splitlines, for which a lone \r ends a line: it is shown as what it is.
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def visible(text: str) -> str:
    """The text with control, bidirectional and other invisible characters, and with spaces that are
    none to a shell, as `⟨U+XXXX⟩`."""
    return "".join(f"⟨U+{ord(c):04X}⟩" if _hidden(c) else c for c in text)


def _hidden(c: str) -> bool:
    return c not in _KEEP and (unicodedata.category(c) in _INVISIBLE or c in _BLANK)


def one_line(text: str, limit: int = 120) -> str:
    """The text on one line, with `…` where it was longer."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _relative(path: object, workdir: Path) -> str:
    text = str(path)
    try:
        return str(PurePath(text).relative_to(workdir))
    except ValueError:
        return text


def _dicts(value: object) -> list[dict[str, Any]]:
    """A model may send anything."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


_ONE_FIELD = {
    "Glob": "pattern",
    "Grep": "pattern",
    "WebFetch": "url",
    "WebSearch": "query",
    "Agent": "description",
    "Task": "description",
    "Skill": "skill",
}
_FILES = {"Read": "file_path", "Write": "file_path", "Edit": "file_path"}


def title(tool: str, tool_input: dict[str, Any], workdir: Path) -> str:
    """One line for people: the tool and what it is about."""
    if tool == "Bash":
        return one_line(f"Bash: {tool_input.get('command', '')}")
    if tool in _FILES:
        return one_line(f"{tool} {_relative(tool_input.get(_FILES[tool], ''), workdir)}")
    if tool == "mcp__bascule__send_file":
        return one_line(f"Send {_relative(tool_input.get('path', ''), workdir)}")
    if tool in _ONE_FIELD:
        return one_line(f"{tool}: {tool_input.get(_ONE_FIELD[tool], '')}")
    return one_line(tool)


def _whole_path(tool: str, tool_input: dict[str, Any], workdir: Path) -> str:
    """A line with the path of a file, where the title does not hold it as it is."""
    path = _relative(tool_input.get(_FILES.get(tool, ""), ""), workdir)
    if title(tool, tool_input, workdir) == f"{tool} {path}":
        return ""
    shown = visible(path).replace("\n", "⟨U+000A⟩").replace("\t", "⟨U+0009⟩")
    return f"# the file: {shown}\n"


def _edit_diff(tool_input: dict[str, Any]) -> str:
    before, after = (_LINE.findall(str(tool_input.get(f"{n}_string", ""))) for n in ("old", "new"))
    lines = list(difflib.unified_diff(before, after, n=100_000))[3:]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def decision(tool: str, tool_input: dict[str, Any], workdir: Path, why: str = "") -> Decision:
    """The call as it is put before a person; `id`, `turn_id` and `expires_at` are still empty."""
    if tool == "AskUserQuestion":
        questions = _questions(tool_input)
        text = "\n".join(q.question for q in questions)
        return Decision("", "", "question", tool, text, title="A question", questions=questions)
    if tool == "ExitPlanMode":
        plan = visible(str(tool_input.get("plan", "")))
        return Decision("", "", "plan", tool, plan, language="markdown", title="A plan")
    language = "json"
    shown = json.dumps(tool_input, indent=2, ensure_ascii=False, sort_keys=True)
    claim = ""
    if tool == "Bash":
        shown, language = str(tool_input.get("command", "")), "bash"
        claim = one_line(str(tool_input.get("description", "")), 300)
        if tool_input.get("run_in_background"):
            shown += "\n# (to be run in the background)"
    elif tool == "Write":
        shown, language = str(tool_input.get("content", "")), ""
    elif tool == "Edit":
        shown, language = _edit_diff(tool_input), "diff"
        if tool_input.get("replace_all"):
            shown = "# every occurrence in the file\n" + shown
    if tool in ("Write", "Edit"):
        shown = _whole_path(tool, tool_input, workdir) + shown
    meant = suggestion(tool, tool_input, workdir)
    return Decision(
        id="",
        turn_id="",
        kind="tool",
        tool=tool,
        shown=visible(shown),
        language=language,
        title=title(tool, tool_input, workdir),
        claim=claim,
        why=visible(why),
        cwd=str(workdir),
        pattern=meant.rule if meant else "",
        pattern_words=meant.words if meant else "",
    )


def _questions(tool_input: dict[str, Any]) -> tuple[Question, ...]:
    made = []
    for question in _dicts(tool_input.get("questions")):
        options = tuple(
            QuestionOption(
                one_line(str(option.get("label", ""))),
                one_line(str(option.get("description", "")), 300),
            )
            for option in _dicts(question.get("options"))
        )
        made.append(
            Question(
                question=visible(str(question.get("question", ""))),
                header=one_line(str(question.get("header", "")), 40),
                options=options,
                many=bool(question.get("multiSelect")),
            )
        )
    return tuple(made)


def answers(tool_input: dict[str, Any], given: dict[str, list[str]]) -> dict[str, str]:
    """What was answered, in the agent's own words for its questions and options, which were shown
    with what is invisible made visible."""
    said = {}
    asked = _dicts(tool_input.get("questions"))
    for question, shown in zip(asked, _questions(tool_input), strict=True):
        options = [str(option.get("label", "")) for option in _dicts(question.get("options"))]
        own = dict(zip((option.label for option in shown.options), options, strict=True))
        if shown.question in given:
            said[str(question.get("question", ""))] = ", ".join(
                own.get(text, text) for text in given[shown.question]
            )
    return said
