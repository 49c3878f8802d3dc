"""The app's manifest: everything that is clicked together in Slack otherwise."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "im:history",
    "reactions:read",
    "reactions:write",
    "users:read",
)
OPTIONAL_SCOPES = ("usergroups:read",)
EVENTS = (
    "app_home_opened",
    "app_mention",
    "app_uninstalled",
    "message.channels",
    "message.groups",
    "message.im",
    "tokens_revoked",
)
SHORTCUT = "ask_about_this"
EVENTS_PATH = "/slack/events"


def manifest(name: str = "Bascule", public_url: str = "") -> dict[str, Any]:
    """For https://api.slack.com/apps. With a public URL it is for SLACK_MODE=http, else for
    Socket Mode. Raises `ValueError` for an address that Slack would not call."""
    url = _events_url(public_url) if public_url else ""
    command = {
        "command": "/bascule",
        "description": "Commands for Bascule; help lists them",
        "usage_hint": "help",
        "should_escape": True,
    }
    interactivity: dict[str, Any] = {"is_enabled": True}
    events: dict[str, Any] = {"bot_events": list(EVENTS)}
    if url:
        command["url"] = interactivity["request_url"] = events["request_url"] = url
    return {
        "display_information": {
            "name": name,
            "description": "Claude Code in your own workspace, from chat",
            "background_color": "#1f2937",
        },
        "features": {
            "agent_view": {
                "agent_description": "Works in your own sandboxed workspace, shows what it does, "
                "and asks before anything risky."
            },
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": name, "always_online": True},
            "shortcuts": [
                {
                    "name": "Ask Bascule about this",
                    "type": "message",
                    "callback_id": SHORTCUT,
                    "description": "Ask in a direct message, with this message and its files",
                }
            ],
            "slash_commands": [command],
        },
        "oauth_config": {"scopes": {"bot": [*SCOPES, *OPTIONAL_SCOPES]}},
        "settings": {
            "event_subscriptions": events,
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": not url,
            "token_rotation_enabled": False,
        },
    }


def _events_url(public_url: str) -> str:
    url = urlsplit(public_url)
    if url.scheme != "https" or not url.hostname or url.query or url.fragment or url.username:
        raise ValueError("must be an address that begins with https://")
    return public_url.rstrip("/") + EVENTS_PATH
