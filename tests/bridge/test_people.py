"""Who is let in and how: codes, claims, rules, roles, and second accounts."""

from __future__ import annotations

import asyncio
import re
import stat

import pytest

from adapters.contract import Address, CommandIn, Identity, Sender
from bridge.people import claim, codes
from bridge.people.claiming import Claiming
from bridge.store.schema import message, person
from tests.bridge.house import STRANGER, House, until

ADA = Sender(Identity("memory", "t", "ada"), "Ada")
BEN = Sender(Identity("memory", "t", "ben"), "Ben")
FAR = Sender(Identity("memory", "t2", "far"), "Fara")
CODE = re.compile(r"`(?:people let |link )?([2-9A-Z]{4}-[2-9A-Z]{4})`")


async def let_in(up: House, sender: Sender, channel: str) -> str:
    """Somebody asks and is let in by the operator; their id."""
    said = await up.command("status", channel, sender=sender)
    code = CODE.search(said)[1]
    assert "is let in as member" in await up.command("people", rest=f"let {code}")
    return await id_of(up, sender, channel)


async def id_of(up: House, sender: Sender, channel: str) -> str:
    return re.search(r"p_[0-9a-f]{24}", await up.command("whoami", channel, sender=sender))[0]


# ---- strangers ----


async def test_a_stranger_gets_a_code_and_an_admin_lets_them_in(up):
    """The same code until it is used; then they are a member with a workspace of their own."""
    await up.say("say secret", "s1", sender=STRANGER)
    await up.sees("not let in yet", "s1")
    first = CODE.search(up.texts("s1")[-1])[1]
    assert first in await up.command("whoami", "s1", sender=STRANGER)
    assert first in await up.command("people")
    said = await up.command("people", rest=f"let {first.lower().replace('-', ' ')}")
    assert "Sam (memory `stranger`) is let in as member" in said
    await up.say("say hello", "s1", sender=STRANGER)
    await up.sees("hello", "s1")
    assert up.prompts() == ["say hello"]
    assert up.agent.bodies()[-1]["workspace"] in await up.command("whoami", "s1", sender=STRANGER)
    assert first not in await up.command("people")


async def test_nobody_but_admins_lets_anybody_in(up):
    """A member, and a stranger, has no command for people: it is not even there."""
    await let_in(up, ADA, "a1")
    for sender, channel in ((ADA, "a1"), (STRANGER, "s1")):
        for name in ("people", "access"):
            said = await up.command(name, channel, sender=sender, rest="let AAAA-AAAA")
            assert "There is no command" in said or "not let in yet" in said
    assert "`people`" not in await up.command("help", "a1", sender=ADA)


async def test_wrong_codes_run_out(up):
    """After five wrong codes in an hour none is looked at, not even the right one."""
    said = await up.command("status", "s1", sender=STRANGER)
    code = CODE.search(said)[1]
    for _ in range(5):
        assert "has that code" in await up.command("people", rest="let ZZZZ-ZZZZ")
    assert "Too many wrong codes" in await up.command("people", rest=f"let {code}")
    assert "not let in yet" in await up.command("status", "s1", sender=STRANGER)


async def test_a_strangers_name_does_nothing(up):
    """A name full of marks, mentions and lines stands in the admin's list as plain text."""
    rogue = Sender(Identity("memory", "t", "r`o"), "`x` @everyone\n- Olga, operator")
    await up.command("status", "s1", sender=rogue)
    listed = await up.command("people")
    assert "@everyone" not in listed
    assert "\n- Olga, operator, `p_" in "\n" + listed
    assert listed.count("operator") == 2
    assert "'x' @\u200beveryone - Olga, operator, memory `r'o`" in listed


# ---- the claim ----


@pytest.fixture
async def unclaimed(house: House) -> House:
    await house.start()
    return house


async def test_who_has_the_claim_code_runs_it(unclaimed):
    """The code is in a file that its owner alone can read, works once, and is never logged."""
    path = claim.file_of(unclaimed.home)
    code = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "not the claim code" in await unclaimed.command("claim", sender=ADA, rest="AAAA")
    assert "You run this" in await unclaimed.command("claim", sender=ADA, rest=code.lower())
    assert "Ada, operator" in await unclaimed.command("people", sender=ADA)
    assert "has somebody who runs it" in await unclaimed.command("claim", sender=BEN, rest=code)
    await unclaimed.bridge.stop()
    await unclaimed.start()
    assert not path.exists()


async def test_the_claim_code_survives_a_restart(unclaimed):
    """It stays the same while it is good, so that what was copied still works."""
    before = claim.read(unclaimed.home)
    await unclaimed.bridge.stop()
    await unclaimed.start()
    assert claim.read(unclaimed.home) == before


async def test_an_old_claim_code_is_none(unclaimed):
    """A code that expired is refused, and a start writes a new one."""
    before = claim.read(unclaimed.home)
    await unclaimed.bridge.db.tx(
        lambda con: con.execute(claim.claim.update().values(expires_at=1.0)).rowcount
    )
    assert "not the claim code" in await unclaimed.command("claim", sender=ADA, rest=before)
    await unclaimed.bridge.stop()
    await unclaimed.start()
    assert claim.read(unclaimed.home) not in ("", before)


async def test_guessing_the_claim_code_ends(unclaimed):
    """An account gets five tries an hour."""
    told = [await unclaimed.command("claim", sender=ADA, rest="AAAA-AAAA-AAAA") for _ in range(6)]
    assert ["not the claim code" in each for each in told] == [True] * 5 + [False]
    code = claim.read(unclaimed.home)
    assert "Too many" in await unclaimed.command("claim", sender=ADA, rest=code)


async def test_strangers_lock_nobody_out(unclaimed):
    """However many wrong codes others type, the claim, an admin's `let` and the links of who is
    let in work; only strangers' own links have a bound for all of them together."""
    for number in range(12):
        guesser = Sender(Identity("memory", "t", f"g{number}"), "G")
        for name in ("claim", "link"):
            for _ in range(6):
                await unclaimed.command(name, f"g{number}", sender=guesser, rest="AAAA-AAAA-AAAA")

    def many(con):
        for number in range(codes.TRIES_OF_STRANGERS):
            who = Identity("memory", "t", f"more{number}")
            codes.note_wrong(con, unclaimed.bridge.db, who, "link")

    await unclaimed.bridge.db.tx(many)
    code = claim.read(unclaimed.home)
    assert "You run this" in await unclaimed.command("claim", "a1", sender=ADA, rest=code)
    said = await unclaimed.command("status", "b1", sender=BEN)
    let = await unclaimed.command("people", "a1", sender=ADA, rest=f"let {CODE.search(said)[1]}")
    assert "is let in as member" in let
    link = CODE.search(await unclaimed.command("link", "a1", sender=ADA))[1]
    assert "of **Ada**" in await unclaimed.command("link", "b1", sender=BEN, rest=link)
    assert "Too many" in await unclaimed.command("link", "s1", sender=STRANGER, rest=link)


async def test_a_deployment_that_nobody_runs_any_more(unclaimed):
    """There is a new code without a restart."""
    claiming = Claiming(unclaimed.bridge.db, unclaimed.home, look=0.01)
    looking = asyncio.create_task(claiming.run())
    first = claim.read(unclaimed.home)
    await unclaimed.command("claim", sender=ADA, rest=first)
    await until(lambda: not claim.read(unclaimed.home))
    gone = person.update().values(role="removed")
    await unclaimed.bridge.db.tx(lambda con: con.execute(gone).rowcount)
    await until(lambda: claim.read(unclaimed.home) not in ("", first))
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_the_owner_of_the_machine_needs_no_code(unclaimed):
    """A terminal of the deployment's owner makes an operator, and the code is void."""
    code = claim.read(unclaimed.home)
    await unclaimed.command("whoami")
    assert "has somebody" in await unclaimed.command("claim", sender=ADA, rest=code)


# ---- roles ----


async def test_roles_are_given_by_those_above(up):
    """An operator makes admins; an admin blocks members, and nobody in charge."""
    ada, ben = await let_in(up, ADA, "a1"), await let_in(up, BEN, "b1")
    assert "is an admin" in await up.command("people", rest=f"role {ada} admin")
    for rest in (f"role {ben} admin", f"block {await id_of(up, OLGA, 'c1')}"):
        said = await up.command("people", "a1", sender=ADA, rest=rest)
        assert "Only an operator" in said
    assert "Ben is blocked" in await up.command("people", "a1", sender=ADA, rest=f"block {ben}")
    await up.say("say no", "b1", sender=BEN)
    await up.sees("blocked you", "b1")
    assert "is a member" in await up.command("people", rest=f"role {ben} member")
    await up.say("say yes", "b1", sender=BEN)
    await up.sees("yes", "b1")


async def test_the_last_operator_stays(up):
    """Nobody can take away the last one in charge, and nobody ends themselves."""
    me = await id_of(up, OLGA, "c1")
    assert "last operator" in await up.command("people", rest=f"role {me} member")
    assert "Not yourself" in await up.command("people", rest=f"remove {me}")


@pytest.mark.parametrize("verb", ["remove", "block"])
async def test_the_end_of_access_ends_everything(up, verb):
    """What runs is stopped, what waits is denied, what is queued is taken back, their answers
    count no more, and their links are gone; somebody else's work goes on."""
    ada = await let_in(up, ADA, "a1")
    await up.command("deciders", rest=f"add {ada}")
    await up.say("bash git push", "a1", sender=ADA)
    card = await up.card("a1")
    await up.say("say queued", "a1", sender=ADA)
    await up.say("think 600", "a2", sender=ADA)
    await until(lambda: "think 600" in up.prompts())
    await up.say("bash git push", "c9")
    mine = await up.card("c9")
    assert f"is {verb}" in (await up.command("people", rest=f"{verb} {ada}")).replace("ked", "k")
    await up.sees("Withdrawn", "a1")
    await up.sees("Stopped", "a2")
    await up.quiet("a2")
    await up.click(card[0], "a1", sender=ADA)
    await up.click(mine[0], "c9", sender=ADA)
    await until(lambda: up.texts("c9")[-1:] != [] and len(up.agent.noted) >= 1)
    assert up.choices("c9")
    assert "queued" not in " ".join(up.prompts())
    assert ada not in await up.command("deciders")


async def test_who_was_removed_comes_back_as_a_stranger(up):
    """Their account is nobody's; let in again they are a new person with another workspace."""
    ada = await let_in(up, ADA, "a1")
    before = await up.command("whoami", "a1", sender=ADA)
    await up.command("people", rest=f"remove {ada}")
    assert "not let in yet" in await up.command("whoami", "a1", sender=ADA)
    assert await let_in(up, ADA, "a1") != ada
    assert await up.command("whoami", "a1", sender=ADA) != before


async def test_the_end_of_access_without_the_agent_service(house):
    """The agent service is away: it holds all the same, and the admin is told what is left."""
    await house.start()
    ada = await let_in(house, ADA, "a1")
    await house.stop_agent()
    said = await house.command("people", rest=f"block {ada}")
    assert "Ada is blocked" in said
    assert "could not be told yet" in said
    assert "blocked you" in await house.command("status", "a1", sender=ADA)
    await house.start_agent()


# ---- rules ----


async def channel_command(up: House, name: str, rest: str, sender: Sender, channel="room"):
    number = next(up.numbers)
    at = Address("memory", "t", channel, f"th{number}")
    receipt = await up.host.submit(CommandIn((f"k{number}",), at, sender, name, rest))
    return receipt.reply.markdown


async def direct_command(up: House, name: str, rest: str, sender: Sender) -> str:
    """In direct messages of a platform on which those are of no team."""
    number = next(up.numbers)
    at = Address("memory", "", f"dm-{sender.identity.user}", direct=True)
    receipt = await up.host.submit(CommandIn((f"k{number}",), at, sender, name, rest))
    return receipt.reply.markdown


async def test_without_a_rule_nobody_is_let_in(up):
    """Empty means nobody."""
    assert "No rule lets anybody in" in await up.command("access")
    assert "not let in yet" in await up.command("status", "s1", sender=STRANGER)


async def test_a_rule_for_a_team(up):
    """Everybody of the team is a member, an account of another team is a stranger; taken back,
    who came by the rule is out at once, and who was let in by name stays."""
    ben = await let_in(up, BEN, "b1")
    assert "Everybody of this team" in await up.command("access", rest="add team")
    assert "Ada, member" in await up.command("whoami", "a1", sender=ADA)
    assert "not let in yet" in await up.command("status", "f1", sender=FAR)
    listed = await up.command("access")
    number = re.search(r"(\d+)\. all of memory `t`", listed)[1]
    assert "is out at once" in await up.command("access", rest=f"remove {number}")
    assert "does not let you in any more" in await up.command("status", "a1", sender=ADA)
    await up.say("say no", "a1", sender=ADA)
    await up.sees("does not let you in any more", "a1")
    assert ben in await up.command("whoami", "b1", sender=BEN)
    assert up.prompts() == []


async def test_a_rule_for_a_group(up):
    """Who is in the group is let in, as long as the platform says so."""
    await up.command("access", rest="add group <@&G7>")
    inside = Sender(ADA.identity, "Ada", groups=("G1", "G7"))
    assert "not let in yet" in await up.command("status", "a1", sender=ADA)
    assert "Ada, member" in await up.command("whoami", "a1", sender=inside)
    assert "does not let you in" in await up.command("status", "a1", sender=ADA)


async def test_a_rule_for_a_channel(up):
    """Who writes there is let in there, and not elsewhere; nor an account of another team."""
    assert "in the channel itself" in await up.command("access", rest="add channel")
    await channel_command(up, "access", "add channel", OLGA)
    assert "Ada, member" in await channel_command(up, "whoami", "", ADA)
    assert "not here" in await up.command("status", "a1", sender=ADA)
    assert "not let in yet" in await channel_command(up, "whoami", "", FAR)
    assert "not let in yet" in await channel_command(up, "whoami", "", BEN, "elsewhere")


async def test_rules_for_accounts_without_a_team(up):
    """Where an account belongs to no team, its groups say which servers it is in: a rule for one
    lets in who is there now, wherever they write, and nobody by being nowhere."""
    boss = Sender(Identity("memory", "", "boss"), "Bo", host_owner=True)
    await channel_command(up, "whoami", "", boss)
    assert "in the server it is about" in await direct_command(up, "access", "add team", boss)
    assert "Everybody of this team" in await channel_command(up, "access", "add team", boss)
    nowhere = Sender(Identity("memory", "", "dan"), "Dan")
    there = Sender(nowhere.identity, "Dan", groups=("t", "r1"))
    elsewhere = Sender(nowhere.identity, "Dan", groups=("t9",))
    for stranger in (nowhere, elsewhere):
        assert "not let in yet" in await direct_command(up, "status", "", stranger)
        assert "not let in yet" in await channel_command(up, "status", "", stranger)
    assert "Dan, member" in await channel_command(up, "whoami", "", there)
    assert "Dan, member" in await direct_command(up, "whoami", "", there)
    assert "does not let you in any more" in await direct_command(up, "whoami", "", elsewhere)


@pytest.mark.parametrize("rest", ["add", "add everyone", "add group", "add team x", "drop 1"])
async def test_a_rule_that_is_none(up, rest):
    """Anything else is answered with what can be written, and lets nobody in."""
    assert "Write `access`" in await up.command("access", rest=rest)
    assert "No rule" in await up.command("access")


# ---- second accounts ----


async def test_a_second_account_is_linked_from_both_sides(up):
    """One account asks, the other agrees knowing whose it will be, and the first confirms."""
    ada = await let_in(up, ADA, "a1")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    assert "No other account" in await up.command("link", "a1", sender=ADA, rest="confirm")
    assert "of **Ada**" in await up.command("link", "s1", sender=STRANGER, rest=code)
    assert "No other account" in await up.command("link", "a1", sender=ADA, rest="confirm yes")
    assert "Agreed" in await up.command("link", "s1", sender=STRANGER, rest=f"{code} yes")
    assert "not let in yet" in await up.command("status", "s1", sender=STRANGER)
    confirmed = await up.command("link", "a1", sender=ADA, rest="confirm yes")
    assert "Sam (memory `stranger`) is you" in confirmed
    assert await id_of(up, STRANGER, "s1") == ada
    await up.say("say from afar", "s1", sender=STRANGER)
    await up.sees("from afar", "s1")
    assert "is not you any more" in await up.command(
        "link", "a1", sender=ADA, rest="remove memory stranger"
    )
    assert "not let in yet" in await up.command("status", "s1", sender=STRANGER)


async def test_accounts_of_one_name_in_two_teams(up):
    """Which one is to go has to be said, and that one goes."""
    await let_in(up, ADA, "a1")
    far = Sender(Identity("memory", "t2", "ada"), "Ada too")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    await up.command("link", "f1", sender=far, rest=f"{code} yes")
    await up.command("link", "a1", sender=ADA, rest="confirm yes")
    which = await up.command("link", "a1", sender=ADA, rest="remove memory ada")
    assert "`link remove memory ada t2`" in which
    gone = await up.command("link", "a1", sender=ADA, rest="remove memory ada t2")
    assert "is not you any more" in gone
    assert "not let in yet" in await up.command("status", "f1", sender=far)
    assert "member" in await up.command("whoami", "a1", sender=ADA)


async def test_a_damaged_message_hinders_no_removal(up):
    """Who is removed is removed, whatever stands in the rows of others."""
    ada = await let_in(up, ADA, "a1")
    await up.say("think 600", "a1", sender=ADA)
    await until(lambda: "think 600" in up.prompts())
    await up.say("say later", "a1", sender=ADA)
    spoil = message.update().where(message.c.status == "queued").values(payload={"rubbish": True})
    await up.bridge.db.tx(lambda con: con.execute(spoil).rowcount)
    assert "is removed" in await up.command("people", rest=f"remove {ada}")
    await up.sees("Stopped", "a1")


async def test_linking_somebody_who_is_let_in(up):
    """Their conversations come along and begin anew in the other's workspace."""
    ada, ben = await let_in(up, ADA, "a1"), await let_in(up, BEN, "b1")
    await up.say("say one", "b1", sender=BEN)
    await up.sees("one", "b1")
    before = up.agent.bodies()[-1]
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    await up.command("link", "b1", sender=BEN, rest=f"{code} yes")
    assert "Ben" in await up.command("link", "a1", sender=ADA, rest="confirm yes")
    assert await id_of(up, BEN, "b1") == ada
    assert ben not in await up.command("people")
    await up.say("say two", "b1", sender=BEN)
    await up.sees("two", "b1")
    after = up.agent.bodies()[-1]
    assert after["workspace"] != before["workspace"]
    assert after["conversation"] != before["conversation"]
    assert after["asker"]["person"] == ada


async def test_a_code_for_linking_is_used_once_and_by_one(up):
    """Another account cannot use it after one agreed, and nobody after it was confirmed."""
    await let_in(up, ADA, "a1")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    await up.command("link", "s1", sender=STRANGER, rest=f"{code} yes")
    assert "Another account" in await up.command("link", "b1", sender=BEN, rest=f"{code} yes")
    await up.command("link", "a1", sender=ADA, rest="confirm yes")
    assert "no code for linking" in await up.command("link", "b1", sender=BEN, rest=code)


async def test_a_blocked_person_cannot_come_back_by_a_link(up):
    """Neither their code nor their account can be linked."""
    ada = await let_in(up, ADA, "a1")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    mine = CODE.search(await up.command("link"))[1]
    await up.command("people", rest=f"block {ada}")
    assert "no code" in await up.command("link", "s1", sender=STRANGER, rest=code)
    assert "blocked you" in await up.command("link", "a1", sender=ADA, rest=f"{mine} yes")


async def test_the_last_operator_cannot_become_somebody_else(up):
    """Or nobody would run the deployment."""
    await let_in(up, ADA, "a1")
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    assert "alone runs this Bascule" in await up.command("link", rest=f"{code} yes")


OLGA = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)
