"""What Discord and the network say, as the port's errors: to be tried again, gone, or forbidden."""

from __future__ import annotations

import aiohttp
import discord

from adapters.contract import DeliveryError, Gone, NotAllowed, TryLater

UNKNOWN_CHANNEL = 10003
THREAD_EXISTS = 160004
THREAD_LOCKED = 160005
ARCHIVED = 50083
OLD_EDITS = 30046
TOO_LARGE = 40005
_GONE = frozenset({UNKNOWN_CHANNEL, 10004, 10008, 10015})
_NO_DM = 50007
SILENCE = 5.0
"""Seconds to wait where Discord does not say how long."""
TROUBLE = (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, RuntimeError)
"""What a call of Discord may raise; aiohttp has a RuntimeError for a session closed meanwhile."""

BLOCKED = "This person takes no direct messages from the bot."
BLOCKED_REMEDY = (
    "They can allow it: right-click the server, Privacy Settings, Direct Messages; or use the "
    "bot's slash commands, whose answers only they see."
)


def of(error: BaseException, missing: str = "") -> DeliveryError:
    """The port's error. `missing` names the permissions that are known to be missing."""
    match error:
        case DeliveryError():
            return error
        case discord.RateLimited():
            return TryLater("Discord asks for patience.", after=error.retry_after)
        case discord.HTTPException():
            return _http(error, missing)
        case discord.GatewayNotFound() | discord.ConnectionClosed():
            return TryLater("Discord cannot be reached.", after=SILENCE)
        case aiohttp.ClientError() | OSError() | TimeoutError() | RuntimeError():
            return TryLater(
                f"Discord cannot be reached ({type(error).__name__}).",
                after=SILENCE / 2,
                remedy="Check the machine's way to discord.com.",
            )
    return DeliveryError(f"Discord: {type(error).__name__}")


def _http(error: discord.HTTPException, missing: str) -> DeliveryError:
    status, code = error.status, error.code
    if status == 429:
        return TryLater("Discord asks for patience.", after=_patience(error))
    if status >= 500:
        return TryLater(f"Discord answers with {status}.", after=SILENCE)
    if status == 401:
        return TryLater(
            "Discord does not know the bot's token any more.",
            after=60.0,
            remedy="Reset the token and put the new one into DISCORD_BOT_TOKEN.",
        )
    if code in _GONE or (status == 404 and not code):
        return Gone("This message or place is not on Discord any more.")
    if code == _NO_DM:
        return NotAllowed(BLOCKED, missing="direct messages", remedy=BLOCKED_REMEDY)
    if code == THREAD_LOCKED:
        return NotAllowed(
            "The thread is locked.",
            missing="MANAGE_THREADS",
            remedy="Unlock the thread, or go on in a new one.",
        )
    if status == 403:
        lacking = missing or "a permission in this channel"
        return NotAllowed(
            f"The bot lacks {lacking}.",
            missing=missing,
            remedy="Give its role that permission, in the server and in this channel.",
        )
    return DeliveryError(f"Discord refuses it ({status}, {code}): {error.text[:300]}")


def _patience(error: discord.HTTPException) -> float:
    try:
        return max(float(error.response.headers.get("Retry-After", SILENCE)), 0.1)
    except ValueError:
        return SILENCE
