"""One post by itself: sent once by its key, and never edited again by this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from adapters.contract import Adapter, Address, MessageOut, PostRef
from bridge.engine.delivery import Delivery, Report


async def _nothing(_key: str, _ref: PostRef) -> None:
    """Its ref need not be kept."""


async def say(
    adapter: Adapter,
    at: Address,
    key: str,
    message: MessageOut,
    report: Report,
    *,
    known: Mapping[str, PostRef] | None = None,
    again: bool = False,
    record: Callable[[str, PostRef], Awaitable[None]] = _nothing,
) -> bool:
    """Whether it arrived as it should look; returns once that is known. `known` has its ref where
    it is there already and is to be edited; `again` where it may be there, as something else."""
    delivery = Delivery(adapter, at, known=known or {}, record=record, report=report, again=again)
    try:
        delivery.show(key, message)
        return await delivery.flush()
    finally:
        await delivery.close()
