"""What is text, what is JSON, and what a value has to be: the right values are read, all others refused in one line."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowedit.errors import FileFormatError, KnoweditError
from knowedit.reading import DEEPEST, checked, decoded, parsed, read_json, shown

TEXT = "Österreich 東京\n"


def value(text: str | bytes) -> Any:
    return parsed(text, "a.json", "write it again")


def test_a_byte_order_mark_is_no_text_at_the_beginning_alone():
    assert decoded(codecs.BOM_UTF8 + TEXT.encode(), "a") == TEXT
    assert decoded(TEXT.encode(), "a") == TEXT
    assert decoded(b"a" + codecs.BOM_UTF8, "a") == "a\ufeff"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TEXT.encode("utf-16"), "a is UTF-16: expected UTF-8"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "a is UTF-16: expected UTF-8"),
        (TEXT.encode("utf-32"), "a is UTF-32: expected UTF-8"),
        ("text".encode("utf-16-le"), "a has zero bytes, as UTF-16 does"),
        ("é".encode("latin-1"), r"a is not UTF-8 \(unexpected end of data at byte 1\): save it as UTF-8"),
    ],
)
def test_other_encodings_are_named(data, words):
    with pytest.raises(FileFormatError, match=words):
        decoded(data, "a")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_json_can_hold_comes_back(given_value, ascii_only):
    text = json.dumps(given_value, ensure_ascii=ascii_only)
    assert value(text) == given_value
    assert repr(value(text)) == repr(given_value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ('{"a": 1,}', "is not JSON .* at line 1 column"),
        ("NaN", "NaN is no number in JSON"),
        ("[-Infinity]", "-Infinity is no number in JSON"),
        ("1e400", "'1e400' is too large"),
        ("9" * 5000, "a whole number of 5000 digits, expected at most 64 bits"),
        (str(2**64), "a whole number of 20 digits"),
        (f"[{-(2**64)}]", "a whole number of 21 digits"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "the name 'c' is twice in one object"),
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        (b"\xff", "is not UTF-8"),
    ],
    ids=lambda one: str(one)[:20],
)
def test_what_is_no_json_is_told_in_a_short_line(text, words):
    with pytest.raises(FileFormatError, match=words) as caught:
        value(text)
    told = str(caught.value)
    assert told.startswith("a.json")
    assert told.endswith(": write it again")
    assert "\n" not in told
    assert len(told) < 200


def test_brackets_in_texts_are_not_nesting():
    assert value(json.dumps(["[{" * 500])) == ["[{" * 500]
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert json.dumps(value(deep)) == deep


def test_a_file_of_json(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"a": 1}')
    assert read_json(path, "x") == {"a": 1}
    path.write_bytes('{"a": 1}'.encode("utf-16"))
    with pytest.raises(FileFormatError, match=r"a\.json is UTF-16"):
        read_json(path, "x")
    with pytest.raises(FileFormatError, match=r"cannot be read .*: look there"):
        read_json(tmp_path, "look there")


@dataclass(frozen=True)
class Point:
    layer: int
    share: float
    names: tuple[str, ...] = ()


def test_lists_become_tuples_and_defaults_are_filled_in():
    assert checked(Point, {"layer": 3, "share": 1, "names": ["a"]}, "p", "x") == Point(3, 1.0, ("a",))
    assert checked(Point, {"layer": 3, "share": 0.5}, "p", "x") == Point(3, 0.5)
    assert checked(tuple[Point, ...], [{"layer": 3, "share": 0.5}], "p", "x") == (Point(3, 0.5),)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"layer": True, "share": 0.5}, "layer is True"),
        ({"layer": 1.5, "share": 0.5}, "layer is 1.5"),
        ({"layer": 1.0, "share": 0.5}, "layer is 1.0"),
        ({"layer": "1", "share": 0.5}, "layer is '1'"),
        ({"layer": None, "share": False}, "layer is None, .*; share is False"),
        ({"share": 0.5}, "layer is missing"),
        ({"layer": 1, "share": float("nan")}, "wrong entries"),
        ({"layer": 1, "share": 1.0, "names": "ab"}, "names is 'ab'"),
        ({"layer": 1, "share": 1.0, "names": ["a", 1]}, "names.1 is 1"),
        ({"layer": 1, "share": 1.0, "names": ["\ud800"]}, "wrong entries"),
        ([1, 2], "it is"),
        (None, "it is None"),
    ],
)
def test_types_are_exact(entry, words):
    with pytest.raises(FileFormatError, match=words) as caught:
        checked(Point, entry, "p.json", "make it again")
    assert str(caught.value).endswith(": make it again")
    assert "\n" not in str(caught.value)


def test_many_problems_are_counted():
    with pytest.raises(FileFormatError, match=r"a is 'x'.*; b is 'x'.*; c is 'x'.* and 7 more"):
        checked(dict[str, int], dict.fromkeys("abcdefghij", "x"), "p", "x")


def test_what_is_quoted_is_short_and_on_one_line():
    assert shown("a\nb") == r"'a\nb'"
    assert shown(ValueError("a\n b")) == "a b"
    assert len(shown("x" * 10**6)) < 70


def test_messages_of_the_package_are_one_line_and_end():
    error = KnoweditError("a\nb" + "x" * 10**6 + ": do this")
    assert str(error).startswith("a bx")
    assert str(error).endswith("xx: do this")
    assert len(str(error)) < 1100
