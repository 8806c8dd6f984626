"""Where the subject is: punctuation, other scripts, repetition, and tokenizers in the manner of Llama's.

The bugs of other implementations that are named here are tests of ours.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from knowedit.errors import InputError
from knowedit.models import LanguageModel, batch, encode, load, locate, locate_in, target_ids
from tests.conftest import TEXTS, make_model, make_tokenizer
from tests.models.oracles import full_logits

SPACE = "▁"
SPECIAL = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
KINDS = ("normalizer", "first", "always", "unigram")


def llama_like(kind: str) -> PreTrainedTokenizerFast:
    """A small tokenizer that writes spaces as ▁, puts one before the text, and adds a start token.

    Llama's old files do it with a normalizer, newer ones with a pre-tokenizer; rare characters fall back to
    bytes, or to an unknown token (unigram).
    """
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=400, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, show_progress=False)
    if kind == "normalizer":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            prepend_scheme="always" if kind == "always" else "first", split=kind != "always"
        )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    words = [word for text in TEXTS for word in text.split()]
    tokenizer.train_from_iterator((words if kind == "normalizer" else list(TEXTS)) * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


LLAMA = {kind: llama_like(kind) for kind in KINDS}
BYTE_LEVEL = {"plain": make_tokenizer(), "started": make_tokenizer(start=True, trim_offsets=True)}
ALL = LLAMA | BYTE_LEVEL

CASES = [
    ("{} is in downtown", "Space Needle"),  # start
    ("We saw the {} in Paris", "Space Needle"),  # middle
    ("We saw the {}", "Space Needle"),  # end
    ("{}", "Space Needle"),  # alone
    ("{}'s capital is", "Norway"),
    ("The capital ({}) is", "Paris"),
    ('He said "{}" and left', "Paris"),
    ("He said “{}”, and left", "Paris"),
    ("{}, performing on the", "Edmund Neupert"),
    ("[{}]", "Paris"),
    ("the{}is", "Paris"),
    ("{} is a city", "São Paulo"),
    ("The city of {} is", "Москва"),
    ("{} is a city", "東京"),
    ("首都は{}です", "東京"),
    ("We saw {}!", "🗼"),
    ("We saw {}!", "👩‍👩‍👧"),  # one picture, five code points
    ("We met {} in", "Jose\u0301"),  # a combining accent
    ("Paris and {} and Paris", "Paris"),
    ("{} and Paris", "Paris"),
    ("Paris and {}", "Paris"),
    (" {} is", "Paris"),
    ("  {}  is ", "Paris"),
    ("\n{}\n", "Paris"),
    ("The {} is", "{}"),
    ("The {} is", "a {0} b"),
]


def token_bytes(tokenizer: Any, ids: tuple[int, ...]) -> list[bytes]:
    """The bytes each token stands for; none for a start token."""
    if tokenizer in BYTE_LEVEL.values():
        # In a byte-level vocabulary one character of a token's name stands for one byte.
        names = tokenizer.convert_ids_to_tokens(list(ids))
        return [b"" if name == "<|endoftext|>" else bytes(len(name)) for name in names]
    found = []
    for name in tokenizer.convert_ids_to_tokens(list(ids)):
        if name == "<s>":
            found.append(b"")
        elif name.startswith("<0x"):
            found.append(bytes([int(name[3:5], 16)]))
        else:
            found.append(name.replace(SPACE, " ").encode())
    return found


def oracle(tokenizer: Any, ids: tuple[int, ...], text: str, begin: int, end: int) -> list[int]:
    """The tokens with a byte between two characters of the text, by adding up bytes."""
    sizes = [len(part) for part in token_bytes(tokenizer, ids)]
    at = len(text.encode()) - sum(sizes)  # below zero where a space was put before the text
    begin, end = len(text[:begin].encode()), len(text[:end].encode())
    found = []
    for i, size in enumerate(sizes):
        if size and at < end and at + size > begin:
            found.append(i)
        at += size
    return found


def check(tokenizer: Any, template: str, subject: str, prefix: str = "") -> None:
    found = locate(tokenizer, template, subject, prefix=prefix)
    begin = len(prefix) + template.index("{}")
    expected = oracle(tokenizer, found.ids, found.text, begin, begin + len(subject))
    assert list(range(found.start, found.stop)) == expected
    places = [i for i in range(len(found.text)) if found.text.startswith(subject, i)]
    assert locate_in(tokenizer, found.text, subject, occurrence=places.index(begin)) == found


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "unigram"])
@pytest.mark.parametrize(("template", "subject"), CASES)
@pytest.mark.parametrize("prefix", ["", "He {x} said {}. "])
def test_span_is_every_token_with_a_byte_of_the_subject(kind, template, subject, prefix):
    check(ALL[kind], template, subject, prefix)


visible = st.text(st.characters(codec="utf-8", exclude_characters="{}" + SPACE), max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["normalizer", "first", "always"]), visible, visible.filter(str.strip), visible)
def test_span_agrees_with_the_bytes_for_any_text(kind, before, subject, after):
    if subject != subject.strip():
        subject = subject.strip()
    check(LLAMA[kind], before + "{}" + after, subject)


@pytest.mark.parametrize(("template", "subject"), CASES)
def test_unknown_tokens_belong_to_whom_they_cover(template, subject):
    """The unigram tokenizer has one unknown token for a run of strange characters."""
    tokenizer = LLAMA["unigram"]
    found = locate(tokenizer, template, subject)
    spans = tokenizer(found.text, return_offsets_mapping=True)["offset_mapping"]
    begin = template.index("{}")
    assert spans[found.start][0] <= begin < spans[found.start][1]
    assert spans[found.last_subject][0] < begin + len(subject) <= spans[found.last_subject][1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_space_that_is_put_before_the_text_is_not_the_subject(kind):
    """It claims the first character's place, and would make the span of a name depend on where it stands."""
    tokenizer = LLAMA[kind]
    first, later = locate(tokenizer, "{} is", "東京"), locate(tokenizer, "The {} is", "東京")
    names = tokenizer.convert_ids_to_tokens(list(first.ids))
    assert names[:2] == ["<s>", SPACE]
    assert first.start == 2
    assert first.ids[first.subject] == later.ids[later.subject]


def test_a_written_out_mark_is_no_space():
    found = locate(LLAMA["first"], "{} is", SPACE)
    assert found.stop > found.start >= 1


@pytest.mark.parametrize("kind", ALL)
def test_the_slot_decides_between_places(kind):
    one, other = locate(ALL[kind], "{} and Paris", "Paris"), locate(ALL[kind], "Paris and {}", "Paris")
    assert one.text == other.text
    assert one.stop <= other.start
    assert other.stop == len(other.ids)


@pytest.mark.parametrize("kind", ALL)
def test_white_space_in_a_template_changes_no_more_than_the_white_space(kind):
    tokenizer = ALL[kind]
    said = {
        tokenizer.decode(list(found.ids[found.subject]), clean_up_tokenization_spaces=False).strip()
        for template in ("{} is", " {} is", "  {}  is ", "\n{}\n")
        for found in [locate(tokenizer, template, "Paris")]
    }
    assert said == {"Paris"}


class TestBugsOfOthers:
    @pytest.mark.parametrize("brace", ["{", "}", "{}", "{0}", "{x}"])
    def test_braces_in_prefix_and_subject_are_text(self, brace):
        """Generated prefixes with braces break ``str.format``."""
        for tokenizer in ALL.values():
            found = locate(tokenizer, "the {} is", f"a{brace}b", prefix=f"Code {brace} here. ")
            assert found.text == f"Code {brace} here. the a{brace}b is"

    @pytest.mark.parametrize("template", ['"{}" is', "({}) is", "首都{}は", "x{}y"])
    def test_no_space_is_needed_before_the_slot(self, template):
        for tokenizer in ALL.values():
            assert locate(tokenizer, template, "Paris").text == template.replace("{}", "Paris")

    def test_only_the_slot_is_replaced(self):
        """Replacing every place of the subject loses which one is meant."""
        found = locate(ALL["plain"], "Paris, {} and Paris", "Paris")
        assert found.text.count("Paris") == 3
        assert found == locate_in(ALL["plain"], found.text, "Paris", occurrence=1)

    def test_merges_across_the_seam(self):
        """Counting the tokens of the pieces gives another place."""
        tokenizer = ALL["plain"]
        found = locate(tokenizer, "The city of P{} is", "aris")
        pieces = len(encode(tokenizer, "The city of P"))
        assert found.start != pieces
        assert tokenizer.decode([found.ids[found.start]]).endswith("aris")

    def test_a_start_token_shifts_the_span(self):
        plain = locate(ALL["plain"], "The {} is", "Paris")
        started = locate(ALL["started"], "The {} is", "Paris")
        assert (started.start, started.stop) == (plain.start + 1, plain.stop + 1)
        assert locate(LLAMA["first"], "{} is", "Paris").start == 1

    def test_the_last_token_of_a_padded_row_is_its_own(self, family: LanguageModel):
        """Position -1 of a row that was padded on the right is padding."""
        short, long = "Paris", "The Space Needle is in downtown Seattle."
        data = batch(family, [short, long])
        assert data.last.tolist() == [len(encode(family.tokenizer, text)) - 1 for text in (short, long)]
        prompt = locate(family, "{}", "Paris")
        assert prompt.last_subject == int(data.last[0]) < data.tokens - 1

    # "always" lets a space end a token, so that it refuses to continue a text.
    @pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "always"])
    @pytest.mark.parametrize("target", ["Seattle", " Seattle"])
    def test_a_space_before_the_target_is_never_doubled(self, kind, target):
        tokenizer, text = ALL[kind], "The Space Needle is in"
        whole = encode(tokenizer, f"{text} Seattle")
        assert encode(tokenizer, text) + target_ids(tokenizer, text, target) == whole

    def test_a_subject_that_is_missing_is_said_so(self):
        with pytest.raises(InputError, match="occurs 0 times"):
            locate_in(ALL["plain"], "The Eiffel Tower is in", "Space Needle")

    @pytest.mark.parametrize("subject", ["東京", "🗼", "São", "Jose\u0301"])
    def test_characters_that_are_split_over_tokens(self, subject):
        """Decoding token by token gives replacement characters, in which no name is found."""
        tokenizer = ALL["plain"]
        found = locate(tokenizer, "We saw {} today", subject)
        tokens = found.ids[found.subject]
        if subject != "São":
            assert "\ufffd" in "".join(tokenizer.decode([token]) for token in tokens)
        assert tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False).strip() == subject


@pytest.mark.parametrize(
    ("text", "subject", "occurrence", "words"),
    [
        ("Paris and Paris", "Paris", None, "occurs 2 times"),
        ("Paris and Paris", "Paris", 2, "place 2 was asked for"),
        ("Paris and Paris", "Paris", -1, "place -1 was asked for"),
        ("Paris", "paris", None, "occurs 0 times"),
        ("Paris", " ", None, "subject is empty"),
        ("Paris", "", 0, "subject is empty"),
    ],
)
def test_subjects_that_cannot_be_placed(text, subject, occurrence, words):
    with pytest.raises(InputError, match=words):
        locate_in(ALL["plain"], text, subject, occurrence=occurrence)


def test_places_may_overlap():
    first, second = (locate_in(ALL["plain"], "anana", "ana", occurrence=i) for i in (0, 1))
    assert (first.start, second.stop) == (0, len(second.ids))
    with pytest.raises(InputError, match="occurs 2 times"):
        locate_in(ALL["plain"], "anana", "ana")


def test_braces_of_a_text_are_text():
    text = '{| class="wikitable" style="x;"\n! Paris is'
    found = locate_in(ALL["plain"], text, "Paris")
    assert found == locate(ALL["plain"], "{} is", "Paris", prefix=text.removesuffix("Paris is"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_a_tokenizer_like_llamas(kind):
    """Prompts, targets and generated text fit together where a space is put before the text."""
    tokenizer = LLAMA[kind]
    lm = load((make_model("llama", vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2), tokenizer))
    prompt = locate(lm, "The {} is in", "Space Needle")
    assert prompt.ids[0] == lm.start_id == 1
    text = lm.generate(prompt.text, 5, stop_at_eos=False)
    assert text.startswith(prompt.text)
    assert full_logits(lm, prompt.ids).shape == (len(prompt.ids), len(tokenizer))
