"""Schedules, the zones of people, and which schedule asked a message."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("person", sa.Column("timezone", sa.Text()))
    op.add_column("message", sa.Column("schedule", sa.Text()))
    op.add_column("message", sa.Column("announcement", sa.Text()))
    op.create_index(
        "message_schedule",
        "message",
        ["schedule", "id"],
        unique=False,
        sqlite_where=sa.text("schedule IS NOT NULL"),
        postgresql_where=sa.text("schedule IS NOT NULL"),
    )
    op.create_table(
        "schedule",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("conversation", sa.Text(), nullable=False),
        sa.Column("expression", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False, server_default=""),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double()),
        sa.Column("last_at", sa.Double()),
        sa.Column("skipped", sa.Text(), nullable=False, server_default=""),
        sa.Column("card", sa.Text()),
        sa.Column("word", sa.JSON()),
        sa.Column("word_until", sa.Double(), nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(["person"], ["person.id"]),
        sa.ForeignKeyConstraint(["conversation"], ["conversation.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("person", "number"),
    )
    op.create_index(
        "schedule_next",
        "schedule",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_index(
        "schedule_word",
        "schedule",
        ["word_until"],
        unique=False,
        sqlite_where=sa.text("word IS NOT NULL"),
        postgresql_where=sa.text("word IS NOT NULL"),
    )
