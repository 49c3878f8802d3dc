"""Budgets, the turns people took, warnings, how fast somebody writes; one word a conversation about
messages that wait."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budget",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("most", sa.Double(), nullable=True),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person", "what"),
    )
    op.create_table(
        "turns_taken",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person", "day"),
    )
    op.create_index("turns_taken_day", "turns_taken", ["day"], unique=False)
    op.create_table(
        "budget_warning",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("person", "what", "period"),
    )
    op.create_table(
        "pace",
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("free_at", sa.Double(), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("who", "kind"),
    )
    op.create_index("pace_free_at", "pace", ["free_at"], unique=False)
    op.add_column("conversation", sa.Column("queued_word", sa.Text(), nullable=True))
    op.create_index("attachment_at", "attachment", ["at"], unique=False)
