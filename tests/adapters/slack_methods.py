"""The methods of Slack's Web API that the adapter calls, on a `Workspace`."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.adapters.slack_payloads import APP, BOT, BOT_USER, TEAM
from tests.adapters.slack_rules import check_blocks, check_message, check_view
from tests.adapters.slack_workspace import SlackError, Workspace

Args = dict[str, Any]
OWN = {"user": BOT_USER, "bot_id": BOT, "app_id": APP, "team": TEAM}


class Methods:
    """`chat.postMessage` is `chat_postMessage`, and so on."""

    def __init__(self, space: Workspace, url: str) -> None:
        self.space = space
        self.url = url

    def auth_test(self, args: Args) -> Args:
        return {"url": f"{self.url}/", "team": "Work", "user": "bascule", "team_id": TEAM,
                "user_id": BOT_USER, "bot_id": BOT}  # fmt: skip

    def apps_connections_open(self, args: Args) -> Args:
        return {"url": f"{self.url.replace('http', 'ws')}/socket?ticket=secret-ticket"}

    def chat_postMessage(self, args: Args) -> Args:  # noqa: N802 - Slack's name
        blocks = check_message(args)
        place = self.space.channel(args["channel"])
        self._writable(place)
        message = self.space.add(
            place.id,
            {**OWN, "text": args.get("text", "")[:40_000], "blocks": blocks,
             "thread_ts": args.get("thread_ts"), "metadata": args.get("metadata")},
        )  # fmt: skip
        return {"channel": place.id, "ts": message["ts"], "message": message}

    def chat_update(self, args: Args) -> Args:
        blocks = check_message(args)
        message = self.space.message(args["channel"], args["ts"])
        if message.get("bot_id") != BOT:
            raise SlackError("cant_update_message")
        if (args["channel"], args["ts"]) in self.space.streams:
            raise SlackError("streaming_state_conflict")
        if "text" in args:
            message["text"], message["blocks"] = args["text"][:40_000], blocks
        elif blocks:
            message["blocks"] = blocks
        if args.get("metadata") is not None:
            message["metadata"] = args["metadata"]
        return {"channel": args["channel"], "ts": args["ts"], "text": message["text"]}

    def chat_delete(self, args: Args) -> Args:
        message = self.space.message(args["channel"], args["ts"])
        self.space.channel(args["channel"]).messages.remove(message)
        return {}

    def chat_postEphemeral(self, args: Args) -> Args:  # noqa: N802
        blocks = check_message(args)
        place = self.space.channel(args["channel"])
        if args["user"] not in place.members:
            raise SlackError("user_not_in_channel")
        made = {**OWN, "to": args["user"], "ts": self.space.ts(), "text": args["text"],
                "blocks": blocks, "channel": place.id,
                "thread_ts": args.get("thread_ts")}  # fmt: skip
        self.space.ephemeral.append(made)
        return {"message_ts": made["ts"]}

    def chat_startStream(self, args: Args) -> Args:  # noqa: N802
        place = self.space.channel(args["channel"])
        self._writable(place)
        self.space.message(place.id, args["thread_ts"])
        if not place.id.startswith("D") and not (
            args.get("recipient_user_id") and args.get("recipient_team_id")
        ):
            raise SlackError("missing_recipient_user_id")
        begun = {**OWN, "text": "", "blocks": [], "thread_ts": args["thread_ts"]}
        self._append(begun, args.get("chunks") or [])
        made = self.space.add(place.id, begun)
        self.space.streams[(place.id, made["ts"])] = time.time()
        return {"channel": place.id, "ts": made["ts"]}

    def chat_appendStream(self, args: Args) -> Args:  # noqa: N802
        self._streaming(args)
        self._append(self.space.message(args["channel"], args["ts"]), args["chunks"])
        return {"channel": args["channel"], "ts": args["ts"]}

    def chat_stopStream(self, args: Args) -> Args:  # noqa: N802
        self._streaming(args)
        del self.space.streams[(args["channel"], args["ts"])]
        if args.get("metadata"):
            self.space.message(args["channel"], args["ts"])["metadata"] = args["metadata"]
        return {"channel": args["channel"], "ts": args["ts"]}

    def _streaming(self, args: Args) -> None:
        place = (args["channel"], args["ts"])
        self.space.message(*place)
        if self.space.expiring_streams:
            self.space.streams.pop(place, None)
        if place not in self.space.streams:
            raise SlackError("message_not_in_streaming_state")

    def _append(self, message: Args, chunks: list[Args]) -> None:
        blocks = message["blocks"]
        for chunk in chunks:
            if chunk["type"] == "markdown_text":
                if not 1 <= len(chunk["text"]) <= 12_000:
                    raise SlackError("invalid_chunks")
                message["text"] += chunk["text"]
                if not blocks or blocks[-1]["type"] != "markdown":
                    blocks.append({"type": "markdown", "text": ""})
                blocks[-1]["text"] += chunk["text"]
            elif chunk["type"] == "task_update":
                self._task(blocks, chunk)
            elif chunk["type"] == "blocks" and not self.space.plain_streams:
                check_blocks(chunk["blocks"])
                blocks += chunk["blocks"]
            else:
                raise SlackError("invalid_chunks")

    def _task(self, blocks: list[Args], chunk: Args) -> None:
        if chunk["status"] not in ("pending", "in_progress", "complete", "error"):
            raise SlackError("invalid_chunks")
        made = {**chunk, "type": "task_card", "task_id": chunk["id"]}
        for number, block in enumerate(blocks):
            if block.get("task_id") == chunk["id"]:
                blocks[number] = made
                return
        blocks.append(made)

    def conversations_replies(self, args: Args) -> Args:
        place = self.space.channel(args["channel"])
        root = args["ts"]
        found = [m for m in place.messages if root in (m["ts"], m.get("thread_ts"))]
        if not found:
            raise SlackError("thread_not_found")
        oldest, latest = args.get("oldest") or "0", args.get("latest") or "9"
        kept = [m for m in found if m["ts"] == root or oldest <= m["ts"] <= latest]
        return self._page(kept, args)

    def conversations_history(self, args: Args) -> Args:
        place = self.space.channel(args["channel"])
        oldest = args.get("oldest") or "0"
        found = [m for m in place.messages if m.get("thread_ts") in (None, m["ts"])]
        latest = args.get("latest") or "9"
        wanted = [m for m in reversed(found) if oldest <= m["ts"] <= latest]
        if str(args.get("inclusive")).lower() not in ("1", "true"):
            wanted = [m for m in wanted if m["ts"] not in (oldest, latest)]
        return self._page(wanted, args)

    def conversations_open(self, args: Args) -> Args:
        return {"channel": {"id": self.space.channel(args["users"]).id}}

    def users_info(self, args: Args) -> Args:
        if args["user"] not in self.space.users:
            raise SlackError("user_not_found")
        return {"user": self.space.users[args["user"]]}

    def usergroups_list(self, args: Args) -> Args:
        return {"usergroups": self.space.groups}

    def files_info(self, args: Args) -> Args:
        if args["file"] not in self.space.files:
            raise SlackError("file_not_found")
        return {"file": self.space.files[args["file"]]}

    def files_getUploadURLExternal(self, args: Args) -> Args:  # noqa: N802
        file = self.file(args["filename"], b"", user=BOT_USER)
        file["size"] = int(args["length"])
        return {"upload_url": f"{self.url}/upload/{file['id']}", "file_id": file["id"]}

    def files_completeUploadExternal(self, args: Args) -> Args:  # noqa: N802
        files = args["files"]
        files = json.loads(files) if isinstance(files, str) else files
        found = [self.space.files[file["id"]] for file in files]
        if any(len(self.space.bytes[f["id"]]) != f["size"] for f in found):
            raise SlackError("file_upload_size_restricted")
        if channel := args.get("channel_id"):
            self.space.message(channel, args["thread_ts"])  # a thread hangs on a message
            self.space.add(channel, {**OWN, "subtype": "file_share", "text": "", "files": found,
                                     "thread_ts": args.get("thread_ts")})  # fmt: skip
        return {"files": found}

    def reactions_add(self, args: Args) -> Args:
        self.space.message(args["channel"], args["timestamp"])
        names = self.space.reactions.setdefault((args["channel"], args["timestamp"]), [])
        if args["name"] in names:
            raise SlackError("already_reacted")
        names.append(args["name"])
        return {}

    def reactions_remove(self, args: Args) -> Args:
        names = self.space.reactions.get((args["channel"], args["timestamp"]), [])
        if args["name"] not in names:
            raise SlackError("no_reaction")
        names.remove(args["name"])
        return {}

    def views_open(self, args: Args) -> Args:
        view = args["view"]
        view = json.loads(view) if isinstance(view, str) else view
        check_view(view)
        if self.space.triggers.pop(args["trigger_id"], None) is None:
            raise SlackError("expired_trigger_id")
        made = {"id": f"V{next(self.space.numbers)}", **view}
        self.space.views.append({"trigger": args["trigger_id"], "view": made})
        return {"view": made}

    def views_publish(self, args: Args) -> Args:
        view = args["view"]
        view = json.loads(view) if isinstance(view, str) else view
        check_view(view)
        self.space.homes[args["user_id"]] = view
        return {"view": view}

    def assistant_threads_setStatus(self, args: Args) -> Args:  # noqa: N802
        place = (self.space.channel(args["channel_id"]).id, args["thread_ts"])
        self.space.statuses[place] = args["status"]
        self.space.status_log.append(args["status"])
        return {}

    def assistant_threads_setSuggestedPrompts(self, args: Args) -> Args:  # noqa: N802
        if "thread_ts" in args:
            return {}  # Slack's agent view ignores such a call and says ok
        prompts = args["prompts"]
        self.space.prompts = json.loads(prompts) if isinstance(prompts, str) else prompts
        return {}

    def file(self, name: str, data: bytes, *, user: str, mimetype: str = "") -> Args:
        """A file as `files.info` tells it."""
        made = f"F0{next(self.space.numbers):06d}"
        self.space.bytes[made] = data
        url = f"{self.url}/files/{made}/{len(name)}"
        self.space.files[made] = {
            "id": made, "name": name, "title": name, "size": len(data), "user": user,
            "mimetype": mimetype or "application/octet-stream", "mode": "hosted",
            "is_external": False, "url_private": url, "url_private_download": url,
        }  # fmt: skip
        return self.space.files[made]

    def _page(self, found: list[Args], args: Args) -> Args:
        start = int(args.get("cursor") or 0)
        end = start + int(args.get("limit") or 100)
        kept = found[start:end]
        if not args.get("include_all_metadata"):
            kept = [{n: v for n, v in m.items() if n != "metadata"} for m in kept]
        more = str(end) if end < len(found) else ""
        return {"messages": kept, "has_more": bool(more),
                "response_metadata": {"next_cursor": more}}  # fmt: skip

    def _writable(self, place: Any) -> None:
        if place.archived:
            raise SlackError("is_archived")
        if BOT_USER not in place.members:
            raise SlackError("not_in_channel")
