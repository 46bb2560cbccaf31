"""The project's rules: who may import whom, sizes, purity, and nothing that nobody uses.

Each is a function from source to complaints, so that a rule itself can be tested on a line that
breaks it (`test_tidy.py`).
"""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "processor"

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_ENTRIES = 12  # of a folder: modules and folders, without `__init__` and `__main__`


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
    "processor.core": layer("errors", "mypy_extensions"),
    "processor.ports": layer("core errors"),
    WORKER: layer("core ports errors"),
    "processor.config": layer("core errors", "pydantic pydantic_core pydantic_settings"),
    "processor.runtime": layer("core ports errors", "prometheus_client"),
    # The edges: each with its own library, none with another edge.
    "processor.kafka": layer(
        "core ports errors", "confluent_kafka fastavro httpx2 librt mypy_extensions"
    ),
    "processor.salesforce": layer("core ports errors", "jwt requests simple_salesforce"),
    "processor.store": layer("core ports errors", "librt lmdb mypy_extensions"),
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

LOGGERS = frozenset(["log", "_log", "logger", "_logger"])
LOG_CALLS = frozenset("debug info warning error exception critical log".split())
LOG_KEYWORDS = frozenset("extra exc_info stack_info stacklevel".split())
PLACEHOLDER = re.compile(r"%[-#0+.\d]*[a-zA-Z(]|\{")
NO_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | frozenset(
    "asctime error level logger message time".split()
)  # of a record itself, or of every line

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


def _log_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, list[ast.expr]]]:
    """Each call of a logger, with what it is to say."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=logger, attr=attr)) if attr in LOG_CALLS:
                called = ast.unparse(logger)
                if called.split(".")[-1] in LOGGERS or called.startswith("logging"):
                    yield node, node.args[1:] if attr == "log" else node.args


def _sentence(said: ast.expr, tree: ast.AST) -> str | None:
    """A literal, also one with a name in capitals; None: anything else."""
    if isinstance(said, ast.Name) and said.id.isupper():
        for node in ast.walk(tree):
            match node:
                case (
                    ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
                    | ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                ) if name == said.id:
                    return text
    if isinstance(said, ast.Constant) and isinstance(said.value, str):
        return said.value
    return None


def _fields(extra: ast.expr) -> Iterator[str]:
    """The names in a dictionary, or in several that are joined by `|`."""
    match extra:
        case ast.Dict(keys=keys):
            yield from (str(key.value) for key in keys if isinstance(key, ast.Constant))
        case ast.BinOp(left=left, right=right):
            yield from _fields(left)
            yield from _fields(right)


def prose_logs(module: str, tree: ast.AST) -> Iterator[str]:
    """Log lines in whose text values are hidden: nobody can select them by a field. The sentence is
    a constant, and what varies is in `extra`, under a name of its own.
    """
    for node, arguments in _log_calls(tree):
        place = f"{module}:{node.lineno}"
        sentence = _sentence(arguments[0], tree) if len(arguments) == 1 else None
        if sentence is None or PLACEHOLDER.search(sentence):
            yield f"{place} logs a sentence that is no constant: put values into extra"
        for keyword in node.keywords:
            if keyword.arg not in LOG_KEYWORDS:
                yield f"{place} logs with {keyword.arg}: put it into extra"
            elif keyword.arg == "extra":
                for name in _fields(keyword.value):
                    if name in NO_FIELDS or not name.isidentifier():
                        yield f"{place} logs a field that can't be called {name}"


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


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string in the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def import_graph(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Which modules each module of the package imports, also inside functions and for types."""
    graph = {}
    for module, tree in modules.items():
        is_package = any(other.startswith(module + ".") for other in modules)
        names = {name for _, name in imports(module, tree, is_package=is_package)}
        graph[module] = {name for name in names if name in modules and name != module}
    return graph


def circles(modules: Mapping[str, ast.Module]) -> Iterator[str]:
    """The first circle, if there is one."""
    try:
        TopologicalSorter(import_graph(modules)).prepare()
    except CycleError as error:
        yield "circle: " + " -> ".join(error.args[1])


def dead_modules(modules: Mapping[str, ast.Module]) -> Iterator[str]:
    """Modules that no module imports. A program starts by itself."""
    graph = import_graph(modules)
    alive = set().union(*graph.values()) if graph else set()
    for module in modules:
        is_package = any(other.startswith(module + ".") for other in modules)
        if not is_package and module not in alive and not module.endswith("__main__"):
            yield f"{module} is imported by nobody"


def crowded_folders(folders: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Folders with more entries than one takes in at a look."""
    for folder, entries in folders.items():
        count = len([name for name in entries if not name.startswith("__")])
        if count > MAX_ENTRIES:
            yield f"{folder} has {count} entries"


def names_used(trees: Iterable[ast.Module]) -> set[str]:
    """Every name that is read, and every string that could be one (`getattr`, a hook's name)."""
    used = set()
    for tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    used.add(name)
                case ast.Constant(value=str(text)) if text.isidentifier():
                    used.add(text)
    return used


def public_names(tree: ast.Module) -> Iterator[str]:
    """What a module defines for others: functions, classes, their methods, constants. A method of
    a class that inherits from somebody else's (`do_GET`) may be that one's.
    """
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name, bases=bases):
                yield name
                if not bases:
                    yield from (n.name for n in node.body if isinstance(n, ast.FunctionDef))
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name


def unused_names(modules: Mapping[str, ast.Module], users: Iterable[ast.Module]) -> Iterator[str]:
    """Public names that nobody but tests uses. The sandbox is for tests too."""
    used = names_used([*modules.values(), *users])
    for module, tree in modules.items():
        if not within(module, ("processor.sandbox",)):
            for name in public_names(tree):
                if not name.startswith("_") and name not in used:
                    yield f"{module}: nobody uses {name}"
