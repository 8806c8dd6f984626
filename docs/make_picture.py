"""Draw docs/demo.svg: what `knowedit demo` prints, as it prints it. Run: python docs/make_picture.py"""

import re
from pathlib import Path

from rich.console import Console

from knowedit.cli import demo

PICTURE = Path(__file__).with_name("demo.svg")
WIDTH = 96


def main() -> None:
    console = Console(record=True, width=WIDTH, highlight=False, force_terminal=True)
    demo.console = console
    demo.demo()
    drawn = console.export_svg(title="$ knowedit demo", unique_id="demo")
    # Rich asks a web server for its font; any monospaced one will do.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
