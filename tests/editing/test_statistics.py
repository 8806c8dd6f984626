from __future__ import annotations

import pytest
import torch

from knowedit.editing import collect_second_moment, save_second_moment, second_moment
from knowedit.errors import InputError
from knowedit.models import load
from tests.editing import oracles
from tests.models.oracles import full_logits

TEXTS = [
    "Paris is a city in Brazil.",
    "Marie Curie",
    "",
    "The mother tongue of Miles Davis is French. In Norway,",
]


def slow_moment(lm, layer):
    total, count = torch.zeros(lm.inner_width, lm.inner_width, dtype=torch.float64), 0
    for text in filter(None, TEXTS):
        seen = []
        handle = oracles.down(lm, layer).register_forward_pre_hook(
            lambda _m, args, seen=seen: seen.append(args[0])
        )
        full_logits(lm, lm.tokenizer(text)["input_ids"])
        handle.remove()
        keys = seen[0][0].double()
        total, count = total + keys.T @ keys, count + len(keys)
    return total / count, count


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_moment_equals_one_forward_a_text(family, batch_size):
    """Padding does not count, whatever the batch."""
    found = collect_second_moment(family, TEXTS, 2, batch_size=batch_size)
    expected, count = slow_moment(family, 2)
    assert found.count == count
    torch.testing.assert_close(found.matrix, expected, atol=1e-4, rtol=1e-4)


def test_no_text_is_refused(family):
    with pytest.raises(InputError, match="no text"):
        collect_second_moment(family, ["", ""], 0)


def test_long_texts_are_cut_at_the_models_positions(family):
    assert collect_second_moment(family, ["Paris " * 500], 0).count == family.max_tokens


def test_the_folder_keeps_it(tiny_folder):
    lm = load(str(tiny_folder))
    with pytest.raises(InputError, match="no key statistics"):
        second_moment(lm, 1)
    moment = collect_second_moment(lm, TEXTS, 1)
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
    assert torch.equal(second_moment(lm, 3).matrix, collect_second_moment(lm, TEXTS, 3).matrix)
    (tiny_folder / "knowedit.json").unlink()
