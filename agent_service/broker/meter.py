"""Reads the tokens of an answer while it passes by: a stream of events, or one JSON body."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one event that are kept to be read; a longer one is passed on and not read."""

BYTES_A_TOKEN = 4
"""Where nothing better is known."""
_SAID = ("text", "thinking", "partial_json")
_WORTH = (b"usage", b"content_block_delta", b"message_stop")
"""Only what has one of these is worth reading."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one answer. Input counts neither what was written to nor what was read from a cache."""

    input: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0
    cache_write_hour: int = 0
    """Those of `cache_write` that are kept for an hour, which costs more."""

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input + other.input,
            self.cache_write + other.cache_write,
            self.cache_read + other.cache_read,
            self.output + other.output,
            self.cache_write_hour + other.cache_write_hour,
        )


NOTHING = Tokens()
_FIELDS = {
    "input": "input_tokens",
    "cache_write": "cache_creation_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "output": "output_tokens",
}


_HOUR = "ephemeral_1h_input_tokens"


def tokens_of(usage: Any, before: Tokens = NOTHING) -> Tokens:
    """What the API's `usage` says; what it leaves out is as before. Numbers only grow."""
    if not isinstance(usage, dict):
        return before
    found = {
        name: max(_number(usage.get(field)), getattr(before, name))
        for name, field in _FIELDS.items()
    }
    kinds = usage.get("cache_creation")
    hour = _number(kinds.get(_HOUR)) if isinstance(kinds, dict) else 0
    hour = min(max(hour, before.cache_write_hour), found["cache_write"])
    return Tokens(**found, cache_write_hour=hour)


def _number(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and value >= 0 else 0


class Meter:
    """Feed it the answer's bytes as they come; `tokens` and `model` are what is known so far.

    Numbers in an answer are running totals: the last one of a kind counts. Never raises: what it
    cannot read it leaves out.
    """

    def __init__(self, *, streams: bool) -> None:
        self.tokens = Tokens()
        self.model = ""
        self.over = False
        """A stream said that its answer is complete."""
        self._streams = streams
        self._rest = bytearray()
        self._lost = False
        self._said = 0

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self._rest += chunk
        if not self._streams:
            self._lost |= len(self._rest) > LONGEST_LINE
            if self._lost:
                self._rest.clear()
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            if line.startswith(b"data:") and not self._lost:
                self._read(bytes(line[5:]))
            self._lost = False
        if len(self._rest) > LONGEST_LINE:
            self._rest.clear()
            self._lost = True

    def close(self, *, cut: bool = False) -> None:
        """The answer is over; `cut` off where its last numbers did not come: then what it said
        counts by its length, at least."""
        if not self._streams and not self._lost:
            self._read(bytes(self._rest))
        if cut and self._said:
            self.tokens = replace(self.tokens, output=max(self.tokens.output, self.said))
        self._rest.clear()

    @property
    def said(self) -> int:
        """Tokens of a stream's words, by their length."""
        return -(-self._said // BYTES_A_TOKEN)

    def _read(self, text: bytes) -> None:
        if not any(word in text for word in _WORTH):
            return
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(data, dict):
            return
        self.over |= self._streams and data.get("type") == "message_stop"
        delta = data.get("delta")
        if isinstance(delta, dict):
            words = (delta.get(name) for name in _SAID)
            self._said += sum(
                len(w.encode("utf-8", "replace")) for w in words if isinstance(w, str)
            )
        message = data.get("message")
        for holder in (message, data):
            if isinstance(holder, dict):
                self.model = str(holder.get("model") or self.model)
                self.tokens = tokens_of(holder.get("usage"), self.tokens)
