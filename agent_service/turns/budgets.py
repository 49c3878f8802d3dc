"""What a turn does about its budgets: it does not begin where one is used up, and at its end tells
of those that nearly are."""

from __future__ import annotations

from agent_service.broker.purses import Purses
from agent_service.contract.budgets import WARN_SHARE, Whose
from agent_service.contract.events import BudgetUsed
from agent_service.contract.turns import TurnRequest
from agent_service.turns.port import Ended

OVER: dict[Whose, Ended] = {
    "person": Ended(
        "over_budget",
        "person_budget",
        "The budget of who asked is used up.",
        "It renews by itself; an admin can raise it.",
    ),
    "deployment": Ended(
        "over_budget",
        "deployment_budget",
        "The budget of this deployment is used up.",
        "It renews by itself; an admin can raise it.",
    ),
}


async def over(purses: Purses, request: TurnRequest) -> Ended | None:
    """How the turn ends at once, where a budget of it is used up."""
    for budget in request.budgets:
        spend = await purses.spend(budget, request.asker.person)
        if spend.usd >= budget.usd:
            return OVER[budget.whose]
    return None


async def near(purses: Purses, request: TurnRequest) -> list[BudgetUsed]:
    """Its budgets of which most, or all, is used."""
    found = []
    for budget in request.budgets:
        used = (await purses.spend(budget, request.asker.person)).usd
        if used >= budget.usd * WARN_SHARE:
            found.append(BudgetUsed(budget.whose, used, budget.usd))
    return found
