"""What is said when most of a budget is used, or all of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import sqlalchemy as sa
import structlog

from agent_service.contract import UsageBy, UsageSum, errors
from agent_service.contract.events import BudgetUsed, TurnFinished
from bridge.budgets.amounts import money, share
from bridge.budgets.budgets import DEPLOYMENT, Budgets
from bridge.people import access
from bridge.store.database import Database

log = structlog.get_logger()

LOOK_SECONDS = 60.0
"""How old the deployment's sum may be that `/healthz` goes by."""


class Agent(Protocol):
    async def usage(self, since: float, by: UsageBy, person: str) -> list[UsageSum]:
        """Raises `ServiceError`."""
        ...


class Warnings:
    """One a bridge."""

    def __init__(self, db: Database, budgets: Budgets, agent: Agent) -> None:
        self._db = db
        self._budgets = budgets
        self._agent = agent
        self._looked = float("-inf")
        self._used = 0.0

    async def of(self, turn_id: str, person: str, used: BudgetUsed) -> str:
        """What the asker is told with this turn; empty where an earlier one told. Of the
        deployment's budget only admins are told, and the log."""
        return await self._db.tx(self._told, turn_id, person, used, durable=False)

    def _told(self, con: sa.Connection, turn_id: str, person: str, used: BudgetUsed) -> str:
        budgets = self._budgets
        if used.whose == "person":
            day = budgets.now("day")
            if not budgets.warns(con, person, "usd", day.name, turn_id):
                return ""
            if used.used_usd >= used.usd:
                return (
                    f"That used up your {money(used.usd)} of today: the next turn is taken once "
                    f"they renew {day.renews}."
                )
            return (
                f"{money(used.used_usd)} of your {money(used.usd)} of today are used "
                f"({share(used.used_usd, used.usd)}). They renew {day.renews}."
            )
        month = budgets.now("month")
        words = (
            f"{money(used.used_usd)} of the deployment's {money(used.usd)} of {month.title} are "
            f"used ({share(used.used_usd, used.usd)})."
        )
        if budgets.warns(con, DEPLOYMENT, "usd", month.name, turn_id):
            log.warning("most of the deployment's budget is used", used=words)
        who = access.by_id(con, person)
        if who is None or not who.is_admin:
            return ""
        if not budgets.warns(con, person, "deployment", month.name, turn_id):
            return ""
        return f"{words} It renews {month.renews}; `budget deployment` changes it."

    def ended(self, event: TurnFinished, person: str) -> TurnFinished:
        """The end of a turn in words that say when it renews and whom to ask."""
        if event.reason == "person_budget":
            return replace(
                event,
                message="Your budget of today is used up.",
                remedy=f"It renews {self._budgets.now('day').renews}. An admin can give you more: "
                f"`budget {person} 10 USD`.",
            )
        if event.reason == "deployment_budget":
            return replace(
                event,
                message="This deployment's budget of the month is used up, for everybody.",
                remedy=f"It renews {self._budgets.now('month').renews}. An admin can raise it: "
                "`budget deployment 500 USD`.",
            )
        return event

    async def deployment(self) -> tuple[float, float] | None:
        """(used, most) of this month, a minute old at most; None where there is no limit or the
        agent service does not say."""
        most = await self._db.tx(self._budgets.deployment, durable=False)
        if most is None:
            return None
        now = self._budgets.clock()
        if not 0 <= now - self._looked < LOOK_SECONDS:
            try:
                sums = await self._agent.usage(self._budgets.now("month").start, "model", "")
            except errors.ServiceError:
                return None
            self._used, self._looked = sum(one.cost_usd for one in sums), now
        return self._used, most
