"""An org that confirms every row, as fast as it can: the far side of `benchmarks.salesforce`.

Knows the requests that the writer makes: a login, describe, an update of up to 200 Tasks, and a
Composite of several. Answers as the REST API does, compressed and in chunks. Prints its port.
"""

from __future__ import annotations

import gzip
import json
import socketserver
from collections.abc import Callable, Iterator
from typing import Any, Final

CHUNK_BYTES: Final = 8_192
COMPRESSION: Final = 1  # the fastest
FIELDS: Final = {"SMS_Status__c": "string", "SMS_Status_Code__c": "double"}


def main() -> None:
    """Serve until killed."""
    with _Server(("127.0.0.1", 0), _Connection) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in few pieces

    def handle(self) -> None:
        while line := self.rfile.readline():
            _, target, _ = line.decode("ascii").split()
            length, host = 0, ""
            while (header := self.rfile.readline().strip()) != b"":
                name, _, value = header.decode("latin-1").partition(": ")
                if name.lower() == "content-length":
                    length = int(value)
                elif name.lower() == "host":
                    host = value
            for piece in _answer(target, host, self.rfile.read(length)):
                self.wfile.write(piece)
            self.wfile.flush()


def _answer(target: str, host: str, body: bytes) -> Iterator[bytes]:
    found: Callable[[Any], object] = next(
        read for end, read in _RESOURCES.items() if target.endswith(end)
    )
    told: object = found(body)
    if isinstance(told, dict) and "access_token" in told:
        told["instance_url"] = f"http://{host}"
    raw = gzip.compress(json.dumps(told).encode("ascii"), COMPRESSION)
    yield (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\n"
        b"Sforce-Limit-Info: api-usage=18/5000000\r\nVary: Accept-Encoding\r\n"
        b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for start in range(0, len(raw), CHUNK_BYTES):
        chunk = raw[start : start + CHUNK_BYTES]
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def _token(_body: bytes) -> object:
    return {"access_token": "00D!token", "token_type": "Bearer", "scope": "api"}


def _describe(_body: bytes) -> object:
    fields = [
        {"name": name, "type": kind, "updateable": True, "length": 255, "precision": 18, "scale": 0}
        for name, kind in FIELDS.items()
    ]
    return {"name": "Task", "fields": fields}


def _update(body: bytes) -> object:
    return _updated(json.loads(body))


def _composite(body: bytes) -> object:
    parts = json.loads(body)["compositeRequest"]
    return {
        "compositeResponse": [
            {
                "body": _updated(part["body"]),
                "httpHeaders": {},
                "httpStatusCode": 200,
                "referenceId": part["referenceId"],
            }
            for part in parts
        ]
    }


def _updated(request: Any) -> list[dict[str, object]]:
    return [{"id": row["id"], "success": True, "errors": []} for row in request["records"]]


_RESOURCES: Final = {
    "/oauth2/token": _token,
    "/describe": _describe,
    "/composite/sobjects": _update,
    "/composite": _composite,
}

if __name__ == "__main__":
    main()
