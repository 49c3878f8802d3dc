"""Commands about what may be used, and what was: `budget` and `usage`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import sqlalchemy as sa
import structlog

from agent_service.contract import UsageSum
from bridge.budgets.amounts import HELP, AmountInvalid, money, parse, share, written
from bridge.budgets.amounts import many as many_
from bridge.budgets.budgets import DEPLOYMENT, Limits
from bridge.budgets.periods import Current
from bridge.conversations.asked import NOBODY, Asked, Commands, Reply
from bridge.conversations.governing import Agent, Call, TellDeciders
from bridge.people.access import Person, shown
from bridge.store.schema import person

log = structlog.get_logger()

MOST_SHOWN = 10
"""Lines of people, or of models: what fits on a phone."""
BUDGET_HELP = (
    f"`budget` shows yours. Admins write `budget @somebody 5 USD 50 turns`, `budget @somebody` or "
    f"`budget deployment 500 USD`; an id serves for a mention. {HELP}"
)
ADMINS_ONLY = "Only an admin sees or sets that. `budget` shows yours."
Make = Callable[[Agent, TellDeciders], Awaitable[str]]


def _budget(asked: Asked) -> Reply:
    words = asked.words
    if not words:
        return Reply("", call=Call(_mine(asked)))
    target, amounts = words[0], " ".join(words[1:])
    deployment = target.lower() == "deployment"
    whom = None if deployment else asked.whom(target)
    if not asked.who.is_admin and (deployment or whom is None or whom.id != asked.who.id):
        return Reply(ADMINS_ONLY)
    if not deployment and whom is None:
        return Reply(BUDGET_HELP if target[0].isdigit() or target[0] == "$" else NOBODY)
    if not amounts:
        return Reply(_of_deployment(asked) if whom is None else _of_person(asked, whom))
    if not asked.who.is_admin:
        return Reply(ADMINS_ONLY)
    return _change(asked, whom, amounts)


def _change(asked: Asked, whom: Person | None, text: str) -> Reply:
    try:
        amounts = parse(text)
    except AmountInvalid as error:
        return Reply(str(error))
    if whom is None and "turns" in amounts:
        if text.strip().lower() not in ("default", "unlimited"):
            return Reply("The deployment's budget is money: `budget deployment 500 USD`.")
        del amounts["turns"]
    whose = DEPLOYMENT if whom is None else whom.id
    for what, amount in amounts.items():
        asked.budgets.change(asked.con, whose, what, amount, asked.who)
    log.info(
        "budget set",
        person=whose or "deployment",
        amounts=written(amounts),
        by=asked.who.id,
    )
    now = _of_deployment(asked) if whom is None else _of_person(asked, whom)
    return Reply(f"{now} That holds from the next turn on.")


def _of_person(asked: Asked, whom: Person) -> str:
    limits, day = asked.budgets.limits(asked.con, whom.id), asked.budgets.now("day")
    return f"{shown(whom.name)} may use a day: {_words(limits)}. It renews {day.renews}."


def _of_deployment(asked: Asked) -> str:
    usd, month = asked.budgets.deployment(asked.con), asked.budgets.now("month")
    most = "as much as they need" if usd is None else money(usd)
    return f"All together may use a month: {most}. It renews {month.renews}."


def _words(limits: Limits) -> str:
    usd = "any money" if limits.usd is None else money(limits.usd)
    turns = "any number of turns" if limits.turns is None else f"{limits.turns} turns"
    return f"{usd}, {turns}"


def _mine(asked: Asked) -> Make:
    limits, taken = asked.budgets.limits(asked.con, asked.who.id), _turns(asked)[0]
    day, me = asked.budgets.now("day"), asked.who.id

    async def make(agent: Agent, _tell: TellDeciders) -> str:
        lines = "\n".join(f"- {line}" for line in await used_today(agent, me, limits, taken, day))
        return f"Your budget of today, until it renews {day.renews}:\n\n{lines}"

    return make


async def used_today(
    agent: Agent, person_id: str, limits: Limits, turns: int, day: Current
) -> list[str]:
    """What a person used of today's budget, a line each. Raises `ServiceError`."""
    used = _sum(await agent.usage(day.start, "model", person_id))
    return _stand(limits, turns, used.cost_usd)


def _stand(limits: Limits, turns: int, usd: float) -> list[str]:
    of_turns = f" of {limits.turns}" if limits.turns is not None else ""
    of_usd = ""
    if limits.usd is not None:
        of_usd = f" of {money(limits.usd)} ({share(usd, limits.usd)})"
    return [f"{turns}{of_turns} turns", f"{money(usd)}{of_usd}"]


def _turns(asked: Asked) -> tuple[int, int]:
    return asked.budgets.turns(asked.con, asked.who.id)


def _usage(asked: Asked) -> Reply:
    if asked.words == ["all"]:
        if not asked.who.is_admin:
            return Reply("Only an admin sees everybody's. `usage` shows yours.")
        return Reply("", call=Call(_everybodys(asked)))
    if asked.words:
        return Reply("Write `usage`, or `usage all` (admins).")
    return Reply("", call=Call(_own(asked)))


def _own(asked: Asked) -> Make:
    limits, (today, this_month) = asked.budgets.limits(asked.con, asked.who.id), _turns(asked)
    day, month, me = asked.budgets.now("day"), asked.budgets.now("month"), asked.who.id
    all_usd = asked.budgets.deployment(asked.con) if asked.who.is_admin else None

    async def make(agent: Agent, _tell: TellDeciders) -> str:
        of_day = _sum(await agent.usage(day.start, "model", me))
        models = await agent.usage(month.start, "model", me)
        of_month = _sum(models)
        said = [
            f"**Today**, until it renews {day.renews}",
            _lines([*_stand(limits, today, of_day.cost_usd), *_more(of_day)]),
            f"**{month.title}**",
            _lines(
                [f"{this_month} turns", money(of_month.cost_usd), *_more(of_month), *_by(models)]
            ),
        ]
        if all_usd is not None:
            everybody = _sum(await agent.usage(month.start, "model", ""))
            said.append(_together(month, everybody.cost_usd, all_usd))
        return "\n\n".join(said)

    return make


def _together(month: Current, used: float, most: float) -> str:
    near = used >= most * 0.8
    return (
        f"{'⚠ ' if near else ''}All together: {money(used)} of {money(most)} "
        f"({share(used, most)}) in {month.title}. It renews {month.renews}."
    )


def _everybodys(asked: Asked) -> Make:
    month, most = asked.budgets.now("month"), asked.budgets.deployment(asked.con)
    turns = asked.budgets.everybodys_turns(asked.con)
    names = {row.id: row.name for row in asked.con.execute(sa.select(person.c.id, person.c.name))}

    async def make(agent: Agent, _tell: TellDeciders) -> str:
        people = await agent.usage(month.start, "person", "")
        models = await agent.usage(month.start, "model", "")
        total = _sum(models)
        first = (
            f"All together: {money(total.cost_usd)} in {month.title}."
            if most is None
            else _together(month, total.cost_usd, most)
        )
        lines = [
            f"{shown(names.get(one.name, 'somebody'))}: {money(one.cost_usd)}, "
            f"{turns.get(one.name, 0)} turns"
            for one in people[:MOST_SHOWN]
        ]
        numbered = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
        rest = people[MOST_SHOWN:]
        if rest:
            numbered.append(f"\n{len(rest)} more: {money(sum(one.cost_usd for one in rest))}")
        counts = [f"{sum(turns.values())} turns", *_more(total), *_by(models)]
        return "\n\n".join([first, "\n".join(numbered) or "Nobody used anything.", _lines(counts)])

    return make


def _by(models: Sequence[UsageSum]) -> list[str]:
    if len(models) < 2:
        return [f"all of it `{shown(one.name)}`" for one in models]
    lines = [
        f"`{shown(one.name)}`: {money(one.cost_usd)}, {many_(_tokens(one))} tokens"
        for one in models[:MOST_SHOWN]
    ]
    rest = models[MOST_SHOWN:]
    return [*lines, *([f"{len(rest)} other models"] if rest else [])]


def _more(used: UsageSum) -> list[str]:
    own = [f"on your own sign-in: worth {money(used.own_usd)}"] if used.own_usd else []
    return [f"{many_(_tokens(used))} tokens", *own]


def _tokens(used: UsageSum) -> int:
    return used.input_tokens + used.cache_write_tokens + used.cache_read_tokens + used.output_tokens


def _sum(parts: Sequence[UsageSum]) -> UsageSum:
    """Of all of them; a turn of several models is counted in each."""
    return UsageSum(
        "",
        sum(p.turns for p in parts),
        sum(p.answers for p in parts),
        sum(p.input_tokens for p in parts),
        sum(p.cache_write_tokens for p in parts),
        sum(p.cache_read_tokens for p in parts),
        sum(p.output_tokens for p in parts),
        sum(p.cost_usd for p in parts),
        sum(p.own_usd for p in parts),
    )


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


COMMANDS: Commands = {
    "usage": (_usage, "what you have used, and how far your budget goes"),
    "budget": (_budget, "your budget of today; admins set those of others"),
}
