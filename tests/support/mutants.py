"""Wrong rules: a module with one text in it replaced by another.

A test that lists them, each with the row that must fail, shows that its table is not empty talk.
"""

from __future__ import annotations

import ast
import inspect
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """A module that says `wrong` where it should say `right`, and the row that fails under it."""

    name: str
    right: str
    wrong: str
    row: str

    def of(self, module: ModuleType) -> Any:
        """What the module would define then. It must say `right` exactly once. Types that are the
        same in both stay the module's own, so that values of theirs fit both.
        """
        source = inspect.getsource(module)
        times = source.count(self.right)
        assert times == 1, f"{times} times in {module.__name__}: {self.right!r}"
        known = {ast.unparse(statement) for statement in ast.parse(source).body}
        tree = ast.parse(source.replace(self.right, self.wrong))
        tree.body = [
            statement
            for statement in tree.body
            if isinstance(statement, ast.FunctionDef) or ast.unparse(statement) not in known
        ]
        defined = dict(vars(module))
        exec(compile(tree, f"<{self.wrong}>", "exec"), defined)  # noqa: S102 - source of our own
        return SimpleNamespace(**defined)
