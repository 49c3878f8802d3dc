"""Settings of the agent service: a table with help text, read once at start.

No other module reads the environment. `__main__` removes everything but a small allow-list from
it after reading, because the SDK hands the service's whole environment to the CLI.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent_service.contract.policy import Ceiling
from agent_service.contract.turns import Mode
from agent_service.egress.allow import AllowList
from agent_service.policy.effective import within

SHORTEST_KEY = 32
"""Characters of a signing key or an encryption key."""
ENCRYPTION_KEYS = "Encryption keys"


def listed(text: str) -> list[str]:
    """The parts of a list that is separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


class SettingsInvalid(Exception):
    """One line for each setting that is wrong, by the name of its variable."""


class AgentSettings(BaseSettings):
    """What an operator can set. Names are the environment variables, in capitals."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", case_sensitive=False)

    bascule_home: Path = Field(
        default=Path("data"), description="Where the deployment keeps everything it owns."
    )
    agent_socket: Path | None = Field(
        default=None,
        description="Unix socket the service listens on. Default: run/agent.sock in the home.",
    )
    agent_bridge_keys_file: Path | None = Field(
        default=None,
        description="Signing keys of the bridge, one a line, oldest to newest. "
        "Default: secrets/bridge.keys in the home.",
    )
    agent_admin_keys_file: Path | None = Field(
        default=None,
        description="Signing keys of the web admin, as above. Default: secrets/admin.keys.",
    )
    agent_encryption_keys_file: Path | None = Field(
        default=None,
        description="Keys that stored credentials are encrypted with, one a line, oldest to "
        "newest. Default: secrets/encryption.keys in the home, made on the first start.",
    )
    agent_encryption_keys: SecretStr | None = Field(
        default=None,
        description="The same keys themselves, separated by commas, where they come from the "
        "environment: random ones of 32 characters or more. No file is read or made then. Never "
        "logged or shown.",
    )
    agent_upstream_url: str = Field(
        default="https://api.anthropic.com",
        description="The Messages API to use: Anthropic's or any gateway that speaks it.",
        pattern=r"^https?://[^\s]+$",
    )
    agent_api_key: SecretStr = Field(
        default=SecretStr(""), description="Key for AGENT_UPSTREAM_URL. Never logged or shown."
    )
    agent_model: str | None = Field(
        default=None, description="Model where nobody chose one. Default: the CLI's own."
    )
    agent_mode: Mode = Field(
        default="default", description="Permission mode where nobody chose one."
    )
    agent_mode_ceiling: Ceiling = Field(
        default="acceptEdits",
        description="The laxest permission mode that anybody can choose. bypassPermissions asks "
        "nothing; it needs the sandbox and an ordinary user.",
    )
    agent_decision_hours: float = Field(
        default=24, gt=0, le=24 * 30, description="Hours after which a decision expires as denied."
    )
    agent_sessions_mib: int | None = Field(
        default=None,
        ge=512,
        description="Memory that all sessions together should take, in MiB (110 to 330 each, and "
        "what their commands take); for a new one, the one idle longest is closed. Default: 60 % "
        "of the machine's memory, or of the container's limit.",
    )
    agent_idle_minutes: float = Field(
        default=10, gt=0, description="Minutes after which an idle Claude process is closed."
    )
    agent_model_retries: int = Field(
        default=4,
        ge=0,
        le=10,
        description="How often a failing or overloaded model is tried again within a turn.",
    )
    agent_sandbox: Literal["required", "off"] = Field(
        default="required",
        description="required: every session runs in a sandbox, and the service does not start "
        "where that does not work. off: for one person on their own machine only.",
    )
    agent_personal_sign_in: bool = Field(
        default=False,
        description="Let people sign in to Claude with an account of their own, for their own "
        "turns in their own conversations. Needs the sandbox. Anthropic's terms: the person signs "
        "in to the unmodified CLI, for themselves only; nobody else's requests may use their "
        "account.",
    )
    agent_egress: str = Field(
        default="",
        description="Hosts beyond the model that agents may reach, separated by commas: "
        "`pypi.org`, `*.example.org`, `git.example.org:8443`. Empty: none.",
    )
    agent_models: str = Field(
        default="",
        description="Models that may be used, as patterns separated by commas, such as "
        "`claude-sonnet-*`. Empty: any.",
    )
    agent_max_tokens: int = Field(
        default=128_000, ge=1, description="Tokens of one answer of the model, at most."
    )
    agent_session_usd: float | None = Field(
        default=None,
        gt=0,
        description="US dollars that one conversation may use, over all its sessions and over "
        "restarts. The answer that crosses it is still delivered. Default: no cap.",
    )
    agent_prices_file: Path | None = Field(
        default=None,
        description="JSON with prices of your own, US dollars for a million tokens: "
        '`{"claude-opus-*": {"input": 5, "output": 25}}`. Default: a table of public prices.',
    )
    agent_memory_mib: int = Field(
        default=4096, ge=512, description="Memory of one session with all it starts, in MiB."
    )
    agent_processes: int = Field(
        default=512, ge=32, le=30_000, description="Processes and threads of one session."
    )
    agent_workspace_mib: int = Field(
        default=10_240, ge=16, description="Disk space of one workspace, in MiB."
    )
    agent_claude_cli: Path | None = Field(
        default=None, description="The Claude CLI to run. Default: the one inside the SDK."
    )
    log_format: Literal["auto", "human", "json"] = Field(
        default="auto", description="How logs look; auto is human on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least urgent log line that is written."
    )

    @field_validator("agent_api_key", mode="after")
    @classmethod
    def _one_line(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if key != key.strip() or any(ord(c) < 33 or ord(c) > 126 for c in key):
            raise ValueError("has spaces, line breaks or characters that no key has")
        return value

    @field_validator("agent_encryption_keys", mode="after")
    @classmethod
    def _keys(cls, value: SecretStr | None) -> SecretStr | None:
        # Empty is refused too: with a key of another file, nothing that is stored could be read.
        keys = [] if value is None else listed(value.get_secret_value())
        if value is not None and (not keys or min(map(len, keys)) < SHORTEST_KEY):
            raise ValueError(
                f"needs random keys of {SHORTEST_KEY} characters or more, separated by commas; or "
                "leave it out"
            )
        if any(not "!" <= c <= "~" for key in keys for c in key):
            raise ValueError("has spaces, line breaks or characters that no key has")
        return value

    @field_validator("bascule_home", mode="before")
    @classmethod
    def _some_place(cls, value: Any) -> Any:
        if isinstance(value, str):
            if not value.strip():
                raise ValueError("is empty; name a folder, or leave the setting out")
            return Path(value).expanduser()
        return value

    @field_validator("agent_egress", mode="after")
    @classmethod
    def _patterns(cls, value: str) -> str:
        AllowList(listed(value))
        return value

    @model_validator(mode="after")
    def _under_the_ceiling(self) -> Self:
        if not within(self.agent_mode, self.agent_mode_ceiling):
            raise ValueError(f"AGENT_MODE is above AGENT_MODE_CEILING ({self.agent_mode_ceiling})")
        return self

    @model_validator(mode="after")
    def _one_place_for_keys(self) -> Self:
        if self.agent_encryption_keys is not None and self.agent_encryption_keys_file is not None:
            raise ValueError(
                "AGENT_ENCRYPTION_KEYS and AGENT_ENCRYPTION_KEYS_FILE are both set: keep one, with "
                "the keys of both, oldest to newest."
            )
        return self

    @property
    def home(self) -> Path:
        return self.bascule_home.absolute()

    @property
    def socket(self) -> Path:
        return self.agent_socket or self.home / "run" / "agent.sock"

    @property
    def bridge_keys_file(self) -> Path:
        return self.agent_bridge_keys_file or self.home / "secrets" / "bridge.keys"

    @property
    def admin_keys_file(self) -> Path:
        return self.agent_admin_keys_file or self.home / "secrets" / "admin.keys"

    @property
    def encryption_keys_file(self) -> Path:
        return self.agent_encryption_keys_file or self.home / "secrets" / "encryption.keys"

    def encryption_keys(self) -> list[str]:
        """Oldest to newest. From the environment; else from their file, which is made with one
        new key where there is none. Raises `SettingsInvalid`."""
        if self.agent_encryption_keys is not None:
            return listed(self.agent_encryption_keys.get_secret_value())
        return read_or_make_keys(self.encryption_keys_file, ENCRYPTION_KEYS)

    @property
    def state_dir(self) -> Path:
        return self.home / "agent"

    @property
    def database(self) -> Path:
        return self.state_dir / "agent.db"


def load() -> AgentSettings:
    """The settings from the environment and `.env`. Raises `SettingsInvalid`.

    Misspelt names are the `bascule` command's business, which knows those of all folders.
    """
    try:
        return AgentSettings()
    except UnicodeDecodeError:
        raise SettingsInvalid(
            ".env is not UTF-8 text; save it as UTF-8, or move it away."
        ) from None
    except ValidationError as error:
        lines = [
            f"{_name(problem['loc'])}{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsInvalid("\n".join(lines)) from None


def _name(loc: tuple[int | str, ...]) -> str:
    return f"{str(loc[0]).upper()}: " if loc else ""


def read_or_make_keys(path: Path, title: str) -> list[str]:
    """As `read_keys`; a file that is not there is made, with one new key."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return read_keys(path, title)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    return read_keys(path, title)


def read_keys(path: Path, title: str = "Signing keys") -> list[str]:
    """The keys in a file, oldest to newest. Raises `SettingsInvalid`."""
    try:
        mode = path.stat().st_mode
        keys = [line.strip() for line in path.read_text("ascii").splitlines() if line.strip()]
    except OSError as error:
        raise SettingsInvalid(
            f"{title}: {path} cannot be read ({os.strerror(error.errno or 0)}). "
            "`bascule up` makes it on its first run."
        ) from None
    except UnicodeError:
        raise SettingsInvalid(f"{title}: {path} is not a text file of keys.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsInvalid(f"{title}: {path} can be read by other users. Run: chmod 600 {path}")
    if not keys or min(map(len, keys)) < SHORTEST_KEY:
        raise SettingsInvalid(f"{title}: {path} needs keys of {SHORTEST_KEY} characters or more.")
    return keys
