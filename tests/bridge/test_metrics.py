"""Metrics: who reads them, what is in them, and that the page about them is true."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.contract import DeliveryError, NotAllowed
from agent_service.broker.broker import Answered
from agent_service.broker.meter import Tokens
from agent_service.broker.tokens import Grant
from agent_service.metrics import MOST_MODELS
from agent_service.metrics import Metrics as AgentMetrics
from tests.bridge.house import House
from tests.bridge.test_people import ADA, let_in

POSTGRES_TOO = "quick"
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
TOKEN = "a-token-of-24-characters"
WITH_TOKEN = {"bridge_listen": "127.0.0.1:0", "bridge_metrics_token": TOKEN}


async def get(house: House, path: str = "/metrics", given: str = f"Bearer {TOKEN}"):
    host, port = house.bridge.address
    headers = {"Authorization": given} if given else {}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://{host}:{port}{path}", headers=headers) as got,
    ):
        return got.status, await got.text()


def samples(text: str) -> dict[tuple[str, str], float]:
    """By name and labels."""
    return {
        (s.name, ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def served(text: str) -> set[tuple[str, frozenset[str]]]:
    """Name and labels of each that is of ours, as the page has them."""
    found = set()
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for s in family.samples for label in s.labels} - {"le"}
        if family.samples and not family.name.endswith("_created"):
            found.add((name, frozenset(labels)))
    return found


def described(title: str) -> set[tuple[str, frozenset[str]]]:
    """The same in a table of the page."""
    section = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", section, re.MULTILINE)
    return {(name, frozenset(re.findall(r"`(\w+)`", labels))) for name, labels in rows}


async def test_only_with_the_token(house):
    """Nobody without it, however near it is; and without one set there is no page at all."""
    await house.start(**WITH_TOKEN)
    for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \u00e9"):
        for path in ("/metrics", "/metrics/agent"):
            status, body = await get(house, path, given)
            assert (status, body) == (401, "")
    assert (await get(house))[0] == 200
    await house.bridge.stop()
    await house.start(bridge_listen="127.0.0.1:0")
    for path in ("/metrics", "/metrics/agent"):
        assert (await get(house, path, "Bearer "))[0] == 404


async def test_the_page_tells_what_is_served(house):
    """Every metric is described with its labels, and nothing else is."""
    await house.start(**WITH_TOKEN)
    await house.say("say hello")
    await house.sees("hello")
    await house.quiet()
    assert served((await get(house))[1]) == described("/metrics")
    assert served((await get(house, "/metrics/agent"))[1]) == described("/metrics/agent")


async def test_what_is_counted(house, wait):
    """Turns, first texts, what waits and for how long, deliveries that fail, the state of parts."""
    await house.start(**WITH_TOKEN, bridge_messages_a_minute=9)
    await let_in(house, ADA, "a1")
    await house.say("say hello", "a1", sender=ADA, key="k")
    await house.say("say hello", "a1", sender=ADA, key="k")
    await house.sees("hello", "a1")
    await house.quiet("a1")
    await house.say("", "a2", sender=ADA)
    await wait(lambda: "failed" in house.platform.marks.values())
    house.platform.trouble = [DeliveryError("Once."), NotAllowed("Never.")]
    await house.say("error 500", "c1")
    await wait(lambda: not house.platform.trouble)
    await house.quiet("c1")
    await house.say("bash git push", "c2")
    await house.card("c2")
    await house.say("say behind", "c2")
    await house.say("say busy then hang", "c3")
    await house.sees("busy", "c3")

    p = "bascule_bridge_"
    expected = {
        (f"{p}messages_total", "result=stored"): 6,
        (f"{p}messages_total", "result=duplicate"): 1,
        (f"{p}turns_total", "outcome=completed"): 1,
        (f"{p}turns_total", "outcome=not_taken"): 1,
        (f"{p}turns_total", "outcome=failed"): 1,
        (f"{p}deliveries_total", "adapter=memory,result=retried"): 1,
        (f"{p}deliveries_total", "adapter=memory,result=failed"): 1,
        (f"{p}messages_queued", ""): 1,
        (f"{p}decisions_waiting", ""): 1,
        (f"{p}turns_running", ""): 1,
        (f"{p}turns_here", ""): 1,
        (f"{p}first_text_seconds_count", ""): 2,
        (f"{p}part", "part=store,state=ok"): 1,
        (f"{p}part", "part=store,state=failed"): 0,
        (f"{p}part", "part=adapter memory,state=degraded"): 0,
    }
    now: dict[tuple[str, str], float] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while {key: now.get(key) for key in expected} != expected:
                now = samples((await get(house))[1])
    assert {key: now.get(key) for key in expected} == expected
    later = samples((await get(house))[1])
    oldest = (f"{p}oldest_message_seconds", "")
    assert 0 <= now[oldest] < later[oldest]
    agent = samples((await get(house, "/metrics/agent"))[1])
    a = "bascule_agent_"
    assert agent[f"{a}turns_total", "outcome=completed"] == 1
    assert agent[f"{a}turns_open", "state=waiting"] == 1
    assert agent[f"{a}decisions_waiting", ""] == 1
    assert agent[f"{a}model_answers_total", "model=scripted"] == 2
    assert agent[f"{a}model_usd_total", "model=scripted"] > 0
    assert agent[f"{a}model_tokens_total", "kind=output,model=scripted"] == 2


async def test_nobody_is_in_them(house):
    """No id, name, channel or word of anybody is in any label."""
    await house.start(**WITH_TOKEN)
    ada = await let_in(house, ADA, "a-secret-channel")
    await house.say("say a secret word", "a-secret-channel", sender=ADA)
    await house.sees("secret word", "a-secret-channel")
    for path in ("/metrics", "/metrics/agent"):
        body = (await get(house, path))[1]
        for word in (ada, "Ada", "secret", "w_", "t_"):
            assert word not in re.sub(r"bascule_\w+", "", body), word


async def test_the_agent_service_is_away(house):
    """The bridge's own are there, and say so; the agent service's are not."""
    await house.start(**WITH_TOKEN)
    await house.agent.stop()
    status, body = await get(house, "/metrics/agent")
    assert (status, "not reachable" in body) == (503, True)
    now = samples((await get(house))[1])
    assert now["bascule_bridge_part", "part=agent,state=failed"] == 1
    await house.agent.start()


def test_models_are_a_few():
    """Whatever names somebody asks for, so many are told apart."""
    metrics = AgentMetrics()
    for number in range(MOST_MODELS * 2):
        metrics.answered(
            Answered(Grant("s", "c", "w"), "t", "p", "k", f"m{number}", Tokens(output=1), 1.0)
        )
    found = samples(metrics.text({}, 0).decode())
    usd = {key: value for key, value in found.items() if key[0].endswith("model_usd_total")}
    assert len(usd) == MOST_MODELS + 1
    assert usd["bascule_agent_model_usd_total", "model=other"] == MOST_MODELS


@pytest.mark.parametrize("token", ["short", "a token with spaces in it", "\u00e9" * 20])
def test_a_bad_token_is_refused(house, token):
    """One that could be guessed, or that no header can carry."""
    with pytest.raises(ValueError, match=r"characters|spaces"):
        house.settings(bridge_metrics_token=token)
