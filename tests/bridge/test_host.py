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
