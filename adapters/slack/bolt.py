"""The slack-bolt application: it verifies and takes apart what Slack delivers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.api import Api, Bot
from adapters.slack.log import quiet


def bolt_app(
    api: Api,
    bot: Bot,
    signing_secret: str,
    take: Callable[[Mapping[str, Any]], Awaitable[BoltResponse]],
) -> AsyncApp:
    """Everything goes through `take` in a global middleware: bolt acknowledges events before a
    listener has done anything with them, and only what `take` answers 200 is acknowledged."""

    async def authorize(**_: Any) -> AuthorizeResult:
        # Known from the start: no event waits for Slack to say again who we are.
        return AuthorizeResult(
            enterprise_id=None,
            team_id=bot.team,
            bot_user_id=bot.user,
            bot_id=bot.bot or None,
            bot_token=api.web.token,
        )

    app = AsyncApp(
        name="bascule",
        logger=quiet("bolt", logging.ERROR),  # it warns of variables that it would read itself
        signing_secret=signing_secret,
        authorize=authorize,
        # Without a token of its own: `authorize` gives it.
        client=AsyncWebClient(base_url=api.web.base_url, logger=quiet(), retry_handlers=[]),
    )

    @app.middleware
    async def everything(body: dict[str, Any], next: Any) -> BoltResponse:  # noqa: A002 - bolt's name
        return await take(body)

    return app
