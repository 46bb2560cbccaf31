"""The REST resources of the sandbox org: which there are, what they take and what they answer.

Limits and shapes follow the REST API developer guide; where it is silent the stricter reading is
taken, so that a client that works here asks nothing of Salesforce that is not documented.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from processor.sandbox.org.faults import Fault, FaultKind, FaultPlan, RequestKind, RowFaults
from processor.sandbox.org.schema import ApiError, RowError
from processor.sandbox.org.select import TaskReader
from processor.sandbox.org.tasks import TaskTable, Transaction, row_api_error

ROWS_PER_COLLECTION_MAX: Final = 200
IDS_PER_RETRIEVE_MAX: Final = 2_000
SUBREQUESTS_MAX: Final = 25
HEAVY_SUBREQUESTS_MAX: Final = 5  # sObject Collections and queries, of the 25
_HEAVY_KINDS: Final = frozenset(
    {RequestKind.COLLECTIONS_UPDATE, RequestKind.COLLECTIONS_RETRIEVE, RequestKind.QUERY}
)
_REFERENCE_ID: Final = re.compile(r"[A-Za-z0-9_]+")


class Answer(NamedTuple):
    """A status and the JSON of the body; None is an answer without a body."""

    status: int
    body: object


@dataclass(slots=True)
class Call:
    """One resource being asked: an HTTP request, or one subrequest of a composite."""

    route: Route
    params: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: object
    transaction: Transaction
    faults: RowFaults | None
    rows_failed: int = field(default=0)


Handler = Callable[["Rest", Call], Answer]


class Route(NamedTuple):
    """A method on a path, and who answers it."""

    method: str
    path: re.Pattern[str]
    kind: RequestKind
    handler: Handler


def service_unavailable(status: int = 503) -> ApiError:
    """The instance is overloaded or in maintenance."""
    return ApiError(status, "SERVER_UNAVAILABLE", "The server is temporarily unavailable")


def session_expired() -> ApiError:
    """The token is unknown or has ended."""
    return ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")


def not_for_the_api() -> ApiError:
    """The token is alive, but its app was not given the scope `api`."""
    message = "This session is not valid for use with the REST API"
    return ApiError(401, "INVALID_SESSION_ID", message)


def url_not_reset() -> ApiError:
    """The token is of another host."""
    message = "Destination URL not reset. The URL returned from login must be set"
    return ApiError(400, "URL_NOT_RESET", message)


def limit_exceeded() -> ApiError:
    """The daily allocation of the org is spent."""
    return ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def _parser_error(reason: str) -> ApiError:
    return ApiError(400, "JSON_PARSER_ERROR", reason)


class Rest:
    """Answers calls on the table of Tasks. Everything here runs under the table's lock."""

    def __init__(
        self, table: TaskTable, reader: TaskReader, faults: FaultPlan, limits: Callable[[], object]
    ) -> None:
        self._table = table
        self._schema = table.schema
        self._faults = faults
        self._limits = limits
        self._reader = reader
        self.subrequests: Counter[str] = Counter()

    def answer(self, method: str, target: str, body: object, request_id: str) -> Answer:
        """Answer one HTTP request as one transaction."""
        try:
            route, params = find_route(method, urlsplit(target).path)
            kinds: tuple[RequestKind, ...] = (route.kind,)
            if route.kind is RequestKind.COMPOSITE:
                kinds += (RequestKind.COLLECTIONS_UPDATE, RequestKind.ROW_UPDATE)
            with self._table.transaction(request_id) as transaction:
                faults = self._faults.rows(kinds)
                query = parse_qs(urlsplit(target).query, keep_blank_values=True)
                call = Call(route, params, query, body, transaction, faults)
                try:
                    return route.handler(self, call)
                finally:
                    if faults is not None:
                        faults.done()
        except ApiError as error:
            return Answer(error.status, error.body())

    # -- resources ---------------------------------------------------------------------------------

    def describe(self, _call: Call) -> Answer:
        """GET sobjects/Task/describe."""
        return Answer(200, self._schema.describe())

    def limits(self, _call: Call) -> Answer:
        """GET limits."""
        return Answer(200, self._limits())

    def update_collection(self, call: Call) -> Answer:
        """PATCH composite/sobjects: up to 200 rows, one result for each in its place."""
        body = _object(call.body)
        records = body.get("records")
        all_or_none = body.get("allOrNone", False)
        if not isinstance(records, list) or not isinstance(all_or_none, bool):
            raise _parser_error("records must be a list, allOrNone true or false")
        if len(records) > ROWS_PER_COLLECTION_MAX:
            raise _too_many(ROWS_PER_COLLECTION_MAX)
        # The whole body is read before the first row is written: a body that is wrong writes none.
        rows = [self._table.read_row(_object(record)) for record in records]
        failed_before = self._table.rows_failed
        results = self._table.update(
            call.transaction, rows, all_or_none=all_or_none, faults=call.faults
        )
        call.rows_failed = self._table.rows_failed - failed_before
        return Answer(200, results)

    def retrieve_collection(self, call: Call) -> Answer:
        """POST or GET composite/sobjects/Task: rows in the order of the Ids, null for missing."""
        if call.route.method == "GET":
            ids: object = _one(call.query, "ids").split(",")
            names: object = _one(call.query, "fields").split(",")
        else:
            ids, names = _object(call.body).get("ids"), _object(call.body).get("fields")
        if not isinstance(ids, list) or not isinstance(names, list):
            raise _parser_error("ids and fields must be lists")
        if len(ids) > IDS_PER_RETRIEVE_MAX:
            raise _too_many(IDS_PER_RETRIEVE_MAX)
        fields = [self._reader.field(name).name for name in names]
        found: list[object] = []
        for raw_id in ids:
            task = self._table.find(raw_id)
            if not isinstance(task, RowError):
                found.append(self._reader.record(task, fields, call.params["version"]))
            elif task.code in {"MALFORMED_ID", "MISSING_ARGUMENT"}:
                raise row_api_error(task)
            else:
                found.append(None)
        return Answer(200, found)

    def update_row(self, call: Call) -> Answer:
        """PATCH sobjects/Task/{id}: 204, or the row's error as the whole answer."""
        body = dict(_object(call.body))
        if body.keys() & {"id", "Id"}:
            message = "The Id field should not be specified in the sobject data."
            raise ApiError(400, "INVALID_FIELD", message, ("Id",))
        body.setdefault("attributes", {"type": "Task"})
        row = self._table.read_row(body)._replace(raw_id=call.params["id"])
        results = self._table.update(call.transaction, [row], all_or_none=False, faults=call.faults)
        if results[0]["success"] is True:
            return Answer(204, None)
        call.rows_failed = 1
        errors = results[0]["errors"]
        assert isinstance(errors, list)
        error = RowError(errors[0]["statusCode"], errors[0]["message"], tuple(errors[0]["fields"]))
        raise (
            _not_found(call.params["id"]) if error.code == "MALFORMED_ID" else row_api_error(error)
        )

    def read_row(self, call: Call) -> Answer:
        """GET sobjects/Task/{id}[?fields=a,b]."""
        task = self._table.find(call.params["id"])
        if isinstance(task, RowError):
            if task.code == "ENTITY_IS_DELETED":
                raise row_api_error(task)
            raise _not_found(call.params["id"])
        names: list[str] = [spec.name for spec in self._schema.fields]
        if "fields" in call.query:
            names = [
                self._reader.field(name).name for name in _one(call.query, "fields").split(",")
            ]
        return Answer(
            200,
            self._reader.record(
                task, ["Id", *(n for n in names if n != "Id")], call.params["version"]
            ),
        )

    def query(self, call: Call) -> Answer:
        """GET query?q=: the first page."""
        text = _one(call.query, "q")
        return Answer(200, self._reader.query(text, call.params["version"]))

    def query_more(self, call: Call) -> Answer:
        """GET query/{cursor}: the next page."""
        cursor, version = call.params["cursor"], call.params["version"]
        return Answer(200, self._reader.query_more(cursor, version))

    def composite(self, call: Call) -> Answer:
        """POST composite: up to 25 subrequests in their order, one API call together."""
        body = _object(call.body)
        requests, all_or_none = body.get("compositeRequest"), body.get("allOrNone", False)
        if not isinstance(requests, list) or not isinstance(all_or_none, bool):
            raise _parser_error("compositeRequest must be a list, allOrNone true or false")
        parts = [_object(part) for part in requests]
        _check_parts(parts)
        answers: list[Answer] = []
        culprit: int | None = None
        for index, part in enumerate(parts):
            answer, failed = self._subrequest(part, call)
            answers.append(answer)
            if failed and all_or_none:
                culprit = index
                break
        if culprit is not None:
            answer = answers[culprit]
            self._table.rollback(call.transaction)
            message = "The transaction was rolled back since another operation failed."
            halted = Answer(400, ApiError(400, "PROCESSING_HALTED", message).body())
            answers = [halted] * len(parts)
            answers[culprit] = answer
        return Answer(
            200,
            {
                "compositeResponse": [
                    {
                        "body": answer.body,
                        "httpHeaders": {},
                        "httpStatusCode": answer.status,
                        "referenceId": part["referenceId"],
                    }
                    for part, answer in zip(parts, answers, strict=True)
                ]
            },
        )

    # -- parts of the above ------------------------------------------------------------------------

    def _subrequest(self, part: Mapping[str, object], outer: Call) -> tuple[Answer, bool]:
        method, target = str(part.get("method")).upper(), str(part.get("url"))
        try:
            route, params = find_route(method, urlsplit(target).path)
            self.subrequests[route.kind.value] += 1
            fault = self._faults.take(RequestKind.SUBREQUEST, lambda: json.dumps(part))
            if fault is not None:
                raise fault_error(fault)
            query = parse_qs(urlsplit(target).query, keep_blank_values=True)
            call = Call(route, params, query, part.get("body"), outer.transaction, outer.faults)
            return route.handler(self, call), call.rows_failed > 0
        except ApiError as error:
            return Answer(error.status, error.body()), True


def fault_error(fault: Fault) -> ApiError:
    """The answer of a fault that is an answer."""
    if fault.kind is FaultKind.SESSION:
        return session_expired()
    if fault.kind is FaultKind.LIMIT:
        return limit_exceeded()
    return service_unavailable(fault.status)


def parse_body(method: str, content_type: str, body: bytes) -> object:
    """Return the JSON of a request; raise ApiError."""
    if method not in {"POST", "PATCH"}:
        return None
    if "json" not in content_type:
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"Content type '{content_type}'")
    try:
        return json.loads(body)
    except ValueError as error:
        raise _parser_error(str(error)) from None


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _parser_error("The HTTP entity body, or a part of it, must be an object")
    return value


def _one(query: Mapping[str, list[str]], name: str) -> str:
    if name not in query:
        raise ApiError(400, "MISSING_ARGUMENT", f"The required parameter {name} is missing")
    return query[name][0]


def _too_many(limit: int) -> ApiError:
    message = f"record limit reached. cannot submit more than {limit} records into this call"
    return ApiError(400, "EXCEEDED_ID_LIMIT", message)


def _not_found(raw_id: str) -> ApiError:
    message = f"Provided external ID field does not exist or is not accessible: {raw_id}"
    return ApiError(404, "NOT_FOUND", message)


def _check_parts(parts: list[Mapping[str, object]]) -> None:
    if len(parts) > SUBREQUESTS_MAX:
        raise ApiError(400, "LIMIT_EXCEEDED", f"At most {SUBREQUESTS_MAX} subrequests")
    references = [part.get("referenceId") for part in parts]
    if any(not isinstance(r, str) or not _REFERENCE_ID.fullmatch(r) for r in references):
        raise _parser_error("Every subrequest needs a referenceId of letters, digits and _")
    if len(set(references)) < len(references):
        raise _parser_error("referenceId must be unique")
    heavy = 0
    for part in parts:
        target = str(part.get("url"))
        try:
            kind = find_route(str(part.get("method")).upper(), urlsplit(target).path)[0].kind
        except ApiError:
            continue  # answered in its own place
        heavy += kind in _HEAVY_KINDS
        if kind is RequestKind.COMPOSITE:
            raise ApiError(400, "INVALID_INPUT", "A composite can't hold a composite")
    if heavy > HEAVY_SUBREQUESTS_MAX:
        message = f"At most {HEAVY_SUBREQUESTS_MAX} sObject Collections and queries"
        raise ApiError(400, "LIMIT_EXCEEDED", message)


def _route(method: str, path: str, kind: RequestKind, handler: Handler) -> Route:
    return Route(
        method, re.compile(rf"/services/data/(?P<version>v\d+\.\d)/{path}/?"), kind, handler
    )


_ROUTES: Final = (
    _route("PATCH", "composite/sobjects", RequestKind.COLLECTIONS_UPDATE, Rest.update_collection),
    _route("POST", "composite", RequestKind.COMPOSITE, Rest.composite),
    _route(
        "POST",
        "composite/sobjects/Task",
        RequestKind.COLLECTIONS_RETRIEVE,
        Rest.retrieve_collection,
    ),
    _route(
        "GET", "composite/sobjects/Task", RequestKind.COLLECTIONS_RETRIEVE, Rest.retrieve_collection
    ),
    _route("GET", "sobjects/Task/describe", RequestKind.DESCRIBE, Rest.describe),
    _route("GET", "sobjects/Task/(?P<id>[^/]+)", RequestKind.ROW_READ, Rest.read_row),
    _route("PATCH", "sobjects/Task/(?P<id>[^/]+)", RequestKind.ROW_UPDATE, Rest.update_row),
    _route("GET", "query", RequestKind.QUERY, Rest.query),
    _route("GET", "query/(?P<cursor>[^/]+)", RequestKind.QUERY, Rest.query_more),
    _route("GET", "limits", RequestKind.LIMITS, Rest.limits),
)


def find_route(method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """Return who answers, and the parts of the path; raise ApiError 404 or 405."""
    allowed: list[str] = []
    for route in _ROUTES:
        match = route.path.fullmatch(path)
        if match is not None:
            if route.method == method:
                return route, match.groupdict()
            allowed.append(route.method)
    if not allowed:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    message = f"HTTP Method '{method}' not allowed. Allowed are {','.join(sorted(allowed))}"
    raise ApiError(405, "METHOD_NOT_ALLOWED", message)
