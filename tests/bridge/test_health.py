"""`/healthz`: what works, what does not, and what to do about it."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from adapters.contract import Health, NotAllowed
from bridge.settings import SettingsInvalid
from bridge.store.errors import StoreBusy

LISTEN = {"bridge_listen": "127.0.0.1:0"}


async def health(bridge) -> tuple[int, dict]:
    host, port = bridge.address
    async with aiohttp.ClientSession() as http, http.get(f"http://{host}:{port}/healthz") as got:
        return got.status, await got.json()


async def test_all_well(house):
    """Every part is told by name, and the whole is well when each is."""
    status, body = await health(await house.start(**LISTEN))
    assert status == 200
    assert body["state"] == "ok"
    assert {name: part["state"] for name, part in body["parts"].items()} == {
        "store": "ok",
        "agent": "ok",
        "budget": "ok",
        "adapter memory": "ok",
    }


async def test_agent_away(house):
    """Without its agent service the bridge is not well, says which part and what to do, and is
    well again afterwards."""
    bridge = await house.start(**LISTEN)
    await house.agent.stop()
    status, body = await health(bridge)
    assert (status, body["state"]) == (503, "failed")
    assert body["parts"]["agent"]["state"] == "failed"
    assert body["parts"]["agent"]["remedy"]
    assert body["parts"]["store"]["state"] == "ok"
    await house.agent.start()
    assert (await health(bridge))[0] == 200


async def test_an_adapters_own_word(house):
    """An adapter's own state counts; one that breaks while it is asked counts as failed."""
    bridge = await house.start(**LISTEN)

    async def starting():
        return Health("starting", "Connecting.", "Wait.")

    async def broken():
        raise RuntimeError("a secret: xoxb-1234")

    house.platform.health = starting
    status, body = await health(bridge)
    assert (status, body["parts"]["adapter memory"]["state"]) == (503, "starting")
    house.platform.health = broken
    status, body = await health(bridge)
    assert (status, body["parts"]["adapter memory"]["state"]) == (503, "failed")
    assert "xoxb" not in str(body)


async def test_what_the_platform_refuses(house, wait):
    """A post that the platform refused shows with its remedy, until posts are taken again."""
    bridge = await house.start(**LISTEN)
    refused = NotAllowed("The bot may not write here.", remedy="Invite it.")
    house.platform.trouble = [refused] * 20
    await house.say("say hello")
    await house.quiet()
    status, body = await health(bridge)
    part = body["parts"]["adapter memory"]
    assert (status, part["state"]) == (200, "degraded")
    assert (part["detail"], part["remedy"]) == ("The bot may not write here.", "Invite it.")
    house.platform.trouble.clear()
    await house.say("say again")
    await house.sees("again")
    await house.quiet()
    assert (await health(bridge))[1]["parts"]["adapter memory"]["state"] == "ok"


async def test_nothing_secret(house, home):
    """Anybody may read it: no key, path, prompt or name is in it."""
    bridge = await house.start(**LISTEN)
    await house.say("say my-private-word")
    await house.sees("my-private-word")
    await house.agent.stop()
    _, body = await health(bridge)
    key = (home / "secrets" / "bridge.keys").read_text().strip()
    for hidden in (key, str(home), "my-private-word", "Olga"):
        assert hidden not in str(body)


async def test_port_in_use(house):
    """A port that somebody has is told by the setting's name, and nothing is left running."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = f"127.0.0.1:{other.getsockname()[1]}"
        bridge = house.make(bridge_listen=where)
        with pytest.raises(SettingsInvalid, match=rf"BRIDGE_LISTEN: {where} cannot be used"):
            await bridge.start()
    await house.start(bridge_listen=where)


async def test_second_bridge(house):
    """A second bridge on the same home is refused, and the first does not notice."""
    await house.start()
    with pytest.raises(StoreBusy, match="Another bridge is running"):
        await house.make().start()
    await house.say("say still here")
    await house.sees("still here")


async def test_stopping_twice(house):
    """A stop can be repeated, before a start too."""
    bridge = house.make()
    await bridge.stop()
    bridge = await house.start()
    await bridge.stop()
    await bridge.stop()
