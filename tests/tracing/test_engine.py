"""The fast trace equals the slow one in every variant, and the identities of the paper hold."""

from __future__ import annotations

import itertools

import pytest
import torch

from knowedit.models import LanguageModel, Site, intervene, load, locate, target_ids
from knowedit.tracing import (
    FixedNoise,
    GaussianNoise,
    RelativeNoise,
    Substitution,
    TraceSettings,
    Window,
    causal_trace,
)
from tests.conftest import make_model
from tests.editing.conftest import low_rank, plain_edit
from tests.models.oracles import hook_count
from tests.tracing import oracle

PROMPT, SUBJECT = "In town, {} is in the city of", "Marie Curie"
SHORT = "In {} is in"
"""Two tokens before the subject, three of the subject and two after it."""
TWO_TOKENS = " Seattle"
WINDOWS = [Window(), Window.paper(3), Window.paper(2), Window(2, 0), Window.released(4)]
PARTS = ["hidden", "mlp", "attention"]
SEVERED = [None, "mlp", "attention"]


def traced(
    lm: LanguageModel, template=PROMPT, subject=SUBJECT, *, answer=None, memory=2**30, digest="", **how
):
    """A trace with seed 3, the settings given by name."""
    settings = TraceSettings(**how)
    return causal_trace(
        lm, template, subject, answer=answer, settings=settings, seed=3, memory=memory, digest=digest
    )


def spoiled(lm: LanguageModel, trace, prompt) -> torch.Tensor:
    clean = lm.module("embedding")(torch.tensor([prompt.ids[prompt.subject]]))
    return (clean.float() + trace.noise).to(clean.dtype).detach()


def check(
    lm: LanguageModel, *, tolerance: float = 1e-5, template: str = PROMPT, subject=SUBJECT, **how
) -> None:
    how = {"corruption": GaussianNoise(0.5), "draws": 2} | how
    found = traced(lm, template, subject, **how)
    prompt = locate(lm, template, subject)
    names = ("part", "window", "sever")
    options = {name: how[name] for name in names if name in how}
    clean, baseline, scores = oracle.trace(
        lm, prompt, list(found.answer_ids), spoiled(lm, found, prompt), **options
    )
    assert abs(found.clean - clean) <= tolerance
    assert (found.corrupted_draws - baseline).abs().max() <= tolerance
    assert (found.restored_draws - scores).abs().max() <= tolerance
    assert found.restored_draws.shape == (2, len(prompt.ids), lm.n_layers)
    assert hook_count(lm) == 0


@pytest.mark.parametrize("sever", SEVERED)
@pytest.mark.parametrize("part", PARTS)
def test_equals_whole_forwards_in_every_window(family: LanguageModel, part, sever):
    for window in WINDOWS:
        check(family, template=SHORT, part=part, window=window, sever=sever)


@pytest.mark.filterwarnings("ignore::knowedit.tracing.UnpredictedAnswer")
@pytest.mark.parametrize("sever", SEVERED)
@pytest.mark.parametrize("part", PARTS)
def test_equals_whole_forwards_for_objects_of_several_tokens(family: LanguageModel, part, sever):
    assert len(target_ids(family.tokenizer, "is in", TWO_TOKENS)) > 1
    check(family, template=SHORT, part=part, window=Window.paper(2), sever=sever, answer=TWO_TOKENS)


@pytest.mark.parametrize(
    ("template", "subject"),
    [("{} is", "Marie"), ("It is the {}", "Space Needle"), ("{}", "Paris is"), (" a {} b", "e")],
)
def test_wherever_the_subject_stands(family: LanguageModel, template, subject):
    for part, sever in itertools.product(PARTS, SEVERED):
        check(family, template=template, subject=subject, part=part, sever=sever)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_with_either_attention(tokenizer, attention):
    lm = load((make_model("gpt2", attn_implementation=attention), tokenizer))
    for part in PARTS:
        check(lm, part=part, window=Window.paper(2), sever="mlp")


def test_a_substitution_is_the_other_subjects_own_embeddings(family: LanguageModel):
    prompt, other = locate(family, PROMPT, "Paris"), locate(family, PROMPT, "Marie")
    assert len(prompt.ids) == len(other.ids)
    found = traced(family, PROMPT, "Paris", corruption=Substitution("Marie"), part="mlp")
    embeddings = family.module("embedding")(torch.tensor([other.ids[other.subject]])).detach()
    _, baseline, scores = oracle.trace(family, prompt, list(found.answer_ids), embeddings, part="mlp")
    assert (found.corrupted_draws - baseline).abs().max() <= 1e-5
    assert (found.restored_draws - scores).abs().max() <= 1e-5
    own = family.logits([other.ids])[0, -1].softmax(-1)[found.answer_ids[0]]
    assert abs(found.corrupted - float(own)) <= 1e-5  # positions stay, so it is that prompt's own run
    assert found.noise is None


def test_fixed_noise_repeats_a_trace_bit_for_bit(family: LanguageModel):
    first = traced(family, corruption=RelativeNoise(2))
    again = traced(family, corruption=FixedNoise(first.noise))
    assert torch.equal(first.restored_draws, again.restored_draws)
    assert first.settings.draws == again.settings.draws == 10


def test_restoring_the_last_state_at_the_last_token_is_the_clean_run(family: LanguageModel):
    for sever in SEVERED:
        found = traced(family, sever=sever, draws=3)
        assert (found.restored_draws[:, -1, -1] - found.clean).abs().max() <= 1e-6
        assert found.total_effect != 0


@pytest.mark.parametrize("part", PARTS)
def test_tokens_before_the_subject_and_unread_layers_do_nothing(family: LanguageModel, part):
    found = traced(family, part=part, draws=3)
    start = found.subject[0]
    assert start > 0
    assert (found.indirect_effects[:start] == 0).all()
    assert (found.indirect_effects[:-1, -1] == 0).all()
    assert (found.indirect_effects[start:, :-1] != 0).any(dim=1).all()


@pytest.mark.parametrize("sever", ["mlp", "attention"])
def test_severing_changes_only_what_passes_the_last_subject_token(family: LanguageModel, sever):
    plain, cut = (traced(family, draws=3, sever=s) for s in (None, sever))
    assert torch.equal(plain.corrupted_draws, cut.corrupted_draws)
    last = plain.subject[1] - 1
    changed = (plain.restored_draws - cut.restored_draws).abs().amax(dim=(0, 2))
    assert changed[last] > 1e-4
    assert changed[last - 1] > 1e-4
    assert changed[last + 1 :].max() == 0
    both = traced(family, draws=3, sever=sever, part=sever)
    assert (both.indirect_effects[last] == 0).all()


@pytest.mark.parametrize("memory", [1, 40_000, 80_000])
def test_memory_changes_nothing(family: LanguageModel, memory):
    for part, sever in (("hidden", None), ("mlp", "attention")):
        how = {"part": part, "sever": sever, "window": Window.paper(2), "draws": 5}
        whole = traced(family, SHORT, **how)
        parts = traced(family, SHORT, memory=memory, **how)
        assert (whole.restored_draws - parts.restored_draws).abs().max() <= 1e-6


def test_bfloat16(tokenizer):
    lm = load((make_model("gpt2").bfloat16(), tokenizer))
    for part in PARTS:
        check(lm, part=part, window=Window.paper(2), sever="mlp", tolerance=0.02)


def test_blocks_run_only_the_tokens_that_can_change(family: LanguageModel):
    last = family.n_layers - 1
    seen = {layer: [] for layer in (last - 1, last)}
    looks = {
        Site(layer, "mlp"): lambda value, at=at: (at.append(tuple(value.shape[:2])), value)[1]
        for layer, at in seen.items()
    }
    with intervene(family, looks):
        found = traced(family, draws=2)
    tokens, start = len(found.token_ids), found.subject[0]
    # The clean run and the corrupted one hold all tokens; then come the cells, which begin below the block.
    runs = [(1, tokens), (2, tokens)]
    assert seen[last - 1] == [*runs, *((2 * (last - 1), tokens - t) for t in range(start, tokens))]
    # In the last block the other tokens' keys and values alone are made.
    assert seen[last] == [*runs, *((2 * last, 1) for _ in range(start, tokens))]


def test_the_model_is_left_as_it_was(fresh_lm):
    lm = fresh_lm("gpt2")
    before = lm.logits([[1, 2, 3]])
    traced(lm, part="mlp", sever="attention")
    assert torch.equal(lm.logits([[1, 2, 3]]), before)
    assert hook_count(lm) == 0
    assert all(p.grad is None and p.requires_grad for p in lm.model.parameters())


def test_an_edited_model_is_traced_as_it_then_is(family: LanguageModel):
    edit = plain_edit(family, {(1, "mlp_down"): low_rank(family, 1, "mlp_down")})
    before = traced(family, draws=2, digest=None)
    with edit.applied(family):
        check(family, part="hidden")
        check(family, part="mlp", window=Window.paper(2), sever="mlp")
        after = traced(family, draws=2, digest=None)
    assert after.provenance.digest != before.provenance.digest
    assert not torch.equal(after.restored_draws, before.restored_draws)
