"""The box a session runs in: the whole CLI under bubblewrap.

What is writable in it: this workspace, this session's config directory, and temporary file systems
that vanish with it. The only ways out are Unix sockets that this service listens on. The CLI's own
commands about a sign-in run in one that has no workspace.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent_service.sandbox.calls import filter_program
from agent_service.sandbox.launch import with_the_service
from agent_service.sandbox.limits import HEADROOM, MIB, Limits

MODEL_SOCKET = "/run/model.sock"
"""The way to the broker. The CLI speaks to it without anything in between, which costs nothing."""
EGRESS_SOCKET = "/run/egress.sock"
EGRESS_PORT = 9201
"""Where the box's own loopback leads to the egress proxy: programs know no proxy on a socket."""
HOME = "/home/agent"
CLI = "/opt/claude"
TEMPORARY = {"/tmp": 1, HOME: 4, "/dev/shm": 4}  # noqa: S108 - the box's own
"""File systems in memory, and the part of the limit that each may take."""
_SHELLS = "/etc/limits.sh"
"""What every shell in the box reads first."""
_FILTER = 9
"""The descriptor by which bubblewrap gets the filter of system calls."""

_SYSTEM = (
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
)
_USERS = "agent:x:{uid}:{gid}::{home}:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
_GROUP = "agent:x:{gid}:\nnogroup:x:65534:\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class Box:
    """One session's box. `folder` is the session's own and holds its script and sockets."""

    folder: Path
    cli: Path
    work: Path
    config: Path
    model_socket: Path | None
    """None where the CLI is to reach the provider by itself."""
    egress_socket: Path | None
    uid: int
    gid: int
    limits: Limits
    group: Path | None = None
    """The `cgroup.procs` of a control group that it is to be in."""
    inside: Mapping[Path, Path] = field(default_factory=dict)
    """Folders that are shown, writable, in place of those of `config`: there, from where."""
    blank: tuple[Path, ...] = ()
    """Files that are empty in it and stay so, whatever lies there."""
    readable: tuple[Path, ...] = ()
    """Files that it can read besides."""

    @property
    def script(self) -> Path:
        """What the SDK starts as its CLI."""
        return self.folder / "claude"

    @property
    def pid_file(self) -> Path:
        """Written by the script: the process whose end is the end of everything in the box."""
        return self.folder / "pid"

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the CLI; `own` comes first."""
        found = {
            **own,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": HOME,
            "USER": "agent",
            "SHELL": "/bin/bash",
            "TMPDIR": "/tmp",  # noqa: S108 - the box's own
            "CLAUDE_CONFIG_DIR": str(self.config),
        }
        if self.model_socket is not None:
            found["ANTHROPIC_UNIX_SOCKET"] = MODEL_SOCKET
            found["ANTHROPIC_BASE_URL"] = "http://model"
        if self.egress_socket is not None:
            proxy = f"http://127.0.0.1:{EGRESS_PORT}"
            found |= dict.fromkeys(
                ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), proxy
            )
            found |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        return found

    def write(self, allowed_names: Iterable[str]) -> Path:
        """Write the script and the files that the box shows as its own /etc; gives the script.

        Of the environment that it is started with, only
        `allowed_names` reach bubblewrap: its own would stay readable in the box as that of PID 1.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in (("passwd", _USERS), ("group", _GROUP), ("hosts", _HOSTS)):
            made = text.format(uid=self.uid, gid=self.gid, home=HOME)
            (self.folder / name).write_text(made)
        (self.folder / "limits").write_text(f"ulimit -Su {self.limits.processes} 2>/dev/null\n")
        (self.folder / "calls").write_bytes(filter_program())
        (self.folder / "blank").touch()
        keep = "|".join(shlex.quote(name) for name in allowed_names)
        grouped = "" if self.group is None else f"echo $$ > {shlex.quote(str(self.group))}"
        self.script.write_text(
            # What is not counted must not run.
            f"#!/bin/bash\n{grouped and grouped + ' || exit 1'}\n"
            f"echo $$ > {shlex.quote(str(self.pid_file))}\n"
            f'for name in $(compgen -e); do case "$name" in {keep}) ;; *) unset "$name" ;; '
            "esac; done\n"
            f"{self.limits.shell()}\n"
            # Where the machine runs out of memory, a session goes before the service.
            "echo 500 > /proc/self/oom_score_adj\n"
            f"exec {_FILTER}< {shlex.quote(str(self.folder / 'calls'))}\n"
            f'exec {shlex.join(self._command())} "$@"\n'
        )
        self.script.chmod(0o700)
        return self.script

    def _command(self) -> list[str]:
        words = [*with_the_service("--no-new-privs"), "nice", "-n", "5", "bwrap"]
        words += ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
        words += ["--new-session", "--cap-drop", "ALL", "--hostname", "agent"]
        words += ["--seccomp", str(_FILTER)]
        words += ["--ro-bind", "/usr", "/usr"]
        for name in ("bin", "lib", "lib32", "lib64", "sbin"):
            if Path("/usr", name).exists():
                words += ["--symlink", f"usr/{name}", f"/{name}"]
        for path in _SYSTEM:
            words += ["--ro-bind-try", path, path]
        for name in ("passwd", "group", "hosts"):
            words += ["--ro-bind", str(self.folder / name), f"/etc/{name}"]
        words += [
            "--ro-bind",
            str(self.folder / "limits"),
            _SHELLS,
            "--setenv",
            "BASH_ENV",
            _SHELLS,
        ]
        words += ["--proc", "/proc", "--dev", "/dev"]
        for path, part in TEMPORARY.items():
            # Without sizes, files in memory would be counted by nobody.
            words += ["--size", str(self.limits.temporary * MIB // part), "--tmpfs", path]
        words += ["--ro-bind", str(self.cli), CLI]
        for file in self.readable:
            words += ["--ro-bind", str(file), str(file)]
        for folder in dict.fromkeys((self.work, self.config)):
            words += ["--bind", str(folder), str(folder)]
        for place, source in self.inside.items():
            words += ["--bind", str(source), str(place)]
        for place in self.blank:
            words += ["--ro-bind", str(self.folder / "blank"), str(place)]
        inside = ""
        if self.model_socket is not None:
            words += ["--bind", str(self.model_socket), MODEL_SOCKET]
        if self.egress_socket is not None:
            words += ["--bind", str(self.egress_socket), EGRESS_SOCKET]
            inside = (
                f"socat TCP-LISTEN:{EGRESS_PORT},bind=127.0.0.1,fork,reuseaddr "
                f"UNIX-CONNECT:{EGRESS_SOCKET} </dev/null >/dev/null 2>&1 & "
            )
        words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(self.work), "--"]
        # Processes are limited from in here: counted in the box's own user namespace, so that one
        # session does not take those of another. The CLI's shells have less than it has itself:
        # where they take all, it would crash, and nobody would know why.
        most = self.limits.processes + HEADROOM
        limited = f'ulimit -u {most}; {inside}exec {CLI} "$@"'
        return [*words, "/bin/bash", "-c", limited, "bash"]
