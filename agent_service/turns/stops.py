"""What a revocation ends: tokens at once, then the sessions that held them, or ran on a sign-in."""

from __future__ import annotations

from agent_service.broker.broker import Broker
from agent_service.broker.tokens import SessionToken
from agent_service.credentials.scope import Scope
from agent_service.turns.pool import SessionPool
from agent_service.turns.runner import TurnRunner


class Stops:
    """Implements `Tokens` and `Sessions` of `credentials.scope`."""

    def __init__(self, broker: Broker, pool: SessionPool, runner: TurnRunner) -> None:
        self._broker = broker
        self._pool = pool
        self._runner = runner

    def _covered(self, scope: Scope) -> list[SessionToken]:
        # A session that was only warmed has nobody yet: its first request asks for a credential.
        return [
            token
            for token in self._broker.tokens()
            if scope.covers(credential=token.credential, person=token.person)
        ]

    def void(self, scope: Scope) -> int:
        """Make the tokens worthless at once; gives how many were not before."""
        fresh = [token for token in self._covered(scope) if not token.void]
        for token in fresh:
            token.void = True
        return len(fresh)

    async def stop(self, scope: Scope) -> int:
        """End the sessions, running turns included; gives how many. Their processes are gone."""
        conversations = {token.grant.conversation for token in self._covered(scope)}
        # Those on a sign-in have one from the beginning, warmed ones too.
        for conversation, own in self._pool.sign_ins().items():
            if scope.covers(credential=own.credential, person=own.person):
                conversations.add(conversation)
        return await self._runner.break_off(conversations)
