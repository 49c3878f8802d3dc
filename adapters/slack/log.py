"""The SDK's own log lines, without secrets."""

from __future__ import annotations

import logging
import re

_SECRET = re.compile(r"x(?:ox[a-z]|app)[a-z.]*-[\w.-]+|\b(?:ticket|token|secret)=[^&\s'\"]+")


class _Hide(logging.Filter):
    """Addresses of Socket Mode hold a ticket, and exceptions quote addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} ({type(record.exc_info[1]).__name__})"
        record.msg, record.args = _SECRET.sub("(hidden)", text), ()
        record.exc_info = record.exc_text = None
        return True


def quiet(name: str = "sdk", level: int = logging.WARNING) -> logging.Logger:
    """What slack_sdk and slack-bolt write to. Warnings and worse only: what they log below holds
    people's words."""
    logger = logging.getLogger(f"adapters.slack.{name}")
    logger.setLevel(level)
    if not any(isinstance(known, _Hide) for known in logger.filters):
        logger.addFilter(_Hide())
    return logger
