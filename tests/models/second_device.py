"""A second device where there is none: tensors that say they are on ``far`` and refuse to meet those on the CPU.

Run as ``python -m tests.models.second_device gpt2 llama``. In a process of its own, because PyTorch cannot forget
a device. The later blocks of a tiny model are put on ``far`` with accelerate's own hooks, as a device map over two
accelerators does it, and every result is compared with that of the same model on the CPU alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from knowedit.editing import ROME
from knowedit.models import (
    LanguageModel,
    batch,
    check_anatomy,
    fingerprint,
    load,
    record,
    replay,
    target_token_log_probabilities,
)
from tests.conftest import make_model, make_tokenizer
from tests.editing.conftest import FACT, PREFIXES, moment_of

aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default, aten._local_scalar_dense.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}  # indices may be on the CPU
TEXTS = ["The Space Needle is", "Paris"]


class Far(torch.Tensor):
    """A tensor on ``far``; its numbers are in ``near``."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        layout = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, near.size(), device=torch.device("far:0"), **layout)
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})

    @property
    def data(self) -> Far:
        return Far(self.near)

    @data.setter
    def data(self, new: Far) -> None:
        self.near = new.near


class TwoDevices(TorchDispatchMode):
    """Also sees what is made from nothing, such as ``torch.arange(3, device="far")``."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def near(value: Any) -> Any:
    return value.near if isinstance(value, Far) else value


def compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do it on the CPU, and say where the result is; refuse to mix devices as PyTorch does."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    far = any(isinstance(value, Far) for value in tensors)
    if function not in MOVES:
        check_one_device(function, tensors[:1] if function in INDEXED and far else tensors)
    wanted = kwargs.get("device")
    there = far if wanted is None else torch.device(wanted).type == "far"
    near_args, near_kwargs = tree_map(near, (args, kwargs))
    if wanted is not None:
        near_kwargs = near_kwargs | {"device": torch.device("cpu")}
    out = function(*near_args, **near_kwargs)
    if function._schema.name.endswith("_"):  # in place
        return args[0]
    return (
        tree_map(lambda value: Far(value) if isinstance(value, torch.Tensor) else value, out)
        if there
        else out
    )


def check_one_device(function: Any, tensors: list[torch.Tensor]) -> None:
    # A single number on the CPU may meet anything.
    places = {isinstance(value, Far) for value in tensors if value.dim()}
    if len(places) > 1:
        raise RuntimeError(f"{function}: tensors on far and cpu")


def register() -> torch.library.Library:
    """Make ``far`` a device, with what PyTorch does behind the dispatch mode's back."""

    def copied(source, target, non_blocking=False):
        near(target).copy_(near(source))
        return target

    _setup_privateuseone_for_python_backend("far")
    library = torch.library.Library("aten", "IMPL")
    empty = {
        "empty_strided": lambda size, stride, **options: torch.empty_strided(
            size, stride, dtype=options["dtype"]
        ),
        "empty.memory_format": lambda size, **options: torch.empty(size, dtype=options["dtype"]),
    }
    for name, make in empty.items():
        library.impl(name, lambda *a, make=make, **options: Far(make(*a, **options)), "PrivateUse1")
    library.impl("_copy_from", copied, "PrivateUse1")
    return library


def spread(lm: LanguageModel) -> None:
    """The later half of the blocks, the final norm, and a head that is not tied go to ``far``."""
    far = [*lm.blocks[lm.n_layers // 2 :], lm.module("final_norm")]
    tied = lm.module("head").weight is lm.module("embedding").weight
    for module in [*far, *([] if tied else [lm.module("head")])]:
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = torch.nn.Parameter(Far(parameter.detach()))
            add_hook_to_module(part, AlignDevicesHook(execution_device=torch.device("far:0")))
    if tied:
        add_hook_to_module(lm.module("head"), AlignDevicesHook(execution_device="cpu"))
    add_hook_to_module(lm.model, AlignDevicesHook(execution_device="cpu", io_same_device=True))


def replayed(lm: LanguageModel, layer: int) -> torch.Tensor:
    recording = record(lm, TEXTS)
    with torch.no_grad():
        return replay(recording, layer, recording.states[layer], positions=recording.batch.last)


def replayed_rows(lm: LanguageModel, layer: int) -> torch.Tensor:
    recording, rows = record(lm, TEXTS), torch.tensor([1, 0, 1])
    with torch.no_grad():
        return replay(recording, layer, recording.states[layer][rows], rows=rows)


def edited(lm: LanguageModel, layer: int) -> torch.Tensor:
    rome = ROME(layer=layer, max_steps=3, statistics=moment_of(lm), prefixes=PREFIXES)
    edit = rome.edit(lm, [FACT])
    with edit.applied(lm):
        return lm.logits([FACT.text])


CHECKS: dict[str, Callable[[LanguageModel], Any]] = {
    "logits": lambda lm: lm.logits(TEXTS),
    "last logits": lambda lm: lm.logits(TEXTS, batch(lm, TEXTS).last),
    "scores": lambda lm: torch.cat(
        target_token_log_probabilities(lm, [("Paris is", "Paris"), ("The", "a city")])
    ),
    "greedy text": lambda lm: lm.generate_ids(TEXTS, 5),
    "drawn text": lambda lm: lm.generate_ids(TEXTS, 5, generator=torch.Generator().manual_seed(0)),
    "laws": lambda lm: max(check_anatomy(lm).values()) < 1e-5,
    "fingerprint": lambda lm: fingerprint(lm).digest,
    "replay from the first device": lambda lm: replayed(lm, 1),
    "replay on the second": lambda lm: replayed(lm, 3),
    "replayed rows": lambda lm: replayed_rows(lm, 3),
    "edit on the first device": lambda lm: edited(lm, 1),
    "edit before the seam": lambda lm: edited(lm, 2),
    "edit on the second device": lambda lm: edited(lm, 3),
    "mixed": lambda lm: lm.projection(1).weight.sum(0) + lm.projection(3).weight.sum(0),
}


def outcome(check: Callable[[LanguageModel], Any], split: LanguageModel, whole: LanguageModel) -> str:
    expected = check(whole)
    try:
        with TwoDevices():
            found = near(check(split))
    except (RuntimeError, ValueError, NotImplementedError) as problem:
        return str(problem)
    same = (
        torch.allclose(found, expected, atol=1e-3) if isinstance(found, torch.Tensor) else found == expected
    )
    return "ok" if same else "differs from the same model on one device"


def main() -> None:
    library = register()
    tokenizer, found = make_tokenizer(), {}
    for name in sys.argv[1:]:
        split, whole = (load((make_model(name, attn_implementation="eager"), tokenizer)) for _ in range(2))
        spread(split)
        found[name] = {label: outcome(check, split, whole) for label, check in CHECKS.items()}
    print(json.dumps(found))
    del library


if __name__ == "__main__":
    main()
