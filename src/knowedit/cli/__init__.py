"""The command line: ``knowedit edit``, ``trace``, ``evaluate`` and others, a file for each command."""

from knowedit.cli.app import app

__all__ = ["app"]
