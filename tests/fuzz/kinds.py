"""Every kind of file that the package reads: a small whole one, and what is called to read and use it."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import knowedit
from claims.record import load_record
from knowedit.bundled import NOTES
from knowedit.cli.inspect import described
from knowedit.editing import Corpus, Edit, FineTuning, Reading, StatisticsRun, load_second_moment, text_file
from knowedit.editing.edits.provenance import Diagnostics, Provenance
from knowedit.editing.edits.updates import Dense
from knowedit.editing.fine_tuning.known_settings import known_settings
from knowedit.editing.rome.key_statistics import KeyStatistics
from knowedit.editing.statistics.second_moments import moment_path, save_second_moment, second_moment
from knowedit.evaluation import evaluate, load_records, read_sweep
from knowedit.evaluation.records.compiler import compile_records, read_facts, read_templates
from knowedit.evaluation.records.counts import Table1, check_records
from knowedit.evaluation.records.record import Record
from knowedit.evaluation.runs.run import read_run
from knowedit.evaluation.runs.sweep_points import KIND as SWEEP
from knowedit.evaluation.runs.sweep_points import LINES, SCHEMA, TITLE, SweepPoint
from knowedit.evaluation.runs.tables import make_table, run_row
from knowedit.evaluation.scores.tfidf import TfIdf
from knowedit.facts import Fact
from knowedit.linalg import LowRank, SecondMoment
from knowedit.models import LanguageModel
from knowedit.runs import RunFolder
from knowedit.tracing import AverageTrace, KnownFact, Trace, TraceRun, TraceSettings, load_known_facts
from tests.conftest import TEXTS, make_model, make_tokenizer
from tests.evaluation.samples import COMPACT, FLAT, NESTED, nested

FACT = Fact("Marie Curie", "{} was born in", "Paris", "Warsaw")
KNOWN = (
    KnownFact("Marie Curie was born in", "Marie Curie", "Warsaw"),
    KnownFact("Miles Davis plays the", "Miles Davis", "trumpet"),
)
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 8, "n_positions": 32, "vocab_size": 300}
OLD = Path(__file__).parents[1] / "data" / "v0.1.0"


class Lab:
    """A tiny model with its folder, shared by all readers.

    Args:
        folder: where the model is saved; empty.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "model"
        model, tokenizer = make_model("gpt2", **SIZES), make_tokenizer(size=300)
        model.save_pretrained(self.folder)
        tokenizer.save_pretrained(self.folder)
        notes = {"edit_layer": 1, "statistics_text": "texts.txt", "recall": {"trained": 1.0, "held_out": 0.5}}
        notes |= {
            "recipe": {"family": "gpt2", "layers": 2},
            "fine_tuning": {"FT": {"layer": 1, "bound": None}},
        }
        (self.folder / NOTES).write_text(json.dumps(notes))
        (self.folder / "texts.txt").write_text("\n".join(TEXTS))

    @cached_property
    def lm(self) -> LanguageModel:
        """Opened once in each process."""
        torch.set_num_threads(1)
        return knowedit.load(self.folder)


Make = Callable[[Path, Lab], Path]
Read = Callable[[Path, Lab], object]


def _beside(make: Make, name: str) -> Make:
    """The same folder, of which another file is damaged."""
    return lambda folder, lab: make(folder, lab).with_name(name)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: for reports.
        form: of `mutators.FORMS`.
        make: writes a whole one into an empty folder, with what belongs to it; the file that is damaged.
        read: reads that file as a user would, and uses what was read.
        share: how often it is drawn, relative to others.
    """

    name: str
    form: str
    make: Make
    read: Read
    share: float = 1.0


# Edits


def _make_edit(folder: Path, lab: Lab) -> Path:
    torch.manual_seed(0)
    updates = {
        (1, "mlp_down"): LowRank(torch.randn(8, 1), torch.randn(32, 1), torch.float32),
        (0, "mlp_up"): Dense(torch.randn(32, 8), torch.float32),
        (0, "mlp_up", "bias"): Dense(torch.randn(32), torch.float32),
    }
    made = Provenance.of(FineTuning.ft(layer=1), lab.lm, [FACT], seed=1, prefixes=["The "])
    diagnostics = Diagnostics(residual=0.1, divisor=2.0, relative_change=0.1, probability=0.9, steps=3)
    edit = Edit.computed(lab.lm, updates, provenance=made, diagnostics=diagnostics)
    edit.save(folder / "edit.safetensors")
    return folder / "edit.safetensors"


def _inspect(path: Path, _: Lab) -> Edit:
    edit = Edit.load(path)
    json.dumps(described(edit))
    repr(edit)
    edit._repr_html_()
    Edit.combined([edit])
    edit.save(path.with_name("again.safetensors"))
    return edit


def _read_edit(path: Path, lab: Lab) -> None:
    edit = _inspect(path, lab)
    with edit.applied(lab.lm, check="edited"):
        pass


def _old(name: str) -> Make:
    return lambda folder, _: Path(shutil.copy(OLD / name, folder))


# Traces


def _make_trace(folder: Path, lab: Lab) -> Path:
    trace = KNOWN[0].trace(lab.lm, TraceSettings(draws=2))
    trace.save(folder / "trace.safetensors")
    return folder / "trace.safetensors"


def _read_trace(path: Path, _: Lab) -> None:
    trace = Trace.load(path)
    repr(trace)
    trace._repr_html_()
    repr((trace.spread.tolist(), trace.indirect_effects.tolist(), trace.total_effect))
    json.dumps(trace.settings.to_json())
    trace.save(path.with_name("again.safetensors"))
    knowedit.tracing.average([trace])


def _make_traces(folder: Path, lab: Lab) -> Path:
    TraceRun(folder, lab.lm, KNOWN, TraceSettings(draws=2)).run()
    return folder / "average.safetensors"


def _read_average(path: Path, _: Lab) -> None:
    found = AverageTrace.load(path)
    repr(found)
    found._repr_html_()
    for role in found.roles:
        found.peak(role)
    found.indirect_effects.tolist()
    found.save(path.with_name("again.safetensors"))


def _read_traces(path: Path, lab: Lab) -> None:
    run = TraceRun(path.parent, lab.lm, KNOWN, TraceSettings(draws=2))
    for summary in run.summaries:
        json.dumps(None if summary is None else summary.to_json())
    run.failures.items()
    run.run()


# Statistics


def _make_moment(folder: Path, lab: Lab) -> Path:
    generator = np.random.default_rng(0)
    moment = SecondMoment.zeros(32).update(generator.standard_normal((100, 32)))
    return save_second_moment(lab.lm, 1, moment, folder=folder)


def _read_moment(path: Path, lab: Lab) -> None:
    found, metadata = SecondMoment.load_with_metadata(path)
    repr(found)
    found.save(path.with_name("again.safetensors"), metadata=metadata)
    KeyStatistics.of(path, lab.lm, 1)


def _read_model_moment(path: Path, lab: Lab) -> None:
    second_moment(replace(lab.lm, folder=path.parent), 1)


def _make_npz(folder: Path, _: Lab) -> Path:
    keys = np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32)
    path = folder / "mom2.npz"
    np.savez(path, **{"mom2.mom2": keys.T @ keys, "mom2.count": np.array(100), "sample_size": 100})
    return path


def _read_npz(path: Path, lab: Lab) -> None:
    SecondMoment.from_npz(path).factorise()


def _read_npz_of_model(path: Path, lab: Lab) -> None:
    load_second_moment(path, lab.lm, 1)


class _Stop(BaseException):
    pass


def _statistics(folder: Path) -> StatisticsRun:
    texts = [f"Paris number {n} is a city. {'Marie ' * (n % 5)}" for n in range(24)]
    reading = Reading(batch_tokens=32, block=2)
    return StatisticsRun(Corpus.of(texts), (1,), folder, reading=reading, checkpoint_seconds=0.0)


def _make_state(folder: Path, lab: Lab) -> Path:
    def stop(position: Any, _: int) -> None:
        if position.texts > 20:
            raise _Stop

    with suppress(_Stop):
        _statistics(folder).run(lab.lm, watch=stop)
    return folder / "state.safetensors"


def _read_state(path: Path, lab: Lab) -> None:
    _statistics(path.parent).run(lab.lm)


# Evaluations


def _make_run(folder: Path, lab: Lab) -> Path:
    fact = Fact("Marie Curie", "{} was born in", "Paris", "Warsaw")
    records = [
        Record(n, replace(fact, subject=subject), ("Paris is",), ("Warsaw is in",))
        for n, subject in enumerate(("Marie Curie", "Miles Davis", "Edmund Neupert"))
    ]
    evaluate(lab.lm, None, records, out=folder)
    return folder / "records.jsonl"


def _read_run(path: Path, _: Lab) -> None:
    run = read_run(path.parent)
    repr(run)
    run._repr_html_()
    repr((run.digest, run.missing))
    table = make_table([run_row(run)])
    repr((table.markdown(), table.csv()))


def _make_sweep(folder: Path, _: Lab) -> Path:
    columns = {"ES": (1.0, 0.0), "PS": (1.0, 0.5), "NS": (0.5, 0.5)}
    with RunFolder(folder, SWEEP, SCHEMA, TITLE, lines=LINES) as run:
        run.begin({"model": "m", "records": {"count": 2, "sha256": "0"}, "block": 1}, {"model": "tiny"})
        for layer in (0, 1, 2):
            asked = {"layer": layer, "bound": 1e-3, "version": 1}
            point = SweepPoint("FT+L", {"layer": layer}, asked, asked, (0, 2), columns, {"1": "x"}, 0.5)
            run.append(point.to_json())
    return folder / LINES


def _read_sweep(path: Path, _: Lab) -> None:
    from knowedit.evaluation.runs.sweep_points import best

    _, points = read_sweep(path.parent)
    rows = [one.row() for one in points]
    for one in (*points, *rows):
        repr((one, str(one), one.score))
    repr([(row.layer, row.bound, row.learning_rate) for row in rows])
    SweepPoint.digest(points)
    best(rows, "FT+L")


def _make_tfidf(folder: Path, _: Lab) -> Path:
    TfIdf.fit(["Paris is a city", "Warsaw is in Poland"]).save(folder / "tfidf.safetensors")
    return folder / "tfidf.safetensors"


def _make_official(folder: Path, _: Lab) -> Path:
    found = TfIdf.fit(["Paris is a city", "Warsaw is in Poland"])
    np.save(folder / "idf.npy", found.idf)
    (folder / "tfidf_vocab.json").write_text(json.dumps({term: n for n, term in enumerate(found.terms)}))
    return folder / "idf.npy"


def _read_official(path: Path, _: Lab) -> None:
    found = TfIdf.from_official(path.parent / "idf.npy", path.parent / "tfidf_vocab.json")
    repr((found.similarity("Paris is", "Warsaw"), found.digest))


# Records and facts


def _texts(name: str, content: str) -> Make:
    def make(folder: Path, _: Lab) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return make


RECORDS = Path(__file__).parents[1] / "data" / "records"


def _packed(folder: Path, _: Lab) -> Path:
    (folder / "records.gz").write_bytes(gzip.compress((RECORDS / "mark.jsonl").read_bytes()))
    return folder / "records.gz"


def _json_lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _read_records(path: Path, _: Lab) -> None:
    problems = list(check_records(path, Table1()))
    assert all("\n" not in problem for problem in problems)
    for record in load_records(path):
        json.dumps(record.as_json())


def _read_facts(path: Path, _: Lab) -> None:
    from random import Random

    templates = {"plays": ["[X] plays [Y].", "[X] performs on [Y]", "[X] and the [Y]"]}
    compiled = compile_records(read_facts(path), templates, rng=Random(0), neighbors=1)
    json.dumps(compiled.manifest())


def _read_templates(path: Path, _: Lab) -> None:
    from random import Random

    compile_records([("a", "plays", "b"), ("c", "plays", "d")], read_templates(path), rng=Random(0))


def _known(path: Path, _: Lab) -> None:
    for fact in load_known_facts(path):
        fact.noise_seed(0)


def _read_texts(field: str | None) -> Read:
    return lambda path, _: [text.encode() for text in text_file(path, field).shuffled(0).read()]


# Models


def _model_file(name: str, content: Any = None) -> Make:
    def make(folder: Path, lab: Lab) -> Path:
        shutil.copytree(lab.folder, folder, dirs_exist_ok=True)
        if content is not None:
            (folder / name).write_text(json.dumps(content(folder)))
        return folder / name

    return make


def _index(folder: Path) -> Any:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as file:
        names = list(file.keys())
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    return {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "model-1.safetensors")}


def _read_model(path: Path, _: Lab) -> None:
    lm = knowedit.load(path.parent)
    repr((lm, lm.n_layers, lm.width, lm.max_tokens, lm.dtype))
    lm.generate(["Paris is"], 1)
    repr(knowedit.models.fingerprint(lm))


def _read_notes(path: Path, lab: Lab) -> None:
    from knowedit.editing import ROME
    from knowedit.errors import KnoweditError

    lm = replace(lab.lm, folder=path.parent)
    errors = []
    for use in (
        lambda: moment_path(lm.folder, 1) and second_moment(lm, 1),
        lambda: ROME.paper().prepared(lm),
        lambda: known_settings(lm, "FT"),
        lambda: FineTuning.ft().prepared(lm),
    ):
        try:
            use()
        except KnoweditError as error:
            errors.append(error)
    if errors:
        raise errors[0]


KINDS: tuple[Kind, ...] = (
    Kind("edit", "tensors", _make_edit, _read_edit, 3),
    Kind("edit of 0.1.0", "tensors", _old("rome.safetensors"), _inspect),
    Kind("trace", "tensors", _make_trace, _read_trace, 2),
    Kind("trace of 0.1.0", "tensors", _old("trace.safetensors"), _read_trace, 0.5),
    Kind("average", "tensors", _make_traces, _read_average, 2),
    Kind(
        "trace run: manifest",
        "manifest",
        _beside(_make_traces, "manifest.json"),
        _read_traces,
    ),
    Kind(
        "trace run: lines",
        "lines",
        _beside(_make_traces, "records.jsonl"),
        _read_traces,
    ),
    Kind("moment", "tensors", _make_moment, _read_moment, 2),
    Kind("moment of a model", "tensors", _make_moment, _read_model_moment, 0.5),
    Kind("npz", "npz", _make_npz, _read_npz),
    Kind("npz of a model", "npz", _make_npz, _read_npz_of_model),
    Kind(
        "statistics: manifest",
        "manifest",
        _beside(_make_state, "manifest.json"),
        _read_state,
        0.5,
    ),
    Kind("statistics: state", "tensors", _make_state, _read_state),
    Kind(
        "evaluation: manifest",
        "manifest",
        _beside(_make_run, "manifest.json"),
        _read_run,
    ),
    Kind("evaluation: lines", "lines", _make_run, _read_run, 2),
    Kind(
        "sweep: manifest",
        "manifest",
        _beside(_make_sweep, "manifest.json"),
        _read_sweep,
    ),
    Kind("sweep: lines", "lines", _make_sweep, _read_sweep, 2),
    Kind("tf-idf", "tensors", _make_tfidf, lambda path, _: TfIdf.load(path).similarity("Paris", "a city")),
    Kind("idf.npy", "npy", _make_official, _read_official),
    Kind(
        "tfidf_vocab.json",
        "json",
        _beside(_make_official, "tfidf_vocab.json"),
        _read_official,
    ),
    Kind("records: list", "json", _texts("records.json", json.dumps([NESTED, nested(8)])), _read_records, 2),
    Kind(
        "records: lines", "lines", _texts("records.jsonl", _json_lines(NESTED, nested(8))), _read_records, 2
    ),
    Kind("records: compact", "json", _texts("records.json", json.dumps([COMPACT])), _read_records),
    Kind("records: flat", "lines", _texts("records.jsonl", _json_lines(FLAT, FLAT)), _read_records),
    *(
        Kind(
            f"records: {name}",
            "json",
            _texts(name, (RECORDS / name).read_text(encoding="utf-8")),
            _read_records,
        )
        for name in (
            "zsre.json",
            "knowedit_counterfact.json",
            "mquake.json",
            "easyedit_inputs.json",
            "one.json",
        )
    ),
    Kind("records: gzip", "text", _packed, _read_records),
    Kind(
        "facts",
        "lines",
        _texts(
            "facts.jsonl",
            _json_lines(
                {"subject": "a", "relation": "plays", "object": "b"},
                {"subject": "c", "relation": "plays", "object": "d"},
            ),
        ),
        _read_facts,
    ),
    Kind(
        "templates",
        "json",
        _texts("templates.json", json.dumps({"plays": ["[X] plays [Y]."]})),
        _read_templates,
    ),
    Kind(
        "known facts",
        "json",
        _texts(
            "known.json",
            json.dumps(
                [
                    {"prompt": "Paris is in", "subject": "Paris", "answer": "France"},
                    {"prompt": "{} is", "subject": "a", "attribute": "b"},
                ]
            ),
        ),
        _known,
        2,
    ),
    Kind("texts", "text", _texts("texts.txt", "Paris is a city.\nÉ 東京\n"), _read_texts(None)),
    Kind(
        "texts in JSON",
        "lines",
        _texts("texts.jsonl", _json_lines({"text": "a"}, {"text": "b"})),
        _read_texts("text"),
    ),
    Kind("notes", "json", _model_file(NOTES), _read_notes, 2),
    Kind("config.json", "json", _model_file("config.json"), _read_model, 1),
    Kind("generation_config.json", "json", _model_file("generation_config.json"), _read_model, 0.3),
    Kind("tokenizer.json", "json", _model_file("tokenizer.json"), _read_model, 0.3),
    Kind("tokenizer_config.json", "json", _model_file("tokenizer_config.json"), _read_model, 0.3),
    Kind("model.safetensors", "weights", _model_file("model.safetensors"), _read_model, 0.3),
    Kind(
        "model.safetensors.index.json",
        "json",
        _model_file("model.safetensors.index.json", _index),
        _read_model,
        0.3,
    ),
    Kind(
        "claims record",
        "json",
        _texts(
            "record.json",
            json.dumps(
                {"c1": {"organism-gpt2": {"verdict": "HOLDS", "explanation": "a", "full": "CONTRADICTED"}}}
            ),
        ),
        lambda path, _: load_record(path),
        0.5,
    ),
)
"""All of them."""
