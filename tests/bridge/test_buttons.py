"""Decisions, stop, retry and commands."""

import asyncio

import pytest

from adapters.contract import Identity, Sender


async def card(up, channel="c1"):
    """The decision's buttons, once they are there."""
    async with asyncio.timeout(5):
        while not (found := up.choices(channel)):
            await asyncio.sleep(0.005)
    return found


async def test_allow(up, wait):
    """A decision is asked where the message was, and the owner's click lets the turn go on."""
    await up.say("ask")
    allow, _ = await card(up)
    await wait(lambda: up.platform.status_log[-1][1] == "")
    assert (await up.click(allow, key="x")).outcome == "stored"
    assert (await up.click(allow, key="x")).outcome == "duplicate"
    await up.sees("It was allowed.")
    assert up.agent.decisions[0]["decided_by"].startswith("p_")
    assert up.texts() == ["It was allowed.", "rm -r build (allowed)"] or up.texts() == [
        "rm -r build (allowed)",
        "It was allowed.",
    ]


async def test_deny_with_a_reason(up):
    """A denial carries the words of the form."""
    await up.say("ask")
    _, deny = await card(up)
    await up.click(deny, values=(("reason", ("use make clean",)),))
    await up.sees("It was denied.")
    assert up.agent.decisions[0]["reason"] == "use make clean"


async def test_question(up):
    """An answer is sent by the question's own words and the option's own label."""
    await up.say("ask question")
    allow, _ = await card(up)
    await up.click(allow.replace("allow", "answer.0.1"))
    await up.sees("It was answered.")
    assert up.agent.decisions[0]["answers"] == [["Which?", ["blue"]]]


async def test_question_by_form(up):
    """A form's menu and its free text both count."""
    await up.say("ask question")
    allow, _ = await card(up)
    values = (("q0", ("red",)), ("q0.other", ("or green",)), ("q7", ("nonsense",)))
    await up.click(allow.replace("allow", "answer"), values=values)
    await up.sees("It was answered.")
    assert up.agent.decisions[0]["answers"] == [["Which?", ["red", "or green"]]]


async def test_first_answer_wins(up, wait):
    """Later answers are told what was decided and by whom."""
    await up.say("ask")
    allow, deny = await card(up)
    await up.click(allow)
    await wait(lambda: up.agent.decisions)
    await up.click(deny)
    await up.sees("You have allowed this already.")
    assert len(up.agent.decisions) == 1


async def test_only_the_owner_decides(up, stranger):
    """Nobody else's click counts, and they are told so alone."""
    other = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)
    await up.say("ask")
    allow, _ = await card(up)
    await up.click(allow, sender=other)
    await up.sees("Only the person this conversation belongs to")
    await up.click(allow, sender=stranger)
    await up.sees("not let in")
    assert [m.only_for for m in up.platform.shown() if m.only_for] == [
        other.identity,
        stranger.identity,
    ]
    assert up.agent.decisions == []


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
    await up.click(action)
    await up.sees("over already" if action == "stop:1" else "not valid any more")
    assert len(up.agent.started) == 1


async def test_buttons_of_another_place(up):
    """An id from another conversation is not valid here, even for its owner."""
    await up.say("ask")
    allow, _ = await card(up)
    await up.click(allow, "c2")
    await up.sees("not valid any more", "c2")
    await up.click("stop:1", "c2")
    assert up.agent.decisions == []


async def test_unknown_verb(up):
    """A decision's button with a word we never made is refused."""
    await up.say("ask")
    allow, _ = await card(up)
    await up.click(allow + "ed")
    await up.sees("not valid any more")
    await up.click(allow.replace("allow", "answer.0.9"))
    assert up.agent.decisions == []


async def test_messages_wait_behind_a_decision(up):
    """What is said meanwhile is taken after the decision, and other conversations go on."""
    await up.say("ask")
    allow, _ = await card(up)
    await up.say("say after")
    await up.say("say elsewhere", "c2")
    await up.sees("elsewhere", "c2")
    assert "say after" not in up.prompts()
    assert "waits for your decision" in await up.command("status")
    await up.click(allow)
    await up.sees("after")


async def test_waiting_turns_hold_no_place(house):
    """A turn that waits for a person does not keep others from running."""
    await house.start(bridge_concurrency=1)
    for n in range(3):
        await house.say("ask", f"w{n}")
        await card(house, f"w{n}")
    await house.say("say free")
    await house.sees("free")


async def test_went_on_by_itself(up, wait):
    """A decision answered elsewhere, such as on the admin page, reaches the thread by the feed."""
    await up.say("ask")
    await card(up)
    await wait(lambda: up.platform.status_log[-1][1] == "")
    turn = next(iter(up.agent.turns.values()))
    turn.outcome, turn.by = "deny", "p_admin"
    turn.decided.set_result(None)
    await up.sees("It was denied.")
    await up.sees("rm -r build (denied)")


async def test_decided_while_the_bridge_was_away(house, wait):
    """A decision answered while no bridge ran is shown at the next start, on the same card."""
    await house.start()
    await house.say("ask")
    await card(house)
    await house.say("say after")
    await wait(lambda: house.platform.status_log[-1][1] == "")
    await house.bridge.stop()
    turn = next(iter(house.agent.turns.values()))
    turn.outcome, turn.by = "allow", "p_x"
    turn.decided.set_result(None)
    await asyncio.sleep(0.05)
    await house.start()
    await house.sees("It was allowed.")
    await house.sees("after")
    assert [t for t in house.texts() if "rm -r" in t] == ["rm -r build (allowed)"]


async def test_still_waiting_after_a_restart(house, wait):
    """The buttons of an earlier process still work."""
    await house.start()
    await house.say("ask")
    allow, _ = await card(house)
    await wait(lambda: house.platform.status_log[-1][1] == "")
    await house.bridge.stop()
    await house.start()
    await asyncio.sleep(0.1)
    await house.click(allow)
    await house.sees("It was allowed.")


async def test_stop(up, wait):
    """`stop` ends the running turn at once and does not queue; what is queued is taken next."""
    await up.say("hang")
    await up.sees("working")
    await up.say("say next")
    reply = await up.command("stop")
    assert reply == "Stopping the turn. 1 message behind it will be taken next."
    await up.sees("interrupted: It was stopped.")
    await up.sees("next")
    assert up.choices() == []
    assert "nothing to stop" in await up.command("stop")


async def test_stop_a_decision(up, wait):
    """`stop` withdraws a question that waits."""
    await up.say("ask")
    await card(up)
    await wait(lambda: up.platform.status_log[-1][1] == "")
    assert "withdrawn" in await up.command("stop")
    await up.sees("interrupted")
    await up.say("say next")
    await up.sees("next")


async def test_stop_button(up):
    """The stop button stops its own message only, and a queued one never starts."""
    await up.say("hang")
    await up.say("say never")
    await up.say("say third")
    await up.sees("working")
    await up.click("stop:2")
    await up.click("stop:1")
    await up.sees("third")
    assert up.prompts() == ["hang", "say third"]


async def test_stop_right_after_saying(up):
    """A stop that comes before the agent service even knows the turn is not lost."""
    await up.say("say first")
    await up.sees("first")
    up.agent.delay = 0.1
    await up.say("hang")
    assert "Stopping" in await up.command("stop")
    await up.sees("interrupted")


async def test_stop_without_agent_service(house):
    """A message nobody could take yet is stopped for good: it does not run later."""
    await house.agent.pause()
    await house.start()
    await house.say("say never")
    await asyncio.sleep(0.1)
    await house.command("stop")
    await house.sees("Stopped before")
    await house.agent.start()
    await house.say("say next")
    await house.sees("next")
    assert house.prompts() == ["say next"]


async def test_stop_survives_a_crash(house):
    """A stop that was asked for is carried out by the next process."""
    await house.start()
    await house.say("hang")
    await house.sees("working")
    await house.agent.pause()
    await house.command("stop")
    await house.bridge.stop()
    await house.agent.start()
    await house.start()
    await house.sees("interrupted")


async def test_new(up):
    """`new` gives a fresh conversation to the agent and keeps the workspace."""
    await up.say("say one")
    await up.sees("one")
    assert "starts a new conversation" in await up.command("new", key="n")
    assert await up.command("new", key="n") == "duplicate"
    await up.say("say two")
    await up.sees("two")
    bodies = [turn.body for turn in up.agent.turns.values()]
    assert bodies[0]["conversation"] != bodies[1]["conversation"]
    assert bodies[0]["workspace"] == bodies[1]["workspace"]


async def test_words(up):
    """Every command answers, and a misspelt one names the nearest."""
    assert "`stop`" in await up.command("help")
    assert "operator" in await up.command("whoami")
    assert "Nothing" in await up.command("status")
    assert "Did you mean `status`?" in await up.command("statsu")
    assert "`help` lists" in await up.command("zzz")
    await up.say("hang")
    await up.sees("working")
    assert "is working" in await up.command("status")
