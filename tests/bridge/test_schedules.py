"""Schedules as people meet them: proposed, confirmed, run, missed, stopped."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from adapters.contract import Address, CommandIn, Gone, Identity, NotAllowed, Sender
from bridge.schedules.running import LOOK_SECONDS
from bridge.store.schema import schedule
from tests.bridge.house import OWNER, House, until
from tests.bridge.test_people import ADA, BEN, CODE, let_in
from tests.bridge.test_sharing import Room

POSTGRES_TOO = "full"

HOUR = 3600.0
DAY = 24 * HOUR
FRIDAY = datetime(2026, 3, 27, 12, 0, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
DAYS = ",".join(map(str, range(1, 32, 2)))


class Clock:
    """It stands until the test moves it."""

    def __init__(self) -> None:
        self.now = FRIDAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(house: House) -> Clock:
    house.wall = made = Clock()
    return made


@pytest.fixture
async def up(house: House, clock: Clock) -> House:
    await house.start(bridge_timezone="Europe/Berlin")
    return house


def at(clock: Clock, up: House, moment: float) -> None:
    """It is that late now, and whoever sleeps until then wakes up."""
    clock.now = moment
    up.bridge.schedules.wake()


def button(up: House, answer: str, channel: str = "c1") -> str | None:
    found = [c for c in up.choices(channel) if c.startswith("schedule:") and c.endswith(answer)]
    return found[-1] if found else None


async def propose(up: House, said: str, channel: str = "c1", *, sender: Sender = OWNER) -> None:
    told = await up.command("schedule", channel, sender=sender, rest=f"add {said}")
    assert "Confirm it in the post here" in told
    await until(lambda: button(up, "yes", channel))


async def add(up: House, said: str, channel: str = "c1", *, sender: Sender = OWNER) -> None:
    """Proposed and confirmed."""
    await propose(up, said, channel, sender=sender)
    await up.click(button(up, "yes", channel), channel, sender=sender)
    await until(lambda: button(up, "yes", channel) is None)


async def rows(up: House) -> list:
    query = sa.select(schedule).order_by(schedule.c.number)
    return await up.bridge.db.tx(lambda con: con.execute(query).all())


# ---- making one ----


async def test_shown_then_confirmed_then_run(up, clock):
    """The card shows how it was understood, the text and three runs in the zone, over the change of
    clocks; confirmed, it runs as its maker, under a post that names it."""
    await propose(up, "every day at 2:30: say good *night*")
    card = up.texts()[-1]
    assert "**every day at 02:30**, `Europe/Berlin`" in card
    assert "\nsay good *night*\n" in card
    assert "Sat 28 Mar 2026, 02:30\n- Sun 29 Mar 2026, 03:30\n- Mon 30 Mar 2026, 02:30" in card
    at(clock, up, FRIDAY + 14.5 * HOUR)
    assert "You have no schedules" in await up.command("schedule")
    await up.click(button(up, "yes"))
    await up.sees("✓ Scheduled as number 1: every day at 02:30")
    assert button(up, "yes") is None
    at(clock, up, FRIDAY + 38.5 * HOUR)
    await until(lambda: "good *night*" in up.answers())
    await up.quiet()
    named = "Schedule 1 of Olga (“say good *night*”), every day at 02:30."
    assert up.texts()[-2:] == [named, "good *night*"]
    [body] = up.agent.bodies()
    assert body["prompt"] == "say good *night*"
    assert body["workspace"] in await up.command("whoami")
    assert "The run of Sun 29 Mar 2026, 03:30 went well." in await up.command("schedule")


async def test_not_scheduled(up, clock):
    """Who says no has none; the buttons are gone, and a second press changes nothing."""
    await propose(up, "every day at 13:00 say no")
    yes, no = button(up, "yes"), button(up, "no")
    await up.click(no)
    await up.sees("Not scheduled.")
    await up.click(yes)
    await up.sees("not valid any more")
    assert await rows(up) == []


async def test_pressed_twice(up, clock):
    """A second press of the same button, as of a card that did not change, makes no second one."""
    await propose(up, "every day at 13:00 say once")
    yes = button(up, "yes")
    await up.click(yes)
    await up.click(yes)
    await up.sees("✓ Scheduled")
    assert len(await rows(up)) == 1


async def test_only_its_maker_confirms(up, clock):
    """Somebody else's press is refused, and they are told; an unknown button does nothing."""
    await let_in(up, ADA, "a1")
    await propose(up, "every day at 13:00 say mine")
    await up.click(button(up, "yes"), sender=ADA)
    await up.sees("Only who wrote this schedule")
    await up.click("schedule:s_unknown:yes")
    await up.click("schedule:nothing")
    assert [row.state for row in await rows(up)] == ["proposed"]


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("add", "Say when, and what"),
        ("add every day at 9am say x", "unknown keyword 'am'"),
        ("add every day at 9:00", "Say also what is to be done"),
        ("add every day at 9:00 " + "x" * 1000, "too long"),
        ("add every day at 9:00 ~~~ " + "`" * 600, "too long"),
        ("add on 2020-01-01 at 9:00 say x", "never comes again"),
        ("add * * * * * say x", "That is every 1 minute, and here 5 minutes is the least"),
        (f"add 0 9 {DAYS} jan,mar,may,jul,sep,nov mon#1,tue#2,wed#3,thu#4,fri#5 x", "too long"),
        ("pause", "`schedule add"),
        ("pause 7", "no schedule with that number"),
        ("remove s_123", "no schedule with that number"),
        ("run " + "9" * 5000, "no schedule with that number"),
        ("dance", "`schedule add"),
        ("", "You have no schedules"),
    ],
)
async def test_what_cannot_be_done(up, rest, told):
    """Each mistake is answered with what is wrong; nothing is kept."""
    assert told in await up.command("schedule", rest=rest)
    assert await rows(up) == []


async def test_as_many_as_allowed(house, clock):
    """One more than that is refused when it is made, and when it is confirmed; a paused one counts,
    and can be resumed."""
    up = house
    await up.start(bridge_schedules_per_person=1)
    await propose(up, "every day at 13:00 say a")
    first = button(up, "yes")
    await up.click(first)
    await up.sees("✓ Scheduled")
    assert "You have 1 schedules" in await up.command("schedule", rest="add @daily say b")
    await up.command("schedule", rest="pause 1")
    assert "You have 1 schedules" in await up.command("schedule", rest="add @daily say b")
    assert "It runs again" in await up.command("schedule", rest="resume 1")
    await up.bridge.stop()
    await up.start(bridge_schedules_per_person=0)
    assert "switched them off" in await up.command("schedule", rest="add @daily say b")


# ---- what its owner does with it ----


async def test_pause_resume_run_remove(up, clock):
    """A paused one is not due, but can be run now; resumed it goes on from now; removed it ends."""
    await add(up, "every day at 13:00 say ran")
    assert "Paused." in await up.command("schedule", rest="pause 1")
    assert "It is not due anyway" in await up.command("schedule", rest="pause 1")
    at(clock, up, FRIDAY + 2 * HOUR)
    assert "Paused." in await up.command("schedule", rest="list")
    assert "It runs now, in this conversation" in await up.command("schedule", rest="run 1")
    await until(lambda: "ran" in up.answers())
    await up.quiet()
    assert "It runs again. Next on Sat 28 Mar 2026, 13:00." in await up.command(
        "schedule", rest="resume 1"
    )
    assert "It is not paused" in await up.command("schedule", rest="resume 1")
    shown = await up.command("schedule", "elsewhere", rest="show 1")
    assert "```\nsay ran\n```" in shown
    assert "(memory)" in shown or "in memory" in shown
    assert "Removed." in await up.command("schedule", rest="remove 1")
    at(clock, up, FRIDAY + 26 * HOUR)
    assert len(up.agent.bodies()) == 1


async def test_not_over_itself(up, clock):
    """While a run goes on, one more is refused; removing does not stop it."""
    await add(up, "every day at 13:00 say working then hang")
    await up.command("schedule", rest="run 1")
    await up.sees("working")
    assert "not over yet" in await up.command("schedule", rest="run 1")
    assert "is running" in await up.command("schedule")
    assert "is finished" in await up.command("schedule", rest="remove 1")
    await up.command("stop")
    await up.sees("Stopped.")


async def test_behind_what_goes_on(up, clock):
    """A run waits for what goes on in its conversation, like a message."""
    await add(up, "every day at 13:00 say scheduled")
    await up.say("say working then hang")
    await up.sees("working")
    at(clock, up, FRIDAY + HOUR)
    await up.bridge.schedules.look()
    assert "1 message behind it" in await up.command("status")
    await up.command("stop")
    await until(lambda: "scheduled" in up.answers())
    assert up.prompts() == ["say working then hang", "say scheduled"]


# ---- when it runs ----


async def test_missed_while_the_bridge_was_away(up, clock):
    """After a stop the last missed one runs once, and says when it was due; what is too late is
    told and skipped."""
    await add(up, "every 15 min from 9:00 to 18:00 say again")
    await up.bridge.stop()
    clock.now = FRIDAY + 1.1 * HOUR
    await up.start()
    await until(lambda: "again" in up.answers())
    await up.quiet()
    [named] = [text for text in up.texts() if text.startswith("Schedule 1")]
    assert named.endswith("It was due on Fri 27 Mar 2026, 13:00.")
    await up.bridge.stop()
    clock.now = FRIDAY + 12 * HOUR
    await up.start()
    await up.sees("did not run: it was due on Fri 27 Mar 2026, 13:15")
    assert len(up.agent.bodies()) == 1


async def test_stored_and_not_begun(up, clock):
    """A run that was stored when the bridge ended is done after its next start, once."""
    await add(up, "every day at 13:00 say after all")
    await up.agent.stop()
    at(clock, up, FRIDAY + HOUR)
    await up.sees("Schedule 1 of Olga")
    await up.bridge.stop()
    await up.agent.start()
    await up.start()
    await until(lambda: "after all" in up.answers())
    await up.quiet()
    assert up.prompts() == ["say after all"]
    assert len([text for text in up.texts() if text.startswith("Schedule 1 of Olga")]) == 1


async def test_a_decision_of_a_run(up, clock):
    """What it may not do unasked waits for a person; meanwhile its next time is skipped, and told
    once."""
    await add(up, "every 1 hour from 0:00 to 23:59 run rm -r build then say It went on.")
    at(clock, up, FRIDAY + HOUR)
    allow = next(c for c in await up.card() if c.endswith(":allow"))
    for hour in (2, 3):
        clock.now = FRIDAY + hour * HOUR
        await up.bridge.schedules.look()
    await up.sees("did not run: it was due on Fri 27 Mar 2026, 14:00, and its run before")
    assert "waits for a decision" in await up.command("schedule")
    await up.click(allow)
    await up.sees("It went on.")
    assert sum("did not run" in text for text in up.texts()) == 1


async def test_it_sleeps_until_it_is_due(up, clock):
    """Between times nothing is looked at more often than LOOK_SECONDS says; the next one is known
    to the second."""
    assert await up.bridge.schedules.look() == LOOK_SECONDS
    await add(up, "every day at 13:00 say x")
    assert await up.bridge.schedules.look() == LOOK_SECONDS
    clock.now = FRIDAY + HOUR - 5
    assert await up.bridge.schedules.look() == 5


async def test_one_that_fails_holds_up_no_other(up, clock):
    """A row that cannot be dealt with is tried again later; the others run."""
    await add(up, "every day at 13:00 say good")
    await add(up, "every day at 13:00 say bad", "c2")

    def spoil(con: sa.Connection) -> None:
        con.execute(schedule.update().where(schedule.c.number == 2).values(zone="No/Where"))

    await up.bridge.db.tx(spoil)
    at(clock, up, FRIDAY + HOUR)
    await until(lambda: "good" in up.answers())
    await up.sees("time cannot be read any more", "c2")


# ---- when it may not run ----


async def test_blocked_and_let_in_again(up, clock):
    """Who is blocked has none that runs, and their conversation is told; let in again, they
    resume."""
    ada = await let_in(up, ADA, "a1")
    await add(up, "every day at 13:00 say secret", "a1", sender=ADA)
    assert "1 of their schedules will not run" in await up.command("people", rest=f"block {ada}")
    await up.sees("is paused: its owner is not let in", "a1")
    at(clock, up, FRIDAY + HOUR)
    assert "Paused" in await up.command("schedule", rest="list all")
    await up.command("people", rest=f"role {ada} member")
    assert "It runs again" in await up.command("schedule", "a1", sender=ADA, rest="resume 1")
    assert up.prompts() == []


async def test_removed(up, clock):
    """Who is removed has none left at once."""
    ada = await let_in(up, ADA, "a1")
    await add(up, "every day at 13:00 say secret", "a1", sender=ADA)
    await up.command("people", rest=f"remove {ada}")
    assert await rows(up) == []


@pytest.mark.parametrize("trouble", [NotAllowed, Gone])
async def test_a_place_that_is_gone(up, clock, trouble):
    """The agent is not asked for what nobody would see: it is paused, and its owner is told in the
    last direct conversation they have elsewhere."""
    await up.say("say hello", "other")
    await up.sees("hello", "other")
    await add(up, "every day at 13:00 say unseen")
    await up.quiet("other")
    up.platform.trouble = [trouble("The channel is archived.")]
    at(clock, up, FRIDAY + HOUR)
    await up.sees("nothing can be posted where it runs. The channel is archived.", "other")
    assert "Paused: nothing can be posted" in await up.command("schedule", "other")
    assert up.prompts() == ["say hello"]


async def test_a_guest_has_none(up, clock):
    """A guest of a conversation may ask there, and leaves nothing running."""
    ada = await let_in(up, ADA, "a1")
    place = Room(up)
    await place.say("say mine", OWNER)
    await place.sees("mine")
    await place.command("share", ada)
    told = await place.command("schedule", "add @daily say x", sender=ADA)
    assert "Schedules are for the owner" in told


async def test_a_channels_members(up, clock):
    """In a channel's own workspace members have schedules, until they are members no more: then
    they are told directly."""
    ada = await let_in(up, ADA, "a1")
    await up.say("say direct", "a1", sender=ADA)
    await up.sees("direct", "a1")
    thread = Address("memory", "t", "C9", "7")

    async def command(sender, name, rest=""):
        given = CommandIn((f"x{next(up.numbers)}",), thread, sender, name, rest)
        return (await up.host.submit(given)).reply.markdown

    assert "not one of its members" not in await command(OWNER, "bind")
    assert "not one of its members" in await command(ADA, "schedule", "add @daily say x")
    await command(OWNER, "members", f"add {ada}")
    assert "Confirm it" in await command(ADA, "schedule", "add every day at 13:00 say x")
    await until(lambda: any("Schedule this?" in text for text in up.platform.texts(thread)))
    yes = up.platform.shown(thread)[-1].choices[0].action
    # The button may be pressed from another address: a platform that shows it privately does.
    await up.click(yes, "a1", sender=ADA)
    await until(lambda: any("✓ Scheduled" in text for text in up.platform.texts(thread)))
    at(clock, up, FRIDAY + HOUR)
    await until(lambda: "say x" in up.prompts())
    assert up.agent.bodies()[-1]["asker"]["person"] == ada
    await command(OWNER, "members", f"remove {ada}")
    at(clock, up, FRIDAY + HOUR + DAY)
    await up.sees("its owner does not take part in its conversation any more", "a1")
    assert up.prompts().count("say x") == 1


async def test_an_account_that_becomes_somebodys(up, clock):
    """What it had scheduled as a person of its own is gone."""
    await let_in(up, ADA, "a1")
    await let_in(up, BEN, "b1")
    await add(up, "every day at 13:00 say bens", "b1", sender=BEN)
    code = CODE.search(await up.command("link", "a1", sender=ADA))[1]
    await up.command("link", "b1", sender=BEN, rest=f"{code} yes")
    assert "is you from now on" in await up.command("link", "a1", sender=ADA, rest="confirm yes")
    assert await rows(up) == []


async def test_who_is_let_in_by_a_channel(up, clock):
    """That is known only while they write: they have no schedules until an admin lets them in by
    name. Who is in a group that lets them in has."""
    place = Room(up)
    await place.command("access", "add channel")
    gus = Sender(Identity("memory", "t", "gus"), "Gus")
    mine = await place.command("whoami", sender=gus)
    told = await place.command("schedule", "add @daily say x", sender=gus)
    assert "that can only be seen while you write" in told
    who = mine.partition("Your id: `")[2][:26]
    await up.command("people", rest=f"role {who} member")
    assert "Confirm it" in await place.command("schedule", "add @daily say x", sender=gus)
    await up.command("access", rest="add group G1")
    gia = Sender(Identity("memory", "t", "gia"), "Gia", groups=("G1",))
    assert "Confirm it" in await up.command("schedule", "g1", sender=gia, rest="add @daily say x")


async def test_admins_see_all_and_read_nothing(up, clock):
    """An admin lists everybody's without what they ask, and pauses and removes by id; nobody else
    can."""
    await let_in(up, ADA, "a1")
    await add(up, "every day at 13:00 say secret", "a1", sender=ADA)
    await add(up, "every day at 14:00 say mine")
    listed = await up.command("schedule", rest="list all")
    assert "Ada, number 1, `s_" in listed
    assert "secret" not in listed
    ids = {row.text: row.id for row in await rows(up)}
    hers, mine = ids["say secret"], ids["say mine"]
    assert "Only an admin" in await up.command("schedule", "a1", sender=ADA, rest="list all")
    assert "no schedule" in await up.command("schedule", "a1", sender=ADA, rest=f"pause {mine}")
    assert "no schedule" in await up.command("schedule", rest=f"show {hers}")
    for verb in ("run", "resume"):
        assert "Only its owner" in await up.command("schedule", rest=f"{verb} {hers}")
    assert "Its owner can resume it" in await up.command("schedule", rest=f"pause `{hers}`")
    assert "an admin did it" in await up.command("schedule", "a1", sender=ADA)
    assert "Removed." in await up.command("schedule", rest=f"remove {hers}")
    assert "You have no schedules" in await up.command("schedule", "a1", sender=ADA)


# ---- zones ----


async def test_time_zones(up, clock):
    """Each person has theirs, by its name or its city; a schedule keeps the one it had."""
    assert "`Europe/Berlin`, where it is 12:00 now" in await up.command("timezone")
    await add(up, "every day at 13:00 say x")
    told = await up.command("timezone", rest="new york")
    assert "`America/New_York`, where it is 07:00 now" in told
    assert "keep the zone they were made with" in told
    assert "Did you mean `Asia/Tokyo`" in await up.command("timezone", rest="Asia/Tokio")
    assert "One looks like" in await up.command("timezone", rest="xyzzy `@here`")
    assert "every day at 13:00, `Europe/Berlin`" in await up.command("schedule")
    await propose(up, "every day at 13:00 say y")
    assert "`America/New_York`" in up.texts()[-1]
    assert "`Europe/Berlin`" in await up.command("timezone", rest="reset")
    await let_in(up, ADA, "a1")
    assert "`Europe/Berlin`" in await up.command("timezone", "a1", sender=ADA)
