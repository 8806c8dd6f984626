"""Every command on an organism stays under 2 GiB."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIMIT = 2 * 2**30
PROGRAM = """
import json, resource, sys
from typer.testing import CliRunner
from knowedit.cli import app
result = CliRunner().invoke(app, sys.argv[1:])
print(json.dumps([result.exit_code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "--json"],
        ["generate", "--prompt", "The"],
        ["edit", "--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "cello", "--out", "e"],
    ],
    ids=lambda command: command[0],
)
def test_peak_memory(command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    code, peak = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert 100_000_000 < peak < LIMIT
