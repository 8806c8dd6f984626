"""What lies over a model's weights: all of it or nothing, and the own tensors come back."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import knowedit.models.overlays.pile as module
from knowedit.errors import InputError, NumericalError
from knowedit.models.overlays import Overlay, change_overlays, overlays_on, own_tensor


def model() -> nn.Sequential:
    found = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for i, parameter in enumerate(found.parameters()):
        parameter.data.fill_(float(i))
    return found


def adding(amount: float, *paths: str) -> Overlay:
    return Overlay({path: lambda total: total + amount for path in paths})


def add(of: nn.Module, overlay: Overlay) -> None:
    change_overlays(of, lambda below: (*below, overlay))


def remove(of: nn.Module, overlay: Overlay) -> None:
    change_overlays(of, lambda all_: [other for other in all_ if other is not overlay])


def numbers(of: nn.Module) -> list[float]:
    return [float(parameter.detach().flatten()[0]) for parameter in of.parameters()]


def test_added_and_removed_in_any_order():
    m = model()
    pointers = [p.data_ptr() for p in m.parameters()]
    one, two = adding(10, "0.weight", "1.bias"), adding(100, "0.weight")
    add(m, one)
    add(m, two)
    assert (numbers(m), overlays_on(m)) == ([110, 1, 2, 13], (one, two))
    assert float(own_tensor(m, m[0].weight)[0, 0]) == 0
    assert own_tensor(m, m[0].bias).data_ptr() == m[0].bias.data_ptr()
    remove(m, one)
    assert (numbers(m), overlays_on(m)) == ([100, 1, 2, 3], (two,))
    remove(m, two)
    assert [p.data_ptr() for p in m.parameters()] == pointers
    remove(m, two)  # nothing is there to be removed
    assert numbers(m) == [0, 1, 2, 3]


def test_another_order_of_the_same_changes_is_put_in_place():
    m = model()
    doubling = Overlay({"0.weight": lambda total: total * 2})
    one = adding(1, "0.weight", "1.bias")
    change_overlays(m, lambda _: [one, doubling])
    kept = m[1].bias.data_ptr()
    assert numbers(m) == [2, 1, 2, 4]
    change_overlays(m, lambda _: [doubling, one])
    assert (numbers(m), overlays_on(m)) == ([1, 1, 2, 4], (doubling, one))
    assert m[1].bias.data_ptr() == kept
    change_overlays(m, lambda _: [])
    assert numbers(m) == [0, 1, 2, 3]


def test_one_parameter_in_two_places_is_changed_once():
    m = model()
    m[1].weight = m[0].weight
    add(m, adding(10, "0.weight"))
    over = adding(5, "1.weight")
    add(m, over)
    assert float(m[0].weight.detach()[0, 0]) == 15
    assert m[1].weight is m[0].weight
    remove(m, over)
    assert float(m[1].weight.detach()[0, 0]) == 10


def test_an_error_in_a_change_leaves_all_as_it_was():
    m = model()

    def failing(_total: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    add(m, adding(10, "0.weight"))
    bad = Overlay({"0.weight": lambda total: total + 1, "1.weight": failing})
    with pytest.raises(KeyboardInterrupt):
        add(m, bad)
    assert (numbers(m), len(overlays_on(m))) == ([10, 1, 2, 3], 1)


def test_an_error_while_tensors_are_put_in_place_leaves_all_as_it_was(monkeypatch):
    m = model()
    over = adding(10, "0.weight", "1.weight")
    steps = module._Pile._steps

    def failing(*arguments: object):
        """Two of the steps, and then one that fails; the way back is whole."""
        there = [*steps(*arguments)]
        yield from there[:2]
        monkeypatch.setattr(module._Pile, "_steps", steps)
        yield (int, "no number")

    monkeypatch.setattr(module._Pile, "_steps", failing)
    with pytest.raises(ValueError, match="no number"):
        add(m, over)
    assert (numbers(m), overlays_on(m)) == ([0, 1, 2, 3], ())
    assert module.NOTE not in m.__dict__
    add(m, over)
    monkeypatch.setattr(module._Pile, "_steps", failing)
    with pytest.raises(ValueError, match="no number"):
        remove(m, over)
    assert (numbers(m), overlays_on(m)) == ([10, 1, 12, 3], (over,))
    remove(m, over)
    assert numbers(m) == [0, 1, 2, 3]


def test_numbers_that_do_not_fit_are_refused():
    m = model().half()
    with pytest.raises(NumericalError, match=r"0\.weight with its changes .* 1e\+05, float16"):
        add(m, adding(1e5, "0.weight"))
    assert overlays_on(m) == ()


def test_rounded_once():
    """Three halves of an ulp are one ulp and a half, whichever way they come."""
    m = model().to(torch.bfloat16)
    m[0].weight.data.fill_(256.0)  # neighbours are 2 apart
    overs = [adding(0.75, "0.weight") for _ in range(2)]
    for over in overs:
        add(m, over)
    assert numbers(m)[0] == 258


def test_the_order_is_that_of_adding():
    """In float64 too: (0 + 1e16 - 1e16) + 1 is 1, and (0 + 1 + 1e16) - 1e16 is 0."""
    m = model().double()
    large, back, one = (adding(amount, "0.weight") for amount in (1e16, -1e16, 1.0))
    for order, expected in (((large, back, one), 1.0), ((one, large, back), 0.0)):
        for over in order:
            add(m, over)
        assert numbers(m)[0] == expected
        for over in order:
            remove(m, over)
    for over in (one, large, back):
        add(m, over)
    remove(m, one)
    add(m, one)
    assert numbers(m)[0] == 1.0


def test_one_more_change_costs_one_change_however_many_are_below():
    m, asked = model(), []

    def counted(number: int) -> Overlay:
        return Overlay({"0.weight": lambda total: asked.append(number) or total + 0.1 * number})

    overs = [counted(number) for number in range(1, 9)]
    for over in overs:
        asked.clear()
        add(m, over)
        # The sum is kept from the second change on, so that one overlay alone costs no memory.
        assert asked == {1: [1], 2: [1, 2]}.get(len(overlays_on(m)), [len(overlays_on(m))])
    asked.clear()
    remove(m, overs[3])
    assert asked == [1, 2, 3, 5, 6, 7, 8]
    asked.clear()
    add(m, counted(9))
    assert asked == [9]
    assert overlays_on(m)[-2] is overs[-1]


def test_what_is_kept_to_add_on_is_the_sum_before_rounding():
    """256 + 5 * 0.75 is nearest to 260; rounded in between it stays 256 or becomes 258."""
    kept, anew = model().to(torch.bfloat16), model().to(torch.bfloat16)
    overs = [adding(0.75, "0.weight") for _ in range(5)]
    for m in (kept, anew):
        m[0].weight.data.fill_(256.0)
    for over in overs:
        add(kept, over)
    change_overlays(anew, lambda _: overs)
    assert numbers(kept)[0] == numbers(anew)[0] == 260
    for over in overs[:2]:
        remove(kept, over)
    assert numbers(kept)[0] == 258
    add(kept, overs[0])
    assert numbers(kept)[0] == 260  # 256 + 3 = 259 lies halfway, and the even neighbour is 260


def test_copies_own_what_they_were_copied_with():
    m = model()
    add(m, adding(10, "0.weight"))
    for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert (numbers(twin), overlays_on(twin)) == ([10, 1, 2, 3], ())
        add(twin, over := adding(1, "0.weight"))
        remove(twin, over)
        assert numbers(twin) == [10, 1, 2, 3]
    assert len(overlays_on(m)) == 1
    assert overlays_on(copy.copy(m)) == overlays_on(m)


def test_a_model_made_in_inference_mode_can_be_changed():
    with torch.inference_mode():
        m = model()
    over = adding(10, "0.weight")
    add(m, over)
    assert numbers(m)[0] == 10
    remove(m, over)
    assert numbers(m)[0] == 0


def test_a_parameter_replaced_by_something_else_is_refused():
    m = model()
    over = adding(10, "0.weight")
    add(m, over)
    torch.nn.utils.parametrize.register_parametrization(m[0], "weight", nn.Identity())
    with pytest.raises(InputError, match=r"0\.weight was moved, converted, replaced"):
        remove(m, over)
