"""Every message of knowedit.linalg, word for word, against `messages.json`.

A changed message is a changed file: write it again with `python -m tests.linalg.test_messages` and read the
difference, which is what a user will see.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from knowedit.errors import KnoweditError
from knowedit.linalg import (
    FactorisedMoment,
    LowRank,
    SecondMoment,
    insert_key_value,
    insert_key_values,
    key_gram,
    kkt,
    least_squares_memory,
)

GOLDEN = Path(__file__).with_name("messages.json")

W, k, v = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0])
C = np.diag([1.0, 2.0, 4.0])
K, V = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.eye(2)
ONES = np.ones((3, 3))
NAN = np.array([1.0, np.nan, np.inf])
UPDATE = LowRank(np.ones((2, 1)), np.ones((3, 1)), np.dtype("float32"))
MOMENT = SecondMoment.from_matrix(C, count=5)
HALF = np.ones((2, 3), np.float16)


def low(left, right, dtype="float64"):
    return LowRank(left, right, np.dtype(dtype))


CASES = {
    "array kind": lambda: insert_key_value(W, [1.0], v, C),
    "array library": lambda: insert_key_value(W, torch.ones(3), v, C),
    "dtype": lambda: insert_key_value(W.astype(int), k, v, C),
    "not finite": lambda: insert_key_value(W, NAN, v, C),
    "W flat": lambda: insert_key_value(k, k, v, C),
    "W empty": lambda: insert_key_value(W[:0], k, v[:0], C),
    "W without columns": lambda: insert_key_value(W[:, :0], k[:0], v, C),
    "k shape": lambda: insert_key_value(W, v, v, C),
    "v shape": lambda: insert_key_value(W, k, k, C),
    "zero key": lambda: insert_key_value(W, 0 * k, v, C),
    "C shape": lambda: insert_key_value(W, k, v, K),
    "C other size": lambda: insert_key_value(W, k, v, SecondMoment.zeros(4)),
    "divisor": lambda: insert_key_value(W, 1e-200 * k, v, C),
    "K_new flat": lambda: insert_key_values(W, k, v, C),
    "K_new turned": lambda: insert_key_values(W, K.T, V, C),
    "K_new empty": lambda: insert_key_values(W, K[:, :0], V[:, :0], C),
    "V_new turned": lambda: insert_key_values(W, K, np.ones((3, 2)), C),
    "ridge": lambda: insert_key_values(W, K, V, C, ridge=-1.0),
    "zero keys": lambda: insert_key_values(W, K * np.array([1.0, 0.0]), V, C),
    "equal keys": lambda: insert_key_values(W, K[:, [0, 0]], V, C),
    "dependent keys": lambda: insert_key_values(W, np.hstack([K, K.sum(1)[:, None]]), np.ones((2, 3)), C),
    "too many keys": lambda: insert_key_values(
        W, np.array([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]), np.ones((2, 4)), C
    ),
    "ridge too small": lambda: insert_key_values(W, K[:, [0, 0]], V, C, ridge=1e-30),
    "gram keys": lambda: key_gram(k, C),
    "gram library": lambda: key_gram(K, torch.ones(3, 3)),
    "gram not finite": lambda: key_gram(NAN[:, None], C),
    "factor shape": lambda: FactorisedMoment.from_matrix(K),
    "factor flat": lambda: FactorisedMoment.from_matrix(k),
    "factor not finite": lambda: FactorisedMoment.from_matrix(np.diag(NAN)),
    "factor not symmetric": lambda: FactorisedMoment.from_matrix(np.triu(ONES)),
    "factor negative diagonal": lambda: FactorisedMoment.from_matrix(-C),
    "factor indefinite": lambda: FactorisedMoment.from_matrix(ONES + np.triu(ONES, 1) + np.tril(ONES, -1)),
    "factor singular": lambda: FactorisedMoment.from_matrix(ONES),
    "factor dead": lambda: FactorisedMoment.from_matrix(np.diag([1.0, 0.0, 2.0])),
    "solve shape": lambda: MOMENT.factorise().solve(v),
    "solve kind": lambda: MOMENT.factorise().solve([1.0]),
    "solve dtype": lambda: MOMENT.factorise().solve(np.ones(3, int)),
    "solve not finite": lambda: MOMENT.factorise().solve(NAN),
    "solve overflow": lambda: FactorisedMoment.from_matrix(1e-200 * C).solve(1e200 * k),
    "moment size": lambda: SecondMoment.zeros(0),
    "moment shape": lambda: SecondMoment(K, 1),
    "moment flat": lambda: SecondMoment(k, 1),
    "moment dtype": lambda: SecondMoment(C.astype(int), 1),
    "moment count": lambda: SecondMoment(C, -1),
    "moment mean count": lambda: SecondMoment.from_matrix(C, count=0),
    "moment mean dtype": lambda: SecondMoment.from_matrix(C.astype(int), count=1),
    "moment mean not finite": lambda: SecondMoment.from_matrix(np.diag(NAN), count=1),
    "moment empty": lambda: SecondMoment.zeros(3).matrix,
    "moment keys flat": lambda: MOMENT.update(k),
    "moment keys width": lambda: MOMENT.update(K),
    "moment keys dtype": lambda: MOMENT.update(K.T.astype(int)),
    "moment keys library": lambda: MOMENT.update(torch.ones(2, 3)),
    "moment keys not finite": lambda: MOMENT.update(NAN[None]),
    "moment overflow": lambda: MOMENT.update(1e200 * K.T),
    "moment merge kind": lambda: MOMENT + C,
    "moment merge size": lambda: MOMENT + SecondMoment.zeros(4),
    "moment merge library": lambda: MOMENT + SecondMoment.zeros(3, like=torch.ones(1)),
    "moment damping": lambda: MOMENT.damped(-1),
    "moment condition": lambda: SecondMoment(np.diag(NAN), 1).condition(),
    "moment save": lambda: SecondMoment(np.diag(NAN), 1).save("none"),
    "kkt ways": lambda: kkt(W, k, v, C),
    "kkt flat": lambda: kkt(k, k, v, C, W=W),
    "kkt W": lambda: kkt(W, k, v, C, W=W.T),
    "kkt k": lambda: kkt(W, v, v, C, W=W),
    "kkt v": lambda: kkt(W, k, k, C, W=W),
    "kkt k deep": lambda: kkt(W, K[..., None], V[..., None], C, W=W),
    "kkt C": lambda: kkt(W, k, v, K, W=W),
    "kkt K": lambda: kkt(W, k, v, K=k, V=V),
    "kkt V": lambda: kkt(W, k, v, K=K, V=np.ones((2, 3))),
    "kkt VKt": lambda: kkt(W, k, v, C, VKt=W.T),
    "kkt W_hat dtype": lambda: kkt(W.astype(int), k, v, C, W=W),
    "kkt K dtype": lambda: kkt(W, k, v, K=K.astype(int), V=V),
    "kkt W not finite": lambda: kkt(W, k, v, C, W=np.nan * W),
    "kkt W_hat not finite": lambda: kkt(np.nan * W, k, v, C, W=W),
    "kkt k not finite": lambda: kkt(W, NAN, v, C, W=W),
    "kkt v not finite": lambda: kkt(W, k, np.nan * v, C, W=W),
    "kkt C not finite": lambda: kkt(W, k, v, np.diag(NAN), W=W),
    "kkt K not finite": lambda: kkt(W, k, v, K=np.nan * K, V=V),
    "kkt V not finite": lambda: kkt(W, k, v, K=K, V=np.nan * V),
    "kkt VKt not finite": lambda: kkt(W, k, v, C, VKt=np.nan * W),
    "memory K": lambda: least_squares_memory(k, V),
    "memory V flat": lambda: least_squares_memory(K, v),
    "memory V": lambda: least_squares_memory(K, np.ones((2, 3))),
    "memory V dtype": lambda: least_squares_memory(K, V.astype(int)),
    "memory damping": lambda: least_squares_memory(K, V, damping=-1.0),
    "memory zero": lambda: least_squares_memory(0 * K, V),
    "memory K not finite": lambda: least_squares_memory(np.nan * K, V),
    "memory V not finite": lambda: least_squares_memory(K, np.nan * V),
    "memory overflow": lambda: least_squares_memory(1e-6 * K, V.astype(np.float16)),
    "low rank left": lambda: low(k, K),
    "low rank right": lambda: low(K, k),
    "low rank columns": lambda: low(K, k[:, None]),
    "low rank left dtype": lambda: low(K.astype(int), K),
    "low rank right dtype": lambda: low(K, K.astype(int)),
    "low rank dtype": lambda: low(K, K, "int8"),
    "low rank library": lambda: low(K, torch.ones(3, 2)),
    "materialise dtype": lambda: UPDATE.materialise(np.int8),
    "materialise overflow": lambda: low(1e9 * K, K, "float16").materialise(),
    "apply shape": lambda: UPDATE.apply_to(W.T),
    "apply dtype": lambda: UPDATE.apply_to(W.astype(int)),
    "apply library": lambda: UPDATE.apply_to(torch.ones(2, 3)),
    "apply overflow": lambda: (1e9 * UPDATE).apply_to(HALF),
    "dense flat": lambda: LowRank.from_dense(k, rank=1),
    "dense dtype": lambda: LowRank.from_dense(W.astype(int), rank=1),
    "dense not finite": lambda: LowRank.from_dense(np.nan * W, rank=1),
    "dense target": lambda: LowRank.from_dense(W, rank=1, dtype=np.dtype("int8")),
    "rank": lambda: UPDATE.recompressed(rank=0),
    "tolerance": lambda: UPDATE.recompressed(tolerance=2.0),
    "rank and tolerance": lambda: UPDATE.recompressed(rank=1, tolerance=0.1),
    "decomposition not finite": lambda: low(np.full((2, 1), 1e300), np.full((3, 1), 1e300)).recompressed(
        rank=1
    ),
    "factor infinite": lambda: np.inf * UPDATE,
    "factor overflow": lambda: 1e308 * (100 * UPDATE),
    "sum shape": lambda: UPDATE + low(K, K, "float32"),
    "sum dtype": lambda: UPDATE + low(UPDATE.left, UPDATE.right),
    "sum library": lambda: UPDATE + LowRank(torch.ones(2, 1), torch.ones(3, 1), torch.float32),
}


def said(name):
    """The class and the words of what a case raises."""
    with pytest.raises(KnoweditError) as caught:
        CASES[name]()
    return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.parametrize("name", CASES)
def test_the_message_is_the_one_on_record(name):
    assert said(name) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


def test_every_message_says_what_was_found_what_was_expected_and_what_to_do():
    record = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(record) == list(CASES)
    for message in record.values():
        found, expected, advice = message.split("; ", 2)
        assert found
        assert expected.startswith("expected ")
        assert advice
        assert "\n" not in message


if __name__ == "__main__":
    record = {name: said(name) for name in CASES}
    GOLDEN.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
