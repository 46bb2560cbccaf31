"""The part of SOQL that the sandbox org understands.

    SELECT f [, f]... FROM Task [WHERE c [AND c]...] [LIMIT n]      c: f = 'x' | f = 1 | f IN (...)

Anything else is MALFORMED_QUERY.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from processor.sandbox.org.schema import ApiError

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*')
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>[=(),])
    )""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}

Literal = str | float | bool | None


class Condition(NamedTuple):
    """`field` equals one of `values`."""

    field: str
    values: tuple[Literal, ...]


class Query(NamedTuple):
    """A parsed query; the names are as the client wrote them."""

    fields: tuple[str, ...]
    table: str
    conditions: tuple[Condition, ...]
    limit: int | None


def parse(text: str) -> Query:
    """Parse a query; raise ApiError(400, MALFORMED_QUERY)."""
    return _Parser(text).query()


def malformed(reason: str) -> ApiError:
    """The error of a query that cannot be read."""
    return ApiError(400, "MALFORMED_QUERY", reason)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None or match.lastgroup is None:
                raise malformed(f"unexpected token: '{stripped[position : position + 20]}'")
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            position = match.end()
        self._next = 0

    def query(self) -> Query:
        self._keyword("SELECT")
        fields = [self._word()]
        while self._sign(","):
            fields.append(self._word())
        self._keyword("FROM")
        table = self._word()
        conditions: list[Condition] = []
        if self._is_keyword("WHERE"):
            conditions.append(self._condition())
            while self._is_keyword("AND"):
                conditions.append(self._condition())
        limit = None
        if self._is_keyword("LIMIT"):
            kind, value = self._take()
            if kind != "number" or not value.isdigit():
                raise malformed(f"unexpected token: '{value}'")
            limit = int(value)
        if self._next < len(self._tokens):
            raise malformed(f"unexpected token: '{self._tokens[self._next][1]}'")
        return Query(tuple(fields), table, tuple(conditions), limit)

    def _condition(self) -> Condition:
        field = self._word()
        if self._sign("="):
            return Condition(field, (self._literal(),))
        self._keyword("IN")
        if not self._sign("("):
            raise malformed("expecting a left parenthesis")
        values = [self._literal()]
        while self._sign(","):
            values.append(self._literal())
        if not self._sign(")"):
            raise malformed("expecting a right parenthesis")
        return Condition(field, tuple(values))

    def _literal(self) -> Literal:
        kind, value = self._take()
        if kind == "text":
            return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), value[1:-1])
        if kind == "number":
            return float(value)
        words: dict[str, bool | None] = {"NULL": None, "TRUE": True, "FALSE": False}
        if kind == "word" and value.upper() in words:
            return words[value.upper()]
        raise malformed(f"unexpected token: '{value}'")

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise malformed("unexpected end of query")
        self._next += 1
        return self._tokens[self._next - 1]

    def _word(self) -> str:
        kind, value = self._take()
        if kind != "word":
            raise malformed(f"unexpected token: '{value}'")
        return value

    def _keyword(self, keyword: str) -> None:
        if self._word().upper() != keyword:
            raise malformed(f"expecting {keyword}")

    def _is_keyword(self, keyword: str) -> bool:
        found = self._next < len(self._tokens) and self._tokens[self._next][1].upper() == keyword
        self._next += found
        return found

    def _sign(self, sign: str) -> bool:
        found = self._next < len(self._tokens) and self._tokens[self._next] == ("sign", sign)
        self._next += found
        return found
