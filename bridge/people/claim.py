"""The claim code: who has it becomes the first operator.

It is for a deployment that nobody runs yet. It is never logged: it is in a file that only the owner
of the deployment can read, and on their terminal.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from adapters.contract import Sender
from bridge.people import access, codes, strangers
from bridge.people.access import ADMINS
from bridge.store.database import Database
from bridge.store.schema import claim, person

CODE_SECONDS = 24 * 3600.0
CLAIMED = "This Bascule has somebody who runs it already. Ask them to let you in."
WRONG = "That is not the claim code, or it has expired: `bascule claim` prints the newest."


def file_of(home: Path) -> Path:
    """Where the code is, as long as one is needed."""
    return home / "secrets" / "claim-code"


def needed(con: sa.Connection) -> bool:
    """Whether nobody runs this deployment."""
    return con.scalar(sa.select(sa.func.count()).where(person.c.role.in_(ADMINS))) == 0


def renew(con: sa.Connection, db: Database, now: str) -> str:
    """The code that is good: `now` where it still is, else a new one; empty where none is needed.
    Of several nodes each has its own."""
    con.execute(claim.delete().where(claim.c.expires_at <= db.now))
    if not needed(con):
        con.execute(claim.delete())
        return ""
    half = db.now + CODE_SECONDS / 2
    good = sa.select(claim.c.code).where(claim.c.code == codes.kept(now), claim.c.expires_at > half)
    if now and con.scalar(good) is not None:
        return now
    made = codes.mint(3)
    con.execute(claim.insert().values(code=codes.kept(made), expires_at=db.now + CODE_SECONDS))
    return made


def write(home: Path, code: str) -> None:
    """Put the code into its file, or take the file away where there is none. Raises OSError."""
    path = file_of(home)
    if not code:
        path.unlink(missing_ok=True)
        return
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(code + "\n")
    fresh.replace(path)


def read(home: Path) -> str:
    """The code in the file; empty where there is none."""
    try:
        return file_of(home).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def take(con: sa.Connection, db: Database, sender: Sender, typed: str) -> str:
    """What the sender is told. With the right code they are the operator, and no code is left."""
    who = sender.identity
    if codes.too_many(con, db, who, "claim"):
        return codes.TOO_MANY
    # One at a time, on all nodes, whichever of their codes it is: who comes second finds none.
    con.execute(sa.select(claim.c.code).order_by(claim.c.code).with_for_update()).all()
    if not needed(con):
        return CLAIMED
    known = access.find(con, who)
    good = claim.delete().where(claim.c.code == codes.kept(typed), claim.c.expires_at > db.now)
    if (known is not None and known.role in access.OUT) or con.execute(good).rowcount != 1:
        codes.note_wrong(con, db, who, "claim")
        return WRONG
    con.execute(claim.delete())
    if known is None:
        access.add(con, db, who, sender.name, "operator", "claim")
        strangers.forget(con, who)
    else:
        con.execute(
            person.update().where(person.c.id == known.id).values(role="operator", admitted="claim")
        )
    return (
        "You run this Bascule now. `people` shows who asks to be let in; `help` lists the rest. "
        "Or just write what the agent should do."
    )
