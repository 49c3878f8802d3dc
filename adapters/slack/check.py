"""Slack's lines of `bascule doctor`: the settings tried against Slack, changing nothing."""

from __future__ import annotations

from collections.abc import Mapping

from slack_sdk.errors import SlackApiError

from adapters.contract import CheckResult, DeliveryError, SetupInvalid, TryLater
from adapters.slack.api import RENEW, Api, Revoked
from adapters.slack.manifest import OPTIONAL_SCOPES, SCOPES
from adapters.slack.settings import SlackSettings

NET = "Check this machine's way to the internet, and status.slack.com."
RENEW_APP = (
    "On the app's page Basic Information, App-Level Tokens, make a token with the scope "
    "connections:write, put it in SLACK_APP_TOKEN, and switch Socket Mode on."
)


async def check(values: Mapping[str, str]) -> tuple[CheckResult, ...]:
    """Tokens, scopes and connection; what is missing is named."""
    try:
        settings = SlackSettings.of(values)
    except SetupInvalid as error:
        return (CheckResult("Slack settings", "failed", str(error), error.remedy),)
    api = Api(settings.bot_token, settings.api_url, trouble=lambda _: None)
    found = await _bot(api)
    if settings.mode == "socket" and found[0].state == "ok":
        found.append(await _socket(api, settings.app_token))
    if settings.mode == "http":
        found.append(
            CheckResult("Slack over HTTP", "ok", "requests are taken at /slack/events, signed")
        )
    return tuple(found)


async def _bot(api: Api) -> list[CheckResult]:
    title = "Slack bot token"
    try:
        answer = await api.web.auth_test()
    except SlackApiError as error:
        meant = api.meaning(error)
        remedy = RENEW if isinstance(meant, Revoked) else meant.remedy or NET
        return [CheckResult(title, "failed", str(meant), remedy)]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said
        why = f"Slack could not be reached ({type(error).__name__})."
        return [CheckResult(title, "failed", why, NET)]
    where = str(answer.get("url") or answer.get("team_id") or "")
    lines = [CheckResult(title, "ok", f"{answer.get('user', 'the bot')} in {where}")]
    given = _scopes({str(name).lower(): str(text) for name, text in answer.headers.items()})
    if given is None:
        return lines  # another server than Slack's may not tell
    if missing := [scope for scope in SCOPES if scope not in given]:
        lines.append(
            CheckResult(
                "Slack scopes",
                "failed",
                f"missing: {', '.join(missing)}",
                "Add them on the app's page OAuth & Permissions, Bot Token Scopes, and reinstall "
                "the app there; or paste the manifest of `bascule slack manifest` anew.",
            )
        )
    elif missing := [scope for scope in OPTIONAL_SCOPES if scope not in given]:
        lines.append(
            CheckResult(
                "Slack scopes",
                "warning",
                f"missing: {', '.join(missing)}; rules for user groups let nobody in",
                "Add it on the app's page OAuth & Permissions and reinstall the app, or leave it.",
            )
        )
    else:
        lines.append(CheckResult("Slack scopes", "ok"))
    return lines


async def _socket(api: Api, app_token: str) -> CheckResult:
    title = "Slack Socket Mode"
    try:
        await api.ask(api.web.apps_connections_open(app_token=app_token), bots=False)
    except TryLater as error:
        if isinstance(error, Revoked):
            return CheckResult(title, "failed", str(error), RENEW_APP)
        return CheckResult(title, "failed", str(error), error.remedy or NET)
    except DeliveryError as error:
        return CheckResult(title, "failed", str(error), RENEW_APP)
    return CheckResult(title, "ok", "a connection can be opened")


def _scopes(headers: Mapping[str, str]) -> set[str] | None:
    told = headers.get("x-oauth-scopes")
    return None if told is None else {scope.strip() for scope in told.split(",") if scope.strip()}
