"""The gateway of the double: HELLO, IDENTIFY, heartbeats, READY, RESUME, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.adapters.discord_double.world import CONTENT_INTENT, DM, JSON, World

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11


@dataclass(eq=False)
class Session:
    """What Discord remembers of one IDENTIFY, over its connections."""

    id: str
    intents: int
    shard: list[int]
    seq: int = 0
    sent: list[JSON] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    deflate: Any = None


class Gateway:
    """`identifies` and `resumes` count; `refuse` is a close code for the next IDENTIFY."""

    def __init__(self, world: World, url: str = "", *, shards: int = 1) -> None:
        self.world = world
        self.url = url
        self.shards = shards
        self.sessions: dict[str, Session] = {}
        self.identifies = 0
        self.resumes = 0
        self.heartbeats = 0
        self.remaining = 999
        """IDENTIFYs that are left today."""
        self.refuse: list[int] = []
        self.numbers = False
        """Ids go out as numbers, as some other servers have them."""
        self.late_guilds = False
        """Channels and threads of the server are not told when it connects."""
        self.changed = asyncio.Event()

    @property
    def live(self) -> list[Session]:
        return [s for s in self.sessions.values() if s.socket is not None and not s.socket.closed]

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, autoclose=True, timeout=1.0)
        await socket.prepare(request)
        stream = request.query.get("compress") == "zlib-stream"
        deflate = zlib.compressobj() if stream else None
        await _send(socket, deflate, {"op": HELLO, "d": {"heartbeat_interval": 20_000}})
        session: Session | None = None
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            if said["op"] == HEARTBEAT:
                self.heartbeats += 1
                await _send(socket, deflate, {"op": ACK})
            elif said["op"] == IDENTIFY:
                session = await self._identify(socket, deflate, said["d"])
            elif said["op"] == RESUME:
                session = await self._resume(socket, deflate, said["d"])
            self._tell()
        if session is not None and session.socket is socket:
            session.socket = None
        self._tell()
        return socket

    async def _identify(
        self, socket: web.WebSocketResponse, deflate: Any, said: JSON
    ) -> Session | None:
        self.identifies += 1
        if self.refuse:
            await socket.close(code=self.refuse.pop(0))
            return None
        if said["token"] != self.world.token:
            await socket.close(code=4004, message=b"Authentication failed.")
            return None
        if said["intents"] & CONTENT_INTENT and not self.world.content_intent:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        made = Session(secrets.token_hex(8), said["intents"], said.get("shard", [0, 1]))
        made.socket, made.deflate = socket, deflate
        self.sessions[made.id] = made
        guild = self.world.guild_id
        await self.dispatch(made, "READY", {
            "v": 10, "user": self.world.bot, "session_id": made.id, "shard": made.shard,
            "resume_gateway_url": self.url, "guilds": [{"id": guild, "unavailable": True}],
            "application": {"id": self.world.bot["id"], "flags": 0}, "private_channels": [],
        })  # fmt: skip
        if self._shard_of(guild) == made.shard[0]:
            told = self.world.guild()
            if self.late_guilds:
                told = {**told, "channels": [], "threads": []}
            await self.dispatch(made, "GUILD_CREATE", told)
        return made

    async def _resume(
        self, socket: web.WebSocketResponse, deflate: Any, said: JSON
    ) -> Session | None:
        session = self.sessions.get(said["session_id"])
        if session is None:
            await _send(socket, deflate, {"op": INVALID, "d": False})
            return None
        self.resumes += 1
        session.socket, session.deflate = socket, deflate
        for event in [e for e in session.sent if e["s"] > said["seq"]]:
            await _send(socket, deflate, event)
        await self.dispatch(session, "RESUMED", {})
        return session

    async def dispatch(self, session: Session, event: str, data: JSON) -> None:
        """To this session, now or once it resumes."""
        session.seq += 1
        value = {"op": DISPATCH, "t": event, "s": session.seq, "d": data}
        if self.numbers:
            value = _numbered(value)
        session.sent.append(value)
        if session.socket is not None and not session.socket.closed:
            try:
                await _send(session.socket, session.deflate, value)
            except ConnectionError:
                session.socket = None

    async def tell(self, event: str, data: JSON, *, channel: str = "") -> None:
        """An event to whom it concerns: direct messages are on shard 0."""
        at = self.world.channels.get(channel) or {}
        direct = bool(channel) and at.get("type") == DM
        for session in list(self.sessions.values()):
            if session.shard[0] != (0 if direct else self._shard_of(self.world.guild_id)):
                continue
            shown = data
            if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and "mentions" in data:
                shown = self.world.visible(data, session.intents)
                if not direct:
                    author = data["author"]["id"]
                    shown = {**shown, "guild_id": self.world.guild_id}
                    if author in self.world.roles:
                        shown["member"] = self.world.member(author)
            await self.dispatch(session, event, shown)

    async def drop(self) -> None:
        """Every connection breaks, without a word."""
        for session in self.live:
            assert session.socket is not None
            if (transport := session.socket._req.transport) is not None:  # type: ignore[union-attr]
                transport.abort()
            session.socket = None

    async def reconnect(self) -> None:
        """Discord asks every connection to come again."""
        for session in self.live:
            await _send(session.socket, session.deflate, {"op": RECONNECT, "d": None})

    async def invalidate(self) -> None:
        """The sessions are over; nothing of them can be had again."""
        live, self.sessions = self.live, {}
        for session in live:
            await _send(session.socket, session.deflate, {"op": INVALID, "d": False})

    async def close(self, code: int) -> None:
        for session in self.live:
            assert session.socket is not None
            await session.socket.close(code=code)

    async def until(self, check: Any, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not check():
                self.changed.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()
                except TimeoutError:
                    continue

    def _shard_of(self, guild: str) -> int:
        return (int(guild) >> 22) % self.shards

    def _tell(self) -> None:
        self.changed.set()


async def _send(socket: web.WebSocketResponse | None, deflate: Any, value: JSON) -> None:
    assert socket is not None
    text = json.dumps(value)
    if deflate is None:
        await socket.send_str(text)
    else:
        data = deflate.compress(text.encode()) + deflate.flush(zlib.Z_SYNC_FLUSH)
        await socket.send_bytes(data)


def _numbered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _as_number(k, v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbered(v) for v in value]
    return value


def _as_number(key: str, value: Any) -> Any:
    ids = key == "id" or (key.endswith("_id") and key not in ("session_id", "custom_id"))
    if ids and isinstance(value, str) and value.isdecimal():
        return int(value)
    if key in ("roles", "mention_roles") and isinstance(value, list):
        return [int(v) if isinstance(v, str) else _numbered(v) for v in value]
    return _numbered(value)
