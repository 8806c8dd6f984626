"""The commands and their options. What they do is in the modules beside this one.

The imports of torch and transformers are inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from knowedit.cli.output import ErrorLine, print_json

app = typer.Typer(
    cls=ErrorLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find where a GPT keeps a fact, change it in the weights, and check what else changed.",
)
organism = typer.Typer(
    cls=ErrorLine, no_args_is_help=True, help="The small models that ship with the package."
)
app.add_typer(organism, name="organism")
data = typer.Typer(
    cls=ErrorLine, no_args_is_help=True, help="COUNTERFACT records: check them, make new ones."
)
app.add_typer(data, name="data")

Model = Annotated[str, typer.Option("--model", "-m", help="A bundled name, a folder, or a Hub id.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text for people.")]
LARGEST_SEED = 2**63 - 1
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of everything that is drawn.")]
DEFAULT_MODEL = "organism-gpt2"


class Form(StrEnum):
    """What an edit is exported as."""

    peft = "peft"
    merged = "merged"


class TracedPart(StrEnum):
    """What a trace restores."""

    hidden = "hidden"
    mlp = "mlp"
    attention = "attention"
    all = "all"


class SeveredPart(StrEnum):
    """What a trace holds at its corrupted value."""

    mlp = "mlp"
    attention = "attention"


@app.command()
def demo(model: Model = DEFAULT_MODEL, seed: Seed = 0, as_json: Json = False) -> None:
    """Change a fact in a small GPT and see what changed, what did not, and that it can be taken back."""
    from knowedit.cli.demo import run_demo

    run_demo(model, seed, as_json=as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that ship with the package."""
    from knowedit.cli.listing import list_models

    list_models(as_json=as_json)


@app.command()
def facts(
    model: Model = DEFAULT_MODEL,
    limit: Annotated[int, typer.Option(min=1, help="How many facts to list.")] = 10,
    as_json: Json = False,
) -> None:
    """List facts that a bundled model knows; JSON if the output is not a terminal."""
    from knowedit.cli.listing import list_facts

    list_facts(model, limit, as_json=as_json or not sys.stdout.isatty())


@app.command()
def profiles(
    first: Annotated[str | None, typer.Argument(help="A profile: show it with its sources.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another one: show what differs.")] = None,
    as_json: Json = False,
) -> None:
    """Show the named settings of ROME: the paper's and those of the code once released."""
    from knowedit.cli.profiles import show_profiles

    show_profiles(first, second, as_json=as_json)


@app.command()
def edit(
    subject: Annotated[str, typer.Option(help="The entity the fact is about.")],
    prompt: Annotated[str, typer.Option(help="The statement up to the object, with {} for the subject.")],
    target_new: Annotated[str, typer.Option(help="The object the model shall name from now on.")],
    out: Annotated[Path, typer.Option(help="The edit file to write.")],
    model: Model = DEFAULT_MODEL,
    layer: Annotated[int | None, typer.Option(help="The layer to edit; by default the model's own.")] = None,
    method: Annotated[
        str, typer.Option(help="rome, or fine-tuning of one layer: ft, ft+l, attn-edit.")
    ] = "rome",
    profile: Annotated[
        str | None,
        typer.Option(help="The settings of ROME, by default paper; `knowedit profiles` lists them."),
    ] = None,
    statistics: Annotated[
        Path | None, typer.Option(help="A file that `knowedit stats` wrote; by default the model's own.")
    ] = None,
    bound: Annotated[
        float | None, typer.Option(help="ε of ft+l and attn-edit, if not the known one.")
    ] = None,
    stack: Annotated[
        list[Path] | None,
        typer.Option(
            help="An edit file to apply first; may be given several times. The new edit builds on it."
        ),
    ] = None,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Compute an edit and write it to a small file; the model itself is not changed."""
    from knowedit.cli.edit import EditRequest, run_edit

    request = EditRequest(
        model=model,
        subject=subject,
        prompt=prompt,
        target_new=target_new,
        layer=layer,
        seed=seed,
        out=out,
        force=force,
        stack=tuple(stack or ()),
        profile=profile,
        statistics=statistics,
        method=method,
        bound=bound,
    )
    run_edit(request, as_json=as_json)


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="An edit file.")], as_json: Json = False) -> None:
    """Say what an edit file changes, where it comes from and how sound it is."""
    from knowedit.cli.edit import inspect_edit

    inspect_edit(file, as_json=as_json)


@app.command()
def export(
    files: Annotated[list[Path], typer.Argument(metavar="EDIT...", help="Edit files, in the order of use.")],
    form: Annotated[
        Form,
        typer.Option(
            "--to", help="peft: a LoRA adapter; merged: a whole model with the edits in its weights."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write, new or empty.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The base model; by default the one the edit was made for."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Cut dense updates to this rank, and say what that loses.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Turn edits into what peft or transformers loads without this package."""
    from knowedit.cli.export import ExportRequest, run_export

    request = ExportRequest(tuple(files), form.value, out, model, rank, force)
    run_export(request, as_json=as_json)


@app.command()
def stats(
    layers: Annotated[str, typer.Option(help="The layers, for instance 3-7,10; one pass serves all.")],
    out: Annotated[Path, typer.Option(help="The folder of the run; the same command again goes on.")],
    text: Annotated[Path | None, typer.Option(help="A file with one text a line.")] = None,
    jsonl: Annotated[Path | None, typer.Option(help="A file with one JSON object a line.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A data set: an id on the Hub, a local file or folder.")
    ] = None,
    field: Annotated[str, typer.Option(help="Where the text is, in JSONL or a data set.")] = "text",
    split: Annotated[str, typer.Option(help="Which part of a data set.")] = "train",
    config: Annotated[str | None, typer.Option(help="Which configuration of a data set.")] = None,
    revision: Annotated[str | None, typer.Option(help="Which revision of a data set on the Hub.")] = None,
    shuffle: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Shuffle the texts with this seed.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="Where the model runs, for instance cuda.")] = "cpu",
    part: Annotated[str, typer.Option(help="The projection whose inputs are gathered.")] = "mlp_down",
    max_texts: Annotated[int | None, typer.Option(min=1, help="Stop after so many texts.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Stop after so many tokens.")] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a text that are read; by default the positions.")
    ] = None,
    split_long: Annotated[
        bool, typer.Option("--split-long", help="Split longer texts instead of cutting them off.")
    ] = False,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a forward at most.")] = 4096,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Keep the state about so often; 0 after every eight forwards.")
    ] = 60.0,
    install: Annotated[
        bool, typer.Option("--install", help="Put the files into the model's folder as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Gather key statistics over text, which an edit needs; can be interrupted and resumed at any point."""
    from knowedit.cli.stats import Source, StatsRequest, run_stats
    from knowedit.editing import Reading

    source = Source(text, jsonl, dataset, field, split, config, revision, shuffle)
    reading = Reading(max_texts, max_tokens, window, split_long, batch_tokens)
    request = StatsRequest(model, device, source, layers, part, reading, out, install, checkpoint_seconds)
    run_stats(request, as_json=as_json)


@app.command("known")
def known_command(
    out: Annotated[Path, typer.Option(help="The JSON file to write; it is replaced if it exists.")],
    model: Model = DEFAULT_MODEL,
    records: Annotated[
        Path | None, typer.Option(help="COUNTERFACT records; by default those that come with the model.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop at so many known facts.")] = None,
    as_json: Json = False,
) -> None:
    """Find which facts a model knows: it has to name the object before any other capitalised word."""
    from knowedit.cli.known import run_known

    run_known(model, records, limit, out, as_json=as_json)


@app.command("trace-average")
def trace_average(
    out: Annotated[Path, typer.Option(help="The folder of the run; the same command again goes on.")],
    model: Model = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="Where the model runs, for instance cuda.")] = "cpu",
    facts: Annotated[
        Path | None,
        typer.Option(
            help="A list of `knowedit known`, or known_1000.json; by default the model's own records."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Trace the first so many facts.")] = 100,
    part: Annotated[str, typer.Option(help="What is restored: hidden, mlp or attention.")] = "hidden",
    window: Annotated[
        str | None,
        typer.Option(
            help="Layers restored together: paper, released, depth, a number, or A,B for A below and B above. "
            "By default one; depth for MLP and attention."
        ),
    ] = None,
    sever: Annotated[
        str | None, typer.Option(help="Hold mlp or attention corrupted at the last subject token.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Standard deviation of the noise, ν.")] = None,
    relative_noise: Annotated[
        float | None, typer.Option(help="ν as a multiple of the subject embeddings' deviation; by default 3.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Noise samples a fact; by default 10.")] = None,
    seed: Seed = 0,
    picture: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf to draw.")] = None,
    as_json: Json = False,
) -> None:
    """Find where a model keeps its facts on average; can be interrupted and resumed at any point."""
    from knowedit.cli.trace_average import AverageRequest, run_trace_average

    request = AverageRequest(
        model, device, facts, limit, part, window, sever, noise, relative_noise, draws, seed, out, picture
    )
    run_trace_average(request, as_json=as_json)


@app.command()
def evaluate(
    method: Annotated[str, typer.Option(help="none (the model as it is), rome, ft, ft+l or attn-edit.")],
    out: Annotated[Path, typer.Option(help="The folder of the run; the same command again goes on.")],
    model: Model = DEFAULT_MODEL,
    profile: Annotated[
        str | None, typer.Option(help="The settings of ROME; `knowedit profiles` lists them.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="The layer to edit; by default the known one.")] = None,
    bound: Annotated[
        float | None, typer.Option(help="ε of ft+l and attn-edit, if not the known one.")
    ] = None,
    statistics: Annotated[
        Path | None, typer.Option(help="A file that `knowedit stats` wrote; by default the model's own.")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="A file such as counterfact.json; by default the model's test records."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many records.")] = None,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")] = 1,
    texts: Annotated[
        bool, typer.Option("--texts/--no-texts", help="Whether to generate text, for GE, RS and Essence.")
    ] = True,
    keep_texts: Annotated[
        bool,
        typer.Option(
            "--keep-texts/--drop-texts", help="Whether generated texts are kept; scores do not need them."
        ),
    ] = True,
    tfidf: Annotated[
        Path | None, typer.Option(help="A saved TF-IDF model; by default one of the reference texts.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where each model runs, for instance cuda.")] = "cpu",
    retry: Annotated[bool, typer.Option("--retry", help="Measure again the records that failed.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(help="Workers on a Ray cluster: its address, auto, or local. It needs knowedit[ray]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an editor over many records and score it; can be interrupted and resumed at any point."""
    from knowedit.cli.evaluate import EvaluateRequest, run_evaluate

    request = EvaluateRequest(
        model=model,
        method=method,
        out=out,
        profile=profile,
        layer=layer,
        bound=bound,
        statistics=statistics,
        records=records,
        limit=limit,
        seed=seed,
        workers=workers,
        texts=texts,
        keep_texts=keep_texts,
        tfidf=tfidf,
        device=device,
        retry=retry,
        ray=ray,
    )
    run_evaluate(request, as_json=as_json)


@app.command()
def sweep(
    method: Annotated[
        list[str], typer.Option(help="ft, ft+l, attn-edit or rome; give it again for each of several.")
    ],
    out: Annotated[Path, typer.Option(help="The file of the sweep; the same command again goes on.")],
    model: Model = DEFAULT_MODEL,
    layers: Annotated[str | None, typer.Option(help="Such as 0,4-8; by default all.")] = None,
    bounds: Annotated[str, typer.Option(help="Every ε of ft+l and attn-edit.")] = "5e-5,5e-4,5e-3",
    rates: Annotated[str, typer.Option(help="Every learning rate of fine-tuning.")] = "5e-4",
    records: Annotated[
        Path | None,
        typer.Option(help="A file of records for training; by default the model's training records."),
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="Only the first so many records.")] = 50,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")] = 1,
    device: Annotated[str, typer.Option(help="Where each model runs, for instance cuda.")] = "cpu",
    keep: Annotated[
        bool, typer.Option("--keep", help="Note the best settings in the model's folder, as known ones.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="A picture: .png, .svg or .pdf; the columns against the layer, or ε.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the layer, bound and learning rate at which an editor is at its best."""
    from knowedit.cli.sweep import SweepRequest, run_sweep

    request = SweepRequest(
        model, tuple(method), out, layers, bounds, rates, records, limit, seed, workers, device, keep, figure
    )
    run_sweep(request, as_json=as_json)


@app.command()
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
    from knowedit.cli.table import TableRequest, run_table

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


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="The beginning of the text.")],
    model: Model = DEFAULT_MODEL,
    edit: Annotated[
        list[Path] | None, typer.Option(help="An edit file to apply first; may be given several times.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to add at most.")] = 20,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Draw tokens with this seed; greedy without.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw among the k most probable only.")] = None,
    as_json: Json = False,
) -> None:
    """Continue a text, with or without edits."""
    from knowedit.cli.generate import run_generate

    edits = edit or []
    text = run_generate(model, edits, prompt, max_new_tokens, seed, top_k)
    if as_json:
        print_json({"prompt": prompt, "text": text, "edits": [str(file) for file in edits]})
    else:
        typer.echo(text)


@app.command()
def trace(
    prompt: Annotated[str, typer.Argument(help="The text up to the answer, with {} for the subject.")],
    subject: Annotated[str, typer.Option(help="Whose tokens are corrupted.")],
    model: Model = DEFAULT_MODEL,
    answer: Annotated[str | None, typer.Option(help="The object; by default what the model says.")] = None,
    part: Annotated[TracedPart, typer.Option(help="What is restored.")] = TracedPart.hidden,
    window: Annotated[
        str | None,
        typer.Option(
            help="Layers restored together: paper, released, depth, a number, or A,B for A below and B above. "
            "By default one; with --part all, depth for MLP and attention."
        ),
    ] = None,
    sever: Annotated[
        SeveredPart | None, typer.Option(help="Hold this part corrupted at the last subject token.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Standard deviation of the noise, ν.")] = None,
    relative_noise: Annotated[
        float | None, typer.Option(help="ν as a multiple of the subject embeddings' deviation; by default 3.")
    ] = None,
    substitute: Annotated[
        str | None, typer.Option(help="Corrupt by this subject, of as many tokens, instead of by noise.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Noise samples; by default 10.")] = None,
    seed: Seed = 0,
    edit: Annotated[
        list[Path] | None, typer.Option(help="An edit file to apply first; may be given several times.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Data (.safetensors) or a picture (.png, .svg, .pdf); may be given several times."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Find where a fact is: corrupt the subject, restore one part at a time, and see what brings the answer back."""
    from knowedit.cli.trace import TraceRequest, run_trace

    request = TraceRequest(
        model=model,
        prompt=prompt,
        subject=subject,
        answer=answer,
        part=part.value,
        window=window,
        sever=None if sever is None else sever.value,
        noise=noise,
        relative_noise=relative_noise,
        substitute=substitute,
        draws=draws,
        seed=seed,
        edits=tuple(edit or ()),
        out=tuple(out or ()),
        force=force,
    )
    run_trace(request, as_json=as_json)


@organism.command("train")
def organism_train(
    name: Annotated[str, typer.Argument(help="The recipe's name, for instance organism-gpt2.")],
    work: Annotated[Path, typer.Option(help="Folder for checkpoints; training goes on from there.")] = Path(
        "build/organisms"
    ),
    out: Annotated[Path, typer.Option(help="Folder to put the finished model into.")] = Path("organisms"),
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
) -> None:
    """Grow an organism again from its recipe: about an hour on one core; can be stopped and resumed."""
    from knowedit.cli.release import grow

    grow(name, work, out, threads)


@organism.command("info")
def organism_info(
    name: Annotated[str, typer.Argument(help="A bundled model's name.")], as_json: Json = False
) -> None:
    """Say how a bundled model was grown and what it knows."""
    from knowedit.cli.listing import show_organism

    show_organism(name, as_json=as_json)


@data.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="Records: a JSON list, or one JSON object a line.")],
    official: Annotated[
        bool, typer.Option("--official", help="Refuse what is not the official counterfact.json, by SHA-256.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print Table 1 of a file of records and name every bad record; exit code 1 if there is one."""
    from knowedit.cli.data import check_file

    check_file(file, official=official, as_json=as_json)


@data.command("compile")
def data_compile(
    facts: Annotated[
        Path, typer.Option(help="JSON Lines with subject, relation, object; or ParaRel's folder of them.")
    ],
    templates: Annotated[
        Path,
        typer.Option(help="JSON, relation to a list of '[X] plays [Y].'; or ParaRel's folder of patterns."),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .json a list, .jsonl one record a line.")],
    generation: Annotated[
        Path | None, typer.Option(help="JSON, relation to a list of beginnings with {} for the subject.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Keep so many records, drawn at random.")] = None,
    paraphrases: Annotated[int, typer.Option(min=1, help="Paraphrase prompts of a record.")] = 2,
    neighbours: Annotated[int, typer.Option(min=1, help="Neighbourhood prompts of a record.")] = 10,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the files if they exist.")] = False,
    as_json: Json = False,
) -> None:
    """Build records from facts and templates as Appendix C.1 does, and a manifest of what was left out."""
    from knowedit.cli.data import CompileRequest, compile_file
    from knowedit.evaluation.records.compiler import CompilerSettings

    settings = CompilerSettings(paraphrases, neighbours)
    request = CompileRequest(facts, templates, generation, out, limit, seed, force, settings)
    compile_file(request, as_json=as_json)
