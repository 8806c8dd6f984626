"""``knowedit trace``: where a fact is, as numbers in the terminal, a data file and a picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import knowedit
from knowedit.cli.choices import trace_settings
from knowedit.cli.heat import heat_lines
from knowedit.cli.options import (
    DEFAULT_MODEL,
    Device,
    Draws,
    Dtype,
    Edits,
    Figure,
    Force,
    Json,
    Model,
    Noise,
    RelativeNoise,
    Seed,
    Sever,
    Window,
)
from knowedit.cli.output import check_outputs, console, print_json, progress, safe, stderr
from knowedit.cli.stack import stacked
from knowedit.errors import InputError
from knowedit.facts import split_template, template_of

if TYPE_CHECKING:
    from knowedit.tracing import Part, Trace, TraceSettings

PARTS: Sequence[Part] = ("hidden", "mlp", "attention")


def trace(
    prompt: Annotated[str, typer.Argument(help="The text up to the answer, with {} for the subject.")],
    subject: Annotated[str, typer.Option(help="Whose tokens are corrupted.")],
    model: Model = DEFAULT_MODEL,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    answer: Annotated[
        str | None, typer.Option(help="The object; by default what the model predicts.")
    ] = None,
    part: Annotated[
        Literal["hidden", "mlp", "attention", "all"], typer.Option(help="What is restored.")
    ] = "hidden",
    window: Window = None,
    sever: Sever = None,
    noise: Noise = None,
    relative_noise: RelativeNoise = None,
    substitute: Annotated[
        str | None,
        typer.Option(help="Corrupt by this subject, with the same number of tokens, instead of by noise."),
    ] = None,
    draws: Draws = None,
    seed: Seed = 0,
    edits: Edits = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The data to write, .safetensors; with --part all a file for each part."),
    ] = None,
    figure: Figure = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Trace, write what was asked for, and print the numbers."""
    from knowedit.editing import Edit
    from knowedit.models import fingerprint

    _check_texts(prompt, subject, answer, substitute)
    files = _data_files(out, part)
    check_outputs(force=force, suffix=(".safetensors",), inputs=edits, out=files, figure=figure)
    settings = trace_settings(
        window, sever, draws, noise=noise, relative_noise=relative_noise, substitute=substitute
    )
    applied = [Edit.load(file) for file in edits or ()]
    with progress(f"opening {model}"):
        lm = knowedit.load(model, device=device, dtype=dtype)
    with stacked(lm, applied), _warnings_shown(), progress("tracing") as tell:
        digest = fingerprint(lm, with_edits=True).digest
        traces = []
        for own in _settings(part, lm.n_layers, settings):
            tell(text=f"tracing: {own.part}")
            traces.append(
                knowedit.causal_trace(
                    lm, prompt, subject, answer=answer, settings=own, seed=seed, digest=digest
                )
            )
    written = _write(traces, files, figure, force=force)
    if as_json:
        shown = [_as_json(one) for one in traces]
        print_json({"traces": shown, "edits": [str(file) for file in edits or ()], "written": written})
        return
    _print(traces)
    for path in written:
        console.print(f"written to {safe(path)}", soft_wrap=True)


def _check_texts(prompt: str, subject: str, answer: str | None, substitute: str | None) -> None:
    """Refuse, before the model is opened, what no trace could be made of.

    Raises:
        InputError: a text that is empty, or a prompt that is no template.
    """
    texts = {"subject": subject, "--answer": answer, "--substitute": substitute}
    if empty := [name for name, text in texts.items() if text is not None and not text.strip()]:
        raise InputError(f"the {empty[0].removeprefix('--')} is empty: give at least one visible character")
    split_template(template_of(prompt, subject))


def _data_files(out: Path | None, part: str) -> list[Path]:
    """The files of ``--out``: one for each part."""
    if out is None or part != "all":
        return [] if out is None else [out]
    return [out.with_name(f"{out.stem}-{own}{out.suffix}") for own in PARTS]


def _settings(
    part: Part | Literal["all"], n_layers: int, settings: Callable[[Part, int, str], TraceSettings]
) -> list[TraceSettings]:
    """How each part is traced; with all of them hidden states are restored one at a time, as in the paper."""
    from knowedit.tracing import Window

    if part != "all":
        return [settings(part, n_layers, "1")]
    hidden, *others = (settings(own, n_layers, "depth") for own in PARTS)
    return [replace(hidden, window=Window()), *others]


@contextmanager
def _warnings_shown() -> Iterator[None]:
    from knowedit.tracing import UnpredictedAnswer

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UnpredictedAnswer)
        yield
    for text in dict.fromkeys(str(warning.message) for warning in heard):
        stderr.print(f"[yellow]warning:[/] {safe(' '.join(text.split()))}")


def _write(traces: Sequence[Trace], files: Sequence[Path], figure: Path | None, *, force: bool) -> list[str]:
    from knowedit.tracing.figures import heat_map, save

    for trace, file in zip(traces, files, strict=bool(files)):
        trace.save(file, force=force)
    if figure is not None:
        save(heat_map(*traces), figure, force=force)
    return [str(path) for path in (*files, figure) if path is not None]


def _print(traces: Sequence[Trace]) -> None:
    first = traces[0]
    console.print(f"[bold]{safe(first.text)}[/] … {safe(first.answer.strip())}", soft_wrap=True)
    console.print(
        f"P(answer): clean {first.clean:.3f}, corrupted {first.corrupted:.3f}, "
        f"total effect {first.total_effect:+.3f}"
    )
    for trace in traces:
        console.print()
        for line in heat_lines(trace, console.width):
            console.print(line, no_wrap=True)


def _as_json(trace: Trace) -> dict[str, Any]:
    """A trace without the single draws."""
    return {
        "model": trace.provenance.model,
        "digest": trace.provenance.digest,
        "text": trace.text,
        "answer": trace.answer,
        "predicted": trace.predicted,
        "tokens": list(trace.tokens),
        "roles": [role.value for role in trace.roles],
        "subject": list(trace.subject),
        **trace.settings.to_json(),
        "seed": trace.provenance.seed,
        "clean": trace.clean,
        "corrupted": trace.corrupted,
        "total_effect": trace.total_effect,
        "restored": trace.restored.tolist(),
    }
