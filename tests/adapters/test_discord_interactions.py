"""Slash commands, buttons, forms and the message menu, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import (
    Attachment,
    Choice,
    CommandView,
    Field,
    MessageOut,
    Quote,
)
from adapters.discord import places, slash
from adapters.discord.replying import DEADLINE
from tests.adapters.discord_double.double import COMMAND

SECONDS = 20.0
DEFER_MESSAGE, DEFER_UPDATE, MESSAGE = 5, 6, 4


async def until(check) -> None:
    async with asyncio.timeout(SECONDS):
        while not check():
            await asyncio.sleep(0.01)


def shown(double, channel):
    bot = double.world.bot["id"]
    return [m for m in double.world.messages[channel] if m["author"]["id"] == bot]


async def card(adapter, harness, double, *choices: Choice):
    await adapter.send(harness.place, MessageOut("Card", choices, tone="decision"), "card")
    return shown(double, harness.channel)[-1]


async def test_commands_are_registered(double, harness, host):
    """Every command of the bridge is a subcommand, the first person's `claim` too, usable in
    servers, in direct messages and by whoever brought the bot along."""
    await harness.start(host)
    command, menu = double.world.commands
    names = [option["name"] for option in command["options"]]
    assert names == ["claim", *(v.name for v in host.command_views(admin=True))]
    assert command["integration_types"] == menu["integration_types"] == [0, 1]
    assert command["contexts"] == [0, 1, 2]
    assert menu == {**menu, "type": 3, "name": "Ask Bascule about this"}
    share = next(o for o in command["options"] if o["name"] == "share")
    assert {o["name"] for o in share["options"]} == {"words", "person"}


async def test_commands_where_the_bot_is_only_in_servers(double, harness, host):
    """Where the application is not for people's own installation, its commands do not ask for it:
    Discord would refuse them."""
    double.world.installs = ["0"]
    await harness.start(host)
    assert all(one["integration_types"] == [0] for one in double.world.commands)
    assert all(one["contexts"] == [0, 1] for one in double.world.commands)


def test_more_commands_than_discord_has_room_for():
    """Whatever does not fit can still be given by `more`."""
    views = [CommandView(f"word{n}", "x" * 300) for n in range(40)]
    command, _ = slash.payload(views)
    assert len(command["options"]) == 25
    assert all(0 < len(o["description"]) <= 100 for o in command["options"])
    sub = {"name": "more", "options": [{"name": "command", "value": "Word39"},
                                       {"name": "words", "value": " a b "}]}  # fmt: skip
    assert slash.read({"name": "bascule", "options": [sub]}) == slash.Given("word39", "a b")


async def test_a_command_is_answered_to_its_sender_alone(double, harness, host):
    """The bridge's reply comes as the answer, seen by nobody else; a person stands where the
    bridge expects them."""
    host.reply = MessageOut("You are Ann.", only_for=harness.identity("ann"), tone="notice")
    await harness.start(host)
    ben = double.world.ben["id"]
    asked = await double.command(harness.channel, "people", {"words": "role admin", "person": ben})
    answer = asked.answered.result()
    assert answer["type"] == MESSAGE
    assert answer["data"]["content"] == "You are Ann."
    assert answer["data"]["flags"] & 64
    (given,) = host.commands
    assert (given.name, given.rest) == ("people", f"role <@{ben}> admin")
    assert given.people == (places.identity(ben),)
    assert given.address == harness.place
    assert shown(double, harness.channel) == []


async def test_a_slow_command_is_answered_later(double, harness, host):
    """What takes longer than Discord waits is promised, and follows."""
    host.reply = MessageOut("At last.", tone="notice")
    await harness.start(host)
    host.hold()
    asked = await double.command(harness.channel, "status")
    assert asked.answered.result()["type"] == DEFER_MESSAGE
    host.release()
    await until(lambda: asked.shown)
    assert asked.shown[-1]["content"] == "At last."


async def test_suggestions(double, harness, host):
    """What may follow a command is asked of the bridge."""
    host.suggestions = [("plan", "plan: it looks and plans"), ("default", "default"), ("", "none")]
    await harness.start(host)
    found = await double.complete(harness.channel, "mode", "pl")
    assert found == [{"name": "plan: it looks and plans", "value": "plan"}]
    assert len(await double.complete(harness.channel, "mode", "")) == 2


async def test_an_interaction_told_twice(double, harness, host):
    """Discord may tell of one interaction twice: it is handed over and answered once."""
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, Choice("x:1", "Go"))
    asked = await double.press(message, "Go", twice=True)
    assert asked.answered.result()["type"] == DEFER_UPDATE
    await double.command(harness.channel, "help", twice=True)
    assert len(host.actions) == len(host.commands) == 1
    assert host.duplicates == []


async def test_a_button_is_acknowledged_once_it_is_stored(double, harness, host):
    """A presser sees nothing happen before it is stored; where that takes too long, Discord is told
    in time and the presser learns how it ended."""
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, Choice("x:1", "Go"))
    host.hold()
    pressing = asyncio.create_task(double.press(message, "Go"))
    await until(lambda: host.begun)
    await asyncio.sleep(DEADLINE / 4)
    assert not pressing.done()
    asked = await pressing
    assert asked.answered.result()["type"] == DEFER_UPDATE
    host.refuse = 1
    host.release()
    await until(lambda: asked.shown)
    assert "could not be stored" in asked.shown[-1]["content"]


async def test_presses_keep_their_order(double, harness, host):
    """Buttons and messages of one channel are handed over one after another."""
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, *(Choice(f"x:{n}", f"N{n}") for n in range(4)))
    host.hold()
    pressing = [asyncio.create_task(double.press(message, f"N{n}")) for n in range(4)]
    await until(lambda: host.begun)
    host.release()
    await asyncio.gather(*pressing)
    assert host.overlaps == 0
    assert len(host.actions) == 4


async def test_a_form_of_many_fields(double, harness, host):
    """More fields than a dialog holds come page by page, and arrive as one action; long values
    and more options than a menu holds, too."""
    options = tuple((f"value {n} " + "x" * 120, f"Option {n}") for n in range(30))
    form = tuple(
        f for n in range(4) for f in (
            Field(f"q{n}", f"Question {n}?", options if n == 0 else (("a", "A"), ("b", "B")),
                  many=n == 0, required=False),
            Field(f"q{n}.other", f"Other {n}", required=False),
        )
    )  # fmt: skip
    host.forms["d:1:answer"] = form
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, Choice("d:1:answer", "Answer", form=form))
    asked = await double.press(message, "Answer")
    given = {"Question 0?": ["Option 3"], "Other 0": ["because"]}
    pages = 0
    while True:
        labels = [p["label"] for p in asked.answered.result()["data"]["components"]]
        assert len(labels) <= 5
        pages += 1
        values = {label: given.get(label, []) for label in labels} | (
            {"Question 3?": ["B"]} if "Question 3?" in labels else {}
        )
        values["Question 0?"] = ["Option 3"] if pages == 1 and "Question 0?" in labels else []
        asked = await double.fill(asked, message, values)
        if asked.answered.result()["type"] != MESSAGE:
            break
        assert host.actions == []
        follow = {
            **double.world.post(harness.channel, double.world.bot, "x"),
            **asked.answered.result()["data"],
        }
        label = follow["components"][0]["components"][0]["label"]
        asked = await double.press(follow, label)
    assert pages > 1
    (action,) = host.actions
    assert dict(action.values) == {"q0": (options[3][0],), "q0.other": ("because",), "q3": ("b",)}


async def test_a_form_that_is_no_more(double, harness, host):
    """A button whose form nobody knows any more says so."""
    adapter = await harness.start(host)
    message = await card(
        adapter, harness, double, Choice("d:9:deny", "Why", form=(Field("r", "R"),))
    )
    asked = await double.press(message, "Why")
    assert asked.answered.result()["type"] == MESSAGE
    assert "not valid any more" in asked.answered.result()["data"]["content"]
    assert host.actions == []


async def test_only_for_one_after_a_click(double, harness, host):
    """Who just used a button sees what is only for them right there, unseen by others; edited, it
    stays there."""
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, Choice("x:1", "Go"))
    asked = await double.press(message, "Go", double.world.ben)
    word = MessageOut("Only those who may decide can.", only_for=harness.identity("ben"))
    ref = await adapter.send(harness.place, word, "w1")
    assert ref == await adapter.send(harness.place, word, "w1")
    assert [m["content"] for m in asked.shown] == ["Only those who may decide can."]
    assert asked.shown[0]["flags"] & 64
    await adapter.edit(harness.place, ref, MessageOut("changed", only_for=word.only_for))
    assert [m["content"] for m in asked.shown] == ["changed"]
    assert shown(double, double.world.direct(double.world.ben["id"])) == []


async def test_only_for_one_in_direct_messages(double, harness, host):
    """There nobody else reads: it is an ordinary message, which does not vanish."""
    adapter = await harness.start(host)
    direct = double.world.direct(double.world.ann["id"])
    asked = await double.command(direct, "help")
    at = places.direct(int(direct))
    await adapter.send(at, MessageOut("Your code.", only_for=harness.identity("ann")), "k1")
    assert [m["content"] for m in shown(double, direct)] == ["Your code."]
    assert "Your code." not in [m["content"] for m in asked.shown]


def menu(message) -> dict:
    resolved = {"messages": {message["id"]: message}}
    return {"id": "2", "name": "Ask Bascule about this", "type": 3, "target_id": message["id"],
            "resolved": resolved}  # fmt: skip


async def test_ask_about_a_message(double, harness, host):
    """The menu on a message asks what to do with it; the message is quoted, its files come along,
    and the answer comes in its thread."""
    await harness.start(host)
    world = double.world
    file = world.attach("log.txt", b"boom", double.rest.base, world.general)
    about = world.post(world.general, world.ben, "It broke", attachments=[file])
    asked = await double.interact(COMMAND, world.general, menu(about))
    done = await double.fill(asked, None, {"What should I do with it?": ["find out why"]})
    assert "thread of that message" in done.answered.result()["data"]["content"]
    (got,) = host.messages
    assert got.text == "find out why"
    assert got.quotes == (Quote("Ben", "It broke", harness.identity("ben")),)
    ref = f"{world.general}/{about['id']}/{file['id']}"
    assert got.attachments == (Attachment(ref, "log.txt", "application/octet-stream", 4),)
    want = places.in_thread(int(world.guild_id), int(world.general), int(about["id"]))
    assert got.address == want
    assert got.sender.identity == harness.identity("ann")


async def test_whoever_brings_the_bot_along(double, harness, host):
    """Where only a person installed the bot, it works in their direct messages with it; a command
    is answered on the spot."""
    host.reply = MessageOut("Here.", tone="notice")
    await harness.start(host)
    world = double.world
    about = world.post(world.general, world.ben, "Read this")
    asked = await double.interact(COMMAND, world.general, menu(about), installed="user")
    await double.fill(asked, None, {"What should I do with it?": ["sum it up"]}, installed="user")
    (got,) = host.messages
    direct = places.direct(int(world.direct(world.ann["id"])))
    assert got.address == direct
    done = await double.command(world.general, "status", installed="user")
    assert done.answered.result()["data"]["content"] == "Here."
    assert host.commands[0].address == direct


async def test_a_bridge_that_fails(double, harness, host):
    """A mistake of the bridge is told to who waits; the next one works."""
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, Choice("x:1", "Go"))
    submit = host.submit

    async def broken(_inbound):
        raise RuntimeError("a mistake")

    host.submit = broken
    asked = await double.press(message, "Go")
    assert "Something went wrong" in asked.answered.result()["data"]["content"]
    host.submit = submit
    assert (await double.press(message, "Go")).answered.result()["type"] == DEFER_UPDATE


@pytest.mark.parametrize("custom_id", ["", "nobody's", "b:x", "fx:1", "p9:x:1", "p0:", "menu:0"])
async def test_a_button_of_nobody(double, harness, host, custom_id):
    """A button that this adapter never made does nothing, and says so."""
    await harness.start(host)
    message = double.world.post(harness.channel, double.world.bot, "x")
    data = {"custom_id": custom_id, "component_type": 2}
    asked = await double.interact(3, harness.channel, data, message=message)
    assert asked.answered.result()["type"] == MESSAGE
    assert host.actions == []


async def test_the_stop_button(double, harness, host):
    """What is being worked on has a button that stops it, for as long as it is."""
    host.reply = MessageOut("Stopping the turn.", tone="notice")
    adapter = await harness.start(host)
    work = MessageOut("so far", status="Writing…", final=False)
    ref = await adapter.send(harness.place, work, "k1")
    (message,) = shown(double, harness.channel)
    asked = await double.press(message, "Stop")
    assert asked.answered.result()["data"]["content"] == "Stopping the turn."
    (given,) = host.commands
    assert (given.name, given.address) == ("stop", harness.place)
    await adapter.edit(harness.place, ref, MessageOut("all of it"))
    assert message["components"] == []


async def test_commands_that_discord_refuses(double, harness, host):
    """Words and buttons work although the commands could not be registered."""
    double.rest.no_commands = True
    adapter = await harness.start(host)
    message = await card(adapter, harness, double, Choice("x:1", "Go"))
    assert (await double.press(message, "Go")).answered.result()["type"] == DEFER_UPDATE
