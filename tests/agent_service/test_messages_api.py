"""The scripted Messages API: its language, its protocol, and the real Claude CLI against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    Message,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    ToolPermissionContext,
    ToolUseBlock,
)
from hypothesis import given
from hypothesis import strategies as st

import agent_service.testing
from agent_service.testing import ScriptedMessages
from agent_service.testing.commands import COMMANDS
from agent_service.testing.request import Request
from agent_service.testing.script import parse
from agent_service.testing.steps import Calls, Drop, Echo, Fail, Say, Step, Think, Wrong

README = Path(agent_service.testing.__file__).with_name("README.md").read_text()
EXAMPLES = [
    example.replace("\\|", "|")
    for example in re.findall(r"^\| `(.+?)` \|", README, flags=re.MULTILINE)
]
REMINDER = {"type": "text", "text": "<system-reminder>say something else</system-reminder>"}


class TestLanguage:
    @pytest.mark.parametrize("example", EXAMPLES)
    def test_readme_example(self, example: str) -> None:
        """Each example in the README's table is understood as one step."""
        (step,) = parse(example)
        assert not isinstance(step, Echo | Wrong)

    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.usage)
    def test_command_is_in_the_readme(self, command: Any) -> None:
        """No command is left out of the README's table."""
        assert any(re.match(command.opening, example, re.IGNORECASE) for example in EXAMPLES)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever a newcomer types gives at least one step and never an exception."""
        assert parse(text)

    @given(
        st.sampled_from([re.split(r"[ \[{]", c.usage)[0] for c in COMMANDS]),
        st.text(),
        st.sampled_from([" ", " then say ", "\n", " | ", ";;", " => "]),
        st.text(),
    )
    def test_any_arguments(self, keyword: str, first: str, between: str, second: str) -> None:
        """Whatever follows a keyword gives at least one step and never an exception."""
        assert parse(f"{keyword} {first}{between}{second}")

    @pytest.mark.parametrize(
        "text",
        [
            "slow abc",
            "slow",
            "think nan",
            "tool X {bad",
            "tool X [1]",
            "ask Which?",
            "both ls",
            "edit a.txt no arrow",
            "error 418",
            "error 529 twice",
            "drop dead",
            "show me",
            "long 999999999",
            "say hello then slow abc hello",
        ],
    )
    def test_mistake(self, text: str) -> None:
        """A mistake anywhere makes the whole script an explanation."""
        (step,) = parse(text)
        assert isinstance(step, Wrong)
        assert step.problem

    @pytest.mark.parametrize(
        ("text", "steps"),
        [
            ("say one then say two", (Say("one"), Say("two"))),
            ("SAY one\nThink 2\nerror 529 ONCE", (Say("one"), Think(2), Fail(529, True))),
            ("say first this then that", (Say("first this then that"),)),
            ("say a\nand b, then drop", (Say("a\nand b"), Drop())),
            ("just words then say two", (Echo("just words then say two"),)),
            ("slow 1.5 a b", (Say("a b", 1.5),)),
        ],
    )
    def test_steps(self, text: str, steps: tuple[Step, ...]) -> None:
        """Lines and "then" separate steps, but only before a keyword."""
        assert parse(text) == steps

    def test_shell_is_verbatim(self) -> None:
        """A shell's own "then" does not end a command."""
        (step,) = parse("bash if true; then read x; fi | cat")
        assert isinstance(step, Calls)
        assert step.calls[0].input["command"] == "if true; then read x; fi | cat"


class TestRequest:
    def test_reminders_are_never_the_script(self) -> None:
        """The newest text of a person decides, wherever reminders stand."""
        content = [REMINDER, {"type": "text", "text": "say hello"}, REMINDER]
        assert Request({"messages": [{"role": "user", "content": content}]}).text == "say hello"

    @pytest.mark.parametrize("body", [{}, {"messages": "x"}, {"messages": [{"role": "user"}, 3]}])
    def test_odd_bodies(self, body: dict[str, Any]) -> None:
        """A body of another shape reads as one that says nothing."""
        request = Request(body)
        assert (request.text, request.made, request.cwd, request.attachments) == ("", [], "", "")


@pytest.fixture
async def server() -> AsyncIterator[ScriptedMessages]:
    async with ScriptedMessages() as running:
        yield running


@pytest.fixture
async def http(server: ScriptedMessages) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, headers={"x-api-key": "any"}) as session:
        yield session


def body(*texts: str, stream: bool = False, **more: Any) -> dict[str, Any]:
    """A request whose conversation is these texts, by turns a person's and the model's."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"model": "m-1", "max_tokens": 9, "stream": stream, "messages": messages, **more}


async def said(http: aiohttp.ClientSession, *texts: str, **more: Any) -> str:
    """The text of the answer."""
    async with http.post("/v1/messages", json=body(*texts, **more)) as response:
        assert response.status == 200
        return str((await response.json())["content"][0]["text"])


async def events(http: aiohttp.ClientSession, text: str, **more: Any) -> list[dict[str, Any]]:
    """The events of a streamed answer."""
    async with http.post("/v1/messages", json=body(text, stream=True, **more)) as response:
        raw = await response.text()
    pairs = re.findall(r"^event: (\S+)\ndata: (.*)\n\n", raw, flags=re.MULTILINE)
    parsed = [json.loads(data) for _, data in pairs]
    assert [name for name, _ in pairs] == [event["type"] for event in parsed]
    return parsed


class TestProtocol:
    async def test_whole_message(self, http: aiohttp.ClientSession) -> None:
        """Without streaming, the answer is one message with ids and usage."""
        async with http.post("/v1/messages?beta=true", json=body("say hello")) as response:
            message = await response.json()
            assert response.headers["request-id"].startswith("req_")
        assert message["content"] == [{"type": "text", "text": "hello"}]
        assert message["id"].startswith("msg_01")
        assert message["model"] == "m-1"
        assert message["stop_reason"] == "end_turn"
        assert message["usage"]["input_tokens"] > 1

    async def test_stream_of_text(self, http: aiohttp.ClientSession) -> None:
        """A streamed text comes in words, between the protocol's events."""
        got = await events(http, "say one two")
        assert [event["type"] for event in got] == [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        assert [e["delta"]["text"] for e in got[3:5]] == ["one ", "two"]

    async def test_stream_of_a_call(self, http: aiohttp.ClientSession) -> None:
        """A tool's input comes in pieces that join to its JSON."""
        got = await events(http, "say wait then run ls", tools=[{"name": "Bash"}])
        start = next(e for e in got if e.get("content_block", {}).get("type") == "tool_use")
        assert start["index"] == 1
        assert start["content_block"]["input"] == {}
        pieces = [
            e["delta"].get("partial_json", "") for e in got if e.get("index") == 1 and "delta" in e
        ]
        assert sum(map(bool, pieces)) >= 2
        assert json.loads("".join(pieces))["command"] == "ls"
        assert got[-2]["delta"]["stop_reason"] == "tool_use"

    async def test_slow_stream(self, http: aiohttp.ClientSession) -> None:
        """Words are spread over the time; silence before the first token is kept."""
        async with http.post(
            "/v1/messages", json=body("think 0.2 then slow 0.4 a b c d", stream=True)
        ) as response:
            started = time.monotonic()
            seen = [
                (json.loads(line[6:])["delta"]["text"].strip(), time.monotonic() - started)
                async for line in response.content
                if b"text_delta" in line
            ]
        assert [word for word, _ in seen] == ["a", "b", "c", "d"]
        assert seen[0][1] > 0.15
        assert 0.2 < seen[-1][1] - seen[0][1] < 2

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 529])
    async def test_errors(self, http: aiohttp.ClientSession, status: int, stream: bool) -> None:
        """Each status has Anthropic's error body, and 429 says when to come back."""
        async with http.post("/v1/messages", json=body(f"error {status}", stream=stream)) as answer:
            assert answer.status == status
            error = await answer.json()
            assert error["type"] == "error"
            assert error["error"]["type"].endswith(("_error", "request_too_large"))
            assert ("retry-after" in answer.headers) == (status == 429)

    async def test_error_once(self, http: aiohttp.ClientSession) -> None:
        """The same conversation fails once and then succeeds; another one fails anew."""
        for texts in (["error 529 once then say fine"], ["a", "b", "error 529 once then say fine"]):
            async with http.post("/v1/messages", json=body(*texts)) as response:
                assert response.status == 529
            assert await said(http, *texts) == "fine"

    async def test_error_after_text(self, http: aiohttp.ClientSession) -> None:
        """Once text was streamed, an error comes as an event."""
        got = await events(http, "say hi then error 529")
        assert got[-1]["error"]["type"] == "overloaded_error"

    @pytest.mark.parametrize("stream", [True, False])
    async def test_drop(self, http: aiohttp.ClientSession, stream: bool) -> None:
        """A dropped answer breaks off, and with `once` the retry is whole."""
        with pytest.raises(aiohttp.ClientError):
            async with http.post("/v1/messages", json=body("drop once", stream=stream)) as response:
                await response.read()
        assert await said(http, "drop once")

    async def test_malformed(self, http: aiohttp.ClientSession) -> None:
        """A malformed stream ends in an event that is no JSON."""
        async with http.post("/v1/messages", json=body("malformed", stream=True)) as response:
            last = (await response.text()).strip().splitlines()[-1]
        with pytest.raises(json.JSONDecodeError):
            json.loads(last.removeprefix("data: "))

    @pytest.mark.parametrize("text", ["hang", "slow 60 a b", "think 60"])
    async def test_stop_while_answering(self, text: str) -> None:
        """Stopping never waits for an answer that is still being given."""
        server = ScriptedMessages()
        await server.start()
        async with aiohttp.ClientSession(server.url, headers={"x-api-key": "any"}) as http:
            asking = asyncio.ensure_future(events(http, text))
            while not server.requests:
                await asyncio.sleep(0.01)
            started = time.monotonic()
            await server.stop()
            assert time.monotonic() - started < 2
            with pytest.raises(aiohttp.ClientError):
                await asking

    async def test_key_is_required(self, server: ScriptedMessages) -> None:
        """A request without a key is refused as Anthropic refuses it."""
        async with aiohttp.ClientSession(server.url) as http:
            async with http.post("/v1/messages", json=body("say hello")) as response:
                assert response.status == 401
                assert (await response.json())["error"]["type"] == "authentication_error"

    async def test_only_this_key(self) -> None:
        """With `api_key`, only that one is accepted, in either header."""
        statuses = []
        async with ScriptedMessages(api_key="right") as server, aiohttp.ClientSession() as http:
            for header in (
                {"x-api-key": "right"},
                {"Authorization": "Bearer right"},
                {"x-api-key": "wrong"},
                {"Authorization": "Basic right"},
            ):
                async with http.get(f"{server.url}/v1/models", headers=header) as response:
                    statuses.append(response.status)
        assert statuses == [200, 200, 401, 401]

    async def test_other_paths(self, http: aiohttp.ClientSession) -> None:
        """The CLI's other calls are answered, unknown ones with Anthropic's 404."""
        for method, path, status in (
            ("HEAD", "/", 200),
            ("HEAD", "/api/hello", 200),
            ("GET", "/api/hello", 200),
            ("GET", "/v1/models", 200),
            ("GET", "/v1/files", 404),
        ):
            async with http.request(method, path) as response:
                assert (response.status, path) == (status, path)
        async with http.get("/nothing") as response:
            assert (await response.json())["error"]["type"] == "not_found_error"

    async def test_count_tokens(self, http: aiohttp.ClientSession) -> None:
        """A longer request counts more tokens, and the same one as many again."""
        counts = []
        for text in ("short", "short", "longer " * 100):
            async with http.post("/v1/messages/count_tokens", json=body(text)) as response:
                counts.append((await response.json())["input_tokens"])
        assert counts[0] == counts[1] < counts[2] - 100

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}"])
    async def test_bad_bodies(self, http: aiohttp.ClientSession, data: bytes) -> None:
        """A body that is no request is refused, not a server error."""
        async with http.post("/v1/messages", data=data) as response:
            assert response.status == 400

    async def test_records_requests(
        self, server: ScriptedMessages, http: aiohttp.ClientSession
    ) -> None:
        """What arrived can be looked at afterwards."""
        await said(http, "say hello")
        recorded = server.requests[-1]
        assert recorded.method == "POST"
        assert recorded.path == "/v1/messages"
        assert recorded.headers["x-api-key"] == "any"
        assert recorded.body == body("say hello")
        assert abs(recorded.time - time.time()) < 60

    async def test_side_requests(self, http: aiohttp.ClientSession) -> None:
        """A request of the CLI's own gets a harmless answer and does not use up a `once`."""
        cli = {"User-Agent": "claude-cli/2.1"}
        schema = {"type": "object", "properties": {"title": {"type": "string"}}}
        asked = body(
            "error 500 once", output_config={"format": {"type": "json_schema", "schema": schema}}
        )
        async with http.post("/v1/messages", json=asked, headers=cli) as response:
            text = (await response.json())["content"][0]["text"]
        assert json.loads(text) == {"title": "Scripted"}
        async with http.post("/v1/messages", json=body("error 500 once")) as response:
            assert response.status == 500

    @pytest.mark.parametrize(
        ("texts", "part"),
        [
            (["hello bot"], "> hello bot"),
            (["slow abc words"], "`abc` is not a number of seconds"),
            (["help"], "| `run a command` |"),
            (["my name is Ada", "Hi.", "what is my name?"], "Ada"),
            (["say a", "a", "what did I say"], "1. say a"),
            (["show model"], "m-1"),
            (["what do you see"], "words only"),
            (["count 3"], "1\n2\n3"),
        ],
    )
    async def test_answers(self, http: aiohttp.ClientSession, texts: list[str], part: str) -> None:
        """Answers that depend on the text or the conversation."""
        assert part in await said(http, *texts)

    async def test_long(self, http: aiohttp.ClientSession) -> None:
        """Long texts have about the length that was asked for and are the same each time."""
        text = await said(http, "long 1000")
        assert 950 < len(text.split()) < 1100
        assert all(mark in text for mark in ("## ", "- ", "| --- |", "```python"))
        assert text == await said(http, "long 1000")

    async def test_attachments(self, http: aiohttp.ClientSession) -> None:
        """Images and documents of the newest message are counted by their types."""
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png"}}
        asked = body("")
        asked["messages"][0]["content"] = [
            image,
            image,
            {"type": "text", "text": "what do you see"},
        ]
        async with http.post("/v1/messages", json=asked) as response:
            assert "2 × image/png" in (await response.json())["content"][0]["text"]

    async def test_refused_to_come_alone(self, http: aiohttp.ClientSession) -> None:
        """A call that was told to come again, alone, comes again; then the script goes on."""
        asked = body("both touch a ;; touch b then say done", tools=[{"name": "Bash"}])
        made: list[list[str]] = []
        for _ in range(4):
            async with http.post("/v1/messages", json=asked) as response:
                content = (await response.json())["content"]
            calls = [block for block in content if block["type"] == "tool_use"]
            made.append([call["input"]["command"] for call in calls])
            if not calls:
                break
            results = [
                {
                    "type": "tool_result",
                    "tool_use_id": call["id"],
                    "is_error": len(calls) > 1 and call["input"]["command"] == "touch a",
                    "content": "Make this call again, alone.",
                }
                for call in calls
            ]
            asked["messages"] += [
                {"role": "assistant", "content": content},
                {"role": "user", "content": results},
            ]
        assert made == [["touch a", "touch b"], ["touch a"], []]
        assert content[-1]["text"].endswith("done")


class TestProcess:
    def test_serves_until_told_to_stop(self, tmp_path: Path) -> None:
        """The module serves on the URL in its ready file and ends cleanly on SIGTERM."""
        ready = tmp_path / "url"
        command = [sys.executable, "-m", "agent_service.testing.messages_api"]
        process = subprocess.Popen([*command, "--port", "0", "--ready-file", str(ready)])
        try:
            _until(ready.exists)
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ready.read_text())
        finally:
            process.terminate()
        assert process.wait(10) == 0

    def test_ends_with_its_parent(self, tmp_path: Path) -> None:
        """No server outlives the process that started it, even one that was killed."""
        ready, pid = tmp_path / "url", tmp_path / "pid"
        start = (
            "import subprocess, sys, time, pathlib\n"
            "p = subprocess.Popen([sys.executable, '-m', 'agent_service.testing.messages_api',"
            f" '--ready-file', {str(ready)!r}])\n"
            f"pathlib.Path({str(pid)!r}).write_text(str(p.pid))\n"
            "time.sleep(60)"
        )
        parent = subprocess.Popen([sys.executable, "-c", start])
        _until(ready.exists)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        _until(lambda: not _runs(int(pid.read_text())))


def _until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Talk:
    """One CLI session; what the person asked to decide is in `asked`."""

    client: ClaudeSDKClient

    def __init__(self, server: ScriptedMessages, home: Path, workspace: Path) -> None:
        self.server = server
        self.home = home
        self.workspace = workspace
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.seen: list[Message] = []

    async def decide(
        self, tool: str, given: dict[str, Any], _: ToolPermissionContext
    ) -> PermissionResultAllow | PermissionResultDeny:
        self.asked.append((tool, given))
        if "forbidden" in json.dumps(given):
            return PermissionResultDeny(message="Not on my watch.")
        if tool == "AskUserQuestion":
            question = given["questions"][0]
            labels = [option["label"] for option in question["options"]]
            chosen = ", ".join(labels[:2]) if question["multiSelect"] else labels[0]
            given = {**given, "answers": {question["question"]: chosen}}
        return PermissionResultAllow(updated_input=given)

    async def ask(self, text: str) -> ResultMessage:
        """Send a text as the bridge does, and return the end of the turn."""

        async def prompt() -> AsyncIterator[dict[str, Any]]:
            content = [{"type": "text", "text": text}, REMINDER]
            yield {"type": "user", "message": {"role": "user", "content": content}}

        self.asked.clear()
        await self.client.query(prompt())
        self.seen = [message async for message in self.client.receive_response()]
        result = self.seen[-1]
        assert isinstance(result, ResultMessage)
        return result

    async def text(self, text: str) -> str:
        """The last text of a turn that went well."""
        result = await self.ask(text)
        assert not result.is_error, result
        return str(result.result)

    @property
    def retries(self) -> list[dict[str, Any]]:
        return [
            m.data for m in self.seen if isinstance(m, SystemMessage) and m.subtype == "api_retry"
        ]

    @property
    def calls(self) -> list[str]:
        return [
            block.name
            for message in self.seen
            if isinstance(message, AssistantMessage)
            for block in message.content
            if isinstance(block, ToolUseBlock)
        ]


def options(server: ScriptedMessages, home: Path, workspace: Path) -> ClaudeAgentOptions:
    return ClaudeAgentOptions(
        cwd=workspace,
        setting_sources=[],
        include_partial_messages=True,
        system_prompt={"type": "preset", "preset": "claude_code", "append": "The motto is Onward."},
        env={
            "ANTHROPIC_BASE_URL": server.url,
            "ANTHROPIC_AUTH_TOKEN": "anything",
            "CLAUDE_CONFIG_DIR": str(home),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        },
    )


@contextlib.asynccontextmanager
async def talking(
    server: ScriptedMessages, home: Path, workspace: Path, resume: str | None = None
) -> AsyncIterator[Talk]:
    """A session of the real CLI. One task opens and closes it, as the SDK wants it."""
    talk = Talk(server, home, workspace)
    chosen = options(server, home, workspace)
    chosen.can_use_tool = talk.decide
    chosen.resume = resume
    opened: asyncio.Future[ClaudeSDKClient] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    async def hold() -> None:
        async with ClaudeSDKClient(chosen) as client:
            opened.set_result(client)
            await closing.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold())
        talk.client = await opened
        yield talk
        closing.set()


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    """A start of the CLI costs more than all these turns, so they share one session."""
    home, workspace = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("workspace")
    async with ScriptedMessages() as server, talking(server, home, workspace) as session:
        yield session


@pytest.mark.asyncio(loop_scope="class")
class TestRealCli:
    async def test_text(self, talk: Talk) -> None:
        """A text arrives whole, and its words arrive as partial messages."""
        assert await talk.text("say hello there") == "hello there"
        deltas = [m.event for m in talk.seen if isinstance(m, StreamEvent)]
        assert [d["delta"]["text"] for d in deltas if d["type"] == "content_block_delta"] == [
            "hello ",
            "there",
        ]

    async def test_bash(self, talk: Talk) -> None:
        """The friendly command really runs, and the answer quotes its output."""
        assert "Hello from Linux" in await talk.text("run a command")
        assert (talk.workspace / "greeting.txt").read_text() == "Hello from Linux\n"
        assert [tool for tool, _ in talk.asked] == ["Bash"]

    async def test_write_read_edit(self, talk: Talk) -> None:
        """Files are written, read and changed, in the order of the script."""
        text = await talk.text("write a file then read hello.txt then edit hello.txt Hello => Bye")
        assert talk.calls == ["Write", "Read", "Edit"]
        assert "Hello from the scripted model." in text
        assert (talk.workspace / "hello.txt").read_text() == "Bye from the scripted model.\n"

    async def test_edit_of_an_unknown_file(self, talk: Talk) -> None:
        """A file that the conversation does not know is read before it is changed."""
        (talk.workspace / "other.txt").write_text("one two\n")
        await talk.text("edit other.txt two => three then say changed")
        assert talk.calls == ["Read", "Edit"]
        assert (talk.workspace / "other.txt").read_text() == "one three\n"

    async def test_search(self, talk: Talk) -> None:
        """Searching works with what the CLI offers for it."""
        (talk.workspace / "needle.md").write_text("hay\n")
        assert "needle.md" in await talk.text("glob *.md")
        assert "needle.md:1:hay" in await talk.text("grep hay")

    async def test_denial(self, talk: Talk) -> None:
        """The reason of a denial reaches the model, and the script goes on."""
        text = await talk.text("run touch forbidden then run echo on then say finished")
        assert text == "finished"
        texts = [
            block.text
            for message in talk.seen
            if isinstance(message, AssistantMessage)
            for block in message.content
            if isinstance(block, TextBlock)
        ]
        assert "Not on my watch." in texts[0]
        assert "Not on my watch." in await talk.text("run touch forbidden")

    async def test_question(self, talk: Talk) -> None:
        """A person's answer comes back in the text, one or several."""
        assert await talk.text("ask me a question") == "You chose: Blue"
        assert "Red, Green" in await talk.text("askmany Which? | Red | Green | Grey")

    async def test_plan(self, talk: Talk) -> None:
        """A plan is presented as it was written, and its approval comes back."""
        await talk.client.set_permission_mode("plan")
        text = await talk.text("plan First look, then leap.")
        assert [tool for tool, _ in talk.asked] == ["ExitPlanMode"]
        assert talk.asked[0][1]["plan"] == "First look, then leap."
        assert "approved" in text
        await talk.client.set_permission_mode("default")

    async def test_both(self, talk: Talk) -> None:
        """Two calls come in one message, and count as one step of the script."""
        assert await talk.text("both touch one ;; touch two then say both done") == "both done"
        assert talk.calls == ["Bash", "Bash"]
        assert (talk.workspace / "one").exists()
        assert (talk.workspace / "two").exists()

    async def test_subagent(self, talk: Talk) -> None:
        """A subagent runs a script of its own; the main script goes on after it."""
        assert await talk.text("subagent run touch sub then say back") == "back"
        assert talk.calls == ["Agent", "Bash"]
        assert (talk.workspace / "sub").exists()

    async def test_fetch(self, talk: Talk) -> None:
        """A tool that the CLI offers only on search is loaded before it is called."""
        await talk.text("fetch http://127.0.0.1:9/forbidden")
        assert talk.calls == ["ToolSearch", "WebFetch"]

    async def test_history(self, talk: Talk) -> None:
        """The conversation is known, without the reminders."""
        await talk.text("my name is Ada")
        assert "Ada" in await talk.text("what is my name")
        text = await talk.text("what did I say")
        assert "my name is Ada" in text
        assert "something else" not in text

    async def test_show(self, talk: Talk) -> None:
        """The system prompt that the CLI sent can be seen, and its tools."""
        assert "The motto is Onward." in await talk.text("show system")
        assert "- Bash" in await talk.text("show tools")

    async def test_interrupt(self, talk: Talk) -> None:
        """A slow answer can be interrupted, and the next turn works."""
        asking = asyncio.ensure_future(talk.ask("slow 60 " + "word " * 600))
        sent = len(talk.server.requests)
        while len(talk.server.requests) == sent:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await talk.client.interrupt()
        result = await asyncio.wait_for(asking, 5)
        assert result.subtype == "error_during_execution"
        assert await talk.text("say still here") == "still here"

    async def test_overloaded_once(self, talk: Talk) -> None:
        """The CLI says that it retries, and the retry succeeds."""
        assert await talk.text("error 529 once then say recovered") == "recovered"
        assert [(r["attempt"], r["error_status"]) for r in talk.retries] == [(1, 529)]

    async def test_drop_once(self, talk: Talk) -> None:
        """A stream that breaks off is retried from the start."""
        assert await talk.text("drop once then say recovered") == "recovered"
        assert [(r["attempt"], r["error_status"]) for r in talk.retries] == [(1, None)]

    async def test_cut_off_after_text(self, talk: Talk) -> None:
        """After a whole paragraph, the CLI keeps it and asks for the rest only."""
        assert await talk.text("say first then drop once then say rest") == "rest"
        assert talk.retries == []

    async def test_drop(self, talk: Talk) -> None:
        """A stream that always breaks off ends the turn with an error."""
        result = await talk.ask("drop")
        assert result.is_error
        assert "Connection dropped" in str(result.result)

    async def test_unauthorized(self, talk: Talk) -> None:
        """A refused key ends the turn as an authentication failure."""
        result = await talk.ask("error 401")
        assert (result.is_error, result.api_error_status) == (True, 401)
        errors = [m.error for m in talk.seen if isinstance(m, AssistantMessage)]
        assert errors == ["authentication_failed"]

    async def test_resumed(self, talk: Talk) -> None:
        """A resumed session goes on with another server: none keeps the conversation."""
        session = (await talk.ask("my name is Grace")).session_id
        async with (
            ScriptedMessages() as other,
            talking(other, talk.home, talk.workspace, resume=session) as again,
        ):
            assert "Grace" in await again.text("what is my name")
