"""The project's rules (`tidy.py`), on the project, and each on a line that breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from processor.core.reasons import REASONS
from tests.tidy import (
    MAX_ENTRIES,
    MAX_FILE_LINES,
    MAX_FUNCTION_LINES,
    PACKAGE,
    ROOT,
    broad_excepts,
    circles,
    crowded_folders,
    dead_modules,
    forbidden_imports,
    import_graph,
    impure_calls,
    is_package,
    long_functions,
    mocks,
    module_name,
    parse,
    prints,
    prose_logs,
    python_files,
    text_files,
    texts,
    unused_names,
)

NEVER_SENT = frozenset(["bad_date", "bad_json", "not_a_report", "unencodable"])
"""Why `processor produce` refuses a line: no dead letter, and no label of a metric."""

TESTS_ALONE = {
    "MAX_KEY_BYTES": "of LMDB, which a law holds against what the decoder accepts",
}
"""What only tests use, and why it is there all the same."""


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


@pytest.fixture(scope="module")
def package() -> dict[str, ast.Module]:
    return {module_name(path): parse(path) for path in python_files("processor")}


def test_no_module_imports_itself_by_way_of_others(package: dict[str, ast.Module]) -> None:
    assert list(circles(package)) == []


def test_every_module_has_somebody_who_imports_it(package: dict[str, ast.Module]) -> None:
    assert list(dead_modules(package)) == []


def test_a_folder_can_be_taken_in_at_a_look() -> None:
    folders = {path.parent for path in python_files("processor")}
    listed = {
        str(folder.relative_to(ROOT)): [
            path.name for path in folder.iterdir() if path.suffix in ("", ".py")
        ]
        for folder in folders
    }
    assert list(crowded_folders(listed)) == []


def test_nothing_is_there_for_the_tests_alone(package: dict[str, ast.Module]) -> None:
    users = [parse(path) for path in python_files("benchmarks", "scripts")]
    unused = [complaint.rpartition(" ")[2] for complaint in unused_names(package, users)]
    assert sorted(unused) == sorted(TESTS_ALONE)


@pytest.mark.parametrize("rule", [impure_calls, broad_excepts, prints, prose_logs])
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
    """The literal reasons of `Rejected` and `Rejection`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"Rejected", "Rejection"}
            and node.args
        ):
            reason = node.args[0]
            if isinstance(reason, ast.Constant):
                yield str(reason.value)


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


def test_the_file_map_names_every_folder_and_nothing_that_is_not_there(readme: str) -> None:
    _, found, rest = readme.partition("## Where things are")
    assert found, "the README has a section '## Where things are'"
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
        (prose_logs, "log.info('running partition=%d', 3)"),
        (prose_logs, "log.info(f'running partition={partition}')"),
        (prose_logs, "log.info('running partition={}'.format(partition))"),
        (prose_logs, "_log.error('why: %s' % why)"),
        (prose_logs, "self._log.debug('partition ' + name)"),
        (prose_logs, "log.log(logging.INFO, '%s', why)"),
        (prose_logs, "log.warning(why)"),
        (prose_logs, "TEXT = 'running partition=%d'\nlog.warning(TEXT)"),
        (prose_logs, "TEXT = f'running {partition}'\nlog.warning(TEXT)"),
        (prose_logs, "logging.getLogger(__name__).warning(str(failure))"),
        (prose_logs, "logging.warning('of %s', name)"),
        (prose_logs, "log.info('running', extra={'name': 3})"),
        (prose_logs, "log.info('running', extra={'level': 3})"),
        (prose_logs, "log.info('running', extra=fields | {'for so long': 3})"),
        (mocks, "from unittest.mock import Mock"),
        (mocks, "import unittest.mock as m"),
        (long_functions, "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
    ],
)
def test_each_rule_finds_what_breaks_it(rule: object, source: str) -> None:
    assert callable(rule)
    assert len(list(rule("processor.core.plan", ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "log.info('running', extra={'partition': 3, 'why': failure})",
        "log.log(logging.INFO, 'running', extra=fields | {'rows': 3})",
        "TEXT: Final = 'half of it is bad'\nlog.error(TEXT, exc_info=error)",
        "math.log(f'{x}')",
    ],
)
def test_a_log_line_with_fields_keeps_the_rule(source: str) -> None:
    assert list(prose_logs("processor.kafka.source", ast.parse(source))) == []


def test_a_circle_is_found_also_in_functions_and_under_type_checking() -> None:
    one = ast.parse("def f():\n    from processor.core import plan")
    for line in ("import processor.core.codes", "if TYPE_CHECKING:\n    from . import codes"):
        other = ast.parse(line)
        assert list(circles({"processor.core.codes": one, "processor.core.plan": other}))
    assert not list(circles({"processor.core.codes": one, "processor.core.plan": ast.parse("")}))


def test_a_dead_module_is_found() -> None:
    modules = {
        "processor.cli": ast.parse(""),
        "processor.__main__": ast.parse("import processor.cli"),
    }
    assert list(dead_modules(modules)) == []
    assert import_graph(modules)["processor.__main__"] == {"processor.cli"}
    assert list(dead_modules({"processor.cli": ast.parse("")})) != []


def test_a_crowded_folder_is_found() -> None:
    names = [f"m{number}.py" for number in range(MAX_ENTRIES)]
    assert list(crowded_folders({"f": [*names, "__init__.py", "__pycache__"]})) == []
    assert list(crowded_folders({"f": [*names, "one_more.py"]})) != []


@pytest.mark.parametrize(
    "source",
    [
        "def f(): ...",
        "class C: ...",
        "X: Final = 1",
        "X = 1",
        "class C:\n    def f(self):\n        C",
    ],
)
def test_a_name_that_nobody_uses_is_found(source: str) -> None:
    module = {"processor.core.plan": ast.parse(source)}
    assert list(unused_names(module, [])) != []
    assert list(unused_names(module, [ast.parse("f, C, C.f, X")])) == []
