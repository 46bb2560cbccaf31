"""What `processor check` says of an org, beside the sandbox org."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.commands.check import Level, look_at_org
from processor.config.load import load_settings
from processor.config.settings import Settings
from processor.errors import ProcessorError
from processor.sandbox.org.server import OrgSettings, SandboxOrg

ORG = OrgSettings()


@pytest.fixture
def org() -> Iterator[SandboxOrg]:
    with SandboxOrg() as org:
        yield org


def settings_for(org: SandboxOrg) -> Settings:
    salesforce = {
        "DOMAIN": "acme.my",
        "CONSUMER_KEY": ORG.consumer_key,
        "CONSUMER_SECRET": ORG.consumer_secret,
        "ENDPOINT_URL": org.url,
    }
    environ = {f"PROCESSOR_SALESFORCE__{name}": value for name, value in salesforce.items()}
    return load_settings(None, environ, needs=("salesforce",))


def found(org: SandboxOrg) -> tuple[list[str], str]:
    """The lines that are well, and the word to the admin, or nothing."""
    lines = []
    try:
        for level, text in look_at_org(settings_for(org)):
            assert level is Level.OK
            lines.append(text)
    except ProcessorError as error:
        return lines, str(error)
    return lines, ""


def test_an_org_as_it_must_be_is_well(org: SandboxOrg) -> None:
    lines, advice = found(org)
    assert lines[0] == "logged in"
    assert "Task.SMS_Status__c" in lines[1]
    assert advice == ""


def test_an_app_without_the_scope_for_the_api_is_named_with_what_to_give_it(
    org: SandboxOrg,
) -> None:
    org.set_scope("id")
    lines, advice = found(org)
    assert lines == ["logged in"]
    assert "OAuth scope 'Manage user data via APIs (api)'" in advice
    assert "'API Enabled'" in advice


def test_a_spent_allocation_is_told_with_its_numbers(org: SandboxOrg) -> None:
    org.set_limit(calls_max=1_000, used=1_000)
    lines, advice = found(org)
    assert lines == ["logged in"]
    assert "1000 of 1000 API calls of the last 24 hours are used" in advice


def test_an_org_that_is_not_there_is_told(org: SandboxOrg) -> None:
    org.stop()
    lines, advice = found(org)
    assert lines == []
    assert "got no answer" in advice
