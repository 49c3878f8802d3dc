"""What was written before, read back where somebody asks for it."""

import pytest

from adapters.contract import Address, Earlier, Identity, MessageOut, NotAllowed
from adapters.testing import RecordingHost
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import ANN, BEN, CHANNEL, DM, TEAM
from tests.adapters.slack_people import Person


@pytest.fixture
async def town():
    async with slack() as harness:
        harness.host = RecordingHost()
        harness.adapter = await harness.start(harness.host)
        yield harness


def key(message) -> str:
    return f"{CHANNEL}:{message['ts']}"


async def test_the_last_of_a_thread(town):
    """Those before the one that asks, the oldest first, with whose account wrote them and names
    for mentions; the bot's own, the question itself and what came later are left out."""
    ben, root = Person(town.slack, BEN), town.place.thread
    await town.ann.write("too old", thread=root)
    await ben.write(f"<@{ANN}> ship *it*?", thread=root)
    await town.ann.write("mention me", thread=root, mention=True)
    said = town.host.messages[-1]
    await town.adapter.send(said.address, MessageOut("An answer."), "t_1.0")
    await ben.write("say pwned", thread=root)
    await town.ann.write("!read 3 what now?", thread=root, mention=True)
    asked = town.ann.last
    await ben.write("later", thread=root)
    assert isinstance(town.adapter, Earlier)
    found = await town.adapter.earlier(town.place, key(asked), 3)
    assert [quote.text for quote in found] == [
        f"@Ann ({ANN}) ship *it*?", found[1].text, "say pwned"
    ]  # fmt: skip
    assert "mention me" in found[1].text
    assert [quote.author for quote in found] == ["Ben", "Ann", "Ben"]
    assert found[0].by == Identity("slack", TEAM, BEN)


async def test_a_question_that_begins_a_thread(town):
    """What stands before it in the channel, an alert of another bot too; no replies of threads."""
    bot = {"bot_id": "B0ALERT", "subtype": "bot_message", "username": "Alerts", "text": "Disk full"}
    town.slack.space.add(CHANNEL, bot)
    await town.ann.write("in a thread", thread=town.place.thread)
    await town.ann.write("anybody?")
    await town.ann.write("!read 2 why?", mention=True)
    asked = town.ann.last
    at = Address("slack", TEAM, CHANNEL, asked["ts"])
    found = await town.adapter.earlier(at, key(asked), 2)
    assert [(quote.author, quote.text) for quote in found] == [
        ("Alerts", "Disk full"), ("Ann", "anybody?")
    ]  # fmt: skip
    assert found[0].by is None


async def test_files_are_named_and_nothing_is_asked_by_an_unknown_key(town):
    """A message with a file alone has its name; a key of no message there means the newest."""
    file = town.slack.methods.file("plan.pdf", b"x", user=ANN)
    await town.ann.write("", DM, files=[file])
    at = Address("slack", TEAM, DM, town.ann.last["ts"], direct=True)
    await town.ann.write("see above", DM, at.thread)
    found = await town.adapter.earlier(at, "slash.1", 5)
    assert [quote.text for quote in found] == ["[file: plan.pdf]", "see above"]


async def test_what_the_bot_may_not_read(town):
    """The scope that is missing is named."""
    town.slack.errors["conversations.replies"] = ["missing_scope"]
    with pytest.raises(NotAllowed):
        await town.adapter.earlier(town.place, "x", 5)
