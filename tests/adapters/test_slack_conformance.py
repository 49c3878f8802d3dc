"""The Slack adapter keeps the promises of the port, in a channel's thread and in a direct message:
the real slack-bolt over real websockets, against a server that speaks Slack."""

import pytest

from adapters.testing import CHECKS
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import CHANNEL, DM


@pytest.mark.parametrize("channel", [CHANNEL, DM], ids=["channel", "direct"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check, channel):
    """Each promise of the port."""
    async with slack(channel=channel) as harness:
        await check(harness)
