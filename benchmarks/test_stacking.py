"""One edit on top of many: the time of edit 1, of edit 2 and of edit 160, in one run.

    nox -s bench -- -k stacking        or       pytest benchmarks/test_stacking.py -s

Edits of rank 1 of one weight of organism-gpt2; its checks are those of `apply` with ``check="edited"`` and with
``check="all"``, which reads the whole model. Each time is the median of ten edits. Before the sum of the changes was
kept, edit 160 took 22 to 24 times as long as edit 1 with ``check="edited"``.
"""

from __future__ import annotations

import time
from statistics import median

import pytest

import knowedit
from tests.editing.conftest import low_rank, plain_edit

EDITS = 160


@pytest.mark.parametrize("check", ["edited", "all"])
def test_stacking(check):
    lm = knowedit.load("organism-gpt2")
    updates = ({(2, "mlp_down"): low_rank(lm, 2, "mlp_down", seed=seed)} for seed in range(EDITS))
    edits = [plain_edit(lm, update, f"object {i}") for i, update in enumerate(updates)]
    single = [_timed(lambda edit=edit: edit.apply(lm, check=check).remove()) for edit in edits[:11]]
    times = [_timed(lambda edit=edit: edit.apply(lm, check=check)) for edit in edits]
    first, second, last = median(single[1:]), median(times[1:11]), median(times[-10:])
    print(f"\ncheck={check}: one edit alone, with its removal {first * 1e3:.2f} ms")
    print(f"edits 2 to 11 {second * 1e3:.2f} ms, edits 151 to 160 {last * 1e3:.2f} ms: ", end="")
    print(f"{last / second:.2f} times as long")
    assert last < 2.5 * second


def _timed(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
