"""Revocation and a person's own sign-in on the pages, with the real CLI in its sandbox behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_service.service import AgentService
from agent_service.testing import ScriptedMessages
from tests.agent_service.agent import session_processes
from tests.agent_service.claude_account import ClaudeAccount
from tests.web_admin.pages_house import ADA, BEN, PagesHouse


class RealHouse(PagesHouse):
    """The agent service itself, with the CLI and its sandbox; sign-ins go to a stand-in."""

    account: ClaudeAccount

    async def start_agent(self) -> None:
        self.service = AgentService(self.agent_settings, network=self.account.network())
        await self.service.start()
        await self.agent.start()


@pytest.fixture
async def house(home: Path) -> AsyncIterator[RealHouse]:
    folder = Path(tempfile.mkdtemp(prefix="bsc-"))
    async with ScriptedMessages() as model, ClaudeAccount(folder, model.url) as account:
        made = RealHouse(home)
        made.account = account
        made.use_model(model.url, agent_personal_sign_in=True)
        await made.start_agent()
        await made.open()
        yield made
        await made.shut()
        await made.stop()
        assert session_processes(home) == []
    shutil.rmtree(folder, ignore_errors=True)


async def test_everything_revoked_stops_what_runs(house: RealHouse) -> None:
    """Two clicks: what will stop, and the proof that it did. The CLI's process is gone, the
    overview says that nothing reaches the model, and the environment's key can be let back."""
    olga = await house.claimed()
    await house.let_in(ADA, olga)
    await house.say("slow 60 one two three four five six", sender=ADA)
    await house.sees("one")
    assert session_processes(house.home)
    page = await olga.get("/claude")
    assert "1 turn runs now" in page.text
    proof = await olga.send("/claude", "/claude/revoke", scope="everything", subject="")
    assert "All of it is done" in proof.text
    assert session_processes(house.home) == []
    await house.quiet()
    assert "Nothing reaches the model" in (await olga.get("/")).text
    lifted = await olga.send(proof.url.removeprefix(house.url), "/lift")
    assert "may be used again" in lifted.text
    assert "Nothing reaches the model" not in (await olga.get("/")).text


async def test_a_member_signs_in_to_claude(house: RealHouse) -> None:
    """By the bot's `login`, the provider's page and a code brought back; then out again. Nobody
    else sees it or can end it."""
    olga = await house.claimed()
    for sender in (ADA, BEN):
        await house.let_in(sender, olga)
    ada, ben = await house.by_link(ADA, "login"), await house.by_link(BEN)
    begun = await ada.send("/me/claude", "/me/claude/begin")
    path = begun.url.removeprefix(house.url)
    assert any(link.startswith("https://") for link in begun.page.links)
    assert (await ben.get(path)).status == 404
    token = (await ben.get("/me")).page.form("/sign-out").fields["csrf"]
    assert (await ben.post(f"{path}/code", {"csrf": token, "code": "good#state"})).status == 404
    wrong = await ada.send(path, "/code", code="bad#state")
    assert "You are signed in." not in wrong.text
    if "/code" not in {form.action for form in wrong.page.forms}:
        begun = await ada.send("/me/claude", "/me/claude/begin")
        path = begun.url.removeprefix(house.url)
    done = await ada.send(path, "/code", code="good#state")
    assert "You are signed in." in done.text
    mine = await ada.get("/me/claude")
    credential = mine.page.form("/me/claude/out").fields["credential"]
    stolen = await ben.post("/me/claude/out", {"csrf": token, "credential": credential})
    assert stolen.status == 404
    assert "Ada Byron alone" in (await olga.get("/claude")).text
    out = await ada.send("/me/claude", "/me/claude/out")
    assert "You are signed out of Claude here." in out.text
    assert "You use what the deployment has." in out.text
