"""SLACK_MODE=http: signed requests at the bridge's own address, through the real bridge."""

import time
from pathlib import Path

import pytest

from adapters.contract import Plugin
from adapters.slack import PLUGIN
from bridge.service import Bridge
from bridge.settings import BridgeSettings, SettingsInvalid
from tests.adapters.slack_double import SECRET, SlackDouble
from tests.adapters.slack_payloads import event, interaction


def settings(home: Path, **more: object) -> BridgeSettings:
    (home / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = home / "secrets" / "bridge.keys"
    keys.write_text(f"{'k' * 43}\n")
    keys.chmod(0o600)
    values = {
        "bascule_home": home,
        "bridge_adapters": "slack",
        "bridge_listen": "127.0.0.1:0",
        **more,
    }
    return BridgeSettings(_env_file=None, **values)


def bridge(home: Path, slack: SlackDouble, **more: object) -> Bridge:
    given = slack.settings(SLACK_MODE="http", SLACK_SIGNING_SECRET=SECRET, SLACK_APP_TOKEN="")
    return Bridge(settings(home, **more), adapter_settings={"slack": given}, drain_seconds=0.05)


@pytest.fixture
async def served(place):
    async with SlackDouble() as slack:
        running = bridge(place, slack)
        await running.start()
        adapter = running.adapters["slack"]
        await slack.space.until(lambda: adapter._app is not None)
        host, port = running.address
        slack.events_url = f"http://{host}:{port}/slack/events"
        yield slack
        await running.stop()


async def test_signed_events_are_taken(served):
    """A signed event is answered once it is stored: a stranger gets their code."""
    body = event("app_mention", ts=served.space.ts())
    assert (await served.post_signed(served.events_url, body))[0] == 200
    told = await served.space.until(lambda: served.space.ephemeral)
    assert told[0]["to"] == "U0ANN"


async def test_forms_are_taken(served):
    """Interactions and slash commands come as forms; a command's answer is the response."""
    body = interaction("block_actions")
    assert (await served.post_signed(served.events_url, body, form=True))[0] == 200
    command = interaction("slash_command", text="help")
    status, answer = await served.post_signed(served.events_url, command, form=True)
    assert status == 200
    assert "ephemeral" in answer


async def test_slack_verifies_the_address(served):
    """Slack's challenge is answered, so that the address can be entered."""
    body = {"type": "url_verification", "challenge": "abc", "token": "x"}
    status, answer = await served.post_signed(served.events_url, body)
    assert (status, "abc" in answer) == (200, True)


@pytest.mark.parametrize(("secret", "age"), [("another", 0), (SECRET, 3600), ("", 0)])
async def test_what_is_not_signed_is_refused(served, secret, age):
    """Another key, or a request of an hour ago, is nobody's."""
    body = event("app_mention", ts=served.space.ts())
    status, _ = await served.post_signed(
        served.events_url, body, secret=secret, at=time.time() - age
    )
    assert status == 401
    assert not served.called("users.info")


async def test_http_needs_an_address(place):
    """With no address to listen at the start ends, and says why."""
    async with SlackDouble() as slack:
        with pytest.raises(SettingsInvalid, match="BRIDGE_LISTEN"):
            await bridge(place, slack, bridge_listen="off").start()


def test_the_plugin_is_found():
    """`BRIDGE_ADAPTERS=slack` finds it by its entry point."""
    assert isinstance(PLUGIN, Plugin)
    assert PLUGIN.name == "slack"
