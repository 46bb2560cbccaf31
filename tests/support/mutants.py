"""Wrong rules: a module with one text in it replaced by another.

A test that lists them, each with the row that must fail, shows that its table is not empty talk.
"""

from __future__ import annotations

import ast
import inspect
from types import ModuleType, SimpleNamespace
from typing import Any


def mutant(module: ModuleType, right: str, wrong: str) -> Any:
    """What the module would define if it said `wrong` where it says `right`, which it must say
    exactly once. Types that are the same in both stay the module's own, so that values of theirs
    can be passed from one to the other.
    """
    source = inspect.getsource(module)
    assert source.count(right) == 1, f"{source.count(right)} times in {module.__name__}: {right!r}"
    known = {ast.unparse(statement) for statement in ast.parse(source).body}
    tree = ast.parse(source.replace(right, wrong))
    tree.body = [
        statement
        for statement in tree.body
        if isinstance(statement, ast.FunctionDef) or ast.unparse(statement) not in known
    ]
    defined = dict(vars(module))
    exec(compile(tree, f"<{wrong}>", "exec"), defined)  # noqa: S102 - source of our own
    return SimpleNamespace(**defined)
