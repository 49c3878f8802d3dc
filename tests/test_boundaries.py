"""The architecture, as a test: what each folder may import of ours, and how it may be entered."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"adapters", "agent_service", "bridge", "web_admin"}

# folder -> the doors of other folders it may enter; inside itself it may import everything
MAY_IMPORT: dict[str, set[str]] = {
    "adapters": set(),
    "agent_service": set(),
    "bridge": {"adapters.contract", "agent_service.contract"},
    "web_admin": {"agent_service.contract", "bridge.contract"},
}
# folders inside a folder that are strangers to each other and meet at a door
INNER_DOORS: dict[str, set[str]] = {
    "adapters.console": {"adapters.contract"},
    "adapters.slack": {"adapters.contract"},
    "adapters.discord": {"adapters.contract"},
    "adapters.web": {"adapters.contract"},
    "adapters.testing": {"adapters.contract"},
    "adapters.contract": set(),
    "agent_service.contract": set(),
    "bridge.contract": set(),
}
# what only one place may import
ONLY_FROM: dict[str, str] = {
    "claude_agent_sdk": "agent_service.claude",
    "slack_bolt": "adapters.slack",
    "slack_sdk": "adapters.slack",
    "discord": "adapters.discord",
}
# contracts are frozen dataclasses on the standard library; signing adds itsdangerous
CONTRACT_LIBRARIES = {"itsdangerous"}


def sources() -> list[Path]:
    return [p for folder in sorted(OURS) for p in sorted((ROOT / folder).rglob("*.py"))]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that a door is visible"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_imports_keep_to_the_map(path: Path) -> None:
    """A file imports only its own folder, the doors its folder may enter, and libraries."""
    module = module_of(path)
    folder = module.partition(".")[0]
    inner = next((name for name in INNER_DOORS if within(module, name)), None)
    for name in imports(path):
        root = name.partition(".")[0]
        for library, place in ONLY_FROM.items():
            if root == library:
                assert within(module, place), f"{module} imports {name}; only {place} may"
        if root not in OURS:
            continue
        if inner is not None:
            doors = {inner, *INNER_DOORS[inner]}
        elif root == folder:
            continue
        else:
            doors = MAY_IMPORT[folder]
        assert any(within(name, door) for door in doors), f"{module} imports {name}"


@pytest.mark.parametrize("path", [p for p in sources() if "contract" in p.parts], ids=module_of)
def test_contracts_need_no_libraries(path: Path) -> None:
    """Any process can import a contract cheaply: it needs the standard library only."""
    import sys

    for name in imports(path):
        root = name.partition(".")[0]
        assert root in sys.stdlib_module_names | OURS | CONTRACT_LIBRARIES, name


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_only_entry_points_read_the_environment(path: Path) -> None:
    """Settings are read once at start: no handler looks at os.environ."""
    module = module_of(path)
    allowed = (".settings", ".__main__", ".commands", ".cli", "bridge.supervisor", ".testing")
    if not any(part in module for part in allowed):
        text = path.read_text("utf-8")
        assert "os.environ" not in text, module
        assert "os.getenv" not in text, module


def test_there_is_no_room_for_leftovers() -> None:
    """A shared type lives with the folder that serves it: no utils, no common, no helpers."""
    names = {p.stem for p in sources()} | {p.parent.name for p in sources()}
    assert not names & {"utils", "util", "common", "helpers", "misc", "types", "shared"}
