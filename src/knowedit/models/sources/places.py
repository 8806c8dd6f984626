"""What a name stands for: a model of this package, a folder, a GGUF file, or an id on the Hugging Face Hub."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from knowedit.bundled import Weights, own_models
from knowedit.errors import FileFormatError, InputError
from knowedit.models.sources.gguf import SUFFIX, GGUFFile
from knowedit.models.sources.hub import hub_answers
from knowedit.models.sources.named import located


class Place(NamedTuple):
    """Where a model is.

    Attributes:
        name: what it is called in reports.
        where: what transformers is given: a folder, or an id on the Hub.
        folder: where what is known about the model is kept, or None.
        gguf: the GGUF file that holds it, or None.
        offline: whether to stay off the network.
    """

    name: str
    where: str
    folder: Path | None = None
    gguf: GGUFFile | None = None
    offline: bool = True

    @property
    def on_hub(self) -> bool:
        """Whether it is no file or folder of this machine."""
        return self.folder is None and self.gguf is None

    @property
    def source(self) -> str | None:
        """What finds it again from any folder, where its name does not: an absolute path."""
        path = self.folder if self.gguf is None else self.gguf.path
        return None if path is None or self.name in own_models() else str(path.absolute())

    @property
    def options(self) -> dict[str, Any]:
        """Of ``from_pretrained``, for what is read there."""
        given = {"local_files_only": self.offline, "trust_remote_code": False}
        return given if self.gguf is None else given | {"gguf_file": self.gguf.path.name}

    def reading(self) -> AbstractContextManager[None]:
        """Around all that is read there; checks a GGUF file first."""
        return nullcontext() if self.gguf is None else self.gguf.reading()

    @classmethod
    def find(cls, source: str) -> Place:
        """The place of a model.

        Args:
            source: a name of this package, a folder, a GGUF file, or an id on the Hub.

        Raises:
            InputError: a GGUF file that is not there, or the weights of a name that are not.
            FileFormatError: a folder without a model or with several, or weights that are not those of the name.
        """
        folder = own_models().get(source, Path(source).expanduser())
        if folder.is_dir():
            return cls._in_folder(source, folder)
        if folder.is_file():
            return cls(folder.name, str(folder.parent), gguf=GGUFFile(folder))
        if folder.suffix.lower() == SUFFIX:
            raise InputError(f"there is no file {source}: check the path of the GGUF file")
        return cls(source, source, offline=not hub_answers())

    @classmethod
    def _in_folder(cls, source: str, folder: Path) -> Place:
        known = own_models()
        # Other weights in a folder with a name that is taken are called by its path.
        name = str(folder) if folder.name in known and folder != known[folder.name] else folder.name
        weights = Weights.of(folder)
        if weights is None:
            file = GGUFFile.in_folder(folder)
        else:
            GGUFFile.require_packages(name)  # before anything is fetched
            file = GGUFFile(located(name, weights))
        if file is None and not (folder / "config.json").is_file():
            raise FileFormatError(
                f"the folder {source} has no config.json: give the folder that save_pretrained wrote"
            )
        return cls(name, str(folder if file is None else file.path.parent), folder, file)
