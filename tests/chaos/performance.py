"""Performs a schedule on a stage, and supervises the processes as a platform would."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from processor.commands.exit_codes import EXIT_UNAVAILABLE
from processor.sandbox.servers.kafka import KafkaServer
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import Deed, What
from tests.integration.stage import Feed, Process, Stage
from tests.support.patience import Patience

STOP_TIMEOUT_S = 45.0
READY_TIMEOUT_S = 120.0  # a start in vain, and a group that is slow to give out partitions
LOOK_EVERY_S = 0.05


class Performance:
    """Processes by name. One that ends with 75 is started again; with anything else, we fail."""

    def __init__(
        self, stage: Stage, broker: KafkaServer, ways: Mapping[str, Proxy], **settings: str
    ) -> None:
        self._stage = stage
        self._settings = settings
        self._broker, self._ways = broker, ways
        self._began_s = time.monotonic()
        self._running: dict[str, Process] = {}
        self._stopping: dict[str, Process] = {}
        self._org_is_up = True
        self.done: list[str] = []

    def run(self, deeds: list[Deed], feed: Feed) -> None:
        """Until the last deed is done, the last report sent, and who is left is up."""
        for deed in deeds:
            while self._now_s() < deed.at_s:
                self._supervise()
                time.sleep(LOOK_EVERY_S)  # processes tell nobody that they have ended
            self.tell(str(deed))
            self._do(deed)
        while feed.going():
            self._supervise()
            time.sleep(LOOK_EVERY_S)  # as above
        feed.join()
        for name in list(self._stopping):
            self._await_stop(name)
        limit = Patience(READY_TIMEOUT_S)
        while not all(process.ready() for process in self._running.values()):
            assert not limit.is_over(), "who is left does not get ready"
            self._supervise()
            time.sleep(LOOK_EVERY_S)  # as above

    def tell(self, what: str) -> None:
        self.done.append(f"{self._now_s():6.1f} s: {what}")

    def _start(self, name: str) -> Process:
        way = self._ways[name].address
        return self._stage.start(name, KAFKA__BOOTSTRAP_SERVERS=way, **self._settings)

    def _do(self, deed: Deed) -> None:
        stage, name = self._stage, deed.who
        match deed.what:
            case What.START:
                self._await_stop(name)
                self._running[name] = self._start(name)
            case What.FREEZE:
                self._running[name].freeze()
            case What.THAW:
                self._running[name].thaw()
            case What.KILL:
                self._running.pop(name).kill()
            case What.CUT:
                self._ways[name].cut()
            case What.HEAL:
                self._ways[name].heal()
            case What.LOSE_STORE:
                stage.lose_store(name)
            case What.TERM:
                self._running[name].terminate()
                self._stopping[name] = self._running.pop(name)
            case _:
                self._do_elsewhere(deed)

    def _do_elsewhere(self, deed: Deed) -> None:
        match deed.what:
            case What.BROKER_STOP:
                self._broker.restart()
            case What.BROKER_KILL:
                self._broker.kill()
                self._broker.start()
            case What.FAULT if deed.fault is not None:
                self._stage.org.inject(deed.fault)
            case What.ORG_STOP if self._org_is_up:
                self._stage.org.stop()
                self._org_is_up = False
            case What.ORG_START if not self._org_is_up:
                self._stage.org.start()
                self._org_is_up = True

    def _await_stop(self, name: str) -> None:
        process = self._stopping.pop(name, None)
        if process is not None:
            code = process.wait(STOP_TIMEOUT_S)
            if code == EXIT_UNAVAILABLE:
                return  # it had ended by itself just before, cut off from the broker
            if code == -signal.SIGTERM and not process.log():
                return  # it had not begun: Python itself was still starting
            assert code == 0, f"{process.name} was asked to stop and ended with {code}"

    def _supervise(self) -> None:
        for name, process in self._running.items():
            code = process.exit_code()
            if code == EXIT_UNAVAILABLE:
                self.tell(f"{name} ended with 75, and is started again")
                self._running[name] = self._start(name)
            else:
                assert code is None, f"{process.name} ended by itself with {code}"

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s
