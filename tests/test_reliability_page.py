"""What the page on promises names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE)))
SESSIONS = sorted(set(re.findall(r"nox -s (\w+)", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_every_test_that_is_named_is_there(path):
    assert (ROOT / path).exists()


def test_every_session_that_is_named_is_there():
    sessions = re.findall(r"@nox\.session.*?\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8"))
    assert len(SESSIONS) > 2
    assert set(SESSIONS) <= set(sessions)


def test_every_promise_names_a_test():
    promises = [part for part in re.split(r"\n- ", PAGE) if part.startswith("**")]
    assert len(promises) > 15
    assert all("(`tests/" in one for one in promises)
