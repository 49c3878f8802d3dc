"""Modes, rules and deciders in the store, as functions of one transaction each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import sqlalchemy as sa

from agent_service.contract.errors import Conflict
from agent_service.contract.policy import (
    RULES_LIMIT,
    Behavior,
    Ceiling,
    PolicyRule,
    PolicyScope,
    PolicyView,
)
from agent_service.contract.turns import Mode
from agent_service.policy.effective import Layer
from agent_service.store import schema

# Composed once: that costs more than to run them.
_P, _R, _D = schema.policy, schema.rule, schema.decider
_MODES = sa.select(_P.c.scope, _P.c.mode, _P.c.ceiling).where(
    sa.or_(
        _P.c.scope == "deployment",
        sa.and_(_P.c.scope == "workspace", _P.c.subject == sa.bindparam("w")),
        sa.and_(_P.c.scope == "conversation", _P.c.subject == sa.bindparam("c")),
    )
)
_RULES = (
    sa.select(_R.c.scope, _R.c.behavior, _R.c.pattern)
    .where(
        sa.or_(
            _R.c.scope == "deployment",
            sa.and_(_R.c.scope == "workspace", _R.c.subject == sa.bindparam("w")),
            sa.and_(_R.c.scope == "conversation", _R.c.subject == sa.bindparam("c")),
        )
    )
    .order_by(_R.c.added_at)
)
_V = schema.revocation
_REVOKED = sa.select(_V.c.id).where(
    _V.c.scope == "person", _V.c.subject == sa.bindparam("p"), _V.c.lifted_at.is_(None)
)
_DECIDES = sa.select(_D.c.person).where(
    _D.c.workspace == sa.bindparam("w"), _D.c.person == sa.bindparam("p"), ~_REVOKED.exists()
)


def layers(
    db: sa.Connection, workspace: str, conversation: str
) -> tuple[dict[PolicyScope, Layer], Ceiling | None]:
    """(what was set where, the deployment's ceiling)."""
    names = {"w": workspace, "c": conversation}
    modes: dict[str, Mode | None] = {}
    ceiling: Ceiling | None = None
    for row in db.execute(_MODES, names):
        modes[row.scope] = row.mode
        if row.scope == "deployment":
            ceiling = row.ceiling
    found: dict[tuple[str, str], list[str]] = {}
    for row in db.execute(_RULES, names):
        found.setdefault((row.scope, row.behavior), []).append(row.pattern)
    scopes: tuple[PolicyScope, ...] = ("deployment", "workspace", "conversation")
    made = {
        scope: Layer(
            modes.get(scope),
            *(tuple(found.get((scope, name), ())) for name in ("allow", "ask", "deny")),
        )
        for scope in scopes
    }
    return made, ceiling


def decides(db: sa.Connection, workspace: str, person: str) -> bool:
    """Whether this person's answers count in the workspace: they were named, and not revoked."""
    return db.scalar(_DECIDES, {"w": workspace, "p": person}) is not None


def patterns(db: sa.Connection, behavior: Behavior) -> list[str]:
    """The deployment's rules of one behaviour."""
    return list(
        db.scalars(
            sa.select(_R.c.pattern).where(_R.c.scope == "deployment", _R.c.behavior == behavior)
        )
    )


def view(db: sa.Connection, scope: PolicyScope, subject: str) -> PolicyView:
    here = db.execute(
        sa.select(_P.c.mode, _P.c.ceiling).where(_P.c.scope == scope, _P.c.subject == subject)
    ).first()
    rules = db.execute(
        sa.select(_R).where(_R.c.scope == scope, _R.c.subject == subject).order_by(_R.c.added_at)
    )
    deciders = (
        db.scalars(sa.select(_D.c.person).where(_D.c.workspace == subject).order_by(_D.c.person))
        if scope == "workspace"
        else ()
    )
    return PolicyView(
        scope,
        subject,
        here.mode if here else None,
        tuple(PolicyRule(r.behavior, r.pattern, r.added_by, r.added_at) for r in rules),
        here.ceiling if here else None,
        tuple(deciders),
    )


def set_mode(db: sa.Connection, scope: PolicyScope, subject: str, mode: Mode | None) -> bool:
    """False where it was so before."""
    return _set(db, scope, subject, "mode", mode)


def set_ceiling(db: sa.Connection, ceiling: Ceiling | None) -> bool:
    """The deployment's. False where it was so before."""
    return _set(db, "deployment", "", "ceiling", ceiling)


def _set(db: sa.Connection, scope: str, subject: str, column: str, value: str | None) -> bool:
    here = sa.and_(_P.c.scope == scope, _P.c.subject == subject)
    row = db.execute(sa.select(_P).where(here)).first()
    if row is None:
        if value is not None:
            db.execute(_P.insert().values(scope=scope, subject=subject, **{column: value}))
        return value is not None
    if getattr(row, column) == value:
        return False
    db.execute(_P.update().where(here).values(**{column: value}))
    return True


def add_rule(
    db: sa.Connection, scope: PolicyScope, subject: str, behavior: Behavior, pattern: str, by: str
) -> bool:
    """False where it was there before. Raises `Conflict` where there are too many."""
    here = sa.and_(_R.c.scope == scope, _R.c.subject == subject)
    known = db.execute(sa.select(_R.c.behavior, _R.c.pattern).where(here)).all()
    if (behavior, pattern) in {(row.behavior, row.pattern) for row in known}:
        return False
    if len(known) >= RULES_LIMIT:
        raise Conflict(
            f"There are {RULES_LIMIT} rules here already.", remedy="Take back some of them first."
        )
    db.execute(
        _R.insert().values(
            scope=scope,
            subject=subject,
            behavior=behavior,
            pattern=pattern,
            added_by=by,
            added_at=time.time(),
        )
    )
    return True


def remove_rule(
    db: sa.Connection, scope: PolicyScope, subject: str, behavior: Behavior, pattern: str
) -> bool:
    """False where there was none."""
    gone = _R.delete().where(
        _R.c.scope == scope,
        _R.c.subject == subject,
        _R.c.behavior == behavior,
        _R.c.pattern == pattern,
    )
    return bool(db.execute(gone).rowcount)


def set_deciders(db: sa.Connection, workspace: str, people: Sequence[str]) -> bool:
    """All of them. False where it was so before."""
    before = set(db.scalars(sa.select(_D.c.person).where(_D.c.workspace == workspace)))
    if before == set(people):
        return False
    db.execute(_D.delete().where(_D.c.workspace == workspace))
    if people:
        db.execute(
            _D.insert(), [{"workspace": workspace, "person": person} for person in set(people)]
        )
    return True


def forget(db: sa.Connection, workspace: str, conversations: Sequence[str]) -> None:
    """Whatever was set for a workspace that goes, and for its conversations."""
    for table in (_P, _R):
        gone = [("workspace", workspace), *(("conversation", c) for c in conversations)]
        for scope, subject in gone:
            db.execute(table.delete().where(table.c.scope == scope, table.c.subject == subject))
    db.execute(_D.delete().where(_D.c.workspace == workspace))


def scope_of(text: str) -> PolicyScope | None:
    """The scope that a path names, or None."""
    known = ("deployment", "workspace", "conversation")
    return cast("PolicyScope", text) if text in known else None
