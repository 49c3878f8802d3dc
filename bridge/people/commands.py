"""Commands about people: who is let in, as what, by which rules, and with which accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from adapters.contract import CommandIn, Identity, Sender
from agent_service.contract import errors
from bridge.conversations.asked import (
    NOBODY,
    Asked,
    Commands,
    Reply,
    Suggestions,
    first_words,
)
from bridge.conversations.governing import Agent, Call, TellDeciders
from bridge.people import access, claim, codes, linking, roles, rules, strangers
from bridge.people.access import Person, Role, shown
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

PEOPLE_HELP = (
    "Write `people`, `people let CODE`, `people role @ann admin` (or `member`, `operator`), "
    "`people block @ann` or `people remove @ann`; an id serves for a mention."
)
MOST_SESSIONS = 50
"""Conversations whose sessions are closed at once; of older ones none is up any more."""
NOT_TOLD = (
    "It holds here already. The agent service could not be told yet: it is before the next turn "
    "there, and what runs is stopped once it answers."
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
    if verb == "let" and rest:
        return _let(asked, "".join(rest))
    if verb == "role" and len(rest) == 2 and rest[1] in roles.ROLES:
        return _role(asked, rest[0], rest[1])
    if verb in ("block", "remove") and len(rest) == 1:
        return _end(asked, rest[0], "blocked" if verb == "block" else "removed")
    return Reply(PEOPLE_HELP)


def _list(asked: Asked) -> str:
    lines = [f"- {shown(one.name)}, {one.role}, `{one.id}`" for one in roles.everybody(asked.con)]
    said = ["\n".join(lines)]
    asking = strangers.waiting(asked.con, asked.db)
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
    if codes.too_many(asked.con, asked.db, asked.sender.identity):
        return Reply(codes.TOO_MANY)
    found = strangers.let_in(asked.con, asked.db, code)
    if found is None:
        codes.note_wrong(asked.con, asked.db, asked.sender.identity)
        return Reply("Nobody who asks to be let in has that code. `people` lists who asks.")
    whom, account = found
    log.info("person let in", person=whom.id, by=asked.who.id, platform=account.platform)
    return Reply(
        f"{shown(whom.name)} ({account.platform} `{shown(account.user)}`) is let in as "
        f"{whom.role}, with a workspace of their own. Tell them to write again."
    )


def _role(asked: Asked, word: str, role: Role) -> Reply:
    whom = asked.whom(word)
    if whom is None:
        return Reply(NOBODY)
    if refused := roles.why_not(asked.con, asked.who, whom, role):
        return Reply(refused)
    roles.set_role(asked.con, whom, role)
    log.info("role set", person=whom.id, role=role, by=asked.who.id)
    told = f"{shown(whom.name)} is {'an ' if role[0] in 'aeiou' else 'a '}{role} from now on."
    return Reply("", call=_tell((whom.workspace,), (), asked.who, told))


def _end(asked: Asked, word: str, role: Role) -> Reply:
    whom = asked.whom(word)
    if whom is None:
        return Reply(NOBODY)
    if whom.id == asked.who.id:
        return Reply("Not yourself: another admin can do that.")
    if refused := roles.why_not(asked.con, asked.who, whom, role):
        return Reply(refused)
    stopped, taken_back = _stop_all(asked, whom)
    mine = sa.select(conversation.c.agent_conversation).where(conversation.c.owner == whom.id)
    newest = mine.order_by(conversation.c.last_active.desc()).limit(MOST_SESSIONS)
    sessions = asked.con.scalars(newest).all()
    workspaces = roles.end(asked.con, whom, role)
    log.info("person let out", person=whom.id, role=role, by=asked.who.id)
    what = "blocked" if role == "blocked" else "removed"
    stays = (
        "" if role == "blocked" else " Their workspace stays, for an admin to look at or delete."
    )
    told = (
        f"{shown(whom.name)} is {what}. What ran for them is stopped, what waited for a decision "
        f"is denied, and their answers count nowhere any more.{stays}"
    )
    return Reply("", stopped, taken_back, _tell(workspaces, sessions, asked.who, told))


def _stop_all(asked: Asked, whom: Person) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """All that somebody asked for, and all in what is theirs."""
    accounts = set(access.accounts(asked.con, whom.id))
    c = message.c
    rows = asked.con.execute(
        sa.select(c.id, c.status, c.turn_id, c.conversation, c.payload, conversation.c.owner)
        .join(conversation, conversation.c.id == c.conversation)
        .where(is_open)
        .order_by(c.id)
    ).all()
    stopped: list[int] = []
    taken_back: list[int] = []
    for row in rows:
        sender = Identity(**row.payload["sender"]["identity"])
        if (row.owner == whom.id or sender in accounts) and asked.stop(asked.con, asked.db, row):
            (taken_back if row.status == "queued" else stopped).append(row.id)
    return tuple(stopped), tuple(taken_back)


def _tell(workspaces: Sequence[str], sessions: Sequence[str], by: Person, told: str) -> Call:
    async def make(agent: Agent, tell: TellDeciders) -> str:
        try:
            for workspace in workspaces:
                await tell(workspace, by.id)
            for session in sessions:
                await agent.close_session(session)
        except errors.ServiceError as error:
            return f"{told} {NOT_TOLD} ({error.message})"
        return told

    return Call(make)


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
        return Reply(f"Taken back: {_words(gone)}. Whom it alone let in is out at once.")
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


def _link(asked: Asked) -> Reply:
    con, db, words = asked.con, asked.db, asked.words
    if not words:
        code = linking.begin(con, db, asked.who)
        return Reply(
            f"From your other account, write me `link {code}` within 10 minutes, and then here "
            "`link confirm`. Give the code to nobody: whoever uses it could become you."
        )
    if words == ["confirm"]:
        return _confirm(asked)
    if words[0] == "remove" and len(words) == 3:
        return _unlink(asked, words[1], words[2])
    return Reply(_other_side(con, db, asked.sender, "".join(words)))


def _confirm(asked: Asked) -> Reply:
    agreed = linking.agreed(asked.con, asked.db, asked.who)
    if agreed is None:
        return Reply("No other account has used your code yet; codes last 10 minutes.")
    account, name = agreed
    if refused := linking.complete(asked.con, asked.db, asked.who, account):
        return Reply(refused)
    log.info("account linked", person=asked.who.id, platform=account.platform)
    return Reply(
        f"{shown(name)} ({account.platform} `{shown(account.user)}`) is you from now on: one "
        f"person, one workspace. If that is not your account, write at once "
        f"`link remove {account.platform} {shown(account.user)}`."
    )


def _unlink(asked: Asked, platform: str, user: str) -> Reply:
    mine = access.accounts(asked.con, asked.who.id)
    found = [a for a in mine if a.platform == platform and a.user == user.strip("`")]
    if len(found) != 1 or not linking.remove(asked.con, asked.who, found[0]):
        return Reply("That is no account of yours besides this one; `whoami` lists them.")
    log.info("account unlinked", person=asked.who.id, platform=platform)
    return Reply("That account is not you any more. It is a stranger here now.")


def _other_side(con: sa.Connection, db: Database, sender: Sender, rest: str) -> str:
    """The other account gives the code back: first it learns whose it is, then it agrees."""
    sure = rest.lower().endswith("yes") and len(codes.plain(rest[:-3])) >= 8
    code = rest[:-3] if sure else rest
    whose, refused = linking.look(con, db, sender, code)
    if whose is None:
        return refused
    if not sure:
        return (
            f"That code is of **{shown(whose.name)}**. Go on only if that is you: this account "
            "would be theirs, and work in their workspace. What it has here as a person of its own "
            f"stays behind. If so, write `link {shown(code)} yes`."
        )
    linking.accept(con, sender, code)
    return "Agreed. Now write `link confirm` where you got the code."


def _claim_or_none(con: sa.Connection, db: Database, command: CommandIn) -> str | None:
    return claim.take(con, db, command.sender, command.rest)


def _link_or_none(con: sa.Connection, db: Database, command: CommandIn) -> str | None:
    """For an account that is nobody's: all it can do is give a code back."""
    if access.find(con, command.sender.identity) is not None:
        return None
    if not command.rest or rules.matches(con, command.sender, command.address):
        return None
    return _other_side(con, db, command.sender, "".join(command.rest.split()))


FOR_STRANGERS: dict[str, Callable[[sa.Connection, Database, CommandIn], str | None]] = {
    "claim": _claim_or_none,
    "link": _link_or_none,
}
"""What may be said by who is not let in; None goes the way of everybody."""
FOR_ADMINS = frozenset({"people", "access"})
COMMANDS: Commands = {
    "link": (_link, "use a second account as the same person"),
    "people": (_people, "who is let in, and who asks (admins)"),
    "access": (_access, "let a team, channel or group in (admins)"),
}
SUGGESTIONS: Suggestions = {
    "link": first_words("confirm", "remove"),
    "people": first_words("let", "role", "block", "remove"),
    "access": first_words("add team", "add channel", "add group", "remove"),
}
