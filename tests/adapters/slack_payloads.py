"""What Slack delivers, as its documentation shows it: `slack_payloads/*.json`, filled in.

One more file with each surprise that a real workspace brings.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("slack_payloads")
TEAM, BOT_USER, BOT, APP = "T0TEAM", "U0BOT", "B0BOT", "A0APP"
ANN, BEN, GIL, EVE = "U0ANN", "U0BEN", "U0GUEST", "U0EVE"
CHANNEL, DM = "C0GENERAL", "D0ANN"
_numbers = itertools.count(1)


def sample(name: str) -> dict[str, Any]:
    """A payload as it is kept."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def event(name: str, **fields: Any) -> dict[str, Any]:
    """An `event_callback` with a fresh id; `fields` are the event's. None takes one away."""
    body = copy.deepcopy(sample(name))
    body["event_id"] = f"Ev{next(_numbers):08d}"
    for field, value in fields.items():
        if value is None:
            body["event"].pop(field, None)
        else:
            body["event"][field] = value
    return body


def interaction(name: str, **fields: Any) -> dict[str, Any]:
    """An interaction or a slash command."""
    return {**copy.deepcopy(sample(name)), **fields}


def written(text: str) -> str:
    """A person's words as Slack delivers them; mentions in them are kept."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"&lt;(@U[A-Z0-9]+|![a-z]+)&gt;", r"<\1>", text)
