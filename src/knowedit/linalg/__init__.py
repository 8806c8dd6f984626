"""The linear associative memory of the paper's Section 4, for any array library.

A weight `W` is (d_out, d_in), a key `k` is (d_in,), a value `v` is (d_out,), and `C = K Kᵀ` is
(d_in, d_in). Everything is solved in float64 and given back in the caller's library and device.

    update = insert_key_value(W, k, v, C)
    W_new = update.apply_to(W)
"""

from knowedit.linalg.factorised import RANK_TOLERANCE, FactorisedMoment
from knowedit.linalg.insert import insert_key_value
from knowedit.linalg.kkt import KKT, kkt
from knowedit.linalg.low_rank import LowRank
from knowedit.linalg.second_moment import SecondMoment

__all__ = [
    "KKT",
    "RANK_TOLERANCE",
    "FactorisedMoment",
    "LowRank",
    "SecondMoment",
    "insert_key_value",
    "kkt",
]
