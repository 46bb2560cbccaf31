"""The locks, and what installs them: the same packages on any machine, on any day."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project.test_deploy import ROOT, run
from tests.support.needs import do_without
from tests.support.tiny_project import LOCKED, tiny_project

PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}

# The pip that the first release of each Python brings, and its wheel's hash.
OLDEST_PIPS = {
    "3.11": ("22.3", "1daab4b8d3b97d1d763caeb01a4640a2250a0ea899e257b1e44b9eded91e15ab"),
    "3.12": ("23.2.1", "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be"),
    "3.13": ("24.2", "2cd581cf58ab7fcfca4ce8efa6dcacd0de5bf8d0a3eb9ec927e07405f4d9e2a2"),
}
UV = "0.13.9"
SETUP_NEEDS = ("bash", "cat", "cksum", "dirname", "rm")


# -- the locks are whole -----------------------------------------------------------------------

Place = dict[str, str]
"""A Python on a system, as markers name it."""


def places() -> Iterator[Place]:
    """Where the project can be installed."""
    for python in PYTHONS:
        for system, name in SYSTEMS.items():
            yield {
                "python_version": python,
                "python_full_version": f"{python}.0",
                "sys_platform": system,
                "platform_system": name,
            }


def locked(file: str, place: Place) -> dict[str, str]:
    """Name and version of what is installed there."""
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    entries = [Requirement(e) for e in re.findall(r"^[\w.-]+==[^\\#\n]+", text, re.MULTILINE)]
    return {
        canonicalize_name(entry.name): str(entry.specifier).removeprefix("==")
        for entry in entries
        if entry.marker is None or entry.marker.evaluate(place)
    }


def asked_for_by(requirement: Requirement, place: Place) -> Iterator[Requirement]:
    """What a package, with the extras that are wanted of it, wants in its turn."""
    for line in metadata.requires(requirement.name) or []:
        inner = Requirement(line)
        extras = ("", *requirement.extras)
        if inner.marker is None or any(inner.marker.evaluate(place | {"extra": e}) for e in extras):
            yield inner


def not_locked(versions: dict[str, str], roots: Sequence[str], place: Place) -> set[str]:
    """What the roots and all that is locked ask for, and the lock does not hold."""
    here = {canonicalize_name(each.metadata["Name"]) for each in metadata.distributions()}
    left = [Requirement(text) for text in (*roots, *versions)]
    seen = set()
    holes = set()
    while left:
        wanted = left.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        name = canonicalize_name(wanted.name)
        if name not in versions or not wanted.specifier.contains(versions[name], prereleases=True):
            holes.add(f"{wanted}: {versions.get(name)}")
        elif name in here:  # else it is for another system
            left += asked_for_by(wanted, place)
    return holes


def roots(file: str) -> list[str]:
    """What the project itself asks of a lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    of: dict[str, list[str]] = {
        "build.txt": project["build-system"]["requires"],
        "runtime.txt": project["project"]["dependencies"],
    }
    of["dev.txt"] = [*of["build.txt"], *of["runtime.txt"], *extras["dev"], *extras["sandbox"]]
    return of[file]


@pytest.mark.parametrize("file", ["build.txt", "runtime.txt", "dev.txt"])
@pytest.mark.parametrize(
    "place", [pytest.param(p, id=f"{p['sys_platform']}-{p['python_version']}") for p in places()]
)
def test_the_lock_is_whole_so_that_nothing_has_to_be_resolved(file: str, place: Place) -> None:
    assert not_locked(locked(file, place), roots(file), place) == set()


def test_a_hole_in_a_lock_is_found() -> None:
    (place, *_) = places()
    versions = locked("dev.txt", place)
    del versions["coverage"]
    versions["pluggy"] = "1.0"
    holes = not_locked(versions, roots("dev.txt"), place)
    assert {re.split(r"[^\w-]", hole)[0] for hole in holes} == {"coverage", "pluggy"}


# -- every command takes the lock as it is -----------------------------------------------------

INSTALLERS = ("scripts/setup", "scripts/lock", ".ci/run", "Dockerfile", "Makefile")


def careless(text: str) -> list[str]:
    """Commands that would look for versions by themselves."""
    commands = re.split(r"[\n;]|&&|\|\|", text.replace("\\\n", " "))
    found = []
    for command in commands:
        words = command.split("#")[0].split()
        is_uv_sync = re.search(r"\buv (sync|run)\b", command)
        is_install = re.search(r"\bpip (install|wheel|download)\b", " ".join(words))
        takes_lock = {"-r", "--requirement"}.intersection(words)
        wanted = {"--no-deps"} | ({"--require-hashes"} if takes_lock else set())
        if words and (is_uv_sync or (is_install and not wanted.issubset(words))):
            found.append(" ".join(words))
    return found


@pytest.mark.parametrize("file", INSTALLERS)
def test_every_install_takes_the_lock_as_it_is(file: str) -> None:
    assert careless((ROOT / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "command",
    [
        "pip install --require-hashes -r requirements/dev.txt",
        "x && pip install --no-deps \\\n  -r requirements/dev.txt",
        "python -m pip install hatchling",
        "uv pip install --editable .",
        "uv sync --locked",
    ],
)
def test_an_install_that_resolves_is_found(command: str) -> None:
    assert len(careless(command)) == 1


# -- setup, where newer releases than the locked ones exist ------------------------------------


def fetched(requirement: str) -> Path:
    """The folder of the cache with a package's wheel, downloaded at the first use."""
    target = ROOT / ".cache" / requirement
    if not target.is_dir():
        target.parent.mkdir(exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{requirement}.", dir=target.parent))
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        done = run(*download, "--dest", partial, requirement)
        if done.returncode != 0:
            shutil.rmtree(partial)
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            do_without(f"pip could not fetch {requirement}: {last}")
        partial.rename(target)
    return target


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what setup needs to be on the PATH, and no uv."""
    folder = tmp_path_factory.mktemp("bin")
    for name in SETUP_NEEDS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    (folder / "python3").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tiny_project(tmp_path, ROOT / "scripts" / "setup")


def set_up(project: Path, *path: Path) -> dict[str, str]:
    """Runs setup with no index, and returns what it installed."""
    environment = {
        "HOME": str(project),
        "PATH": os.pathsep.join(map(str, path)),
        "PIP_FIND_LINKS": str(project / "wheels"),
        "PIP_NO_INDEX": "1",
        "UV_CACHE_DIR": str(project / "cache"),
        "UV_FIND_LINKS": str(project / "wheels"),
        "UV_OFFLINE": "1",
    }
    done = run("bash", project / "scripts" / "setup", cwd=project, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (site,) = (project / ".venv" / "lib").glob("python*/site-packages")
    return {
        each.metadata["Name"]: each.version for each in metadata.distributions(path=[str(site)])
    }


@pytest.mark.slow
def test_setup_installs_the_lock_though_there_are_newer_releases(
    project: Path, tools: Path
) -> None:
    """With the pip that this Python brings. Told to resolve, pip met the extra, looked for the
    package anew, found a release that the lock does not have, and stopped.
    """
    assert set_up(project, tools).items() >= LOCKED.items()


@pytest.mark.slow
def test_setup_works_with_the_oldest_pip_that_this_python_has_brought(
    project: Path, tools: Path
) -> None:
    version, sha256 = OLDEST_PIPS[f"3.{sys.version_info.minor}"]
    (wheel,) = fetched(f"pip=={version}").iterdir()
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256
    venv = project / ".venv"
    for command in (
        (sys.executable, "-m", "venv", venv),
        (venv / "bin" / "pip", "install", "--quiet", "--no-index", wheel),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    installed = set_up(project, tools)
    assert installed["pip"] == version
    assert installed.items() >= LOCKED.items()


@pytest.mark.slow
def test_setup_works_with_uv(project: Path, tools: Path) -> None:
    if (uv := shutil.which("uv")) is None:
        uv = str(uv_from(fetched(f"uv=={UV}")))
    installed = set_up(project, tools, Path(uv).parent)
    assert "pip" not in installed, "uv has made the environment"
    assert installed.items() >= LOCKED.items()


def uv_from(folder: Path) -> Path:
    """The program in uv's wheel."""
    unpacked = folder / "unpacked"
    if not unpacked.is_dir():
        partial = Path(tempfile.mkdtemp(dir=folder))
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        partial.rename(unpacked)
    (program,) = unpacked.glob("*/scripts/uv")
    program.chmod(0o755)
    return program
