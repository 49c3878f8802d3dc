"""Credentials as they are stored: sealed, and overwritten when they are forgotten."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from agent_service.contract.credentials import (
    DEFAULT_CREDENTIAL,
    CredentialKind,
    CredentialSource,
    CredentialState,
    RevocationScope,
    SignInKind,
)
from agent_service.store import schema

_C = schema.credential.c


@dataclass(frozen=True, slots=True)
class StoredCredential:
    id: str
    kind: CredentialKind
    source: CredentialSource
    person: str
    label: str
    fingerprint: str
    url: str
    sealed: str | None
    state: CredentialState
    reason: str
    created_at: float
    tested_at: float | None
    forgotten_at: float | None


def _of(row: sa.Row[Any]) -> StoredCredential:
    return StoredCredential(**row._mapping)


def everything(db: sa.Connection) -> list[StoredCredential]:
    """All of them, revoked ones too, oldest first."""
    rows = db.execute(sa.select(schema.credential).order_by(_C.created_at, _C.id))
    return [_of(row) for row in rows]


def add(db: sa.Connection, made: StoredCredential) -> None:
    db.execute(schema.credential.insert().values(**{c.name: getattr(made, c.name) for c in _C}))


def put_default(db: sa.Connection, fingerprint: str) -> None:
    """The row of the environment's credential; it keeps its state over restarts."""
    fresh = {"fingerprint": fingerprint, "state": "active", "reason": ""}
    row = insert(schema.credential).values(
        id=DEFAULT_CREDENTIAL,
        kind="api_key",
        source="environment",
        person="",
        label="",
        url="",
        created_at=time.time(),
        **fresh,
    )
    # Another key than before: what was found out about the old one does not hold for it.
    changed = _C.fingerprint != fingerprint
    db.execute(row.on_conflict_do_update(index_elements=[_C.id], set_=fresh, where=changed))


def set_state(
    db: sa.Connection, credential: str, state: CredentialState, reason: str, *, tested: bool
) -> bool:
    """What is known about a credential. False where it was revoked meanwhile: that stays."""
    values: dict[str, Any] = {"state": state, "reason": reason}
    if tested:
        values["tested_at"] = time.time()
    found = schema.credential.update().where(_C.id == credential, _C.state != "revoked")
    return bool(db.execute(found.values(**values)).rowcount)


def set_tested(db: sa.Connection, credential: str) -> None:
    db.execute(schema.credential.update().where(_C.id == credential).values(tested_at=time.time()))


def reseal(db: sa.Connection, credential: str, before: str, after: str) -> bool:
    """Replace a sealed text, if it is still the one that was read."""
    same = schema.credential.update().where(_C.id == credential, _C.sealed == before)
    return bool(db.execute(same.values(sealed=after)).rowcount)


def _covered(scope: RevocationScope, subject: str) -> sa.ColumnElement[bool]:
    if scope == "everything":
        return sa.true()
    return (_C.id if scope == "credential" else _C.person) == subject


def revoke(db: sa.Connection, scope: RevocationScope, subject: str) -> int:
    """Mark what a revocation covers. The environment's credential is held by the revocation
    itself, because that can be lifted."""
    mine = _covered(scope, subject) & (_C.state != "revoked") & (_C.source != "environment")
    return db.execute(
        schema.credential.update().where(mine).values(state="revoked", reason="It was revoked.")
    ).rowcount


def forget_keys(db: sa.Connection, scope: RevocationScope, subject: str) -> int:
    """Erase the keys of what a revocation covers; gives how many."""
    mine = _covered(scope, subject) & (_C.source == "stored") & _C.sealed.is_not(None)
    return db.execute(
        schema.credential.update().where(mine).values(sealed=None, forgotten_at=time.time())
    ).rowcount


def signed_in(db: sa.Connection, scope: RevocationScope, subject: str) -> list[StoredCredential]:
    """Revoked sign-ins that are still to be logged out."""
    open_ = (_C.source == "sign_in") & (_C.state == "revoked") & _C.forgotten_at.is_(None)
    rows = db.execute(sa.select(schema.credential).where(_covered(scope, subject) & open_))
    return [_of(row) for row in rows]


def logged_out(db: sa.Connection, credential: str) -> None:
    db.execute(
        schema.credential.update().where(_C.id == credential).values(forgotten_at=time.time())
    )


def add_sign_in(
    db: sa.Connection, credential: str, person: str, kind: SignInKind, label: str
) -> None:
    """A person's sign-in; it takes the place of an earlier one in the same directory."""
    earlier = (_C.person == person) & (_C.source == "sign_in") & _C.forgotten_at.is_(None)
    now = time.time()
    db.execute(
        schema.credential.update()
        .where(earlier)
        .values(state="revoked", reason="A newer sign-in took its place.", forgotten_at=now)
    )
    made = StoredCredential(
        id=credential,
        kind=kind,
        source="sign_in",
        person=person,
        label=label,
        fingerprint="",
        url="",
        sealed=None,
        state="active",
        reason="",
        created_at=now,
        tested_at=None,
        forgotten_at=None,
    )
    add(db, made)


def may_add(db: sa.Connection, person: str) -> bool:
    """Whether no revocation holds this person back."""
    held = schema.revocation.c
    mine = (held.scope == "person") & (held.subject == person) & held.lifted_at.is_(None)
    return db.execute(sa.select(held.id).where(mine)).first() is None
