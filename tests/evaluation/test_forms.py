"""Records in the forms that people bring: what is made of each, and what is left out or refused."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import Record, iter_records, load_records
from knowedit.evaluation.records.counts import Table1, check_records
from knowedit.evaluation.records.forms.form import NoSingleEdit
from knowedit.evaluation.records.forms.table import FORMS
from knowedit.evaluation.records.hub import load_hub
from knowedit.evaluation.records.questions import Question
from knowedit.facts import Fact

DATA = Path(__file__).parents[1] / "data" / "records"
SAMPLES = sorted(path.name for path in DATA.glob("*.json*"))
STUDIED = Fact("Lena Vorst", "Where did {} study?", "Ghent University", "Leiden University")
NQ = Question("neighborhood", "nq question: who played the drummer in that film", ("Peter Foo",))


def first(name):
    return load_records(DATA / name)[0]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_read_packed_or_not_and_written_and_read_again(name, tmp_path):
    found = load_records(DATA / name)
    assert found
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress((DATA / name).read_bytes()))
    assert load_records(packed) == found
    assert [Record.from_json(json.loads(json.dumps(one.as_json()))) for one in found] == found
    assert len(set(found)) == len(found)


def test_zsre():
    assert first("zsre.json") == Record(
        0, STUDIED, paraphrase_prompts=("At which school was Lena Vorst educated?",), locality=(NQ,)
    )


def test_zsre_with_a_new_question():
    assert first("easyedit_portability.json") == Record(
        0,
        STUDIED,
        paraphrase_prompts=("At which school was Lena Vorst educated?",),
        locality=(NQ,),
        portability=(Question("one_hop", "In which city is the school of Lena Vorst?", ("Ghent",)),),
    )


def test_the_locality_prompt_of_the_compact_form_is_a_neighbour_if_the_true_object_follows():
    near, far = load_records(DATA / "easyedit_counterfact.json")
    assert near.neighborhood_prompts == ("Orin Tamm spoke the language",)
    assert near.locality is near.portability is None
    assert (far.case_id, far.neighborhood_prompts) == (1, None)
    assert far.locality == (Question("neighborhood", "The capital of Norland is", ("Aldum",)),)
    assert [one.kind for one in far.portability] == ["one_hop"]


def test_knowedit_zsre():
    record = first("knowedit_zsre.json")
    assert record.fact == STUDIED
    assert record.locality == tuple(
        Question("Relation_Specificity", text, ("painter",))
        for text in ("The occupation of Lena Vorst is", "Lena Vorst occupation")
    )
    assert record.portability == (Question("Reasoning", "In which city did Lena Vorst study?", ("Ghent",)),)


def test_knowedit_has_several_prompts_of_a_kind_and_lists_of_lists_of_answers():
    record = first("knowedit_counterfact.json")
    assert [(one.kind, one.answers) for one in record.portability] == [
        ("Logical_Generalization", ("yes", "correct")),
        ("Reasoning", ("Norland crown", "NLC")),
        ("Reasoning", ()),
        ("Subject_Aliasing", ("Norland",)),
    ]
    assert [(one.kind, one.answers) for one in record.locality] == [
        ("Relation_Specificity", ("female",)),
        ("Forgetfulness", ("Sudland",)),
    ]


def test_knowedit_without_a_true_object():
    assert first("knowedit_recent.json").fact == Fact(
        "Orin Tamm", "The place of death of {} is", "Aldum", None
    )
    biography = first("knowedit_wikibio.json")
    assert biography.fact.subject == "orin tamm"
    assert biography.fact.target_new == "He studied music in Aldum."


def test_the_inputs_of_easyedit_are_lists_side_by_side_or_one_text():
    assert first("easyedit_inputs.json").locality == (
        Question("neighborhood", "Orin Tamm, the", ("tuba",)),
        Question("neighborhood", "In Aldum, they understand", ("Danish",)),
        Question("distracting", "Ida Berg is a native speaker of", ("Danish",)),
    )


def test_mquake_has_single_edits_with_questions_of_several_hops():
    (record,) = load_records(DATA / "mquake.json")
    assert record.fact == Fact("Lena Vorst", "{} is a citizen of", "Norland", "Sudland", "P27")
    assert record.paraphrase_prompts == ("What is the country of citizenship of Lena Vorst?",)
    assert len(record.portability) == 3
    assert {(one.kind, one.answers) for one in record.portability} == {
        ("multi_hop", ("Aldum", "City of Aldum"))
    }
    assert record.locality == (
        Question("single_hop", "What is the capital of Norland?", ("Aldum", "City of Aldum")),
    )


def test_text_ids_are_numbers_or_places():
    assert first("one.json").case_id == 0
    entry = json.loads((DATA / "one.json").read_text())
    ids = [
        Record.from_json(entry | {"case_id": one}, 5).case_id for one in ("12", "007", "x", "9" * 30, None)
    ]
    assert ids == [12, 7, 5, 5, 5]
    with pytest.raises(InputError, match="case_id is 'x'"):
        Record.from_json(entry | {"case_id": "x"})


@pytest.mark.parametrize("text", ['{"a":\n[{"b": 1}]}\n{"a": 2}', '{"a": {\n"b": 1}}', '\n {\n"a": 1\n}\n'])
def test_objects_may_be_spread_over_lines(tmp_path, text):
    (tmp_path / "r").write_text(text)
    with pytest.raises(FileFormatError, match="holds a dict with a: expected one of the forms"):
        load_records(tmp_path / "r")


def test_a_damaged_first_line_costs_no_other(tmp_path):
    lines = (DATA / "mark.jsonl").read_bytes().split(b"\r\n")
    (tmp_path / "r").write_bytes(b"\n".join([lines[0][:30], *lines[1:]]))
    table = Table1()
    (bad,) = check_records(tmp_path / "r", table)
    assert bad.startswith("line 1: is not JSON")
    assert table.records == 1


def test_empty_texts_of_zsre_are_no_prompts():
    entry = json.loads((DATA / "zsre.json").read_text())[0] | {"rephrase": "", "loc": " ", "loc_ans": ""}
    record = Record.from_json(entry, 0)
    assert record.paraphrase_prompts is record.locality is None


# What is left out, and what is refused


def test_what_asks_for_no_single_edit_is_left_out_counted_and_logged(caplog):
    table = Table1()
    assert list(check_records(DATA / "zsre.json", table)) == []
    assert (table.records, table.left_out.count) == (1, 2)
    assert table.left_out.reasons == {
        "the new object is empty": 1,
        "the prompt does not have the subject once": 1,
    }
    assert "first: record 2 (line 15)" in str(table.left_out)
    with caplog.at_level(logging.WARNING, logger="knowedit"):
        assert len(load_records(DATA / "mquake.json")) == 1
    (told,) = caplog.messages
    assert "1 left out: 1 since it asks for another number of edits than one (first: record 2 (line" in told
    assert "\n" not in told


def test_a_data_set_is_read_as_a_file_is(tmp_path, caplog):
    datasets = pytest.importorskip("datasets")
    rows = json.loads((DATA / "mquake.json").read_text())
    kept = [
        {name: row[name] for name in ("case_id", "requested_rewrite", "new_answer", "questions")}
        for row in rows
    ]
    datasets.Dataset.from_list(kept).save_to_disk(str(tmp_path / "d"))
    (record,) = load_hub(tmp_path / "d")
    assert record.case_id == 1
    assert "1 left out" in caplog.messages[0]


def test_reading_only_what_is_whole_logs_nothing(caplog):
    load_records(DATA / "knowedit_counterfact.json")
    next(stream := iter_records(DATA / "zsre.json"))
    stream.close()
    assert caplog.messages == []


def test_a_file_of_which_all_is_left_out_is_refused(tmp_path):
    entries = json.loads((DATA / "mquake.json").read_text())[1:]
    (tmp_path / "r.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match="has no record that asks for a single edit: 1 left out") as raised:
        load_records(tmp_path / "r.json")
    assert "\n" not in str(raised.value)


def test_the_true_object_is_no_new_one():
    entry = json.loads((DATA / "zsre.json").read_text())[0]
    with pytest.raises(NoSingleEdit, match="the new object is the true one: 'Ghent University'"):
        Record.from_json(entry | {"answers": ["Leiden", "Ghent University"]}, 0)


def test_an_unknown_form_is_refused_with_those_of_the_table():
    with pytest.raises(FileFormatError) as raised:
        Record.from_json({"question": "q", "answer": "a"}, 0)
    assert "\n" not in str(raised.value)
    for form in FORMS:
        assert f"{form.name} ({form.known_by})" in str(raised.value)


BAD = {
    "locality is a list": ({"locality": ["x"]}, "locality is a tuple: expected an object"),
    "no prompt": (
        {"locality": {"a": [{"ground_truth": "x"}]}},
        "locality has .* under a: expected an object",
    ),
    "text for prompts": ({"portability": {"a": "x"}}, "portability has 'x' under a"),
    "a number for prompts": ({"portability": {"a": 3}}, "portability has 3 under a"),
    "an empty prompt": (
        {"locality": {"a": [{"prompt": " ", "ground_truth": "x"}]}},
        "locality has ' ' in it",
    ),
    "an object for an answer": (
        {"locality": {"a": [{"prompt": "p", "ground_truth": {"b": 1}}]}},
        "locality has the answer",
    ),
    "true for an answer": ({"ground_truth": True}, "ground_truth has the answer True"),
    "fewer answers than prompts": (
        {"locality": {"a": {"prompt": ["p", "q"], "ground_truth": ["x"]}}},
        "has 2 prompts under a",
    ),
    "a new question without a text": ({"portability": {"New Question": None}}, "portability has None in it"),
}


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_bad_questions_are_named_in_one_line(change, words):
    entry = json.loads((DATA / "knowedit_zsre.json").read_text())[0]
    with pytest.raises(InputError, match=words) as raised:
        Record.from_json(entry | change, 0)
    assert not isinstance(raised.value, NoSingleEdit)
    assert "\n" not in str(raised.value)


def test_answers_are_texts_and_numbers_in_lists():
    assert Question.texts_of([["a", "b"], ["a"], [["c"]], 1931, "", [], None]) == ("a", "b", "c", "1931")
    assert Question.all_of({}) is Question.all_of(None) is Question.all_of({"a": []}) is None


@pytest.mark.parametrize("cut", [5, 40, -9, -1])
def test_a_damaged_gzip_file_is_one_line(tmp_path, cut):
    packed = gzip.compress(b"".join(b'{"a": %d}\n' % i for i in range(300)))
    (tmp_path / "r.gz").write_bytes(packed[:cut])
    with pytest.raises(InputError) as raised:
        load_records(tmp_path / "r.gz")
    assert "\n" not in str(raised.value)
    (tmp_path / "z.gz").write_bytes(packed[:30] + bytes(30) + packed[60:])
    assert [bad for bad in check_records(tmp_path / "z.gz", Table1()) if "cannot be unpacked" in bad]


@pytest.mark.parametrize("text", ['[{"a": %s}]', '{"a": %s}', '{\n"a": %s\n}'])
def test_a_number_of_thousands_of_digits_is_one_line(tmp_path, text):
    (tmp_path / "r").write_text(text % ("1" * 5000))
    with pytest.raises(FileFormatError, match="is not JSON") as raised:
        load_records(tmp_path / "r")
    assert len(str(raised.value)) < 200 + len(str(tmp_path))


@pytest.mark.parametrize("depth", [150, 400, 900, 100_000])
def test_answers_within_a_thousand_lists_are_one_line(tmp_path, depth):
    entry = json.dumps(json.loads((DATA / "knowedit_recent.json").read_text())[0] | {"ground_truth": "@"})
    (tmp_path / "r").write_text(entry.replace('"@"', "[" * depth + "]" * depth))
    problems = list(check_records(tmp_path / "r", Table1()))
    assert not problems or (len(problems) == 1 and "nested too deeply" in problems[0])


def test_table_1_has_rows_for_other_prompts_where_there_are_some():
    table = Table1().add_all(load_records(DATA / "knowedit_counterfact.json"))
    rows = {row.name: row.total for row in table.rows()}
    assert (rows["Locality Prompts"], rows["Portability Prompts"]) == (2, 4)
    assert (table.without_truth, table.without_answer) == (0, 1)
    assert Table1().add_all(load_records(DATA / "knowedit_recent.json")).without_truth == 1
    plain = Table1().add_all(load_records(DATA / "multi_counterfact.json"))
    assert "Locality Prompts" not in {row.name for row in plain.rows()}
