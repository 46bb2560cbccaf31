"""Reading Tasks of the sandbox org: records, filters and pages of a query."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Final

from processor.sandbox.org import query as org_query
from processor.sandbox.org.schema import ApiError, FieldSpec, RowError
from processor.sandbox.org.tasks import Task, TaskTable

ROWS_PER_PAGE: Final = 2_000
CURSORS_MAX: Final = 10


class TaskReader:
    """Finds Tasks and shows them as records. Used under the table's lock."""

    def __init__(self, table: TaskTable) -> None:
        self._table = table
        self._schema = table.schema
        self._cursors: OrderedDict[str, tuple[list[dict[str, object]], int]] = OrderedDict()
        self._cursor_ids = itertools.count(1)
        self.rows_read = 0

    def query(self, text: str, version: str) -> dict[str, object]:
        """Run a query and return its first page; raise ApiError."""
        query = org_query.parse(text)
        if query.table.lower() != "task":
            message = f"sObject type '{query.table}' is not supported."
            raise ApiError(400, "INVALID_TYPE", message)
        fields = [self.field(name).name for name in query.fields]
        tasks = self._matching(query.conditions)
        records = [self.record(task, fields, version) for task in tasks[: query.limit]]
        return self._page(records, 0, version)

    def query_more(self, cursor: str, version: str) -> dict[str, object]:
        """Return the next page of a query; raise ApiError for a cursor that has ended."""
        held = self._cursors.pop(cursor, None)
        if held is None:
            raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(*held, version)

    def field(self, name: object) -> FieldSpec:
        """Return a field by its name; raise ApiError where there is none."""
        spec = self._schema.find(str(name).strip())
        if spec is None:
            message = f"No such column '{name}' on entity 'Task'."
            raise ApiError(400, "INVALID_FIELD", message)
        return spec

    def record(self, task: Task, fields: list[str], version: str) -> dict[str, object]:
        """Return one Task as a record of a query or a retrieve."""
        self.rows_read += 1
        url = f"/services/data/{version}/sobjects/Task/{task.id}"
        record: dict[str, object] = {"attributes": {"type": "Task", "url": url}}
        for name in fields:
            record[name] = self._table.value(task, name)
        return record

    def _matching(self, conditions: tuple[org_query.Condition, ...]) -> list[Task]:
        checked = [(self.field(name), values) for name, values in conditions]
        for spec, values in checked:
            if spec.type in {"string", "id"} and any(not isinstance(v, str | None) for v in values):
                message = (
                    f"value of filter criterion for field '{spec.name}' must be of type string"
                )
                raise ApiError(400, "INVALID_FIELD", message)
        tasks: list[Task] | None = None
        for spec, values in checked:
            indexed = self._indexed(spec, values)
            if indexed is not None:
                tasks = indexed
                break
        if tasks is None:
            tasks = list(self._table.all_tasks())
        for spec, values in checked:
            if spec.type != "id":
                wanted = {_folded(value) for value in values}
                name = spec.name
                tasks = [t for t in tasks if _folded(self._table.value(t, name)) in wanted]
        return tasks

    def _indexed(self, spec: FieldSpec, values: tuple[org_query.Literal, ...]) -> list[Task] | None:
        found: dict[str, Task] = {}
        for value in values:
            if not isinstance(value, str):
                return None
            if spec.type == "id":
                task = self._table.find(value)
                if isinstance(task, RowError):
                    if task.code == "MALFORMED_ID":
                        message = f"invalid ID field: {value}"
                        raise ApiError(400, "INVALID_QUERY_FILTER_OPERATOR", message)
                    continue
                found[task.id] = task
            elif spec.unique:
                held = self._table.by_unique(spec.name, value)
                if held is not None:
                    found[held.id] = held
            else:
                return None
        return list(found.values())

    def _page(
        self, records: list[dict[str, object]], start: int, version: str
    ) -> dict[str, object]:
        end = start + ROWS_PER_PAGE
        page: dict[str, object] = {
            "totalSize": len(records),
            "done": end >= len(records),
            "records": records[start:end],
        }
        if end < len(records):
            cursor = f"01g{next(self._cursor_ids):012d}AAA-{end}"
            self._cursors[cursor] = (records, end)
            if len(self._cursors) > CURSORS_MAX:
                self._cursors.popitem(last=False)
            page["nextRecordsUrl"] = f"/services/data/{version}/query/{cursor}"
        return page


def _folded(value: object) -> object:
    return value.lower() if isinstance(value, str) else value
