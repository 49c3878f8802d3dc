"""Revocations: a row that holds from its commit on, and the steps that carry it out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from agent_service.contract.credentials import (
    DEFAULT_CREDENTIAL,
    RevocationScope,
    RevocationStep,
    RevocationView,
    StepState,
)
from agent_service.contract.errors import NotFound
from agent_service.store import schema

_R = schema.revocation.c
_S = schema.revocation_step.c


def begin(
    db: sa.Connection, scope: RevocationScope, subject: str, by: str, steps: Sequence[str]
) -> str:
    """Store a revocation with all its steps open; gives its id.

    One that holds already is taken up again. Raises `NotFound` for a credential that is none.
    """
    known = sa.select(schema.credential.c.id).where(schema.credential.c.id == subject)
    if scope == "credential" and db.scalar(known) is None:
        raise NotFound("No such credential.")
    held = (_R.scope == scope) & (_R.subject == subject) & _R.lifted_at.is_(None)
    found: str | None = db.scalar(sa.select(_R.id).where(held))
    now = time.time()
    if found is None:
        found = f"rv_{secrets.token_hex(12)}"
        db.execute(
            schema.revocation.insert().values(
                id=found, scope=scope, subject=subject, by=by, asked_at=now
            )
        )
    else:
        again = schema.revocation.update().where(_R.id == found)
        db.execute(again.values(finished_at=None, asked_at=now, by=by))
        db.execute(schema.revocation_step.delete().where(_S.revocation == found))
    rows = [{"revocation": found, "name": s, "state": "open", "detail": ""} for s in steps]
    db.execute(schema.revocation_step.insert(), rows)
    return found


def set_step(db: sa.Connection, revocation: str, name: str, state: StepState, detail: str) -> bool:
    """Record how a step went; True once all of them are done."""
    mine = (_S.revocation == revocation) & (_S.name == name)
    db.execute(schema.revocation_step.update().where(mine).values(state=state, detail=detail))
    left = sa.select(_S.name).where(_S.revocation == revocation, _S.state != "done")
    if db.execute(left).first() is not None:
        return False
    whole = schema.revocation.update().where(_R.id == revocation, _R.finished_at.is_(None))
    return bool(db.execute(whole.values(finished_at=time.time())).rowcount)


def views(db: sa.Connection) -> list[RevocationView]:
    """All of them, newest first."""
    steps: dict[str, list[RevocationStep]] = {}
    for row in db.execute(sa.select(schema.revocation_step)):
        steps.setdefault(row.revocation, []).append(RevocationStep(row.name, row.state, row.detail))
    rows = db.execute(sa.select(schema.revocation).order_by(_R.asked_at.desc()))
    return [_view(row, steps.get(row.id, [])) for row in rows]


def _view(row: sa.Row[Any], steps: list[RevocationStep]) -> RevocationView:
    return RevocationView(
        id=row.id,
        scope=row.scope,
        subject=row.subject,
        by=row.by,
        asked_at=row.asked_at,
        steps=tuple(steps),
        finished_at=row.finished_at,
        lifted_at=row.lifted_at,
    )


def view(db: sa.Connection, revocation: str) -> RevocationView:
    """Raises `NotFound`."""
    for found in views(db):
        if found.id == revocation:
            return found
    raise NotFound("No such revocation.")


def lift(db: sa.Connection, revocation: str) -> RevocationView:
    """It holds nobody back any more; what was forgotten stays so. Raises `NotFound`."""
    view(db, revocation)
    held = schema.revocation.update().where(_R.id == revocation, _R.lifted_at.is_(None))
    db.execute(held.values(lifted_at=time.time()))
    return view(db, revocation)


def held_people(db: sa.Connection) -> set[str]:
    """People whose turns do not begin."""
    held = sa.select(_R.subject).where(_R.scope == "person", _R.lifted_at.is_(None))
    return set(db.scalars(held))


def default_held(db: sa.Connection) -> str:
    """The id of a revocation that keeps the environment's key from being used, or nothing."""
    mine = (_R.scope == "everything") | (
        (_R.scope == "credential") & (_R.subject == DEFAULT_CREDENTIAL)
    )
    return db.scalar(sa.select(_R.id).where(mine, _R.lifted_at.is_(None))) or ""
