"""What the pages ask of the agent service. Each raises `agent_service.contract.errors`."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
from pydantic import TypeAdapter

from agent_service.contract import (
    AuditEntry,
    Behavior,
    Ceiling,
    ConversationView,
    CredentialView,
    FileList,
    Instructions,
    PolicyView,
    RevocationScope,
    RevocationView,
    SignInKind,
    SignInView,
    TestResult,
    WorkspaceEgress,
    WorkspaceView,
    errors,
    events,
)
from agent_service.contract.usage import UsageLine
from web_admin.calls.signed import Caller, path

AUDIENCE = "agent:main"
TEST_SECONDS = 120.0
SILENCE = 0.25
"""Seconds without an event after which all that happened is taken to be read."""

_CREDENTIAL = TypeAdapter(CredentialView)
_CREDENTIALS = TypeAdapter(tuple[CredentialView, ...])
_REVOCATION = TypeAdapter(RevocationView)
_REVOCATIONS = TypeAdapter(tuple[RevocationView, ...])
_SIGN_IN = TypeAdapter(SignInView)
_TEST = TypeAdapter(TestResult)
_POLICY = TypeAdapter(PolicyView)
_AUDIT = TypeAdapter(tuple[AuditEntry, ...])
_USAGE = TypeAdapter(tuple[UsageLine, ...])
_WORKSPACE = TypeAdapter(WorkspaceView)
_FILES = TypeAdapter(FileList)
_INSTRUCTIONS = TypeAdapter(Instructions)
_EGRESS = TypeAdapter(WorkspaceEgress)
_CONVERSATION = TypeAdapter(ConversationView)


class Agent:
    """Calls in the admin's name; `by` is the person's id, for the audit log."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def ready(self) -> str:
        """Empty where it can run turns, else how it is."""
        try:
            await self._caller.call("GET", "/readyz", seconds=5)
        except errors.ServiceError as error:
            return error.message
        return ""

    # ---- credentials ----

    async def credentials(self) -> tuple[CredentialView, ...]:
        return _CREDENTIALS.validate_python(await self._caller.call("GET", path("credentials")))

    async def add_credential(self, body: dict[str, str]) -> CredentialView:
        """`body` is a `NewCredential`."""
        made = await self._caller.call("POST", path("credentials"), body)
        return _CREDENTIAL.validate_python(made)

    async def test(self, credential: str) -> TestResult:
        where = path("credentials", credential, "test")
        return _TEST.validate_python(
            await self._caller.call("POST", where, {}, seconds=TEST_SECONDS)
        )

    async def revoke(self, scope: RevocationScope, subject: str, by: str) -> RevocationView:
        body = {"scope": scope, "subject": subject, "by": by}
        done = await self._caller.call("POST", path("revocations"), body, seconds=TEST_SECONDS)
        return _REVOCATION.validate_python(done)

    async def lift(self, revocation: str, by: str) -> RevocationView:
        where = path("revocations", revocation, "lift")
        return _REVOCATION.validate_python(await self._caller.call("POST", where, {"by": by}))

    async def revocations(self) -> tuple[RevocationView, ...]:
        return _REVOCATIONS.validate_python(await self._caller.call("GET", path("revocations")))

    async def sign_in(self, person: str, kind: SignInKind, by: str) -> SignInView:
        body = {"person": person, "kind": kind, "by": by}
        where = path("credentials", "sign-ins")
        begun = await self._caller.call("POST", where, body, seconds=TEST_SECONDS)
        return _SIGN_IN.validate_python(begun)

    async def sign_in_view(self, sign_in: str) -> SignInView:
        where = path("credentials", "sign-ins", sign_in)
        return _SIGN_IN.validate_python(await self._caller.call("GET", where))

    async def sign_in_code(self, sign_in: str, code: str) -> SignInView:
        where = path("credentials", "sign-ins", sign_in)
        given = await self._caller.call("POST", where, {"code": code}, seconds=TEST_SECONDS)
        return _SIGN_IN.validate_python(given)

    async def sign_in_cancel(self, sign_in: str) -> SignInView:
        where = path("credentials", "sign-ins", sign_in)
        return _SIGN_IN.validate_python(await self._caller.call("DELETE", where))

    # ---- policy ----

    async def policy(self, *place: str) -> PolicyView:
        """Of the deployment; or of `workspaces`, ID; or `conversations`, ID."""
        return _POLICY.validate_python(await self._caller.call("GET", path(*place, "policy")))

    async def set_mode(self, place: tuple[str, ...], mode: str | None, by: str) -> PolicyView:
        body = {"mode": mode, "by": by}
        where = path(*place, "policy", "mode")
        return _POLICY.validate_python(await self._caller.call("PUT", where, body))

    async def set_ceiling(self, ceiling: Ceiling | None, by: str) -> PolicyView:
        body = {"ceiling": ceiling, "by": by}
        where = path("policy", "ceiling")
        return _POLICY.validate_python(await self._caller.call("PUT", where, body))

    async def change_rule(
        self, method: str, place: tuple[str, ...], behavior: Behavior, pattern: str, by: str
    ) -> PolicyView:
        body = {"behavior": behavior, "pattern": pattern, "by": by}
        where = path(*place, "policy", "rules")
        return _POLICY.validate_python(await self._caller.call(method, where, body))

    # ---- what there is ----

    async def audit(self, *, after: int = 0, before: int = 0) -> tuple[AuditEntry, ...]:
        """200 entries after a number, oldest first; or those below one, newest first."""
        where = path("audit", after=after, before=before)
        return _AUDIT.validate_python(await self._caller.call("GET", where))

    async def usage(self, since: int) -> tuple[UsageLine, ...]:
        return _USAGE.validate_python(await self._caller.call("GET", path("usage", since=since)))

    async def conversation(self, conversation: str) -> ConversationView:
        where = path("conversations", conversation)
        return _CONVERSATION.validate_python(await self._caller.call("GET", where))

    async def events_so_far(self, turn: str) -> list[events.Event]:
        """What a turn has told until now, however long it goes on. Empty where it is not known."""
        found: list[events.Event] = []
        try:
            async with self._caller.stream(path("turns", turn, "events")) as answer:
                lines = aiter(answer.content)
                while True:
                    async with asyncio.timeout(SILENCE):
                        line = await anext(lines)
                    if line.startswith(b"data:"):
                        event = events.from_json(json.loads(line[5:]))
                        found += [event] if event is not None else []
        except (TimeoutError, StopAsyncIteration, errors.NotFound, ValueError):
            return found

    async def close_conversation(self, conversation: str) -> None:
        await self._caller.call("POST", path("conversations", conversation, "close"), {})

    # ---- workspaces ----

    async def workspace(self, workspace: str) -> WorkspaceView:
        where = path("workspaces", workspace)
        return _WORKSPACE.validate_python(await self._caller.call("GET", where))

    async def files(self, workspace: str, folder: str, after: str = "") -> FileList:
        where = path("workspaces", workspace, "files", path=folder, after=after)
        return _FILES.validate_python(await self._caller.call("GET", where))

    def download(
        self, workspace: str, file: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._caller.stream(path("workspaces", workspace, "file", path=file))

    def export(self, workspace: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._caller.stream(path("workspaces", workspace, "export"))

    async def remove_file(self, workspace: str, file: str) -> None:
        await self._caller.call("DELETE", path("workspaces", workspace, "file", path=file))

    async def instructions(self, workspace: str) -> str:
        """Empty where the workspace is not there yet."""
        where = path("workspaces", workspace, "instructions")
        try:
            return _INSTRUCTIONS.validate_python(await self._caller.call("GET", where)).text
        except errors.NotFound:
            return ""

    async def instruct(self, workspace: str, text: str) -> None:
        where = path("workspaces", workspace, "instructions")
        await self._caller.call("PUT", where, {"text": text})

    async def egress(self, workspace: str) -> WorkspaceEgress:
        where = path("workspaces", workspace, "egress")
        return _EGRESS.validate_python(await self._caller.call("GET", where))

    async def change_egress(self, method: str, workspace: str, pattern: str, by: str) -> None:
        where = path("workspaces", workspace, "egress", pattern=pattern, by=by)
        await self._caller.call(method, where)

    async def reset(self, workspace: str, *, keep_instructions: bool) -> None:
        body: dict[str, Any] = {"keep_instructions": keep_instructions}
        where = path("workspaces", workspace, "reset")
        await self._caller.call("POST", where, body, seconds=TEST_SECONDS)

    async def remove_workspace(self, workspace: str) -> None:
        await self._caller.call("DELETE", path("workspaces", workspace), seconds=TEST_SECONDS)
