"""The way out: only listed hosts, only by CONNECT, never into the own network."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from agent_service.egress.addresses import is_public
from agent_service.egress.allow import AllowList, HostPattern, PatternInvalid, normal
from agent_service.egress.proxy import MOST_AT_ONCE, MOST_REFUSALS, Attempt, EgressProxy, Network


class Net:
    """A small internet on loopback: names that are made up, and one server that echoes."""

    def __init__(self, folder: Path) -> None:
        self.attempts: list[Attempt] = []
        self.allow = ["good.example:{port}", "*.wild.example:{port}", "rebind.example:{port}"]
        self.names = {"good.example": ["127.0.0.2"], "a.wild.example": ["127.0.0.2"]}
        self.asked: list[str] = []
        self.port = 0
        self.proxy = EgressProxy(
            folder / "egress.sock",
            lambda: AllowList(text.format(port=self.port) for text in self.allow),
            self.attempts.append,
            Network(self.resolve, lambda address: address == "127.0.0.2" or is_public(address)),
        )

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    async def start(self) -> None:
        self._far = await asyncio.start_server(self._echo, "127.0.0.2", 0)
        self.port = self._far.sockets[0].getsockname()[1]
        await self.proxy.open()

    async def stop(self) -> None:
        await self.proxy.close()
        self._far.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def ask(self, head: str) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
        """The status line of the answer, and the connection."""
        reader, writer = await asyncio.open_unix_connection(str(self.proxy.path))
        writer.write(head.encode("utf-8", "surrogateescape"))
        status = ""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
            status = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")[0]
        return status, reader, writer

    async def connect(self, target: str) -> str:
        status, _, writer = await self.ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
        writer.close()
        return status


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bsc-"))
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture
async def net(folder: Path) -> AsyncIterator[Net]:
    made = Net(folder)
    await made.start()
    yield made
    await made.stop()


async def test_a_listed_host_is_reached_both_ways(net: Net) -> None:
    """Bytes pass unchanged in both directions, and the connection is recorded."""
    head = f"CONNECT good.example:{net.port} HTTP/1.1\r\n\r\n"
    status, reader, writer = await net.ask(head)
    assert "200" in status
    sent = bytes(range(256)) * 2000
    writer.write(sent)
    writer.write_eof()
    assert await reader.read() == sent
    writer.close()
    assert net.attempts == [Attempt("good.example", net.port, allowed=True, address="127.0.0.2")]
    assert "200" in await net.connect(f"A.WILD.example.:{net.port}")


@pytest.mark.parametrize(
    "target",
    ["evil.example:{port}", "wild.example:{port}", "good.example:1", "good.example.evil.org:443",
     "127.0.0.2:{port}", "xgood.example:{port}", "good.example"],
)  # fmt: skip
async def test_what_is_not_listed_is_refused_unasked(net: Net, target: str) -> None:
    """Another host, port or spelling is refused before any name is looked up, and recorded."""
    assert "403" in await net.connect(target.format(port=net.port))
    assert net.asked == []
    assert [a.allowed for a in net.attempts] == [False]
    assert net.attempts[0].reason in ("not_listed", "no_host")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.1.1", "::1", "fe80::1%eth0",
                "::ffff:127.0.0.1", "64:ff9b::7f00:1", "100.64.0.1", "0.0.0.0", "fd00::1",
                "fec0::1", "192.88.99.1", "192.0.0.8", "192.0.0.9", "2002:808:808::1", "2001::1",
                "64:ff9b:1::1", "100::1", "3fff::1", "5f00::1", "::7f00:1", "64:ff9b::c058:6301"],
)  # fmt: skip
async def test_a_listed_name_does_not_lead_inside(net: Net, address: str) -> None:
    """A name that resolves into the own network, or to the cloud's metadata, is refused."""
    net.names["rebind.example"] = [address]
    assert "403" in await net.connect(f"rebind.example:{net.port}")
    assert net.attempts[0].reason == "not_public"


async def test_a_name_that_changes_its_meaning_gains_nothing(net: Net) -> None:
    """The connection goes to the address that was looked at: names are resolved once."""
    net.names["rebind.example"] = ["127.0.0.1", "127.0.0.2"]
    assert "200" in await net.connect(f"rebind.example:{net.port}")
    assert net.asked == ["rebind.example"]
    assert net.attempts[0].address == "127.0.0.2"


async def test_a_change_of_the_list_acts_at_once(net: Net) -> None:
    """The next connection is judged by the list as it is then."""
    assert "200" in await net.connect(f"good.example:{net.port}")
    net.allow.clear()
    assert "403" in await net.connect(f"good.example:{net.port}")


async def test_what_is_not_allowed_any_more_is_broken_off(net: Net) -> None:
    """An open connection ends with its permission; others go on."""
    _, kept, keep = await net.ask(f"CONNECT a.wild.example:{net.port} HTTP/1.1\r\n\r\n")
    _, lost, lose = await net.ask(f"CONNECT good.example:{net.port} HTTP/1.1\r\n\r\n")
    net.allow.remove("good.example:{port}")
    net.proxy.judge_again()
    async with asyncio.timeout(2):
        assert await lost.read() == b""
    keep.write(b"still here")
    async with asyncio.timeout(2):
        assert await kept.read(10) == b"still here"
    keep.close()
    lose.close()


async def test_a_name_that_is_looked_up_while_it_is_taken_back_leads_nowhere(net: Net) -> None:
    """Between the list's word and the connection nothing slips through."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(host: str, port: int) -> list[str]:
        asked.set()
        await answer.wait()
        return ["127.0.0.2"]

    attempts: list[Attempt] = []
    allow = AllowList([f"good.example:{net.port}"])
    path = net.proxy.path.with_name("slow.sock")
    proxy = EgressProxy(path, lambda: allow, attempts.append, Network(slow, lambda _: True))
    await proxy.open()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"CONNECT good.example:{net.port} HTTP/1.1\r\n\r\n".encode())
    await asked.wait()
    allow = AllowList()
    proxy.judge_again()
    answer.set()
    assert await reader.read() == b""
    assert attempts == []
    writer.close()
    await proxy.close()


async def test_who_follows_the_turn_hears_of_each_refused_host_once(net: Net) -> None:
    """However often it was tried, by its plain name; and of no more hosts than anybody reads."""
    for target in ("evil.example:443", "EVIL.example.:443", "B\u00fccher.example:1", "nonsense"):
        await net.connect(target)
    assert [(a.host, a.port) for a in net.proxy.take_refusals()] == [("evil.example", 443)]
    assert net.proxy.take_refusals() == []
    for number in range(MOST_REFUSALS + 5):
        await net.connect(f"h{number}.example:443")
    assert len(net.proxy.take_refusals()) == MOST_REFUSALS


@pytest.mark.parametrize(
    "head",
    ["GET http://good.example/ HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "\r\n\r\n",
     "CONNECT\r\n\r\n", "CONNECT good.example:99999 HTTP/1.1\r\n\r\n",
     "CONNECT \udcff\udcfe:443 HTTP/1.1\r\n\r\n", "CONNECT [::1:443 HTTP/1.1\r\n\r\n",
     "CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n", "CONNECT 2130706433:443 HTTP/1.1\r\n\r\n"],
)  # fmt: skip
async def test_what_is_no_connect_is_refused(net: Net, head: str) -> None:
    """Other methods, bad targets and numbers in disguise get a 403 and nothing else."""
    status, _, writer = await net.ask(head)
    writer.close()
    assert "403" in status
    assert net.asked == []


async def test_an_endless_head_is_cut_off(net: Net) -> None:
    """A request that never ends costs no memory."""
    status, reader, writer = await net.ask("CONNECT " + "a" * 100_000)
    assert status == ""
    assert await reader.read() == b""
    writer.close()


async def test_what_never_becomes_a_request_is_recorded(net: Net) -> None:
    """One refused attempt each for a head that is cut off, endless, or takes for ever; who comes
    and goes without a word has asked for nothing."""
    path = net.proxy.path.with_name("hasty.sock")
    network = Network(net.resolve, lambda _: True)
    hasty = EgressProxy(path, AllowList, net.attempts.append, network, head_seconds=0.2)
    await hasty.open()
    for head, stays in ((b"", False), (b"CONN", False), (b"C" * 100_000, True), (b"CONN", True)):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(head)
        if not stays:
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    await hasty.close()
    assert [a.reason for a in net.attempts] == ["no_connect"] * 3


async def test_a_host_that_does_not_answer_is_told(net: Net) -> None:
    """A closed port and an unknown name are answered in words."""
    net.allow += ["good.example:1", "nowhere.example"]
    assert "403" in await net.connect("good.example:1")
    assert "403" in await net.connect("nowhere.example:443")
    silent, unknown = net.attempts
    assert silent.reason == "no_answer"
    assert unknown.reason == "no_address"
    assert net.proxy.take_refusals() == []  # nobody refused them


async def test_a_session_has_so_many_connections_and_no_more(net: Net) -> None:
    """One more is cut off and recorded, and room that is made is used again."""
    open_ = [await asyncio.open_unix_connection(str(net.proxy.path)) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    assert await net.connect(f"good.example:{net.port}") == ""
    assert [a.reason for a in net.attempts] == ["too_many"]
    for _, writer in open_:
        writer.close()
    async with asyncio.timeout(5):
        while "200" not in await net.connect(f"good.example:{net.port}"):
            await asyncio.sleep(0.02)


async def test_closing_ends_every_connection(net: Net) -> None:
    """When a session ends, nothing of it goes on talking."""
    _, reader, writer = await net.ask(f"CONNECT good.example:{net.port} HTTP/1.1\r\n\r\n")
    await net.proxy.close()
    assert await reader.read() == b""
    writer.close()
    assert not net.proxy.path.exists()


@pytest.mark.parametrize(
    "text", ["", "*", "*.com", "a*.example.org", "exa mple.org", "example.org:0", "example.org:x",
             "http://example.org", "example.org/path", "127.1", "0x7f.1", "::1", "a..b", "-a.org",
             "[fe80::1%<b>]", "[fe80::1%eth0]:443"],
)  # fmt: skip
def test_a_bad_pattern_is_refused(text: str) -> None:
    """An operator's mistake is told instead of allowing something else."""
    with pytest.raises(PatternInvalid):
        HostPattern.parse(text)


def test_patterns_in_their_usual_form() -> None:
    """Case, the root's dot and unicode names make no difference."""
    listed = AllowList(["Example.ORG", "*.Bücher.example", "[2001:db8::1]:8443"])
    assert [str(p) for p in listed] == [
        "example.org",
        "*.xn--bcher-kva.example",
        "[2001:db8::1]:8443",
    ]
    assert listed.covers(normal("EXAMPLE.org."), 443)
    assert listed.covers(normal("a.bücher.example"), 443)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_the_internet_is_public(address: str) -> None:
    """What is refused does not take the world with it."""
    assert is_public(address)


@given(st.ip_addresses())
def test_no_address_of_an_own_network_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Private, loopback and link-local stay so however they are wrapped."""
    private = address.is_private or address.is_loopback or address.is_link_local
    if private:
        assert not is_public(str(address))
    if isinstance(address, ipaddress.IPv4Address) and private:
        assert not is_public(f"::ffff:{address}")
        assert not is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) + int(address))))


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    """What is accepted as a host is plain and stays the same when looked at again."""
    try:
        host = normal(text)
    except PatternInvalid:
        return
    assert host.isascii()
    assert not set(host) & set(" /@?#\\\r\n\t")
    assert normal(host) == host
