"""A pass over a corpus that keeps a folder: it can be interrupted at any point and resumed from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from knowedit.editing.statistics.convergence import Convergence
from knowedit.editing.statistics.corpus import Corpus, Position
from knowedit.editing.statistics.key_sums import KeySums, Reading
from knowedit.editing.statistics.second_moments import MLP_DOWN, save_second_moment
from knowedit.errors import FileFormatError, InputError
from knowedit.models import LanguageModel, fingerprint
from knowedit.reading import checked, shown
from knowedit.runs import MANIFEST, RunFolder
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.writing import plain_name

STATE: Final = "state.safetensors"
STATE_KIND: Final = Kind("statistics_state", "1", "state of a statistics run", "knowedit stats")
KIND: Final = "knowedit.statistics"
SCHEMA: Final = 2
PACKAGES: Final = ("knowedit", "torch", "transformers", "numpy", "scipy")


Watch: TypeAlias = Callable[[Position, int], None]
"""Told where a run is (between chunks, about), and the tokens since this process began."""


@dataclass(frozen=True)
class StatisticsRun:
    """What is gathered, and into which folder.

    A folder belongs to one run: the same weights, corpus, layers and reading. The sums are those of whole
    chunks of the corpus in their order, so a run that was interrupted, however often, writes the same
    bytes as one that was not (on one machine with one number of threads).

    Attributes:
        corpus: the texts.
        layers: whose projection.
        out: the folder; created if it is not there.
        part: which projection's inputs.
        reading: limits, windows and batches.
        checkpoint_seconds: how often the state is written at most; less often where writing it takes long
            (a state is two matrices a layer). 0 writes it after every chunk.
    """

    corpus: Corpus
    layers: tuple[int, ...]
    out: Path
    part: str = MLP_DOWN
    reading: Reading = field(default_factory=Reading)
    checkpoint_seconds: float = 60.0

    def run(self, lm: LanguageModel, *, watch: Watch | None = None) -> dict[str, Any]:
        """Start, resume or find it done; then the folder holds one moment file a layer and the manifest.

        Args:
            lm: the unedited model.
            watch: called after every forward.

        Returns:
            The manifest.

        Raises:
            InputError: no layer, no such layer or part, no text with a token; a folder of another run, with
                what differs, or with moments that no run wrote, or that another process writes to; a corpus
                that is not what it was.
            FileFormatError: a manifest or state that is not as it was written.
            NumericalError: a key that is NaN or infinite.
        """
        identity = self._identity(lm)
        names = {"model": lm.name, "dtype": str(lm.dtype).removeprefix("torch."), "corpus": self.corpus.name}
        versions = {name: version(name) for name in PACKAGES}
        with RunFolder(self.out, KIND, SCHEMA, "a statistics run") as folder:
            folder.begin(identity, names, versions=versions, complete=False, layers=[])
            where = self.out / MANIFEST
            stored = checked(_Done, folder.manifest, where, "give another folder")
            files = [plain_name(row.file, f"layers.file in {where}") for row in stored.layers]
            if stored.complete and all((self.out / file).is_file() for file in files):
                (self.out / STATE).unlink(missing_ok=True)
            else:
                self._finish(lm, folder, self._pass(lm, identity["layers"], watch))
            return folder.manifest

    def _identity(self, lm: LanguageModel) -> dict[str, Any]:
        """What makes this run this run, as JSON.

        Raises:
            InputError: see `run`.
        """
        if not self.layers:
            raise InputError("no layer was given: give at least one")
        for layer in self.layers:
            lm.projection(lm.check_layer(layer), self.part)
        return {
            "model": fingerprint(lm, with_edits=True).digest,
            "corpus": self.corpus.identity,
            "layers": sorted(set(self.layers)),
            "part": self.part,
            **asdict(self.reading.resolved(lm)),
        }

    def _pass(self, lm: LanguageModel, layers: Sequence[int], watch: Watch | None) -> KeySums:
        sums = KeySums(lm, layers, self.part)
        self._restore(sums)
        texts = self.corpus.read()
        self._skip(texts, sums.position)
        steps, cadence = _Steps(sums, watch), _Cadence(self.checkpoint_seconds)
        for batches, end in self.reading.resolved(lm).chunks(lm, texts, sums.position):
            sums.add(batches, end, after_batch=steps.to(end))
            if cadence.is_due():
                self._save(sums)
                cadence.note_written()
        if not sums.position.tokens:
            raise InputError("there is no text to gather key statistics from: give at least one with a token")
        self._save(sums)
        return sums

    def _save(self, sums: KeySums) -> None:
        arrays, entries = sums.state()
        write_tensors(self.out / STATE, STATE_KIND, arrays, {}, own=entries, force=True)

    def _restore(self, sums: KeySums) -> None:
        if (self.out / STATE).is_file():
            content = read_tensors(self.out / STATE, STATE_KIND)
            try:
                sums.restore(content.tensors, content.own)
            except (KeyError, ValueError) as error:
                raise FileFormatError(
                    f"{self.out / STATE} is not the state of this run ({shown(error)}): remove it to start again"
                ) from None

    def _skip(self, texts: Any, position: Position) -> None:
        """Read again what was read before, and see that it is the same."""
        if position.read and Position.over(islice(texts, position.read)).digest != position.digest:
            raise InputError(
                f"the first {position.read} texts of {self.corpus.name} are not those that the run in "
                f"{self.out} has read; expected the same texts in the same order; give another folder, or "
                "remove this one to start again"
            )

    def _finish(self, lm: LanguageModel, folder: RunFolder, sums: KeySums) -> None:
        run, here = folder.manifest["run"], sums.position
        about = {"corpus": self.corpus.name, "texts": str(here.texts), "texts_sha256": here.digest}
        rows = []
        for layer in run["layers"]:
            first, second = sums.halves(layer)
            measured, moment = Convergence.between(first, second, sums.keys(layer)), first.merge(second)
            path = save_second_moment(
                lm,
                layer,
                moment,
                part=self.part,
                folder=self.out,
                digest=run["model"],
                about=about,
                force=True,
            )
            row = asdict(measured) | {"excess": measured.excess}
            rows.append(
                {"layer": layer, "file": path.name, "tokens": moment.count, "width": moment.dim, **row}
            )
        seen = {"texts": here.texts, "tokens": here.tokens, "texts_sha256": here.digest}
        folder.update(complete=True, seen=seen, layers=rows)
        (self.out / STATE).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Layer:
    """What is read of a layer's row in a manifest; people are told the rest."""

    layer: int
    file: str
    tokens: int
    width: int
    condition: float | None
    change: float | None
    excess: float | None


@dataclass(frozen=True)
class _Done:
    """What is read of a manifest besides what makes the run this run."""

    complete: bool
    layers: tuple[_Layer, ...]


class _Cadence:
    """When the state is written: at most once in that number of seconds, and for at most a twentieth of the time."""

    def __init__(self, seconds: float):
        self._seconds = self._wait = seconds
        self._asked = self._written = time.monotonic()

    def is_due(self) -> bool:
        self._asked = time.monotonic()
        return self._asked - self._written >= self._wait

    def note_written(self) -> None:
        self._written = time.monotonic()
        took = self._written - self._asked
        self._wait = max(self._seconds, 20 * took) if self._seconds else 0.0


class _Steps:
    """Counts for whoever watches."""

    def __init__(self, sums: KeySums, watch: Watch | None):
        self._sums, self._watch = sums, watch
        self._fresh = 0

    def to(self, end: Position) -> Callable[[int], None]:
        """What is to be called after each batch of the chunk that ends there."""
        start, done = self._sums.position, 0

        def after_batch(tokens: int) -> None:
            nonlocal done
            done, self._fresh = done + tokens, self._fresh + tokens
            texts = (end.texts - start.texts) * done // (end.tokens - start.tokens)
            if self._watch is not None:
                self._watch(Position(texts=start.texts + texts, tokens=start.tokens + done), self._fresh)

        return after_batch
