"""What is nobody's business is in no output: of a run that says all that it can, and in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.sandbox.org.auth import ORG_ID
from processor.sandbox.org.server import Fault, FaultKind
from processor.sandbox.traffic.generator import Mix
from processor.sandbox.traffic.oracle import expected
from tests.integration.kit import Broker
from tests.integration.ledger import Ledger
from tests.integration.stage import Stage, past_traffic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PASSWORD = "hush-hush-hush"
TROUBLES = (
    Fault(FaultKind.SESSION),
    Fault(FaultKind.HTML, count=2),
    Fault(FaultKind.TRUNCATED),
    Fault(FaultKind.LOCK, count=2, probability=0.5),
    Fault(FaultKind.ROW_ERROR, count=1, probability=0.2, code="STRING_TOO_LONG"),
)


@pytest.fixture
def stage(kafka: Broker, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap_servers, tmp_path)
    yield stage
    stage.close()


def test_no_secret_token_number_or_text_is_in_any_output_of_a_run_in_trouble(
    stage: Stage,
) -> None:
    traffic = past_traffic(300, 7, Mix(poisoned=0.1))
    wanted = expected(traffic)
    stage.org.add_tasks(wanted.tasks)
    for trouble in TROUBLES:
        stage.org.inject(trouble)
    (process,) = stage.start_ready(
        "one",
        LOG__LEVEL="debug",
        LOG__FORMAT="json",
        KAFKA__OPTIONS__DEBUG="security,broker,cgrp,topic,msg,eos",
        KAFKA__OPTIONS__SASL_PASSWORD=PASSWORD,
    )
    stage.feed(traffic).join()
    Ledger(stage).wait_until_settled()
    pages = [process.get(path) for path in ("/metrics", "/healthz", "/readyz")]
    assert process.stop() == 0

    outputs = [process.log(), *(page.text for page in pages if page is not None)]
    assert len(outputs) == 1 + len(pages)
    assert "ApiVersion" in outputs[0], "librdkafka has said all that it does"
    private = {
        PASSWORD,
        stage.org.settings.consumer_secret,
        f"{ORG_ID[:15]}!",  # what every access token begins with
        "Bearer",
    }
    for report in traffic:
        event = report.event
        private |= {str(event["source_number"]).removeprefix("+"), str(event["original_text"])}
    assert len(private) > 8
    assert [word for word in private if any(word in output for output in outputs)] == []
