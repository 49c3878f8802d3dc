"""Lines of `bascule doctor`: the settings tried against Discord, nothing started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from adapters.contract import CheckResult, SetupInvalid, TryLater
from adapters.discord import setup

TITLE = "Discord"


async def check(settings: Mapping[str, str]) -> tuple[CheckResult, ...]:
    """The token, and whether threads can be read in full."""
    try:
        known = setup.read(settings)
        application = await setup.look(known)
    except SetupInvalid as error:
        return (CheckResult(TITLE, "failed", str(error), error.remedy),)
    except TryLater as error:
        return (CheckResult(TITLE, "failed", str(error), error.remedy),)
    lines = [CheckResult(TITLE, "ok", f"the token is of {application.name}")]
    title = "Discord: Message Content Intent"
    if known.content == "off":
        lines.append(CheckResult(title, "ok", "not asked for (DISCORD_MESSAGE_CONTENT=off)"))
    elif application.content:
        lines.append(CheckResult(title, "ok"))
    else:
        detail = "off: in a thread, each message has to mention the bot"
        state: Literal["failed", "warning"] = "failed" if known.content == "on" else "warning"
        lines.append(CheckResult(title, state, detail, setup.INTENT_REMEDY))
    return tuple(lines)
