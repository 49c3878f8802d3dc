"""The audit logs: of the agent service and of these pages. Filter, check, take away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict

from aiohttp import web

from agent_service.contract import BEGINNING, AuditEntry, Verdict, chained, errors
from web_admin.entry.routes import Page
from web_admin.pages import attachment
from web_admin.pages.desk import Desk
from web_admin.store import audit

LOGS = {"agent": "Agent service", "admin": "Web admin"}
NEWEST = 2**53
SHOWN = 100
MOST_LOOKED_AT = 4000
"""Entries that are searched for one page of a filter."""


class Audit:
    """Pages under /audit, for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/audit", self.page, "operator"),
            Page("GET", "/audit/export", self.export, "operator"),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        which = query.get("log", "agent") if query.get("log") in LOGS else "agent"
        words, before = query.get("q", "")[:200], _number(query.get("before", ""))
        entries, more = await self._found(which, words, before or NEWEST)
        verdict = await self._verdict(which) if query.get("verify") else None
        return self._desk.page(
            request,
            "audit.html",
            logs=LOGS,
            which=which,
            q=words,
            entries=entries,
            more=more,
            verdict=verdict,
            names=await self._desk.names(),
        )

    async def _found(
        self, which: str, words: str, before: int
    ) -> tuple[list[AuditEntry], int | None]:
        """(a page of what was looked for, newest first; where to go on)."""
        found: list[AuditEntry] = []
        looked_at = 0
        while looked_at < MOST_LOOKED_AT:
            entries = await self._newest(which, before)
            if not entries:
                return found, None
            for entry in entries:
                before, looked_at = entry.seq, looked_at + 1
                if _holds(entry, words):
                    found.append(entry)
                if len(found) == SHOWN:
                    return found, before if before > 1 else None
        return found, before if before > 1 else None

    async def _newest(self, which: str, before: int) -> list[AuditEntry]:
        if which == "agent":
            return list(await self._desk.agent.audit(before=before))
        return await self._desk.database.tx(audit.newest, before, audit.PAGE)

    async def _all(self, which: str) -> AsyncIterator[AuditEntry]:
        after = 0
        while True:
            if which == "agent":
                entries = list(await self._desk.agent.audit(after=after))
            else:
                entries = await self._desk.database.tx(audit.page, after)
            if not entries:
                return
            for entry in entries:
                yield entry
            after = entries[-1].seq

    async def _verdict(self, which: str) -> Verdict:
        """The chain, gone through here: whoever keeps the log does not check it alone."""
        before, expected = BEGINNING, 1
        async for entry in self._all(which):
            if entry.seq != expected:
                return Verdict(expected - 1, before, f"Entry {expected} is missing.")
            detail = json.dumps(entry.detail, sort_keys=True)
            words = (entry.kind, entry.actor, entry.subject)
            if chained(before, entry.seq, entry.at, words, detail) != entry.hash:
                problem = f"Entry {entry.seq} is not what was written, or the one before is not."
                return Verdict(expected - 1, before, problem)
            before, expected = entry.hash, expected + 1
        return Verdict(expected - 1, before)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """A log as JSON lines, oldest first, each with its hash."""
        which = request.query.get("log", "agent")
        if which not in LOGS:
            raise errors.NotFound("There is no such log.")
        await self._desk.note(request, "audit.exported", which)
        entries = aiter(self._all(which))
        first = await anext(entries, None)  # what cannot be read is told in words, not in a file

        async def lines() -> AsyncIterator[bytes]:
            if first is not None:
                yield _jsonl(first)
                async for entry in entries:
                    yield _jsonl(entry)

        name = f"bascule-audit-{which}.jsonl"
        return await attachment.send(request, name, "application/x-ndjson", lines())


def _jsonl(entry: AuditEntry) -> bytes:
    return json.dumps(asdict(entry), ensure_ascii=True).encode() + b"\n"


def _holds(entry: AuditEntry, words: str) -> bool:
    if not words:
        return True
    text = f"{entry.kind} {entry.actor} {entry.subject} {json.dumps(entry.detail)}".casefold()
    return all(word in text for word in words.casefold().split())


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
