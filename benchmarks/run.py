"""`make bench`: measure, print, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio

from benchmarks import inbox, latency, report, revocation, stream, waiting
from benchmarks.report import Figure, Ratio
from bridge import log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", type=int, default=60, help="pairs of warm turns")
    parser.add_argument("--new", type=int, default=12, help="pairs of new conversations")
    parser.add_argument("--write", action="store_true", help=f"write {report.PAGE}")
    given = parser.parse_args()
    log.configure("human", "warning")
    text = report.page(asyncio.run(_measure(given.warm, given.new)))
    print(text)
    if given.write:
        report.PAGE.write_text(text)


async def _measure(warm: int, new: int) -> list[Ratio | Figure]:
    return [
        *await latency.measure(warm, new),
        *await stream.measure(5),
        *await revocation.measure(5),
        *await waiting.measure(200),
        *await inbox.measure(5),
    ]


if __name__ == "__main__":
    main()
