"""No secret comes to the bridge: not into its database, its log, a post, or what a terminal shows.

A whole deployment, as `bascule up` runs it.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import psutil
import pytest

from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import Caller
from tests.deployment import Deployment
from tests.isolation import traces
from tests.isolation.traces import Kept

SIGNING = ("bridge's signing key", "admin's signing key")
SAID = "canary-words-of-a-person"
KEPT = (
    Kept("*/secrets/bridge.keys", frozenset({SIGNING[0]}), "The bridge signs with it."),
    Kept("*/secrets/admin.keys", frozenset({SIGNING[1]}), "The web admin signs with it."),
    Kept("*/workspaces/*/config/projects/*.jsonl", frozenset({"token"}),
         "An agent can read its own session's token, and its transcript says what it read."),
)  # fmt: skip
LINES = """\
run make
error 401
error 400
malformed
drop
"""


@pytest.mark.timeout(180)
async def test_no_secret_comes_to_the_bridge(place: Path) -> None:
    """What an agent reads of its environment, errors of the model and refused calls pass through
    the bridge, and nothing of the service's keys, or of a session's token, stays there."""
    known = {
        "model's key": f"canary-key-{secrets.token_hex(12)}",
        "encryption key": f"canary-sealing-{secrets.token_hex(24)}",
    }
    async with ScriptedMessages(api_key=known["model's key"]) as model:
        made = Deployment(
            place, model, AGENT_API_KEY=known["model's key"], LOG_LEVEL="debug",
            AGENT_ENCRYPTION_KEYS=known["encryption key"],
        )  # fmt: skip
        await made.start()
        try:
            for name, file in zip(SIGNING, ("bridge.keys", "admin.keys"), strict=True):
                known[name] = (made.data / "secrets" / file).read_text().strip()
            _, said, err = await made.chat(f"say {SAID}\n", "--conversation", "canaries")
            assert said.strip() == SAID, err
            # Nobody is asked on a pipe: what it runs is allowed before.
            await allow(made, "Bash(make)")
            (work,) = (made.data / "workspaces").glob("w_*/work")
            (work / "Makefile").write_text("all:\n\t-@cat /proc/*/environ | tr '\\0' '\\n'\n")
            code, out, err = await made.chat(LINES, "--conversation", "canaries")
            assert "ANTHROPIC_AUTH_TOKEN=[hidden]" in out, out + err
            known["token"] = token_of(made)
            # While it runs: what a database has not merged yet lies in its log.
            texts = traces.files([made.home])
            texts |= {"terminal": f"{out}\n{err}".encode(), "exit": str(code).encode()}
            texts["lines of the log"] = json.dumps(made.lines()).encode()
        finally:
            code = await made.stop()
        assert code == 0
        await made.nothing_left()
    for needed in ("bridge/bridge.db", "bridge/bridge.db-wal", "agent/agent.db", "up.log"):
        assert any(needed in where for where in texts), needed
    found = traces.traces(texts, known)
    assert traces.unexplained(found, KEPT) == set()
    assert traces.idle(found, KEPT) == []
    # So the search finds what is there.
    assert any("bridge.db" in t.place for t in traces.traces(texts, {"words": SAID}))


async def allow(made: Deployment, *patterns: str) -> None:
    """By an admin, everywhere."""
    admin = Caller(made.data, "admin")
    for pattern in patterns:
        rule = {"behavior": "allow", "pattern": pattern, "by": "test"}
        status, said = await admin.call("PUT", "/v1/policy/rules", rule)
        assert status == 200, said
    await admin.http.close()


def token_of(made: Deployment) -> str:
    """What a live session reaches the broker with."""
    for process in made.everything():
        try:
            if found := process.environ().get("ANTHROPIC_AUTH_TOKEN"):
                return found
        except psutil.Error:
            continue
    raise AssertionError("no session is alive")
