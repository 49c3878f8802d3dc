"""The commands of the small language.

`COMMANDS` is the whole of it. The README shows it as a table and `help` answers with it; a test
holds the three together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent_service.testing import build, prose
from agent_service.testing.steps import Calls, Drop, Hang, Malformed, Say, Step, Tell, Think

FRIENDLY_COMMAND = 'echo "Hello from $(uname -s)" > greeting.txt && cat greeting.txt'
FRIENDLY_QUESTION = "Which colour do you like best? | Blue | Green | Red"


@dataclass(frozen=True)
class Command:
    """One row of the language.

    `opening` matches the start of a step, without regard to case; `build` gets what follows it
    and raises MistakeError where it cannot be used.
    """

    opening: str
    usage: str
    does: str
    build: Callable[[str], Step]


_END = r"[.!?]*$"  # these take no argument: "history of Rome" is no command

COMMANDS: tuple[Command, ...] = (
    Command(r"help\b", "help", "this table", lambda _: Tell("help")),
    Command(r"say\b", "say TEXT", "answers TEXT", lambda rest: Say(build.needed(rest, "the text"))),
    Command(
        rf"write (?:me )?a file{_END}",
        "write a file",
        "writes `hello.txt`",
        lambda _: build.write("hello.txt Hello from the scripted model."),
    ),
    Command(r"write\b", "write PATH TEXT", "writes TEXT into a file", build.write),
    Command(
        rf"run a command{_END}",
        "run a command",
        "runs a friendly shell command",
        lambda _: Calls((build.bash(FRIENDLY_COMMAND),)),
    ),
    Command(
        r"(?:bash|run)\b",
        "run COMMAND",
        "runs COMMAND in the shell; `bash COMMAND` is the same",
        lambda rest: Calls((build.bash(build.needed(rest, "the command")),)),
    ),
    Command(
        r"read\b",
        "read PATH",
        "reads a file",
        lambda rest: build.one("Read", file_path=build.needed(rest, "the path")),
    ),
    Command(r"edit\b", "edit PATH OLD => NEW", "changes a file, which it reads first", build.edit),
    Command(
        r"glob\b",
        "glob PATTERN",
        "finds files by name",
        lambda rest: build.one("Glob", pattern=build.needed(rest, "the pattern")),
    ),
    Command(
        r"grep\b",
        "grep PATTERN",
        "finds lines in files",
        lambda rest: build.one(
            "Grep", pattern=build.needed(rest, "the pattern"), output_mode="content"
        ),
    ),
    Command(
        r"fetch\b",
        "fetch URL",
        "fetches a page",
        lambda rest: build.one(
            "WebFetch", url=build.needed(rest, "the URL"), prompt="What does it say?"
        ),
    ),
    Command(
        r"tool\b", "tool NAME {JSON}", "calls any tool", lambda rest: Calls((build.tool(rest),))
    ),
    Command(
        rf"ask me a question{_END}",
        "ask me a question",
        "asks for your favourite colour",
        lambda _: build.question(many=False)(FRIENDLY_QUESTION),
    ),
    Command(
        r"askmany\b",
        "askmany QUESTION | A | B",
        "the same, with several answers",
        build.question(many=True),
    ),
    Command(
        r"ask\b",
        "ask QUESTION | A | B",
        "asks you to choose one of two to four options",
        build.question(many=False),
    ),
    Command(
        r"plan\b",
        "plan TEXT",
        "presents TEXT as a plan to approve (in plan mode)",
        lambda rest: build.one("ExitPlanMode", plan=build.needed(rest, "the plan")),
    ),
    Command(
        r"both\b",
        "both COMMAND ;; COMMAND",
        "runs both in one message; `tool NAME {JSON}` works in place of a command",
        build.both,
    ),
    Command(r"subagent\b", "subagent SCRIPT", "has a subagent run SCRIPT", build.subagent),
    Command(r"slow\b", "slow SECONDS TEXT", "streams TEXT over that time", build.slow),
    Command(
        r"think\b",
        "think SECONDS",
        "is silent for that time",
        lambda rest: Think(build.seconds(rest)),
    ),
    Command(
        r"long\b",
        "long N",
        "about N words of Markdown",
        lambda rest: Say(prose.long(build.words(rest))),
    ),
    Command(
        r"count\b",
        "count N",
        "the numbers to N, one a line",
        lambda rest: Say(prose.numbers(build.words(rest))),
    ),
    Command(
        r"my name is\b",
        "my name is NAME",
        "greets you",
        lambda rest: Say(f"Nice to meet you, {build.needed(rest, 'the name')}."),
    ),
    Command(
        rf"what(?: is|'s|’s) my name{_END}",
        "what is my name",
        "answers from the conversation",
        lambda _: Tell("name"),
    ),
    Command(
        rf"(?:what did i say|history){_END}",
        "what did I say",
        "lists what you said so far; `history` is the same",
        lambda _: Tell("history"),
    ),
    Command(
        r"send\b",
        "send PATH [CAPTION]",
        "gives the person a file of the workspace",
        build.send,
    ),
    Command(
        rf"what do you see{_END}",
        "what do you see",
        "counts the attached images and files",
        lambda _: Tell("attachments"),
    ),
    Command(
        r"show\b",
        "show system",
        "the end of the system prompt; also `show tools`, `show model`",
        build.show,
    ),
    Command(
        r"error\b",
        "error STATUS [once]",
        f"fails with {', '.join(build.STATUSES)}; with `once`, a retry succeeds",
        build.fail,
    ),
    Command(
        r"drop\b",
        "drop [once]",
        "the connection breaks in the middle of a sentence",
        lambda rest: Drop(build.once(rest)),
    ),
    Command(rf"malformed{_END}", "malformed", "sends a broken event", lambda _: Malformed()),
    Command(rf"hang{_END}", "hang", "sends nothing at all", lambda _: Hang()),
)
