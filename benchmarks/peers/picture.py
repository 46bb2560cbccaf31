"""The figures as a picture: bars, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final, NamedTuple

from benchmarks.peers.contenders import BARE, STREAMS, STREAMS_2, WORKER

WIDTH: Final = 760
_LEFT: Final = 250  # where bars begin
_LONGEST: Final = 410
_ROW: Final = 26
_BAR: Final = 18
_PANEL_HEAD: Final = 44

LABELS: Final = {
    BARE: "bare loop",
    WORKER: "worker",
    STREAMS: "Kafka Streams, 1 thread",
    STREAMS_2: "Kafka Streams, 2 threads",
}

_STYLE: Final = """
  svg { color-scheme: light dark; }
  .page { fill: #ffffff; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 18px; font-weight: 600; }
  .panel { font-weight: 600; }
  .note { font-size: 11px; fill: #59636e; }
  .end { text-anchor: end; }
  .bar { fill: #9aa4af; }
  .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; }
    text { fill: #f0f6fc; }
    .note { fill: #9198a1; }
    .bar { fill: #656c76; }
    .ours { fill: #4493f8; }
  }
"""


class Bar(NamedTuple):
    """One contender's. `ours`: the worker's. `text`: its value, as it is written beside it."""

    label: str
    value: float
    ours: bool
    text: str


class Panel(NamedTuple):
    """One measure of all. `unit` says what a bar's length is."""

    title: str
    unit: str
    bars: list[Bar]


def picture(report: Mapping[str, Any]) -> str:
    """The text of an SVG file."""
    panels = list(_panels(report))
    parts: list[str] = []
    y = 84
    for panel in panels:
        parts += _drawn(panel, y)
        y += _PANEL_HEAD + _ROW * len(panel.bars)
    height = y + 8
    note = (
        f"{report['fed']['events']:,} events, {report['partitions']} partitions, "
        f"Kafka {report['kafka']}; worker: {report['form']}; {report['machine']}; {report['date']}"
    )
    body = "\n".join(parts)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" \
height="{height}" role="img" aria-label="{_TITLE}">
<style>{_STYLE}</style>
<rect class="page" width="{WIDTH}" height="{height}"/>
<text class="title" x="20" y="34">{_TITLE}</text>
<text class="note" x="20" y="56">{escape(note)}</text>
{body}
</svg>
"""


_TITLE: Final = "From events to statuses, exactly once"


def _panels(report: Mapping[str, Any]) -> Iterator[Panel]:
    medians = report["medians"]
    yield _panel(
        medians, "events_per_s", "Throughput", "events per second; longer is better", ",.0f"
    )
    yield _panel(
        medians, "cpu_us_per_event", "CPU", "microseconds per event; shorter is better", ".1f"
    )
    yield _panel(medians, "peak_memory_mb", "Peak memory", "MB; shorter is better", ",.0f")
    latency = report.get("latency")
    if latency:
        for measure, title in (
            ("p50_ms", "Latency, median"),
            ("p99_ms", "Latency, 99th percentile"),
        ):
            bars = [
                Bar(latency_label(run), run[measure], run["name"] == WORKER, f"{run[measure]:,.0f}")
                for run in latency["runs"]
            ]
            unit = (
                f"milliseconds at {latency['events_per_s']:,} events per second; shorter is better"
            )
            yield Panel(title, unit, bars)


def latency_label(run: Mapping[str, Any]) -> str:
    """A contender and what its latency depends on."""
    return f"{LABELS[run['name']]}, {run['every_ms']} ms"


def _panel(
    medians: Mapping[str, Mapping[str, float]], measure: str, title: str, unit: str, form: str
) -> Panel:
    bars = [
        Bar(LABELS[name], found[measure], name == WORKER, format(found[measure], form))
        for name, found in medians.items()
    ]
    return Panel(title, unit, bars)


def _drawn(panel: Panel, top: int) -> Iterator[str]:
    longest = max(bar.value for bar in panel.bars) or 1.0
    yield f'<text class="panel" x="20" y="{top + 14}">{escape(panel.title)}</text>'
    yield f'<text class="note" x="{_LEFT}" y="{top + 14}">{escape(panel.unit)}</text>'
    for place, bar in enumerate(panel.bars):
        y = top + 24 + place * _ROW
        length = max(1.0, bar.value / longest * _LONGEST)
        kind = "bar ours" if bar.ours else "bar"
        yield f'<text class="end" x="{_LEFT - 10}" y="{y + 14}">{escape(bar.label)}</text>'
        size = f'width="{length:.1f}" height="{_BAR}"'
        yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" {size} rx="2"/>'
        yield f'<text x="{_LEFT + length + 8:.1f}" y="{y + 14}">{escape(bar.text)}</text>'
