"""The adapter's own client and all that listens to it, in an emulated Discord that others keep."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import simcord

from adapters.contract import Choice, Field, FileOut, Gone, MessageOut
from adapters.discord import places
from adapters.discord.client import Client
from adapters.discord.ephemeral import Ephemerals
from adapters.discord.memory import Memory
from adapters.discord.sending import Sending
from adapters.discord.session import Session
from adapters.discord.threads import Threads
from adapters.testing import RecordingHost


class Emulated:
    def __init__(self, env, client, sending, host) -> None:
        self.env, self.client, self.sending, self.host = env, client, sending, host


@asynccontextmanager
async def emulated(folder: Path):
    client = Client(content=True)
    host = RecordingHost()
    threads, ephemerals = Threads(), Ephemerals()

    async def itself():
        return client

    sending = Sending(itself, Memory(folder), threads, ephemerals)
    async with simcord.run(client, shard_count=1) as env:
        session = Session(host, client, threads, ephemerals, sending.send, lambda *_: None)
        await session.register()
        client.ear = session
        try:
            yield Emulated(env, client, sending, host)
        finally:
            await session.stop()


async def test_talk(tmp_path):
    """A mention, its thread, a follow-up; an answer, an edit; nothing else is heard."""
    async with emulated(tmp_path) as it:
        guild = it.env.create_guild()
        channel = guild.create_text_channel("general")
        ann = guild.add_member(it.env.create_user("ann"))
        await ann.send(channel, "not for the bot")
        await ann.send(channel, f"<@{it.client.user.id}> **fix** it", attachments=[("a.txt", b"x")])
        (said,) = it.host.messages
        assert (said.text, [a.name for a in said.attachments]) == ("**fix** it", ["a.txt"])
        ref = await it.sending.send(said.address, MessageOut("working", final=False), "k1")
        assert ref == await it.sending.send(said.address, MessageOut("working"), "k1")
        (thread,) = channel.threads
        assert (thread.name, str(thread.id)) == ("fix it", said.address.thread)
        await it.sending.edit(
            said.address, ref, MessageOut("# Done\n\n| a | b |\n|---|---|\n| 1 | 2 |")
        )
        (post,) = [m for m in thread.history() if m.author.id == it.client.user.id]
        assert post.content.startswith("# Done\n\n```\na │ b")
        await ann.send(thread, "and now?")
        assert [m.text for m in it.host.messages] == ["**fix** it", "and now?"]
        assert it.host.messages[1].address == said.address


async def test_buttons_and_forms(tmp_path):
    """A button's action, a form with text and menus, and the outcome."""
    form = (
        Field("reason", "Why?"),
        Field("q0", "Which?", (("v1", "First"), ("v2", "Second"))),
        Field("q1", "Which ones?", (("a", "A"), ("b", "B")), many=True, required=False),
    )
    async with emulated(tmp_path) as it:
        it.host.forms["d:1:answer"] = form
        guild = it.env.create_guild()
        channel = guild.create_text_channel("general")
        ann = guild.add_member(it.env.create_user("ann"))
        at = places.in_channel(guild.id, channel.id)
        choices = (
            Choice("d:1:allow", "Allow", "primary"),
            Choice("d:1:answer", "Answer", form=form),
        )
        file = FileOut("command.sh", "text/plain", b"echo")
        card = MessageOut("May it?", choices, files=(file,), tone="decision")
        ref = await it.sending.send(at, card, "k1")
        post = channel.last_message
        pressed = await ann.click(post, label="Allow")
        assert pressed.acknowledged
        shown = await ann.click(post, label="Answer")
        ids = [part["component"]["custom_id"] for part in shown.modal["components"]]
        await ann.submit_modal(shown, {ids[0]: "because", ids[1]: ["=v2"], ids[2]: ["=a", "=b"]})
        assert [a.action for a in it.host.actions] == ["d:1:allow", "d:1:answer"]
        want = {"reason": ("because",), "q0": ("v2",), "q1": ("a", "b")}
        assert dict(it.host.actions[1].values) == want
        await it.sending.edit(at, ref, MessageOut("May it?\n\n**Allowed**"))
        assert channel.last_message.components == []
        assert [a.filename for a in channel.last_message.attachments] == ["command.sh"]


async def test_commands(tmp_path):
    """A slash command, its suggestions, what only its user sees, and the menu on a message."""
    async with emulated(tmp_path) as it:
        it.host.reply = MessageOut("It is so.", tone="notice")
        it.host.suggestions = [("plan", "plan: looks and plans")]
        guild = it.env.create_guild()
        channel = guild.create_text_channel("general")
        ann, ben = (guild.add_member(it.env.create_user(name)) for name in ("ann", "ben"))
        done = await ann.slash(channel, "bascule share", words="now", person=ben)
        assert done.response.ephemeral
        assert done.response.content == "It is so."
        assert it.host.commands[0].rest == f"now <@{ben.id}>"
        found = await ann.autocomplete(channel, "bascule mode", "words", "pl")
        assert [one["value"] for one in found] == ["plan"]
        about = await ben.send(channel, "It broke")
        shown = await ann.context_menu(channel, "Ask Bascule about this", about)
        (part,) = shown.modal["components"]
        await ann.submit_modal(shown, {part["component"]["custom_id"]: "why?"})
        (said,) = it.host.messages
        assert (said.text, said.quotes[0].text) == ("why?", "It broke")
        assert said.address.thread == str(about.id)


async def test_what_the_bot_may_not(tmp_path):
    """A permission that is missing is named as Discord names it; a deleted post is gone."""
    async with emulated(tmp_path) as it:
        guild = it.env.create_guild()
        channel = guild.create_text_channel("general")
        at = places.in_channel(guild.id, channel.id)
        ref = await it.sending.send(at, MessageOut("x"), "k1")
        await channel.last_message.delete()
        with pytest.raises(Gone):
            await it.sending.edit(at, ref, MessageOut("y"))
