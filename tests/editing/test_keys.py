from __future__ import annotations

import pytest
import torch

from knowedit.editing import PrefixPlan, subject_key
from knowedit.errors import InputError
from tests.editing import oracles
from tests.editing.conftest import PREFIXES


@pytest.mark.parametrize("layer", [0, 2])
def test_key_is_the_mean_over_one_forward_a_prefix(family, layer):
    found = subject_key(family, layer, "Miles Davis", PREFIXES)
    expected = oracles.key(family, layer, "Miles Davis", PREFIXES)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_key_of_another_subject_layer_or_prefix_differs(family):
    found = subject_key(family, 1, "Miles Davis", PREFIXES)
    for other in (
        ("Marie Curie", 1, PREFIXES),
        ("Miles Davis", 2, PREFIXES),
        ("Miles Davis", 1, PREFIXES[:1]),
    ):
        subject, layer, prefixes = other
        assert not torch.allclose(found, subject_key(family, layer, subject, prefixes), atol=1e-3)


def test_prefixes_depend_on_the_generator_alone(family):
    plan = PrefixPlan(((3, 2), (2, 5)))
    first = plan.sample(family, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    plan.sample(family, torch.Generator().manual_seed(4))
    assert plan.sample(family, torch.Generator().manual_seed(3)) == first
    assert plan.sample(family, torch.Generator().manual_seed(4)) != first
    assert len(first) == 5


def test_braces_in_prefixes_and_subjects_are_plain_text(family):
    found = subject_key(family, 1, "{Miles} {}", ["a {} b {0}", "{"])
    expected = oracles.key(family, 1, "{Miles} {}", ["a {} b {0}", "{"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_no_prefixes_and_no_layer_are_refused(family):
    with pytest.raises(InputError, match="no prefixes"):
        subject_key(family, 1, "Miles Davis", [])
    with pytest.raises(InputError, match="layers go from 0 to 3"):
        subject_key(family, 4, "Miles Davis", PREFIXES)
