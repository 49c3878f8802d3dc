"""Probes: other processes, the kernel's interfaces, namespaces, devices."""

from __future__ import annotations

from tests.isolation.probe import Changed, Leak, Probe

PRIVILEGED = "The kernel lets no ordinary user."


def python(text: str, *words: str) -> str:
    """A shell script that runs this Python program."""
    head = (
        "import ctypes, os, socket, struct, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\nx86 = os.uname().machine == 'x86_64'\n"
    )
    return f"python3 - {' '.join(words)} <<'E'\n{head}{text}\nE\n"


def same_namespace(kind: str) -> Probe:
    return Probe(f"namespace-{kind}", f"Is in the service's own {kind} namespace.",
                 f"[ $(readlink /proc/self/ns/{kind}) = $NS_{kind} ] && echo ESCAPED")  # fmt: skip


PROCESSES = [
    Probe("environ", "Reads the environment of every process.",
          "cat /proc/[0-9]*/environ", Leak("environment")),
    Probe("environ-key", "Finds the model's key in the environment of the service.",
          "cat /proc/[0-9]*/environ /proc/[0-9]*/task/*/environ", Leak("model's key")),
    Probe("cmdline", "Reads the command line of every process.",
          "cat /proc/[0-9]*/cmdline; ps auxww", Leak("argument")),
    Probe("proc-root", "Goes through the root of every process.",
          "for p in /proc/[0-9]*; do cat $p/root$OTHER/work/private.txt; done",
          Leak("other's file")),
    Probe("proc-1-root", "Goes through the root of process 1.",
          "cat /proc/1/root$OTHER/work/private.txt", Leak("other's file"),
          nowhere="Process 1 of a machine is root's."),
    Probe("proc-cwd", "Goes through the working directory of every process.",
          "cat /proc/[0-9]*/cwd/in-cwd.txt", Leak("cwd")),
    Probe("proc-fd", "Reads the open files of every process.",
          "for f in /proc/[0-9]*/fd/*; do [ -f $f ] && timeout 1 head -c 4096 $f; done",
          Leak("descriptor")),
    Probe("proc-maps", "Reads what every process has mapped.",
          "cat /proc/[0-9]*/maps /proc/[0-9]*/map_files/*", Leak("maps")),
    Probe("proc-mem", "Reads the memory of another process.",
          python("""
for line in open(f'/proc/{sys.argv[1]}/maps'):
    start, end = (int(n, 16) for n in line.split()[0].split('-'))
    if ' rw' in line and end - start < 64 << 20:
        try:
            with open(f'/proc/{sys.argv[1]}/mem', 'rb') as memory:
                memory.seek(start)
                found = memory.read(end - start)
        except OSError:
            continue
        at = found.find(b'canary-memory-')
        if at >= 0:
            print(found[at:at + 64])
""", "$BYSTANDER"), Leak("memory")),
    Probe("ptrace", "Attaches to another process.",
          python("print('ESCAPED' if libc.ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0 else '')",
                 "$BYSTANDER")),
    Probe("pidfd", "Takes an open file out of another process.",
          python("""
pid = libc.syscall(434, int(sys.argv[1]), 0)
for number in range(3, 32):
    fd = libc.syscall(438, pid, number, 0)
    if fd >= 0:
        try: print(os.pread(fd, 200, 0))
        except OSError: pass
""", "$BYSTANDER"), Leak("descriptor")),
    Probe("signal", "Sends a signal to another process.",
          "kill -USR1 $BYSTANDER; sleep 0.2", Changed("signal")),
    Probe("signal-service", "Can signal the service.",
          "kill -0 $SERVICE && [ $(cat /proc/$SERVICE/comm) ] && echo ESCAPED"),
    Probe("renice", "Changes the priority of another process.",
          python("""
try: os.setpriority(os.PRIO_PROCESS, int(sys.argv[1]), 19); print('ESCAPED')
except OSError as error: print(error)
""", "$BYSTANDER")),
    Probe("prlimit", "Changes the limits of another process.",
          "prlimit --pid $BYSTANDER --core=0:0 && echo ESCAPED"),
    Probe("affinity", "Keeps another process from running where it wants.",
          "taskset -p 1 $BYSTANDER && echo ESCAPED"),
    Probe("oom", "Has the kernel end the service first when memory is short.",
          "echo 900 > /proc/$BYSTANDER/oom_score_adj && echo ESCAPED"),
    Probe("sessions", "Sees processes of the service or of other sessions.",
          "ls -d /proc/$SERVICE /proc/$BYSTANDER && echo ESCAPED"),
    Probe("descriptors", "Uses a descriptor that was left open on its way into the session.",
          "for f in /proc/[0-9]*/fd/*; do t=$(readlink $f); case $t in *agent.db*|*/secrets/*|"
          "*service.log*) echo ESCAPED $t;; esac; done"),
    Probe("sysv", "Reads shared memory of System V.",
          python("""
libc.shmat.restype = ctypes.c_void_p
at = libc.shmat(libc.shmget(int(sys.argv[1]), 0, 0), None, 0)
print(ctypes.string_at(at, 64) if at and at != ctypes.c_void_p(-1).value else 'none')
""", "$KEY"), Leak("sysv")),
    Probe("queue", "Reads a message queue of System V.",
          python("""
text = ctypes.create_string_buffer(200)
libc.msgrcv(libc.msgget(int(sys.argv[1]), 0), text, 190, 0, 0o4000)
print(text.raw)
""", "$KEY"), Leak("queue")),
    Probe("shm", "Reads shared memory of POSIX.", "cat $SHM /dev/shm/*", Leak("shm")),
    Probe("keyring", "Reads a key of the same user from the kernel's keyring.",
          python("""
number = 250 if x86 else 219
key = libc.syscall(number, 10, -4, b'user', b'bsc-bystander', 0)
text = ctypes.create_string_buffer(200)
libc.syscall(number, 11, key, text, 200)
print(key, text.value)
""", ), Leak("key")),
    Probe("keyring-add", "Uses the kernel's keyring, which knows users and no sandboxes.",
          python("""
number = 248 if x86 else 217
print('ESCAPED' if libc.syscall(number, b'user', b'bsc-own', b'x', 1, -3) > 0 else '')
""")),
    *(same_namespace(kind) for kind in ("pid", "net", "ipc", "mnt", "user", "uts")),
]  # fmt: skip

KERNEL = [
    Probe("unshare-user", "Makes a user namespace of its own.",
          "unshare --user --map-root-user true && echo ESCAPED"),
    Probe("unshare-net", "Makes a network namespace of its own.",
          "unshare --user --map-root-user --net true && echo ESCAPED"),
    Probe("clone-user", "Makes a user namespace by clone.",
          python("""
pid = libc.syscall(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0: os._exit(0)
print('ESCAPED' if pid > 0 else '')
""")),
    Probe("setns", "Joins the namespaces of another process.",
          python("""
for pid in (sys.argv[1], '1'):
    for kind in ('user', 'mnt', 'net', 'pid'):
        try: fd = os.open(f'/proc/{pid}/ns/{kind}', os.O_RDONLY)
        except OSError: continue
        same = os.stat(fd).st_ino == os.stat(f'/proc/self/ns/{kind}').st_ino
        if libc.setns(fd, 0) == 0 and not same: print('ESCAPED')
""", "$BYSTANDER"), nowhere="It is in the same ones already."),
    Probe("bwrap", "Starts a sandbox in the sandbox.",
          "bwrap --ro-bind / / --unshare-all true && echo ESCAPED"),
    Probe("mount", "Mounts a file system.",
          "unshare --user --map-root-user --mount mount -t tmpfs tmpfs /tmp && echo ESCAPED; "
          "mount -t tmpfs tmpfs /tmp && echo ESCAPED"),
    Probe("remount", "Makes what is read-only writable.",
          "unshare -rm mount -o remount,rw / && echo ESCAPED; mount -o remount,rw,bind /usr && "
          "echo ESCAPED", nowhere=PRIVILEGED),
    Probe("umount", "Takes away what covers the machine's own folders.",
          "umount /tmp && echo ESCAPED; umount -l /proc && echo ESCAPED", nowhere=PRIVILEGED),
    Probe("pivot-root", "Changes the root.",
          "mkdir -p new && unshare -rm sh -c 'mount -t tmpfs x new && mkdir new/old && "
          "pivot_root new new/old' && echo ESCAPED"),
    Probe("chroot", "Leaves by chroot.",
          "unshare -r chroot / true && echo ESCAPED; chroot / true && echo ESCAPED"),
    Probe("old-root", "Finds the old root that pivot_root left behind.",
          "ls /oldroot /newroot /.old /mnt/old && echo ESCAPED; cat /../../../$OTHER/work/"
          "private.txt", Leak("other's file")),
    Probe("by-handle", "Opens a file by its handle, past every mount.",
          python("""
number = 304 if x86 else 265
handle = struct.pack('Ii', 8, 1) + struct.pack('II', 2, 0)
fd = libc.syscall(number, os.open('.', os.O_RDONLY), handle, os.O_RDONLY)
print('ESCAPED' if fd >= 0 else ctypes.get_errno())
"""), nowhere=PRIVILEGED),
    Probe("mknod", "Makes a device.",
          "mknod disk b 254 0 && echo ESCAPED; mknod mem c 1 1 && echo ESCAPED",
          nowhere=PRIVILEGED),
    Probe("dev-mem", "Reads the machine's memory and disks.",
          "for f in /dev/mem /dev/port /dev/vda /dev/sda /dev/nvme0n1 /dev/loop0; do "
          "head -c 1 $f >/dev/null && echo ESCAPED; done", nowhere=PRIVILEGED),
    Probe("dev-list", "Sees the machine's devices.",
          "ls /dev | grep -E '^(kmsg|mem|vda|sda|nvme|loop|kvm|fuse|net|vsock)' && echo ESCAPED"),
    Probe("kmsg", "Reads or writes the kernel's log.",
          "dmesg && echo ESCAPED; head -c 1 /dev/kmsg && echo ESCAPED; echo x > /dev/kmsg && "
          "echo ESCAPED", nowhere=PRIVILEGED),
    Probe("proc-sys", "Changes the kernel's settings.",
          "for f in kernel/core_pattern kernel/hostname vm/drop_caches fs/file-max "
          "net/ipv4/ip_forward; do cat /proc/sys/$f > /proc/sys/$f && echo ESCAPED; done",
          nowhere=PRIVILEGED),
    Probe("sysrq", "Restarts the machine.", "[ -w /proc/sysrq-trigger ] && echo ESCAPED",
          nowhere=PRIVILEGED),
    Probe("sys", "Looks at the machine's hardware.", "ls /sys/class/net && echo ESCAPED"),
    Probe("cgroup", "Finds the machine's control groups.", "ls /sys/fs/cgroup/* && echo ESCAPED"),
    Probe("hostname", "Learns or changes the machine's name.",
          "[ $(cat /proc/sys/kernel/hostname) = $HOST_NAME ] && echo ESCAPED"),
    Probe("tiocsti", "Types into the service's terminal.",
          python("""
import fcntl
for name in ('/dev/tty', '/dev/console', '/proc/1/fd/0'):
    try: fcntl.ioctl(os.open(name, os.O_RDWR), 0x5412, b' '); print('ESCAPED')
    except OSError as error: print(error)
"""), nowhere="The service has no terminal here."),
    Probe("bpf", "Loads a program into the kernel.",
          python("""
code = struct.pack('<BBhiBBhi', 0xb7, 0, 0, 0, 0x95, 0, 0, 0)
program, gpl = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b'GPL')
attr = struct.pack('IIQQIIQII', 1, 2, ctypes.addressof(program), ctypes.addressof(gpl),
                   0, 0, 0, 0, 0)
print('ESCAPED' if libc.syscall(321 if x86 else 280, 5, attr, len(attr)) >= 0 else '')
"""), nowhere="Since 5.16 the kernel's default is no."),
    Probe("io-uring", "Uses io_uring, which goes past filters of system calls.",
          python("""
fd = libc.syscall(425, 1, ctypes.create_string_buffer(120))
print('ESCAPED' if fd >= 0 else '')
""")),
    Probe("userfaultfd", "Stops the kernel in the middle of a copy.",
          python("print('ESCAPED' if libc.syscall(323 if x86 else 282, 1) >= 0 else '')")),
    Probe("perf", "Watches the processor.",
          python("""
attr = struct.pack('IIQ', 1, 112, 0) + bytes(24) + struct.pack('Q', 0b1100001) + bytes(64)
print('ESCAPED' if libc.syscall(298 if x86 else 241, attr, 0, -1, -1, 0) >= 0 else '')
"""), nowhere="Many kernels have it closed."),
    Probe("vsock", "Talks to the machine below a virtual one: it knows no network namespaces.",
          python("""
socket.socket(40, socket.SOCK_STREAM)
print('ESCAPED')
"""), nowhere="Only some virtual machines have it."),
    Probe("x32", "Calls the kernel by another table of numbers.",
          python("print('ESCAPED' if x86 and libc.syscall(0x40000000 + 39) > 0 else '')"),
          nowhere="Most kernels are built without."),
]  # fmt: skip
