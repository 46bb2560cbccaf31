"""What a run of the tests will take on this machine, told before it begins."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterator

from processor.sandbox.servers.java import cache_directory
from processor.sandbox.servers.kafka import KAFKA_VERSION
from tests.support.patience import factor

# On two idle cores of the machine that tests/support/patience.py knows.
QUICK_MINUTES, PLAIN_MINUTES, ALL_MINUTES = 1, 3, 18
ENOUGH_JOBS = 1.5  # up to here it is as quick as on an idle machine: there is room between waits

OTHER_TOOLS = {
    "go": "whether the official loader takes the Compose file",
    "promtool": "whether Prometheus takes the metrics and its configuration (Debian: prometheus)",
}


def forecast(
    has: Callable[[str], bool], times: float, *, quick: bool = False, fetched: bool = True
) -> Iterator[str]:
    """Lines for whoever waits. `times`: how much slower or busier it is here than on an idle
    machine, 1 or more. `fetched`: Kafka is here already.
    """
    java = [tool for tool in ("java", "mvn") if not has(tool)]
    minutes = QUICK_MINUTES if quick else PLAIN_MINUTES if java else ALL_MINUTES
    # With Kafka it waits for clocks most of the time, and those go everywhere alike.
    here = minutes * (times if quick or java else math.sqrt(times))
    what = "the quick tests" if quick else "the tests"
    slower = f", which is {times:.2g} times as slow or busy" if times > ENOUGH_JOBS else ""
    yield f"{what}: about {here:.0f} min here{slower} ({minutes} min on two idle cores)"
    if quick:
        yield "left out: whatever starts a real Kafka or Schema Registry (`make test` does)"
    elif java:
        yield (
            "skipped: all with a real Kafka and Schema Registry, the chaos too "
            f"(not on the PATH: {', '.join(java)}; Java 17 and Maven)"
        )
    elif not fetched:
        yield "at first Maven fetches Kafka and a Schema Registry into .cache: some minutes more"
    for tool, checks in OTHER_TOOLS.items():
        if not has(tool):
            yield f"skipped: {checks}, for want of {tool}"


def main() -> None:
    lines = forecast(
        lambda tool: shutil.which(tool) is not None,
        factor(),
        quick="--quick" in sys.argv,
        fetched=(cache_directory() / f"kafka-{KAFKA_VERSION}").is_dir(),
    )
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
