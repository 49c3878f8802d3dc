"""The feed names a decision that was settled once its turn was over."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feed", sa.Column("decision", sa.Text(), nullable=False, server_default=""))
