"""The key k* of a subject (Eqn. 6 and 7): what the MLP sees at the subject's last token, on average.

The subject is read behind many short texts, so that the key is the subject's and not the prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Prompt, Site, batch, capture, locate

PrefixPlan = tuple[tuple[int, int], ...]
"""How many prefixes of how many tokens: ``((20, 2), (20, 5), (10, 10))``."""


def sample_prefixes(lm: LanguageModel, plan: PrefixPlan, generator: torch.Generator) -> list[str]:
    """Texts x_j drawn from the model itself, from its start token (Appendix D.5).

    Args:
        lm: the unedited model.
        plan: pairs of (how many, of how many tokens).
        generator: draws the tokens; nothing else is random.

    Returns:
        The texts, in the plan's order, without special tokens; one that is all special tokens is empty.
    """
    prefixes: list[str] = []
    for count, tokens in plan:
        rows = lm.generate_ids([[lm.start_id]] * count, tokens, generator=generator, stop_at_eos=False)
        prefixes += [lm.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]
    return prefixes


def subject_prompts(lm: LanguageModel, subject: str, prefixes: Sequence[str]) -> list[Prompt]:
    """``x_j + subject`` for every prefix: texts that end with the subject (Eqn. 7)."""
    if not prefixes:
        raise InputError(
            "no prefixes were given: k* is a mean over at least one text; use [''] for the bare subject"
        )
    return [locate(lm, "{}", subject, prefix=f"{prefix} " if prefix else "") for prefix in prefixes]


@torch.no_grad()
def projection_inputs(lm: LanguageModel, layer: int, prompts: Sequence[Prompt]) -> Tensor:
    """The input of ``mlp_down`` at each prompt's last subject token, ``(prompts, d_in)`` (Eqn. 6)."""
    site = Site(layer, "mlp_down", "input")
    with capture(lm, [site]) as found:
        lm.logits(batch(lm, prompts))
    rows = torch.arange(len(prompts), device=lm.device)
    return found[site][rows, torch.tensor([prompt.last_subject for prompt in prompts], device=lm.device)]


def subject_key(lm: LanguageModel, layer: int, subject: str, prefixes: Sequence[str]) -> Tensor:
    """k* ``(d_in,)``: the mean of `projection_inputs` over the prefixes, summed in float64.

    Args:
        lm: the unedited model.
        layer: whose MLP.
        subject: the entity.
        prefixes: the texts x_j.

    Raises:
        InputError: no such layer, no prefixes, or a subject that the tokenizer drops.
    """
    lm.check_layer(layer)
    inputs = projection_inputs(lm, layer, subject_prompts(lm, subject, prefixes))
    return inputs.double().mean(dim=0)
