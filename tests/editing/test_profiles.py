"""The named settings: each field on record, each profile against the slow oracle, each known bug as it was."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest
import torch

from knowedit.editing import PROFILES, ROME, SOURCES, PrefixPlan, make_editor, optimise_value, settings_of
from knowedit.editing.rome.sources import sourced_values
from knowedit.errors import InputError
from knowedit.linalg import SecondMoment
from tests.editing import oracles
from tests.editing.conftest import FACT, PREFIXES, moment_of

TWO_TOKENS = replace(FACT, target_new="Space Needle")
NAMES = tuple(PROFILES["rome"])
RELEASED = ["released-2022-02", "released-2022-10", "consistent-keys"]

# Every number of arXiv 2202.05262 v1, Appendix D.5, and of the two releases, written down by hand.
PAPER = {
    "layer": None,
    "known_layers": (("gpt2-xl", 15), ("gpt-j-6b", 15)),
    "learning_rate": 0.5,
    "max_steps": 25,
    "stop_loss": 5e-2,
    "target": "joint",
    "weight_decay": 1.5e-3,
    "decay": "adam",
    "kl_factor": 1e2,
    "kl_reduction": "mean",
    "kl_prompt": "{} is a",
    "kl_position": "end",
    "max_offset": None,
    "prefixed": False,
    "prefixes.lengths": ((20, 2), (20, 5), (10, 10)),
    "prefixes.start": None,
    "prefixes.count_start": False,
    "prefixes.top_k": None,
    "prefixes.empty": False,
    "prefixes.separator": " ",
    "key_text": "subject",
    "constraint_key": "average",
    "max_update": None,
}
FEBRUARY = PAPER | {
    "known_layers": (("gpt2-xl", 16), ("gpt-j-6b", 5)),
    "max_steps": 20,
    "target": "first",
    "kl_factor": 5e2,
    "prefixes.start": "The",
    "prefixes.count_start": True,
    "prefixes.top_k": 5,
    "prefixes.empty": True,
    "constraint_key": "prompt",
    "max_update": 100.0,
}
OCTOBER = PAPER | {
    "known_layers": (("gpt2-xl", 17), ("gpt-j-6b", 5)),
    "max_steps": 19,
    "target": "mean",
    "weight_decay": 0.5,
    "decay": "relative",
    "kl_factor": 0.0625,
    "kl_reduction": "sum",
    "kl_position": "subject",
    "max_offset": 4.0,
    "prefixed": True,
    "prefixes.lengths": ((10, 5), (10, 10)),
    "prefixes.count_start": True,
    "prefixes.top_k": 5,
    "prefixes.empty": True,
    "prefixes.separator": ". ",
    "key_text": "prompt",
    "constraint_key": "prompt",
}
EXPECTED = {
    "paper": PAPER,
    "paper-literal-kl": PAPER | {"kl_reduction": "sum"},
    "released-2022-02": FEBRUARY,
    "released-2022-02-gpt-j": FEBRUARY | {"kl_factor": 1e3, "weight_decay": 2e-3},
    "released-2022-10": OCTOBER,
    "consistent-keys": OCTOBER | {"constraint_key": "average"},
    "both-keys": PAPER | {"constraint_key": "both"},
}


def _values(name):
    return {field: value for field, (value, _) in sourced_values(name).items()}


def test_every_profile_has_the_numbers_written_down_here():
    assert {name: _values(name) for name in NAMES} == EXPECTED


def test_the_papers_numbers_are_the_defaults():
    assert ROME() == ROME.paper()


def test_every_field_of_every_profile_has_a_source():
    own = {field.name for field in fields(ROME)} - {"prefixes", "statistics"}
    nested = {f"prefixes.{field.name}" for field in fields(PrefixPlan)}
    assert set(SOURCES) == own | nested
    assert all(source for name in NAMES for _, source in sourced_values(name).values())
    assert all(len(SOURCES[field]) == 3 for field in SOURCES)


def test_a_value_that_is_not_the_papers_has_another_source():
    for name in NAMES:
        for field in SOURCES:
            if EXPECTED[name][field] != PAPER[field]:
                assert sourced_values(name)[field][1] != sourced_values("paper")[field][1], (name, field)


def test_unknown_profiles_are_refused():
    for ask in (profile, sourced_values):
        with pytest.raises(InputError, match=r"no profile .rome.*: use one of paper, .*consistent-keys"):
            ask("rome")
    with pytest.raises(InputError, match="'gpt2-xl' or 'gpt-j'"):
        ROME.released_2022_02(model="gpt2")


def profile(name: str) -> ROME:
    return make_editor("rome", profile=name)


@pytest.mark.parametrize("fact", [FACT, TWO_TOKENS, replace(FACT, prompt="In Paris, {} plays the")])
@pytest.mark.parametrize("name", RELEASED[:2])
def test_the_search_of_each_release_equals_whole_forwards(family, name, fact):
    rome = replace(profile(name), max_steps=5, layer=1)
    found = optimise_value(family, 1, fact, rome, prefixes=tuple(PREFIXES), separator=rome.prefixes.separator)
    expected, losses = oracles.value(family, 1, fact, rome, tuple(PREFIXES))
    assert list(found.losses) == pytest.approx(losses, rel=1e-3, abs=1e-4)
    torch.testing.assert_close(found.vector, expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", RELEASED)
def test_the_edit_of_each_release_equals_the_slow_one(family, name):
    rome = replace(profile(name), max_steps=5, layer=1, max_update=None)
    made = with_prefixes(family, rome).edit(family, [FACT])
    template = FACT.prompt if rome.key_text == "prompt" else "{}"
    k = oracles.key(family, 1, FACT.subject, PREFIXES, template=template, separator=rome.prefixes.separator)
    bare = oracles.key(family, 1, FACT.subject, [""], template=FACT.prompt)
    held = k if rome.constraint_key == "average" else bare
    v = oracles.value(family, 1, FACT, rome, tuple(PREFIXES))[0] - oracles.bias(family, 1)
    W, u = oracles.weight(family, 1), torch.linalg.inv(moment_of(family).matrix) @ k
    expected = torch.outer((v - W @ held) / (held @ u), u)
    update = made.updates[1, "mlp_down"].materialise(torch.float64)
    assert float((update - expected).norm() / expected.norm()) < 2e-2


def with_prefixes(lm, rome: ROME) -> ROME:
    """The editor with given texts; a space is put behind them, and the full stop of October belongs to them."""
    end = rome.prefixes.separator.rstrip()
    return replace(rome, statistics=moment_of(lm), prefixes=tuple(text and text + end for text in PREFIXES))


def insertion_of(lm, rome):
    made = with_prefixes(lm, rome).edit(lm, [FACT])
    return made, made.updates[1, "mlp_down"].materialise(torch.float64)


def test_two_keys_miss_the_value_at_the_average_key_and_one_does_not(family):
    """Rows 14 and 15 of the releases: Ŵ k_prompt = v*, not Ŵ k* = v*."""
    legacy, _ = insertion_of(family, replace(ROME.released_2022_10(layer=1), max_steps=5))
    sound, _ = insertion_of(family, replace(ROME.consistent_keys(layer=1), max_steps=5))
    assert sound.diagnostics.residual < 1e-5
    assert legacy.diagnostics.residual > 1e-2
    assert sound.diagnostics.alignment == 1
    assert legacy.diagnostics.alignment < 0.99


def test_keys_that_disagree_make_a_large_update_and_a_warning_says_so(family):
    """A disabling edit: the divisor of the releases has no lower bound, that of one key has."""
    from knowedit.editing.rome.insertion import insert

    factor = moment_of(family).factorise()
    W, rng = family.projection(1).weight.detach().double(), torch.Generator().manual_seed(3)
    k, other, v = (torch.randn(n, generator=rng).double() for n in (*[family.inner_width] * 2, family.width))
    other = other - (other @ k) / (k @ k) * k + 1e-3 * k
    one = insert(W, k, v, factor).frobenius_norm()
    two = insert(W, k, v, factor, constraint=other).frobenius_norm()
    assert two > 20 * one
    bounded = insert(W, k, v, factor, constraint=other, bound=2 * one)
    assert bounded.frobenius_norm() == pytest.approx(2 * one)
    made, _ = insertion_of(family, ROME.paper(layer=1))
    assert any("cosine" in text for text in replace(made.diagnostics, alignment=0.1).warnings())


def test_the_february_bound_shortens_the_update(family):
    rome = replace(ROME.released_2022_02(layer=1), max_steps=5)
    free = insertion_of(family, replace(rome, max_update=None))[1].norm()
    held = insertion_of(family, replace(rome, max_update=float(free) / 3))[1].norm()
    assert float(held) == pytest.approx(float(free) / 3, rel=1e-6)


def test_the_october_ball_holds_the_offset(family):
    rome = replace(ROME.released_2022_10(layer=1), max_offset=0.5)
    found = optimise_value(family, 1, FACT, rome)
    offset = found.vector - found.start
    assert float(offset.norm() / found.start.norm()) <= 0.5 + 1e-6
    free = optimise_value(family, 1, FACT, replace(rome, max_offset=None))
    assert float((free.vector - free.start).norm() / free.start.norm()) > 1


def test_the_first_token_alone_ignores_the_second(family):
    """Row 12: two objects that begin alike get one value in February, two values in the paper."""
    rome, other = (
        replace(ROME.released_2022_02(layer=1), max_steps=3),
        replace(FACT, target_new="Space Seattle"),
    )
    for rule, same in ((rome, True), (replace(rome, target="joint"), False)):
        vectors = [optimise_value(family, 1, fact, rule).vector for fact in (TWO_TOKENS, other)]
        assert torch.allclose(*vectors, atol=1e-4) == same


def test_prefixes_follow_their_plan(family):
    plan = PrefixPlan(((2, 4),), start="The", count_start=True, top_k=5, empty=True)
    made = ROME(layer=1, prefixes=plan, statistics=moment_of(family)).edit(family, [FACT], seed=1)
    empty, *drawn = made.provenance.prefixes
    assert empty == ""
    assert len(drawn) == 2
    assert all(text.startswith("The") for text in drawn)


def test_a_start_that_fills_the_prefix_is_refused(family):
    plan = PrefixPlan(((1, 1),), start="The Space Needle", count_start=True)
    with pytest.raises(InputError, match="no room after its start"):
        ROME(layer=1, prefixes=plan, statistics=moment_of(family)).edit(family, [FACT], seed=0)


@pytest.mark.parametrize("lengths", [(), ((0, 2),), ((3, 0),)])
def test_empty_plans_are_refused(lengths):
    with pytest.raises(InputError, match="how many"):
        PrefixPlan(lengths)


@pytest.mark.parametrize("name", NAMES)
def test_settings_come_back_from_json(name):
    import json

    rome = profile(name)
    assert ROME.from_settings(json.loads(json.dumps(asdict(rome)))) == rome
    assert ROME.from_settings(json.loads(json.dumps(settings_of(rome)))) == rome


def test_settings_of_another_version_are_refused():
    with pytest.raises(InputError, match="version of knowedit"):
        ROME.from_settings(asdict(ROME.paper()) | {"clamp": 4})


def test_without_statistics_the_update_is_another(family):
    """FastEdit drops C and EasyEdit ships it switched off: not the closed form of Eqn. 5."""
    eye = SecondMoment.from_matrix(torch.eye(family.inner_width), count=1)
    made = [
        ROME(layer=1, statistics=moment, prefixes=PREFIXES).edit(family, [FACT]).updates[1, "mlp_down"]
        for moment in (moment_of(family), eye)
    ]
    a, b = (update.right[:, 0] / update.right.norm() for update in made)
    assert float(a @ b) < 0.999
