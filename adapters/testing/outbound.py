"""What the bridge posts is shown once, whole, and can be edited."""

from __future__ import annotations

import dataclasses

from adapters.contract import Choice, DeliveryError, Gone, MessageOut, PostRef, Reacts, Status, Step
from adapters.testing.expect import holding, must, restarted, texts
from adapters.testing.harness import ConformanceError, Harness
from adapters.testing.host import RecordingHost


async def post_is_shown(harness: Harness) -> None:
    """A post is shown, with its steps and the labels of its choices."""
    adapter = await harness.start(RecordingHost())
    choices = (Choice("a:1", "Allow once", "primary"), Choice("a:2", "Deny", "danger"))
    steps = (Step("s1", "Read notes.txt", "done"), Step("s2", "Run make", "failed", "exit 2"))
    await adapter.send(harness.place, MessageOut("A question", choices, steps), "shown-1")
    posts = await harness.read("ann")
    must(len(posts) == 1, f"one post is shown, not {len(posts)}")
    must("A question" in posts[0].text, "its text is shown")
    must("Run make" in posts[0].text and "exit 2" in posts[0].text, "a failed step is shown")
    must(posts[0].choices == ("Allow once", "Deny"), f"all choices, not {posts[0].choices}")


async def once_a_key(harness: Harness) -> None:
    """A second `send` with a key gives the first post's ref and shows no second post."""
    adapter = await harness.start(RecordingHost())
    first = await adapter.send(harness.place, MessageOut("once"), "once-1")
    second = await adapter.send(harness.place, MessageOut("once"), "once-1")
    other = await adapter.send(harness.place, MessageOut("other"), "once-2")
    must(first == second, "the same key gives the same ref")
    must(first != other, "another key gives another ref")
    must(holding(await texts(harness), "once") == 1, "the post is shown once")


async def once_a_key_after_restart(harness: Harness) -> None:
    """After a restart, `send` with a key used before still finds the first post."""
    host = RecordingHost()
    adapter = await harness.start(host)
    first = await adapter.send(harness.place, MessageOut("once"), "again-1")
    adapter = await restarted(harness, host)
    must(first == await adapter.send(harness.place, MessageOut("once"), "again-1"), "same ref")
    must(holding(await texts(harness), "once") == 1, "the post is shown once")


async def edit_replaces(harness: Harness) -> None:
    """An edit replaces the whole post, its choices too; the last one wins."""
    adapter = await harness.start(RecordingHost())
    post = MessageOut("old words", (Choice("a:1", "Press"),), final=False)
    ref = await adapter.send(harness.place, post, "edit-1")
    await adapter.edit(harness.place, ref, MessageOut("newer words", final=False))
    await adapter.edit(harness.place, ref, MessageOut("newest words"))
    posts = await harness.read("ann")
    must(len(posts) == 1, "an edit makes no post")
    must("newest words" in posts[0].text, "the last edit is shown")
    must("old words" not in posts[0].text, "what was replaced is not shown")
    must(posts[0].choices == (), "a post without choices loses the ones it had")


async def edit_after_restart(harness: Harness) -> None:
    """A ref is enough to edit a post after a restart."""
    host = RecordingHost()
    adapter = await harness.start(host)
    ref = await adapter.send(harness.place, MessageOut("before"), "late-1")
    adapter = await restarted(harness, host)
    await adapter.edit(harness.place, PostRef(ref.id), MessageOut("afterwards"))
    shown = await texts(harness)
    must(holding(shown, "afterwards") == 1 and not holding(shown, "before"), "it is edited")


async def edit_of_nothing(harness: Harness) -> None:
    """An edit of a post that does not exist raises `Gone`."""
    adapter = await harness.start(RecordingHost())
    ref = await adapter.send(harness.place, MessageOut("a post"), "gone-1")
    unknown = PostRef("".join("7" if c.isdigit() else c for c in ref.id) + "777")
    try:
        await adapter.edit(harness.place, unknown, MessageOut("nothing"))
    except Gone:
        return
    except DeliveryError as error:
        raise ConformanceError(f"it raises Gone, not {type(error).__name__}") from error
    raise ConformanceError("it raises Gone and does not pretend")


async def longest_text_is_whole(harness: Harness) -> None:
    """A text of `text_limit` characters is shown whole."""
    adapter = await harness.start(RecordingHost())
    limit = adapter.caps.text_limit
    words: list[str] = []
    size = 0
    while size + 9 <= limit:
        words.append(f"w{len(words):07d}")
        size += 9
    text = " ".join(words).ljust(limit, "z")
    await adapter.send(harness.place, MessageOut(text), "long-1")
    shown = "".join((await texts(harness))[0].split())
    missing = [word for word in words if word not in shown]
    must(not missing, f"nothing is cut; missing: {missing[:3]} and {len(missing)} in all")
    must(shown.endswith(text[-5:]), "its end is shown")


async def only_for_one(harness: Harness) -> None:
    """What is only for one person is shown to that person and to nobody else."""
    adapter = await harness.start(RecordingHost())
    await harness.say("hello", key="only-0")
    secret = MessageOut("for Ann alone", only_for=harness.identity("ann"), tone="notice")
    await adapter.send(harness.place, secret, "only-1")
    must(holding(await texts(harness), "for Ann alone") == 1, "the person sees it")
    theirs = [seen.text for seen in await harness.read("ben")]
    must(not holding(theirs, "for Ann alone"), "nobody else does")


async def outage_is_told(harness: Harness) -> None:
    """A post that does not get through raises `DeliveryError`; tried again it is shown once."""
    adapter = await harness.start(RecordingHost())
    await harness.fail()
    try:
        await adapter.send(harness.place, MessageOut("late"), "outage-1")
    except DeliveryError as error:
        must(str(error), "the error says what is wrong")
    except Exception as error:
        raise ConformanceError(f"DeliveryError, not {type(error).__name__}: {error}") from error
    else:
        raise ConformanceError("it does not pretend that a post got through")
    finally:
        await harness.mend()
    await adapter.send(harness.place, MessageOut("late"), "outage-1")
    must(holding(await texts(harness), "late") == 1, "it is shown once")


async def extras_never_raise(harness: Harness) -> None:
    """A status and a mark never raise, not even for a message that nobody knows."""
    host = RecordingHost()
    adapter = await harness.start(host)
    await harness.say("hello", key="extras-1")
    if isinstance(adapter, Status):
        await adapter.status(harness.place, "is thinking")
        await adapter.status(harness.place, "")
        await adapter.status(dataclasses.replace(harness.place, channel="nowhere"), "hm")
    if isinstance(adapter, Reacts):
        for mark in ("queued", "working", "done", "failed"):
            await adapter.react(harness.place, host.messages[0].keys[0], mark)
        await adapter.react(harness.place, "a key of nobody", "done")
