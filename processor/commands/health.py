"""`processor health`: ask the process on this machine for its /healthz."""

from __future__ import annotations

import http.client
import os
from typing import Final

from processor.config.listening import Address, plain_address
from processor.runtime.hosts import loopback_of

TIMEOUT_S: Final = 4.0


def health(config: str | None) -> int:
    """0 when it is well, else 1, having said why."""
    listening = plain_address(config, os.environ) or _judged_address(config)
    host, port = loopback_of(listening.host), listening.port
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace").strip())
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from {host} port {port}: {error}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


def _judged_address(config: str | None) -> Address:
    from processor.config.load import load_settings  # what is to be spared where it can be

    listening = load_settings(config, needs=()).http
    return Address(listening.host, listening.port)
