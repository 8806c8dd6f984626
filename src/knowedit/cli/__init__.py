"""The command line: ``knowedit edit``, ``inspect``, ``export``, ``generate``, ``demo``, ``facts`` and others."""

from knowedit.cli.app import app

__all__ = ["app"]
