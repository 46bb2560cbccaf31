"""The rules of the house, as tests: who may import whom, sizes, purity, and what the README names.

Each rule is a function from source to complaints, so that a rule itself can be tested on a
line that breaks it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from processor.config.settings import setting_names
from processor.core.reasons import NEVER_SENT, REASONS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "processor"

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


class Layer(NamedTuple):
    """What a part of the package may import besides the standard library and itself."""

    package: frozenset[str]
    libraries: frozenset[str] = frozenset()


def layer(package: str = "", libraries: str = "") -> Layer:
    return Layer(
        frozenset(f"processor.{name}" for name in package.split()), frozenset(libraries.split())
    )


# Folders are the layers.
WORKER = "processor.worker"
LAYERS = {
    "processor.errors": layer(),
    "processor.core": layer("errors"),
    "processor.ports": layer("core errors"),
    WORKER: layer("core ports errors"),
    "processor.config": layer("core errors"),
    "processor.runtime": layer("core ports errors", "prometheus_client"),
    # The edges: each with its own library, none with another edge.
    "processor.kafka": layer("core ports errors", "confluent_kafka fastavro httpx2"),
    "processor.salesforce": layer("core ports errors", "jwt requests simple_salesforce"),
    "processor.store": layer("core ports errors", "lmdb"),
}

# Only these put the parts together, so they may import anything.
COMMANDS = ("processor.cli", "processor.commands", "processor.__main__")
COMPOSERS = (*COMMANDS, "processor.sandbox")
UNKNOWN = "a module at the top that no layer knows"

# What the core may have of the standard library: nothing with a clock, a die, or a way out.
PURE = frozenset(
    "__future__ abc bisect calendar collections contextlib dataclasses datetime decimal enum"
    " functools heapq itertools json math operator re string struct types typing".split()
)
UNTIMED = ("processor.core", WORKER)  # time and chance reach these as arguments
CLOCKS_AND_DICE = frozenset(["random", "secrets", "time", "uuid"])
IMPURE_CALLS = frozenset(["breakpoint", "exec", "eval", "input", "open", "print"])
NOW = re.compile(r"(^|\.)(datetime\.(now|utcnow|today)|date\.today)$")

TEXT_SUFFIXES = frozenset(
    ".avsc .cfg .ini .json .jsonl .lock .md .py .sh .toml .txt .yaml .yml".split()
)
TEXT_NAMES = frozenset(
    "Dockerfile LICENSE Makefile run setup lock .dockerignore .gitignore".split()
)


def within(module: str, parts: Iterable[str]) -> bool:
    """Whether a module is one of the parts, or lies inside one."""
    return any(module == part or module.startswith(part + ".") for part in parts)


def home_of(module: str) -> str:
    """The part of the design that a module of the package belongs to."""
    parts = (*LAYERS, *COMPOSERS)
    return next((part for part in parts if within(module, (part,))), UNKNOWN)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(module: str, tree: ast.AST, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Every imported module by its full name, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                keep = len(parents) - node.level + is_package
                base = ".".join([*parents[:keep], *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_inner = base.startswith("processor") and is_module(full)
                yield node.lineno, full if is_inner else base


def forbidden_imports(module: str, tree: ast.AST, *, is_package: bool = False) -> Iterator[str]:
    home = home_of(module)
    if module == "processor" or home in COMPOSERS:
        return
    if home not in LAYERS:
        yield f"{module} is {UNKNOWN}"
        return
    allowed = LAYERS[home]
    for line, name in imports(module, tree, is_package=is_package):
        top = name.partition(".")[0]
        if top == "processor":
            is_allowed = within(name, allowed.package) or home_of(name) == home
        elif top in sys.stdlib_module_names:
            is_allowed = not (
                (home == "processor.core" and top not in PURE)
                or (home in UNTIMED and top in CLOCKS_AND_DICE)
            )
        else:
            is_allowed = top in allowed.libraries
        if not is_allowed:
            yield f"{module}:{line} may not import {name}"


def impure_calls(module: str, tree: ast.AST) -> Iterator[str]:
    if home_of(module) not in UNTIMED:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in IMPURE_CALLS or NOW.search(called):
                yield f"{module}:{node.lineno} calls {called}"


def broad_excepts(module: str, tree: ast.AST) -> Iterator[str]:
    """Whatever could hide a bug. To clean up and raise again, catch BaseException."""
    if within(module, COMMANDS):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            if caught == "BaseException" and ast.unparse(node.body[-1]) == "raise":
                continue
            if node.type is None or re.search(r"\b(Base)?Exception\b", caught):
                yield f"{module}:{node.lineno} catches {caught}"


def prints(module: str, tree: ast.AST) -> Iterator[str]:
    if within(module, COMPOSERS):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{module}:{node.lineno} prints"


def mocks(module: str, tree: ast.AST) -> Iterator[str]:
    for line, name in imports(module, tree):
        if within(name, ("unittest", "mock", "pytest_mock")):
            yield f"{module}:{line} imports {name}: write a fake that behaves"


def long_functions(module: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{module}:{node.lineno} {node.name} has {lines} lines"


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[Path]:
    """The project's own text files: no caches, no environments, nothing built."""
    built = {"build", "dist", "htmlcov"}
    for path in sorted(ROOT.rglob("*")):
        folders = path.relative_to(ROOT).parts[:-1]
        hidden = any(part.startswith(".") and part != ".ci" for part in folders)
        if hidden or built.intersection(folders) or not path.is_file():
            continue
        if path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES:
            yield path


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


# -- the rules, on this project ----------------------------------------------------------------


def test_imports_go_one_way() -> None:
    complaints = [
        complaint
        for path in python_files("processor")
        for complaint in forbidden_imports(
            module_name(path), parse(path), is_package=path.name == "__init__.py"
        )
    ]
    assert complaints == []


@pytest.mark.parametrize("rule", [impure_calls, broad_excepts, prints])
def test_the_package_keeps_the_rule(rule: object) -> None:
    assert callable(rule)
    complaints = [
        complaint
        for path in python_files("processor")
        for complaint in rule(module_name(path), parse(path))
    ]
    assert complaints == []


@pytest.mark.parametrize("rule", [mocks, long_functions])
def test_all_code_keeps_the_rule(rule: object) -> None:
    assert callable(rule)
    complaints = [
        complaint
        for path in python_files("processor", "tests", "benchmarks", "scripts")
        for complaint in rule(module_name(path), parse(path))
    ]
    assert complaints == []


def test_files_are_short_enough_to_read_at_once() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files("processor", "tests", "benchmarks", "scripts")
    }
    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_text_files_have_clean_lines_and_end_with_one() -> None:
    complaints = []
    for path in text_files():
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        if text and not text.endswith("\n"):
            complaints.append(f"{name}: no newline at the end")
        for number, line in enumerate(text.split("\n"), start=1):
            if line != line.rstrip():
                complaints.append(f"{name}:{number} ends with white space")
            if path.suffix == ".py" and "\t" in line:
                complaints.append(f"{name}:{number} has a tab")
    assert complaints == []


def reasons_raised(tree: ast.AST) -> Iterator[str]:
    """The literal reasons of `Rejected`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Rejected" and node.args:
            reason = node.args[0]
            if isinstance(reason, ast.Constant):
                yield str(reason.value)


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_reason_for_a_dead_letter_is_listed() -> None:
    listed = {*NEVER_SENT, *(reason for of_stage in REASONS.values() for reason in of_stage)}
    files = [path for path in python_files("processor") if path.name != "reasons.py"]
    raised = {reason for path in files for reason in reasons_raised(parse(path))}
    assert raised - listed == set()
    assert listed - {text for path in files for text in texts(parse(path))} == set()


# -- the README --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def declared_metrics() -> list[str]:
    """The names in processor/runtime/metrics.py as /metrics shows them."""
    kinds = {"Counter", "Enum", "Gauge", "Histogram", "Info", "Summary"}
    names = []
    for node in ast.walk(parse(PACKAGE / "runtime" / "metrics.py")):
        if isinstance(node, ast.Call) and (kind := ast.unparse(node.func).split(".")[-1]) in kinds:
            name = ast.literal_eval(node.args[0])
            ending = {"Counter": "_total", "Info": "_info"}.get(kind, "")
            names.append(name.removesuffix(ending) + ending)
    return names


def test_every_metric_is_in_the_readme(readme: str) -> None:
    names = declared_metrics()
    assert names, "no metric found: each is declared with its name as a literal"
    assert [name for name in names if not re.search(rf"\b{name}\b", readme)] == []


def test_every_setting_is_in_the_readme(readme: str) -> None:
    names = setting_names()
    assert names
    missing = [n for n in names if not re.search(rf"(\bPROCESSOR_|\b){re.escape(n)}\b", readme)]
    assert missing == []


def test_the_file_map_names_every_folder_and_nothing_that_is_not_there(readme: str) -> None:
    _, found, rest = readme.partition("## File map")
    assert found, "the README has a section '## File map'"
    file_map = rest.partition("\n## ")[0]
    layers = {f"`processor/{path.name}/`" for path in PACKAGE.iterdir() if is_package(path)}
    assert {name for name in layers if name not in file_map} == set()
    named = re.findall(r"`(processor/[\w/.]+)`", file_map)
    assert [name for name in named if not (ROOT / name).exists()] == []


# -- the rules themselves ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source", "is_allowed"),
    [
        ("processor.core.plan", "from processor.core.codes import Stage", True),
        ("processor.core.plan", "from .codes import Stage", True),
        ("processor.core.plan", "from ..ports import Clock", False),
        ("processor.core.plan", "from datetime import UTC, datetime", True),
        ("processor.core.plan", "import logging", False),
        ("processor.core.plan", "import os", False),
        ("processor.core.plan", "import fastavro", False),
        ("processor.worker.cycle", "from processor.ports import Store", True),
        ("processor.worker.cycle", "from processor.store.store import LocalStore", False),
        (
            "processor.worker.cycle",
            "from processor import config",
            False,
        ),
        ("processor.worker.cycle", "import time", False),
        ("processor.worker.cycle", "import confluent_kafka", False),
        (
            "processor.kafka.source",
            "from processor.kafka.avro import decoder",
            True,
        ),
        ("processor.kafka.source", "from confluent_kafka import Consumer", True),
        ("processor.kafka.source", "from processor.runtime.metrics import Meter", False),
        ("processor.kafka.source", "def f():\n    import processor.config.settings", False),
        ("processor.store.store", "import lmdb", True),
        ("processor.store.store", "import requests", False),
        ("processor.store.codec", "import lmdb", True),
        ("processor.store.codec", "from processor.worker.cycle import Worker", False),
        ("processor.salesforce.writer", "from processor.kafka.source import Source", False),
        ("processor.cli", "from processor.kafka.source import Source", True),
        ("processor.sandbox.demo.command", "from processor.worker.cycle import Worker", True),
        ("processor.worker.cycle", "from processor.newcomer import anything", False),
        ("processor.newcomer", "import math", False),
    ],
)
def test_the_import_rule_knows_right_from_wrong(
    module: str, source: str, *, is_allowed: bool
) -> None:
    assert (list(forbidden_imports(module, ast.parse(source))) == []) is is_allowed


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (impure_calls, "x = datetime.now(UTC)"),
        (impure_calls, "x = datetime.datetime.now()"),
        (impure_calls, "open('x')"),
        (broad_excepts, "try:\n    f()\nexcept Exception as e:\n    raise"),
        (broad_excepts, "try:\n    f()\nexcept (OSError, BaseException):\n    pass"),
        (broad_excepts, "try:\n    f()\nexcept BaseException:\n    clean_up()"),
        (broad_excepts, "try:\n    f()\nexcept:\n    pass"),
        (prints, "print('x')"),
        (mocks, "from unittest.mock import Mock"),
        (mocks, "import unittest.mock as m"),
        (long_functions, "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
    ],
)
def test_each_rule_finds_what_breaks_it(rule: object, source: str) -> None:
    assert callable(rule)
    assert len(list(rule("processor.core.plan", ast.parse(source)))) == 1
