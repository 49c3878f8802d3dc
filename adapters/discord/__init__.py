"""Discord as a chat platform: direct messages, threads, slash commands, buttons and forms."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract import Adapter, AdapterContext, CheckResult, Plugin, SettingField, SetupSpec

GUIDE = """\
1. On https://discord.com/developers/applications make a *New Application*.
2. *Bot*: *Reset Token*, and put the token into `DISCORD_BOT_TOKEN`. On the same page switch on
   *Message Content Intent*: without it, people must mention the bot in every message of a thread.
3. `bascule discord invite` prints the link that adds the bot to your server.
4. `BRIDGE_ADAPTERS=console,discord`, `bascule doctor`, `bascule up`.
"""


def _create(context: AdapterContext) -> Adapter:
    from adapters.discord.adapter import DiscordAdapter  # whoever only looks pays nothing

    return DiscordAdapter(context)


async def _check(settings: Mapping[str, str]) -> tuple[CheckResult, ...]:
    from adapters.discord.check import check

    return await check(settings)


PLUGIN = Plugin(
    name="discord",
    create=_create,
    settings=SetupSpec(
        fields=(
            SettingField(
                "DISCORD_BOT_TOKEN",
                "The bot's token: discord.com/developers/applications, your application, Bot, "
                "Reset Token.",
                secret=True,
                required=True,
            ),
            SettingField(
                "DISCORD_MESSAGE_CONTENT",
                "Whether to read messages of a thread in which the bot is not mentioned: on, off, "
                "or auto, as the application's Message Content Intent is set.",
                default="auto",
            ),
            SettingField(
                "DISCORD_API_URL",
                "Base of Discord's API with its version; another one for a test server.",
                default="https://discord.com/api/v10",
            ),
            SettingField(
                "DISCORD_GATEWAY_URL",
                "The gateway, such as wss://gateway.discord.gg. Default: the one the API names.",
            ),
        ),
        guide=GUIDE,
        check=_check,
    ),
    one_node=True,
)
