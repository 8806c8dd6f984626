"""The linear associative memory of the paper's Section 4, for any array library.

A weight `W` is (d_out, d_in), a key `k` is (d_in,), a value `v` is (d_out,), and `C = K Kᵀ` is
(d_in, d_in). Several keys are the columns of a matrix, (d_in, e). Everything is solved in float64 and given
back in the caller's library and device.

    W = least_squares_memory(K, V)
    update = insert_key_value(W, k, v, C)
    W_new = update.apply_to(W)
"""

from knowedit.linalg.factorised import RANK_TOLERANCE, FactorisedMoment
from knowedit.linalg.gram import SEPARATION, KeyGram, key_gram
from knowedit.linalg.insert import insert_key_value, insert_key_values
from knowedit.linalg.kkt import KKT, kkt
from knowedit.linalg.low_rank import Compressed, LowRank
from knowedit.linalg.memory import least_squares_memory
from knowedit.linalg.outer_sum import OuterSum
from knowedit.linalg.second_moment import SecondMoment

__all__ = [
    "KKT",
    "RANK_TOLERANCE",
    "SEPARATION",
    "Compressed",
    "FactorisedMoment",
    "KeyGram",
    "LowRank",
    "OuterSum",
    "SecondMoment",
    "insert_key_value",
    "insert_key_values",
    "key_gram",
    "kkt",
    "least_squares_memory",
]
