"""A disk without room: nothing is lost without a word, and all goes on once there is room."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.bridge.house import until
from tests.bridge.town import Town

ALONE = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
MOUNT = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'


class SmallDisk:
    """The bridge's database on a disk of its own, that only the bridge sees."""

    def __init__(self, town: Town) -> None:
        self.town = town
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    async def start(self) -> None:
        place = self.town.home / "bridge"
        place.mkdir(exist_ok=True)
        await self.town.start_bridge(
            *ALONE, "--propagation", "private", "sh", "-c", MOUNT, str(place),
            listen=self.address,
        )  # fmt: skip

    @property
    def filler(self) -> Path:
        place = str(self.town.home / "bridge" / "filler")
        return Path(f"/proc/{self.town.bridge.pid}/root{place}")

    def fill(self) -> None:
        with self.filler.open("ab", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4096)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        return
                    raise

    async def health(self) -> tuple[int, dict]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://{self.address}/healthz") as got,
        ):
            return got.status, (await got.json())["parts"]["store"]


@pytest.fixture
async def disk(home: Path) -> AsyncIterator[SmallDisk]:
    made = SmallDisk(Town(home))
    try:
        await made.town.start_agent()
        await made.start()
        yield made
    finally:
        await made.town.stop()


async def test_full_disk(disk):
    """A message that cannot be stored is not acknowledged, and health says why; once there is
    room the platform's next try works, and turns that ran meanwhile have ended well."""
    town = disk.town
    await town.say("c1", "say before", 1)
    await town.posts.shows("c1", "before")
    assert (await disk.health())[0] == 200
    await town.say("c2", "slow 1 it ran while the disk was full", 1)
    await town.posts.shows("c2", "it")
    room = "There is no room on the bridge's disk. Make room on the disk that holds BASCULE_HOME."
    stored = refused = 0
    while refused < 5:  # SQLite's log has some room inside, and gives some back when it is reset
        disk.fill()
        order = stored + 2
        line = {"key": f"c1.{order}", "channel": "c1", "text": "say more", "order": order}
        answer = await town.deliver_once(line)
        assert answer in ("stored", f"not stored: {room}")
        refused = refused + 1 if answer != "stored" else 0
        stored += answer == "stored"
        assert stored < 1000
    status, store = await disk.health()
    assert (status, store["state"]) == (503, "failed")
    assert f"{store['detail']} {store['remedy']}" == room
    await town.posts.shows("c2", "disk was full")
    disk.filler.unlink()
    assert await town.deliver_once(line) == "stored"
    await until(lambda: len(town.posts.of("c1")) == stored + 2)
    await town.say("c2", "say and on", 2)
    await town.posts.shows("c2", "and on")
    assert (await disk.health())[0] == 200
    assert town.posts.texts("c1") == ["before"] + ["more"] * (stored + 1)
    assert town.posts.texts("c2") == ["it ran while the disk was full", "and on"]
    assert all(post["final"] for post in town.posts.look().last.values())
