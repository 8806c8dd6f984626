"""Which layers are restored together around a centre: a window, clipped at the model's ends."""

from __future__ import annotations

from dataclasses import dataclass

from knowedit.errors import InputError

PAPER_SIZE = 10
PAPER_DEPTH = 48
"""The paper takes ten layers of GPT-2 XL's forty-eight."""


@dataclass(frozen=True)
class Window:
    """``before`` layers below the centre, the centre, and ``after`` layers above it.

    Attributes:
        before: how many layers below.
        after: how many layers above.

    Raises:
        InputError: a negative number.
    """

    before: int = 0
    after: int = 0

    def __post_init__(self) -> None:
        if self.before < 0 or self.after < 0:
            raise InputError(f"a window of {self.before} before and {self.after} after: neither may be < 0")

    @classmethod
    def paper(cls, size: int = PAPER_SIZE) -> Window:
        """Section 3: ten layers are ``[l - 4, ..., l + 5]``; an even window has one more layer above."""
        _check_size(size)
        return cls((size - 1) // 2, size // 2)

    @classmethod
    def released(cls, size: int = PAPER_SIZE) -> Window:
        """The released code: ten layers are ``[l - 5, ..., l + 4]``; an even window has one more below."""
        _check_size(size)
        return cls(size // 2, (size - 1) // 2)

    @classmethod
    def for_depth(cls, n_layers: int) -> Window:
        """The paper's window for a model of another depth: ten of 48 layers, in proportion.

        The size is ``10 · n_layers / 48``, rounded to the nearest whole number, halves up, and at least 1:
        12 layers give 3, 28 give 6.
        """
        return cls.paper(max(1, (2 * PAPER_SIZE * n_layers + PAPER_DEPTH) // (2 * PAPER_DEPTH)))

    @property
    def size(self) -> int:
        """The number of layers, where the model's ends do not clip it."""
        return self.before + 1 + self.after

    def layers(self, centre: int, n_layers: int) -> range:
        """The layers around ``centre``, without those that the model does not have."""
        return range(max(0, centre - self.before), min(n_layers, centre + self.after + 1))

    def check(self, n_layers: int) -> Window:
        """The window itself if it fits the model.

        Raises:
            InputError: more layers than the model has.
        """
        if self.size > n_layers:
            raise InputError(
                f"a window of {self.size} layers is larger than the model, which has {n_layers}: "
                "take a smaller one, or Window.for_depth(n_layers)"
            )
        return self


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError(f"a window of {size} layers: give at least 1")
