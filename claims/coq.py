"""Compile the proofs in ``claims/proofs`` and ask Coq what each theorem rests on: ``python -m claims.coq``.

Only the standard library: `nox -s proofs` runs this without an environment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("proofs")
FILES = (
    "norm",
    "moment",
    "objective",
    "insertion",
    "batch",
    "block_system",
    "sequence",
    "hypotheses",
)
"""In the order of their imports, which is the order to read them in."""

INSTALL = "apt-get install --no-install-recommends coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra"
SECONDS, KILOBYTES = 120, 6_000_000
"""For each file. A rewrite that loops ends at one or the other."""
CLOSED = "Closed under the global context"
GAPS = re.compile(
    r"\b(Admitted|admit|Axioms?|Parameters?|Conjecture|Abort|Unset Guard Checking|bypass_check)\b"
)


class Absent(Exception):
    """There is no Coq here; the message says how to install it."""


class Unproved(Exception):
    """A file does not compile, or a theorem rests on something that is not proved."""


@dataclass(frozen=True)
class Checked:
    """What a compilation showed.

    Attributes:
        theorems: file and name of each, such as ``insertion.v: eqn13_feasible``; all rest on no axiom.
        seconds: of the whole check.
    """

    theorems: tuple[str, ...]
    seconds: float


def theorems(text: str) -> list[str]:
    """The names of all theorems of a file. Its lemmas are steps and have no claim of their own."""
    return re.findall(r"^Theorem (\w+)", without_comments(text), re.MULTILINE)


def without_comments(text: str) -> str:
    """The code of a file, with nested comments left out."""
    while (shorter := re.sub(r"\(\*(?:(?!\(\*|\*\)).)*\*\)", " ", text, flags=re.DOTALL)) != text:
        text = shorter
    return text


def check(folder: Path = FOLDER) -> Checked:
    """Compile everything from the beginning, in a folder of its own.

    Raises:
        Absent: there is no ``coqc``.
        Unproved: an error of Coq, a gap, or an axiom; the message says where.
    """
    start = time.monotonic()
    require_coq()
    with tempfile.TemporaryDirectory() as scratch:
        found = [f"{file}.v: {name}" for file in FILES for name in compiled(file, folder, Path(scratch))]
        _audit(found, Path(scratch))
    return Checked(tuple(found), time.monotonic() - start)


def require_coq() -> None:
    """Raise `Absent` where there is no Coq."""
    if shutil.which("coqc") is None:
        raise Absent(f"there is no coqc: {INSTALL}")


def compiled(file: str, folder: Path, scratch: Path) -> list[str]:
    """Compile one file, whose imports are compiled in ``scratch`` already; the names of its theorems."""
    text = (folder / f"{file}.v").read_text(encoding="utf-8")
    if gap := GAPS.search(without_comments(text)):
        raise Unproved(f"{file}.v has a gap: {gap[0]}")
    (scratch / f"{file}.v").write_text(text, encoding="utf-8")
    coqc(file, scratch)
    return theorems(text)


def coqc(file: str, scratch: Path) -> str:
    """What Coq prints when it compiles the file.

    Raises:
        Unproved: with Coq's words, which begin with the place.
    """
    options = f"-w -notation-overridden,-ambiguous-paths -Q . Rome {file}.v"
    command = ["bash", "-c", f"ulimit -v {KILOBYTES}; exec coqc {options}"]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unproved(f"{file}.v takes more than {SECONDS} s") from None
    if done.returncode:
        raise Unproved((done.stderr or done.stdout).strip() or f"{file}.v: coqc ended with {done.returncode}")
    return done.stdout


def _audit(found: list[str], scratch: Path) -> None:
    names = [name.partition(".v: ") for name in found]
    lines = [f"From Rome Require {' '.join(FILES)}."]
    lines += [f"Print Assumptions {file}.{name}." for file, _, name in names]
    (scratch / "audit.v").write_text("\n".join(lines) + "\n", encoding="utf-8")
    printed = coqc("audit", scratch)
    if not found or printed.split() != (CLOSED.split() * len(found)):
        raise Unproved(f"a theorem rests on an axiom:\n{printed}")


def main() -> int:
    """Print every theorem with its assumptions; 0 also where there is no Coq, because nothing is wrong then."""
    try:
        found = check()
    except Absent as missing:
        print(f"NOT MEASURED: {missing}")
        return 0
    except Unproved as error:
        print(f"NOT PROVED: {error}")
        return 1
    for name in found.theorems:
        print(f"{name}: {CLOSED}")
    print(f"{len(found.theorems)} of {len(found.theorems)} statements proved, in {found.seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
