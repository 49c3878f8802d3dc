"""Modes, rules and deciders; what a decision was shown as and how its call ended."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("ceiling", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("scope", "subject", name=op.f("pk_policy")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rule",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("behavior", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "subject", "behavior", "pattern", name=op.f("pk_rule")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "decider",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "person", name=op.f("pk_decider")),
        sqlite_with_rowid=False,
    )
    op.add_column("decision", sa.Column("executed_at", sa.Float(), nullable=True))
    op.add_column("decision", sa.Column("shown", sa.Text(), nullable=False, server_default="{}"))
    op.add_column(
        "decision", sa.Column("approvals", sa.Text(), nullable=False, server_default="[]")
    )
    op.add_column("decision", sa.Column("then_mode", sa.Text(), nullable=True))
    # It was never set.
    op.drop_column("conversation", "mode")
    op.create_index("ix_audit_subject", "audit", ["subject", "kind"], unique=False)
