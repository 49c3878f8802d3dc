"""The hosts beyond the model that a workspace's agent may reach."""

from __future__ import annotations

from dataclasses import dataclass

HOSTS_LIMIT = 200
"""Patterns of one workspace."""
PATTERN_LIMIT = 300
"""Characters of one pattern."""

REFUSALS: dict[str, str] = {
    "not_listed": "neither the deployment's list nor the workspace's covers it",
    "not_public": "its name leads to an address that is not the public internet's",
    "no_address": "its name leads nowhere",
    "no_answer": "it does not take the connection",
    "no_host": "what was asked for is no host with a port",
    "no_connect": "something else than CONNECT was asked for, such as plain http",
    "too_many": "the session has too many connections at once",
}
"""Why a connection was not made, as a word, with what it means."""


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """`example.org`, `example.org:8443` or `*.example.org`, in its usual form."""

    pattern: str
    by: str
    """Which caller added it, and for whom: `bridge:p_1`, `admin`."""
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class WorkspaceEgress:
    """Where an agent of a workspace may connect to: what either list covers."""

    workspace: str
    deployment: tuple[str, ...]
    """For every workspace; set by `AGENT_EGRESS`."""
    hosts: tuple[AllowedHost, ...]
    """For this one, by pattern."""
