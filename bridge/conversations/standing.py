"""How a person stands: what the agent may do unasked, and what waits for their answer."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from adapters.contract import DecisionView, PostRef
from bridge.agent_client import AgentClient
from bridge.conversations import places, sharing
from bridge.store.schema import conversation, decision, post


def waiting_of(con: sa.Connection, person: str) -> tuple[DecisionView, ...]:
    """The decisions that wait in the conversations a person started and takes part in still, the
    oldest first."""
    rows = con.execute(
        sa.select(conversation, decision.c.id.label("asked"), decision.c.turn_id, decision.c.shown)
        .join(conversation, conversation.c.id == decision.c.conversation)
        .where(sharing.started_by(person), conversation.c.waiting_turn == decision.c.turn_id)
        .order_by(decision.c.message)
    ).all()
    # A turn may have asked before, and about hosts, for which it does not wait.
    last = {row.turn_id: row for row in rows if row.shown.get("kind") != "network"}
    return tuple(
        DecisionView(
            address=places.address_of(row),
            title=str(row.shown.get("title") or row.shown.get("tool", "")),
            post=_post(con, f"{row.turn_id}.d-{row.asked}"),
            expires_at=datetime.fromtimestamp(float(row.shown.get("expires_at", 0.0)), UTC),
        )
        for row in last.values()
    )


def _post(con: sa.Connection, key: str) -> PostRef | None:
    ref = con.scalar(sa.select(post.c.ref).where(post.c.key == key))
    return None if ref is None else PostRef(ref)


async def mode_of(client: AgentClient, workspace: str) -> str:
    """The permission mode of a workspace. Raises `ServiceError`."""
    for place in (f"/v1/workspaces/{workspace}", "/v1"):
        if (found := (await client.policy(place)).mode) is not None:
            return found
    return "default"
