"""What the bridge gives an adapter: the port's `Host`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from adapters.contract import (
    ActionIn,
    Address,
    CommandIn,
    CommandView,
    ConversationView,
    DecisionView,
    Identity,
    Inbound,
    Lifecycle,
    MessageIn,
    MessageOut,
    NotStored,
    PersonView,
    Place,
    Receipt,
)
from agent_service.contract import errors
from bridge.agent_client import AgentClient
from bridge.conversations import commands, places, standing
from bridge.conversations.asked import Reply
from bridge.engine.clicks import Clicks
from bridge.engine.inbox import remember
from bridge.engine.job import MESSAGE
from bridge.engine.pending import locked, stop_message
from bridge.engine.problem import problem_with
from bridge.engine.worker import Workers
from bridge.people import access
from bridge.people.commands import FOR_ADMINS
from bridge.people.deciders import Deciders
from bridge.people.sign_in import SignInLinks
from bridge.store.database import Database
from bridge.store.schema import conversation, message, seen

log = structlog.get_logger()
WITH_PEOPLE = frozenset({"share", "unshare", "bind", "unbind", "members", "deciders", "people"})
"""Commands whose words may mention other people."""
T = TypeVar("T")


class BridgeHost:
    """Implements `adapters.contract.Host` for every adapter of this process."""

    def __init__(
        self,
        db: Database,
        workers: Workers,
        clicks: Clicks,
        client: AgentClient,
        deciders: Deciders,
        links: SignInLinks,
    ) -> None:
        self._db = db
        self._workers = workers
        self._clicks = clicks
        self._client = client
        self._deciders = deciders
        self._links = links
        self._tasks: set[asyncio.Task[Any]] = set()

    async def submit(self, inbound: Inbound) -> Receipt:
        """See the port. A caller that is cancelled leaves a stored message in good hands."""
        task = self._spawn(self._submit(inbound))
        try:
            return await asyncio.shield(task)
        except (NotStored, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("not stored")
            raise NotStored("The bridge could not store it; its log says why.") from error

    async def conversations(self, who: Identity) -> Sequence[ConversationView]:
        """This person's conversations, the last active first; empty for a stranger."""

        def fn(con: sa.Connection) -> list[ConversationView]:
            person = access.find(con, who)
            if person is None or access.refusal(person):
                return []
            return places.of_person(con, person.id)

        return await self._db.tx(fn, durable=False)

    async def person(self, who: Identity) -> PersonView | None:
        """See the port."""

        def fn(con: sa.Connection) -> tuple[access.Person, tuple[DecisionView, ...]] | None:
            person = access.find(con, who)
            if person is None or access.refusal(person):
                return None
            return person, standing.waiting_of(con, person.id)

        found = await self._db.tx(fn, durable=False)
        if found is None:
            return None
        person, waiting = found
        mode = await standing.mode_of(self._client, person.workspace)
        return PersonView(person.name, person.role, mode, waiting)

    async def known(self, at: Address) -> bool:
        """See the port."""
        query = sa.select(conversation.c.id).where(
            places.at(at), conversation.c.owner.is_not(None) | conversation.c.workspace.is_not(None)
        )
        return await self._db.tx(lambda con: con.scalar(query), durable=False) is not None

    async def places(self, platform: str, since: datetime) -> Sequence[Place]:
        """See the port."""
        return await self._db.tx(
            lambda con: places.written_since(con, platform, since.timestamp()), durable=False
        )

    def command_views(self, admin: bool = False) -> Sequence[CommandView]:
        """See the port."""
        return [
            CommandView(name, words, name in WITH_PEOPLE)
            for name, (_, words) in commands.COMMANDS.items()
            if admin or name not in FOR_ADMINS
        ]

    async def stop(self) -> None:
        """After the adapters: nothing of an earlier call is left running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _submit(self, inbound: Inbound) -> Receipt:
        if isinstance(inbound, MessageIn):
            said, problem = problem_with(inbound)
            new = await self._workers.submit(said, problem)
            return Receipt("stored" if new else "duplicate")
        if isinstance(inbound, ActionIn):
            new = await self._clicks.submit(inbound)
            return Receipt("stored" if new else "duplicate")
        if isinstance(inbound, CommandIn):
            return await self._command(inbound)
        return await self._lifecycle(inbound)

    async def _command(self, command: CommandIn) -> Receipt:
        def fn(con: sa.Connection) -> Reply | None:
            keys = [f"{command.address.platform}:command:{key}" for key in command.keys]
            if not remember(con, self._db, keys):
                return None
            return commands.run(con, self._db, command, stop_message)

        reply = await self._db.tx(fn)
        if reply is None:
            return Receipt("duplicate")
        for stopped in reply.stopped:
            self._workers.stop_turn(stopped)
        for taken_back in reply.taken_back:
            await self._workers.taken_back(taken_back)
        if reply.queued:
            self._workers.wake_ready()
        text = reply.text
        if reply.call is not None:
            try:
                text = await reply.call.make(self._client, self._tell_deciders)
            except errors.ServiceError as error:
                text = f"{error.message} {error.remedy}".strip()
        if reply.sign_in is not None:
            text = reply.sign_in(self._links)
        if reply.errand is not None:
            text = await self._workers.run_errand(command, reply.errand)
        only_for = command.sender.identity
        return Receipt("stored", MessageOut(text, only_for=only_for, tone="notice"))

    async def _tell_deciders(self, workspace: str, by: str) -> None:
        await self._deciders.tell(workspace, by, again=True)

    async def _lifecycle(self, event: Lifecycle) -> Receipt:
        if event.kind == "opened":
            self._spawn(self._warm(event))
            return Receipt("stored")
        if event.kind in ("edited", "deleted"):
            changed = await self._db.tx(self._change, event)
            if changed is not None and event.kind == "deleted":
                await self._workers.taken_back(changed)
            return Receipt("ignored" if changed is None else "stored")
        return Receipt("ignored")

    def _change(self, con: sa.Connection, event: Lifecycle) -> int | None:
        """A message that nobody has taken yet becomes what its sender made of it."""
        key = f"{event.address.platform}:message:{event.key}"
        found = con.scalar(
            sa.select(message.c.id)
            .join(seen, seen.c.turn_id == message.c.turn_id)
            .where(seen.c.key == key, message.c.status == "queued")
        )
        row, _ = locked(con, found) if found is not None else (None, None)
        if row is None or row.status != "queued":
            return None
        said = MESSAGE.validate_python(row.payload)
        if said.address != event.address or said.sender.identity != event.sender.identity:
            return None
        made: int = row.id
        if event.kind == "deleted":
            stop_message(con, self._db, row)
            return made
        changed, problem = problem_with(replace(said, text=event.text))
        con.execute(
            message.update()
            .where(message.c.id == row.id)
            .values(
                payload=MESSAGE.dump_python(changed, mode="json"),
                state={"problem": problem} if problem else {},
            )
        )
        return made

    async def _warm(self, event: Lifecycle) -> None:
        def fn(con: sa.Connection) -> tuple[str, str, str] | None:
            who = access.find(con, event.sender.identity)
            home = places.find(con, event.address)
            if who is None or home is None or access.refusal(who) or home.owner != who.id:
                return None
            return home.agent_conversation, who.workspace, who.id

        try:
            known = await self._db.tx(fn, durable=False)
            if known is not None:
                await self._client.warm(*known, own=True)
        except errors.ServiceError as error:
            log.info("not warmed", error=str(error))
        except Exception:
            log.exception("not warmed")

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
