"""A small internet on loopback: names that are made up, and one TLS server behind all of them.

It serves a page, a git repository (as plain files), an index of Python packages and one of npm's.
The public internet is 127.0.0.2; everything else on loopback is the own network.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import io
import json
import os
import ssl
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent_service.egress.addresses import is_public
from agent_service.egress.proxy import Network

PUBLIC = "127.0.0.2"
HOSTS = ("git.example", "pypi.example", "npm.example", "web.example", "late.example")
INSIDE = ("inside.example", "rebind.example")
"""Names that lead, or come to lead, into the own network."""
TRUSTED_BY = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "PIP_CERT", "REQUESTS_CA_BUNDLE",
              "NODE_EXTRA_CA_CERTS", "NPM_CONFIG_CAFILE", "CURL_CA_BUNDLE")  # fmt: skip
"""Where programs look for more authorities."""


class Internet:
    """`start` and `stop` it. `authority` is what must be trusted, by a path that the box shows."""

    def __init__(self, folder: Path, authority: Path) -> None:
        self.folder = folder
        self.authority = authority
        self.names: dict[str, list[list[str]]] = {
            **{host: [[PUBLIC]] for host in HOSTS},
            "inside.example": [["127.0.0.1"]],
            "rebind.example": [[PUBLIC], ["127.0.0.1"]],
        }
        """Addresses of each name: the next ones at each look, then always the last."""
        self.resolved: list[str] = []
        self.requests: list[str] = []
        """As `host/path`."""
        self.intruded = 0
        """Connections that came into the own network."""
        self.network = Network(
            self._resolve,
            lambda address: address == PUBLIC or is_public(address),
            dict.fromkeys(TRUSTED_BY, str(authority)),
        )

    async def start(self) -> None:
        self._repository()
        self._wheel = _wheel()
        self._package = _package()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        context = _certificate(self.folder, self.authority, (*HOSTS, *INSIDE))
        await web.TCPSite(self._runner, PUBLIC, 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]
        self._own = await asyncio.start_server(self._intrude, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self._own.close()
        await self._runner.cleanup()

    async def _resolve(self, host: str, _port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise OSError("no such name")
        answers = self.names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _intrude(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.intruded += 1
        writer.close()

    # ---- what it serves ----

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        host, path = request.host.partition(":")[0], request.path
        self.requests.append(host + path)
        if host == "git.example":
            file = (self.folder / "repo.git" / path.removeprefix("/repo.git/")).resolve()
            return web.FileResponse(file) if file.is_file() else web.Response(status=404)
        if host == "pypi.example" and path == "/simple/small/":
            name = "small-1.0-py3-none-any.whl"
            return web.Response(text=f"<a href='/{name}'>{name}</a>", content_type="text/html")
        if host == "pypi.example":
            return web.Response(body=self._wheel)
        if host == "npm.example" and path == "/small":
            return web.json_response(self._npm())
        if host == "npm.example":
            return web.Response(body=self._package)
        if path == "/endless":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"more\n")
                await asyncio.sleep(0.02)
        return web.Response(text="<h1>A page of the internet</h1>", content_type="text/html")

    def _repository(self) -> None:
        bare, made = self.folder / "repo.git", self.folder / "made"
        made.mkdir()
        (made / "hello.txt").write_text("from git\n")
        nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        for words in (
            ["init", "-q", "-b", "main", str(made)],
            ["-C", str(made), "add", "."],
            ["-C", str(made), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
            ["clone", "-q", "--bare", str(made), str(bare)],
            ["-C", str(bare), "update-server-info"],
        ):
            subprocess.run(["git", *words], check=True, env={"PATH": os.environ["PATH"], **nobody})

    def _npm(self) -> dict[str, Any]:
        integrity = base64.b64encode(hashlib.sha512(self._package).digest()).decode()
        url = f"https://npm.example:{self.port}/small.tgz"
        dist = {"tarball": url, "integrity": f"sha512-{integrity}"}
        one = {"name": "small", "version": "1.0.0", "dist": dist}
        return {"name": "small", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": one}}


def _wheel() -> bytes:
    held, info = io.BytesIO(), "small-1.0.dist-info"
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("small.py", "word = 'from pip'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return held.getvalue()


def _package() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in (
            ("package.json", json.dumps({"name": "small", "version": "1.0.0"})),
            ("index.js", "module.exports = 'from npm'\n"),
        ):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return held.getvalue()


def _certificate(folder: Path, authority: Path, hosts: Sequence[str]) -> ssl.SSLContext:
    """A server's context with a certificate for these hosts; its authority is written down."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)

    def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        issuer, name = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
            for text in ("test authority", subject)
        )
        made = x509.CertificateBuilder(issuer, name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - day).not_valid_after(now + day)

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    above = builder("test authority", root).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    server = builder("internet", leaf).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    authority.write_bytes(above.sign(root, hashes.SHA256()).public_bytes(pem))
    both = folder / "server.pem"
    both.write_bytes(
        leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + server.sign(root, hashes.SHA256()).public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context
