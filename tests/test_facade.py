"""What `import knowedit` offers, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import knowedit

HEAVY = ("torch", "transformers", "numpy", "scipy", "matplotlib", "importlib.metadata", "knowedit.models")


def test_importing_it_imports_nothing_heavy():
    code = "import sys; import knowedit; knowedit.Fact; dir(knowedit); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"knowedit", "knowedit.facts"} <= set(done.stdout.split())
    assert not set(HEAVY) & set(done.stdout.split())


@pytest.mark.parametrize("name", knowedit.__all__)
def test_every_name_that_is_offered_is_there(name):
    assert getattr(knowedit, name) is not None
    assert name in dir(knowedit)


def test_a_name_is_the_one_of_its_part():
    from knowedit.editing import ROME
    from knowedit.models import load
    from knowedit.tracing import causal_trace

    assert (knowedit.ROME, knowedit.load, knowedit.causal_trace) == (ROME, load, causal_trace)
    assert knowedit.linalg.__name__ == "knowedit.linalg"
    assert knowedit.__version__ == version("knowedit")


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="'knowedit' has no attribute 'Rome'"):
        knowedit.Rome  # noqa: B018
