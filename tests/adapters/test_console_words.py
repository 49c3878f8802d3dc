"""What a terminal prints: everything once, in order, and nothing that could do anything to it."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.console import render
from adapters.console.blocks import blocks
from adapters.console.clean import clean, line
from adapters.console.files import LONGEST_NAME, safe_name
from adapters.console.form import Form
from adapters.console.protocol import Body, File, Marked, Post, Said, Welcome
from adapters.console.transcript import Mine, Note, Transcript, Words
from adapters.contract import Choice, Field, Step

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
NASTY = st.text(
    st.one_of(
        st.sampled_from("\x1b[]\x07\x08\r\n\t\x9b\u202e*_`#|>-&;x01l3"),
        st.characters(exclude_categories=()),
    ),
    max_size=80,
)


def printed(items) -> str:
    return render.ansi([render.item(item) for item in items], 80)


@given(NASTY)
def test_clean_text_has_no_control_character(text: str) -> None:
    """Whatever comes in, only line feeds and tabs are left, and it can be encoded."""
    found = clean(text)
    assert not HARMFUL.search(found.replace("\t", " "))
    found.encode()
    assert "\n" not in line(text)


@settings(max_examples=150, deadline=None)
@given(NASTY)
def test_nothing_harmful_is_printed(text: str) -> None:
    """No item lets an escape sequence through; the only ones printed are our own colours."""
    items = [
        *(Words(text, tone) for tone in ("answer", "notice", "error", "decision")),
        Words(f"```{text}\n{text}\n```\n[{text}](http://x/{text}) ![{text}]({text})", "answer"),
        Step("s", text, "failed", text),
        File(text, text, 1),
        Mine(text),
        Note(text),
    ]
    assert not HARMFUL.search(COLOUR.sub("", printed(items)))


def test_entities_are_no_way_around() -> None:
    """Markdown can spell an escape character; it is made visible, too."""
    text = "&#27;[2J &#x9b;2J &#x202e; [a](<http://x/&#27;]0;title&#7;>)"
    assert not HARMFUL.search(COLOUR.sub("", printed([Words(text, "answer")])))


@given(st.text(st.sampled_from("ab\n\r-*#`|> 1.\t\u2028\x0c"), max_size=120))
def test_blocks_are_the_text(text: str) -> None:
    """Cutting a text into blocks loses nothing of it."""
    assert "".join(blocks(text)) == text


WORDS = st.lists(
    st.sampled_from(["one two", "- a\n- b", "```py\nx = 1\n\ny\n```", "# Head", "> said", "1. n"]),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(WORDS, st.integers(1, 9), st.data())
def test_growing_text_is_printed_once(parts: list[str], stride: int, data) -> None:
    """However a text grows and however often a state comes again, it is printed once, in order."""
    text = "\n\n".join(parts)
    states = [text[:n] for n in range(1, len(text), stride)]
    transcript, got = Transcript(), []
    for rev, state in enumerate([*states, text], 1):
        final = state == text
        post = Post(ref="1", rev=rev, body=Body(markdown=state or "…", final=final))
        got += transcript.apply(post)
        if data.draw(st.booleans()):
            got += transcript.apply(post)
    assert all(isinstance(item, Words) and not item.again for item in got)
    assert "".join("".join(item.markdown for item in got).split()) == "".join(text.split())
    assert transcript.live_text() == ("", "answer")


def test_replaced_words_are_printed_as_changed() -> None:
    """What an edit replaced was printed already: the new words follow, marked as a change."""
    transcript = Transcript()
    transcript.apply(Post(ref="1", rev=1, body=Body(markdown="Not reachable.", tone="notice")))
    items = transcript.apply(
        Post(ref="1", rev=2, body=Body(markdown="Reachable again.", tone="notice"))
    )
    assert items == [Words("Reachable again.", "notice", again=True)]


def test_text_before_a_step_comes_before_it() -> None:
    """A running step says that the text before it is complete; the step follows when it is over."""
    transcript = Transcript()
    running, done = Step("s", "Run make", "running"), Step("s", "Run make", "done")
    body = Body(markdown="I will build it.", steps=(running,), final=False)
    assert transcript.apply(Post(ref="1", rev=1, body=body)) == [
        Words("I will build it.", "answer")
    ]
    assert transcript.live_steps() == [running]
    body = Body(markdown="I will build it.\n\nIt w", steps=(done,), final=False)
    assert transcript.apply(Post(ref="1", rev=2, body=body)) == [done]
    assert transcript.live_text() == ("It w", "answer")


def test_steps_that_were_quick_wait_for_their_text() -> None:
    """A step that is over when first seen is printed behind the text it came with."""
    transcript = Transcript()
    done = Step("s", "Run make", "done")
    body = Body(markdown="I will build it.", steps=(done,), final=False)
    assert transcript.apply(Post(ref="1", rev=1, body=body)) == []
    body = Body(markdown="I will build it.\n\nIt works.", steps=(done,))
    assert transcript.apply(Post(ref="1", rev=2, body=body)) == [
        Words("I will build it.\n\n", "answer"),
        done,
        Words("It works.", "answer"),
    ]


def test_returning_terminal_doubles_nothing() -> None:
    """After a broken connection the same entries come again, and none is printed again."""
    transcript = Transcript()
    entries = (
        Said(key="k1", rev=1, text="hello", mark="done"),
        Post(ref="1", rev=2, body=Body(markdown="hi")),
    )
    welcome = Welcome(version=2, name="Ann", conversation="main", entries=entries, status="")
    assert transcript.apply(welcome) == [Mine("hello"), Words("hi", "answer")]
    assert transcript.apply(welcome) == []


def test_mark_may_come_before_its_message() -> None:
    """A message of another terminal is shown, also where its mark was faster."""
    transcript = Transcript()
    assert transcript.apply(Marked(key="k1", rev=1, mark="queued")) == []
    assert transcript.apply(Said(key="k1", rev=2, text="hello", mark="queued")) == [Mine("hello")]


def test_own_words_are_not_echoed() -> None:
    """What was written here comes back from the bridge and is not shown a second time."""
    transcript = Transcript()
    assert transcript.say("k1", "hello") == Mine("hello")
    assert transcript.apply(Said(key="k1", rev=1, text="hello")) == []
    transcript.apply(Marked(key="k1", rev=2, mark="working"))
    assert transcript.busy
    transcript.apply(Marked(key="k1", rev=3, mark="done"))
    assert not transcript.busy


def test_offer_of_a_decision_outlives_other_posts() -> None:
    """A decision is offered until it is taken or gone; an error's Retry only while it is last."""
    transcript = Transcript()
    retry, allow = Choice("retry:1", "Retry"), Choice("d:1:allow", "Allow")
    transcript.apply(Post(ref="1", rev=1, body=Body(markdown="no", choices=(retry,), tone="error")))
    assert transcript.offer.choices == (retry,)
    transcript.say("k1", "something else")
    assert transcript.offer is None
    card = Body(markdown="May I?", choices=(allow,), tone="decision")
    transcript.apply(Post(ref="2", rev=2, body=card))
    transcript.apply(Post(ref="3", rev=3, body=Body(markdown="by the way")))
    offer = transcript.offer
    assert offer.choices == (allow,)
    transcript.take_up(offer)
    assert transcript.offer is None
    transcript.apply(Post(ref="4", rev=4, body=Body(markdown="press again", tone="notice")))
    assert transcript.offer == offer
    transcript.apply(Post(ref="2", rev=5, body=Body(markdown="May I?", tone="decision")))
    assert transcript.offer is None


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_any_name_becomes_a_file_name(name: str) -> None:
    """A kept file's name is one short, visible name in one directory."""
    found = safe_name(name)
    assert found
    assert "/" not in found
    assert found not in (".", "..")
    assert found.isprintable()
    assert len(found.encode()) <= LONGEST_NAME


def test_form_asks_until_it_is_right() -> None:
    """Required fields are asked again, menus take their numbers, optional ones may stay empty."""
    form = Form(
        Choice(
            "x",
            "X",
            form=(
                Field("why", "Why?"),
                Field("one", "Which?", (("v1", "First"), ("v2", "Second"))),
                Field("some", "Which ones?", (("a", "A"), ("b", "B")), many=True),
                Field("more", "More?", required=False),
            ),
        )
    )
    assert form.give("  ")
    assert not form.give("because")
    assert form.give("3")
    assert form.give("1 2")
    assert not form.give("second")
    assert not form.give("2, 1 2")
    assert "leaves it out" in form.question()[-1]
    assert not form.give("")
    assert form.field is None
    assert form.values() == (("why", ("because",)), ("one", ("v2",)), ("some", ("b", "a")))
