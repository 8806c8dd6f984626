from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation.records.compiler import (
    compilation,
    compile_records,
    read_facts,
    read_templates,
    table,
    templates,
)
from knowedit.evaluation.records.compiler.table import FactTable
from knowedit.evaluation.records.compiler.templates import usable_templates

TEMPLATES = {
    "plays": [
        "[X] plays the [Y].",
        "The instrument of [X] is the [Y] .",
        "[X], master of the [Y],",
        "[X]: [Y]",
    ],
    "born": [
        "[X] was born in [Y].",
        "[X] is a [Y]-born person.",
        "[Y] is where [X] was born.",
        "[X] is from [Y]",
    ],
}
FACTS = [
    (f"{name}{i}", "plays", name) for name, n in (("cello", 5), ("piano", 8), ("tuba", 3)) for i in range(n)
]


def fact_table(facts):
    return FactTable(facts, defaultdict(list))


def compiled(seed=0, facts=FACTS, given=TEMPLATES, **more):
    return compile_records(facts, given, rng=random.Random(seed), **more)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("[X] plays the [Y].", "{} plays the"),
        ("[X] plays the [Y] .", "{} plays the"),
        ("[X], made by [Y],", "{}, made by"),
        ("The tune of [X] is [Y]", "The tune of {} is"),
        ("[X] plays [Y] music.", templates.NOT_LAST),
        ("[Y] is played by [X].", templates.NOT_LAST),
        ("[X] plays.", templates.SLOTS),
        ("[X] [X] [Y]", templates.SLOTS),
        ("[X] {} [Y]", templates.BRACES),
    ],
)
def test_a_template_is_cut_before_its_object_or_refused(pattern, found):
    skipped = defaultdict(list)
    usable = usable_templates({"r": [pattern]}, skipped, needed=1)
    if "{}" in found:
        assert (usable, skipped) == ({"r": [found]}, {})
    else:
        assert (usable, skipped[found]) == ({}, [f"r: {pattern}"])


def test_records_obey_appendix_c1():
    result = compiled()
    true_of = {(subject, relation): thing for subject, relation, thing in FACTS}
    objects = {thing for _, _, thing in FACTS}
    prompts = {
        subject: {t.replace("{}", subject) for t in result.templates["plays"]} for subject, _, _ in FACTS
    }
    assert [record.case_id for record in result.records] == list(range(len(result.records)))
    for record in result.records:
        fact = record.fact
        assert fact.target_true == true_of[fact.subject, fact.relation]
        assert fact.target_new in objects - {fact.target_true}
        others = record.paraphrase_prompts
        assert len({fact.text, *others}) == 3
        assert {fact.text, *others} <= prompts[fact.subject]
        near = {
            p: s
            for s, _, thing in FACTS
            if thing == fact.target_true and s != fact.subject
            for p in prompts[s]
        }
        assert len(set(record.neighborhood_prompts)) == 10
        assert set(record.neighborhood_prompts) <= near.keys()
        assert record.generation_prompts is record.reference_texts is record.essence_texts is None


def test_what_is_left_out_is_counted_with_its_reason():
    facts = [*FACTS, FACTS[0], ("Ann", "born", "Rome"), ("Bob", "likes", "jam")]
    result = compiled(facts=facts)
    counts = {reason: len(found) for reason, found in result.skipped.items()}
    assert counts == {
        templates.NOT_LAST: 2,
        templates.TOO_FEW: 1,
        table.REPEATED: 1,
        compilation.NO_TEMPLATES: 2,
        table.TOO_FEW: 3,  # two other players of the tuba, four templates: eight prompts
    }
    assert len(result.records) + 5 == result.facts == len(FACTS) + 2
    assert result.manifest()["skipped"] == dict(sorted(counts.items()))
    assert result.manifest()["examples"][table.REPEATED] == [" ".join(FACTS[0])]


def test_the_same_template_twice_is_one():
    result = compiled(given={"plays": [*TEMPLATES["plays"], "[X] plays the [Y]"]})
    assert len(result.skipped[templates.SAME]) == 1
    assert len(result.templates["plays"]) == 4


def test_targets_are_drawn_with_the_weight_of_their_facts():
    drawn_from, rng = fact_table(FACTS), random.Random(0)
    drawn = Counter(drawn_from.draw_target("cello0", "plays", rng) for _ in range(4000))
    assert drawn.keys() == {"piano", "tuba"}
    assert drawn["piano"] / 4000 == pytest.approx(8 / 11, abs=0.03)


def test_no_true_object_is_a_target_and_a_relation_of_one_object_has_none():
    two = fact_table([("Ann", "r", "a"), ("Ann", "r", "b"), ("Bob", "r", "c")])
    assert {two.draw_target("Ann", "r", random.Random(i)) for i in range(30)} == {"c"}
    with pytest.raises(ValueError, match=table.NO_OTHER):
        fact_table([("Ann", "r", "a"), ("Bob", "r", "a")]).draw_target("Ann", "r", random.Random(0))


def test_who_has_the_new_object_as_well_is_in_no_neighborhood_prompt():
    facts = [
        *FACTS,
        *((f"piano{i}", "plays", "cello") for i in range(8)),
        *((f"piano{i}", "plays", "tuba") for i in range(8)),
    ]
    for seed in range(5):
        for record in compiled(seed, facts).records:
            if record.fact.subject.startswith("cello"):
                assert not any(
                    "piano" in prompt.replace("the piano", "") for prompt in record.neighborhood_prompts
                )


def test_the_generator_decides_and_nothing_else():
    assert compiled(1).records == compiled(1).records != compiled(2).records
    state = random.getstate()
    compiled(1)
    assert random.getstate() == state


def test_generation_prompts_are_drawn_with_replacement():
    given = {"plays": ["{} went on stage", "At home, {}", "For {}"]}
    for record in compiled(generation=given).records:
        assert len(record.generation_prompts) == 10
        assert set(record.generation_prompts) <= {
            t.replace("{}", record.fact.subject) for t in given["plays"]
        }


def test_the_sizes_are_options():
    result = compiled(paraphrases=1, neighbors=2)
    assert {(len(r.paraphrase_prompts), len(r.neighborhood_prompts)) for r in result.records} == {(1, 2)}
    assert len(result.records) == len(FACTS)
    with pytest.raises(InputError, match="cannot have -1"):
        compiled(neighbors=-1)


def test_sources_of_both_forms(tmp_path):
    (tmp_path / "P1.jsonl").write_text('{"sub_label": "Ann", "obj_label": "cello", "uuid": "x"}\n')
    (tmp_path / "f.json").write_text('[{"subject": "Ann", "relation": "P1", "object": "cello"}]')
    assert read_facts(tmp_path) == read_facts(tmp_path / "f.json") == [("Ann", "P1", "cello")]
    patterns = tmp_path / "patterns"
    patterns.mkdir()
    (patterns / "P1.jsonl").write_text('{"pattern": "[X] plays [Y]."}\n')
    (tmp_path / "t.json").write_text('{"P1": ["[X] plays [Y]."]}')
    assert read_templates(patterns) == read_templates(tmp_path / "t.json") == {"P1": ["[X] plays [Y]."]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"subject": "A", "object": "b"}\n{"subject": "A"}', r"line 2: object is None"),
        ('{"subject": " ", "object": "b"}', "line 1: subject is ' '"),
        ("3", "line 1: holds a int"),
        ("{", "line 1: is not JSON"),
    ],
)
def test_bad_facts_name_file_and_line(tmp_path, text, words):
    (tmp_path / "f.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        read_facts(tmp_path / "f.jsonl")


def test_bad_templates(tmp_path):
    for text in ("{", "[]", '{"P1": "x"}', '{"P1": [1]}'):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(FileFormatError):
            read_templates(tmp_path / "t.json")
    for read in (read_facts, read_templates):
        with pytest.raises(InputError, match="there is no file"):
            read(tmp_path / "none")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "P1.jsonl").write_text('{"a": 1}')
    with pytest.raises(InputError, match="pattern is None"):
        read_templates(tmp_path / "p")


@pytest.mark.skipif("KNOWEDIT_DATA" not in os.environ, reason="KNOWEDIT_DATA names no folder with ParaRel")
def test_pararel():
    folder = Path(os.environ["KNOWEDIT_DATA"]) / "pararel"
    result = compile_records(
        read_facts(folder / "trex"), read_templates(folder / "patterns"), rng=random.Random(0)
    )
    manifest = result.manifest()
    facts = sum(
        n
        for reason, n in manifest["skipped"].items()
        if reason.startswith("fact: ") and reason != table.REPEATED
    )
    assert manifest["records"] + facts == manifest["facts"] == 29411 - manifest["skipped"][table.REPEATED]
    assert len(result.templates) + manifest["skipped"][templates.TOO_FEW] == 39
    json.dumps(manifest)
