"""Texts, their tokens, and which of the tokens are the subject.

Spans come from the fast tokenizer's character offsets of the whole text: lengths of pieces that were
tokenised alone are wrong wherever a merge crosses the seam, and decoding token by token cannot see
characters that are split over several tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knowedit.errors import InputError
from knowedit.facts import is_unicode, split_template

SPACE = "▁"  # how tokenizers in the manner of sentencepiece write a space


@dataclass(frozen=True)
class Prompt:
    """A text with its tokens and the subject's place among them.

    Attributes:
        text: the whole text.
        ids: its token ids, special tokens at the start included.
        start: the first token of the subject.
        stop: one past the last token of the subject.
    """

    text: str
    ids: tuple[int, ...]
    start: int
    stop: int

    @property
    def subject(self) -> slice:
        """The subject's tokens."""
        return slice(self.start, self.stop)

    @property
    def last_subject(self) -> int:
        """The index of the subject's last token."""
        return self.stop - 1

    @property
    def last(self) -> int:
        """The index of the text's last token."""
        return len(self.ids) - 1


def encode_with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids and character spans of ``text``.

    Special tokens that the tokenizer adds at the start are kept (empty span); those it adds at the end
    are not, because every text here is the beginning of a longer one. A space that it puts before the text
    (as Llama's do) has an empty span too, if it is a token of its own.

    Raises:
        InputError: a tokenizer that knows no offsets.
    """
    _require_fast(tokenizer)
    _require_unicode(text)
    found = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, truncation=False)
    ids = list(found["input_ids"])
    names = tokenizer.convert_ids_to_tokens(ids)
    spans = [
        (int(a), int(a if _made_up(name, text[a:b]) else b))
        for name, (a, b) in zip(names, found["offset_mapping"], strict=True)
    ]
    added = [
        special == 1 and a == b for special, (a, b) in zip(found["special_tokens_mask"], spans, strict=True)
    ]
    end = len(ids)
    while end and added[end - 1] and not all(added[:end]):
        end -= 1
    return ids[:end], spans[:end]


def _made_up(name: str, covered: str) -> bool:
    """Whether a token is a space before the text: the tokenizer then claims the text's first character."""
    return set(name) == {SPACE} and not set(covered) <= {SPACE, " "}


def _require_fast(tokenizer: Any) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"the tokenizer {type(tokenizer).__name__} gives no character offsets, which are needed: "
            "load its fast version (a tokenizer.json)"
        )


def _require_unicode(text: str) -> None:
    if not is_unicode(text):
        raise InputError(f"the text {text!r} is not valid Unicode: give it as UTF-8")


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of ``text``, without special tokens at the end; as `encode_with_offsets`, and faster."""
    _require_fast(tokenizer)
    _require_unicode(text)
    found = tokenizer(text, return_special_tokens_mask=True, truncation=False)
    if found["special_tokens_mask"] and found["special_tokens_mask"][-1]:
        return encode_with_offsets(tokenizer, text)[0]  # it tells an added token from one of the text
    return list(found["input_ids"])


def locate(source: Any, template: str, subject: str, *, prefix: str = "") -> Prompt:
    """Fill ``template`` with ``subject`` and find the subject's tokens.

    A token belongs to the subject if it covers at least one of its characters. So a token that also
    covers a neighbour (a leading space, or punctuation that the tokenizer merged with the name) counts,
    and the tokens of one split character all count; white space at the subject's ends does not. Nothing
    but the slot decides which occurrence is meant.

    Args:
        source: a `LanguageModel` or a fast tokenizer.
        template: text with one slot ``{}``.
        subject: what goes into the slot; braces in it are plain text.
        prefix: text put before the template as it is; braces in it are plain text.

    Raises:
        InputError: a template without exactly one slot, an empty subject, or a subject of which the
            tokenizer keeps nothing.
    """
    before, after = split_template(template)
    return _found(source, prefix + before + subject + after, subject, len(prefix) + len(before))


def locate_in(source: Any, text: str, subject: str, *, occurrence: int | None = None) -> Prompt:
    """Find the subject's tokens in a text that has it written out; see `locate` for what belongs to it.

    For texts that come as they are, such as the records of a data set. Braces are plain text.

    Args:
        source: a `LanguageModel` or a fast tokenizer.
        text: the whole text.
        subject: what to find in it, letter by letter.
        occurrence: which of several places is meant, from 0; may be left out where there is only one.

    Raises:
        InputError: an empty subject; one that is not in the text; one that is there more often while
            ``occurrence`` does not say which; or one of which the tokenizer keeps nothing.
    """
    places = _places(text, subject)
    if not places or (occurrence is None and len(places) > 1) or not 0 <= (occurrence or 0) < len(places):
        which = "any place" if occurrence is None else f"place {occurrence}"
        raise InputError(
            f"the subject {subject!r} occurs {len(places)} times in {text!r}, {which} was asked for: "
            "write it as the text does, and give occurrence= (from 0) for the place that is meant"
        )
    return _found(source, text, subject, places[occurrence or 0])


def _places(text: str, subject: str) -> list[int]:
    """Where ``subject`` begins in ``text``; places may overlap."""
    _check_visible(subject)
    return [i for i in range(len(text)) if text.startswith(subject, i)]


def _check_visible(subject: str) -> None:
    if not subject.strip():
        raise InputError("the subject is empty: give at least one visible character")


def _found(source: Any, text: str, subject: str, begin: int) -> Prompt:
    _check_visible(subject)
    # White space at the subject's ends does not count: whether its offsets show depends on the tokenizer.
    begin += len(subject) - len(subject.lstrip())
    ids, spans = encode_with_offsets(getattr(source, "tokenizer", source), text)
    inside = _overlapping(spans, begin, begin + len(subject.strip()))
    if not inside:
        raise InputError(
            f"no token of {text!r} covers the subject {subject!r}: the tokenizer drops its characters"
        )
    return Prompt(text, tuple(ids), inside[0], inside[-1] + 1)


def _overlapping(spans: list[tuple[int, int]], begin: int, end: int) -> list[int]:
    return [i for i, (a, b) in enumerate(spans) if a < b and a < end and b > begin]


def _continuation(text: str, target: str) -> str:
    """``target`` as it is to be appended to ``text``: one space between them, never two.

    A leading space is added if ``text`` ends without white space and ``target`` begins without, and
    taken away if both have one.

    Raises:
        InputError: an empty target.
    """
    if not target.strip():
        raise InputError("the target is empty: give at least one visible character")
    if not text or text[-1].isspace():
        return target.lstrip()
    return target if target[0].isspace() else " " + target


def target_ids(tokenizer: Any, text: str, target: str) -> list[int]:
    """The tokens of ``target`` as a continuation of ``text``.

    They come from tokenising the two together, so they are what the model reads when the whole text
    is given to it.

    Raises:
        InputError: an empty target; or a text whose own tokens change when the target follows (it ends
            with white space, or in the middle of a word), so that no position predicts the target.
    """
    head = encode(tokenizer, text)
    full = encode(tokenizer, text + _continuation(text, target))
    if full[: len(head)] != head or len(full) == len(head):
        raise InputError(
            f"the last token of the prompt {text!r} changes when {target!r} follows: end the prompt with "
            "a whole word and without white space"
        )
    return full[len(head) :]
