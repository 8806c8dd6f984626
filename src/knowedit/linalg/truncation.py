"""How many singular values to keep, and what is lost with the others."""

from __future__ import annotations

import numpy as np

from knowedit.errors import InputError
from knowedit.linalg._arrays import EPSILON, Host

_ROUNDING = 8 * EPSILON["float64"]


def kept(sigma: Host, rank: int | None, tolerance: float | None) -> tuple[int, float]:
    """The number of singular values to keep, at least one if there are any, and the relative error.

    Args:
        sigma: the singular values, falling.
        rank: keep this many.
        tolerance: keep the fewest for which the error is at most this. With neither, drop rounding only.

    Raises:
        InputError: both, a rank below 1, or a tolerance outside 0 to 1.
    """
    if rank is not None and tolerance is not None:
        raise InputError("found a rank and a tolerance; expected one of them; leave one out")
    if rank is not None and rank < 1:
        raise InputError(f"rank is {rank}; expected at least 1; an update of rank 0 changes nothing")
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise InputError(f"tolerance is {tolerance}; expected a share of the norm from 0 to 1; try 0.01")
    errors = _errors(sigma)
    if rank is None:
        rank = _fewest(sigma, errors, tolerance)
    count = min(rank, len(sigma))
    return count, float(errors[count])


def _errors(sigma: Host) -> Host:
    """The relative error of keeping 0, 1, ... of them; summed from the smallest, so that none is lost."""
    largest = sigma[0] if len(sigma) and sigma[0] > 0 else 1.0
    squares = (sigma / largest)[::-1] ** 2
    tails = np.concatenate([[0.0], np.cumsum(squares)])[::-1]
    return np.asarray(np.sqrt(tails / (tails[0] or 1.0)))


def _fewest(sigma: Host, errors: Host, tolerance: float | None) -> int:
    if tolerance is None:
        return max(1, int((sigma > _ROUNDING * sigma.max(initial=0.0)).sum()))
    return max(1, int((errors > tolerance).sum()))
