"""``python -m tests.fuzz --count 10000``: damage files, read them, and keep every file that is not read or refused.

``python -m tests.fuzz --read KIND FILE`` reads one again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.kinds import KINDS, Lab
from tests.fuzz.run import Found, Worker, found_in


def main() -> int:
    """The exit code: 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", action="append", help="a kind of file, by the start of its name")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="where what is found is kept")
    parser.add_argument("--read", nargs=2, metavar=("KIND", "FILE"))
    options = parser.parse_args()
    if options.read:
        return read(*options.read)
    kinds = [kind for kind in KINDS if not options.only or kind.name.startswith(tuple(options.only))]
    began, found, done = time.monotonic(), [], 0
    for _, one in found_in(options.seed, range(options.count), kinds, options.workers):
        if one is not None:
            found.append(one)
            continue
        done += 1
        if done % 100 == 0:
            print(
                f"{done:,} of {options.count:,} files, {len(found):,} found, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    report(found, options, kinds)
    print(f"{options.count:,} files of {len(kinds)} kinds, seed {options.seed}: {len(found):,} broke the law")
    return bool(found)


def report(found: list[Found], options: argparse.Namespace, kinds) -> None:
    """Print what was found by place, and keep the first file of each."""
    groups: dict[tuple[str, str, str], list[Found]] = {}
    for one in found:
        groups.setdefault((one.kind, one.what.partition(":")[0], one.where), []).append(one)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(Path(folder), options.seed, kinds)
        for (kind, what, where), some in sorted(groups.items()):
            place = options.keep / f"{options.seed}-{some[0].number}"
            shutil.rmtree(place, ignore_errors=True)
            _, path = worker.damaged(some[0].number)
            shutil.copytree(path.parent, place)
            (place / "traceback.txt").write_text(some[0].trace, "utf-8", "replace")
            print(f"{len(some):4} {kind}: {what} at {where}: {some[0].what}")
            print(f"     python -m tests.fuzz --read {kind!r} {place / path.name}")
    for kind, number in Counter(one.kind for one in found).most_common():
        print(f"{number:5} {kind}")


def read(name: str, file: str) -> int:
    """Read a file that was kept, without limits."""
    (kind,) = [kind for kind in KINDS if kind.name == name]
    with tempfile.TemporaryDirectory() as folder:
        kind.read(Path(file), Lab(Path(folder)))
    print("read without an error")
    return 0


if __name__ == "__main__":
    sys.exit(main())
