"""What the agent service refuses or fails at, as a tree and as JSON.

    ServiceError                    code                 status
    ├── BadRequest                  bad_request          400   a field is wrong; `field` names it
    ├── NotAuthentic                not_authentic        401   the signature, its age or its nonce
    ├── Forbidden                   forbidden            403   this caller may not do this
    ├── NotFound                    not_found            404
    ├── Conflict                    conflict             409   the id is used for something else
    │   └── AlreadyDecided          already_decided      409   `decided_by` and `outcome` say how
    ├── TooLarge                    too_large            413
    ├── Overloaded                  overloaded           429   `retry_after` seconds
    ├── StorageFull                 storage_full         507   nothing was stored
    └── Unavailable                 unavailable          503   starting, stopping or unreachable

On the wire: `{"error": {"code", "message", "remedy", ...fields}}`. `message` says what happened
and `remedy` what the reader can do; both are fit for a person and never hold a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ServiceError(Exception):
    """Base of all answers that are not what was asked for."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields = fields

    def as_json(self) -> dict[str, Any]:
        """The body that `from_json` turns back into this error."""
        error = {"code": self.code, "message": self.message, "remedy": self.remedy, **self.fields}
        return {"error": error}


class BadRequest(ServiceError):
    code = "bad_request"
    status = 400


class NotAuthentic(ServiceError):
    code = "not_authentic"
    status = 401


class Forbidden(ServiceError):
    code = "forbidden"
    status = 403


class NotFound(ServiceError):
    code = "not_found"
    status = 404


class Conflict(ServiceError):
    code = "conflict"
    status = 409


class AlreadyDecided(Conflict):
    code = "already_decided"


class TooLarge(ServiceError):
    code = "too_large"
    status = 413


class Overloaded(ServiceError):
    code = "overloaded"
    status = 429


class StorageFull(ServiceError):
    code = "storage_full"
    status = 507


class Unavailable(ServiceError):
    code = "unavailable"
    status = 503


def _tree(base: type[ServiceError]) -> dict[str, type[ServiceError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        found |= _tree(child)
    return found


def from_json(body: object, status: int) -> ServiceError:
    """The error that a response body stands for; a body of another make gives `Unavailable`."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return Unavailable(f"The agent service answered {status} without saying why.")
    fields = {k: v for k, v in error.items() if k not in {"code", "message", "remedy"}}
    kind = _tree(ServiceError).get(error["code"], ServiceError)
    return kind(str(error.get("message", "")), remedy=str(error.get("remedy", "")), **fields)
