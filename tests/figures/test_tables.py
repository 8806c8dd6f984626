"""Tables for notebooks: escaped, shaded, and a data frame only where pandas is."""

from __future__ import annotations

import sys

import pytest

from knowedit.errors import InputError
from knowedit.figures.tables import data_frame, html_table


def test_every_text_of_a_table_is_escaped():
    found = html_table("<a>", ["", "<b>"], [["<c>", "<d>"]])
    assert all(f"&lt;{name}&gt;" in found for name in "abcd")
    assert all(f"<{name}>" not in found for name in "abcd")
    assert "style=" not in found.split("<table>")[1]


def test_dark_cells_have_light_letters():
    found = html_table("", ["", 0, 1], [["row", 1, 2]], [[0.0, 2.0]])
    assert "background:rgb(252,240,230);color:black" in found
    assert "background:rgb(59,15,112);color:white" in found


def test_nothing_is_fetched():
    found = html_table("a", ["", 0], [["row", 1]], [[0.5]])
    assert not any(word in found for word in ("http", "src=", "<script", "url("))


def test_a_data_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        data_frame({"a": [1]})


def test_a_data_frame():
    pandas = pytest.importorskip("pandas", reason="pandas is no requirement")
    assert data_frame({"a": [1, 2], "b": ["x", "y"]}).equals(pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
