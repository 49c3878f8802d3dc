"""Everything an agent may try to escape, in the sandbox and without it."""

from __future__ import annotations

import shutil

import pytest

from tests.isolation import traces
from tests.isolation.ordinary import IS_ROOT, REPOSITORY
from tests.isolation.probe import Probe
from tests.isolation.signed_in import ON_SIGN_IN
from tests.isolation.test_bombs import ENDED
from tests.isolation.test_planted import MARKS, WORDS
from tests.isolation.test_search_tools import SEARCHES
from tests.isolation.world import KEPT, PROBES, World, address

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),  # the first test of a world waits until all its probes were tried
]
BITING = [probe for probe in PROBES if not probe.nowhere]
HERE = {"": True, "root": IS_ROOT, "network": bool(address())}


def test_there_are_many() -> None:
    """The table has at least sixty rows, each with a name of its own."""
    assert len({probe.name for probe in PROBES}) == len(PROBES) >= 60


def test_the_documentation_counts_them() -> None:
    """docs/security.md says how many there are of each kind, and how many have no counterpart."""
    page = (REPOSITORY / "docs" / "security.md").read_text()
    needing = [probe.needs for probe in BITING]
    assert (needing.count("root"), needing.count("network")) == (2, 5)
    for counted in (
        f"**{len(PROBES)} escapes**",
        f"{len(BITING)} of them are shown to succeed without it",
        f"of the other {len(PROBES) - len(BITING)} each says",
        f"The {sum(map(len, ON_SIGN_IN.values()))} that are about the box",
        f"**{len(SEARCHES)} searches**",
        f"**{len(MARKS) + len(WORDS)} things planted or said**",
        f"**{len(ENDED)} bombs and fillers**",
    ):
        assert counted in page, counted


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_it_fails_in_the_sandbox(sandboxed: World, probe: Probe) -> None:
    """No attempt succeeds in the sandbox, nor shows any secret by the way."""
    output = sandboxed.output[probe.name]
    assert not sandboxed.succeeded(probe), output[-2000:]
    assert sandboxed.leaked(output) == [], output[-2000:]


@pytest.mark.parametrize("probe", BITING, ids=lambda probe: probe.name)
def test_it_succeeds_without(unprotected: World, probe: Probe) -> None:
    """Without the sandbox the same attempt succeeds: so it really probes."""
    if not HERE[probe.needs]:
        pytest.skip(f"It needs {probe.needs}.")
    assert unprotected.succeeded(probe), unprotected.output[probe.name][-2000:]


def test_no_secret_is_written_down(sandboxed: World) -> None:
    """After all that, nothing of the deployment holds a secret of the service's, of another
    person's or of the bystander's, nor a session's token, but the places that are for it: no log
    line, event, database, transcript, start script or core file, and nothing in anybody else's
    workspace or in people's directories."""
    texts = sandboxed.texts()
    for needed in ("service.log", "agent/agent.db-wal", "/people/", "/workspaces/other/"):
        assert any(needed in place for place in texts), needed
    assert any("/run/s/" in place and place.endswith("/claude") for place in texts)
    tokens = {
        "an old token": sandboxed.old_token,
        "another session's token": sandboxed.others_token,
    }
    found = traces.traces(texts, {**sandboxed.secrets, **tokens})
    assert traces.unexplained(found, KEPT) == set()
    assert traces.idle(found, KEPT) == []
    assert traces.cores([*sandboxed.home.rglob("*"), *sandboxed.out.rglob("*")]) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_dead_sessions_socket_is_gone(sandboxed: World) -> None:
    """What a session had to reach the model by ends with it."""
    agent = sandboxed.agent
    await agent.allow_all("run true; true", conversation="c-gone")
    before = set(agent.home.glob("run/s/*/model.sock"))
    await agent.caller.call("POST", "/v1/conversations/c-gone/close")
    assert len(before - set(agent.home.glob("run/s/*/model.sock"))) == 1


WORK = {
    "python": ("python3 -c 'import json, ssl, sqlite3; print(json.dumps({1: 2}))'", '{"1": 2}'),
    "git": (
        """git init -q repo && cd repo && echo x > x && git add x
git -c user.name=x -c user.email=x@y commit -qm first && git status --short && git log | cat""",
        "first",
    ),
    "files": ("mkdir -p a/b && seq 1000 > a/b/c && wc -l a/b/c && rm -r a", "1000 a/b/c"),
    "temporary": ("f=$(mktemp) && echo fine > $f && cat $f && echo x > ~/x && ls ~/x", "fine"),
    "output": ("seq 20000 | tail -1; head -c 100000 /dev/zero | tr '\\0' x | wc -c", "100000"),
    "processes": ("for n in $(seq 30); do (sleep 0.1; echo $n) & done | wc -l", "30"),
    "threads": (
        """python3 -c '
import concurrent.futures as f
print(sum(f.ThreadPoolExecutor(8).map(int, range(9))))'""",
        "36",
    ),
    "multiprocessing": (
        """python3 -c '
import multiprocessing as m
print(m.Pool(2).map(abs, [-7]))'""",
        "[7]",
    ),
    "loopback": (
        """python3 -m http.server 8123 --bind 127.0.0.1 >/dev/null 2>&1 & sleep 1
curl -s -o /dev/null -w 'code %{http_code}' http://127.0.0.1:8123/; kill %1""",
        "code 200",
    ),
}
if shutil.which("cc"):
    WORK["compiler"] = (
        """printf '#include <stdio.h>\nint main(void) { puts("built"); }' > x.c
cc x.c -o x && ./x""",
        "built",
    )


@pytest.mark.parametrize("name", WORK)
@pytest.mark.asyncio(loop_scope="module")
async def test_ordinary_work_works(sandboxed: World, name: str) -> None:
    """What agents do all day they can still do."""
    command, said = WORK[name]
    turn = await sandboxed.agent.allow_all(f"run {command}", conversation="c-work")
    assert said in turn.text, turn.events


@pytest.mark.asyncio(loop_scope="module")
async def test_a_host_that_is_not_allowed_is_named(sandboxed: World) -> None:
    """curl and Python say what refused them and why, git that it was refused, the log all of it."""
    agent = sandboxed.agent
    turn = await agent.allow_all(
        """run curl -sv https://pypi.example.org/ 2>&1
git clone https://git.example.org/cloned 2>&1
python3 -c 'import urllib.request as u; u.urlopen("https://python.example.org/")' 2>&1""",
        conversation="c-work",
    )
    refused = "Bascule: {}.example.org:443 is not on the list of allowed hosts"
    assert refused.format("pypi") in turn.text
    assert refused.format("python") in turn.text
    assert "git.example.org" in turn.text
    assert "response 403" in turn.text
    assert "pypi.example.org" in agent.log.read_text()
