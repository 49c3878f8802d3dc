"""How a request arrived: by which scheme, for which host, from where; and what is wrong with that.

Only a peer in TRUSTED_PROXIES is believed what it says in X-Forwarded-For, -Proto and -Host. Where
it is believed, X-Forwarded-For is read from its end: each trusted hop vouches for the one before,
and the first that is not trusted is the client. So nothing a client writes there counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from web_admin.entry.address import Address, NotAnAddress, Ranges, address_of
from web_admin.entry.public import PublicUrl, is_loopback_host

FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded")
MOST_HOPS = 20
_HOST = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about the way here. `refuses` says that nothing else than this is shown."""

    text: str
    remedy: str
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class Arrival:
    """What holds for this request once the proxies were heard."""

    peer: str
    """Who connected to us: the client or the last proxy."""
    client: str
    scheme: str
    host: str
    proxied: bool
    """Whether a trusted proxy brought it."""
    said: Mapping[str, str]
    """The headers that count here, as they came."""
    problems: tuple[Problem, ...] = ()

    @property
    def refused(self) -> bool:
        return any(problem.refuses for problem in self.problems)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def secure(self) -> bool:
        return self.scheme == "https"


def look(
    peer: str, headers: Mapping[str, Sequence[str]], public: PublicUrl, trusted: Ranges
) -> Arrival:
    """`headers` are all values of each of `FORWARDED` and of Host, in their order. Never raises."""
    said = {name: ", ".join(values) for name, values in headers.items() if values}
    try:
        address = address_of(peer)
    except NotAnAddress:
        return Arrival(peer, "", "http", "", False, said, (_NO_PEER,))
    hosts = headers.get("Host", ())
    if address not in trusted:
        return _direct(address, hosts, said, public)
    problems: list[Problem] = []
    client = _client(address, headers.get("X-Forwarded-For", ()), trusted, problems)
    scheme = _one(headers.get("X-Forwarded-Proto", ())).lower()
    if scheme not in ("http", "https"):
        problems.append(_ambiguous("X-Forwarded-Proto", scheme, said))
        scheme = "http"
    host = _one(headers.get("X-Forwarded-Host", ()) or hosts).lower()
    arrival = Arrival(str(address), client, scheme, host, True, said, tuple(problems))
    return _judged(arrival, public)


def _direct(
    address: Address, hosts: Sequence[str], said: Mapping[str, str], public: PublicUrl
) -> Arrival:
    problems: list[Problem] = []
    if any(name in said for name in FORWARDED):
        problems.append(
            Problem(
                f"A proxy at {address} brought this request, and it is none that is trusted.",
                f"Is it yours? Then set TRUSTED_PROXIES={address} and start again. What it says "
                "about you is not believed before.",
            )
        )
    elif not address.is_loopback:
        problems.append(
            Problem(
                f"This came from {address} as plain HTTP: everybody on the way can read it.",
                "Put a reverse proxy with TLS in front (docs/admin.md), and let the web admin "
                "listen on 127.0.0.1 only.",
            )
        )
    arrival = Arrival(
        str(address), str(address), "http", _one(hosts).lower(), False, said, tuple(problems)
    )
    if arrival.refused or is_loopback_host(arrival.host):
        # On the machine itself it is always reachable, so that a broken proxy can be mended.
        return _well_formed(arrival)
    return _judged(arrival, public)


def _client(peer: Address, values: Sequence[str], trusted: Ranges, problems: list[Problem]) -> str:
    hops = [part for value in values for part in value.split(",")]
    if not hops:
        problems.append(
            Problem(
                "The proxy does not say for whom it asks (X-Forwarded-For).",
                "Let it set the header: the lines for your proxy are in docs/admin.md. Until then "
                "everybody counts as one client when passwords are tried.",
                refuses=False,
            )
        )
        return str(peer)
    found = peer
    for hop in reversed(hops[-MOST_HOPS:]):
        try:
            found = address_of(hop)
        except NotAnAddress:
            # The last hop that could be read brought it; what is before it is anybody's word.
            return str(found)
        if found not in trusted:
            break
    return str(found)


def _one(values: Sequence[str]) -> str:
    """The value, where all hops say the same; empty where there is none or they disagree."""
    parts = {part.strip() for value in values for part in value.split(",")}
    return parts.pop() if len(parts) == 1 else ""


def _ambiguous(name: str, scheme: str, said: Mapping[str, str]) -> Problem:
    if name in said:
        text = f"The proxies do not agree on the scheme: {name} is {said[name][:80]!r}."
    else:
        text = f"The proxy does not say whether you came by https ({name})."
    return Problem(text, "Let it set the header: the lines for your proxy are in docs/admin.md.")


def _judged(arrival: Arrival, public: PublicUrl) -> Arrival:
    problems = list(arrival.problems)
    if arrival.scheme != "https" and not any(p.refuses for p in problems):
        problems.append(
            Problem(
                "You came by plain HTTP: everybody on the way can read it.",
                f"Open {public} instead, and let the proxy redirect http to https.",
            )
        )
    if arrival.host != public.host and not any(p.refuses for p in problems):
        problems.append(
            Problem(
                f"You asked for {arrival.host[:100] or 'no host'}, and PUBLIC_URL is {public}",
                "Open that address; or, if the one you used is right, set PUBLIC_URL to it and "
                "start again. A proxy has to pass the host on (docs/admin.md).",
            )
        )
    return _well_formed(_with(arrival, problems))


def _well_formed(arrival: Arrival) -> Arrival:
    if _HOST.fullmatch(arrival.host):
        return arrival
    problem = Problem("The request names no host, or several.", "Open the page in a browser.")
    return _with(arrival, [*arrival.problems, problem])


def _with(arrival: Arrival, problems: Sequence[Problem]) -> Arrival:
    return Arrival(
        arrival.peer,
        arrival.client,
        arrival.scheme,
        arrival.host,
        arrival.proxied,
        arrival.said,
        tuple(problems),
    )


_NO_PEER = Problem("Where this came from cannot be told.", "Let the web admin listen on TCP.")
