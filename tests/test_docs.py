"""Documents that a machine can hold to the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deployment import command

ROOT = Path(__file__).parent.parent
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"),
                *ROOT.glob("*/*/README.md")})  # fmt: skip


async def test_every_setting_is_documented(place: Path) -> None:
    """docs/settings.md is what `bascule config --markdown` writes: no setting is missing."""
    code, out, err = await command("config", "--markdown", home=place, BASCULE_HOME="data")
    assert code == 0, err
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == out, "run: make docs"
    for line in out.splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), f"no help text: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """No page links to a file that is not there."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


async def test_the_readmes_commands_are_commands(place: Path) -> None:
    """Every `bascule word` of a page is a command that is there."""
    _, out, _ = await command("--help", home=place)
    known = set(re.findall(r"^  ([a-z]+) ", out, re.MULTILINE))
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        text = re.sub(r"comes? with the adapter.*", "", page.read_text())
        for word in re.findall(r"`bascule ([a-z]+)", text):
            assert word in known | {"slack", "discord", "audit"}, f"{page}: bascule {word}"
