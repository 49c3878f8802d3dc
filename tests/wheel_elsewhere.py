"""`make wheel-test`: the built wheel, installed in an environment of its own, far from the source.

What it carries must be enough: migrations, entry points, the scripted model, the console, the
pages' templates and files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = """
from jinja2 import Environment, PackageLoader
from web_admin.pages.statics import Statics
Statics()
assert len(Environment(loader=PackageLoader("web_admin")).list_templates()) > 20
"""


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """The command's output; ends this program where it fails."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", **more}
    for name in ("PIP_CACHE_DIR", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_NO_CACHE_DIR"):
        if name in os.environ:
            environment[name] = os.environ[name]
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with {done.returncode}:\n{done.stdout}")
    return done.stdout


def main() -> None:
    """Build, install elsewhere, ask."""
    with tempfile.TemporaryDirectory(prefix="bsc-wheel-") as folder:
        there = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", there, ROOT,
            cwd=there)  # fmt: skip
        (wheel,) = there.glob("*.whl")
        venv.create(there / "venv", with_pip=True)
        python, bascule = there / "venv/bin/python", there / "venv/bin/bascule"
        # The real home's cache: the requirements are large.
        home = os.environ.get("HOME", folder)
        install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        lock = ROOT / "requirements/runtime.lock"
        run(*install, "--require-hashes", "-r", lock, cwd=there, HOME=home)
        run(*install, "--no-deps", wheel, cwd=there, HOME=home)
        print(run(bascule, "--version", cwd=there).strip())
        run(bascule, "doctor", cwd=there)
        run(bascule, "migrate", cwd=there)
        run(python, "-c", PAGES, cwd=there)
        answer = run(bascule, "demo", "--ask", "say hello from the wheel", cwd=there)
        if "hello from the wheel" not in answer:
            sys.exit(f"The installed demo answered: {answer!r}")
        print(answer.strip())


if __name__ == "__main__":
    main()
