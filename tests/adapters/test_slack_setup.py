"""Setting Slack up: the manifest, the settings, and what `bascule doctor` says."""

import json

import pytest

from adapters.contract import SetupInvalid
from adapters.slack import PLUGIN
from adapters.slack.log import quiet
from adapters.slack.manifest import manifest
from adapters.slack.settings import SlackSettings
from tests.adapters.slack_double import SlackDouble
from tests.deployment import command

GOOD = {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}


async def checked(slack: SlackDouble, **more: str):
    assert PLUGIN.settings.check is not None
    return {line.title: line for line in await PLUGIN.settings.check(slack.settings(**more))}


async def test_doctor_is_content():
    """Right tokens with every scope: three lines, all well."""
    async with SlackDouble() as slack:
        lines = await checked(slack)
        assert {line.state for line in lines.values()} == {"ok"}
        assert "Slack Socket Mode" in lines
        lines = await checked(slack, SLACK_MODE="http", SLACK_SIGNING_SECRET="x")
        assert "Slack over HTTP" in lines


async def test_doctor_names_what_is_missing():
    """A missing scope is named, an optional one is a warning, a wrong token says which."""
    async with SlackDouble() as slack:
        all_of_them = slack.scopes
        slack.scopes = tuple(s for s in all_of_them if s not in ("files:read", "im:history"))
        line = (await checked(slack))["Slack scopes"]
        assert (line.state, line.detail) == ("failed", "missing: files:read, im:history")
        assert "reinstall" in line.remedy
        slack.scopes = tuple(s for s in all_of_them if s != "usergroups:read")
        assert (await checked(slack))["Slack scopes"].state == "warning"
        line = (await checked(slack, SLACK_APP_TOKEN="xapp-other"))["Slack Socket Mode"]
        assert (line.state, "connections:write" in line.remedy) == ("failed", True)
        lines = await checked(slack, SLACK_BOT_TOKEN="xoxb-other")
        assert lines["Slack bot token"].state == "failed"
        assert not any("xoxb-other" in str(line) for line in lines.values())


async def test_doctor_without_a_network():
    """An unreachable Slack is said, with what to look at."""
    async with SlackDouble() as slack:
        given = slack.settings()
    lines = await PLUGIN.settings.check(given)
    assert lines[0].state == "failed"
    assert "reached" in lines[0].detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLACK_BOT_TOKEN", ""),
        ("SLACK_BOT_TOKEN", "xapp-swapped"),
        ("SLACK_APP_TOKEN", ""),
        ("SLACK_APP_TOKEN", "xoxb-swapped"),
        ("SLACK_MODE", "carrier pigeon"),
        ("SLACK_API_URL", "slack.com"),
        ("SLACK_API_URL", "http://slack.com/api/"),
        ("SLACK_API_URL", "https://me@slack.com/api/"),
        ("SLACK_EXTERNAL", "maybe"),
        ("SLACK_GUESTS", "yes please"),
    ],
)
def test_wrong_settings_are_named(name, value):
    """A wrong setting is named, and a secret is never quoted."""
    with pytest.raises(SetupInvalid) as caught:
        SlackSettings.of({**GOOD, name: value})
    assert caught.value.fields == (name,)
    assert "swapped" not in str(caught.value)


def test_http_needs_its_secret():
    """Without the secret nobody could be told from Slack."""
    with pytest.raises(SetupInvalid) as caught:
        SlackSettings.of({**GOOD, "SLACK_MODE": "http"})
    assert caught.value.fields == ("SLACK_SIGNING_SECRET",)


def test_settings_hide_their_secrets():
    """What is printed of them by mistake holds no token."""
    assert "xoxb-1" not in repr(SlackSettings.of(GOOD))


async def test_manifest(place):
    """`bascule slack manifest` prints JSON to paste, for Socket Mode unless told otherwise."""
    code, out, _ = await command("slack", "manifest", "--name", "Ada", home=place)
    made = json.loads(out)
    assert (code, made["settings"]["socket_mode_enabled"]) == (0, True)
    assert made["features"]["bot_user"]["display_name"] == "Ada"
    assert made["features"]["slash_commands"][0]["should_escape"] is True


def test_manifest_for_http():
    """With an address everything leads there, and Slack has to reach it safely."""
    made = manifest(public_url="https://bascule.example.org/")
    url = "https://bascule.example.org/slack/events"
    assert made["settings"]["socket_mode_enabled"] is False
    assert made["settings"]["event_subscriptions"]["request_url"] == url
    assert made["settings"]["interactivity"]["request_url"] == url
    assert made["features"]["slash_commands"][0]["url"] == url
    for wrong in ("http://x.org", "x.org", "https://", "https://me@x.org", "https://x.org/?a"):
        with pytest.raises(ValueError, match="https"):
            manifest(public_url=wrong)


def test_the_sdk_logs_no_secret(caplog):
    """What the SDK logs of addresses and errors holds no ticket and no token."""
    logger = quiet()
    try:
        raise ValueError("wss://x/?ticket=canary-1")
    except ValueError as error:
        logger.exception("failed (%s)", error)
    logger.error("token xoxb-canary-2, xapp-canary-3 and xoxe.xoxp-canary-4")
    logger.info("people's words")
    assert "canary" not in caplog.text
    assert "people" not in caplog.text
    assert "ValueError" in caplog.text
