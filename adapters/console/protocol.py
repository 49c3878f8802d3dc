"""What `bascule chat` and the console adapter say to each other: JSON, one value a line.

The terminal begins with `Hello` and is answered by `Welcome`, or by `Trouble` and the end of the
connection where the versions differ. Then `Part`, `Say`, `Act` and `Command` go up, each
answered by one `Taken` or `Refused` with its key; the rest comes down as it happens. A value sent
again under its key (after a broken connection) is taken once. `rev` grows with every change of a
conversation: a terminal that was away names the last one it saw and gets everything newer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Discriminator, Field, StringConstraints, TypeAdapter, ValidationError

from adapters.contract import Choice, MessageOut, Step

VERSION = 2
LINE_LIMIT = 8 * 2**20
"""Bytes of one line, its end included. Longer ones are skipped and answered by `Trouble`."""
PART = 2**20
"""Bytes of a file that one `Part` brings."""
LARGEST_FILE = 64 * 2**20
"""Bytes of a file that a terminal can hand over; the bridge has a limit of its own."""
CONVERSATION = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a conversation may be called."""

T = TypeVar("T")
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Mark: TypeAlias = Literal["queued", "working", "done", "failed"]
Tone: TypeAlias = Literal["answer", "notice", "error", "decision"]


class Malformed(Exception):
    """A line that is no value of the protocol; `str(error)` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    version: int
    conversation: str = "main"
    since: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """The last `rev` seen; without it, recent history is sent."""
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of a file, before the message that names it. `data` is in base 64."""

    key: Key
    upload: Key
    at: Annotated[int, Field(ge=0, le=LARGEST_FILE)]
    data: Annotated[str, StringConstraints(max_length=PART * 4 // 3 + 4)]
    type: Literal["part"] = "part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A file of a message, handed over whole before."""

    upload: Key
    name: Annotated[str, StringConstraints(max_length=1000)]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    key: Key
    text: str
    files: Annotated[tuple[Given, ...], Field(max_length=50)] = ()
    type: Literal["say"] = "say"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A choice was taken; `action` is what the choice held."""

    key: Key
    action: str
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    type: Literal["act"] = "act"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    key: Key
    name: str
    rest: str = ""
    type: Literal["command"] = "command"


@dataclass(frozen=True, slots=True)
class File:
    """A file that came with a post, where the adapter keeps it."""

    name: str
    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a post shows; see `adapters.contract.MessageOut`."""

    markdown: str
    choices: tuple[Choice, ...] = ()
    steps: tuple[Step, ...] = ()
    files: tuple[File, ...] = ()
    status: str = ""
    tone: Tone = "answer"
    answers: str = ""
    """The key of the `Say` that this belongs to."""
    final: bool = True


def body_of(message: MessageOut, files: tuple[File, ...] = ()) -> Body:
    """A post as terminals get it."""
    return Body(
        markdown=message.markdown,
        choices=message.choices,
        steps=message.steps,
        files=files,
        status=message.status,
        tone=message.tone,
        answers=own_key(message.answers),
        final=message.final,
    )


def said_text(said: Say) -> str:
    """A message as its writer sees it: its words, and its files below them."""
    return "\n".join([*([said.text] if said.text else []), *(f"⎙ {f.name}" for f in said.files)])


def own_key(message_key: str) -> str:
    """The terminal's own key in the one that the bridge knows a message by."""
    return message_key.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A post as it is now; one with a `ref` seen before replaces it."""

    ref: str
    rev: int
    body: Body
    type: Literal["post"] = "post"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A message of the person, from this terminal or another one."""

    key: str
    rev: int
    text: str
    mark: Mark | None = None
    type: Literal["said"] = "said"


Entry: TypeAlias = Annotated[Post | Said, Discriminator("type")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """`entries` are in the order in which they first appeared."""

    version: int
    name: str
    conversation: str
    entries: tuple[Entry, ...]
    status: str
    type: Literal["welcome"] = "welcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What became of a message."""

    key: str
    rev: int
    mark: Mark
    type: Literal["marked"] = "marked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What goes on right now; empty when nothing does."""

    text: str
    type: Literal["status"] = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The bridge has it for good. `reply` is for this terminal only."""

    key: str
    reply: Body | None = None
    type: Literal["taken"] = "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The bridge could not store it: the terminal still has it."""

    key: str
    message: str
    remedy: str = ""
    type: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A line was not understood. After `fatal` the connection ends and must not be tried again."""

    message: str
    fatal: bool = False
    type: Literal["trouble"] = "trouble"


Up: TypeAlias = Annotated[Hello | Part | Say | Act | Command, Discriminator("type")]
Down: TypeAlias = Annotated[
    Welcome | Post | Said | Marked | Status | Taken | Refused | Trouble, Discriminator("type")
]

BODY: TypeAdapter[Body] = TypeAdapter(Body)
_UP: TypeAdapter[Up] = TypeAdapter(Up)
_DOWN: TypeAdapter[Down] = TypeAdapter(Down)


def up_line(value: Up) -> bytes:
    """A line from the terminal."""
    return _UP.dump_json(value) + b"\n"


def down_line(value: Down) -> bytes:
    """A line from the adapter."""
    return _DOWN.dump_json(value) + b"\n"


def read_up(line: bytes) -> Up:
    """Raises `Malformed`."""
    return _read(_UP, line)


def read_down(line: bytes) -> Down:
    """Raises `Malformed`."""
    return _read(_DOWN, line)


def _read(adapter: TypeAdapter[T], line: bytes) -> T:
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"{where}: {first['msg']}".removeprefix(": ")) from None
