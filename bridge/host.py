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
    Field,
    Identity,
    Inbound,
    Lifecycle,
    MessageIn,
    NotStored,
    PersonView,
    Place,
    Receipt,
)
from agent_service.contract import errors, events
from bridge.agent_client import AgentClient
from bridge.budgets.budgets import Budgets, Limits
from bridge.budgets.commands import used_today
from bridge.conversations import commands, places, sharing, standing
from bridge.conversations.asked import Reply
from bridge.conversations.earlier import edited
from bridge.engine.clicks import Clicks
from bridge.engine.inbox import forget, remember
from bridge.engine.job import MESSAGE
from bridge.engine.pending import newest_queued, stop_message
from bridge.engine.problem import problem_with, repaired
from bridge.engine.worker import Workers
from bridge.people import access, admission, rules
from bridge.people.commands import FOR_ADMINS
from bridge.people.deciders import Deciders
from bridge.people.sign_in import SignInLinks
from bridge.present.decision import form_of
from bridge.schedules.running import Schedules
from bridge.store.database import Database
from bridge.store.schema import conversation, decision, message

log = structlog.get_logger()
WITH_PEOPLE = frozenset({"budget", "deciders", "members", "people", "share", "unshare"})
"""Commands whose words may mention other people."""
MOST_SUGGESTIONS = 25
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
        schedules: Schedules,
        budgets: Budgets,
        links: SignInLinks,
    ) -> None:
        self._db = db
        self._budgets = budgets
        self._workers = workers
        self._clicks = clicks
        self._client = client
        self._deciders = deciders
        self._schedules = schedules
        self._links = links
        self._tasks: set[asyncio.Task[Any]] = set()
        self._commands: set[str] = set()
        """Keys of those that are being carried out."""

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
            person = admission.standing(con, self._db, who)
            return places.of_person(con, person.id) if person is not None else []

        return await self._db.tx(fn, durable=False)

    async def person(self, who: Identity) -> PersonView | None:
        """See the port."""

        budgets = self._budgets

        def fn(
            con: sa.Connection,
        ) -> tuple[access.Person, tuple[DecisionView, ...], Limits, int] | None:
            person = admission.standing(con, self._db, who)
            if person is None:
                return None
            waiting = standing.waiting_of(con, person.id)
            turns, _ = budgets.turns(con, person.id)
            return person, waiting, budgets.limits(con, person.id), turns

        found = await self._db.tx(fn, durable=False)
        if found is None:
            return None
        person, waiting, limits, turns = found
        try:
            mode = await standing.mode_of(self._client, person.workspace)
            day = budgets.now("day")
            used = await used_today(self._client, person.id, limits, turns, day)
        except errors.ServiceError:
            return PersonView(person.name, person.role, "", waiting)
        return PersonView(person.name, person.role, mode, waiting, tuple(used))

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

    async def suggest(
        self, who: Identity, at: Address, name: str, typed: str
    ) -> Sequence[tuple[str, str]]:
        """See the port."""

        def fn(con: sa.Connection) -> list[tuple[str, str]]:
            person = admission.standing(con, self._db, who)
            if person is None:
                return []
            return commands.suggest(con, person, at, name, typed)[:MOST_SUGGESTIONS]

        return await self._db.tx(fn, durable=False)

    async def form(self, action: str) -> Sequence[Field]:
        """See the port. Of all choices only those of decisions have forms."""
        kind, _, rest = action.partition(":")
        if kind != "d":
            return ()
        asked = sa.select(decision.c.shown).where(decision.c.id == rest.partition(":")[0])
        shown = await self._db.tx(lambda con: con.scalar(asked), durable=False)
        return form_of(events.decision_from_json(shown), action) if shown is not None else ()

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
            new = await self._clicks.submit(repaired(inbound))
            return Receipt("stored" if new else "duplicate")
        if isinstance(inbound, CommandIn):
            return await self._once(repaired(inbound))
        return await self._lifecycle(inbound)

    async def _once(self, command: CommandIn) -> Receipt:
        """What comes again while it is carried out is a duplicate here already."""
        keys = {f"{command.address.platform}:command:{key}" for key in command.keys}
        if keys & self._commands:
            return Receipt("duplicate")
        self._commands |= keys
        try:
            return await self._command(command, sorted(keys))
        finally:
            self._commands -= keys

    async def _command(self, command: CommandIn, keys: list[str]) -> Receipt:
        def fn(con: sa.Connection) -> Reply | None:
            if not remember(con, self._db, keys):
                return None
            reply = commands.run(
                con, self._db, command, stop_message, self._schedules.table, self._budgets
            )
            if reply.unfinished:
                # It is over once what is left is done. One that comes again after a crash in
                # between does it: all of these bear to be done twice.
                forget(con, keys)
            return reply

        reply = await self._db.tx(fn)
        if reply is None:
            return Receipt("duplicate")
        for stopped in reply.stopped:
            self._workers.stop_turn(stopped)
        for taken_back in reply.taken_back:
            await self._workers.taken_back(taken_back)
        if reply.card:
            self._schedules.ask(reply.card)
        if reply.schedules:
            self._schedules.wake()
        if reply.queued or reply.schedules:
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
        if reply.unfinished:
            await self._db.tx(lambda con: remember(con, self._db, keys), durable=False)
        return Receipt("stored", self._workers.fitting(command, text))

    async def _tell_deciders(self, workspace: str, by: str) -> None:
        await self._deciders.changed(workspace, by)

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
        row = newest_queued(con, event.address, event.key)
        if row is None:
            return None
        if sharing.sender_of(row.payload) != event.sender.identity:
            return None
        said = MESSAGE.validate_python(row.payload)
        made: int = row.id
        if event.kind == "deleted":
            stop_message(con, self._db, row)
            return made
        said = edited(said, event.text) if said.earlier else replace(said, text=event.text)
        changed, problem = problem_with(said)
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
        def fn(con: sa.Connection) -> tuple[str, str, str, bool] | None:
            who = access.find(con, event.sender.identity)
            home = places.find(con, event.address)
            if who is None or home is None or access.refusal(who):
                return None
            if sharing.part_of(con, home, who) in (None, "guest"):
                return None
            at = event.address
            if who.admitted == "rule" and not rules.lets_in(con, self._db, who, event.sender, at):
                return None
            workspace = sharing.workspace_of(con, home)
            own = workspace == who.workspace and not sharing.is_shared(con, home)
            return home.agent_conversation, workspace, who.id, own

        try:
            known = await self._db.tx(fn, durable=False)
            if known is not None:
                conversation, workspace, person, own = known
                await self._client.warm(conversation, workspace, person, own=own)
        except errors.ServiceError as error:
            log.info("not warmed", error=str(error))
        except Exception:
            log.exception("not warmed")

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
