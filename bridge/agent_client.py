"""Signed calls to the agent service over its Unix socket."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import aiohttp
import structlog
from yarl import URL

from agent_service.contract import (
    DecisionAnswer,
    DecisionView,
    PolicyRule,
    PolicyView,
    TurnView,
    UsageBy,
    UsageSum,
    errors,
    events,
    signing,
)
from agent_service.contract.events import FeedEntry, NumberedEvent, TurnFinished, TurnWaiting
from bridge.agent_stream import read_events

log = structlog.get_logger()

AUDIENCE = "agent:main"
CALLER = "bridge"
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
MOST_FRUITLESS = 20
"""Streams in a row that bring nothing new, with pauses for about half a minute."""


class Unreached(errors.Unavailable):
    """No connection: the service cannot have received the call."""


class Untold(errors.ServiceError):
    """The service answers, and does not say how a turn goes on."""


class Patience:
    """How long an unreachable service is put up with, and when the person hears of it."""

    def __init__(
        self,
        limit: float,
        *,
        tell_after: float = 1.0,
        tell: Callable[[], None] = lambda: None,
        tell_well: Callable[[], None] = lambda: None,
        told: bool = False,
    ) -> None:
        """`tell` is called once a trouble lasts longer than `tell_after`, `tell_well` after it;
        `told`: after an earlier one."""
        self._limit = limit
        self._tell_after = tell_after
        self._tell, self._tell_well = tell, tell_well
        self._since: float | None = None
        self._told = False
        self._owed = told
        self._pause = FIRST_PAUSE
        self.answers = 0
        """How often it answered."""

    def well(self) -> None:
        """It answers."""
        self.answers += 1
        if self._told or self._owed:
            self._tell_well()
        self._since, self._told, self._pause = None, False, FIRST_PAUSE
        self._owed = False

    async def trouble(self, error: errors.ServiceError) -> None:
        """Wait before the next try; raises `error` when that has gone on for too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        lasted = now - self._since
        if lasted >= self._limit:
            raise error
        if lasted >= self._tell_after and not self._told:
            self._told = True
            why = str(error.__cause__ or error)
            log.warning("agent service not reachable, trying again", error=why)
            self._tell()
        asked = error.fields.get("retry_after", 0)
        pause = max(self._pause, float(asked) if isinstance(asked, int | float) else 0.0)
        # Never sleep past the moment at which the person should hear of it, or past the end.
        soonest = self._limit if self._told else min(self._tell_after, self._limit)
        await asyncio.sleep(max(0.01, min(pause, soonest - lasted)))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


TRANSIENT = (errors.Unavailable, errors.Overloaded)
"""What goes away by itself: trying again is right."""


class AgentClient:
    """The bridge's side of `/v1`. Every call, and every reconnect, is signed anew."""

    def __init__(
        self,
        socket: Path,
        keys: list[str],
        *,
        clock: Callable[[], float] = time.time,
        call_timeout: float = 15.0,
        silence_timeout: float = 40.0,
    ) -> None:
        """A stream that is silent for longer than `silence_timeout` (heartbeats come every 15 s)
        is taken for dead and opened again."""
        self._signer = signing.Signer(CALLER, AUDIENCE, keys)
        self._clock = clock
        self._socket = socket
        self._call_timeout = aiohttp.ClientTimeout(total=call_timeout)
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=call_timeout, sock_read=silence_timeout
        )
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def put_turn(self, turn_id: str, request: dict[str, Any]) -> TurnView:
        """Start the turn, or learn how it stands. Harmless to repeat with the same request."""
        data = await self.call("PUT", f"/v1/turns/{turn_id}", request, turn_id)
        return TurnView(**known(TurnView, data))

    async def turn(self, turn_id: str) -> TurnView:
        """How a turn stands. Raises `NotFound`."""
        data = await self.call("GET", f"/v1/turns/{turn_id}", None, turn_id)
        return TurnView(**known(TurnView, data))

    async def interrupt(self, turn_id: str, by: str = "") -> None:
        """Ask the turn to end, for this person. Its end comes as an event. Harmless to repeat."""
        await self.call("POST", f"/v1/turns/{turn_id}/interrupt", {"by": by}, turn_id)

    async def decide(self, turn_id: str, decision_id: str, answer: DecisionAnswer) -> DecisionView:
        """Answer a decision; the first answer wins. Raises `AlreadyDecided` for later ones."""
        path = f"/v1/turns/{turn_id}/decisions/{decision_id}"
        data = await self.call("POST", path, asdict(answer), turn_id)
        return DecisionView(**known(DecisionView, data))

    async def decision(self, turn_id: str, decision_id: str) -> DecisionView:
        """How a decision stands. Raises `NotFound`."""
        path = f"/v1/turns/{turn_id}/decisions/{decision_id}"
        data = await self.call("GET", path, None, turn_id)
        return DecisionView(**known(DecisionView, data))

    async def refused(self, turn_id: str, decision_id: str, who: str, why: str) -> None:
        """Note that an answer was not taken because of who gave it."""
        path = f"/v1/turns/{turn_id}/decisions/{decision_id}/refused"
        await self.call("POST", path, {"who": who, "why": why})

    async def policy(self, place: str) -> PolicyView:
        """Mode and rules of `/v1/policy`, or of one workspace or conversation by its path."""
        return _policy(await self.call("GET", f"{place}/policy", None))

    async def set_mode(self, place: str, mode: str | None, by: str) -> PolicyView:
        """Raises `Forbidden` for one above the deployment's ceiling."""
        body = {"mode": mode, "by": by}
        return _policy(await self.call("PUT", f"{place}/policy/mode", body))

    async def change_rule(
        self, method: Literal["PUT", "DELETE"], place: str, behavior: str, pattern: str, by: str
    ) -> PolicyView:
        """Add a rule, or take one back. Raises `BadRequest` for one that is none."""
        body = {"behavior": behavior, "pattern": pattern, "by": by}
        return _policy(await self.call(method, f"{place}/policy/rules", body))

    async def conversation(self, conversation: str) -> dict[str, Any]:
        """How a conversation stands. Raises `NotFound` before its first turn."""
        return await self.call("GET", f"/v1/conversations/{conversation}", None)

    async def close_session(self, conversation: str) -> None:
        """Close a conversation's idle session, and deny what waits in it. Harmless where there is
        none."""
        try:
            await self.call("POST", f"/v1/conversations/{conversation}/close", {})
        except errors.NotFound:
            return

    async def usage(self, since: float, by: UsageBy, person: str) -> list[UsageSum]:
        """What was used since then, the dearest first; of one person, or with an empty one of
        all."""
        of = f"&person={person}" if person else ""
        data = await self._json("GET", f"/v1/usage/sums?since={int(since)}&by={by}{of}", None, "")
        return [UsageSum(**known(UsageSum, one)) for one in data] if isinstance(data, list) else []

    async def metrics(self) -> bytes:
        """Its counts, in Prometheus' text format. Raises `ServiceError`."""
        try:
            async with self.open().get(
                self.url("/metrics"),
                middlewares=(self.signing("GET", "/metrics", b"", ""),),
                timeout=self._call_timeout,
            ) as response:
                if response.status != 200:
                    raise errors.from_json(await body_of(response), response.status)
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(error) from error

    async def set_deciders(self, workspace: str, people: tuple[str, ...], by: str) -> None:
        """From now on the answers of these people count there, and of nobody else."""
        body = {"people": people, "by": by}
        await self.call("PUT", f"/v1/workspaces/{workspace}/deciders", body)

    async def warm(self, conversation: str, workspace: str, person: str, *, own: bool) -> None:
        """A message of this person will probably come: get ready. `own` as in `TurnRequest`."""
        body = {"workspace": workspace, "person": person, "own": own}
        await self.call("POST", f"/v1/conversations/{conversation}/warm", body)

    async def healthy(self) -> bool:
        """Whether the service answers and says it can work."""
        try:
            await self.call("GET", "/readyz", None)
        except errors.ServiceError:
            return False
        return True

    async def events(
        self, turn_id: str, *, through: int, patience: Patience
    ) -> AsyncGenerator[NumberedEvent, None]:
        """Every event of the turn from its first, in order, each once.

        Ends with the `turn.finished`, or the `turn.waiting` after number `through`; reconnects
        until then. Raises a `ServiceError` that trying again cannot help, such as `NotFound`.
        """
        after, fruitless = 0, 0
        while True:
            before, answers = after, patience.answers
            try:
                path = f"/v1/turns/{turn_id}/events?after={after}"
                async with aclosing(self._stream(path, turn_id, patience)) as stream:
                    async for number, data in stream:
                        event = events.from_json(data)
                        if number <= after or event is None:
                            continue
                        after = number
                        yield NumberedEvent(number, event)
                        if isinstance(event, TurnFinished):
                            return
                        if isinstance(event, TurnWaiting) and number > through:
                            return
            except TRANSIENT as error:
                await patience.trouble(error)
                if patience.answers == answers:
                    continue
            # It ended the stream, as it must after a `turn.waiting` that is behind us, or broke it.
            fruitless = fruitless + 1 if after == before else 0
            if fruitless > MOST_FRUITLESS:
                raise Untold("The agent service does not tell how the turn goes on.")
            await asyncio.sleep(min(FIRST_PAUSE * 2**fruitless, LONGEST_PAUSE) if fruitless else 0)

    async def feed(self, after: int) -> AsyncGenerator[FeedEntry | None, None]:
        """Turns that changed state, for ever; reconnects by itself.

        None where the service turns out to have another database than before, whose feed has not
        come as far as `after`: it is read from its start then.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                last = (await self.call("GET", "/v1/feed/last", None)).get("seq")
                if isinstance(last, int) and last < after:
                    after = 0
                    yield None
                async with aclosing(self._stream(f"/v1/feed?after={after}", "", None)) as stream:
                    async for number, data in stream:
                        pause = FIRST_PAUSE
                        after = number
                        yield FeedEntry(**known(FeedEntry, data))
            except (errors.ServiceError, TypeError) as error:
                log.debug("feed interrupted", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _stream(
        self, path: str, turn_id: str, patience: Patience | None
    ) -> AsyncGenerator[tuple[int, dict[str, Any]], None]:
        try:
            async with self.open().get(
                self.url(path),
                headers={"Accept": "text/event-stream"},
                middlewares=(self.signing("GET", path, b"", turn_id),),
                timeout=self._stream_timeout,
            ) as response:
                if response.status != 200:
                    raise errors.from_json(await body_of(response), response.status)
                if patience is not None:
                    patience.well()
                async for number, data in read_events(response.content.iter_any()):
                    yield number, json.loads(data)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise unavailable(error) from error

    async def call(
        self, method: str, path: str, body: object | None, request_id: str = ""
    ) -> dict[str, Any]:
        """One call whose answer is a JSON object. Raises `ServiceError`."""
        answer = await self._json(method, path, body, request_id)
        return answer if isinstance(answer, dict) else {}

    async def _json(self, method: str, path: str, body: object | None, request_id: str) -> object:
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"} if raw else {}
        try:
            async with self.open().request(
                method,
                self.url(path),
                data=io.BytesIO(raw) if raw else None,
                headers=headers,
                middlewares=(self.signing(method, path, raw, request_id),),
                timeout=self._call_timeout,
            ) as response:
                answer = await body_of(response)
                if response.status >= 300:
                    raise errors.from_json(answer, response.status)
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(error) from error

    def open(self) -> aiohttp.ClientSession:
        """The connections to the service."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._socket), limit=0),
                auto_decompress=False,
            )
        return self._session

    def signing(
        self, method: str, path: str, body: bytes, request_id: str
    ) -> aiohttp.ClientMiddlewareType:
        """Signs each attempt at a call with this body."""
        return self.signing_of(method, path, hashlib.sha256(body).hexdigest(), request_id)

    def signing_of(
        self, method: str, path: str, body_sha256: str, request_id: str
    ) -> aiohttp.ClientMiddlewareType:
        """Signs each attempt anew: aiohttp repeats by itself a call whose connection broke, and
        one that had arrived would be refused as a replay."""

        async def sign(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            request.headers["Authorization"] = self._signer.header_of(
                method, path, body_sha256, now=self._clock(), request_id=request_id
            )
            return await send(request)

        return sign

    def url(self, path: str) -> URL:
        """Where a path with its query is, exactly as it is signed."""
        return URL(f"http://agent{path}", encoded=True)


def unavailable(error: Exception) -> errors.Unavailable:
    """What a connection that failed means to a person; raised from it, for the log."""
    kind = Unreached if isinstance(error, aiohttp.ClientConnectorError) else errors.Unavailable
    return kind(
        "The agent service is not reachable.",
        remedy="Ask an operator whether the agent service is running: `bascule doctor` says.",
    )


async def body_of(response: aiohttp.ClientResponse) -> object:
    """The JSON of an answer; None where it is none."""
    try:
        return json.loads(await response.read())
    except ValueError:
        return None


def _policy(data: dict[str, Any]) -> PolicyView:
    rules = tuple(PolicyRule(**known(PolicyRule, rule)) for rule in data.get("rules", ()))
    return PolicyView(**{**known(PolicyView, data), "rules": rules})


def known(kind: type[Any], data: dict[str, Any]) -> dict[str, Any]:
    """The fields this version knows: a newer service may send more."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in data.items() if name in names}
