"""The promises of the port, each as a check. One sentence says what is promised.

A check gets a fresh harness, starts and stops it as it needs, and raises `ConformanceError`.
No check is decided by a timing: waiting only gives a mistake the time to show.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from adapters.testing import choices, files, inbound, outbound, running
from adapters.testing.harness import Harness

Check: TypeAlias = Callable[[Harness], Awaitable[None]]

CHECKS: tuple[Check, ...] = (
    inbound.name_and_limits,
    inbound.message_arrives,
    inbound.identity_is_stable,
    inbound.order_grows,
    inbound.one_after_another,
    inbound.acknowledged_when_stored,
    inbound.not_stored_comes_again,
    inbound.delivered_twice,
    inbound.command_arrives,
    outbound.post_is_shown,
    outbound.once_a_key,
    outbound.once_a_key_after_restart,
    outbound.edit_replaces,
    outbound.edit_after_restart,
    outbound.edit_of_nothing,
    outbound.longest_text_is_whole,
    outbound.only_for_one,
    outbound.outage_is_told,
    outbound.extras_never_raise,
    files.attachment_is_fetched,
    files.file_without_words,
    files.unknown_attachment,
    files.file_is_shown,
    choices.choice_comes_back,
    choices.choice_survives_restart,
    choices.form_brings_values,
    choices.action_not_stored,
    running.health_is_told,
    running.nothing_is_left,
)
