"""``knowedit table``: runs side by side, beside the paper's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from knowedit.cli.options import Seed
from knowedit.cli.output import console
from knowedit.errors import InputError
from knowedit.evaluation.figures import bars, check_suffix, distributions, save
from knowedit.evaluation.runs.paper_table import paper_rows
from knowedit.evaluation.runs.run import Run, read_run
from knowedit.evaluation.runs.tables import LEGEND, Row, Table, cell, make_table, run_row
from knowedit.evaluation.scores.columns import COLUMNS
from knowedit.tensorfile import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TableRequest:
    """The options of ``knowedit table``.

    Attributes:
        runs: folders.
        csv: a file for the table, as the others here.
        markdown: another.
        figure: a picture of the table.
        distributions: a picture of the distributions over records.
        paper: models whose rows of the paper are added.
        seed: of the intervals.
        force: whether files are replaced.
    """

    runs: tuple[Path, ...]
    csv: Path | None
    markdown: Path | None
    figure: Path | None
    distributions: Path | None
    paper: tuple[str, ...]
    seed: int
    force: bool

    def check_files(self) -> None:
        """Refuse before any work what could not, or should not, be written.

        Raises:
            InputError: a picture of an unknown suffix, no such folder, a file that exists, or one file for two things.
        """
        given = (self.csv, self.markdown, self.figure, self.distributions)
        files = [path for path in given if path is not None]
        for picture in (self.figure, self.distributions):
            if picture is not None:
                check_suffix(picture)
        for path in files:
            if not path.parent.is_dir():
                raise InputError(f"the folder {path.parent} does not exist: create it, or give another name")
            if path.is_dir() or (path.exists() and not self.force):
                raise InputError(f"{path} exists already: give another name, or --force to replace the file")
            if files.count(path) > 1:
                raise InputError(f"{path} is given for two things: give each a name of its own")


def run_table(request: TableRequest) -> None:
    """Print the table and write the files that were asked for; everything is made before the first is written."""
    request.check_files()
    runs = [read_run(path) for path in request.runs]
    rows = [run_row(run, request.seed) for run in runs]
    found = make_table([*rows, *(row for model in request.paper for row in paper_rows(model))])
    pictures = _draw(request, found, runs)
    print_table(found)
    for path, text in ((request.csv, found.csv()), (request.markdown, found.markdown())):
        if path is not None:
            write_bytes(path, text.encode())
            console.print(f"written to {escape(str(path))}")
    for path, picture in pictures.items():
        save(picture, path)
        console.print(f"written to {escape(str(path))}")


def _draw(request: TableRequest, table: Table, runs: Sequence[Run]) -> dict[Path, Figure]:
    drawn: dict[Path, Figure] = {}
    if request.figure is not None:
        drawn[request.figure] = bars(table)
    if request.distributions is not None:
        drawn[request.distributions] = distributions(runs)
    return drawn


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
                    f"{escape(row.method)}\n[dim]{row.records}[/]",
                    *(_cell(table, row, key) for key in keys),
                    row.fails,
                )
        console.print(grid)
    console.print(f"[dim]{escape(LEGEND)}[/]")


def _cell(table: Table, row: Row, key: str) -> str:
    """The mean with its interval under it."""
    mean, _, rest = cell(row.columns.get(key)).partition(" ")
    return f"{f'[bold]{mean}[/]' if table.is_best(row, key) else mean}\n[dim]{rest.replace(' ', chr(10))}[/]"


def table(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of `knowedit evaluate`.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table to this CSV file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this Markdown file.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the table: a bar with its interval for each value.")
    ] = None,
    distributions: Annotated[
        Path | None, typer.Option(help="Draw histograms over records: EM, PM, NM, and GE, RS, Essence.")
    ] = None,
    paper: Annotated[
        list[str] | None, typer.Option(help="Add the paper's rows: gpt2-xl or gpt-j; may be given twice.")
    ] = None,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the files if they exist.")] = False,
) -> None:
    """Put runs side by side as in the paper's Table 2, with intervals and the two failures marked."""
    run_table(
        TableRequest(
            runs=tuple(runs),
            csv=csv,
            markdown=markdown,
            figure=figure,
            distributions=distributions,
            paper=tuple(paper or ()),
            seed=seed,
            force=force,
        )
    )
