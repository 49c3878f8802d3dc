"""Which rule let an account in last, for the other accounts of its person."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identity", sa.Column("rule", sa.BigInteger(), nullable=True))
    op.add_column("identity", sa.Column("rule_at", sa.Double(), nullable=True))
    op.create_index("identity_person", "identity", ["person"], unique=False)
