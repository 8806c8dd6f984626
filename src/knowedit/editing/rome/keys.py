"""The key k* of a subject (Eqn. 6 and 7): what the MLP sees at the subject's last token, on average.

The subject is read behind many short texts, so that the key is the subject's and not the prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Prompt, Site, batch, capture, locate

BARE = "{}"
"""The template of a text that is the subject alone."""


@torch.no_grad()
def _projection_inputs(lm: LanguageModel, layer: int, prompts: Sequence[Prompt]) -> Tensor:
    """The input of ``mlp_down`` at each prompt's last subject token, ``(prompts, d_in)`` (Eqn. 6)."""
    site = Site(layer, "mlp_down", "input")
    data = batch(lm, prompts)
    with capture(lm, [site]) as found:
        lm.logits(data, data.last)
    keys = found[site]
    last = torch.tensor([prompt.last_subject for prompt in prompts], device=keys.device)
    return keys[torch.arange(len(prompts), device=keys.device), last]


def subject_key(
    lm: LanguageModel,
    layer: int,
    subject: str,
    prefixes: Sequence[str],
    *,
    template: str = BARE,
    separator: str = " ",
) -> Tensor:
    """k* ``(d_in,)``: the mean over the prefixes, summed in float64.

    Args:
        lm: the unedited model.
        layer: whose MLP.
        subject: the entity.
        prefixes: the texts x_j; an empty one gives the bare text.
        template: the text behind a prefix. Eqn. 7 has the subject alone, so that the text ends with it.
        separator: the text between a prefix and the subject's text.

    Raises:
        InputError: no such layer, no prefixes, or a subject that the tokenizer drops.
    """
    lm.check_layer(layer)
    if not prefixes:
        raise InputError(
            "no prefixes were given: k* is a mean over at least one text; use [''] for the bare subject"
        )
    prompts = [
        locate(lm, template, subject, prefix=f"{prefix}{separator}" if prefix else "") for prefix in prefixes
    ]
    return _projection_inputs(lm, layer, prompts).double().mean(dim=0)
