"""Several nodes on one database, messages that fail for good, and what is forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column(
        "message", sa.Column("failures", sa.Integer(), nullable=False, server_default="0")
    )
    op.create_index(
        "message_done",
        "message",
        ["done_at"],
        unique=False,
        sqlite_where=sa.text("done_at IS NOT NULL"),
        postgresql_where=sa.text("done_at IS NOT NULL"),
    )
    op.add_column("click", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("click", sa.Column("until", sa.Double(), nullable=False, server_default="0"))
    op.create_index("click_at", "click", ["at"], unique=False)
    op.create_index("decision_message", "decision", ["message"], unique=False)
