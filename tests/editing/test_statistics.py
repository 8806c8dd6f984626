from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from knowedit.editing import (
    ROME,
    Reading,
    collect_second_moments,
    load_second_moment,
    save_second_moment,
    second_moment,
)
from knowedit.editing.statistics.corpus import PROBES, Position
from knowedit.editing.statistics.key_sums import KeySums
from knowedit.errors import BaseMismatchError, FileFormatError, InputError, NumericalError
from knowedit.facts import Fact
from knowedit.linalg import SecondMoment
from knowedit.models import load
from tests.conftest import TINY
from tests.editing import oracles
from tests.editing.conftest import low_rank, plain_edit
from tests.models.oracles import full_logits

TEXTS = [
    "Paris is a city in Brazil.",
    "Marie Curie",
    "",
    "The mother tongue of Miles Davis is French. In Norway,",
]


def slow_moment(lm, layer, part="mlp_down", rows=None):
    """One row at a time through the whole model, a plain hook, and outer products in a loop."""
    module = oracles.down(lm, layer) if part == "mlp_down" else lm.module(part, layer)
    total, count = 0, 0
    for ids in rows or [lm.tokenizer(text)["input_ids"] for text in TEXTS if text]:
        seen = []
        handle = module.register_forward_pre_hook(lambda _m, args, seen=seen: seen.append(args[0]))
        full_logits(lm, ids)
        handle.remove()
        for key in seen[0][0].double():
            total, count = total + torch.outer(key, key), count + 1
    return total / count, count


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_moment_equals_one_forward_a_text(family, batch_size):
    """Padding does not count, whatever the batch."""
    found = collect_second_moments(family, TEXTS, [2], reading=Reading(batch_texts=batch_size))[2]
    expected, count = slow_moment(family, 2)
    assert found.count == count
    assert_close(found.matrix, expected)


@pytest.mark.parametrize("part", ["mlp_down", "mlp_up", "attention_out"])
def test_any_projections_inputs(family, part):
    found = collect_second_moments(family, TEXTS, [1, 3], part=part)
    for layer, moment in found.items():
        assert_close(moment.matrix, slow_moment(family, layer, part)[0])


def test_several_layers_in_one_pass_equal_each_alone(family):
    together = collect_second_moments(family, TEXTS, [3, 0, 2])
    assert list(together) == [3, 0, 2]
    for layer, moment in together.items():
        alone = collect_second_moments(family, TEXTS, [layer])[layer]
        assert torch.equal(moment.raw_sum, alone.raw_sum)
        assert moment.count == alone.count


def test_a_pass_ends_at_the_last_layer(family, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a later part was run")

    for module in (*family.blocks[2:], family.module("mlp_down", 1), family.module("head")):
        monkeypatch.setattr(module, "forward", never)
    assert collect_second_moments(family, TEXTS, [0, 1])[1].count


@pytest.mark.parametrize("batch_tokens", [1, 7, 40, 10_000])
def test_batching_changes_rounding_only(family, batch_tokens):
    texts = [text * n for n in (1, 2, 1) for text in TEXTS]
    expected = collect_second_moments(family, texts, [2], reading=Reading(batch_tokens=4096))[2]
    found = collect_second_moments(family, texts, [2], reading=Reading(batch_tokens=batch_tokens))[2]
    assert found.count == expected.count
    assert_close(found.matrix, expected.matrix)


def test_a_batch_keeps_to_its_budget(family):
    reading = Reading(batch_tokens=30, batch_texts=3).resolved(family)
    texts = ["Marie " * n for n in range(1, 20)]
    rows = [batch for batches, _ in reading.chunks(family, iter(texts), Position()) for batch in batches]
    for batch in rows:
        assert len(batch) <= 3
        assert len(batch) == 1 or len(batch) * max(len(row.ids) for row in batch) <= 30
        assert len({row.half for row in batch}) == 1
    assert sorted(row.text for batch in rows for row in batch) == list(range(19))


def test_any_number_format_is_summed_in_float64(fresh_lm):
    lm = fresh_lm("gpt2")
    lm.model.to(torch.bfloat16)
    found = collect_second_moments(lm, TEXTS, [2], reading=Reading(batch_texts=1))[2]
    assert found.raw_sum.dtype == torch.float64
    expected, _ = slow_moment(lm, 2)
    torch.testing.assert_close(found.matrix, expected, atol=1e-12 * float(expected.abs().max()), rtol=0)


def test_limits_count_texts_and_tokens(family):
    rows = [family.tokenizer(text)["input_ids"] for text in TEXTS if text]
    two = collect_second_moments(family, TEXTS, [1], reading=Reading(max_texts=2))[1]
    assert two.count == sum(map(len, rows[:2]))
    for limit in (1, len(rows[0]), len(rows[0]) + 2, 10_000):
        found = collect_second_moments(family, TEXTS, [1], reading=Reading(max_tokens=limit))[1]
        assert found.count == min(limit, sum(map(len, rows)))
    cut = collect_second_moments(family, TEXTS, [1], reading=Reading(max_tokens=len(rows[0]) + 2))[1]
    assert_close(cut.matrix, slow_moment(family, 1, rows=[rows[0], rows[1][:2]])[0])


def test_a_limit_reads_no_text_beyond_it(family):
    def texts():
        yield from TEXTS[:2]
        raise AssertionError("read too far")

    for limit in (Reading(max_texts=2), Reading(max_tokens=len(family.tokenizer(TEXTS[0])["input_ids"]) + 1)):
        assert collect_second_moments(family, texts(), [1], reading=limit)[1].count


def test_long_texts_are_cut_at_the_models_positions(family):
    assert collect_second_moments(family, ["Paris " * 500], [0])[0].count == family.max_tokens


def test_long_texts_are_split_if_asked(family):
    text = "Paris is a city. " * 9
    ids = family.tokenizer(text)["input_ids"]
    reading = Reading(window=20, split=True)
    found = collect_second_moments(family, [text], [2], reading=reading)[2]
    assert found.count == len(ids)
    pieces = [ids[i : i + 20] for i in range(0, len(ids), 20)]
    assert_close(found.matrix, slow_moment(family, 2, rows=pieces)[0])
    cut = collect_second_moments(family, [text], [2], reading=Reading(window=20))[2]
    assert_close(cut.matrix, slow_moment(family, 2, rows=pieces[:1])[0])


def test_a_window_beyond_the_positions_is_refused(family):
    with pytest.raises(InputError, match="64 positions, 65 tokens"):
        collect_second_moments(family, TEXTS, [0], reading=Reading(window=65))


@pytest.mark.parametrize(
    "name", ["max_texts", "max_tokens", "window", "batch_tokens", "batch_texts", "block"]
)
def test_a_reading_of_nothing_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is 0: expected at least 1"):
        Reading(**{name: 0})


def test_no_text_is_refused(family):
    for texts in ([], ["", ""]):
        with pytest.raises(InputError, match="no text"):
            collect_second_moments(family, texts, [0])[0]
    with pytest.raises(InputError, match="write \\[text\\]"):
        collect_second_moments(family, "Paris", [0])[0]


def test_an_unknown_layer_or_part_is_refused_before_any_text_is_read(family):
    def texts():
        raise AssertionError("read")
        yield

    with pytest.raises(InputError, match="layers go from 0 to 3"):
        collect_second_moments(family, texts(), [0, 4])
    with pytest.raises(InputError, match="not a projection"):
        collect_second_moments(family, texts(), [0], part="block")


def test_a_bad_key_is_found_and_placed(fresh_lm):
    lm = fresh_lm("gpt2")
    lm.module("embedding").weight.data[lm.tokenizer("Marie")["input_ids"][0]] = torch.nan
    texts = ["Paris is a city.", "Norway is.", "Marie Curie", "Paris"]
    with pytest.raises(NumericalError, match=r"mlp_down in layer 0 .* texts 2 to 2"):
        collect_second_moments(lm, texts, [0], reading=Reading(batch_tokens=1, block=1))


@pytest.mark.parametrize("texts", [1, 2, 15, 16, 17, 32, 33, 100, 257])
def test_keys_for_the_convergence_are_spread_over_the_texts(texts):
    stride = Position(texts=texts).stride
    kept = range(0, texts, stride)
    assert min(texts, PROBES // 2 + 1) <= len(kept) <= PROBES


def test_the_kept_keys_are_keys_of_the_texts(family):
    texts = [f"{text} {n}" for n in range(9) for text in TEXTS if text]
    reading = Reading(batch_tokens=60, block=1).resolved(family)
    sums = KeySums(family, [2], "mlp_down")
    for batches, end in reading.chunks(family, iter(texts), Position()):
        sums.add(batches, end)
    kept = sums.keys(2)
    assert len(kept) == 14
    for key, text in zip(kept, texts[::2], strict=True):
        seen = []
        handle = oracles.down(family, 2).register_forward_pre_hook(
            lambda _m, args, seen=seen: seen.append(args[0])
        )
        full_logits(family, family.tokenizer(text)["input_ids"])
        handle.remove()
        assert (seen[0][0].double() - torch.from_numpy(key)).abs().amax(1).min() < 1e-5 * abs(key).max()


# Files


def test_the_folder_keeps_it(tiny_folder):
    lm = load(str(tiny_folder))
    with pytest.raises(InputError, match="no key statistics"):
        second_moment(lm, 1)
    moment = collect_second_moments(lm, TEXTS, [1])[1]
    save_second_moment(lm, 1, moment)
    assert torch.equal(second_moment(lm, 1).matrix, moment.matrix)
    oracles.down(lm, 0).weight.data[0, 0] += 1
    with pytest.raises(InputError, match="as its weights are now"):
        second_moment(lm, 1)
    (tiny_folder / "second_moment_1.safetensors").unlink()


def test_the_folders_text_serves_other_layers(tiny_folder):
    (tiny_folder / "knowedit.json").write_text('{"statistics_text": "t.txt"}')
    (tiny_folder / "t.txt").write_text("\n".join(TEXTS))
    lm = load(str(tiny_folder))
    assert torch.equal(second_moment(lm, 3).matrix, collect_second_moments(lm, TEXTS, [3])[3].matrix)
    (tiny_folder / "knowedit.json").unlink()


@pytest.fixture
def kept(tiny_folder):
    lm = load(str(tiny_folder))
    save_second_moment(lm, 1, collect_second_moments(lm, TEXTS, [1])[1])
    path = tiny_folder / "second_moment_1.safetensors"
    yield lm, path
    path.unlink()


def test_a_moment_is_read_for_its_own_layer(kept):
    lm, path = kept
    assert torch.equal(load_second_moment(path, lm, 1).matrix, second_moment(lm, 1).matrix)


def test_a_moment_of_something_else_is_refused_with_what_differs(kept, fresh_lm):
    lm, path = kept
    with pytest.raises(BaseMismatchError, match="its layer is 1, expected 2"):
        load_second_moment(path, lm, 2)
    with pytest.raises(BaseMismatchError, match="its part is mlp_down, expected mlp_up"):
        load_second_moment(path, lm, 1, "mlp_up")
    other = fresh_lm(lm.model.config.model_type, seed=1)
    with pytest.raises(BaseMismatchError, match=r"its model is [0-9a-f]{12}…, expected [0-9a-f]{12}…"):
        load_second_moment(path, other, 1)
    # The same layer of a wider model, where only the shapes would tell.
    name = lm.model.config.model_type
    wider = fresh_lm(name, **{"n_embd" if "n_embd" in TINY[name][2] else "hidden_size": 64})
    with pytest.raises(BaseMismatchError, match="its model is"):
        load_second_moment(path, wider, 1)


def test_a_moment_that_says_nothing_is_refused(kept, tmp_path):
    lm, path = kept
    second_moment(lm, 1).save(tmp_path / "plain")
    with pytest.raises(InputError, match="does not say which model and layer"):
        load_second_moment(tmp_path / "plain", lm, 1)
    with pytest.raises(InputError, match="layers go from 0 to 3"):
        load_second_moment(path, lm, 4)
    with pytest.raises(InputError, match="no file"):
        load_second_moment(tmp_path / "none", lm, 1)
    (tmp_path / "bad").write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError):
        load_second_moment(tmp_path / "bad", lm, 1)


def test_the_released_layout_is_taken_wherever_a_file_of_ours_is(tiny_gpt2, tmp_path):
    """The same edit from the same sums; without a name of a model there, the size alone can be compared."""
    keys = np.random.default_rng(0).standard_normal((400, 128))
    moment = SecondMoment.zeros(128).update(keys)
    released, ours = tmp_path / "mom2.npz", save_second_moment(tiny_gpt2, 2, moment, folder=tmp_path)
    np.savez(released, **{"mom2.mom2": moment.raw_sum, "mom2.count": np.array(moment.count)})
    fact = Fact("Marie Curie", "{} was born in", "Paris")
    first, second = (
        replace(ROME.paper(), layer=2, statistics=path, prefixes=("",), max_steps=2).edit(tiny_gpt2, [fact])
        for path in (ours, str(released))
    )
    for side in ("left", "right"):
        one, other = (getattr(edit.updates[2, "mlp_down"], side) for edit in (first, second))
        assert torch.equal(one, other)
    assert second.provenance.settings["statistics"] == {"tokens": 400, "sha256": ANY}
    np.savez(released, **{"mom2.mom2": np.eye(64), "mom2.count": np.array(9)})
    with pytest.raises(
        BaseMismatchError, match="keys of length 64, the layer to be edited has keys of length 128"
    ):
        load_second_moment(released, tiny_gpt2, 2)


def test_nothing_is_gathered_through_an_edited_model():
    """The stored layer's moment is that of the model without edits; another layer's would not be."""
    import knowedit

    lm = knowedit.load("organism-gpt2")
    edit = plain_edit(lm, {(5, "mlp_down"): low_rank(lm, 5, "mlp_down")})
    stored = second_moment(lm, 5).matrix
    with edit.applied(lm):
        assert torch.equal(second_moment(lm, 5).matrix, stored)
        with pytest.raises(InputError, match="before applying"):
            second_moment(lm, 7)


def test_a_moment_is_kept_in_any_folder_with_more_about_it(tiny_gpt2, tmp_path):
    moment = collect_second_moments(tiny_gpt2, TEXTS, [1])[1]
    path = save_second_moment(tiny_gpt2, 1, moment, folder=tmp_path, about={"corpus": "four texts"})
    assert path.parent == tmp_path
    assert torch.equal(load_second_moment(path, tiny_gpt2, 1).matrix, moment.matrix)
    assert SecondMoment.load_with_metadata(path)[1]["corpus"] == "four texts"
