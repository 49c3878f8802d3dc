"""What one request of the model is paid from: its conversation's cap, and the budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent_service.broker.spend import Spend
from agent_service.contract.budgets import Whose

USED_UP = "The budget of this session is used up."
BUDGET_USED_UP: dict[Whose, str] = {
    "person": "The budget of the person who asked is used up.",
    "deployment": "The budget of this deployment is used up.",
}
ORDER: tuple[Whose, ...] = ("person", "deployment")


@dataclass(frozen=True, slots=True)
class Share:
    """One of those that have to have something left. `refusal` says that it has not."""

    spend: Spend
    cap_usd: float | None
    refusal: str


class Bill:
    """`begin`, and once it did, `end`. Shares come in one order everywhere, the conversation's
    first and the deployment's last: so no two requests wait for each other."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self._shares = shares

    async def begin(self, most_usd: float) -> str:
        """The request may begin, and may cost this much; or why it may not."""
        begun: list[Spend] = []
        try:
            for share in self._shares:
                if not await share.spend.begin(most_usd, share.cap_usd):
                    return share.refusal
                begun.append(share.spend)
        finally:
            if len(begun) < len(self._shares):
                for spend in begun:
                    spend.end(most_usd)
        return ""

    def end(self, most_usd: float) -> None:
        """It is over, and accounted for."""
        for share in self._shares:
            share.spend.end(most_usd)
