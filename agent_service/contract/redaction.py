"""What must never stand in a log, an event or a page: one rule for all processes.

The rule hides by the name of a value and by the look of a text. It is the last net under code that
should not have handed the secret over in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

HIDDEN = "[hidden]"
_NAME = re.compile(r"token|secret|authorization|passw|(^|_|-)(api)?keys?($|_|-)", re.I)
_TEXT = re.compile(
    r"sk-ant-[\w-]{4,}|xox[a-z]-[\w-]{4,}|xapp-[\w-]{4,}|Bascule [\w.-]{20,}"
    r"|(?<=://)[^/\s]+(?=@)"  # name and password in a URL
)


def hide_text(text: str) -> str:
    """The text without anything that looks like a credential."""
    return _TEXT.sub(HIDDEN, text)


def hide_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: hides by name and by look, at any depth; changes `event` in place."""
    for name, value in event.items():
        event[name] = HIDDEN if _NAME.search(name) else _hidden(value)
    return event


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return hide_text(value)
    if isinstance(value, Mapping):
        return {k: HIDDEN if _NAME.search(str(k)) else _hidden(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(v) for v in value]
    if value is None or isinstance(value, int | float | bool):
        return value
    return hide_text(str(value))
