"""Every option of every command with values that it cannot use: exit code 2, one line, nothing written or started.

The commands and options are those of the app itself: one without a row here fails.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import transformers
import typer
from typer.testing import CliRunner

from knowedit.cli import app
from knowedit.cli.app import COMMANDS
from knowedit.runs.processes import Processes
from tests.evaluation.samples import nested

OLD = Path(__file__).parents[1] / "data" / "v0.1.0"
HUGE = "100000000000000000000"
DIGITS = "9" * 5_000
LONG = "x" * 300
SECONDS = 5.0
"""A refusal takes some hundredths of a second; the machine of a test may be busy."""

WRITE = ("--out", "new")
BASE: dict[str, tuple[str, ...]] = {
    "demo": (),
    "models": (),
    "models check": ("organism-gpt2",),
    "facts": (),
    "profiles": (),
    "edit": ("--subject", "Ann", "--prompt", "{} plays the", "--target-new", "cello", *WRITE),
    "inspect": ("edit",),
    "export": ("edit", "--to", "merged", *WRITE),
    "generate": ("--prompt", "A"),
    "stats": ("--layers", "1", "--text", "text", *WRITE),
    "known": ("--records", "records", *WRITE),
    "trace": ("{} plays the", "--subject", "Ann"),
    "trace-average": ("--facts", "known", *WRITE),
    "evaluate": ("--method", "rome", "--records", "records", "--no-texts", *WRITE),
    "sweep": ("--method", "ft", "--records", "records", *WRITE),
    "table": ("run",),
    "data check": ("records",),
    "data compile": ("--facts", "facts", "--templates", "templates", "--out", "new.json"),
    "organism info": ("organism-gpt2",),
    "organism train": ("organism-gpt2", "--work", "new", "--out", "newer"),
}
"""Each command as it would be run: a bad value takes the place of one of these, or is added."""

FLAG = ("=5",)
WHOLE = ("x", "1.5", "nan", "inf", "", "-1", HUGE, DIGITS)
COUNT = ("0", *WHOLE)
NUMBER = ("x", "nan", "inf", "-inf", "", "-1", "0", "1e400", DIGITS)
NAME = ("nonsense", "", LONG, "\x1b[31m", "\u202e", "a\nb")
FILE = ("missing", "", "folder", LONG, "no/such/file", "text")
TARGET = ("", LONG, "no/such/folder/file", "folder", "text", "text/file")
RUN = ("", LONG, "text", "text/run", "folder", "other", ".")
PICTURE = (*TARGET, "new", "new.gif", "folder/x.exe")

SHARED: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "--json": FLAG,
    "--force": FLAG,
    "--seed": WHOLE,
    "--limit": COUNT,
    "--workers": COUNT,
    "--draws": COUNT,
    "--layer": ("x", "1.5", "nan", "", "-1", HUGE),
    "--layers": ("x", "", "1.5", "-1", "3-1", "1-", ",", "0-99999999999", HUGE, DIGITS, "nan"),
    "--model": ("nonsense", "", LONG, "folder", "text", "\x1b[31m"),
    "--device": ("nonsense", "", "cuda:99", "a\nb"),
    "--dtype": ("nonsense", "", "int8"),
    "--method": NAME,
    "--profile": NAME,
    "--bound": ("0.1", *(("--method", "ft+l", "--bound", number) for number in NUMBER)),
    "--learning-rate": tuple(("--method", "ft", "--learning-rate", number) for number in NUMBER),
    "--statistics": FILE[:-1],
    "--set": (
        "x",
        "",
        ("--set", "=1"),
        "x=1",
        "max_steps={}",
        "max_steps=x",
        f"max_steps={DIGITS}",
        "layer=NaN",
    ),
    "--edit": FILE,
    "--records": (*FILE, "empty"),
    "--figure": PICTURE,
    "--window": ("x", "", "0", "-1", "1.5", "1,2,3", ",", "nan", HUGE, DIGITS),
    "--sever": NAME,
    "--noise": (*NUMBER, "1e20", ("--relative-noise", "3", "--noise", "1")),
    "--relative-noise": (*NUMBER, "1e20", ("--noise", "3", "--substitute", "Bob")),
}
"""The values of an option that means the same everywhere; a tuple of several is added as it is."""

OWN: dict[tuple[str, str], tuple[str | tuple[str, ...], ...]] = {
    ("demo", "--model"): NAME,
    ("facts", "--model"): NAME,
    ("profiles", "first"): ("nonsense", "", ("paper", "paper")),
    ("profiles", "second"): (("paper", "nonsense"), ("paper", ""), ("paper", "released-2022-10", "paper")),
    ("edit", "--subject"): ("", " "),
    ("edit", "--prompt"): ("", "no slot", "{} and {}", "{} plays {a}"),
    ("edit", "--target-new"): ("", " "),
    ("edit", "--out"): TARGET,
    ("inspect", "files"): (*FILE, "."),
    ("inspect", "--device"): tuple(
        ("--model", "organism-gpt2", "--device", place) for place in ("nonsense", "")
    ),
    ("inspect", "--dtype"): tuple(
        ("--model", "organism-gpt2", "--dtype", name) for name in ("nonsense", "int8")
    ),
    ("export", "files"): (*FILE, "."),
    ("export", "--to"): NAME,
    ("export", "--out"): ("", LONG, "text", "text/new", "other"),
    ("export", "--rank"): (*COUNT, "1"),
    ("generate", "--prompt"): ("",),
    ("generate", "--max-new-tokens"): COUNT,
    ("generate", "--top-k"): COUNT,
    ("stats", "--out"): RUN,
    ("stats", "--text"): ("missing", "", "folder", LONG, "nothing", ("--jsonl", "lines")),
    ("stats", "--jsonl"): ("missing", "", "folder", LONG, "text"),
    ("stats", "--dataset"): ("missing", "", "folder"),
    ("stats", "--field"): ("", "none", ("--jsonl", "lines", "--field", "none")),
    ("stats", "--split"): ("", "none", ("--jsonl", "lines", "--split", "none")),
    ("stats", "--config"): ("", "none", ("--dataset", "lines.jsonl", "--config", "none")),
    ("stats", "--revision"): ("", "none", ("--dataset", "lines.jsonl", "--revision", "none")),
    ("stats", "--shuffle"): WHOLE,
    ("stats", "--part"): NAME,
    ("stats", "--max-texts"): COUNT,
    ("stats", "--max-tokens"): COUNT,
    ("stats", "--context"): COUNT,
    ("stats", "--split-long"): FLAG,
    ("stats", "--batch-tokens"): (*COUNT, "1000001"),
    ("stats", "--checkpoint-seconds"): ("x", "nan", "inf", "", "-1", DIGITS),
    ("stats", "--install"): FLAG,
    ("known", "--out"): TARGET,
    ("trace", "prompt"): ("", "no slot", "{} and {}"),
    ("trace", "--subject"): ("", " "),
    ("trace", "--answer"): ("", " "),
    ("trace", "--part"): NAME,
    ("trace-average", "--relative-noise"): (*NUMBER, "1e20"),
    ("trace", "--substitute"): ("", " ", ("--substitute", "Bob", "--noise", "1")),
    ("trace", "--out"): (*TARGET, "new", "new.txt"),
    ("trace-average", "--out"): RUN,
    ("trace-average", "--facts"): (*FILE, "nothing"),
    ("trace-average", "--part"): (*NAME, "all"),
    ("evaluate", "--out"): RUN,
    ("evaluate", "--texts"): FLAG,
    ("evaluate", "--keep-texts"): FLAG,
    ("evaluate", "--tfidf"): tuple(("--texts", "--tfidf", file) for file in FILE),
    ("evaluate", "--retry"): FLAG,
    ("evaluate", "--ray"): ("", "nonsense"),
    ("sweep", "--method"): (*NAME, "none"),
    ("sweep", "--out"): RUN,
    ("sweep", "--bounds"): ("x", "", "0", "-1", "nan", "inf", "1,", "1e400"),
    ("sweep", "--rates"): ("x", "", "0", "-1", "nan", "inf", "1,", "1e400"),
    ("sweep", "--vary"): (
        "x",
        "",
        "=1",
        "none=1",
        "max_steps=1,1",
        "max_steps=x",
        "max_steps={}",
        "max_steps=NaN",
    ),
    ("sweep", "--keep"): FLAG,
    ("table", "runs"): ("missing", "", "folder", "text", LONG, "other", ("run", "run")),
    ("table", "--out"): (*TARGET, "new", "new.txt", ("--out", "a.csv", "--out", "a.csv")),
    ("table", "--distributions"): (*PICTURE, ("--figure", "a.svg", "--distributions", "a.svg")),
    ("table", "--paper"): (*NAME, ("--paper", "gpt-j", "--paper", "gpt-j")),
    ("data check", "file"): (*FILE[:-1],),
    ("data check", "--official"): (*FLAG, ("--official",)),
    ("data compile", "--facts"): (*FILE, "nothing"),
    ("data compile", "--templates"): FILE,
    ("data compile", "--out"): TARGET,
    ("data compile", "--generation"): FILE,
    ("data compile", "--paraphrases"): COUNT,
    ("data compile", "--neighbors"): COUNT,
    ("organism info", "name"): NAME,
    ("models check", "model"): ("nonsense", "", LONG, "folder", "text", "\x1b[31m"),
    ("organism train", "name"): NAME,
    ("organism train", "--work"): ("", LONG, "text", "text/run"),
    ("organism train", "--out"): ("", LONG, "text", "text/run"),
    ("organism train", "--threads"): (*COUNT, "100000"),
}
"""Those of the others, and of one that means something else in this command."""


WORDS = {
    "--noise": "ν",
    "--relative-noise": "factor of the noise",
    "--layer": "layer",
    "--ray": "Ray",
    "--records": "record",
    "--bound": "ε",
    "--config": "configuration",
    "--out": "folder",
    "--method": "no editor",
    "--dtype": "floating point format",
    "--field": "none",
    "first": "profile",
    "second": "profile",
    "name": "bundled model",
    "runs": "two runs",
    "--paper": "(paper)",
}
"""What a refusal calls an option that it does not name."""


class Began(BaseException):
    """A command began to work; no error that opening a model could be told by."""


def began(*_: object, **__: object) -> None:
    raise Began


def options() -> list[tuple[str, str]]:
    """Every command with each of its options by its longest name, and its arguments."""
    group = typer.main.get_command(app)
    found = []
    for path in COMMANDS:
        command, context, words = group, None, path.split()
        while words:  # "data check" is a command of a group, "models check" one of the program with two words
            context = command.make_context("knowedit", [*words], resilient_parsing=True, parent=context)
            _, command, words = command.resolve_command(context, words)
        params = [param for param in command.params if param.name not in ("quiet", "verbose")]
        found += [(path, max(param.opts, key=len)) for param in params]
    return found


GIVES_WAY = {"--text": ("--jsonl", "--dataset")}
"""An option of the base that goes where one of others is given."""


def line_with(path: str, option: str, bad: str | tuple[str, ...]) -> list[str]:
    """The command line of a row."""
    base = list(BASE[path])
    for there, others in GIVES_WAY.items():
        given = (option, *bad) if isinstance(bad, tuple) and option != there else (option,)
        if there in base and set(others) & set(given):
            del base[base.index(there) : base.index(there) + 2]
    if isinstance(bad, str) and bad.startswith("="):
        bad = (option + bad,)
    if isinstance(bad, tuple):
        clashing = [at for at, word in enumerate(base) if word in bad and word.startswith("--")]
        for at in reversed(clashing):
            del base[at : at + 2]
        if not option.startswith("-") and not any(word.startswith("-") for word in bad):
            base = base[1:]
        return [*path.split(), *base, *bad]
    if not option.startswith("-"):
        return [*path.split(), bad, *base[1:]]
    if option in base:
        del base[base.index(option) : base.index(option) + 2]
    return [*path.split(), *base, option, bad]


ROWS = [
    (path, option, bad)
    for path, option in options()
    for bad in OWN.get((path, option), SHARED.get(option, ()))
]


def test_every_option_has_a_row():
    rows = {(path, option) for path, option, _ in ROWS}
    assert [pair for pair in options() if pair not in rows] == []
    assert set(OWN) <= rows
    assert set(BASE) == set(COMMANDS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the commands read, in a folder that no refusal changes."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(OLD / "rome.safetensors", folder / "edit")
    shutil.copytree(OLD / "run-rome", folder / "run")
    (folder / "folder").mkdir()
    (folder / "folder" / "mine").write_text("mine")
    (folder / "other").mkdir()
    (folder / "other" / "records.jsonl").write_text('{"mine": 1}\n')
    (folder / "records").write_text(json.dumps([nested(number) for number in range(3)]))
    known = {"known_id": 0, "subject": "Ann", "attribute": "cello", "template": "{} plays the"}
    known |= {"prompt": "Ann plays the", "prediction": " cello"}
    (folder / "known").write_text(json.dumps([known]))
    (folder / "empty").write_text("[]")
    (folder / "nothing").write_text("")
    (folder / "text").write_text("one text\n")
    (folder / "lines").write_text('{"text": "one"}\n')
    (folder / "lines.jsonl").write_text('{"text": "one"}\n')
    (folder / "facts").write_text('{"subject": "Ann", "relation": "plays", "object": "cello"}\n')
    (folder / "templates").write_text('{"plays": ["[X] plays [Y]."]}')
    return folder


@pytest.fixture
def called(files, monkeypatch):
    """Calls a command in that folder, where no model is opened, no process started and nothing trained."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", began)
    monkeypatch.setattr(Processes, "start", began)
    monkeypatch.setattr("knowedit.organisms.train", began)
    return lambda line: CliRunner().invoke(app, line)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, and what is in it."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def speaks_of(line: str, option: str, bad: str | tuple[str, ...]) -> bool:
    """Whether a refusal is about the bad value and not about something else."""
    words = [option, option.upper(), option.strip("-").replace("-", " "), WORDS.get(option, option)]
    for value in [bad] if isinstance(bad, str) else bad:
        name, sign, rest = value.partition("=")
        words += [repr(value), repr(value)[1:-1], value.split("/")[0], *((name, rest) if sign else ())]
    return any(word in line for word in words if word)


@pytest.mark.parametrize("path", BASE)
def test_without_a_bad_value_it_would_work(called, files, tmp_path, monkeypatch, path):
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "files"))
    try:
        result = called([*path.split(), *BASE[path]])
    except Began:
        return
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("path", "option", "bad"), ROWS, ids=[" ".join(map(repr, row))[:80] for row in ROWS])
def test_a_bad_value_is_refused_in_one_line_and_nothing_is_written(called, files, path, option, bad):
    before, start = contents(files), time.monotonic()
    result = called(line_with(path, option, bad))
    seconds = time.monotonic() - start
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert lines[0].isprintable()
    assert speaks_of(lines[0], option, bad)
    assert contents(files) == before
    assert seconds < SECONDS
