"""The bridge's tables. `migrations/` makes exactly these; a test compares them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

person = sa.Table(
    "person",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    # operator, admin, member; blocked and removed ones are not let in
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("workspace", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    # host, claim, person or rule: what let them in
    sa.Column("admitted", sa.Text, nullable=False, server_default="person"),
    # The IANA zone they chose, if any.
    sa.Column("timezone", sa.Text),
)

identity = sa.Table(
    "identity",
    metadata,
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("person.id"), nullable=False),
    # The rule for a team or group that let it in when it wrote last, and about when that was.
    sa.Column("rule", sa.BigInteger),
    sa.Column("rule_at", sa.Double),
)
sa.Index("identity_person", identity.c.person)

# Accounts that wrote and are not let in.
stranger = sa.Table(
    "stranger",
    metadata,
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("expires_at", sa.Double, nullable=False),
)

# Codes by which the first operator claims the deployment, hashed.
claim = sa.Table(
    "claim",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("expires_at", sa.Double, nullable=False),
)

# Codes, hashed, by which a second account becomes a person's; the account once it agreed.
link = sa.Table(
    "link",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("person.id"), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("platform", sa.Text),
    sa.Column("tenant", sa.Text),
    sa.Column("user", sa.Text),
    sa.Column("name", sa.Text),
)

wrong_code = sa.Table(
    "wrong_code",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
sa.Index("wrong_code_at", wrong_code.c.at)

# Whom the deployment lets in without anybody's word.
access_rule = sa.Table(
    "access_rule",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("platform", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    # team, channel, group
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("added_at", sa.Double, nullable=False),
    sa.UniqueConstraint("platform", "tenant", "kind", "value"),
)

# Channels whose conversations work in a workspace of their own, and who may take part there.
channel_workspace = sa.Table(
    "channel_workspace",
    metadata,
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("workspace", sa.Text, nullable=False),
    sa.Column("bound_by", sa.Text, nullable=False),
    sa.Column("bound_at", sa.Double, nullable=False),
)
sa.Index("channel_workspace_workspace", channel_workspace.c.workspace)

channel_member = sa.Table(
    "channel_member",
    metadata,
    sa.Column("workspace", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("added_at", sa.Double, nullable=False),
)

# Whose answers count in a workspace besides its owner's.
decider = sa.Table(
    "decider",
    metadata,
    sa.Column("workspace", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("added_at", sa.Double, nullable=False),
)

conversation = sa.Table(
    "conversation",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("platform", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("thread", sa.Text, nullable=False),
    sa.Column("direct", sa.Boolean, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, sa.ForeignKey("person.id")),
    # Where it works, if that is not its owner's workspace.
    sa.Column("workspace", sa.Text),
    # The model it asked for, if any.
    sa.Column("model", sa.Text),
    # What the agent service knows this conversation as; `new` mints another.
    sa.Column("agent_conversation", sa.Text, nullable=False),
    sa.Column("last_active", sa.Double, nullable=False),
    # The lease: who handles it now, and until when. Each claim raises the fence.
    sa.Column("pending", sa.Integer, nullable=False),
    sa.Column("ready_at", sa.Double, nullable=False),
    sa.Column("lease_owner", sa.Text),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("waiting_turn", sa.Text),
    # The key of the post that says how many messages wait here, while any do.
    sa.Column("queued_word", sa.Text),
    sa.UniqueConstraint("platform", "tenant", "channel", "thread", "direct"),
)
_ready = sa.and_(conversation.c.pending > 0, conversation.c.waiting_turn.is_(None))
sa.Index(
    "conversation_ready",
    conversation.c.ready_at,
    sqlite_where=_ready,
    postgresql_where=_ready,
)
_leased = conversation.c.lease_owner.is_not(None)
sa.Index(
    "conversation_leased",
    conversation.c.lease_owner,
    sqlite_where=_leased,
    postgresql_where=_leased,
)
sa.Index("conversation_owner", conversation.c.owner, conversation.c.last_active)

guest = sa.Table(
    "guest",
    metadata,
    sa.Column("conversation", sa.Text, sa.ForeignKey("conversation.id"), primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("added_by", sa.Text, nullable=False),
    sa.Column("added_at", sa.Double, nullable=False),
)

message = sa.Table(
    "message",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("conversation", sa.Text, sa.ForeignKey("conversation.id"), nullable=False),
    sa.Column("order", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    # queued, running, waiting, done, failed, cancelled
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("turn_id", sa.Text, nullable=False, unique=True),
    sa.Column("agent_conversation", sa.Text, nullable=False),
    # The body that was put, fixed when the message is first taken: a retry sends the same.
    sa.Column("request", sa.JSON),
    sa.Column("after_seq", sa.BigInteger, nullable=False),
    sa.Column("stop_asked", sa.Boolean, nullable=False),
    sa.Column("retried_by", Id),
    # How often the bridge itself failed at it.
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.JSON, nullable=False),
    sa.Column("received_at", sa.Double, nullable=False),
    sa.Column("done_at", sa.Double),
    # Which schedule asked, and what is posted before the answer.
    sa.Column("schedule", sa.Text),
    sa.Column("announcement", sa.Text),
)
OPEN = ("queued", "running", "waiting")
_open = message.c.status.in_(OPEN)
sa.Index(
    "message_open",
    message.c.conversation,
    message.c.order,
    message.c.id,
    sqlite_where=_open,
    postgresql_where=_open,
)

_done = message.c.done_at.is_not(None)
sa.Index("message_done", message.c.done_at, sqlite_where=_done, postgresql_where=_done)
_scheduled = message.c.schedule.is_not(None)
sa.Index(
    "message_schedule",
    message.c.schedule,
    message.c.id,
    sqlite_where=_scheduled,
    postgresql_where=_scheduled,
)

# What is asked again and again at times of its own, as the account that made it, where it was made.
schedule = sa.Table(
    "schedule",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, sa.ForeignKey("person.id"), nullable=False),
    # What its owner calls it.
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("platform", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("conversation", sa.Text, sa.ForeignKey("conversation.id"), nullable=False),
    sa.Column("expression", sa.Text, nullable=False),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    # proposed (shown, not confirmed), active, paused, over
    sa.Column("state", sa.Text, nullable=False),
    # Why it was paused, if its owner did not.
    sa.Column("why", sa.Text, nullable=False, server_default=""),
    sa.Column("made_at", sa.Double, nullable=False),
    # When it is due; of an active one only.
    sa.Column("next_at", sa.Double),
    sa.Column("last_at", sa.Double),
    # Why it last did not run, until it does.
    sa.Column("skipped", sa.Text, nullable=False, server_default=""),
    # The post that asks to confirm it.
    sa.Column("card", sa.Text),
    # What people are still to be told about it, and until when a node is at it.
    sa.Column("word", sa.JSON(none_as_null=True)),
    sa.Column("word_until", sa.Double, nullable=False, server_default="0"),
    sa.UniqueConstraint("person", "number"),
)
_active = schedule.c.state == "active"
sa.Index("schedule_next", schedule.c.next_at, sqlite_where=_active, postgresql_where=_active)
_unsaid = schedule.c.word.is_not(None)
sa.Index("schedule_word", schedule.c.word_until, sqlite_where=_unsaid, postgresql_where=_unsaid)

# What a file that somebody sent is called in a workspace, so that no two are called the same and
# one that is fetched again finds its own place.
attachment = sa.Table(
    "attachment",
    metadata,
    sa.Column("workspace", sa.Text, primary_key=True),
    # Compared without regard to case.
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    # Which file of which platform, as a hash.
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.UniqueConstraint("workspace", "origin"),
)
sa.Index("attachment_at", attachment.c.at)

seen = sa.Table(
    "seen",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    # Of the message that came with it; empty for buttons and commands.
    sa.Column("turn_id", sa.Text, nullable=False, server_default=""),
    sa.Column("at", sa.Double, nullable=False),
)
sa.Index("seen_at", seen.c.at)

click = sa.Table(
    "click",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("payload", sa.JSON, nullable=False),
    # queued, done
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    # The node that acts on it now, and until when.
    sa.Column("owner", sa.Text),
    sa.Column("until", sa.Double, nullable=False, server_default="0"),
)
sa.Index("click_at", click.c.at)
_undone = click.c.status == "queued"
sa.Index("click_queued", click.c.id, sqlite_where=_undone, postgresql_where=_undone)

# Which turn asked what: a button names a decision, never a turn.
decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("message", Id, sa.ForeignKey("message.id"), nullable=False),
    sa.Column("conversation", sa.Text, nullable=False),
    sa.Column("turn_id", sa.Text, nullable=False),
    sa.Column("shown", sa.JSON, nullable=False),
)
sa.Index("decision_message", decision.c.message)

post = sa.Table(
    "post",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("conversation", sa.Text, nullable=False),
    sa.Column("message", Id),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
sa.Index("post_message", post.c.message)

# What somebody may use a day, or with an empty person all together a month; without a row, what the
# settings say. What is usd or turns; no number means no limit.
budget = sa.Table(
    "budget",
    metadata,
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("most", sa.Double),
    sa.Column("set_by", sa.Text, nullable=False),
    sa.Column("set_at", sa.Double, nullable=False),
)

turns_taken = sa.Table(
    "turns_taken",
    metadata,
    sa.Column("person", sa.Text, primary_key=True),
    # Such as 2026-11-24, of the deployment's time zone.
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("turns", sa.Integer, nullable=False),
)
sa.Index("turns_taken_day", turns_taken.c.day)

# Which turn warned whom of what in a period: nobody is warned twice.
budget_warning = sa.Table(
    "budget_warning",
    metadata,
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("turn_id", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

# How fast a person, or an account that is nobody's, writes: when as much time will have passed as
# all that was taken is worth.
pace = sa.Table(
    "pace",
    metadata,
    sa.Column("who", sa.Text, primary_key=True),
    # message, command
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("free_at", sa.Double, nullable=False),
    sa.Column("told_at", sa.Double, nullable=False),
)
sa.Index("pace_free_at", pace.c.free_at)

cursor = sa.Table(
    "cursor",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

# What only one node of a deployment does at a time, and who does it.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)

# Conditions with their values written out: with bound ones no partial index would be used.
is_open = sa.text("message.status IN ('queued', 'running', 'waiting')")
is_active = sa.text("schedule.state = 'active'")
is_ready = sa.text("conversation.pending > 0 AND conversation.waiting_turn IS NULL")
