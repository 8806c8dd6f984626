"""Subject spans and targets, against an oracle that knows the bytes of every token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from knowedit.errors import InputError
from knowedit.models import LanguageModel, encode, locate, target_ids
from knowedit.models.prompts import _continuation
from tests.conftest import make_tokenizer

TOKENIZERS = {
    f"trim={trim},start={start}": make_tokenizer(trim_offsets=trim, start=start)
    for trim in (False, True)
    for start in (False, True)
}
CASES = [
    ("{} is in downtown", "Space Needle"),
    ("The {} is in downtown", "Space Needle"),
    ("We saw the {}", "Space Needle"),
    ("{}", "Space Needle"),
    ("{}'s mother tongue is", "Marie Curie"),
    ("the city ({}) is", "Paris"),
    ('He said "{}" and', "Paris"),
    ("{}, performing on the", "Edmund Neupert"),
    ("In São Paulo {}São", "São Paulo"),
    ("日本{}は", "東京"),
    ("🏙️{}🏙️", "🗼x"),
    ("Paris and {} and Paris", "Paris"),
    ("Paris and Paris and {}", "Paris"),
    ("The  {} is", "Space Needle"),
    ("x{}y", "a"),
    ("The {} is", "{}"),
    ("The {} is", "a {0} b"),
]


def byte_spans(tokenizer: Any, ids: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where each token's bytes lie in the text; an added start token has none."""
    spans, at = [], 0
    for i, token in enumerate(tokenizer.convert_ids_to_tokens(list(ids))):
        # In a byte-level vocabulary one character of a token's name stands for one byte.
        size = 0 if i == 0 and token == "<|endoftext|>" else len(token)
        spans.append((at, at + size))
        at += size
    return spans


def oracle(tokenizer: Any, ids: tuple[int, ...], before: str, subject: str) -> list[int]:
    begin = len((before + subject[: len(subject) - len(subject.lstrip())]).encode())
    end = begin + len(subject.strip().encode())
    return [i for i, (a, b) in enumerate(byte_spans(tokenizer, ids)) if a < end and b > begin and a < b]


def check(tokenizer: Any, template: str, subject: str, prefix: str = "") -> None:
    found = locate(tokenizer, template, subject, prefix=prefix)
    before = prefix + template.split("{}")[0]
    assert found.text == before + subject + template.split("{}")[1]
    assert list(range(found.start, found.stop)) == oracle(tokenizer, found.ids, before, subject)
    assert found.last_subject == found.stop - 1
    assert list(found.ids) == encode(tokenizer, found.text)
    assert list(found.ids[found.subject]) == list(found.ids)[found.start : found.stop]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(("template", "subject"), CASES)
@pytest.mark.parametrize("prefix", ["", "He {x} said {}. ", "{", "Paris. São "])
def test_span_is_every_token_with_a_byte_of_the_subject(kind, template, subject, prefix):
    check(TOKENIZERS[kind], template, subject, prefix)


words = st.text(st.characters(codec="utf-8", exclude_characters="{}"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TOKENIZERS)), words, words.filter(str.strip), words, words)
def test_span_agrees_with_the_bytes_for_any_text(kind, before, subject, after, prefix):
    check(TOKENIZERS[kind], before + "{}" + after, subject, prefix)


def test_alphabet_of_the_oracle():
    assert len(ByteLevel.alphabet()) == 256


def test_a_leading_space_belongs_to_the_subjects_first_token():
    tokenizer = TOKENIZERS["trim=True,start=False"]
    found = locate(tokenizer, "The {} is in", "Space Needle")
    assert tokenizer.decode(list(found.ids[found.subject])) == " Space Needle"


def test_lengths_of_pieces_are_not_used():
    # "Par" + "is" are one token together: counting pieces tokenised alone goes wrong here.
    tokenizer = TOKENIZERS["trim=False,start=False"]
    assert len(encode(tokenizer, " P") + encode(tokenizer, "aris")) > len(encode(tokenizer, " Paris"))
    found = locate(tokenizer, "The city of P{} is", "aris")
    assert tokenizer.decode([found.ids[found.last_subject]]).endswith("aris")


def test_the_slot_says_which_occurrence_is_meant():
    tokenizer = TOKENIZERS["trim=False,start=False"]
    first = locate(tokenizer, "{} and Paris", "Paris")
    second = locate(tokenizer, "Paris and {}", "Paris")
    assert first.text == second.text
    assert first.start == 0
    assert second.stop == len(second.ids)


def test_start_token_shifts_the_span():
    plain, started = TOKENIZERS["trim=False,start=False"], TOKENIZERS["trim=False,start=True"]
    a, b = locate(plain, "The {} is", "Paris"), locate(started, "The {} is", "Paris")
    assert (b.start, b.stop, b.last) == (a.start + 1, a.stop + 1, a.last + 1)


def test_special_tokens_at_the_end_are_left_out():
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    plain = encode(tokenizer, "Paris is")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    assert tokenizer("Paris is")["input_ids"][-1] == 0
    assert encode(tokenizer, "Paris is") == [0, *plain]
    assert target_ids(tokenizer, "Paris is", "a") == encode(make_tokenizer(), " a")


def test_locate_takes_a_language_model(family: LanguageModel):
    assert locate(family, "The {} is", "Paris") == locate(family.tokenizer, "The {} is", "Paris")


@pytest.mark.parametrize("template", ["no slot", "{} and {}", "{} {0}", "{subject} is", "{} }"])
def test_bad_templates(template):
    with pytest.raises(InputError):
        locate(TOKENIZERS["trim=False,start=False"], template, "Paris")


@pytest.mark.parametrize("subject", ["", "  "])
def test_empty_subject(subject):
    with pytest.raises(InputError, match="subject is empty"):
        locate(TOKENIZERS["trim=False,start=False"], "{} is", subject)


def test_subject_that_the_tokenizer_drops():
    from tokenizers import normalizers

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("Q", "")
    with pytest.raises(InputError, match="drops its characters"):
        locate(tokenizer, "x {} y", "Q")


def test_slow_tokenizer():
    with pytest.raises(InputError, match="character offsets"):
        locate(SimpleNamespace(is_fast=False), "{} is", "Paris")


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("Paris is", "a city", " a city"),
        ("Paris is", " a city", " a city"),
        ("Paris is ", "a city", "a city"),
        ("Paris is ", " a city", "a city"),
        ("", "a city", "a city"),
        ("Paris\n", "a", "a"),
    ],
)
def test_exactly_one_space(text, target, expected):
    assert _continuation(text, target) == expected


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("target", ["Seattle", " Seattle", "New York", "São Paulo", "東京"])
def test_target_ids_continue_the_prompt(kind, target):
    tokenizer, text = TOKENIZERS[kind], "The Space Needle is in"
    ids = target_ids(tokenizer, text, target)
    assert encode(tokenizer, text) + ids == encode(tokenizer, f"{text} {target.strip()}")
    assert 0 not in ids


@pytest.mark.parametrize("text", ["The Space Needle is in ", "The Space Needle is in  "])
def test_target_after_white_space_is_refused(text):
    # The space would be merged into the target's first token, so no prompt token predicts it.
    with pytest.raises(InputError, match="without white space"):
        target_ids(TOKENIZERS["trim=False,start=False"], text, "Seattle")


@pytest.mark.parametrize("target", ["", " ", "\n"])
def test_empty_target(target):
    with pytest.raises(InputError, match="target is empty"):
        target_ids(TOKENIZERS["trim=False,start=False"], "Paris is", target)
