"""The agent service as a process, in whose world every name leads to one server on loopback.

PORT_OF_ALL and AUTHORITY_OF_ALL say which, and whose certificates its agents trust besides.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from agent_service.__main__ import main
from agent_service.egress.proxy import Network

PUBLIC = "192.0.2.1"
"""What every name resolves to."""


def network(port: int, authority: Path) -> Network:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [PUBLIC]

    async def connect(
        _address: str, _port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    return Network(
        resolve,
        lambda address: address == PUBLIC,
        {"NODE_EXTRA_CA_CERTS": str(authority)},
        connect,
        (authority,),
    )


if __name__ == "__main__":
    sys.exit(main(network(int(os.environ["PORT_OF_ALL"]), Path(os.environ["AUTHORITY_OF_ALL"]))))
