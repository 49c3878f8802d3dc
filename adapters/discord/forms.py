"""A choice's form as Discord's dialogs: five fields a page, the next page by a button."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import discord

from adapters.contract import Field

Values: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
_FIELDS = 5
_OPTIONS = 25
_TITLE, _LABEL, _MORE = 45, 45, 100
_VALUE = 100
_LONGEST_TEXT = 4000
_ID = re.compile(r"m(\d+):(.*)", re.DOTALL)
_PAGE = re.compile(r"p(\d+):(.*)", re.DOTALL)
_MOST_DRAFTS = 500


@dataclass(frozen=True, slots=True)
class _Part:
    """A field, or the part of its options that one menu holds: from `start` on."""

    number: int
    field: Field
    start: int = 0

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        return self.field.options[self.start : self.start + _OPTIONS]

    @property
    def whole(self) -> bool:
        return len(self.field.options) <= _OPTIONS


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of which action's form."""

    number: int
    action: str


def pages(form: Sequence[Field]) -> list[list[_Part]]:
    """What each dialog asks; `q0` and `q0.other` stand on one page."""
    groups: list[list[_Part]] = []
    for _, fields in groupby(enumerate(form), key=lambda one: one[1].name.partition(".")[0]):
        parts = [part for number, field in fields for part in _parts(number, field)]
        groups += [parts[at : at + _FIELDS] for at in range(0, len(parts), _FIELDS)]
    found: list[list[_Part]] = []
    for group in groups:
        if found and len(found[-1]) + len(group) <= _FIELDS:
            found[-1] += group
        else:
            found.append(list(group))
    return found


def _parts(number: int, field: Field) -> list[_Part]:
    if len(field.options) <= _OPTIONS:
        return [_Part(number, field)]
    return [_Part(number, field, at) for at in range(0, len(field.options), _OPTIONS)]


def dialog(title: str, form: Sequence[Field], page: Page) -> discord.ui.Modal:
    """The dialog of that page, of which discord.py is told to keep nothing."""
    every = pages(form)
    count = f" ({page.number + 1}/{len(every)})" if len(every) > 1 else ""
    made = discord.ui.Modal(
        title=short(title, _TITLE - len(count)) + count,
        timeout=None,
        custom_id=f"m{page.number}:{page.action}",
    )
    for part in every[page.number]:
        made.add_item(_label(part))
    made.stop()
    return made


def _label(part: _Part) -> discord.ui.Label[Any]:
    field, text = part.field, " ".join(part.field.label.split()) or part.field.name
    custom_id = f"{part.number}.{part.start}:{field.name}"[:100]
    more = short(text[_LABEL - 1 :], _MORE) if len(text) > _LABEL else None
    component: discord.ui.Item[Any]
    if field.options:
        component = discord.ui.Select(
            custom_id=custom_id,
            options=[
                discord.SelectOption(label=short(label, 100) or "…", value=_value(value, number))
                for number, (value, label) in enumerate(part.options)
            ],
            min_values=1 if field.required and part.whole else 0,
            max_values=len(part.options) if field.many else 1,
            required=field.required and part.whole,
            placeholder=short(field.placeholder, 100) or None,
        )
    else:
        component = discord.ui.TextInput(
            custom_id=custom_id,
            style=discord.TextStyle.paragraph,
            required=field.required,
            max_length=_LONGEST_TEXT,
            placeholder=short(field.placeholder, 100) or None,
        )
    return discord.ui.Label(text=short(text, _LABEL), description=more, component=component)


def page_of(custom_id: str) -> Page | None:
    """Which page a filled-in dialog is; None for another's dialog."""
    found = _ID.fullmatch(custom_id)
    return None if found is None else Page(int(found[1][:3]), found[2])


def next_button(page: Page) -> str:
    """The id of the button that opens this page."""
    return f"p{page.number}:{page.action}"


def next_page(custom_id: str) -> Page | None:
    """Which page a button opens; None for another button."""
    found = _PAGE.fullmatch(custom_id)
    return None if found is None else Page(int(found[1][:3]), found[2])


def read(components: Sequence[Mapping[str, Any]], form: Sequence[Field]) -> Values:
    """What was filled in, by the names of the fields; empty ones are not in it."""
    found: OrderedDict[str, tuple[str, ...]] = OrderedDict()
    for custom_id, texts in _given(components):
        number, _, rest = custom_id.partition(".")
        start = rest.partition(":")[0]
        if not (number.isdecimal() and start.isdecimal() and int(number) < len(form)):
            continue
        field = form[int(number)]
        if field.options:
            texts = _chosen(texts, field.options[int(start) :][:_OPTIONS])
        if texts := tuple(text for text in texts if text.strip()):
            before = found.get(field.name, ())
            found[field.name] = before + texts if field.many or not before else before
    return tuple(found.items())


def _given(components: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """(id, texts) of each field, in whatever it is laid out."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for part in components:
        inner = part.get("component")
        found += _given([*part.get("components", []), *([inner] if inner else [])])
        if "custom_id" in part:
            texts = part["values"] if "values" in part else [part.get("value") or ""]
            found.append((str(part["custom_id"]), tuple(str(text) for text in texts)))
    return found


def _value(value: str, number: int) -> str:
    """An option's value as it travels: itself, or its number where it is too long."""
    return f"={value}" if len(value) < _VALUE else f"#{number}"


def _chosen(texts: Sequence[str], options: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Only what was offered counts."""
    offered = {_value(value, number): value for number, (value, _) in enumerate(options)}
    return tuple(offered[text] for text in texts if text in offered)


def short(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Drafts:
    """Pages that were filled in and not sent yet, until the process ends."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], dict[int, Values]] = OrderedDict()

    def keep(self, user: int, page: Page, values: Values) -> None:
        """A page of this person's; the first one begins anew."""
        key = (user, page.action)
        if page.number == 0:
            self._kept.pop(key, None)
        self._kept.setdefault(key, {})[page.number] = values
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_DRAFTS:
            self._kept.popitem(last=False)

    def take(self, user: int, page: Page) -> Values | None:
        """All pages up to this last one; None where one is missing."""
        kept = self._kept.pop((user, page.action), {})
        if set(kept) != set(range(page.number + 1)):
            return None
        return tuple(value for number in sorted(kept) for value in kept[number])
