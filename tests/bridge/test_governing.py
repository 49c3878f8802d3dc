"""Modes, rules and deciders from the chat, and cards that allow more than one call."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Identity, Sender
from bridge.conversations.listed import Rule, by_short_id, chosen
from tests.bridge.house import OWNER, House, until
from tests.bridge.test_people import ADA, id_of, let_in

SECOND_MEMBER = Sender(Identity("memory", "t", "mia"), "Mia")
THIRD = Sender(Identity("memory", "t", "tim"), "Tim")
SECOND = Sender(Identity("memory", "t", "second"), "Sid", host_owner=True)
PUSH = "bash git push origin main"
IDS = re.compile(r"^- `([0-9a-f]{4,})`: ", re.M)
PLAN = "plan First look, then leap."


def button(choices: list[str], ending: str) -> str:
    return next(choice for choice in choices if choice.endswith(ending))


async def test_a_pattern_is_allowed_for_the_conversation(up):
    """Allowed as a pattern, the next such call runs unasked, and only here."""
    await up.say(PUSH)
    await up.click(button(await up.card(), ":allow.conversation"))
    await up.sees("✓ Allowed by Olga")
    await up.say("bash git push origin other then say pushed")
    await up.sees("pushed")
    assert len(up.agent.decisions) == 1
    await up.say(PUSH, "c2")
    await up.card("c2")


async def test_a_pattern_is_allowed_for_the_workspace(up):
    """Allowed for good, it runs unasked in the person's other conversations too, and can be
    taken back by its number."""
    await up.say(PUSH)
    await up.click(button(await up.card(), ":allow.workspace"))
    await up.sees("✓ Allowed by Olga")
    await up.say(PUSH + " then say pushed", "c2")
    await up.sees("pushed", "c2")
    listed = await up.command("rules")
    assert "allow `Bash(git push *)` (workspace)" in listed
    (short,) = IDS.findall(listed)
    assert "Taken back" in await up.command("rules", rest=f"remove {short}")
    await up.say(PUSH, "c3")
    await up.card("c3")


async def test_deny_and_do_this_instead(up):
    """The turn ends, its call is denied, and what was written is taken before what is queued."""
    await up.say(PUSH)
    choices = await up.card()
    await up.say("say queued")
    await up.click(button(choices, ":instead"), values=(("text", ("say instead",)),))
    await up.sees("queued")
    assert up.agent.prompts() == [PUSH, "say instead", "say queued"]
    assert up.choices() == []
    await up.click(button(choices, ":instead"), values=(("text", ("say late",)),))
    await up.sees("decided already")


async def test_instead_needs_words(up):
    """Without words nothing happens, and the question still stands."""
    await up.say(PUSH)
    choices = await up.card()
    await up.click(button(choices, ":instead"), values=(("text", (" ",)),))
    await up.sees("empty")
    await up.click(button(choices, ":allow"))
    await up.sees("✓ Allowed")


async def test_a_plan_is_approved_with_its_edits(up):
    """Approved with edits, the conversation goes on in acceptEdits and does not plan again."""
    assert "Mode `plan` here" in await up.command("mode", rest="plan")
    await up.say(PLAN)
    await up.click(button(await up.card(), ":allow.edits"))
    await up.sees("✓ Allowed")
    await up.quiet()
    assert "- `acceptEdits` (now)" in await up.command("mode")


async def test_the_mode_is_shown_and_set(up):
    """`mode` lists what each does; a conversation's own wins, and can be reset."""
    assert "- `default` (now): asks before" in await up.command("mode")
    assert "this workspace" in await up.command("mode", rest="dontAsk workspace")
    assert "- `dontAsk` (now)" in await up.command("mode")
    await up.command("mode", rest="acceptEdits")
    assert "- `acceptEdits` (now)" in await up.command("mode")
    await up.command("mode", rest="RESET")
    assert "- `dontAsk` (now)" in await up.command("mode")


@pytest.mark.parametrize("rest", ["yolo", "plan here", "plan workspace now"])
async def test_a_mode_that_is_none(up, rest):
    """A wrong word is answered with the right ones."""
    assert "`acceptEdits`" in await up.command("mode", rest=rest)


async def test_the_ceiling_holds(up):
    """A mode above the deployment's ceiling is refused, with what is the most."""
    said = await up.command("mode", rest="bypassPermissions")
    assert "does not allow the mode bypassPermissions" in said
    assert "acceptEdits is the most" in said


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("allow Bash", "would allow too much"),
        ("allow Bash(*)", "would allow too much"),
        ("deny Write(x)", "Edit(x)"),
        ("deny no rule at all", "not a rule"),
        ("remove 7", "no rule `7`"),
        ("remove", "Write `rules`"),
        ("permit Bash(ls)", "Write `rules`"),
        ("here", "Write `rules`"),
    ],
)
async def test_a_rule_that_is_none(up, rest, said):
    """A rule that would not do what it says is refused with words that help."""
    assert said in await up.command("rules", rest=rest)


async def test_a_rule_denies(up):
    """A deny rule of a conversation holds there: the call is not even asked about."""
    assert "deny `Bash(git push *)`" in await up.command("rules", rest="here deny Bash(git push *)")
    await up.say(PUSH + " then say over")
    await up.sees("over")
    assert up.choices() == []


async def test_a_named_person_decides(up):
    """Whoever the owner named decides in their workspace; taken back, no more."""
    await up.say(PUSH)
    choices = await up.card()
    second = (await up.command("whoami", "c2", sender=SECOND)).split("Your id: `")[1].split("`")[0]
    assert "Sid" in await up.command("deciders", rest=f"add {second}")
    assert f"Sid, `{second}`" in await up.command("deciders")
    await up.click(button(choices, ":allow"), sender=SECOND)
    await up.sees("✓ Allowed by Sid")
    await up.quiet()
    assert "do not count" in await up.command("deciders", rest=f"remove {second}")
    await up.say(PUSH)
    await until(lambda: [c for c in up.choices() if c.endswith(":allow")])
    await up.click(button(up.choices(), ":allow"), sender=SECOND)
    await up.sees("Only the owner of this workspace")
    assert len(up.agent.decisions) == 1


async def test_a_refused_host_can_be_allowed(up):
    """A host that was refused is named with a button, which still works once the turn is over."""
    await up.say("fetch https://good.example/x then say over")
    await up.click(button(await up.card(), ":allow"))
    await up.sees("over")
    await up.quiet()
    await up.sees("good.example:443")
    host = button(up.choices(), ":allow")
    await up.click(host)
    await up.sees("✓ Allowed by Olga")
    assert up.agent.decisions[-1]["outcome"] == "allow"
    await until(lambda: up.choices() == [])
    assert up.agent.started[1:] == []


async def test_a_host_can_stay_refused(up):
    """Left refused, the card says so, and the turn was never held up."""
    await up.say("fetch https://good.example/x then say over")
    await up.click(button(await up.card(), ":allow"))
    await up.sees("over")
    await up.click(button(up.choices(), ":deny"))
    await up.sees("✗ Denied by Olga")


class Clock:
    """The time by which decisions are over."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
async def timed(home):
    """A bridge and an agent service whose clock can be put forward."""
    made = House(home, clock=Clock())
    await made.start_agent()
    await made.start()
    yield made
    await made.stop()


async def test_a_host_that_nobody_answered_for_loses_its_buttons(timed):
    """A day later, its turn long over: the card says so, and an old click is told."""
    await timed.say("fetch https://good.example/x then say over")
    await timed.click(button(await timed.card(), ":allow"))
    await timed.sees("over")
    await timed.quiet()
    host = button(timed.choices(), ":allow")
    timed.clock.ahead = 25 * 3600
    await timed.sees("✗ Nobody answered in time")
    await until(lambda: timed.choices() == [])
    await timed.click(host)
    await timed.sees("expired already")


async def test_a_host_that_nobody_answered_for_while_its_turn_waits(timed):
    """The turn waits for another answer, which is asked later: only the host's card is over, and
    the other question can still be answered."""
    await timed.say("fetch https://good.example/x\nthink 0.1\nbash touch x\nsay over")
    await timed.click(button(await timed.card(), ":allow"))
    await timed.sees("good.example:443")
    await until(lambda: len(timed.choices()) > 4)
    timed.clock.ahead = 25 * 3600
    await timed.sees("✗ Nobody answered in time")
    await until(lambda: timed.choices() == [])


async def test_a_question_that_nobody_answered(timed):
    """Past its time it counts as denied: the card says so, and a click on it later is refused."""
    await timed.say(PUSH)
    allow = button(await timed.card(), ":allow")
    timed.clock.ahead = 25 * 3600
    await timed.sees("✗ Nobody answered in time, so it counts as denied")
    await timed.click(allow)
    await timed.sees("expired already")
    assert timed.agent.decisions == []


async def test_calls_that_need_two_people(up):
    """An admin lists them from the chat; then the first answer is not enough; taken back, it is."""
    assert "None." in await up.command("two-people")
    assert "not a rule" in await up.command("two-people", rest="add what ever")
    assert "everywhere" in await up.command("two-people", rest="add Bash(git push *)")
    listed = await up.command("two-people")
    assert "`Bash(git push *)`" in listed
    (short,) = IDS.findall(listed)
    assert "two people `Bash(git push *)`" in await up.command("rules")
    second = (await up.command("whoami", "c2", sender=SECOND)).split("Your id: `")[1].split("`")[0]
    await up.command("deciders", rest=f"add {second}")
    await up.say(PUSH + " then say pushed")
    allow = button(await up.card(), ":allow")
    await up.click(allow)
    await up.sees("One more person has to allow it")
    await up.sees("✓ Allowed by Olga; one more person has to allow it")
    assert not any("pushed" in text for text in up.texts())
    await up.click(allow, sender=SECOND)
    await up.sees("pushed")
    assert "no rule `2`" in await up.command("two-people", rest="remove 2")
    assert "One person is enough" in await up.command("two-people", rest=f"remove {short}")
    assert "None." in await up.command("two-people")


@pytest.mark.parametrize("rest", ["add", "remove", "what"])
async def test_two_people_with_wrong_words(up, rest):
    """A wrong word is answered with the right ones."""
    assert "two-people add Bash(git push *)" in await up.command("two-people", rest=rest)


async def test_only_an_admin_says_what_needs_two_people(up):
    """A member is refused, whatever their own workspace; everybody can read the list."""
    await let_in(up, ADA, "a1")
    for rest in ("add Bash(git push *)", "remove 1"):
        assert "Only an admin" in await up.command("two-people", "a1", sender=ADA, rest=rest)
    assert "None." in await up.command("two-people", "a1", sender=ADA)


async def test_an_id_means_one_rule_whatever_comes_meanwhile(up):
    """Somebody adds and takes back rules between the list and `remove`: the one that was seen goes,
    and one that is gone already takes no other with it."""
    for pattern in ("Bash(make *)", "Bash(npm test *)", "Bash(git push *)"):
        await up.command("rules", rest=f"deny {pattern}")
    listed = await up.command("rules")
    by_pattern = dict(re.findall(r"`([0-9a-f]{4,})`: deny `(.*?)`", listed))
    ids = {pattern: short for short, pattern in by_pattern.items()}
    assert len(ids) == 3
    await up.command("rules", rest=f"remove {ids['Bash(make *)']}")
    await up.command("rules", rest="deny Bash(aaa *)")
    said = await up.command("rules", rest=f"remove `{ids['Bash(npm test *)'].upper()}`")
    assert "Taken back: deny `Bash(npm test *)`" in said
    said = await up.command("rules", rest=f"remove {ids['Bash(make *)']}")
    assert "There is no rule" in said
    listed = await up.command("rules")
    assert "npm test" not in listed
    assert all(f"`{pattern}`" in listed for pattern in ("Bash(git push *)", "Bash(aaa *)"))
    assert "There is no rule" in await up.command("rules", "c9", rest="remove 0")


@given(
    st.lists(
        st.builds(Rule, *[st.text(max_size=3)] * 2, st.just("deny"), st.text()),
        unique=True,
        max_size=40,
    )
)
def test_every_id_in_a_list_means_its_own_rule(rules):
    """However many there are, what stands in the list picks that rule, and so does all of it."""
    rules = list({rule.id: rule for rule in rules}.values())
    short = by_short_id(rules)
    assert list(short.values()) == rules
    for word, rule in short.items():
        for text in (word, f"`{word}`", rule.id):
            assert chosen(rules, text, "rules") == rule


async def test_an_admin_names_people_for_anybodys_workspace(up):
    """In any place, by id: who was named decides there and sees that it is so; taken back, no
    more. The owner sees who counts."""
    second = await let_in(up, SECOND_MEMBER, "c2")
    third = await let_in(up, THIRD, "c3")
    said = await up.command("deciders", "c9", rest=f"add {third} for {second}")
    assert said == "The answers of Tim count in the workspace of Mia."
    for sender, channel, rest in ((OWNER, "c9", f"for `{second}`"), (SECOND_MEMBER, "c2", "")):
        listed = await up.command("deciders", channel, sender=sender, rest=rest)
        assert f"Mia, `{second}` (the owner)" in listed
        assert f"Tim, `{third}`" in listed
    assert "Tim" not in await up.command("deciders", "c9")
    await up.say(PUSH, "c2", sender=SECOND_MEMBER)
    choices = await up.card("c2")
    await up.click(button(choices, ":allow"), "c2", sender=THIRD)
    await up.sees("✓ Allowed by Tim", "c2")
    said = await up.command("deciders", "c9", rest=f"remove {third} FOR {second}")
    assert "do not count any more in the workspace of Mia" in said
    assert "Tim" not in await up.command("deciders", "c2", sender=SECOND_MEMBER)


@pytest.mark.parametrize("verb", ["", "add {third} ", "add {first} ", "remove {third} "])
async def test_only_an_admin_names_people_elsewhere(up, verb):
    """A member neither sees nor changes whose answers count in somebody else's workspace, nor
    learns who there is; their own they may name."""
    first, third = await let_in(up, SECOND_MEMBER, "c2"), await let_in(up, THIRD, "c3")
    words = verb.format(first=first, third=third)
    for whom in (third, await id_of(up, OWNER, "c9"), "p_nobody"):
        said = await up.command("deciders", "c2", sender=SECOND_MEMBER, rest=f"{words}for {whom}")
        assert "Only an admin can do that" in said
    said = await up.command("deciders", "c2", sender=SECOND_MEMBER, rest=f"{words}for {first}")
    assert "Only an admin" not in said


@pytest.mark.parametrize(
    "rest", ["for", "add for", "add p_1 for", "add p_1 for p_2", "for a b", "for p_nobody"]
)
async def test_a_workspace_of_nobody(up, rest):
    """What names nobody changes nothing, and says how to name somebody."""
    assert "whoami" in await up.command("deciders", rest=rest)


@pytest.mark.parametrize("rest", ["add", "add p_nobody", "make p_1", "add a b"])
async def test_a_decider_that_is_none(up, rest):
    """A wrong word or an unknown id changes nothing and says what to write."""
    said = await up.command("deciders", rest=rest)
    assert "whoami" in said


async def test_the_agent_service_forgot_who_decides(up, wait):
    """A service that was set up anew is told again, and the click counts."""
    await up.say(PUSH)
    choices = await up.card()
    workspace = up.agent.bodies()[0]["workspace"]
    await up.tell_deciders(workspace, ())
    await up.click(button(choices, ":allow"))
    await up.sees("✓ Allowed by Olga")
