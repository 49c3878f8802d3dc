"""Handlers of credentials, sign-ins and revocations. For the admin only; no answer has a secret."""

from __future__ import annotations

import asyncio

from aiohttp import web
from pydantic import TypeAdapter

from agent_service.contract.credentials import (
    CredentialView,
    Lift,
    NewCredential,
    NewRevocation,
    NewSignIn,
    RevocationView,
    SignInCode,
    SignInView,
    TestResult,
)
from agent_service.contract.errors import BadRequest
from agent_service.credentials.keyring import Keyring
from agent_service.credentials.probe import Probe
from agent_service.credentials.revoke import Revoker
from agent_service.credentials.scope import Scope
from agent_service.credentials.sign_in import SignIns
from agent_service.http.guard import CALL, checked_id, identifier, parsed, reply
from agent_service.http.routes import ADMIN, Route

_ONE = TypeAdapter(CredentialView)
_ALL = TypeAdapter(tuple[CredentialView, ...])
_NEW = TypeAdapter(NewCredential)
_TEST = TypeAdapter(TestResult)
_SIGN_IN = TypeAdapter(SignInView)
_NEW_SIGN_IN = TypeAdapter(NewSignIn)
_CODE = TypeAdapter(SignInCode)
_REVOCATION = TypeAdapter(RevocationView)
_REVOCATIONS = TypeAdapter(tuple[RevocationView, ...])
_NEW_REVOCATION = TypeAdapter(NewRevocation)
_LIFT = TypeAdapter(Lift)
_LONGEST_NAME = 200


class CredentialHandlers:
    """Routes under /v1/credentials and /v1/revocations."""

    def __init__(self, keyring: Keyring, revoker: Revoker, sign_ins: SignIns, probe: Probe) -> None:
        self._keyring = keyring
        self._revoker = revoker
        self._sign_ins = sign_ins
        self._probe = probe

    def routes(self) -> list[Route]:
        some, admin = "/v1/credentials", frozenset({ADMIN})
        one, sign_ins = some + "/{credential}", some + "/sign-ins"
        revocations = "/v1/revocations"
        return [
            Route("POST", sign_ins, self.sign_in, "Begin a person's own sign-in.", admin,
                  body=NewSignIn, answer=SignInView),
            Route("GET", sign_ins + "/{sign_in}", self.sign_in_view, "How it stands.", admin,
                  answer=SignInView),
            Route("POST", sign_ins + "/{sign_in}", self.code, "Hand over the code.", admin,
                  body=SignInCode, answer=SignInView),
            Route("DELETE", sign_ins + "/{sign_in}", self.cancel, "Cancel it.", admin,
                  answer=SignInView),
            Route("GET", some, self.all, "All credentials, without their secrets.", admin,
                  answer=tuple[CredentialView, ...]),
            Route("POST", some, self.add, "Add a key, for the deployment or one person.", admin,
                  body=NewCredential, answer=CredentialView),
            Route("GET", one, self.view, "One credential.", admin, answer=CredentialView),
            Route("DELETE", one, self.revoke_one, "Revoke it.", admin, answer=RevocationView),
            Route("POST", one + "/test", self.test, "Ask the model with it.", admin,
                  answer=TestResult),
            Route("GET", revocations, self.revocations, "All revocations, newest first.", admin,
                  answer=tuple[RevocationView, ...]),
            Route("POST", revocations, self.revoke, "Revoke a credential, a person or everything.",
                  admin, body=NewRevocation, answer=RevocationView),
            Route("POST", revocations + "/{revocation}/lift", self.lift,
                  "Let the person, or the environment's key, be used again.", admin, body=Lift,
                  answer=RevocationView),
        ]  # fmt: skip

    # ---- credentials ----

    async def all(self, _request: web.Request) -> web.StreamResponse:
        return reply(tuple(self._keyring.views()), _ALL)

    async def view(self, request: web.Request) -> web.StreamResponse:
        return reply(self._keyring.view(identifier(request, "credential")), _ONE)

    async def add(self, request: web.Request) -> web.StreamResponse:
        new = parsed(request, _NEW)
        if new.person:
            checked_id(new.person, "person")
        return reply(await asyncio.shield(self._keyring.add(new, _actor(request, new.by))), _ONE)

    async def test(self, request: web.Request) -> web.StreamResponse:
        credential, actor = identifier(request, "credential"), _actor(request)
        if self._keyring.view(credential).source == "sign_in":
            return reply(await self._sign_ins.test(credential, actor), _TEST)
        result = await self._probe(self._keyring.usable(credential))
        await self._keyring.tested(credential, result, actor)
        return reply(result, _TEST)

    async def revoke_one(self, request: web.Request) -> web.StreamResponse:
        scope = Scope("credential", identifier(request, "credential"))
        # A caller that hangs up does not stop it half-way.
        made = await asyncio.shield(self._revoker.revoke(scope, _actor(request)))
        return reply(made, _REVOCATION)

    # ---- sign-ins ----

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        new = parsed(request, _NEW_SIGN_IN)
        person = checked_id(new.person, "person")
        made = await self._sign_ins.start(person, new.kind, _actor(request, new.by))
        return reply(made, _SIGN_IN)

    async def sign_in_view(self, request: web.Request) -> web.StreamResponse:
        return reply(self._sign_ins.view(identifier(request, "sign_in")), _SIGN_IN)

    async def code(self, request: web.Request) -> web.StreamResponse:
        sign_in = identifier(request, "sign_in")
        return reply(await self._sign_ins.give(sign_in, parsed(request, _CODE).code), _SIGN_IN)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        return reply(await self._sign_ins.cancel(identifier(request, "sign_in")), _SIGN_IN)

    # ---- revocations ----

    async def revocations(self, _request: web.Request) -> web.StreamResponse:
        return reply(tuple(await self._revoker.views()), _REVOCATIONS)

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        new = parsed(request, _NEW_REVOCATION)
        if new.scope == "everything":
            if new.subject:
                raise BadRequest("subject: everything has none.", field="subject")
        else:
            checked_id(new.subject, "subject")
        scope = Scope(new.scope, new.subject)
        made = await asyncio.shield(self._revoker.revoke(scope, _actor(request, new.by)))
        return reply(made, _REVOCATION)

    async def lift(self, request: web.Request) -> web.StreamResponse:
        by = _actor(request, parsed(request, _LIFT).by)
        lifted = await self._revoker.lift(identifier(request, "revocation"), by)
        return reply(lifted, _REVOCATION)


def _actor(request: web.Request, by: str = "") -> str:
    """Who did it, for the audit log: whom the caller names, and which caller that was."""
    if len(by) > _LONGEST_NAME or not by.isprintable():
        raise BadRequest("by: at most 200 printable characters.", field="by")
    caller = request[CALL].caller
    return f"{caller}:{by}" if by else caller
