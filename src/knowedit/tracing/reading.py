"""A prompt with its subject, by token and by letter, and the answer that is looked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from knowedit.errors import InputError
from knowedit.facts import split_template, template_of
from knowedit.models import LanguageModel, Prompt, locate, target_ids
from knowedit.models.prompts import encode_with_offsets


class UnpredictedAnswer(UserWarning):
    """The traced answer is not what the model says after the prompt; it is measured all the same."""


@dataclass(frozen=True)
class Reading:
    """Where the subject stands in a prompt.

    Attributes:
        prompt: the text, its tokens, and those of the subject.
        begin: the subject's first letter in the text.
        end: one past its last letter.
        tokens: a label for each token: the text that it stands for.
    """

    prompt: Prompt
    begin: int
    end: int
    tokens: tuple[str, ...]

    @property
    def before(self) -> str:
        """The text before the subject."""
        return self.prompt.text[: self.begin]

    @property
    def subject(self) -> str:
        """The subject as it stands in the text."""
        return self.prompt.text[self.begin : self.end]

    @property
    def after(self) -> str:
        """The text after the subject."""
        return self.prompt.text[self.end :]

    @property
    def size(self) -> int:
        """The number of the subject's tokens."""
        return self.prompt.stop - self.prompt.start

    @property
    def subject_ids(self) -> tuple[int, ...]:
        """The subject's token ids."""
        return self.prompt.ids[self.prompt.subject]


def read(lm: LanguageModel, prompt: str | Prompt, subject: str | None) -> Reading:
    """Find the subject in a prompt.

    Args:
        lm: the model.
        prompt: a text with one slot ``{}``, a text in which the subject stands once, or a `Prompt`.
        subject: may be left out for a `Prompt`.

    Raises:
        InputError: no subject, or one that cannot be found.
    """
    if isinstance(prompt, Prompt):
        return _read_prompt(lm, prompt, subject)
    if subject is None:
        raise InputError("no subject was given: name the subject whose tokens are to be corrupted")
    template = template_of(prompt, subject)
    begin = len(split_template(template)[0])
    located = locate(lm, template, subject)
    return Reading(located, begin, begin + len(subject), token_texts(lm, located))


def _read_prompt(lm: LanguageModel, prompt: Prompt, subject: str | None) -> Reading:
    spans = encode_with_offsets(lm.tokenizer, prompt.text)[1]
    if len(spans) != len(prompt.ids) or not 0 <= prompt.start < prompt.stop <= len(spans):
        raise InputError(
            f"the tokens of the prompt {prompt.text!r} are not those of this model's tokenizer: "
            "make it with knowedit.models.locate"
        )
    begin, end = spans[prompt.start][0], spans[prompt.stop - 1][1]
    wanted = prompt.text[begin:end].strip() if subject is None else subject
    found = prompt.text.find(wanted, begin)
    if not wanted or found < 0 or found >= end:
        raise InputError(
            f"the subject {subject!r} is not at tokens {prompt.start} to {prompt.stop - 1} of "
            f"{prompt.text!r}: leave it out, the prompt knows where its subject is"
        )
    return Reading(prompt, found, found + len(wanted), token_texts(lm, prompt))


def token_texts(lm: LanguageModel, prompt: Prompt) -> tuple[str, ...]:
    """A label for each token; the tokens of a split character all show the whole character."""
    spans = encode_with_offsets(lm.tokenizer, prompt.text)[1]
    decoded = [lm.tokenizer.decode([token]) for token in prompt.ids]
    return tuple(
        prompt.text[a:b] if "\ufffd" in text and a < b else text
        for text, (a, b) in zip(decoded, spans, strict=True)
    )


@dataclass(frozen=True)
class Answer:
    """The object whose probability is traced.

    Attributes:
        text: as given, or as the model says it.
        ids: its tokens.
        predicted: whether the model says it, token for token, after the prompt.
    """

    text: str
    ids: tuple[int, ...]
    predicted: bool


def answer_ids(lm: LanguageModel, prompt: Prompt, answer: str | None) -> tuple[int, ...]:
    """The tokens of a given answer; none where the model's own is to be taken."""
    return () if answer is None else tuple(target_ids(lm.tokenizer, prompt.text, answer))


def read_answer(
    lm: LanguageModel, prompt: Prompt, answer: str | None, ids: tuple[int, ...], logits: Tensor
) -> Answer:
    """The answer, given the clean logits ``(answer tokens, vocabulary)`` where its tokens are predicted.

    Warns:
        UnpredictedAnswer: the model would say something else.
    """
    said = tuple(int(token) for token in logits.argmax(dim=-1))
    if answer is None:
        return Answer(lm.tokenizer.decode(list(said)), said, True)
    if said != ids:
        instead = lm.tokenizer.decode(list(said))
        warnings.warn(
            f"{lm.name} does not say {answer!r} after {prompt.text!r} (but {instead!r}): its probability is "
            "traced all the same",
            UnpredictedAnswer,
            stacklevel=3,
        )
    return Answer(answer, ids, said == ids)


def joint_probability(logits: Tensor, ids: tuple[int, ...]) -> Tensor:
    """The probability of all tokens together, from logits ``(..., answer tokens, vocabulary)``; float64."""
    index = torch.tensor(ids, device=logits.device).expand(logits.shape[:-1])[..., None]
    return logits.float().log_softmax(dim=-1).gather(-1, index).squeeze(-1).double().sum(dim=-1).exp()
