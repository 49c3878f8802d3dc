"""Markdown on Discord: readable, never too long, nothing lost, no link that hides its target."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.contract import Choice, DeliveryError, Field, FileOut, MessageOut, Step
from adapters.discord import choices, forms
from adapters.discord.markdown import fence, to_discord
from adapters.discord.post import LIMIT, OVERFLOW, TEXT_LIMIT, render
from adapters.discord.words import (
    command_of,
    readable,
    spoken_command_of,
    title_of,
    without_me,
)

PARTS = st.sampled_from(
    [
        *["`", "``", "```", "|", "||", "#", ">", "<", "[", "]", "(", ")", "\\", "**", "_", "\t"],
        *["&amp;", "<b>", "<@123>", "@everyone", "ünï", "漢字", "😀", "[^1]", "word", " ", "    "],
        *["\n", "\n\n", "```py\n", "```py x=1\n", "~~~\n", "| a | b |\n", "|---|---|\n", "---\n"],
        *["# ", "#### ", "- ", "1. ", "> ", "> > ", "[a]: http://c.example\n"],
        *["[text](https://a.example/x)", "](https://evil.example)", "![i](http://b.example/i.png)"],
    ]
)
TEXTS = st.lists(PARTS, max_size=60).map("".join) | st.text(max_size=400)


def code_out(text: str) -> str:
    """The text without what Discord shows as code, found as Discord finds it."""
    text = re.sub(r"\\.", "", text)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text, flags=re.DOTALL)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("`a\n\n[x](http://evil.example) `")
@example("```\n[a](http://b)\n```` [c](http://evil.example)")
@example("\\`[x](http://evil.example)`")
def test_no_link_hides_its_target(text):
    """Outside code nothing is left that Discord would show as a link with other words."""
    assert not re.search(r"\[[^\]]*\]\(\s*<?https?:", code_out(to_discord(text)))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_word_is_lost(text):
    """Every letter and digit is there as often as it was written; a target behind its words."""

    def letters(shown: str) -> list[str]:
        return sorted(re.findall(r"\w", shown.replace("_", "")))

    got, wanted = letters(to_discord(text)), letters(text)
    for letter in set(wanted):
        assert got.count(letter) >= wanted.count(letter), (letter, to_discord(text))


MESSAGES = st.builds(
    MessageOut,
    markdown=TEXTS | st.text(alphabet="`|](#\n ax", max_size=TEXT_LIMIT),
    choices=st.lists(
        st.builds(Choice, action=st.text(max_size=60), label=st.text(max_size=200)), max_size=30
    ).map(tuple),
    steps=st.lists(
        st.builds(
            Step, id=st.text(max_size=5), title=st.text(max_size=300),
            state=st.sampled_from(["running", "done", "failed", "waiting"]),
            detail=st.text(max_size=600),
        ),
        max_size=30,
    ).map(tuple),
    status=st.text(max_size=200),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_never_too_long(message):
    """Whatever the bridge posts, it is within Discord's limits, and what does not fit is whole in
    a file."""
    made = render(message)
    assert len(made.content) <= LIMIT
    assert made.content or made.files
    if made.overflow:
        assert made.files[0].name == OVERFLOW
        assert message.markdown.encode("utf-8", "replace") in made.files[0].data
    ids = [
        b.id for row in made.rows for b in (row.options if isinstance(row, choices.Menu) else row)
    ]
    labels = [b.label for row in made.rows
              for b in (row.options if isinstance(row, choices.Menu) else row)]  # fmt: skip
    assert len(ids) == len(set(ids)) == len(message.choices)
    assert all(0 < len(label) <= 80 for label in labels)
    assert [choices.pressed(one).action for one in ids] == [c.action for c in message.choices]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="word \n.,", min_size=1, max_size=TEXT_LIMIT))
def test_plain_words_fit(text):
    """Plain text of the length that the bridge may use is shown whole, without a file."""
    assert not render(MessageOut(text)).overflow


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="`a\n", max_size=200))
def test_code_stays_in_its_box(code):
    """No code ends the block that it is shown in."""
    made = fence(code)
    assert len(re.findall("```", made)) == 2
    assert made.startswith("```\n")
    assert made.endswith("\n```")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# One\n## Two\n### Three\n#### Four", "# One\n## Two\n### Three\n**Four**"),
        ("a [b](https://c.example/d_e) f", "a b (<https://c.example/d_e>) f"),
        ("[https://c.example](https://c.example)", "<https://c.example>"),
        ("[b](javascript:x)", "b (javascript:x)"),
        ("`[b](https://c.example)`", "`[b](https://c.example)`"),
        ("one\n\n---\n\ntwo", "one\n\n⎯⎯⎯⎯⎯⎯⎯⎯⎯⎯⎯⎯\n\ntwo"),
        ("~~~py\nx = 1\n~~~", "```py\nx = 1\n```"),
        ("- a\n  - b\n\n1. c", "- a\n  - b\n\n1. c"),
        ("x || y || z", "x \\|\\| y \\|\\| z"),
        (">>> a", "> a"),
        ("**b** _i_ ~~s~~", "**b** _i_ ~~s~~"),
        ("| n | v |\n|---|---|\n| a | 1 |\n| bb | 22 |",
         "```\nn  │ v\n───┼───\na  │ 1\nbb │ 22\n```"),
    ],
)  # fmt: skip
def test_what_it_looks_like(text, shown):
    """The look of what agents write most."""
    assert to_discord(text) == shown


def test_a_wide_table():
    """A table wider than a phone is a list of its rows."""
    text = "| Name | What it does |\n|---|---|\n| make | " + "builds " * 12 + "|\n| test | runs |"
    shown = to_discord(text)
    assert "- **Name**: make · **What it does**: builds builds" in shown
    assert "```" not in shown


def test_files_come_along():
    """The files of a post stay behind the one that holds what did not fit."""
    file = FileOut("a.bin", "", b"x")
    made = render(MessageOut("||" * 800, files=(file,)))
    assert [f.name for f in made.files] == [OVERFLOW, "a.bin"]


def test_an_action_that_no_button_holds():
    """It is refused, and not cut."""
    with pytest.raises(DeliveryError):
        choices.rows((Choice("x" * 101, "Go"),))


FIELDS = st.lists(
    st.builds(
        Field,
        name=st.sampled_from(["q0", "q0.other", "q1", "reason", "x.y"]),
        label=st.text(max_size=120),
        options=st.lists(st.tuples(st.text(max_size=150), st.text(max_size=150)), max_size=60)
        .map(tuple),
        many=st.booleans(),
        required=st.booleans(),
        placeholder=st.text(max_size=150),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(FIELDS)
async def test_any_form_fits_into_dialogs(form):
    """Every part of a form is on one page of at most five, within Discord's limits."""
    every = forms.pages(form)
    asked = {part.number for page in every for part in page}
    assert asked == set(range(len(form)))
    for number in range(len(every)):
        made = forms.dialog("T" * 100, form, forms.Page(number, "d:1:answer")).to_dict()
        assert len(made["title"]) <= 45
        assert 1 <= len(made["components"]) <= 5
        for part in made["components"]:
            assert 1 <= len(part["label"]) <= 45
            assert len(part.get("description") or "") <= 100
            inner = part["component"]
            assert 1 <= len(inner["custom_id"]) <= 100
            values = [option["value"] for option in inner.get("options", [])]
            assert len(values) <= 25
            assert all(len(value) <= 100 for value in values)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("<@5> hello", "hello"),
        (" <@!5>  hello <@5>", "hello"),
        ("<@5>", ""),
        ("ask <@5> about it", "ask <@5> about it"),
        ("<@6> hello", "<@6> hello"),
        ("  code\n", "  code\n"),
    ],
)
def test_the_mention_of_the_bot(text, want):
    """It is left out where it only calls the bot; all else is as it was written."""
    assert without_me(text, 5, None) == want


def test_names_in_words():
    """Mentions have names; unknown ones stay as they are, and nothing else changes."""
    names = {("@", 1): "Ann", ("@&", 2): "ops", ("#", 3): "general"}
    text = "<@1> <@!1> <@&2> <#3> <@9> <:smile:4> a<b>"
    want = "@Ann (1) @Ann (1) @ops (2) #general <@9> <:smile:4> a<b>"
    assert readable(text, lambda kind, number: names.get((kind, number))) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("!Mode plan please", ("mode", "plan please")),
        ("!stop", ("stop", "")),
        ("!instructions set a\nb", ("instructions", "set a\nb")),
        ("!two-people list", ("two-people", "list")),
        ("! not", None), ("!!", None), ("!=", None), ("wow!", None), ("!1", None),
    ],
)  # fmt: skip
def test_commands(text, want):
    """What is a command, and what only looks a little like one."""
    assert command_of(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("claim ABCD-2345-WXYZ", ("claim", "ABCD-2345-WXYZ")),
        ("`Link abcd-2345 yes`", ("link", "abcd-2345 yes")),
        ("people let ABCD-2345", ("people", "let ABCD-2345")),
        ("claim my seat", None),
        ("link the two files", None),
        ("please claim ABCD-2345", None),
    ],
)
def test_a_word_and_a_code(text, want):
    """What people are told to write to the bot is a command, and nothing like it."""
    assert spoken_command_of(text) == want


def test_titles():
    """A thread is named after the first line of the request, within Discord's limit."""
    assert title_of("\n**Fix** the `build`\nnow") == "Fix the build"
    assert title_of("") == title_of("` `") == "Bascule"
    assert len(title_of("x" * 500)) <= 100
