"""The Tasks of the sandbox org, and the log of every write to them in the order of application.

One lock makes a request atomic for all others. A `Transaction` is one HTTP request: its writes
enter the log together when it commits, or not at all when it is rolled back.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from processor.sandbox.org.faults import RowFaults
from processor.sandbox.org.schema import (
    ApiError,
    MalformedIdError,
    RowError,
    Schema,
    check,
    coerce,
    datetime_text,
    task_id_18,
)

_ROLLED_BACK: Final = RowError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using "
    "AllOrNone header",
)
_NO_ERRORS: Final[list[object]] = []


class Write(NamedTuple):
    """One row that was written: `fields` are the values as stored, Ids have 18 characters."""

    sequence: int
    time_ms: int
    task_id: str
    fields: Mapping[str, object]
    request_id: str


class Row(NamedTuple):
    """One row of a request, read but not looked up yet."""

    raw_id: object
    values: dict[str, object]
    error: RowError | None


class Task:
    """One Task; fields that were never set have no entry in `values`."""

    __slots__ = ("deleted", "id", "modified_ms", "values")

    def __init__(self, task_id: str, now_ms: int) -> None:
        self.id = task_id
        self.values: dict[str, object] = {}
        self.deleted = False
        self.modified_ms = now_ms


class Transaction:
    """The writes of one HTTP request. Used under the table's lock."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.written: list[tuple[Task, dict[str, object]]] = []
        self.undo: list[tuple[Task, dict[str, object]]] = []


class TaskTable:
    """All Tasks. `any_task` makes every well-formed Id exist as soon as it is named."""

    def __init__(
        self, schema: Schema, now_ms: Callable[[], int], *, any_task: bool, log_entries_max: int
    ) -> None:
        self.schema = schema
        self.lock = threading.RLock()
        self.rows_written = 0
        self.rows_failed = 0
        self._now_ms = now_ms
        self._any_task = any_task
        self._tasks: dict[str, Task] = {}
        # Whatever form an Id was named in → its Task, so that the suffix is computed once.
        self._by_any_form: dict[object, Task] = {}
        self._by_unique: dict[str, dict[str, Task]] = {name: {} for name in schema.unique}
        self._log: deque[Write] = deque(maxlen=log_entries_max)
        self._sequence = itertools.count(1)

    # -- what tests and the control endpoint do ------------------------------------------------

    def add(self, raw_id: str, values: Mapping[str, object] | None = None) -> None:
        """Create or overwrite a Task, without an entry in the log; raise ValueError."""
        task_id = task_id_18(raw_id)
        coerced: dict[str, object] = {}
        for name, value in (values or {}).items():
            spec = self.schema.find(name)
            if spec is None:
                raise ValueError(f"no such field: {name}")
            coerced[spec.name] = coerce(spec, value)
        with self.lock:
            task = self._tasks.get(task_id) or Task(task_id, self._now_ms())
            task.deleted = False
            self._tasks[task_id] = task
            self._assign(task, coerced)

    def delete(self, raw_id: str) -> None:
        """Delete a Task, as a user would: it stays known as deleted. Raise KeyError if unknown."""
        with self.lock:
            self._tasks[task_id_18(raw_id)].deleted = True

    def find(self, raw_id: object) -> Task | RowError:
        """Return a Task that exists, or the error of a row that names it."""
        task = self._by_any_form.get(raw_id) if isinstance(raw_id, str) else None
        if task is None:
            if raw_id is None:
                return RowError("MISSING_ARGUMENT", "Id not specified in an update call", ("Id",))
            try:
                task_id = task_id_18(raw_id)
            except MalformedIdError as error:
                return RowError("MALFORMED_ID", str(error), ("Id",))
            task = self._tasks.get(task_id)
            if task is None:
                if not self._any_task:
                    return RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
                task = self._tasks[task_id] = Task(task_id, self._now_ms())
            self._by_any_form[raw_id] = task
        return RowError("ENTITY_IS_DELETED", "entity is deleted") if task.deleted else task

    def all_tasks(self) -> Iterator[Task]:
        """Return the Tasks that are not deleted; hold the lock while iterating."""
        return (task for task in self._tasks.values() if not task.deleted)

    def by_unique(self, name: str, value: str) -> Task | None:
        """Return the Task that holds a value of a unique field (compared without case)."""
        task = self._by_unique[name].get(value.lower())
        return None if task is None or task.deleted else task

    def value(self, task: Task, name: str) -> object:
        """Return one field as Salesforce gives it."""
        if name == "Id":
            return task.id
        if name == "LastModifiedDate":
            return datetime_text(task.modified_ms)
        if name == "IsClosed":
            return False
        return task.values.get(name)

    def log(self, after: int = 0, limit: int | None = None) -> list[Write]:
        """Return the writes with a greater sequence number, in the order of application."""
        with self.lock:
            first = self._log[0].sequence if self._log else 1
            start = max(0, after + 1 - first)
            stop = len(self._log) if limit is None else min(len(self._log), start + limit)
            return list(itertools.islice(self._log, start, stop))

    # -- what requests do ------------------------------------------------------------------------

    @contextmanager
    def transaction(self, request_id: str) -> Iterator[Transaction]:
        """One request: nothing of others in between, one stretch of the log."""
        with self.lock:
            transaction = Transaction(request_id)
            try:
                yield transaction
            finally:
                time_ms = self._now_ms()
                for task, values in transaction.written:
                    task.modified_ms = time_ms
                    self._log.append(
                        Write(next(self._sequence), time_ms, task.id, values, request_id)
                    )
                self.rows_written += len(transaction.written)

    def rollback(self, transaction: Transaction) -> None:
        """Undo every write of the request so far."""
        self._undo_to(transaction, 0)

    def read_row(self, record: Mapping[str, object]) -> Row:
        """Read one record of a body; raise ApiError where the body as a whole is wrong."""
        raw_id: object = None
        values: dict[str, object] = {}
        error: RowError | None = None
        by_name = self.schema.by_name
        for key, value in record.items():
            spec = by_name.get(key)
            # The usual case, without the calls of the general one: most rows are only this.
            if spec is not None and value.__class__ is str and spec.type == "string":
                text: str = value.strip()
                values[key] = text
                if not text or len(text) > spec.length or not spec.updateable:
                    error = self._read_field(key, text, values) or error
            elif key in {"id", "Id"}:
                raw_id = value
            elif key == "attributes":
                error = error or _type_error(value)
            else:
                error = self._read_field(key, value, values) or error
        return Row(raw_id, values, error)

    def update(
        self,
        transaction: Transaction,
        rows: Iterable[Row],
        *,
        all_or_none: bool,
        faults: RowFaults | None,
    ) -> list[dict[str, object]]:
        """Write the rows one after the other; return one result per row, in their order."""
        start = len(transaction.undo)
        outcomes: list[Task | RowError] = []
        seen: set[str] = set()
        failed = 0
        for row in rows:
            outcome = self._update_row(transaction, row, seen, faults)
            failed += outcome.__class__ is RowError
            outcomes.append(outcome)
        thrown = None if faults is None else faults.exception_for(seen)
        if thrown is not None:
            self._undo_to(transaction, start)
            failed, outcomes = len(outcomes), [thrown] * len(outcomes)
        self.rows_failed += failed
        rolled_back = all_or_none and failed > 0
        if rolled_back:
            self._undo_to(transaction, start)
            self.rows_failed += len(outcomes) - failed
        return [_result(outcome, rolled_back=rolled_back) for outcome in outcomes]

    def _update_row(
        self, transaction: Transaction, row: Row, seen: set[str], faults: RowFaults | None
    ) -> Task | RowError:
        task = self.find(row.raw_id)
        if isinstance(task, RowError):
            return task
        if task.id in seen:
            return RowError("DUPLICATE_VALUE", f"Duplicate id specified: {row.raw_id}", ("Id",))
        seen.add(task.id)
        if row.error is not None:
            return row.error
        if faults is not None and (error := faults.error_for(task.id)) is not None:
            return error
        if (error := self._conflict(task, row.values)) is not None:
            return error
        old = {name: task.values.get(name) for name in row.values}
        transaction.undo.append((task, old))
        transaction.written.append((task, row.values))
        self._assign(task, row.values)
        return task

    def _read_field(self, key: str, value: object, values: dict[str, object]) -> RowError | None:
        spec = self.schema.find(key)
        if spec is None:
            return RowError("INVALID_FIELD", f"No such column '{key}' on sobject of type Task")
        if not spec.updateable:
            return RowError(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {spec.name}. Please check the security "
                "settings of this field and verify that it is read/write for your profile.",
                (spec.name,),
            )
        coerced = values[spec.name] = coerce(spec, value)
        return check(spec, coerced)

    def _conflict(self, task: Task, values: Mapping[str, object]) -> RowError | None:
        for name in self.schema.unique:
            value = values.get(name)
            if isinstance(value, str):
                holder = self._by_unique[name].get(value.lower(), task)
                if holder is not task:
                    return RowError(
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {name} duplicates value on record with id: "
                        f"{holder.id[:15]}",
                    )
        for name in self.schema.never_decreases:
            old = task.values.get(name)
            if name in values and isinstance(old, float):
                new = values[name]
                if not isinstance(new, float) or new < old:
                    return RowError(
                        "FIELD_CUSTOM_VALIDATION_EXCEPTION", f"{name} must not decrease", (name,)
                    )
        return None

    def _assign(self, task: Task, values: Mapping[str, object]) -> None:
        for name in self.schema.unique:
            if name in values:
                old, new = task.values.get(name), values[name]
                if isinstance(old, str):
                    self._by_unique[name].pop(old.lower(), None)
                if isinstance(new, str):
                    self._by_unique[name][new.lower()] = task
        task.values.update(values)

    def _undo_to(self, transaction: Transaction, length: int) -> None:
        for task, old in reversed(transaction.undo[length:]):
            self._assign(task, old)
        del transaction.undo[length:]
        del transaction.written[length:]


def _type_error(attributes: object) -> RowError | None:
    name = attributes.get("type") if isinstance(attributes, dict) else None
    if isinstance(name, str) and name.lower() == "task":
        return None
    return RowError("INVALID_TYPE", f"sObject type '{name}' is not supported.")


def _result(outcome: Task | RowError, *, rolled_back: bool) -> dict[str, object]:
    """One SaveResult. A failed row has no id, but one that was rolled back keeps it: only
    `success` says whether a row was written (see the documented example of allOrNone).
    """
    if not isinstance(outcome, RowError):
        if not rolled_back:
            return {"id": outcome.id, "success": True, "errors": _NO_ERRORS}
        return {"id": outcome.id, "success": False, "errors": [_error_json(_ROLLED_BACK)]}
    return {"success": False, "errors": [_error_json(outcome)]}


def _error_json(error: RowError) -> dict[str, object]:
    return {"statusCode": error.code, "message": error.message, "fields": list(error.fields)}


def row_api_error(error: RowError) -> ApiError:
    """The same error where the row is the whole request: 404 for what is not there, else 400."""
    missing = {"INVALID_CROSS_REFERENCE_KEY", "ENTITY_IS_DELETED"}
    status = 404 if error.code in missing else 400
    return ApiError(status, error.code, error.message, error.fields)
