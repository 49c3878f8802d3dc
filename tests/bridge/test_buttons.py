"""Decisions, stop, retry and commands."""

import asyncio
import sqlite3

import pytest
import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.store.schema import click
from tests.bridge.house import STRANGER, until

ASK = "run rm -r build then say It went on."
BUSY = "say working then hang"
QUESTION = "ask Which one? | red | blue"


async def test_allow(up):
    """A decision is asked where the message was, and the owner's click lets the turn go on."""
    await up.say(ASK)
    allow, *_ = await up.card()
    await up.quiet()
    assert (await up.click(allow, key="x")).outcome == "stored"
    assert (await up.click(allow, key="x")).outcome == "duplicate"
    await up.sees("It went on.")
    assert up.agent.decisions[0]["decided_by"].startswith("p_")
    await up.quiet()
    step, card, answer = up.platform.shown()
    assert [(s.title, s.state) for s in step.steps] == [("Bash: rm -r build", "done")]
    assert "✓ Allowed" in card.markdown
    assert card.choices == ()
    assert answer.markdown == "It went on."


async def test_deny_with_a_reason(up):
    """A denial carries the words of the form."""
    await up.say(ASK)
    deny = next(choice for choice in await up.card() if choice.endswith(":deny"))
    await up.click(deny, values=(("reason", ("use make clean",)),))
    await up.sees("✗ Denied by Olga: use make clean")
    assert up.agent.decisions[0]["outcome"] == "deny"
    assert up.agent.decisions[0]["reason"] == "use make clean"


async def test_question(up):
    """An answer is sent by the question's own words and the option's own label."""
    await up.say(QUESTION)
    _red, blue, *_ = await up.card()
    await up.click(blue)
    await up.sees("You chose: blue")
    assert up.agent.decisions[0]["answers"] == [["Which one?", ["blue"]]]


async def test_question_by_form(up):
    """A form's menu and its free text both count."""
    await up.say(QUESTION)
    _, _, other, _ = await up.card()
    values = (("q0", ("red",)), ("q0.other", ("or green",)), ("q7", ("nonsense",)))
    await up.click(other, values=values)
    await up.sees("You chose: red, or green")
    assert up.agent.decisions[0]["answers"] == [["Which one?", ["red", "or green"]]]


async def test_empty_form(up):
    """A form that brought nothing is no answer: its sender is told, and it can be tried again."""
    await up.say(QUESTION)
    _, _, other, _ = await up.card()
    await up.click(other, values=(("q0", (" ",)),))
    await up.sees("Nothing was chosen")
    await up.click(other, values=(("q0", ("red",)),))
    await up.sees("You chose: red")


async def test_first_answer_wins(up, wait):
    """Later answers are told what was decided and by whom."""
    await up.say(ASK)
    allow, *_ = choices = await up.card()
    deny = next(choice for choice in choices if choice.endswith(":deny"))
    await up.click(allow)
    await wait(lambda: up.agent.decisions)
    await up.click(deny)
    await up.sees("You have allowed this already.")
    assert len(up.agent.decisions) == 1


async def test_only_the_owner_decides(up, stranger, wait):
    """Nobody else's click counts; they are told so alone, and it is noted."""
    other = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)
    await up.say(ASK)
    allow, *_ = await up.card()
    await up.click(allow, sender=other)
    await up.sees("Only the owner of this workspace")
    await up.click(allow, sender=stranger)
    await up.sees("not let in")
    assert [m.only_for for m in up.platform.shown() if m.only_for] == [
        other.identity,
        stranger.identity,
    ]
    assert up.agent.decisions == []
    await wait(lambda: len(up.agent.noted) == 2)
    noted = [note["who"] for note in up.agent.noted]
    assert noted == ["memory:t:second", "memory:t:stranger"]


async def test_a_wrong_click_is_noted_later(house, wait, stranger):
    """The agent service is away when a stranger clicks: they are told at once, and it is noted
    when the service is there again."""
    await house.start()
    await house.say(ASK)
    allow, *_ = await house.card()
    await house.stop_agent()
    await house.click(allow, sender=stranger)
    await house.sees("not let in")
    assert house.agent.noted == []
    await house.start_agent()
    await wait(lambda: house.agent.noted)
    assert house.agent.noted[0]["who"] == "memory:t:stranger"


async def test_a_wrong_click_outlives_the_bridge(house, wait, stranger):
    """Neither is it forgotten where the bridge ends before it could be noted, and its presser is
    not told twice."""
    await house.start()
    await house.say(ASK)
    allow, *_ = await house.card()
    await house.stop_agent()
    await house.click(allow, sender=stranger)
    await house.sees("not let in")
    await house.bridge.stop()
    await house.start_agent()
    await house.start()
    await wait(lambda: house.agent.noted)
    assert [m.only_for for m in house.platform.shown() if m.only_for] == [stranger.identity]


async def test_only_the_owner_does_something_instead(up, wait):
    """Somebody who may decide, and whose conversation it is not, is told so alone; it is noted, and
    the question still stands."""
    other = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)
    mine = (await up.command("whoami", "c2", sender=other)).split("Your id: `")[1].split("`")[0]
    await up.command("deciders", rest=f"add {mine}")
    await up.say(ASK)
    instead = next(choice for choice in await up.card() if choice.endswith(":instead"))
    await up.click(instead, sender=other, values=(("text", ("say mine",)),))
    await up.sees("Only those who take part in this conversation")
    await wait(lambda: up.agent.noted)
    assert up.agent.noted[0]["who"] == "memory:t:second"
    assert up.agent.prompts() == [ASK]
    assert instead in up.choices()


async def test_two_clicks_at_once(up, wait):
    """Allowed and denied in the same moment by two people: one counts, the other is told."""
    other = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)
    mine = (await up.command("whoami", "c2", sender=other)).split("Your id: `")[1].split("`")[0]
    await up.command("deciders", rest=f"add {mine}")
    await up.say(ASK)
    choices = await up.card()
    deny = next(choice for choice in choices if choice.endswith(":deny"))
    await asyncio.gather(up.click(choices[0]), up.click(deny, sender=other))
    await up.sees("already")
    await up.quiet()
    assert len(up.agent.decisions) == 1
    first = "Olga" if up.agent.decisions[0]["outcome"] == "allow" else "Sid"
    assert any(f"by {first}" in text for text in up.texts())
    await wait(lambda: not any(c.startswith("d:") for c in up.choices()))


async def test_who_stopped_a_question_is_told(up):
    """A question that is withdrawn names whoever did it."""
    await up.say(ASK)
    await up.card()
    await up.command("stop")
    await up.sees("✗ Withdrawn by Olga")


@pytest.mark.parametrize(
    "action",
    [
        "",
        "d:",
        "d:nothing:allow",
        "stop:99",
        "retry:99",
        "retry:x",
        "stop:-1",
        "what:ever",
        "retry:99999999999999999999999999",
        "d:a:b:c:d",
        "stop:1",
    ],
)
async def test_forged_buttons(up, action):
    """A button that is not ours, or no longer, says so and does nothing."""
    await up.say("say done")
    await up.sees("done")
    await up.quiet()
    await up.click(action)
    await up.sees("over already" if action == "stop:1" else "not valid any more")
    assert len(up.agent.started) == 1


async def test_who_makes_up_decisions_is_noted(up, wait):
    """A button of a decision that is none, or with an id that is none, stands in the audit log with
    whose account it was, who is told that it is not valid; a flood of them does not fill it."""

    def noted():
        with sqlite3.connect(up.agent_settings.database) as db:
            rows = db.execute("SELECT actor, subject FROM audit WHERE kind = 'decision.unknown'")
            return rows.fetchall()

    await up.click("d:d_made_up:allow", sender=STRANGER)
    await wait(lambda: noted() == [("memory:t:stranger", "d_made_up")])
    await up.click("d:../../x:allow")
    await wait(lambda: ("memory:t:owner", "unreadable") in noted())
    for number in range(40):
        await up.click(f"d:d_{number}:allow", sender=STRANGER)
    await wait(lambda: up.platform.texts().count("This button is not valid any more.") == 42)
    await up.click("d:d_last:allow")
    await wait(lambda: ("memory:t:owner", "d_last") in noted())
    assert len(noted()) < 20


async def test_made_up_decisions_are_not_kept_for_an_agent_service_that_is_away(up, wait):
    """They are told so all the same, and not tried for ever."""
    await up.stop_agent()
    await up.click("d:d_made_up:allow")
    await up.sees("not valid any more")
    kept = sa.select(sa.func.count()).where(click.c.status == "queued")
    async with asyncio.timeout(20):
        while await up.bridge.db.tx(lambda con: con.scalar(kept)):
            await asyncio.sleep(0.01)


async def test_buttons_of_another_place(up):
    """An id from another conversation is not valid here, even for its owner."""
    await up.say(ASK)
    allow, *_ = await up.card()
    await up.click(allow, "c2")
    await up.sees("not valid any more", "c2")
    await up.click("stop:1", "c2")
    assert up.agent.decisions == []


async def test_unknown_verb(up):
    """A decision's button with a word we never made is refused."""
    await up.say(ASK)
    allow, *_ = await up.card()
    await up.click(allow + "ed")
    await up.sees("not valid any more")
    await up.click(allow.replace("allow", "answer.0.9"))
    assert up.agent.decisions == []


async def test_messages_wait_behind_a_decision(up):
    """What is said meanwhile is taken after the decision, and other conversations go on."""
    await up.say(ASK)
    allow, *_ = await up.card()
    await up.say("say after")
    await up.say("say elsewhere", "c2")
    await up.sees("elsewhere", "c2")
    assert "say after" not in up.prompts()
    assert "waits for a decision" in await up.command("status")
    await up.click(allow)
    await up.sees("after")


async def test_waiting_turns_hold_no_place(house):
    """A turn that waits for a person does not keep others from running."""
    await house.start(bridge_concurrency=1)
    for n in range(3):
        await house.say(ASK, f"w{n}")
        await house.card(f"w{n}")
    await house.say("say free")
    await house.sees("free")


async def test_went_on_by_itself(up):
    """A decision answered elsewhere, such as on the admin page, reaches the thread by the feed."""
    await up.say(ASK)
    await up.card()
    await up.quiet()
    await up.decide_elsewhere("deny")
    await up.sees("✗ Denied")
    await up.sees("It went on.")


async def test_went_on_while_its_card_was_brought(up, wait):
    """An answer that comes while the platform still takes its time with the card is not lost."""
    await up.say(ASK)
    await up.card()
    up.platform.frozen.clear()
    await up.decide_elsewhere("allow")
    await wait(lambda: not up.agent.open)
    up.platform.frozen.set()
    await up.sees("It went on.")


async def test_answered_while_the_service_was_not_reached(up):
    """What became of a waiting turn while the service could not be asked is learnt afterwards."""
    await up.say(ASK)
    await up.card()
    await up.agent.stop()
    await up.decide_elsewhere("allow")
    await up.agent.start()
    await up.sees("It went on.")


async def test_stop_while_the_card_is_brought(up, wait):
    """A stop in the moment in which a turn begins to wait ends it: nobody need press twice."""
    await up.say("say working then " + ASK)
    await up.sees("working")
    up.platform.frozen.clear()
    assert await up.command("stop")
    up.platform.frozen.set()
    await up.say("say next")
    await up.sees("next")
    await wait(lambda: up.choices() == [])


async def test_decided_while_the_bridge_was_away(house):
    """A decision answered while no bridge ran is shown at the next start, on the same card."""
    await house.start()
    await house.say(ASK)
    await house.card()
    await house.say("say after")
    await house.quiet()
    await house.bridge.stop()
    await house.decide_elsewhere("allow")
    await house.start()
    await house.sees("It went on.")
    await house.sees("after")
    cards = [text for text in house.texts() if "rm -r" in text]
    assert len(cards) == 1
    assert "✓ Allowed" in cards[0]


async def test_still_waiting_after_a_restart(house, wait):
    """The buttons of an earlier process still work."""
    await house.start()
    await house.say(ASK)
    allow, *_ = await house.card()
    await house.quiet()
    await house.bridge.stop()
    before = len(house.agent.puts)
    await house.start()
    await wait(lambda: len(house.agent.puts) > before)
    await house.click(allow)
    await house.sees("It went on.")


async def test_stop(up):
    """`stop` ends the running turn at once and does not queue; what is queued is taken next."""
    await up.say(BUSY)
    await up.sees("working")
    await up.say("say next")
    reply = await up.command("stop")
    assert reply == "Stopping the turn. 1 message behind it will be taken next."
    await up.sees("Stopped.")
    await up.sees("next")
    assert up.choices() == []
    await up.quiet()
    assert "nothing to stop" in await up.command("stop")


async def test_stop_a_decision(up):
    """`stop` withdraws a question that waits."""
    await up.say(ASK)
    await up.card()
    await up.quiet()
    # A late line of the feed may have it looked at just then, as if it had gone on.
    assert await up.command("stop") in (
        "The question is withdrawn and its turn ended.",
        "Stopping the turn.",
    )
    await up.sees("Stopped.")
    await up.say("say next")
    await up.sees("next")


async def test_stop_button(up):
    """The stop button stops its own message only, and a queued one never starts."""
    await up.say(BUSY)
    await up.say("say never")
    await up.say("say third")
    await up.sees("working")
    await up.click("stop:2")
    await up.click("stop:1")
    await up.sees("third")
    assert up.prompts() == [BUSY, "say third"]


async def test_stop_right_after_saying(up):
    """A stop that comes before the agent service even knows the turn is not lost."""
    await up.say("say first")
    await up.sees("first")
    up.agent.delay = 0.1
    await up.say(BUSY)
    assert "Stopping" in await up.command("stop")
    await up.sees("Stopped")


async def test_stop_without_agent_service(house):
    """A message nobody could take yet is stopped for good: it does not run later."""
    await house.agent.stop()
    await house.start()
    await house.say("say never")
    await until(lambda: "Thinking…" in [text for _, text in house.platform.status_log])
    await house.command("stop")
    await house.sees("Stopped before")
    await house.agent.start()
    await house.say("say next")
    await house.sees("next")
    assert house.prompts() == ["say next"]


async def test_stop_survives_a_crash(house):
    """A stop that was asked for is carried out by the next process."""
    await house.start()
    await house.say(BUSY)
    await house.sees("working")
    await house.agent.stop()
    await house.command("stop")
    await house.bridge.stop()
    await house.agent.start()
    await house.start()
    await house.sees("Stopped.")


async def test_new(up):
    """`new` gives a fresh conversation to the agent and keeps the workspace."""
    await up.say("say one")
    await up.sees("one")
    assert "starts a new conversation" in await up.command("new", key="n")
    assert await up.command("new", key="n") == "duplicate"
    await up.say("say two")
    await up.sees("two")
    bodies = up.agent.bodies()
    assert bodies[0]["conversation"] != bodies[1]["conversation"]
    assert bodies[0]["workspace"] == bodies[1]["workspace"]


async def test_words(up):
    """Every command answers, and a misspelt one names the nearest."""
    assert "`stop`" in await up.command("help")
    assert "operator" in await up.command("whoami")
    assert "Nothing" in await up.command("status")
    assert "Did you mean `status`?" in await up.command("statsu")
    assert "`help` lists" in await up.command("zzz")
    await up.say(BUSY)
    await up.sees("working")
    assert "is working" in await up.command("status")


async def test_taken_back_before_it_began(house):
    """A message that is stopped while it waits for a place does not seem to wait for ever."""
    await house.start(bridge_concurrency=1)
    await house.say(BUSY)
    await house.sees("working")
    await house.say("say never", "c2", key="queued")
    await until(lambda: house.platform.marks.get("queued") == "queued")
    assert "Taken back" in await house.command("stop", "c2")
    await house.quiet("c2")
    await until(lambda: house.platform.marks["queued"] == "failed")
    await house.say("say never", "c2", key="button")
    await house.click("stop:3", "c2")
    await until(lambda: house.platform.marks["button"] == "failed")
    assert house.prompts() == [BUSY]
