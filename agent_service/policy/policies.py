"""The policy of the deployment, of workspaces and of conversations: what was set, what holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agent_service.contract.errors import BadRequest, Forbidden
from agent_service.contract.policy import (
    DECIDERS_LIMIT,
    Behavior,
    Ceiling,
    PolicyScope,
    PolicyView,
)
from agent_service.contract.turns import Asker, Mode
from agent_service.policy.effective import Effective, effective, lowered, within
from agent_service.policy.rules import checked, parse
from agent_service.store import audit, policies
from agent_service.store.database import Database

NOT_A_DECIDER = (
    "Only people who were named for this workspace, and whose access was not revoked, decide here."
)


@dataclass(frozen=True, slots=True)
class Change:
    """Where something was changed. The deployment's subject is empty."""

    scope: PolicyScope
    subject: str = ""

    def concerns(self, workspace: str, conversation: str) -> bool:
        return self.scope == "deployment" or self.subject in (workspace, conversation)


class Policies:
    """One a service. Changes stand in the audit log and act on running sessions at once."""

    def __init__(
        self,
        database: Database,
        *,
        default_mode: Mode,
        ceiling: Ceiling,
    ) -> None:
        """`ceiling` is the operator's: nobody sets a mode above it."""
        self._database = database
        self._default_mode: Mode = default_mode
        self._ceiling: Ceiling = ceiling
        self.newest = 0
        """Grows with each change."""
        self.changed: Callable[[Change], Awaitable[None]] = _nobody
        """Called after each change, before whoever made it has the answer."""

    # ---- what holds ----

    def of(
        self,
        db: sa.Connection,
        workspace: str,
        conversation: str,
        asker: Asker | None,
        requested: Mode | None = None,
    ) -> Effective:
        """What holds for a turn of `asker`; with nobody, for a session that is only warmed."""
        layers, lower = policies.layers(db, workspace, conversation)
        may = asker is None or (asker.may_decide and policies.decides(db, workspace, asker.person))
        deployment = layers["deployment"]
        # The CLI must ask for these at all, whatever the mode is.
        asked = (*deployment.ask, *policies.patterns(db, "two_people"))
        return effective(
            replace(deployment, ask=asked),
            layers["workspace"],
            layers["conversation"],
            requested=requested,
            default=self._default_mode,
            ceiling=self._lower(lower),
            may_decide=may,
        )

    async def effective(
        self,
        workspace: str,
        conversation: str,
        asker: Asker | None,
        requested: Mode | None = None,
    ) -> Effective:
        """As `of`, in a transaction of its own."""
        number = self.newest
        found = await self._database.tx(self.of, workspace, conversation, asker, requested)
        return replace(found, number=number)

    def _lower(self, set_here: Ceiling | None) -> Ceiling:
        return set_here if set_here and within(set_here, self._ceiling) else self._ceiling

    async def check_mode(self, mode: Mode | None) -> None:
        """Raises `Forbidden` for a mode above the ceiling."""
        if mode is not None:
            _check_mode(mode, await self._database.tx(self.ceiling))

    def ceiling(self, db: sa.Connection) -> Ceiling:
        """The mode above which none is, as it is now."""
        return self._lower(policies.view(db, "deployment", "").ceiling)

    @staticmethod
    def check_decider(db: sa.Connection, workspace: str, person: str) -> None:
        """Raises `Forbidden` where this person's answers do not count."""
        if not policies.decides(db, workspace, person):
            raise Forbidden(
                NOT_A_DECIDER, remedy="Ask the owner of this workspace, or an admin.", field="by"
            )

    @staticmethod
    def people_needed(
        db: sa.Connection, tool: str, tool_input: dict[str, Any], workdir: Path
    ) -> int:
        """How many different people have to allow a call: 2 where an admin listed it so."""
        listed = policies.patterns(db, "two_people")
        return 2 if any(parse(p).may_mean(tool, tool_input, workdir) for p in listed) else 1

    # ---- what was set ----

    async def view(self, scope: PolicyScope, subject: str) -> PolicyView:
        """Of a deployment, with the ceiling that holds."""

        def look(db: sa.Connection) -> PolicyView:
            found = policies.view(db, scope, subject)
            if scope != "deployment":
                return found
            mode = lowered(found.mode or self._default_mode, self._lower(found.ceiling))
            return PolicyView(scope, subject, mode, found.rules, self._lower(found.ceiling))

        return await self._database.tx(look)

    async def set_mode(
        self, scope: PolicyScope, subject: str, mode: Mode | None, by: str
    ) -> PolicyView:
        """Raises `Forbidden` above the ceiling."""

        def change(db: sa.Connection) -> bool:
            if mode is not None:
                _check_mode(mode, self.ceiling(db))
            return policies.set_mode(db, scope, subject, mode)

        told = {"scope": scope, "mode": mode}
        return await self._change(Change(scope, subject), "mode.set", by, told, change)

    async def set_ceiling(self, ceiling: Ceiling | None, by: str) -> PolicyView:
        """The deployment's. Raises `Forbidden` above AGENT_MODE_CEILING."""
        if ceiling is not None and not within(ceiling, self._ceiling):
            raise Forbidden(
                f"The operator's ceiling is {self._ceiling}.",
                remedy="Set AGENT_MODE_CEILING and restart the agent service to raise it.",
                field="ceiling",
            )
        return await self._change(
            Change("deployment"),
            "ceiling.set",
            by,
            {"ceiling": ceiling},
            lambda db: policies.set_ceiling(db, ceiling),
        )

    async def add_rule(
        self, scope: PolicyScope, subject: str, behavior: Behavior, pattern: str, by: str
    ) -> PolicyView:
        """Raises `BadRequest` for one that would not do what it says, `Conflict` for too many."""
        rule = str(checked(behavior, pattern))
        if behavior == "two_people" and scope != "deployment":
            raise BadRequest(
                "Only the deployment says which calls need two people.",
                remedy="Add it there.",
                field="behavior",
            )
        told = {"scope": scope, "behavior": behavior, "pattern": rule}
        return await self._change(
            Change(scope, subject),
            "rule.added",
            by,
            told,
            lambda db: policies.add_rule(db, scope, subject, behavior, rule, by),
        )

    async def remove_rule(
        self, scope: PolicyScope, subject: str, behavior: Behavior, pattern: str, by: str
    ) -> PolicyView:
        """Nothing happens where there is none."""
        told = {"scope": scope, "behavior": behavior, "pattern": pattern}
        return await self._change(
            Change(scope, subject),
            "rule.removed",
            by,
            told,
            lambda db: policies.remove_rule(db, scope, subject, behavior, pattern),
        )

    async def set_deciders(self, workspace: str, people: tuple[str, ...], by: str) -> PolicyView:
        """All whose answers count there. Who is taken back decides nothing from now on, and what
        runs for them goes on as for anybody else."""
        if len(people) > DECIDERS_LIMIT:
            raise BadRequest(f"people: at most {DECIDERS_LIMIT}.", field="people")
        told = {"people": sorted(set(people))}
        return await self._change(
            Change("workspace", workspace),
            "deciders.set",
            by,
            told,
            lambda db: policies.set_deciders(db, workspace, people),
        )

    async def refused(self, decision_id: str, who: str, why: str) -> None:
        """Somebody's answer was not taken because of who they are. Told once of each."""

        def note(db: sa.Connection) -> None:
            if not audit.holds(db, "decision.refused", who, decision_id):
                audit.append(db, "decision.refused", who, decision_id, {"why": why[:300]})

        await self._database.tx(note)

    async def _change(
        self,
        where: Change,
        kind: str,
        by: str,
        told: dict[str, Any],
        change: Callable[[sa.Connection], bool],
    ) -> PolicyView:
        def both(db: sa.Connection) -> bool:
            if not change(db):
                return False
            audit.append(db, kind, by, where.subject or "deployment", told)
            return True

        if await self._database.tx(both):
            self.newest += 1
            await self.changed(where)
        return await self.view(where.scope, where.subject)


def _check_mode(mode: Mode, ceiling: Ceiling) -> None:
    if not within(mode, ceiling):
        raise Forbidden(
            f"This deployment does not allow the mode {mode}: {ceiling} is the most.",
            remedy="Choose another mode, or ask an operator.",
            field="mode",
        )


async def _nobody(_change: Change) -> None:
    """Nothing runs yet."""
