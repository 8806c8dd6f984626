"""Records a second of a run with editing, beside a plain loop over the same records, in one run and one thread.

    nox -s bench -- -k runner        or       pytest benchmarks/test_runner.py -s

The plain loop is what a first script does: it edits by ROME's equations with whole forwards, one text at a time
and C inverted anew, scores prompt by prompt and object by object, and generates text one prompt at a time with the
library's own cache on. Both edit behind the same prefixes. Texts end where the model ends them, so what is drawn is
part of the time. Times are the best of the rounds, interleaved; opening the model and reading C are in neither.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

import knowedit
from knowedit.editing import ROME, second_moment
from knowedit.evaluation import (
    TEST_FILE,
    EvaluationJob,
    RecordScores,
    Scorer,
    TextScorer,
    TfIdf,
    load_records,
)
from knowedit.evaluation.runs.evaluate import run_job
from knowedit.evaluation.runs.seeds import record_generator
from tests.editing import oracles

ROUNDS = 2
RECORDS = 8
NEW_TOKENS = 100


def probability(lm, prompt, target):
    """P[target | prompt] by one forward of the library's model."""
    ids = lm.tokenizer(prompt + " " + target, return_tensors="pt").input_ids
    begin = len(lm.tokenizer(prompt).input_ids)
    with torch.no_grad():
        logs = lm.model(ids).logits.double().log_softmax(-1)
    return float(logs[0, begin - 1 : -1].gather(1, ids[0, begin:, None]).sum().exp())


def plain(lm, record, texts):
    """What a first script does for one record; the probabilities of its prompts."""
    fact = record.fact
    prompts = [fact.text, *record.paraphrase_prompts, *record.neighborhood_prompts]
    found = [
        probability(lm, prompt, target)
        for target in (fact.target_new, fact.target_true)
        for prompt in prompts
    ]
    if texts:
        for prompt in record.generation_prompts:
            ids = lm.tokenizer(prompt, return_tensors="pt")
            lm.model.generate(
                **ids, max_new_tokens=NEW_TOKENS, do_sample=True, top_k=5, pad_token_id=lm.end_id
            )
        for text in record.essence_texts:
            ids = lm.tokenizer(text, return_tensors="pt").input_ids
            with torch.no_grad():
                lm.model(ids)
    return found


@contextmanager
def plain_edit(lm, fact, prefixes, moment):
    """ROME as the paper writes it, one forward a text; undone at the end."""
    rome, start = ROME.paper(), torch.tensor([[lm.end_id]])
    layer = rome.prepared(lm).layer
    for (
        count,
        length,
    ) in rome.prefixes.lengths:  # the time that drawing takes; what is used is the same for both
        for _ in range(count):
            lm.model.generate(start, max_new_tokens=length, do_sample=True, pad_token_id=lm.end_id)
    key = oracles.key(lm, layer, fact.subject, list(prefixes))
    value, _ = oracles.value(lm, layer, fact, rome, prefixes)
    target = value - oracles.bias(lm, layer)
    change = oracles.rank_one(oracles.weight(lm, layer), key, target, moment)
    own = oracles.down(lm, layer).weight
    before = own.detach().clone()
    with torch.no_grad():
        own += change.T.float()
    yield
    with torch.no_grad():
        own.copy_(before)


def plain_loop(lm, records, prefixes, moment, texts):
    found = []
    for record in records:
        edit = plain_edit(lm, record.fact, prefixes[record.case_id], moment) if prefixes else nullcontext()
        with edit:
            found.append(plain(lm, record, texts))
    return found


def drawn_prefixes(lm, records):
    """Those that the run draws for each record."""
    plan = ROME.paper().prefixes
    return {one.case_id: plan.sample(lm, record_generator(0, one.case_id)) for one in records}


def seconds(function):
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


@pytest.mark.slow
@pytest.mark.parametrize("texts", [False, True], ids=["no texts", "texts"])
@pytest.mark.parametrize("method", ["none", "rome"])
def test_a_run_beside_a_plain_loop(method, texts, tmp_path, capsys):
    torch.set_num_threads(1)
    lm = knowedit.load("organism-gpt2")
    records = load_records(lm.folder / TEST_FILE)[:RECORDS]
    scorer = Scorer()
    if texts:
        references = [text for record in records for text in record.reference_texts]
        scorer = Scorer(texts=TextScorer(TfIdf.fit(references), new_tokens=NEW_TOKENS))
    editor = ROME.paper() if method == "rome" else None
    station = EvaluationJob(lm, editor, scorer=scorer).open()
    prefixes = drawn_prefixes(lm, records) if method == "rome" else {}
    moment = torch.as_tensor(second_moment(lm, ROME.paper().prepared(lm).layer).raw_sum).double()
    fast, slow = [], []
    for n in range(ROUNDS):
        job, out = SimpleNamespace(open=lambda: station), tmp_path / str(n)
        spent, done = seconds(lambda job=job, out=out: run_job(job, records, out))
        fast.append(spent)
        torch.manual_seed(0)
        spent, expected = seconds(lambda: plain_loop(lm, records, prefixes, moment, texts))
        slow.append(spent)
    assert not done.failed
    ratio = min(slow) / min(fast)
    with capsys.disabled():
        print(
            f"\n{method}, {'with' if texts else 'without'} texts: {RECORDS / min(fast):.2f} records/s, plain loop "
            f"{RECORDS / min(slow):.2f}, ratio {ratio:.1f}"
        )
    by_case = {outcome.case_id: outcome for outcome in done.outcomes}
    for record, values in zip(records, expected, strict=True):
        scores = RecordScores.from_json(by_case[record.case_id].scores)
        ours = [pair.new for pair in (scores.prompt, scores.paraphrases, scores.neighborhood)]
        theirs = torch.tensor(values[: len(values) // 2], dtype=torch.float64)
        assert float((torch.cat(ours) - theirs).abs().max()) < 1e-4
