"""What is shown of a text: nothing that cannot be seen, no formula of a spreadsheet, no format of a page."""

from __future__ import annotations

import json

import pytest

from knowedit.cli.output import print_json
from knowedit.text import csv_cell, markdown_cell, visible

HOSTILE = {
    "escape": ("\x1b[31mred", r"\x1b[31mred"),
    "title": ("\x1b]0;own\x07", r"\x1b]0;own\x07"),
    "C1": ("\x9b31m", r"\x9b31m"),
    "return": ("a\rb", r"a\rb"),
    "delete": ("\x7f", r"\x7f"),
    "right to left": ("\u202egpj.exe", r"\u202egpj.exe"),
    "isolate": ("\u2066a\u2069", r"\u2066a\u2069"),
    "mark": ("\u200f", r"\u200f"),
    "zero width": ("a\u200bb", r"a\u200bb"),
    "line": ("a\u2028b\nc", r"a\u2028b\nc"),
    "tag": ("\U000e0041", r"\U000e0041"),
    "half a pair": ("\udc1b", r"\udc1b"),
}
PLAIN = (
    "",
    "Zoma Sel",
    "São Paulo",
    "東京\u3000タワー",
    "a\u00a0b",
    "می\u200cخواهم",
    "👩\u200d🔬",
    "back\\slash",
)


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_seen_is_shown_and_json_keeps_its_value(capsys, text, shown):
    assert visible(text) == shown
    print_json({text: [text]})
    written = capsys.readouterr().out
    assert json.loads(written) == {text: [text]}
    assert visible(written, keep="\n") == written


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_are_as_they_are(text):
    assert visible(text) == text
    assert csv_cell(text) == text


def test_line_breaks_stay_where_they_are_asked_for():
    assert visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_json_has_no_number_that_is_not_finite(capsys):
    print_json({"a": [float("nan"), (float("inf"), 1.5)]})
    assert json.loads(capsys.readouterr().out) == {"a": [None, [None, 1.5]]}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://a")'])
def test_no_cell_of_csv_is_a_formula(text):
    assert csv_cell(text) == f"'{visible(text)}"


def test_a_cell_of_markdown_ends_where_it_ends():
    found = markdown_cell("a|b\n`c` <b>*d*</b> &lt; [e](f) \\|")
    assert found == r"a\|b\\n\`c\` &lt;b>\*d\*&lt;/b> &amp;lt; \[e\](f) \\\|"
    assert markdown_cell("ROME (released-2022-10) 10 %") == "ROME (released-2022-10) 10 %"
