"""The command line: ``knowedit demo``, ``edit``, ``inspect``, ``generate``, ``facts``, ``models``, ``organism``."""

from knowedit.cli.app import app

__all__ = ["app"]
