"""Real reverse proxies with TLS in front of the web admin: Debian's nginx and Caddy."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "bascule.example.org"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx") or ""
CADDY = shutil.which("caddy") or ""

NGINX_LINES = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name {name};
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location {base}/ {{
        proxy_pass http://{upstream};
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""
CADDY_LINES = """\
{{
    admin off
    auto_https off
}}
https://{name}:{port} {{
    bind 127.0.0.1
    tls {folder}/cert.pem {folder}/key.pem
    reverse_proxy {path}{upstream}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificate(folder: Path) -> ssl.SSLContext:
    """A certificate for `NAME` in the folder; gives what a client needs to trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ssl.create_default_context(cafile=folder / "cert.pem")


class Proxy:
    """One proxy process. Its port and its upstream's are known before it starts."""

    def __init__(self, kind: str, folder: Path, port: int, upstream: int, base: str) -> None:
        self.port = port
        given = {"folder": folder, "port": port, "upstream": f"127.0.0.1:{upstream}",
                 "name": NAME, "base": base, "path": f"{base}* " if base else ""}  # fmt: skip
        assert {"nginx": NGINX, "caddy": CADDY}[kind], f"apt-get install {kind}"
        if kind == "nginx":
            file, lines = folder / "nginx.conf", NGINX_LINES
            self._command = [NGINX, "-p", str(folder), "-c", str(file), "-e", str(folder / "e")]
        else:
            file, lines = folder / "Caddyfile", CADDY_LINES
            self._command = [CADDY, "run", "--config", str(file), "--adapter", "caddyfile"]
        file.write_text(lines.format(**given))
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "proxy.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, env={"HOME": str(self._folder)}
            )
        async with asyncio.timeout(30):
            while True:
                assert self._process.returncode is None, (self._folder / "proxy.log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
