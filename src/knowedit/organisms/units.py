"""The units of the residual stream: a choice that changes no output.

Every block reads the stream through a layer norm, which divides its scale out. So what writes to the stream
can be multiplied by any factor, and the model computes the same. What has an absolute size in those units
does see it: the learning rate with which ROME searches a value (0.5 in the paper, in the units of GPT-2 XL).
"""

from __future__ import annotations

import torch
from transformers import GPT2LMHeadModel, PreTrainedModel


@torch.no_grad()
def rescale_residual(model: PreTrainedModel, factor: float) -> None:
    """Multiply all that is written to the residual stream by ``factor``, in place; the logits stay.

    The layer norms' epsilon, a variance, grows by its square. With a power of two every step is exact.

    Args:
        model: a GPT-2 or GPT-J, whose head may be tied to the embedding.
        factor: the new unit's worth in old ones.
    """
    body = model.transformer
    writers = [body.wte, *([body.wpe] if isinstance(model, GPT2LMHeadModel) else [])]
    for block in body.h:
        attention, mlp = block.attn, block.mlp
        writers += [getattr(attention, "c_proj", None) or attention.out_proj]
        writers += [getattr(mlp, "c_proj", None) or mlp.fc_out]
    for parameter in (p for module in writers for p in module.parameters(recurse=False)):
        parameter.mul_(factor)
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
        norm.eps *= factor**2
    model.config.layer_norm_epsilon *= factor**2
    if model.get_output_embeddings().weight is body.wte.weight:
        # The head grew with the embedding it is tied to.
        for parameter in body.ln_f.parameters():
            parameter.div_(factor)
