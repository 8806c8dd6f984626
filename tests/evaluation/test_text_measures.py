from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import TfIdf
from knowedit.evaluation.scores.entropy import text_entropy, words_and_marks
from knowedit.evaluation.scores.perplexity import perplexity, text_likelihoods
from tests.models.oracles import full_logits

TOKENS = st.lists(st.sampled_from("abc"), max_size=12)
TEXTS = ("piano music piano", "trumpet music", "the piano player")


def test_words_and_marks_are_split_without_a_download():
    assert words_and_marks("Rome. It's 3.5") == ["Rome", ".", "It's", "3", ".", "5"]


def test_entropy_of_a_hand_computed_text_in_bits():
    # Bigrams ab ba ab: frequencies 2/3 and 1/3. Trigrams aba bab: one bit.
    bigrams = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert text_entropy("a b a b", {2: 1}) == pytest.approx(bigrams)
    assert text_entropy("a b a b") == pytest.approx(bigrams / 3 + 2 / 3)


def test_the_released_weights_are_the_same_as_ours():
    text = "a b a b c"
    both = [text_entropy(text, {n: 1}) for n in (2, 3)]
    assert text_entropy(text) == pytest.approx(np.mean(np.array(both) * np.array([2 / 3, 4 / 3])))


@given(TOKENS, st.integers(2, 3))
def test_entropy_is_between_zero_and_that_of_distinct_ngrams(tokens, n):
    count = max(0, len(tokens) - n + 1)
    assert 0 <= text_entropy(" ".join(tokens), {n: 1}) <= math.log2(max(count, 1)) + 1e-9


@given(TOKENS)
def test_entropy_does_not_depend_on_names_or_reading_direction(tokens):
    renamed = [{"a": "x", "b": "y", "c": "z"}[token] for token in tokens]
    found, *others = (text_entropy(" ".join(order), {2: 1}) for order in (tokens, renamed, tokens[::-1]))
    assert others == pytest.approx([found, found])


def test_repetition_is_worse_than_variety():
    assert text_entropy("one one one one one") == 0 < text_entropy("one two three four five")


def test_perplexity_is_per_predicted_token():
    """Three tokens, two predicted at p = 1/4 each: 4, and not the 4^(2/3) of dividing by all tokens."""
    assert perplexity([(2 * math.log(0.25), 2)]) == pytest.approx(4.0)


def test_perplexity_pools_tokens_and_not_texts():
    parts = [(0.0, 3), (math.log(1 / 16), 1)]
    assert perplexity(parts) == pytest.approx(2.0) == perplexity(parts[::-1])


def test_perplexity_of_nothing_is_refused():
    with pytest.raises(InputError, match="at least two tokens"):
        perplexity([])


def test_text_likelihoods_equal_whole_forwards(family):
    texts = ["Miles Davis plays the trumpet", "The piano."]
    assert len(family.tokenizer("Marie")["input_ids"]) == 1  # nothing of it is predicted
    found = text_likelihoods(family, [texts[0], "Marie", texts[1], ""], 100)
    for text, part in zip(texts, found, strict=True):
        ids = family.tokenizer(text)["input_ids"]
        logs = full_logits(family, ids).detach().log_softmax(-1)
        expected = sum(float(logs[i - 1, ids[i]]) for i in range(1, len(ids)))
        assert part[1] == len(ids) - 1
        assert part[0] == pytest.approx(expected, rel=1e-5)


def test_essence_texts_are_cut(tiny_gpt2):
    (cut,) = text_likelihoods(tiny_gpt2, [TEXTS[0] * 3], 4)
    assert cut[1] == 3


def test_tfidf_on_a_hand_computed_case():
    model = TfIdf.fit(TEXTS)
    weight = {term: float(idf) for term, idf in zip(model.terms, model.idf, strict=True)}
    assert weight["trumpet"] == pytest.approx(math.log(4 / 2) + 1)
    assert weight["piano"] == weight["music"] == pytest.approx(math.log(4 / 3) + 1)
    # "piano music" is (w, w) and "piano" (w, 0) before scaling: the cosine is 1/√2.
    assert model.similarity("Piano, music!", "piano") == pytest.approx(2**-0.5)


WORDS = st.lists(st.sampled_from(["piano", "music", "trumpet", "unknown"]), max_size=6).map(" ".join)
MODEL = TfIdf(("music", "piano", "trumpet"), np.array([1.0, 1.5, 2.0]))


@given(WORDS, WORDS)
def test_similarity_is_a_symmetric_cosine_of_bags_of_words(first, second):
    found = MODEL.similarity(first, second)
    assert 0 <= found <= 1
    assert found == pytest.approx(MODEL.similarity(second, first))
    assert found == pytest.approx(MODEL.similarity(" ".join(sorted(first.split())), second))


def test_same_text_is_one_and_no_known_word_is_zero():
    assert MODEL.similarity("piano music", "music piano") == pytest.approx(1)
    assert MODEL.similarity("unknown", "piano") == 0 == MODEL.similarity("", "")


def test_tfidf_is_saved_and_reloaded(tmp_path):
    model = TfIdf.fit(TEXTS)
    model.save(tmp_path / "m.safetensors")
    again = TfIdf.load(tmp_path / "m.safetensors")
    assert (again.terms, again.digest) == (model.terms, model.digest)
    assert again.similarity(*TEXTS[:2]) == model.similarity(*TEXTS[:2])


def test_an_altered_tfidf_file_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    TfIdf.fit(TEXTS).save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileFormatError):
        TfIdf.load(path)


def official(folder, idf, places):
    np.save(folder / "idf.npy", idf)
    (folder / "vocab.json").write_text(json.dumps(places))
    return folder / "idf.npy", folder / "vocab.json"


def test_the_released_files_give_the_same_model(tmp_path):
    """The released way to set ``idf`` fails on today's scikit-learn; indices decide, not the file's order."""
    model = TfIdf.fit(TEXTS)
    places = {term: i for i, term in reversed(list(enumerate(model.terms)))}
    again = TfIdf.from_official(*official(tmp_path, model.idf, places))
    assert again.digest == model.digest


@pytest.mark.parametrize("places", [{"a": 0}, {"a": 0, "b": 2}, {"a": 0, "b": 0}])
def test_released_files_that_do_not_belong_together(tmp_path, places):
    with pytest.raises(InputError, match="same release"):
        TfIdf.from_official(*official(tmp_path, np.ones(2), places))


def test_bad_released_files(tmp_path):
    paths = official(tmp_path, np.array([{}], dtype=object), {"a": 0})
    with pytest.raises(FileFormatError, match="array of floats"):
        TfIdf.from_official(*paths)
    np.save(paths[0], np.ones(1))
    paths[1].write_text("[1")
    with pytest.raises(FileFormatError, match="term to index"):
        TfIdf.from_official(*paths)
    with pytest.raises(InputError, match="no file"):
        TfIdf.from_official(tmp_path / "none", paths[1])


def test_texts_without_words_are_refused():
    with pytest.raises(InputError, match="found no word"):
        TfIdf.fit(["", "!"])
    with pytest.raises(InputError, match="finite"):
        TfIdf(("a",), np.array([np.nan]))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the file ran code",))


def test_a_file_of_weights_runs_no_code(tmp_path):
    paths = official(tmp_path, np.array([Trap()], dtype=object), {"a": 0})
    with pytest.raises(FileFormatError, match="array of floats"):
        TfIdf.from_official(*paths)
