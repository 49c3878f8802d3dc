"""Settings of the bridge: a table with help text, read once at start.

No other module reads the environment. A field's name is the variable's name in lower case.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from bridge.schedules import zones
from bridge.schedules.limits import Limits


class SettingsInvalid(Exception):
    """One line for each setting that is wrong, by the name of its variable."""


class HomeSettings(BaseSettings):
    """Only where the deployment is, for who must know it whatever else is wrong."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", case_sensitive=False)

    bascule_home: Path = Field(
        default=Path("data"), description="Where the deployment keeps everything it owns."
    )

    @field_validator("bascule_home", mode="before")
    @classmethod
    def _some_place(cls, value: Any) -> Any:
        if isinstance(value, str):
            if not value.strip():
                raise ValueError("is empty; name a folder, or leave the setting out")
            return _expanded(value)
        return value

    @property
    def home(self) -> Path:
        return self.bascule_home.absolute()


class BridgeSettings(HomeSettings):
    """What an operator can set for the bridge. Adapters bring settings of their own."""

    bridge_database_url: str = Field(
        default="",
        description="URL of the bridge's database, such as postgresql://user:password@host/name; "
        "several bridges may share one on PostgreSQL. "
        "Default: SQLite at bridge/bridge.db in the home.",
    )
    bridge_adapters: str = Field(
        default="console",
        description="Chat platforms to run, separated by commas. Installed is not enabled.",
    )
    bridge_agent_socket: Path | None = Field(
        default=None,
        description="Unix socket of the agent service. Default: run/agent.sock in the home.",
    )
    bridge_signing_keys_file: Path | None = Field(
        default=None,
        description="Keys the bridge signs its calls with, one a line, oldest to newest; nobody "
        "else may be able to read the file. Default: secrets/bridge.keys in the home.",
    )
    bridge_listen: str = Field(
        default="127.0.0.1:8480",
        description="host:port of the bridge's HTTP interface (/healthz, /metrics), or off.",
    )
    bridge_metrics_token: SecretStr = Field(
        default=SecretStr(""),
        description="Who sends it as `Authorization: Bearer …` may read /metrics and "
        "/metrics/agent; 16 characters or more. Default: nobody may, there are none.",
    )
    bridge_admin_socket: Path | None = Field(
        default=None,
        description="Unix socket for the web admin's calls. Default: run/bridge.sock in the home.",
    )
    bridge_admin_keys_file: Path | None = Field(
        default=None,
        description="Keys the web admin signs its calls with, as above. Default: "
        "secrets/admin.keys in the home; without that file no web admin is served.",
    )
    bridge_link_keys_file: Path | None = Field(
        default=None,
        description="Keys of the sign-in links that `web` gives out, as above. Default: "
        "secrets/links.keys in the home; without that file it gives none.",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8481",
        description="Where people reach the web admin, such as https://bascule.example.org or "
        "https://example.org/bascule/. Plain http is for this machine only.",
    )
    bridge_concurrency: int = Field(
        default=50, ge=1, le=10_000, description="Turns that may be in progress at once."
    )
    bridge_person_concurrency: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="Conversations of one person that are worked on at once, on all bridges "
        "together; what is more waits, and lets others go first.",
    )
    bridge_drain_seconds: float = Field(
        default=2.0,
        ge=0,
        le=3600,
        description="Seconds that running turns are given to end when the bridge is stopped. What "
        "still runs then is handed over to another bridge, or to the next start. `bascule up` "
        "waits 4.5 s in all.",
    )
    bridge_keep_days: int = Field(
        default=30,
        ge=7,
        le=36_500,
        description="Days that finished messages, their posts and decisions, clicks and delivery "
        "keys are kept. What is open or waits stays however old it is.",
    )
    bridge_turn_seconds: int = Field(
        default=1800,
        ge=1,
        le=86_400,
        description="Seconds a turn may run; waiting for a decision does not count.",
    )
    bridge_agent_patience_seconds: float = Field(
        default=120,
        gt=0,
        le=86_400,
        description="Seconds to try again while the agent service is unreachable, before the "
        "person is offered a Retry, or the turn is put off where the service may have it.",
    )
    bridge_person_usd_a_day: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="US dollars that one person may use a day, where an admin set them nothing "
        "else (`budget`). The answer that crosses it is still delivered. Default: no limit.",
    )
    bridge_person_turns_a_day: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description="Turns of one person a day, likewise. Default: no limit.",
    )
    bridge_deployment_usd_a_month: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="US dollars that everybody together may use a month, where an admin set "
        "nothing else (`budget deployment`). Default: no limit.",
    )
    bridge_messages_a_minute: int = Field(
        default=30,
        ge=0,
        le=10_000,
        description="Messages of one person that are taken in a minute; more are refused with a "
        "word. 0: as many as they write.",
    )
    bridge_commands_a_minute: int = Field(
        default=60,
        ge=0,
        le=10_000,
        description="Commands of one person, likewise. `stop` is always heard.",
    )
    bridge_file_mib: int = Field(
        default=32, ge=1, le=512, description="The largest file a person can send, in MiB."
    )
    bridge_message_mib: int = Field(
        default=100, ge=1, le=4096, description="All files of one message together, in MiB."
    )
    bridge_message_files: int = Field(
        default=10, ge=0, le=50, description="Files in one message; 0 takes none at all."
    )
    bridge_timezone: str = Field(
        default="UTC",
        description="IANA time zone, such as Europe/Berlin: by its midnight the days and months of "
        "budgets begin, for everybody alike, and schedules go by it for people who have not set "
        "one with `timezone`.",
    )
    bridge_schedule_minutes: int = Field(
        default=5,
        ge=1,
        le=1440,
        description="Minutes that must lie between two runs of a schedule; looked at when one is "
        "made or resumed.",
    )
    bridge_schedules_per_person: int = Field(
        default=20, ge=0, le=1000, description="Schedules a person may have; 0 allows none."
    )
    bridge_schedule_late_minutes: int = Field(
        default=60,
        ge=0,
        le=1440,
        description="Minutes a scheduled run may be late, as after a stop of the bridge. One that "
        "is later is skipped, and its thread is told.",
    )
    log_format: Literal["auto", "human", "json"] = Field(
        default="auto", description="How logs look; auto is human on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least urgent log line that is written."
    )

    @field_validator("bridge_adapters")
    @classmethod
    def _some_adapter(cls, value: str) -> str:
        if not any(part.strip() for part in value.split(",")):
            raise ValueError("names no adapter; console is the one that needs no account")
        return value

    @field_validator("bridge_timezone")
    @classmethod
    def _some_zone(cls, value: str) -> str:
        if (zone := zones.exact(value)) is None:
            raise ValueError("is no IANA time zone; one looks like Europe/Berlin, or UTC")
        return zone

    @field_validator("bridge_metrics_token")
    @classmethod
    def _some_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and (len(token) < 16 or not token.isascii() or not token.isprintable()):
            raise ValueError("has fewer than 16 characters, or some that no token has")
        if " " in token:
            raise ValueError("has spaces")
        return value

    @field_validator("bridge_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if value == "off":
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise ValueError("is neither host:port nor off")
        return value

    @property
    def run_dir(self) -> Path:
        """Where sockets are."""
        return self.home / "run"

    @property
    def spool_dir(self) -> Path:
        """Where a file is on its way from a platform to the agent service."""
        return self.home / "bridge" / "spool"

    @property
    def agent_socket(self) -> Path:
        return self.bridge_agent_socket or self.run_dir / "agent.sock"

    @property
    def signing_keys_file(self) -> Path:
        return self.bridge_signing_keys_file or self.home / "secrets" / "bridge.keys"

    @property
    def admin_socket(self) -> Path:
        return self.bridge_admin_socket or self.run_dir / "bridge.sock"

    @property
    def admin_keys(self) -> list[str]:
        """None: there is no web admin here. Raises `SettingsInvalid`."""
        given, usual = self.bridge_admin_keys_file, self.home / "secrets" / "admin.keys"
        return _keys_there("BRIDGE_ADMIN_KEYS_FILE", given, usual)

    @property
    def link_keys(self) -> list[str]:
        """None: there is no web admin here. Raises `SettingsInvalid`."""
        given, usual = self.bridge_link_keys_file, self.home / "secrets" / "links.keys"
        return _keys_there("BRIDGE_LINK_KEYS_FILE", given, usual)

    @property
    def database_url(self) -> str:
        return self.bridge_database_url or f"sqlite:///{self.home / 'bridge' / 'bridge.db'}"

    @property
    def schedules(self) -> Limits:
        """What schedules are allowed."""
        return Limits(
            self.bridge_timezone,
            self.bridge_schedule_minutes,
            self.bridge_schedules_per_person,
            self.bridge_schedule_late_minutes,
        )

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the enabled adapters, each once, in the order given."""
        names = (part.strip() for part in self.bridge_adapters.split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def listen(self) -> tuple[str, int] | None:
        """Where to serve HTTP; None when it is off."""
        if self.bridge_listen == "off":
            return None
        host, _, port = self.bridge_listen.rpartition(":")
        return host.strip("[]"), int(port)


def load() -> BridgeSettings:
    """The settings from the environment and `.env`. Raises `SettingsInvalid`.

    A variable that looks like a misspelt one of ours is a mistake and not ignored.
    """
    known = [name.upper() for name in BridgeSettings.model_fields]
    problems = misspelt(names_given(), known, ("BRIDGE_", "BASCULE_"))
    try:
        settings = BridgeSettings()
    except ValidationError as error:
        problems += wrong(error)
    if problems:
        raise SettingsInvalid("\n".join(problems))
    return settings


def wrong(error: ValidationError) -> list[str]:
    """One line for each setting that is wrong, by the name of its variable and without what was
    given: that may be a secret."""
    return [
        f"{'.'.join(map(str, problem['loc'])).upper() or 'Settings'}: "
        + problem["msg"].removeprefix("Value error, ")
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def names_given() -> set[str]:
    """The names of all variables in the environment and `.env`, in capitals.

    Raises `SettingsInvalid` where `.env` cannot be read.
    """
    try:
        in_file = DotEnvSettingsSource(HomeSettings).env_vars
    except UnicodeDecodeError:
        raise SettingsInvalid(
            f".env: {Path('.env').absolute()} is not UTF-8 text; save it as UTF-8, or move it away."
        ) from None
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise SettingsInvalid(f".env: {Path('.env').absolute()} cannot be read ({why}).") from None
    return {name.upper() for name in (*os.environ, *in_file)}


def misspelt(given: Iterable[str], known: Iterable[str], prefixes: tuple[str, ...]) -> list[str]:
    """A line for each name with one of our prefixes that is almost one of the known."""
    known = sorted(set(known))
    problems = []
    for name in sorted(given):
        if name.startswith(prefixes) and name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.85)
            if near:
                problems.append(f"{name}: there is no such setting; did you mean {near[0]}?")
    return problems


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, but whose home that is cannot be told") from None


def _keys_there(name: str, given: Path | None, usual: Path) -> list[str]:
    if given is None and not usual.exists():
        return []
    return read_signing_keys(given or usual, name)


def read_signing_keys(path: Path, name: str = "BRIDGE_SIGNING_KEYS_FILE") -> list[str]:
    """The signing keys in a file, oldest to newest. Raises `SettingsInvalid`."""
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
    if not keys:
        raise SettingsInvalid(f"{name}: {path} holds no key.")
    return keys
