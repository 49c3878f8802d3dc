"""The credentials of the deployment and of people, and which of them a turn uses.

Keys are opened into memory at start; a revoked one is gone from there at once.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
import structlog

from agent_service.contract.credentials import (
    DEFAULT_CREDENTIAL,
    SECRET_LIMIT,
    CredentialState,
    CredentialView,
    NewCredential,
    TestOutcome,
    TestResult,
)
from agent_service.contract.errors import BadRequest, Conflict, NotFound
from agent_service.credentials.scope import Scope
from agent_service.credentials.vault import Vault, VaultLocked
from agent_service.store import audit, revocations
from agent_service.store import credentials as store
from agent_service.store.credentials import StoredCredential
from agent_service.store.database import Database

_log = structlog.get_logger(__name__)

SHORTEST_SECRET = 8
"""Of a shorter key, its last four characters would tell too much."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key in use. `credential` names it; `secret` may be empty where a gateway asks for none."""

    credential: str
    url: str
    secret: str = field(repr=False)


class NoCredential(Exception):
    """Nothing may be used. The text is for the person who asked; `remedy` says who can help."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def fingerprint(secret: str) -> str:
    return f"…{secret[-4:]}" if len(secret) >= SHORTEST_SECRET else ""


class Keyring:
    """One a service. `open` first; what it tells is never older than the last change here."""

    def __init__(self, database: Database, vault: Vault, *, url: str, secret: str) -> None:
        """`url` and `secret` are the environment's: the credential `default`."""
        self._database = database
        self._vault = vault
        self._url = url
        self._default_secret = secret
        self._stored: dict[str, StoredCredential] = {}
        self._keys: dict[str, Key] = {}
        self._locked: set[str] = set()
        self._held: set[str] = set()
        self._default_held = ""
        # Revoked where even the row could not be written: holds until the service ends.
        self._barred: list[Scope] = []

    async def open(self) -> None:
        """Read and open what is stored; seal it anew with the newest key. Raises `StoreFull`."""
        await self._database.tx(store.put_default, fingerprint(self._default_secret))
        await self.reload()
        if self._locked:
            _log.error(
                "credentials.locked", credentials=sorted(self._locked), remedy=VaultLocked.remedy
            )
        await self.rotate()

    async def rotate(self) -> int:
        """Seal with the newest encryption key whatever an older one sealed; gives how many.

        Each row is a transaction of its own, so that a crash leaves only work to do again.
        """
        count = 0
        for credential in list(self._stored.values()):
            if credential.sealed is None or credential.id not in self._keys:
                continue
            if self._vault.is_current(credential.sealed):
                continue
            sealed = self._vault.seal(self._keys[credential.id].secret, owner=credential.id)
            count += await self._database.tx(store.reseal, credential.id, credential.sealed, sealed)
        if count:
            _log.info("credentials.rotated", count=count)
            await self._database.tx(
                audit.append, "credentials.rotated", "agent_service", "", {"count": count}
            )
            await self._database.forget_log()
            await self.reload()
        return count

    async def reload(self) -> None:
        """Bring memory up to what is stored: keys of what is revoked are forgotten."""
        rows, self._held, self._default_held = await self._database.tx(
            lambda db: (
                store.everything(db),
                revocations.held_people(db),
                revocations.default_held(db),
            )
        )
        self._stored = {row.id: row for row in rows}
        self._locked = set()
        keys = {}
        for row in rows:
            if row.source == "stored" and row.sealed is not None and row.state != "revoked":
                try:
                    opened = self._vault.open(row.sealed, owner=row.id)
                except VaultLocked:
                    self._locked.add(row.id)
                    continue
                keys[row.id] = Key(row.id, row.url or self._url, opened)
        if not self._default_held:
            keys[DEFAULT_CREDENTIAL] = Key(DEFAULT_CREDENTIAL, self._url, self._default_secret)
        self._keys = keys

    # ---- for turns ----

    def choose(self, person: str) -> Key:
        """What a turn of this person uses: a key of their own, else of the deployment, else the
        environment's; of several, one that is not in doubt, and the newest. Raises `NoCredential`.
        """
        if self._is_held(person):
            raise NoCredential(
                "Your access was revoked.", remedy="An admin can give it back, under Credentials."
            )
        for owner, source in ((person, "stored"), ("", "stored"), ("", "environment")):
            mine = [c for c in self._stored.values() if c.person == owner and c.source == source]
            usable = [c for c in mine if self.key(c.id, person) is not None]
            if usable:
                best = max(usable, key=lambda c: (c.state == "active", c.created_at))
                return self._keys[best.id]
        raise NoCredential(
            "There is no credential for the model: it was revoked, or it cannot be read.",
            remedy="An admin has to add one, or lift the revocation, under Credentials.",
        )

    def key(self, credential: str, person: str) -> Key | None:
        """The key, or None where it may not be used (any more). Ask anew for every request."""
        if self._is_held(person) or any(
            scope.covers(credential=credential, person=person) for scope in self._barred
        ):
            return None
        return self._keys.get(credential)

    def sign_in_of(self, person: str) -> str | None:
        """The credential of a person's own sign-in, if it may be used. Ask anew for every turn."""
        for row in self._stored.values():
            if row.source == "sign_in" and row.person == person and row.state != "revoked":
                barred = any(s.covers(credential=row.id, person=person) for s in self._barred)
                return None if barred or self._is_held(person) else row.id
        return None

    def may_begin(self, person: str) -> bool:
        """Whether a turn of this person by the broker, or a call that waited for its answer, may
        begin: nobody holds them back, and there is something to use."""
        try:
            self.choose(person)
        except NoCredential:
            return False
        return True

    def secrets(self) -> tuple[str, ...]:
        """All keys that are in use, to be hidden wherever they turn up."""
        return tuple(key.secret for key in self._keys.values())

    def _is_held(self, person: str) -> bool:
        return person in self._held

    def may_sign_in(self, person: str) -> bool:
        return not self._is_held(person) and not any(
            scope.covers(credential="", person=person) for scope in self._barred
        )

    async def doubt(self, credential: str, reason: str) -> None:
        """The model refused it in a turn: show that, until a test shows it works."""
        if await self._database.tx(store.set_state, credential, "in_doubt", reason, tested=False):
            await self.reload()

    def bar(self, scope: Scope) -> None:
        """Stop using what a revocation covers, in memory only, until `unbar`."""
        self._barred.append(scope)

    def unbar(self, scope: Scope) -> None:
        """What is stored, and read again since, says it as well."""
        self._barred = [barred for barred in self._barred if barred != scope]

    # ---- for operators ----

    def views(self) -> list[CredentialView]:
        """All of them, oldest first; never a secret."""
        return [self._view(row) for row in self._stored.values()]

    def view(self, credential: str) -> CredentialView:
        """Raises `NotFound`."""
        return self._view(self._find(credential))

    def _find(self, credential: str) -> StoredCredential:
        try:
            return self._stored[credential]
        except KeyError:
            raise NotFound("No such credential.") from None

    def _view(self, row: StoredCredential) -> CredentialView:
        state, reason = row.state, row.reason
        if row.id == DEFAULT_CREDENTIAL and self._default_held:
            state = "revoked"
            reason = f"It was revoked. To use it again, lift the revocation {self._default_held}."
        elif row.id in self._locked:
            state, reason = "in_doubt", f"{VaultLocked()} {VaultLocked.remedy}"
        return CredentialView(
            id=row.id,
            kind=row.kind,
            source=row.source,
            state=state,
            person=row.person,
            label=row.label,
            fingerprint=row.fingerprint,
            url=row.url or ("" if row.source == "sign_in" else self._url),
            reason=reason,
            created_at=row.created_at,
            tested_at=row.tested_at,
        )

    async def add(self, new: NewCredential, actor: str) -> CredentialView:
        """Store a key, sealed. Raises `BadRequest`, `Conflict` or `StoreFull`."""
        _check(new)
        if any(key.secret == new.secret for key in self._keys.values()):
            raise Conflict(
                "This key is here already.", remedy="Revoke the other one first.", field="secret"
            )
        made = StoredCredential(
            id=f"cr_{secrets.token_hex(12)}",
            kind=new.kind,
            source="stored",
            person=new.person,
            label=new.label,
            fingerprint=fingerprint(new.secret),
            url=new.url,
            sealed=None,
            state="active",
            reason="",
            created_at=time.time(),
            tested_at=None,
            forgotten_at=None,
        )
        made = replace(made, sealed=self._vault.seal(new.secret, owner=made.id))
        told = {"source": "stored", "person": new.person, "ends": made.fingerprint, "url": new.url}

        def put(db: sa.Connection) -> None:
            store.add(db, made)
            audit.append(db, "credential.added", actor, made.id, told)

        await self._database.tx(put)
        await self.reload()
        return self.view(made.id)

    def usable(self, credential: str) -> Key:
        """The key for a test. Raises `NotFound`, or `Conflict` where it may not be used."""
        row = self._find(credential)
        key = self.key(credential, row.person)
        if key is None:
            raise Conflict(
                "This credential is not in use: it was revoked, or it cannot be read.",
                remedy=self._view(row).reason,
            )
        return key

    async def tested(self, credential: str, result: TestResult, actor: str) -> None:
        """Remember what a test found: a refused key is in doubt, one that works is not."""
        found: dict[TestOutcome, CredentialState] = {"works": "active", "refused": "in_doubt"}
        state = found.get(result.outcome)
        reason = result.message if state == "in_doubt" else ""

        def remember(db: sa.Connection) -> None:
            if state is not None:
                store.set_state(db, credential, state, reason, tested=True)
            else:
                store.set_tested(db, credential)
            audit.append(db, "credential.tested", actor, credential, {"outcome": result.outcome})

        await self._database.tx(remember)
        await self.reload()


def _check(new: NewCredential) -> None:
    key = new.secret
    if not SHORTEST_SECRET <= len(key) <= SECRET_LIMIT or any(not "!" <= c <= "~" for c in key):
        raise BadRequest(
            "That is not a key: it is too short or too long, or has spaces or line breaks.",
            remedy="Copy the whole key, and nothing else.",
            field="secret",
        )
    if new.url and not _is_url(new.url):
        raise BadRequest("url: not an http(s) address.", field="url")
    if new.kind == "gateway" and not new.url:
        raise BadRequest(
            "A gateway's key needs the gateway's address.", remedy="Give its url.", field="url"
        )
    if len(new.label) > 200 or not new.label.isprintable():
        raise BadRequest("label: at most 200 printable characters.", field="label")


def _is_url(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    plain = text.isascii() and text.isprintable() and " " not in text and "@" not in text
    return scheme in ("http", "https") and bool(separator and rest) and plain and len(text) < 500
