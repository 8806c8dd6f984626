"""Which weights a model has: one SHA-256 per tensor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from knowedit.models.language_model import LanguageModel
from knowedit.models.overlays import own_tensor


@dataclass(frozen=True, repr=False)
class Fingerprint:
    """The digests of a model's tensors.

    Attributes:
        tensors: name to hexadecimal SHA-256 of the dtype, the shape and the bytes as stored, in the order
            of the names. Tensors that are shared (a head tied to the embedding) are listed once,
            under the first name that the model gives them.
    """

    tensors: dict[str, str]

    def __repr__(self) -> str:
        return f"Fingerprint({len(self.tensors)} tensors, sha256 {self.digest[:12]})"

    @property
    def digest(self) -> str:
        """One SHA-256 over all names and digests."""
        lines = "".join(f"{name} {value}\n" for name, value in sorted(self.tensors.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def differences(self, other: Fingerprint) -> list[str]:
        """The names of tensors that differ or that only one of the two has, sorted."""
        names = self.tensors.keys() | other.tensors.keys()
        return sorted(name for name in names if self.tensors.get(name) != other.tensors.get(name))


def fingerprint(lm: LanguageModel, *, with_edits: bool = False) -> Fingerprint:
    """The `Fingerprint` of a model's own weights; needs memory for one tensor at most.

    Parameters and saved buffers count. The device and the name do not.

    Args:
        lm: the model.
        with_edits: take the weights as they are now, with the edits that are applied. By default those
            under them, which an edit is made for whatever else is applied.

    Raises:
        InputError: an edited tensor was moved, converted or written to, so that its own is not known.
    """
    seen: set[int] = set()
    found: dict[str, str] = {}
    for name, tensor in lm.model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor_digest(tensor if with_edits else own_tensor(lm.model, tensor))
    return Fingerprint(dict(sorted(found.items())))


def tensor_digest(tensor: Tensor) -> str:
    """Hexadecimal SHA-256 of a tensor's dtype, shape and bytes in row-major order."""
    found = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    found.update(data.numpy().data)  # the buffer itself: no copy
    return found.hexdigest()
