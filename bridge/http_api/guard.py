"""The guard before every call of the web admin: signature, age, caller, size, nonce, body; in this
order, as the agent service has it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from agent_service.contract.errors import (
    BadRequest,
    NotAuthentic,
    NotFound,
    ServiceError,
    StorageFull,
    TooLarge,
    Unavailable,
)
from agent_service.contract.signing import MAX_AGE, MAX_AHEAD, CallRefused, Verifier
from agent_service.contract.turns import ID_PATTERN
from bridge.contract import AUDIENCE
from bridge.engine.inbox import remember
from bridge.http_api.routes import BODY_LIMIT, Handler, Route, key
from bridge.store.database import Database
from bridge.store.errors import StoreFull, StoreTrouble
from bridge.store.schema import seen

log = structlog.get_logger()
T = TypeVar("T")
RAW_BODY = web.RequestKey("raw_body", bytes)
KEYS = "Both sides need the same key file (secrets/admin.keys) and clocks that agree."
_ID = re.compile(ID_PATTERN)
PREFIX = "admin:call:"
FORGET_EVERY = 50


class Guard:
    """aiohttp middleware. Its only caller is the web admin."""

    def __init__(
        self,
        db: Database,
        keys: Sequence[str],
        routes: Sequence[Route],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError for a key that is too short."""
        self._db = db
        self._verifier = Verifier(AUDIENCE, {"admin": keys})
        self._routes = {key(route.method, route.path) for route in routes}
        self._clock = clock
        self._calls = 0

    def middleware(self) -> Any:
        @web.middleware
        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            try:
                return await self._handle(request, handler)
            except ServiceError as error:
                return _answer(error)
            except CallRefused as error:
                log.warning("call refused", method=request.method, reason=str(error))
                return _answer(NotAuthentic(f"The call was refused: {error}.", remedy=KEYS))
            except StoreFull as error:
                return _answer(StorageFull(str(error), remedy=error.remedy))
            except StoreTrouble as error:
                return _answer(Unavailable(str(error), remedy=error.remedy))
            except (web.HTTPException, ConnectionResetError):
                raise
            except Exception:
                log.exception("call failed", method=request.method, path=request.path)
                return _answer(
                    ServiceError("Something went wrong inside the bridge.", remedy="See its log.")
                )

        return guard

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = self._verifier.verify(
            request.headers.get("Authorization"),
            request.method,
            request.raw_path,
            now=self._clock(),
        )
        resource = request.match_info.route.resource
        if resource is None or key(request.method, resource.canonical) not in self._routes:
            raise NotFound("No such route.")
        if (request.content_length or 0) > BODY_LIMIT:
            raise TooLarge(f"The request is over {BODY_LIMIT:,} bytes.")
        if not await self._db.tx(self._first_time, call.nonce):
            raise NotAuthentic("The call was refused: it was made before.", remedy=KEYS)
        data = bytearray()
        async for part in request.content.iter_any():
            data += part
            if len(data) > BODY_LIMIT:
                raise TooLarge(f"The request is over {BODY_LIMIT:,} bytes.")
        call.check_body(hashlib.sha256(data).hexdigest())
        request[RAW_BODY] = bytes(data)
        return await handler(request)

    def _first_time(self, con: sa.Connection, nonce: str) -> bool:
        self._calls += 1
        if self._calls % FORGET_EVERY == 0:
            # No token that holds one of these can be accepted any more.
            old = seen.c.at < self._db.now - MAX_AGE - MAX_AHEAD
            con.execute(seen.delete().where(seen.c.key.like(f"{PREFIX}%"), old))
        return remember(con, self._db, [f"{PREFIX}{nonce}"])


def _answer(error: ServiceError) -> web.Response:
    return web.json_response(error.as_json(), status=error.status)


def parsed(request: web.Request, adapter: TypeAdapter[T]) -> T:
    """The body as what the route takes. Raises `BadRequest` that names the field."""
    try:
        return adapter.validate_json(request[RAW_BODY], strict=True)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "body"
        raise BadRequest(f"{where}: {problem['msg']}.", field=where) from None


def identifier(request: web.Request, name: str) -> str:
    """A path parameter that is an id. Raises `BadRequest`."""
    value = request.match_info[name]
    if not _ID.fullmatch(value):
        raise BadRequest(f"{name}: not an id.", field=name)
    return value


def reply(value: Any, adapter: TypeAdapter[Any]) -> web.Response:
    """A dataclass of the contract as JSON."""
    return web.Response(body=adapter.dump_json(value), content_type="application/json")
