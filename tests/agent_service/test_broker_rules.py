"""What the broker lets by: nothing that makes the provider act, and nothing it cannot read."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_service.broker.meter import Meter, Tokens, tokens_of
from agent_service.broker.prices import UNKNOWN, Price, PricesInvalid, PriceTable
from agent_service.broker.rules import Refused, Rules

RULES = Rules(models=("claude-sonnet-*", "claude-haiku-5-5"), max_tokens=1000)


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello"}]
    return {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": messages, **more}


def said(*blocks: Any) -> dict[str, Any]:
    return body(messages=[{"role": "user", "content": list(blocks)}])


def check(value: Any) -> None:
    RULES.check(value if isinstance(value, bytes) else json.dumps(value).encode())


URL = {"type": "url", "url": "https://example.org/x"}
FILE = {"type": "file", "file_id": "file_1"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
NESTED = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": URL}]}
DOCUMENT = {"type": "document", "source": {"type": "content", "content": [
    {"type": "image", "source": URL}]}}  # fmt: skip

GOOD = {
    "plain": body(),
    "all fields": body(system=[{"type": "text", "text": "x"}], stream=True, temperature=1,
                       thinking={"type": "adaptive"}, metadata={"user_id": "x"}),
    "own tools": body(tools=[{"name": "Bash", "input_schema": {}}, {"type": "custom", "name": "x"},
                             {"type": "bash_20250124", "name": "bash"}]),
    "image": said({"type": "text", "text": "look"}, IMAGE),
    "result": said({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}),
    "document": said({"type": "document", "source": {"type": "text", "data": "x"}}),
}  # fmt: skip

BAD = {
    "mcp servers": body(mcp_servers=[{"type": "url", "url": "https://example.org"}]),
    "container": body(container="c_1"),
    "unknown field": body(fetch="https://example.org"),
    "web search": body(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    "web fetch": body(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}]),
    "code": body(tools=[{"type": "code_execution_20250825", "name": "code_execution"}]),
    "mcp toolset": body(tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]),
    "advisor": body(tools=[{"type": "advisor_20260301", "name": "x"}]),
    "typed by a number": body(tools=[{"type": 7}]),
    "tool by null": body(tools=[{"type": None, "name": "web_search"}]),
    "image by url": said({"type": "image", "source": URL}),
    "image by file": said({"type": "image", "source": FILE}),
    "document by url": said({"type": "document", "source": URL}),
    "nested image": said(NESTED),
    "image in a document": said(DOCUMENT),
    "image in the system": body(system=[{"type": "image", "source": URL}]),
    "no source": said({"type": "image"}),
    "container upload": said({"type": "container_upload", "file_id": "f"}),
    "server tool": said({"type": "server_tool_use", "id": "x", "name": "web_fetch", "input": {}}),
    "unknown block": said({"type": "future_fetch", "url": "https://example.org"}),
    "block as text": said("https://example.org"),
    "other model": body(model="claude-opus-5-5"),
    "model as list": body(model=["claude-sonnet-5-5"]),
    "no model": {"max_tokens": 1, "messages": []},
    "too many tokens": body(max_tokens=1001),
    "no max": {"model": "claude-sonnet-5-5", "messages": []},
    "max as true": body(max_tokens=True),
    "max as text": body(max_tokens="10"),
    "messages as object": body(messages={"role": "user"}),
    "twice": b'{"model": "claude-sonnet-5-5", "max_tokens": 1, "max_tokens": 9, "messages": []}',
    "twice inside": b'{"model": "claude-sonnet-5-5", "max_tokens": 1, "messages": [],'
                    b' "metadata": {"a": 1, "a": 2}}',
    "no json": b"hello",
    "broken utf-8": b'{"model": "\xff"}',
    "NaN": b'{"model": "claude-sonnet-5-5", "max_tokens": 1, "messages": [], "top_p": NaN}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("value", GOOD.values(), ids=GOOD)
def test_what_the_cli_needs_passes(value: Any) -> None:
    """Texts, own tools, images and documents within the request are let by."""
    check(value)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_what_would_act_or_cannot_be_read_is_refused(value: Any) -> None:
    """Whatever would make the provider fetch, run or call, and what is not plain, stays here."""
    with pytest.raises(Refused):
        check(value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "source", "content", "model", "messages", "tools", "x"]),
        inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(ANYTHING)
def test_no_request_breaks_the_check(value: Any) -> None:
    """Any JSON is either checked or refused, never an error of ours."""
    with contextlib.suppress(Refused):
        check(body(messages=value))


@given(ANYTHING, st.sampled_from(["url", "file", "future"]))
def test_no_nesting_hides_a_source(around: Any, kind: str) -> None:
    """An image from elsewhere is found wherever content can stand."""
    image = {"type": "image", "source": {"type": kind, "url": "https://example.org"}}
    for wrap in (
        lambda x: {"type": "tool_result", "content": [x]},
        lambda x: {"type": "document", "source": {"type": "content", "content": [x]}},
        lambda x: {"type": "document", "source": {"type": "content", "content": x}},
        lambda x: {"type": "tool_result", "content": x, "also": around},
    ):
        image = wrap(image)  # type: ignore[no-untyped-call]
        with pytest.raises(Refused):
            check(said(image))


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: x\ndata: {json.dumps(e)}\n\n".encode() for e in events)


STREAM = sse(
    {"type": "message_start", "message": {"model": "m", "usage": {
        "input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1,
        "cache_creation_input_tokens": 9,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 6}}}},
    {"type": "content_block_delta", "delta": {"text": 'usage "output_tokens": 999'}},
    {"type": "content_block_delta", "delta": {"text": '"type": "message_stop"'}},
    {"type": "message_delta", "usage": {"output_tokens": 40}},
    {"type": "message_stop"},
)  # fmt: skip


@given(st.lists(st.integers(1, len(STREAM)), max_size=8))
def test_a_stream_is_counted_however_it_is_cut(cuts: list[int]) -> None:
    """The bytes may come in any pieces; words that look like numbers count for nothing."""
    meter = Meter(streams=True)
    places = [0, *sorted(cuts), len(STREAM) - 3, len(STREAM)]
    for start, end in itertools.pairwise(sorted(places)):
        meter.feed(STREAM[start:end])
        assert meter.over is (end >= len(STREAM) - 1)
    meter.close()
    assert meter.tokens == Tokens(
        input=10, cache_read=5, output=40, cache_write=9, cache_write_hour=6
    )
    assert meter.model == "m"


@given(st.binary(max_size=300))
def test_no_answer_breaks_the_meter(raw: bytes) -> None:
    """Whatever a gateway answers, counting never fails."""
    for streams in (True, False):
        meter = Meter(streams=streams)
        meter.feed(raw)
        meter.feed(b'\ndata: {"usage": {"output_tokens": -1, "input_tokens": true}}\n')
        meter.close()
        assert meter.tokens == Tokens()


@pytest.mark.parametrize("value", [1, 0, "true", None, [True]])
def test_stream_is_true_or_false(value: Any) -> None:
    """Anything else might be streamed all the same, and would not be counted."""
    with pytest.raises(Refused, match="not a boolean"):
        check(body(stream=value))


def test_an_operators_prices_come_first(tmp_path: Any) -> None:
    """The operator's pattern wins, then the library's price; an unknown model is dear."""
    file = tmp_path / "prices.json"
    file.write_text('{"claude-sonnet-*": {"input": 1, "output": 2, "cache_read": 0}}')
    table = PriceTable.read(file)
    tokens = Tokens(input=1_000_000, output=1_000_000, cache_read=500)
    assert table.cost("claude-sonnet-5-5", tokens) == 3
    assert table.cost("claude-haiku-5-5", Tokens(output=1_000_000)) > 0
    assert table.cost("somebodys-own", Tokens(output=1_000_000)) == UNKNOWN.output
    assert Price(10, 10).of(Tokens(cache_write=1_000_000)) == 12.5


def test_what_is_cached_for_an_hour_costs_more() -> None:
    """Twice the input's price instead of 1.25 times, by any table; an operator's own price wins."""
    written = {"cache_write": 2_000_000, "cache_write_hour": 1_000_000}
    assert Price(10, 10).of(Tokens(**written)) == 12.5 + 20
    assert Price(10, 10, cache_write=1, cache_write_hour=3).of(Tokens(**written)) == 4
    table = PriceTable()
    base = table.cost("claude-haiku-5-5", Tokens(input=1000))
    five = table.cost("claude-haiku-5-5", Tokens(cache_write=1000))
    hour = table.cost("claude-haiku-5-5", Tokens(cache_write=1000, cache_write_hour=1000))
    assert five == pytest.approx(1.25 * base)
    assert hour == pytest.approx(2 * base)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3),
                    lambda inner: st.dictionaries(
                        st.sampled_from(["cache_creation", "ephemeral_1h_input_tokens",
                                         "cache_creation_input_tokens", "input_tokens"]), inner)
                    | st.lists(inner, max_size=2)))  # fmt: skip
def test_usage_of_any_form_is_read(usage: Any) -> None:
    """Nothing negative comes of it, and no more is kept for an hour than is kept at all."""
    found = tokens_of(usage, Tokens(input=5, cache_write=7))
    assert found.input >= 5
    assert 0 <= found.cache_write_hour <= found.cache_write


@pytest.mark.parametrize("text", ["", "[]", '{"m": {"input": "x", "output": 1}}', '{"m": {}}'])
def test_a_bad_price_table_is_explained(tmp_path: Any, text: str) -> None:
    """A mistake in the table names the file and the place."""
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(PricesInvalid, match=r"prices\.json"):
        PriceTable.read(file)
    with pytest.raises(PricesInvalid, match="cannot be read"):
        PriceTable.read(tmp_path / "none.json")
