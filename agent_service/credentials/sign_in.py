"""Personal sign-ins under way: a page for the person out, a code of theirs in.

One a person at a time. They live in memory; the CLI itself keeps what comes of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa
import structlog

from agent_service.contract.credentials import SignInKind, SignInState, SignInView, TestResult
from agent_service.contract.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from agent_service.credentials import printed
from agent_service.credentials.directory import secrets_of
from agent_service.credentials.keyring import Keyring
from agent_service.credentials.leftovers import Leftovers
from agent_service.credentials.login import ClaudeLogin, LoginFailed, end
from agent_service.credentials.scope import Scope
from agent_service.store import audit
from agent_service.store import credentials as store
from agent_service.store.database import Database, StoreError
from agent_service.turns.port import OwnSignIn

_log = structlog.get_logger(__name__)

PERSON_SECONDS = 600
"""How long a person may take from the page to the code."""
CHECK_SECONDS = 60
REMEMBERED_SECONDS = 3600
"""How long the end of a sign-in can be asked for."""
_CODE = re.compile(r"[\w.~-]+#[\w.~-]+", re.ASCII)
_AGAIN = "Begin the sign-in again."
_OVER = ("signed_in", "refused", "expired", "cancelled", "failed")


@dataclass(slots=True)
class _Flow:
    """One sign-in with its process and the task that watches it."""

    view: SignInView
    actor: str
    process: asyncio.subprocess.Process
    since: int
    """How many revocations there had been when it began: of later ones it must not complete."""
    said: list[str] = field(default_factory=list)
    code: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class SignIns:
    """Off unless `enabled`; signing out works all the same."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        login: ClaudeLogin,
        config_of: Callable[[str], Path],
        *,
        enabled: bool,
        person_seconds: float = PERSON_SECONDS,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """`config_of` gives a person's own config directory."""
        self._database = database
        self._keyring = keyring
        self._login = login
        self._config_of = config_of
        self._enabled = enabled
        self._person_seconds = person_seconds
        self._check_seconds = check_seconds
        self._flows: dict[str, _Flow] = {}
        self._directory: dict[str, asyncio.Lock] = {}
        """One a person: who holds it begins a sign-in in their directory, or signs out there."""
        self._revoked: list[Scope] = []
        self._leftovers = Leftovers(keyring, login, config_of)

    def of(self, person: str) -> OwnSignIn | None:
        """What this person's own turns run on, if they may: ask anew for every turn.

        One in doubt is given as well: it may work again, and where it does not, the person is
        told. Taking the deployment's credential instead would hide that.
        """
        credential = self._keyring.sign_in_of(person) if self._enabled else None
        if credential is None:
            return None
        return OwnSignIn(credential, person, self._config_of(person))

    async def start(self, person: str, kind: SignInKind, actor: str) -> SignInView:
        """Begin one; it replaces an unfinished one of the person, and waits for their sign-out.

        Raises `Forbidden` where it is off or the person is revoked, `Conflict` where that came
        while it began, `Unavailable` where the CLI does not give a page.
        """
        if not self._enabled:
            raise Forbidden(
                "Signing in with an account of one's own is turned off here.",
                remedy="An operator can turn it on: AGENT_PERSONAL_SIGN_IN.",
            )
        self._check(person)
        async with self._alone(person):
            return await self._start(person, kind, actor)

    def _check(self, person: str) -> None:
        if not self._keyring.may_sign_in(person):
            raise Forbidden(
                "This person's access was revoked.", remedy="An admin can lift the revocation."
            )

    @contextlib.asynccontextmanager
    async def _alone(self, person: str) -> AsyncIterator[None]:
        """Nobody else is at work in the person's directory, nor is a sign-in of theirs."""
        async with self._directory.setdefault(person, asyncio.Lock()):
            await self._end_where(lambda view: view.person == person)
            await self._leftovers.wait(person)
            yield

    async def _start(self, person: str, kind: SignInKind, actor: str) -> SignInView:
        self._check(person)  # it may have waited
        since = len(self._revoked)
        self._forget_old()
        try:
            process = await self._login.begin(self._config_of(person), kind)
        except LoginFailed as error:
            raise Unavailable(str(error), remedy=error.remedy) from None
        try:
            url = await printed.page(process)
            if self._revoked_since(person, since):
                raise Conflict("It was revoked while it began.", remedy=_AGAIN)
        except BaseException:
            await asyncio.shield(end(process))
            raise
        view = SignInView(
            id=f"si_{secrets.token_hex(12)}",
            person=person,
            kind=kind,
            state="waiting",
            url=url,
            expires_at=time.time() + self._person_seconds,
        )
        flow = self._flows[view.id] = _Flow(view, actor, process, since)
        flow.task = asyncio.create_task(self._watch(flow))
        await self._note(flow, "sign_in.started")
        return view

    async def sweep(self, people: Iterable[str]) -> int:
        """At the start: sign out those of them for whom the CLI signed in just before the service
        died, so that no credential stands for it. Gives how many; nobody waits for that."""
        found = [p for p in people if self._keyring.sign_in_of(p) is None]
        left = [p for p in found if await asyncio.to_thread(secrets_of, self._config_of(p))]
        for person in left:
            _log.warning("sign_in.left", person=person)
            self._leftovers.clear_soon(person, "subscription")
        return len(left)

    def view(self, sign_in: str) -> SignInView:
        """Raises `NotFound`."""
        return self._find(sign_in).view

    def _find(self, sign_in: str) -> _Flow:
        try:
            return self._flows[sign_in]
        except KeyError:
            raise NotFound("No such sign-in, or it was too long ago.", remedy=_AGAIN) from None

    async def give(self, sign_in: str, code: str) -> SignInView:
        """Hand over what the person brought back; returns once it was checked.

        Raises `BadRequest` for what cannot be a code (the sign-in waits on) and `Conflict` where
        it no longer waits.
        """
        flow = self._find(sign_in)
        text = code.strip()
        if not _CODE.fullmatch(text) or len(text) > 4096:
            raise BadRequest(
                "That is not the whole code.",
                remedy="Copy all of it, with the # in the middle.",
                field="code",
            )
        if flow.view.state != "waiting" or flow.task is None:
            raise Conflict("This sign-in no longer waits for a code.", remedy=_AGAIN)
        flow.view = replace(flow.view, state="checking", message="", remedy="")
        stdin = flow.process.stdin
        assert stdin is not None  # noqa: S101 - it was started with a pipe
        with contextlib.suppress(OSError):
            stdin.write(text.encode() + b"\n")
            await stdin.drain()
        flow.code.set()
        await asyncio.shield(flow.task)
        return flow.view

    async def cancel(self, sign_in: str) -> SignInView:
        """End it; a finished one stays as it ended. Raises `NotFound`."""
        flow = self._find(sign_in)
        await self._end_where(lambda view: view.id == sign_in)
        return flow.view

    def bar(self, scope: Scope) -> None:
        """What a revocation covers does not complete any more, where it began before. In memory,
        at once: the row of the revocation comes after this."""
        self._revoked.append(scope)

    def _revoked_since(self, person: str, since: int) -> bool:
        return any(s.covers(credential="", person=person) for s in self._revoked[since:])

    async def cancel_covered(self, scope: Scope) -> int:
        """End the unfinished ones of whom a revocation covers; gives how many."""
        return await self._end_where(lambda v: scope.covers(credential="", person=v.person))

    async def close(self) -> None:
        """End all of them. Afterwards no process is left."""
        await self._end_where(lambda _view: True)
        await self._leftovers.close()

    async def test(self, credential: str, actor: str) -> TestResult:
        """A real turn with a person's sign-in. Raises `NotFound`, `Conflict` or `Unavailable`."""
        view = self._keyring.view(credential)
        if self._keyring.sign_in_of(view.person) != credential:
            raise Conflict("This sign-in is not in use any more.", remedy="Sign in again.")
        try:
            result = await self._login.test(self._config_of(view.person))
        except LoginFailed as error:
            raise Unavailable(str(error), remedy=error.remedy) from None
        await self._keyring.tested(credential, result, actor)
        return result

    async def log_out(self, person: str, kind: SignInKind, ended: asyncio.Event) -> str:
        """Sign a person out; gives a line about how it went. Raises `LoginFailed`.

        A sign-in of theirs that is under way is ended, and another one begins only after this.
        `ended` is set once no session can write what is deleted here back again.
        """
        async with self._alone(person):
            if self._keyring.sign_in_of(person) is not None:
                return "A newer sign-in took its place."
            try:
                return await self._login.logout(self._config_of(person), kind)
            finally:
                await ended.wait()
                await asyncio.to_thread(self._login.delete, self._config_of(person))

    # ---- one sign-in ----

    async def _watch(self, flow: _Flow) -> None:
        """From the page to the end, whatever that is; afterwards its process is gone."""
        reads = [
            asyncio.create_task(printed.lines(stream, flow.said))
            for stream in (flow.process.stdout, flow.process.stderr)
            if stream is not None
        ]
        try:
            await self._followed(flow, reads)
        except asyncio.CancelledError:
            self._set(flow, "cancelled", "The sign-in was cancelled.")
        except (LoginFailed, StoreError) as error:
            self._set(flow, "failed", str(error), error.remedy or _AGAIN)
        except Exception:  # noqa: BLE001 - a person waits for this; the trace is for the operator
            _log.exception("sign_in.failed", sign_in=flow.view.id)
            self._set(flow, "failed", "Something went wrong inside the agent service.", _AGAIN)
        finally:
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
            await end(flow.process)
        # Ended while the CLI was at it, or after: it may have signed in all the same.
        refused = (flow.process.returncode or 0) > 0
        if flow.code.is_set() and not refused and flow.view.state != "signed_in":
            self._leftovers.clear_soon(flow.view.person, flow.view.kind)
        with contextlib.suppress(StoreError):
            await self._note(flow, "sign_in.ended")

    async def _followed(self, flow: _Flow, reads: list[asyncio.Task[None]]) -> None:
        exited = asyncio.create_task(flow.process.wait())
        brought = asyncio.create_task(flow.code.wait())
        try:
            left = max(0.0, flow.view.expires_at - time.time())
            await asyncio.wait((exited, brought), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done() and not brought.done():
                self._set(flow, "expired", "Nobody brought a code in time.", _AGAIN)
                return
            await asyncio.wait((exited,), timeout=self._check_seconds)
        finally:
            exited.cancel()
            brought.cancel()
        if flow.process.returncode is None:
            hint = printed.last(flow.said)
            self._set(flow, "failed", f"Nothing came of the code. {hint}".strip(), _AGAIN)
        elif flow.process.returncode != 0 or not flow.code.is_set():
            await asyncio.wait(reads, timeout=1)  # its last words are on their way
            self._set(flow, "refused", printed.last(flow.said) or "The code was refused.", _AGAIN)
        else:
            await self._completed(flow)

    async def _completed(self, flow: _Flow) -> None:
        """The CLI says that it worked: see what it has noted, and make it a credential."""
        view = flow.view
        config = self._config_of(view.person)
        status = await self._login.status(config)
        if status.kind is None:
            raise LoginFailed("The Claude CLI ended well, but nobody is signed in.")
        credential = f"cr_{secrets.token_hex(12)}"
        label = " ".join(word for word in (status.account, status.plan) if word)
        told = {"account": status.account, "kind": status.kind, "source": "sign_in"}
        kind = status.kind

        def put(db: sa.Connection) -> bool:
            # Revoked while this was under way: that was noted here before its row was stored, so
            # either this comes first and the row covers it, or it is seen.
            held = self._revoked_since(view.person, flow.since)
            if held or not store.may_add(db, view.person):
                return False
            store.add_sign_in(db, credential, view.person, kind, label)
            audit.append(
                db, "credential.added", flow.actor, credential, {**told, "person": view.person}
            )
            return True

        async def keep() -> bool:
            added = await self._database.tx(put)
            await self._keyring.reload()
            return added

        keeping = asyncio.create_task(keep())
        try:
            added = await asyncio.shield(keeping)
        except asyncio.CancelledError:
            # What is stored cannot be taken back: it is complete, whoever ended it meanwhile.
            added = await keeping
        if not added or self._keyring.sign_in_of(view.person) != credential:
            await self._leftovers.clear(view.person, kind)
            self._set(flow, "cancelled", "It was revoked before it was complete.")
            return
        flow.view = replace(view, state="signed_in", credential=credential, message=label)

    def _set(self, flow: _Flow, state: SignInState, message: str, remedy: str = "") -> None:
        flow.view = replace(flow.view, state=state, message=message, remedy=remedy)

    async def _end_where(self, which: Callable[[SignInView], bool]) -> int:
        mine = [f for f in self._flows.values() if f.view.state not in _OVER and which(f.view)]
        tasks = [f.task for f in mine if f.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for flow in mine:
            if flow.view.state not in _OVER:  # its task was ended before it began
                await end(flow.process)
                self._set(flow, "cancelled", "The sign-in was cancelled.")
        return len(mine)

    def _forget_old(self) -> None:
        limit = time.time() - REMEMBERED_SECONDS
        self._flows = {k: f for k, f in self._flows.items() if f.view.expires_at > limit}

    async def _note(self, flow: _Flow, kind: str) -> None:
        view = flow.view
        told = {"person": view.person, "kind": view.kind, "state": view.state}
        await self._database.tx(audit.append, kind, flow.actor, view.id, told)
