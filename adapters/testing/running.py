"""An adapter can be watched and stopped."""

from __future__ import annotations

import asyncio

from adapters.contract import MessageOut
from adapters.testing.expect import A_MOMENT, PATIENCE, must, until
from adapters.testing.harness import Harness
from adapters.testing.host import RecordingHost


async def health_is_told(harness: Harness) -> None:
    """A running adapter says that it is well."""
    adapter = await harness.start(RecordingHost())
    health = await adapter.health()
    must(health.state == "ok", f"it is ok, not {health}")


async def nothing_is_left(harness: Harness) -> None:
    """After a cancellation nothing is left running and nothing more is submitted."""
    host = RecordingHost()
    adapter = await harness.start(host)
    await harness.say("hello", key="left-1")
    await adapter.send(harness.place, MessageOut("a post"), "left-2")
    host.hold()
    before = host.begun
    coming = asyncio.create_task(harness.say("under way", key="left-3"))
    await until(host, lambda: host.begun > before, "a message is handed over")
    async with asyncio.timeout(PATIENCE):
        await harness.stop()
    begun = host.begun
    host.release()
    (acknowledged,) = await asyncio.gather(coming, return_exceptions=True)
    must(acknowledged is not True, "what was under way is not acknowledged")
    await asyncio.sleep(A_MOMENT)
    must(host.begun == begun, "nothing more is submitted")
    must(not harness.left_running(), f"nothing is left running: {harness.left_running()}")
