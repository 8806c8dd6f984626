"""Windows, roles, corruptions and prompts as values; what is refused, and in which words."""

from __future__ import annotations

import warnings

import pytest
import torch

from knowedit.errors import InputError, ShapeError
from knowedit.models import LanguageModel, locate
from knowedit.tracing import (
    FixedNoise,
    GaussianNoise,
    RelativeNoise,
    Role,
    Substitution,
    TraceSettings,
    UnpredictedAnswer,
    Window,
    causal_trace,
)
from knowedit.tracing.prompts import read_prompt
from tests.conftest import noise

PROMPT, SUBJECT = "In town, {} is in the city of", "Marie Curie"
TWO = TraceSettings(draws=2)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_papers_window_and_that_of_the_released_code():
    assert list(Window.paper().layers(17, 48)) == [13, 14, 15, 16, 17, 18, 19, 20, 21, 22]
    assert list(Window.released().layers(17, 48)) == [12, 13, 14, 15, 16, 17, 18, 19, 20, 21]
    assert Window.paper(3) == Window.released(3) == Window(1, 1)


def test_windows_are_clipped_at_both_ends():
    assert list(Window.paper().layers(0, 48)) == [0, 1, 2, 3, 4, 5]
    assert list(Window.paper().layers(47, 48)) == [43, 44, 45, 46, 47]
    assert list(Window().layers(5, 12)) == [5]


@pytest.mark.parametrize(("layers", "size"), [(48, 10), (28, 6), (12, 3), (6, 1), (4, 1), (2, 1), (1, 1)])
def test_other_depths_get_their_share_of_ten_in_48(layers, size):
    assert Window.for_depth(layers) == Window.paper(size)


@pytest.mark.parametrize("wrong", [lambda: Window(-1, 0), lambda: Window(0, -1), lambda: Window.paper(0)])
def test_impossible_windows(wrong):
    with pytest.raises(InputError):
        wrong()


def test_roles(tiny_gpt2):
    prompt = locate(tiny_gpt2, PROMPT, SUBJECT)
    roles = Role.of(prompt)
    assert roles[prompt.start] == Role.FIRST_SUBJECT
    assert set(roles[: prompt.start]) == {Role.BEFORE}
    assert set(roles[prompt.start + 1 : prompt.stop - 1]) <= {Role.MIDDLE_SUBJECT}
    assert roles[prompt.stop - 1 : prompt.stop + 1] == (Role.LAST_SUBJECT, Role.FIRST_AFTER)
    assert set(roles[prompt.stop + 1 : -1]) == {Role.FURTHER}
    assert roles[-1] == Role.LAST


def test_roles_where_there_is_no_room(tiny_gpt2):
    assert Role.of(locate(tiny_gpt2, "{}", "e")) == (Role.LAST_SUBJECT,)
    end = Role.of(locate(tiny_gpt2, "It is the {}", "Space Needle"))
    assert end[-1] == Role.LAST_SUBJECT
    assert Role.LAST not in end
    one_after = Role.of(locate(tiny_gpt2, "{} is", "Marie"))
    assert one_after[-1] == Role.LAST
    assert Role.FIRST_AFTER not in one_after


def test_noise_is_added_to_the_subject_alone_and_has_the_deviation_that_was_asked_for(tiny_gpt2):
    prompt = locate(tiny_gpt2, PROMPT, SUBJECT)
    embeddings, noise = GaussianNoise(0.3).corrupt(tiny_gpt2, prompt, SUBJECT, 200, seeded())
    assert noise.shape == (200, prompt.stop - prompt.start, tiny_gpt2.width)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    own = tiny_gpt2.module("embedding")(torch.tensor([prompt.ids[prompt.subject]]))
    assert torch.equal(embeddings, own + noise)


def test_relative_noise_is_a_multiple_of_the_embeddings_deviation(tiny_gpt2):
    prompt = locate(tiny_gpt2, PROMPT, SUBJECT)
    own = tiny_gpt2.module("embedding").weight.detach()[list(prompt.ids[prompt.subject])]
    mean = own.mean()
    std = float(((own - mean) ** 2).sum().div(own.numel() - 1).sqrt())
    assert GaussianNoise.of_embeddings(tiny_gpt2, [prompt], 1).std == pytest.approx(std, rel=1e-5)
    _, relative = RelativeNoise(3).corrupt(tiny_gpt2, prompt, SUBJECT, 4, seeded())
    _, absolute = GaussianNoise(3 * std).corrupt(tiny_gpt2, prompt, SUBJECT, 4, seeded())
    torch.testing.assert_close(relative, absolute)
    with pytest.raises(InputError, match="at least one subject"):
        GaussianNoise.of_embeddings(tiny_gpt2, [])


def test_the_same_seed_gives_the_same_trace_and_the_seed_is_kept(tiny_gpt2):
    a, b, c = (
        causal_trace(tiny_gpt2, PROMPT, SUBJECT, settings=TWO, **how)
        for how in ({"generator": seeded(5)}, {"seed": 5}, {"seed": 6})
    )
    assert torch.equal(a.restored_draws, b.restored_draws)
    assert not torch.equal(a.restored_draws, c.restored_draws)
    assert (a.provenance.seed, c.provenance.seed) == (5, 6)
    fixed = causal_trace(
        tiny_gpt2, PROMPT, SUBJECT, settings=TraceSettings(corruption=FixedNoise(a.noise)), seed=3
    )
    assert fixed.provenance.seed is None


def test_a_filled_prompt_and_a_prompt_object_are_the_same_trace(tiny_gpt2):
    located = locate(tiny_gpt2, PROMPT, SUBJECT)
    ways = [(PROMPT, SUBJECT), (located.text, SUBJECT), (located, SUBJECT), (located, None)]
    found = [causal_trace(tiny_gpt2, *way, settings=TWO, seed=3) for way in ways]
    assert all(torch.equal(found[0].restored_draws, other.restored_draws) for other in found[1:])
    assert all(read_prompt(tiny_gpt2, *way)[1] == SUBJECT for way in ways)


def test_labels_join_to_the_text_and_split_characters_are_readable(tiny_gpt2):
    assert "".join(causal_trace(tiny_gpt2, PROMPT, SUBJECT, settings=TWO, seed=3).tokens) == PROMPT.format(
        SUBJECT
    )
    split = causal_trace(tiny_gpt2, "{} is", "東京", settings=TWO, seed=3)
    assert not any("\ufffd" in text for text in split.tokens)


def test_the_models_own_answer_is_traced_by_default_and_without_a_warning(family: LanguageModel):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = causal_trace(family, PROMPT, SUBJECT, settings=TWO, seed=3)
    odds = family.logits([found.token_ids])[0, -1].softmax(-1)
    assert found.answer_ids == (int(odds.argmax()),)
    assert found.predicted
    assert found.clean == pytest.approx(float(odds.max()), abs=1e-6)


def test_another_answer_is_measured_with_a_warning(tiny_gpt2):
    with pytest.warns(UnpredictedAnswer, match="does not predict"):
        found = causal_trace(tiny_gpt2, PROMPT, SUBJECT, answer="Warsaw", settings=TWO, seed=3)
    assert not found.predicted
    assert found.answer == "Warsaw"
    assert 0 < found.clean < 1


WRONG = {
    "no subject": ({"subject": None}, "no subject was given"),
    "not in the prompt": ({"prompt": "Paris is in", "subject": "Rome"}, "0 times"),
    "empty": ({"subject": " "}, "empty"),
    "part": ({"part": "block"}, "'hidden', 'mlp', 'attention'"),
    "sever": ({"sever": "hidden"}, "None, 'mlp', 'attention'"),
    "window": ({"window": Window.paper(5)}, "larger than the model, which has 4"),
    "no draws": ({"draws": 0}, "at least 1"),
    "no generator": ({"seed": None}, "pass seed=0, or a generator"),
    "no memory": ({"memory": 0}, "bytes"),
    "fixed draws": ({"corruption": FixedNoise(torch.zeros(3, 1, 32)), "draws": 2}, "expected floating point"),
    "fixed shape": ({"corruption": FixedNoise(torch.zeros(3, 40, 32))}, "expected floating point"),
    "no fixed noise": ({"corruption": FixedNoise(torch.zeros(0, 4, 32))}, "expected floating point"),
    "length": ({"corruption": Substitution("Bartholomew the Second")}, "the same number of tokens"),
    "nothing": ({"corruption": Substitution(" ")}, "the same number of tokens"),
    "substitution draws": ({"corruption": Substitution("Marie Curie"), "draws": 2}, "leave draws out"),
    "empty answer": ({"answer": " "}, "target is empty"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_refused_in_one_line(tiny_gpt2, change, words):
    how = {"prompt": PROMPT, "subject": SUBJECT, "seed": 3} | change
    own = {name: how.pop(name) for name in vars(TWO) if name in how}
    with pytest.raises(InputError, match=words) as caught:
        causal_trace(tiny_gpt2, **how, settings=TraceSettings(**own))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), "0.1"])
@pytest.mark.parametrize("kind", [GaussianNoise, RelativeNoise])
def test_noise_must_be_positive(kind, value):
    with pytest.raises(InputError, match="expected a positive number"):
        kind(value)


def test_a_wrong_fixed_noise_is_a_shape_error(tiny_gpt2):
    with pytest.raises(ShapeError):
        causal_trace(tiny_gpt2, PROMPT, SUBJECT, settings=TraceSettings(corruption=FixedNoise(noise(2, 3))))


def test_a_substitution_that_changes_its_neighbours_is_refused(tiny_gpt2):
    """As many tokens in all, but another subject that takes its neighbour's letters into its own token."""
    own = locate(tiny_gpt2, "a{}own is", " t")
    with pytest.raises(InputError, match="tokens"):
        causal_trace(tiny_gpt2, own, settings=TraceSettings(corruption=Substitution(" d")))


def test_a_prompt_object_of_another_subject_is_refused(tiny_gpt2):
    with pytest.raises(InputError, match="leave it out"):
        causal_trace(tiny_gpt2, locate(tiny_gpt2, PROMPT, SUBJECT), "town", seed=3)
