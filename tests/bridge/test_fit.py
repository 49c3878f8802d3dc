"""No post over its platform's limit, whatever goes in, and nothing of it lost."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Attachment, Identity, MessageOut
from agent_service.contract import Decision, events
from agent_service.contract.decisions import Question, QuestionOption
from bridge.people import access
from bridge.present.decision import approved, card, plain, resolved
from bridge.present.fit import fit

LIMITS = st.integers(500, 4000)
FILE_LIMITS = st.sampled_from([10, 1000, 10**6])


def longer(most: int = 6000):
    """Texts of every length, of the characters that mean something in Markdown."""
    piece = st.text(alphabet="ab `*_~<>|\n\\é@[](#", max_size=30)
    return st.builds(lambda text, n: (text * (n // max(len(text), 1) + 1))[:n], piece,
                     st.integers(0, most))  # fmt: skip


QUESTIONS = st.lists(
    st.builds(
        Question,
        longer(2000),
        st.just("h"),
        st.lists(st.builds(QuestionOption, longer(200), longer(400)), max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
DECISIONS = st.builds(
    Decision,
    st.just("d_1"),
    st.just("t_1"),
    st.sampled_from(["tool", "question", "plan", "network"]),
    st.sampled_from(["Bash", "Write", "x" * 400]),
    longer(),
    title=longer(600),
    language=st.sampled_from(["bash", "diff", "json", "", "x" * 300]),
    claim=longer(2000),
    why=longer(2000),
    cwd=longer(600),
    questions=QUESTIONS,
    expires_at=st.sampled_from([0.0, 1e9]),
    pattern=longer(500),
    pattern_words=longer(700),
    again=st.booleans(),
    needs=st.integers(1, 3),
)


@given(longer(9000), LIMITS, FILE_LIMITS)
def test_a_text_is_whole_in_a_post_or_in_its_file(text, limit, file_limit):
    """What has no room is a file; where that is too large, its length is told."""
    made = fit(MessageOut(text), limit, file_limit)
    assert len(made.markdown) <= limit
    if len(text) <= limit:
        assert made == MessageOut(text)
    elif len(text.encode()) <= file_limit:
        assert [file.data.decode() for file in made.files] == [text]
    else:
        assert f"{len(text):,} characters" in made.markdown
        assert made.files == ()


@given(DECISIONS, LIMITS, FILE_LIMITS, longer(300), longer(300))
def test_a_card_fits_with_what_was_decided(decision, limit, file_limit, name, reason):
    """Its context is measured with it; and what nobody can read whole, nobody can allow."""
    made = card(decision, limit, file_limit)
    assert len(made.markdown) <= limit
    assert all(len(file.data) <= file_limit for file in made.files)
    text = approved(made, events.DecisionApproved("d_1", name, 1), limit)
    assert len(text.markdown) <= limit
    over = resolved(text, events.DecisionResolved("d_1", "denied", name, reason), limit)
    assert len(over.markdown) <= limit
    assert "✗ Denied" in over.markdown
    given_out = [file.data.decode() for file in made.files]
    verbs = {choice.action.split(":")[2] for choice in made.choices}
    if decision.kind != "question" and verbs & {"allow", "allow.workspace", "allow.edits"}:
        assert decision.shown in given_out or decision.shown in made.markdown
    if "allow.workspace" in verbs:
        everything = "".join([made.markdown, *given_out])
        assert decision.pattern_words in everything
    assert "d:d_1:deny" in {choice.action for choice in made.choices}


@given(longer(), st.integers(2, 400))
def test_words_on_one_line_keep_their_limit(text, limit):
    """Escaped they are still within it, and no escape is torn in two."""
    made = plain(text, limit)
    assert len(made) <= limit
    assert "\n" not in made
    assert (len(made) - len(made.rstrip("\\"))) % 2 == 0


async def test_many_files_that_cannot_be_taken(house):
    """Each is named with its reason, in a post or in the file that comes with it."""
    await house.start()
    names = [f"a long name of a file that is quite long, number {n}.txt" for n in range(60)]
    files = tuple(Attachment(f"r{n}", name, "text/plain", 5) for n, name in enumerate(names))
    await house.say("say files", attachments=files)
    await house.sees("Not taken")
    await house.quiet()
    shown = house.platform.shown(house.at())
    assert all(len(post.markdown) <= 4000 for post in shown)
    [post] = [post for post in shown if post.markdown.startswith("Not taken")]
    everything = post.files[0].data.decode()
    assert all(f"number {n}.txt" in everything for n in range(60))


async def test_a_long_answer_of_a_command(house):
    """It says that a file follows, which its sender alone sees, and which has all of it."""
    house.platform.caps = replace(house.platform.caps, text_limit=600)
    await house.start()

    def add(con) -> None:
        for n in range(45):
            who = Identity("memory", "t", f"u{n}")
            access.add(con, house.bridge.db, who, f"A rather ordinary name {n}", "member")

    await house.bridge.db.tx(add)
    assert await house.command("people") == "The answer is long: it follows as a file."
    await house.sees("This is only its beginning")
    [post] = house.platform.shown(house.at())
    assert len(post.markdown) <= 600
    assert post.only_for is not None
    whole = post.files[0].data.decode()
    assert whole.count("ordinary name") == 19
    assert "`people 2` goes on" in whole
