"""Which calls stand together in one message, read from its stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_service.claude.calls import MessageCalls


def stream(calls: list[dict[str, Any]], cuts: int) -> list[dict[str, Any]]:
    """The events of a message with a text and these calls, their input in so many pieces."""
    events: list[dict[str, Any]] = [
        {"type": "message_start"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_stop", "index": 0},
    ]
    for index, call in enumerate(calls, 1):
        block = {"type": "tool_use", "id": call["id"], "name": call["tool"], "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        text = json.dumps(call["input"])
        size = max(1, len(text) // cuts)
        for start in range(0, len(text), size):
            delta = {"type": "input_json_delta", "partial_json": text[start : start + size]}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": {}}, {"type": "message_stop"}]
    return events


CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(str),
            "tool": st.sampled_from(["Bash", "Write", "Read"]),
            "input": st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3),
        }
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda call: call["id"],
)


@given(CALLS, st.integers(1, 9))
async def test_all_calls_of_a_message_are_known(calls: list[dict[str, Any]], cuts: int) -> None:
    """Each call learns of all of its message, in order, with their whole inputs."""
    known = MessageCalls()
    assert not known.started
    for event in stream(calls, cuts):
        await known.see(event)
    assert known.started
    for call in calls:
        found = await known.siblings(call["id"])
        assert [(c.id, c.tool, c.input) for c in found] == [
            (c["id"], c["tool"], c["input"]) for c in calls
        ]


async def test_a_call_waits_for_the_end_of_its_message() -> None:
    """A hook that runs before the message is complete learns of the calls that follow."""
    calls = [{"id": str(n), "tool": "Bash", "input": {"command": "x"}} for n in range(3)]
    known = MessageCalls()
    events = stream(calls, 2)
    for event in events[:-1]:
        await known.see(event)
    asked = [asyncio.create_task(known.siblings(str(n))) for n in range(3)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in asked)
    await known.see(events[-1])
    assert [len(found) for found in await asyncio.gather(*asked)] == [3, 3, 3]


async def test_a_new_message_forgets_the_one_before() -> None:
    """Only calls of the same message count as siblings."""
    known = MessageCalls()
    for name in ("a", "b"):
        for event in stream([{"id": name, "tool": "Bash", "input": {}}], 1):
            await known.see(event)
    assert [call.id for call in await known.siblings("b")] == ["b"]


@given(
    st.lists(st.dictionaries(st.sampled_from(["type", "index", "delta"]), st.none() | st.text()))
)
async def test_a_strange_stream_does_no_harm(events: list[dict[str, Any]]) -> None:
    """Events that this release does not know are passed over."""
    known = MessageCalls()
    for event in events:
        if not isinstance(event.get("delta"), str):
            event.pop("delta", None)
            await known.see(event)
