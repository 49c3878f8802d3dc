"""Hosts that a workspace may reach: who allowed them, and since when."""

from __future__ import annotations

import time

import sqlalchemy as sa

from agent_service.contract.egress import HOSTS_LIMIT, AllowedHost
from agent_service.contract.errors import Conflict
from agent_service.store import audit, schema

_T = schema.allowed_host
_ALL = sa.select(_T).order_by(_T.c.workspace, _T.c.pattern)


def all_of_them(db: sa.Connection) -> dict[str, list[AllowedHost]]:
    """By workspace, each list by pattern."""
    found: dict[str, list[AllowedHost]] = {}
    for row in db.execute(_ALL):
        found.setdefault(row.workspace, []).append(AllowedHost(row.pattern, row.by, row.at))
    return found


def of(db: sa.Connection, workspace: str) -> list[AllowedHost]:
    """Those of one workspace, by pattern."""
    rows = db.execute(_ALL.where(_T.c.workspace == workspace))
    return [AllowedHost(row.pattern, row.by, row.at) for row in rows]


def add(db: sa.Connection, workspace: str, pattern: str, by: str) -> list[AllowedHost]:
    """Add a pattern; one that is there stays as it is. Raises `Conflict` where there are too
    many."""
    mine = of(db, workspace)
    if any(host.pattern == pattern for host in mine):
        return mine
    if len(mine) >= HOSTS_LIMIT:
        raise Conflict(
            f"This workspace has {HOSTS_LIMIT} allowed hosts already.",
            remedy="Remove some first, or allow a whole domain such as *.example.org.",
        )
    db.execute(_T.insert().values(workspace=workspace, pattern=pattern, by=by, at=time.time()))
    audit.append(db, "egress.host_allowed", by, workspace, {"host": pattern})
    return of(db, workspace)


def remove(db: sa.Connection, workspace: str, pattern: str, by: str) -> list[AllowedHost]:
    """Remove a pattern; one that is not there is none."""
    gone = _T.delete().where(_T.c.workspace == workspace, _T.c.pattern == pattern)
    if db.execute(gone).rowcount:
        audit.append(db, "egress.host_removed", by, workspace, {"host": pattern})
    return of(db, workspace)
