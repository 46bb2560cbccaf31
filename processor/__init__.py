"""SMS delivery reports from Kafka -> one true status per message -> Salesforce Tasks.

    events topic -> decode -> enrich with category -> collapse per message
        -> status topic (durable) -> Salesforce Task -> settled

Start reading at `core/codes.py` (what a code means), then `core/collapse.py` (which of a
message's reports is its status), then `worker/cycle.py` (the cycle, and why its order loses
nothing).
"""

from pathlib import Path
from typing import Final

from processor.runtime.compiled import form_of

FORM: Final = form_of(Path(__file__).parent)
