"""Pages of people, for those who run the deployment."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bridge.contract import PAGE, AccountView, PeoplePage, PersonView, StrangerView
from bridge.people import access, strangers
from bridge.store.database import Database
from bridge.store.schema import identity, person


def page(con: sa.Connection, db: Database, words: str, after: int) -> PeoplePage:
    """Those whose name or account holds `words`, or whose id or workspace it is; `after` so many.
    The removed come last, and only where they are looked for."""
    c = person.c
    ranks = {"operator": 0, "admin": 1, "member": 2, "blocked": 3}
    rank = sa.case(ranks, value=c.role, else_=4)
    query = sa.select(person).order_by(rank, sa.func.lower(c.name), c.id)
    if words:
        like = f"%{_escaped(words)}%"
        named = sa.select(identity.c.person).where(identity.c.user.ilike(like, escape="\\"))
        query = query.where(
            c.name.ilike(like, escape="\\")
            | (c.id == words)
            | (c.workspace == words)
            | c.id.in_(named)
        )
    else:
        query = query.where(c.role != "removed")
    rows = con.execute(query.offset(after).limit(PAGE + 1)).all()
    asking = tuple(
        StrangerView(one.name, _account(one.account), one.code)
        for one in (strangers.waiting(con, db) if not after else ())
    )
    more = str(after + PAGE) if len(rows) > PAGE else None
    return PeoplePage(tuple(_view(con, row) for row in rows[:PAGE]), asking, more)


def one(con: sa.Connection, person_id: str) -> PersonView | None:
    """Also one who was removed."""
    row = con.execute(sa.select(person).where(person.c.id == person_id)).first()
    return None if row is None else _view(con, row)


def _view(con: sa.Connection, row: Any) -> PersonView:
    accounts = tuple(_account(each) for each in access.accounts(con, row.id))
    return PersonView(
        row.id, row.name, row.role, row.workspace, row.admitted, row.created_at, accounts
    )


def _account(who: Any) -> AccountView:
    return AccountView(who.platform, who.tenant, who.user)


def _escaped(words: str) -> str:
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
