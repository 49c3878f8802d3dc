"""Lists that are known beforehand, because a part of the CLI is of no use without them."""

from __future__ import annotations

from agent_service.egress.allow import AllowList

SIGN_IN = AllowList(("api.anthropic.com", "platform.claude.com"))
"""What a person's own sign-in needs: the model and the account's profile; tokens, their renewal and
their end. The page to sign in on is opened by the person's own browser."""
