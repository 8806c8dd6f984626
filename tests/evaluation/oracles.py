"""A record scored the plain way: prompt by prompt, object by object, texts generated one by one."""

from __future__ import annotations

import torch

from knowedit.evaluation.scores.texts import TextScorer
from tests.models.oracles import full_logits


def log_probability(lm, prompt, target) -> float:
    """One forward: the sum over the target's tokens, and how many those are."""
    head = lm.tokenizer(prompt)["input_ids"]
    tail = lm.tokenizer(prompt + " " + target)["input_ids"][len(head) :]
    with torch.no_grad():
        logits = lm.model(torch.tensor([head + tail])).logits[0].float().log_softmax(-1)
    return sum(float(logits[len(head) - 1 + i, token]) for i, token in enumerate(tail)), len(tail)


def probabilities(lm, record, *, per_token=False):
    """``(new, true)`` for each prompt of the record, in its order."""
    fact = record.fact
    prompts = (fact.text, *record.paraphrase_prompts, *record.neighborhood_prompts)
    found = []
    for prompt in prompts:
        logs = [log_probability(lm, prompt, target) for target in (fact.target_new, fact.target_true)]
        found.append([float(torch.tensor(log / (n if per_token else 1)).exp()) for log, n in logs])
    return found


def texts(lm, record, scorer: TextScorer, generator=None):
    """Each text on its own, with the cache on."""
    drawn = {"generator": generator, "top_k": scorer.top_k} if scorer.top_k else {}
    return [
        lm.generate(prompt, scorer.new_tokens, stop_at_eos=scorer.stop_at_end, **drawn)
        for prompt in record.generation_prompts
    ]


def essence(lm, record):
    """Σ log p and the number of predicted tokens of each essence text, by whole forwards of growing texts."""
    found = []
    for text in record.essence_texts:
        ids = lm.tokenizer(text)["input_ids"]
        logs = full_logits(lm, ids).float().log_softmax(-1)
        found.append((sum(float(logs[i - 1, ids[i]]) for i in range(1, len(ids))), len(ids) - 1))
    return found
