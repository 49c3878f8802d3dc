"""What one person used since a moment is found quickly."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_usage_person", "usage", ["person", "at"])
