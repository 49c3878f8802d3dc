"""A turn's events as posts."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agent_service.contract import Decision, events
from agent_service.contract.decisions import Question, QuestionOption
from bridge.engine.answers import answer_of
from bridge.present.decision import card, fenced
from bridge.present.turn import MOST_POSTS, TurnPresentation

FILE_LIMIT = 10**6


def present(found, limit=500):
    made = TurnPresentation(limit, FILE_LIMIT)
    for event in found:
        made.apply(event)
    return made


def asked(shown="ls -l", **more) -> Decision:
    given = {"kind": "tool", "tool": "Bash", "language": "bash", **more}
    return Decision(id="d_1", turn_id="t_1", shown=shown, **given)


STARTED = events.TurnStarted("m", False)
DONE = events.TurnFinished("completed")


def test_an_answer_grows_in_one_post_and_is_final_at_the_end():
    """What streams in is edited into place; only the finished post is final."""
    made = present([STARTED, events.TextDelta("Hel"), events.TextDelta("lo")])
    [(suffix, post)] = made.posts()
    assert (suffix, post.markdown, post.final) == ("0", "Hello", False)
    made.apply(events.Text("Hello"))
    made.apply(DONE)
    [(suffix, post)] = made.posts()
    assert (suffix, post.markdown, post.final, post.status) == ("0", "Hello", True, "")


def test_steps_are_shown_while_they_run_and_a_failed_one_says_why():
    """A person sees what the agent does, and what did not work."""
    made = present(
        [
            STARTED,
            events.ToolStarted("1", "Bash", "Bash: ls"),
            events.ToolStarted("2", "Read", "Read a.txt"),
        ]
    )
    assert [s.state for s in made.posts()[0][1].steps] == ["running", "running"]
    assert made.status() == "Reading a.txt · 2 steps"
    made.apply(events.ToolFinished("1", True, "out"))
    made.apply(events.ToolFinished("2", False, "No such file"))
    steps = made.posts()[0][1].steps
    assert [(s.state, s.detail) for s in steps] == [("done", ""), ("failed", "No such file")]


def test_a_refused_host_is_named_once_with_what_can_be_done():
    """A person learns which host, that somebody can allow it, or that nobody can; the process that
    goes on after a decision may tell it again, the thread does not."""
    refused = events.EgressRefused("git.example", 443, "not_listed")
    inside = events.EgressRefused("fd00::1", 8443, "not_public")
    made = present(
        [
            STARTED,
            events.ToolStarted("1", "Bash", "Bash: git clone"),
            refused,
            events.DecisionRequested(asked()),
            events.DecisionResolved("d_1", "allowed", "p1"),
            refused,
            inside,
            DONE,
        ]
    )
    steps = [step for _, post in made.posts() for step in post.steps]
    told = [step for step in steps if step.id.startswith("egress:")]
    assert [(s.title, s.state) for s in told] == [
        ("Refused: a connection to git.example:443", "failed"),
        ("Refused: a connection to [fd00::1]:8443", "failed"),
    ]
    assert "can allow it" in told[0].detail
    assert "never reached" in told[1].detail


def test_a_decision_closes_what_was_said_before_it():
    """The card stands where it was asked, and what follows is said below it."""
    made = present(
        [
            STARTED,
            events.Text("Let me see."),
            events.ToolStarted("1", "Bash", "Bash: ls"),
            events.DecisionRequested(asked()),
        ]
    )
    said, question = (post for _, post in made.posts())
    assert said.final
    assert said.steps[0].state == "waiting"
    verbs = ["allow", "deny", "deny", "instead"]
    assert [c.action for c in question.choices] == [f"d:d_1:{verb}" for verb in verbs]
    for event in [
        events.DecisionResolved("d_1", "allowed", "p1"),
        events.ToolFinished("1", True, "a"),
        events.Text("There."),
        DONE,
    ]:
        made.apply(event)
    assert [suffix for suffix, _ in made.posts()] == ["0", "d-d_1", "1"]
    said, question, answer = (post for _, post in made.posts())
    assert said.steps[0].state == "done"
    assert question.choices == ()
    assert "Allowed" in question.markdown
    assert "ls -l" in question.markdown
    assert answer.markdown == "There."


def test_a_question_is_a_card_and_not_a_step_besides():
    """Nothing is said twice."""
    question = Question("Tea?", "Drink", (QuestionOption("Yes"), QuestionOption("No")))
    made = present(
        [
            STARTED,
            events.ToolStarted("1", "AskUserQuestion", "AskUserQuestion"),
            events.DecisionRequested(
                asked("Tea?", kind="question", tool="AskUserQuestion", questions=(question,))
            ),
        ]
    )
    [(_, post)] = made.posts()
    assert [c.label for c in post.choices] == ["Yes", "No", "Something else", "Do not answer"]


def test_every_button_of_a_card_is_understood():
    """What the presenter makes, the engine reads back."""
    options = tuple(QuestionOption(f"o{n}") for n in range(4))
    cards = [
        asked(),
        asked("# Plan", kind="plan", tool="ExitPlanMode"),
        asked("git push", pattern="Bash(git push *)", pattern_words="`git push` and more"),
        asked("ls", again=True),
        asked("pypi.org:443", kind="network", tool=""),
        asked("q", kind="question", questions=(Question("q?", "h", options),)),
        asked("q", kind="question", questions=(Question("q?", "h", options, many=True),)),
        asked(
            "q", kind="question", questions=tuple(Question(f"q{n}?", "h", options) for n in "ab")
        ),
    ]
    for decision in cards:
        shown = {"questions": [{"question": q.question, "options": [{"label": o.label}
                 for o in q.options]} for q in decision.questions]}  # fmt: skip
        for choice in card(decision, 500, FILE_LIMIT).choices:
            verb = choice.action.split(":")[2]
            if verb == "instead":
                continue  # that is no answer: it ends the turn
            values = [(field.name, ["text"]) for field in choice.form]
            assert answer_of(verb, values, shown, "p1") is not None, choice


def test_a_command_too_long_for_a_post_comes_whole_as_a_file():
    """Nobody is asked to allow what they cannot read."""
    command = "\n".join(f"echo {n}" for n in range(900))
    made = card(asked(command, claim="says `everything`"), 2000, FILE_LIMIT)
    assert len(made.markdown) <= 2000
    assert made.files[0].data.decode() == command
    assert made.files[0].name in made.markdown
    long = tuple(
        Question("why? " * 300, "h", (QuestionOption("x" * 100, "y" * 300),)) for _ in "ab"
    )
    assert len(card(asked("q", kind="question", questions=long), 2000, FILE_LIMIT).markdown) <= 2000


@given(st.text(alphabet="`~a\n", max_size=60))
def test_nothing_gets_out_of_its_code_block(text):
    """A command cannot end the block it is shown in and speak as Bascule."""
    first, *inside, last = fenced(text, "bash").split("\n")
    mark = first.removesuffix("bash")
    assert last == mark
    assert not any(re.match(r"^\s*" + re.escape(mark), line) for line in inside)


def test_a_claim_cannot_look_like_ours():
    """The model's own words are quoted, on one line, without meaning as Markdown."""
    made = card(asked(claim="ok\n\n**Allowed by Ann** [x](http://e) @everyone `"), 2000, FILE_LIMIT)
    assert "\n**Allowed" not in made.markdown
    assert r"\[x\]\(" in made.markdown
    assert r"\@everyone" in made.markdown


def test_a_turn_that_fails_says_so_after_what_it_said():
    """The beginning of an answer stays, and below it stands what happened and what to do."""
    made = present(
        [
            STARTED,
            events.TextDelta("Half an ans"),
            events.TurnFinished("failed", "x", "Bad.", "Do."),
        ]
    )
    assert [(p.markdown, p.tone) for _, p in made.posts()] == [
        ("Half an ans", "answer"),
        ("Bad.\n\nDo.", "error"),
    ]


def test_stopped_is_no_error():
    """Who stops a turn is told that it stopped, not that something broke."""
    made = present([STARTED, events.TurnFinished("interrupted", "stopped")])
    assert [(p.markdown, p.tone) for _, p in made.posts()] == [("Stopped.", "notice")]


def test_a_retry_is_seen_while_it_lasts_and_leaves_nothing():
    """What goes on is the status, the newest alone; the answer is the answer and nothing else."""
    notices = [events.Notice(f"The model answered 529; trying again {n}") for n in range(9)]
    made = present([STARTED, *notices])
    assert made.posts() == []
    assert made.status() == "The model answered 529; trying again 8"
    made.apply(events.TextDelta("It"))
    assert made.status() == "Writing…"
    made.apply(notices[0])
    [(_, post)] = made.posts()
    assert (post.markdown, post.status) == ("It", "The model answered 529; trying again 0")
    for event in (events.Text("It is done."), DONE):
        made.apply(event)
    [(_, post)] = made.posts()
    assert (post.markdown, post.tone, post.status) == ("It is done.", "answer", "")


def test_a_notice_before_the_start_stays():
    """Why a message waits is a post of its own: until the turn starts there is nothing else."""
    made = present([events.Notice("This starts later."), events.Notice("This starts [soon].")])
    assert [(s, p.markdown, p.tone) for s, p in made.posts()] == [
        ("before", r"This starts \[soon\].", "notice")
    ]
    for event in (STARTED, events.Text("Here I am."), DONE):
        made.apply(event)
    assert [suffix for suffix, _ in made.posts()] == ["before", "0"]


def test_what_no_file_can_hold_is_named_and_cannot_be_allowed():
    """A command that nobody can read whole is said with its size, and only denied."""
    command = "\n".join(f"echo {n}" for n in range(900))
    made = card(asked(command), 2000, 100)
    assert made.files == ()
    assert f"command.sh with {len(command):,} bytes" in made.markdown
    assert len(made.markdown) <= 2000
    assert {choice.action for choice in made.choices} == {"d:d_1:deny", "d:d_1:instead"}
    plan = card(asked("step " * 900, kind="plan", tool="ExitPlanMode"), 2000, 100)
    assert {choice.action for choice in plan.choices} == {"d:d_1:deny"}
    long = Question("why?", "h", tuple(QuestionOption(x, "y" * 300) for x in "abcd"))
    question = card(asked("q", kind="question", language="", questions=(long,)), 900, 100)
    assert "d:d_1:answer.0.0" in {choice.action for choice in question.choices}
    assert "whole.txt with" in question.markdown


WORDS = st.text(alphabet="ab \n`", min_size=1, max_size=120)


NOTICES = st.builds(events.Notice, WORDS)


@given(
    st.lists(NOTICES, max_size=2),
    st.lists(st.one_of(WORDS, st.integers(0, 3), NOTICES), max_size=12),
    st.integers(40, 120),
)
def test_the_same_events_give_the_same_posts_with_or_without_deltas(before, parts, limit):
    """After a crash the turn is presented from what was stored, and every post finds itself;
    none ever goes away."""
    live, stored = TurnPresentation(limit, FILE_LIMIT), TurnPresentation(limit, FILE_LIMIT)
    for made in (live, stored):
        for event in before:
            made.apply(event)
        made.apply(STARTED)
    seen: list[str] = [suffix for suffix, _ in live.posts()]
    for number, part in enumerate(parts):
        if isinstance(part, int):
            found = [events.ToolStarted(str(number), "Read", "Read"), events.ToolFinished(
                str(number), part > 0, "why")]  # fmt: skip
        elif isinstance(part, events.Notice):
            found = [part]
        else:
            found = [*(events.TextDelta(c) for c in part), events.Text(part)]
        for event in found:
            live.apply(event)
            if not isinstance(event, events.TextDelta):
                stored.apply(event)
            now = [suffix for suffix, _ in live.posts()]
            assert now[: len(seen)] == seen
            assert all(len(post.markdown) <= limit for _, post in live.posts())
            seen = now
    live.apply(DONE)
    stored.apply(DONE)
    texts = [(suffix, post.markdown) for suffix, post in stored.posts()]
    assert [(s, p.markdown) for s, p in live.posts()][: len(texts)] == texts


def test_a_call_is_shown_with_its_folder():
    """Where it would run stands on its card; a question has no folder."""
    asked = Decision("d1", "t1", "tool", "Bash", "ls", cwd="/srv/work")
    assert "> In the folder `/srv/work`" in card(asked, 2000, 10_000).markdown
    plan = Decision("d1", "t1", "plan", "ExitPlanMode", "Look.", cwd="/srv/work")
    assert "folder" not in card(plan, 2000, 10_000).markdown


def test_the_status_says_what_how_long_and_how_many():
    """One line for a person who wonders whether anything goes on."""
    now = [0.0]
    made = TurnPresentation(500, FILE_LIMIT, clock=lambda: now[0])
    made.apply(STARTED)
    assert made.status() == "Thinking…"
    for number in range(4):
        made.apply(events.ToolStarted(str(number), "Bash", "Bash: npm test"))
    now[0] = 80.0
    assert made.status() == "Running npm test · 1 min 20 s · 4 steps"
    assert made.posts()[-1][1].status == made.status()
    now[0] = 7385.0
    assert made.status() == "Running npm test · 2 h 3 min · 4 steps"
    made.apply(events.DecisionRequested(asked()))
    assert made.status() == "Waiting for your answer"
    made.apply(DONE)
    assert made.status() == ""


def test_many_steps_are_folded_and_failures_stay():
    """A long turn does not fill the thread; what failed or runs is seen by itself."""
    made = present([STARTED])
    for number in range(30):
        made.apply(events.ToolStarted(str(number), "Read", f"Read {number}.txt"))
        if number < 29:
            made.apply(events.ToolFinished(str(number), number != 7, "No such file"))
    steps = made.posts()[0][1].steps
    assert [(s.title, s.state) for s in steps] == [
        ("25 steps", "done"),
        ("Read 7.txt", "failed"),
        ("Read 26.txt", "done"),
        ("Read 27.txt", "done"),
        ("Read 28.txt", "done"),
        ("Read 29.txt", "running"),
    ]
    made.apply(events.ToolFinished("29", True, ""))
    made.apply(DONE)
    assert [s.title for s in made.posts()[0][1].steps] == ["29 steps", "Read 7.txt"]


def test_a_very_long_answer_is_its_beginning_and_a_file():
    """Nothing is lost and no thread flooded; where no file can hold it, it is all posts."""
    text = "\n\n".join(f"Paragraph {n}. " + "word " * 30 for n in range(100)).strip()
    made = present([STARTED, events.TextDelta(text)], 500)
    live = made.posts()
    assert len(live) == MOST_POSTS + 1
    assert live[-1][1].files == ()
    for event in (events.Text(text), DONE):
        made.apply(event)
    posts = [post for _, post in made.posts()]
    assert [post.markdown for post in posts[:-1]] == [post.markdown for _, post in live[:-1]]
    assert text.startswith(posts[0].markdown)
    assert posts[-1].files[0].data.decode() == text
    small = TurnPresentation(500, 1000)
    for event in (STARTED, events.Text(text), DONE):
        small.apply(event)
    assert "".join("".join(p.markdown.split()) for _, p in small.posts()) == "".join(text.split())
