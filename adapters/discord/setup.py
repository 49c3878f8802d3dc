"""The adapter's settings, checked, and what Discord says about the application they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import aiohttp

from adapters.contract import SetupInvalid, TryLater
from adapters.discord import hosts

Content = Literal["auto", "on", "off"]
_CONTENT: dict[str, Content] = {"auto": "auto", "on": "on", "off": "off"}
_CONTENT_FLAGS = (1 << 18) | (1 << 19)
_SECONDS = 15.0
PORTAL = "discord.com/developers/applications, your application, Bot"
TOKEN_REFUSED = "Discord does not know this token."  # noqa: S105 - words, no secret
TOKEN_REMEDY = f"Reset it on {PORTAL}, and put the new one into DISCORD_BOT_TOKEN."
INTENT_REFUSED = "Discord does not let this bot read messages that do not mention it."
INTENT_REMEDY = (
    f"Switch on Message Content Intent on {PORTAL}; or set DISCORD_MESSAGE_CONTENT=auto."
)


@dataclass(frozen=True, slots=True)
class Setup:
    """`gateway` is empty where the API names it."""

    token: str
    api: str
    gateway: str
    content: Content

    def __repr__(self) -> str:
        return f"Setup(api={self.api!r}, gateway={self.gateway!r}, content={self.content!r})"


@dataclass(frozen=True, slots=True)
class Application:
    """`content` says whether it may have the Message Content Intent."""

    id: int
    name: str
    content: bool


def read(settings: Mapping[str, str]) -> Setup:
    """Raises `SetupInvalid`, also for hosts the token must not be sent to."""
    token = settings.get("DISCORD_BOT_TOKEN", "").strip().removeprefix("Bot ").strip()
    if not token or not token.isascii() or any(c.isspace() for c in token):
        raise SetupInvalid(
            "DISCORD_BOT_TOKEN is no token.", fields=("DISCORD_BOT_TOKEN",), remedy=TOKEN_REMEDY
        )
    wanted = settings.get("DISCORD_MESSAGE_CONTENT", "").strip().lower() or "auto"
    content = _CONTENT.get(wanted)
    if content is None:
        raise SetupInvalid(
            "DISCORD_MESSAGE_CONTENT is none of auto, on and off.",
            fields=("DISCORD_MESSAGE_CONTENT",),
            remedy="Leave it out for auto.",
        )
    made = Setup(
        token,
        settings.get("DISCORD_API_URL", "").strip().rstrip("/") or hosts.DISCORD,
        settings.get("DISCORD_GATEWAY_URL", "").strip(),
        content,
    )
    hosts.use_api(made.api)
    if made.gateway:
        hosts.use_gateway(made.gateway)
    return made


async def look(setup: Setup) -> Application:
    """Ask Discord about the application. Raises `SetupInvalid` for a token that it refuses and
    `TryLater` where it cannot be asked."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(
                f"{setup.api}/applications/@me",
                headers={"Authorization": f"Bot {setup.token}"},
                allow_redirects=False,
            ) as response:
                if response.status == 401:
                    raise SetupInvalid(
                        TOKEN_REFUSED, fields=("DISCORD_BOT_TOKEN",), remedy=TOKEN_REMEDY
                    )
                if response.status != 200:
                    raise TryLater(f"Discord answers with {response.status}.", after=5.0)
                said = await response.json()
                return Application(
                    int(said["id"]),
                    str(said.get("name") or "the bot"),
                    bool(int(said.get("flags") or 0) & _CONTENT_FLAGS),
                )
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
        raise TryLater(
            f"{setup.api} cannot be asked ({type(error).__name__}).",
            after=5.0,
            remedy="Check the machine's way to Discord, and DISCORD_API_URL.",
        ) from error


def wants_content(setup: Setup, application: Application) -> bool:
    """Whether to ask for the text of messages that do not mention the bot."""
    return setup.content == "on" or (setup.content == "auto" and application.content)
