"""What an operator sets for Slack, read once when the adapter is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from adapters.contract import SettingField, SetupInvalid

API_URL = "https://slack.com/api/"
FIELDS = (
    SettingField(
        "SLACK_BOT_TOKEN",
        "The bot's token (xoxb-…), from the app's page OAuth & Permissions.",
        secret=True,
        required=True,
    ),
    SettingField(
        "SLACK_APP_TOKEN",
        "The app's token (xapp-…) with connections:write, for Socket Mode: the app's page Basic "
        "Information.",
        secret=True,
    ),
    SettingField(
        "SLACK_SIGNING_SECRET",
        "What Slack signs its requests with, for SLACK_MODE=http: the app's page Basic "
        "Information.",
        secret=True,
    ),
    SettingField(
        "SLACK_MODE",
        "socket connects to Slack and needs no public address; http takes signed requests at "
        "/slack/events of BRIDGE_LISTEN.",
        default="socket",
    ),
    SettingField(
        "SLACK_API_URL",
        "Where the Web API is, for GovSlack or a test server. https, except on this machine.",
        default=API_URL,
    ),
    SettingField(
        "SLACK_EXTERNAL",
        "refuse or allow: channels shared with other organisations, and people of those.",
        default="refuse",
    ),
    SettingField("SLACK_GUESTS", "refuse or allow: guests of the workspace.", default="refuse"),
)
GUIDE = (
    "Run `bascule slack manifest`, paste its output at https://api.slack.com/apps under *Create "
    "New App*, *From a manifest*; install the app; copy the bot's and the app's token. "
    "docs/slack.md has every step."
)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """The settings, checked. No secret is in its `repr`."""

    mode: Literal["socket", "http"]
    api_url: str
    """Ends with a slash."""
    external: bool
    guests: bool
    bot_token: str = field(repr=False)
    app_token: str = field(repr=False)
    signing_secret: str = field(repr=False)

    @classmethod
    def of(cls, values: Mapping[str, str]) -> SlackSettings:
        """Raises `SetupInvalid`, which names the setting to change and never quotes a secret."""
        given = {f.name: (values.get(f.name) or f.default).strip() for f in FIELDS}
        mode = _one_of(given, "SLACK_MODE", "socket", "http")
        bot, app = given["SLACK_BOT_TOKEN"], given["SLACK_APP_TOKEN"]
        if not bot or bot.startswith("xapp-"):
            raise _wrong("SLACK_BOT_TOKEN", "must be the bot's token, which begins with xoxb-.")
        if mode == "socket" and (not app or app.startswith("xoxb-")):
            raise _wrong(
                "SLACK_APP_TOKEN",
                "must be the app's token, which begins with xapp-, in Socket Mode.",
            )
        if mode == "http" and not given["SLACK_SIGNING_SECRET"]:
            raise _wrong("SLACK_SIGNING_SECRET", "is needed for SLACK_MODE=http.")
        return cls(
            mode="http" if mode == "http" else "socket",
            api_url=_api_url(given["SLACK_API_URL"]),
            external=_one_of(given, "SLACK_EXTERNAL", "refuse", "allow") == "allow",
            guests=_one_of(given, "SLACK_GUESTS", "refuse", "allow") == "allow",
            bot_token=bot,
            app_token=app,
            signing_secret=given["SLACK_SIGNING_SECRET"],
        )


def _one_of(given: Mapping[str, str], name: str, *known: str) -> str:
    value = given[name].lower()
    if value not in known:
        raise _wrong(name, f"must be {' or '.join(known)}.")
    return value


def _api_url(value: str) -> str:
    url = urlsplit(value)
    if url.hostname is None or url.username is not None or url.query or url.fragment:
        raise _wrong("SLACK_API_URL", f"must be an address such as {API_URL}.")
    if url.scheme != "https" and (url.scheme != "http" or url.hostname not in _LOOPBACK):
        raise _wrong("SLACK_API_URL", "must begin with https://: the tokens travel there.")
    return value.rstrip("/") + "/"


def _wrong(name: str, what: str) -> SetupInvalid:
    return SetupInvalid(f"{name} {what}", fields=(name,), remedy="See docs/slack.md.")
