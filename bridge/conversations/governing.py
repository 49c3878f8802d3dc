"""Commands about what the agent may do unasked: its mode and its rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import sqlalchemy as sa

from agent_service.contract import (
    MODE_WORDS,
    MODES,
    Behavior,
    PolicyView,
    UsageBy,
    UsageSum,
    errors,
)
from bridge.conversations.listed import Rule, by_short_id, chosen, code
from bridge.people import deciders
from bridge.people.access import Person

NOT_A_DECIDER = "Only those who may decide in this workspace can change that."
BEHAVIORS: tuple[Behavior, ...] = ("allow", "ask", "deny")


class Agent(Protocol):
    """What these commands ask of the agent service. Each raises `ServiceError`."""

    async def policy(self, place: str) -> PolicyView: ...

    async def set_mode(self, place: str, mode: str | None, by: str) -> PolicyView: ...

    async def change_rule(
        self, method: Literal["PUT", "DELETE"], place: str, behavior: str, pattern: str, by: str
    ) -> PolicyView: ...

    async def conversation(self, conversation: str) -> dict[str, Any]: ...

    async def close_session(self, conversation: str) -> None: ...

    async def usage(self, since: float, by: UsageBy, person: str) -> list[UsageSum]: ...


TellDeciders: TypeAlias = Callable[[str, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Call:
    """What is left to do with the agent service once the command is stored; it gives the reply."""

    make: Callable[[Agent, TellDeciders], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Here:
    """Where a command was given: the paths of the conversation and its workspace."""

    con: sa.Connection
    who: Person
    workspace: str
    conversation: str
    words: list[str]

    @property
    def may(self) -> bool:
        return self.who.id in deciders.of(self.con, self.workspace)

    def place(self, scope: str) -> str:
        if scope == "workspace":
            return f"/v1/workspaces/{self.workspace}"
        return f"/v1/conversations/{self.conversation}"


def mode(here: Here) -> str | Call:
    """`mode`, `mode plan`, `mode plan workspace`, `mode reset`."""
    if not here.words:
        return Call(_show_mode(here))
    wanted, *rest = here.words
    scope = "workspace" if [word.lower() for word in rest] == ["workspace"] else "conversation"
    known = {name.lower(): name for name in MODES} | {"reset": None}
    if wanted.lower() not in known or (rest and scope == "conversation"):
        names = ", ".join(f"`{name}`" for name in MODES)
        return f"Write `mode` and one of {names}, or `mode reset`; add `workspace` for all of it."
    if not here.may:
        return NOT_A_DECIDER
    return Call(_set_mode(here, scope, known[wanted.lower()]))


def _show_mode(here: Here) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        now = await _mode_now(agent, here)
        lines = [f"- `{name}`{' (now)' if name == now else ''}: {MODE_WORDS[name]}"
                 for name in MODES]  # fmt: skip
        return "The agent's modes:\n\n" + "\n".join(lines)

    return make


async def _mode_now(agent: Agent, here: Here) -> str:
    try:
        return str((await agent.conversation(here.conversation))["mode"])
    except errors.NotFound:
        places = (here.place("conversation"), here.place("workspace"), "/v1")
        for place in places:
            if (found := (await agent.policy(place)).mode) is not None:
                return found
        return "default"


def _set_mode(
    here: Here, scope: str, wanted: str | None
) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        await agent.set_mode(here.place(scope), wanted, here.who.id)
        where = "in this workspace" if scope == "workspace" else "here"
        if wanted is None:
            return f"No mode of its own is set {where} any more."
        now = "" if scope == "conversation" else " (where no conversation has its own)"
        meaning = next(words for name, words in MODE_WORDS.items() if name == wanted)
        return f"Mode `{wanted}` {where} from now on{now}: it {meaning}."

    return make


def rules(here: Here) -> str | Call:
    """`rules`, `rules allow Bash(npm test *)`, `rules here deny …`, `rules remove 3f2a`."""
    words = here.words
    scope = "conversation" if words[:1] == ["here"] else "workspace"
    verb, *rest = (words[1:] or [""]) if scope == "conversation" else (words or ["list"])
    pattern = " ".join(rest)
    if verb == "list" and not pattern:
        return Call(_list_rules(here))
    if not here.may:
        return NOT_A_DECIDER
    if verb == "remove" and pattern:
        return Call(_remove_rule(here, pattern))
    if verb in BEHAVIORS and pattern:
        return Call(_add_rule(here, scope, verb, pattern))
    return (
        "Write `rules`, `rules allow Bash(npm test *)`, `rules ask …`, `rules deny …` or "
        "`rules remove 3f2a`; `rules here …` is for this conversation alone."
    )


def two_people(here: Here) -> str | Call:
    """`two-people`, `two-people add Bash(git push *)`, `two-people remove 3f2a`."""
    verb, *rest = here.words or ["list"]
    pattern = " ".join(rest)
    if verb == "list" and not pattern:
        return Call(_list_two_people())
    if here.who.role not in ("operator", "admin"):
        return "Only an admin says which calls need two people."
    if verb == "remove" and pattern:
        return Call(_remove_two_people(here, pattern))
    if verb == "add" and pattern:
        return Call(_add_two_people(here, pattern))
    return (
        "Write `two-people`, `two-people add Bash(git push *)` or `two-people remove 3f2a`. It "
        "holds in every workspace."
    )


async def _pairs(agent: Agent) -> list[Rule]:
    return [
        Rule("/v1", "deployment", rule.behavior, rule.pattern)
        for rule in (await agent.policy("/v1")).rules
        if rule.behavior == "two_people"
    ]


def _list_two_people() -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        mine = by_short_id(await _pairs(agent))
        lines = [f"- `{short}`: {code(rule.pattern)}" for short, rule in mine.items()]
        return "Calls that two different people have to allow:\n\n" + ("\n".join(lines) or "None.")

    return make


def _add_two_people(here: Here, pattern: str) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        await agent.change_rule("PUT", "/v1", "two_people", pattern, here.who.id)
        return f"From now on two different people have to allow {code(pattern)}, everywhere."

    return make


def _remove_two_people(here: Here, word: str) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        rule = chosen(await _pairs(agent), word, "two-people")
        if isinstance(rule, str):
            return rule
        await agent.change_rule("DELETE", rule.place, "two_people", rule.pattern, here.who.id)
        return f"Taken back: {code(rule.pattern)}. One person is enough again."

    return make


async def _all_rules(agent: Agent, here: Here) -> list[Rule]:
    """What can be taken back here."""
    found: list[Rule] = []
    for scope in ("workspace", "conversation"):
        place = here.place(scope)
        view = await agent.policy(place)
        found += [Rule(place, scope, rule.behavior, rule.pattern) for rule in view.rules]
    return found


def _list_rules(here: Here) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        mine = by_short_id(await _all_rules(agent, here))
        lines = [
            f"- `{short}`: {rule.behavior} {code(rule.pattern)} "
            f"({'here' if rule.scope == 'conversation' else rule.scope})"
            for short, rule in mine.items()
        ]
        theirs = [
            f"- {rule.behavior.replace('_', ' ')} {code(rule.pattern)}"
            for rule in (await agent.policy("/v1")).rules
        ]
        said = ["Rules of this workspace and conversation:", "\n".join(lines) or "None."]
        if theirs:
            said += ["Rules of this deployment:", "\n".join(theirs)]
        return "\n\n".join(said)

    return make


def _add_rule(
    here: Here, scope: str, behavior: str, pattern: str
) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        await agent.change_rule("PUT", here.place(scope), behavior, pattern, here.who.id)
        where = "this workspace" if scope == "workspace" else "this conversation"
        return f"From now on in {where}: {behavior} {code(pattern)}."

    return make


def _remove_rule(here: Here, word: str) -> Callable[[Agent, TellDeciders], Awaitable[str]]:
    async def make(agent: Agent, _tell: TellDeciders) -> str:
        rule = chosen(await _all_rules(agent, here), word, "rules")
        if isinstance(rule, str):
            return rule
        await agent.change_rule("DELETE", rule.place, rule.behavior, rule.pattern, here.who.id)
        return (
            f"Taken back: {rule.behavior} {code(rule.pattern)}. It holds no more, also where work "
            "goes on."
        )

    return make
