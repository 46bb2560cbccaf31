"""A project of a few lines with a lock of its own, for `scripts/setup` to set up with no network.

Its dependencies are wheels in a folder. This file is also copied into the project, as the back
end that builds it.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

LOCKED = {"one": "1.0", "other": "1.0"}
PYPROJECT = """\
[build-system]
requires = []
build-backend = "tiny_project"
backend-path = ["."]

[project]
name = "tiny"
version = "1.0"
"""


def wheel(folder: Path, name: str, version: str, *metadata: str) -> Path:
    """An empty package with these lines of metadata."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]
    files = {
        f"{info}/METADATA": "\n".join(lines),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def build_editable(
    wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None
) -> str:
    """What pip and uv ask of a back end (PEP 660)."""
    return wheel(Path(wheel_directory), "tiny", "1.0").name


def tiny_project(folder: Path, setup: Path) -> Path:
    """With its wheels beside it, in `wheels`. As pytest-cov asks for coverage, one package asks for
    the other by an extra; and of that there is a release which is newer than the lock.
    """
    project = folder / "tiny"
    for inner in ("scripts", "requirements", "wheels"):
        (project / inner).mkdir(parents=True)
    shutil.copy(setup, project / "scripts" / "setup")
    shutil.copy(__file__, project)
    (project / "pyproject.toml").write_text(PYPROJECT)
    wheels = project / "wheels"
    wheel(wheels, "other", "2.0", "Provides-Extra: more")
    lock = {
        "one": wheel(wheels, "one", LOCKED["one"], "Requires-Dist: other[more]>=1.0"),
        "other": wheel(wheels, "other", LOCKED["other"], "Provides-Extra: more"),
    }
    hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in lock.items()}
    lines = [f"{name}=={LOCKED[name]} --hash=sha256:{hashes[name]}\n" for name in lock]
    (project / "requirements" / "dev.txt").write_text("".join(lines))
    return project
