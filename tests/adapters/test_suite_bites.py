"""The conformance suite finds an adapter that breaks a promise."""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.console.adapter import ConsoleAdapter
from adapters.contract import Gone, MessageIn, NotStored, Receipt
from adapters.testing import ConformanceError, choices, inbound, outbound, running

sys.path.append(str(Path(__file__).parent))

from console_harness import console

NUMBERS = itertools.count()


class Between:
    """A host that does to what an adapter hands over what a broken adapter would."""

    def __init__(self, host, way) -> None:
        self._host, self._way = host, way

    async def submit(self, inbound):
        return await self._way(self._host, inbound)

    def __getattr__(self, name):
        return getattr(self._host, name)


def handing_over(way):
    class Broken(ConsoleAdapter):
        async def run(self, host) -> None:
            await super().run(Between(host, way))

    return Broken


async def early(host, inbound):
    asyncio.get_running_loop().create_task(host.submit(inbound))
    return Receipt("stored")


async def lossy(host, inbound):
    try:
        return await host.submit(inbound)
    except NotStored:
        return Receipt("stored")


async def other_key(host, inbound):
    if isinstance(inbound, MessageIn):
        inbound = replace(inbound, keys=(str(inbound.order),))
    return await host.submit(inbound)


async def stripped(host, inbound):
    if isinstance(inbound, MessageIn):
        inbound = replace(inbound, text=inbound.text.replace("  ", " "))
    return await host.submit(inbound)


class Doubling(ConsoleAdapter):
    async def send(self, to, message, key):
        return await super().send(to, message, f"{key}{next(NUMBERS)}")


class Pretending(ConsoleAdapter):
    async def edit(self, to, ref, message) -> None:
        try:
            await super().edit(to, ref, message)
        except Gone:
            return


class Cutting(ConsoleAdapter):
    async def send(self, to, message, key):
        return await super().send(to, replace(message, markdown=message.markdown[:4000]), key)


class Telling(ConsoleAdapter):
    async def send(self, to, message, key):
        ben = replace(to, channel="1001/main")
        await super().send(ben, replace(message, only_for=None), key)
        return await super().send(to, message, key)


class Lingering(ConsoleAdapter):
    async def run(self, host) -> None:
        self.left = asyncio.create_task(super().run(host))
        await asyncio.shield(self.left)


BROKEN = [
    (handing_over(early), inbound.acknowledged_when_stored),
    (handing_over(lossy), inbound.not_stored_comes_again),
    (handing_over(lossy), choices.action_not_stored),
    (handing_over(other_key), inbound.delivered_twice),
    (handing_over(stripped), inbound.message_arrives),
    (Doubling, outbound.once_a_key),
    (Pretending, outbound.edit_of_nothing),
    (Cutting, outbound.longest_text_is_whole),
    (Telling, outbound.only_for_one),
]


@pytest.mark.parametrize(("make", "check"), BROKEN, ids=lambda value: value.__name__)
async def test_broken_promise_is_found(make, check) -> None:
    """Each of these adapters breaks one promise, and the check of that promise says so."""
    async with console(make) as harness:
        with pytest.raises(ConformanceError):
            await check(harness)


async def test_what_lingers_is_found() -> None:
    """An adapter that goes on after its cancellation does not pass."""
    async with console(Lingering) as harness:
        with pytest.raises(ConformanceError):
            await running.nothing_is_left(harness)
        adapter = [task for task in asyncio.all_tasks() if "ConsoleAdapter.run" in repr(task)]
        for task in adapter:
            task.cancel()
        await asyncio.gather(*adapter, return_exceptions=True)
