"""``knowedit table``: runs side by side, beside the paper's rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table as Grid

from knowedit.cli.output import console
from knowedit.errors import InputError
from knowedit.evaluation.columns import COLUMNS
from knowedit.evaluation.run_folder import read_run
from knowedit.evaluation.table_text import LEGEND, cell, count, csv_text, markdown, marks
from knowedit.evaluation.tables import Row, Table, make_table, paper_rows, run_row
from knowedit.tensorfile import write_bytes


@dataclass(frozen=True)
class TableRequest:
    """The options of ``knowedit table``."""

    runs: tuple[Path, ...]
    csv: Path | None
    markdown: Path | None
    paper: tuple[str, ...]
    seed: int
    force: bool

    def check_files(self) -> None:
        """Refuse to replace a file.

        Raises:
            InputError: one exists.
        """
        for path in (self.csv, self.markdown):
            if path is not None and path.exists() and not self.force:
                raise InputError(f"{path} exists already: give another name, or --force to replace the file")


def run_table(request: TableRequest) -> None:
    """Print the table and write the files that were asked for."""
    request.check_files()
    rows = [run_row(read_run(path), request.seed) for path in request.runs]
    found = make_table([*rows, *(row for model in request.paper for row in paper_rows(model))])
    print_table(found)
    for path, text in ((request.csv, csv_text(found)), (request.markdown, markdown(found))):
        if path is not None:
            write_bytes(path, text.encode())
            console.print(f"written to {escape(str(path))}")


def print_table(table: Table) -> None:
    """The table for people, a block a model; a column that no row has is left out."""
    keys = [key for key in COLUMNS if any(key in row.columns for row in table.rows)]
    for model in dict.fromkeys(row.model for row in table.rows):
        grid = Grid(
            "method",
            *keys,
            "fails",
            title=escape(model),
            title_justify="left",
            box=None,
            padding=(0, 1, 0, 0),
        )
        for row in table.rows:
            if row.model == model:
                grid.add_row(
                    f"{escape(row.method)}\n[dim]{count(row)}[/]",
                    *(_cell(table, row, key) for key in keys),
                    marks(row),
                )
        console.print(grid)
    console.print(f"[dim]{escape(LEGEND)}[/]")


def _cell(table: Table, row: Row, key: str) -> str:
    """The mean with its interval under it."""
    mean, _, rest = cell(row.columns.get(key)).partition(" ")
    return f"{f'[bold]{mean}[/]' if table.is_best(row, key) else mean}\n[dim]{rest.replace(' ', chr(10))}[/]"
