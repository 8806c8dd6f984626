"""An edit as a value: what changes where, on which model, why, and how sound it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from knowedit.errors import BaseMismatchError, FileFormatError, InputError
from knowedit.facts import Fact
from knowedit.linalg import LowRank
from knowedit.models import Fingerprint, LanguageModel, Projection, fingerprint, tensor_digest
from knowedit.tensorfile import Kind, PathLike, read_tensors, write_tensors

KIND: Final = Kind("edit", "1", "edit", "Edit.save")
SHOWN_DIFFERENCES = 3

Address = tuple[int, str]
"""``(layer, part)``: where a weight is, under the same name in every family."""


@dataclass(frozen=True)
class Preflight:
    """Figures that tell before an edit is used whether it is sound.

    Attributes:
        residual: ‖Ŵk* − (v* − b)‖ / ‖v* − b‖ with Ŵ rounded to the model's number format.
        divisor: k*ᵀC⁻¹k*; small values make large updates.
        relative_change: ‖ΔW‖ / ‖W‖, Frobenius. It can be large and harmless: most of ΔW may lie along
            directions that keys of text hardly have.
        change_on_text: ‖ΔW K‖ / ‖W K‖ over the text the key statistics were gathered on, which is what the
            insertion keeps small.
        condition: estimated condition number of C with its diagonal scaled to ones.
        probability: P[o* | p] with v* in place of the MLP's output, before anything was inserted.
        steps: gradient steps that v* took.
        alignment: the cosine, in the metric of C⁻¹, of k* and the key that the value was inserted at: 1 where
            they are one key. The divisor is as small as the alignment, and the update as large as it is small.
    """

    residual: float
    divisor: float
    relative_change: float
    change_on_text: float
    condition: float
    probability: float
    steps: int
    alignment: float = 1.0

    def concerns(self) -> list[str]:
        """What a careful person would look into before using the edit; empty if nothing."""
        checks = [
            (self.residual > 0.02, f"the weights miss the inserted value by {self.residual:.1%}"),
            (
                self.change_on_text > 1,
                f"on ordinary text the update adds {self.change_on_text:.1f} × the old output",
            ),
            (self.condition > 1e11, f"the key statistics have condition number {self.condition:.1e}"),
            (
                self.alignment < 0.2,
                f"the two keys of the insertion have a cosine of only {self.alignment:.2f}",
            ),
            (self.probability < 0.5, f"v* gives the new object a probability of only {self.probability:.1%}"),
        ]
        return [text for failed, text in checks if failed]


@dataclass(frozen=True)
class Provenance:
    """Where an edit comes from; all of it JSON.

    Attributes:
        editor: the editor's class name.
        settings: its fields.
        facts: the facts it was asked to insert.
        model: the model's name.
        seed: of the generator, or None if nothing was drawn.
        prefixes: the texts behind which the subject was read.
        versions: of the packages that computed it.
    """

    editor: str
    settings: dict[str, Any]
    facts: tuple[Fact, ...]
    model: str
    seed: int | None
    prefixes: tuple[str, ...]
    versions: dict[str, str]


@dataclass(frozen=True, eq=False)
class Edit:
    """Low-rank updates of a model's weights; making one changes nothing.

    Attributes:
        updates: address to update, in the orientation ``(d_out, d_in)``.
        base: the weights the edit was made for.
        provenance: where it comes from.
        preflight: how sound it is.
    """

    updates: Mapping[Address, LowRank]
    base: Fingerprint
    provenance: Provenance
    preflight: Preflight

    @contextmanager
    def applied(
        self, lm: LanguageModel, *, check: Literal["all", "edited"] = "all"
    ) -> Iterator[LanguageModel]:
        """Change the model's weights inside the ``with``; every bit is put back on any exit.

        The edited tensors are swapped for new ones and the original storage is put back: subtracting an
        update would not restore it bit for bit.

        Args:
            lm: the model the edit was made for.
            check: compare all its tensors with `base`, or, faster for large models, the edited ones.

        Raises:
            BaseMismatchError: other weights; says which tensor differs. Nothing was changed.
            NumericalError: a new weight overflows the model's number format. Nothing stays changed.
        """
        self.check_base(lm, check=check)
        with ExitStack() as stack:
            for (layer, part), update in self.updates.items():
                stack.enter_context(_swapped(lm.projection(layer, part), update))
            yield lm

    def check_base(self, lm: LanguageModel, *, check: Literal["all", "edited"] = "all") -> None:
        """Refuse a model whose weights are not those the edit was made for.

        Raises:
            BaseMismatchError: naming the tensors that differ.
        """
        found = fingerprint(lm) if check == "all" else self._edited_tensors(lm)
        different = self.base.differences(found)
        if check == "edited":
            different = [name for name in different if name in found.tensors]
        if different:
            more = (
                f" and {len(different) - SHOWN_DIFFERENCES} more"
                if len(different) > SHOWN_DIFFERENCES
                else ""
            )
            raise BaseMismatchError(
                f"the edit was made for {self.provenance.model} with other weights than {lm.name} now has: "
                f"{', '.join(different[:SHOWN_DIFFERENCES])}{more} differ; load the model it was made for, "
                "in the same number format and without another edit applied"
            )

    def _edited_tensors(self, lm: LanguageModel) -> Fingerprint:
        projections = [lm.projection(*address) for address in self.updates]
        return Fingerprint({f"{p.path}.weight": tensor_digest(p.parameter) for p in projections})

    def save(self, path: PathLike) -> None:
        """Write the edit as one safetensors file, atomically; the same edit gives the same bytes.

        Raises:
            InputError: the folder does not exist.
        """
        tensors = {}
        for (layer, part), update in self.updates.items():
            tensors[f"{layer}.{part}.left"] = update.left.cpu().numpy()
            tensors[f"{layer}.{part}.right"] = update.right.cpu().numpy()
        described = {
            "updates": [[*address, _dtype_name(update.dtype)] for address, update in self.updates.items()],
            "base": self.base.tensors,
            "provenance": asdict(self.provenance),
            "preflight": asdict(self.preflight),
        }
        write_tensors(path, KIND, tensors, {name: json.dumps(value) for name, value in described.items()})

    @classmethod
    def load(cls, path: PathLike) -> Edit:
        """Read an edit that `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, of another kind, or of another schema.
        """
        content = read_tensors(path, KIND)
        try:
            entries = {name: json.loads(value) for name, value in content.metadata.items()}
            return cls._from_file(content.tensors, entries)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{Path(path)} is an edit file with missing or wrong entries ({error}): make the edit again"
            ) from None

    @classmethod
    def _from_file(cls, tensors: Mapping[str, Any], entries: Mapping[str, Any]) -> Edit:
        provenance = entries["provenance"]
        facts = tuple(Fact(**fact) for fact in provenance.pop("facts"))
        prefixes = tuple(provenance.pop("prefixes"))
        updates = {
            (layer, part): LowRank(
                torch.from_numpy(tensors[f"{layer}.{part}.left"]),
                torch.from_numpy(tensors[f"{layer}.{part}.right"]),
                getattr(torch, dtype),
            )
            for layer, part, dtype in entries["updates"]
        }
        return cls(
            updates=updates,
            base=Fingerprint(entries["base"]),
            provenance=Provenance(**provenance, facts=facts, prefixes=prefixes),
            preflight=Preflight(**entries["preflight"]),
        )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def edited_weight(projection: Projection, update: LowRank) -> Tensor:
    """The projection's weight with the update added, as the model stores it; nothing is changed.

    Raises:
        InputError: the update has another shape.
        NumericalError: the sum overflows the weight's number format.
    """
    weight = projection.weight.detach()
    if update.shape != tuple(weight.shape):
        raise InputError(
            f"the update of {projection.path} has shape {update.shape}, its weight {tuple(weight.shape)}: "
            "the edit belongs to another model"
        )
    here = LowRank(update.left.to(weight.device), update.right.to(weight.device), update.dtype)
    return projection.to_storage(here.apply_to(weight)).contiguous()


@contextmanager
def _swapped(projection: Projection, update: LowRank) -> Iterator[None]:
    parameter = projection.parameter
    edited, original = edited_weight(projection, update), parameter.data
    parameter.data = edited
    try:
        yield
    finally:
        parameter.data = original
