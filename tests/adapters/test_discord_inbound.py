"""What people write on Discord, as the bridge gets it."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import Lifecycle, MessageOut
from adapters.discord import places
from adapters.discord.inbound import UNREADABLE
from tests.adapters.discord_double.double import Double
from tests.adapters.discord_harness import DiscordHarness

SECONDS = 20.0


async def until(check) -> None:
    async with asyncio.timeout(SECONDS):
        while not check():
            await asyncio.sleep(0.01)


def at_bot(double: Double, text: str) -> str:
    return f"<@{double.world.bot['id']}> {text}"


async def posted(double: Double, channel: str, text: str):
    """The bot's post with that text, once it is there."""
    bot = double.world.bot["id"]

    def found():
        return [m for m in double.world.messages[channel]
                if m["author"]["id"] == bot and text in m["content"]]  # fmt: skip

    await until(found)
    return found()[0]


async def test_a_mention_opens_a_thread_when_there_is_an_answer(double, harness, host):
    """A mention in a channel is a conversation in a thread with the message's id; it is opened
    once there is something to say, named after the request, and only once."""
    adapter = await harness.start(host)
    world = double.world
    said = await double.say(world.general, at_bot(double, "**fix** the build\nplease"))
    await until(lambda: host.messages)
    (got,) = host.messages
    want = places.in_thread(int(world.guild_id), int(world.general), int(said["id"]))
    assert got.address == want
    assert got.text == "**fix** the build\nplease"
    assert got.order == int(said["id"])
    assert set(got.sender.groups) == {world.guild_id, world.helpers}
    assert said["id"] not in world.channels
    await adapter.status(got.address, "is thinking")
    posts = [adapter.send(got.address, MessageOut(f"answer {n}"), f"k{n}") for n in range(3)]
    await asyncio.gather(*posts)
    assert world.channels[said["id"]]["name"] == "fix the build"
    assert len([1 for kind, *_ in double.rest.log if kind == "THREAD"]) == 1
    assert len(world.messages[said["id"]]) == 3


async def test_a_thread_is_opened_after_a_crash(double, harness, host):
    """What was stored before a crash is answered after it: the thread is opened then, and where
    it was opened already, it is used."""
    await harness.start(host)
    world = double.world
    said = await double.say(world.general, at_bot(double, "remember me"))
    await until(lambda: host.messages)
    await harness.stop()
    adapter = await harness.start(host)
    await adapter.send(host.messages[0].address, MessageOut("late"), "k1")
    assert world.channels[said["id"]]["name"] == "remember me"
    other = await double.say(world.general, at_bot(double, "and me"))
    await until(lambda: len(host.messages) == 2)
    world.thread("opened by a person", world.general, other["id"])
    await adapter.send(host.messages[1].address, MessageOut("here"), "k2")
    assert [m["content"] for m in world.messages[other["id"]]] == ["here"]


async def test_a_follow_up_needs_no_mention(double, harness, host):
    """In a thread where the bot is known every message counts; in another thread, and in the
    channel, only a mention does."""
    await harness.start(host)
    world = double.world
    said = await double.say(world.general, at_bot(double, "begin"))
    await until(lambda: host.messages)
    await double.say(world.general, "not for the bot")
    world.thread("x", world.general, said["id"])
    await double.gateway.tell("THREAD_CREATE", world.channels[said["id"]])
    await double.say(said["id"], "go on")
    await double.say(harness.channel, "people among themselves")
    await double.say(harness.channel, at_bot(double, "you now"))
    await until(lambda: len(host.messages) == 3)
    assert [m.text for m in host.messages] == ["begin", "go on", "you now"]
    assert host.messages[0].address == host.messages[1].address


async def test_a_forum_post(double, harness, host):
    """A post in a forum is a thread: its first message can mention the bot, and so it goes on."""
    adapter = await harness.start(host)
    post = await double.post_in_forum("Help", at_bot(double, "what is this?"))
    await until(lambda: host.messages)
    world = double.world
    want = places.in_thread(int(world.guild_id), int(world.forum), int(post["channel_id"]))
    assert host.messages[0].address == want
    await adapter.send(want, MessageOut("It is this."), "k1")
    await adapter.react(want, post["id"], "done")
    assert world.marks[post["id"]]["✅"] == {world.bot["id"]}
    await double.say(post["channel_id"], "thanks")
    await until(lambda: len(host.messages) == 2)


async def test_a_thread_that_appears_later(host):
    """A server that tells of its channels late, or never, is understood: places are looked up.
    Ids may come as numbers."""
    async with Double() as double:
        double.gateway.late_guilds = double.gateway.numbers = True
        harness = DiscordHarness(double, direct=False)
        try:
            adapter = await harness.start(host)
            await double.say(harness.channel, at_bot(double, "hello"))
            await until(lambda: host.messages)
            assert host.messages[0].address == harness.place
            await adapter.send(harness.place, MessageOut("hi"), "k1")
            said = await double.say(double.world.general, at_bot(double, "there too"))
            await until(lambda: len(host.messages) == 2)
            assert host.messages[1].address.thread == said["id"]
        finally:
            await harness.close()


async def test_bots_and_others_are_ignored(double, harness, host):
    """Bots, webhooks, system messages and the bot itself are nobody's request."""
    await harness.start(host)
    world = double.world
    other = world.user("other", bot=True)
    world.roles[other["id"]] = []
    text = at_bot(double, "loop")
    await double.say(harness.channel, text, other)
    await double.say(harness.channel, text, webhook_id="77")
    await double.say(harness.channel, text, type=6)
    await double.say(harness.channel, text, world.bot)
    await double.say(harness.channel, at_bot(double, "person"))
    await until(lambda: host.messages)
    assert [m.text for m in host.messages] == ["person"]


async def test_replies_and_mentions(double, harness, host):
    """What is replied to is quoted with its author; mentions are readable."""
    await harness.start(host)
    world = double.world
    first = world.post(harness.channel, world.ben, "It fails at line 3")
    ben, role, room = world.ben["id"], world.helpers, world.general
    text = at_bot(double, f"why? ask <@{ben}>, <@&{role}> or <#{room}>")
    await double.say(
        harness.channel, text, type=19, referenced_message=first,
        message_reference={"message_id": first["id"], "channel_id": harness.channel},
    )  # fmt: skip
    await until(lambda: host.messages)
    (got,) = host.messages
    assert [(q.author, q.text) for q in got.quotes] == [("Ben", "It fails at line 3")]
    assert got.text == f"why? ask @Ben ({ben}), @helpers ({role}) or #general"


async def test_commands_by_word(double, harness, host):
    """`!word` is a command; whom it mentions is handed over; its answer is for its sender alone."""
    host.reply = MessageOut("Shared.", only_for=harness.identity("ann"), tone="notice")
    await harness.start(host)
    ben = double.world.ben["id"]
    await double.say(harness.channel, at_bot(double, f"!Share <@{ben}> now"))
    await until(lambda: host.commands)
    (given,) = host.commands
    assert (given.name, given.rest) == ("share", f"<@{ben}> now")
    assert given.people == (places.identity(ben),)
    direct = double.world.direct(double.world.ann["id"])
    await posted(double, direct, "Shared.")
    assert not [m for m in double.world.messages[harness.channel] if "Shared" in m["content"]]


async def test_edited_and_deleted(double, harness, host):
    """The bridge hears of a change to a message that it was given, from its sender."""
    changes: list[Lifecycle] = []
    submit = host.submit

    async def listen(inbound):
        if isinstance(inbound, Lifecycle):
            changes.append(inbound)
        return await submit(inbound)

    host.submit = listen
    await harness.start(host)
    said = await double.say(harness.channel, at_bot(double, "old words"))
    await until(lambda: host.messages)
    said |= {"content": at_bot(double, "new words"), "edited_timestamp": said["timestamp"]}
    await double.gateway.tell("MESSAGE_UPDATE", said, channel=harness.channel)
    gone = {"id": said["id"], "channel_id": harness.channel, "guild_id": double.world.guild_id}
    await double.gateway.tell("MESSAGE_DELETE", gone, channel=harness.channel)
    await until(lambda: len(changes) == 2)
    assert [c.kind for c in changes] == ["edited", "deleted"]
    assert changes[0].text == "new words"
    assert {c.key for c in changes} == set(host.messages[0].keys)
    assert all(c.sender == host.messages[0].sender for c in changes)


async def test_without_the_content_intent(host):
    """Mentions and direct messages work; a thread is told once what cannot be read there; health
    says it too."""
    async with Double(content_intent=False) as double:
        harness = DiscordHarness(double, direct=False)
        try:
            adapter = await harness.start(host)
            assert "Message Content Intent" in (await adapter.health()).detail
            direct = double.world.direct(double.world.ann["id"])
            await double.say(direct, "directly")
            await double.say(harness.channel, at_bot(double, "mentioned"))
            await until(lambda: len(host.messages) == 2)
            await double.say(harness.channel, "not mentioned")
            await posted(double, harness.channel, UNREADABLE[:40])
            await double.say(harness.channel, "again")
            await double.say(harness.channel, at_bot(double, "and now"))
            await until(lambda: len(host.messages) == 3)
            assert sorted(m.text for m in host.messages) == ["and now", "directly", "mentioned"]
            told = [m for m in double.world.messages[harness.channel]
                    if m["author"]["id"] == double.world.bot["id"]]  # fmt: skip
            assert len(told) == 1
        finally:
            await harness.close()


async def test_who_writes_directly_has_the_groups_of_all_servers(double, harness, host):
    """Access by server and role holds in direct messages, too; who is in none has no groups."""
    await harness.start(host)
    world = double.world
    stranger = world.user("cat")
    await double.say(world.direct(world.ann["id"]), "hello")
    await double.say(world.direct(stranger["id"]), "hello", stranger)
    await until(lambda: len(host.messages) == 2)
    groups = {m.sender.identity.user: m.sender.groups for m in host.messages}
    assert set(groups[world.ann["id"]]) == {world.guild_id, world.helpers}
    assert groups[stranger["id"]] == ()
    assert all(m.address.direct and m.address.tenant == "" for m in host.messages)


@pytest.mark.parametrize("text", ["", " \n", "🙂"])
async def test_a_mention_alone(double, harness, host, text):
    """A message that only mentions the bot is a message, whatever the bridge says to it."""
    await harness.start(host)
    await double.say(harness.channel, at_bot(double, text))
    await until(lambda: host.messages)
    assert host.messages[0].text == text.strip()


async def test_somebody_is_about_to_write(double, harness, host):
    """Typing where the bot listens is told, once a minute, with the roles of who types; the bot's
    own typing and that in a channel are nothing."""
    opened: list[Lifecycle] = []
    submit = host.submit

    async def listen(inbound):
        if isinstance(inbound, Lifecycle):
            opened.append(inbound)
        return await submit(inbound)

    host.submit = listen
    await harness.start(host)
    world = double.world
    for channel, user in (
        (world.general, world.ann), (harness.channel, world.bot), (harness.channel, world.ann),
        (harness.channel, world.ann), (harness.channel, world.ben),
    ):  # fmt: skip
        event = {"channel_id": channel, "user_id": user["id"], "timestamp": 1_800_000_000,
                 "guild_id": world.guild_id, "member": world.member(user["id"])}  # fmt: skip
        await double.gateway.tell("TYPING_START", event)
    await until(lambda: len(opened) == 2)
    assert [one.kind for one in opened] == ["opened"] * 2
    assert {one.address for one in opened} == {harness.place}
    assert [one.sender.identity.user for one in opened] == [world.ann["id"], world.ben["id"]]
    assert world.helpers in opened[0].sender.groups
