"""Slack as a chat platform: mentions, threads, direct messages, buttons and files."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.contract import Adapter, AdapterContext, CheckResult, Plugin, SetupSpec
from adapters.slack.settings import FIELDS, GUIDE


def _create(context: AdapterContext) -> Adapter:
    from adapters.slack.adapter import SlackAdapter  # whoever only looks pays nothing

    return SlackAdapter(context)


async def _check(values: Mapping[str, str]) -> tuple[CheckResult, ...]:
    from adapters.slack.check import check

    return await check(values)


PLUGIN = Plugin(
    name="slack",
    create=_create,
    settings=SetupSpec(fields=FIELDS, guide=GUIDE, check=_check),
)
