"""``python -m knowedit`` is ``knowedit``."""

from knowedit.cli import app

app(prog_name="knowedit")
