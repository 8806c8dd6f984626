from __future__ import annotations

import json
import sys
from functools import partial

import pytest

from knowedit.editing import Corpus, dataset, text_file
from knowedit.editing.statistics.corpus import Position
from knowedit.errors import InputError

TEXTS = ["Paris is a city.", "São Paulo\u2028is one\x85line", "  indented", "日本"]


@pytest.fixture
def text_path(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\n\n".join(TEXTS).encode() + b"\n   \n")
    return path


@pytest.fixture
def jsonl_path(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = [json.dumps({"text": text, "title": f"{n}"}) for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return path


def test_a_text_file_has_one_text_a_line(text_path):
    corpus = text_file(text_path)
    assert list(corpus.read()) == TEXTS
    assert list(corpus.read()) == TEXTS
    assert (corpus.size, corpus.name) == (4, "t.txt")


def test_windows_line_ends_are_no_text(tmp_path, text_path):
    (tmp_path / "w.txt").write_bytes("\r\n".join(TEXTS).encode())
    assert text_file(tmp_path / "w.txt").identity == text_file(text_path).identity


def test_jsonl(jsonl_path):
    assert list(text_file(jsonl_path, "text").read()) == TEXTS
    assert list(text_file(jsonl_path, "title").read()) == ["0", "1", "2", "3"]
    assert text_file(jsonl_path, "text").size == 4


def test_the_identity_is_that_of_the_content(text_path, tmp_path):
    identity = text_file(text_path).identity
    moved = tmp_path / "moved.txt"
    moved.write_bytes(text_path.read_bytes())
    assert text_file(moved).identity == identity
    assert identity["sha256"] == Position.over(TEXTS).digest == Corpus.of(TEXTS).identity["sha256"]
    moved.write_bytes(text_path.read_bytes() + b"more\n")
    assert text_file(moved).identity != identity


def test_the_digest_sees_order_and_borders():
    digests = [
        Position.over(t).digest for t in (["a", "b"], ["b", "a"], ["ab"], ["a\nb"], ["a", "b", ""], [])
    ]
    assert len(set(digests)) == 6


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path, content):
    (tmp_path / "e").write_bytes(content)
    for read in (text_file, partial(text_file, field="text")):
        with pytest.raises(InputError, match="holds no text"):
            read(tmp_path / "e")


def test_a_missing_file_is_refused(tmp_path):
    for read in (text_file, partial(text_file, field="text")):
        with pytest.raises(InputError, match="there is no file"):
            read(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", r"line 3 is not JSON \(Expecting property name"),
        (b"[1]", "line 3 holds a list: expected one JSON object"),
        (b'{"title": "x", "body": "y"}', "line 3 has no field 'text': its fields are 'title', 'body'"),
        (b"{}", "line 3 has no field 'text': its fields are none"),
        (b'{"text": null}', "line 3 has a NoneType in the field 'text': expected a text"),
        (b'{"text": 3}', "line 3 has a int in the field 'text'"),
        (b"\xff", "line 3 is not UTF-8"),
    ],
)
def test_a_bad_line_is_named_at_once(tmp_path, line, words):
    path = tmp_path / "b.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n' + line + b'\n{"text": "b"}\n')
    with pytest.raises(InputError, match=words):
        text_file(path, "text")


@pytest.mark.parametrize("field", [None, "text"])
def test_a_byte_order_mark_is_no_text(tmp_path, field):
    lines = "Paris is\nin France\n" if field is None else '{"text": "Paris is"}\n{"text": "in France"}\n'
    plain, marked, wide = (tmp_path / name for name in ("plain", "marked", "wide"))
    plain.write_text(lines, encoding="utf-8")
    marked.write_text(lines, encoding="utf-8-sig")
    wide.write_text(lines, encoding="utf-16")
    assert list(text_file(marked, field).read()) == ["Paris is", "in France"]
    assert text_file(marked, field).identity == text_file(plain, field).identity
    with pytest.raises(InputError, match=r"wide, line 1 is UTF-16: expected UTF-8"):
        text_file(wide, field)


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "l.txt").write_bytes("a\nS\u00e3o".encode("latin-1"))
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        text_file(tmp_path / "l.txt")


# Shuffling


def test_a_shuffle_is_a_permutation_that_the_seed_decides():
    corpus = Corpus.of(map(str, range(100)))
    for buffer in (1, 7, 99, 100, 1000):
        found = [list(corpus.shuffled(seed, buffer=buffer).read()) for seed in (0, 0, 1)]
        assert sorted(found[0]) == sorted(corpus.read())
        assert found[0] == found[1]
        assert (found[0] != found[2]) == (buffer > 1)


def test_a_text_comes_at_most_a_buffer_early():
    found = list(Corpus.of(map(str, range(200))).shuffled(3, buffer=10).read())
    assert all(int(text) <= place + 10 for place, text in enumerate(found))
    assert any(int(text) > place + 5 for place, text in enumerate(found))


def test_a_shuffled_corpus_is_another_one():
    corpus = Corpus.of(TEXTS)
    identities = [corpus.identity] + [corpus.shuffled(seed).identity for seed in (0, 1)]
    identities.append(corpus.shuffled(0, buffer=3).identity)
    assert all(identities.count(identity) == 1 for identity in identities)
    with pytest.raises(InputError, match="buffer is 0"):
        corpus.shuffled(0, buffer=0)


# Data sets


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same texts in every local form."""
    import datasets

    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("data")
    rows = datasets.Dataset.from_dict({"text": TEXTS, "n": list(range(4))})
    (folder / "files").mkdir()
    rows.to_parquet(folder / "files" / "train.parquet")
    rows.to_json(folder / "rows.jsonl")
    rows.to_parquet(folder / "rows.parquet")
    rows.save_to_disk(folder / "saved")
    datasets.DatasetDict({"train": rows, "test": rows.select([1])}).save_to_disk(folder / "splits")
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", ["files", "rows.jsonl", "rows.parquet", "saved", "splits"])
def test_a_local_data_set(data, name):
    corpus = dataset(data / name)
    assert list(corpus.read()) == TEXTS
    assert list(corpus.read()) == TEXTS
    assert corpus.name == name
    assert corpus.identity["split"] == "train"
    assert corpus.size in (4, None)


def test_a_split_of_a_saved_data_set(data):
    assert list(dataset(data / "splits", split="test").read()) == TEXTS[1:2]
    assert dataset(data / "splits").identity != dataset(data / "splits", split="test").identity


def test_the_identity_of_a_local_data_set_is_that_of_its_files(data, tmp_path):
    first = dataset(data / "rows.jsonl").identity
    copy = tmp_path / "rows.jsonl"
    copy.write_bytes((data / "rows.jsonl").read_bytes())
    assert dataset(copy).identity == first
    copy.write_bytes((data / "rows.jsonl").read_bytes().replace(b"Paris", b"Rome!"))
    assert dataset(copy).identity != first


@pytest.mark.parametrize("name", ["files", "rows.jsonl", "saved", "splits"])
def test_a_missing_split_or_field_is_named(data, name):
    with pytest.raises(InputError, match="no field 'body': its fields are text, n"):
        dataset(data / name, field="body")
    if name in ("files", "splits"):
        with pytest.raises(InputError, match=r"'dev'.*train"):
            dataset(data / name, split="dev")


def test_a_field_that_is_no_text_is_named(data):
    with pytest.raises(InputError, match=r"entry 0 has a int in the field 'n'"):
        list(dataset(data / "rows.parquet", field="n").read())


def test_what_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for source in ("a.zip", "empty"):
        with pytest.raises(InputError, match="cannot be opened"):
            dataset(tmp_path / source)
    with pytest.raises(InputError, match="has no revision 'main': leave it out"):
        dataset(tmp_path / "empty", revision="main")
    with pytest.raises(InputError, match="has no configuration 'en': leave it out"):
        dataset(tmp_path / "a.zip", config="en")


def test_the_hub_is_not_asked_where_it_does_not_answer(monkeypatch):
    """Its client would try for half a minute, and print each time."""
    monkeypatch.setattr("knowedit.editing.statistics.dataset_corpus.hub_answers", lambda: False)
    with pytest.raises(InputError, match=r"there is no data set 'nobody/nothing'.* cannot be reached"):
        dataset("nobody/nothing")


def test_a_data_set_on_the_hub_is_known_by_its_commit(monkeypatch, data):
    """The library is asked as for any id; a stand-in answers, since tests use no network."""
    import datasets

    asked = []

    def builder(name, config, revision):
        asked.append((name, config, revision))
        found = real("parquet", data_files={"train": str(data / "rows.parquet")})
        found.hash = "c0ffee"
        return found

    real = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    monkeypatch.setattr("knowedit.editing.statistics.dataset_corpus.hub_answers", lambda: True)
    corpus = dataset("some/where", config="en", revision="main")
    assert asked == [("some/where", "en", "main")]
    assert (corpus.name, corpus.identity["id"], corpus.identity["revision"]) == (
        "some/where",
        "some/where",
        "c0ffee",
    )
    assert list(corpus.read()) == TEXTS


def test_without_the_library_the_extra_is_named(monkeypatch, data):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"install knowedit\[datasets\]"):
        dataset(data / "files")
