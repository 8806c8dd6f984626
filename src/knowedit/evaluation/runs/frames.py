"""Tables for pandas, which is imported where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from knowedit.errors import InputError


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Any:
    """A pandas data frame of rows.

    Args:
        rows: a value for each column by its name.
        columns: their order, by default that of the first row.

    Raises:
        InputError: pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise InputError("a data frame needs pandas, which is not installed: pip install pandas")
    return import_module("pandas").DataFrame(list(rows), columns=columns)
