"""The served OpenAPI document holds: what it says is what the service does, whatever is sent."""

from __future__ import annotations

import asyncio
import http.client
import io
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase, given, settings
from requests.adapters import HTTPAdapter
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agent_service.contract.signing import Signer
from tests.agent_service.agent import ScriptedAgent, make_home

pytestmark = pytest.mark.asyncio(loop_scope="module")


class SignedOverSocket(HTTPAdapter):
    """Sends requests to the service's Unix socket, signed exactly as they leave."""

    def __init__(self, path: Path, signer: Signer) -> None:
        super().__init__()
        self._path = str(path)
        self._signer = signer

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        target, method = request.path_url, request.method or ""
        headers = {
            **request.headers,
            "Authorization": self._signer.header(method, target, body, now=time.time()),
            "Content-Length": str(len(body)),
        }
        connection = http.client.HTTPConnection("agent", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            raw = urllib3.HTTPResponse(
                body=io.BytesIO(answer.read()),
                headers=urllib3.HTTPHeaderDict(answer.getheaders()),
                status=answer.status,
                preload_content=False,
            )
        finally:
            connection.close()
        return self.build_response(request, raw)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[ScriptedAgent]:
    home = make_home(Path(tempfile.mkdtemp(prefix="bsc-")))
    made = ScriptedAgent(home)
    await made.start()
    yield made
    await made.stop()
    shutil.rmtree(home, ignore_errors=True)


KNOWN = {"conversation": "c1", "workspace": "w1", "asker": {"person": "p1"}, "decided_by": "p1"}
"""What makes a generated body pass the checks of its ids, so that what is behind them runs."""


def _try(agent: ScriptedAgent, document: dict[str, Any], examples: int) -> int:
    """Call every operation that answers at once; gives how many calls were made."""
    schema = schemathesis.openapi.from_dict(document)
    session = requests.Session()
    session.mount("http://agent", SignedOverSocket(agent.settings.socket, agent.caller.signer))
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    made = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if any("event-stream" in kind for kind in _kinds(operation.definition.raw)):
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def one(case: schemathesis.Case) -> None:
            nonlocal made
            if made % 2 and isinstance(case.body, dict):
                case.body.update({k: v for k, v in KNOWN.items() if k in case.body})
            case.call_and_validate(base_url="http://agent", session=session, checks=checks)
            made += 1

        one()
    return made


def _kinds(operation: dict[str, Any]) -> list[str]:
    return [k for answer in operation["responses"].values() for k in answer.get("content", {})]


async def _described(agent: ScriptedAgent) -> dict[str, Any]:
    async with agent.caller.http.get("/v1/openapi.json") as answer:
        return dict(await answer.json())


async def test_the_service_does_what_its_document_says(door: ScriptedAgent) -> None:
    """Generated calls meet no failure and no answer that the document does not describe."""
    document = await _described(door)
    assert await asyncio.to_thread(_try, door, document, 25) > 100


@pytest.mark.full
@pytest.mark.timeout(1200)
async def test_the_service_does_what_its_document_says_at_length(door: ScriptedAgent) -> None:
    """The same with many more calls."""
    document = await _described(door)
    assert await asyncio.to_thread(_try, door, document, 150) > 1000
