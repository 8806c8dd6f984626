"""``knowedit export``: an edit as a LoRA adapter, or a whole model with the edit in its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape

from knowedit.cli.output import console, print_json, stderr
from knowedit.cli.stack import load_edits, stacked
from knowedit.editing import Edit, check_folder
from knowedit.errors import InputError
from knowedit.models import load


@dataclass(frozen=True)
class ExportRequest:
    """The options of ``knowedit export``."""

    files: tuple[Path, ...]
    form: Literal["peft", "merged"]
    out: Path
    model: str | None
    rank: int | None
    force: bool


def run_export(request: ExportRequest, *, as_json: bool) -> None:
    """Write the export and say what was written."""
    check_folder(request.out, force=request.force)
    edits = load_edits(request.files)
    with stderr.status("writing"):
        said = _adapter(request, edits) if request.form == "peft" else _merged(request, edits)
    size = sum(path.stat().st_size for path in request.out.rglob("*") if path.is_file())
    said |= {"edits": [edit.digest for edit in edits], "folder": str(request.out), "bytes": size}
    if as_json:
        print_json(said)
    else:
        _print(said)


def _adapter(request: ExportRequest, edits: list[Edit]) -> dict[str, Any]:
    edit = edits[0] if len(edits) == 1 else Edit.combined(edits)
    if request.rank is not None:
        edit = edit.compressed(request.rank)
    written = edit.to_peft(request.out, base_model=request.model, force=request.force)
    return {
        "to": "peft",
        "model": request.model or edit.provenance.model,
        "modules": list(written.modules),
        "rank": written.rank,
        "error": written.error,
        "compression": edit.preflight.compression,
    }


def _merged(request: ExportRequest, edits: list[Edit]) -> dict[str, Any]:
    if request.rank is not None:
        raise InputError("--rank cuts an edit to what an adapter can hold: leave it out with --to merged")
    *below, last = edits
    model = request.model or last.provenance.model
    lm = load(model)
    with stacked(lm, below):
        last.merged(lm, request.out, force=request.force)
    return {"to": "merged", "model": model, "dtype": str(lm.dtype).removeprefix("torch.")}


def _print(said: dict[str, Any]) -> None:
    folder, size = escape(said["folder"]), said["bytes"] / 1024
    if said["to"] == "merged":
        console.print(
            f"{escape(said['model'])} with {len(said['edits'])} edit(s) in its weights, {said['dtype']}"
        )
        console.print(
            f"written to {folder} ({size:.0f} KiB); open it with knowedit or transformers by that path"
        )
        return
    for module in said["modules"]:
        console.print(f"LoRA of rank {said['rank']} on {escape(module)}")
    for address, error in said["compression"].items():
        console.print(f"cut to a lower rank: {escape(address)} lost {error:.2%} of its update (Frobenius)")
    console.print(f"its float32 factors differ from the edit by {said['error']:.1e} (relative, Frobenius)")
    console.print(
        f"written to {folder} ({size:.0f} KiB); open it with peft.PeftModel.from_pretrained(model, {folder!r})"
    )
