"""Forms as modals. What a form asks travels in its post's metadata, so that it can be opened after
any restart; what it stands for is in the button's `value`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.contract import Address, Choice, Field
from adapters.slack.blocks import plain
from adapters.slack.words import clipped

EVENT = "bascule_post"
"""The type of our metadata."""
CALLBACK = "bascule_form"
METADATA_ROOM = 12_000
"""Characters of a post's metadata that forms may fill."""
PRIVATE_ROOM = 2_900
_VALUE = 150
_OPTIONS = 100


def metadata(key: str, choices: Sequence[Choice]) -> dict[str, Any]:
    """What a post carries: its key, by which it is found again, and its forms."""
    payload: dict[str, Any] = {"key": key} if key else {}
    forms = {
        str(number): [choice.label, [_packed(field) for field in choice.form]]
        for number, choice in enumerate(choices)
        if choice.form
    }
    if forms:
        # As text: Slack limits how deep and how long the values of metadata are.
        payload["forms"] = json.dumps(forms, ensure_ascii=False, separators=(",", ":"))
    return {"event_type": EVENT, "event_payload": payload}


def key_in(message: Mapping[str, Any]) -> str:
    """The key of one of our posts, empty for any other message."""
    found = message.get("metadata") or {}
    if found.get("event_type") != EVENT:
        return ""
    return str((found.get("event_payload") or {}).get("key", ""))


def form_in(found: Mapping[str, Any] | None, number: str) -> tuple[str, tuple[Field, ...]] | None:
    """(label, fields) of the form behind a post's button, from the post's metadata."""
    if not found or found.get("event_type") != EVENT:
        return None
    try:
        label, fields = json.loads((found.get("event_payload") or {})["forms"])[number]
        return str(label), tuple(_unpacked(packed) for packed in fields)
    except (KeyError, TypeError, ValueError):
        return None


def _packed(field: Field) -> list[Any]:
    options = [[value, clipped(label, 75)] for value, label in field.options[:_OPTIONS]]
    return [
        field.name,
        clipped(field.label, 500),
        options,
        int(field.many),
        int(field.required),
        clipped(field.placeholder, 150),
    ]


def _unpacked(packed: list[Any]) -> Field:
    name, label, options, many, required, placeholder = packed
    pairs = tuple((str(value), str(text)) for value, text in options)
    return Field(str(name), str(label), pairs, bool(many), bool(required), str(placeholder))


def view(title: str, fields: Sequence[Field], action: str, at: Address, ts: str) -> dict[str, Any]:
    """The modal. Its private part says what it stands for and where it belongs."""
    long = {
        field.name: [value for value, _ in field.options]
        for field in fields
        if any(len(value) > _VALUE - 2 for value, _ in field.options)
    }
    private: dict[str, Any] = {
        "action": action,
        "at": [at.channel, at.thread, int(at.direct)],
        "ts": ts,
    }
    if long and len(json.dumps(long)) + len(json.dumps(private)) < PRIVATE_ROOM:
        private["long"] = long
    return {
        "type": "modal",
        "callback_id": CALLBACK,
        "private_metadata": json.dumps(private),
        "title": plain(title, 24),
        "submit": plain("Send", 24),
        "close": plain("Cancel", 24),
        "blocks": [_block(field) for field in fields],
    }


def _block(field: Field) -> dict[str, Any]:
    return {
        "type": "input",
        "block_id": field.name,
        "label": plain(field.label, 2000),
        "optional": not field.required,
        "element": _element(field),
    }


def _element(field: Field) -> dict[str, Any]:
    element: dict[str, Any] = {"action_id": "value"}
    if field.placeholder:
        element["placeholder"] = plain(field.placeholder, 150)
    if not field.options:
        return element | {"type": "plain_text_input", "multiline": True, "max_length": 3000}
    options = [
        {"text": plain(label, 75), "value": _option_value(value, number)}
        for number, (value, label) in enumerate(field.options[:_OPTIONS])
    ]
    kind = "multi_static_select" if field.many else "static_select"
    return element | {"type": kind, "options": options}


def _option_value(value: str, number: int) -> str:
    return f"#{number}" if len(value) > _VALUE - 2 else f"={value}"


def filled(
    found: Mapping[str, Any],
) -> tuple[str, Address, str, tuple[tuple[str, tuple[str, ...]], ...]] | None:
    """(action, place without its tenant, ts of the post, values) of a modal that was sent."""
    try:
        private = json.loads(str(found.get("private_metadata", "")))
        channel, thread, direct = private["at"]
        action, ts = str(private["action"]), str(private["ts"])
    except (KeyError, TypeError, ValueError):
        return None
    long = private.get("long", {})
    values: list[tuple[str, tuple[str, ...]]] = []
    for name, elements in ((found.get("state") or {}).get("values") or {}).items():
        for element in elements.values():
            texts = tuple(_meant(text, long.get(name, ())) for text in _texts(element))
            if texts:
                values.append((str(name), texts))
    at = Address("slack", "", str(channel), str(thread), bool(direct))
    return action, at, ts, tuple(values)


def _texts(element: Mapping[str, Any]) -> list[str]:
    if element.get("type") == "plain_text_input":
        value = element.get("value")
        return [f"={value}"] if value else []
    one = element.get("selected_option")
    many = element.get("selected_options") or ([one] if one else [])
    return [
        str(option["value"])
        if not str(option["value"]).startswith("#")
        else f"{option['value']} {(option.get('text') or {}).get('text', '')}"
        for option in many
    ]


def _meant(text: str, long: Sequence[str]) -> str:
    """What the option stands for; its label, where that had no room to travel."""
    if text.startswith("="):
        return text[1:]
    number, _, label = text[1:].partition(" ")
    if number.isdecimal() and int(number) < len(long):
        return long[int(number)]
    return label
