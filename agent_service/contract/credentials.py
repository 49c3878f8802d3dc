"""Credentials as operators see and change them. No view ever holds a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from agent_service.contract.turns import STRICT

CredentialKind: TypeAlias = Literal["api_key", "gateway", "subscription", "console"]
CredentialSource: TypeAlias = Literal["environment", "stored", "sign_in"]
CredentialState: TypeAlias = Literal["active", "in_doubt", "revoked"]
SignInKind: TypeAlias = Literal["subscription", "console"]
SignInState: TypeAlias = Literal[
    "waiting", "checking", "signed_in", "refused", "expired", "cancelled", "failed"
]
TestOutcome: TypeAlias = Literal["works", "refused", "over_limit", "unreachable", "failed"]
RevocationScope: TypeAlias = Literal["credential", "person", "everything"]
StepState: TypeAlias = Literal["open", "done", "failed"]

DEFAULT_CREDENTIAL = "default"
"""The id of the credential that the environment sets (AGENT_API_KEY)."""
SECRET_LIMIT = 4096
"""Characters of a key."""


@dataclass(frozen=True, slots=True)
class CredentialView:
    """One credential. `person` is empty where it serves the whole deployment."""

    id: str
    kind: CredentialKind
    source: CredentialSource
    state: CredentialState
    person: str = ""
    label: str = ""
    fingerprint: str = ""
    """The last characters of a key, to tell it from others."""
    url: str = ""
    reason: str = ""
    """Why it is in doubt or revoked, and what can be done."""
    created_at: float = 0.0
    tested_at: float | None = None


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What `POST /v1/credentials` takes. Without `url` the key is for AGENT_UPSTREAM_URL."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    kind: Literal["api_key", "gateway"]
    secret: str = field(repr=False)
    person: str = ""
    url: str = ""
    label: str = ""
    by: str = ""
    """Who did it, for the audit log."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of a real request to the model with a credential."""

    outcome: TestOutcome
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class NewRevocation:
    """What `POST /v1/revocations` takes. `subject` is a credential's or a person's id."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    scope: RevocationScope
    subject: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class RevocationStep:
    name: str
    state: StepState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RevocationView:
    """A revocation and how far it is. It holds from the moment it is stored; steps that failed are
    taken up again at every start, and when it is asked for again."""

    id: str
    scope: RevocationScope
    subject: str
    by: str
    asked_at: float
    steps: tuple[RevocationStep, ...]
    finished_at: float | None = None
    lifted_at: float | None = None


@dataclass(frozen=True, slots=True)
class Lift:
    """What `POST /v1/revocations/{id}/lift` takes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    by: str = ""


@dataclass(frozen=True, slots=True)
class NewSignIn:
    """What `POST /v1/credentials/sign-ins` takes. It replaces an unfinished one of the person."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    person: str
    kind: SignInKind
    by: str = ""


@dataclass(frozen=True, slots=True)
class SignInCode:
    """What the person was shown after signing in: `code#state`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignInView:
    """A sign-in under way. The person opens `url`, signs in there and brings back a code.

    It lives in memory: after a restart it is not found, and is begun again.
    """

    id: str
    person: str
    kind: SignInKind
    state: SignInState
    url: str
    expires_at: float
    message: str = ""
    remedy: str = ""
    credential: str = ""
    """Once signed in."""
