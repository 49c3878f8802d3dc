"""A machine that cannot sandbox: nobody is served, and the operator reads why and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_service.sandbox.probe import SandboxImpossible, probe
from tests.deployment import command

SAYS = "bwrap: No permissions to create new namespace"


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def without(folder: Path, *names: str) -> str:
    """A PATH on which these programs are not."""
    for place in os.environ["PATH"].split(":"):
        for found in Path(place).glob("*"):
            if found.name not in names and not (folder / found.name).exists():
                (folder / found.name).symlink_to(found)
    return str(folder)


def broken(folder: Path, said: str = SAYS) -> str:
    """A PATH on which bwrap fails with these words."""
    program(folder, "bwrap", f'cat >/dev/null; echo "{said}" >&2; exit 1')
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("how", ["missing", "broken"])
async def test_the_service_refuses_to_serve(home: Path, tmp_path: Path, how: str) -> None:
    """`bascule agent` ends with 2, names the reason and the remedy, listens nowhere, and made no
    session; turning the sandbox off is named as what it is."""
    path = without(tmp_path, "bwrap") if how == "missing" else broken(tmp_path)
    code, out, err = await command("agent", home=home, PATH=path, BASCULE_HOME=str(home))
    assert code == 2, out + err
    assert "The sandbox does not work here: " in err
    if how == "missing":
        assert "bubblewrap is not installed. apt-get install bubblewrap" in err
    else:
        assert f"bubblewrap does not work: {SAYS}." in err
    assert "(For one person on their own machine only: AGENT_SANDBOX=off.)" in err
    assert "Traceback" not in err
    assert not (home / "run" / "agent.sock").exists()


async def test_up_stops_with_the_same_words(place: Path, tmp_path: Path) -> None:
    """`bascule up` does not try for ever, nor go on without: it ends, with the remedy shown."""
    code, out, err = await command("up", home=place, PATH=broken(tmp_path), BRIDGE_LISTEN="off")
    assert code == 2, out + err
    assert f"bubblewrap does not work: {SAYS}." in err
    assert "AGENT_SANDBOX=off" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("setting", "value", "said", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", SAYS,
         "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", SAYS,
         "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", SAYS, "sysctl user.max_user_namespaces=10000"),
        ("user/max_user_namespaces", "15000", "bwrap: Unknown option --disable-userns",
         "bubblewrap 0.8 or newer"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", SAYS, "systempaths=unconfined"),
    ],
)  # fmt: skip
def test_the_remedy_fits_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, said: str,
    remedy: str,
) -> None:  # fmt: skip
    """What the kernel forbids is named with the line that allows it."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", broken(tmp_path / "bin", said))
    kernel = tmp_path / "sys"
    (kernel / setting).parent.mkdir(parents=True)
    (kernel / setting).write_text(f"{value}\n")
    with pytest.raises(SandboxImpossible) as refused:
        probe(kernel)
    assert said in str(refused.value)
    assert remedy in refused.value.remedy


def test_every_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line installs them all."""
    monkeypatch.setenv("PATH", without(tmp_path, "bwrap", "socat", "setpriv"))
    with pytest.raises(SandboxImpossible) as refused:
        probe()
    assert refused.value.remedy == "apt-get install bubblewrap socat util-linux"


def test_a_bubblewrap_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot even be started is an answer too, not a traceback."""
    monkeypatch.setenv("PATH", without(tmp_path, "bwrap"))
    (tmp_path / "bwrap").write_text("no program")
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(SandboxImpossible, match="does not run"):
        probe()
