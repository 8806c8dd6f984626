"""The short texts x_j behind which a subject is read (Eqn. 7, Appendix D.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knowedit.errors import InputError

if TYPE_CHECKING:
    import torch

    from knowedit.models import LanguageModel


@dataclass(frozen=True)
class PrefixPlan:
    """Which prefixes are drawn from the model, and how they are put before a text.

    Attributes:
        lengths: pairs of (how many, of how many tokens).
        start: the text that each begins with; None for the model's start token, which leaves no text.
        count_start: whether the tokens of the start count towards the length.
        top_k: draw among the k most probable tokens; None among all.
        empty: whether one empty prefix, that is the bare text, comes before the others.
        separator: the text between a prefix and the text itself; a bare text has none.

    Raises:
        InputError: no prefix at all, or numbers below 1.
    """

    lengths: tuple[tuple[int, int], ...] = ((20, 2), (20, 5), (10, 10))
    start: str | None = None
    count_start: bool = False
    top_k: int | None = None
    empty: bool = False
    separator: str = " "

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple((count, tokens) for count, tokens in self.lengths))
        if any(number < 1 for pair in self.lengths for number in pair) or not (self.lengths or self.empty):
            raise InputError(
                f"prefixes are planned as {self.lengths}: give pairs of (how many, of how many tokens), each at least 1"
            )

    def sample(self, lm: LanguageModel, generator: torch.Generator) -> tuple[str, ...]:
        """Draw the texts x_j from the model itself.

        Args:
            lm: the unedited model.
            generator: draws the tokens; nothing else is random.

        Returns:
            The texts, in the plan's order, without special tokens; one that is all special tokens is empty.

        Raises:
            InputError: a start that is at least as long as a prefix.
        """
        from knowedit.models import encode  # not above: a plan is read without torch

        start = [lm.start_id] if self.start is None else encode(lm.tokenizer, self.start)
        prefixes = [""] if self.empty else []
        for count, tokens in self.lengths:
            new = tokens - len(start) if self.count_start else tokens
            if new < 1:
                raise InputError(
                    f"a prefix of {tokens} token(s) has no room after its start of {len(start)}: plan longer ones"
                )
            rows = lm.generate_ids(
                [start] * count, new, generator=generator, top_k=self.top_k, stop_at_eos=False
            )
            prefixes += [lm.tokenizer.decode(start + row, skip_special_tokens=True).strip() for row in rows]
        return tuple(prefixes)
