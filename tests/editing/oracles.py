"""Slow and obvious: k*, v* and the insertion by whole forwards, plain hooks and an explicit inverse."""

from __future__ import annotations

import torch
from torch import Tensor

from knowedit.editing import ROME
from knowedit.facts import Fact
from knowedit.models import LanguageModel, locate, target_ids
from tests.models.oracles import full_logits, hook, part_of


def mlp(lm: LanguageModel, layer: int):
    return part_of(lm, "mlp", layer)


def down(lm: LanguageModel, layer: int):
    return part_of(lm, "mlp_down", layer)


def weight(lm: LanguageModel, layer: int) -> Tensor:
    """(d_out, d_in), by the family's own convention."""
    stored = down(lm, layer).weight.detach().double()
    return stored.T if lm.model.config.model_type == "gpt2" else stored


def bias(lm: LanguageModel, layer: int) -> Tensor | float:
    """The bias of the projection, zero where it has none."""
    found = down(lm, layer).bias
    return 0.0 if found is None else found.detach().double()


def key(
    lm: LanguageModel,
    layer: int,
    subject: str,
    prefixes: list[str],
    *,
    template: str = "{}",
    separator: str = " ",
) -> Tensor:
    """One forward a prefix, the projection's input at the subject's last token."""
    keys = []
    for prefix in prefixes:
        seen = []
        handle = down(lm, layer).register_forward_pre_hook(
            lambda _module, args, seen=seen: seen.append(args[0])
        )
        head = (prefix + separator if prefix else "") + template[: template.index("{}")]
        ids = lm.tokenizer(head + subject + template[template.index("{}") + 2 :])["input_ids"]
        full_logits(lm, ids)
        handle.remove()
        # The tiny tokenizer never merges over a space, so the text up to the subject's end has its own tokens.
        keys.append(seen[0][0, len(lm.tokenizer(head + subject)["input_ids"]) - 1].double())
    return torch.stack(keys).mean(0)


def value(
    lm: LanguageModel, layer: int, fact: Fact, rome: ROME, prefixes: tuple[str, ...] = ()
) -> tuple[Tensor, list[float]]:
    """Eqn. 8 by whole forwards with the offset hooked in, every prompt on its own, unpadded."""
    leads = ["", *(p + rome.prefixes.separator for p in prefixes if p and rome.prefixed)]
    prompts = [locate(lm, fact.prompt, fact.subject, prefix=lead) for lead in leads]
    essence = locate(lm, rome.kl_prompt, fact.subject)
    target = target_ids(lm.tokenizer, fact.text, fact.target_new)
    start: list[Tensor] = []
    delta = torch.zeros(lm.width, requires_grad=True)
    l2 = rome.weight_decay if rome.decay == "adam" else 0.0
    adam = torch.optim.Adam([delta], lr=rome.learning_rate, weight_decay=l2)
    read = essence.last_subject if rome.kl_position == "subject" else -1
    before = full_logits(lm, essence.ids)[read].log_softmax(-1)

    def run(ids: list[int], position: int) -> Tensor:
        def shift(out: Tensor) -> Tensor:
            start.append(out[0, position].detach())
            out = out.clone()
            out[0, position] += delta
            return out

        with hook(mlp(lm, layer), shift):
            return lm.model(torch.tensor([ids]), use_cache=False).logits[0]

    losses = []
    for step in range(rome.max_steps + 1):
        nll = 0.0
        for prompt in prompts:
            logits = run([*prompt.ids, *target[:-1]], prompt.last_subject).log_softmax(-1)
            tokens = [logits[len(prompt.ids) - 1 + i, token] for i, token in enumerate(target)]
            share = {"joint": sum(tokens), "mean": sum(tokens) / len(tokens), "first": tokens[0]}
            nll = nll - share[rome.target] / len(prompts)
        after = run(list(essence.ids), essence.last_subject)[read].log_softmax(-1)
        kl = (after.exp() * (after - before)).sum()
        loss = nll + rome.kl_factor * (kl / len(after) if rome.kl_reduction == "mean" else kl)
        if rome.decay == "relative":
            loss = loss + rome.weight_decay * delta.norm() / start[0].norm() ** 2
        losses.append(float(loss.detach()))
        if losses[-1] <= rome.stop_loss or step == rome.max_steps:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        longest = (rome.max_offset or float("inf")) * float(start[0].norm())
        with torch.no_grad():
            delta *= min(1.0, longest / max(float(delta.norm()), 1e-30))
    lm.model.zero_grad()
    return start[0].double() + delta.detach().double(), losses


def rank_one(W: Tensor, k: Tensor, v: Tensor, C: Tensor) -> Tensor:
    """Eqn. 5 with the inverse written out."""
    u = torch.linalg.inv(C) @ k
    return torch.outer((v - W @ k) / (k @ u), u)
