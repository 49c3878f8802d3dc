"""Accounts and user groups of the workspace, as Slack says, remembered for some minutes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from adapters.contract import DeliveryError, Gone, Identity, NotAllowed, Sender, TryLater
from adapters.slack.api import Api, Bot, Refused
from adapters.slack.events import Who

log = structlog.get_logger()
ACCOUNT_SECONDS = 600.0
GROUPS_SECONDS = 300.0
STALE_SECONDS = 3600.0
"""For so long old groups are better than none, when Slack does not answer."""
MOST_ACCOUNTS = 5_000
_UNKNOWN = {"user_not_visible", "users_not_found"}


@dataclass(frozen=True, slots=True)
class Account:
    user: str
    team: str
    name: str
    external: bool = True
    """At home in another organisation, or nobody knows where."""
    guest: bool = False
    bot: bool = False


class People:
    """Looks accounts up by their id. Raises `DeliveryError` where Slack cannot be asked: who
    somebody is decides what they may do, so nothing is assumed."""

    def __init__(self, api: Api, bot: Bot, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._bot = bot
        self._clock = clock
        self._accounts: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._groups: dict[str, tuple[str, ...]] = {}
        self._groups_at = float("-inf")
        self._groups_asked = float("-inf")
        self._asking = asyncio.Lock()

    async def account(self, who: Who) -> Account:
        """Whoever Slack knows nothing of counts as from elsewhere."""
        known = self._accounts.get(who.user)
        if known is not None and self._clock() - known[0] < ACCOUNT_SECONDS:
            return known[1]
        found = await self._look_up(who)
        self._accounts[who.user] = (self._clock(), found)
        self._accounts.move_to_end(who.user)
        if len(self._accounts) > MOST_ACCOUNTS:
            self._accounts.popitem(last=False)
        return found

    async def _look_up(self, who: Who) -> Account:
        try:
            said = await self._api.ask(self._api.web.users_info(user=who.user))
        except Gone:
            return Account(who.user, who.team, who.user)
        except Refused as error:
            if error.code not in _UNKNOWN:
                raise
            return Account(who.user, who.team, who.user)
        user = said.get("user") or {}
        profile = user.get("profile") or {}
        name = profile.get("display_name") or profile.get("real_name") or user.get("name") or ""
        # Where an account is at home, and not the workspace in which it was met.
        team = str(user.get("team_id") or who.team or "")
        return Account(
            user=who.user,
            team=team,
            name=" ".join(str(name).split())[:80] or who.user,
            external=team != self._bot.team or bool(user.get("is_stranger")),
            guest=bool(user.get("is_restricted") or user.get("is_ultra_restricted")),
            bot=bool(user.get("is_bot")),
        )

    async def sender(self, account: Account) -> Sender:
        """With the groups that the account is in now."""
        groups = () if account.external else await self._groups_of(account.user)
        return Sender(identity(account), account.name, groups=groups)

    async def names(self, users: tuple[str, ...]) -> dict[str, str]:
        """For people to read; an account that cannot be looked up now has none."""
        found = {}
        for user in users:
            try:
                found[user] = (await self.account(Who(user))).name
            except DeliveryError as error:
                log.info("name not had", error=str(error))
        return found

    async def identities(self, users: tuple[str, ...]) -> tuple[Identity, ...]:
        return tuple([identity(await self.account(Who(user))) for user in users])

    async def _groups_of(self, user: str) -> tuple[str, ...]:
        async with self._asking:
            now = self._clock()
            if now - self._groups_asked >= GROUPS_SECONDS:
                try:
                    self._groups = await self._ask_groups()
                    self._groups_at = now
                except NotAllowed:
                    # usergroups:read is optional: without it no rule for a group lets anybody in.
                    self._groups, self._groups_at = {}, now
                except TryLater:
                    if now - self._groups_at > STALE_SECONDS:
                        raise
                except DeliveryError as error:
                    log.info("user groups not had", error=str(error))
                    self._groups, self._groups_at = {}, now
                self._groups_asked = now
        return self._groups.get(user, ())

    async def _ask_groups(self) -> dict[str, tuple[str, ...]]:
        said = await self._api.ask(self._api.web.usergroups_list(include_users=True))
        found: dict[str, tuple[str, ...]] = {}
        for group in said.get("usergroups") or ():
            for user in group.get("users") or ():
                found[user] = (*found.get(user, ()), str(group.get("id", "")))
        return found


def identity(account: Account) -> Identity:
    return Identity("slack", account.team, account.user)
