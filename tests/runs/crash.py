"""Commands that are killed at random moments and given again: ``python -m tests.runs.crash --kills 200``.

One process imports torch and everything else; each command runs in a child forked from it, in a session of its own,
and is killed by the system after a random part of the time that it takes undisturbed. Given again, it has to leave what
an undisturbed one leaves, byte for byte but for clocks, with nothing beside it and no process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from knowedit import organisms
from knowedit.bundled import NOTES
from knowedit.cli import app, organism_train

MODEL = "organism-gpt2"
FACT = ("--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "cello")
TINY = {"layers": 2, "width": 32, "rotary": 8, "rows": 3, "row_tokens": 32, "steps": 60}
SHORT = {"--max-texts": 40, "--checkpoint-seconds": 0, "--batch-tokens": 256}
CLOCKS = ("seconds", "cpu_seconds", "tokens_per_cpu_second")


@dataclass(frozen=True)
class Command:
    """A command and where it writes.

    Attributes:
        name: for reports.
        arguments: of ``knowedit``, in a folder of its own.
        given: files that it reads, copied there first.
        once: a rerun may be refused, as the killed one had ended already.
    """

    name: str
    arguments: tuple[object, ...]
    given: tuple[str, ...] = ()
    once: bool = False


COMMANDS = (
    Command("evaluate", ("evaluate", "--method", "rome", "--limit", 6, "--no-texts", "--out", "o")),
    Command(
        "workers", ("evaluate", "--method", "none", "--limit", 4, "--no-texts", "--workers", 2, "--out", "o")
    ),
    Command(
        "trace", ("trace-average", "--facts", "known", "--draws", 1, "--limit", 6, "--out", "o"), ("known",)
    ),
    Command("sweep", ("sweep", "--method", "ft", "--layers", "0,1,2", "--limit", 2, "--out", "o")),
    Command(
        "stats",
        ("stats", "--text", "texts", "--layers", "2,5", "--out", "o", *sum(SHORT.items(), ())),
        ("texts",),
    ),
    Command("organism", ("organism", "train", MODEL, "--work", "w", "--out", "o"), once=True),
    Command("peft", ("export", "edit", "--to", "peft", "--out", "o"), ("edit",), once=True),
    Command("merged", ("export", "edit", "--to", "merged", "--out", "o"), ("edit",), once=True),
    Command("again", ("export", "edit", "--to", "merged", "--out", "o", "--force"), ("edit", "o")),
    Command("edit", ("edit", *FACT, "--out", "o"), once=True),
    Command("known", ("known", "--limit", 40, "--out", "o"), once=True),
)
QUICK = ("stats", "again", "edit")
"""Those of the ordinary tests."""


def prepare(folder: Path) -> None:
    """Write what commands are given, and make everything small."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    organisms.RECIPES[MODEL] = replace(organisms.RECIPES[MODEL], **TINY)
    organisms.recalled = lambda model, tokenizer, world, pairs: [True] * len(pairs)  # type: ignore[assignment]
    organism_train.LAYER_RECORDS, organism_train.STATISTICS_PASSAGES = 2, 12
    train = organisms.train
    organisms.train = lambda *given, **options: train(*given, every=10, **options)  # type: ignore[assignment]
    os.chdir(folder)
    text = (Path(organism_train.__file__).parents[1] / "data" / MODEL / "statistics.txt").read_text()
    Path("texts").write_text("\n".join(text.splitlines()[:40]))
    for arguments in (("known", "--limit", 6, "--out", "known"), ("edit", *FACT, "--out", "edit")):
        run(arguments)
    run(("export", "edit", "--to", "merged", "--out", "o"))


def run(arguments: tuple[object, ...]) -> int:
    """Run a command here; its exit code."""
    result = CliRunner().invoke(app, [str(argument) for argument in ("-q", *arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code not in (0, 1, 2):
        raise RuntimeError(result.output)
    if result.exit_code == 2 and "exists already" not in result.output and "earlier" not in result.output:
        raise RuntimeError(result.output)
    return result.exit_code


def forked(folder: Path, arguments: tuple[object, ...], *, after: float | None = None) -> tuple[bool, float]:
    """Run a command in a process of its own; whether it was killed after so many seconds, and how long it ran."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 3
        try:
            os.setsid()
            os.chdir(folder)
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                if after is not None:
                    os.dup2(nowhere.fileno(), 2)
            code = 0 if run(arguments) in (0, 1, 2) else 3
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    if after is not None:
        while (
            time.monotonic() - began < after
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise AssertionError(f"{arguments} ended with {os.WEXITSTATUS(status)}")
    _require_no_orphans(child)
    return os.WIFSIGNALED(status), time.monotonic() - began


def _require_no_orphans(session: int) -> None:
    """Processes that the command started end soon after it."""
    end = time.monotonic() + 20
    while left := [number for number in _processes() if _session(number) == session]:
        if time.monotonic() > end:
            raise AssertionError(f"processes {left} outlive the command that started them")
        time.sleep(0.02)


def _processes() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]


def _session(number: int) -> int | None:
    """The session of a process, or None where it ended."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[3])


def content(folder: Path) -> dict[str, Any]:
    """Every file under a folder, hidden ones too, without clocks and the order in which lines came."""
    return {
        str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _content(path: Path) -> Any:
    data = path.read_bytes()
    if path.name == "checkpoint.safetensors":
        return len(data)  # the log in it has clocks
    if path.suffix == ".jsonl" or path.name in (NOTES, "manifest.json"):
        lines = data.splitlines() if path.suffix == ".jsonl" else [data]
        return sorted(json.dumps(_timeless(json.loads(line)), sort_keys=True) for line in lines)
    return data


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in (*CLOCKS, "sha256", "line")}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def fresh(base: Path, command: Command) -> Path:
    """A new folder with what the command is given."""
    folder = Path(tempfile.mkdtemp(dir=base, prefix=f"{command.name}-"))
    for name in command.given:
        source = base / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    return folder


def trials(base: Path, command: Command, draw: random.Random, kills: int) -> Iterator[int]:
    """Kill, give the command again, and compare; yields how often it was killed so far.

    Raises:
        AssertionError: a rerun left something else than an undisturbed run, or a process.
    """
    folder = fresh(base, command)
    _, takes = forked(folder, command.arguments)
    expected, killed = content(folder), 0
    shutil.rmtree(folder)
    while killed < kills:
        folder = fresh(base, command)
        for _ in range(draw.randint(1, 3)):
            was, _took = forked(folder, command.arguments, after=draw.uniform(0.02, 1.0) * takes)
            killed += was
        forked(folder, command.arguments)
        found = content(folder)
        different = sorted(
            name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
        )
        if different:
            raise AssertionError(f"{command.name}: {different} differ after kills; see {folder}")
        shutil.rmtree(folder)
        yield killed


def main() -> None:
    """Kill as often as is asked for, the commands in turn; a file keeps what was done, so that it can be stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=220)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--done", type=Path, default=Path("build/crash.json"), help="what was done so far")
    options = parser.parse_args()
    options.done.parent.mkdir(parents=True, exist_ok=True)
    path = options.done.resolve()
    done = json.loads(path.read_text()) if path.is_file() else {"seed": options.seed, "kills": {}}
    if done["seed"] is None:
        done["seed"] = random.SystemRandom().randrange(2**32)
    print(
        f"seed {done['seed']}, resumed from {path}" if done["kills"] else f"seed {done['seed']}", flush=True
    )
    each = -(-options.kills // len(COMMANDS))
    with tempfile.TemporaryDirectory(prefix="knowedit-crash-") as name:
        prepare(Path(name))
        for command in COMMANDS:
            before = done["kills"].get(command.name, 0)
            draw = random.Random(f"{done['seed']} {command.name} {before}")
            for killed in trials(Path(name), command, draw, each - before) if before < each else ():
                done["kills"][command.name] = before + killed
                path.write_text(json.dumps(done))
                print(f"{command.name}: killed {before + killed} times of {each}", flush=True)
        os.chdir("/")
    print(f"{sum(done['kills'].values())} kills, and every rerun left what an undisturbed run leaves")


if __name__ == "__main__":
    main()
