"""What a person does reaches the bridge once, whole and in order."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from adapters.testing.expect import A_MOMENT, must, restarted, until
from adapters.testing.harness import Harness
from adapters.testing.host import RecordingHost


async def name_and_limits(harness: Harness) -> None:
    """The adapter's name is its platform's, and its limits are usable figures."""
    adapter = await harness.start(RecordingHost())
    caps = adapter.caps
    must(adapter.name == harness.place.platform, "`name` is the platform of its addresses")
    must(caps.text_limit >= 40, "`text_limit` leaves room for a text")
    must(caps.edit_interval >= 0 and caps.file_limit >= 0, "limits are not negative")


async def message_arrives(harness: Harness) -> None:
    """A message arrives whole, from the account and at the place the platform names."""
    host = RecordingHost()
    await harness.start(host)
    text = "Hello  *Bascule* <b> & ünï 😀\n\n`code` \\ end"
    must(await harness.say(text, key="arrives-1"), "a stored message is acknowledged")
    must(len(host.messages) == 1, "one message is handed over once")
    said = host.messages[0]
    must(said.text == text, f"the text is handed over unchanged, not as {said.text!r}")
    must(said.address == harness.place, f"the address is {harness.place}, not {said.address}")
    must(said.sender.identity == harness.identity("ann"), "the sender is the account")
    must(said.sender.name, "the sender has a name for people to read")
    must(said.keys and all(said.keys), "a message has at least one key, none of them empty")
    must(said.sent_at.tzinfo is not None, "`sent_at` has a time zone")


async def identity_is_stable(harness: Harness) -> None:
    """After a restart the same account and the same place are equal to what they were."""
    host = RecordingHost()
    await harness.start(host)
    await harness.say("before", key="stable-1")
    await restarted(harness, host)
    await harness.say("after", key="stable-2")
    first, second = host.messages
    must(first.address == second.address, "equal places give equal addresses over a restart")
    must(first.sender.identity == second.sender.identity, "an account keeps its identity")
    must(not set(first.keys) & set(second.keys), "two messages never share a key")


async def order_grows(harness: Harness) -> None:
    """Messages are handed over in the platform's order, and their `order` says the same."""
    host = RecordingHost()
    await harness.start(host)
    for number in range(5):
        await harness.say(f"number {number}", key=f"order-{number}")
    must([m.text for m in host.messages] == [f"number {n}" for n in range(5)], "order is kept")
    orders = [message.order for message in host.messages]
    must(all(a < b for a, b in pairwise(orders)), f"it grows: {orders}")


async def one_after_another(harness: Harness) -> None:
    """Calls for one address are awaited one after another, also when messages come at once."""
    host = RecordingHost()
    await harness.start(host)
    host.hold()
    coming = [asyncio.create_task(harness.say(f"n {n}", key=f"burst-{n}")) for n in range(4)]
    await until(host, lambda: host.begun, "a message is handed over")
    await asyncio.sleep(A_MOMENT)
    host.release()
    must(all(await asyncio.gather(*coming)), "all of them are acknowledged")
    must(host.overlaps == 0, "`submit` for one address is never called while another call runs")


async def acknowledged_when_stored(harness: Harness) -> None:
    """The platform gets its acknowledgement only after `submit` has returned."""
    host = RecordingHost()
    await harness.start(host)
    await harness.say("first", key="ack-0")
    host.hold()
    before = host.begun
    coming = asyncio.create_task(harness.say("hello", key="ack-1"))
    await until(host, lambda: host.begun > before, "a message is handed over")
    await asyncio.sleep(A_MOMENT)
    early = coming.done()
    host.release()
    must(await coming, "a stored message is acknowledged")
    must(not early, "a message is not acknowledged before it is stored")


async def not_stored_comes_again(harness: Harness) -> None:
    """A message that could not be stored is not acknowledged, and is taken when it comes again."""
    host = RecordingHost()
    await harness.start(host)
    host.refuse = 1
    must(not await harness.say("hello", key="full-1"), "`NotStored` is no acknowledgement")
    must(await harness.say("hello", key="full-1", again=True), "delivered again, it is taken")
    must([m.text for m in host.messages] == ["hello"], "it is stored exactly once")
    must(set(host.refused[0].keys) & set(host.messages[0].keys), "it keeps its key")  # type: ignore[union-attr]


async def delivered_twice(harness: Harness) -> None:
    """A message that is delivered again, also after a restart, is handed over under its key."""
    host = RecordingHost()
    await harness.start(host)
    await harness.say("hello", key="twice-1")
    must(await harness.say("hello", key="twice-1", again=True), "a duplicate is acknowledged")
    await restarted(harness, host)
    must(await harness.say("hello", key="twice-1", again=True), "after a restart, too")
    must(len(host.messages) == 1, f"it is one message, not {len(host.messages)}")


async def command_arrives(harness: Harness) -> None:
    """A command arrives taken apart, its name in lower case, and is no message."""
    host = RecordingHost()
    await harness.start(host)
    must(await harness.command("Mode", "plan please", key="command-1"), "it is acknowledged")
    must(len(host.commands) == 1 and not host.messages, "a command is handed over as one")
    given = host.commands[0]
    must((given.name, given.rest) == ("mode", "plan please"), f"it is taken apart: {given}")
    must(given.address == harness.place, "a command names its place")
    must(given.sender.identity == harness.identity("ann"), "a command names its sender")
