"""The credentials by which the model is reached: see, add, test, revoke, let back."""

from __future__ import annotations

import time
from dataclasses import asdict

from aiohttp import web

from agent_service.contract import NewCredential, RevocationScope, RevocationView, errors
from web_admin.entry.found import SESSION, field
from web_admin.entry.routes import Page
from web_admin.pages.desk import Desk

SCOPES: tuple[RevocationScope, ...] = ("credential", "person", "everything")


class Claude:
    """Pages under /claude, for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/claude", self.all, "operator"),
            Page("POST", "/claude/add", self.add, "operator"),
            Page("POST", "/claude/test", self.test, "operator"),
            Page("POST", "/claude/revoke", self.revoke, "operator"),
            Page("GET", "/claude/revocations/{id}", self.revocation, "operator"),
            Page("GET", "/claude/revocations/{id}/now", self.revocation_now, "operator"),
            Page("POST", "/claude/revocations/{id}/lift", self.lift, "operator"),
        ]

    async def all(self, request: web.Request) -> web.StreamResponse:
        desk = self._desk
        credentials = await desk.agent.credentials()
        revocations = await desk.agent.revocations()
        going = 0
        try:
            status = await desk.bridge.status()
            going = status.running
        except errors.ServiceError:
            pass  # what goes on cannot be told; revoking needs the agent service only
        return desk.page(
            request,
            "claude.html",
            credentials=[one for one in credentials if one.state != "revoked"],
            revoked=[one for one in credentials if one.state == "revoked"],
            revocations=revocations[:20],
            names=await desk.names(),
            going=going,
        )

    async def add(self, request: web.Request) -> web.StreamResponse:
        kind, secret = field(request, "kind", 20), field(request, "secret", 5000)
        if kind not in ("api_key", "gateway"):
            raise errors.BadRequest("kind: an API key, or a gateway's key.")
        if not secret:
            raise errors.BadRequest("The key is empty.", remedy="Paste it once more.")
        url = field(request, "url", 500) if kind == "gateway" else ""
        new = NewCredential(
            kind="gateway" if kind == "gateway" else "api_key",
            secret=secret,
            url=url,
            label=field(request, "label", 100),
            by=request[SESSION].person,
        )
        made = await self._desk.agent.add_credential(asdict(new))
        await self._desk.note(request, "credential.added", made.id, label=made.label, url=made.url)
        return await self._desk.told(request, "/claude", "The key is stored. Test it once.")

    async def test(self, request: web.Request) -> web.StreamResponse:
        credential = field(request, "credential", 100)
        result = await self._desk.agent.test(credential)
        await self._desk.note(request, "credential.tested", credential, outcome=result.outcome)
        said = f"{result.message} {result.remedy}".strip()
        return await self._desk.told(request, "/claude", f"Test of {credential}: {said}")

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """Our own note first: should the answer never come, it stands that it was asked for."""
        asked, subject = field(request, "scope", 20), field(request, "subject", 100)
        scope = next((one for one in SCOPES if one == asked), None)
        if scope is None:
            raise errors.BadRequest("scope: a credential, a person or everything.")
        await self._desk.note(request, "revocation.asked", subject, scope=scope)
        done = await self._desk.agent.revoke(scope, subject, request[SESSION].person)
        return self._desk.to(f"/claude/revocations/{done.id}")

    async def revocation(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, "revocation.html")

    async def revocation_now(self, request: web.Request) -> web.StreamResponse:
        return await self._shown(request, "revocation_now.html")

    async def _shown(self, request: web.Request, template: str) -> web.StreamResponse:
        found = await self._found(request)
        credentials = await self._desk.agent.credentials()
        touched = [
            one
            for one in credentials
            if found.scope == "everything" or found.subject in (one.id, one.person)
        ]
        return self._desk.page(
            request,
            template,
            revocation=found,
            credentials=touched,
            names=await self._desk.names(),
            seconds=(found.finished_at or time.time()) - found.asked_at,
        )

    async def _found(self, request: web.Request) -> RevocationView:
        wanted = request.match_info["id"]
        for one in await self._desk.agent.revocations():
            if one.id == wanted:
                return one
        raise errors.NotFound("There is no such revocation.")

    async def lift(self, request: web.Request) -> web.StreamResponse:
        found = await self._found(request)
        await self._desk.agent.lift(found.id, request[SESSION].person)
        await self._desk.note(request, "revocation.lifted", found.subject, scope=found.scope)
        return await self._desk.told(request, "/claude", "It may be used again.")
