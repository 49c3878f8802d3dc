"""Tables of the agent service. Nobody else reads or writes them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

conversation = sa.Table(
    "conversation",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("workspace", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    # A session that was never prompted has no transcript and cannot be resumed.
    sa.Column("started", sa.Boolean, nullable=False),
    sa.Column("model", sa.Text),
    # What may lie unresolved in the transcript: a decision's call, or (DOUBT) something unknown.
    # It must be settled before any other prompt, or the CLI would run it by itself.
    sa.Column("unsettled", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
)

workspace = sa.Table(
    "workspace",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
)

# Beyond those of the deployment.
allowed_host = sa.Table(
    "allowed_host",
    metadata,
    sa.Column("workspace", sa.Text, primary_key=True),
    sa.Column("pattern", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

turn = sa.Table(
    "turn",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("conversation", sa.Text, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("body_sha256", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("decision", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
)
_open = turn.c.state != "finished"
sa.Index("ix_turn_open", turn.c.state, sqlite_where=_open)

event = sa.Table(
    "event",
    metadata,
    sa.Column("turn_id", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

feed = sa.Table(
    "feed",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("turn_id", sa.Text, nullable=False),
    sa.Column("conversation", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("decision", sa.Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("turn_id", sa.Text, nullable=False, index=True),
    sa.Column("conversation", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("tool", sa.Text, nullable=False),
    sa.Column("tool_use_id", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("input_sha256", sa.Text, nullable=False),
    sa.Column("file_sha256", sa.Text, nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False, server_default=""),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("answers", sa.Text, nullable=False, server_default="[]"),
    sa.Column("requested_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("resolved_at", sa.Float),
    # A release is recorded before the call is let go, and counts once.
    sa.Column("released_at", sa.Float),
    # Its result came: from then on it is known how the call ended.
    sa.Column("executed_at", sa.Float),
    # As it was put before people, as JSON.
    sa.Column("shown", sa.Text, nullable=False, server_default="{}"),
    # Who allowed it so far, where more than one has to.
    sa.Column("approvals", sa.Text, nullable=False, server_default="[]"),
    # The mode that an approved plan goes on in.
    sa.Column("then_mode", sa.Text),
)
_waiting = decision.c.state == "waiting"
sa.Index("ix_decision_waiting", decision.c.expires_at, sqlite_where=_waiting)

policy = sa.Table(
    "policy",
    metadata,
    # deployment, workspace or conversation; of the deployment there is one, with an empty subject.
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text),
    sa.Column("ceiling", sa.Text),
    sqlite_with_rowid=False,
)

rule = sa.Table(
    "rule",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("behavior", sa.Text, primary_key=True),
    sa.Column("pattern", sa.Text, primary_key=True),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

decider = sa.Table(
    "decider",
    metadata,
    sa.Column("workspace", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)

nonce = sa.Table(
    "nonce",
    metadata,
    sa.Column("nonce", sa.Text, primary_key=True),
    sa.Column("until", sa.Float, nullable=False, index=True),
    sqlite_with_rowid=False,
)

credential = sa.Table(
    "credential",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    # Empty: it serves the whole deployment.
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    # The key, encrypted (credentials/vault.py). None: forgotten, or never ours.
    sa.Column("sealed", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("tested_at", sa.Float),
    # Once revoked: its key is gone from here, or its sign-in was logged out.
    sa.Column("forgotten_at", sa.Float),
)

revocation = sa.Table(
    "revocation",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    # Until then no turn of the person begins, and the key of the environment is not used.
    sa.Column("lifted_at", sa.Float),
)

revocation_step = sa.Table(
    "revocation_step",
    metadata,
    sa.Column("revocation", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("ix_audit_subject", audit.c.subject, audit.c.kind)


def _only_added_to(table: sa.Table, connection: sa.Connection, **_how: object) -> None:
    for act in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table.name}_no_{act.lower()} BEFORE {act} ON {table.name} "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END"
        )


sa.event.listen(audit, "after_create", _only_added_to)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("turn", sa.Text, nullable=False, index=True),
    sa.Column("conversation", sa.Text, nullable=False),
    sa.Column("workspace", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("input_tokens", sa.Integer, nullable=False),
    sa.Column("cache_write_tokens", sa.Integer, nullable=False),
    sa.Column("cache_read_tokens", sa.Integer, nullable=False),
    sa.Column("output_tokens", sa.Integer, nullable=False),
    sa.Column("cost_usd", sa.Float, nullable=False),
)
sa.Index("ix_usage_person", usage.c.person, usage.c.at)
