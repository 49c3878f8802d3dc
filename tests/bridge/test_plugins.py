"""Adapters are found by name, or start-up stops and names the one that is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.contract import Plugin, SettingField, SetupInvalid, SetupSpec
from bridge import plugins
from bridge.plugins import PluginInvalid
from tests.bridge.platforms import MemoryPlatform, plugin

LOOK = """
import sys
from bridge import plugins
from bridge.settings import BridgeSettings
try:
    found = plugins.load(sys.argv[1].split(","))
    print("loaded", *[p.name for p in found])
    for one in found:
        plugins.settings_of(one)
except plugins.PluginInvalid as error:
    print(error)
print("imported", *sorted(name for name in sys.modules if name.startswith("strange_")))
"""
PREFIX = "from adapters.contract import *\nfrom tests.bridge.platforms import MemoryPlatform\n"


class Site:
    """Distributions as pip leaves them, in a folder of their own on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, code: str, target: str = "PLUGIN") -> None:
        module = f"strange_{name}"
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {module}:{target}\n")

    def load(self, *enabled: str, **environ: str) -> str:
        """What a fresh process says that enables these adapters."""
        root = str(Path(__file__).parents[2])
        environment = {"PYTHONPATH": f"{root}:{self.folder}", **environ}
        done = subprocess.run(
            [sys.executable, "-c", LOOK, ",".join(enabled)],
            env=environment, cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


GOOD = PREFIX + "PLUGIN = Plugin('fine', lambda context: MemoryPlatform())\n"


def test_found_by_its_entry_point(site):
    """An installed adapter that is enabled is loaded."""
    site.install("fine", GOOD)
    assert site.load("fine").splitlines() == ["loaded fine", "imported strange_fine"]


def test_installed_is_not_enabled(site):
    """An adapter that nobody enabled is not even imported: broken, it hurts nobody."""
    site.install("fine", GOOD)
    site.install("broken", "raise SystemExit('imported!')")
    assert site.load("fine").splitlines() == ["loaded fine", "imported strange_fine"]


def test_unknown_name(site):
    """A name that nothing provides is told together with those there are."""
    site.install("fine", GOOD)
    told = site.load("fyne")
    assert "Adapter fyne in BRIDGE_ADAPTERS is not installed (installed: " in told
    assert "fine" in told
    assert "correct the name, or install its package" in told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import a_library_that_is_missing", "ModuleNotFoundError: No module named 'a_library"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("OTHER = 1", "AttributeError"),
        ("PLUGIN = object()", "is no adapters.contract.Plugin"),
    ],
)
def test_broken_distribution(site, code, told):
    """What cannot be loaded is named with the reason, and what to do."""
    site.install("broken", code)
    said = site.load("broken")
    assert said.startswith("Adapter broken")
    assert told in said
    assert "take it out of BRIDGE_ADAPTERS" in said


def test_other_contract(site):
    """An adapter of another version of the port is refused before it is made."""
    site.install("old", PREFIX + "PLUGIN = Plugin('old', None, contract_version=99)")
    assert "Adapter old is made for version 99 of the adapter contract" in site.load("old")


def test_all_that_is_wrong_at_once(site):
    """Each enabled adapter that is wrong has its own line: one start shows them all."""
    site.install("broken", "x = 1 / 0")
    lines = site.load("broken", "nowhere").splitlines()
    assert [line.split(" ")[1] for line in lines[:2]] == ["broken", "nowhere"]


NEEDS = SetupSpec(
    (
        SettingField("STRANGE_TOKEN", "the bot's token", secret=True, required=True),
        SettingField("STRANGE_URL", "where", default="https://there"),
    )
)


def test_missing_setting(site):
    """A required setting that is missing is told by its name and help; a given one is taken."""
    code = PREFIX + (
        "PLUGIN = Plugin('needy', lambda c: None, SetupSpec((SettingField('STRANGE_TOKEN', "
        "'the token of the bot', required=True),)))\n"
    )
    site.install("needy", code)
    assert "Adapter needy needs STRANGE_TOKEN: the token of the bot" in site.load("needy")
    assert "needs" not in site.load("needy", STRANGE_TOKEN="x")


def test_settings_are_the_adapters_own():
    """An adapter gets what it asked for and nothing else, with its defaults filled in."""
    needy = Plugin("needy", lambda context: None, NEEDS)
    given = {"STRANGE_TOKEN": "x", "SOMEBODY_ELSES": "secret"}
    assert plugins.settings_of(needy, given) == {
        "STRANGE_TOKEN": "x",
        "STRANGE_URL": "https://there",
    }


def test_refuses_its_settings(tmp_path):
    """An adapter that cannot start with its settings names them and says what to do."""

    def create(context):
        raise SetupInvalid("It is no token.", fields=("STRANGE_TOKEN",), remedy="Copy it again.")

    with pytest.raises(PluginInvalid) as caught:
        plugins.make(Plugin("needy", create, NEEDS), {}, tmp_path, tmp_path / "run")
    assert str(caught.value) == "Adapter needy (STRANGE_TOKEN): It is no token. Copy it again."


def test_two_names(tmp_path):
    """An adapter under another name than its plugin's would own other people's conversations."""
    other = Plugin("other", lambda context: MemoryPlatform())
    with pytest.raises(PluginInvalid, match="Adapter other calls itself memory"):
        plugins.make(other, {}, tmp_path, tmp_path / "run")


def test_a_place_of_its_own(tmp_path):
    """An adapter gets a private directory that is kept, and learns who owns the deployment."""
    seen = []

    def create(context):
        seen.append(context)
        return MemoryPlatform()

    plugins.make(Plugin("memory", create), {}, tmp_path, tmp_path / "run")
    [context] = seen
    assert context.state_dir == tmp_path / "adapters" / "memory"
    assert context.state_dir.stat().st_mode & 0o077 == 0
    assert context.owner_uid == tmp_path.stat().st_uid


async def test_refused_by_its_platform(house):
    """A platform that refuses the settings for good ends the bridge, which says why."""

    async def run(host):
        raise SetupInvalid("The token was revoked.", remedy="Make a new one.")

    house.platform.run = run
    bridge = house.make()
    with pytest.raises(PluginInvalid, match=r"Adapter memory: The token was revoked. Make a new"):
        await bridge.run()


async def test_fails_and_is_started_again(house, wait):
    """An adapter that breaks is started again, and its platform's health says so meanwhile."""
    runs = []

    async def run(host):
        runs.append(host)
        if len(runs) == 1:
            raise RuntimeError("lost its way")
        await type(house.platform).run(house.platform, host)

    house.platform.run = run
    bridge = await house.start()
    await wait(lambda: len(runs) == 2)
    parts = await bridge.parts()
    assert parts["adapter memory"].state == "degraded"
    assert "RuntimeError" in parts["adapter memory"].detail
    await house.say("say hello")
    await house.sees("hello")


async def test_one_that_does_not_stop(house, wait):
    """An adapter that ignores its end does not keep the bridge from stopping."""
    let_go = house.platform.frozen

    async def run(host):
        while let_go.is_set():
            try:
                await type(house.platform).run(house.platform, host)
            except BaseException:  # noqa: BLE001 - what a bad adapter does
                continue

    house.platform.run = run
    bridge = await house.start()
    await wait(lambda: house.platform.host)
    await bridge.stop()
    let_go.clear()


def test_given_plugins_need_no_entry_point():
    """Tests and the demo bring their own."""
    mine = plugin(MemoryPlatform())
    assert plugins.load(["memory"], [mine]) == [mine]
