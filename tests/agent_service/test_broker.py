"""The broker on real sockets, with the scripted Messages API behind it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from agent_service.broker.broker import Answered, Broker
from agent_service.broker.gate import MOST_CONNECTIONS, Gate
from agent_service.broker.ledger import Ledger
from agent_service.broker.prices import Price, PriceTable
from agent_service.broker.purses import Purses
from agent_service.broker.requests import MOST_REQUESTS
from agent_service.broker.rules import Refused, Rules
from agent_service.broker.tokens import Grant
from agent_service.contract import Budget
from agent_service.credentials.keyring import Key, NoCredential
from agent_service.store import audit
from agent_service.store.database import Database
from agent_service.testing import ScriptedMessages

KEY = "sk-ant-real-key-of-the-operator"
MODEL = "claude-sonnet-5-5"


class House:
    """A broker, its model, and a client at a session's socket."""

    def __init__(self, folder: Path, model: ScriptedMessages) -> None:
        self.answered: list[Answered] = []
        self.unmetered: list[str] = []
        self.credentials = {"p1": "k1"}
        self.used_before: dict[str, float] = {}
        self.model = model
        self.now = 1_000_000.0
        self._folder = folder
        self.rules = Rules(models=("claude-*",), max_tokens=1000)
        self.broker = Broker(
            self.choose,
            self.rules,
            PriceTable({"claude-*": Price(1, 10)}),
            self.answered.append,
            self.spent,
            Purses(self.used, lambda: self.now),
            self.unmetered.append,
        )

    async def used(self, person: str | None, _since: float) -> float:
        await asyncio.sleep(0)
        return self.used_before.get(person or "all", 0.0)

    async def spent(self, conversation: str) -> float:
        return self.used_before.get(conversation, 0.0)

    def choose(self, person: str) -> Key:
        if person not in self.credentials:
            raise NoCredential("Your access was revoked.", remedy="Ask.")
        return Key(self.credentials[person], self.model.url, KEY)

    async def open(self, given: Grant) -> Gate:
        gate = await self.broker.open(given, self._folder / f"{given.session}.sock")
        gate.token.person, gate.token.turn = "p1", "t1"
        return gate

    async def ask(
        self,
        gate: Gate,
        body: Any,
        path: str = "/v1/messages",
        method: str = "POST",
        **headers: str,
    ) -> tuple[int, Mapping[str, str], bytes]:
        given = {"x-api-key": gate.token.secret, "anthropic-beta": "one,two", **headers}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(gate.socket))) as http,
            http.request(method, f"http://broker{path}", data=io.BytesIO(raw), headers=given) as it,
        ):
            return it.status, it.headers, await it.read()


def grant(session: str = "s1", **more: Any) -> Grant:
    return Grant(session, "c1", "w1", **more)


def prompt(text: str = "say hello", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 100, "messages": messages, **more}


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture
async def house(folder: Path) -> AsyncIterator[House]:
    async with ScriptedMessages(api_key=KEY) as model:
        made = House(folder, model)
        yield made
        await made.broker.close()


async def test_a_stream_passes_with_the_real_key(house: House) -> None:
    """The model sees the operator's key and the CLI's own headers, the session sees the answer."""
    gate = await house.open(grant())
    status, headers, body = await house.ask(gate, prompt(stream=True), "/v1/messages?beta=true")
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["request-id"]
    assert b"hello" in body
    seen = house.model.requests[-1]
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-beta"] == "one,two"
    assert seen.path == "/v1/messages?beta=true"
    assert gate.token.secret not in json.dumps(dict(seen.headers))


@pytest.mark.parametrize(
    "name",
    ["x-portkey-custom-host", "Helicone-Target-Url", "x-litellm-api-base", "X-Forwarded-Host"],
)
async def test_no_header_steers_a_gateway(house: House, name: str) -> None:
    """What a gateway could take as an order, where to send the request or the key, is left out."""
    gate = await house.open(grant())
    status, _, _ = await house.ask(gate, prompt(), **{name: "evil.example"})
    assert status == 200
    seen = house.model.requests[-1]
    assert "evil.example" not in json.dumps(dict(seen.headers))
    assert seen.headers["anthropic-beta"] == "one,two"


async def test_words_come_as_they_are_said(house: House) -> None:
    """Nothing is held back: the first word arrives long before the last."""
    gate = await house.open(grant())
    clock = asyncio.get_running_loop().time
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(gate.socket))) as http:
        body = prompt("slow 1 one two three four", stream=True)
        headers = {"Authorization": f"Bearer {gate.token.secret}"}
        async with http.post("http://broker/v1/messages", json=body, headers=headers) as answer:
            times = [clock() async for _ in answer.content.iter_any()]
    assert len(times) > 3
    assert times[-1] - times[0] > 0.5


async def test_tokens_and_money_are_counted(house: House) -> None:
    """Each answer is accounted to its person, streamed or not, and a count of tokens is free."""
    gate = await house.open(grant())
    await house.ask(gate, prompt(stream=True))
    await house.ask(gate, prompt())
    await house.ask(gate, {k: v for k, v in prompt().items() if k != "max_tokens"},
                    "/v1/messages/count_tokens")  # fmt: skip
    first, second = house.answered
    assert (first.person, first.turn) == ("p1", "t1")
    assert first.model == MODEL
    assert (first.tokens.input > 0, first.tokens.output > 0) == (True, True)
    assert second.tokens.output == first.tokens.output
    wanted = (first.tokens.input * 1 + first.tokens.output * 10) / 1e6
    assert first.cost_usd == pytest.approx(wanted)
    assert gate.token.spend.usd == pytest.approx(first.cost_usd + second.cost_usd)


async def test_a_token_is_good_for_its_own_session_only(house: House) -> None:
    """Another session's token, none, the real key or a guess are refused without a retry."""
    mine, other = await house.open(grant("s1")), await house.open(grant("s2"))
    for token in (other.token.secret, "", KEY, mine.token.secret[:-1], "ü"):
        status, headers, _ = await house.ask(mine, prompt(), **{"x-api-key": token})
        assert status == 403
        assert headers["x-should-retry"] == "false"
    assert len(house.model.requests) == 0


async def test_a_revoked_token_is_worthless_at_once(house: House) -> None:
    """Also in the middle of an answer."""
    gate, other = await house.open(grant()), await house.open(grant("s2"))
    asking = asyncio.create_task(house.ask(gate, prompt("slow 5 a b c d e f g h", stream=True)))
    await asyncio.sleep(0.7)
    (mine,) = [token for token in house.broker.tokens() if token is gate.token]
    assert (mine.credential, mine.person) == ("k1", "p1")
    mine.void = True
    try:
        async with asyncio.timeout(4):
            _, _, body = await asking
            assert b"message_stop" not in body
    except aiohttp.ClientPayloadError:
        pass
    status, headers, _ = await house.ask(gate, prompt())
    assert (status, headers["x-should-retry"]) == (403, "false")
    assert (await house.ask(other, prompt()))[0] == 200


async def test_a_person_without_a_credential_is_told(house: House) -> None:
    """The credential is chosen anew for each request: what was revoked in between is not used."""
    gate = await house.open(grant())
    assert (await house.ask(gate, prompt()))[0] == 200
    house.credentials.clear()
    status, headers, body = await house.ask(gate, prompt())
    assert (status, headers["x-should-retry"]) == (403, "false")
    assert b"Your access was revoked." in body


async def test_a_budget_ends_with_the_answer_that_crosses_it(house: House) -> None:
    """The answer that crosses the cap is delivered whole, the next request is refused."""
    gate = await house.open(grant(cap_usd=1e-9))
    assert (await house.ask(gate, prompt()))[0] == 200
    status, headers, body = await house.ask(gate, prompt())
    assert (status, headers["x-should-retry"]) == (403, "false")
    assert b"budget" in body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages/../files"),
        ("POST", "/v1/organizations/x"),
        ("DELETE", "/v1/messages"),
        ("GET", "/metrics"),
        ("POST", "//v1/messages"),
        ("POST", "/v1/messages%2fbatches"),
    ],
)
async def test_other_paths_lead_nowhere(house: House, method: str, path: str) -> None:
    """Only what a session needs is passed on."""
    gate = await house.open(grant())
    status, _, _ = await house.ask(gate, prompt(), path, method)
    assert status == 404
    assert len(house.model.requests) == 0


async def test_a_whole_url_in_the_request_line_goes_nowhere_else(house: House) -> None:
    """The key is sent to the operator's model only, whatever the request line says."""
    gate = await house.open(grant())
    reader, writer = await asyncio.open_unix_connection(str(gate.socket))
    raw = json.dumps(prompt()).encode()
    writer.write(
        b"POST http://127.0.0.1:1/v1/messages HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"
        b"x-api-key: " + gate.token.secret.encode() + b"\r\nContent-Length: "
        + str(len(raw)).encode() + b"\r\nConnection: close\r\n\r\n" + raw
    )  # fmt: skip
    answer = await reader.read()
    writer.close()
    assert b" 502 " not in answer.partition(b"\r\n")[0]
    assert all(r.path == "/v1/messages" for r in house.model.requests)


async def test_errors_of_the_model_come_unchanged(house: House) -> None:
    """Status, headers and body of an error are the model's own."""
    gate = await house.open(grant())
    status, headers, body = await house.ask(gate, prompt("error 429"))
    assert status == 429
    assert headers["retry-after"] == "1"
    assert json.loads(body)["error"]["type"] == "rate_limit_error"


async def test_a_model_that_is_away_is_told(house: House) -> None:
    """A connection that fails is an error the CLI may try again, in words it can show."""
    gate = await house.open(grant())
    await house.model.stop()
    status, headers, body = await house.ask(gate, prompt())
    assert status == 502
    assert "x-should-retry" not in headers
    assert b"cannot be reached" in body


async def test_who_hangs_up_stops_the_request(house: House) -> None:
    """A session that ends leaves no request at the model that goes on costing."""
    gate = await house.open(grant())
    asking = asyncio.create_task(house.ask(gate, prompt("slow 30 one two three", stream=True)))
    await asyncio.sleep(0.5)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(10):
        while not house.answered:  # what was said by then is accounted for
            await asyncio.sleep(0.02)
    assert house.answered[0].tokens.input > 0


async def test_what_was_said_counts_however_early_somebody_hangs_up(house: House) -> None:
    """The model's last numbers never came: the words that did are counted by their length. Whoever
    waits for no word at all pays for what was read."""
    gate = await house.open(grant())
    body = prompt("slow 30 " + "x" * 2000 + " two three", stream=True)
    connector = aiohttp.UnixConnector(str(gate.socket))
    headers = {"x-api-key": gate.token.secret}
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.post("http://broker/v1/messages", json=body, headers=headers) as answer:
            seen = b""
            while b"x" * 1000 not in seen:
                seen += await answer.content.readany()
            answer.close()
        async with asyncio.timeout(10):
            while not house.answered:
                await asyncio.sleep(0.02)
        assert house.answered[0].tokens.output >= 500
        asking = asyncio.create_task(house.ask(gate, prompt("hang\n" + "y" * 4000)))
        async with asyncio.timeout(10):
            while len(house.model.requests) < 2:
                await asyncio.sleep(0.02)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            while len(house.answered) < 2:
                await asyncio.sleep(0.02)
    assert house.answered[1].tokens.input >= 1000


class Gateway:
    """One that says what it is told to, and nothing of what it used."""

    def __init__(self) -> None:
        self.answer = web.Response()

    async def __aenter__(self) -> Gateway:
        async def handle(_request: web.Request) -> web.Response:
            made = self.answer
            return web.Response(status=made.status, body=made.body, headers=made.headers)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


STREAMED = b"".join(
    b"data: " + json.dumps(data).encode() + b"\n\n"
    for data in (
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x" * 400}},
        {"type": "message_stop"},
    )
)


@pytest.mark.parametrize(
    ("answer", "streams", "output"),
    [
        (web.json_response({"content": [{"type": "text", "text": "hi"}]}), False, 100),
        (web.json_response({"usage": {}}), False, 100),
        (web.Response(text="<html>"), False, 100),
        (web.Response(), False, 100),
        (web.Response(body=STREAMED, content_type="text/event-stream"), True, 100),
        (web.json_response({"usage": {"input_tokens": 3}}), False, None),
        (web.json_response({"error": {}}, status=500), False, None),
    ],
    ids=["no usage", "empty usage", "no JSON", "nothing", "stream", "usage", "error"],
)
async def test_an_answer_that_does_not_say_what_it_used(
    folder: Path, answer: web.Response, streams: bool, output: int | None
) -> None:
    """What it may have used counts, so that no gateway gets around a cap; an operator hears of it.
    A stream's words count by their length; what says what it used, and an error, by that."""
    async with Gateway() as gateway:
        gateway.answer = answer
        house = House(folder, gateway)  # type: ignore[arg-type]
        gate = await house.open(grant(cap_usd=1))
        body = prompt("z" * 4000, **({"stream": True} if streams else {}))
        await house.ask(gate, body)
        counted = [found.tokens for found in house.answered]
        if output is None:
            assert [tokens.input for tokens in counted] in ([], [3])
            assert house.unmetered == []
        else:
            (tokens,) = counted
            assert tokens.input >= 1000
            assert tokens.output == output
            assert gate.token.spend.usd > 0
            assert house.unmetered == ["k1"]
        await house.broker.close()


async def test_it_is_audited_once_for_a_credential(tmp_path: Path) -> None:
    """A gateway that never says it makes one entry, not one for each answer."""
    database = Database(tmp_path / "agent.db")
    await database.open()
    ledger = Ledger(database)
    for _ in range(50):
        ledger.unmetered("k1")
        await asyncio.sleep(0)
    ledger.unmetered("k2")
    await ledger.close()
    entries = await database.tx(audit.page, 0)
    assert [(entry.kind, entry.subject) for entry in entries] == [
        ("usage.missing", "k1"), ("usage.missing", "k2")
    ]  # fmt: skip
    await database.close()


async def test_a_late_answer_is_charged_to_who_asked(house: House) -> None:
    """The next turn may have begun when the answer of the one before is over."""
    gate = await house.open(grant())
    asking = asyncio.create_task(house.ask(gate, prompt("slow 1 one two", stream=True)))
    await asyncio.sleep(0.5)
    house.credentials["p2"] = "k2"
    gate.token.turn, gate.token.person, gate.token.credential = "t2", "p2", "k2"
    await asking
    (answered,) = house.answered
    assert (answered.turn, answered.person, answered.credential) == ("t1", "p1", "k1")


async def test_many_at_once_overshoot_a_budget_by_one_answer(house: House) -> None:
    """However many are asked for together; and they are not refused while there is money left."""
    gate = await house.open(grant(cap_usd=1e-4))
    said = prompt("slow 0.3 one two three", stream=True)
    statuses = [status for status, _, _ in await asyncio.gather(
        *(house.ask(gate, said) for _ in range(8))
    )]  # fmt: skip
    costs = [answered.cost_usd for answered in house.answered]
    assert sum(costs) >= 1e-4
    assert sum(costs) - max(costs) < 1e-4
    assert sorted(statuses) == [200] * len(costs) + [403] * (8 - len(costs))


async def test_a_budget_is_the_conversations(house: House) -> None:
    """A new session of it begins where the last one ended, after a restart of the service too;
    other conversations have their own."""
    first = await house.open(grant("s1", cap_usd=1e-9))
    assert (await house.ask(first, prompt()))[0] == 200
    await house.broker.shut(first)
    again = await house.open(grant("s2", cap_usd=1e-9))
    assert (await house.ask(again, prompt()))[0] == 403
    house.used_before["c2"] = 5.0
    stored = await house.open(Grant("s3", "c2", "w1", cap_usd=5.0))
    assert (await house.ask(stored, prompt()))[0] == 403
    other = await house.open(Grant("s4", "c3", "w1", cap_usd=5.0))
    assert (await house.ask(other, prompt()))[0] == 200


async def test_two_turns_of_a_person_share_the_rest_of_the_day(house: House) -> None:
    """However many sessions ask at once, one answer crosses the person's budget and no more; what
    somebody else has left is theirs."""
    budget = Budget("person", 1e-4, "day")
    gates = [await house.open(Grant(f"s{n}", f"c{n}", "w1")) for n in range(4)]
    for gate in gates:
        gate.token.budgets = (budget,)
    said = prompt("slow 0.3 one two three", stream=True)
    asked = [house.ask(gate, said) for gate in gates for _ in range(3)]
    statuses = [status for status, _, _ in await asyncio.gather(*asked)]
    costs = [answered.cost_usd for answered in house.answered]
    assert sum(costs) >= 1e-4 > sum(costs) - max(costs)
    assert sorted(statuses) == [200] * len(costs) + [403] * (12 - len(costs))
    house.credentials["p2"] = "k1"
    gates[0].token.person = "p2"
    assert (await house.ask(gates[0], prompt()))[0] == 200


async def test_crossed_budgets_do_not_lock_each_other(house: House) -> None:
    """Sessions with one budget, the other, and both: all of them come to an answer."""
    person, all_of_us = Budget("person", 1e-4, "day"), Budget("deployment", 1.2e-4, "month")
    mixed = [(person,), (all_of_us,), (all_of_us, person), (person, all_of_us)]
    asked = []
    for number, budgets in enumerate(mixed):
        gate = await house.open(Grant(f"s{number}", f"c{number}", "w1", cap_usd=1.0))
        gate.token.budgets = budgets
        asked += [house.ask(gate, prompt("slow 0.2 one two", stream=True)) for _ in range(3)]
    async with asyncio.timeout(30):
        statuses = {status for status, _, _ in await asyncio.gather(*asked)}
    assert statuses == {200, 403}


async def test_a_budget_counts_what_was_used_before_and_renews(house: House) -> None:
    """What the ledger knows of the period counts; with the next day there is a new one."""
    house.used_before["p1"] = 5.0
    gate = await house.open(grant())
    gate.token.budgets = (Budget("person", 5.0, "day", "Asia/Tokyo"),)
    status, headers, body = await house.ask(gate, prompt())
    assert (status, headers["x-should-retry"]) == (403, "false")
    assert b"budget of the person" in body
    house.used_before["p1"] = 0.0
    assert (await house.ask(gate, prompt()))[0] == 403
    house.now += 86_400
    assert (await house.ask(gate, prompt()))[0] == 200


async def test_one_session_asks_so_much_at_once_and_no_more(house: House) -> None:
    """One request more is told to come again; others' sessions notice nothing."""
    gate, other = await house.open(grant()), await house.open(grant("s2"))
    asking = [
        asyncio.create_task(house.ask(gate, prompt("slow 5 one two", stream=True)))
        for _ in range(MOST_REQUESTS)
    ]
    async with asyncio.timeout(10):
        while len(house.model.requests) < MOST_REQUESTS:
            await asyncio.sleep(0.02)
    status, headers, body = await house.ask(gate, prompt())
    assert (status, headers["retry-after"]) == (429, "1")
    assert "x-should-retry" not in headers
    assert b"too much at once" in body
    assert (await house.ask(other, prompt()))[0] == 200
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_session_has_so_many_connections(house: House) -> None:
    """One more is told and cut off; room that is made is used again."""
    gate = await house.open(grant())
    open_ = [await asyncio.open_unix_connection(str(gate.socket)) for _ in range(MOST_CONNECTIONS)]
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_unix_connection(str(gate.socket))
    assert b" 429 " in (await reader.read()).partition(b"\r\n")[0]
    writer.close()
    for _, each in open_:
        each.close()
    async with asyncio.timeout(5):
        while (await house.ask(gate, prompt()))[0] != 200:
            await asyncio.sleep(0.02)


async def test_a_bomb_of_json_holds_nobody_up(house: House) -> None:
    """What takes long to look into does not keep others' words from passing."""
    gate = await house.open(grant())
    bomb = b'{"model": "claude-x", "messages": [' + b"{}," * 3_000_000 + b"{}]}"
    clock = asyncio.get_running_loop().time
    began = clock()
    with contextlib.suppress(Refused):
        house.rules.check(bomb)
    inline = clock() - began
    longest, last, going = 0.0, clock(), True

    async def look() -> None:
        nonlocal longest, last
        while going:
            await asyncio.sleep(0.01)
            now = clock()
            longest, last = max(longest, now - last), now

    looking = asyncio.create_task(look())
    status, _, _ = await house.ask(gate, bomb)
    going = False
    await looking
    assert status == 400
    assert longest < inline / 2, (longest, inline)


async def test_a_closed_gate_is_gone(house: House) -> None:
    """After its session there is no socket, and closing again is harmless."""
    gate = await house.open(grant())
    assert gate.socket.stat().st_mode & 0o777 == 0o600
    await house.broker.shut(gate)
    await house.broker.shut(gate)
    assert not gate.socket.exists()
    assert gate.token.void


async def test_too_large_a_body_is_refused(house: House) -> None:
    """Nothing over the API's own limit is taken into memory."""
    gate = await house.open(grant())
    status, _, _ = await house.ask(gate, b" " * (33 * 1024 * 1024))
    assert status == 413


async def test_without_a_sandbox_it_is_on_loopback(house: House) -> None:
    """Where there is no sandbox, the same gate listens on this machine only."""
    gate = await house.broker.open(grant(), None)
    gate.token.person = "p1"
    assert gate.url.startswith("http://127.0.0.1:")
    headers = {"x-api-key": gate.token.secret}
    async with (
        aiohttp.ClientSession() as http,
        http.post(gate.url + "/v1/messages", json=prompt(), headers=headers) as answer,
    ):
        assert answer.status == 200


def test_nothing_shows_the_secrets() -> None:
    """Neither the key nor a token stands in what is printed of these objects."""
    from agent_service.broker.tokens import SessionToken

    token = SessionToken.mint(grant())
    assert token.secret not in repr(token)
    assert KEY not in repr(Key("k1", "http://x", KEY))
