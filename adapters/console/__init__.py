"""The terminal as a chat platform: a Unix socket in the bridge, `bascule chat` at its other end."""

from __future__ import annotations

from adapters.contract import Adapter, AdapterContext, Plugin, SetupSpec


def _create(context: AdapterContext) -> Adapter:
    from adapters.console.adapter import ConsoleAdapter  # whoever only looks pays nothing

    return ConsoleAdapter(context)


PLUGIN = Plugin(
    name="console",
    create=_create,
    settings=SetupSpec(guide="Nothing to set up: `bascule chat` opens it on this machine."),
)
