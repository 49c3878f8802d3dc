"""Calls of Slack's Web API, and what its errors mean for the bridge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from adapters.contract import DeliveryError, Gone, NotAllowed, TryLater
from adapters.slack.log import quiet

SECONDS = 20
PAUSE = 2.0
REVOKED_PAUSE = 60.0
REVOKED = frozenset(
    {
        "account_inactive",
        "app_uninstalled",
        "invalid_auth",
        "not_authed",
        "org_login_required",
        "team_access_not_granted",
        "team_not_found",
        "token_expired",
        "token_revoked",
        "two_factor_setup_required",
    }
)
_GONE = frozenset(
    {
        "channel_not_found",
        "cant_update_message",
        "edit_window_closed",
        "is_archived",
        "message_not_found",
        "thread_not_found",
        "user_not_found",
    }
)
_BUSY = frozenset(
    {"fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"}
)
_REFUSED = {
    "not_in_channel": "Invite the bot to the channel: write /invite there, with its name.",
    "user_not_in_channel": "That person has to be in the channel.",
    "restricted_action": "A workspace admin has to allow apps to post there.",
    "restricted_action_read_only_channel": "The channel is read-only for apps.",
    "restricted_action_thread_only_channel": "The channel takes replies in threads only.",
    "restricted_action_non_threadable_channel": "The channel takes no replies in threads.",
    "restricted_action_thread_locked": "The thread is locked.",
    "ekm_access_denied": "The organisation's key management refuses it; ask its admins.",
    "no_permission": "Reinstall the app, so that it has the scopes of `bascule slack manifest`.",
    "access_denied": "Reinstall the app, so that it has the scopes of `bascule slack manifest`.",
    "not_allowed_token_type": "SLACK_BOT_TOKEN must be the bot's token (xoxb-…).",
}
RENEW = (
    "Install the app in the workspace again, put its token in SLACK_BOT_TOKEN and restart the "
    "bridge."
)


@dataclass(frozen=True, slots=True)
class Bot:
    """Who the adapter is in the workspace."""

    team: str
    user: str
    bot: str
    name: str
    url: str
    """The workspace's own address, with a slash at its end; may be empty."""


class TooFast(TryLater):
    """Slack counted too many calls a minute."""


class Revoked(TryLater):
    """The token does not work any more. Once there is a new one, what is owed can be shown."""


class Refused(DeliveryError):
    """Slack said no by a name that has no meaning of its own here: `code`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Slack refused it ({code}).", remedy="The bridge's log may say more.")
        self.code = code


class Client(AsyncWebClient):
    """Every call is a POST with its arguments in the body. Slack takes all of its methods so, other
    servers nothing else; and no argument is in an address that somebody logs."""

    async def api_call(
        self,
        api_method: str,
        *,
        http_verb: str = "POST",
        params: dict[str, Any] | None = None,
        data: Any = None,
        json: dict[str, Any] | None = None,
        **more: Any,
    ) -> AsyncSlackResponse:
        if params is not None and data is None and json is None:
            data, params = params, None
        return await super().api_call(
            api_method, http_verb="POST", params=params, data=data, json=json, **more
        )


class Api:
    """One workspace. Never tries again by itself: a call that broke off may have been heard."""

    def __init__(self, token: str, url: str, *, trouble: Callable[[str], None]) -> None:
        """`trouble` hears in words that the token does not work any more; empty once it does."""
        self.web = Client(token, url, timeout=SECONDS, logger=quiet(), retry_handlers=[])
        self._trouble = trouble

    async def ask(
        self, call: Awaitable[AsyncSlackResponse], *, bots: bool = True
    ) -> dict[str, Any]:
        """The answer of a call of `web`, which is made with the bot's token, or else with the
        app's. Raises `DeliveryError`."""
        try:
            response = await call
        except SlackApiError as error:
            meant = self.meaning(error)
            if bots and isinstance(meant, Revoked):
                self._trouble(str(meant))
            raise meant from None
        except (aiohttp.ClientError, SlackClientError, OSError, TimeoutError) as error:
            raise TryLater(
                f"Slack could not be reached ({type(error).__name__}).",
                after=PAUSE,
                remedy="Check this machine's way to the internet, and status.slack.com.",
            ) from None
        if bots:
            self._trouble("")
        data = response.data
        return data if isinstance(data, dict) else {}

    async def who(self) -> Bot:
        """Raises `DeliveryError`."""
        said = await self.ask(self.web.auth_test())
        return Bot(
            team=str(said.get("team_id", "")),
            user=str(said.get("user_id", "")),
            bot=str(said.get("bot_id", "")),
            name=str(said.get("user", "")),
            url=str(said.get("url", "")),
        )

    def open(self) -> aiohttp.ClientSession:
        """Keep connections from now on; whoever opened closes. Works without, too."""
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        self.web.session = aiohttp.ClientSession(timeout=timeout)
        return self.web.session

    def meaning(self, error: SlackApiError) -> DeliveryError:
        """What a refusal of Slack's means for the bridge."""
        response = error.response
        status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0) or 0)
        headers = getattr(response, "headers", {}) or {}
        data = getattr(response, "data", None)
        data = data if isinstance(data, dict) else {}
        code = str(data.get("error", ""))
        if status == 429 or code in ("ratelimited", "rate_limited"):
            after = _seconds(headers.get("Retry-After"))
            return TooFast("Slack asked for patience: too many calls a minute.", after=after)
        if code in REVOKED:
            return Revoked(
                f"Slack does not accept the token ({code}).",
                after=REVOKED_PAUSE,
                remedy=RENEW,
            )
        if not code and status == 404:
            return Refused("unknown_method")  # of another server, which has fewer
        if code in _BUSY or status >= 500 or not code:
            return TryLater(f"Slack has trouble ({code or status}).", after=PAUSE)
        if code in _GONE:
            return Gone(f"It is not there any more in Slack ({code}).")
        if code == "missing_scope":
            needed = str(data.get("needed", ""))
            return NotAllowed(
                f"The Slack app lacks the scope {needed}.",
                missing=needed,
                remedy=f"Add {needed} on the app's page OAuth & Permissions, and reinstall it.",
            )
        if code in _REFUSED:
            return NotAllowed(f"Slack refuses it ({code}).", missing=code, remedy=_REFUSED[code])
        return Refused(code)


def _seconds(header: str | None) -> float:
    try:
        return max(float(header or ""), 0.1)
    except ValueError:
        return PAUSE
