"""Who is no concern of Bascule's, whatever the bridge knows: guests, and other organisations."""

from __future__ import annotations

from collections import OrderedDict

from adapters.contract import Address, MessageOut
from adapters.slack.people import Account
from adapters.slack.posts import Posts
from adapters.slack.settings import SlackSettings

SHARED = (
    "This channel is shared with another organisation, so Bascule does not answer here. Somebody "
    "who runs it can allow that (SLACK_EXTERNAL)."
)
EXTERNAL = (
    "Bascule answers people of its own workspace only. Somebody who runs it can allow others "
    "(SLACK_EXTERNAL)."
)
GUEST = "Bascule does not answer guests here. Somebody who runs it can allow that (SLACK_GUESTS)."
MOST = 1_000


class Gate:
    """Closed unless a setting opens it. Who passes is nobody until the bridge lets them in."""

    def __init__(self, settings: SlackSettings, posts: Posts) -> None:
        self._settings = settings
        self._posts = posts
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()

    def refusal(self, account: Account, *, shared: bool = False) -> str:
        """Why this account is refused; empty where it is not."""
        if not self._settings.external:
            if account.external:
                return EXTERNAL
            if shared:
                return SHARED
        if account.guest and not self._settings.guests:
            return GUEST
        return ""

    async def tell(self, at: Address, user: str, refused: str) -> None:
        """Once a place and person, and to them alone."""
        if (at.channel, user) in self._told:
            return
        self._told[(at.channel, user)] = None
        if len(self._told) > MOST:
            self._told.popitem(last=False)
        await self._posts.whisper(at, user, MessageOut(refused, tone="notice"))
