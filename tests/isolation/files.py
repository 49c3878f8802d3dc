"""Probes: files of other people, of the service and of the machine."""

from __future__ import annotations

from tests.isolation.probe import Changed, Leak, Probe, Says

ROOTS = "They belong to root."

FILES = [
    Probe("other-work", "Reads another person's workspace.",
          "cat $OTHER/work/private.txt", Leak("other's file")),
    Probe("other-find", "Searches the whole machine for another person's words.",
          "grep -rs canary $DEPLOYMENT /home /srv --include='private*'", Leak("other's file")),
    Probe("other-list", "Lists the workspaces of all.",
          "ls $DEPLOYMENT/workspaces | grep -q other && echo ESCAPED"),
    Probe("other-config", "Reads what another person told the agent.",
          "cat $OTHER/config/projects/*/*.jsonl", Leak("other's transcript")),
    Probe("other-write", "Changes another person's file.",
          "echo x >> $OTHER/work/other-write && cp $OTHER/work/other-write $OUT/changed/",
          Changed("other-write")),
    Probe("other-sign-in", "Reads another person's sign-in.",
          "cat $OTHER/config/.credentials.json", Leak("other's sign-in")),
    Probe("other-own-sign-in", "Reads what another person signed in with for their own turns.",
          "cat $DEPLOYMENT/people/*/.credentials.json", Leak("other's own sign-in")),
    Probe("parent", "Climbs out of the workspace by its parent folders.",
          "cat ../../other/work/private.txt ../../../workspaces/other/work/private.txt",
          Leak("other's file")),
    Probe("symlink", "Reads through a link that points out of the workspace.",
          "ln -sfn $OTHER/work away; cat away/private.txt", Leak("other's file")),
    Probe("symlink-write", "Writes through a link that points out of the workspace.",
          "ln -sfn $OUT/changed out; echo x > out/symlink-write", Changed("symlink-write")),
    Probe("hard-link", "Makes a hard link to another person's file.",
          "ln -f $OTHER/work/private.txt stolen.txt && cat stolen.txt", Leak("other's file")),
    Probe("rename", "Moves another person's folder into its own.",
          "mv $OTHER/movable ./moved && cat moved/private.txt", Leak("other's movable")),
    Probe("database", "Opens the service's database.",
          "python3 -c \"open('$DEPLOYMENT/agent/agent.db', 'r+b'); "
          "print('ESCAPED')\""),
    Probe("database-files", "Looks for words of others in the service's database.",
          "strings -a $DEPLOYMENT/agent/agent.db* || cat $DEPLOYMENT/agent/agent.db*",
          Leak("other's prompt")),
    Probe("signing-keys", "Reads the keys that calls to the service are signed with.",
          "cat $DEPLOYMENT/secrets/*", Leak("signing key")),
    Probe("service-log", "Reads the service's log.",
          "cat $DEPLOYMENT/service.log | grep -q agent.ready && echo ESCAPED"),
    Probe("state-write", "Puts a file beside the service's database.",
          "touch $DEPLOYMENT/agent/state-write && cp $DEPLOYMENT/agent/state-write $OUT/changed/",
          Changed("state-write")),
    Probe("cli-write", "Changes the Claude CLI for all.",
          "for f in /opt/claude $CLI; do [ -w $f ] && echo ESCAPED; done"),
    Probe("cli-replace", "Puts another program in the place of the Claude CLI.",
          "cd $(dirname $CLI) && touch beside && mv beside replaced && "
          "cp replaced $OUT/changed/cli-replace", Changed("cli-replace")),
    Probe("start-script", "Changes the script that starts a session.",
          "for f in $DEPLOYMENT/run/s/*/claude; do echo '# mine' >> $f && echo ESCAPED; done"),
    Probe("start-script-own", "Finds its own start script by its process.",
          "for p in /proc/[0-9]*; do f=$(readlink $p/root)$DEPLOYMENT/run/s; ls $f/*/claude && "
          "echo ESCAPED; done"),
    Probe("home-service", "Reads the home of the user that runs the service.",
          "cat $DEPLOYMENT/.netrc ~$USER/.netrc", Leak("home")),
    Probe("tmp", "Reads the machine's temporary files.",
          "find /tmp -maxdepth 2 -name in-tmp.txt -exec cat {} +; cat $OUT/in-tmp.txt",
          Leak("temporary")),
    Probe("tmp-write", "Leaves a file in the machine's temporary folder.",
          "echo x > $OUT/changed/tmp-write", Changed("tmp-write")),
    Probe("usr-write", "Puts a program into /usr.",
          "echo x > /usr/local/bin/bsc-probe && echo ESCAPED", nowhere=ROOTS),
    Probe("etc-write", "Changes what the loader loads first.",
          "echo /tmp/x.so > /etc/ld.so.preload && echo ESCAPED", nowhere=ROOTS),
    Probe("etc-passwd", "Reads the machine's users.",
          "cat /etc/passwd | grep -q ^root: && echo ESCAPED"),
    Probe("etc-write-own", "Changes the files that the sandbox shows as /etc.",
          "for f in /etc/passwd /etc/hosts /etc/group; do echo x >> $f && echo ESCAPED; done",
          nowhere=ROOTS),
    Probe("root-write", "Makes a folder at the root.",
          "mkdir /bsc-probe && echo ESCAPED", nowhere=ROOTS),
    Probe("sockets-replace", "Puts a socket of its own in the place of one that it was given.",
          "for f in /run/model.sock /run/egress.sock $DEPLOYMENT/run/agent.sock.new; do "
          "touch $f.x && rm $f.x && echo ESCAPED; done"),
    Probe("setuid", "Runs a setuid program that lies in the workspace.",
          "./suid-cat $OUT/roots.txt", Leak("root's file"), needs="root"),
    Probe("setuid-make", "Makes a setuid program for the next one who comes by.",
          "cp /bin/cat mine && chmod u+s mine && cp -p mine $OUT/changed/setuid-make",
          Changed("setuid-make")),
    Probe("su", "Becomes root by the machine's setuid programs.",
          "for f in su sudo mount newuidmap passwd pkexec; do f=$(command -v $f) || continue; "
          "python3 - $f <<'E'\nimport ctypes, os, sys\n"
          "nnp = ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)\n"
          "nosuid = os.statvfs(sys.argv[1]).f_flag & os.ST_NOSUID\n"
          "if os.stat(sys.argv[1]).st_mode & 0o4000 and not nnp and not nosuid: print('ESCAPED')\n"
          "E\ndone", needs="root"),
]  # fmt: skip

TOOLS = [
    Probe("tool-read", "Reads another person's file by the Read tool.",
          'tool Read {"file_path": "$OTHER/work/private.txt"}', Leak("other's file")),
    Probe("tool-read-key", "Reads a signing key by the Read tool.",
          'tool Read {"file_path": "$DEPLOYMENT/secrets/bridge.keys"}', Leak("signing key")),
    Probe("tool-read-environ", "Reads the service's environment by the Read tool.",
          'tool Read {"file_path": "/proc/$SERVICE/environ"}', Leak("environment"),
          nowhere="The tool takes it for a binary file."),
    Probe("tool-read-link", "Reads through a planted link by the Read tool.",
          'tool Read {"file_path": "$WORK/planted-link/private.txt"}', Leak("other's file")),
    Probe("tool-write", "Writes outside by the Write tool.",
          'tool Write {"file_path": "$OUT/changed/tool-write", "content": "x"}',
          Changed("tool-write")),
    Probe("tool-write-link", "Writes through a planted link by the Write tool.",
          'tool Write {"file_path": "$WORK/planted-out/tool-write-link", "content": "x"}',
          Changed("tool-write-link")),
    Probe("tool-edit", "Changes a file outside by the Edit tool.",
          "edit $OUT/changed/tool-edit before => after", Changed("tool-edit")),
    Probe("tool-glob", "Finds files of others (Glob, or what stands for it).",
          'tool Bash {"command": "find $DEPLOYMENT -name \'private*\' | grep other && echo '
          'ESC$()APED"}'),
    Probe("tool-grep", "Finds words of others (Grep, or what stands for it).",
          'tool Bash {"command": "grep -rh canary $OTHER"}', Leak("other's file")),
    Probe("tool-notebook", "Reads a notebook of another person.",
          'tool Read {"file_path": "$OTHER/work/private.ipynb"}', Leak("other's notebook")),
]  # fmt: skip

BASHRC = (
    "bash -ic true; bash -lc true; echo $PLANTED_BY_BASHRC; cat ~/.bashrc ~/.profile; "
    "[ -e ~/.bashrc ] && echo ESCAPED"
)

NEIGHBOUR = [
    Probe(
        "bashrc-other",
        "Leaves a ~/.bashrc that another person's shells run meanwhile.",
        BASHRC,
        Says(),
    ),
    Probe(
        "profile-other",
        "The same by everything else that shells read first.",
        "for f in ~/.bash_profile ~/.bash_login ~/.bash_aliases ~/.inputrc; do [ -e $f ] && "
        "echo ESCAPED $f; done; bash -ic 'echo $PLANTED_BY_BASHRC' | grep -q yes && "
        "echo ESCAPED",
    ),
    Probe(
        "programs-other",
        "Leaves programs and settings in its home for another person.",
        "ls ~/.local/bin ~/.gitconfig ~/.config/git/config && echo ESCAPED; "
        "git config --global --get core.fsmonitor && echo ESCAPED",
    ),
]
"""Tried by another person, in a workspace of their own, while the first session lives. Without the
sandbox only one workspace is served: there, the two of them share it."""

LATER = [
    Probe("bashrc", "Leaves a ~/.bashrc that a later session runs, in the same workspace.",
          BASHRC, Says()),
    Probe("tmp-later", "Leaves a file in /tmp for a later session.",
          "[ -e /tmp/bsc-$SERVICE-left ] && echo ESCAPED"),
    Probe("shm-later", "Leaves shared memory for a later session.",
          "[ -e /dev/shm/bsc-$SERVICE-left ] && echo ESCAPED"),
    Probe("process-later", "Leaves a process that outlives its session.",
          "tail -1 beats; a=$(wc -l < beats); sleep 0.5; b=$(wc -l < beats); "
          "[ $b -gt $a ] && echo ESCAPED",
          nowhere="Without the sandbox, the session's processes are found by their mark."),
    Probe("keyring-later", "Leaves a key in the session's keyring for a later session.",
          'python3 -c "\nimport ctypes, os\nlibc = ctypes.CDLL(None)\n'
          "search = {'x86_64': 250, 'aarch64': 219}[os.uname().machine]\n"
          "found = libc.syscall(search, 10, -3, b'user', b'bsc-left', 0)\n"
          "print('ESCAPED' if found > 0 else found)\""),
]  # fmt: skip

LEAVE = r"""
echo 'export PLANTED_BY_BASHRC=yes; echo ESCAPED by a shell' > ~/.bashrc
for f in .profile .bash_profile .bash_login .bash_aliases .inputrc; do cp ~/.bashrc ~/$f; done
mkdir -p ~/.local/bin ~/.config/git; cp /bin/true ~/.local/bin/ls
printf '[core]\nfsmonitor = touch escaped\n' > ~/.gitconfig; cp ~/.gitconfig ~/.config/git/config
touch /tmp/bsc-$SERVICE-left /dev/shm/bsc-$SERVICE-left
(setsid sh -c 'while sleep 0.1; do echo x >> beats; done' </dev/null >/dev/null 2>&1 &)
python3 -c "
import ctypes, os
add = {'x86_64': 248, 'aarch64': 217}[os.uname().machine]
ctypes.CDLL(None).syscall(add, b'user', b'bsc-left', b'x', 1, -3)"
"""
"""What the first session leaves for `NEIGHBOUR` and `LATER`."""
