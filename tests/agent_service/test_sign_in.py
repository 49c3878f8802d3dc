"""Personal sign-in: the real CLI's own `auth` commands against a stand-in of the provider."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from agent_service.claude.options import bundled_cli
from agent_service.contract.credentials import SignInView
from agent_service.contract.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from agent_service.credentials import directory
from agent_service.credentials.boxed import BoxedCli
from agent_service.credentials.directory import secrets_of
from agent_service.credentials.scope import Scope
from agent_service.credentials.sign_in import SignIns
from agent_service.egress.proxy import Network
from agent_service.store import revocations, schema
from agent_service.testing import ScriptedMessages
from tests.agent_service.claude_account import BAD, CONSOLE, EMAIL, SLOW, ClaudeAccount
from tests.agent_service.credentials_house import Door, House

pytestmark = pytest.mark.timeout(180)


@pytest_asyncio.fixture
async def account(tmp_path: Path) -> AsyncIterator[ClaudeAccount]:
    async with (
        ScriptedMessages() as model,
        ClaudeAccount(tmp_path, model.url) as made,
    ):
        yield made


@pytest_asyncio.fixture
async def house(tmp_path: Path, account: ClaudeAccount) -> AsyncIterator[House]:
    async with House(tmp_path, environment=account.environment()) as made:
        yield made
    assert processes(tmp_path) == []


def processes(home: Path) -> list[psutil.Process]:
    """Every CLI that works on a config directory of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            config = process.environ().get("CLAUDE_CONFIG_DIR", "")
            if config.startswith(str(home)) and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


async def signed_in(house: House, person: str = "p1") -> str:
    """A finished sign-in; gives its credential."""
    begun = await house.sign_ins.start(person, "subscription", "admin")
    done = await house.sign_ins.give(begun.id, "good#state")
    assert done.state == "signed_in", done
    return done.credential


async def test_the_whole_way_over_the_api(house: House, account: ClaudeAccount) -> None:
    """A page out, a code in, a real test turn, and signed out at the provider when revoked."""
    with capture_logs() as logs:
        async with Door(house) as door:
            body = {"person": "p1", "kind": "subscription", "by": "Ann"}
            status, begun = await door.call("POST", "/v1/credentials/sign-ins", body)
            assert status == 200, begun
            assert begun["url"].startswith("https://claude.ai/oauth/authorize?")
            path = f"/v1/credentials/sign-ins/{begun['id']}"
            status, stands = await door.call("GET", path)
            assert stands["state"] == "waiting"
            status, hinted = await door.call("POST", path, {"code": "half-a-code"})
            assert (status, hinted["error"]["field"]) == (400, "code")
            assert "#" in hinted["error"]["remedy"]
            status, done = await door.call("POST", path, {"code": " good#state\n"})
            assert (status, done["state"]) == (200, "signed_in"), done
            assert EMAIL in done["message"]
            one = f"/v1/credentials/{done['credential']}"
            status, view = await door.call("GET", one)
            assert (view["source"], view["person"], view["state"]) == ("sign_in", "p1", "active")
            assert house.keyring.sign_in_of("p1") == done["credential"]
            assert house.keyring.sign_in_of("p2") is None
            status, tested = await door.call("POST", one + "/test", {})
            assert tested["outcome"] == "works", tested
            assert account.tokens
            status, revoked = await door.call("DELETE", one)
            assert house.keyring.sign_in_of("p1") is None
            await house.signed_out()
            assert account.tokens == set()
            assert not (house.config("p1") / ".credentials.json").exists()
            status, log = await door.call("GET", "/v1/audit")
            told = json.dumps([begun, stands, done, view, tested, revoked, log])
    kinds = [entry["kind"] for entry in log]
    assert kinds[:3] == ["sign_in.started", "credential.added", "sign_in.ended"]
    assert "revocation.finished" in kinds
    assert account.issued
    for secret in account.issued:
        assert secret not in told + str(logs)
        assert secret.encode() not in house.stored_bytes()
    assert "CANARY" not in told + str(logs)


async def test_the_console_too(house: House, account: ClaudeAccount) -> None:
    """An account of the Console signs in by a key of its own; that it outlives us is said."""
    begun = await house.sign_ins.start("p1", "console", "admin")
    assert begun.url.startswith("https://platform.claude.com/oauth/authorize?")
    done = await house.sign_ins.give(begun.id, f"{CONSOLE}#state")
    assert done.state == "signed_in", done
    assert house.keyring.view(done.credential).kind == "console"
    assert (await house.sign_ins.test(done.credential, "admin")).outcome == "works"
    await house.revoker.revoke(Scope("person", "p1"), "admin")
    await house.signed_out()
    (view,) = await house.revoker.views()
    (step,) = [s for s in view.steps if s.name == "sign_outs"]
    assert (step.state, "platform.claude.com/settings/keys" in step.detail) == ("done", True)
    left = b"".join(p.read_bytes() for p in house.config("p1").rglob("*") if p.is_file())
    assert all(secret.encode() not in left for secret in account.issued)


async def test_a_refused_code_is_told(house: House) -> None:
    """The CLI's own words, what to do, and no process left; then it is begun again."""
    begun = await house.sign_ins.start("p1", "subscription", "admin")
    done = await house.sign_ins.give(begun.id, f"{BAD}#state")
    assert done.state == "refused"
    assert "code" in done.message
    assert done.remedy == "Begin the sign-in again."
    assert processes(house.home) == []
    with pytest.raises(Conflict):
        await house.sign_ins.give(begun.id, "good#state")
    assert await signed_in(house)


@pytest.mark.parametrize(
    "code", ["", "x", "no-hash", "#", "a#", "#b", "a#b\nc#d", "a b#c", "a#b;c"]
)
async def test_what_cannot_be_a_code_ends_nothing(house: House, code: str) -> None:
    """It is told at once, the CLI does not see it, and the sign-in waits on."""
    begun = await house.sign_ins.start("p1", "subscription", "admin")
    with pytest.raises(BadRequest):
        await house.sign_ins.give(begun.id, code)
    assert house.sign_ins.view(begun.id).state == "waiting"
    await house.sign_ins.cancel(begun.id)


async def test_one_at_a_time_and_cancelled(house: House) -> None:
    """A new one of the same person replaces the old; another person's goes on; cancel ends it."""
    first = await house.sign_ins.start("p1", "subscription", "admin")
    other = await house.sign_ins.start("p2", "subscription", "admin")
    second, third = await asyncio.gather(
        house.sign_ins.start("p1", "subscription", "admin"),
        house.sign_ins.start("p1", "console", "admin"),
    )
    states = [house.sign_ins.view(v.id).state for v in (first, second, third, other)]
    assert states == ["cancelled", "cancelled", "waiting", "waiting"]
    assert len({p.environ()["CLAUDE_CONFIG_DIR"] for p in processes(house.home)}) == 2
    assert (await house.sign_ins.cancel(third.id)).state == "cancelled"
    assert (await house.sign_ins.cancel(third.id)).state == "cancelled"
    assert house.sign_ins.view(other.id).state == "waiting"
    with pytest.raises(NotFound):
        house.sign_ins.view("si_none")


async def test_time_runs_out(tmp_path: Path, account: ClaudeAccount) -> None:
    """Nobody brings a code: it expires, and its process is gone."""
    async with House(tmp_path, environment=account.environment(), person_seconds=0.3) as house:
        begun = await house.sign_ins.start("p1", "subscription", "admin")
        async with asyncio.timeout(30):
            while house.sign_ins.view(begun.id).state == "waiting" or processes(tmp_path):
                await asyncio.sleep(0.05)
        assert house.sign_ins.view(begun.id).state == "expired"


async def test_a_provider_that_says_nothing(tmp_path: Path, account: ClaudeAccount) -> None:
    """The code is never answered: told as that, nothing hangs, no process stays."""
    async with House(tmp_path, environment=account.environment(), check_seconds=0.5) as house:
        begun = await house.sign_ins.start("p1", "subscription", "admin")
        done = await house.sign_ins.give(begun.id, f"{SLOW}#state")
        assert done.state == "failed"
        assert "Nothing came of the code" in done.message
        assert processes(tmp_path) == []


async def test_a_network_that_is_away(tmp_path: Path, account: ClaudeAccount) -> None:
    """The CLI cannot reach the provider: its words reach the person."""
    away = {**account.environment(), "HTTPS_PROXY": "http://127.0.0.1:9"}
    async with House(tmp_path, environment=away) as house:
        begun = await house.sign_ins.start("p1", "subscription", "admin")
        done = await house.sign_ins.give(begun.id, "good#state")
        assert done.state == "refused"
        assert "ECONNREFUSED" in done.message


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "gave no page"),
        ("exit 1", "gave no page"),
        ("echo broken >&2; exit 3", "broken"),
        ("echo no address here", "gave no page"),
    ],
)
async def test_a_cli_that_does_not_work(tmp_path: Path, script: str | None, says: str) -> None:
    """Missing, broken, of another form: told with what an operator can do."""
    cli = tmp_path / "cli"
    if script is not None:
        cli.write_text(f"#!/bin/sh\n{script}\n")
        cli.chmod(0o755)
    async with House(tmp_path, cli=cli) as house:
        with pytest.raises(Unavailable, match=says) as refused:
            await house.sign_ins.start("p1", "subscription", "admin")
        assert "AGENT_CLAUDE_CLI" in refused.value.remedy
    assert processes(tmp_path) == []


async def test_a_status_of_another_form(tmp_path: Path) -> None:
    """A CLI that answers otherwise than this release knows is no sign-in, and says so."""
    cli = tmp_path / "cli"
    cli.write_text(
        '#!/bin/sh\n[ "$2" = status ] && { echo "Signed in."; exit 0; }\n'
        "echo see https://claude.ai/x ; read code; exit 0\n"
    )
    cli.chmod(0o755)
    async with House(tmp_path, cli=cli) as house:
        begun = await house.sign_ins.start("p1", "subscription", "admin")
        assert begun.url == "https://claude.ai/x"
        done = await house.sign_ins.give(begun.id, "good#state")
        assert done.state == "failed"
        assert "does not know" in done.message
        assert house.keyring.sign_in_of("p1") is None


async def test_only_pages_of_the_provider_are_handed_on(tmp_path: Path) -> None:
    """Whoever makes the CLI print another address leads nobody there."""
    cli = tmp_path / "cli"
    cli.write_text(
        "#!/bin/sh\nfor host in evil.example claude.ai.evil.example claude.ai@evil.example; do\n"
        "echo see https://$host/x ; done\n"
        "echo https://claude.com/y ; read code\n"
    )
    cli.chmod(0o755)
    async with House(tmp_path, cli=cli) as house:
        begun = await house.sign_ins.start("p1", "subscription", "admin")
        assert begun.url == "https://claude.com/y"


async def test_a_planted_setting_does_not_reach_a_boxed_sign_in(place: Path) -> None:
    """What an agent writes there while the CLI runs, it does not see."""
    cli, config = place / "cli", place / "people" / "p1"
    cli.write_text('#!/bin/bash\nread _; cat "$CLAUDE_CONFIG_DIR"/*.json; echo end\n')
    cli.chmod(0o755)
    boxed = BoxedCli(place, place / "run", cli, Network(), lambda *_: None)
    (place / "run").mkdir(mode=0o700)
    directory.ready(config)
    await boxed.open()
    command = await boxed.command(config, ())
    process = await asyncio.create_subprocess_exec(
        *command.words,
        env=dict(command.environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    for name in directory.STEERING:
        (config / name).write_text("PLANTED")
    out, _ = await process.communicate(b"\n")
    await boxed.close()
    assert out == b"end\n"


async def test_it_is_off_unless_turned_on(tmp_path: Path) -> None:
    """The operator decides; the refusal names the setting."""
    async with House(tmp_path, enabled=False) as house:
        with pytest.raises(Forbidden) as refused:
            await house.sign_ins.start("p1", "subscription", "admin")
        assert "AGENT_PERSONAL_SIGN_IN" in refused.value.remedy


async def test_a_revoked_person_does_not_sign_in(house: House, account: ClaudeAccount) -> None:
    """Neither afterwards, nor by a sign-in that was under way."""
    begun = await house.sign_ins.start("p1", "subscription", "admin")
    await house.revoker.revoke(Scope("person", "p1"), "admin")
    assert house.sign_ins.view(begun.id).state == "cancelled"
    with pytest.raises(Forbidden):
        await house.sign_ins.start("p1", "subscription", "admin")
    assert account.tokens == set()


class Late(SignIns):
    """What is revoked finds sign-ins only after the one under way has had its code."""

    begun: SignInView
    done: SignInView | None = None

    async def cancel_covered(self, scope: Scope) -> int:
        if self.done is None:
            stored = await self._database.tx(revocations.views)
            while not stored:  # its row comes first
                stored = await self._database.tx(revocations.views)
            self.done = await self.give(self.begun.id, "good#state")
        return await super().cancel_covered(scope)


@pytest.mark.parametrize("scope", [Scope("everything"), Scope("person", "p1")])
async def test_what_completes_behind_a_revocation_is_signed_out(
    tmp_path: Path, account: ClaudeAccount, scope: Scope
) -> None:
    """The row is stored, and the code comes before the sign-in is ended: nobody is signed in, here
    or at the provider. Afterwards it can be begun anew where only everything was revoked."""
    async with House(tmp_path, environment=account.environment(), sign_ins=Late) as house:
        late = house.sign_ins
        assert isinstance(late, Late)
        late.begun = await late.start("p1", "subscription", "admin")
        await house.revoker.revoke(scope, "admin")
        assert late.done is not None
        assert (late.done.state, late.done.credential) == ("cancelled", "")
        assert account.issued
        assert account.tokens == set()
        assert secrets_of(house.config("p1")) == []
        assert house.keyring.sign_in_of("p1") is None
        if scope.kind == "everything":
            assert await signed_in(house)


@pytest.mark.parametrize("when", ["checking", "at rest"])
async def test_one_that_is_ended_leaves_nobody_signed_in(
    tmp_path: Path, account: ClaudeAccount, when: str
) -> None:
    """Cancelled once the CLI has its tokens: they are signed out and deleted, and the next sign-in
    of the person begins after that."""
    cli = slow_status(tmp_path)
    async with House(tmp_path, environment=account.environment(), cli=cli) as house:
        begun = await house.sign_ins.start("p1", "subscription", "admin")
        giving = asyncio.create_task(house.sign_ins.give(begun.id, "good#state"))
        async with asyncio.timeout(30):
            while not (tmp_path / "status").exists():
                await asyncio.sleep(0.01)
        assert account.tokens
        if when == "at rest":  # the service stops: nothing waits for the provider then
            account.logout_hangs = True
            await house.sign_ins.cancel(begun.id)
            await house.sign_ins.close()
        else:
            await house.sign_ins.cancel(begun.id)
        assert (await giving).state == "cancelled"
        if when == "checking":
            (tmp_path / "go").touch()
            assert await signed_in(house)
            assert len(account.tokens) == 1
        else:
            assert secrets_of(house.config("p1")) == []


def slow_status(folder: Path) -> Path:
    """The real CLI, whose `auth status` waits."""
    cli = folder / "cli"
    cli.write_text(
        f'#!/bin/bash\nif [ "$2" = status ]; then touch {folder}/status\n'
        f'while [ ! -e {folder}/go ]; do sleep 0.05; done; fi\nexec {bundled_cli()} "$@"\n'
    )
    cli.chmod(0o755)
    return cli


async def test_what_a_crash_left_signed_in_is_signed_out(
    tmp_path: Path, account: ClaudeAccount
) -> None:
    """The service died between the CLI's success and its own row: the next start signs out what no
    credential stands for, and nobody else."""
    how = {"environment": account.environment()}
    async with House(tmp_path, **how) as first:
        lost, kept = await signed_in(first, "p1"), await signed_in(first, "p2")
        await first.database.tx(
            lambda db: db.execute(schema.credential.delete().where(schema.credential.c.id == lost))
        )
    assert len(account.tokens) == 2
    async with House(tmp_path, **how) as again:
        (tmp_path / "people" / "p3").mkdir()
        assert await again.sign_ins.sweep(["p1", "p2", "p3"]) == 1
        async with asyncio.timeout(60):
            while secrets_of(again.config("p1")):
                await asyncio.sleep(0.02)
        assert len(account.tokens) == 1
        assert again.keyring.sign_in_of("p2") == kept
        assert secrets_of(again.config("p2"))
        assert await again.sign_ins.sweep(["p1", "p2"]) == 0


async def test_a_sign_out_spares_what_comes_after_it(house: House, account: ClaudeAccount) -> None:
    """Who signs in anew while the earlier sign-in is still signed out stays signed in."""
    first = await signed_in(house)
    await house.revoker.revoke(Scope("credential", first), "admin")
    # No waiting here: the sign-out is under way.
    second = await signed_in(house)
    await house.signed_out()
    assert house.keyring.sign_in_of("p1") == second
    assert secrets_of(house.config("p1"))
    assert len(account.tokens) == 1
    assert (await house.sign_ins.test(second, "admin")).outcome == "works"


async def test_a_database_that_hangs_delays_no_end(house: House) -> None:
    """Sessions on a person's own sign-in, and sign-ins, are over before anything is written."""
    credential = await signed_in(house)
    session = await house.held.begin(credential, "p1")
    begun = await house.sign_ins.start("p2", "subscription", "admin")
    go = threading.Event()
    hanging = asyncio.create_task(house.database.tx(lambda _db: go.wait(60)))
    revoking = asyncio.create_task(house.revoker.revoke(Scope("everything"), "admin"))
    try:
        async with asyncio.timeout(20):
            await session.wait()
            while processes(house.home):
                await asyncio.sleep(0.01)
        assert house.sign_ins.view(begun.id).state == "cancelled"
        assert not revoking.done()
    finally:
        go.set()
    await hanging
    await revoking
    await house.signed_out()


async def test_what_an_agent_planted_steers_nothing(house: House, account: ClaudeAccount) -> None:
    """Settings and the CLI's own file, in a directory that an agent can write, lead nowhere."""
    config = house.config("p1")
    config.mkdir(parents=True)
    env = {"HTTPS_PROXY": "http://127.0.0.1:9", "NODE_EXTRA_CA_CERTS": ""}
    planted = {"env": env, "apiKeyHelper": f"touch {house.home}/helped; echo key"}
    (config / "settings.json").write_text(json.dumps(planted))
    (config / ".claude.json").write_text(json.dumps(planted))
    await signed_in(house)
    (config / "settings.json").write_text(json.dumps(planted))
    credential = house.keyring.sign_in_of("p1")
    assert credential is not None
    assert (await house.sign_ins.test(credential, "admin")).outcome == "works"
    (config / "settings.json").write_text(json.dumps(planted))
    (config / ".claude.json").unlink()
    (config / ".claude.json").symlink_to(house.path)
    await house.revoker.revoke(Scope("credential", credential), "admin")
    await house.signed_out()
    assert account.tokens == set()
    assert house.path.exists()
    assert not (house.home / "helped").exists()


async def test_the_services_environment_does_not_reach_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CLI is started with a small environment of its own."""
    monkeypatch.setenv("AGENT_API_KEY", "CANARY-of-the-service")
    begun = await house.sign_ins.start("p1", "subscription", "admin")
    for process in processes(house.home):
        assert "CANARY" not in str(process.environ())
        assert process.environ()["CLAUDE_CONFIG_DIR"] == str(house.config("p1"))
    await house.sign_ins.cancel(begun.id)


async def test_a_grant_revoked_elsewhere_shows_in_a_test(
    house: House, account: ClaudeAccount
) -> None:
    """The CLI still believes that it is signed in; a real turn tells, and it is in doubt."""
    credential = await signed_in(house)
    account.revoke_all()
    result = await house.sign_ins.test(credential, "admin")
    assert result.outcome == "refused", result
    assert house.keyring.view(credential).state == "in_doubt"


@pytest.mark.full
async def test_a_sign_out_that_hangs_delays_nothing(house: House, account: ClaudeAccount) -> None:
    """The revocation is over at once; what lies here is deleted, and that nobody confirmed the
    sign-out is said."""
    credential = await signed_in(house)
    session = await house.held.begin(credential, "p1")
    account.logout_hangs = True
    view = await house.revoker.revoke(Scope("everything"), "admin")
    states = {s.name: s.state for s in view.steps}
    assert (states.pop("sign_outs"), set(states.values())) == ("open", {"done"})
    assert session.returncode is not None
    assert house.keyring.sign_in_of("p1") is None
    await house.signed_out()
    (view,) = await house.revoker.views()
    (step,) = [s for s in view.steps if s.name == "sign_outs"]
    assert "didn't confirm" in step.detail
    assert not (house.config("p1") / ".credentials.json").exists()


async def test_a_sign_out_broken_off_is_taken_up(tmp_path: Path, account: ClaudeAccount) -> None:
    """The service ends while the provider does not answer: the next start signs out."""
    how = {"environment": account.environment()}
    async with House(tmp_path, **how) as first:
        credential = await signed_in(first)
        account.logout_hangs = True
        await first.revoker.revoke(Scope("credential", credential), "admin")
    assert processes(tmp_path) == []
    account.logout_hangs = False
    async with House(tmp_path, **how) as again:
        assert await again.revoker.resume() == 1
        await again.signed_out()
        (view,) = await again.revoker.views()
        assert view.finished_at is not None


async def test_a_newer_sign_in_takes_the_place(house: House) -> None:
    """One credential a person: the earlier row is closed, and nothing of it is signed out later."""
    first = await signed_in(house)
    second = await signed_in(house)
    assert house.keyring.view(first).state == "revoked"
    assert house.keyring.sign_in_of("p1") == second
