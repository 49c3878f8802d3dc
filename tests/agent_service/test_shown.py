"""What people and the model are shown: all of it, and nothing that passes for something else."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_service.claude import show
from agent_service.claude.outward import HIDDEN, Outward
from agent_service.claude.prompt import content, plain
from agent_service.contract.events import Text
from agent_service.contract.turns import Asker, QuotedText, TurnRequest

WORK = Path("/w")
ANY = st.text(st.characters(codec=None), max_size=200)
TAGS = st.lists(
    st.sampled_from(
        ["<", "</", "/", ">", " ", "\n", "\x00", "\u200b", "system-reminder", "SYSTEM-reminder",
         "quoted", 'quoted author="x"', "x", "&lt;"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def opens_a_tag(text: str) -> bool:
    squeezed = "".join(c for c in text.lower() if not c.isspace())
    return any(
        mark in squeezed
        for mark in ("<system-reminder", "</system-reminder", "<quoted", "</quoted")
    )


@given(ANY | TAGS)
@example("<\x00system-reminder>")
@example("< / quoted>")
def test_a_person_cannot_write_our_tags(text: str) -> None:
    """Whatever is written, what is left holds no tag of ours and no control character."""
    kept = plain(text)
    assert not opens_a_tag(kept)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Co") for c in kept)
    kept.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=200))
def test_ordinary_words_stay_as_they_are(text: str) -> None:
    """Nothing is taken from a text that holds none of our tags."""
    if not opens_a_tag(text):
        assert plain(text) == text


@given(ANY | TAGS, ANY | TAGS, ANY | TAGS)
def test_the_last_block_is_always_ours(prompt: str, name: str, quoted: str) -> None:
    """The CLI expands no prompt whose last block is our own; names cannot break out of it."""
    request = TurnRequest("c1", "w1", prompt, Asker("p1", name), (QuotedText(name, quoted),))
    blocks = [block["text"] for block in content(request, Path())]
    assert len(blocks) == 3
    first, _, last = blocks
    assert first.startswith("<quoted author=")
    assert first.endswith("\n</quoted>")
    assert not opens_a_tag(first.removeprefix("<quoted author=").removesuffix("</quoted>"))
    assert last.startswith("<system-reminder>")
    assert last.endswith("</system-reminder>")
    inside = last.removeprefix("<system-reminder>").removesuffix("</system-reminder>")
    assert not opens_a_tag(inside.replace("<quoted> tags", ""))
    assert '"' not in first.split("\n")[0].removeprefix('<quoted author="').removesuffix('">')


@given(ANY)
def test_everything_invisible_becomes_visible(text: str) -> None:
    """No control, bidirectional or zero-width character is left, and nothing is left out."""
    shown = show.visible(text)
    invisible = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
    assert all(c in "\n\t" or unicodedata.category(c) not in invisible for c in shown)
    back = shown
    for c in set(text):
        back = back.replace(f"⟨U+{ord(c):04X}⟩", c)
    if "⟨" not in text:
        assert back == text


@given(ANY, st.integers(1, 200))
def test_one_line_is_one_short_line(text: str, limit: int) -> None:
    """A title has no line breaks and its limit, and says where it was longer."""
    line = show.one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    if len(show.one_line(text, 10_000)) > limit:
        assert line.endswith("…")


@given(st.text(max_size=300).filter(lambda c: c.isprintable() and show.visible(c) == c))
def test_a_command_is_shown_whole(command: str) -> None:
    """What a person allows is all that will run."""
    assert show.decision("Bash", {"command": command}, WORK).shown == command


@pytest.mark.parametrize(
    "c", ["\u00a0", "\u2003", "\u3000", "\u3164", "\u115f", "\u2800", "\u034f", "\ufe0f",
          "\U000e0041", "\U000e0101", "\u200d", "\u2028", "\r", "\x1b"]
)  # fmt: skip
def test_what_looks_like_nothing_is_seen(c: str) -> None:
    """Spaces that are none to a shell, fillers, variation selectors and tags, by their number."""
    assert show.visible(f"rm{c}-rf /") == f"rm⟨U+{ord(c):04X}⟩-rf /"


@pytest.mark.parametrize("tool", ["Write", "Edit"])
@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/w/" + "d/" * 80 + "end.txt", "# the file: " + "d/" * 80 + "end.txt\n"),
        ("/w/a  b.txt", "# the file: a  b.txt\n"),
        ("/w/a\nb.txt", "# the file: a⟨U+000A⟩b.txt\n"),
        ("/w/a\u202eb.txt", "# the file: a⟨U+202E⟩b.txt\n"),
        ("/w/notes.txt", ""),
    ],
)
def test_a_path_is_shown_whole(tool: str, path: str, line: str) -> None:
    """Where the title had to be cut, or made one line, the path stands in what is shown."""
    given = {"file_path": path, "content": "x\n", "old_string": "w\n", "new_string": "x\n"}
    shown = show.decision(tool, given, WORK).shown
    assert shown == line + ("x\n" if tool == "Write" else "-w\n+x\n")


@given(st.recursive(st.none() | st.text() | st.integers(),
                    lambda v: st.lists(v) | st.dictionaries(
                        st.sampled_from(["question", "options", "label"]), v)))  # fmt: skip
def test_any_questions_can_be_shown_and_answered(questions: object) -> None:
    """Whatever a model sends in place of questions."""
    made = show.decision("AskUserQuestion", {"questions": questions}, WORK)
    given = {q.question: ["yes"] for q in made.questions}
    assert set(show.answers({"questions": questions}, given).values()) <= {"yes"}


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20) | st.integers(), max_size=4))
def test_any_call_can_be_shown(tool_input: dict[str, object]) -> None:
    """Whatever a model makes up as input, a person can be asked about it."""
    for tool in (
        "Bash",
        "Write",
        "Edit",
        "Read",
        "WebFetch",
        "ExitPlanMode",
        "AskUserQuestion",
        "X",
    ):
        made = show.decision(tool, dict(tool_input), WORK)
        assert made.title
        assert "\n" not in made.title


@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.text(max_size=20), max_size=5))
def test_an_edit_is_shown_whole(before: list[str], after: list[str]) -> None:
    """Every line that goes and every line that comes stands in the diff."""
    before, after = ([line.replace("\n", "") for line in lines] for lines in (before, after))
    old, new = "\n".join(before), "\n".join(after)
    shown = show.decision("Edit", {"old_string": old, "new_string": new}, WORK).shown
    if old == new:
        return
    lines = shown.split("\n")
    assert {"-" + show.visible(line) for line in set(before) - set(after) if line} <= set(lines)
    assert {"+" + show.visible(line) for line in set(after) - set(before) if line} <= set(lines)


@given(ANY, st.text(min_size=8, max_size=40).filter(lambda s: s.strip() == s), ANY)
def test_the_key_never_leaves(before: str, key: str, after: str) -> None:
    """Wherever the key stands in a text, it is hidden; what leaves can be written down."""
    outward = Outward(key)
    item = outward.item(Text(before + key + after))
    assert isinstance(item, Text)
    item.text.encode()
    if key not in HIDDEN and not any("\ud800" <= c <= "\udfff" for c in key):
        assert key not in item.text or key in (before + HIDDEN + after)


def test_keys_of_others_never_leave_either() -> None:
    """Those that an admin stored are hidden too, also one that came after the session began; what
    is too short to be a key is left alone."""
    stored = ["ok"]
    outward = Outward("session-token", also=lambda: stored)
    stored.append("sk-ant-of-somebody")
    assert outward.text("ok: session-token, sk-ant-of-somebody") == f"ok: {HIDDEN}, {HIDDEN}"
