"""What Slack delivers is taken apart without a mistake, whatever it holds."""

import copy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.slack import events, words
from adapters.slack.intake import order, slack_time
from tests.adapters.slack_payloads import FOLDER, event, sample, written

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
KINDS = {
    "message_channels": events.Said,
    "message_im": events.Said,
    "app_mention": events.Said,
    "message_file_share": events.Said,
    "message_forwarded": events.Said,
    "message_connect": events.Said,
    "message_changed": events.Changed,
    "message_deleted": events.Changed,
    "message_root_deleted": events.Changed,
    "message_unfurled": type(None),
    "message_bot": type(None),
    "message_join": type(None),
    "app_home_opened_home": events.Opened,
    "app_home_opened_messages": events.Opened,
    "app_uninstalled": events.Uninstalled,
    "tokens_revoked": events.Uninstalled,
    "block_actions": events.Pressed,
    "view_submission": events.Filled,
    "slash_command": events.Slash,
    "message_action": events.Pointed,
}


@pytest.mark.parametrize("name", NAMES)
def test_each_payload_is_what_it_is(name):
    """Every payload that is kept is taken for what it is."""
    assert type(events.parse(sample(name))) is KINDS[name]


def holes(value, path=()):
    """Every place in a payload."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from holes(inner, (*path, key))


@pytest.mark.parametrize("name", NAMES)
def test_a_payload_with_holes_is_no_crash(name):
    """Whatever is missing or null in a payload, it is taken apart or left alone."""
    whole = sample(name)
    for path in list(holes(whole)):
        for hole in ("gone", None, [], {}):
            body = copy.deepcopy(whole)
            place = body
            for key in path[:-1]:
                place = place[key]
            if hole == "gone":
                del place[path[-1]]
            else:
                place[path[-1]] = hole
            events.parse(body)


def test_a_deleted_root_is_a_deletion():
    """A thread's first message that is deleted stays as a tombstone: it is deleted."""
    changed = events.parse(event("message_root_deleted"))
    assert (changed.kind, changed.ts) == ("deleted", "1700000000.000100")


@given(st.text())
def test_plain_text_comes_back(text):
    """What a person writes arrives as they wrote it, escapes and all."""
    assert words.readable(written(text.replace("@", "").replace("!", "")), {}) == text.replace(
        "@", ""
    ).replace("!", "")


@given(st.text(st.sampled_from("<>@#!|^&;amplgtU01 \nhttp:/.x")))
def test_any_markup_is_no_crash(text):
    """No markup, however broken, raises or leaves a mention of Slack's."""
    made = words.readable(text, {"U0": "Ann"})
    assert not re.search(r"<@U[A-Z0-9]+>", words.readable(f"<@U01> {text}", {})[:8])
    assert isinstance(made, str)
    words.command(text)
    words.slash(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("!stop", ("stop", "")),
        ("  !Mode plan  please ", ("mode", "plan  please")),
        ("!two-people rm", ("two-people", "rm")),
        ("!!", None),
        ("! stop", None),
        ("stop!", None),
        ("!5", None),
        ("!instructions\nBe kind.\nAnd short.", ("instructions", "Be kind.\nAnd short.")),
        ("!people let <https://x.org|x.org>", ("people", "let x.org")),
    ],
)
def test_commands(text, found):
    """`!word rest` is a command and everything else is words."""
    assert words.command(text) == found


@given(st.integers(0, 10**17))
def test_times_come_back(number):
    """A message's place in the order is its time, and leads back to it."""
    assert order(slack_time(number)) == number


@pytest.mark.parametrize("text", ["hi <@U0BOT>", "<@U0BEN> <@U0BOT>"])
def test_only_a_leading_mention_is_taken_away(text):
    """Elsewhere the bot's name is part of what was said."""
    assert words.without(text, "U0BOT") == text
