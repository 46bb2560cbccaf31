"""The core's settings, as a user has them who has set none."""

from processor.core.due import Rules
from processor.core.report.fields import ReportRules

RULES = Rules(
    failure_hold_ms=15_000,
    intermediate_hold_ms=10_000,
    unknown_after_ms=660_000,
    give_up_after_ms=86_400_000,
    retention_ms=604_800_000,
    require_task=True,
)
READING = ReportRules(("date_received", "submitted_date"), "salesforce_task_id")
