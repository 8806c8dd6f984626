"""The commands that people begin with stay under 2 GiB on an organism, also one after the other."""

from __future__ import annotations

import json
import subprocess
import sys

LIMIT = 2 * 2**30
COMMANDS = (
    ["demo", "--json"],
    ["generate", "--prompt", "The"],
    ["edit", "--subject", "Zoma Sel", "--prompt", "{} plays the", "--target-new", "cello", "--out", "e"],
)
PROGRAM = """
import json, resource, sys
from typer.testing import CliRunner
from knowedit.cli import app
codes = [CliRunner().invoke(app, words).exit_code for words in json.loads(sys.argv[1])]
print(json.dumps([codes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def test_peak_memory(tmp_path):
    words = [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    codes, peak = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0, 0, 0]
    assert 100_000_000 < peak < LIMIT
