"""Signed calls: only exactly what was signed, by a current key, in time, is accepted."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_service.contract.signing import (
    MAX_AGE,
    MAX_AHEAD,
    BadToken,
    CallRefused,
    Signer,
    Verifier,
    WrongRequest,
    WrongTime,
)

OLD, NEW, OTHER, ADMIN = ("o" * 40, "n" * 40, "x" * 40, "a" * 40)
NOW = 1_800_000_000.0

methods = st.sampled_from(["GET", "PUT", "POST", "DELETE"])
paths = st.text(string.ascii_letters + "/?=&-_%~.", min_size=1, max_size=60).map("/".__add__)
bodies = st.binary(max_size=200)


def verifier(*bridge: str) -> Verifier:
    return Verifier("agent:main", {"admin": [ADMIN], "bridge": list(bridge or (OLD, NEW))})


def sign(method: str = "PUT", path: str = "/v1/turns/t1", body: bytes = b"{}") -> str:
    signer = Signer("bridge", "agent:main", [OLD, NEW])
    return signer.header(method, path, body, now=NOW, request_id="t1")


@given(methods, paths, bodies)
def test_what_was_signed_is_accepted(method: str, path: str, body: bytes) -> None:
    """Any method, path and body verifies unchanged and tells its caller."""
    call = verifier().verify(sign(method, path, body), method, path, now=NOW)
    call.check_body(hashlib.sha256(body).hexdigest())
    assert (call.caller, call.request_id) == ("bridge", "t1")


HEADER = sign()


@given(st.data())
def test_any_changed_byte_of_the_header_is_refused(data: st.DataObject) -> None:
    """No single character of the header can be another one, dropped or doubled."""
    header = HEADER
    at = data.draw(st.integers(0, len(header) - 1))
    new = data.draw(st.sampled_from(string.printable + "é"))
    changed = data.draw(
        st.sampled_from(
            [header[:at] + new + header[at + 1 :], header[:at] + header[at + 1 :],
             header[:at] + header[at] + header[at:], header + new]
        )
    )  # fmt: skip
    if changed != header:
        with pytest.raises(CallRefused):
            verifier().verify(changed, "PUT", "/v1/turns/t1", now=NOW)


def test_no_last_character_can_be_swapped() -> None:
    """The spare bits of the signature's last character do not make a second valid token."""
    header = sign()
    for last in string.ascii_letters + string.digits + "-_":
        if last != header[-1]:
            with pytest.raises(BadToken):
                verifier().verify(header[:-1] + last, "PUT", "/v1/turns/t1", now=NOW)


@given(methods, paths, bodies)
def test_another_request_is_refused(method: str, path: str, body: bytes) -> None:
    """A token for one method, path and body is worth nothing for any other."""
    if (method, path) != ("PUT", "/v1/turns/t1"):
        with pytest.raises(WrongRequest):
            verifier().verify(sign(), method, path, now=NOW)
    if body != b"{}":
        call = verifier().verify(sign(), "PUT", "/v1/turns/t1", now=NOW)
        with pytest.raises(WrongRequest):
            call.check_body(hashlib.sha256(body).hexdigest())


@given(st.floats(-10_000, 10_000))
def test_the_time_window_is_exact(age: float) -> None:
    """Up to MAX_AGE seconds old and MAX_AHEAD seconds early is accepted, nothing else."""
    now = NOW + age
    if -MAX_AHEAD <= now - NOW <= MAX_AGE:
        verifier().verify(sign(), "PUT", "/v1/turns/t1", now=now)
    else:
        with pytest.raises(WrongTime):
            verifier().verify(sign(), "PUT", "/v1/turns/t1", now=now)


@pytest.mark.parametrize("key", [OLD, NEW])
def test_every_key_in_use_is_accepted(key: str) -> None:
    """While keys rotate, callers that still sign with the old one are served."""
    header = Signer("bridge", "agent:main", [key]).header("GET", "/x", b"", now=NOW)
    assert verifier().verify(header, "GET", "/x", now=NOW).caller == "bridge"


@pytest.mark.parametrize("key", [OTHER, ADMIN])
def test_a_key_of_nobody_or_of_another_caller_is_refused(key: str) -> None:
    """A key opens only what its own caller may do: claiming another name does not help."""
    header = Signer("bridge", "agent:main", [key]).header("GET", "/x", b"", now=NOW)
    with pytest.raises(BadToken):
        verifier().verify(header, "GET", "/x", now=NOW)


def test_a_retired_key_is_refused() -> None:
    """Once a key is taken off the list its tokens are worthless."""
    with pytest.raises(BadToken):
        verifier(NEW).verify(
            Signer("bridge", "agent:main", [OLD]).header("GET", "/x", b"", now=NOW),
            "GET",
            "/x",
            now=NOW,
        )


def test_a_token_for_another_service_is_refused() -> None:
    """The audience is signed: what was meant for one service cannot be replayed at another."""
    header = Signer("bridge", "agent:other", [NEW]).header("GET", "/x", b"", now=NOW)
    with pytest.raises(WrongRequest):
        verifier().verify(header, "GET", "/x", now=NOW)


@pytest.mark.parametrize("header", [None, "", "Bascule", "Bascule ", "Bearer x", "Bascule a.b.c"])
def test_what_is_no_token_is_refused(header: str | None) -> None:
    """Missing, foreign and malformed headers are all refused in the same way."""
    with pytest.raises(BadToken):
        verifier().verify(header, "GET", "/x", now=NOW)


@pytest.mark.parametrize("keys", [[], ["short"]])
def test_weak_key_lists_are_not_accepted(keys: list[str]) -> None:
    """No key, or a guessable one, stops the start instead of weakening every call."""
    with pytest.raises(ValueError, match="key"):
        Signer("bridge", "agent:main", keys)
