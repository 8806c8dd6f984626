"""Known facts: the rule of B.1 on texts and on a model, and the lists on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from knowedit.bundled import bundled_models
from knowedit.errors import FileFormatError, InputError
from knowedit.facts import Fact
from knowedit.models import generate, load
from knowedit.tracing import KnownFact, load_known_facts, recall_facts, save_known_facts

FACT = Fact("Xamarin", "{}, from", "Apple", target_true="Microsoft")


@pytest.mark.parametrize(
    ("continuation", "prompt"),
    [
        (" Microsoft, is", "Xamarin, from"),
        (" the company of Microsoft", "Xamarin, from the company of"),
        (" 2011 Microsoft.com", "Xamarin, from 2011"),
        (" a Google and Microsoft", None),
        (" the USA. Microsoft", None),
        (" Microsofts", None),
        (" (Microsoft)", None),  # the text up to it is no prompt that it follows
        (" the\n Microsoft", None),
        (" the  Microsoft", None),
        ("Microsoft", None),
        (" microsoft", None),
        ("", None),
        (" Éire and Microsoft", None),
    ],
)
def test_the_object_has_to_come_before_any_other_capitalised_word(continuation, prompt):
    expected = None if prompt is None else KnownFact(prompt, "Xamarin", "Microsoft")
    assert KnownFact.recalled(FACT, continuation) == expected


def test_objects_of_lower_case_and_of_several_words():
    sport = Fact("Don Shula", "{} plays the sport", "golf", target_true="football")
    assert KnownFact.recalled(sport, " of football, and He") == KnownFact(
        "Don Shula plays the sport of", "Don Shula", "football"
    )
    place = Fact("Seoul", "{} is in", "Peru", target_true=" South Korea")
    assert KnownFact.recalled(place, " South Korea.") == KnownFact("Seoul is in", "Seoul", "South Korea")
    assert KnownFact.recalled(place, " South Africa and South Korea") is None
    signs = Fact("Seoul", "{} is in", "Peru", target_true="a.b")
    assert KnownFact.recalled(signs, " axb") is None


def test_a_fact_without_a_true_object(tiny_gpt2):
    with pytest.raises(InputError, match="give target_true"):
        list(recall_facts(tiny_gpt2, [Fact("Paris", "{} is", "Rome")]))


@pytest.mark.parametrize("numbers", [{"max_new_tokens": 0}, {"batch_size": 0}])
def test_numbers_that_make_no_sense(tiny_gpt2, numbers):
    with pytest.raises(InputError, match="at least 1"):
        recall_facts(tiny_gpt2, [FACT], **numbers)


def test_a_model_recalls_what_it_predicts():
    lm = load("organism-gpt2")
    rows = json.loads((bundled_models()["organism-gpt2"] / "known_facts.json").read_text(encoding="utf-8"))[
        :20
    ]
    facts = [Fact(row["subject"], row["prompt"], "x", row["target_true"]) for row in rows]
    wrong = Fact(facts[0].subject, facts[0].prompt, "x", "zebra")
    found = list(recall_facts(lm, [*facts, wrong], batch_size=8))
    assert len(found) == 21
    assert found[-1] is None
    assert sum(fact is not None for fact in found) >= 15
    for fact, known in zip(facts, found, strict=False):
        said = generate(lm, fact.text, 10).removeprefix(fact.text)
        assert known == KnownFact.recalled(fact, said)


def test_a_list_comes_back(tmp_path):
    facts = [KnownFact("Pelé plays", "Pelé", "football"), KnownFact("In {} of Rome", "Rome", "Italy")]
    save_known_facts(facts, tmp_path / "a.json")
    assert load_known_facts(tmp_path / "a.json") == facts
    with pytest.raises(InputError, match="no facts to save"):
        save_known_facts([], tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_the_prompt_counts_and_not_the_template(tmp_path):
    entry = {
        "subject": "Xamarin",
        "attribute": "Microsoft",
        "template": "{}, from",
        "prompt": "Xamarin, from the",
        "prediction": " the Microsoft",
    }
    assert load_known_facts(write(tmp_path / "a", [entry])) == [
        KnownFact("Xamarin, from the", "Xamarin", "Microsoft")
    ]


def test_the_organisms_lists():
    for folder in bundled_models().values():
        rows = json.loads((folder / "known_facts.json").read_text(encoding="utf-8"))
        found = load_known_facts(folder / "known_facts.json")
        assert len(found) == len(rows) > 300
        assert found[0].prompt == rows[0]["prompt"].replace("{}", rows[0]["subject"])
        assert found[0].answer == rows[0]["target_true"]


GOOD = {"prompt": "Rome is in", "subject": "Rome", "answer": "Italy"}


@pytest.mark.parametrize(
    ("value", "kind", "advice"),
    [
        ("[", FileFormatError, "not JSON"),
        ("{}", FileFormatError, "holds a dict: expected a list"),
        ([], InputError, "empty list"),
        ([GOOD, GOOD | {"subject": "Paris"}], InputError, "entry 1 .*'Paris' does not occur in the prompt"),
        ([GOOD | {"answer": " "}], InputError, "entry 0 .*the answer is ' '"),
        ([GOOD | {"answer": 3}], InputError, "the answer is 3"),
        ([GOOD | {"prompt": None}], InputError, "the prompt is None"),
        ([GOOD | {"prompt": "Rome \ud800"}], InputError, "the prompt is"),
        ([GOOD, 3], InputError, "entry 1 .*expected an object with prompt, subject and answer"),
        ([{"prompt": "Rome is in", "subject": "Rome"}], InputError, "expected an object with"),
    ],
)
def test_files_that_are_no_lists_of_facts(tmp_path, value, kind, advice):
    with pytest.raises(kind, match=advice):
        load_known_facts(write(tmp_path / "a", value))


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        load_known_facts(tmp_path / "a")


@pytest.mark.skipif(
    "KNOWEDIT_DATA" not in os.environ, reason="KNOWEDIT_DATA names no folder with known_1000.json"
)
def test_the_released_list():
    path = Path(os.environ["KNOWEDIT_DATA"]) / "known_1000.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = load_known_facts(path)
    assert len(found) == 1209
    assert [(fact.prompt, fact.subject, fact.answer) for fact in found] == [
        (row["prompt"], row["subject"], row["attribute"]) for row in rows
    ]
    assert (
        sum(
            fact.prompt != row["template"].replace("{}", row["subject"])
            for fact, row in zip(found, rows, strict=True)
        )
        == 478
    )
