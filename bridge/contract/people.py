"""People, those who ask to be let in, and the rules that let whole groups in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

STRICT: dict[str, Any] = {"extra": "forbid", "str_strip_whitespace": False}

Role: TypeAlias = Literal["operator", "admin", "member", "blocked", "removed"]
GivenRole: TypeAlias = Literal["operator", "admin", "member"]
RuleKind: TypeAlias = Literal["team", "channel", "group"]
PAGE = 50
"""People, or conversations, of one answer; `next` leads on."""
NAME_LIMIT = 80


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account on a platform. Of `web` is one who claimed the deployment on its pages."""

    platform: str
    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class PersonView:
    """Somebody the deployment knows. `admitted`: by host, claim, person or rule."""

    id: str
    name: str
    role: Role
    workspace: str
    admitted: str
    since: float
    """Seconds since the epoch."""
    accounts: tuple[AccountView, ...] = ()


@dataclass(frozen=True, slots=True)
class StrangerView:
    """Somebody who wrote and is not let in; `code` is what lets them in."""

    name: str
    account: AccountView
    code: str


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """By rank and name. `next`: ask again with this as `after`; None: this was all."""

    people: tuple[PersonView, ...]
    strangers: tuple[StrangerView, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class LetIn:
    """What `POST /v1/people` takes. `by` is the person who does it, here and below: what they may
    do is looked up again."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    code: str
    by: str


@dataclass(frozen=True, slots=True)
class SetRole:
    """What `PUT /v1/people/{id}/role` takes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    role: GivenRole
    by: str


@dataclass(frozen=True, slots=True)
class EndPerson:
    """What `POST /v1/people/{id}/end` takes: what runs for them stops at once."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    how: Literal["blocked", "removed"]
    by: str


@dataclass(frozen=True, slots=True)
class Said:
    """What came of it, in words for the person who did it."""

    text: str


@dataclass(frozen=True, slots=True)
class ClaimView:
    """Whether nobody runs the deployment yet."""

    needed: bool


@dataclass(frozen=True, slots=True)
class NewClaim:
    """What `POST /v1/claim` takes. `address` is where it comes from: wrong codes of one are
    counted."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    code: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class AccessRuleView:
    """`value` is the platform's id of the channel or group; empty for a whole team or server."""

    number: int
    platform: str
    tenant: str
    kind: RuleKind
    value: str


@dataclass(frozen=True, slots=True)
class NewAccessRule:
    """What `POST /v1/access` takes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    platform: str
    tenant: str
    kind: RuleKind
    value: str
    by: str


@dataclass(frozen=True, slots=True)
class By:
    """What actions take that need to know only who does them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    by: str


@dataclass(frozen=True, slots=True)
class LinkState:
    """Where linking a second account stands: the code, once begun; the account that agreed."""

    code: str = ""
    agreed: AccountView | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class RemoveAccount:
    """What `POST /v1/people/{id}/accounts/remove` takes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    account: AccountView
    by: str
