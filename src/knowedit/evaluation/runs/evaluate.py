"""An evaluation: an editor over many records, into a folder that can be stopped and resumed at will."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeAlias

from knowedit.bundled import own_models
from knowedit.editing.editor import label_of
from knowedit.editing.editors import make_editor
from knowedit.errors import InputError, NumericalError
from knowedit.evaluation.records.record import TEST_FILE, Record, iter_records
from knowedit.evaluation.runs.run import ADVICE, KIND, RECORDS, SCHEMA, TITLE, Outcome, Run, read_run
from knowedit.evaluation.runs.station import UNEDITED, EvaluationJob, blocks_of
from knowedit.evaluation.scores.scorer import Scorer
from knowedit.evaluation.scores.texts import TextScorer
from knowedit.evaluation.scores.tfidf import TfIdf
from knowedit.models import LanguageModel
from knowedit.runs import Job, RunFolder, WorkerDied, Workers, canonical, open_pool
from knowedit.runs.lines import DIGITS
from knowedit.runs.manifest import read_manifest

Watch: TypeAlias = Callable[[int, int, Outcome | None], None]
"""Called with the records that are done, all records, and the latest outcome (None at the start)."""


def evaluate(
    model: str | LanguageModel,
    editor: Any,
    records: Path | str | Sequence[Record] | None = None,
    *,
    out: Path | str,
    limit: int | None = None,
    seed: int = 0,
    workers: int | Workers = 1,
    texts: bool | TextScorer = False,
    scorer: Any = None,
    device: str = "cpu",
    dtype: str | None = None,
    ray: str | None = None,
    retry: bool = False,
    watch: Watch | None = None,
    **options: Any,
) -> Run:
    """Edit each record's fact alone, score, and remove the edit; start, resume, or find it done.

    A folder belongs to one run: the same weights, editor, settings, records, scores, seed and versions. A record's
    outcome depends on these and not on the other records, the order, the number of workers or how often the run was
    stopped.

    Args:
        model: a name, folder, GGUF file or Hub id; or an open model.
        editor: a name of `knowedit.editing.EDITORS`, or any object with ``edit(lm, facts, *, generator)``; None or
            ``none`` scores the model as it is.
        records: a file or the records; by default the test records in the model's folder.
        out: the folder; made if it is not there.
        limit: at most this many records, the first. It is no part of the run: with a larger one the records that are
            missing are measured, with a smaller one the first are read.
        seed: with a record's case id it decides what is drawn for it.
        workers: 1 measures in this process, with its number of threads; more measure in processes of one thread
            each, see `Workers`.
        texts: whether text is generated and GE, RS and Essence measured too, and how; by default not. True takes the
            TF-IDF model of all reference texts that the records, or their whole file, have.
        scorer: what is measured in place of Table 2: any object with ``identity`` and ``score``, see `Scorer`.
        device: where a model that is not open is put.
        dtype: its number format, by default that of its file.
        ray: the address of a Ray cluster, see `Workers`.
        retry: measure again the records that failed.
        watch: called at the start and after every record.
        options: of an editor that is given by its name, see `make_editor`.

    Returns:
        The whole run; look at its ``failed``.

    Raises:
        InputError: an unknown editor or option; no record, or a case id twice; a folder of another run (with what
            differs) or one that another process writes to; a full disk; what the model or the editor lacks.
        NumericalError: a model that is not what it was once the edits are removed; the run is condemned.
    """
    source = records_of(model, records)
    job = EvaluationJob(
        model,
        chosen_editor(editor, options),
        seed,
        scorer or Scorer(texts=_texts(source, texts)),
        device,
        dtype,
    )
    names = {
        "model": job.model_name,
        "method": UNEDITED if job.editor is None else label_of(job.editor),
        "records": source.name if isinstance(source, Path) else "",
    }
    every = iter(_iterate(source))
    chosen = list(islice(every, limit))
    where = chosen_workers(model, workers, ray, device)
    return run_job(job, chosen, Path(out), names=names, workers=where, retry=retry, watch=watch, more=every)


def chosen_editor(editor: Any, options: Mapping[str, Any]) -> Any:
    """The editor of a name or the one that was given; None for no edit.

    Raises:
        InputError: no such editor, an option that it does not have, or options of one that is not given by its name.
    """
    if isinstance(editor, str) and editor != UNEDITED:
        return make_editor(editor, **options)
    if options:
        listed, name = ", ".join(options), UNEDITED if editor in (None, UNEDITED) else label_of(editor)
        raise InputError(
            f"{listed}: options of an editor that is given by its name, not of {name}; leave them out, or give the "
            "editor's fields"
        )
    return None if editor == UNEDITED else editor


def records_of(
    model: str | LanguageModel, records: Path | str | Sequence[Record] | None, file: str = TEST_FILE
) -> Path | Sequence[Record]:
    """The file of records or the records that were given; by default a file in the model's folder.

    Args:
        model: see `evaluate`.
        records: see `evaluate`.
        file: the name of the default.

    Raises:
        InputError: none were given, and the model has none.
    """
    if records is not None:
        return Path(records) if isinstance(records, str) else records
    folder = own_models().get(model, Path(model)) if isinstance(model, str) else model.folder
    if folder is None or not (folder / file).is_file():
        name = model if isinstance(model, str) else model.name
        raise InputError(f"{name} has no {file}: give records, for instance counterfact.json")
    return folder / file


def _iterate(source: Path | Sequence[Record]) -> Iterable[Record]:
    return iter_records(source) if isinstance(source, Path) else source


def reference_tfidf(source: Path | Sequence[Record]) -> TfIdf:
    """The TF-IDF model of the different reference texts of a file of records, or of records.

    Raises:
        InputError: there are none.
    """
    found = dict.fromkeys(text for record in _iterate(source) for text in record.reference_texts or ())
    if not found:
        where = source if isinstance(source, Path) else "the records"
        raise InputError(
            f"{where} has no reference texts, which RS needs: give a TF-IDF model, or measure no texts"
        )
    return TfIdf.fit(list(found))


def _texts(source: Path | Sequence[Record], texts: bool | TextScorer) -> TextScorer | None:
    if isinstance(texts, TextScorer):
        return texts
    return TextScorer(reference_tfidf(source)) if texts else None


def chosen_workers(
    model: str | LanguageModel, workers: int | Workers, ray: str | None = None, device: str = "cpu"
) -> Workers:
    """Where items are measured: one worker is this process, unless Ray is asked for.

    Args:
        model: see `evaluate`.
        workers: see `evaluate`.
        ray: see `evaluate`.
        device: each worker of a cluster takes a GPU where this is one.

    Raises:
        InputError: fewer than one, or an open model and other processes.
    """
    if isinstance(workers, int):
        if workers < 1:
            raise InputError(f"{workers} workers cannot measure anything: give at least one")
        count = 0 if workers == 1 and ray is None else workers
        workers = Workers(count, ray=ray, gpus=float(device.startswith("cuda")))
    if isinstance(model, LanguageModel) and (workers.count != 0 or workers.ray is not None):
        raise InputError(
            "an open model cannot be sent to other processes: give its name or folder, or measure with one worker"
        )
    return workers


def run_job(
    job: Job[tuple[Record, ...], tuple[Outcome, ...]],
    records: Sequence[Record],
    out: Path,
    *,
    names: Mapping[str, str] | None = None,
    workers: Workers | None = None,
    retry: bool = False,
    watch: Watch | None = None,
    block: int = 1,
    more: Iterable[Record] = (),
) -> Run:
    """Start, resume or find done what `evaluate` describes, of any job.

    Args:
        job: measures blocks of records.
        records: each case id once.
        out: the folder.
        names: what model, method and records are called, for tables; not compared.
        workers: how many, and where; by default in this process.
        retry: measure again the records that failed.
        watch: see `evaluate`.
        block: how many records are one item of a worker.
        more: the records after these; what a block that is cut short lacks is measured too, and a folder that has
            more records than were asked for is known by them.

    Returns:
        What became of `records`.

    Raises:
        InputError: see `evaluate`.
        NumericalError: see `evaluate`.
    """
    following, asked = iter(more), records
    records = [*asked, *islice(following, -len(asked) % block)]
    identity, blocks = records_identity(records), blocks_of(records, block)
    told = watch or (lambda *_: None)
    held = RunFolder(out, KIND, SCHEMA, TITLE, lines=RECORDS, advice=ADVICE)
    with held as folder, open_pool(job, workers or Workers(0), len(blocks)) as pool:
        known = _identity_there(out, records, following)
        contents = folder.begin(
            {**pool.identity, "block": block, "records": known}, names, cases=_digests(records)
        )
        if known["count"] < len(records):
            folder.update(run={**folder.manifest["run"], "records": identity}, cases=_digests(records))
        there = Run.of(out, folder.manifest, contents).of_records(identity, records)
        kept = {one.case_id for one in (there.scored if retry else there.outcomes)}
        waiting = [part for part in blocks if any(record.case_id not in kept for record in part)]
        told(len(kept), len(records), None)
        try:
            for part, found in pool.measure(waiting):
                if isinstance(found, WorkerDied):
                    found = tuple(Outcome.died(record.case_id, found.reason) for record in part)
                fresh = [one for one in found if one.case_id not in kept]
                folder.append(*map(asdict, fresh))
                for one in fresh:
                    kept.add(one.case_id)
                    told(len(kept), len(records), one)
        except NumericalError as error:
            folder.update(condemned=str(error))
            raise
        return read_run(out).of_records(records_identity(asked), asked)


def _identity_there(out: Path, records: Sequence[Record], following: Iterator[Record]) -> dict[str, Any]:
    """That of the records of the run in a folder, if they are the first of these or these the first of them."""
    own = records_identity(records)
    found = read_manifest(out, KIND, (SCHEMA,), TITLE)
    there = None if found is None else found["run"].get("records")
    count = there.get("count") if isinstance(there, dict) else None
    if not isinstance(count, int) or count < 1 or there == own:
        return own
    known = [*records, *islice(following, max(0, count - len(records)))][:count]
    return dict(there or {}) if len(known) == count and records_identity(known) == there else own


def _digests(records: Sequence[Record]) -> dict[str, str]:
    """By which two runs know the records that they share: a digest of each, by its case id."""
    texts = ((record.case_id, canonical(record.as_json())) for record in records)
    return {str(case): hashlib.sha256(text.encode()).hexdigest()[:DIGITS] for case, text in texts}


def records_identity(records: Sequence[Record]) -> dict[str, Any]:
    """How many records, and the SHA-256 of their content in the order of the case ids.

    Raises:
        InputError: no record, or a case id twice.
    """
    ordered = sorted(records, key=lambda record: record.case_id)
    if not ordered:
        raise InputError("there is no record to measure: give at least one")
    for first, second in pairwise(ordered):
        if first.case_id == second.case_id:
            raise InputError(f"case_id {first.case_id} is there twice: expected each once")
    found = hashlib.sha256()
    for record in ordered:
        found.update(f"{canonical(record.as_json())}\n".encode())
    return {"count": len(ordered), "sha256": found.hexdigest()}
