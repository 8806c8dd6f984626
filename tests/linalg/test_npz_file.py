"""The statistics of the released ROME code: read as they are, and nothing else is."""

import contextlib
import io
import pickle
import re
from typing import ClassVar

import numpy as np
import pytest
import torch

from knowedit.errors import FileFormatError, InputError, NumericalError, SingularError
from knowedit.linalg import SecondMoment

KEYS = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
CONTENT = {
    "mom2.constructor": np.array("util.runningstats.SecondMoment()"),
    "mom2.count": np.array(50),
    "mom2.mom2": KEYS.T @ KEYS,
    "sample_size": np.array(100000),
}
BARE = io.BytesIO()
np.save(BARE, np.eye(4))
BARE = BARE.getvalue()


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "transformer.h.17.mlp.c_proj_float32_mom2_100000.npz"
    np.savez(target, **CONTENT)
    return target


def test_the_raw_sum_and_the_count_are_those_of_the_file(path):
    moment = SecondMoment.from_npz(path)
    assert np.array_equal(moment.raw_sum, CONTENT["mom2.mom2"].astype(float))
    assert moment.raw_sum.dtype == np.float64
    assert moment.count == 50
    np.testing.assert_allclose(moment.matrix, KEYS.T @ KEYS / 50, rtol=1e-7)


@pytest.mark.parametrize(("dtype", "epsilon"), [("float16", -10), ("float32", -23), ("float64", -52)])
def test_the_rounding_of_the_file_is_remembered(path, dtype, epsilon):
    np.savez(path, **(CONTENT | {"mom2.mom2": CONTENT["mom2.mom2"].astype(dtype)}))
    moment = SecondMoment.from_npz(path)
    assert moment.resolution == 2.0**epsilon
    assert (moment + SecondMoment.zeros(4)).resolution == 2.0**epsilon


def test_a_float32_sum_of_too_few_keys_is_refused_with_its_rank(path):
    few = np.random.default_rng(1).standard_normal((7, 8)).astype(np.float32)
    np.savez(path, **(CONTENT | {"mom2.mom2": few.T @ few, "mom2.count": np.array(7)}))
    with pytest.raises(SingularError, match="rank 7 of 8"):
        SecondMoment.from_npz(path).factorise()


def test_it_merges_with_new_keys_and_goes_to_another_library(path):
    moment = SecondMoment.from_npz(path, like=torch.zeros(1))
    assert isinstance(moment.raw_sum, torch.Tensor)
    both = moment.update(torch.from_numpy(KEYS))
    assert both.count == 100
    np.testing.assert_allclose(both.matrix.numpy(), KEYS.T @ KEYS / 50, rtol=1e-6)


def test_compressed_files_and_files_without_the_unused_entries(path):
    np.savez_compressed(path, **{name: CONTENT[name] for name in ("mom2.mom2", "mom2.count")})
    assert SecondMoment.from_npz(str(path)).count == 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mom2.mom2": None}, "lacks mom2.mom2; it has ['mom2.constructor', 'mom2.count', 'sample_size']"),
        ({"mom2.count": None}, "lacks mom2.count"),
        ({"mom2.mom2": None, "mom2.count": None}, "lacks mom2.mom2 and mom2.count"),
        ({"mom2.mom2": np.ones((4, 3))}, "holds mom2.mom2 of shape (4, 3)"),
        ({"mom2.mom2": np.ones(4)}, "holds mom2.mom2 of shape (4,)"),
        ({"mom2.mom2": np.ones((0, 0))}, "holds mom2.mom2 of shape (0, 0)"),
        ({"mom2.mom2": np.eye(4, dtype=int)}, "holds mom2.mom2 of dtype int64"),
        ({"mom2.mom2": np.eye(4, dtype=complex)}, "holds mom2.mom2 of dtype complex128"),
        ({"mom2.count": np.array(0)}, "holds mom2.count = 0"),
        ({"mom2.count": np.array(-5)}, "holds mom2.count = -5"),
        ({"mom2.count": np.array([50])}, "holds mom2.count = [50] of shape (1,)"),
        ({"mom2.count": np.array(50.0)}, "dtype float64"),
        ({"mom2.count": np.array("50")}, "holds mom2.count = 50"),
    ],
)
def test_entries_that_are_missing_or_of_another_kind(path, changes, words):
    content = {name: x for name, x in (CONTENT | changes).items() if x is not None}
    np.savez(path, **content)
    with pytest.raises(FileFormatError) as caught:
        SecondMoment.from_npz(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "expected the statistics of the released ROME code" in message
    assert "\n" not in message


class Trap:
    """Unpickling this writes into a list, which shows that code has run."""

    sprung: ClassVar[list[bool]] = []

    def __reduce__(self):
        return (Trap.sprung.append, (True,))


def test_nothing_is_unpickled(path):
    """Not an entry that is a pickle, not a file that is one."""
    np.savez(path, **(CONTENT | {"mom2.mom2": np.array([Trap()], dtype=object)}))
    with pytest.raises(FileFormatError, match="cannot be read as a whole"):
        SecondMoment.from_npz(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileFormatError, match="cannot be read as a whole"):
        SecondMoment.from_npz(path)
    assert Trap.sprung == []


def test_a_pickle_in_an_entry_that_is_not_used_stays_closed(path):
    np.savez(path, **(CONTENT | {"mom2.constructor": np.array([Trap()], dtype=object)}))
    assert SecondMoment.from_npz(path).count == 50
    assert Trap.sprung == []


def test_every_truncation_is_noticed(path):
    good = path.read_bytes()
    for length in [*range(0, len(good), 37), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(FileFormatError):
            SecondMoment.from_npz(path)


def test_flipped_bits_in_the_sum_are_noticed(path):
    good = path.read_bytes()
    start = good.index(CONTENT["mom2.mom2"].tobytes())
    for place in range(start, start + CONTENT["mom2.mom2"].nbytes, 5):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match="cannot be read as a whole"):
            SecondMoment.from_npz(path)


def test_a_damaged_byte_anywhere_is_refused_or_without_effect(path):
    np.savez_compressed(path, **CONTENT)
    good = path.read_bytes()
    for place in range(0, len(good), 11):
        bad = bytearray(good)
        bad[place] ^= 255
        path.write_bytes(bad)
        with contextlib.suppress(FileFormatError):
            assert np.array_equal(SecondMoment.from_npz(path).raw_sum, CONTENT["mom2.mom2"])


def test_other_files(path, tmp_path):
    path.write_text("nothing of the kind")
    with pytest.raises(FileFormatError, match="cannot be read as a whole"):
        SecondMoment.from_npz(path)
    path.write_bytes(b"")
    with pytest.raises(FileFormatError, match="cannot be read as a whole"):
        SecondMoment.from_npz(path)
    np.save(tmp_path / "bare.npy", np.eye(4))
    with pytest.raises(FileFormatError, match="holds one bare array"):
        SecondMoment.from_npz(tmp_path / "bare.npy")
    with pytest.raises(InputError, match="there is no file"):
        SecondMoment.from_npz(tmp_path / "none.npz")
    with pytest.raises(InputError, match="there is no file"):
        SecondMoment.from_npz(tmp_path)


def test_the_words_of_the_refusals(path):
    expected = "expected the statistics of the released ROME code (mom2.mom2, a square sum, and mom2.count)"
    for content, found in (
        (b"no file", "cannot be read as a whole .npz file without pickles (.*)"),
        (b"", "cannot be read as a whole .npz file without pickles \\(No data left in file\\)"),
        (BARE, "holds one bare array"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError) as caught:
            SecondMoment.from_npz(path)
        ending = re.escape(f"; {expected}; download or compute it again")
        assert re.fullmatch(re.escape(f"{path} ") + found + ending, str(caught.value))
    with pytest.raises(InputError) as missing:
        SecondMoment.from_npz(path.with_name("none"))
    assert str(missing.value) == (
        f"there is no file {path.with_name('none')}; expected an .npz file of statistics; check the path"
    )


@pytest.mark.parametrize("count", [np.array(1), np.array(1, np.uint8), np.array(2**40, np.int64)])
def test_counts_of_any_size(path, count):
    np.savez(path, **(CONTENT | {"mom2.count": count}))
    assert SecondMoment.from_npz(path).count == int(count)


def test_sums_that_are_not_finite(path):
    np.savez(path, **(CONTENT | {"mom2.mom2": np.full((4, 4), np.inf)}))
    with pytest.raises(NumericalError, match=r"mom2\.mom2 in .* holds NaN or infinity"):
        SecondMoment.from_npz(path)
