"""The first page: how everything is, what goes on, and what wants attention."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from agent_service.contract import CredentialView, errors
from agent_service.contract.usage import UsageLine
from bridge.contract import BridgeStatus
from web_admin.entry.found import ARRIVAL, SESSION
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that wants attention, with what to do; `page` is where."""

    text: str
    remedy: str
    page: str = ""


class Overview:
    """`/`, and the part of it that renews itself."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/", self.page, "member"),
            Page("GET", "/overview/now", self.now, "admin"),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        if not request[SESSION].is_admin:
            return self._desk.to("/me")
        return self._desk.page(request, "overview.html", **await self._data(request))

    async def now(self, request: web.Request) -> web.StreamResponse:
        return self._desk.page(request, "overview_now.html", **await self._data(request))

    async def _data(self, request: web.Request) -> dict[str, object]:
        desk, warnings = self._desk, list[Attention]()
        status: BridgeStatus | None = None
        try:
            status = await desk.bridge.status()
        except errors.ServiceError as error:
            warnings.append(Attention(error.message, error.remedy))
        agent, credentials, usage = "", tuple[CredentialView, ...](), tuple[UsageLine, ...]()
        try:
            agent = await desk.agent.ready()
            credentials = await desk.agent.credentials()
            midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            usage = await desk.agent.usage(int(midnight.timestamp()))
        except errors.ServiceError as error:
            agent = error.message
        if agent:
            remedy = "Look into its log; `bascule doctor` says what is missing."
            warnings.append(Attention(f"The agent service: {agent}", remedy))
        else:
            warnings += _about_credentials(credentials)
        if status is not None:
            warnings += _about_bridge(status)
        warnings += [Attention(p.text, p.remedy, "/settings") for p in request[ARRIVAL].problems]
        return {
            "bridge": status,
            "agent": agent,
            "warnings": warnings,
            "answers": sum(line.answers for line in usage),
            "cost": sum(line.cost_usd for line in usage),
            "people_today": len({line.person for line in usage}),
        }


def _about_credentials(credentials: tuple[CredentialView, ...]) -> list[Attention]:
    shared = [one for one in credentials if not one.person]
    if not any(one.state == "active" for one in shared):
        why = shared[0].reason if shared else "No key is set."
        return [Attention(f"Nothing reaches the model. {why}", "Add a key.", "/claude")]
    return [
        Attention(f"The credential {one.label or one.id}: {one.reason}", "Test it.", "/claude")
        for one in shared
        if one.state == "in_doubt"
    ]


def _about_bridge(status: BridgeStatus) -> list[Attention]:
    found = [
        Attention(f"{part.name}: {part.detail or part.state}", part.remedy)
        for part in status.parts
        if part.state in ("degraded", "failed")
    ]
    if status.strangers:
        count = "Somebody asks" if status.strangers == 1 else f"{status.strangers} people ask"
        found.append(Attention(f"{count} to be let in.", "Look who it is.", "/people"))
    return found
