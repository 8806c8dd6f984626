"""``knowedit export``: an edit as a LoRA adapter, or a whole model with the edit in its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import knowedit
from knowedit.cli.options import LARGEST_COUNT, Device, Dtype, Json
from knowedit.cli.output import console, print_json, progress, safe
from knowedit.cli.stack import stacked
from knowedit.errors import InputError

if TYPE_CHECKING:
    from knowedit.editing import Edit
    from knowedit.models import LanguageModel


def export(
    files: Annotated[list[Path], typer.Argument(metavar="EDIT...", help="Edit files, in the order of use.")],
    to: Annotated[
        Literal["peft", "merged"],
        typer.Option(help="peft: a LoRA adapter; merged: a whole model with the edits in its weights."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write, new or empty.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The base model; by default the one the edit was made for."),
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    rank: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_COUNT, help="Cut dense updates to this rank, and print what that loses."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write the export and print what was written."""
    from knowedit.editing import Edit, check_folder
    from knowedit.editing.edits.contradictions import check_consistent

    check_folder(out, force=force)
    edits = [Edit.load(file) for file in files]
    check_consistent(edits)
    if to == "merged" and rank is not None:
        raise InputError("--rank cuts an edit to what an adapter can hold: leave it out with --to merged")
    edit = _one(edits, rank) if to == "peft" else edits[-1]
    base = model or edit.provenance.base
    _check_inputs(out, [*files, Path(base)])
    with progress(f"opening {base}"):
        lm = knowedit.load(base, device=device, dtype=dtype)
    written = {"model": lm.name, "dtype": str(lm.dtype).removeprefix("torch.")}
    if to == "peft":
        written |= _adapter(edit, lm, out, force=force)
    else:
        with stacked(lm, edits[:-1]), progress("writing"):
            edit.merged(lm, out, force=force)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    found = {"to": to, **written, "edits": [edit.digest for edit in edits], "folder": str(out), "bytes": size}
    if as_json:
        print_json(found)
    else:
        _print(found)


def _check_inputs(out: Path, read: Sequence[Path]) -> None:
    """Refuse a folder that holds what is read, which --force would replace with the rest.

    Raises:
        InputError: it does.
    """
    for path in read:
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(f"{out} holds {path}, which is read: give another --out")


def _one(edits: Sequence[Edit], rank: int | None) -> Edit:
    edit = edits[0] if len(edits) == 1 else edits[0].combined(edits)
    return edit if rank is None else edit.compressed(rank)


def _adapter(edit: Edit, lm: LanguageModel, out: Path, *, force: bool) -> dict[str, Any]:
    with progress("writing"):
        written = edit.to_peft(out, lm, force=force)
    return {
        "modules": list(written.modules),
        "rank": written.rank,
        "error": written.error,
        "compression": edit.diagnostics.compression,
    }


def _print(found: dict[str, Any]) -> None:
    folder, size = safe(found["folder"]), found["bytes"] / 1024
    if found["to"] == "merged":
        console.print(
            f"{safe(found['model'])} with {len(found['edits'])} edit(s) in its weights, {found['dtype']}"
        )
        console.print(
            f"written to {folder} ({size:.0f} KiB); open it with knowedit or transformers by that path"
        )
        return
    for module in found["modules"]:
        console.print(f"LoRA of rank {found['rank']} on {safe(module)}")
    for address, error in found["compression"].items():
        console.print(f"cut to a lower rank: {safe(address)} lost {error:.2%} of its update (Frobenius)")
    console.print(f"its float32 factors differ from the edit by {found['error']:.1e} (relative, Frobenius)")
    console.print(
        f"written to {folder} ({size:.0f} KiB); open it with peft.PeftModel.from_pretrained(model, {folder!r})"
    )
