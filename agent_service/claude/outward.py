"""What leaves a session: without keys and tokens, and with nothing that cannot be written down.

An error's text may quote the key it was refused for, and a command may print it. Lone surrogates
are no characters: neither a database nor a socket takes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields, replace

from agent_service.contract.decisions import Decision
from agent_service.turns.port import SessionItem

HIDDEN = "[hidden]"
SHORTEST_SECRET = 8
"""Shorter ones (a gateway's "none") stand in too many words to be told from them."""
MOST_SECRETS = 40
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Outward:
    """Cleans the items of one session of these secrets, and of those that `also` gives at the
    moment.

    Each text by itself: what is split over two deltas of an answer is not found.
    """

    def __init__(self, *secrets: str, also: Callable[[], Iterable[str]] = lambda: ()) -> None:
        self._also = also
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]

    def learn(self, secrets: Iterable[str]) -> None:
        """These too, from now on; the newest `MOST_SECRETS` of all are kept."""
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET and secret not in self._secrets:
                self._secrets.append(secret)
        del self._secrets[:-MOST_SECRETS]

    def text(self, text: str) -> str:
        """The text as it may be shown and stored."""
        also = (secret for secret in self._also() if len(secret) >= SHORTEST_SECRET)
        for secret in (*self._secrets, *also):
            text = text.replace(secret, HIDDEN)
        return _LONE_SURROGATE.sub("\ufffd", text)

    def item(self, item: SessionItem) -> SessionItem:
        """The item with every text of it cleaned; a deferred call's own input stays as it is."""
        changed: dict[str, object] = {}
        for field in fields(item):
            value = getattr(item, field.name)
            if isinstance(value, str):
                changed[field.name] = self.text(value)
            elif isinstance(value, Decision):
                changed[field.name] = replace(
                    value,
                    shown=self.text(value.shown),
                    title=self.text(value.title),
                    claim=self.text(value.claim),
                )
        return replace(item, **changed)  # type: ignore[arg-type]
