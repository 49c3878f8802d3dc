"""Files both ways: from the platform into the workspace, and from there into the thread."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Attachment, Lifecycle, TryLater
from bridge.budgets.budgets import Budgets, Rules
from bridge.engine import attaching
from bridge.engine.retention import Retention
from bridge.present.filename import LONGEST, folded, safe_name, unique_name
from bridge.store.schema import attachment
from tests.bridge.house import OWNER, House


def file(name: str, ref: str = "", size: int = 0) -> Attachment:
    return Attachment(ref or name, name, "text/plain", size)


def inbox(house: House) -> dict[str, bytes]:
    """What lies in the owner's inbox."""
    [work] = (house.home / "workspaces").glob("w_*/work")
    found = (work / "inbox").glob("*") if (work / "inbox").is_dir() else ()
    return {path.name: path.read_bytes() for path in found}


def work(house: House) -> Path:
    [found] = (house.home / "workspaces").glob("w_*/work")
    return found


async def test_files_reach_the_workspace_before_the_agent_is_asked(up):
    """Each is in the inbox under a harmless name, and the turn names it with size and hash."""
    up.platform.files = {"a": [b"one", b"two"], "b": [b"x" * 3_000_000]}
    await up.say("say read", attachments=(file("../../etc/pass wd.txt", "a"), file("b.bin", "b")))
    await up.sees("read")
    assert inbox(up) == {"pass wd.txt": b"onetwo", "b.bin": b"x" * 3_000_000}
    assert up.agent.bodies()[0]["attachments"] == [
        {
            "path": "inbox/pass wd.txt",
            "size": 6,
            "sha256": hashlib.sha256(b"onetwo").hexdigest(),
        },
        {
            "path": "inbox/b.bin",
            "size": 3_000_000,
            "sha256": hashlib.sha256(b"x" * 3_000_000).hexdigest(),
        },
    ]


async def test_two_files_of_one_name_are_both_kept(up):
    """A later file takes nobody's place, whatever its case; one that comes again takes its own."""
    up.platform.files = {"1": [b"1"], "2": [b"2"]}
    await up.say("say one", attachments=(file("Data.csv", "1"),))
    await up.sees("one")
    await up.say("say two", attachments=(file("data.csv", "2"), file("data.csv", "1")))
    await up.sees("two")
    assert inbox(up) == {"Data.csv": b"1", "data-2.csv": b"2"}


async def test_an_old_file_keeps_its_place(up):
    """Its name is forgotten with its message, and a new file of that name takes another; one that
    comes again, or is the same, makes no second copy."""
    up.platform.files = {"1": [b"1"], "2": [b"2"], "3": [b"2"], "4": [b"4"]}
    await up.say("say one", attachments=(file("data.csv", "1"),))
    await up.sees("one")
    old = attachment.update().values(at=1.0)
    await up.bridge.db.tx(lambda con: con.execute(old).rowcount)
    await Retention(up.bridge.db, Budgets(up.bridge.db, Rules()), 30).forget()
    left = sa.select(sa.func.count()).select_from(attachment)
    assert await up.bridge.db.tx(lambda con: con.scalar(left)) == 0
    await up.say("say two", attachments=(file("data.csv", "2"),))
    await up.sees("two")
    assert inbox(up) == {"data.csv": b"1", "data-2.csv": b"2"}
    await up.say("say three", attachments=(file("data-2.csv", "3"), file("data-2.csv", "4")))
    await up.sees("three")
    assert inbox(up)["data-2.csv"] == b"2"
    assert b"4" in inbox(up).values()


async def test_what_is_refused_is_named_and_the_rest_goes_on(house):
    """Too large as said or in truth, too many, gone: each by name, with what to do."""
    await house.start(bridge_file_mib=1, bridge_message_files=4)
    house.platform.files = {
        "good": [b"good"],
        "lies": [b"x" * 700_000] * 2,
        "fifth": [b"x"],
    }
    wanted = (
        file("said.bin", "said", size=5_000_000),
        file("lies.bin", "lies", size=10),
        file("gone.txt", "gone"),
        file("good.txt", "good"),
        file("fifth.txt", "fifth"),
    )
    await house.say("say done", attachments=wanted)
    await house.sees("done")
    told = next(text for text in house.texts() if text.startswith("Not taken"))
    assert r"said.bin: it has 5.0 MB, and 1.0 MB are the most for a file" in told
    assert r"lies.bin: it has more than 1.0 MB" in told
    assert r"gone.txt: It is gone. Send it again." in told
    assert r"fifth.txt: 4 files are the most that one message can bring" in told
    assert inbox(house) == {"good.txt": b"good"}
    assert "said" not in house.platform.fetches


async def test_all_files_of_a_message_have_a_limit_together(house):
    """What is over it is named with that limit."""
    await house.start(bridge_file_mib=2, bridge_message_mib=2)
    house.platform.files = {"1": [b"x" * 1_500_000], "2": [b"y" * 1_500_000]}
    await house.say("say done", attachments=(file("1.bin", "1"), file("2.bin", "2")))
    await house.sees("are the most for all files of a message")
    assert list(inbox(house)) == ["1.bin"]


async def test_a_fetch_that_breaks_off_is_made_again(up):
    """What came before the break is not there twice."""
    up.platform.files = {"r": [b"begin", TryLater("Busy.", after=0.01), ConnectionError(), b"end"]}
    await up.say("say done", attachments=(file("a.txt", "r"),))
    await up.sees("done")
    assert inbox(up) == {"a.txt": b"beginend"}
    assert len(up.platform.fetches) == 3


async def test_a_fetch_that_never_works_is_given_up(up):
    """The person is told, and with nothing else in the message nothing is asked."""
    up.platform.files = {"r": [b"begin", *(ConnectionError() for _ in range(9))]}
    await up.say("", attachments=(file("a.txt", "r"),))
    await up.sees("a.txt: it could not be fetched; send it again.")
    await up.sees("None of the files could be had")
    assert len(up.platform.fetches) == attaching.TRIES
    assert up.prompts() == []


async def test_a_folder_in_its_place_is_no_way_in(up):
    """A link that the agent put where files go is refused, and nothing follows it."""
    await up.say("say hi")
    await up.sees("hi")
    outside = up.home / "outside"
    outside.mkdir()
    (work(up) / "inbox").symlink_to(outside)
    up.platform.files = {"r": [b"x"]}
    await up.say("say done", attachments=(file("a.txt", "r"),))
    await up.sees("Links are not followed")
    await up.sees("done")
    assert list(outside.iterdir()) == []


async def test_the_agent_service_may_be_away_meanwhile(up, wait):
    """The file waits for it, like the message."""
    up.platform.files = {"r": [b"x"]}
    await up.stop_agent()
    await up.say("say done", attachments=(file("a.txt", "r"),))
    await wait(lambda: up.platform.fetches == ["r"])
    await up.start_agent()
    await up.sees("done")
    assert inbox(up) == {"a.txt": b"x"}


async def test_a_bridge_that_stops_in_the_middle_does_it_once_more(house, wait):
    """Between the files and the turn, and at the turn: the next bridge puts the same turn, with
    each file once."""
    await house.start()
    house.platform.files = {"r": [b"x"]}
    house.agent.delay = 5.0
    await house.say("say done", attachments=(file("a.txt", "r"), file("gone.txt", "no")))
    await wait(lambda: house.agent.puts)
    await house.bridge.stop()
    house.agent.delay = 0.0
    await house.start()
    await house.sees("done")
    assert inbox(house) == {"a.txt": b"x"}
    assert house.platform.fetches == ["r", "no"]
    assert house.prompts() == ["say done"]
    assert len({raw for _, raw in house.agent.puts}) == 1
    assert sum(text.startswith("Not taken") for text in house.texts()) == 1


async def test_stopped_while_files_come(up, wait):
    """What nobody wants any more is not asked."""
    up.platform.files = {"r": [b"x", TryLater("Busy.", after=2.0), b"y"]}
    await up.say("say never", attachments=(file("a.txt", "r"),))
    await wait(lambda: up.platform.fetches)
    await up.command("stop")
    await up.sees("Stopped before")
    assert up.prompts() == []


async def test_an_edited_message_keeps_its_files_and_a_deleted_one_brings_none(up):
    """While they wait, both are respected."""
    up.platform.files = {"1": [b"1"], "2": [b"2"]}
    await up.say("say busy then hang")
    await up.sees("busy")
    await up.say("say wrong", key="e", attachments=(file("1.txt", "1"),))
    await up.say("say never", key="d", attachments=(file("2.txt", "2"),))
    await up.host.submit(Lifecycle("edited", up.at(), OWNER, "e", "say right"))
    await up.host.submit(Lifecycle("deleted", up.at(), OWNER, "d"))
    await up.command("stop")
    await up.sees("right")
    assert inbox(up) == {"1.txt": b"1"}
    assert up.platform.fetches == ["1"]


# ---- out ----


async def test_a_file_the_agent_sends_is_in_the_thread(up, wait):
    """Once, with its words, below what was said before and above what comes after."""
    await up.say("write out.txt hi then say begun")
    await up.sees("May the agent")
    (work(up) / "out.txt").write_bytes(b"the file")
    await up.command("stop")
    await up.quiet()
    await up.say("say before then send out.txt Here_it is then say after")
    await up.sees("after")
    [post] = [m for m in up.platform.shown() if m.files and m.tone == "answer"]
    assert (post.files[0].name, post.files[0].data) == ("out.txt", b"the file")
    assert post.markdown == "**out.txt** (8 B)\nHere\\_it is"
    texts = up.texts()
    assert texts.index("before") < texts.index(post.markdown) < texts.index("after")


async def test_what_the_platform_does_not_take_is_named(house):
    """With its size, and where it stays."""
    await house.start()
    house.platform.caps = type(house.platform.caps)(4000, 0.01, 100)
    await house.say("say hi")
    await house.sees("hi")
    (work(house) / "big.bin").write_bytes(b"x" * 2000)
    await house.say("send big.bin then say after")
    await house.sees("after")
    await house.sees(r"**big.bin** (2.0 kB)")
    await house.sees("larger than a file may be here (100 B)")
    assert "larger than a file" in await house.command("files", rest="get big.bin")


async def test_a_file_that_is_swapped_for_a_link_is_not_sent(up):
    """Between the agent's call and the bridge's: nothing outside is read."""
    await up.say("say hi")
    await up.sees("hi")
    (work(up) / "key").symlink_to(up.home / "secrets" / "bridge.keys")
    await up.say("send key then say after")
    await up.sees("after")
    assert all(not m.files for m in up.platform.shown())
    assert "Links are not followed" in await up.command("files", rest="get key")


async def test_files_commands(up):
    """The list has the newest first and nothing hidden; a file is sent to its owner alone."""
    await up.say("say hi")
    await up.sees("hi")
    assert "no files" in await up.command("files")
    place = work(up)
    (place / "sub").mkdir()
    for age, name in enumerate(("old.txt", "sub/new.txt", ".env", "sub/`x`.txt")):
        (place / name).write_text(name)
        os.utime(place / name, (1000 + age, 1000 + age))
    told = await up.command("files")
    assert "env" not in told
    assert told.index("ˋxˋ.txt") < told.index("sub/new.txt") < told.index("old.txt")
    assert "old.txt" not in await up.command("files", rest="sub")
    assert await up.command("files", rest="get `sub/new.txt`") == "Here it is."
    [post] = [m for m in up.platform.shown() if m.files]
    assert (post.files[0].data, post.only_for) == (b"sub/new.txt", OWNER.identity)
    assert "no path" in await up.command("files", rest="get ../../secrets/bridge.keys")
    assert "Deleted" in await up.command("files", rest="delete old.txt")
    assert not (place / "old.txt").exists()
    assert "There is no old.txt" in await up.command("files", rest="get old.txt")
    assert "Write `files`" in await up.command("files", rest="get")


async def test_instructions(up):
    """Set, added to, shown, long ones as a file, cleared; too long ones are refused with why."""
    assert "no instructions" in await up.command("instructions")
    told = await up.command("instructions", rest="set Be brief.\n`No` jokes.")
    assert "from your next message on" in told
    await up.command("instructions", rest="append Speak Latin.")
    assert (work(up) / "CLAUDE.md").read_text() == "Be brief.\n`No` jokes.\nSpeak Latin.\n"
    assert "Speak Latin." in await up.command("instructions")
    assert "65,536" in await up.command("instructions", rest="set " + "x" * 70_000)
    await up.command("instructions", rest="set " + "word " * 1000)
    assert await up.command("instructions") == "Here it is."
    assert up.platform.shown()[-1].files[0].name == "CLAUDE.md"
    await up.command("instructions", rest="clear")
    assert (work(up) / "CLAUDE.md").read_text() == ""
    for wrong in ("set", "clear all", "burn"):
        assert "Write `instructions`" in await up.command("instructions", rest=wrong)


async def test_files_and_instructions_are_the_owners(up, stranger):
    """Nobody else reads or changes them."""
    await up.command("instructions", rest="set mine")
    for rest in ("", "set theirs"):
        assert "not let in" in await up.command("instructions", sender=stranger, rest=rest)
    assert "not let in" in await up.command("files", sender=stranger)
    assert (work(up) / "CLAUDE.md").read_text() == "mine\n"


# ---- names ----

NAMES = st.text(max_size=200) | st.sampled_from(
    ["..", ".", "../..", "/etc/passwd", "C:\\x\\..\\y", "-rf", ".bashrc", "a\u202egpj.exe", "", " ",
     "a/../b.txt", "CON", "~", "@x", "\u3164", "....", "a..b", "x" * 300 + ".tar.gz"]
)  # fmt: skip


@given(NAMES)
def test_safe_names(name):
    """Whatever a name was, it leads nowhere, hides nothing, and is taken for no option."""
    safe = safe_name(name)
    assert safe
    assert safe == safe.strip()
    assert safe[0] not in ".-"
    assert "/" not in safe
    assert "\\" not in safe
    assert ".." not in safe
    assert len(safe.encode()) <= LONGEST
    assert all(unicodedata.category(c)[0] in "LMNPSZ" for c in safe)
    assert not set(safe) & set("@`<>|&;$\"'*?[]{}~!#%:")
    assert safe_name(safe) == safe


@given(st.lists(NAMES, max_size=12))
def test_unique_names(names):
    """Names of one place are all different, in any case, and still safe."""
    taken: set[str] = set()
    for name in names:
        made = unique_name(safe_name(name), taken)
        assert folded(made) not in taken
        assert len(made.encode()) <= LONGEST
        taken.add(folded(made))


def test_ordinary_names_stay():
    """What a person called their file is what it is called."""
    for name in ("report.csv", "Übersicht 2026 (final).pdf", "данные.xlsx", "हिन्दी.txt", "a_b-c.d"):
        assert safe_name(name) == name
    assert unique_name("a.tar.gz", {"a.tar.gz"}) == "a.tar-2.gz"
