"""Threads and tasks that edit one model: each sees its own edit alone, or is told who is in its way."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from knowedit.editing import applied_edits
from knowedit.errors import InputError
from knowedit.models import fingerprint
from knowedit.models.overlays.pile import NOTE
from tests.editing.conftest import changed, low_rank, plain_edit, state, storages

pytestmark = pytest.mark.usefixtures("often")


@pytest.fixture
def lm(fresh_lm):
    return fresh_lm("gpt2", n_layer=2)


@pytest.fixture
def edits(lm):
    return [plain_edit(lm, {(1, "mlp_down"): low_rank(lm, 1, "mlp_down", seed=s)}) for s in range(2)]


@contextmanager
def held(edit, lm, name="the other one"):
    """``edit`` is applied by another thread until the end of the ``with``."""
    there, end = threading.Event(), threading.Event()

    def hold() -> None:
        with edit.applied(lm):
            there.set()
            end.wait()

    thread = threading.Thread(target=hold, name=name)
    thread.start()
    there.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("same", [False, True], ids=["two edits", "the same edit"])
def test_each_thread_sees_its_own_edit_alone(lm, edits, same):
    before, pointers = state(lm), storages(lm)
    weight, expected = lm.projection(1).parameter, []
    for edit in edits:
        with edit.applied(lm):
            expected.append(weight.detach().clone())

    def use(number: int) -> int:
        number = 0 if same else number
        for _ in range(60):
            with edits[number].applied(lm, check="edited"):
                assert torch.equal(weight, expected[number])
        return 60

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, range(2))) == [60, 60]
    assert (changed(lm, before), storages(lm), NOTE in lm.model.__dict__) == ([], pointers, False)


def test_handles_of_two_threads_never_tear_the_weights(lm, edits):
    before, pointers, base = state(lm), storages(lm), fingerprint(lm)

    def use(number: int) -> None:
        for _ in range(60):
            edits[number].apply(lm, check="edited").remove()
            assert fingerprint(lm) == base  # the own weights, whatever the other thread does

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(use, range(2)))
    assert (changed(lm, before), storages(lm), NOTE in lm.model.__dict__) == ([], pointers, False)


def test_who_waits_in_vain_is_told_for_whom(lm, edits):
    handle = edits[0].apply(lm)
    with held(edits[1], lm):
        on = state(lm)
        words = f"held by the thread 'the other one' for the edit {edits[1].digest[:12]}, which was waited for 0.05 s"
        for action in (edits[0].apply, edits[0].applied):
            with pytest.raises(InputError, match=words), action(lm, wait=0.05):
                pass
        for mine in (handle, applied_edits(lm)[1]):
            with pytest.raises(InputError, match=words):
                mine.remove(wait=0.05)
        assert changed(lm, on) == []
        assert handle.active
        lm.logits(["The"])  # to run the model nobody waits
    handle.remove()
    assert NOTE not in lm.model.__dict__


def test_a_thread_nests_edits_and_lets_go_with_the_last(lm, edits):
    with edits[0].applied(lm):
        with edits[1].applied(lm):
            handle = applied_edits(lm)[0]
            handle.remove()
            edits[0].apply(lm)
        with (
            ThreadPoolExecutor(1) as pool,
            pytest.raises(InputError, match="held by the thread 'MainThread'"),
        ):
            pool.submit(edits[1].apply, lm, wait=0.01).result()
    applied_edits(lm)[0].remove()
    assert NOTE not in lm.model.__dict__


def test_tasks_that_share_a_thread_are_refused_at_once(lm, edits):
    """Waiting would stop the event loop, and with it the task that is waited for."""

    async def hold() -> None:
        with edits[0].applied(lm):
            await asyncio.sleep(0.1)

    async def use() -> None:
        with pytest.raises(InputError, match=r"the task 'holding' in the thread .* cannot go on while"):
            edits[1].apply(lm)

    async def both() -> None:
        first = asyncio.create_task(hold(), name="holding")
        await asyncio.sleep(0.01)
        await asyncio.create_task(use())
        await first
        with edits[1].applied(lm):
            pass

    asyncio.run(both())
    assert NOTE not in lm.model.__dict__


def test_an_exit_may_run_in_another_thread(lm, edits):
    """As web frameworks do with generators."""
    before = state(lm)

    def generator():
        with edits[0].applied(lm), edits[1].applied(lm):
            yield

    running = generator()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, running).result()
        assert len(applied_edits(lm)) == 2
        running.close()
        assert (changed(lm, before), NOTE in lm.model.__dict__) == ([], False)


def test_a_thread_that_has_ended_holds_nothing(lm, edits):
    running = []

    def generator():
        with edits[0].applied(lm):
            yield

    def begin() -> None:
        running.append(generator())
        next(running[0])

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    with edits[1].applied(lm, wait=0):
        assert len(applied_edits(lm)) == 2
    running.pop().close()
    assert NOTE not in lm.model.__dict__


def test_an_applied_cannot_be_entered_twice_at_once(lm, edits):
    before, once = state(lm), edits[0].applied(lm)
    with once:
        on = state(lm)
        with pytest.raises(InputError, match="inside its with already"), once:
            pass
        assert changed(lm, on) == []
    assert changed(lm, before) == []
    with once:
        assert changed(lm, on) == []
    assert changed(lm, before) == []


def test_looking_at_a_handle_removes_nothing(lm, edits):
    handle = edits[0].apply(lm)
    assert all(hasattr(handle, name) for name in dir(handle))
    assert handle.active
    handle.remove()
