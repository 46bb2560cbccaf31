"""What the documents tell people to type, write and send is as they say."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from processor import cli
from processor.commands.produce.events import EventEncoder
from processor.config.settings import Salesforce
from processor.config.sources import Variables
from processor.core.report.shapes import to_avro_report
from processor.kafka.avro.schemas import schema_text
from processor.runtime.metrics import Metrics, describe_metrics
from scripts.reference import METRIC_SECTIONS, PREFIX, REFERENCES, Section, metrics_reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
OPERATIONS = DOCS / "operations.md"
METRICS = DOCS / "metrics.md"
DOCUMENTS = [README, *sorted(DOCS.rglob("*.md"))]

_BOX = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def boxes(document: Path, language: str) -> list[str]:
    """What is between fences, without the indent of the list that it is in."""
    found = []
    for indent, name, text in _BOX.findall(document.read_text()):
        if name == language:
            found.append(re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
    return found


def commands(document: Path) -> Iterator[str]:
    """Each `processor ...` that is in backticks or in a box."""
    text = document.read_text()
    lines = [line for box in boxes(document, "sh") for line in box.splitlines()]
    for line in [*_INLINE.findall(text), *lines]:
        found = re.match(r"(?:\.venv/bin/)?processor ([a-z].*)", line.split("|")[0])
        if found:
            yield found[1]


ALL_COMMANDS = sorted({(path.name, c) for path in DOCUMENTS for c in commands(path)})


def test_there_are_commands_to_look_at() -> None:
    assert {"check", "run", "demo --help"} <= {command for _, command in ALL_COMMANDS}


@pytest.mark.parametrize(("document", "command"), ALL_COMMANDS)
def test_each_documented_command_can_be_typed(document: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] in ("forget", "produce", "rekey") and all(w.startswith("--") for w in words[1:]):
        words.append("-")  # named in a sentence, without what it is about
    assert exit_code(words) == 0, f"{document}: processor {command}"


def exit_code(words: list[str]) -> object:
    """0, or what argparse ends with."""
    try:
        cli._parser().parse_args(words)
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_example_report_is_accepted(document: Path) -> None:
    encoder = EventEncoder(schema_text("delivery_event.avsc"), b"")
    for box in boxes(document, "json"):
        report = to_avro_report(json.loads(box))
        assert encoder.encode(report)
        assert report["status_code"] == 220
        assert report["date_received"] is not None
        metadata = report["metadata"]
        assert isinstance(metadata, dict)
        assert Salesforce().task_id_metadata_key in metadata


def test_there_is_an_example_of_a_report() -> None:
    assert len(boxes(DOCS / "reports-into-kafka.md", "json")) == 1


def is_setting(name: str) -> bool:
    """Whether a variable of this name is one, also for a single option or a secret's file."""
    (item,) = Variables({f"PROCESSOR_{name}": str(README)}).found.values()
    return item.problem is None


def test_a_setting_that_does_not_exist_is_found() -> None:
    assert is_setting("SALESFORCE__CONSUMER_SECRET_FILE")
    assert not is_setting("SALESFORCE__DOMAIN_FILE")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_setting_in_an_example_file_exists(document: Path) -> None:
    for box in boxes(document, "toml"):
        for section, values in tomllib.loads(box).items():
            for name in values:
                assert is_setting(f"{section}__{name}".upper()), f"{document.name}: {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_setting_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"\b([A-Z_]+__[A-Z_]+)\b", document.read_text()))
    assert [name for name in named if not is_setting(name.removeprefix("PROCESSOR_"))] == []


def test_each_metric_in_what_can_happen_exists() -> None:
    shown = [line.split("|")[2] for line in OPERATIONS.read_text().splitlines() if "|" in line]
    named = {name for cell in shown for name in re.findall(r"`([a-z]+_[a-z_]+)[`{]", cell)}
    known = {info.name.removeprefix("sms_processor_") for info in describe_metrics()}
    assert len(named) > 5
    assert named <= known


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor of each link that stays in the project."""
    for target, anchor in _LINK.findall(document.read_text()):
        if "://" not in target:
            yield (document.parent / target if target else document).resolve(), anchor


def anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = _HEADING.findall(document.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_somewhere(document: Path) -> None:
    for target, anchor in links(document):
        assert target.exists(), f"{document.name}: {target}"
        assert not anchor or anchor in anchors(target), f"{document.name}: {target}#{anchor}"


def test_the_readme_is_the_index_of_the_documents() -> None:
    table = README.read_text().partition("## Documentation")[2]
    listed = re.findall(r"^\| \[[^]]+\]\(docs/([\w-]+\.md)\) \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))


def test_every_document_is_linked_from_another() -> None:
    linked = {target for document in DOCUMENTS for target, _ in links(document)}
    assert set(DOCUMENTS) - {README} - linked == set()


# -- what is generated -------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == REFERENCES[name](), "run `make docs`"


@pytest.mark.parametrize(
    ("names", "odd"), [("build_info no_such_metric", "no_such_metric"), ("", "build_info")]
)
def test_each_metric_belongs_to_a_section(names: str, odd: str) -> None:
    sections = (*METRIC_SECTIONS[:-1], Section("Build", "", names))
    with pytest.raises(ValueError, match=f"'{PREFIX}{odd}'"):
        metrics_reference(sections)


def test_the_metrics_name_every_outcome_of_an_event() -> None:
    told = set(re.findall(r"^- \*(\w+)\*: ", METRICS.read_text(), re.MULTILINE))
    registry = CollectorRegistry()
    Metrics(registry)
    (events,) = [one for one in registry.collect() if one.name == "sms_processor_events"]
    assert told == {sample.labels["outcome"] for sample in events.samples}


def test_the_readme_says_early_that_delivery_is_not_delivered() -> None:
    beginning = README.read_text().partition("\n## ")[0]
    assert 'category "Delivery" does not mean delivered' in beginning
