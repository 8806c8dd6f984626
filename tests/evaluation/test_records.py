from __future__ import annotations

import json
import pickle
import re
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowedit.bundled import bundled_models
from knowedit.errors import FileFormatError, InputError
from knowedit.evaluation import TEST_FILE, TRAIN_FILE, Record, iter_records, load_records
from knowedit.evaluation.records import files as files
from knowedit.evaluation.records.files import checksum
from knowedit.evaluation.records.hub import load_hub
from knowedit.facts import Fact
from tests.evaluation.samples import COMPACT, FLAT, NESTED, edited, nested

TEXT_FIELDS = (
    "paraphrase_prompts",
    "neighborhood_prompts",
    "generation_prompts",
    "reference_texts",
    "essence_texts",
)


# The forms


def test_the_official_form():
    record = Record.from_json(NESTED)
    assert record.fact == Fact("Miles Davis", "{} plays the", "piano", "trumpet", "P1303")
    assert record.case_id == 7
    for name in TEXT_FIELDS:
        assert getattr(record, name) == tuple(NESTED[name])


def test_figure_22_calls_the_subject_entity():
    request = dict(NESTED["requested_rewrite"])
    request["entity"] = request.pop("subject")
    assert Record.from_json(NESTED | {"requested_rewrite": request}) == Record.from_json(NESTED)


def test_the_compact_form_has_one_paraphrase_and_one_neighbour():
    record = Record.from_json(COMPACT)
    assert record.fact == Fact("Toko Yasuda", "{}, the", "piano", "guitar")
    assert record.paraphrase_prompts == ("Toko Yasuda is incredible at",)
    assert record.neighborhood_prompts == ("John Lennon performs on the",)
    assert record.generation_prompts is record.reference_texts is record.essence_texts is None


def test_the_flat_form_has_a_fact_alone_and_spaces_for_the_tokenizer():
    record = Record.from_json(FLAT, 5)
    assert record.case_id == 5
    assert record.fact == Fact("Toko Yasuda", "{}, the", "piano", "guitar", "P1303")
    assert all(getattr(record, name) is None for name in TEXT_FIELDS)


@pytest.mark.parametrize("name", TEXT_FIELDS)
def test_what_a_source_lacks_is_none_and_an_empty_list_is_not(name):
    without = {key: value for key, value in NESTED.items() if key != name}
    assert getattr(Record.from_json(without), name) is None
    assert getattr(Record.from_json(NESTED | {name: None}), name) is None
    assert getattr(Record.from_json(NESTED | {name: []}), name) == ()


def test_fields_of_other_readers_are_ignored():
    assert Record.from_json(NESTED | {"attribute_prompts": ["x"], "pararel_idx": 3}) == Record.from_json(
        NESTED
    )


def test_braces_of_a_subject_are_text():
    record = Record.from_json(COMPACT | {"subject": "a{}b", "prompt": "a{}b, the"})
    assert record.fact.text == "a{}b, the"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (edited("requested_rewrite.subject"), "requested_rewrite.subject is missing"),
        (edited("requested_rewrite.prompt"), "requested_rewrite.prompt is missing"),
        (edited("requested_rewrite.target_new"), "requested_rewrite.target_new is missing"),
        (edited("requested_rewrite.target_true.str"), "requested_rewrite.target_true.str is missing"),
        (edited("case_id"), "case_id is missing"),
        (NESTED | {"case_id": "seven"}, "case_id is 'seven': input should be a valid integer"),
        (NESTED | {"case_id": 7.5}, "case_id is 7.5: input should be a valid integer"),
        (NESTED | {"case_id": -1}, "case_id is -1"),
        (NESTED | {"case_id": True}, "case_id is True"),
        (NESTED | {"paraphrase_prompts": "one text"}, "paraphrase_prompts is 'one text'"),
        (NESTED | {"neighborhood_prompts": ["a", 3]}, "neighborhood_prompts.1 is 3"),
        (NESTED | {"generation_prompts": ["a", " "]}, "generation_prompts.1 is empty"),
        (NESTED | {"essence_texts": ["\ud800"]}, "essence_texts.0 is not valid Unicode"),
        (NESTED | {"essence_texts": [["x" * 1000]]}, r"essence_texts.0 is .{60}\.\.\.: "),
        (
            edited("requested_rewrite.target_new.str", "trumpet "),
            "target_new and target_true are both 'trumpet'",
        ),
        (edited("requested_rewrite.prompt", "Miles Davis plays"), "0 slots"),
        (COMPACT | {"target_new": "guitar"}, "the new object is the true one: 'guitar'"),
        (COMPACT | {"subject": "Ringo"}, "'Ringo' occurs 0 times"),
        ({"case_id": 1, "ground_truth": "x"}, "prompt is missing; subject is missing; target_new is missing"),
        (FLAT | {"target_true": None}, "target_true is None"),
        (
            {"case_id": 1},
            "holds a dict with case_id: expected one of the forms MQuAKE",
        ),
        ([1], "holds a list: expected"),
        (3, "holds a int: expected"),
    ],
)
def test_a_bad_record_names_its_fields_in_one_line(entry, words):
    with pytest.raises(InputError, match=words) as raised:
        Record.from_json(entry)
    assert "\n" not in str(raised.value)


def test_a_record_is_checked_however_it_is_made():
    record = Record.from_json(NESTED)
    with pytest.raises(InputError, match="are both"):
        replace(record, fact=replace(record.fact, target_new="trumpet"))
    with pytest.raises(InputError, match="paraphrase_prompts is 'text'"):
        replace(record, paraphrase_prompts="text")
    with pytest.raises(AttributeError):
        record.case_id = 3


def test_a_record_travels_to_another_process_and_is_hashable():
    record = Record.from_json(NESTED)
    assert pickle.loads(pickle.dumps(record)) == record
    assert len({record, Record.from_json(NESTED)}) == 1


@pytest.mark.parametrize("entry", [NESTED, COMPACT, FLAT | {"case_id": 2}])
def test_a_record_written_and_read_is_the_same(entry):
    record = Record.from_json(entry)
    assert Record.from_json(json.loads(json.dumps(record.as_json()))) == record


# Files


def write(path, records, form):
    text = {
        "list": json.dumps(records),
        "indented list": json.dumps(records, indent=2, ensure_ascii=False),
        "lines": "\n".join(json.dumps(record) for record in records),
        "lines with blanks": "\n\n".join(json.dumps(record) for record in records) + "\n \n",
        "windows": "\r\n".join(json.dumps(record) for record in records),
    }[form]
    path.write_bytes(text.encode())
    return path


FORMS = ("list", "indented list", "lines", "lines with blanks", "windows")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n "])
@pytest.mark.parametrize("form", FORMS)
def test_a_list_and_lines_hold_the_same_records(tmp_path, form, mark):
    entries = [nested(i) for i in range(5)]
    path = write(tmp_path / "r", entries, form)
    path.write_bytes(mark + path.read_bytes())
    assert load_records(path) == [Record.from_json(entry) for entry in entries]


@pytest.mark.parametrize("chunk", [1, 2, 13, 64, 65, 1000, 1 << 16])
def test_the_parts_of_a_list_cut_nothing(tmp_path, monkeypatch, chunk):
    """Parts that end within a string, an escape, a number or a word, against the whole file decoded at once."""
    monkeypatch.setattr(files, "CHUNK", chunk)
    numbers = [2**70, -0.0, 0.1, 1e-7, 1.0000000000000002, 5e-324]
    values = [
        {"a": "x" * n + '\\"\u2028é\ud83d\ude00\ud800', "b": [n, *numbers, None, True]} for n in range(20)
    ]
    path = tmp_path / "r.json"
    for indent in (None, 1):
        text = json.dumps(values, indent=indent)
        path.write_text(text, encoding="utf-8")
        found = list(files.entries(path))
        assert repr([entry.value for entry in found]) == repr(json.loads(text))
        assert not any(entry.problem for entry in found)


def test_a_number_at_the_end_of_a_part_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 16)
    (tmp_path / "r").write_text(json.dumps(list(range(10_000, 10_100))))
    assert [entry.value for entry in files.entries(tmp_path / "r")] == list(range(10_000, 10_100))


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.integers(), max_size=3)))
def test_any_list_is_read_as_json_reads_it(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "r"
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", 64)
        assert [entry.value for entry in files.entries(path)] == values


def test_an_entry_knows_its_line(tmp_path):
    path = write(tmp_path / "r", [nested(i) for i in range(3)], "indented list")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [entry.where for entry in files.entries(path)] == [
        f"line {n}" for n, line in enumerate(lines, 1) if line == "  {"
    ]
    path = write(tmp_path / "l", [nested(i) for i in range(3)], "lines with blanks")
    assert [entry.where for entry in files.entries(path)] == ["line 1", "line 3", "line 5"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{", r"line 1: is not JSON \(Incomplete JSON content\)"),
        ("[\n{}\n{}]", r"line 3: is not JSON \(Unexpected symbol '\{' at column 1\)"),
        ('[\n{"a": 1},\n{"a" 2}]', r"line 3: is not JSON \(Unexpected symbol '2' at column 6\)"),
        # The string ends, and its lexeme with it, in the next line.
        ('[\n{"a": "open\n"}]', r"line 3: is not JSON \(Invalid control character"),
        ('[{"a": "open', r"line 1: is not JSON \(Incomplete string lexeme\)"),
        ("[", r"line 1: is not JSON \(Incomplete JSON content\)"),
        ("[]\n[]", r"line 2: is not JSON \(Additional data found\)"),
        ("[01]", r"line 1: is not JSON \(Invalid JSON number: 01\)"),
        ("[" * 100_000, r"line 1: is not JSON \(nested too deeply\)"),
        ('\n{"a": 1', r"line 2: is not JSON \(Expecting ',' delimiter at column 8\)"),
    ],
)
def test_broken_json_names_its_line(tmp_path, text, words):
    path = tmp_path / "r"
    path.write_text(text)
    (broken,) = [entry for entry in files.entries(path) if entry.problem]
    assert re.match(words, f"{broken.where}: {broken.problem}")
    with pytest.raises(FileFormatError):
        load_records(path)


def test_text_that_is_not_utf8_is_an_error(tmp_path):
    path = write(tmp_path / "r", [nested(0), nested(1)], "lines")
    path.write_bytes(path.read_bytes() + b"\n\xff\xfe\n")
    with pytest.raises(FileFormatError, match=r"r, line 3: is not UTF-8 \(byte 1 of the line\)"):
        load_records(path)
    (tmp_path / "l").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(FileFormatError, match="not UTF-8"):
        load_records(tmp_path / "l")


def test_what_comes_before_an_error_in_its_line_is_read(tmp_path):
    (tmp_path / "r").write_text('[1, {"a": [2, {}]}, 3 4]')
    found = list(files.entries(tmp_path / "r"))
    assert [entry.value for entry in found] == [1, {"a": [2, {}]}, 3, None]
    assert found[-1].problem == "is not JSON (Unexpected symbol '4' at column 23)"


@pytest.mark.parametrize("form", ["list", "indented list", "lines"])
def test_records_are_read_one_at_a_time(tmp_path, monkeypatch, form):
    """What is held does not grow with the file, even where all of it is one line."""
    monkeypatch.setattr(files, "CHUNK", 4096)
    peaks = []
    for count in (200, 200, 800):  # once to warm up
        stream = files.entries(write(tmp_path / "r", [nested(i) for i in range(count)], form))
        tracemalloc.start()
        assert sum(1 for _ in stream) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_reading_may_stop_early(tmp_path):
    """Warnings fail: a parser that is left behind must not complain that its text was cut."""
    for form in FORMS:
        stream = iter_records(write(tmp_path / "r", [nested(i) for i in range(3)], form))
        assert next(stream).case_id == 0
        stream.close()


def test_reading_stops_at_the_first_bad_record(tmp_path):
    path = write(tmp_path / "r", [nested(0), {"case_id": 1}, nested(2)], "lines")
    stream = iter_records(path)
    assert next(stream).case_id == 0
    with pytest.raises(InputError, match=r"r, record 2 \(line 2\): holds a dict"):
        next(stream)


def test_a_case_id_is_there_once(tmp_path):
    path = write(tmp_path / "r", [nested(4), nested(2), nested(4)], "indented list")
    with pytest.raises(InputError, match=r"record 3 \(line \d+\): case_id 4 was in record 1 already"):
        load_records(path)


def test_a_missing_file_is_one_line(tmp_path):
    for read in (load_records, checksum):
        with pytest.raises(InputError, match="there is no file"):
            read(tmp_path / "none")


def test_an_empty_file_holds_no_record(tmp_path):
    for text in ("", "\n", "[]", " [ ] \n"):
        (tmp_path / "e").write_text(text)
        assert load_records(tmp_path / "e") == []


@pytest.mark.parametrize("name", bundled_models())
def test_the_organisms_records_have_every_field(name):
    for file in (TRAIN_FILE, TEST_FILE):
        for record in iter_records(bundled_models()[name] / file):
            assert all(getattr(record, field) for field in TEXT_FIELDS)
            assert record.fact.relation


def test_the_official_file_is_known_by_its_digest(tmp_path, monkeypatch):
    import hashlib

    path = write(tmp_path / "r", [nested(0)], "list")
    assert checksum(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FileFormatError, match="is not the official counterfact"):
        checksum(path, official=True)
    monkeypatch.setattr(files, "OFFICIAL_SHA256", checksum(path))
    assert checksum(path, official=True) == files.OFFICIAL_SHA256


# Copies on the Hub: local data sets of the same shape


@pytest.fixture
def hub(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [nested(i) for i in range(6)]
    splits = {"train": [rows[i] for i in (0, 5, 2)], "test": [rows[i] for i in (4, 1, 3)]}
    return datasets.DatasetDict(
        {name: datasets.Dataset.from_list(found) for name, found in splits.items()}
    ), rows


@pytest.fixture(params=["parquet", "jsonl", "saved"])
def copy(request, hub, tmp_path):
    saved, rows = hub
    folder = tmp_path / "copy"
    folder.mkdir()
    if request.param == "saved":
        saved.save_to_disk(str(folder))
    for name, data in saved.items():
        if request.param == "parquet":
            data.to_parquet(str(folder / f"{name}-00000-of-00001.parquet"))
        if request.param == "jsonl":
            data.to_json(str(folder / f"{name}.jsonl"))
    return folder, rows


def test_all_splits_together_are_sorted_by_case_id(copy):
    folder, rows = copy
    assert load_hub(folder) == [Record.from_json(row) for row in rows]
    assert [record.case_id for record in load_hub(folder, "train")] == [0, 2, 5]


def test_a_split_that_is_not_there(copy):
    with pytest.raises(InputError, match="no split 'dev': it has"):
        load_hub(copy[0], "dev")


def test_a_column_that_only_other_rows_have_is_no_field(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [nested(0), {key: value for key, value in nested(1).items() if key != "essence_texts"}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "d"))
    first, second = load_hub(tmp_path / "d")
    assert first.essence_texts
    assert second.essence_texts is None


def test_flat_rows_are_numbered(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([FLAT, FLAT | {"target_false": " drums"}]).save_to_disk(str(tmp_path / "d"))
    assert [record.case_id for record in load_hub(tmp_path / "d")] == [0, 1]


def test_a_bad_row_and_a_bad_data_set_are_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([nested(3), nested(3)]).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(InputError, match=r"record 2 \(train, row 1\): case_id 3 was in record 1 already"):
        load_hub(tmp_path / "d")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be opened"):
        load_hub(tmp_path / "empty")


def test_without_datasets_it_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"knowedit\[datasets\]"):
        load_hub(tmp_path)
