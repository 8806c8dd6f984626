"""Continue texts with the model's own key-value cache.

The cache is fed a mask that covers prompt and new tokens and explicit positions: a mask of the new
token alone is silently read as "everything before is padding" and gives wrong text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.models.batches import Batch, Item, batch
from knowedit.models.forwards import run
from knowedit.models.prompts import encode

if TYPE_CHECKING:
    from knowedit.models.language_model import LanguageModel


def generate(
    lm: LanguageModel,
    prompt: str,
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
    top_k: int | None = None,
    temperature: float = 1.0,
    stop_at_eos: bool = True,
) -> str:
    """``prompt`` and its continuation as text.

    Args:
        lm: the model.
        prompt: the beginning; an empty one starts from the start token.
        max_new_tokens: at most so many tokens are added.
        generator: draws the tokens; without one the most probable token is taken.
        top_k: draw among the k most probable tokens only.
        temperature: divides the logits before drawing.
        stop_at_eos: end at the end-of-text token, which is left out.

    Raises:
        InputError: as `generate_ids`.
    """
    (text,) = generate_texts(
        lm,
        [prompt],
        max_new_tokens,
        generator=generator,
        top_k=top_k,
        temperature=temperature,
        stop_at_eos=stop_at_eos,
    )
    return text


def generate_texts(
    lm: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
    top_k: int | None = None,
    temperature: float = 1.0,
    stop_at_eos: bool = True,
) -> list[str]:
    """Each prompt and its continuation as text, all in one batch; see `generate` and `generate_ids`."""
    heads = [encode(lm.tokenizer, prompt) or [lm.start_id] for prompt in prompts]
    rows = generate_ids(
        lm,
        heads,
        max_new_tokens,
        generator=generator,
        top_k=top_k,
        temperature=temperature,
        stop_at_eos=stop_at_eos,
    )
    made = zip(prompts, heads, rows, strict=True)
    return [prompt + new_text(lm.tokenizer, head, new) for prompt, head, new in made]


def new_text(tokenizer: Any, ids: list[int], new: list[int]) -> str:
    """The text that the tokens ``new`` add to that of the tokens ``ids``."""
    # Decoding the new tokens alone would lose a leading space in some tokenizers.
    head = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    full = tokenizer.decode(ids + new, clean_up_tokenization_spaces=False)
    return str(full[len(head) :])


@torch.no_grad()
def generate_ids(
    lm: LanguageModel,
    prompts: Sequence[Item],
    max_new_tokens: int,
    *,
    generator: torch.Generator | None = None,
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
        top_k: see `generate`.
        temperature: see `generate`.
        stop_at_eos: whether the end-of-text token ends a row (and is left out) or is a token like others.

    Raises:
        InputError: more tokens than the model has positions, prompts of unequal lengths that outgrow the
            model's attention window, ``top_k`` or ``temperature`` without a generator, or values that make
            no sense.
    """
    _check_sampling(generator, top_k, temperature, max_new_tokens)
    data = batch(lm, prompts)
    lm.check_room(data.tokens + max_new_tokens)
    _check_window(lm, data, max_new_tokens)
    end = lm.end_id if stop_at_eos else None
    draw = partial(choose, generator=generator, top_k=top_k, temperature=temperature)
    columns = list(_steps(lm, data, max_new_tokens, draw, end))
    rows = torch.stack(columns, dim=1).tolist() if columns else [[] for _ in range(data.rows)]
    return [row if end is None else _before(row, end) for row in rows]


def _steps(
    lm: LanguageModel, data: Batch, count: int, draw: Callable[[Tensor], Tensor], end: int | None
) -> Iterator[Tensor]:
    """Yield the chosen ids ``(rows,)`` of each step; those of a row after its ``end`` mean nothing."""
    ids, mask, positions = data.ids, data.mask, data.positions
    keep: Tensor | None = data.last
    cache: Any = True
    going = torch.arange(data.rows, device=lm.device)
    logits = torch.zeros(data.rows, lm.vocabulary, device=lm.device)
    for step in range(count):
        found, cache = run(lm, ids, mask, positions, keep, cache)
        # All rows are drawn, the ended ones from old logits: what a row draws must not depend on the others' ends.
        logits[going] = found.view(len(going), -1).float()
        chosen = draw(logits)
        yield chosen
        on = torch.ones_like(going, dtype=torch.bool) if end is None else chosen[going] != end
        if not on.all():
            going, mask = going[on], mask[on]
            cache.batch_select_indices(on)
        if not len(going):
            return
        ids, positions, keep = chosen[going, None], (data.lengths[going] + step)[:, None], None
        mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)


def choose(
    logits: Tensor, generator: torch.Generator | None, top_k: int | None, temperature: float
) -> Tensor:
    """One id per row ``(rows,)`` of logits ``(rows, vocabulary)``: the best, or drawn with ``generator``."""
    if generator is None:
        return logits.argmax(dim=-1)
    best = logits.float().topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    chances = torch.softmax(best.values / temperature, dim=-1).to(generator.device)
    drawn = torch.multinomial(chances, 1, generator=generator).to(logits.device)
    return best.indices.gather(-1, drawn).squeeze(-1)


def _check_window(lm: LanguageModel, data: Batch, count: int) -> None:
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
