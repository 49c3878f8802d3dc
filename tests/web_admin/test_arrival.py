"""How a request arrived: whom the web admin believes about scheme, host and address."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_admin.entry.address import NotAnAddress, Ranges, address_of
from web_admin.entry.arrival import Arrival, look
from web_admin.entry.public import NotAUrl, PublicUrl, is_loopback_host

PUBLIC = PublicUrl.parse("https://bascule.example.org/")
TRUSTED = Ranges.parse("10.0.0.0/8, 127.0.0.1, fd00::/8")
PROXIED = {
    "Host": ["bascule.example.org"],
    "X-Forwarded-For": ["203.0.113.9"],
    "X-Forwarded-Proto": ["https"],
}


def arrive(peer: str = "10.0.0.5", **headers: list[str]) -> Arrival:
    said = {**PROXIED, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return look(peer, said, PUBLIC, TRUSTED)


def test_a_trusted_proxy_is_believed() -> None:
    """Scheme, host and client are what the proxy says, and nothing is wrong."""
    found = arrive()
    assert (found.scheme, found.host, found.client) == (
        "https", "bascule.example.org", "203.0.113.9",
    )  # fmt: skip
    assert found.problems == ()
    assert found.proxied


def test_nobody_else_is_believed() -> None:
    """The same headers from another address are refused, and named with what to set."""
    found = arrive("203.0.113.77")
    assert found.refused
    assert (found.client, found.scheme) == ("203.0.113.77", "http")
    assert "TRUSTED_PROXIES=203.0.113.77" in found.problems[0].remedy


def test_a_client_cannot_make_up_its_address() -> None:
    """What a client wrote into X-Forwarded-For stands before what the proxy added."""
    assert arrive(X_Forwarded_For=["1.1.1.1, 203.0.113.9"]).client == "203.0.113.9"
    assert arrive(X_Forwarded_For=["1.1.1.1", "203.0.113.9, 10.9.9.9"]).client == "203.0.113.9"
    assert arrive(X_Forwarded_For=["10.1.1.1, 203.0.113.9, nonsense"]).client == "10.0.0.5"


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"X_Forwarded_Proto": []}, "X-Forwarded-Proto"),
        ({"X_Forwarded_Proto": ["https", "http"]}, "do not agree"),
        ({"X_Forwarded_Proto": ["http"]}, "plain HTTP"),
        ({"X_Forwarded_Proto": ["gopher"]}, "do not agree"),
        ({"Host": ["evil.example"]}, "PUBLIC_URL"),
        ({"X_Forwarded_Host": ["evil.example"]}, "PUBLIC_URL"),
        ({"X_Forwarded_Host": ["bascule.example.org", "evil.example"]}, "PUBLIC_URL"),
        ({"Host": []}, "PUBLIC_URL"),
    ],
)
def test_what_is_not_clear_is_refused(headers: dict[str, list[str]], word: str) -> None:
    """No scheme, two schemes, another host: each is refused and says why."""
    found = arrive(**headers)
    assert found.refused
    assert any(word in problem.text + problem.remedy for problem in found.problems)


def test_plain_http_is_for_the_machine_itself() -> None:
    """A peer on loopback is let in without TLS under a name of the machine itself; nobody else."""
    own = {"Host": ["127.0.0.1:8481"]}
    assert look("127.0.0.1", own, PUBLIC, Ranges()).problems == ()
    assert look("::1", {"Host": ["[::1]:8481"]}, PUBLIC, Ranges()).problems == ()
    assert look("192.0.2.4", own, PUBLIC, Ranges()).refused
    # Another name that leads here: somebody else's page could use it (DNS rebinding).
    assert look("127.0.0.1", {"Host": ["evil.example"]}, PUBLIC, Ranges()).refused


def test_a_proxy_on_this_machine_needs_trust_too() -> None:
    """A loopback proxy that is not named is not taken for somebody at the machine."""
    found = look("127.0.0.1", PROXIED, PUBLIC, Ranges())
    assert found.refused
    assert "TRUSTED_PROXIES=127.0.0.1" in found.problems[0].remedy


def test_a_proxy_that_names_no_client_is_told_about() -> None:
    """It works, and the page says what is missing."""
    found = arrive(X_Forwarded_For=[])
    assert not found.refused
    assert "X-Forwarded-For" in found.problems[0].text


words = st.text(alphabet=st.characters(codec="latin-1"), max_size=60)
values = st.lists(words, max_size=3)


@given(peer=words, fors=values, protos=values, hosts=values, forwarded=values)
def test_nothing_that_arrives_raises(
    peer: str, fors: list[str], protos: list[str], hosts: list[str], forwarded: list[str]
) -> None:
    """Whatever the headers are, there is an answer; who is not trusted is never https."""
    headers = {"Host": hosts, "X-Forwarded-For": fors, "X-Forwarded-Proto": protos,
               "X-Forwarded-Host": hosts, "Forwarded": forwarded}  # fmt: skip
    found = look(peer, headers, PUBLIC, TRUSTED)
    assert found.proxied or found.scheme == "http"
    trusted = look("10.0.0.5", headers, PUBLIC, TRUSTED)
    assert trusted.refused or (trusted.scheme, trusted.host) == ("https", PUBLIC.host)


addresses = st.ip_addresses().map(str)


@given(made_up=st.lists(st.one_of(addresses, words), max_size=30), client=st.ip_addresses())
def test_the_client_is_the_last_that_is_not_trusted(
    made_up: list[str], client: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    """Whatever a client puts before, the address that the proxy saw is the one that counts."""
    seen = address_of(str(client)) if "%" not in str(client) else None
    if seen is None or seen in TRUSTED:
        return
    header = ", ".join([*made_up, str(client)])
    assert arrive(X_Forwarded_For=[header]).client == str(seen)


@given(address=st.ip_addresses(), port=st.integers(0, 65_535))
def test_addresses_are_read_in_every_way_they_are_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """With and without a port, in brackets, and IPv4 in IPv6's clothes."""
    if "%" in str(address):
        return
    plain = str(address_of(str(address)))
    if address.version == 6:
        assert str(address_of(f"[{address}]:{port}")) == plain
    else:
        assert str(address_of(f"{address}:{port}")) == plain
        assert str(address_of(f"::ffff:{address}")) == plain


@given(text=words)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Either an address, or `NotAnAddress`; nothing else is raised."""
    try:
        address_of(text)
    except NotAnAddress:
        return


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy", "10.0.0.0/33"])
def test_ranges_that_would_trust_everybody_are_refused(text: str) -> None:
    """So are those that are none."""
    with pytest.raises(NotAnAddress):
        Ranges.parse(text)


@pytest.mark.parametrize(
    ("text", "origin", "base"),
    [
        ("https://Bascule.Example.org", "https://bascule.example.org", ""),
        ("https://example.org:443/bascule/", "https://example.org", "/bascule"),
        ("https://example.org:8443/a/b", "https://example.org:8443", "/a/b"),
        ("http://127.0.0.1:8481", "http://127.0.0.1:8481", ""),
        ("http://[::1]:8481/", "http://[::1]:8481", ""),
    ],
)
def test_public_urls(text: str, origin: str, base: str) -> None:
    """Written as browsers write an origin, with the path apart."""
    found = PublicUrl.parse(text)
    assert (found.origin, found.base) == (origin, base)


@pytest.mark.parametrize(
    "text",
    ["example.org", "ftp://example.org", "http://example.org", "https://u:p@example.org",
     "https://example.org/?a=1", "https://example.org/#x", "https://ex ample.org",
     "https://example.org/../x", "https://example.org:99999"],
)  # fmt: skip
def test_public_urls_that_will_not_do(text: str) -> None:
    """No scheme, plain http off loopback, a password, a query, odd characters."""
    with pytest.raises(NotAUrl):
        PublicUrl.parse(text)


def test_loopback_hosts() -> None:
    """Names of this machine itself, and none that only look so."""
    assert all(map(is_loopback_host, ["localhost", "localhost:1", "127.9.9.9:80", "[::1]:1"]))
    assert not any(map(is_loopback_host, ["localhost.evil.org", "127.0.0.1.nip.io", "", "::2"]))
