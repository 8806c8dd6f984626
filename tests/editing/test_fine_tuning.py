from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from knowedit.editing import ROME, Edit, Editor, FineTuning
from knowedit.editing.fine_tuning.known_settings import known_settings
from knowedit.editing.fine_tuning.likelihood import Likelihood
from knowedit.errors import InputError, NumericalError
from knowedit.facts import Fact
from knowedit.models import (
    LanguageModel,
    encode,
    fingerprint,
    load,
    record,
    replay,
    target_ids,
    target_token_log_probabilities,
)
from tests.conftest import make_model
from tests.editing import oracles
from tests.editing.conftest import FACT, changed, state, storages

LONG = replace(FACT, target_new="Space Needle")
EDITORS = {
    "FT": FineTuning.ft(layer=1),
    "FT+L": FineTuning.ft_l(layer=1, bound=2e-3),
    "AttnEdit": FineTuning.attn_edit(layer=2, bound=2e-3),
    "released": FineTuning.released_ft(layer=1),
}
INPUTS = {
    "gpt2": ["attn.c_attn"],
    "gpt_neox": ["attention.query_key_value"],
    "gptj": ["attn.q_proj", "attn.k_proj", "attn.v_proj"],
}


def joint(lm: LanguageModel, facts: list[Fact]) -> torch.Tensor:
    """log P of each fact's object."""
    pairs = [(fact.text, fact.target_new) for fact in facts]
    return torch.stack([tokens.sum() for tokens in target_token_log_probabilities(lm, pairs)])


def slow(lm, facts: list[Fact], editor: FineTuning, steps: int) -> list[torch.Tensor]:
    """A deep copy, whole forwards row by row, torch's Adam on the weights themselves."""
    model = copy.deepcopy(lm.model)
    twin = load((model, lm.tokenizer), anatomy=lm.anatomy)
    kind = lm.model.config.model_type
    if editor.targets == ("mlp_down",):
        modules = [oracles.down(twin, editor.layer)]
    else:
        paths = INPUTS.get(kind, ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"])
        modules = [twin.blocks[editor.layer].get_submodule(path) for path in paths]
    weights = [m.weight for m in modules]
    if editor.biases:
        weights += [m.bias for m in modules if m.bias is not None]
    before = [w.detach().clone() for w in weights]
    adam = torch.optim.Adam(weights, lr=5e-4)
    for _ in range(steps):
        total = 0.0
        for fact in facts:
            head = encode(lm.tokenizer, fact.text)
            target = target_ids(lm.tokenizer, fact.text, fact.target_new)
            logits = model(torch.tensor([[*head, *target]]), use_cache=False).logits[0].log_softmax(-1)
            tokens = [logits[len(head) - 1 + i, token] for i, token in enumerate(target)]
            total = total - (tokens[0] if editor.target == "first" else sum(tokens)) / len(facts)
        adam.zero_grad()
        total.backward()
        adam.step()
        if editor.bound is not None:
            with torch.no_grad():
                for weight, old in zip(weights, before, strict=True):
                    weight.copy_(weight.clamp(old - editor.bound, old + editor.bound))
    found = [(w.detach() - old) for w, old in zip(weights, before, strict=True)]
    return [delta.T if kind == "gpt2" and delta.ndim == 2 else delta for delta in found]


@pytest.fixture(scope="module")
def exact(family):
    """The family in float64: Adam turns a rounding error of a tiny gradient into a whole step."""
    return load((copy.deepcopy(family.model).double(), family.tokenizer))


@pytest.mark.parametrize("steps", [1, 5, 25])
@pytest.mark.parametrize("name", EDITORS)
def test_edit_equals_adam_on_a_copy_by_whole_forwards(exact, name, steps):
    editor = replace(EDITORS[name], max_steps=steps, stop_loss=-1.0)
    found = editor.edit(exact, [LONG])
    expected = slow(exact, [LONG], editor, steps)
    assert len(found.updates) == len(expected)
    assert found.diagnostics.steps == steps
    for update, other in zip(found.updates.values(), expected, strict=True):
        error = (update.matrix - other).norm() / other.norm()
        assert float(error) < 1e-6


def test_several_facts_have_the_mean_of_their_losses(exact):
    facts = [LONG, Fact("Marie Curie", "The mother tongue of {} is", "French")]
    editor = replace(EDITORS["FT"], max_steps=3, stop_loss=-1.0)
    (update,) = editor.edit(exact, facts).updates.values()
    (expected,) = slow(exact, facts, editor, 3)
    assert float((update.matrix - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("name", EDITORS)
def test_model_is_untouched_and_the_edit_comes_off_bit_for_bit(family, name):
    before, places, digest = state(family), storages(family), fingerprint(family)
    flags = [p.requires_grad for p in family.model.parameters()]
    edit = EDITORS[name].edit(family, [FACT])
    assert fingerprint(family) == digest
    assert storages(family) == places
    assert [p.requires_grad for p in family.model.parameters()] == flags
    assert all(p.grad is None for p in family.model.parameters())
    with edit.applied(family):
        touched = changed(family, before)
        assert len(touched) == len(edit.updates)
    assert changed(family, before) == []
    assert storages(family) == places


def test_weights_only_unless_the_bias_is_asked_for(family):
    """A substring match on names also catches the bias (peers, row 34)."""
    assert {a.tensor for a in EDITORS["FT"].edit(family, [FACT]).updates} == {"weight"}
    assert {a.tensor for a in EDITORS["AttnEdit"].edit(family, [FACT]).updates} == {"weight"}
    has_bias = family.projection(1).bias is not None
    assert len(EDITORS["released"].edit(family, [FACT]).updates) == 1 + has_bias


def test_loss_is_that_of_the_whole_object_read_token_by_token(family):
    """Not all tokens from the last prompt position, and not the first alone (peers, row 35)."""
    with torch.no_grad():
        loss, logs = Likelihood(family, 1, [LONG, FACT], "joint").loss({})
        alone, _ = Likelihood(family, 1, [LONG], "joint").loss({})
    expected = joint(family, [LONG, FACT])
    torch.testing.assert_close(logs, expected, rtol=1e-4, atol=1e-4)
    assert float(loss) == pytest.approx(-float(expected.mean()), rel=1e-4)
    head = encode(family.tokenizer, LONG.text)
    ids = target_ids(family.tokenizer, LONG.text, LONG.target_new)
    assert len(ids) > 1
    same_place = -float(family.logits([head])[0, -1].log_softmax(-1)[ids].sum())
    assert float(alone) != pytest.approx(same_place, rel=1e-3)


def test_bound_holds_on_every_entry_also_when_it_is_an_integer(family):
    """A bound given as an integer must not switch the clamp off (peers, 3.4)."""
    free = replace(EDITORS["FT"], method="", learning_rate=2.0, stop_loss=-1.0, max_steps=3)
    assert max(float(u.matrix.abs().max()) for u in free.edit(family, [FACT]).updates.values()) > 1.5
    for bound in (1, 0.25):
        edit = replace(free, bound=bound).edit(family, [FACT])
        assert all(float(u.matrix.abs().max()) == pytest.approx(bound) for u in edit.updates.values())


def test_stops_at_the_loss(family):
    editor = replace(EDITORS["FT"], learning_rate=2e-2, max_steps=300, stop_loss=1.0)
    edit = editor.edit(family, [FACT])
    assert 0 < edit.diagnostics.steps < 300
    assert edit.diagnostics.probability >= math.exp(-1.0) - 1e-6
    one_less = replace(editor, max_steps=edit.diagnostics.steps - 1).edit(family, [FACT])
    assert one_less.diagnostics.probability < math.exp(-1.0)
    with edit.applied(family):
        said = float(joint(family, [FACT]).exp())
    assert said == pytest.approx(edit.diagnostics.probability, rel=1e-3)


def test_file_and_settings_make_the_same_edit_again(family, tmp_path):
    edit = EDITORS["AttnEdit"].edit(family, [LONG])
    edit.save(tmp_path / "e.safetensors")
    read = Edit.load(tmp_path / "e.safetensors")
    assert read.digest == edit.digest
    assert read.diagnostics == edit.diagnostics
    assert read.diagnostics.residual is None
    again = FineTuning.from_settings(read.provenance.settings).edit(family, list(read.provenance.facts))
    for address, update in edit.updates.items():
        assert torch.equal(again.updates[address].matrix, update.matrix)
    assert Edit.combined([edit, EDITORS["FT"].edit(family, [LONG])]).diagnostics.condition is None


def test_replay_with_nothing_is_the_recorded_run(family):
    run = record(family, ["Miles Davis plays the", "In Paris"])
    for layer in range(family.n_layers):
        found = replay(run, layer, positions=run.batch.last, tensors={})
        torch.testing.assert_close(found, run.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_formats(tokenizer, dtype):
    lm = load((make_model("gpt2").to(dtype), tokenizer))
    edit = replace(EDITORS["FT"], learning_rate=1e-2).edit(lm, [FACT])
    with edit.applied(lm):
        said = float(joint(lm, [FACT]).exp())
    assert said == pytest.approx(edit.diagnostics.probability, rel=0.1)


def test_every_editor_keeps_the_protocol():
    editors: list[Editor] = [ROME.paper(), *EDITORS.values()]
    assert all(callable(editor.edit) and callable(editor.prepared) for editor in editors)


@pytest.mark.parametrize(
    ("method", "model", "layer", "bound"),
    [
        ("FT", "gpt2-xl", 1, None),
        ("FT", "EleutherAI/gpt-j-6B", 21, None),
        ("FT+L", "gpt2-xl", 0, 5e-4),
        ("FT+L", "gpt-j-6b", 0, 5e-5),
        ("AttnEdit", "openai-community/gpt2-xl", 33, 1e-3),
    ],
)
def test_known_settings_are_the_papers(method, model, layer, bound):
    stub = SimpleNamespace(name=model, folder=None)
    assert known_settings(stub, method) == {"layer": layer, "bound": bound}


def test_the_search_is_the_papers():
    assert FineTuning.ft().max_steps == 25
    assert FineTuning.ft().stop_loss == 0.03
    assert known_settings(SimpleNamespace(name="gpt-j-6b", folder=None), "AttnEdit") == {}


def test_the_notes_of_a_folder_say_what_is_known_and_what_is_given_wins(tmp_path, fresh_lm):
    noted = {"FT+L": {"layer": 3, "bound": 2e-3, "learning_rate": 1e-3}}
    (tmp_path / "knowedit.json").write_text(json.dumps({"fine_tuning": noted}))
    lm = replace(fresh_lm("gpt2"), folder=tmp_path)
    found = FineTuning.ft_l().prepared(lm)
    assert (found.layer, found.bound, found.learning_rate) == (3, 2e-3, 1e-3)
    found = replace(FineTuning.ft_l(layer=1, bound=None), learning_rate=0.5).prepared(lm)
    assert (found.layer, found.bound, found.learning_rate) == (1, None, 0.5)
    with pytest.raises(InputError, match="no layer is known"):
        FineTuning.ft().prepared(lm)


def test_bad_requests_are_refused(family):
    for bound in (0, -1e-3, float("nan")):
        with pytest.raises(InputError, match="bound ε"):
            FineTuning.ft_l(layer=1, bound=bound)
    with pytest.raises(InputError, match=r"FT has no bound .* use FT\+L"):
        replace(FineTuning.ft(layer=1), bound=1e-3)
    with pytest.raises(InputError, match="layers go from 0 to 3"):
        FineTuning.ft(layer=4).edit(family, [FACT])
    with pytest.raises(InputError, match="no layer is known"):
        FineTuning.ft().edit(family, [FACT])
    with pytest.raises(InputError, match="no bound ε is known"):
        FineTuning.ft_l(layer=1).edit(family, [FACT])
    with pytest.raises(InputError, match="no facts"):
        EDITORS["FT"].edit(family, [])
    with pytest.raises(InputError, match="a bare Fact"):
        EDITORS["FT"].edit(family, FACT)
    with pytest.raises(InputError, match="not a projection"):
        FineTuning(targets=("mlp",), layer=1).edit(family, [FACT])
    with pytest.raises(InputError, match="learning rate"):
        FineTuning(learning_rate=0.0)
    with pytest.raises(InputError, match="not those of FineTuning"):
        FineTuning.from_settings({"speed": 1})


def test_a_loss_that_is_not_finite_is_refused(fresh_lm):
    lm = fresh_lm("gptj")
    oracles.down(lm, 2).weight.data[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="first in the output of the mlp of layer 2"):
        EDITORS["FT"].edit(lm, [FACT])
