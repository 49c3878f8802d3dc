"""Commands about people: who is let in, as what, by which rules, and with which accounts."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
import structlog

from adapters.contract import CommandIn
from bridge.conversations import stopping
from bridge.conversations.asked import (
    NOBODY,
    Asked,
    Commands,
    Reply,
    Suggestions,
    first_words,
)
from bridge.people import access, claim, codes, link, linking, roles, rules, strangers
from bridge.people.access import Role, shown
from bridge.people.telling import tell
from bridge.store.database import Database
from bridge.store.schema import conversation

log = structlog.get_logger()

PEOPLE_HELP = (
    "Write `people`, `people 2`, `people find NAME`, `people let CODE`, `people role @ann admin` "
    "(or `member`, `operator`), `people block @ann` or `people remove @ann`; an id serves for a "
    "mention."
)
STAYS = " Their workspace stays, for an admin to look at or delete."
BY_RULE = (
    " Removed, a rule of `access` could let them in again with their next word: take that rule "
    "back first. Blocked, they stay out."
)
ACCESS_HELP = (
    "Write `access`, `access add team`, `access add channel` (this one), `access add group ID` or "
    "`access remove 2`. Each is about the team or server where you write it."
)


def _people(asked: Asked) -> Reply:
    words = asked.words
    if not words:
        return Reply(_list(asked))
    verb, *rest = words
    if verb.isdecimal() and not rest:
        return Reply(_list(asked, max(1, int(verb[:6]))))
    if verb == "find" and rest:
        return Reply(_list(asked, name=" ".join(rest)))
    if verb == "let" and rest:
        return _let(asked, "".join(rest))
    if verb == "role" and len(rest) == 2 and rest[1] in roles.ROLES:
        return _role(asked, rest[0], rest[1])
    if verb in ("block", "remove") and len(rest) == 1:
        return _end(asked, rest[0], "blocked" if verb == "block" else "removed")
    return Reply(PEOPLE_HELP)


def _list(asked: Asked, page: int = 1, name: str = "") -> str:
    found, total = roles.everybody(asked.con, page, name)
    pages = max(1, -(-total // roles.PAGE))
    if page > pages:
        return f"There is no page {page}: the last is `people {pages}`."
    if not found:
        return "Nobody here has such a name."
    said = ["\n".join(f"- {shown(one.name)}, {one.role}, `{one.id}`" for one in found)]
    if name and pages > 1:
        said.append(f"{total} people have such a name: write more of it.")
    elif pages > 1:
        more = f"`people {page + 1}` goes on, " if page < pages else ""
        said.append(f"Page {page} of {pages}, {total} people: {more}`people find NAME` searches.")
    asking = [] if name or page > 1 else strangers.waiting(asked.con, asked.db)
    if asking:
        said.append("Asking to be let in (`people let CODE`):")
        said.append(
            "\n".join(
                f"- {shown(one.name)}, {one.account.platform} `{shown(one.account.user)}`: "
                f"`{one.code}`"
                for one in asking
            )
        )
    return "\n\n".join(said)


def _let(asked: Asked, code: str) -> Reply:
    if codes.too_many(asked.con, asked.db, asked.sender.identity, "let"):
        return Reply(codes.TOO_MANY)
    found = strangers.let_in(asked.con, asked.db, code)
    if found is None:
        codes.note_wrong(asked.con, asked.db, asked.sender.identity, "let")
        return Reply("Nobody who asks to be let in has that code. `people` lists who asks.")
    whom, account = found
    log.info("person let in", person=whom.id, by=asked.who.id, platform=account.platform)
    return Reply(
        f"{shown(whom.name)} ({account.platform} `{shown(account.user)}`) is let in as "
        f"{whom.role}, with a workspace of their own. Tell them to write again."
    )


def _role(asked: Asked, word: str, role: Role) -> Reply:
    found = asked.whom(word)
    whom = access.locked(asked.con, found.id) if found is not None else None
    if whom is None:
        return Reply(NOBODY)
    if refused := roles.why_not(asked.con, asked.who, whom, role):
        return Reply(refused)
    roles.set_role(asked.con, whom, role)
    log.info("role set", person=whom.id, role=role, by=asked.who.id)
    told = f"{shown(whom.name)} is {'an ' if role[0] in 'aeiou' else 'a '}{role} from now on."
    return Reply("", call=tell((whom.workspace,), (), asked.who, told))


def _end(asked: Asked, word: str, role: Role) -> Reply:
    found = asked.whom(word)
    if found is None:
        return Reply(NOBODY)
    if found.id == asked.who.id:
        return Reply("Not yourself: another admin can do that.")
    whom = access.locked(asked.con, found.id) or found
    if refused := roles.why_not(asked.con, asked.who, whom, role):
        return Reply(refused)
    accounts = access.accounts(asked.con, whom.id)
    by_rule = role == "removed" and rules.could_let_in(asked.con, accounts)
    if by_rule:
        role = "blocked"
    concerned = stopping.asked_by(asked.con, accounts)
    concerned |= stopping.busy(asked.con, conversation.c.owner == whom.id)
    sessions = linking.sessions_of(asked.con, whom.id)
    workspaces = roles.end(asked.con, whom, role)
    schedules = asked.timetable.end_all(asked.con, whom, forget=role == "removed")
    ended = stopping.end(asked.con, asked.db, concerned)
    log.info("person let out", person=whom.id, role=role, by=asked.who.id)
    what = f"{role}, not removed" if by_rule else role
    after = "" if role == "blocked" else STAYS
    runs = f" {schedules} of their schedules will not run any more." if schedules else ""
    told = (
        f"{shown(whom.name)} is {what}. What ran for them is stopped, what waited for a decision "
        "is denied, and their answers count nowhere any more."
        f"{runs}{BY_RULE if by_rule else after}"
    )
    call = tell(workspaces, sessions, asked.who, told)
    return Reply("", ended.stopped, ended.taken_back, call, schedules=bool(schedules))


def _access(asked: Asked) -> Reply:
    words, at = asked.words, asked.address
    if not words:
        lines = [f"{rule.number}. {_words(rule)}" for rule in rules.all_of(asked.con)]
        if not lines:
            return Reply(f"No rule lets anybody in: each person is let in by name. {ACCESS_HELP}")
        return Reply("These let people in as members:\n\n" + "\n".join(lines))
    if words[0] == "remove" and len(words) == 2 and words[1].isdecimal():
        gone = rules.remove(asked.con, int(words[1][:9]))
        if gone is None:
            return Reply("There is no such rule; `access` lists them.")
        log.info("access rule removed", rule=_words(gone), by=asked.who.id)
        concerned = stopping.asked_by(asked.con, stopping.let_in_by_rule(asked.con))
        ended = stopping.end(asked.con, asked.db, concerned)
        return Reply(
            f"Taken back: {_words(gone)}. Whom it alone let in is out at once, and what ran for "
            "them is stopped.",
            ended.stopped,
            ended.taken_back,
        )
    kind, value = " ".join(words[1:2]), " ".join(words[2:])
    if words[0] != "add" or kind not in rules.KINDS or (kind == "group") != bool(value):
        return Reply(ACCESS_HELP)
    if kind == "channel":
        if at.direct:
            return Reply("Write that in the channel itself.")
        value = at.channel
    # On some platforms an account belongs to no team: then the one it is said in is meant.
    here = (asked.sender.identity.tenant if kind == "team" else "") or at.tenant
    if not here:
        return Reply("Write that in the server it is about, not in a direct message.")
    if kind == "group":
        value = value.strip("`<>@&! ").removeprefix("subteam^").partition("|")[0]
    if not rules.add(asked.con, asked.db, at.platform, here, kind, value, asked.who.id):
        return Reply(f"There are {rules.MOST} rules already; take one back first.")
    log.info("access rule added", platform=at.platform, kind=kind, by=asked.who.id)
    who = {
        "team": "Everybody of this team or server",
        "channel": "Everybody who writes in this channel, and is of this team or server,",
        "group": f"Everybody in the group `{shown(value)}`",
    }[kind]
    return Reply(f"{who} is let in as a member from now on, as long as that is so.")


def _words(rule: rules.Rule) -> str:
    where = f"{rule.platform} `{shown(rule.tenant)}`"
    if rule.kind == "team":
        return f"all of {where}"
    return f"{rule.kind} `{shown(rule.value)}` of {where}"


def _claim_or_none(con: sa.Connection, db: Database, command: CommandIn) -> str | None:
    return claim.take(con, db, command.sender, command.rest)


FOR_STRANGERS: dict[str, Callable[[sa.Connection, Database, CommandIn], str | None]] = {
    "claim": _claim_or_none,
    "link": link.of_a_stranger,
}
"""What may be said by who is not let in; None goes the way of everybody."""
FOR_ADMINS = frozenset({"people", "access"})
COMMANDS: Commands = {
    **link.COMMANDS,
    "people": (_people, "who is let in, and who asks (admins)"),
    "access": (_access, "let a team, channel or group in (admins)"),
}
SUGGESTIONS: Suggestions = {
    "link": first_words("confirm", "remove"),
    "people": first_words("let", "role", "block", "remove"),
    "access": first_words("add team", "add channel", "add group", "remove"),
}
