"""All cells of a trace."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from knowedit.models import LanguageModel, Prompt, Site, capture, intervene
from knowedit.tracing.reading import joint_probability
from knowedit.tracing.trace import Part, Severed
from knowedit.tracing.windows import Window

SITES = {"hidden": "block", "mlp": "mlp", "attention": "attention"}


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be measured; see `causal_trace` for the fields."""

    lm: LanguageModel
    prompt: Prompt
    answer: tuple[int, ...]
    part: Part
    window: Window
    sever: Severed | None
    memory: int

    @property
    def ids(self) -> list[int]:
        """What every run reads: the prompt and all tokens of the answer but the last."""
        return [*self.prompt.ids, *self.answer[:-1]]


@dataclass(frozen=True, eq=False)
class CleanRun:
    """The run without corruption.

    Attributes:
        values: for each layer the part's value ``(tokens, width)``.
        logits: ``(tokens, vocabulary)``.
    """

    values: list[Tensor]
    logits: Tensor


def clean_run(lm: LanguageModel, ids: tuple[int, ...], part: Part) -> CleanRun:
    """Run the model as it is, on the prompt and all answer tokens but the last."""
    sites = [Site(layer, SITES[part]) for layer in range(lm.n_layers)]
    with capture(lm, sites) as found:
        logits = lm.logits([ids])[0]
    return CleanRun([found[site][0] for site in sites], logits)


def measure(plan: Plan, clean: CleanRun, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The corrupted scores ``(draws,)`` and the restored ones ``(draws, tokens, layers)``, float64."""
    lm, prompt = plan.lm, plan.prompt
    held: dict[int, Tensor] = {}
    severed = [Site(layer, plan.sever) for layer in range(lm.n_layers)] if plan.sever else []

    def corrupt(value: Tensor) -> Tensor:
        value[:, prompt.subject] = embeddings
        return value

    def run(token: int, layers: range) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(intervene(lm, {Site(None, "embedding"): corrupt}))
            for layer in layers:

                def restore(value: Tensor, layer: int = layer) -> Tensor:
                    value[:, token] = clean.values[layer][token]
                    return value

                stack.enter_context(intervene(lm, {Site(layer, SITES[plan.part]): restore}))
            for layer in held:

                def hold(value: Tensor, layer: int = layer) -> Tensor:
                    value[:, prompt.last_subject] = held[layer]
                    return value

                assert plan.sever is not None
                stack.enter_context(intervene(lm, {Site(layer, plan.sever): hold}))
            logits = lm.logits([plan.ids] * len(embeddings))
        return joint_probability(logits[:, prompt.last :], plan.answer)

    with capture(lm, severed) as found:
        baseline = run(0, range(0))
    held = {layer: found[site][:, prompt.last_subject] for layer, site in enumerate(severed)}
    scores = torch.stack(
        [
            torch.stack(
                [run(token, plan.window.layers(layer, lm.n_layers)) for layer in range(lm.n_layers)], dim=-1
            )
            for token in range(len(prompt.ids))
        ],
        dim=1,
    )
    return baseline, scores
