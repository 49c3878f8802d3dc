"""What a small Discord knows: people, a server, channels, messages. No network here.

Everything is kept as the JSON that the API gives, with ids as strings, as the API has them.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from typing import Any

EPOCH_MS = 1_420_070_400_000
TEXT, DM, GROUP, FORUM, THREAD = 0, 1, 3, 15, 11
PERMISSIONS = {
    "CREATE_INSTANT_INVITE": 0, "ADD_REACTIONS": 6, "VIEW_CHANNEL": 10, "SEND_MESSAGES": 11,
    "MANAGE_MESSAGES": 13, "EMBED_LINKS": 14, "ATTACH_FILES": 15, "READ_MESSAGE_HISTORY": 16,
    "MANAGE_THREADS": 34, "CREATE_PUBLIC_THREADS": 35, "SEND_MESSAGES_IN_THREADS": 38,
}  # fmt: skip
ALL = sum(1 << bit for bit in PERMISSIONS.values())
CONTENT_INTENT = 1 << 15
JSON = dict[str, Any]


class World:
    """A server with a text channel and a forum; Ann and Ben are in it, and so is the bot."""

    def __init__(self, *, content_intent: bool = True) -> None:
        self._count = itertools.count(1)
        self.token = "double-token-" + "x" * 40
        self.content_intent = content_intent
        """Whether the application may have the intent at all."""
        self.installs = ["0", "1"]
        """How the application can be installed: in servers, by people."""
        self.users: dict[str, JSON] = {}
        self.channels: dict[str, JSON] = {}
        self.messages: dict[str, list[JSON]] = defaultdict(list)
        self.marks: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        """message → emoji → users."""
        self.nonces: dict[tuple[str, str], str] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.commands: list[JSON] = []
        self.denied: dict[str, set[str]] = defaultdict(set)
        """channel → permissions that the bot lacks there."""
        self.blocked_by: set[str] = set()
        """Users who take no direct messages from the bot."""
        self.old_edits_refused: set[str] = set()
        """Messages of which an edit gives 30046."""
        self.bot = self.user("Bascule", bot=True)
        self.ann = self.user("ann", global_name="Ann")
        self.ben = self.user("ben", global_name="Ben")
        self.guild_id = self.snowflake()
        self.helpers = self.snowflake()
        """A role that Ann has."""
        self.roles = {self.ann["id"]: [self.helpers], self.ben["id"]: [], self.bot["id"]: []}
        self.general = self.channel("general", TEXT)
        self.forum = self.channel("help", FORUM)

    def snowflake(self) -> str:
        now = int(time.time() * 1000) - EPOCH_MS
        return str((now << 22) | (next(self._count) & 0x3FFFFF))

    def user(self, name: str, *, bot: bool = False, global_name: str | None = None) -> JSON:
        made = {"id": self.snowflake(), "username": name, "discriminator": "0", "avatar": None,
                "global_name": global_name, "bot": bot}  # fmt: skip
        self.users[made["id"]] = made
        return made

    def channel(self, name: str, kind: int, parent: str | None = None) -> str:
        channel = self.snowflake()
        self.channels[channel] = {
            "id": channel, "type": kind, "name": name, "guild_id": self.guild_id, "position": 0,
            "permission_overwrites": [], "parent_id": parent, "last_message_id": None,
            "nsfw": False,
        }  # fmt: skip
        return channel

    def thread(self, name: str, parent: str, thread: str = "", owner: str = "") -> JSON:
        made = {
            "id": thread or self.snowflake(), "type": THREAD, "name": name, "parent_id": parent,
            "guild_id": self.guild_id, "owner_id": owner or self.bot["id"],
            "last_message_id": None, "message_count": 0, "member_count": 2,
            "rate_limit_per_user": 0, "flags": 0,
            "thread_metadata": {
                "archived": False, "auto_archive_duration": 1440, "locked": False,
                "archive_timestamp": "2026-01-01T00:00:00+00:00",
            },
        }  # fmt: skip
        self.channels[made["id"]] = made
        return made

    def direct(self, user: str) -> str:
        """The channel between the bot and this user."""
        for channel in self.channels.values():
            if channel["type"] == DM and channel["recipients"][0]["id"] == user:
                return str(channel["id"])
        made = self.snowflake()
        self.channels[made] = {"id": made, "type": DM, "recipients": [self.users[user]],
                               "last_message_id": None}  # fmt: skip
        return made

    def member(self, user: str) -> JSON:
        return {"user": self.users[user], "roles": self.roles[user], "nick": None, "deaf": False,
                "joined_at": "2026-01-01T00:00:00+00:00", "mute": False, "flags": 0}  # fmt: skip

    def guild(self) -> JSON:
        here = [c for c in self.channels.values() if c.get("guild_id") == self.guild_id]
        return {
            "id": self.guild_id, "name": "Workshop", "owner_id": self.ann["id"], "member_count": 3,
            "roles": [
                self._role(self.guild_id, "@everyone", ALL), self._role(self.helpers, "helpers", 0)
            ],
            "channels": [self.with_denied(c) for c in here if c["type"] != THREAD],
            "threads": [c for c in here if c["type"] == THREAD],
            "members": [self.member(self.bot["id"])], "emojis": [], "features": [],
            "premium_tier": 0, "unavailable": False, "large": False,
            "joined_at": "2026-01-01T00:00:00+00:00", "preferred_locale": "en-US",
        }  # fmt: skip

    def with_denied(self, channel: JSON) -> JSON:
        deny = sum(1 << PERMISSIONS[name] for name in self.denied[channel["id"]])
        overwrite = {"id": self.bot["id"], "type": 1, "allow": "0", "deny": str(deny)}
        return {**channel, "permission_overwrites": [overwrite] if deny else []}

    def _role(self, role: str, name: str, permissions: int) -> JSON:
        return {"id": role, "name": name, "permissions": str(permissions), "position": 0,
                "color": 0, "hoist": False, "managed": False, "mentionable": True,
                "flags": 0}  # fmt: skip

    def lacks(self, channel: str, permission: str) -> bool:
        parent = self.channels[channel].get("parent_id") or channel
        return permission in self.denied[channel] | self.denied[parent]

    def post(
        self, channel: str, author: JSON, content: str, *, message: str = "", **more: Any
    ) -> JSON:
        """A message, as the API gives it."""
        made = {
            "id": message or self.snowflake(), "channel_id": channel, "author": author,
            "content": content, "timestamp": _now(), "edited_timestamp": None, "tts": False,
            "mention_everyone": False, "mention_roles": [], "embeds": [], "pinned": False,
            "mentions": [u for u in self.users.values() if f"<@{u['id']}>" in content],
            "attachments": [], "components": [], "type": 0, "flags": 0, **more,
        }  # fmt: skip
        self.messages[channel].append(made)
        self.channels[channel]["last_message_id"] = made["id"]
        return made

    def attach(self, name: str, data: bytes, base: str, channel: str) -> JSON:
        """A file on the content network; its address ends some day, as Discord's do."""
        attachment = self.snowflake()
        path = f"/attachments/{channel}/{attachment}/file"
        self.files[path] = (name, data)
        return {"id": attachment, "filename": name, "size": len(data), "proxy_url": base + path,
                "url": f"{base}{path}?ex=1&is=2&hm=3",
                "content_type": "application/octet-stream"}  # fmt: skip

    def find(self, channel: str, message: str) -> JSON | None:
        return next((m for m in self.messages[channel] if m["id"] == message), None)

    def visible(self, message: JSON, intents: int) -> JSON:
        """The message as the gateway gives it to a bot with these intents."""
        channel = self.channels[message["channel_id"]]
        mine = message["author"]["id"] == self.bot["id"]
        named = any(u["id"] == self.bot["id"] for u in message["mentions"])
        if intents & CONTENT_INTENT or channel["type"] == DM or mine or named:
            return message
        return {**message, "content": "", "attachments": [], "embeds": [], "components": []}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
