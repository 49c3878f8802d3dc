"""A bridge as a process of its own: posts go to a file, messages come in over a Unix socket.

python -m tests.bridge.program HOME [LISTEN [NAME]]. One JSON object a line in; its receipt's
outcome a line out.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from adapters.contract import (
    ActionIn,
    Address,
    Attachment,
    CommandIn,
    Identity,
    MessageIn,
    NotStored,
    Sender,
)
from bridge import log
from bridge.service import Bridge
from bridge.settings import BridgeSettings
from tests.bridge.platforms import FilePlatform, plugin

OWNER = Sender(Identity("memory", "t", "owner"), "Olga", host_owner=True)


class Doorway(FilePlatform):
    def __init__(self, home: Path, name: str) -> None:
        super().__init__(home / "posts.jsonl")
        self.home = home
        self.door = home / "run" / f"door{name}.sock"
        self.talks: set[asyncio.Task] = set()

    async def run(self, host) -> None:
        self.host = host
        self.door.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self.talk, str(self.door))
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self.talks:
                task.cancel()
            await asyncio.gather(*self.talks, return_exceptions=True)

    async def fetch(self, attachment):
        """Slowly: a file of the home, a part at a time."""
        with (self.home / "there" / attachment.ref).open("rb") as file:
            while part := file.read(1000):
                await asyncio.sleep(0.1)
                yield part

    async def talk(self, reader, writer) -> None:
        self.talks.add(task := asyncio.current_task())
        try:
            while line := await reader.readline():
                writer.write((await self.hand_over(json.loads(line)) + "\n").encode())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.talks.discard(task)
            writer.close()

    async def hand_over(self, given: dict) -> str:
        at = Address("memory", "t", given["channel"], direct=True)
        keys = (given["key"],)
        if "command" in given:
            inbound = CommandIn(keys, at, OWNER, given["command"], given.get("rest", ""))
        elif "action" in given:
            inbound = ActionIn(keys, at, OWNER, given["action"])
        else:
            now = datetime.now(UTC)
            files = tuple(Attachment(f, f, "", 0) for f in given.get("files", ()))
            inbound = MessageIn(keys, at, OWNER, given["text"], given["order"], now, files)
        try:
            return (await self.host.submit(inbound)).outcome
        except NotStored as error:
            return f"not stored: {error} {error.remedy}"


async def main(home: Path, listen: str = "off", name: str = "") -> None:
    log.configure("json", "info")
    settings = BridgeSettings(  # the database's URL comes from the environment
        _env_file=None,
        bascule_home=home,
        bridge_adapters="memory",
        bridge_listen=listen,
    )
    bridge = Bridge(settings, given=[plugin(Doorway(home, name))])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, bridge.finish)
    await bridge.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
