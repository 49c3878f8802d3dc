"""Sign-ins for which no credential stands: of one that was ended while the CLI was at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from agent_service.contract.credentials import SignInKind
from agent_service.credentials.keyring import Keyring
from agent_service.credentials.login import ClaudeLogin, LoginFailed

_log = structlog.get_logger(__name__)


class Leftovers:
    """Signs out at the provider and deletes what lies here. Nothing is done to the directory of a
    person whose sign-in may be used."""

    def __init__(
        self, keyring: Keyring, login: ClaudeLogin, config_of: Callable[[str], Path]
    ) -> None:
        self._keyring = keyring
        self._login = login
        self._config_of = config_of
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def clear(self, person: str, kind: SignInKind) -> None:
        """Returns when it is done. That the provider did not answer is logged."""
        if self._keyring.sign_in_of(person) is not None:
            return
        try:
            await self._login.logout(self._config_of(person), kind)
        except LoginFailed as error:
            _log.error("sign_in.not_signed_out", person=person, reason=str(error))

    def clear_soon(self, person: str, kind: SignInKind) -> None:
        """Returns at once: nobody waits for the provider."""
        before = self._tasks.get(person)

        async def clear() -> None:
            if before is not None:
                await asyncio.wait({before})
            await self.clear(person, kind)

        task = self._tasks[person] = asyncio.create_task(clear())
        task.add_done_callback(lambda _: self._over(person, task))

    def _over(self, person: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(person) is task:
            del self._tasks[person]

    async def wait(self, person: str) -> None:
        """Returns once nothing is being cleared in this person's directory."""
        if (task := self._tasks.get(person)) is not None:
            await asyncio.wait({task})

    async def close(self) -> None:
        """Break off what waits for the provider; nothing is left here all the same."""
        tasks = dict(self._tasks)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        for person in tasks:
            if self._keyring.sign_in_of(person) is None:
                await asyncio.to_thread(self._login.delete, self._config_of(person))
