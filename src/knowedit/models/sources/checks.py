"""What is refused before a model is opened: packed weights, pickles with more than tensors, and endless sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from knowedit.errors import FileFormatError, InputError
from knowedit.reading import shown

WEIGHTS: Final = (".safetensors", ".bin")
OTHERS: Final = (".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".npz")
"""Weights in forms that are not read."""
SIZES: Final = ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings")
LONGEST: Final = 1 << 24
"""Positions that a model without a table of them may have; its buffers grow with them."""
BYTES: Final = 4
"""Of a number in memory for each byte on the disk, at most."""


def check_config(name: str, config: Any, folder: Path | None, *, table: bool = False) -> None:
    """Refuse what cannot be edited, and a configuration of a larger model than the weights beside it.

    Args:
        name: what the model is called.
        config: what its ``config.json`` says.
        folder: with that file and the weights; None where the model is somewhere else.
        table: whether the model has a weight for each position.

    Raises:
        InputError: a quantised model.
        FileFormatError: an entry that cannot be; or weights in no form that is read.
    """
    _require_editable(name, config)
    if folder is not None:
        _require_sizes(folder, config, table)


def _require_editable(name: str, config: Any) -> None:
    """Refuse a quantised model: an edit is added to a weight, and packed ones cannot be added to.

    Raises:
        InputError: naming how it was quantised.
    """
    found = getattr(config, "quantization_config", None)
    if found is None:
        return
    told = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
    method = told.get("quant_method")
    method = getattr(method, "value", method)
    if method is None and any(told.get(key) for key in ("load_in_4bit", "load_in_8bit")):
        method = "bitsandbytes"
    how = shown(method) if method else "its config.json has a quantization_config"
    raise InputError(
        f"{name} is quantised ({how}): packed weights cannot be edited or read exactly; open the checkpoint that it "
        "was made from, in float32, bfloat16 or float16, edit that, and quantise the result"
    )


def _require_sizes(folder: Path, config: Any, table: bool) -> None:
    """Refuse what would take memory for more than the weights can hold."""
    sizes = {name: _size(folder, config, name) for name in SIZES}
    stored = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS)
    if not stored:
        raise FileFormatError(_no_weights(folder))
    vocabulary, width, layers, positions = sizes.values()
    for name, rows in {
        "vocab_size": vocabulary,
        "num_hidden_layers": layers,
        SIZES[3]: positions * table,
    }.items():
        if rows * width > BYTES * stored:
            raise FileFormatError(
                f"the config.json of {folder} says {name} {rows:,} and hidden_size {width:,}, more than fits "
                f"{stored:,} bytes of weights: get the config.json that belongs to them"
            )
    if positions > LONGEST:
        raise FileFormatError(
            f"the config.json of {folder} says {SIZES[3]} {positions:,}: at most {LONGEST:,}"
        )


def _size(folder: Path, config: Any, name: str) -> int:
    found = getattr(config, name, 1)
    if found is not None and (type(found) is not int or found < 1):
        raise FileFormatError(
            f"the config.json of {folder} says {name} {shown(found)}: expected a whole number from 1 on; get the "
            "config.json that belongs to the weights"
        )
    return found or 1


def _no_weights(folder: Path) -> str:
    others = _named(path.name for path in folder.iterdir() if path.suffix in OTHERS)
    found = f"its weights only as {others}" if others else "no weights"
    return (
        f"the folder {folder} has {found}: expected model.safetensors; open it with the library that wrote it and "
        "save it with model.save_pretrained(folder)"
    )


def _named(files: Iterable[str]) -> str:
    first, *others = [*sorted(files), ""]
    return f"{first} and {len(others) - 1} more" if len(others) > 1 else first
