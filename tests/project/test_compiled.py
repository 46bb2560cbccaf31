"""The compiled form: how it is built, and that it is never mixed with plain Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from pathlib import Path

import pytest

from hatch_build import what_is_missing
from processor.runtime.compiled import LIBRARY, STAMP, fingerprint
from tests.support.needs import do_without

pytestmark = [
    pytest.mark.alone,
    pytest.mark.xdist_group("compiled"),  # which compiles once, not once a worker
]

ROOT = Path(__file__).parents[2]
SUFFIX = EXTENSION_SUFFIXES[0]
FEW = ("processor/core/codes.py", "processor/core/collapse.py")  # take seconds, not a minute
ABOUT = f"sms-status-processor {version('sms-status-processor')}"
REMEDY = "run `make compile`, or `make plain`"

Break = Callable[[Path], object]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        text=True,
        capture_output=True,
        check=False,
    )


def processor(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "processor", *arguments, cwd=tree)


def modules_of(pyproject: Path) -> list[str]:
    (listed,) = re.findall(r"^modules = \[(.*?)\]", pyproject.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r'"([^"]+)"', listed)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, in which only a few modules are to be compiled."""
    tree = tmp_path_factory.mktemp("plain") / "checkout"
    made = shutil.ignore_patterns("*.so", STAMP, "__pycache__")
    for folder in ("processor", "schemas"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=made)
    for name in ("pyproject.toml", "hatch_build.py", "Makefile", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    settings = (tree / "pyproject.toml").read_text(encoding="utf-8")
    few = f"modules = {list(FEW)!r}".replace("'", '"')
    settings = re.sub(r"^modules = \[.*?\]", few, settings, flags=re.DOTALL | re.MULTILINE)
    (tree / "pyproject.toml").write_text(settings, encoding="utf-8")
    return tree


@pytest.fixture(scope="module")
def compiled(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, after `make compile`."""
    if (missing := what_is_missing()) is not None:
        do_without(missing)
    tree = tmp_path_factory.mktemp("compiled") / "checkout"
    shutil.copytree(plain, tree)
    done = run(sys.executable, "hatch_build.py", "compile", cwd=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    return tree


@pytest.fixture
def tree(compiled: Path, tmp_path: Path) -> Path:
    """One to break."""
    return Path(shutil.copytree(compiled, tmp_path / "checkout"))


# -- which form it is --------------------------------------------------------------------------


def test_a_checkout_is_plain(plain: Path) -> None:
    assert processor(plain, "--version").stdout == f"{ABOUT} (plain Python)\n"


@pytest.mark.slow
def test_compiled_in_place_it_runs_the_extensions_and_made_plain_the_sources(tree: Path) -> None:
    where = (sys.executable, "-c", "import processor.core.codes as c; print(c.__file__)")
    assert processor(tree, "--version").stdout == f"{ABOUT} (compiled)\n"
    assert run(*where, cwd=tree).stdout.strip() == str(tree / f"processor/core/codes{SUFFIX}")
    assert run(sys.executable, "hatch_build.py", "plain", cwd=tree).returncode == 0
    assert processor(tree, "--version").stdout == f"{ABOUT} (plain Python)\n"
    assert run(*where, cwd=tree).stdout.strip() == str(tree / "processor/core/codes.py")
    assert not [*tree.glob(f"*{SUFFIX}"), *(tree / "processor").rglob(f"*{SUFFIX}")]


@pytest.mark.slow
def test_a_source_that_was_only_touched_is_the_same(tree: Path) -> None:
    (tree / FEW[0]).touch()
    assert processor(tree, "--version").stdout == f"{ABOUT} (compiled)\n"


# -- never a mixture ---------------------------------------------------------------------------


def extension(tree: Path, name: str = "processor/core/codes") -> Path:
    return tree / f"{name}{SUFFIX}"


def edit(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "# one more\n", encoding="utf-8")


def stamped_anew(path: Path, tree: Path) -> None:
    """As if it had come out of the compiler as it is."""
    stamp = tree / "processor" / STAMP
    name = re.escape(str(path.relative_to(tree)))
    text = stamp.read_text(encoding="utf-8")
    stamp.write_text(re.sub(rf"\w+(?=  {name}\n)", fingerprint(path), text), encoding="utf-8")


def garbage_from_the_compiler(tree: Path) -> None:
    """As where it was built for a newer C library: it is whole, and can't be loaded."""
    library = extension(tree, LIBRARY)
    library.write_bytes(b"garbage")
    stamped_anew(library, tree)


def without_extensions(tree: Path) -> None:
    for path in tree.rglob(f"*{SUFFIX}"):
        path.unlink()


OLD = SUFFIX.replace(str(sys.version_info.minor), "9", 1)
"""Of a Python that is too old for us, as extensions of it are called."""

BREAKS: dict[str, tuple[Break, str]] = {
    "a source is edited": (lambda t: edit(t / FEW[0]), "codes.py has changed since"),
    "a source that it imports is edited": (
        lambda t: edit(t / "processor/errors.py"),
        "errors.py has changed since",
    ),
    "a source is missing": (lambda t: (t / FEW[0]).unlink(), "codes.py is missing"),
    "an extension is missing": (lambda t: extension(t).unlink(), f"codes{SUFFIX} is missing"),
    "all extensions are missing": (without_extensions, " is missing"),
    "the library is missing": (
        lambda t: extension(t, LIBRARY).unlink(),
        f"{LIBRARY}{SUFFIX} is missing",
    ),
    "an extension is garbage": (
        lambda t: extension(t).write_bytes(b"garbage"),
        f"codes{SUFFIX} has changed since",
    ),
    "the library can't be loaded": (garbage_from_the_compiler, f"{LIBRARY}{SUFFIX}"),
    "an extension is another's": (
        lambda t: shutil.copy(extension(t), extension(t, "processor/core/collapse")),
        f"collapse{SUFFIX} has changed since",
    ),
    "an extension is of another Python": (
        lambda t: extension(t).rename(t / f"processor/core/codes{OLD}"),
        f"codes{OLD} is for another Python",
    ),
    "an extension is left over": (
        lambda t: shutil.copy(extension(t), extension(t, "processor/store/codec")),
        f"codec{SUFFIX} is left over",
    ),
    "there is no stamp": (lambda t: (t / "processor" / STAMP).unlink(), f"{STAMP} is missing"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", [("--version",), ("run", "--once")])
@pytest.mark.parametrize("case", BREAKS)
def test_a_mixture_is_refused_in_one_line_that_says_what_to_do(
    tree: Path, case: str, command: tuple[str, ...]
) -> None:
    break_it, said = BREAKS[case]
    break_it(tree)
    done = processor(tree, *command)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("processor: the compiled modules cannot be used: ")
    assert line.endswith(REMEDY)
    assert said in line


@pytest.mark.slow
def test_a_library_of_another_checkout_is_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copy(extension(tree, LIBRARY), tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import processor"
    done = run(sys.executable, "-P", "-c", code, cwd=tmp_path, PYTHONPATH=str(tree))
    assert done.returncode == 2
    assert f"{tmp_path / LIBRARY}{SUFFIX} is found before this package's own" in done.stderr


@pytest.mark.slow
def test_where_there_is_no_makefile_the_remedy_is_to_install_it_again(tree: Path) -> None:
    (tree / "Makefile").unlink()
    edit(tree / FEW[0])
    assert processor(tree, "--version").stderr.endswith(": install the package again\n")


@pytest.mark.slow
def test_a_program_that_imports_the_package_can_catch_the_refusal(tree: Path) -> None:
    edit(tree / FEW[0])
    code = "try: import processor.core.codes\nexcept ImportError as e: print(e)\n1 / 0"
    done = run(sys.executable, "-c", code, cwd=tree)
    assert "codes.py has changed since" in done.stdout
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ZeroDivisionError")


# -- building ----------------------------------------------------------------------------------


def hatchling(tree: Path, target: str, to: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "hatchling", "build", "-t", target, "-d", to)
    return run(*command, cwd=tree, **env)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize(
    ("has", "said"),
    [
        (("cc", "Python.h"), None),
        (("Python.h",), "the C compiler cc is not on the PATH"),
        (("cc",), "Python.h is missing"),
    ],
)
def test_what_a_compilation_lacks_is_named(
    tmp_path: Path, has: tuple[str, ...], said: str | None
) -> None:
    for name in has:
        (tmp_path / name).touch(mode=0o755)
    missing = what_is_missing("cc -pthread", tmp_path, path=str(tmp_path))
    assert missing is None if said is None else said in str(missing)


def test_without_a_compiler_a_wheel_is_refused_and_it_is_said_how_to_do_without(
    plain: Path, tmp_path: Path
) -> None:
    done = hatchling(plain, "wheel", tmp_path, PATH="", CC="cc")
    assert done.returncode != 0
    assert not list(tmp_path.glob("*.whl"))
    assert "the C compiler cc is not on the PATH" in done.stderr
    assert "apt-get install gcc" in done.stderr
    assert "SMS_PROCESSOR_PLAIN=1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_compiler_that_fails_leaves_a_checkout_as_it_was(tree: Path) -> None:
    edit(tree / FEW[0])
    before = processor(tree, "--version").stderr
    failing = shutil.which("false")
    assert failing
    done = run(sys.executable, "hatch_build.py", "compile", cwd=tree, CC=failing)
    assert done.returncode != 0
    assert "SMS_PROCESSOR_PLAIN=1" in done.stderr
    assert "Traceback" not in done.stderr
    assert processor(tree, "--version").stderr == before


@pytest.mark.slow
def test_a_plain_wheel_takes_nothing_that_was_compiled_in_place(
    compiled: Path, tmp_path: Path
) -> None:
    done = hatchling(compiled, "wheel", tmp_path, PATH="", SMS_PROCESSOR_PLAIN="1")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*-py3-none-any.whl")
    names = names_in(wheel)
    assert FEW[0] in names
    assert [name for name in names if name.endswith((".so", STAMP))] == []


def test_an_editable_installation_needs_no_compiler(plain: Path, tmp_path: Path) -> None:
    done = hatchling(plain, "wheel:editable", tmp_path, PATH="")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*-py3-none-any.whl")
    assert not any(name.endswith(".so") for name in names_in(wheel))


# -- from the source to a machine without a compiler ---------------------------------------------


def new_environment(folder: Path, lock: str) -> Path:
    """Its Python, with what the lock says and nothing else."""
    made = run(sys.executable, "-m", "venv", folder, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    install = ("install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r")
    done = run(folder / "bin" / "pip", *install, ROOT / "requirements" / lock, cwd=folder)
    if done.returncode != 0:
        do_without(f"pip could not install {lock}: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_from_the_source_archive_is_compiled_and_runs_where_there_is_no_compiler(
    tmp_path: Path,
) -> None:
    if (missing := what_is_missing()) is not None:
        do_without(missing)
    assert hatchling(ROOT, "sdist", tmp_path).returncode == 0
    (archive,) = tmp_path.glob("*.tar.gz")
    build = (new_environment(tmp_path / "build", "build.txt"), "-m", "pip", "wheel", "--no-deps")
    built = run(*build, "--no-build-isolation", "-w", tmp_path, archive, cwd=tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.stem.split("-")[2:4] == [python, python]
    assert wheel.stem.split("-")[4] != "any"
    names = names_in(wheel)
    for module in modules_of(ROOT / "pyproject.toml"):
        assert {module, module.removesuffix(".py") + SUFFIX} <= names

    installed = new_environment(tmp_path / "installed", "runtime.txt")
    done = run(installed, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    program, path = installed.with_name("processor"), str(installed.parent)
    assert run(program, "--version", cwd=tmp_path, PATH=path).stdout == f"{ABOUT} (compiled)\n"
    demo = (program, "demo", "--json", "--messages", "200", "--seed", "1")
    shown = run(*demo, cwd=tmp_path, PATH=path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
