"""A real request to the model, to see whether a key works."""

from __future__ import annotations

from typing import Any, Protocol

import aiohttp
from yarl import URL

from agent_service.contract.credentials import TestResult
from agent_service.contract.redaction import hide_text
from agent_service.credentials.keyring import Key

ANSWER_SECONDS = 30
_LONGEST = 300


class Probe(Protocol):
    async def __call__(self, key: Key) -> TestResult:
        """Make one cheap request. Never raises for what the model or the network does."""
        ...


class ModelProbe:
    """Asks for one token of an answer."""

    def __init__(self, model: str) -> None:
        self._model = model

    async def __call__(self, key: Key) -> TestResult:
        body = {
            "model": self._model,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "say ok"}],
        }
        headers = {"x-api-key": key.secret, "anthropic-version": "2023-06-01"}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as http,
                http.post(
                    URL(key.url.rstrip("/") + "/v1/messages"),
                    json=body,
                    headers=headers,
                    # Elsewhere the key is nobody's business.
                    allow_redirects=False,
                ) as answer,
            ):
                return _result(answer.status, await _said(answer, key))
        except TimeoutError:
            return _unreachable(f"{key.url} did not answer within {ANSWER_SECONDS} s.")
        except aiohttp.ClientError as error:
            return _unreachable(f"{key.url} cannot be reached ({type(error).__name__}).")


def _unreachable(message: str) -> TestResult:
    return TestResult("unreachable", message, "Check the address and the network of this machine.")


async def _said(answer: aiohttp.ClientResponse, key: Key) -> str:
    """What the other side gave as the reason, without the key, should it repeat it."""
    try:
        body: Any = await answer.json(content_type=None)
        text = str(body["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    return hide_text(text.replace(key.secret, "[hidden]") if key.secret else text)[:_LONGEST]


def _result(status: int, said: str) -> TestResult:
    told = f" It says: {said}" if said else ""
    if status == 200:
        return TestResult("works", "The model answered.")
    if status in (401, 403):
        return TestResult(
            "refused",
            f"The key was refused ({status}).{told}",
            "Check that it was copied whole and is still valid where it was made.",
        )
    if status in (402, 429) or "credit balance" in said.lower():
        return TestResult(
            "over_limit",
            f"The key is good, but over its limit ({status}).{told}",
            "Wait, or raise the limit or the balance of its account.",
        )
    if status == 404:
        return TestResult(
            "failed",
            f"There is no Messages API or no such model at this address (404).{told}",
            "Check the address (without /v1) and AGENT_MODEL.",
        )
    if status >= 500:
        return TestResult(
            "failed", f"The model has trouble of its own ({status}).{told}", "Try again later."
        )
    return TestResult("failed", f"The request was not accepted ({status}).{told}", "")
