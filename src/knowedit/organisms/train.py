"""Grow an organism from its recipe: resumable at every checkpoint, the same whether interrupted or not."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from knowedit.errors import InputError
from knowedit.organisms.recall import recalled
from knowedit.organisms.recipe import Recipe
from knowedit.organisms.tokenizer import train_tokenizer
from knowedit.organisms.world import World
from knowedit.runs import HeldFolder
from knowedit.tensorfile import write_safetensors
from knowedit.writing import write_bytes

CHECKPOINT = "checkpoint.safetensors"
LOG = "training_log.jsonl"
PROBE_PAIRS = 256
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")

Report = Callable[[dict[str, float]], None]


def train(
    recipe: Recipe,
    work: Path,
    *,
    every: int = 250,
    stop_after: int | None = None,
    report: Report | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Train, or resume training, in the folder ``work``.

    Args:
        recipe: what to grow.
        work: holds the checkpoint and the log; may be empty or not exist.
        every: steps between checkpoints, which are also when recall is probed and logged.
        stop_after: stop at this step (to try resuming); the default is the recipe's own end.
        report: called with each log entry and, between them, with ``step`` and ``loss``.

    Returns:
        The trained model in float32 and its tokenizer.

    Raises:
        InputError: ``work`` holds the checkpoint of another recipe, or no checkpoint and something else, or another
            process trains there.
    """
    with HeldFolder(work, CHECKPOINT):
        return _train(recipe, work, every, stop_after, report)


def _train(
    recipe: Recipe, work: Path, every: int, stop_after: int | None, report: Report | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    world = World.build(recipe.seed)
    tokenizer = train_tokenizer(world)
    model = recipe.model(tokenizer)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    step, spent = _restore(work, recipe, model, optimiser)
    end = min(recipe.steps, stop_after or recipe.steps)
    began = _clocks() - spent
    losses: list[float] = []
    while step < end:
        _set_rate(optimiser, recipe, step)
        losses.append(_step(model, optimiser, recipe.batch(world, tokenizer, step), recipe.clip))
        step += 1
        if report:
            report({"step": step, "loss": losses[-1]})
        if step % every == 0 or step == end:
            entry = _log_entry(recipe, world, model, tokenizer, step, _clocks() - began, losses)
            _save(work, recipe, model, optimiser, entry)
            if report:
                report(entry)
            losses = []
    return model.eval(), tokenizer


def _set_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    cosine = max(0.02, 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))
    for group in optimiser.param_groups:
        group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup) * cosine


def _step(model: PreTrainedModel, optimiser: torch.optim.Optimizer, ids: torch.Tensor, clip: float) -> float:
    model.train()
    logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    return loss.item()


def _log_entry(
    recipe: Recipe,
    world: World,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    step: int,
    spent: np.ndarray,
    losses: list[float],
) -> dict[str, float]:
    model.eval()
    rng = random.Random(f"probe {recipe.seed}")
    probes = {
        name: fmean(recalled(model, tokenizer, world, rng.sample(pairs, PROBE_PAIRS)))
        for name, pairs in (
            ("recall_trained", world.trained_pairs),
            ("recall_held_out", world.held_out_pairs),
        )
    }
    tokens = step * recipe.rows * recipe.row_tokens
    return {
        "step": step,
        "seconds": round(float(spent[0]), 1),
        "cpu_seconds": round(float(spent[1]), 1),
        "tokens": tokens,
        "tokens_per_cpu_second": round(tokens / float(spent[1])),
        "loss": round(sum(losses) / len(losses), 4),
        **probes,
    }


def _save(
    work: Path,
    recipe: Recipe,
    model: PreTrainedModel,
    optimiser: torch.optim.Optimizer,
    entry: dict[str, float],
) -> None:
    """Write the checkpoint, log included, as one atomic file; then the log for people to read."""
    log = [*_read_log(work), entry]
    tensors = {f"model.{name}": p.detach().numpy() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        tensors |= {f"{key}.{name}": optimiser.state[p][key].numpy() for key in _MOMENTS}
    metadata = {"recipe": json.dumps(asdict(recipe)), "log": json.dumps(log)}
    write_safetensors(work / CHECKPOINT, tensors, metadata, force=True)
    _write_log(work, log)


def _write_log(work: Path, log: list[dict[str, float]]) -> None:
    lines = "".join(json.dumps(line) + "\n" for line in log)
    write_bytes(work / LOG, lines.encode(), force=True)


def _read_log(work: Path) -> list[dict[str, float]]:
    if not (work / CHECKPOINT).exists():
        return []
    with safe_open(work / CHECKPOINT, "pt") as file:
        log: list[dict[str, float]] = json.loads(file.metadata()["log"])
    return log


def _restore(
    work: Path, recipe: Recipe, model: PreTrainedModel, optimiser: torch.optim.Optimizer
) -> tuple[int, np.ndarray]:
    """Load the checkpoint, if there is one; returns the steps done and the wall and CPU seconds they took."""
    if not (work / CHECKPOINT).exists():
        return 0, np.zeros(2)
    with safe_open(work / CHECKPOINT, "pt") as file:
        found = json.loads(file.metadata()["recipe"])
        if found != asdict(recipe):
            different = sorted(key for key in found if found[key] != asdict(recipe).get(key))
            raise InputError(
                f"{work} holds a checkpoint of another recipe (different: {', '.join(different)}): "
                "use an empty folder or the recipe it was started with"
            )
        for name, parameter in model.named_parameters():
            parameter.data.copy_(file.get_tensor(f"model.{name}"))
            optimiser.state[parameter] = {key: file.get_tensor(f"{key}.{name}") for key in _MOMENTS}
    log = _read_log(work)
    _write_log(work, log)  # a kill between the checkpoint and the log leaves the log behind
    last = log[-1]
    return int(last["step"]), np.array([last["seconds"], last["cpu_seconds"]])


def _clocks() -> np.ndarray:
    """Wall and CPU seconds: on a busy machine the second is what training really costs."""
    return np.array([time.perf_counter(), time.process_time()])
