"""A pass over a corpus that keeps a folder: it can be interrupted at any point and goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from knowedit.editing.statistics.convergence import compare_halves
from knowedit.editing.statistics.corpus import Corpus, texts_digest
from knowedit.editing.statistics.files import MLP_DOWN, moment_entries, moment_file
from knowedit.editing.statistics.key_sums import KeySums
from knowedit.editing.statistics.text_chunks import Chunk, Position, Reading, chunks
from knowedit.errors import InputError
from knowedit.models import LanguageModel, fingerprint
from knowedit.runs import MANIFEST, manifest_bytes, read_manifest, require_same
from knowedit.tensorfile import Kind, read_tensors, remove_leftovers, write_bytes, write_tensors

STATE: Final = "state.safetensors"
STATE_KIND: Final = Kind("statistics_state", "1", "state of a statistics run", "knowedit stats")
KIND: Final = "knowedit.statistics"
SCHEMA: Final = 1
PACKAGES: Final = ("knowedit", "torch", "transformers", "numpy", "scipy")


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        texts: texts with a token so far, those of earlier starts included; between chunks, about.
        tokens: their tokens so far.
        fresh: tokens since this process began.
    """

    texts: int
    tokens: int
    fresh: int

    def share(self, size: int | None, reading: Reading) -> float | None:
        """How much of a run is done, from 0 to 1, or None where nobody knows how much there is.

        Args:
            size: the texts of the corpus, where that is known.
            reading: the limits.
        """
        texts = [limit for limit in (size, reading.max_texts) if limit is not None]
        shares = [self.texts / min(texts)] if texts else []
        if reading.max_tokens is not None:
            shares.append(self.tokens / reading.max_tokens)
        return min(1.0, max(shares)) if shares else None


Watch: TypeAlias = Callable[[Progress], None]


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

    def gather(self, lm: LanguageModel, *, watch: Watch | None = None) -> dict[str, Any]:
        """Start, go on or find it done; then the folder holds one moment file a layer and the manifest.

        Args:
            lm: the unedited model.
            watch: called after every forward.

        Returns:
            The manifest.

        Raises:
            InputError: no layer, no such layer or part, no text with a token; a folder of another run, with
                what differs, or with moments that no run wrote; a corpus that is not what it was.
            NumericalError: a key that is NaN or infinite.
        """
        run = self._checked(lm)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the folder {self.out} cannot be made ({error.strerror}): give another one"
            ) from None
        manifest = self._begin(lm, run)
        if manifest["complete"] and all((self.out / row["file"]).is_file() for row in manifest["layers"]):
            (self.out / STATE).unlink(missing_ok=True)
            return manifest
        sums = self._pass(lm, run, watch)
        return self._finish(manifest, sums)

    def _checked(self, lm: LanguageModel) -> dict[str, Any]:
        """What makes this run this run, as JSON.

        Raises:
            InputError: see `gather`.
        """
        if not self.layers:
            raise InputError("no layer was given: give at least one")
        for layer in self.layers:
            lm.projection(lm.check_layer(layer), self.part)
        reading = asdict(self.reading.resolved(lm))
        return {
            "model": fingerprint(lm, with_edits=True).digest,
            "corpus": self.corpus.identity,
            "layers": sorted(set(self.layers)),
            "part": self.part,
            **reading,
        }

    def _begin(self, lm: LanguageModel, run: dict[str, Any]) -> dict[str, Any]:
        self._tidy(run["layers"])
        found = read_manifest(self.out, KIND, SCHEMA, "a statistics run")
        if found is not None:
            require_same(self.out, found["run"], run)
            return found
        self._require_no_moments(run["layers"])
        names = {"model": lm.name, "dtype": str(lm.dtype).removeprefix("torch."), "corpus": self.corpus.name}
        manifest = {
            "kind": KIND,
            "schema": SCHEMA,
            "complete": False,
            "names": names,
            "run": run,
            "versions": {name: version(name) for name in PACKAGES},
            "layers": [],
        }
        write_bytes(self.out / MANIFEST, manifest_bytes(manifest))
        return manifest

    def _tidy(self, layers: Sequence[int]) -> None:
        """Remove the temporary files of a process that was killed while it wrote."""
        for name in (MANIFEST, STATE, *(moment_file(layer, self.part) for layer in layers)):
            remove_leftovers(self.out / name)

    def _require_no_moments(self, layers: Sequence[int]) -> None:
        there = [name for layer in layers if (self.out / (name := moment_file(layer, self.part))).exists()]
        if there:
            raise InputError(
                f"{self.out} holds {', '.join(there)} and no {MANIFEST}: expected a new folder or that of an "
                "earlier run; give another one"
            )

    def _pass(self, lm: LanguageModel, run: dict[str, Any], watch: Watch | None) -> KeySums:
        reading = self.reading.resolved(lm)
        sums = KeySums(lm, run["layers"], self.part, reading)
        self._restore(sums)
        texts = self.corpus.read()
        self._skip(texts, sums.position)
        steps, cadence = _Steps(sums, watch), _Cadence(self.checkpoint_seconds)
        for chunk in chunks(lm, texts, reading, sums.position):
            sums.add(chunk, after_batch=steps.of(chunk))
            if cadence.is_due():
                self._save(sums)
                cadence.note_written()
        if not sums.position.tokens:
            raise InputError("there is no text to gather key statistics from: give at least one with a token")
        self._save(sums)
        return sums

    def _save(self, sums: KeySums) -> None:
        arrays, entries = sums.state()
        write_tensors(self.out / STATE, STATE_KIND, arrays, {}, own=entries)

    def _restore(self, sums: KeySums) -> None:
        if (self.out / STATE).is_file():
            content = read_tensors(self.out / STATE, STATE_KIND)
            sums.restore(content.tensors, content.own)

    def _skip(self, texts: Any, position: Position) -> None:
        """Read again what was read before, and see that it is the same."""
        if position.read and texts_digest(islice(texts, position.read)) != position.digest:
            raise InputError(
                f"the first {position.read} texts of {self.corpus.name} are not those that the run in "
                f"{self.out} has read; expected the same texts in the same order; give another folder, or "
                "remove this one to start again"
            )

    def _finish(self, manifest: dict[str, Any], sums: KeySums) -> dict[str, Any]:
        run, here = manifest["run"], sums.position
        rows = []
        for layer in run["layers"]:
            first, second = sums.halves(layer)
            measured = compare_halves(first, second, sums.keys(layer))
            name, moment = moment_file(layer, self.part), first.merge(second)
            about = {"corpus": self.corpus.name, "texts": str(here.texts), "texts_sha256": here.digest}
            moment.save(self.out / name, metadata=moment_entries(run["model"], layer, self.part) | about)
            row = asdict(measured) | {"excess": measured.excess}
            rows.append({"layer": layer, "file": name, "tokens": moment.count, "width": moment.dim, **row})
        seen = {"texts": here.texts, "tokens": here.tokens, "texts_sha256": here.digest}
        done = manifest | {"complete": True, "seen": seen, "layers": rows}
        write_bytes(self.out / MANIFEST, manifest_bytes(done))
        (self.out / STATE).unlink(missing_ok=True)
        return done


class _Cadence:
    """When the state is written: at most every so many seconds, and for at most a twentieth of the time."""

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

    def of(self, chunk: Chunk) -> Callable[[int], None]:
        """What is to be called after each batch of a chunk."""
        start, done = self._sums.position, 0

        def after_batch(tokens: int) -> None:
            nonlocal done
            done, self._fresh = done + tokens, self._fresh + tokens
            texts = (chunk.end.texts - start.texts) * done // (chunk.end.tokens - start.tokens)
            if self._watch is not None:
                self._watch(Progress(start.texts + texts, start.tokens + done, self._fresh))

        return after_batch
