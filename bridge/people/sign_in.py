"""One-time links to the web admin, for who asks the bot for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bridge.contract import links
from bridge.people.access import Person

HERE_ONLY = "\n\nIt opens on the machine of this Bascule only, until an operator sets `PUBLIC_URL`."
NO_PAGES = "This Bascule has no web pages: an operator finds out why in the bridge's log."


class SignInLinks:
    """Makes links with the keys that the web admin reads them with."""

    def __init__(
        self,
        public_url: str,
        keys: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """No keys: there is no web admin here."""
        self._url = public_url.rstrip("/")
        self._keys = keys
        self._clock = clock

    def text(self, who: Person, page: str) -> str:
        """What somebody is told who asks for a link; for their eyes only."""
        if not self._keys:
            return NO_PAGES
        here = "" if self._url.startswith("https:") else HERE_ONLY
        token = links.make(self._keys, who.id, page, now=self._clock())
        return (
            f"Open this within 10 minutes; it works once, and signs in as you, so give it to "
            f"nobody:\n\n{self._url}/{links.PATH}#{token}{here}"
        )
