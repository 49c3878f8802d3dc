"""What operators and members do on the pages, with the real services behind them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from adapters.contract import Identity, Sender
from bridge.store.schema import conversation, person
from tests.bridge.house import until
from tests.web_admin.pages_house import ADA, BEN, PASSWORD, PagesHouse, Visitor

EVIL = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
MALLORY = Sender(Identity("memory", "t", EVIL), f"Mallory {EVIL}")


async def person_of(house: PagesHouse, name: str) -> str:
    query = sa.select(person.c.id).where(person.c.name.startswith(name))
    return await house.bridge.db.tx(lambda con: con.scalar(query))


async def workspace_of(house: PagesHouse, name: str) -> str:
    query = sa.select(person.c.workspace).where(person.c.name.startswith(name))
    return await house.bridge.db.tx(lambda con: con.scalar(query))


async def conversation_in(house: PagesHouse, channel: str) -> str:
    query = sa.select(conversation.c.id).where(conversation.c.channel == channel)
    return await house.bridge.db.tx(lambda con: con.scalar(query))


# ---- overview, first steps ----


async def test_the_overview_tells_what_is_wrong(house: PagesHouse, olga: Visitor) -> None:
    """With all well it says so; with the agent service gone it says that, and what to do."""
    assert "Everything works." in (await olga.get("/")).text
    await house.agent.stop()
    answer = await olga.get("/overview/now")
    assert answer.status == 200
    assert "agent service is not reachable" in answer.text
    assert "bascule doctor" in answer.text
    await house.agent.start()


async def test_the_first_steps_follow_how_things_stand(house: PagesHouse, olga: Visitor) -> None:
    """What is done is marked as done, whenever the page is opened."""
    before = (await olga.get("/welcome")).text
    assert "to do A first message" in before
    await house.let_in(ADA, olga)
    await house.say("say hello", sender=ADA)
    await house.quiet()
    assert "done A first message" in (await olga.get("/welcome")).text
    assert "done A key for the model" in before


# ---- credentials ----


async def test_a_key_is_added_tested_and_revoked(house: PagesHouse, olga: Visitor) -> None:
    """The key is never shown again; the test asks the model; the revocation is proven."""
    secret = "sk-ant-CANARY-of-a-stored-key"
    url = house.agent_settings.agent_upstream_url
    added = await olga.send("/claude", "/claude/add", kind="gateway", url=url, secret=secret,
                            label="Our gateway")  # fmt: skip
    assert (added.status, "Our gateway" in added.text) == (200, True), added.text
    form = next(f for f in added.page.forms
                if f.action == "/claude/test" and f.fields["credential"] != "default")  # fmt: skip
    tested = await olga.post("/claude/test", form.fields)
    assert "Test of" in tested.text
    assert tested.status == 200
    revoke = {**form.fields, "scope": "credential", "subject": form.fields["credential"]}
    proof = await olga.post("/claude/revoke", revoke)
    assert "/claude/revocations/" in proof.url
    assert "All of it is done" in proof.text
    assert "Our gateway: revoked" in proof.text
    for answer in (added, tested, proof, await olga.get("/claude"), await olga.get("/audit")):
        assert "CANARY" not in answer.body


# ---- modes and rules ----


async def test_modes_and_rules_of_the_deployment(house: PagesHouse, olga: Visitor) -> None:
    """Set, seen with who did it, taken back; above the ceiling it is refused in words."""
    answer = await olga.send("/modes", "/modes/mode", mode="plan")
    assert "The mode is plan now." in answer.text
    answer = await olga.send("/modes", "/modes/mode", mode="bypassPermissions")
    assert answer.status == 403
    answer = await olga.send("/modes", "/rules/add", behavior="deny", pattern="Bash(rm *)")
    assert "Bash(rm *) by Olga" in answer.text
    answer = await olga.send("/modes", "/rules/add", behavior="deny", pattern="Bash(((")
    assert answer.status == 400
    answer = await olga.send("/modes", "/modes/rules/remove")
    assert "Bash(rm *) by Olga" not in answer.text
    answer = await olga.send("/modes", "/modes/ceiling", ceiling="default")
    assert "Nobody can choose more than default." in answer.text


# ---- people ----


async def test_people_are_let_in_and_given_roles(house: PagesHouse, olga: Visitor) -> None:
    """By their code; a role; blocked; and an admin cannot do that to an operator."""
    await house.let_in(ADA, olga)
    ada = await person_of(house, "Ada")
    answer = await olga.send(f"/people/{ada}", f"/people/{ada}/role", role="admin")
    assert "Ada Byron is an admin from now on." in answer.text
    visitor = await house.by_link(ADA)
    mine = await person_of(house, "Olga")
    opened = await visitor.get(f"/people/{mine}")
    token = opened.page.form("/sign-out").fields["csrf"]
    for path, fields in ((f"/people/{mine}/role", {"role": "member"}),
                         (f"/people/{mine}/end", {"how": "removed"}),
                         (f"/people/{ada}/role", {"role": "operator"}),
                         (f"/people/{mine}/sign-out", {})):  # fmt: skip
        refused = await visitor.post(path, {"csrf": token, **fields})
        assert (refused.status, "Only an operator" in refused.text) == (403, True), path
    last = await olga.send(f"/people/{ada}", f"/people/{ada}/end", how="removed")
    assert last.status == 200
    assert "/sign-in" in (await visitor.get("/me")).url


async def test_a_removed_persons_name_is_free(house: PagesHouse, olga: Visitor) -> None:
    """Their password opens nothing, and somebody else can have the sign-in name."""
    for sender in (ADA, BEN):
        await house.let_in(sender, olga)
    ada, ben = await house.by_link(ADA), await house.by_link(BEN)
    given = {"login": "ada", "password": PASSWORD, "again": PASSWORD}
    assert "Your password is set" in (await ada.send("/me", "/me/password", **given)).text
    taken = await ben.send("/me", "/me/password", **given)
    assert (taken.status, "Somebody else has that" in taken.text) == (400, True)
    whom = await person_of(house, "Ada")
    await olga.send(f"/people/{whom}", f"/people/{whom}/end", how="removed")
    refused = await house.visitor().send("/sign-in", "/sign-in", login="ada", password=PASSWORD)
    assert refused.status == 403
    assert "Your password is set" in (await ben.send("/me", "/me/password", **given)).text


async def test_the_last_operator_stays(house: PagesHouse, olga: Visitor) -> None:
    """Nobody can leave the deployment without one."""
    mine = await person_of(house, "Olga")
    token = (await olga.get("/")).page.form("/sign-out").fields["csrf"]
    answer = await olga.post(f"/people/{mine}/role", {"csrf": token, "role": "member"})
    assert (answer.status, "last operator" in answer.text) == (403, True)
    answer = await olga.post(f"/people/{mine}/end", {"csrf": token, "how": "removed"})
    assert (answer.status, "Not yourself" in answer.text) == (409, True)


async def test_rules_let_groups_in(house: PagesHouse, olga: Visitor) -> None:
    """A rule for a team is added, lets somebody in, and is taken back."""
    answer = await olga.send("/people", "/people/rules/add", kind="team", platform="memory",
                             tenant="t", value="")  # fmt: skip
    assert "Everybody of the team or server t in memory" in answer.text
    assert "You are Ben Bitdiddle" in await house.command("whoami", sender=BEN)
    answer = await olga.send("/people", "/people/rules/remove")
    assert "Taken back" in answer.text
    assert "does not let you in any more" in await house.command("whoami", sender=BEN)


async def test_people_are_found(house: PagesHouse, olga: Visitor) -> None:
    """By a part of a name or an account; pages lead on; wildcards are letters."""
    from bridge.people import access

    def fill(con: sa.Connection) -> None:
        for number in range(60):
            who = Identity("memory", "t", f"u{number:02}")
            access.add(con, house.bridge.db, who, f"Person {number:02}", "member")

    await house.bridge.db.tx(fill)
    first = await olga.get("/people")
    following = next(link for link in first.page.links if "after=" in link)
    assert "Person 59" in (await olga.get(following)).text
    assert "Person 59" not in first.text
    assert "Person 07" in (await olga.get("/people?q=u07")).text
    assert "Nobody of that name" in (await olga.get("/people?q=%25")).text


# ---- decisions ----


async def test_a_decision_is_answered_on_the_page(house: PagesHouse, olga: Visitor) -> None:
    """Its owner sees the whole command and allows it; the thread goes on."""
    await house.let_in(ADA, olga)
    await house.say("bash touch done.txt && echo fine", sender=ADA)
    await house.card()
    ada = await house.by_link(ADA)
    page = await ada.get("/decisions")
    assert "touch done.txt && echo fine" in page.text
    answer = await ada.send("/decisions", _decision(page), verb="allow")
    assert "Your answer counts." in answer.text
    await house.quiet()
    assert "Nothing waits." in (await ada.get("/decisions")).text


def _decision(page) -> str:
    return next(f.action for f in page.page.forms if "/decisions/" in f.action)


async def test_only_those_who_decide_are_heard(house: PagesHouse, olga: Visitor) -> None:
    """An operator sees it and has no button; one who sends the form all the same is refused, and
    the attempt stands in the agent service's audit log. Others do not even see it."""
    await house.let_in(ADA, olga)
    await house.let_in(BEN, olga)
    await house.say("bash touch done.txt", sender=ADA)
    (allow, *_) = await house.card()
    decision = allow.split(":")[1]
    page = await olga.get("/decisions")
    assert "Only Ada Byron may answer." in page.text
    assert not any("/decisions/" in form.action for form in page.page.forms)
    token = page.page.form("/sign-out").fields["csrf"]
    path = f"/decisions/{decision}"
    refused = await olga.post(path, {"csrf": token, "verb": "allow"})
    assert (refused.status, "Only the owner" in refused.text) == (403, True)
    assert "decision.refused" in (await olga.get("/audit")).text
    ben = await house.by_link(BEN)
    seen = await ben.get("/decisions")
    assert "touch done.txt" not in seen.text
    token = seen.page.form("/sign-out").fields["csrf"]
    assert (await ben.post(path, {"csrf": token, "verb": "allow"})).status == 403
    assert await house.card()


async def test_a_question_is_answered(house: PagesHouse, olga: Visitor) -> None:
    """One of the options, or something else in words."""
    await house.let_in(ADA, olga)
    await house.say("ask Which colour?|Blue|Red", sender=ADA)
    await until(lambda: any(c.startswith("d:") for c in house.choices()))
    ada = await house.by_link(ADA)
    page = await ada.get("/decisions")
    path = _decision(page)
    nothing = await ada.send("/decisions", path, verb="answer")
    assert (nothing.status, "Nothing was chosen" in nothing.text) == (400, True)
    answer = await ada.send("/decisions", path, verb="answer", **{"q0.other": "Green"})
    assert "Your answer counts." in answer.text
    await house.quiet()


async def test_a_second_answer_is_told_of_the_first(house: PagesHouse, olga: Visitor) -> None:
    """The first answer wins, wherever it is given."""
    await house.let_in(ADA, olga)
    await house.say("bash touch done.txt", sender=ADA)
    buttons = await house.card()
    ada = await house.by_link(ADA)
    page = await ada.get("/decisions")
    form = page.page.form(_decision(page))
    await house.click(next(b for b in buttons if b.endswith(":deny")), sender=ADA)
    await house.quiet()
    answer = await ada.post(form.action, {**form.fields, "verb": "allow"})
    assert "You have denied this already." in answer.text


# ---- conversations ----


async def test_a_conversation_is_seen_stopped_and_closed(house: PagesHouse, olga: Visitor) -> None:
    """What was said and answered; stopping ends the turn; reading it is noted."""
    await house.let_in(ADA, olga)
    await house.say("say the first answer", sender=ADA)
    await house.quiet()
    await house.say("slow 60 one two three four five", sender=ADA)
    await house.sees("one")
    found = await conversation_in(house, "c1")
    listed = await olga.get("/conversations?state=working")
    assert f"/conversations/{found}" in listed.page.links
    page = await olga.get(f"/conversations/{found}")
    assert "the first answer" in page.text
    assert "running" in page.text
    stopped = await olga.send(f"/conversations/{found}", "/stop")
    assert "1 message was stopped" in stopped.text
    await house.quiet()
    closed = await olga.send(f"/conversations/{found}", "/close")
    assert "Its session is closed" in closed.text
    log = await olga.get("/audit?log=admin")
    for kind in ("conversation.read", "conversation.stopped", "conversation.closed"):
        assert kind in log.text


async def test_members_see_their_own_conversations_only(house: PagesHouse, olga: Visitor) -> None:
    """Somebody else's is not there for them, to see or to stop."""
    for sender in (ADA, BEN):
        await house.let_in(sender, olga)
    await house.say("say secret of Ada", sender=ADA)
    await house.quiet()
    found = await conversation_in(house, "c1")
    ben, ada = await house.by_link(BEN), await house.by_link(ADA)
    assert (await ada.get(f"/conversations/{found}")).status == 200
    token = (await ben.get("/me")).page.form("/sign-out").fields["csrf"]
    for path in (f"/conversations/{found}", f"/conversations/{found}/now"):
        assert (await ben.get(path)).status == 404
    for verb in ("stop", "close"):
        answer = await ben.post(f"/conversations/{found}/{verb}", {"csrf": token})
        assert answer.status == 404
    assert "secret of Ada" not in (await ben.get("/me")).text


# ---- workspaces ----


async def test_a_workspace_of_ones_own(house: PagesHouse, olga: Visitor) -> None:
    """Instructions are stored as they were written, files are taken away and removed."""
    await house.let_in(ADA, olga)
    await house.say("say hello", sender=ADA)
    await house.quiet()
    ada, workspace = await house.by_link(ADA), await workspace_of(house, "Ada")
    path = f"/workspaces/{workspace}"
    text = "\nBe brief.\n</textarea><b>not markup</b>\n"
    answer = await ada.send(path, "/instructions", text=text.replace("\n", "\r\n"))
    assert "Stored." in answer.text
    assert answer.page.form("/instructions").fields["text"].endswith(text)
    work = house.home / "workspaces" / workspace / "work"
    assert (work / "CLAUDE.md").read_text() == text
    (work / "sub").mkdir()
    (work / "sub" / 'x".html').write_text("<script>alert(1)</script>")
    listed = await ada.get(f"{path}?path=sub")
    link = next(one for one in listed.page.links if "/file?" in one)
    file = await ada.get(link)
    assert file.body == "<script>alert(1)</script>"
    assert file.headers["Content-Type"] == "application/octet-stream"
    assert file.headers["Content-Disposition"].startswith('attachment; filename="x_.html"')
    assert "sandbox" in file.headers["Content-Security-Policy"]
    assert file.headers["X-Content-Type-Options"] == "nosniff"
    gone = await ada.send(f"{path}?path=sub", "/file/remove")
    assert "is removed" in gone.text
    assert not (work / "sub" / 'x".html').exists()
    async with ada.http.get(f"{house.url}{path}/export") as tar:
        assert (tar.status, tar.headers["Content-Type"]) == (200, "application/x-tar")
        assert b"Be brief." in await tar.read()
    reset = await ada.send(path, "/reset")
    assert "The workspace is empty" in reset.text
    assert not (work / "sub").exists()


async def test_nobody_reaches_another_workspace(house: PagesHouse, olga: Visitor) -> None:
    """Somebody else's is not there; paths out of one's own lead nowhere."""
    for sender in (ADA, BEN):
        await house.let_in(sender, olga)
    await house.say("say hello", sender=ADA)
    await house.quiet()
    ben, theirs = await house.by_link(BEN), await workspace_of(house, "Ada")
    token = (await ben.get("/me")).page.form("/sign-out").fields["csrf"]
    for page in house.admin.pages:
        if page.path.startswith("/workspaces/{id}"):
            path = page.path.replace("{id}", theirs)
            if page.method == "GET":
                answer = await ben.get(path)
            else:
                answer = await ben.post(path, {"csrf": token, "text": "x", "pattern": "a.org"})
            assert answer.status in (403, 404), page.key
    ada = await house.by_link(ADA)
    for out in ("../../../secrets/admin.keys", "/etc/passwd", "..%2f..%2fx", "a\x00b"):
        answer = await ada.get(f"/workspaces/{theirs}/file?path={out}")
        assert answer.status in (400, 404), out
        assert "root:" not in answer.body


async def test_a_file_that_breaks_off_is_not_taken_for_whole(
    house: PagesHouse, olga: Visitor
) -> None:
    """The file shrinks in the middle, so the answer cannot be what it said: it breaks off."""
    await house.let_in(ADA, olga)
    await house.say("say hello", sender=ADA)
    await house.quiet()
    await house.shut()
    # Past the tests' own proxy, which hands nothing on before it has all.
    await house.open_pages(admin_agent_socket=house.agent_settings.socket)
    ada, workspace = await house.by_link(ADA), await workspace_of(house, "Ada")
    large = house.home / "workspaces" / workspace / "work" / "large.bin"
    with large.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    async with ada.http.get(f"{house.url}/workspaces/{workspace}/file?path=large.bin") as answer:
        assert (answer.status, answer.content_length) == (200, 200 * 1024 * 1024)
        await answer.content.readany()
        os.truncate(large, 1000)
        with pytest.raises(aiohttp.ClientError):
            await answer.content.read()
    assert (await ada.get("/me")).status == 200


async def test_workspaces_are_found_by_their_owners(house: PagesHouse, olga: Visitor) -> None:
    """By a name, or by the id itself; the page says whose it is."""
    await house.let_in(ADA, olga)
    workspace = await workspace_of(house, "Ada")
    for words in ("Byron", workspace):
        assert f"/workspaces/{workspace}" in (await olga.get(f"/workspaces?q={words}")).page.links
    assert "Workspace of Ada Byron" in (await olga.get(f"/workspaces/{workspace}")).text


async def test_hosts_and_mode_of_a_workspace(house: PagesHouse, olga: Visitor) -> None:
    """An admin lists a host for one workspace and takes it back; a mode is set."""
    workspace = await workspace_of(house, "Olga")
    path = f"/workspaces/{workspace}"
    answer = await olga.send(path, "/hosts/add", pattern="git.example.org:8443")
    assert "git.example.org:8443 by Olga" in answer.text
    answer = await olga.send(path, "/hosts/add", pattern="not a host")
    assert answer.status == 400
    answer = await olga.send(path, "/hosts/remove")
    assert "git.example.org:8443 by" not in answer.text
    answer = await olga.send(path, "/mode", mode="plan")
    assert "The mode here is plan" in answer.text


# ---- audit and usage ----


async def test_the_audit_logs_are_filtered_checked_and_taken_away(
    house: PagesHouse, olga: Visitor
) -> None:
    """Both logs; the chain is gone through; each line of the export is an entry with its hash."""
    await olga.send("/modes", "/rules/add", behavior="deny", pattern="Bash(rm *)")
    await olga.send("/modes", "/modes/mode", mode="plan")
    for which, kind in (("agent", "rule.added"), ("admin", "password.set")):
        page = await olga.get(f"/audit?log={which}&q={kind}&verify=1")
        assert kind in page.text
        assert "entries, whole" in page.text
        assert "mode.set" not in page.text
        export = await olga.get(f"/audit/export?log={which}")
        lines = [json.loads(line) for line in export.body.splitlines()]
        assert [one["seq"] for one in lines] == list(range(1, len(lines) + 1))
        assert export.headers["Content-Disposition"].startswith("attachment")


async def test_a_changed_log_is_found(house: PagesHouse, olga: Visitor) -> None:
    """On the page and by `bascule audit verify`, which goes through every log there is."""

    def tamper(db: sa.Connection) -> None:
        db.exec_driver_sql("DROP TRIGGER audit_no_update")
        db.exec_driver_sql("UPDATE audit SET subject = 'p_other' WHERE seq = 2")

    good = await asyncio.to_thread(_verify, house.home)
    assert good.returncode == 0, good.stderr
    assert "web admin: 2 entries, whole" in good.stdout
    assert "agent service:" in good.stdout
    await house.admin.database.tx(tamper)
    page = await olga.get("/audit?log=admin&verify=1")
    assert "Entry 2 is not what was written" in page.text
    bad = await asyncio.to_thread(_verify, house.home)
    assert bad.returncode == 1
    assert "web admin" in bad.stderr
    assert "Entry 2" in bad.stderr


def _verify(home: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("bascule")), "audit", "verify"]
    given = {"PATH": os.environ["PATH"], "HOME": str(home), "BASCULE_HOME": str(home)}
    return subprocess.run(command, env=given, cwd=home, capture_output=True, text=True, check=False)


async def test_usage_is_summed(house: PagesHouse, olga: Visitor) -> None:
    """By person, model and day, with names; what is not asked for is not counted."""
    from agent_service.store import schema

    mine = await person_of(house, "Olga")
    row = {"person": mine, "turn": "t1", "conversation": "c", "workspace": "w", "credential": "k",
           "model": "claude-sonnet-5", "input_tokens": 1000, "cache_write_tokens": 0,
           "cache_read_tokens": 0, "output_tokens": 500, "cost_usd": 1.5}  # fmt: skip
    import time

    def fill(db: sa.Connection) -> None:
        for days in (0, 0, 3, 50):
            at = time.time() - days * 86_400
            day = time.strftime("%Y-%m-%d", time.gmtime(at))
            db.execute(schema.usage.insert().values(at=at, day=day, **row))

    await house.service._database.tx(fill)
    page = await olga.get("/usage?days=30")
    assert "In all 4.50 US$ for 3 answers" in page.text
    assert "Olga" in page.text
    assert "In all 6.00 US$" in (await olga.get("/usage?days=90")).text
    assert "4.50 US$" in (await olga.get("/me")).text
    assert "3.00 US$" in (await olga.get("/")).text


# ---- one's own page ----


async def test_sessions_are_listed_and_ended(house: PagesHouse, olga: Visitor) -> None:
    """Another browser stands there and is out once it is ended; a new password ends all others."""
    other = house.visitor()
    await other.send("/sign-in", "/sign-in", login="olga", password=PASSWORD)
    page = await olga.get("/me")
    assert page.text.count("Elsewhere:") == 1
    await olga.send("/me", "/me/sessions/end")
    assert "/sign-in" in (await other.get("/me")).url
    await other.send("/sign-in", "/sign-in", login="olga", password=PASSWORD)
    wrong = await other.send("/me", "/me/password", login="olga", now="not it", password="x" * 9,
                             again="y" * 9)  # fmt: skip
    assert wrong.status == 400
    new = "another five geese and a mill"
    done = await other.send("/me", "/me/password", login="olga", now=PASSWORD, password=new,
                            again=new)  # fmt: skip
    assert "Your password is set" in done.text
    assert "/sign-in" in (await olga.get("/me")).url
    again = await olga.send("/sign-in", "/sign-in", login="olga", password=new)
    assert again.status == 200


async def test_one_session_cannot_end_anothers(house: PagesHouse, olga: Visitor) -> None:
    """A member who knows the id of an operator's session ends nothing with it."""
    from web_admin.store import schema

    await house.let_in(ADA, olga)
    ada = await house.by_link(ADA)
    query = sa.select(schema.web_session.c.id).where(schema.web_session.c.role == "operator")
    found = await house.admin.database.tx(lambda db: db.scalar(query))
    token = (await ada.get("/me")).page.form("/sign-out").fields["csrf"]
    await ada.post("/me/sessions/end", {"csrf": token, "session": found})
    assert (await olga.get("/")).url == house.url + "/"


async def test_the_claimant_links_a_chat_account(house: PagesHouse, olga: Visitor) -> None:
    """A code from the page, agreed to in the chat, confirmed on the page: one person."""
    page = await olga.send("/me", "/me/link")
    code = re.search(r"link ([0-9A-Z]{4}-[0-9A-Z]{4})", page.text).group(1)
    assert "of **Olga**" in await house.command("link", sender=ADA, rest=code)
    assert "Agreed" in await house.command("link", sender=ADA, rest=f"{code} yes")
    asked = await olga.get("/me")
    assert "Ada Byron" in asked.text
    done = await olga.send("/me", "/me/link/confirm")
    assert "is you from now on" in done.text
    assert "You are Olga, operator" in await house.command("whoami", sender=ADA)
    mine = await person_of(house, "Olga")
    path = f"/people/{mine}"
    form = next(f for f in (await olga.get(path)).page.forms
                if f.action.endswith("/unlink") and f.fields["platform"] == "memory")  # fmt: skip
    gone = await olga.post(form.action, form.fields)
    assert "not you any more" in gone.text
    assert "not let in" in await house.command("whoami", sender=ADA)
    last = await olga.post(form.action, {**form.fields, "platform": "web"})
    assert last.status == 409


async def test_a_personal_sign_in_is_off_until_it_is_allowed(
    house: PagesHouse, olga: Visitor
) -> None:
    """It says so, with the setting; somebody else's sign-in is not there."""
    answer = await olga.send("/me/claude", "/me/claude/begin")
    assert answer.status == 403
    assert "AGENT_PERSONAL_SIGN_IN" in answer.text
    assert (await olga.get("/me/claude/unknown")).status == 404


async def test_settings_show_adapters(house: PagesHouse, olga: Visitor) -> None:
    """Each with its fields and guide, and how this request arrived."""
    page = await olga.get("/settings")
    assert "From this machine itself" in page.text
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in page.text
    assert "Console" in (await olga.get("/settings/adapters/console")).text
    assert (await olga.get("/settings/adapters/nothing")).status == 404


# ---- what people write ----


async def test_no_text_becomes_markup(house: PagesHouse, olga: Visitor) -> None:
    """Names, accounts, prompts, commands, file names, labels, rules: all are shown as they are,
    and no template reads them."""
    await house.let_in(MALLORY, olga)
    await house.say(f"bash echo {EVIL}", sender=MALLORY)
    await house.card()
    mallory, workspace = await person_of(house, "Mallory"), await workspace_of(house, "Mallory")
    found = await conversation_in(house, "c1")
    work = house.home / "workspaces" / workspace / "work"
    (work / EVIL.replace("/", "")).write_text("x")
    await olga.send("/claude", "/claude/add", kind="api_key", secret="sk-x", label=EVIL)
    await olga.send("/modes", "/rules/add", behavior="deny", pattern=f"Bash({EVIL})")
    shown = 0
    for path in ("/", "/people", f"/people/{mallory}", "/decisions", "/conversations", "/claude",
                 f"/conversations/{found}", f"/conversations/{found}/now", "/modes", "/audit",
                 f"/workspaces/{workspace}", "/audit?log=admin", f"/people?q={EVIL}",
                 f"/nowhere/{EVIL}"):  # fmt: skip
        body = (await olga.get(path)).body
        assert "<img src=x" not in body, path
        assert "49" not in re.findall(r"&amp;(..)", body), path
        shown += "&lt;img src=x" in body
    assert shown > 6


@pytest.mark.parametrize(
    "path",
    [
        "/people/x_1",
        "/conversations/x_1",
        "/workspaces/x!y",
        "/claude/revocations/x",
        "/nowhere",
        "/people/a%0d%0aX-Evil:1",
        "/conversations/%2e%2e%2fstatus",
    ],
)
async def test_what_is_not_there(house: PagesHouse, olga: Visitor, path: str) -> None:
    """A page says so, and what to do."""
    answer = await olga.get(path)
    assert answer.status in (400, 404)
    assert "To the first page" in answer.text
