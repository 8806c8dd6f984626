"""RS: how close generated text is to reference texts, by unigram TF-IDF (Section 5.2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from knowedit.errors import FileFormatError, InputError
from knowedit.linalg.npz_file import read_npy
from knowedit.reading import checked, parsed, read_json
from knowedit.tensorfile import Kind, read_tensors, write_tensors
from knowedit.writing import PathLike

KIND: Final = Kind("tfidf", "1", "TF-IDF model", "TfIdf.save")


@dataclass(frozen=True, eq=False)
class TfIdf:
    """Words and their inverse document frequencies; scikit-learn does the counting.

    Words are those of scikit-learn's defaults: lower case, two or more word characters.

    Attributes:
        terms: the vocabulary; a term's place is its index.
        idf: ``(terms,)``, float64, ln((1 + n) / (1 + df)) + 1 for n documents of which df have the term.
    """

    terms: tuple[str, ...]
    idf: NDArray[np.float64]
    _vectorizer: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.idf.shape != (len(self.terms),) or not self.terms or not np.isfinite(self.idf).all():
            raise InputError(
                f"found {len(self.terms)} terms and weights of shape {self.idf.shape}: expected one finite "
                "number for each of at least one term; take both from the same fit"
            )
        object.__setattr__(self, "_vectorizer", _vectorizer(self.terms, self.idf))

    @classmethod
    def fit(cls, texts: Sequence[str]) -> TfIdf:
        """Count the words of texts, each one document.

        Raises:
            InputError: no text with a word in it.
        """
        vectorizer = _new()
        try:
            vectorizer.fit(texts)
        except ValueError:
            raise InputError(
                f"found no word in {len(texts)} texts: give the reference texts of the records"
            ) from None
        terms = tuple(str(term) for term in vectorizer.get_feature_names_out())
        return cls(terms, np.asarray(vectorizer.idf_, dtype=np.float64))

    def similarity(self, text: str, reference: str) -> float:
        """The cosine of two texts, from 0 to 1, higher is closer; 0 where one has no known word."""
        first, second = self._vectorizer.transform([text, reference])
        return min(1.0, float(first.multiply(second).sum()))

    @property
    def digest(self) -> str:
        """SHA-256 of terms and weights, for the manifest of a run."""
        return KIND.digest({"idf": self.idf}, {"terms": json.dumps(self.terms)})

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write one safetensors file.

        Args:
            path: the file; its folder must exist.
            force: replace a file that is there.

        Raises:
            InputError: no such folder, a full disk, or a file that is there.
        """
        write_tensors(path, KIND, {"idf": self.idf}, {"terms": json.dumps(self.terms)}, force=force)

    @classmethod
    def load(cls, path: PathLike) -> TfIdf:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is altered or of another kind.
        """
        content, advice = read_tensors(path, KIND), "fit it again"
        stored = parsed(content.metadata.get("terms", "null"), f"{path}, its terms,", advice)
        terms = checked(tuple[str, ...], stored, f"{path}, its terms,", advice)
        idf = content.tensors.get("idf")
        if idf is None or idf.dtype != np.float64 or len(set(terms)) != len(terms):
            raise FileFormatError(f"{path} has no float64 weights, or a term twice: {advice}")
        return cls(terms, idf)

    @classmethod
    def from_official(cls, idf: PathLike, vocabulary: PathLike) -> TfIdf:
        """Read the ``idf.npy`` and ``tfidf_vocab.json`` of the released code.

        Raises:
            InputError: there is no such file, or the two do not belong together.
            FileFormatError: a file that is no array of numbers, or no JSON object of indices.
        """
        weights, places = _read_array(Path(idf)), _read_places(Path(vocabulary))
        terms = tuple(sorted(places, key=places.__getitem__))
        if sorted(places.values()) != list(range(weights.size)):
            raise InputError(
                f"{vocabulary} has {len(places)} terms that do not number the {weights.size} weights of {idf}: "
                "take both files from the same release"
            )
        return cls(terms, weights.astype(np.float64))


def _new(**options: Any) -> Any:
    # Imported here: it takes a second, which no other command should pay.
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(**options)


def _vectorizer(terms: tuple[str, ...], idf: NDArray[np.float64]) -> Any:
    vectorizer = _new(vocabulary={term: i for i, term in enumerate(terms)})
    vectorizer.idf_ = idf
    return vectorizer


def _read_array(path: Path) -> NDArray[Any]:
    _require(path)
    expected = "expected the released idf.npy, a one-dimensional array of floats"
    found = read_npy(path, expected)
    if found.dtype.kind != "f" or found.ndim != 1:
        raise FileFormatError(f"{path} holds {found.dtype} of shape {found.shape}: {expected}")
    return found


def _read_places(path: Path) -> dict[str, int]:
    _require(path)
    advice = "expected the released tfidf_vocab.json, a JSON object of term to index"
    return checked(dict[str, int], read_json(path, advice), path, advice)


def _require(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no file {path}: expected a file of the released code; check the path")
