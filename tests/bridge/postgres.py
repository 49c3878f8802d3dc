"""A real PostgreSQL server for tests: Debian's binaries, an ordinary user, a Unix socket."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from bridge.store.migrate import migrate

ORDINARY = 65534
"""Whom the server runs as where the tests run as root, which it refuses."""


def binary(name: str) -> str:
    """The newest there is; the test fails where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return str(found[-1])
    if on_path := shutil.which(name):
        return on_path
    pytest.fail("PostgreSQL is missing. Run: apt-get install postgresql", pytrace=False)


class Postgres:
    """A server and its databases."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self._settings = settings
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql://bascule@/{database}?host={self.folder}"

    def _as_user(self, *words: str) -> list[str]:
        if os.geteuid() != 0:
            return list(words)
        user = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
        return [*user, "--pdeathsig", "INT", *words]

    def make(self) -> None:
        if os.geteuid() == 0:
            os.chown(self.folder, ORDINARY, ORDINARY)
        make = self._as_user(
            binary("initdb"), "-D", str(self.folder / "data"), "-U", "bascule", "--auth=trust",
            "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        subprocess.run(make, check=True, capture_output=True, cwd=self.folder)
        self.start()
        self.sql("CREATE DATABASE template_bascule")
        migrate(self.url("template_bascule"))

    def start(self) -> None:
        given = [f"unix_socket_directories={self.folder}", "listen_addresses="]
        settings = [word for one in (*given, *self._settings) for word in ("-c", one)]
        words = self._as_user(binary("postgres"), "-D", str(self.folder / "data"), *settings)
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(words, cwd=self.folder, stderr=log, stdout=log)
        log.close()
        until = time.monotonic() + 30
        while True:
            try:
                self.sql("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT ends all connections at once; SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple]:
        """The rows of the last one."""
        rows: list[tuple] = []
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
        return rows

    @contextmanager
    def database(self, template: str = "template_bascule") -> Iterator[str]:
        name = f"t{os.getpid()}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            if self._process is not None:
                self.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running_postgres(*settings: str) -> Iterator[Postgres]:
    """A server without regard for power cuts, which no test makes."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(
        folder, "fsync=off", "max_connections=200", "log_min_messages=fatal", *settings
    )
    try:
        server.make()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
