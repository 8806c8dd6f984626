"""Find the anatomy of a decoder that is not known by name, in what it calls in one forward.

The order of the calls tells which module is what, not their names. Where it leaves a choice, every choice is an
anatomy, and `check_anatomy` decides: exactly one may keep the laws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from knowedit.errors import InputError
from knowedit.models.anatomies.anatomy import Anatomy, Steps
from knowedit.models.anatomies.calls import Call, note_calls
from knowedit.models.anatomies.contract import check_anatomy, probe_ids
from knowedit.models.anatomies.kinds import ENCODER, kind_by_config, kind_by_modules, refuse_kind
from knowedit.models.anatomies.sublayers import find_sublayers
from knowedit.models.anatomies.tail import find_steps, numbers_of
from knowedit.models.language_model import LanguageModel

GIVE = "give anatomy=Anatomy(...) with the paths of its parts; CONTRIBUTING.md shows how to find them"


def discover(model: Any, tokenizer: Any, name: str) -> Anatomy:
    """The one anatomy of a model that keeps the laws.

    The last projection called before the MLP's output is there is `mlp_down`, the last one before it that reads states
    is `mlp_up`, and so on. Modules whose outputs are alike are one choice, named by the outermost.

    Args:
        model: a transformers model in eval mode, with its weights.
        tokenizer: its tokenizer.
        name: what messages call it.

    Raises:
        InputError: a model of another kind, which the message names; no anatomy that keeps the laws, with the law
            that the best one breaks; or two that keep them all.
    """
    refuse_kind(name, kind_by_config(model.config))
    if model.get_input_embeddings().weight.is_meta:
        raise InputError(f"{name} has shapes and no weights, so its anatomy cannot be found: {GIVE}")
    found: list[Anatomy] = []
    refusals: list[str] = []
    for anatomy in _candidates(model, name):
        try:
            check_anatomy(LanguageModel(model, tokenizer, anatomy, name))
        except InputError as error:
            refusals.append(str(error))
        else:
            found.append(anatomy)
    if not found:
        # The best candidate is the one that breaks the law of the highest number.
        raise InputError(max(refusals, default=_nothing_adds_up(name), key=lambda line: line[:5]))
    if len(found) > 1:
        raise InputError(_two(name, *found[:2]))
    return found[0]


def _nothing_adds_up(name: str) -> str:
    return (
        "law 3 (block output - input = attention + MLP): fails on "
        f"{name}, where no two modules of a block with projections add up to that; {GIVE}"
    )


def _two(name: str, one: Anatomy, two: Anatomy) -> str:
    differing = [
        f"{part.name} is {getattr(one, part.name)!r} or {getattr(two, part.name)!r}"
        for part in fields(Anatomy)
        if getattr(one, part.name) != getattr(two, part.name)
    ]
    return f"two anatomies fit {name} and keep all laws: {', '.join(differing)}; choose with anatomy=Anatomy(...)"


def _candidates(model: Any, name: str) -> Iterator[Anatomy]:
    embedding, head = _path(model, model.get_input_embeddings()), _path(model, model.get_output_embeddings())
    if embedding is None or head is None:
        raise InputError(
            f"{name} ({type(model).__name__}) has no {'head' if embedding else 'token embedding'}: "
            "open it as the class with the language-model head (AutoModelForCausalLM)"
        )
    calls, out = _note(model, name)
    reached = {call.module for call in calls}
    lists = _block_lists(model, calls)
    if not lists:
        raise InputError(f"{name} has no list of blocks that run one after the other: {GIVE}")
    for _, blocks in lists:
        refuse_kind(name, kind_by_modules([block.module for block in blocks], reached))
    for path, blocks in lists:
        yield from _of_blocks(model, calls, out.logits, (embedding, head, path), blocks)


def _path(model: Any, module: Any) -> str | None:
    return next((path for path, found in model.named_modules() if path and found is module), None)


def _note(model: Any, name: str) -> tuple[list[Call], Any]:
    try:
        ids = probe_ids(model).to(model.get_input_embeddings().weight.device)
        calls, out = note_calls(model, ids)
        causal = _is_causal(model, ids, out.logits)
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as problem:
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise InputError(f"{name} cannot be run on token ids alone ({reason}): {GIVE}") from problem
    refuse_kind(name, None if causal else ENCODER)
    return calls, out


@torch.no_grad()
def _is_causal(model: Any, ids: Tensor, logits: Tensor) -> bool:
    """Whether the logits of all but the last tokens stay when the last tokens are left out."""
    kept = max(1, ids.shape[1] // 2)
    short = model(input_ids=ids[:, :kept], use_cache=False).logits
    difference = (short - logits[:, :kept]).abs().max() / logits.abs().max().clamp_min(1e-30)
    return bool(difference <= max(1e-3, 16 * torch.finfo(logits.dtype).eps))


def _block_lists(model: Any, calls: list[Call]) -> list[tuple[str, list[Call]]]:
    """The lists whose modules each ran once, in their order, from states to states of one shape; the largest first."""
    by_module: dict[nn.Module, list[Call]] = {}
    for call in calls:
        by_module.setdefault(call.module, []).append(call)
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            runs = [run for part in module for run in by_module.get(part, [])]
            if len(runs) == len(module) == len(set(module)) and _is_chain(runs):
                found.append((path, runs))
    return sorted(found, key=lambda item: -sum(p.numel() for c in item[1] for p in c.module.parameters()))


def _is_chain(runs: list[Call]) -> bool:
    shapes = {value.shape if value is not None else None for run in runs for value in (run.input, run.output)}
    after = all(one.left < two.entered for one, two in pairwise(runs))
    return after and len(shapes) == 1 and None not in shapes


def _of_blocks(
    model: Any, calls: list[Call], logits: Tensor, paths: tuple[str, str, str], blocks: list[Call]
) -> Iterator[Anatomy]:
    embedding, head, path = paths
    numbers = numbers_of(model.config)
    ends = next(call for call in calls if call.path == head)
    assert ends.output is not None
    after = find_steps(ends.output, logits, numbers)
    scales = numbers_of(blocks[0].module)
    for norm, before in _final_norms(calls, blocks[-1], ends, numbers):
        for found in find_sublayers(blocks[0], calls, scales):
            yield Anatomy(
                embedding=embedding,
                position_embedding=_position_embedding(calls, embedding, blocks[0]),
                blocks=path,
                final_norm=norm,
                head=head,
                **found,
                before_head=before,
                after_head=after or (),
                **_row_arguments(model, blocks[0]),
            )


def _final_norms(calls: list[Call], last: Call, head: Call, numbers: list[float]) -> list[tuple[str, Steps]]:
    """The modules between the last block and the head that turn the one's output into the other's input.

    Where none does, the first one after the blocks, on which law 5 will fail.
    """
    assert last.output is not None
    assert head.input is not None
    between = [
        call
        for call in calls
        if last.left < call.entered < call.left < head.entered
        and call.output is not None
        and call.output.shape == head.input.shape
        and _same(call.input, last.output)
    ]
    found: dict[Steps, str] = {}
    for call in between:
        steps = find_steps(call.output, head.input, numbers) if call.output is not None else None
        if steps is not None:  # what says the same after the first are its parts
            found.setdefault(steps, call.path)
    return [(path, steps) for steps, path in found.items()] or [(call.path, ()) for call in between[:1]]


def _same(one: Tensor | None, two: Tensor) -> bool:
    return one is not None and one.shape == two.shape and torch.equal(one.cpu(), two.cpu())


def _position_embedding(calls: list[Call], embedding: str, first: Call) -> str | None:
    """The embedding before the blocks whose vectors differ from one token to the next wherever it is called."""
    for call in calls:
        if call.entered > first.entered or call.path == embedding or call.output is None:
            continue
        rows = call.output[0] if call.output.ndim > 2 else call.output
        wide = first.input is not None and rows.shape[-1] == first.input.shape[-1]
        if (
            isinstance(call.module, nn.Embedding)
            and wide
            and len({tuple(row) for row in rows.tolist()}) == len(rows)
        ):
            return call.path
    return None


def _row_arguments(model: Any, block: Call) -> dict[str, Any]:
    """Which tensors among a block's arguments have rows times heads, or no rows at all, on their first axis."""
    assert block.input is not None
    rows, heads = block.input.shape[0], getattr(model.config, "num_attention_heads", 0) or 0
    others = {
        name: shape for name, shape in block.shapes.items() if len(shape) > 1 and shape[0] not in (1, rows)
    }
    per_head = tuple(name for name, shape in others.items() if shape[0] == rows * heads)
    return {"per_head": per_head, "shared": tuple(name for name in others if name not in per_head)}
