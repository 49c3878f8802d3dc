"""The broker: the only way from a session to the model, and the only holder of the credential.

Each session has a Unix socket of its own, and only its own token is good there. Bodies and streams
pass unchanged; the token is replaced by the credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog
from aiohttp import web

from agent_service.broker.bill import BUDGET_USED_UP, ORDER, USED_UP, Bill, Share
from agent_service.broker.gate import Gate
from agent_service.broker.meter import BYTES_A_TOKEN, Tokens
from agent_service.broker.prices import PriceTable
from agent_service.broker.purses import Purses
from agent_service.broker.requests import LARGEST_BODY, Handler
from agent_service.broker.rules import Checked, Rules
from agent_service.broker.spend import Spend
from agent_service.broker.tokens import Grant, SessionToken
from agent_service.credentials.keyring import Key

_log = structlog.get_logger(__name__)

LARGE_BODY = 1024 * 1024
"""Bytes of a body from which on it is looked into beside the loop."""
SILENT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of the model, as it is accounted for."""

    grant: Grant
    turn: str
    person: str
    credential: str
    model: str
    tokens: Tokens
    cost_usd: float


class Broker:
    """Opens gates. `answered` is called after each answer; what it raises is logged."""

    def __init__(
        self,
        choose: Callable[[str], Key],
        rules: Rules,
        prices: PriceTable,
        answered: Callable[[Answered], None],
        spent: Callable[[str], Awaitable[float]],
        purses: Purses,
        unmetered: Callable[[str], None] = lambda _credential: None,
    ) -> None:
        """`choose` gives what a person's request uses, or raises `NoCredential`. It is asked for
        each request, so that what was revoked is not used again. `spent` gives the US dollars that
        a conversation used before; it is asked at the first session of one that has a cap.
        `unmetered` hears of a credential whose answers do not say what they used."""
        self._choose = choose
        self._rules = rules
        self._prices = prices
        self._answered = answered
        self._spent = spent
        self.unmetered = unmetered
        self._purses = purses
        self._spends: dict[str, Spend] = {}
        self._gates: set[Gate] = set()
        self._bodies = ThreadPoolExecutor(1, "broker-bodies")
        self._http: aiohttp.ClientSession | None = None

    async def open(self, grant: Grant, socket: Path | None) -> Gate:
        """A gate for a new session, with a new token; on loopback where `socket` is None. What
        the conversation's earlier sessions used counts on."""
        token = SessionToken.mint(grant, await self._spend(grant))
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", Handler(self, token).handle)
        # A CLI that hangs up must not leave a request that costs money.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        gate = Gate(token, runner, socket)
        await gate.open()
        self._gates.add(gate)
        return gate

    async def _spend(self, grant: Grant) -> Spend:
        if grant.cap_usd is None:
            return Spend()
        if grant.conversation not in self._spends:
            before = Spend(await self._spent(grant.conversation))
            self._spends.setdefault(grant.conversation, before)
        return self._spends[grant.conversation]

    async def shut(self, gate: Gate) -> None:
        """Close a gate. Safe to repeat."""
        self._gates.discard(gate)
        await gate.close()

    def tokens(self) -> list[SessionToken]:
        """Those of all open gates, void ones included."""
        return [gate.token for gate in self._gates]

    async def close(self) -> None:
        """Close every gate and the connections to the model."""
        await asyncio.gather(*(gate.close() for gate in self._gates))
        self._gates.clear()
        if self._http is not None:
            await self._http.close()
        self._bodies.shutdown(wait=False)

    # ---- for its handlers ----

    async def check(self, body: bytes, *, counting: bool) -> Checked:
        """As `Rules.check`. Large bodies are looked into one after another, out of the way of
        everybody's streams."""
        if len(body) < LARGE_BODY:
            return self._rules.check(body, counting=counting)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._bodies, lambda: self._rules.check(body, counting=counting)
        )

    def most_usd(self, checked: Checked, size: int) -> float:
        """What a request of this size may cost, at most as far as that is known before."""
        return self._prices.cost(
            checked.model, Tokens(size // BYTES_A_TOKEN, output=checked.max_tokens)
        )

    async def bill(self, token: SessionToken) -> Bill:
        """What the session's next request is paid from."""
        shares = [Share(token.spend, token.grant.cap_usd, USED_UP)]
        for budget in sorted(token.budgets, key=lambda one: ORDER.index(one.whose)):
            spend = await self._purses.spend(budget, token.person)
            shares.append(Share(spend, budget.usd, BUDGET_USED_UP[budget.whose]))
        return Bill(shares)

    def choose(self, person: str) -> Key:
        return self._choose(person)

    def client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=30, sock_read=SILENT_SECONDS),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._http

    def account(
        self,
        token: SessionToken,
        turn: str,
        person: str,
        credential: str,
        model: str,
        tokens: Tokens,
    ) -> float:
        """An answer is over; gives its US dollars. `turn` and `person` are those it was asked for:
        the token's may be the next ones by now."""
        cost = self._prices.cost(model, tokens)
        token.spend.usd += cost
        self._purses.add(person, cost)
        try:
            self._answered(Answered(token.grant, turn, person, credential, model, tokens, cost))
        except Exception:  # noqa: BLE001 - the answer is on its way; accounting must not break it
            _log.exception("usage.not_stored", session=token.grant.session)
        return cost
