"""GGUF files, which hold a quantised model and its tokenizer: transformers reads them with the package gguf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import Any, Final, NamedTuple

import transformers

from knowedit.errors import FileFormatError, InputError, KnoweditError

SUFFIX: Final = ".gguf"
MAGIC: Final = b"GGUF"
NEEDED: Final = ("gguf", "accelerate")
"""The packages that transformers needs for it."""

_patching = RLock()


class GGUFFile(NamedTuple):
    """A file that may hold a model.

    Attributes:
        path: the file.
    """

    path: Path

    @classmethod
    def in_folder(cls, folder: Path) -> GGUFFile | None:
        """The one of a folder, where that is what holds the weights.

        Raises:
            FileFormatError: there are several.
        """
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == SUFFIX)
        if not found or any(folder.glob("*.safetensors")):
            return None
        if len(found) > 1:
            raise FileFormatError(
                f"the folder {folder} holds {len(found)} GGUF files ({found[0].name}, {found[1].name}"
                f"{', …' if len(found) > 2 else ''}): give the path of the one to open"
            )
        return cls(found[0])

    @staticmethod
    def require_packages(source: object) -> None:
        """Refuse to go on without what reads a GGUF file.

        Raises:
            InputError: naming the package that is missing.
        """
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise InputError(
                f"{source} is stored as GGUF, which needs the package {' and '.join(missing)}: "
                f"run 'pip install {' '.join(missing)}'"
            )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Check the file, and let transformers read it inside the ``with``, quietly and once.

        transformers parses a file once for the configuration, the tokenizer and the weights each, and makes the
        table of tensor names anew for every module, which takes three times as long as one of each; it draws a
        bar of its own. Inside the ``with``, gguf answers the same question once.

        Raises:
            InputError: a package is missing.
            FileFormatError: not a GGUF file, or one that is cut or damaged.
        """
        self._check_magic()
        self.require_packages(self.path)
        package, reader = import_module("gguf"), import_module("transformers.modeling_gguf_pytorch_utils")
        with _patching, ExitStack() as patches:
            for name in ("GGUFReader", "get_tensor_name_map"):
                once = lru_cache(maxsize=1)(getattr(package, name))
                patches.enter_context(_patched(package, name, once))
            patches.enter_context(_patched(reader, "tqdm", lambda items, **_: items))
            _ = self.architecture
            yield

    def _check_magic(self) -> None:
        try:
            with self.path.open("rb") as file:
                begins = file.read(len(MAGIC))
        except OSError as error:
            raise FileFormatError(
                f"{self.path} cannot be read ({error.strerror}): give a file that can"
            ) from None
        if begins != MAGIC:
            raise FileFormatError(
                f"{self.path} is no GGUF file: it begins with {begins!r}, expected {MAGIC!r}; "
                "give a GGUF file, or a folder that save_pretrained wrote"
            )

    @property
    def architecture(self) -> str:
        """What the file says that its model is; all that describes the tensors is read and checked on the way.

        Raises:
            FileFormatError: it cannot be read.
        """
        try:  # str: transformers asks by text, and what is asked alike is read once
            field = import_module("gguf").GGUFReader(str(self.path)).fields["general.architecture"]
            return bytes(field.parts[field.data[0]]).decode()
        except MemoryError:
            raise
        except Exception as problem:  # whatever the bytes make of the reader
            raise self.damaged(problem) from problem

    def damaged(self, problem: Exception) -> FileFormatError:
        """The error for a file that begins like GGUF and cannot be read."""
        return FileFormatError(
            f"the GGUF file {self.path} cannot be read ({_reason(problem)}): it is cut short or damaged, get it again"
        )

    def refused(self, problem: Exception) -> KnoweditError:
        """The error for a file that can be read and of which transformers makes no configuration."""
        if not re.search("architecture|model type", str(problem)):
            return self.damaged(problem)
        return InputError(
            f"{self.path} holds a model of the architecture {self.architecture!r}, which transformers "
            f"{transformers.__version__} does not read from GGUF files: give a folder with its safetensors"
        )

    def untokenized(self, problem: Exception) -> FileFormatError:
        """The error for a file without a tokenizer that can be read."""
        return FileFormatError(
            f"the tokenizer in {self.path} cannot be read ({_reason(problem)}): give one as tokenizer="
        )

    @property
    def options(self) -> dict[str, Any]:
        """Of ``from_pretrained``: weights are unpacked, whatever could compute with packed ones."""
        config = getattr(transformers, "GgufConfig", None)  # before it was there, all weights were unpacked
        return {} if config is None else {"quantization_config": config(dequantize=True)}


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


@contextmanager
def _patched(module: Any, name: str, value: Any) -> Iterator[None]:
    usual = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, usual)
