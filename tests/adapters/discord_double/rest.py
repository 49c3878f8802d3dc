"""The REST side of the double: what the adapter calls, with Discord's errors and rate limits."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.adapters.discord_double.asked import Interactions
from tests.adapters.discord_double.body import Refused, answer, body_of, check_message
from tests.adapters.discord_double.gateway import Gateway
from tests.adapters.discord_double.limits import Limits
from tests.adapters.discord_double.world import DM, JSON, TEXT, World

UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, CANNOT_DM, MISSING = 10003, 10008, 50007, 50013


class Rest:
    def __init__(self, world: World, gateway: Gateway) -> None:
        self.world = world
        self.gateway = gateway
        self.base = ""
        self.log: list[tuple[str, str, Any]] = []
        self.interactions = Interactions(self)
        self.down = 0
        """A status that every post and edit gives while it is not 0."""
        self.lose = 0
        """So many of the next posts are taken and their answers lost."""
        self.limits = Limits()
        self.no_commands = False
        self.largest = 25 * 2**20
        """Bytes of all files of a post."""
        self.redirect = ""
        """Where the content network sends every request, while set."""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20, middlewares=[self._errors])
        api = "/api/v10"
        channel, message = r"/channels/{channel:\d+}", r"/messages/{message:\d+}"
        add = app.router.add_route
        add("GET", api + "/gateway/bot", self._gateway)
        add("GET", api + "/users/@me", self._me)
        add("GET", api + "/oauth2/applications/@me", self._application)
        add("GET", api + "/applications/@me", self._application)
        add("POST", api + "/users/@me/channels", self._open_dm)
        add("GET", api + channel, self._channel)
        add("PATCH", api + channel, self._change_channel)
        add("POST", api + channel + "/typing", self._typing)
        add("GET", api + channel + "/messages", self._history)
        add("POST", api + channel + "/messages", self._post)
        add("GET", api + channel + message, self._message)
        add("PATCH", api + channel + message, self._edit)
        add("DELETE", api + channel + message, self._delete)
        add("POST", api + channel + message + "/threads", self._thread)
        add("PUT", api + channel + message + "/reactions/{emoji}/@me", self._react)
        add("DELETE", api + channel + message + "/reactions/{emoji}/@me", self._unreact)
        add("GET", api + r"/guilds/{guild:\d+}/members/{user:\d+}", self._member)
        add("PUT", api + r"/applications/{app:\d+}/commands", self._commands)
        self.interactions.add_to(app, api)
        add("GET", r"/attachments/{channel:\d+}/{id:\d+}/file", self._file)
        add("GET", "/gateway", self.gateway.serve)
        add("GET", "/gateway/", self.gateway.serve)
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/api/"):
            early = self._authorised(request) or self.limits.early(request)
            if early is not None:
                return early
        try:
            return await handler(request)
        except Refused as error:
            body = {"code": error.code, "message": str(error)}
            return answer(body, status=error.status)

    def _authorised(self, request: web.Request) -> web.Response | None:
        free = "/webhooks/" in request.path or "/interactions/" in request.path
        if free or request.headers.get("Authorization") == f"Bot {self.world.token}":
            return None
        return answer({"message": "401: Unauthorized", "code": 0}, status=401)

    async def _gateway(self, _request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": self.gateway.remaining,
                 "reset_after": 3_600_000, "max_concurrency": 1}  # fmt: skip
        return answer(
            {"url": self.gateway.url, "shards": self.gateway.shards, "session_start_limit": limit}
        )

    async def _me(self, _request: web.Request) -> web.Response:
        return answer(self.world.bot)

    async def _application(self, _request: web.Request) -> web.Response:
        flags = 1 << 19 if self.world.content_intent else 0
        bot = self.world.bot
        return answer(
            {"id": bot["id"], "name": "Bascule", "icon": None, "description": "", "summary": "",
             "bot_public": True, "bot_require_code_grant": False, "verify_key": "0" * 64,
             "flags": flags, "owner": self.world.ann, "team": None,
             "integration_types_config": {one: {} for one in self.world.installs}}
        )  # fmt: skip

    async def _open_dm(self, request: web.Request) -> web.Response:
        user = str((await request.json())["recipient_id"])
        return answer(self.world.channels[self.world.direct(user)])

    def _at(self, request: web.Request) -> JSON:
        found = self.world.channels.get(request.match_info["channel"])
        if found is None:
            raise Refused(404, UNKNOWN_CHANNEL, "Unknown Channel")
        if self.world.lacks(found["id"], "VIEW_CHANNEL"):
            raise Refused(403, 50001, "Missing Access")
        return found

    def _its(self, request: web.Request) -> JSON:
        at = self._at(request)
        found = self.world.find(at["id"], request.match_info["message"])
        if found is None:
            raise Refused(404, UNKNOWN_MESSAGE, "Unknown Message")
        return found

    def _need(self, channel: JSON, permission: str) -> None:
        if self.world.lacks(channel["id"], permission):
            raise Refused(403, MISSING, "Missing Permissions")

    async def _channel(self, request: web.Request) -> web.Response:
        return answer(self.world.with_denied(self._at(request)))

    async def _change_channel(self, request: web.Request) -> web.Response:
        at, asked = self._at(request), await request.json()
        if "archived" in asked:
            at["thread_metadata"]["archived"] = asked["archived"]
        return answer(at)

    async def _typing(self, request: web.Request) -> web.Response:
        at = self._at(request)
        self.log.append(("TYPING", at["id"], None))
        return web.Response(status=204)

    async def _history(self, request: web.Request) -> web.Response:
        at = self._at(request)
        self._need(at, "READ_MESSAGE_HISTORY")
        self.log.append(("HISTORY", at["id"], dict(request.query)))
        found = list(self.world.messages[at["id"]])
        limit = int(request.query.get("limit", 50))
        if "after" in request.query:
            after = int(request.query["after"])
            found = [m for m in found if int(m["id"]) > after][:limit]
        elif "before" in request.query:
            before = int(request.query["before"])
            found = [m for m in found if int(m["id"]) < before][-limit:]
        else:
            found = found[-limit:]
        # Discord gives the newest first, and no nonces.
        shown = [{k: v for k, v in m.items() if k not in ("nonce", "guild_id", "member")}
                 for m in reversed(found)]  # fmt: skip
        intents = self.gateway.live[0].intents if self.gateway.live else 1 << 15
        return answer([self.world.visible(m, intents) for m in shown])

    async def _message(self, request: web.Request) -> web.Response:
        return answer(self._its(request))

    async def body(self, request: web.Request, channel: str) -> JSON:
        """What was posted, its files put on the content network."""
        return await body_of(self.world, self.base, self.largest, request, channel)

    async def _post(self, request: web.Request) -> web.Response:
        at = self._at(request)
        given = await self.body(request, at["id"])
        self.log.append(("POST", at["id"], given))
        self._may_post(at, given)
        if self.down:
            raise Refused(self.down, 0, "Service Unavailable")
        nonce = str(given.get("nonce", ""))
        known = self.world.nonces.get((at["id"], nonce)) if given.get("enforce_nonce") else None
        if known is not None:
            return answer(self.world.find(at["id"], known))
        made = self.world.post(
            at["id"], self.world.bot, given.get("content") or "",
            components=given.get("components", []), attachments=given.get("attachments", []),
            message_reference=given.get("message_reference"),
            allowed_mentions=given.get("allowed_mentions"), nonce=given.get("nonce"),
        )  # fmt: skip
        if made["message_reference"] is None:
            del made["message_reference"]
        self.world.nonces[(at["id"], nonce)] = made["id"]
        await self.gateway.tell("MESSAGE_CREATE", made, channel=at["id"])
        if self.lose > 0:
            self.lose -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer(made, headers=request.get("limits"))

    def _may_post(self, at: JSON, given: JSON) -> None:
        check_message(given)
        if at["type"] == DM:
            if at["recipients"][0]["id"] in self.world.blocked_by:
                raise Refused(403, CANNOT_DM, "Cannot send messages to this user")
            return
        thread = "thread_metadata" in at
        self._need(at, "SEND_MESSAGES_IN_THREADS" if thread else "SEND_MESSAGES")
        if given.get("attachments"):
            self._need(at, "ATTACH_FILES")
        if thread:
            at["thread_metadata"]["archived"] = False

    async def _edit(self, request: web.Request) -> web.Response:
        found = self._its(request)
        at = self._at(request)
        given = await self.body(request, at["id"])
        self.log.append(("PATCH", at["id"], given))
        check_message({"content": "x", **given})
        if self.down:
            raise Refused(self.down, 0, "Service Unavailable")
        if found["author"]["id"] != self.world.bot["id"]:
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        if found["id"] in self.world.old_edits_refused:
            raise Refused(400, 30046, "Maximum number of edits to messages older than 1 hour")
        if at.get("thread_metadata", {}).get("archived"):
            raise Refused(400, 50083, "Thread is archived")
        for name in ("content", "components", "attachments"):
            if name in given:
                found[name] = given[name] if given[name] is not None else ""
        return answer(found, headers=request.get("limits"))

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._its(request)
        self.world.messages[found["channel_id"]].remove(found)
        return web.Response(status=204)

    async def _thread(self, request: web.Request) -> web.Response:
        found, at, given = self._its(request), self._at(request), await request.json()
        self.log.append(("THREAD", at["id"], given))
        if self.down:
            raise Refused(self.down, 0, "Service Unavailable")
        self._need(at, "CREATE_PUBLIC_THREADS")
        if at["type"] != TEXT:
            raise Refused(400, 50024, "Cannot execute action on this channel type")
        if not 1 <= len(given["name"]) <= 100:
            raise Refused(400, 50035, "Invalid Form Body")
        if found["id"] in self.world.channels:
            raise Refused(400, 160004, "A thread has already been created for this message")
        made = self.world.thread(given["name"], at["id"], found["id"])
        await self.gateway.tell("THREAD_CREATE", {**made, "newly_created": True})
        return answer(made, status=201)

    async def _react(self, request: web.Request) -> web.Response:
        self._need(self._at(request), "ADD_REACTIONS")
        found = self._its(request)
        self.world.marks[found["id"]][request.match_info["emoji"]].add(self.world.bot["id"])
        return web.Response(status=204)

    async def _unreact(self, request: web.Request) -> web.Response:
        found = self._its(request)
        emoji = self.world.marks[found["id"]].get(request.match_info["emoji"])
        if not emoji:
            raise Refused(404, 10014, "Unknown Emoji")
        emoji.discard(self.world.bot["id"])
        return web.Response(status=204)

    async def _member(self, request: web.Request) -> web.Response:
        user = request.match_info["user"]
        if user not in self.world.roles or request.match_info["guild"] != self.world.guild_id:
            raise Refused(404, 10007, "Unknown Member")
        return answer(self.world.member(user))

    async def _commands(self, request: web.Request) -> web.Response:
        given = await request.json()
        if self.no_commands:
            raise Refused(400, 50035, "Invalid Form Body")
        allowed = {int(one) for one in self.world.installs}
        if any(not set(one["integration_types"]) <= allowed for one in given):
            raise Refused(400, 50035, "Invalid Form Body: integration_types")
        self.world.commands = given
        self.log.append(("COMMANDS", "", given))
        app = self.world.bot["id"]
        made = [{**c, "id": self.world.snowflake(), "application_id": app, "version": "1"}
                for c in given]  # fmt: skip
        return answer(made)

    async def _file(self, request: web.Request) -> web.Response:
        if self.redirect:
            raise web.HTTPFound(self.redirect)
        found = self.world.files.get(request.path)
        if found is None:
            return web.Response(status=404)
        return web.Response(body=found[1])
