"""Which servers are spoken to. The only module that sets anything of discord.py's own.

discord.py has its hosts as attributes of two classes; a process speaks to one Discord.
"""

from __future__ import annotations

from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from adapters.contract import SetupInvalid

DISCORD = "https://discord.com/api/v10"
CONTENT = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
"""Discord's own content network."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def use_api(base: str) -> None:
    """From now on the API is here. Raises `SetupInvalid` for what is no such address."""
    Route.BASE = str(_address(base, "DISCORD_API_URL", ("https", "http"))).rstrip("/")


def use_gateway(url: str) -> None:
    """From now on new gateway sessions begin here."""
    DiscordWebSocket.DEFAULT_GATEWAY = _address(url, "DISCORD_GATEWAY_URL", ("wss", "ws"))


def _address(text: str, setting: str, schemes: tuple[str, str]) -> URL:
    url = URL(text)
    secure = url.scheme == schemes[0] or (url.scheme == schemes[1] and url.host in _LOOPBACK)
    if not url.host or not secure:
        raise SetupInvalid(
            f"{setting} is no address the bot's token could be sent to: it begins with "
            f"{schemes[0]}://.",
            fields=(setting,),
            remedy=f"Correct it; {schemes[1]}:// is for a server on this machine alone.",
        )
    return url


def is_content(url: URL, api: str) -> bool:
    """Whether a file may be fetched from there: Discord's content network, or the very server
    that `DISCORD_API_URL` names."""
    if url.scheme == "https" and url.host in CONTENT and url.port == 443:
        return True
    own = URL(api)
    same = (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)
    return api.rstrip("/") != DISCORD and same
