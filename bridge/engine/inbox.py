"""The durable inbox: messages in, jobs out, one worker a conversation.

Every method is (part of) one transaction. A conversation is handled by whoever holds its lease;
each claim raises the fence, and every write that follows from a claim checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningInsert

from adapters.contract import MessageIn, PostRef
from bridge.budgets import pace
from bridge.budgets.budgets import Budgets, Rules
from bridge.budgets.pace import NotTaken
from bridge.conversations import places, sharing
from bridge.conversations.judging import Judged, judge
from bridge.engine import claims
from bridge.engine.claims import LEASE_SECONDS
from bridge.engine.job import MESSAGE, Job, Lease, LeaseLost, Spoiled
from bridge.engine.pending import home_of, stop_message
from bridge.people import access, admission
from bridge.store.database import Database
from bridge.store.schema import conversation, is_open, message, post, seen

PERSON_CONCURRENCY = 10
MOST_FAILURES = 4
FIRST_PAUSE = 0.5
"""Seconds before a message is tried again at which the bridge failed; doubled each time."""


class Inbox:
    """What one bridge process does with messages and leases."""

    def __init__(
        self,
        db: Database,
        node: str,
        platforms: Sequence[str],
        seconds: int,
        share: int = PERSON_CONCURRENCY,
        budgets: Budgets | None = None,
    ) -> None:
        """`node` is unique among all processes of the deployment. `seconds` is the limit of a
        turn. Only conversations of `platforms` are claimed, and of one person at most `share` at
        once, on all nodes together. Without `budgets` everybody may use what they need."""
        self._budgets = budgets or Budgets(db, Rules())
        self._db = db
        self._node = node
        self._platforms = list(platforms)
        self._seconds = seconds
        self._share = share

    def arrive(
        self, con: sa.Connection, said: MessageIn, problem: str, claim: bool
    ) -> tuple[bool, Job | None, bool] | NotTaken:
        """As `submit`, for one who does not write too fast. What is too much is not stored; it is
        a duplicate from then on. The machine's owner may pipe in what they like."""
        turn_id = access.mint("t")
        if not self._new(con, said, turn_id):
            return False, None, False
        admitted = admission.hear(con, self._db, said.sender, said.address)
        most = self._budgets.rules.messages
        if most and not said.sender.host_owner:
            who, now = _writer(said, admitted[0]), self._budgets.clock()
            if fast := pace.check(con, self._db, who, "message", most, now):
                return fast
        arrived = self._store(con, said, problem, claim, turn_id, admitted)
        if arrived[2] and (told := self._unwelcome(con, said, turn_id, admitted)):
            return NotTaken(told, "refused")
        return arrived

    def _unwelcome(
        self,
        con: sa.Connection,
        said: MessageIn,
        turn_id: str,
        admitted: tuple[access.Person | None, str],
    ) -> str:
        """Why a message that would wait is not for this conversation; it is out of the queue then.
        Empty for one that may be. Who has no part in it shall not wait for its end to hear so."""
        who, told = admitted
        row = con.execute(sa.select(message).where(message.c.turn_id == turn_id)).one()
        if who is not None and not told:
            told = sharing.refusal(con, home_of(con, row.conversation), who)
        if told:
            stop_message(con, self._db, row)
        return told

    def submit(
        self, con: sa.Connection, said: MessageIn, problem: str, claim: bool
    ) -> tuple[bool, Job | None, bool]:
        """(new, job, behind): stored unless any of its keys was seen; with `claim`, taken at once
        if nobody handles the conversation; `behind` says that something is before it."""
        turn_id = access.mint("t")
        if not self._new(con, said, turn_id):
            return False, None, False
        admitted = admission.hear(con, self._db, said.sender, said.address)
        return self._store(con, said, problem, claim, turn_id, admitted)

    def _new(self, con: sa.Connection, said: MessageIn, turn_id: str) -> bool:
        return remember(con, self._db, [message_key(said, key) for key in said.keys], turn_id)

    def _store(
        self,
        con: sa.Connection,
        said: MessageIn,
        problem: str,
        claim: bool,
        turn_id: str,
        admitted: tuple[access.Person | None, str],
    ) -> tuple[bool, Job | None, bool]:
        workspace = sharing.workspace_at(con, said.address)
        row = places.open_or_create(
            con,
            self._db,
            said.address,
            owner=_owner(con, admitted, workspace),
            title=said.text,
            arriving=1,
            workspace=workspace,
        )
        takes = claim and row.idle and row.pending == 1 and self._has_room(con, row)
        judged = Judged(problem=problem)
        if takes:
            judged = self._judged(
                con, said, row, row.agent_conversation, problem, turn_id, admitted
            )
        made: int = con.execute(
            self._db.prepared(_store),
            {
                "conversation": row.id,
                "order": said.order,
                "payload": MESSAGE.dump_python(said, mode="json"),
                "status": "running" if takes else "queued",
                "turn_id": turn_id,
                "agent_conversation": row.agent_conversation,
                "request": judged.request,
                "after_seq": 0,
                "stop_asked": False,
                "state": _state(judged),
            },
        ).scalar_one()
        if not takes:
            return True, None, row.pending > 1
        lease = Lease(row.id, self._claim(con, row.id))
        at = places.address_of(row)
        request = judged.request or {}
        job = Job(
            lease,
            made,
            turn_id,
            at,
            said,
            request,
            judged.problem,
            judged.private,
            notice=judged.notice,
        )
        return True, job, False

    def _judged(
        self,
        con: sa.Connection,
        said: MessageIn,
        home: Any,
        agent: str,
        problem: str,
        turn_id: str,
        admitted: tuple[access.Person | None, str] | None = None,
    ) -> Judged:
        return judge(
            con,
            self._db,
            said,
            home,
            agent,
            problem,
            self._seconds,
            turn_id,
            self._budgets,
            admitted,
        )

    def _claim(self, con: sa.Connection, conversation_id: str) -> int:
        fence: int = con.execute(
            self._db.prepared(claims.claim), {"it": conversation_id, "node": self._node}
        ).scalar_one()
        return fence

    def _has_room(self, con: sa.Connection, home: Any) -> bool:
        """Whether one more of its owner's conversations may be worked on."""
        held: int = con.execute(
            self._db.prepared(claims.held_of), {"whose": home.owner or home.id}
        ).scalar_one()
        return held < self._share

    def pick(self, con: sa.Connection, most: int) -> tuple[list[Lease], bool]:
        """(leases, left): claim conversations that have something to do: first of those people
        of whom the least is worked on, then the longest ready. `left` says that something is
        ready that was not claimed.

        Never one of its own whose lease ran out, as on a full disk or a suspended machine: its
        worker is still there, and the next `renew` brings the lease back.
        """
        asked = {
            "node": self._node,
            "platforms": self._platforms,
            "share": self._share,
            "most": most,
        }
        rows = con.execute(self._db.prepared(claims.pick), asked).all()
        left = con.execute(self._db.prepared(claims.any_ready), asked).first() is not None
        return [Lease(*row) for row in rows], left

    def renew(self, con: sa.Connection) -> set[Lease]:
        """Keep this process's leases, lapsed ones that nobody took included; returns them."""
        rows = con.execute(
            conversation.update()
            .where(conversation.c.lease_owner == self._node)
            .values(lease_until=self._db.now + LEASE_SECONDS)
            .returning(conversation.c.id, conversation.c.fence)
        ).all()
        return {Lease(*row) for row in rows}

    def asked_to_stop(self, con: sa.Connection) -> list[int]:
        """Messages in this process's hands that are to be stopped: any node may be told so."""
        return list(
            con.scalars(self._db.prepared(claims.asked_to_stop), {"node": self._node}).all()
        )

    def take_back(self, con: sa.Connection) -> None:
        """At start: what an earlier process held is free again, where no other process can have
        the database; elsewhere its leases run out. What waited is looked at."""
        if not self._db.shared:
            con.execute(
                conversation.update()
                .where(conversation.c.lease_owner.is_not(None))
                .values(lease_until=0.0, lease_owner=None)
            )
        self.look_again(con)

    def look_again(self, con: sa.Connection) -> None:
        """Have every turn that waits looked at once, for what happened while nobody did."""
        con.execute(
            conversation.update()
            .where(conversation.c.waiting_turn.is_not(None))
            .values(waiting_turn=None)
        )

    def waiting(self, con: sa.Connection) -> list[tuple[str, int]]:
        """The turns that wait, on any node, each with the event it waits since."""
        rows = con.execute(
            sa.select(message.c.turn_id, message.c.after_seq)
            .join(conversation, conversation.c.id == message.c.conversation)
            .where(is_open, conversation.c.waiting_turn == message.c.turn_id)
        )
        return [(row.turn_id, row.after_seq) for row in rows]

    def hand_over(self, con: sa.Connection) -> None:
        """At a stop: all that this process holds is free for others at once."""
        con.execute(
            conversation.update()
            .where(conversation.c.lease_owner == self._node)
            .values(lease_until=0.0, lease_owner=None)
        )

    def take(self, con: sa.Connection, lease: Lease) -> Job | None:
        """The next message of a claimed conversation; None gives the lease back."""
        return self._next(con, lease, self._held(con, lease))

    def _next(self, con: sa.Connection, lease: Lease, home: Any) -> Job | None:
        row = con.execute(_NEXT, {"it": lease.conversation}).first()
        if row is None:
            self._let_go(con, lease, pending=0)
            return None
        return self._job(con, lease, home, row)

    def _job(self, con: sa.Connection, lease: Lease, home: Any, row: Any) -> Job:
        said = MESSAGE.validate_python(row.payload)
        resumed = row.status != "queued"
        stored = row.state
        judged = Judged(
            row.request,
            stored.get("problem", ""),
            bool(stored.get("private")),
            stored.get("notice", ""),
        )
        if not resumed:
            judged = self._judged(
                con, said, home, row.agent_conversation, judged.problem, row.turn_id
            )
            running = {"status": "running", "request": judged.request, "state": _state(judged)}
            con.execute(_START, {"it": row.id, **running})
        elif row.status == "waiting":
            con.execute(message.update().where(message.c.id == row.id).values(status="running"))
        return Job(
            lease=lease,
            message=row.id,
            turn_id=row.turn_id,
            at=places.address_of(home),
            said=said,
            request=judged.request or {},
            problem=judged.problem,
            private=judged.private,
            notice=judged.notice,
            resumed=resumed,
            after_seq=row.after_seq,
            stop_asked=row.stop_asked,
            fetched=bool(row.state.get("fetched")),
            refused=tuple(row.state.get("refused", ())),
            announcement=row.announcement or "",
            posts=self._posts(con, row.id) if resumed else {},
        )

    def fetched(
        self, con: sa.Connection, job: Job, request: dict[str, Any], refused: tuple[str, ...]
    ) -> None:
        """Its files were dealt with: from here on this is the request."""
        self._held(con, job.lease)
        notice = {"notice": job.notice} if job.notice else {}
        state = {**notice, "fetched": True, "refused": list(refused)}
        con.execute(_START, {"it": job.message, "request": request, "state": state})

    def _posts(self, con: sa.Connection, message_id: int) -> dict[str, PostRef]:
        rows = con.execute(sa.select(post.c.key, post.c.ref).where(post.c.message == message_id))
        return {key: PostRef(ref) for key, ref in rows}

    def finish(
        self, con: sa.Connection, job: Job, status: str, more: bool
    ) -> tuple[bool, Job | None]:
        """(left, next): the message is dealt with. With `more` the next one is taken. None gives
        the lease back; `left` says whether there is a next one."""
        home = self._held(con, job.lease)
        left = self._finished(con, home, job.message, status)
        if more:
            following = self._next(con, job.lease, home)
            return following is not None, following
        self._let_go(con, job.lease)
        return left > 0, None

    def _finished(self, con: sa.Connection, home: Any, message_id: int, status: str) -> int:
        """How many are left. The second time nothing happens: the first one's answer may have
        been lost."""
        done = con.execute(
            message.update()
            .where(message.c.id == message_id, is_open)
            .values(status=status, done_at=self._db.now)
        )
        if not done.rowcount:
            return int(home.pending)
        left: int = con.execute(
            conversation.update()
            .where(conversation.c.id == home.id)
            .values(pending=conversation.c.pending - 1, last_active=self._db.now)
            .returning(conversation.c.pending)
        ).scalar_one()
        return left

    def stumble(self, con: sa.Connection, lease: Lease) -> Spoiled | None:
        """The bridge itself failed at the message in hand. It is given back, to be tried again
        after a pause; or it was tried often enough: then the lease is kept, to say so."""
        home = self._held(con, lease)
        row = con.execute(_NEXT, {"it": lease.conversation}).first()
        failures = 0
        if row is not None:
            failures = row.failures + 1
            con.execute(_START, {"it": row.id, "failures": failures})
            if failures >= MOST_FAILURES:
                return Spoiled(row.id, row.turn_id, places.address_of(home))
        self._let_go(con, lease, pause=FIRST_PAUSE * 2**failures)
        return None

    def give_up(self, con: sa.Connection, lease: Lease, message_id: int) -> None:
        """A message that fails for good is dealt with. The lease is kept."""
        self._finished(con, self._held(con, lease), message_id, "failed")

    def put_off(self, con: sa.Connection, job: Job, status: str, pause: float) -> None:
        """Nothing can be done about the message for so many seconds; whoever takes it then goes
        on with it. Meanwhile it is `running` or `waiting`, and nobody holds it."""
        self._held(con, job.lease)
        con.execute(message.update().where(message.c.id == job.message).values(status=status))
        self._let_go(con, job.lease, pause=pause)

    def wait(self, con: sa.Connection, job: Job, seq: int, stop: bool = False) -> None:
        """The turn waits for a decision since event `seq`: nobody needs to hold it.

        One that is to `stop`, or was to be stopped meanwhile, is ready at once, so that somebody
        stops it.
        """
        home = self._home(con, job.lease)
        if home.fence == job.lease.fence and home.waiting_turn == job.turn_id:
            return  # it was done before, and the answer was lost
        self._check(home, job.lease)
        stop_asked = con.execute(
            message.update()
            .where(message.c.id == job.message)
            .values(
                status="waiting",
                after_seq=seq,
                stop_asked=sa.true() if stop else message.c.stop_asked,
            )
            .returning(message.c.stop_asked)
        ).scalar_one()
        self._let_go(con, job.lease, waiting_turn=None if stop_asked else job.turn_id)

    def wake(self, con: sa.Connection, turn_id: str) -> bool:
        """A waiting turn went on: somebody may claim its conversation. False if none waited."""
        its = sa.select(message.c.conversation).where(message.c.turn_id == turn_id)
        done = con.execute(
            conversation.update()
            .where(
                conversation.c.id == its.scalar_subquery(), conversation.c.waiting_turn == turn_id
            )
            .values(waiting_turn=None, ready_at=self._db.now)
        )
        return done.rowcount > 0

    def release(self, con: sa.Connection, lease: Lease) -> None:
        """Give a lease back without having finished; harmless when it is lost."""
        con.execute(
            conversation.update()
            .where(
                conversation.c.id == lease.conversation,
                conversation.c.fence == lease.fence,
                conversation.c.lease_owner == self._node,
            )
            .values(lease_until=0.0, lease_owner=None)
        )

    def _home(self, con: sa.Connection, lease: Lease) -> Any:
        its = sa.select(conversation).where(conversation.c.id == lease.conversation)
        return con.execute(its.with_for_update()).one()

    def _held(self, con: sa.Connection, lease: Lease) -> Any:
        home = self._home(con, lease)
        self._check(home, lease)
        return home

    def _check(self, home: Any, lease: Lease) -> None:
        if home.fence != lease.fence or home.lease_owner != self._node:
            raise LeaseLost(lease.conversation)

    def _let_go(
        self, con: sa.Connection, lease: Lease, *, pause: float = 0.0, **values: Any
    ) -> None:
        con.execute(
            conversation.update()
            .where(conversation.c.id == lease.conversation)
            .values(lease_until=0.0, lease_owner=None, ready_at=self._db.now + pause, **values)
        )


def _remember(db: Database) -> ReturningInsert[str]:
    return db.insert(seen).values(at=db.now).on_conflict_do_nothing().returning(seen.c.key)


def _store(db: Database) -> ReturningInsert[int]:
    return message.insert().values(received_at=db.now).returning(message.c.id)


_NEXT = (
    sa.select(message)
    .where(message.c.conversation == sa.bindparam("it"), is_open)
    .order_by(
        sa.case((message.c.status == "queued", 1), else_=0),
        message.c.order,
        message.c.id,
    )
    .limit(1)
)
_START = message.update().where(message.c.id == sa.bindparam("it"))


def _owner(
    con: sa.Connection, admitted: tuple[access.Person | None, str], workspace: str | None
) -> str | None:
    """Whose a conversation is that is nobody's yet; in a channel's workspace a member's."""
    who, refused = admitted
    if who is None or refused:
        return None
    return who.id if workspace is None or sharing.is_member(con, workspace, who.id) else None


def _state(judged: Judged) -> dict[str, Any]:
    if judged.problem:
        return {"problem": judged.problem, "private": judged.private}
    return {"notice": judged.notice} if judged.notice else {}


def _writer(said: MessageIn, who: access.Person | None) -> str:
    """Whose pace it is: a person's over all their accounts, or a stranger's account's."""
    if who is not None:
        return who.id
    account = said.sender.identity
    return f"{account.platform}:{account.tenant}:{account.user}"


def remember(con: sa.Connection, db: Database, keys: Sequence[str], turn_id: str = "") -> bool:
    """Whether none of the keys was there before; they all are now. `turn_id` is the message's."""
    new = True
    for key in sorted(set(keys)):
        new &= (
            con.execute(db.prepared(_remember), {"key": key, "turn_id": turn_id}).first()
            is not None
        )
    return new


def forget(con: sa.Connection, keys: Sequence[str]) -> None:
    """None of them was there before."""
    con.execute(seen.delete().where(seen.c.key.in_(keys)))


def message_key(said: MessageIn, key: str) -> str:
    """A platform's key as it is stored: platforms and kinds of event do not share theirs."""
    return f"{said.address.platform}:message:{key}"
