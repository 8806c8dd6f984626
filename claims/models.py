"""The models that claims are measured on, opened with what an edit needs."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import knowedit
from claims.settings import Settings
from knowedit.bundled import bundled_models
from knowedit.editing import ROME
from knowedit.errors import InputError
from knowedit.evaluation import TEST_FILE, Record, load_records
from knowedit.linalg import FactorisedMoment, SecondMoment
from knowedit.models import LanguageModel


class Missing(Exception):
    """Something that a measurement needs is not here; the message is one line and says what."""


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model, and ROME with the paper's settings, prepared for it.

    Attributes:
        name: for the report and the record.
        lm: the model.
        rome: its layer and its key statistics, factorised, are filled in.
    """

    name: str
    lm: LanguageModel
    rome: ROME

    @property
    def layer(self) -> int:
        """The layer that is edited."""
        assert self.rome.layer is not None
        return self.rome.layer

    @property
    def moment(self) -> FactorisedMoment:
        """The second moment of that layer's keys."""
        assert isinstance(self.rome.statistics, FactorisedMoment)
        return self.rome.statistics


def model_name(source: str) -> str:
    """How a model is called in the report and the record: a folder by its last part, others as given."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def is_bundled(name: str) -> bool:
    """Whether the model ships with the package, so that nothing it needs may be missing."""
    return name in bundled_models()


def open_model(source: str, settings: Settings) -> OpenModel:
    """Load a model and its key statistics.

    Raises:
        Missing: the weights, the layer to edit or the statistics are not there.
    """
    try:
        lm = knowedit.load(source, device=settings.device)
        return OpenModel(model_name(source), lm, _prepared(lm, settings))
    except InputError as error:
        raise Missing(one_line(error)) from error


def _prepared(lm: LanguageModel, settings: Settings) -> ROME:
    try:  # the statistics in its folder are known to come from these very weights
        return ROME.paper().prepared(lm)
    except InputError:
        if settings.statistics is None:
            raise
    return replace(ROME.paper(), statistics=SecondMoment.load(settings.statistics)).prepared(lm)


def check_device(name: str) -> None:
    """Refuse what is no device at all; one that this machine lacks is for `open_model` to miss.

    Raises:
        InputError: saying what torch says.
    """
    try:
        torch.device(name)
    except RuntimeError as error:
        raise InputError(f"the device {name!r} is none that torch knows: {one_line(error)}") from None


def draw_records(model: OpenModel, settings: Settings) -> list[Record]:
    """Records of the model's test file, or of the file given, in an order drawn by the seed.

    Fewer facts are the first of more facts.

    Raises:
        Missing: there is no file, or it holds fewer records than were asked for.
    """
    records = shuffled_records(model, settings)
    if len(records) < settings.facts:
        name = _records_file(model, settings).name
        raise Missing(f"{name} holds {len(records)} records, {settings.facts} are needed: lower --facts")
    return records[: settings.facts]


def shuffled_records(model: OpenModel, settings: Settings) -> list[Record]:
    """All records of the model's test file, or of the file given, in an order drawn by the seed.

    Raises:
        Missing: there is no file.
    """
    try:
        records = load_records(_records_file(model, settings))
    except InputError as error:
        raise Missing(one_line(error)) from error
    return random.Random(f"claims {settings.seed}").sample(records, len(records))


def _records_file(model: OpenModel, settings: Settings) -> Path:
    own = None if model.lm.folder is None else model.lm.folder / TEST_FILE
    path = settings.records if own is None or not own.is_file() else own
    if path is None:
        raise Missing(f"no records for {model.name}: give counterfact.json with --records")
    return path


def one_line(error: Exception) -> str:
    """An error's message without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
