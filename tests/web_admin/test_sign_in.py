"""Signing in: the claim, passwords, the bot's links; sessions as rows; and whom it keeps out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from bridge.contract import links
from tests.web_admin.pages_house import ADA, BEN, PASSWORD, PagesHouse, Visitor
from web_admin.store import failures, schema


async def test_the_claim_makes_the_first_operator(house: PagesHouse) -> None:
    """With the code of the machine, a name and a password somebody is the operator, signed in,
    and no code is left for another one."""
    olga = await house.claimed()
    answer = await olga.get("/")
    assert "Olga, operator" in answer.text
    assert not (house.home / "secrets" / "claim-code").exists() or not await _claimable(house)
    again = await house.visitor().get("/claim")
    assert again.url.endswith("/sign-in")


async def _claimable(house: PagesHouse) -> bool:
    return (await house.visitor().get("/claim")).url.endswith("/claim")


async def test_a_claim_that_fails_uses_nothing_up(house: PagesHouse) -> None:
    """A wrong code, a short password, two passwords: each is told, and the code is still good."""
    sam, given = house.visitor(), {"name": "Sam", "login": "sam"}
    short = {"password": "short", "again": "short"}
    two = {"password": PASSWORD, "again": PASSWORD + "!"}
    good = {"password": PASSWORD, "again": PASSWORD}
    answer = await sam.send("/claim", "/claim", code=house.code, **given, **short)
    assert (answer.status, "12 characters" in answer.text) == (403, True)
    answer = await sam.send("/claim", "/claim", code=house.code, **given, **two)
    assert (answer.status, "not the same" in answer.text) == (403, True)
    answer = await sam.send("/claim", "/claim", code="WRNG-WRNG-WRNG", **given, **good)
    assert (answer.status, "not the claim code" in answer.text) == (403, True)
    assert PASSWORD not in answer.body
    await house.claimed()


async def test_a_claim_with_a_name_of_an_earlier_time(house: PagesHouse) -> None:
    """Somebody who was here before has the sign-in name: the claim holds, and another name is
    chosen on one's page."""
    made = await house.admin.accounts.made("olga", "an older password here")
    await house.admin.accounts.store("p_before", made, by="p_before")
    olga = await house.claimed()
    assert "Set a password" in (await olga.get("/me")).text
    assert "Olga, operator" in (await olga.get("/")).text


async def test_claim_codes_cannot_be_tried_out(house: PagesHouse) -> None:
    """After five wrong ones from an address none is looked at, not even the right one."""
    sam = house.visitor()
    fields = {"name": "S", "login": "sam", "password": PASSWORD, "again": PASSWORD}
    for number in range(5):
        await sam.send("/claim", "/claim", code=f"AAAA-AAAA-AAA{number + 2}", **fields)
    answer = await sam.send("/claim", "/claim", code=house.code, **fields)
    assert answer.status == 403
    assert "Too many" in answer.text


async def test_a_password_signs_in(house: PagesHouse, olga: Visitor) -> None:
    """In any case of the name, with a new cookie, to the page that was asked for."""
    other = house.visitor()
    asked = await other.get("/people")
    assert "/sign-in?next=/people" in asked.url
    form = asked.page.form("/sign-in")
    answer = await other.post("/sign-in", {**form.fields, "login": "OLGA", "password": PASSWORD})
    assert answer.url.endswith("/people")
    assert other.cookies()["bascule_session"] != olga.cookies()["bascule_session"]


async def test_a_wrong_password_says_no_more_than_that(house: PagesHouse, olga: Visitor) -> None:
    """The same words for a wrong password and for a name that nobody has."""
    sam = house.visitor()
    wrong = await sam.send("/sign-in", "/sign-in", login="olga", password="not this one, sorry")
    nobody = await sam.send("/sign-in", "/sign-in", login="nobody", password="not this one, sorry")
    assert wrong.status == nobody.status == 403
    assert wrong.text == nobody.text
    assert (await sam.get("/")).url.endswith("/sign-in")


async def test_passwords_cannot_be_tried_out(house: PagesHouse, olga: Visitor) -> None:
    """After ten failures an address is held back, with what to do; who is signed in stays so."""
    sam = house.visitor()
    for _ in range(failures.OF_ADDRESS):
        await sam.send("/sign-in", "/sign-in", login="ada", password="guess guess guess")
    answer = await sam.send("/sign-in", "/sign-in", login="olga", password=PASSWORD)
    assert "Wait 15 minutes" in answer.text
    assert (await olga.get("/")).status == 200


async def test_trying_out_an_account_does_not_lock_its_owner_out(house: PagesHouse) -> None:
    """Failures from many addresses hold the account back elsewhere, not where its owner is known;
    an IPv6 network counts as one address."""
    now = time.time()

    def fill(db: sa.Connection) -> None:
        for number in range(failures.OF_ACCOUNT):
            failures.note(db, f"198.51.100.{number}", "olga", now)

    database = house.admin.database
    await database.tx(fill)
    too_many = failures.too_many
    assert await database.tx(too_many, "203.0.113.1", "olga", now)
    assert not await database.tx(too_many, "203.0.113.1", "olga", now, known=True)
    assert not await database.tx(too_many, "203.0.113.1", "ada", now)
    assert not await database.tx(too_many, "203.0.113.1", "olga", now + failures.WINDOW + 1)
    for number in range(failures.OF_ADDRESS):
        await database.tx(failures.note, f"2001:db8::{number}", f"x{number}", now)
    assert await database.tx(too_many, "2001:db8::ffff", "y", now)


async def test_the_bots_link_signs_in_once(house: PagesHouse, olga: Visitor) -> None:
    """`web` gives a link for its sender alone; a button uses it up; a second use is refused."""
    await house.let_in(ADA, olga)
    token = await house.link_of(ADA)
    ada = house.visitor()
    assert "on the machine of this Bascule only" in await house.command("web", sender=ADA)
    looked = await ada.get(f"/{links.PATH}")
    assert looked.status == 200
    answer = await ada.send(f"/{links.PATH}", f"/{links.PATH}", token=token)
    assert (answer.status, "Ada Byron, member" in answer.text) == (200, True)
    other = house.visitor()
    answer = await other.send(f"/{links.PATH}", f"/{links.PATH}", token=token)
    assert (answer.status, "used before" in answer.text) == (403, True)


async def test_fetching_a_link_uses_nothing(house: PagesHouse, olga: Visitor) -> None:
    """Whoever unfurls the link gets a page that changes nothing; the link is still good."""
    await house.let_in(ADA, olga)
    token = await house.link_of(ADA)
    bot = house.visitor()
    for _ in range(3):
        await bot.get(f"/{links.PATH}?token={token}")
    answer = await house.visitor().send(f"/{links.PATH}", f"/{links.PATH}", token=token)
    assert answer.status == 200


async def test_links_that_are_none(house: PagesHouse, olga: Visitor) -> None:
    """Made up, of other keys, expired, cut: each is refused in words."""
    sam = house.visitor()
    keys = (house.home / "secrets" / "links.keys").read_text().split()
    person = await house.admin.accounts.person("olga")
    old = links.make(keys, person, "me", now=time.time() - links.SECONDS - 1)
    ahead = links.make(keys, person, "me", now=time.time() + 600)
    other = links.make(["x" * 40], person, "me", now=time.time())
    good = links.make(keys, person, "me", now=time.time())
    tries = {old: "expired", ahead: "expired"}
    tries |= dict.fromkeys((other, good[:-4], "", "\u2603" * 20), "no sign-in link")
    for token, word in tries.items():
        answer = await sam.send(f"/{links.PATH}", f"/{links.PATH}", token=token)
        assert (answer.status, word in answer.text) == (403, True), (
            word,
            token[-5:],
            answer.text[:300],
        )


async def test_a_stranger_gets_no_link(house: PagesHouse, olga: Visitor) -> None:
    """Who is not let in is told so by the bot, and no more."""
    told = await house.command("web", sender=BEN)
    assert "not let in" in told
    assert "#" not in told


async def test_a_link_of_somebody_removed_meanwhile(house: PagesHouse, olga: Visitor) -> None:
    """It opens nothing any more."""
    await house.let_in(ADA, olga)
    token = await house.link_of(ADA)
    person = await _person(house, "Ada Byron")
    await olga.send(f"/people/{person}", f"/people/{person}/end", how="blocked")
    answer = await house.visitor().send(f"/{links.PATH}", f"/{links.PATH}", token=token)
    assert (answer.status, "not let in" in answer.text) == (403, True)


async def _person(house: PagesHouse, name: str) -> str:
    from bridge.store.schema import person

    query = sa.select(person.c.id).where(person.c.name == name)
    return await house.bridge.db.tx(lambda con: con.scalar(query))


async def test_who_is_blocked_is_out_at_once(house: PagesHouse, olga: Visitor) -> None:
    """Their next request leads to the sign-in page, and their session is gone."""
    await house.let_in(ADA, olga)
    ada = await house.by_link(ADA)
    assert (await ada.get("/me")).url.endswith("/me")
    person = await _person(house, "Ada Byron")
    answer = await olga.send(f"/people/{person}", f"/people/{person}/end", how="blocked")
    assert answer.status == 200, answer.text
    assert "/sign-in" in (await ada.get("/me")).url


async def test_a_session_ends(house: PagesHouse, olga: Visitor) -> None:
    """Signing out ends the row: the old cookie opens nothing any more."""
    kept = olga.cookies()["bascule_session"]
    answer = await olga.send("/", "/sign-out")
    assert answer.url.endswith("/sign-in")
    thief = house.visitor(Cookie=f"bascule_session={kept}")
    assert "/sign-in" in (await thief.get("/")).url


async def test_sessions_end_by_themselves(house: PagesHouse, olga: Visitor) -> None:
    """An unused one after the idle time, any after its whole time."""
    for column, back in (("seen_at", 13 * 3600), ("until", 8 * 86_400)):
        visitor = house.visitor()
        await visitor.send("/sign-in", "/sign-in", login="olga", password=PASSWORD)
        assert (await visitor.get("/")).url.endswith("/")
        table = schema.web_session

        def age(db: sa.Connection, name: str = column, seconds: int = back) -> None:
            db.execute(table.update().values({name: table.c[name] - seconds}))  # noqa: B023

        await house.admin.database.tx(age)
        assert "/sign-in" in (await visitor.get("/")).url


async def test_a_page_that_renews_itself_keeps_nobody_signed_in(
    house: PagesHouse, olga: Visitor
) -> None:
    """An open overview asks every few seconds: that is no use of the session."""
    table = schema.web_session
    old = table.update().values(seen_at=table.c.seen_at - 3600)
    await house.admin.database.tx(lambda db: db.execute(old))
    before = await house.admin.database.tx(lambda db: db.scalar(sa.select(table.c.seen_at)))
    await olga.get("/overview/now", **{"HX-Request": "true"})
    seen = await house.admin.database.tx(lambda db: db.scalar(sa.select(table.c.seen_at)))
    assert seen == before
    await olga.get("/")
    seen = await house.admin.database.tx(lambda db: db.scalar(sa.select(table.c.seen_at)))
    assert seen > before
    nobody = await house.visitor().get("/overview/now", **{"HX-Request": "true"})
    assert (nobody.status, nobody.headers["HX-Redirect"]) == (401, "/sign-in")


async def test_a_cookie_of_nobody(house: PagesHouse, olga: Visitor) -> None:
    """Any value that is no session is as good as none."""
    for value in ("x", "a" * 5000, "%00", '"'):
        thief = house.visitor(Cookie=f"bascule_session={value}")
        assert "/sign-in" in (await thief.get("/")).url


async def test_what_was_done_stands_in_the_audit_log(house: PagesHouse, olga: Visitor) -> None:
    """Passwords set, sessions begun and ended, with whose and from where; no secret."""
    await olga.send("/", "/sign-out")
    rows = await house.admin.database.tx(
        lambda db: db.execute(sa.select(schema.audit).order_by(schema.audit.c.seq)).all()
    )
    assert [row.kind for row in rows] == ["password.set", "session.begun", "session.ended"]
    assert PASSWORD not in str(rows)
    assert "127.0.0.1" in rows[1].detail


async def test_the_bridge_away_for_a_while(house: PagesHouse, olga: Visitor) -> None:
    """Who was signed in still is, by what was last known, so that a credential can be revoked
    meanwhile; after an hour not any more, and that is said."""
    await house.bridge.stop()
    answer = await olga.get("/")
    assert answer.status == 200
    assert "The bridge is not reachable" in answer.text
    table = schema.web_session
    old = table.update().values(told_at=table.c.told_at - 3700)
    await house.admin.database.tx(lambda db: db.execute(old))
    answer = await olga.get("/")
    assert answer.status == 503
    assert "The bridge is not reachable" in answer.text
    house.bridge = None


async def test_many_at_once(house: PagesHouse, olga: Visitor) -> None:
    """Twenty sign-ins at once take their turns, and each gets in."""
    visitors = [house.visitor() for _ in range(20)]
    answers = await asyncio.gather(
        *(v.send("/sign-in", "/sign-in", login="olga", password=PASSWORD) for v in visitors)
    )
    assert all(answer.url.endswith("/") for answer in answers)


@pytest.mark.parametrize("then", ["https://evil.example", "//evil.example", "/\\evil", "/a?b", "x"])
async def test_nobody_is_sent_elsewhere(house: PagesHouse, olga: Visitor, then: str) -> None:
    """What is no page of ours is not gone to after the sign-in."""
    other = house.visitor()
    answer = await other.send("/sign-in", "/sign-in", login="olga", password=PASSWORD, next=then)
    assert answer.url == house.url + "/"


def test_another_sender_has_another_link() -> None:
    """The person stands in the signed part: nobody can make a link of theirs another's."""
    keys = ["k" * 40]
    token = links.make(keys, "p_ada", "me", now=0)
    assert links.read(keys, token, now=5).person == "p_ada"
    assert links.read(["old" * 20, *keys], token, now=5).page == "me"
    assert replace(ADA).identity.user == "ada"
