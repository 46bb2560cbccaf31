"""Where the process listens, read without the settings: the same, or left to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from processor.config.listening import Address, plain_address
from processor.config.load import load_settings
from processor.errors import ConfigError

HOST, PORT = "PROCESSOR_HTTP__HOST", "PROCESSOR_HTTP__PORT"
DEFAULT = Address("0.0.0.0", 9108)  # noqa: S104 - compared only


@pytest.mark.parametrize(
    ("environ", "text", "found"),
    [
        ({}, "", DEFAULT),
        ({PORT: " 80 "}, "", DEFAULT._replace(port=80)),
        ({PORT: ""}, "[http]\nport = 81", DEFAULT._replace(port=81)),
        ({PORT: "80"}, "[http]\nport = 81\nhost = '::1 '", Address("::1", 80)),
        ({}, "[http]\nport = '81'\n[kafka]\nhost = 'h'", DEFAULT._replace(port=81)),
        ({HOST: "::"}, "[log]\nlevel = 'nonsense'", DEFAULT._replace(host="::")),
        # Left to the settings: some of it they take, some they refuse with advice.
        ({PORT: "8e1"}, "", None),
        ({PORT: "x"}, "", None),
        ({PORT: "65536"}, "", None),
        ({PORT: "080"}, "", None),
        ({}, "[http]\nport = true", None),
        ({}, "[http]\nport = 80.0", None),
        ({}, "[http]\nport = -1", None),
        ({}, "[http]\nhost = 1", None),
        ({}, "[http]\nhost = ' '", None),
        ({}, "[http]\nPort = 80", None),
        ({}, "[HTTP]\nport = 80", None),
        ({}, "http = 1", None),
    ],
)
def test_it_is_read_where_it_is_written_plainly(
    environ: dict[str, str], text: str, found: Address | None, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    assert plain_address(str(file), environ) == found
    assert plain_address(None, environ | {"PROCESSOR_CONFIG": str(file)}) == found


PORTS = ["", " ", "0", "80", " 80 ", "080", "+80", "8e1", "80.0", "65536", "-1", "\u0668", "x"]
HOSTS = ["", " ", "::", "[::1]", " localhost "]
IN_FILE = ["80", "80.0", "-1", "true", "'80'", "' 80 '", "'8e1'", "''", "' '", "'::'", "[]", "{}"]
KEYS = st.sampled_from(["port", "host", "Port", "HOST", "other"])
TABLE = st.dictionaries(KEYS, st.sampled_from(IN_FILE), max_size=3)


@profile(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    environ=st.fixed_dictionaries(
        {}, optional={PORT: st.sampled_from(PORTS), HOST: st.sampled_from(HOSTS)}
    ),
    tables=st.dictionaries(st.sampled_from(["http", "HTTP"]), TABLE, max_size=2),
)
def test_it_is_what_the_settings_say_or_they_refuse_to_start(
    environ: dict[str, str], tables: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    lines = [f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())
             for name, keys in tables.items()]  # fmt: skip
    file = tmp_path / "settings.toml"
    file.write_text("".join(lines))
    found = plain_address(str(file), environ)
    try:
        settings = load_settings(file, environ, needs=())
    except ConfigError:
        return  # no process runs with these
    assert found in (None, Address(settings.http.host, settings.http.port))


def test_a_file_that_is_not_there_or_not_toml_is_told_as_ever(tmp_path: Path) -> None:
    for file in (tmp_path / "absent.toml", tmp_path / "broken.toml"):
        (tmp_path / "broken.toml").write_text("[http\n")
        with pytest.raises(ConfigError) as told:
            plain_address(str(file), {})
        with pytest.raises(ConfigError) as of_the_settings:
            load_settings(file, {}, needs=())
        assert str(told.value) == str(of_the_settings.value)


_IMPORTS = """
import sys
before = set(sys.modules)
from processor.cli import main
assert main(["health"]) == 1, "nothing listens there"
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_the_health_check_imports_no_library_because_it_runs_every_few_seconds() -> None:
    environ = {PORT: "1", HOST: "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], env=environ, check=True, capture_output=True, text=True
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "processor" in imported
    assert imported - {"processor", "processor__mypyc"} <= sys.stdlib_module_names
