"""How far a second moment from finite text is from that of endless text of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import SingularError
from knowedit.linalg import FactorisedMoment, SecondMoment

Host = NDArray[np.float64]


@dataclass(frozen=True)
class Convergence:
    """What an insertion would gain from more text, measured on keys drawn from the text.

    Attributes:
        condition: the condition number of C with its diagonal brought to ones, estimated from below;
            None when C is not of full rank.
        change: how much the update of an insertion would change with endless text of this kind, as a
            share of its effect on other keys: ‖w − w_∞‖ / ‖w‖ for w = C⁻¹k / (kᵀC⁻¹k), the right
            factor of the update, and ‖w‖² = wᵀCw, its mean square product with a key; the root mean
            square over the keys. None when C, or that of half of the text, is not of full rank.
        keys: how many keys it was measured on.
    """

    condition: float | None
    change: float | None
    keys: int

    @classmethod
    def between(cls, first: SecondMoment, second: SecondMoment, keys: Any) -> Convergence:
        """What the moments of two halves say of the text, which came from it independently.

        The mean of two independent estimates is as far from the truth as half of their difference is long,
        by the root mean square. With few keys beside d_in the halves are less exact than that
        extrapolation assumes, and the figure is too large rather than too small.

        Args:
            first: the moment of one half.
            second: the moment of the other.
            keys: ``(m, d_in)`` NumPy, float64: the keys to insert at.

        Raises:
            NumericalError: a moment that is indefinite or not finite.
        """
        whole = _factor(first.merge(second))
        keys = keys[np.any(keys != 0, axis=1)]
        halves = [_factor(half) if half.count >= half.dim and whole else None for half in (first, second)]
        condition = None if whole is None else whole.condition_estimate
        if whole is None or halves[0] is None or halves[1] is None or not len(keys):
            return cls(condition, None, len(keys))
        a, b, both = (_directions(factor, keys) for factor in (halves[0], halves[1], whole))
        C = whole.matrix
        shares = _squares(C, a - b) / (4 * _squares(C, both))
        return cls(condition, float(np.sqrt(shares.mean())), len(keys))

    @property
    def excess(self) -> float | None:
        """`change` squared: how much more than needed (in ‖(Ŵ−W)K‖²) an insertion disturbs other keys.

        Nothing is lost to first order, because w_∞ is the minimum: ‖w‖² − ‖w_∞‖² = ‖w − w_∞‖² under the
        moment of endless text.
        """
        return None if self.change is None else self.change**2


def _factor(moment: SecondMoment) -> FactorisedMoment | None:
    try:
        return moment.factorise() if moment.count else None
    except SingularError:
        return None


def _directions(factor: FactorisedMoment, keys: Host) -> Host:
    """W of each key, ``(d_in, m)``."""
    solved = np.asarray(factor.solve(keys.T))
    return np.asarray(solved / np.einsum("mi,im->m", keys, solved))


def _squares(C: Host, w: Host) -> Host:
    return np.asarray(np.einsum("im,im->m", w, C @ w))
