"""A process of the same user that is none of the agent's business, and has something to steal.

python -m tests.isolation.bystander FOLDER ARGUMENT: it reads {name: secret} from its input, writes
where everything is to its output, and ends when its input does.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)
IPC_CREAT, IPC_RMID = 0o1000, 0
ADD_KEY = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
KEYCTL, SETPERM = ADD_KEY + 2, 5
USER_KEYRING = -4


def greet(listening: socket.socket, secret: str) -> None:
    """Tell the secret to everyone who connects."""

    def serve() -> None:
        while True:
            with listening.accept()[0] as peer:
                peer.sendall(secret.encode() + b"\n")

    threading.Thread(target=serve, daemon=True).start()


def listener(family: int, address: Any, secret: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind(address)
    made.listen(32)
    greet(made, secret)
    return made


def main() -> None:
    folder = Path(sys.argv[1])
    secrets: dict[str, str] = json.loads(sys.stdin.readline())
    LIBC.prctl(PR_SET_PTRACER, ANY, 0, 0, 0)  # where Yama would protect it
    os.chdir(folder / "cwd")

    tcp = listener(socket.AF_INET, ("127.0.0.1", 0), secrets["tcp"])
    abstract = "bsc-" + secrets["abstract name"]
    kept = [tcp, listener(socket.AF_UNIX, "\0" + abstract, secrets["abstract"])]
    kept.append(listener(socket.AF_UNIX, str(folder / "by.sock"), secrets["socket"]))

    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            udp.sendto(secrets["udp"].encode(), udp.recvfrom(2048)[1])

    threading.Thread(target=answer, daemon=True).start()

    deleted = folder / "deleted"
    deleted.write_text(secrets["descriptor"])
    handle = deleted.open()
    deleted.unlink()

    mapped = folder / ("mapped-" + secrets["maps"])
    mapped.write_bytes(b"\0" * 4096)
    with mapped.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 4096)

    key = 0x42000000 | (os.getpid() & 0xFFFFFF)
    shm = LIBC.shmget(key, 4096, IPC_CREAT | 0o600)
    ctypes.memmove(LIBC.shmat(shm, None, 0), secrets["sysv"].encode(), len(secrets["sysv"]))
    queue = LIBC.msgget(key, IPC_CREAT | 0o600)
    text = secrets["queue"].encode()
    LIBC.msgsnd(queue, ctypes.c_long(1).value.to_bytes(8, "little") + text, len(text), 0)
    posix = Path("/dev/shm", f"bsc-{os.getpid()}")
    posix.write_text(secrets["shm"])
    secret = secrets["key"].encode()
    made = LIBC.syscall(ADD_KEY, b"user", b"bsc-bystander", secret, len(secret), USER_KEYRING)
    LIBC.syscall(KEYCTL, SETPERM, made, 0x3F3F0000)  # for all that its user runs

    def signalled(_number: int, _frame: object) -> None:
        (folder / "changed" / "signal").write_text("signalled")

    signal.signal(signal.SIGUSR1, signalled)
    in_memory = secrets["memory"]
    print(
        json.dumps(
            {
                "pid": os.getpid(), "tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1],
                "abstract": abstract, "key": key, "shm": str(posix),
            }
        ),
        flush=True,
    )  # fmt: skip
    sys.stdin.read()
    LIBC.shmctl(shm, IPC_RMID, None)
    LIBC.msgctl(queue, IPC_RMID, None)
    posix.unlink()
    del kept, handle, mapping, in_memory


if __name__ == "__main__":
    main()
