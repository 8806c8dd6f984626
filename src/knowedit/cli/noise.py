"""Random noise as it is asked for on the command line."""

from __future__ import annotations

from knowedit.tracing import Corruption, GaussianNoise, RelativeNoise


def chosen_noise(std: float | None, factor: float | None) -> Corruption:
    """Noise of a standard deviation, or of a multiple of the subject embeddings'; by default the usual multiple.

    Raises:
        InputError: one that is not positive.
    """
    if std is not None:
        return GaussianNoise(std)
    return RelativeNoise() if factor is None else RelativeNoise(factor)
