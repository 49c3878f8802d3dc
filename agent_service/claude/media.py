"""What a file's own bytes say it is, and whether the model takes it as it is.

A message that the model refuses would stay in the conversation and be refused with every later one.
So what is too large, cut off or locked is only named; the agent can still look at it by a tool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

IMAGE_LIMIT = 3_750_000
"""Bytes of an image: 5 MB once it is written in base 64."""
DOCUMENT_LIMIT = 8 * 1024 * 1024
SIDE_LIMIT = 8000
"""Pixels of an image's longer side."""
PAGE_LIMIT = 100
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The segments of a JPEG that say how large it is."""


@dataclass(frozen=True, slots=True)
class Media:
    """How the model takes a file: the type of its block, and of what is in it."""

    block: Literal["image", "document"]
    media_type: str


def media(data: bytes) -> Media | None:
    """None for all that the model does not take as it is, whatever its name says."""
    if data.startswith(b"%PDF-"):
        whole = b"%%EOF" in data[-2048:] and b"/Encrypt" not in data
        fits = len(data) <= DOCUMENT_LIMIT and len(_PAGE.findall(data)) <= PAGE_LIMIT
        return Media("document", "application/pdf") if whole and fits else None
    if len(data) > IMAGE_LIMIT:
        return None
    for media_type, measure in _IMAGES.items():
        sides = measure(data)
        if sides is not None:
            fits = min(sides) > 0 and max(sides) <= SIDE_LIMIT
            return Media("image", media_type) if fits else None
    return None


def _png(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or data[12:16] != b"IHDR":
        return None
    if data[-8:-4] != b"IEND":
        return 0, 0  # cut off
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _gif(data: bytes) -> tuple[int, int] | None:
    if not data.startswith((b"GIF87a", b"GIF89a")):
        return None
    if not data.endswith(b";"):
        return 0, 0
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind, body = data[12:16], data[20:30]
    if int.from_bytes(data[4:8], "little") + 8 > len(data) or len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        wide, high = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return wide & 0x3FFF, high & 0x3FFF
    return 0, 0


def _jpeg(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    if b"\xff\xd9" not in data[-4096:]:
        return 0, 0
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            high, wide = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(wide, "big"), int.from_bytes(high, "big")
        if marker == 0xFF:
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0, 0


_IMAGES = {"image/png": _png, "image/jpeg": _jpeg, "image/gif": _gif, "image/webp": _webp}
