"""Where a family of models keeps its parts: an architecture is data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from knowedit.errors import InputError

MODEL_PARTS = ("embedding", "position_embedding", "final_norm", "head")
BLOCK_PARTS = ("block", "attention", "attention_out", "mlp", "mlp_up", "mlp_down")

Steps: TypeAlias = tuple[tuple[str, float], ...]
"""What is done to each number in turn: ``multiply`` or ``divide`` by a value, or ``cap`` at it by a tanh."""


def take_steps(steps: Steps, values: Any) -> Any:
    """A tensor after the steps, computed as the models do it."""
    for kind, by in steps:
        if kind == "cap":
            values = (values / by).tanh() * by
        else:
            values = values * by if kind == "multiply" else values / by
    return values


@dataclass(frozen=True)
class Anatomy:
    """Module paths of a decoder-only transformer.

    The first five are paths from the model, the others from one block.

    Attributes:
        embedding: the token embedding.
        position_embedding: the learned position embedding, or None where there is none (rotary).
        blocks: the list of blocks.
        final_norm: the norm after the last block.
        head: the projection to logits.
        attention: the module whose output the block adds to the residual stream: the attention sublayer, or
            the norm after it where there is one.
        attention_in: the projections to queries, keys and values; one entry where they are fused.
        attention_out: the projection that ends the attention.
        mlp: the module whose output the block adds: the MLP sublayer, its last projection where the MLP is no
            module of its own, or the norm after it.
        mlp_up: the MLP's first projection, width to inner width.
        mlp_down: the MLP's last projection, inner width to width: the associative memory. Its input and
            output are key and value, whatever norm comes after it.
        residual_scale: the number that the block multiplies both outputs with when it adds them.
        before_head: what happens between the final norm and the head.
        after_head: what makes the logits out of the head's output: a soft cap, a scale.
        per_head: the names of a block's arguments (or their places) whose first axis is rows times heads.
        shared: the names of those whose first axis has nothing to do with rows, so that all rows share them.
    """

    embedding: str
    position_embedding: str | None
    blocks: str
    final_norm: str
    head: str
    attention: str
    attention_in: tuple[str, ...]
    attention_out: str
    mlp: str
    mlp_up: str
    mlp_down: str
    residual_scale: float = 1.0
    before_head: Steps = ()
    after_head: Steps = ()
    per_head: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def attention_in_parts(self) -> tuple[str, ...]:
        """The part names of `attention_in`: itself where fused, else ``attention_in.0`` and so on."""
        if len(self.attention_in) == 1:
            return ("attention_in",)
        return tuple(f"attention_in.{i}" for i in range(len(self.attention_in)))

    @property
    def projection_parts(self) -> tuple[str, ...]:
        """The part names that hold a weight matrix, in the order of the computation."""
        return (*self.attention_in_parts, "attention_out", "mlp_up", "mlp_down")

    def expand(self, part: str) -> tuple[str, ...]:
        """The projections that ``part`` means: ``attention_in`` is all of W_Q, W_K and W_V, fused or not.

        Raises:
            InputError: no such projection.
        """
        if part == "attention_in":
            return self.attention_in_parts
        if part not in self.projection_parts:
            known = ", ".join(dict.fromkeys(("attention_in", *self.projection_parts)))
            raise InputError(f"{part!r} is not a projection of this family: use one of {known}")
        return (part,)

    def in_block(self, part: str) -> str:
        """The path of ``part`` from its block; empty for the block itself.

        Raises:
            InputError: no such part.
        """
        inputs = dict(zip(self.attention_in_parts, self.attention_in, strict=True))
        if part in inputs:
            return inputs[part]
        if part not in BLOCK_PARTS:
            known = ", ".join((*BLOCK_PARTS, *self.attention_in_parts))
            raise InputError(f"a block has no part {part!r}: use one of {known}")
        return "" if part == "block" else str(getattr(self, part))

    def path(self, part: str, layer: int | None = None) -> str:
        """The full path of ``part``, for instance ``transformer.h.5.mlp.c_proj``.

        Args:
            part: a part of the model (`MODEL_PARTS`) or of a block (`BLOCK_PARTS`, `attention_in_parts`).
            layer: the block's number; None for parts of the model.

        Raises:
            InputError: no such part, or a layer missing or given where none belongs.
        """
        if part in MODEL_PARTS:
            if layer is not None:
                raise InputError(
                    f"{part!r} belongs to the whole model: leave out the layer ({layer} was given)"
                )
            found = getattr(self, part)
            if found is None:
                raise InputError(f"this family has no {part!r}")
            return str(found)
        inside = self.in_block(part)
        if layer is None:
            raise InputError(f"{part!r} belongs to a block: give its layer")
        return f"{self.blocks}.{layer}.{inside}".rstrip(".")

    def check(self, model: Any) -> None:
        """Law 1: every path of the anatomy leads to a module of ``model``, in every block.

        Raises:
            InputError: naming the path that does not.
        """
        paths = [self.path(part) for part in MODEL_PARTS if getattr(self, part) is not None]
        parts = ("block", "attention", "mlp", *self.projection_parts)
        layers = len(_resolve(model, self.blocks))
        paths += [self.path(part, layer) for layer in range(layers) for part in parts]
        for path in paths:
            _resolve(model, path)


def _resolve(model: Any, path: str) -> Any:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise InputError(
            f"law 1 (every path resolves): {type(model).__name__} has no module {path!r}; "
            "compare the anatomy with model.named_modules()"
        ) from None
