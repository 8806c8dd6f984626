"""Residuals `b − S y` to about twice float64's digits, made of matrix products that round nothing.

S and y are cut into slices of so few bits that every product and every sum of a slice by a slice is a
whole number of quanta below 2⁵³: BLAS gets it exactly, in whatever order it adds (Ozaki et al. 2012).
"""

from __future__ import annotations

import math

import numpy as np

from knowedit.linalg._arrays import Host

_BLOCK = 32


def residual(S: Host, y: Host, b: Host) -> Host:
    """`b − S y`, off by about 2⁻⁸⁰ of its largest terms before the one rounding at the end.

    Args:
        S: (d, d), entries of at most 2, as those of a semidefinite matrix with a diagonal of at most 2.
        y: (d, e), of any scale.
        b: (d, e).
    """
    bits = (51 - math.ceil(math.log2(len(S)))) // 2
    scale = np.exp2(np.frexp(np.abs(y).max(axis=0, initial=0.0))[1].astype(float))
    first, second, rest = _slices(y / scale, bits, bits + bits)
    result = np.empty_like(b)
    for start in range(0, len(S), _BLOCK):
        rows = slice(start, start + _BLOCK)
        S1, S2, S3 = _slices(S[rows], bits, bits + bits)
        exact = [S1 @ first, S1 @ second, S2 @ first]
        small = S1 @ rest + S2 @ (second + rest) + S3 @ (first + second)
        result[rows] = _difference(b[rows], [part * scale for part in exact], small * scale)
    return result


def _slices(A: Host, bits: int, more: int) -> tuple[Host, Host, Host]:
    """Three matrices of sum A, exactly: multiples of 2^-bits, of 2^-more, and what is left."""
    first = _quantised(A, bits)
    second = _quantised(A - first, more)
    return first, second, A - first - second


def _quantised(A: Host, bits: int) -> Host:
    """Every entry rounded to a multiple of 2^-bits, by a number so large that its last digit is that."""
    large = 1.5 * 2.0 ** (52 - bits)
    return (A + large) - large


def _difference(b: Host, exact: list[Host], small: Host) -> Host:
    """`b − Σ exact − small`, with the rounding errors of the large terms caught and added at the end."""
    total, lost = b, -small
    for part in exact:
        new = total - part
        back = total - new
        lost = lost + ((total - (new + back)) + (back - part))
        total = new
    return total + lost
