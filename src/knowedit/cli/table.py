"""``knowedit table``: runs side by side, beside the paper's rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from knowedit.cli.options import Figure, Force, Json, Seed
from knowedit.cli.output import check_outputs, console, print_json, safe

if TYPE_CHECKING:
    from knowedit.evaluation import Table
    from knowedit.evaluation.runs.tables import Row


def table(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of `knowedit evaluate`.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(help="The table to write: .csv or, for Markdown, .md; may be given again."),
    ] = None,
    figure: Figure = None,
    distributions: Annotated[
        Path | None,
        typer.Option(help="A picture of histograms over records: EM, PM, NM, and GE, RS, Essence."),
    ] = None,
    paper: Annotated[
        list[str] | None, typer.Option(help="Add the paper's rows: gpt2-xl or gpt-j; may be given again.")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Print the table and write the files that were asked for; all are made before the first is written."""
    from knowedit import evaluation
    from knowedit.evaluation import figures
    from knowedit.writing import write_bytes

    check_outputs(force=force, suffix=(".csv", ".md"), out=out, figure=figure, distributions=distributions)
    read = [evaluation.read_run(path) for path in runs]
    rows = [evaluation.run_row(run, seed) for run in read]
    found = evaluation.make_table(
        [*rows, *(row for name in paper or () for row in evaluation.paper_rows(name))]
    )
    pictures = {
        figure: None if figure is None else figures.bars(found),
        distributions: None if distributions is None else figures.distributions(read),
    }
    for file in out or ():
        text = found.csv() if file.suffix.lower() == ".csv" else found.markdown()
        write_bytes(file, text.encode(), force=force)
    for place, picture in pictures.items():
        if place is not None and picture is not None:
            figures.save(picture, place, force=force)
    written = [str(path) for path in (*(out or ()), figure, distributions) if path is not None]
    if as_json:
        print_json({"rows": [_as_json(row) for row in found.rows], "written": written})
        return
    print_table(found)
    for path in written:
        console.print(f"written to {safe(path)}")


def _as_json(row: Row) -> dict[str, Any]:
    columns = {key: [value.mean, value.low, value.high] for key, value in row.columns.items()}
    marks = {"marks": list(row.marks), "judged": row.judged}
    counts = {"records": row.n, "failed": row.failed, "missing": row.missing}
    return {"model": row.model, "method": row.method, **counts, "columns": columns, **marks}


def print_table(table: Table) -> None:
    """The table for people, a block a model; a column that no row has is left out."""
    keys = [key for key in table.keys if any(key in row.columns for row in table.rows)]
    for model in dict.fromkeys(row.model for row in table.rows):
        grid = Grid(
            "method",
            *keys,
            "fails",
            title=safe(model),
            title_justify="left",
            box=None,
            padding=(0, 1, 0, 0),
        )
        for row in table.rows:
            if row.model == model:
                grid.add_row(
                    f"{safe(row.method)}\n[dim]{row.records}[/]",
                    *(_cell(table, row, key) for key in keys),
                    row.fails,
                )
        console.print(grid)
    console.print(f"[dim]{safe(table.legend)}[/]")


def _cell(table: Table, row: Row, key: str) -> str:
    """The mean with its interval under it."""
    mean, _, rest = row.cell(key).partition(" ")
    return f"{f'[bold]{mean}[/]' if table.is_best(row, key) else mean}\n[dim]{rest.replace(' ', chr(10))}[/]"
