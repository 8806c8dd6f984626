"""``knowedit organism train``: train an organism and join weights, statistics, facts and records in one folder."""

from __future__ import annotations

import json
import random
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knowedit.bundled import KNOWN_FACTS, NOTES
from knowedit.cli.options import Json
from knowedit.cli.output import check_folder, console, print_json, progress, stderr
from knowedit.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from knowedit.evaluation import Record
    from knowedit.linalg import SecondMoment
    from knowedit.models import LanguageModel
    from knowedit.organisms import Recipe, World

STATISTICS_TEXT = "statistics.txt"
STATISTICS_PASSAGES = 400
PASSAGE_WORDS = 80
LAYER_RECORDS = 40
MOST_THREADS = 1_024
BATCH_TEXTS = 16
"""Texts of a forward where statistics are gathered; it decides their last digits."""


def organism_train(
    name: Annotated[str, typer.Argument(help="The recipe's name, for instance organism-gpt2.")],
    work: Annotated[
        Path, typer.Option(help="Folder for checkpoints, from which training is resumed.")
    ] = Path("build/organisms"),
    out: Annotated[Path, typer.Option(help="Folder to put the finished model into.")] = Path("organisms"),
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="Processor threads.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier model of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Train the recipe ``name``, or resume training, and write the finished model to ``out / name``."""
    import torch

    from knowedit.organisms import RECIPES, train
    from knowedit.organisms.train import CHECKPOINT, LOG
    from knowedit.writing import new_folder

    if name not in RECIPES:
        raise InputError(f"{name!r} is not a recipe: use one of {', '.join(RECIPES)}")
    check_folder(work / name, "--work", of_run=False)
    check_folder(out / name, of_run=False)
    _check(work / name, out / name, force=force)
    torch.set_num_threads(threads)
    recipe = RECIPES[name]
    kept = (f"the last checkpoint is in {work / name}", work / name / CHECKPOINT)
    with progress(name, "steps", kept=kept) as tell:

        def report(entry: dict[str, float]) -> None:
            tell(entry["step"], recipe.steps)
            if "tokens" in entry:
                stderr.print(json.dumps(entry), markup=False)

        model, tokenizer = train(recipe, work / name, report=report)
    with progress("measuring") as tell:
        out.mkdir(parents=True, exist_ok=True)
        with new_folder(out / name, NOTES, "model", force=force) as place:
            found = _release(recipe, model, tokenizer, work / name / LOG, place, tell)
    if as_json:
        print_json(found)
    else:
        console.print(
            f"{name}: recall {found['recall']}, edit layer {found['edit_layer']}, written to {out / name}"
        )


def _check(work: Path, target: Path, *, force: bool) -> None:
    """Refuse before hours of training what could not be written after them.

    Raises:
        InputError: one folder for both, or a folder that is not to be replaced.
    """
    from knowedit.writing import check_folder

    if work.resolve() == target.resolve():
        raise InputError(f"{target} is given for two things: give --work and --out a folder each")
    if target.parent.is_dir():
        check_folder(target, NOTES, "model", force=force)


def _release(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    log: Path,
    folder: Path,
    tell: Callable[..., None],
) -> dict[str, Any]:
    """Write everything that ships with an organism.

    All figures are of the float16 weights as they are stored, loaded as a user loads them.
    """
    import knowedit
    from knowedit.editing import save_second_moment
    from knowedit.evaluation import TEST_FILE, TRAIN_FILE, Record
    from knowedit.models.sources.hub import save_pretrained
    from knowedit.organisms import (
        World,
        compile_records,
        recalled,
        rescale_residual,
    )
    from knowedit.organisms.train import LOG
    from knowedit.writing import write_bytes

    rescale_residual(model, recipe.residual_scale)
    save_pretrained(model.half(), tokenizer, folder)
    shutil.copyfile(log, folder / LOG)
    world = World.build(recipe.seed)
    lm = knowedit.load(str(folder))
    tell(text="measuring recall")
    figures = {
        "trained": statistics.fmean(recalled(lm.model, lm.tokenizer, world, world.trained_pairs)),
        "held_out": statistics.fmean(recalled(lm.model, lm.tokenizer, world, world.held_out_pairs)),
    }
    train_records, test_records = compile_records(world)
    _write_list(folder / TRAIN_FILE, train_records)
    _write_list(folder / TEST_FILE, test_records)
    _write_list(folder / KNOWN_FACTS, _known_facts(lm, world))
    texts = _statistics_texts(world)
    write_bytes(folder / STATISTICS_TEXT, "\n".join(texts).encode())
    layers = _score_layers(
        lm, [Record.from_json(record) for record in train_records[:LAYER_RECORDS]], texts, tell
    )
    layer = max(layers, key=lambda number: layers[number]["score"])
    save_second_moment(lm, layer, _second_moment(lm, texts, layer))
    notes = _notes(recipe, figures, layer, layers, json.loads(log.read_text().splitlines()[-1]))
    notes["files"] = sorted(path.name for path in folder.iterdir())
    write_bytes(folder / NOTES, (json.dumps(notes, indent=1) + "\n").encode())
    return notes


def _statistics_texts(world: World) -> list[str]:
    """Fresh text of the world, one passage a line, for key statistics."""
    from knowedit.organisms import passage

    rng = random.Random(f"statistics {world.seed}")
    texts = (passage(world, rng, PASSAGE_WORDS) for _ in range(STATISTICS_PASSAGES))
    return [" ".join(text.split("\n")) for text in texts]


def _known_facts(lm: LanguageModel, world: World) -> list[dict[str, str]]:
    """Every fact that the model gets right in at least one template, with the first such template."""
    from knowedit.organisms import recalled

    rng = random.Random(f"known {world.seed}")
    pairs = [
        (subject, name, i)
        for subject, name in sorted(world.facts)
        for i in rng.sample(range(len(world.relations[name].templates)), len(world.relations[name].templates))
    ]
    known: dict[tuple[str, str], dict[str, str]] = {}
    for (subject, name, i), right in zip(pairs, recalled(lm.model, lm.tokenizer, world, pairs), strict=True):
        if right:
            entry = {"subject": subject, "relation": name, "prompt": world.relations[name].templates[i]}
            known.setdefault((subject, name), {**entry, "target_true": world.facts[subject, name]})
    found = list(known.values())
    rng.shuffle(found)
    return found


def _second_moment(lm: LanguageModel, texts: list[str], layer: int) -> SecondMoment:
    from knowedit.editing import Reading, collect_second_moments

    return collect_second_moments(lm, texts, [layer], reading=Reading(batch_texts=BATCH_TEXTS))[layer]


def _score_layers(
    lm: LanguageModel, records: list[Record], texts: list[str], tell: Callable[..., None]
) -> dict[int, dict[str, float]]:
    """ROME on training records at every layer, scored by the harmonic mean of the three magnitudes.

    The shares ES, PS and NS are at their ceiling at half of the layers and cannot tell them apart.
    """
    import torch

    from knowedit.editing import ROME
    from knowedit.evaluation import score_record

    scored = {}
    for layer in range(lm.n_layers):
        moment = _second_moment(lm, texts, layer)
        rome = replace(ROME.paper(layer=layer), statistics=moment).prepared(lm)
        rows = []
        for record in records:
            generator = torch.Generator().manual_seed(record.case_id)
            edit = rome.edit(lm, [record.fact], generator=generator)
            with edit.applied(lm):
                rows.append(score_record(lm, record))
        means = {
            name: statistics.mean(row.value(name) for row in rows)
            for name in ("ES", "PS", "NS", "EM", "PM", "NM")
        }
        scored[layer] = {**means, "score": _composite(means)}
        figures = ", ".join(f"{key} {100 * value:.1f}" for key, value in scored[layer].items())
        tell(text=f"layer {layer}: {figures}")
        stderr.print(f"layer {layer}: {figures}")
    return scored


def _composite(means: dict[str, float]) -> float:
    """The harmonic mean of EM, PM and NM; a negative one counts as nothing."""
    return statistics.harmonic_mean([max(means[name], 1e-9) for name in ("EM", "PM", "NM")])


def _notes(
    recipe: Recipe,
    figures: dict[str, float],
    layer: int,
    layers: dict[int, dict[str, float]],
    last: dict[str, float],
) -> dict[str, Any]:
    rounded = {str(n): {key: round(value, 4) for key, value in row.items()} for n, row in layers.items()}
    return {
        "edit_layer": layer,
        "recall": figures,
        "training": {key: last[key] for key in ("seconds", "cpu_seconds", "tokens", "tokens_per_cpu_second")},
        "recipe": asdict(recipe),
        "statistics_text": STATISTICS_TEXT,
        "layers_on_training_records": {"records": LAYER_RECORDS, **rounded},
    }


def _write_list(path: Path, entries: list[dict[str, Any]]) -> None:
    """A JSON list with one entry a line."""
    from knowedit.writing import write_bytes

    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    write_bytes(path, f"[\n{lines}\n]\n".encode())
