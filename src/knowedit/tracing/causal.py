"""Causal tracing (Section 3): which clean value, put into a corrupted run, brings the answer back?"""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.metadata import version

import torch

from knowedit.errors import InputError
from knowedit.models import (
    LanguageModel,
    Prompt,
    encode_with_offsets,
    fingerprint,
    generator_from,
    target_ids,
)
from knowedit.tracing.engine import measure
from knowedit.tracing.prompts import Role, read_prompt
from knowedit.tracing.runs import CleanRun
from knowedit.tracing.settings import TraceSettings
from knowedit.tracing.trace import Trace, TraceProvenance

MEMORY = 2**30
"""Bytes that one trace may take on top of the model, by default."""


class UnpredictedAnswer(UserWarning):
    """The traced answer is not what the model predicts after the prompt; it is measured all the same."""


@torch.no_grad()
def causal_trace(
    lm: LanguageModel,
    prompt: str | Prompt,
    subject: str | None = None,
    *,
    answer: str | None = None,
    settings: TraceSettings | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    memory: int = MEMORY,
    digest: str | None = None,
) -> Trace:
    """Trace where a model keeps what it knows about a subject.

    Three kinds of runs: a clean one; corrupted ones, one for each draw, in which the subject's token embeddings
    are corrupted; and for each token and layer the corrupted ones again, with the clean values of one part put
    back at that token, in the layers of the window around that layer. The same draws serve every cell.

    With ``settings.sever``, that part is held at each draw's corrupted value at the last subject token, in every
    layer and run but the clean one (Figure 4). Where it would have to be restored as well, it stays severed.

    Args:
        lm: the model; inside ``with edit.applied(lm)`` the edited one is traced.
        prompt: a text with one slot ``{}``, a text in which the subject occurs once, or a `Prompt`.
        subject: may be left out for a `Prompt`.
        answer: the object; by default the token that the model predicts. Its probability is that of all its
            tokens, by teacher forcing.
        settings: what is restored and how the subject is corrupted; by default single hidden states, and noise.
        generator: draws random noise.
        seed: in place of a generator: that of a new one.
        memory: bytes that may be used on top of the model, roughly; it changes the time and nothing else.
        digest: that of the weights' `Fingerprint`, if the caller has it. By default it is computed, which
            reads all weights once.

    Raises:
        InputError: a subject that cannot be found, a substitution of another length, a window larger than the
            model, a number of draws that does not fit, or no generator and no seed where noise is drawn.

    Warns:
        UnpredictedAnswer: the model predicts something else than ``answer``.
    """
    settings = TraceSettings() if settings is None else settings
    settings.window.check(lm.n_layers)
    if memory < 1:
        raise InputError(f"memory is {memory}, expected a number of bytes: the default is {MEMORY}")
    generator = generator_from(generator, seed)
    located, written = read_prompt(lm, prompt, subject)
    ids = () if answer is None else tuple(target_ids(lm.tokenizer, located.text, answer))
    corruption = settings.corruption
    embeddings, noise = corruption.corrupt(lm, located, written, settings.draws, generator)
    clean = CleanRun(lm, located, ids, settings)
    if clean.predicted != clean.answer:
        _warn(clean, answer)
    corrupted, restored = measure(clean, embeddings, memory)
    return Trace(
        text=located.text,
        subject=(located.start, located.stop),
        token_ids=located.ids,
        tokens=_token_texts(lm, located),
        roles=Role.of(located),
        answer=lm.tokenizer.decode(list(clean.answer)) if answer is None else answer,
        answer_ids=clean.answer,
        predicted=clean.predicted == clean.answer,
        settings=replace(settings, draws=len(restored)),
        clean=clean.probability,
        corrupted_draws=corrupted,
        restored_draws=restored,
        noise=noise,
        provenance=TraceProvenance(
            model=lm.name,
            digest=fingerprint(lm, with_edits=True).digest if digest is None else digest,
            dtype=str(lm.dtype).removeprefix("torch."),
            seed=generator.initial_seed() if generator is not None and corruption.random else None,
            versions={name: version(name) for name in ("knowedit", "torch", "transformers")},
        ),
    )


def _warn(clean: CleanRun, answer: str | None) -> None:
    instead = clean.lm.tokenizer.decode(list(clean.predicted))
    warnings.warn(
        f"{clean.lm.name} does not predict {answer!r} after {clean.prompt.text!r} (but {instead!r}): its "
        "probability is traced all the same",
        UnpredictedAnswer,
        stacklevel=4,  # past torch.no_grad, to the caller of causal_trace
    )


def _token_texts(lm: LanguageModel, prompt: Prompt) -> tuple[str, ...]:
    """A label for each token; the tokens of a split character all show the whole character."""
    spans = encode_with_offsets(lm.tokenizer, prompt.text)[1]
    decoded = [lm.tokenizer.decode([token]) for token in prompt.ids]
    return tuple(
        prompt.text[a:b] if "\ufffd" in text and a < b else text
        for text, (a, b) in zip(decoded, spans, strict=True)
    )
