"""The CLI's errors, as reasons for programs and words for people.

The CLI knows the model's status where there was an answer; otherwise its own kind of error and its
wording are all there is (observed with the version named in pyproject.toml).
"""

from __future__ import annotations

import re
from typing import Any

from agent_service.broker import bill, requests
from agent_service.claude import show
from agent_service.contract.events import Notice
from agent_service.turns.budgets import OVER
from agent_service.turns.port import Ended

AUTHENTICATION = (
    "authentication",
    "The model refused the credential.",
    "An operator has to set a working AGENT_API_KEY.",
)
OWN_REFUSED = (
    "sign_in_refused",
    "Your own sign-in to Claude was refused.",
    "Sign in again, or sign out to use what this deployment has.",
)
OWN_BILLING = (
    "authentication",
    "Your own Claude account refused because of billing.",
    "Look at your account's plan and usage at claude.ai.",
)
OWN_LIMIT = (
    "model_overloaded",
    "Your own Claude account is over its limit.",
    "Retry when the limit is reset, or sign out to use what this deployment has.",
)
OWN_UNREACHABLE = (
    "model_unreachable",
    "The model cannot be reached, or hung up.",
    "Retry; if it lasts, an operator should look at this machine's network.",
)
BILLING = (
    "authentication",
    "The model refused because of billing.",
    "An operator has to look at the account of the API key.",
)
RATE_LIMIT = (
    "model_overloaded",
    "The model is over its rate limit.",
    "Retry in a few minutes.",
)
OVERLOADED = ("model_overloaded", "The model is overloaded.", "Retry in a few minutes.")
UNREACHABLE = (
    "model_unreachable",
    "The model cannot be reached, or hung up.",
    "Retry; if it lasts, an operator should look at AGENT_UPSTREAM_URL.",
)
NO_SUCH_MODEL = (
    "model_error",
    "The chosen model does not exist, or may not be used.",
    "Choose another model.",
)
NOT_ACCEPTED = (
    "model_error",
    "The model did not accept the request.",
    "Start a new conversation, or ask for less at once.",
)
FAILED = ("model_error", "The model answered with an error.", "Retry in a moment.")
UNREADABLE = (
    "model_error",
    "The model's answer cannot be read.",
    "Retry; if it lasts, an operator should look at AGENT_UPSTREAM_URL.",
)
AGENT = (
    "agent_failed",
    "The agent ended with an error.",
    "Retry; if it lasts, start a new conversation.",
)

BUDGET = ("The budget of this conversation is used up.", "Start a new conversation.")
REVOKED = (
    "The agent's access to the model was revoked.",
    "If that was not meant, an operator can allow it again.",
)

_KINDS = {
    "authentication_failed": AUTHENTICATION,
    "billing_error": BILLING,
    "rate_limit": RATE_LIMIT,
    "overloaded": OVERLOADED,
    "model_not_found": NO_SUCH_MODEL,
    "invalid_request": NOT_ACCEPTED,
    "server_error": FAILED,
}
_STATUSES = {429: RATE_LIMIT, 529: OVERLOADED}
_NO_CONNECTION = re.compile(
    r"connect|socket|network|ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|certificate", re.IGNORECASE
)


_OWN = {
    AUTHENTICATION: OWN_REFUSED,
    BILLING: OWN_BILLING,
    RATE_LIMIT: OWN_LIMIT,
    UNREACHABLE: OWN_UNREACHABLE,
}
"""The same where the turn runs on the person's own sign-in."""


def ended(status: int | None, kind: str, text: str, *, own: bool = False) -> Ended:
    """How a turn ends. `status` is the model's or the broker's, `kind` and `text` the CLI's; `own`
    says that it ran on the person's own sign-in."""
    if bill.USED_UP in text:
        return Ended("over_budget", "budget", *BUDGET)
    for whose, refusal in bill.BUDGET_USED_UP.items():
        if refusal in text:
            return OVER[whose]
    if requests.REVOKED in text:
        # Its token may be void though access is back: the next turn gets a session of its own.
        return Ended("failed", "revoked", *REVOKED, broken=True)
    why = _why(status, kind, text)
    reason, said, remedy = _OWN.get(why, why) if own else why
    # There the CLI's words are about its own terminal, or about the address of the broker.
    own_words = (AUTHENTICATION[0], OWN_REFUSED[0], UNREACHABLE[0])
    detail = "" if reason in own_words else show.one_line(text, 300)
    return Ended("failed", reason, f"{said} ({detail})" if detail else said, remedy)


def _why(status: int | None, kind: str, text: str) -> tuple[str, str, str]:
    if requests.UNREACHABLE in text:
        return UNREACHABLE
    if status in _STATUSES:
        return _STATUSES[status]
    if status is None and text.startswith("API Error") and kind in ("server_error", "unknown"):
        if _NO_CONNECTION.search(text):
            return UNREACHABLE
        return FAILED if kind == "server_error" else UNREADABLE
    if kind in _KINDS:
        return _KINDS[kind]
    if status is None:
        return AGENT
    return NOT_ACCEPTED if 400 <= status < 500 else FAILED


def retry(data: dict[str, Any]) -> Notice:
    """What the person learns while the CLI tries again by itself."""
    attempt, most = data.get("attempt"), data.get("max_retries")
    status = data.get("error_status")
    why = f"The model answered {status}" if status else "The model did not answer"
    wait = float(data.get("retry_delay_ms") or 0) / 1000
    when = f" in {wait:.0f} s" if wait >= 2 else ""
    count = f" (try {attempt} of {most})" if attempt and most else ""
    return Notice(f"{why}; trying again{when}{count}")
