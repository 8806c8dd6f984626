"""Interrupts at every instruction of applying and removing: nothing is left on, and nothing is half done."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from knowedit.editing import Edit, applied_edits
from tests.editing.conftest import Untouched, changed, low_rank, plain_edit, state
from tests.interrupts import Interrupter, alarms

OURS = ("guards.py", "models/overlays/", "edits/application.py", "edits/edit.py", "test_edit_interrupts.py")


@pytest.fixture
def lm(fresh_lm):
    return fresh_lm("gpt2", n_layer=2)


@pytest.fixture
def edits(lm) -> list[Edit]:
    """Three edits of one weight, the first of another one too."""
    more = {(0, "mlp_up"): low_rank(lm, 0, "mlp_up")}
    updates = ({(1, "mlp_down"): low_rank(lm, 1, "mlp_down", seed=s)} for s in range(3))
    return [plain_edit(lm, update | (more if i == 0 else {})) for i, update in enumerate(updates)]


EVERY = os.environ.get("KNOWEDIT_EVERY_INSTRUCTION") == "1"
STEP = 1 if EVERY else 7
"""Without the variable, which ``nox -s sequences`` sets, only `applied` is interrupted at every single instruction."""


def at_every_instruction(
    action: Callable[[], object], check: Callable[[int, bool], None], step: int = STEP
) -> None:
    """Interrupt ``action`` at its first instruction, then at the next, and so on; ``check`` after each."""
    kept = deque(maxlen=3)  # with their tracebacks, as an interactive session keeps the last one
    caught = 0
    for n in range(1, 100_000, step):
        one = Interrupter(n, files=OURS)
        try:
            with one:
                action()
        except KeyboardInterrupt as error:
            kept.append(error)
            caught += 1
        check(n, bool(one.where))
        if not one.where:
            assert caught == (n - 1) // step  # no interrupt was swallowed
            assert n > 300
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("below", [0, 1, 2])
def test_applied_is_undone_at_every_instruction(lm, edits, below):
    handles = [edit.apply(lm) for edit in edits[:below]]

    def use() -> None:
        with edits[2].applied(lm, check="edited"):
            assert len(applied_edits(lm)) == below + 1

    at_every_instruction(use, Untouched(lm), 1 if below == 0 else STEP)
    for handle in handles:
        handle.remove()


def test_the_test_finds_what_contextlib_leaves_on(lm, edits):
    @contextmanager
    def applied() -> Iterator[None]:
        handle = edits[0].apply(lm, check="edited")
        try:
            yield
        finally:
            handle.remove()

    def use() -> None:
        with applied():
            pass

    left_on = []

    def check(n: int, _interrupted: bool) -> None:
        left_on.extend(applied_edits(lm))
        for handle in applied_edits(lm):
            handle.remove()

    at_every_instruction(use, check)
    assert left_on


def test_a_handle_removes_at_every_instruction_of_its_with(lm, edits):
    before = Untouched(lm)
    for n in range(1, 100_000, STEP):
        handle, one = edits[0].apply(lm, check="edited"), Interrupter(n, files=OURS)
        entered = False
        with suppress(KeyboardInterrupt), one, handle:
            entered = True
        if entered:
            before(n)
        elif handle.active:
            handle.remove()
        if not one.where:
            assert n > 100
            return


@pytest.mark.parametrize("place", [0, 1, 2])
def test_remove_is_all_or_nothing_at_every_instruction(lm, edits, place):
    """From the top, the middle and the bottom of three."""
    handles = [edit.apply(lm) for edit in edits]
    on = state(lm)
    handles[place].remove()
    off = state(lm)
    for handle in handles:
        if handle.active:
            handle.remove()
    none = Untouched(lm)
    for n in range(1, 100_000, STEP):
        handles, one = [edit.apply(lm, check="edited") for edit in edits], Interrupter(n, files=OURS)
        with suppress(KeyboardInterrupt), one:
            handles[place].remove()
        assert changed(lm, on if handles[place].active else off) == [], n
        for handle in handles:
            if handle.active:
                handle.remove()
        none(n)
        if not one.where:
            assert n > 100
            return


def test_apply_is_all_or_nothing_at_every_instruction(lm, edits):
    none = Untouched(lm)
    with edits[0].applied(lm):
        whole = state(lm)

    def check(n: int, _interrupted: bool) -> None:
        assert changed(lm, whole if applied_edits(lm) else none.weights) == [], n
        for handle in applied_edits(lm):
            handle.remove()
        none(n)

    at_every_instruction(lambda: edits[0].apply(lm, check="edited"), check)


def test_other_exceptions_from_outside_are_as_good(lm, edits):
    """A signal handler may raise anything, for instance TimeoutError; also ours where it is not a refusal."""
    none = Untouched(lm)
    for n in range(1, 5000, 2 * STEP):
        one = Interrupter(n, files=OURS, error=TimeoutError)
        with suppress(TimeoutError), one, edits[0].applied(lm, check="edited"):
            pass
        none(n)
        if not one.where:
            return


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
@pytest.mark.parametrize("count", [1, 3])
def test_real_signals_at_random_times(lm, edits, count, monkeypatch):
    """Three within a millisecond are more than a hand can send."""
    monkeypatch.setattr(
        sys, "unraisablehook", lambda _: None
    )  # an interrupted undoing is reported and begun anew
    none, rng, caught = Untouched(lm), random.Random(0), 0

    def use() -> None:
        with edits[0].applied(lm, check="edited"), edits[1].applied(lm, check="edited"):
            pass

    with alarms(use, count) as start:
        for n in range(400 * (10 if EVERY else 1)):
            start(rng.uniform(1e-5, 2e-3), rng.uniform(1e-5, 3e-4))
            try:
                use()
            except KeyboardInterrupt:
                caught += 1
            none(n)
    assert caught > 40
