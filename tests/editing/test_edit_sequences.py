"""Random sequences of applying and removing, with exceptions, interrupts and a second thread: every bit comes back.

200 sequences here; 2,000 by ``nox -s sequences``.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest

from knowedit.editing import Edit, Handle, applied_edits
from knowedit.errors import InputError
from tests.editing.conftest import Untouched, low_rank, plain_edit
from tests.interrupts import Interrupter, alarms

MANY = os.environ.get("KNOWEDIT_EVERY_INSTRUCTION") == "1"
SEQUENCES = 2000 if MANY else 200
OURS = ("guards.py", "models/overlays/", "edits/application.py", "edits/edit.py", "test_edit_sequences.py")


class Stop(Exception):
    """What the body of a ``with`` raises."""


class Player:
    """Applies and removes edits of its own at random, some inside each other."""

    def __init__(self, lm, edits: Sequence[Edit], seed: int) -> None:
        self.lm, self.edits, self.rng = lm, edits, random.Random(seed)
        self.handles: list[Handle] = []
        self.refusals: list[str] = []
        self.steps = 0

    def play(self, depth: int = 0) -> None:
        for _ in range(self.rng.randrange(1, 4)):
            self.steps += 1
            try:
                self.step(depth)
            except InputError as error:
                self.refusals.append(str(error))

    def step(self, depth: int) -> None:
        on = [handle.edit for handle in applied_edits(self.lm)]
        free = [edit for edit in self.edits if edit not in on]
        mine = [handle for handle in self.handles if handle.active]
        match self.rng.choice(("apply", "remove", "with", "with", "raise")):
            case "apply" if free:
                self.handles.append(self.rng.choice(free).apply(self.lm, check="edited"))
            case "remove" if mine:
                self.rng.choice(mine).remove()
            case "with" if free and depth < 3:
                with self.rng.choice(free).applied(self.lm, check="edited"):
                    self.play(depth + 1)
            case "raise" if depth:
                raise Stop


@pytest.fixture
def edits(fresh_lm):
    lm = fresh_lm("gpt2", n_layer=2)
    parts = ((1, "mlp_down"), (1, "mlp_down"), (0, "mlp_up"), (1, "mlp_down"), (1, "attention_out"))
    return lm, [
        plain_edit(lm, {place: low_rank(lm, *place, seed=i)}, f"target{i}") for i, place in enumerate(parts)
    ]


def interrupted(player: Player) -> bool:
    """Play with an interrupt at a random instruction; whether it fell into the sequence."""
    one = Interrupter(player.rng.randrange(1, 4000), files=OURS)
    with suppress(KeyboardInterrupt, Stop), one:
        player.play()
    return bool(one.where)


def test_in_one_thread(edits):
    lm, every = edits
    untouched, hits, refusals = Untouched(lm), 0, []
    for seed in range(SEQUENCES):
        player = Player(lm, every, seed)
        if seed % 2:
            hits += interrupted(player)
        else:
            with suppress(Stop):
                player.play()
        for handle in applied_edits(lm):
            handle.remove()
        untouched(seed * 100 + 1)  # compares every number
        refusals += player.refusals
    assert refusals == []
    assert hits > SEQUENCES / 10


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
@pytest.mark.usefixtures("often")
def test_with_a_second_thread(edits):
    """By real signals. Nobody waits in vain here: whoever holds the model lets it go within milliseconds."""
    lm, every = edits
    untouched, hits, steps, refusals = Untouched(lm), 0, 0, []

    def play(player: Player) -> None:
        with suppress(Stop):
            player.play()

    def main(player: Player) -> None:
        play(player)

    for seed in range(SEQUENCES):
        first, second = Player(lm, every[:3], 2 * seed), Player(lm, every[3:], 2 * seed + 1)
        thread = threading.Thread(target=play, args=[second], name="the second thread")
        thread.start()
        with alarms(main, 1) as start:
            start(first.rng.uniform(1e-4, 5e-3), 1e-3)
            try:
                main(first)
            except KeyboardInterrupt:
                hits += 1
        thread.join()
        for handle in applied_edits(lm):
            handle.remove()
        untouched(seed * 100 + 1)
        steps += first.steps + second.steps
        refusals += first.refusals + second.refusals
    assert hits > SEQUENCES / 10
    assert len(refusals) <= steps / 100
    assert all("thread" in text.lower() for text in refusals), refusals[:3]
