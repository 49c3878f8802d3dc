"""Commands about whose answers count in a workspace: its owner's, and those of people named."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.conversations.asked import NOBODY, Asked, Commands, Reply
from bridge.conversations.governing import Agent, Call, TellDeciders
from bridge.people import access, deciders
from bridge.people.access import Person, shown
from bridge.store.schema import decider

HELP = (
    "Write `deciders`, `deciders add @ann` or `deciders remove @ann`; an id serves for a mention, "
    "and `whoami` tells it. An admin adds `for @ben` for the workspace of somebody else."
)
NOT_YOURS = "Only the owner of this workspace, or an admin, names those who may decide."
ADMINS_ONLY = "Only an admin can do that for somebody else's workspace."


@dataclass(frozen=True, slots=True)
class _Place:
    """`where` are words for it; `owned` says that it is the asker's own."""

    workspace: str
    where: str
    owned: bool


def _deciders(asked: Asked) -> Reply:
    """`deciders`, `deciders add @ann`, `deciders remove @ann`, each with `for @ben` or without."""
    words = asked.words
    at = next((n for n, word in enumerate(words) if word.lower() == "for"), len(words))
    words, whose = words[:at], words[at + 1 :]
    if at < len(asked.words) and len(whose) != 1:
        return Reply(HELP)
    place = _place_of(asked, whose[0]) if whose else _here(asked)
    if isinstance(place, str):
        return Reply(place)
    if not words:
        return Reply(_list(asked, place))
    if not place.owned and not asked.who.is_admin:
        return Reply(NOT_YOURS)
    verb, *rest = words
    if verb not in ("add", "remove") or len(rest) != 1:
        return Reply(HELP)
    whom = asked.whom(rest[0])
    if whom is None or (verb == "add" and whom.role == "blocked"):
        return Reply(NOBODY)
    if whom.workspace == place.workspace:
        return Reply("The owner of the workspace always decides there.")
    return _change(asked, place, verb, whom)


def _here(asked: Asked) -> _Place | str:
    if refused := asked.refusal:
        return refused
    workspace = asked.workspace
    return _Place(workspace, "in this workspace", workspace == asked.who.workspace)


def _place_of(asked: Asked, word: str) -> _Place | str:
    whose = asked.whom(word)
    if not asked.who.is_admin and (whose is None or whose.id != asked.who.id):
        return ADMINS_ONLY  # and nothing about who there is
    if whose is None:
        return NOBODY
    where = f"in the workspace of {shown(whose.name)}"
    return _Place(whose.workspace, where, whose.id == asked.who.id)


def _list(asked: Asked, place: _Place) -> str:
    lines = []
    for one in deciders.of(asked.con, place.workspace):
        person = access.by_id(asked.con, one)
        owner = person is not None and person.workspace == place.workspace
        name = shown(access.name_of(asked.con, one))
        lines.append(f"- {name}, `{one}`{' (the owner)' if owner else ''}")
    return f"Whose answers count {place.where}:\n\n" + ("\n".join(lines) or "Nobody's.")


def _change(asked: Asked, place: _Place, verb: str, whom: Person) -> Reply:
    if verb == "add":
        fresh = asked.db.insert(decider).values(
            workspace=place.workspace,
            person=whom.id,
            added_by=asked.who.id,
            added_at=asked.db.now,
        )
        asked.con.execute(fresh.on_conflict_do_nothing())
    else:
        c = decider.c
        gone = decider.delete().where(c.workspace == place.workspace, c.person == whom.id)
        asked.con.execute(gone)

    async def make(_agent: Agent, tell: TellDeciders) -> str:
        await tell(place.workspace, asked.who.id)
        counts = "count" if verb == "add" else "do not count any more"
        return f"The answers of {shown(whom.name)} {counts} {place.where}."

    return Reply("", call=Call(make))


COMMANDS: Commands = {"deciders": (_deciders, "whose answers count in this workspace")}
