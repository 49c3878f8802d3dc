"""Everything that ends somebody's access ends what runs for them, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from adapters.contract import Address, CommandIn, Identity, Sender
from bridge.conversations import sharing
from bridge.people import access
from bridge.store.schema import identity, person
from tests.bridge.house import OWNER, STRANGER, House, until
from tests.bridge.test_people import ADA, BEN, CODE, FAR, id_of, let_in
from tests.bridge.test_sharing import PUSH, Room, room

POSTGRES_TOO = "full"
HANG = "say working then hang"
SECOND = Sender(Identity("memory", "t", "ben2"), "Ben again")


@pytest.fixture
async def place(up: House) -> Room:
    return Room(up)


async def linked(up: House, first: Sender, at: str, second: Sender, from_: str) -> str:
    """The second account becomes the first one's; what was said at last."""
    code = CODE.search(await up.command("link", at, sender=first))[1]
    assert "Agreed" in await up.command("link", from_, sender=second, rest=f"{code} yes")
    assert "write `link confirm yes`" in await up.command("link", at, sender=first, rest="confirm")
    return await up.command("link", at, sender=first, rest="confirm yes")


async def works(up: House, sender: Sender, channel: str, word: str) -> dict:
    """Somebody is answered there; what the agent got."""
    await up.say(f"say {word}", channel, sender=sender)
    await up.sees(word, channel)
    return up.agent.bodies()[-1]


async def running(up: House, sender: Sender, channel: str) -> None:
    await up.say(HANG, channel, sender=sender)
    await up.sees("working", channel)


async def stopped(up: House) -> None:
    await until(lambda: not up.agent.open)


# ---- a direct place is its writer's ----


async def test_the_same_direct_message_after_a_removal(up):
    """Let in again as somebody new, an account goes on writing where it wrote: in a conversation
    and a workspace that are new."""
    ada = await let_in(up, ADA, "a1")
    before = await works(up, ADA, "a1", "one")
    await up.command("people", rest=f"remove {ada}")
    await let_in(up, ADA, "a1")
    assert "a new conversation" in await up.command("new", "a1", sender=ADA)
    after = await works(up, ADA, "a1", "two")
    assert after["workspace"] != before["workspace"]
    assert after["conversation"] != before["conversation"]
    assert await up.host.conversations(ADA.identity)


async def test_a_direct_message_of_an_account_that_was_taken_away(up):
    """Unlinked and let in again: its first words are answered, in nobody else's workspace."""
    await let_in(up, ADA, "a1")
    await linked(up, ADA, "a1", STRANGER, "s1")
    before = await works(up, STRANGER, "s1", "one")
    await up.command("link", "a1", sender=ADA, rest="remove memory stranger")
    code = CODE.search(await up.command("status", "s1", sender=STRANGER))[1]
    await up.command("people", rest=f"let {code}")
    after = await works(up, STRANGER, "s1", "two")
    assert after["workspace"] != before["workspace"]
    assert after["conversation"] != before["conversation"]


async def test_one_of_several_accounts_moves(up):
    """Its direct messages go with it, and what it left goes on with the accounts that stay."""
    ada, ben = await let_in(up, ADA, "a1"), await let_in(up, BEN, "b1")
    await linked(up, BEN, "b1", SECOND, "b2")
    await works(up, BEN, "b1", "bens")
    before = await works(up, SECOND, "b2", "one")
    await linked(up, ADA, "a1", SECOND, "b2")
    after = await works(up, SECOND, "b2", "two")
    assert after["asker"]["person"] == ada
    assert after["conversation"] != before["conversation"]
    assert (await works(up, BEN, "b1", "still"))["asker"]["person"] == ben


async def test_what_was_queued_goes_to_the_new_conversation(up):
    """A word that waited when its account became another person's is answered as theirs."""
    ada = await let_in(up, ADA, "a1")
    await up.command("people", rest=f"remove {ada}")
    await up.bridge.stop()
    await up.start(bridge_concurrency=1)
    await up.say(HANG)
    await up.sees("working")
    said = await up.command("status", "a1", sender=ADA)
    await up.say("say waited", "a1", sender=ADA)
    await up.command("people", rest=f"let {CODE.search(said)[1]}")
    await up.say("say after", "a1", sender=ADA)
    await up.command("stop")
    await up.sees("waited", "a1")
    await up.sees("after", "a1")


# ---- linking ----


async def test_confirming_shows_whose_account_it_is_first(up):
    """Nothing is linked before the yes, and what it would mean is said."""
    ada = await let_in(up, ADA, "a1")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    await up.command("link", "s1", sender=STRANGER, rest=f"{code} yes")
    assert "**Sam** (memory `stranger`)" in await up.command(
        "link", "a1", sender=ADA, rest="confirm"
    )
    assert "not let in yet" in await up.command("status", "s1", sender=STRANGER)
    assert "is you from now on" in await up.command("link", "a1", sender=ADA, rest="confirm yes")
    assert await id_of(up, STRANGER, "s1") == ada


async def test_linking_stops_what_the_other_account_asked(up):
    """What waits for a decision is withdrawn, what is queued taken back, and the next word is
    answered; the old person's answers count nowhere."""
    await let_in(up, ADA, "a1")
    ben = await let_in(up, BEN, "b1")
    await up.command("deciders", rest=f"add {ben}")
    await up.say(PUSH, "b1", sender=BEN)
    await up.card("b1")
    await up.say("say queued", "b1", sender=BEN)
    assert "is you" in await linked(up, ADA, "a1", BEN, "b1")
    await up.sees("Withdrawn", "b1")
    await works(up, BEN, "b1", "afresh")
    assert "say queued" not in up.prompts()
    assert ben not in await up.command("deciders")


async def test_a_thread_of_the_other_account_begins_anew(up, place):
    """It is owned on, and is a new conversation in the other's workspace."""
    ada = await let_in(up, ADA, "a1")
    await let_in(up, BEN, "b1")
    await place.say(HANG, BEN)
    await place.sees("working")
    await linked(up, ADA, "a1", BEN, "b1")
    await stopped(up)
    await place.say("say again", BEN)
    await place.sees("again")
    assert up.agent.bodies()[-1]["asker"]["person"] == ada


async def test_taking_an_account_away_stops_what_it_asked(up):
    """What the account asked in this person's workspace ends; what the person asked goes on."""
    await let_in(up, ADA, "a1")
    await linked(up, ADA, "a1", STRANGER, "s1")
    await running(up, STRANGER, "s1")
    await running(up, ADA, "a1")
    assert "is stopped" in await up.command("link", "a1", sender=ADA, rest="remove memory stranger")
    await up.sees("Stopped", "s1")
    assert len(up.agent.open) == 1


async def test_an_admin_is_told_what_ends(up):
    """Both sides read before their yes that the account is in charge no more afterwards."""
    await let_in(up, ADA, "a1")
    ben = await let_in(up, BEN, "b1")
    await up.command("people", rest=f"role {ben} admin")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    assert "You are an admin now; that ends" in await up.command(
        "link", "b1", sender=BEN, rest=code
    )
    await up.command("link", "b1", sender=BEN, rest=f"{code} yes")
    assert "Ben is an admin now; that ends" in await up.command(
        "link", "a1", sender=ADA, rest="confirm"
    )
    assert ", admin" in await up.command("whoami", "b1", sender=BEN)


async def test_the_owner_of_the_machine_stays_an_operator(up):
    """Their account becomes nobody's who is none; one that did, before this held, runs the
    deployment with their next word; and nobody takes it away."""
    ada = await let_in(up, ADA, "a1")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    host = Sender(Identity("memory", "t", "host2"), "Hanna", host_owner=True)
    assert "always an operator" in await up.command("link", "h1", sender=host, rest=f"{code} yes")
    move = sa.insert(identity).values(platform="memory", tenant="t", user="host2", person=ada)
    await up.bridge.db.tx(lambda con: con.execute(move).rowcount)
    assert ", operator" in await up.command("whoami", "h1", sender=host)
    assert "always an operator" in await up.command("people", rest=f"role {ada} member")


# ---- other ends ----


async def test_a_member_who_is_taken_out(up, place):
    """Their turn is stopped, and the others' go on."""
    ada = await let_in(up, ADA, "a1")
    await place.command("bind")
    await place.command("members", f"add {ada}")
    await place.say(HANG, ADA)
    await place.sees("working")
    await place.say(HANG, OWNER, "t2")
    await place.sees("working", "t2")
    assert "is stopped" in await place.command("members", f"remove {ada}")
    await place.sees("Stopped")
    assert len(up.agent.open) == 1


async def test_a_guest_no_more(up, place):
    """What the guest queued is taken back, and what the owner queued behind it is answered."""
    ada = await let_in(up, ADA, "a1")
    await place.say(HANG, OWNER)
    await place.sees("working")
    await place.command("share", ada)
    await place.say("say guests", ADA)
    await place.say("say owners", OWNER)
    assert "what they asked is stopped" in await place.command("unshare", ada)
    await place.command("stop")
    await place.sees("owners")
    assert up.prompts() == [HANG, "say owners"]


async def test_a_channel_that_is_unbound_and_bound_again(up, place):
    """What runs in its threads is stopped, what waits is withdrawn, and the workspace, with its
    threads and members, can be had back."""
    ada = await let_in(up, ADA, "a1")
    await place.command("bind")
    await place.command("members", f"add {ada}")
    await place.say("say first", ADA)
    await place.sees("first")
    await place.say(HANG, ADA)
    await place.sees("working")
    await place.say(PUSH, OWNER, "t2")
    await place.card("t2")
    bound = up.agent.bodies()[-1]["workspace"]
    assert f"`bind {bound}` takes them up again" in await place.command("unbind")
    await place.sees("Stopped")
    await place.sees("Withdrawn", "t2")
    for one in (ada, await id_of(up, OWNER, "c1")):
        await up.bridge.db.tx(sharing_remove, bound, one)
    assert bound in await place.command("bind", bound)
    assert "Ada takes part" in await place.command("members", f"add {ada}")
    await place.say("say back", ADA)
    await place.sees("back")
    assert up.agent.bodies()[-1]["workspace"] == bound


def sharing_remove(con: sa.Connection, workspace: str, whom: str) -> bool:
    return sharing.remove_member(con, workspace, whom)


async def test_admins_stop_anywhere(up, place):
    """By command and by button, also what is none of their business; nobody else does."""
    await let_in(up, ADA, "a1")
    await let_in(up, BEN, "b1")
    await place.say(HANG, ADA)
    await place.sees("working")
    await place.say("say later", ADA)

    def button() -> list[str]:
        shown = [c.action for post in up.platform.shown(room()) for c in post.choices]
        return [action for action in shown if action.startswith("stop:")]

    await until(button)
    await place.click(button()[0], BEN)
    await place.sees("Only those who take part")
    await place.click(button()[0], OWNER)
    await place.sees("it was taken back")
    assert "belongs to somebody else" in await place.command("stop", sender=BEN)
    assert "Stopping" in await place.command("stop")
    await place.sees("Stopped")
    assert up.prompts() == [HANG]


# ---- rules ----


async def rule(up: House, rest: str) -> str:
    at = Address("memory", "t", "room", "rules")
    key = f"k{next(up.numbers)}"
    receipt = await up.host.submit(CommandIn((key,), at, OWNER, "access", rest))
    return receipt.reply.markdown


async def test_a_rule_that_is_taken_back(up):
    """What runs for those it alone let in is stopped; who was let in by name works on."""
    await let_in(up, BEN, "b1")
    await rule(up, "add team")
    await running(up, BEN, "b1")
    await running(up, ADA, "a1")
    assert await up.host.person(ADA.identity) is not None
    number = re.search(r"(\d+)\.", await rule(up, ""))[1]
    assert "what ran for them is stopped" in await rule(up, f"remove {number}")
    await up.sees("Stopped", "a1")
    assert await up.host.person(ADA.identity) is None
    assert await up.host.conversations(ADA.identity) == []
    assert await up.host.person(BEN.identity) is not None
    assert len(up.agent.open) == 1


async def test_who_leaves_a_group(up):
    """With the next word it is known: what runs is stopped, and they are told how to come in."""
    await rule(up, "add group g1")
    inside = replace(ADA, groups=("g1",))
    await running(up, inside, "a1")
    assert await up.host.person(ADA.identity) is not None
    said = await up.command("stop", "a2", sender=ADA)
    assert "does not let you in any more" in said
    assert re.search(r"`people role p_[0-9a-f]{24} member` lets you in", said)
    await up.sees("Stopped", "a1")
    assert await up.host.person(ADA.identity) is None
    await up.command("people", rest=f"role {said.partition('role ')[2].split()[0]} member")
    await works(up, ADA, "a1", "welcome")


async def test_a_channels_rule_counts_there_alone(up, place):
    """Who writes elsewhere is refused there, and what runs in the channel runs on."""
    await rule(up, "add channel")
    await place.say(HANG, ADA)
    await place.sees("working")
    assert "not here" in await up.command("status", "a1", sender=ADA)
    assert "The agent is working" in await place.command("status", sender=ADA)
    assert up.agent.open
    assert await up.host.person(ADA.identity) is None


async def test_a_second_account_of_somebody_whom_a_rule_lets_in(up):
    """It is let in by what let the first one in: until that one's rule or group is gone, and no
    longer than a week after it was last seen to be so."""
    await rule(up, "add group g1")
    inside = replace(ADA, groups=("g1",))
    ada = await id_of(up, inside, "a1")
    code = CODE.search(await up.command("link", "a1", sender=inside))[1]
    await up.command("link", "f1", sender=FAR, rest=f"{code} yes")
    await up.command("link", "a1", sender=inside, rest="confirm yes")
    await works(up, FAR, "f1", "from afar")
    assert await id_of(up, FAR, "f1") == ada
    assert await up.host.person(FAR.identity) is not None
    old = identity.update().values(rule_at=identity.c.rule_at - 7 * 86_400)
    await up.bridge.db.tx(lambda con: con.execute(old).rowcount)
    assert "does not let you in" in await up.command("status", "f1", sender=FAR)
    assert ", member" in await up.command("whoami", "a1", sender=inside)
    assert ", member" in await up.command("whoami", "f1", sender=FAR)
    await running(up, FAR, "f1")
    assert "does not let you in" in await up.command("status", "a1", sender=ADA)
    await up.sees("Stopped", "f1")
    assert "does not let you in" in await up.command("status", "f1", sender=FAR)


async def test_the_number_of_a_rule_that_is_gone_lets_nobody_in(up):
    """Another rule may get it."""
    await rule(up, "add group g1")
    inside = replace(ADA, groups=("g1",))
    await id_of(up, inside, "a1")
    await rule(up, "remove 1")
    await rule(up, "add group g2")
    assert await up.host.person(ADA.identity) is None


async def test_removing_whom_a_rule_would_let_in_again(up):
    """They are blocked, and the admin is told why; without the rule they are removed."""
    await rule(up, "add team")
    ada = await id_of(up, ADA, "a1")
    said = await up.command("people", rest=f"remove {ada}")
    assert "is blocked, not removed" in said
    assert "take that rule back first" in said
    told = await up.command("status", "a1", sender=ADA)
    assert "blocked you" in told
    assert f"`people role {ada} member`" in told
    await rule(up, "remove 1")
    assert "is removed" in await up.command("people", rest=f"remove {ada}")
    assert "not let in yet" in await up.command("status", "a1", sender=ADA)


# ---- what adapters show ----


async def test_a_member_who_was_taken_out_sees_nothing_of_it(up, place):
    """Neither what their old threads are called nor what waits there, a command, for example."""
    ada = await let_in(up, ADA, "a1")
    await place.command("bind")
    await place.command("members", f"add {ada}")
    await place.say(PUSH, ADA)
    await place.card()
    await until(lambda: [said for at, said in up.platform.status_log if at == room()][-1:] == [""])
    assert (await up.host.person(ADA.identity)).decisions
    assert await up.host.conversations(ADA.identity)
    # As where the turn could not be ended yet.
    bound = up.agent.bodies()[-1]["workspace"]
    await up.bridge.db.tx(sharing_remove, bound, ada)
    assert (await up.host.person(ADA.identity)).decisions == ()
    assert await up.host.conversations(ADA.identity) == []


# ---- lists ----


async def test_everybody_is_listed_in_pages(up):
    """Page by page each person once, and by name."""

    def add(con: sa.Connection) -> None:
        for number in range(45):
            who = Identity("memory", "t", f"u{number}")
            access.add(con, up.bridge.db, who, f"Person_{number:02}%", "member")

    await up.bridge.db.tx(add)
    first = await up.command("people")
    assert "Page 1 of 3, 46 people: `people 2` goes on, `people find NAME` searches." in first
    pages = [first, *[await up.command("people", rest=f"{n}") for n in (2, 3)]]
    found = re.findall(r"p_[0-9a-f]{24}", "".join(pages))
    everybody = await up.bridge.db.tx(lambda con: set(con.scalars(sa.select(person.c.id)).all()))
    assert len(found) == len(everybody)
    assert set(found) == everybody
    assert "the last is `people 3`" in await up.command("people", rest="4")
    one = await up.command("people", rest="find person_07%")
    assert re.findall(r"Person_\d\d", one) == ["Person_07"]
    assert "45 people have such a name" in await up.command("people", rest="find person")
    assert "Nobody here has such a name" in await up.command("people", rest="find p%0")
