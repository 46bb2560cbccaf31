"""A way to a server that can be cut: nothing comes through any more, and nothing is closed."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK_BYTES = 65_536


class Proxy:
    """Listens on `port`; `open` joins it to a server's port. What is under way when it is cut
    arrives when it heals, however late, as a network's retransmissions do.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._target = 0
        self._open = threading.Event()
        self._listener: socket.socket | None = None
        self._sockets: list[socket.socket] = []

    def open(self, target: int) -> None:
        self._target = target
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.heal()
        for each in (self._listener, *self._sockets):
            if each is not None:
                _end(each)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._sockets.append(near)
        self._open.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _end(near)
            return
        self._sockets.append(far)
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either end has closed
            while data := source.recv(CHUNK_BYTES):
                self._open.wait()
                target.sendall(data)
        self._open.wait()
        _end(source)
        _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
