"""The whole path: Slack's side played by a server, the real bridge, agent service, sandbox and
Claude CLI in between, a scripted model behind."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_service.testing import ScriptedMessages
from tests.adapters.slack_double import SlackDouble
from tests.adapters.slack_payloads import ANN, BEN, CHANNEL, DM
from tests.adapters.slack_people import Person
from tests.adapters.slack_workspace import buttons, shown
from tests.deployment import Deployment, command

pytestmark = pytest.mark.full
SECONDS = 60.0


class Town:
    """A deployment that Ann runs, from Slack alone."""

    def __init__(self, slack: SlackDouble, up: Deployment) -> None:
        self.slack, self.up = slack, up
        self.ann, self.ben = Person(slack), Person(slack, BEN)

    async def sees(self, text: str, user: str = ANN) -> None:
        """Returns once this is shown."""
        try:
            await self.slack.space.until(
                lambda: any(text in seen.text for seen in self.slack.space.seen(user)), SECONDS
            )
        except TimeoutError:
            shown_now = [seen.text for seen in self.slack.space.seen(user)]
            raise AssertionError((text, shown_now, self.up.text()[-4000:])) from None

    async def offers(self, text: str, label: str) -> None:
        """Returns once the newest post that shows `text` has this button."""

        def offered() -> bool:
            return any(
                text in shown(post).text and label in [b["text"]["text"] for b in buttons(post)]
                for post in self.slack.space.own()
            )

        await self.slack.space.until(offered, SECONDS)

    def count(self, text: str) -> int:
        return sum(text in seen.text for seen in self.slack.space.seen(ANN))


@pytest_asyncio.fixture
async def town(place: Path) -> AsyncIterator[Town]:
    async with SlackDouble() as slack, ScriptedMessages() as model:
        up = Deployment(place, model, BRIDGE_ADAPTERS="slack", **slack.settings())
        await up.start()
        made = Town(slack, up)
        await slack.space.until(lambda: len(slack.sockets) == 2)
        code = (up.data / "secrets" / "claim-code").read_text().strip()
        assert await made.ann.write(f"!claim {code}", DM)
        await made.sees("You run this Bascule now")
        yield made
        await up.stop()
        await up.nothing_left()


async def test_work_in_a_thread(town: Town) -> None:
    """Mention the bot; it asks in the thread before it writes; a click lets it; a follow-up needs
    no mention; a stranger in the thread cannot click; Stop stops."""
    assert await town.ann.write("write notes.txt Hello from Slack", mention=True)
    thread = town.ann.last["ts"]
    await town.offers("May the agent do this?", "Allow once")
    card = town.ann.post("May the agent do this?")
    assert card["thread_ts"] == thread
    assert "Hello from Slack" in shown(card).text
    assert await town.ben.press("May the agent do this?", "Allow once")
    await town.slack.space.until(lambda: any(e["to"] == BEN for e in town.slack.space.ephemeral))
    assert await town.ann.press("May the agent do this?", "Allow once")
    await town.sees("is done:")
    await town.sees("Allowed by Ann")
    assert buttons(town.ann.post("May the agent do this?")) == []
    assert await town.ann.write("read notes.txt", thread=thread)
    await town.sees("Hello from Slack")
    assert await town.ann.write("slow 30 alpha beta gamma delta", thread=thread)
    await town.offers("alpha", "Stop")
    assert await town.ann.press("alpha", "Stop")
    await town.sees("Stopped.")
    place = (CHANNEL, thread)
    assert town.slack.space.reactions[place] == ["white_check_mark"]


async def test_doctor_and_config(town: Town) -> None:
    """`bascule doctor` tries the tokens; `bascule config` shows none of them."""
    given = {**town.up.settings, "BASCULE_HOME": str(town.up.data)}
    _, out, err = await command("doctor", home=town.up.home, **given)
    for line in ("✓ Slack bot token", "✓ Slack scopes", "✓ Slack Socket Mode"):
        assert line in out + err
    code, shown_now, _ = await command("config", home=town.up.home, **given)
    assert code == 0
    assert "SLACK_BOT_TOKEN" in shown_now
    assert "canary" not in shown_now + out + err + town.up.text()


async def test_killed_in_the_middle(town: Town) -> None:
    """kill -9 of the bridge in the middle of an answer: it is whole, and once, after the restart;
    what was said meanwhile is answered, too."""
    assert await town.ann.write("slow 6 one two three four five six seven", DM)
    await town.sees("one")
    running = town.up.program("bridge")
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    await town.ann.write("say meanwhile", DM, deliver=False)
    await town.sees("five six seven")
    await town.sees("meanwhile")
    assert town.count("five six seven") == 1
    assert town.count("meanwhile") == 1
    answers = [post for post in town.slack.space.own(DM) if "one" in shown(post).text]
    assert len(answers) == 1


async def test_a_decision_waits_over_a_restart(town: Town) -> None:
    """A question is answered by a click hours and restarts later, and a form says why."""
    assert await town.ann.write("run touch made.txt", mention=True)
    await town.offers("May the agent run this?", "Deny and say why")
    await town.up.stop()
    await town.up.start()
    await town.slack.space.until(lambda: len(town.slack.sockets) == 2)
    assert await town.ann.press("May the agent run this?", "Deny and say why")
    await town.slack.space.until(lambda: town.slack.space.views)
    assert await town.ann.fill({"reason": ["not today"]}) == {}
    await town.sees("Denied by Ann: not today")
    assert town.count("May the agent run this?") == 1
