"""Revocation: of one credential, of one person, or of everything.

A durable row comes first and holds from then on. The steps that carry it out can each be repeated;
what a crash or a failure left open is taken up again at the next start, and when it is asked for
again. Nothing waits for the provider's answer to a sign-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
import structlog

from agent_service.contract.credentials import RevocationView, SignInKind
from agent_service.contract.errors import NotFound, Unavailable
from agent_service.contract.redaction import hide_text
from agent_service.credentials.keyring import Keyring
from agent_service.credentials.scope import Scope, Sessions, Tokens
from agent_service.credentials.sign_in import SignIns
from agent_service.store import audit, revocations
from agent_service.store import credentials as store
from agent_service.store.database import Database, StoreFull

_log = structlog.get_logger(__name__)

STEPS = ("tokens", "keys", "sessions", "sign_outs")
"""Tokens first, because that takes no time: from then on no session gets another answer."""
SESSION_SECONDS = 10
"""How long sessions may take to end before the step counts as failed."""
_SELF = "agent_service"


class Revoker:
    """One a service. `resume` at start, before the first turn; `close` at the end."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        tokens: Tokens,
        sessions: Sessions,
        sign_ins: SignIns,
        *,
        session_seconds: float = SESSION_SECONDS,
        after: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """`after` is called after the row ("row") and after each step, before that is recorded:
        a place to let it fail in a test."""
        self._database = database
        self._keyring = keyring
        self._tokens = tokens
        self._sessions = sessions
        self._sign_ins = sign_ins
        self._session_seconds = session_seconds
        self._after = after
        self._signing_out: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[int]] = set()

    async def revoke(self, scope: Scope, by: str) -> RevocationView:
        """Revoke; returns once everything but the sign-outs is done or has failed.

        Raises `NotFound` for a credential that is none. Raises `StoreFull` or `Unavailable` where
        the row could not be stored: then everything was stopped all the same, but a restart would
        forget that.
        """
        # In memory first: that waits for no disk.
        self._keyring.bar(scope)
        self._sign_ins.bar(scope)
        voided = self._tokens.void(scope)
        # Those on a sign-in of their own have no token of ours that is void now.
        ending = asyncio.create_task(self._end_sessions(scope))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        try:
            revocation = await self._database.tx(self._begin, scope, by)
        except NotFound:
            self._keyring.unbar(scope)
            raise
        except Exception as error:
            await self._without_row(scope, ending)
            remedy = "and revoke it again before the service is started anew."
            if isinstance(error, StoreFull):
                raise StoreFull(
                    "It was stopped, but could not be stored: the disk is full.",
                    remedy=f"Free space {remedy}",
                ) from error
            _log.exception("revocation.not_stored", scope=scope.kind, subject=scope.subject)
            raise Unavailable(
                "It was stopped, but could not be stored.",
                remedy=f"Look at the agent service's log {remedy}",
            ) from error
        try:
            await self._keyring.reload()
            self._keyring.unbar(scope)
        except Exception:  # noqa: BLE001 - it stays barred, and the steps must be done
            _log.exception("revocation.not_read", revocation=revocation)
        self._after("row")
        _log.warning("revocation.asked", scope=scope.kind, subject=scope.subject, by=by)
        await self._carry_out(revocation, scope, voided, ending)
        return await self._database.tx(revocations.view, revocation)

    @staticmethod
    def _begin(db: sa.Connection, scope: Scope, by: str) -> str:
        made = revocations.begin(db, scope.kind, scope.subject, by, STEPS)
        store.revoke(db, scope.kind, scope.subject)
        told = {"scope": scope.kind, "subject": scope.subject}
        audit.append(db, "revocation.asked", by, made, told)
        return made

    async def _without_row(self, scope: Scope, ending: asyncio.Task[int]) -> None:
        try:
            await ending
        except Exception:  # noqa: BLE001 - the caller hears of the disk, an operator of this
            _log.exception("revocation.step_failed", scope=scope.kind)

    async def resume(self) -> int:
        """Take up every step that is open or failed; gives how many revocations that were."""
        left = [
            view
            for view in await self._database.tx(revocations.views)
            if view.finished_at is None and view.lifted_at is None
        ]
        for view in left:
            _log.warning("revocation.resumed", revocation=view.id)
            await self._carry_out(view.id, Scope(view.scope, view.subject))
        return len(left)

    async def lift(self, revocation: str, by: str) -> RevocationView:
        """Let a person begin turns again, or the environment's key be used again. Keys that were
        forgotten stay so. Raises `NotFound`."""

        def put(db: sa.Connection) -> RevocationView:
            lifted = revocations.lift(db, revocation)
            audit.append(db, "revocation.lifted", by, revocation)
            return lifted

        lifted = await self._database.tx(put)
        await self._keyring.reload()
        self._keyring.unbar(Scope(lifted.scope, lifted.subject))
        return lifted

    async def views(self) -> list[RevocationView]:
        """All of them, newest first."""
        return await self._database.tx(revocations.views)

    async def close(self) -> None:
        """Break off sign-outs; they are taken up again at the next start."""
        tasks = [*self._signing_out, *self._ending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- the steps ----

    async def _carry_out(
        self,
        revocation: str,
        scope: Scope,
        voided: int = 0,
        ending: asyncio.Task[int] | None = None,
    ) -> None:
        """`voided`: tokens that were made so before; `ending`: what ends sessions already."""

        async def tokens() -> str:
            return f"{voided + self._tokens.void(scope)} tokens void"

        async def keys() -> str:
            count = await self._database.tx(store.forget_keys, scope.kind, scope.subject)
            await self._keyring.reload()
            await self._database.forget_log()
            return f"{count} keys forgotten"

        async def sessions() -> str:
            count = await ending if ending is not None else 0
            # And what began before the row was there to be seen.
            return f"{count + await self._end_sessions(scope)} sessions ended"

        await self._step(revocation, "tokens", tokens)
        await self._step(revocation, "keys", keys)
        # Each on its own: a session that is slow to end does not keep anybody signed in.
        ended = asyncio.Event()
        task = asyncio.create_task(self._sign_out(revocation, scope, ended))
        self._signing_out.add(task)
        task.add_done_callback(self._signing_out.discard)
        try:
            await self._step(revocation, "sessions", sessions)
        finally:
            ended.set()

    async def _end_sessions(self, scope: Scope) -> int:
        async with asyncio.timeout(self._session_seconds):
            # Side by side: what is written down of a sign-in may wait for the disk.
            _, count = await asyncio.gather(
                self._sign_ins.cancel_covered(scope), self._sessions.stop(scope)
            )
        return count

    async def _sign_out(self, revocation: str, scope: Scope, ended: asyncio.Event) -> None:
        """`ended` is set once no session can write what is deleted here back again."""

        async def sign_outs() -> str:
            left = await self._database.tx(store.signed_in, scope.kind, scope.subject)
            told = await asyncio.gather(
                *(self._one(c, ended) for c in left), return_exceptions=True
            )
            if failed := [error for error in told if isinstance(error, BaseException)]:
                raise failed[0]
            return "; ".join(str(line) for line in told) or "nobody to sign out"

        await self._step(revocation, "sign_outs", sign_outs)

    async def _one(self, credential: store.StoredCredential, ended: asyncio.Event) -> str:
        kind: SignInKind = "console" if credential.kind == "console" else "subscription"
        said = await self._sign_ins.log_out(credential.person, kind, ended)
        await self._database.tx(store.logged_out, credential.id)
        return said

    async def _step(self, revocation: str, name: str, do: Callable[[], Awaitable[str]]) -> None:
        """Do and record a step. Its failure is told, and keeps nothing else from being done."""
        try:
            detail, failed = await do(), False
        except TimeoutError:
            detail, failed = f"It took longer than {self._session_seconds:g} s.", True
        except Exception as error:  # noqa: BLE001 - whatever it is, the other steps must be done
            detail, failed = hide_text(str(error))[:500] or type(error).__name__, True
            _log.exception("revocation.step_failed", revocation=revocation, step=name)
        self._after(name)

        def put(db: sa.Connection) -> None:
            whole = revocations.set_step(
                db, revocation, name, "failed" if failed else "done", detail
            )
            told = {"step": name, "detail": detail, "failed": failed}
            audit.append(db, "revocation.step", _SELF, revocation, told)
            if whole:
                audit.append(db, "revocation.finished", _SELF, revocation)

        try:
            await self._database.tx(put)
        except Exception:  # noqa: BLE001 - the other steps must be done
            # It stays open, and is done again at the next start.
            _log.exception("revocation.not_recorded", revocation=revocation, step=name)
