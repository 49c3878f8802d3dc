"""The command `link`: a second account as the same person."""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from adapters.contract import CommandIn, Sender
from bridge.conversations.asked import Asked, Commands, Reply
from bridge.people import access, codes, linking, rules
from bridge.people.access import Person, shown
from bridge.people.telling import tell
from bridge.store.database import Database

log = structlog.get_logger()

RANKS = {"operator": 2, "admin": 1}
NOBODY_YET = "No other account has used your code yet; codes last 10 minutes."


def _link(asked: Asked) -> Reply:
    """`link`, `link CODE`, `link CODE yes`, `link confirm`, `link confirm yes`, `link remove …`."""
    con, db, words = asked.con, asked.db, asked.words
    if not words:
        code = linking.begin(con, db, asked.who)
        return Reply(
            f"From your other account, write me `link {code}` within 10 minutes, and then here "
            "`link confirm`. Give the code to nobody: whoever uses it could become you."
        )
    if words == ["confirm"]:
        return Reply(_show(asked))
    if [word.lower() for word in words] == ["confirm", "yes"]:
        return _confirm(asked)
    if words[0] == "remove" and len(words) in (3, 4):
        return _unlink(asked, *words[1:])
    return Reply(other_side(con, db, asked.sender, "".join(words)))


def _show(asked: Asked) -> str:
    agreed = linking.agreed(asked.con, asked.db, asked.who)
    if agreed is None:
        return NOBODY_YET
    account, name = agreed
    before = access.find(asked.con, account)
    loses = "" if before is None else _loses(before, asked.who, f"{shown(name)} is", "it")
    return (
        f"The account that used your code is **{shown(name)}** ({account.platform} "
        f"`{shown(account.user)}`). Go on only if that is you: whoever has that account would be "
        "you, with your workspace and conversations. What it asked as a person of its own is "
        f"stopped.{loses} If so, write `link confirm yes`; if not, do nothing."
    )


def _confirm(asked: Asked) -> Reply:
    agreed = linking.agreed(asked.con, asked.db, asked.who)
    if agreed is None:
        return Reply(NOBODY_YET)
    account, name = agreed
    before = access.find(asked.con, account)
    linked = linking.complete(asked.con, asked.db, asked.who, account)
    if isinstance(linked, str):
        return Reply(linked)
    if before is not None and not access.accounts(asked.con, before.id):
        asked.timetable.end_all(asked.con, before, forget=True)
    log.info("account linked", person=asked.who.id, platform=account.platform)
    told = (
        f"{shown(name)} ({account.platform} `{shown(account.user)}`) is you from now on: one "
        f"person, one workspace. `link remove {account.platform} {shown(account.user)}` undoes it."
    )
    ended = linked.ended
    if not linked.workspaces:
        return Reply(told, ended.stopped, ended.taken_back)
    call = tell(linked.workspaces, linked.sessions, asked.who, told)
    return Reply("", ended.stopped, ended.taken_back, call)


def _unlink(asked: Asked, platform: str, user: str, tenant: str = "") -> Reply:
    mine = access.accounts(asked.con, asked.who.id)
    user, tenant = user.strip("`"), tenant.strip("`")
    found = [
        account
        for account in mine
        if (account.platform, account.user) == (platform, user) and tenant in ("", account.tenant)
    ]
    if len(found) > 1:
        ways = "\n".join(
            f"- `link remove {platform} {shown(user)} {shown(each.tenant)}`" for each in found
        )
        return Reply(f"You have that account in several teams. Write which one:\n\n{ways}")
    ended = linking.remove(asked.con, asked.db, asked.who, found[0]) if found else None
    if ended is None:
        return Reply("That is no account of yours besides this one; `whoami` lists them.")
    log.info("account unlinked", person=asked.who.id, platform=platform)
    return Reply(
        "That account is not you any more. It is a stranger here now, and what it asked in your "
        "name is stopped.",
        ended.stopped,
        ended.taken_back,
    )


def other_side(con: sa.Connection, db: Database, sender: Sender, rest: str) -> str:
    """The other account gives the code back: first it learns whose it is, then it agrees."""
    sure = rest.lower().endswith("yes") and len(codes.plain(rest[:-3])) >= 8
    code = rest[:-3] if sure else rest
    whose, refused = linking.look(con, db, sender, code)
    if whose is None:
        return refused
    if not sure:
        mine = access.find(con, sender.identity)
        loses = "" if mine is None else _loses(mine, whose, "You are", "you")
        return (
            f"That code is of **{shown(whose.name)}**. Go on only if that is you: this account "
            "would be theirs, and work in their workspace. What it has here as a person of its own "
            f"stays behind, and what it asked is stopped.{loses} If so, write "
            f"`link {shown(code)} yes`."
        )
    linking.accept(con, sender, code)
    return "Agreed. Now write `link confirm` where you got the code."


def _loses(before: Person, after: Person, subject: str, whom: str) -> str:
    """What an account in charge is told that is to be somebody's who is less."""
    if RANKS.get(before.role, 0) <= RANKS.get(after.role, 0):
        return ""
    return (
        f" **{subject} an {before.role} now; that ends with it**, for {whom} would be as "
        f"{shown(after.name)} is: {after.role}."
    )


def of_a_stranger(con: sa.Connection, db: Database, command: CommandIn) -> str | None:
    """For an account that is nobody's: all it can do is give a code back."""
    if access.find(con, command.sender.identity) is not None:
        return None
    if not command.rest or rules.matches(con, command.sender, command.address):
        return None
    return other_side(con, db, command.sender, "".join(command.rest.split()))


COMMANDS: Commands = {"link": (_link, "use a second account as the same person")}
