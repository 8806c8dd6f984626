"""Continue texts with the model's own key-value cache.

The cache is fed a mask that covers prompt and new tokens and explicit positions: a mask of the new
token alone is silently read as "everything before is padding" and gives wrong text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from knowedit.errors import InputError
from knowedit.models.forwards import Batch, Item, batch, forward
from knowedit.models.opened import OpenedModel
from knowedit.models.prompts import encode

Texts = TypeVar("Texts", str, list[str])


def generator_from(generator: torch.Generator | None, seed: int | None) -> torch.Generator | None:
    """The generator of a call that takes either: itself, or a new one on the CPU that starts at ``seed``.

    Args:
        generator: moved on by what is drawn from it.
        seed: the same draws in every call.

    Returns:
        A generator, or None if neither was given.

    Raises:
        InputError: both were given, or a seed that is not an integer from -2**63 to 2**64 - 1.
    """
    if seed is None:
        return generator
    if generator is not None:
        raise InputError(
            "generator and seed were both given: a seed replaces a generator, so give one of them"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"the seed is {seed!r}, expected an integer: give seed=0, or a generator")
    try:
        return torch.Generator().manual_seed(seed)
    except (ValueError, RuntimeError, OverflowError) as problem:
        raise InputError(f"the seed is {seed}, expected -2**63 to 2**64 - 1: give a smaller one") from problem


def generate(
    lm: OpenedModel,
    prompts: Texts,
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    top_k: int | None = None,
    temperature: float = 1.0,
    stop_at_eos: bool = True,
) -> Texts:
    """The prompt and its continuation as text; for a list of prompts, all in one batch, a list.

    Args:
        lm: the model.
        prompts: the beginning, or a list of them; an empty one starts from the start token.
        max_new_tokens: at most this number of tokens is added.
        generator: draws the tokens; without one or a seed the most probable token is taken.
        seed: of a new generator, see `generator_from`.
        top_k: draw among the k most probable tokens only.
        temperature: divides the logits before drawing.
        stop_at_eos: end at the end-of-text token, which is left out.

    Raises:
        InputError: as `generate_ids`.
    """
    texts = [prompts] if isinstance(prompts, str) else prompts
    heads = [encode(lm.tokenizer, text) or [lm.start_id] for text in texts]
    rows = generate_ids(
        lm,
        heads,
        max_new_tokens,
        generator=generator_from(generator, seed),
        top_k=top_k,
        temperature=temperature,
        stop_at_eos=stop_at_eos,
    )
    made = zip(texts, heads, rows, strict=True)
    full = [text + _new_text(lm.tokenizer, head, new) for text, head, new in made]
    return full[0] if isinstance(prompts, str) else full


def _new_text(tokenizer: Any, ids: list[int], new: list[int]) -> str:
    """The text that the tokens ``new`` add to that of the tokens ``ids``."""
    # Decoding the new tokens alone would lose a leading space in some tokenizers.
    head = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    full = tokenizer.decode(ids + new, clean_up_tokenization_spaces=False)
    return str(full[len(head) :])


@torch.no_grad()
def generate_ids(
    lm: OpenedModel,
    prompts: Sequence[Item],
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    top_k: int | None = None,
    temperature: float = 1.0,
    stop_at_eos: bool = True,
) -> list[list[int]]:
    """The new token ids of each prompt, in order, without the prompt.

    All prompts run in one batch: ``[[lm.start_id]] * 50`` draws fifty texts from nothing. The rows share the
    generator, so a row's draws depend on how many rows there are, and on nothing else but the seed.

    Args:
        lm: the model.
        prompts: texts, prompts or lists of ids, of any lengths.
        max_new_tokens: the number of tokens, or less for rows that reach the end of text.
        generator: see `generate`.
        seed: see `generate`.
        top_k: see `generate`.
        temperature: see `generate`.
        stop_at_eos: whether the end-of-text token ends a row (and is left out) or is a token like others.

    Raises:
        InputError: more tokens than the model has positions, prompts of unequal lengths that outgrow the
            model's attention window, ``top_k`` or ``temperature`` without a generator, or values that make
            no sense.
    """
    generator = generator_from(generator, seed)
    _check_sampling(generator, top_k, temperature, max_new_tokens)
    data = batch(lm, prompts)
    lm.check_room(data.tokens + max_new_tokens)
    _check_window(lm, data, max_new_tokens)
    end = lm.end_id if stop_at_eos else None
    draw = partial(_choose, generator=generator, top_k=top_k, temperature=temperature)
    columns = list(_steps(lm, data, max_new_tokens, draw, end))
    rows = torch.stack(columns, dim=1).tolist() if columns else [[] for _ in range(data.rows)]
    return [row if end is None else _before(row, end) for row in rows]


def _steps(
    lm: OpenedModel, data: Batch, count: int, draw: Callable[[Tensor], Tensor], end: int | None
) -> Iterator[Tensor]:
    """Yield the chosen ids ``(rows,)`` of each step; those of a row after its ``end`` mean nothing."""
    new, mask = data, data.mask
    keep: Tensor | None = data.last
    cache = DynamicCache(config=lm.model.config)
    going = torch.arange(data.rows, device=lm.device)
    logits = torch.zeros(data.rows, lm.vocabulary, device=lm.device)
    for step in range(count):
        found = forward(lm, new, keep, cache=cache, mask=mask).view(len(going), -1)
        # All rows are drawn, the ended ones from old logits: what a row draws must not depend on the others' ends.
        logits[going] = found.float()
        chosen = draw(logits)
        yield chosen
        on = torch.ones_like(going, dtype=torch.bool) if end is None else chosen[going] != end
        if not on.all():
            going, mask = going[on], mask[on]
            cache.batch_select_indices(on)
        if not len(going):
            return
        one = torch.ones_like(going)
        new = Batch(chosen[going, None], one[:, None], (data.lengths[going] + step)[:, None], one)
        mask, keep = torch.cat([mask, new.mask], dim=1), None


def _choose(
    logits: Tensor, generator: torch.Generator | None, top_k: int | None, temperature: float
) -> Tensor:
    """One id per row ``(rows,)`` of logits ``(rows, vocabulary)``: the best, or drawn with ``generator``."""
    if generator is None:
        return logits.argmax(dim=-1)
    best = logits.float().topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    chances = torch.softmax(best.values / temperature, dim=-1).to(generator.device)
    drawn = torch.multinomial(chances, 1, generator=generator).to(logits.device)
    return best.indices.gather(-1, drawn).squeeze(-1)


def _check_window(lm: OpenedModel, data: Batch, count: int) -> None:
    # The library counts the window's tokens in the cache, where the padding of a shorter row counts too.
    shortest, longest = int(data.lengths.min()), data.tokens
    if lm.window is not None and shortest < longest and longest + count > lm.window:
        raise InputError(
            f"{lm.name} attends to the last {lm.window} tokens only, and prompts of {shortest} to {longest} "
            f"tokens were to grow by {count} together: generate from prompts of one length at a time"
        )


def _before(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row


def _check_sampling(
    generator: torch.Generator | None, top_k: int | None, temperature: float, count: int
) -> None:
    if generator is None and (top_k is not None or temperature != 1.0):
        raise InputError("top_k and temperature only matter when tokens are drawn: give a generator as well")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, expected at least 1")
    if not temperature > 0:
        raise InputError(
            f"the temperature is {temperature}, expected more than 0: leave out the generator for greedy"
        )
    if count < 0:
        raise InputError(f"max_new_tokens is {count}, expected 0 or more")
