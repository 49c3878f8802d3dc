"""The link that adds the bot to a server."""

from __future__ import annotations

import discord

from adapters.discord.permissions import WANTED

SCOPES = ("bot", "applications.commands")


def link(application: int) -> str:
    """For a person who may manage the server."""
    return discord.utils.oauth_url(application, permissions=WANTED, scopes=SCOPES)
