"""Buttons and forms bring back exactly what they stand for."""

from __future__ import annotations

from adapters.contract import Choice, Field, MessageOut
from adapters.testing.expect import must, restarted
from adapters.testing.harness import Harness
from adapters.testing.host import RecordingHost


async def choice_comes_back(harness: Harness) -> None:
    """A choice that is taken comes back with its exact action, its place and its presser."""
    host = RecordingHost()
    adapter = await harness.start(host)
    actions = ("d:dec_1:allow", "d:dec_1:answer.0.1", "x:" + "ü/#?&=%" * 5)
    choices = tuple(Choice(action, f"Take {n}") for n, action in enumerate(actions))
    await adapter.send(harness.place, MessageOut("Choose", choices), "choice-1")
    for number in range(len(actions)):
        taken = await harness.press("Choose", f"Take {number}", {}, key=f"choice-{number}")
        must(taken, "a stored action is acknowledged")
    got = [action.action for action in host.actions]
    must(got == list(actions), f"actions come back exactly, not as {got}")
    must(all(a.address == harness.place for a in host.actions), "an action names its place")
    presser = harness.identity("ann")
    must(all(a.sender.identity == presser for a in host.actions), "and who pressed")


async def choice_survives_restart(harness: Harness) -> None:
    """The choices of a post work after a restart."""
    host = RecordingHost()
    adapter = await harness.start(host)
    post = MessageOut("Choose", (Choice("d:1:allow", "Allow"),), tone="decision")
    await adapter.send(harness.place, post, "later-1")
    await restarted(harness, host)
    must(await harness.press("Choose", "Allow", {}, key="later-2"), "it is acknowledged")
    must([a.action for a in host.actions] == ["d:1:allow"], "its action comes back")


async def form_brings_values(harness: Harness) -> None:
    """A choice with a form brings what was written and chosen, by the names of its fields."""
    host = RecordingHost()
    adapter = await harness.start(host)
    form = (
        Field("reason", "Why?"),
        Field("q0", "Which one?", (("v1", "First"), ("v2", "Second"))),
        Field("q1", "Which ones?", (("a", "A"), ("b", "B"), ("c", "C")), many=True),
        Field("more", "Anything else?", required=False),
    )
    choice = Choice("d:1:answer", "Answer", form=form)
    host.forms[choice.action] = form
    await adapter.send(harness.place, MessageOut("Fill in", (choice,)), "form-1")
    given = {"reason": ["because <it> *is* ü"], "q0": ["v2"], "q1": ["a", "c"]}
    await harness.press("Fill in", "Answer", given, key="form-2")
    must(len(host.actions) == 1, "a form brings one action")
    must(host.actions[0].action == "d:1:answer", "with the choice's action")
    got = {name: list(texts) for name, texts in host.actions[0].values if texts}
    must(got == given, f"the values are {given}, not {got}")


async def action_not_stored(harness: Harness) -> None:
    """A choice that could not be stored is not acknowledged: its presser learns of it."""
    host = RecordingHost()
    adapter = await harness.start(host)
    await adapter.send(harness.place, MessageOut("Choose", (Choice("x:1", "Go"),)), "unstored-1")
    host.refuse = 1
    must(not await harness.press("Choose", "Go", {}, key="unstored-2"), "no acknowledgement")
    must(await harness.press("Choose", "Go", {}, key="unstored-3"), "pressed again, it is taken")
