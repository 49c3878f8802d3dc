"""Settings of the web admin: a table with help text, read once at start."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from web_admin.entry.address import NotAnAddress, Ranges
from web_admin.entry.public import NotAUrl, PublicUrl


class SettingsInvalid(Exception):
    """One line for each setting that is wrong, by the name of its variable."""


class AdminSettings(BaseSettings):
    """What an operator can set. Names are the environment variables, in capitals."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", case_sensitive=False)

    bascule_home: Path = Field(
        default=Path("data"), description="Where the deployment keeps everything it owns."
    )
    admin_listen: str = Field(
        default="127.0.0.1:8481",
        description="host:port of the web admin, or off. It speaks plain HTTP: a reverse proxy in "
        "front of it ends TLS.",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8481",
        description="Where people reach the web admin, such as https://bascule.example.org or "
        "https://example.org/bascule/. Plain http is for this machine only.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and ranges of the reverse proxies in front of the web admin, "
        "separated by commas: `127.0.0.1, 10.0.0.0/8`. What anybody else says in X-Forwarded-* is "
        "not believed.",
    )
    admin_agent_socket: Path | None = Field(
        default=None,
        description="Unix socket of the agent service. Default: run/agent.sock in the home.",
    )
    admin_bridge_socket: Path | None = Field(
        default=None,
        description="Unix socket of the bridge. Default: run/bridge.sock in the home.",
    )
    admin_signing_keys_file: Path | None = Field(
        default=None,
        description="Keys the web admin signs its calls with, one a line, oldest to newest. "
        "Default: secrets/admin.keys in the home.",
    )
    admin_link_keys_file: Path | None = Field(
        default=None,
        description="Keys of the sign-in links that the bot gives out, as above. Default: "
        "secrets/links.keys in the home.",
    )
    admin_session_hours: float = Field(
        default=24 * 7, gt=0, le=24 * 90, description="Hours after which a sign-in ends anyway."
    )
    admin_idle_hours: float = Field(
        default=12, gt=0, le=24 * 90, description="Hours after which an unused sign-in ends."
    )
    log_format: Literal["auto", "human", "json"] = Field(
        default="auto", description="How logs look; auto is human on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least urgent log line that is written."
    )

    @field_validator("bascule_home", mode="before")
    @classmethod
    def _some_place(cls, value: Any) -> Any:
        if isinstance(value, str):
            if not value.strip():
                raise ValueError("is empty; name a folder, or leave the setting out")
            return Path(value).expanduser()
        return value

    @field_validator("admin_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if value == "off":
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise ValueError("is neither host:port nor off")
        return value

    @field_validator("public_url")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            PublicUrl.parse(value)
        except NotAUrl as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _ranges(cls, value: str) -> str:
        try:
            Ranges.parse(value)
        except NotAnAddress as error:
            raise ValueError(str(error)) from None
        return value

    @property
    def home(self) -> Path:
        return self.bascule_home.absolute()

    @property
    def agent_socket(self) -> Path:
        return self.admin_agent_socket or self.home / "run" / "agent.sock"

    @property
    def bridge_socket(self) -> Path:
        return self.admin_bridge_socket or self.home / "run" / "bridge.sock"

    @property
    def signing_keys_file(self) -> Path:
        return self.admin_signing_keys_file or self.home / "secrets" / "admin.keys"

    @property
    def link_keys_file(self) -> Path:
        return self.admin_link_keys_file or self.home / "secrets" / "links.keys"

    @property
    def database(self) -> Path:
        return self.home / "admin" / "admin.db"

    @property
    def listen(self) -> tuple[str, int] | None:
        """Where to serve; None when it is off."""
        if self.admin_listen == "off":
            return None
        host, _, port = self.admin_listen.rpartition(":")
        return host.strip("[]"), int(port)

    def reached_elsewhere(self) -> str:
        """What is odd about where it listens and where it says it is; empty where nothing is."""
        url = urlsplit(self.public_url)
        where = self.listen
        if where is None or url.scheme != "http" or not where[1] or (url.port or 80) == where[1]:
            return ""
        return (
            f"PUBLIC_URL is {self.public_url}, but the web admin listens on {self.admin_listen}: "
            "set PUBLIC_URL to where people reach it."
        )


def load() -> AdminSettings:
    """The settings from the environment and `.env`. Raises `SettingsInvalid`."""
    try:
        return AdminSettings()
    except UnicodeDecodeError:
        raise SettingsInvalid(
            ".env is not UTF-8 text; save it as UTF-8, or move it away."
        ) from None
    except ValidationError as error:
        lines = [
            f"{str(problem['loc'][0]).upper() if problem['loc'] else 'Settings'}: "
            + problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsInvalid("\n".join(lines)) from None


def read_keys(path: Path, name: str) -> list[str]:
    """The keys in a file, oldest to newest. Raises `SettingsInvalid`."""
    try:
        mode = path.stat().st_mode
        keys = [line.strip() for line in path.read_text("ascii").splitlines() if line.strip()]
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise SettingsInvalid(
            f"{name}: {path} cannot be read ({why}); `bascule up` makes it on its first run."
        ) from None
    except ValueError:
        raise SettingsInvalid(f"{name}: {path} holds something else than keys.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsInvalid(f"{name}: others may read {path}; run: chmod 600 {path}")
    if not keys or min(map(len, keys)) < 32:
        raise SettingsInvalid(f"{name}: {path} needs keys of 32 characters or more.")
    return keys
