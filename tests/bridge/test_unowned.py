"""Places that were nobody's before, and commands that come again or broken."""

from __future__ import annotations

import pytest

from adapters.contract import CommandIn, Identity, Lifecycle, Sender
from bridge.budgets.budgets import Budgets, Rules
from bridge.conversations import places
from bridge.engine.retention import Retention
from bridge.store.schema import conversation, message
from tests.bridge.house import OWNER, STRANGER, until
from tests.bridge.test_people import ADA, BEN, let_in
from tests.bridge.test_sharing import Room, room


async def test_what_was_nobodys_becomes_the_one_who_rules_it(up):
    """After a stranger's word, whoever sets a mode there owns the conversation; somebody else
    who writes there is refused, and works under no rule of theirs."""
    await let_in(up, ADA, "a1")
    await let_in(up, BEN, "b1")
    place = Room(up)
    await place.say("hello?", STRANGER)
    await place.sees("not let in yet")
    await place.command("mode", "acceptEdits", sender=BEN)
    await place.say("say mine", ADA)
    await place.sees("belongs to somebody else")
    assert up.agent.bodies() == []


async def test_a_first_owner_gets_a_conversation_of_their_own(up):
    """What was said to a place while it was nobody's is not what its first owner goes on with,
    and the place is called after their first words."""
    await let_in(up, ADA, "a1")
    place = Room(up)
    before = await row(up, "t1")
    assert before is None
    await place.say("hello?", STRANGER)
    await place.sees("not let in yet")
    before = await row(up, "t1")
    await place.say("say mine", ADA)
    await place.sees("mine")
    after = await row(up, "t1")
    assert after.owner is not None
    assert after.agent_conversation != before.agent_conversation


async def row(up, thread: str):
    return await up.bridge.db.tx(lambda con: places.find(con, room(thread)), durable=False)


async def test_a_conversation_begun_by_a_command_can_be_continued(up):
    """It has the title of the first message."""
    await up.command("mode", "c1", rest="plan")
    await up.say("say a tale", "c1")
    await up.sees("a tale", "c1")
    assert "say a tale" in await up.command("continue", "c2")


async def test_a_shared_conversation_is_not_continued(up):
    """Its guests would have the agent tell what is said elsewhere; that is told, with who."""
    ada = await let_in(up, ADA, "a1")
    place = Room(up)
    await place.say("say public", OWNER)
    await place.sees("public")
    await place.command("share", ada)
    told = await up.command("continue", "c1", rest="1")
    assert "shared with Ada" in told
    await place.command("unshare", ada)
    assert "Here it goes on" in await up.command("continue", "c1", rest="1")
    assert "another place of yours" in await place.command("share", ada)


async def test_opening_warms_where_the_conversation_works(up):
    """In a channel with a workspace of its own that one is warmed, and nobody's own sign-in; a
    stranger, and one who is no member, warms nothing."""
    await let_in(up, ADA, "a1")
    place = Room(up)
    await place.command("bind")
    await place.say("say first", OWNER)
    await place.sees("first")
    await place.command("new")
    for sender in (STRANGER, ADA, OWNER):
        await up.host.submit(Lifecycle("opened", room(), sender))
    await until(lambda: up.agent.warmed)
    [warmed] = up.agent.warmed
    assert warmed["workspace"] == up.agent.bodies()[-1]["workspace"]
    assert not warmed["own"]
    await place.say("say second", OWNER)
    await place.sees("second")


async def test_a_command_that_comes_again(up):
    """Once it is carried out it is a duplicate; after a crash before its call it is carried out
    and answered, and where the agent service is away its sender is told each time."""
    again = CommandIn(("k.mode",), up.at(), OWNER, "mode", "plan")
    assert "Mode `plan`" in (await up.host.submit(again)).reply.markdown
    assert (await up.host.submit(again)).outcome == "duplicate"
    await up.stop_agent()
    later = CommandIn(("k.later",), up.at(), OWNER, "mode", "default")
    assert (await up.host.submit(later)).outcome == "stored"
    assert (await up.host.submit(later)).outcome == "duplicate"


@pytest.mark.parametrize("name", ["whoami", "instructions", "\ud800nothing", "mode"])
async def test_broken_text_in_a_command(up, name):
    """Half a character in a name or in words is answered, and stored for nobody as it came."""
    broken = Sender(Identity("memory", "t", "broken"), "Bro\ud800ken")
    command = CommandIn(("k.x",), up.at("x"), broken, name, "set \ud800")
    assert "not let in yet" in (await up.host.submit(command)).reply.markdown
    mine = CommandIn(("k.y",), up.at("y"), OWNER, name, "set \ud800")
    (await up.host.submit(mine)).reply.markdown.encode()


async def test_who_has_no_part_hears_so_at_once(up):
    """A stranger, and somebody else, who write while a card waits are told by the next moment:
    nothing of theirs waits for its end."""
    await let_in(up, ADA, "a1")
    place = Room(up)
    await place.say("bash git push", OWNER)
    await place.card()
    await place.say("let me in", STRANGER)
    await place.sees("not let in yet")
    await place.say("say intruding", ADA)
    await place.sees("belongs to somebody else")
    assert "behind it" not in await place.command("status")
    shown = [post for post in up.platform.shown(room()) if "not let in" in post.markdown]
    assert [post.only_for for post in shown] == [STRANGER.identity]


async def test_what_one_has_used_is_told(up):
    """With the limits that hold; nothing while the agent service is away."""
    me = up.said("").sender.identity
    await up.say("say x")
    await up.sees("x")
    assert any("1 turns" in line or "1 turn" in line for line in
               (await up.host.person(me)).budget)  # fmt: skip
    await up.stop_agent()
    assert (await up.host.person(me)).budget == ()


async def test_places_of_strangers_are_forgotten(up):
    """Once they are old and their messages are forgotten; those that somebody owns stay."""
    place = Room(up)
    await place.say("let me in", STRANGER)
    await place.sees("not let in yet")
    await up.say("say mine", "c1")
    await up.sees("mine", "c1")
    long_ago = {"last_active": 1.0}
    await up.bridge.db.tx(lambda con: con.execute(conversation.update().values(long_ago)).rowcount)
    old = message.update().values(done_at=1.0)
    await up.bridge.db.tx(lambda con: con.execute(old).rowcount)
    await Retention(up.bridge.db, Budgets(up.bridge.db, Rules()), 30).forget()
    assert await row(up, "t1") is None
    assert await up.host.known(up.at("c1"))
