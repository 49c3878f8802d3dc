"""The supervisor with small programs of its own: starting, dying, stopping."""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from bridge.home import HomeLock, HomeUnusable, prepare
from bridge.supervisor import Program, StartFailed, Supervisor

PROGRAM = """
import os, pathlib, signal, socket, sys, time
diary = pathlib.Path(sys.argv[1])
with diary.open("a") as file:
    file.write("started\\n")
starts = diary.read_text().count("started")
def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"STATUS=fine\\nREADY=1", os.environ["NOTIFY_SOCKET"])
exec(sys.argv[2])
while True:
    time.sleep(60)
"""


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    (path / "program.py").write_text(PROGRAM)
    yield path
    shutil.rmtree(path)


def program(folder: Path, does: str, name: str = "clock") -> Program:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
    return Program(name, "program", environment, (str(folder / f"{name}.diary"), does))


def starts(folder: Path, name: str = "clock") -> int:
    return (folder / f"{name}.diary").read_text().count("started")


async def until(check) -> None:
    async with asyncio.timeout(30):
        while not check():
            await asyncio.sleep(0.01)


async def test_programs_start_in_order(folder):
    """The second starts only once the first says that it is ready."""
    first = program(folder, "time.sleep(0.3); ready()", "first")
    asks = f"assert pathlib.Path({str(folder / 'first.diary')!r}).exists(); ready()"
    supervisor = Supervisor([first, program(folder, asks, "second")], folder)
    await supervisor.start()
    assert list(supervisor.pids()) == ["first", "second"]
    await supervisor.stop()
    assert supervisor.pids() == {}


async def test_one_that_dies_comes_back(folder):
    """However it dies, it is started again, with a growing pause."""
    supervisor = Supervisor([program(folder, "ready()")], folder)
    await supervisor.start()
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = starts(folder)
        os.kill(supervisor.pids()["clock"], number)
        await until(lambda before=before: starts(folder) > before)
    await supervisor.stop()


async def test_one_that_cannot_start_ends_the_start(folder):
    """Exit code 2 before it was ever ready: no second try, and the others are stopped."""
    programs = [program(folder, "ready()", "first"), program(folder, "sys.exit(2)", "second")]
    supervisor = Supervisor(programs, folder)
    with pytest.raises(StartFailed) as failed:
        await supervisor.start()
    assert failed.value.code == 2
    assert "second" in str(failed.value)
    assert supervisor.pids() == {}
    assert starts(folder, "second") == 1


async def test_one_that_ran_before_is_tried_again_even_then(folder):
    """A full disk or a lost network passes: what ran once is not given up."""
    does = "starts == 2 and sys.exit(2); ready()"
    supervisor = Supervisor([program(folder, does)], folder)
    await supervisor.start()
    os.kill(supervisor.pids()["clock"], signal.SIGKILL)
    await until(lambda: starts(folder) == 3)
    await supervisor.stop()


async def test_one_that_fails_at_first_is_tried_again(folder):
    """Any other exit code may pass by itself."""
    supervisor = Supervisor([program(folder, "starts < 2 and sys.exit(1); ready()")], folder)
    await supervisor.start()
    assert starts(folder) == 2
    await supervisor.stop()


async def test_one_that_does_not_listen_is_killed(folder):
    """A program that ignores SIGTERM does not keep the stop from ending."""
    does = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready()"
    supervisor = Supervisor([program(folder, does)], folder)
    await supervisor.start()
    pid = supervisor.pids()["clock"]
    await supervisor.stop()
    assert not psutil.pid_exists(pid)


async def test_the_lock_stays_until_the_last_program_is_gone(folder):
    """A new `up` cannot meet what an earlier one left running."""
    prepare(folder / "home")
    lock = HomeLock(folder / "home")
    assert lock.take()
    supervisor = Supervisor([program(folder, "ready()")], folder, keep_open=(lock.fd,))
    await supervisor.start()
    lock.drop()
    other = HomeLock(folder / "home")
    assert not other.take()
    await supervisor.stop()
    assert other.take()
    other.drop()


def test_a_home_is_made_once_and_for_its_owner_only(folder):
    """Folders and keys are made with closed modes, and a second time nothing changes."""
    home = folder / "home"
    prepare(home)
    keys = (home / "secrets" / "bridge.keys").read_text()
    prepare(home)
    assert (home / "secrets" / "bridge.keys").read_text() == keys
    assert len(keys.strip()) >= 32
    for path in (home, *home.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    ("path", "told"), [("/proc/nowhere/home", "cannot be used"), ("/tmp/" + "x" * 99, "too long")]
)
def test_a_home_that_cannot_be_is_explained(path, told):
    """What is wrong with it stands in the error, with what to do."""
    with pytest.raises(HomeUnusable, match=told):
        prepare(Path(path))


def test_a_home_that_others_may_write_is_refused(folder):
    """Who can write in the home could become the operator."""
    home = folder / "home"
    prepare(home)
    home.chmod(0o777)
    with pytest.raises(HomeUnusable, match="chmod go-w"):
        prepare(home)
