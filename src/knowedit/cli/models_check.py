"""``knowedit models check``: where a model keeps its parts, and how well the laws hold that the rest relies on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

import knowedit
from knowedit.cli.options import Device, Dtype, Json
from knowedit.cli.output import console, print_json, progress, safe


def models_check(
    model: Annotated[str, typer.Argument(help="A name of this package, a folder, a GGUF file or a Hub id.")],
    device: Device = "cpu",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Print the parts that were found, or are known by name, and the largest difference of each law."""
    from knowedit.models import FAMILIES, check_anatomy

    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    with progress("measuring the laws"):
        laws = check_anatomy(lm)
    family = lm.model.config.model_type
    report = {
        "model": lm.name,
        "family": family,
        "anatomy_is": "known by name" if family in FAMILIES else "found",
        "layers": lm.n_layers,
        "width": lm.width,
        "inner_width": lm.inner_width,
        "anatomy": asdict(lm.anatomy),
        "laws": laws,
    }
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    shape = f"{report['layers']} layers, width {report['width']}, inner width {report['inner_width']}"
    title = f"{report['model']}: family {report['family']}, anatomy {report['anatomy_is']}; {shape}"
    console.print(safe(title), soft_wrap=True)
    parts = Table("part", box=None)
    parts.add_column("where", overflow="fold")
    for part, value in report["anatomy"].items():
        parts.add_row(part, safe(_words(value)))
    console.print(parts)
    laws = Table("largest difference", "law", box=None)
    for law, error in report["laws"].items():
        laws.add_row("0" if error == 0 else f"{error:.0e}", safe(law))
    console.print(laws)


def _words(value: Any) -> str:
    if value is None or value == ():
        return "none"
    steps = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{step[0]} {step[1]:g}" if isinstance(step, tuple) else str(step) for step in steps)
