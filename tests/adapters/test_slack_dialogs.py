"""Buttons, forms, the message shortcut and the home page."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.contract import (
    Address,
    Choice,
    ConversationView,
    DecisionView,
    Field,
    Identity,
    MessageOut,
    PersonView,
    PostRef,
)
from adapters.testing import RecordingHost
from tests.adapters.slack_harness import slack
from tests.adapters.slack_payloads import ANN, BEN, CHANNEL, DM, GIL, TEAM, event, interaction
from tests.adapters.slack_people import Person
from tests.adapters.slack_workspace import buttons, shown

LONG = "a very long option that has more to say than Slack has room for in its menus " * 3
FORM = (
    Field("q0", "Which colour?", (("red", "Red"), (LONG, LONG)), required=False),
    Field("q0.other", "Or in your words", required=False),
)


@pytest.fixture
async def town():
    async with slack() as harness:
        harness.host = RecordingHost()
        harness.adapter = await harness.start(harness.host)
        yield harness


async def card(town, *choices):
    post = MessageOut("The agent asks", choices, tone="decision")
    return await town.adapter.send(town.place, post, "t_1.d-dec_1")


async def test_the_row_travels_and_nothing_else(town):
    """A button's value is the action itself; its form is in the post's metadata."""
    await card(town, Choice("d:1:allow", "Allow"), Choice("d:1:answer", "Answer", form=FORM))
    post = town.slack.space.own()[0]
    assert [b["value"] for b in buttons(post)] == ["d:1:allow", "d:1:answer"]
    assert "Which colour?" in post["metadata"]["event_payload"]["forms"]


@pytest.mark.parametrize("metadata", [True, False], ids=["delivered", "asked for"])
async def test_forms_open_and_answer(town, metadata):
    """A form opens whether Slack delivers the post's metadata or has to be asked for it; an
    option too long for Slack arrives whole."""
    await card(town, Choice("d:1:answer", "Answer", form=FORM))
    assert await town.ann.press("The agent asks", "Answer", metadata=metadata)
    view = town.slack.space.views[-1]["view"]
    assert [b["element"]["type"] for b in view["blocks"]] == ["static_select", "plain_text_input"]
    label = view["blocks"][0]["element"]["options"][1]["text"]["text"]
    assert await town.ann.fill({"q0": [label], "q0.other": ["or  <b>&"]}) == {}
    (action,) = town.host.actions
    assert action.values == (("q0", (LONG,)), ("q0.other", ("or  <b>&",)))
    assert (action.action, action.address) == ("d:1:answer", town.place)


async def test_a_form_that_is_not_stored_stays_open(town):
    """What was written is not lost: the form stays and says why, and is taken the next time."""
    await card(town, Choice("d:1:deny", "Deny and say why", form=(Field("reason", "Why?"),)))
    await town.ann.press("The agent asks", "Deny and say why")
    town.host.refuse = 1
    answer = await town.ann.fill({"reason": ["because"]})
    assert answer["response_action"] == "errors"
    assert "try again" in answer["errors"]["reason"]
    assert await town.ann.fill({"reason": ["because"]}) == {}
    assert town.host.actions[0].values == (("reason", ("because",)),)


async def test_a_form_that_came_too_late(town):
    """Slack gives three seconds: after that its presser is told to press again."""
    await card(town, Choice("d:1:deny", "Say why", form=(Field("reason", "Why?"),)))
    town.slack.errors["views.open"] = ["expired_trigger_id"]
    assert await town.ann.press("The agent asks", "Say why")
    assert "once more" in town.slack.space.ephemeral[-1]["text"]
    assert town.host.actions == []


async def test_a_button_whose_form_is_gone(town):
    """A button on a screen that is out of date does nothing, and says so."""
    ref = await card(town, Choice("d:1:deny", "Say why", form=(Field("reason", "Why?"),)))
    old = dict(town.slack.space.own()[0])
    await town.adapter.edit(town.place, ref, MessageOut("The agent asked. Denied."))
    assert await town.ann.press_in(old, "Say why")
    assert "changed meanwhile" in town.slack.space.ephemeral[-1]["text"]
    assert town.slack.space.views == []


async def test_the_outcome_takes_the_buttons_away(town):
    """The post turns into its outcome, with who decided, and nothing is left to press."""
    ref = await card(town, Choice("d:1:allow", "Allow"))
    await town.adapter.edit(town.place, ref, MessageOut("Ran it. **✓ Allowed by Ann**"))
    post = town.slack.space.own()[0]
    assert buttons(post) == []
    assert "Allowed by Ann" in shown(post).text


async def test_guests_press_nothing(town):
    """Who is refused at the door is so at a button, too."""
    await card(town, Choice("d:1:allow", "Allow"))
    assert await Person(town.slack, GIL).press("The agent asks", "Allow")
    assert town.host.actions == []


async def test_foreign_forms_are_left_alone(town):
    """A form that is none of ours is acknowledged and nothing else."""
    body = interaction("view_submission")
    assert await town.slack.deliver(body, "interactive") == {}
    for private in ("", "[]", "{}", '{"action": "d:1:allow"}', '{"at": 1, "action": 2, "ts": 3}'):
        body["view"] |= {"callback_id": "bascule_form", "private_metadata": private}
        assert await town.slack.deliver(body, "interactive") == {}
    assert town.host.received == []


async def test_ask_about_a_message(town):
    """The shortcut puts a message and its files before the bot in the reader's direct messages,
    and asks what about it; the question comes with the message as a quote."""
    body = interaction("message_action", trigger_id=town.ann.trigger())
    assert await town.slack.deliver(body, "interactive") == {}
    root = town.slack.space.own(DM)[0]
    assert "it is broken <here>" in shown(root).text
    assert "notes.txt" in shown(root).text
    assert await town.ann.fill({"question": ["why?"]}) == {}
    (said,) = town.host.messages
    assert said.text == "why?"
    assert said.address == Address("slack", TEAM, DM, root["ts"], direct=True)
    assert [(q.author, q.text) for q in said.quotes] == [
        ("Ben", f"it is broken <here>, @Ann ({ANN})")
    ]
    assert [a.ref for a in said.attachments] == ["F0FILE"]


async def test_ask_about_a_message_in_its_thread(town):
    """Who closes the form and writes in the thread instead asks the same; the quote comes with
    the first message alone."""
    body = interaction("message_action", trigger_id=town.ann.trigger())
    await town.slack.deliver(body, "interactive")
    root = town.slack.space.own(DM)[0]
    await town.ann.write("what is that", DM, thread=root["ts"])
    await town.ann.write("and now?", DM, thread=root["ts"])
    first, second = town.host.messages
    assert [q.author for q in first.quotes] == ["Ben"]
    assert (second.quotes, second.attachments) == ((), ())


class Standing(RecordingHost):
    """A host that knows Ann, with a conversation and a decision that waits."""

    async def person(self, who):
        at = Address("slack", TEAM, CHANNEL, "1700000000.000100")
        until = datetime.now(UTC) + timedelta(hours=1)
        post = PostRef(f"{CHANNEL}:1700000001.000100")
        waiting = DecisionView(at, "Run <!channel> make?", post, until)
        return PersonView("Ann", "admin", "default", (waiting,), ("3 of 10 dollars are used.",))

    async def conversations(self, who):
        at = Address("slack", TEAM, CHANNEL, "1700000000.000100")
        other = Address("console", "local", "1000/main")
        now = datetime.now(UTC)
        return [
            ConversationView(at, "Fix | the build", "waiting", now),
            ConversationView(other, "in a terminal", "idle", now),
        ]


async def test_home_page():
    """It shows its person how they stand: what waits, with a link to it, their conversations,
    mode, budget and commands; nothing in it notifies anybody."""
    async with slack() as town:
        await town.start(Standing())
        await town.slack.deliver(event("app_home_opened_home"))
        page = str(town.slack.space.homes[ANN])
        place = f"{town.slack.url}/archives/{CHANNEL}"
        assert f"{place}/p1700000001000100?thread_ts=1700000000.000100&amp;cid={CHANNEL}" in page
        assert "Fix ¦ the build" in page
        assert "in a terminal" not in page
        assert "*default*" in page
        assert "3 of 10 dollars are used." in page
        assert "`people`" in page
        assert "<!channel>" not in page


async def test_warms_the_newest_conversation():
    """A person who opens the bot's messages will most likely go on where they were."""

    class Recent(RecordingHost):
        opened = None

        async def conversations(self, who):
            at = Address("slack", TEAM, DM, "1700000000.000100", direct=True)
            return [ConversationView(at, "x", "idle", datetime.now(UTC))]

        async def submit(self, inbound):
            self.opened = inbound
            return await super().submit(inbound)

    async with slack() as town:
        host = Recent()
        await town.start(host)
        await town.slack.deliver(event("app_home_opened_messages"))
        assert (host.opened.kind, host.opened.address.thread) == ("opened", "1700000000.000100")
        assert host.opened.sender.identity == Identity("slack", TEAM, ANN)
        assert BEN not in str(host.opened)
