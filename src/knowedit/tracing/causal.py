"""Causal tracing (Section 3): which clean value, put into a corrupted run, brings the answer back?"""

from __future__ import annotations

from importlib.metadata import version
from typing import get_args

import torch

from knowedit.errors import InputError
from knowedit.models import LanguageModel, Prompt, fingerprint
from knowedit.tracing.corruption import Corruption, RelativeNoise
from knowedit.tracing.engine import Plan, clean_run, measure
from knowedit.tracing.reading import answer_ids, joint_probability, read, read_answer
from knowedit.tracing.roles import token_roles
from knowedit.tracing.trace import Part, Severed, Trace, TraceProvenance
from knowedit.tracing.windows import Window

MEMORY = 2**30
"""Bytes that one trace may take on top of the model, by default."""


@torch.no_grad()
def causal_trace(
    lm: LanguageModel,
    prompt: str | Prompt,
    subject: str | None = None,
    *,
    answer: str | None = None,
    part: Part = "hidden",
    window: Window | None = None,
    sever: Severed | None = None,
    corruption: Corruption | None = None,
    draws: int | None = None,
    generator: torch.Generator | None = None,
    memory: int = MEMORY,
    digest: str | None = None,
) -> Trace:
    """Trace where a model keeps what it knows about a subject.

    Three kinds of runs: a clean one; corrupted ones, one for each draw, in which the subject's token embeddings
    are spoiled; and for each token and layer the corrupted ones again, with the clean values of one part put
    back at that token, in the layers of the window around that layer. The same draws serve every cell.

    With ``sever``, that part is held at each draw's corrupted value at the last subject token, in every layer
    and run but the clean one (Figure 4). Where it would have to be restored as well, it stays severed.

    Args:
        lm: the model; inside ``with edit.applied(lm)`` the edited one is traced.
        prompt: a text with one slot ``{}``, a text in which the subject stands once, or a `Prompt`.
        subject: may be left out for a `Prompt`.
        answer: the object; by default the token that the model says next. Its probability is that of all its
            tokens, by teacher forcing.
        part: ``hidden`` (the state after a block), ``mlp`` or ``attention`` (what the sublayer adds).
        window: the layers that are restored together; by default one.
        sever: the part to hold at its corrupted values, or None.
        corruption: `GaussianNoise`, `RelativeNoise`, `FixedNoise` or `Substitution`. By default the noise is
            three standard deviations of the subject's embeddings, as no ν suits every model: the paper's are
            ``GaussianNoise(0.1)`` for GPT-2 XL and ``GaussianNoise(0.025)`` for GPT-J.
        draws: how many corruptions; by default 10 for random noise, as many as a fixed noise has, and 1 for
            a substitution.
        generator: draws random noise.
        memory: bytes that may be used on top of the model, roughly; it changes the time and nothing else.
        digest: that of the weights' `Fingerprint`, if the caller has it. By default it is computed, which
            reads all weights once.

    Raises:
        InputError: a subject that cannot be found, a substitution of another length, an unknown part, a window
            larger than the model, a number of draws that does not fit, or no generator where one is needed.

    Warns:
        UnpredictedAnswer: the model says something else than ``answer``.
    """
    window = (Window() if window is None else window).check(lm.n_layers)
    check_choice("part", part, get_args(Part))
    check_choice("sever", sever, (None, *get_args(Severed)))
    if memory < 1:
        raise InputError(f"memory is {memory}, expected a number of bytes: the default is {MEMORY}")
    corruption = RelativeNoise() if corruption is None else corruption
    reading = read(lm, prompt, subject)
    ids = answer_ids(lm, reading.prompt, answer)
    corrupted = corruption.corrupt(lm, reading, draws, generator)
    clean = clean_run(lm, reading.prompt, ids, part)
    target = read_answer(lm, reading.prompt, answer, ids, clean.logits)
    plan = Plan(lm, reading.prompt, target.ids, part, window, sever, memory)
    baseline, scores = measure(plan, clean, corrupted.embeddings)
    return Trace(
        text=reading.prompt.text,
        subject=(reading.prompt.start, reading.prompt.stop),
        token_ids=reading.prompt.ids,
        tokens=reading.tokens,
        roles=token_roles(reading.prompt),
        answer=target.text,
        answer_ids=target.ids,
        predicted=target.predicted,
        part=part,
        window=window,
        sever=sever,
        clean_score=float(joint_probability(clean.logits, target.ids)),
        corrupted_scores=baseline,
        scores=scores,
        noise=corrupted.noise,
        provenance=_provenance(lm, corruption, generator, digest),
    )


def _provenance(
    lm: LanguageModel, corruption: Corruption, generator: torch.Generator | None, digest: str | None
) -> TraceProvenance:
    return TraceProvenance(
        model=lm.name,
        digest=fingerprint(lm, with_edits=True).digest if digest is None else digest,
        dtype=str(lm.dtype).removeprefix("torch."),
        corruption=corruption.settings(),
        seed=None if generator is None or not corruption.random else generator.initial_seed(),
        versions={name: version(name) for name in ("knowedit", "torch", "transformers")},
    )


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        InputError: with the choices.
    """
    if value not in choices:
        raise InputError(f"{name} is {value!r}: use one of {', '.join(map(repr, choices))}")
