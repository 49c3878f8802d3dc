"""Commands about what runs at times of its own, and about the times themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from agent_service.contract import says_nothing
from bridge.conversations.asked import Asked, Commands, Reply
from bridge.engine.pending import home_of
from bridge.people import access
from bridge.people.access import shown
from bridge.present.decision import fenced, plain
from bridge.schedules import cards, zones
from bridge.schedules.timing import EXAMPLES, NotATime, Timing, read

log = structlog.get_logger()

MOST_TEXT = 1000
"""Characters of what is asked again and again, so that its card is whole on every platform."""
HELP = (
    "`schedule add every weekday at 9:00 look at the new issues` shows when that would run, and "
    "asks you. `schedule list` lists yours; then `schedule show 2`, `pause 2`, `resume 2`, "
    f"`run 2` (now) or `remove 2`. {EXAMPLES} Put it in quotes where its end is not clear."
)
NO_SUCH = "You have no schedule with that number; `schedule list` tells them."
GOING = "Its run before is not over yet."


def _schedule(asked: Asked) -> Reply:
    verb, _, rest = asked.rest.strip().partition(" ") if asked.words else ("list", "", "")
    verb, *more = verb.split(maxsplit=1)  # a line's end parts them as well
    rest = " ".join([*more, rest]).strip()
    if verb == "add":
        return _add(asked, rest)
    if verb == "list" and rest in ("", "all"):
        return _all(asked) if rest else _list(asked)
    if verb in _ABOUT_ONE and len(rest.split()) == 1:
        row = asked.timetable.find(asked.con, asked.who, rest)
        return Reply(NO_SUCH) if row is None else _ABOUT_ONE[verb](asked, row)
    return Reply(HELP)


def _add(asked: Asked, said: str) -> Reply:
    """`schedule add every weekday at 9:00 TEXT`."""
    table, con = asked.timetable, asked.con
    try:
        timing, text = read(said, table.zone_of(con, asked.who.id))
    except NotATime as error:
        return Reply(f"{plain(str(error))} {EXAMPLES}")
    if says_nothing(text):
        return Reply(f"Say also what is to be done, behind “{shown(timing.expression)}”.")
    if len(fenced(text)) > MOST_TEXT:
        return Reply(
            f"That is too long: some {MOST_TEXT:,} characters are the most. Put it into a file of "
            "your workspace, and schedule to do what the file says."
        )
    if refused := asked.refusal:
        return Reply(refused)
    home = asked.claimed(title=text)
    account = asked.sender.identity
    if refused := table.refusal(con, asked.who, account, home):
        return Reply(refused)
    if refused := table.unfit(con, asked.who.id, timing):
        return Reply(refused)
    row = table.propose(con, asked.who, account, home, timing, text)
    return Reply("Confirm it in the post here: until then nothing is scheduled.", card=row.id)


def _list(asked: Asked) -> Reply:
    rows = asked.timetable.of_person(asked.con, asked.who.id)
    if not rows:
        return Reply(f"You have no schedules. {HELP}")
    return Reply("\n".join(_line(asked, row) for row in rows))


def _line(asked: Asked, row: Any) -> str:
    table = asked.timetable
    try:
        return cards.line(row, table.outcome(asked.con, row), _place(asked, row))
    except NotATime:
        return f"- **{row.number}** {shown(row.text)}: its time cannot be read any more."


def _place(asked: Asked, row: Any) -> str:
    home = asked.timetable.home_of(asked.con, row)
    if asked.home is not None and home.id == asked.home.id:
        return "this conversation"
    return f"“{shown(home.title)}” ({home.platform})" if home.title else home.platform


def _all(asked: Asked) -> Reply:
    """`schedule list all`, for admins: everybody's, without what they ask."""
    if not asked.who.is_admin:
        return Reply("Only an admin can do that.")
    lines = []
    for row in asked.timetable.everybodys(asked.con):
        name = access.name_of(asked.con, row.person)
        try:
            lines.append(cards.others(row, name))
        except NotATime:
            lines.append(f"- {shown(name)}, `{row.id}`: its time cannot be read any more.")
    if not lines:
        return Reply("Nobody has a schedule.")
    return Reply("\n".join([*lines, "`schedule pause` and `remove` take these ids."]))


def _show(asked: Asked, row: Any) -> Reply:
    if row.person != asked.who.id:
        return Reply(NO_SUCH)
    try:
        outcome = asked.timetable.outcome(asked.con, row)
        return Reply(cards.whole(row, outcome, _place(asked, row), asked.timetable.clock()))
    except NotATime as error:
        return Reply(f"Its time cannot be read any more: {plain(str(error))}")


def _pause(asked: Asked, row: Any) -> Reply:
    if row.state != "active":
        return Reply("It is not due anyway.")
    why = "" if row.person == asked.who.id else "an admin did it"
    asked.timetable.pause(asked.con, row, why)
    log.info("schedule paused", schedule=row.id, by=asked.who.id)
    going = asked.timetable.going(asked.con, row.id)
    now = " The run that is going on is finished." if going else ""
    how = "Its owner can resume it." if why else f"`schedule resume {row.number}` goes on with it."
    return Reply(f"Paused.{now} {how}")


def _resume(asked: Asked, row: Any) -> Reply:
    if row.person != asked.who.id:
        return Reply("Only its owner can do that.")
    if row.state == "active":
        return Reply("It is not paused.")
    if refused := asked.timetable.start(asked.con, row):
        return Reply(refused)
    timing = Timing(row.expression, row.zone)
    due = timing.next(asked.timetable.clock())
    next_on = "" if due is None else f" Next on {timing.shown(due)}."
    return Reply(f"It runs again.{next_on}", schedules=True)


def _run(asked: Asked, row: Any) -> Reply:
    """Now, whatever its times; a paused one stays paused."""
    if row.person != asked.who.id:
        return Reply("Only its owner can do that.")
    home = home_of(asked.con, row.conversation)
    if refused := asked.timetable.stopped(asked.con, row, home):
        return Reply(refused)
    if not asked.timetable.run(asked.con, row, home, asked.timetable.clock()):
        return Reply(GOING)
    return Reply(f"It runs now, in {_place(asked, row)}.", schedules=True)


def _remove(asked: Asked, row: Any) -> Reply:
    asked.timetable.remove(asked.con, row)
    log.info("schedule removed", schedule=row.id, by=asked.who.id)
    going = asked.timetable.going(asked.con, row.id)
    return Reply(f"Removed.{' The run that is going on is finished.' if going else ''}")


_ABOUT_ONE = {
    "show": _show,
    "pause": _pause,
    "resume": _resume,
    "run": _run,
    "remove": _remove,
}


def _timezone(asked: Asked) -> Reply:
    """`timezone`, `timezone Europe/Berlin`, `timezone reset`."""
    table, con, who = asked.timetable, asked.con, asked.who.id
    if asked.rest.strip():
        wanted = asked.rest.strip()
        zone = None if wanted == "reset" else zones.named(wanted)
        if zone is None and wanted != "reset":
            near = ", ".join(f"`{each}`" for each in zones.near(wanted))
            hint = f" Did you mean {near}?" if near else " One looks like `Europe/Berlin`."
            return Reply(f"There is no time zone “{shown(wanted)}”.{hint}")
        table.set_zone(con, who, zone)
    now = table.zone_of(con, who)
    clock = f"{datetime.fromtimestamp(table.clock(), ZoneInfo(now)):%H:%M}"
    kept = ""
    if asked.rest.strip() and any(row.zone != now for row in table.of_person(con, who)):
        kept = " Schedules you have keep the zone they were made with: `schedule list` tells it."
    return Reply(
        f"Your time zone is `{now}`, where it is {clock} now. `timezone Europe/Berlin` sets "
        f"another, `timezone reset` takes the deployment's.{kept}"
    )


COMMANDS: Commands = {
    "schedule": (_schedule, "have something done again and again: `schedule` tells how"),
    "timezone": (_timezone, "the time zone of your schedules"),
}
