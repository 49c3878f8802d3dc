"""Many people write while processes are killed: nothing lost, nothing doubled, order kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from tests.bridge.house import until
from tests.bridge.town import Town, ends_well


async def storm(
    town: Town, nodes: Sequence[str], messages: int, conversations: int, kills: int, seed: int
) -> None:
    """People write at all nodes while nodes and agent service are killed at random; then
    everything is compared with what was said."""
    dice = random.Random(seed)
    each = messages // conversations
    said = {f"c{c}": [f"say answer {n} of {c}" for n in range(each)] for c in range(conversations)}

    async def talk(channel: str, node: str) -> None:
        for order, text in enumerate(said[channel], 1):
            await town.say(channel, text, order, node)

    talks = [
        asyncio.create_task(talk(channel, nodes[number % len(nodes)]))
        for number, channel in enumerate(said)
    ]
    for kill in range(kills):
        goal = messages * (kill + 1) // (kills + 2)
        await until(lambda goal=goal: town.posts.finals() >= goal, 300)
        victim = dice.choice([*nodes, "agent"])
        if victim == "agent":
            await town.kill_agent()
            await town.start_agent()
        else:
            await town.kill_node(victim)
            await town.start_node(victim)
    await asyncio.gather(*talks)
    ends_with = {c: texts[-1].removeprefix("say ") for c, texts in said.items()}
    for channel, last in ends_with.items():
        await until(lambda c=channel, last=last: _over(town, c, last), 300)
    turns = [prompt for _, prompt in town.turns()]
    assert sorted(turns) == sorted(text for texts in said.values() for text in texts)
    for channel, texts in said.items():
        shown = town.posts.texts(channel)
        answers = [text for text in shown if text.startswith("answer")]
        wanted = [text.removeprefix("say ") for text in texts]
        # Where the agent service died in a turn, that is told in place of its answer.
        told = len(shown) - len(answers)
        assert answers == [text for text in wanted if text in answers], shown
        assert len(answers) + told >= len(wanted), shown
        assert len(set(answers)) == len(answers)


def _over(town: Town, channel: str, last: str) -> bool:
    posts = town.posts.of(channel)
    ended = bool(posts) and all(post["final"] for post in posts)
    return ended and (posts[-1]["text"] == last or "stopped while" in posts[-1]["text"])


async def real_storm(town: Town, nodes: Sequence[str]) -> None:
    """60 messages to the real CLI, while the first node is killed twice."""
    said = {f"c{c}": [f"say answer {n} of {c}" for n in range(10)] for c in range(6)}

    async def talk(channel: str, node: str) -> None:
        for order, text in enumerate(said[channel], 1):
            await town.say(channel, text, order, node)

    talks = [asyncio.create_task(talk(c, nodes[n % len(nodes)])) for n, c in enumerate(said)]
    for goal in (15, 35):
        await until(lambda goal=goal: town.posts.finals() >= goal, 200)
        await town.kill_node(nodes[0])
        await town.start_node(nodes[0])
    await asyncio.gather(*talks)
    for channel, texts in said.items():
        await until(lambda c=channel: len(town.posts.of(c)) == 10, 200)
        await ends_well(town, channel, [text.removeprefix("say ") for text in texts])
    assert len(town.turns()) == 60
