"""What the model was used for: by day, by person, by model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web

from agent_service.contract.usage import UsageLine
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk

DAYS = (7, 30, 90)


@dataclass(slots=True)
class Sum:
    """Of some lines."""

    name: str
    answers: int = 0
    tokens: int = 0
    cost: float = 0.0


def sums(lines: Iterable[UsageLine], by: Callable[[UsageLine], str]) -> list[Sum]:
    """One for each name, in the order in which they first come."""
    found: dict[str, Sum] = defaultdict(lambda: Sum(""))
    for line in lines:
        one = found[by(line)]
        one.name = by(line)
        one.answers += line.answers
        one.cost += line.cost_usd
        one.tokens += line.input_tokens + line.output_tokens
        one.tokens += line.cache_write_tokens + line.cache_read_tokens
    return list(found.values())


def since(days: int) -> int:
    """The first second of so many days, today's included (UTC)."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((midnight - timedelta(days=days - 1)).timestamp())


class Usage:
    """/usage, for admins."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [Page("GET", "/usage", self.page, "admin")]

    async def page(self, request: web.Request) -> web.StreamResponse:
        asked = request.query.get("days", "")
        days = int(asked) if asked in map(str, DAYS) else 30
        lines = await self._desk.agent.usage(since(days))
        return self._desk.page(
            request,
            "usage.html",
            days=days,
            choices=DAYS,
            by_day=sorted(sums(lines, lambda line: line.day), key=lambda one: one.name)[::-1],
            by_person=_dearest(sums(lines, lambda line: line.person)),
            by_model=_dearest(sums(lines, lambda line: line.model)),
            names=await self._desk.names(),
        )


def _dearest(found: list[Sum]) -> list[Sum]:
    return sorted(found, key=lambda one: -one.cost)
