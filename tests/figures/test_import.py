"""Matplotlib is imported when a figure is drawn, and not before."""

from __future__ import annotations

import subprocess
import sys

PACKAGES = (
    "knowedit",
    "knowedit.figures",
    "knowedit.tracing.figures",
    "knowedit.evaluation.figures",
    "knowedit.cli.table",
)


def test_importing_the_packages_does_not_import_matplotlib():
    code = f"import sys, {', '.join(PACKAGES)}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
