"""What is particular to a session on a person's own sign-in: no broker counts or guards it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from claude_agent_sdk import Message, ResultMessage, StreamEvent

from agent_service.broker.broker import Answered
from agent_service.broker.meter import NOTHING, tokens_of
from agent_service.broker.prices import PriceTable
from agent_service.broker.tokens import SessionToken
from agent_service.claude import trouble
from agent_service.claude.outward import Outward
from agent_service.credentials import directory
from agent_service.store.database import StoreError
from agent_service.turns.port import Ended, OwnSignIn

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
Doubt = Callable[[str, str], Awaitable[None]]
"""Takes a credential and why it is in doubt."""


class OwnAccount:
    """One a session. See it every message, and how each prompt ended."""

    def __init__(
        self,
        sign_in: OwnSignIn,
        token: SessionToken,
        outward: Outward,
        doubt: Doubt,
        answered: Callable[[Answered], None],
        prices: PriceTable,
    ) -> None:
        self._prices = prices
        self._sign_in = sign_in
        self._token = token
        self._outward = outward
        self._doubt = doubt
        self._answered = answered
        self._looked = 0.0
        self.look()

    def look(self) -> None:
        """Know the secrets as they are now: the CLI renews them by itself."""
        self._looked = time.monotonic()
        self._outward.learn(directory.secrets_of(self._sign_in.config))

    def see(self, message: Message) -> None:
        """Before anything of the message leaves."""
        # Of these there are hundreds a second.
        if not isinstance(message, StreamEvent) or time.monotonic() - self._looked >= LOOK_SECONDS:
            self.look()

    def cost(self, message: ResultMessage, model: str) -> float:
        """US dollars that the prompt would have cost with a key."""
        return self._prices.cost(model, tokens_of(message.usage))

    def account(self, message: Message, model: str) -> None:
        """Count what a prompt has used, by the CLI's own word."""
        if not isinstance(message, ResultMessage):
            return
        tokens = tokens_of(message.usage)
        if tokens == NOTHING:
            return  # the provider gave no answer
        token = self._token
        self._answered(
            Answered(
                grant=token.grant,
                turn=token.turn,
                person=token.person,
                credential=self._sign_in.credential,
                model=model,
                tokens=tokens,
                cost_usd=self.cost(message, model),
            )
        )

    async def ended(self, ended: Ended) -> None:
        """Where the provider refused the sign-in, it is in doubt from now on."""
        if ended.reason == trouble.OWN_REFUSED[0]:
            try:
                await self._doubt(self._sign_in.credential, ended.message)
            except StoreError:
                _log.exception("sign_in.doubt_not_stored", credential=self._sign_in.credential)
