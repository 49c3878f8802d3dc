"""The way out beyond the model: an HTTP proxy that only knows CONNECT and only listed hosts.

Each session has a Unix socket of its own. A name is resolved here, once, and the connection goes to
the address that was looked at, so that a name cannot change its meaning in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agent_service.egress.addresses import is_public
from agent_service.egress.allow import AllowList, PatternInvalid, normal, split

_log = structlog.get_logger(__name__)

LONGEST_HEAD = 16 * 1024
HEAD_SECONDS = 15
CONNECT_SECONDS = 20
MOST_AT_ONCE = 128
"""Connections of one session."""
MOST_REFUSALS = 50
"""Hosts of a session that are kept for whoever follows its turn."""
BY_THE_LISTS = ("not_listed", "not_public")
"""Reasons that somebody decided on; the others are the network's."""
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that was asked for. `reason` is one of the contract's `REFUSALS`, and empty
    where it was made."""

    host: str
    port: int
    allowed: bool
    reason: str = ""
    address: str = ""


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, by the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Network:
    """The world beyond, as the proxies see it. Tests put a stand-in on loopback in its place."""

    resolve: Resolve = resolve
    public: Callable[[str], bool] = is_public
    environment: Mapping[str, str] = field(default_factory=dict)
    """For the sessions: where they find more authorities to trust."""
    connect: Connect = asyncio.open_connection
    readable: Sequence[Path] = ()
    """Files that `environment` names; a sandbox shows them."""


class Refused(Exception):
    """`reason` is one of the contract's `REFUSALS`; the text is for whoever asked."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class EgressProxy:
    """One session's proxy. `attempted` hears of every connection, allowed or not."""

    def __init__(
        self,
        path: Path,
        allowed: Callable[[], AllowList],
        attempted: Callable[[Attempt], None],
        network: Network,
        *,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        """`allowed` is asked at every connection, so that a change acts at once."""
        self._head_seconds = head_seconds
        self.path = path
        self._allowed = allowed
        self._attempted = attempted
        self._network = network
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._targets: dict[asyncio.Task[None], tuple[str, int]] = {}
        """Where those lead that were allowed."""
        self._refusals: dict[Attempt, None] = {}

    async def open(self) -> None:
        """Listen."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._accept, str(self.path), limit=LONGEST_HEAD
        )
        self.path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and break off every connection. Safe to repeat."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def judge_again(self) -> None:
        """The list has changed: break off connections that it does not cover any more."""
        allowed = self._allowed()
        for task, (host, port) in self._targets.items():
            if not allowed.covers(host, port):
                _log.info("egress.broken_off", host=host, port=port)
                task.cancel()

    def take_refusals(self) -> list[Attempt]:
        """What the lists refused since the last time, each host once; at most `MOST_REFUSALS`."""
        found = list(self._refusals)
        self._refusals.clear()
        return found

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_AT_ONCE:
            writer.transport.abort()
            self._tell(Attempt("", 0, allowed=False, reason="too_many"))
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._targets.pop(task, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host, port = "", 0
            try:
                async with asyncio.timeout(self._head_seconds):
                    host, port = await _target(reader)
                far_reader, far_writer = await self._connect(host, port)
            except Refused as error:
                self._tell(Attempt(host, port, allowed=False, reason=error.reason))
                await _refuse(writer, str(error))
                return
            except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                # Who says nothing at all and goes has asked for nothing.
                if not isinstance(error, asyncio.IncompleteReadError) or error.partial:
                    self._tell(Attempt("", 0, allowed=False, reason="no_connect"))
                return
            try:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _both_ways(reader, writer, far_reader, far_writer)
            finally:
                far_writer.transport.abort()
        except OSError:
            pass  # whoever asked is gone
        finally:
            writer.transport.abort()

    async def _connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._allowed().covers(host, port):
            text = f"{host}:{port} is not on the list of allowed hosts; an operator can add it."
            raise Refused("not_listed", text)
        if (task := asyncio.current_task()) is not None:
            self._targets[task] = (host, port)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await self._network.resolve(host, port)
        except (OSError, TimeoutError):
            raise Refused("no_address", f"{host} has no address.") from None
        public = [address for address in addresses if self._network.public(address)]
        if not public:
            raise Refused("not_public", f"{host} leads to an address that is not public.")
        for address in public:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await self._network.connect(address, port)
                self._tell(Attempt(host, port, allowed=True, address=address))
                return streams
        raise Refused("no_answer", f"{host}:{port} does not answer.")

    def _tell(self, attempt: Attempt) -> None:
        if attempt.reason in BY_THE_LISTS and len(self._refusals) < MOST_REFUSALS:
            self._refusals[attempt] = None
        try:
            self._attempted(attempt)
        except Exception:  # noqa: BLE001 - the audit's trouble is not the connection's
            _log.exception("egress.not_recorded", host=attempt.host)


async def _target(reader: asyncio.StreamReader) -> tuple[str, int]:
    """Host and port of a CONNECT. Raises `Refused`."""
    head = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    target = rest.partition(b" ")[0]
    if method != b"CONNECT":
        raise Refused("no_connect", "Only https is possible here, by CONNECT.")
    try:
        host, port = split(target.decode("ascii"))
        return normal(host), port
    except (PatternInvalid, UnicodeError):
        raise Refused("no_host", "That is not a host and a port.") from None


async def _refuse(writer: asyncio.StreamWriter, why: str) -> None:
    # Many programs show the first line of a refused CONNECT, and none its body.
    reason = f"Bascule: {why}".encode("ascii", "replace")
    writer.write(
        b"HTTP/1.1 403 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s\n" % (reason, len(reason) + 1, reason)
    )
    await writer.drain()


async def _both_ways(
    near: asyncio.StreamReader,
    near_writer: asyncio.StreamWriter,
    far: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    ways = {
        asyncio.create_task(pass_on(near, far_writer)),
        asyncio.create_task(pass_on(far, near_writer)),
    }
    try:
        # One side that breaks ends both; one that has said all may still listen.
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
