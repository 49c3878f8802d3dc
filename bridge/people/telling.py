"""What the agent service is told once somebody's access has ended."""

from __future__ import annotations

from collections.abc import Sequence

from agent_service.contract import errors
from bridge.conversations.governing import Agent, Call, TellDeciders
from bridge.people.access import Person

NOT_TOLD = (
    "It holds here already. The agent service could not be told yet: it is before the next turn "
    "there, and what runs is stopped once it answers."
)


def tell(workspaces: Sequence[str], sessions: Sequence[str], by: Person, told: str) -> Call:
    """Who may decide in these workspaces now, and that these sessions are over; `told` is what
    the sender reads."""

    async def make(agent: Agent, tell_deciders: TellDeciders) -> str:
        try:
            for workspace in workspaces:
                await tell_deciders(workspace, by.id)
            for session in sessions:
                await agent.close_session(session)
        except errors.ServiceError as error:
            return f"{told} {NOT_TOLD} ({error.message})"
        return told

    return Call(make)
