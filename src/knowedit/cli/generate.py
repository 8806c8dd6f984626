"""``knowedit generate``: continue a text."""

from __future__ import annotations

from typing import Annotated

import typer

import knowedit
from knowedit.cli.options import DEFAULT_MODEL, LARGEST_COUNT, LARGEST_SEED, Device, Dtype, Edits, Json, Model
from knowedit.cli.output import print_json, progress
from knowedit.cli.stack import stacked
from knowedit.errors import InputError
from knowedit.text import visible


def generate(
    prompt: Annotated[str, typer.Option(help="The beginning of the text.")],
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    edits: Edits = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=LARGEST_COUNT, help="At most this many tokens are added.")
    ] = 20,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Draw tokens with this seed; greedy without.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_COUNT, help="Draw among the k most probable only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the prompt and its continuation by the model, with the edits applied in their order."""
    import torch

    from knowedit.editing import Edit

    if not prompt:
        raise InputError("the prompt is empty: give the beginning of the text")
    loaded = [Edit.load(file) for file in edits or ()]
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with stacked(lm, loaded), progress("generating"):
        text = lm.generate(prompt, max_new_tokens, generator=generator, top_k=top_k)
    if as_json:
        print_json({"prompt": prompt, "text": text, "edits": [str(file) for file in edits or ()]})
    else:
        typer.echo(visible(text, keep="\n\t"))
