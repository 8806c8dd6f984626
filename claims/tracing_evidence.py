"""The traces behind the claims of Section 3: many facts traced plainly, some in every way, some edited and traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from claims.maps import ROLES, Array, Effects, Evidence, Texts, early
from claims.models import Missing, OpenModel, shuffled_records
from claims.registry import Progress
from claims.settings import Settings
from knowedit.editing import FineTuning
from knowedit.errors import InputError
from knowedit.evaluation import Record
from knowedit.evaluation.runs.seeds import record_generator
from knowedit.models import LanguageModel, fingerprint
from knowedit.tracing import (
    FactSummary,
    KnownFact,
    RelativeNoise,
    Substitution,
    Trace,
    TraceSettings,
    UnpredictedAnswer,
    Window,
    causal_trace,
    recall_facts,
)


@dataclass(frozen=True)
class Sizes:
    """How many facts are traced plainly, how many of these in every way, and how many of these edited."""

    plain: int
    every: int
    edited: int

    def at_most(self, facts: int) -> Sizes:
        """The same with at most that many facts."""
        return Sizes(*(min(size, facts) for size in (self.plain, self.every, self.edited)))

    @property
    def steps(self) -> int:
        """Roughly the traces, for a progress bar."""
        return self.plain + self.every + self.edited


SAMPLE = Sizes(plain=80, every=32, edited=12)
"""Under two minutes for each bundled model, on one core."""
FULL = Sizes(plain=300, every=300, edited=40)

Known = tuple[Record, KnownFact]
"""A record whose true object the model predicts, with the prompt after which it does."""


def kinds_of_traces(n_layers: int, noise: float) -> dict[str, TraceSettings]:
    """The kinds of traces by name."""
    plain, window = TraceSettings(corruption=RelativeNoise(noise)), Window.for_depth(n_layers)
    return {
        "hidden": plain,
        "mlp": replace(plain, part="mlp", window=window),
        "attention": replace(plain, part="attention", window=window),
        "single mlp": replace(plain, part="mlp"),
        "single attention": replace(plain, part="attention"),
        "without mlp": replace(plain, sever="mlp"),
        "without attention": replace(plain, sever="attention"),
    }


@dataclass(frozen=True, eq=False)
class Tracer:
    """Traces in one model.

    Attributes:
        lm: the model.
        digest: of its weights.
        kinds: the kinds of traces.
        seed: of the noise, which for a prompt is the same in all kinds.
        step: called after each step.
    """

    lm: LanguageModel
    digest: str
    kinds: Mapping[str, TraceSettings]
    seed: int
    step: Callable[[], None]

    def trace(self, settings: TraceSettings, fact: KnownFact) -> Trace:
        """One trace, also of an answer that the model does not predict."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnpredictedAnswer)
            return fact.trace(self.lm, settings, seed=self.seed, digest=self.digest)

    def outside(self, fact: KnownFact) -> float:
        """The probability with the token before the subject corrupted, NaN where there is none."""
        prompt = fact.locate(self.lm)
        if not prompt.start:
            return float("nan")
        moved = replace(prompt, start=prompt.start - 1, stop=prompt.start)
        trace = causal_trace(
            self.lm,
            moved,
            answer=fact.answer,
            settings=self.kinds["hidden"],
            seed=fact.noise_seed(self.seed),
            digest=self.digest,
        )
        return trace.corrupted


def gather(model: OpenModel, settings: Settings, progress: Progress) -> Evidence:
    """Trace what the model knows, then what ROME puts there.

    Raises:
        Missing: no records, or fewer known facts than are needed.
        RuntimeError: the model is not bit for bit what it was.
    """
    sizes = (FULL if settings.full else SAMPLE).at_most(settings.facts)
    done = iter(range(1, sizes.steps + 1))
    before = fingerprint(model.lm)
    tracer = Tracer(
        model.lm,
        before.digest,
        kinds_of_traces(model.lm.n_layers, settings.noise),
        settings.seed,
        lambda: progress(next(done), sizes.steps),
    )
    records = shuffled_records(model, settings)
    known = _known(model, records, sizes.plain)
    texts, hidden = _plain(tracer, [fact for _, fact in known])
    some = known[: sizes.every]
    evidence = Evidence(
        family=str(model.lm.model.config.model_type),
        seed=settings.seed,
        texts=texts,
        known={"hidden": hidden} | _every(tracer, some, records),
        edited=_edited(tracer, model, [record for record, _ in known[: sizes.edited]], settings.seed),
    )
    if different := before.differences(fingerprint(model.lm, with_edits=True)):
        raise RuntimeError(f"after reverting, {different[0]} is not what it was: Edit.applied is broken")
    return evidence


def _known(model: OpenModel, records: Sequence[Record], wanted: int) -> list[Known]:
    facts = recall_facts(model.lm, (record.fact for record in records))
    found: list[Known] = []
    for record, fact in zip(records, facts, strict=True):
        if fact is not None:
            found.append((record, fact))
        if len(found) == wanted:
            return found
    raise Missing(
        f"{model.name} knows {len(found)} of {len(records)} records, {wanted} are needed: lower --facts"
    )


def _plain(tracer: Tracer, facts: Sequence[KnownFact]) -> tuple[Texts, Effects]:
    traces, outside = [], []
    for fact in facts:
        traces.append(tracer.trace(tracer.kinds["hidden"], fact))
        outside.append(tracer.outside(fact))
        tracer.step()
    texts = Texts(
        clean=np.array([trace.clean for trace in traces]),
        corrupted=np.array([trace.corrupted for trace in traces]),
        outside=np.array(outside),
        decisive=np.array([decisive(trace) for trace in traces]),
        one_token=np.array([len(trace.answer_ids) == 1 for trace in traces]),
    )
    return texts, effects([FactSummary.of(trace) for trace in traces])


def decisive(trace: Trace) -> tuple[float, float, float]:
    """The best early state at the last subject token, at any other but the last, and before the subject.

    Restored minus corrupted probability; NaN where there is no such token.
    """
    layers = early(trace.n_layers)
    best = trace.indirect_effects[:, layers.start : layers.stop].amax(dim=1).numpy()
    own, last, start = trace.subject[1] - 1, len(best) - 1, trace.subject[0]
    other = np.delete(best, [own, last])
    return best[own], max(other, default=np.nan), max(best[:start], default=np.nan)


def _every(tracer: Tracer, known: Sequence[Known], records: Sequence[Record]) -> dict[str, Effects]:
    found: dict[str, list[FactSummary]] = {}
    kinds = {kind: settings for kind, settings in tracer.kinds.items() if kind != "hidden"}
    for record, fact in known:
        for kind, settings in kinds.items():
            found.setdefault(kind, []).append(FactSummary.of(tracer.trace(settings, fact)))
        if (swapped := _substituted(tracer, record, fact, records)) is not None:
            found.setdefault("substituted", []).append(swapped)
        tracer.step()
    return {kind: effects(summaries) for kind, summaries in found.items()}


def _substituted(
    tracer: Tracer, record: Record, fact: KnownFact, records: Sequence[Record]
) -> FactSummary | None:
    """The trace with the first subject in its place that fits and has another object; None if none does."""
    for subject in lenders(record, records):
        settings = replace(tracer.kinds["hidden"], corruption=Substitution(subject), draws=None)
        try:
            return FactSummary.of(tracer.trace(settings, fact))
        except InputError:  # of another length: the next one
            continue
    return None


def lenders(record: Record, records: Sequence[Record]) -> Iterator[str]:
    """Subjects of which the same was asked and another answer is true, starting after the record."""
    own = record.fact
    at = next(i for i, other in enumerate(records) if other is record)
    for other in (*records[at + 1 :], *records[:at]):
        fact = other.fact
        if (
            fact.relation == own.relation
            and fact.target_true != own.target_true
            and fact.subject != own.subject
        ):
            yield fact.subject


def _edited(tracer: Tracer, model: OpenModel, records: Sequence[Record], seed: int) -> dict[str, Effects]:
    """Traces for the new object: of the model as it is, with ROME's edit, and with AttnEdit's where one is known."""
    plain, found = tracer.kinds["hidden"], dict[str, list[FactSummary]]()
    for record in records:
        new = KnownFact(record.fact.text, record.fact.subject, record.fact.target_new)
        generator = record_generator(seed, record.case_id)
        edits = {"edited": model.rome.edit(model.lm, [record.fact], generator=generator)}
        if (attention := attention_editor(model.lm)) is not None:
            edits["edited by attention"] = attention.edit(model.lm, [record.fact])
        found.setdefault("unedited", []).append(FactSummary.of(tracer.trace(plain, new)))
        for kind, edit in edits.items():
            with edit.applied(model.lm, check="edited"):
                found.setdefault(kind, []).append(FactSummary.of(tracer.trace(plain, new)))
        tracer.step()
    every = {kind: effects(summaries) for kind, summaries in found.items()}
    return every | {"unedited": replace(every["unedited"], total=every["edited"].total)}


def attention_editor(lm: LanguageModel) -> FineTuning | None:
    """AttnEdit with the settings that are known for a model, or None."""
    try:
        return FineTuning.attn_edit().prepared(lm)
    except InputError:
        return None


def effects(summaries: Sequence[FactSummary]) -> Effects:
    """Restored minus corrupted by role, and the total effects."""
    return Effects(
        np.stack([_by_role(summary) for summary in summaries]),
        np.array([summary.total_effect for summary in summaries]),
    )


def _by_role(summary: FactSummary) -> Array:
    missing = np.full(len(next(iter(summary.restored.values()))), np.nan)
    return np.stack([summary.restored.get(role, missing) - summary.corrupted for role in ROLES])
