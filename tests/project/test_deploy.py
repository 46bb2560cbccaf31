"""What is shipped: the wheel, the locks, the image's and the Compose file's wiring."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from processor.config.schema import known_settings
from processor.config.settings import Settings
from processor.kafka.avro.schemas import schema_text
from processor.sandbox.org.server import OrgSettings
from tests.support.needs import do_without

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
COMPOSE_LOADER = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
PYPI = "https://pypi.org/simple"
SCHEMAS = ("delivery_event.avsc", "delivery_status.avsc")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], text=True, capture_output=True, check=False, **options
    )


# -- the wheel ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content as it lies in site-packages once it is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    built = run(*command, cwd=ROOT, env={**os.environ, "SMS_PROCESSOR_PLAIN": "1"})
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_wheel_brings_each_schema(unpacked_wheel: Path, name: str) -> None:
    packaged = unpacked_wheel / "processor" / "schemas" / name
    assert packaged.read_bytes() == (ROOT / "schemas" / name).read_bytes()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_checkout_finds_each_schema(name: str) -> None:
    assert schema_text(name) == (ROOT / "schemas" / name).read_text(encoding="utf-8")


def test_an_unknown_schema_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"no_such\.avsc"):
        schema_text("no_such.avsc")


def test_the_wheel_runs_and_reads_its_own_schemas(unpacked_wheel: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked_wheel)}
    code = (
        "import processor.kafka.avro.schemas as r; print(r.__file__); "
        "r.schema_text('delivery_event.avsc')"
    )
    read = run(sys.executable, "-P", "-c", code, env=environment, cwd=unpacked_wheel)
    assert read.stdout.strip() == str(unpacked_wheel / "processor/kafka/avro/schemas.py"), (
        read.stderr
    )

    listed = run(sys.executable, "-P", "-m", "processor", "codes", env=environment, cwd="/")
    assert listed.returncode == 0, listed.stderr
    assert "Message delivered to the handset" in listed.stdout


# -- the locks ---------------------------------------------------------------------------------


def pins(file: str) -> dict[str, str]:
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", ["runtime.txt", "build.txt", "dev.txt"])
def test_the_lock_for_pip_has_the_versions_of_the_lock_for_uv(
    lock: dict[str, Any], file: str
) -> None:
    locked = {(package["name"], package.get("version")) for package in lock["package"]}
    assert set(pins(file).items()) - locked == set()


def test_every_pinned_package_has_a_hash() -> None:
    for file in ("runtime.txt", "build.txt", "dev.txt"):
        text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
        for entry in re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in entry, entry.split(" ", 1)[0]


def test_the_locks_hold_what_the_project_asks_for(project: dict[str, Any]) -> None:
    table = project["project"]
    extras = table["optional-dependencies"]
    assert names(table["dependencies"]) <= set(pins("runtime.txt"))
    assert names(extras["dev"] + extras["sandbox"]) <= set(pins("dev.txt"))
    assert pins("runtime.txt").items() <= pins("dev.txt").items()
    assert pins("build.txt").items() <= pins("dev.txt").items()


def test_the_lock_names_no_place_but_the_public_index(lock: dict[str, Any]) -> None:
    sources = [package["source"] for package in lock["package"]]
    assert [s for s in sources if s.get("registry", s.get("editable")) not in (PYPI, ".")] == []
    urls = re.findall(r'url = "(https?://[^/"]+)', (ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert set(urls) == {"https://files.pythonhosted.org"}


# -- the Compose file --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return services


@pytest.fixture(scope="module")
def loader() -> Path:
    """The official loader, built once into .cache by the machine's Go."""
    folder = ROOT / ".cache" / COMPOSE_LOADER.replace("/", "_")
    binary = folder / "cmd"
    if not binary.exists():
        if not shutil.which("go"):
            do_without("go is not on the PATH")
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        built = run("go", "install", COMPOSE_LOADER, env=environment)
        assert built.returncode == 0, built.stderr
    return binary


def test_the_official_loader_accepts_the_compose_file(loader: Path) -> None:
    loaded = run(loader, COMPOSE)
    assert loaded.returncode == 0, loaded.stderr
    assert set(yaml.safe_load(loaded.stdout)["services"]) == {
        "kafka",
        "registry",
        "processor",
        "org",
        "traffic",
        "prometheus",
    }


def test_the_loader_refuses_what_is_wrong(loader: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text(encoding="utf-8").replace("image: apache", "imag: apache"))
    assert run(loader, wrong).returncode != 0


def test_every_variable_is_a_setting() -> None:
    variables = set(re.findall(r"\bPROCESSOR_([A-Z_]+)", COMPOSE.read_text(encoding="utf-8")))
    assert variables
    assert variables - set(known_settings()) == set()


def test_the_image_sets_nothing_that_would_beat_a_mounted_file() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "PROCESSOR_" not in text
    assert f"install -d -o processor -g processor -m 0700 {Settings().state.dir}\n" in text
    assert f"EXPOSE {Settings().http.port}\n" in text


def test_the_image_gets_all_that_the_wheel_is_built_from(tmp_path: Path) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    names = {name.rstrip("/") for line in copied for name in line.split()}
    let_in = re.findall(r"^!(.*?)/?$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert names == set(let_in)
    for name in names:
        path = ROOT / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / name)
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    built = run(*command, cwd=tmp_path, env={**os.environ, "SMS_PROCESSOR_PLAIN": "1"})
    assert built.returncode == 0, built.stderr


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    images = [service["image"] for service in services.values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+(-\w+)*$", image)] == []


def test_the_image_is_tagged_with_the_projects_version(
    services: dict[str, Any], project: dict[str, Any]
) -> None:
    assert services["processor"]["image"].endswith(":" + project["project"]["version"])


def test_every_service_has_a_health_check_or_says_why_not(services: dict[str, Any]) -> None:
    # The processor's is in the Dockerfile; the traffic has no port.
    without = {name for name, service in services.items() if "healthcheck" not in service}
    assert without == {"processor"}
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_dependencies_name_services_that_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


@pytest.mark.parametrize("service", ["org", "traffic"])
def test_the_sandbox_modules_take_the_arguments_they_are_given(
    services: dict[str, Any], service: str
) -> None:
    *_, module = services[service]["entrypoint"]
    shown = run(sys.executable, "-m", module, "--help", cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    given = [word for word in services[service]["command"] if word.startswith("--")]
    assert [option for option in given if option not in shown.stdout] == []


def test_the_processors_log_in_with_what_the_sandbox_org_expects(services: dict[str, Any]) -> None:
    given = services["processor"]["environment"]
    expected = OrgSettings()
    assert given["PROCESSOR_SALESFORCE__CONSUMER_KEY"] == expected.consumer_key
    assert given["PROCESSOR_SALESFORCE__CONSUMER_SECRET"] == expected.consumer_secret


# -- Prometheus --------------------------------------------------------------------------------


def test_promtool_accepts_the_prometheus_configuration() -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        do_without("promtool is not on the PATH")
    checked = run("promtool", "check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_scrapes_the_port_of_the_processor(services: dict[str, Any]) -> None:
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    (discovery,) = jobs["processor"]["dns_sd_configs"]
    assert discovery["names"] == ["processor"]
    assert str(discovery["port"]) == services["processor"]["environment"]["PROCESSOR_HTTP__PORT"]
