"""Compiles the modules of the hot path ahead of time, with mypyc: for a wheel, or in place.

hatchling calls the hook for a wheel. `make compile` and `make plain` run this file: it puts the
extensions beside their sources, or takes them away. An installation in editable mode compiles
nothing, so that working on the project needs no compiler.

The hook is our own: hatch-mypyc, the ready-made one, has had no release since 2023, compiles by a
`setup.py` of its own in another process, and knows nothing of a stamp.
"""

from __future__ import annotations

import ast
import atexit
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import chdir
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parent
PACKAGE: Final = "processor"
PLAIN: Final = "SMS_PROCESSOR_PLAIN"

COMPILER: Final = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"  # with options
HEADERS: Final = Path(sysconfig.get_paths()["include"])

# By itself mypyc would take the project's settings for mypy, which are strict, and in a build
# environment there are none of the libraries that strict types need. `make check` has them.
MYPY: Final = ("--config-file=", "--ignore-missing-imports", "--explicit-package-bases")


class CompiledModules(BuildHookInterface):  # type: ignore[type-arg] # of settings that we have not
    """For the wheel: compiled, unless SMS_PROCESSOR_PLAIN is set or it is an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get(PLAIN):
            return
        work = tempfile.mkdtemp(prefix="processor-")
        atexit.register(shutil.rmtree, work)  # the wheel is yet to be filled from it
        try:
            compiled = compile_modules(self.config["modules"], Path(work))
        except NotCompiled as error:
            self.app.abort(str(error))
            raise  # abort has ended the process, of which its type says nothing
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for path in files_in(compiled):
            build_data["force_include"][str(path)] = str(path.relative_to(compiled))


class NotCompiled(Exception):
    """The text says why, what to install, and how to do without."""


def compile_modules(modules: list[str], work: Path) -> Path:
    """A folder in `work` with the extensions as they lie in site-packages, and their stamp."""
    if (missing := what_is_missing()) is not None:
        raise _not_compiled(missing)
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext
    from setuptools.errors import BaseError, CCompilerError
    from mypyc.build import mypycify  # isort: skip # looks whether setuptools was imported

    out = work / "out"
    with chdir(ROOT):  # mypy tells a module's name by its path from here
        built = mypycify(
            [*MYPY, f"--cache-dir={work / 'mypy'}", *modules],
            group_name=PACKAGE,
            multi_file=True,
            target_dir=str(work / "c"),
            debug_level="0",
        )
        for extension in built:  # a newer compiler warns of more
            flags = extension.extra_compile_args
            extension.extra_compile_args = [flag for flag in flags if flag != "-Werror"]
        command = build_ext(Distribution({"ext_modules": built}))
        command.build_lib, command.build_temp = str(out), str(work / "objects")
        command.ensure_finalized()
        try:
            command.run()
        except (BaseError, CCompilerError) as error:
            raise _not_compiled(str(error)) from error
    write_stamp(modules, out)
    return out


def what_is_missing(
    compiler: str = COMPILER, headers: Path = HEADERS, path: str | None = None
) -> str | None:
    """For a compilation. (What a compiler says for want of it is hard to understand.)"""
    program = compiler.split(maxsplit=1)[0]
    if shutil.which(program, path=path) is None:
        return f"the C compiler {program} is not on the PATH"
    header = headers / "Python.h"
    return None if header.exists() else f"Python's header {header} is missing"


def _not_compiled(why: str) -> NotCompiled:
    return NotCompiled(
        f"The modules on the hot path cannot be compiled: {why}. Install a C compiler and Python's "
        "headers (on Debian and Ubuntu: apt-get install gcc libc6-dev python3-dev), or set "
        f"{PLAIN}=1 for a wheel of plain Python, which does the same, but slower."
    )


# -- the stamp: see processor/runtime/compiled.py ------------------------------------------------


def guard() -> ModuleType:
    """The package's own module about its form, without the package, which may be in none."""
    spec = importlib.util.spec_from_file_location(
        "compiled", ROOT / PACKAGE / "runtime" / "compiled.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_stamp(modules: Iterable[str], out: Path) -> None:
    """Of all that was compiled, and of what it was compiled from."""
    check = guard()
    files = {path.relative_to(out): path for path in files_in(out)}
    files |= {path: ROOT / path for path in sources(Path(module) for module in modules)}
    lines = [f"{check.fingerprint(files[path])}  {path.as_posix()}\n" for path in sorted(files)]
    (out / PACKAGE / check.STAMP).write_text("".join(lines), encoding="utf-8")


def sources(modules: Iterable[Path]) -> set[Path]:
    """With all that they import of the package: mypyc copies constants into what it compiles."""
    found: set[Path] = set()
    ahead = list(modules)
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead.extend(_imports(path))
    return found


def _imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not followed"
            base = str(node.module)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            module = Path(*name.split(".")).with_suffix(".py")
            if name.startswith(f"{PACKAGE}.") and (ROOT / module).exists():
                yield module


def files_in(folder: Path) -> list[Path]:
    """All, at any depth."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


# -- in place --------------------------------------------------------------------------------------


def make_plain() -> None:
    """Take away whatever is compiled."""
    check = guard()
    for path in check.extensions(ROOT / PACKAGE):
        Path(path).unlink()
    (ROOT / PACKAGE / check.STAMP).unlink(missing_ok=True)  # the last, so that a half is not whole


def make_compiled() -> None:
    """Put the extensions beside their sources."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hooks = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
    work = ROOT / "build" / "compiled"  # kept: what has not changed is not compiled again
    shutil.rmtree(work / "out", ignore_errors=True)
    compiled = compile_modules(hooks["custom"]["modules"], work)
    make_plain()
    for path in files_in(compiled):
        shutil.copy(path, ROOT / path.relative_to(compiled))


if __name__ == "__main__":
    try:
        {"compile": make_compiled, "plain": make_plain}[sys.argv[1]]()
    except NotCompiled as error:
        sys.exit(str(error))
