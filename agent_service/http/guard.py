"""The guard before every handler: signature, age, caller, size, nonce, body; in this order."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import structlog
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from agent_service.contract.errors import (
    BadRequest,
    Forbidden,
    NotAuthentic,
    NotFound,
    ServiceError,
    StorageFull,
    TooLarge,
)
from agent_service.contract.signing import Call, CallRefused, Verifier
from agent_service.contract.turns import ID_PATTERN
from agent_service.http.routes import Route, key
from agent_service.store import nonces
from agent_service.store.database import Database, StoreFull
from agent_service.workspaces.uploads import Upload, Uploads

_log = structlog.get_logger(__name__)
_ID = re.compile(ID_PATTERN)
T = TypeVar("T")

CALL = web.RequestKey("call", Call)
KEYS = "Callers sign each call anew, with a key that both sides have and clocks that agree."
RAW_BODY = web.RequestKey("raw_body", bytes)
UPLOAD = web.RequestKey("upload", Upload)


class Guard:
    """aiohttp middleware for the routes of one service."""

    def __init__(
        self,
        verifier: Verifier,
        database: Database,
        routes: list[Route],
        uploads: Uploads,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._verifier = verifier
        self._database = database
        self._routes = {key(r.method, r.path): r for r in routes}
        self._uploads = uploads
        self._clock = clock

    def middleware(self) -> Any:
        @web.middleware
        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            try:
                return await self._handle(request, handler)
            except ServiceError as error:
                return _answer(error)
            except StoreFull as error:
                return _answer(StorageFull(str(error), remedy=error.remedy))
            except CallRefused as error:
                _log.warning("call.refused", method=request.method, reason=str(error))
                return _answer(NotAuthentic(f"The call was refused: {error}.", remedy=KEYS))
            except (web.HTTPException, ConnectionResetError):
                raise
            except Exception:  # noqa: BLE001 - the caller gets an answer it can show, we the trace
                _log.exception("call.failed", method=request.method, path=request.path)
                failed = ServiceError(
                    "Something went wrong inside the agent service.",
                    remedy="An operator finds the reason in its log.",
                )
                return _answer(failed)

        return guard

    async def _handle(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = self._routes.get(key(request.method, resource.canonical)) if resource else None
        if route is not None and route.public:
            return await handler(request)
        now = self._clock()
        call = self._verifier.verify(
            request.headers.get("Authorization"), request.method, request.raw_path, now=now
        )
        if route is None:
            raise NotFound("No such route.", remedy="See /v1/openapi.json.")
        if call.caller not in route.callers:
            raise Forbidden(f"The {call.caller} may not call this.")
        if (request.content_length or 0) > route.body_limit:
            raise _too_large(route)
        if not await self._database.tx(nonces.remember, call.nonce, call.remember_until, now):
            raise NotAuthentic("The call was refused: it was made before.", remedy=KEYS)
        request[CALL] = call
        with structlog.contextvars.bound_contextvars(request_id=call.request_id):
            if route.upload:
                return await self._take_upload(request, route, call, handler)
            data = b"".join([part async for part in _parts(request, route)])
            call.check_body(hashlib.sha256(data).hexdigest())
            request[RAW_BODY] = data
            return await handler(request)

    async def _take_upload(
        self,
        request: web.Request,
        route: Route,
        call: Call,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        async with self._uploads.new() as upload:
            async for part in _parts(request, route):
                await upload.write(part)
            call.check_body(await upload.seal())
            request[UPLOAD] = upload
            return await handler(request)


async def _parts(request: web.Request, route: Route) -> AsyncIterator[bytes]:
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > route.body_limit:
            raise _too_large(route)
        yield part


def _too_large(route: Route) -> TooLarge:
    return TooLarge(f"The request is over {route.body_limit:,} bytes.", remedy="Send less at once.")


def _answer(error: ServiceError) -> web.Response:
    headers = {}
    if isinstance(after := error.fields.get("retry_after"), (int, float)):
        headers["Retry-After"] = str(int(after))
    return web.json_response(error.as_json(), status=error.status, headers=headers)


def parsed(request: web.Request, adapter: TypeAdapter[T]) -> T:
    """The body as what the route takes. Raises `BadRequest` that names the field."""
    try:
        # Strict, so that "5" is no number and "yes" no truth value.
        return adapter.validate_json(request[RAW_BODY], strict=True)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadRequest(
            f"{where or 'The body'}: {problem['msg']}.", field=where or "body"
        ) from None


def identifier(request: web.Request, name: str) -> str:
    """A path parameter that is an id. Raises `BadRequest`."""
    return checked_id(request.match_info[name], name)


def checked_id(value: str, name: str) -> str:
    """The id itself. Raises `BadRequest` for anything that could be more than a name."""
    if not _ID.fullmatch(value):
        raise BadRequest(
            f"{name}: not an id.",
            remedy="Ids are letters, digits, - and _, at most 64, beginning with one of the first.",
            field=name,
        )
    return value


def number(request: web.Request, name: str) -> int:
    """A query parameter that is a whole number from 0; 0 where absent. Raises `BadRequest`."""
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"{name}: not a whole number from 0.", field=name)
    return int(text)


def text(request: web.Request, name: str) -> str:
    """A query parameter that is text; "" where absent. Raises `BadRequest` for more than one."""
    given = request.query.getall(name, [""])
    if len(given) > 1:
        raise BadRequest(f"{name}: given more than once.", field=name)
    return given[0]


def reply(value: Any, adapter: TypeAdapter[Any]) -> web.Response:
    """A dataclass of the contract as JSON."""
    return web.Response(body=adapter.dump_json(value), content_type="application/json")


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
