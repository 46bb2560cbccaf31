"""Which form of the package runs: compiled ahead of time, or plain Python; never some of each.

`hatch_build.py` compiles the modules of the hot path into extensions beside their sources, and
writes the fingerprint of all that went in and came out into a stamp. Python would load whatever
extension it finds, also one of yesterday's source, and run the source of one that it doesn't find,
without a word. So the stamp is read before anything else of the package is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import source_hash
from os import scandir
from pathlib import Path
from types import TracebackType
from typing import Final

COMPILED: Final = "compiled"
PLAIN: Final = "plain Python"

STAMP: Final = "compiled.txt"  # in the package: a line a file, its fingerprint and its path
LIBRARY: Final = "processor__mypyc"  # beside the package: what the extensions have in common
_BINARIES: Final = (".so", ".pyd")

EXIT_CONFIG: Final = 2  # as in commands/exit_codes.py


class Mixed(ImportError):
    """Neither compiled nor plain. The text says why, and what to do."""


def form_of(package: Path) -> str:
    """Mixed: the package must not be used. Where nobody catches it, it is told in one line, as any
    other mistake in the set-up is, and the process ends with the exit code of one.
    """
    stamp = package / STAMP
    found = set(extensions(package))
    if not found and not stamp.exists():
        return PLAIN
    why = _mix(package, stamp, found)
    if why is None:
        return COMPILED
    is_checkout = (package.parent / "Makefile").exists()
    remedy = "run `make compile`, or `make plain`" if is_checkout else "install the package again"
    sys.excepthook = _in_one_line
    raise Mixed(f"the compiled modules cannot be used: {why}: {remedy}")


def _in_one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not isinstance(error, Mixed):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stderr.write(f"processor: {error}\n")
    sys.exit(EXIT_CONFIG)


def fingerprint(path: str | Path) -> str:
    """By Python's own hash of sources, which differs from Python to Python. That the standard
    library's cryptographic ones take ten times as long would be felt at each start.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - many, at each start
        return source_hash(file.readall()).hex()


def extensions(package: Path) -> Iterator[str]:
    """What is compiled, in this package and for it, whatever it is worth."""
    yield from (
        entry.path
        for entry in scandir(package.parent)
        if entry.name.startswith(LIBRARY) and entry.name.endswith(_BINARIES)
    )
    folders = [str(package)]
    while folders:
        for entry in scandir(folders.pop()):
            if entry.name.endswith(_BINARIES):
                yield entry.path
            elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                folders.append(entry.path)


def _mix(package: Path, stamp: Path, found: set[str]) -> str | None:
    if not stamp.exists():
        return f"{stamp} is missing"
    wanted: dict[str, str] = {}
    for line in stamp.read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        wanted[f"{package.parent}/{name}"] = expected
    foreign = [path for path in {*wanted, *found} if _is_foreign(path)]
    if foreign:
        return f"{min(foreign)} is for another Python than {sys.implementation.cache_tag}"
    for path, expected in wanted.items():
        try:
            is_the_same = fingerprint(path) == expected
        except FileNotFoundError:
            return f"{path} is missing"
        if not is_the_same:
            return f"{path} has changed since"
    if not found.issubset(wanted):
        return f"{min(found.difference(wanted))} is left over from another time"
    try:
        library = import_module(LIBRARY)
    except ImportError as error:
        return str(error)
    if str(library.__file__) not in found:
        return f"{library.__file__} is found before this package's own"
    return None


def _is_foreign(path: str) -> bool:
    return path.endswith(_BINARIES) and not path.endswith(EXTENSION_SUFFIXES[0])
