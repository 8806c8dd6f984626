"""Records a second of a run with editing, beside a plain loop over the same records, in one run and one thread.

    nox -s bench -- -k runner        or       pytest benchmarks/test_runner.py -s

The plain loop edits, scores prompt by prompt and object by object, and generates text one prompt at a time with
the library's own cache on. Times are the best of the rounds, interleaved; opening the model is in neither.
"""

from __future__ import annotations

import time

import pytest
import torch

import knowedit
from knowedit.evaluation import (
    TEST_FILE,
    EditingPlan,
    EvaluationRun,
    InProcess,
    Measures,
    RecordScores,
    RomeMethod,
    Table2Scores,
    TextMeasures,
    TfIdf,
    Unedited,
    load_records,
    record_generator,
)

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


def plain_loop(lm, station, records, method, texts):
    found = []
    for record in records:
        edit = station.make(record.fact, record_generator(0, record.case_id)) if method == "rome" else None
        if edit is None:
            found.append(plain(lm, record, texts))
        else:
            with edit.applied(lm):
                found.append(plain(lm, record, texts))
    return found


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
    measures = Measures()
    if texts:
        references = [text for record in records for text in record.reference_texts]
        measures = Measures(texts=TextMeasures(TfIdf.fit(references), new_tokens=NEW_TOKENS))
    how = RomeMethod() if method == "rome" else Unedited()
    plan = EditingPlan("organism-gpt2", how, scorer=Table2Scores(measures))
    station = plan.on(lm)
    fast, slow = [], []
    for n in range(ROUNDS):
        run = EvaluationRun(plan, records, tmp_path / str(n))
        spent, done = seconds(lambda run=run: run.gather(InProcess(station)))
        fast.append(spent)
        torch.manual_seed(0)
        spent, expected = seconds(lambda: plain_loop(lm, station, records, method, texts))
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
        ours = [pair.new for pair in (scores.prompt, scores.paraphrases, scores.neighbourhood)]
        theirs = torch.tensor(values[: len(values) // 2], dtype=torch.float64)
        assert float((torch.cat(ours) - theirs).abs().max()) < 1e-4
