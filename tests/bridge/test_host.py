"""What an adapter may ask the bridge: how a person stands, where it is known, what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.bridge.house import OWNER, STRANGER
from tests.bridge.test_people import ADA, let_in

ASK = "run rm -r build then say It went on."


async def test_how_a_person_stands(house):
    """Their role, their mode, and the decision that waits with the post that shows it; a stranger
    is told nothing, and another person nothing of it."""
    await house.start()
    await house.say(ASK, "asks")
    await house.card("asks")
    await house.command("mode", "asks", rest="acceptEdits workspace")
    me = await house.host.person(OWNER.identity)
    assert (me.name, me.role) == ("Olga", "operator")
    assert [asked.address for asked in me.decisions] == [house.at("asks")]
    assert me.decisions[0].expires_at > datetime.now(UTC)
    assert me.decisions[0].title
    shown = house.platform.posts[me.decisions[0].post.id][-1]
    assert shown.tone == "decision"
    await let_in(house, ADA, "a1")
    assert (await house.host.person(ADA.identity)).decisions == ()
    assert await house.host.person(STRANGER.identity) is None


async def test_how_a_person_stands_while_the_agent_service_is_away(house):
    """The mode is not told, and all else is."""
    await house.start()
    await house.say("say x")
    await house.sees("x")
    await house.stop_agent()
    me = await house.host.person(OWNER.identity)
    assert (me.mode, me.role) == ("", "operator")


async def test_where_the_bot_is_known(house):
    """Where somebody who was let in wrote; a stranger's words make no conversation known."""
    await house.start()
    await house.say("say x", "c1")
    await house.say("hello", "c2", sender=STRANGER)
    assert await house.host.known(house.at("c1"))
    assert not await house.host.known(house.at("c2"))
    assert not await house.host.known(house.at("never"))


async def test_where_something_was_written_since(house):
    """Each place with the newest order; other platforms and older ones are left out."""
    await house.start()
    for text in ("say a", "say b"):
        await house.say(text, "c1")
    await house.say("say c", "c2")
    hour = timedelta(hours=1)
    found = await house.host.places("memory", datetime.now(UTC) - hour)
    assert {place.address for place in found} == {house.at("c1"), house.at("c2")}
    newest = {place.address.channel: place.newest for place in found}
    assert newest["c1"] < newest["c2"]
    assert await house.host.places("memory", datetime.now(UTC) + hour) == []
    assert await house.host.places("other", datetime.now(UTC) - hour) == []


async def test_the_commands_that_can_be_given(up):
    """A member is not shown what only an admin can do."""
    mine = {one.name: one for one in up.host.command_views()}
    assert mine["share"].people
    assert not mine["help"].people
    assert "people" not in mine
    assert "people" in {one.name for one in up.host.command_views(admin=True)}


async def test_what_may_follow_a_command(house):
    """Modes with what they mean, what begins as typed, conversations of one's own by their titles;
    nothing for a stranger, and nothing of an admin's commands for a member."""
    await house.start()
    me, here = OWNER.identity, house.at("c2")
    await house.say("say fix the build", "c1")
    modes = await house.host.suggest(me, here, "mode", "")
    assert {"plan", "default", "reset"} <= {rest for rest, _ in modes}
    assert all(label for _, label in modes)
    assert [rest for rest, _ in await house.host.suggest(me, here, "mode", "pl")][:1] == ["plan"]
    assert await house.host.suggest(me, here, "continue", "") == [
        ("1", "say fix the build (memory)")
    ]
    assert await house.host.suggest(me, house.at("c1"), "continue", "") == []
    assert await house.host.suggest(me, here, "help", "") == []
    assert await house.host.suggest(me, here, "nothing", "") == []
    assert ("let", "let") in await house.host.suggest(me, here, "people", "")
    assert await house.host.suggest(STRANGER.identity, here, "mode", "") == []
    await let_in(house, ADA, "a1")
    assert await house.host.suggest(ADA.identity, here, "people", "") == []
    assert await house.host.suggest(ADA.identity, here, "continue", "") == []


async def test_the_form_of_a_choice(house):
    """A platform whose buttons cannot hold a form gets it by the choice's action, and nothing for
    an action that has none or that nobody knows."""
    await house.start()
    await house.say("askmany Which days? | Monday | Tuesday", "q")
    await house.card("q")
    (shown,) = [p for p in house.platform.shown(house.at("q")) if p.tone == "decision"]
    for choice in shown.choices:
        if choice.form:
            assert tuple(await house.host.form(choice.action)) == choice.form
        else:
            assert tuple(await house.host.form(choice.action)) == ()
    assert any(choice.form for choice in shown.choices)
    for unknown in ("", "d", "d:", "d:nope:answer", "stop:1"):
        assert tuple(await house.host.form(unknown)) == ()
