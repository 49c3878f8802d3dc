"""What Discord adds to the command line."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.deployment import command

PERMISSIONS = "309237763136"


def parts(link: str) -> dict[str, str]:
    url = urlsplit(link.strip())
    assert url._replace(query="").geturl() == "https://discord.com/oauth2/authorize"
    return {name: values[0] for name, values in parse_qs(url.query).items()}


async def test_invite(place: Path, double) -> None:
    """The link has the application that the token is of, the scopes and exactly the permissions."""
    code, out, err = await command("discord", "invite", home=place, **double.settings)
    assert code == 0, err
    want = {"client_id": double.world.bot["id"], "scope": "bot applications.commands",
            "permissions": PERMISSIONS}  # fmt: skip
    assert parts(out) == want
    code, out, _ = await command("discord", "invite", "--application", "123", home=place)
    assert (code, parts(out)["client_id"]) == (0, "123")


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_invite_without_a_token(place: Path, double, token) -> None:
    """It says which setting is missing or wrong and where it comes from."""
    settings = double.settings | {"DISCORD_BOT_TOKEN": token}
    code, out, err = await command("discord", "invite", home=place, **settings)
    assert (code, out) == (1, "")
    assert "DISCORD_BOT_TOKEN" in err
    assert "discord.com/developers" in err


async def test_doctor(place: Path, double) -> None:
    """`doctor` tries the token, and never shows it."""
    settings = double.settings | {"BRIDGE_ADAPTERS": "console,discord"}
    _, out, err = await command("doctor", home=place, **settings)
    assert "✓ Discord: the token is of Bascule" in out, err
    settings["DISCORD_BOT_TOKEN"] = "wrong-token"
    code, out, err = await command("doctor", home=place, **settings)
    assert code == 1
    assert "✗ Discord" in out
    assert "wrong-token" not in out + err


async def test_without_a_token_nothing_starts(place: Path) -> None:
    """An enabled adapter without its token stops the start and is named."""
    code, out, err = await command("up", home=place, BRIDGE_ADAPTERS="discord", AGENT_API_KEY="k")
    assert code == 2, out + err
    assert "DISCORD_BOT_TOKEN" in out + err
