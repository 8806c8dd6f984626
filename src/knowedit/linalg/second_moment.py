"""The uncentred second moment of keys, E[k kᵀ]: streamed, merged, saved."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import array_api_compat
import numpy as np
from scipy.linalg import eigvalsh

from knowedit.errors import FileFormatError, InputError, NumericalError, ShapeError
from knowedit.linalg._arrays import (
    EPSILON,
    Array,
    as_float64,
    epsilon,
    from_host,
    require_arrays,
    require_shape,
    to_host,
)
from knowedit.linalg.factorised import FactorisedMoment
from knowedit.linalg.npz_file import read_npz
from knowedit.linalg.outer_sum import OuterSum
from knowedit.reading import shown
from knowedit.tensorfile import Kind, read_tensors, write_tensors

KIND: Final = Kind("second_moment", "1", "second moment", "SecondMoment.save")


@dataclass(frozen=True, eq=False)
class SecondMoment:
    """The sum of k kᵀ over `count` keys: a value, never changed; every method returns a new one.

    The paper's `C = K Kᵀ` (Eqn. 5, estimated over text) is `raw_sum`; `matrix` is its mean. An insertion
    comes out the same with either, since no scale of C matters.

    Attributes:
        raw_sum: (d_in, d_in), float64, in the library and on the device that the keys come from.
        count: the number of keys.
        resolution: the largest relative rounding error that the entries ever had: float64's, or that of
            a coarser dtype they were read from. `factorise` uses it to tell a small eigenvalue from zero.
    """

    raw_sum: Array
    count: int
    resolution: float = EPSILON["float64"]

    def __post_init__(self) -> None:
        require_arrays(raw_sum=self.raw_sum)
        require_shape("raw_sum", self.raw_sum, ("d_in", "d_in"))
        if self.raw_sum.shape[0] != self.raw_sum.shape[1] or not self.raw_sum.shape[0]:
            raise ShapeError(
                f"raw_sum has shape {tuple(self.raw_sum.shape)}; expected a square matrix (d_in, d_in); "
                f"pass the sum of k kᵀ, or keys to update()"
            )
        _require_count(self.count, at_least=0)
        object.__setattr__(self, "resolution", max(self.resolution, epsilon(self.raw_sum.dtype)))
        object.__setattr__(self, "raw_sum", as_float64(self.raw_sum))

    def __repr__(self) -> str:
        return f"SecondMoment({self.dim} × {self.dim}, {self.count:,} keys)"

    @classmethod
    def zeros(cls, dim: int, *, like: Array = None) -> SecondMoment:
        """The moment of no keys at all.

        Args:
            dim: d_in, the length of a key.
            like: an array whose library and device the sums shall have; None means NumPy.

        Raises:
            InputError: dim is not positive.
        """
        if dim < 1:
            raise InputError(f"dim is {dim}; expected the length of a key, at least 1; pass d_in")
        host = np.zeros((dim, dim))
        return cls(host if like is None else from_host(host, like), 0)

    @classmethod
    def from_matrix(cls, C: Array, *, count: int) -> SecondMoment:
        """The moment whose `matrix` (the mean over `count` keys) is C.

        Args:
            C: (d_in, d_in), any floating dtype; its rounding is remembered as `resolution`.
            count: the number of keys, which weighs this moment in a merge.

        Raises:
            ShapeError: C is not square or not floating point.
            InputError: count is below 1.
            NumericalError: C is not finite.
        """
        _require_count(count, at_least=1)
        require_arrays(C=C)
        moment = cls(C, count)
        to_host("C", C)
        return cls(moment.raw_sum * count, count, moment.resolution)

    def update(self, keys: Array) -> SecondMoment:
        """A new moment that has also seen `keys`; this one stays as it is, so use the result.

        Args:
            keys: (n, d_in), one key a row, any floating dtype, same library and device as `raw_sum`.

        Raises:
            ShapeError: keys have the wrong shape or dtype.
            InputError: keys belong to another library or device.
            NumericalError: a key holds NaN or infinity, or its square overflows.
        """
        require_arrays(moment=self.raw_sum, keys=keys)
        require_shape("keys", keys, ("n", self.dim), "one key a row, from the layer of this moment")
        to_host("keys", keys)
        total = OuterSum(self.raw_sum, self.count)
        total.add(keys)
        return self._with(total.total(), total.count, self.resolution)

    def merge(self, other: SecondMoment) -> SecondMoment:
        """The moment of both sets of keys: exactly commutative, associative to rounding.

        Raises:
            ShapeError: the moments have different sizes.
            InputError: they belong to different libraries or devices.
        """
        if not isinstance(other, SecondMoment):
            raise InputError(
                f"found a {type(other).__name__} to merge; expected a SecondMoment; build one first"
            )
        require_arrays(moment=self.raw_sum, other=other.raw_sum)
        require_shape("other", other.raw_sum, (self.dim, self.dim), "merge moments of the same layer")
        with np.errstate(over="ignore"):
            total = self.raw_sum + other.raw_sum
        return self._with(total, self.count + other.count, max(self.resolution, other.resolution))

    def __add__(self, other: SecondMoment) -> SecondMoment:
        return self.merge(other)

    @property
    def dim(self) -> int:
        """The length d_in of a key."""
        return int(self.raw_sum.shape[0])

    @property
    def matrix(self) -> Array:
        """The mean E[k kᵀ], (d_in, d_in), float64.

        Raises:
            InputError: no key was seen.
        """
        if not self.count:
            raise InputError(
                "the moment has seen 0 keys; expected at least one; "
                "keep the result of update(): moment = moment.update(keys)"
            )
        return self.raw_sum / self.count

    def condition(self) -> float:
        """The condition number λ_max/λ_min of `matrix` in the 2-norm, infinite when λ_min is rounding.

        It costs all eigenvalues, O(d³). `factorise().condition_estimate` is cheaper where a factor is
        needed anyway; it is that of the matrix with its diagonal brought to about ones.
        """
        eigenvalues = eigvalsh(to_host("matrix", self.matrix), check_finite=False)
        if eigenvalues[0] <= EPSILON["float64"] * eigenvalues[-1]:
            return math.inf
        return float(eigenvalues[-1] / eigenvalues[0])

    def damped(self, lam: float) -> SecondMoment:
        """The moment with `lam` times the mean of its diagonal added to the diagonal.

        `matrix` becomes C + lam (tr C / d_in) I; `count` stays. `lam` has no unit and needs no knowledge
        of the scale of C. The result has a condition number of at most 1 + d_in / lam; an insertion
        with it no longer minimises ‖(Ŵ−W)K‖² but ‖(Ŵ−W)K‖² + count lam (tr C / d_in) ‖Ŵ−W‖²; Ŵk = v still
        holds. Damp last: a merge adds the damping of both sides.

        Raises:
            InputError: lam is not a positive finite number, or no key was seen.
        """
        if not (lam > 0 and math.isfinite(lam)):
            raise InputError(f"lam is {lam}; expected a positive finite share of the mean diagonal; try 1e-6")
        xp = array_api_compat.array_namespace(self.raw_sum)
        ridge = float(xp.linalg.trace(self.matrix)) * self.count / self.dim * lam
        eye = xp.eye(self.dim, dtype=xp.float64, device=array_api_compat.device(self.raw_sum))
        return self._with(self.raw_sum + ridge * eye, self.count, self.resolution)

    def factorise(self) -> FactorisedMoment:
        """The Cholesky factor of `matrix`, on the host, to be held by the caller.

        Raises:
            InputError: no key was seen.
            SingularError: `matrix` is not of full rank; the message gives the rank and what to do.
            NumericalError: `matrix` is indefinite, not symmetric or not finite.
        """
        return FactorisedMoment.from_matrix(self.matrix, resolution=self.resolution)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        metadata: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> None:
        """Write one safetensors file, atomically, the same bytes for the same content.

        Args:
            path: the file; its folder must exist.
            metadata: free text to keep with it, e.g. model, layer and corpus.
            force: replace a file that is there.

        Raises:
            InputError: no such folder, a full disk, a file that is there, or metadata that is not text or starts
                with "knowedit.".
        """
        own = {"count": str(self.count), "resolution": self.resolution.hex()}
        tensors = {"raw_sum": to_host("raw_sum", self.raw_sum)}
        write_tensors(path, KIND, tensors, metadata or {}, own=own, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, like: Array = None) -> SecondMoment:
        """`load_with_metadata` without the metadata."""
        return cls.load_with_metadata(path, like=like)[0]

    @classmethod
    def load_with_metadata(
        cls, path: str | os.PathLike[str], *, like: Array = None
    ) -> tuple[SecondMoment, dict[str, str]]:
        """Read a file that `save` wrote, bit-equal, and the metadata that was given to `save`.

        Args:
            path: the file.
            like: an array whose library and device the sums shall have; None means NumPy.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, altered, or of another kind.
        """
        content = read_tensors(path, KIND)
        try:
            count, resolution = int(content.own["count"]), float.fromhex(content.own["resolution"])
            found = cls(content.tensors.pop("raw_sum"), count, resolution)
            if (
                content.tensors
                or not np.isfinite(found.raw_sum).all()
                or not 0 <= resolution < 1
                or count >= 2**63
            ):
                raise ValueError("more tensors, NaN or infinity, or an endless count")
        except (ValueError, KeyError, OverflowError) as error:
            raise FileFormatError(
                f"{path} is marked as a second moment but does not hold one ({shown(error)}); expected a file that "
                f"{KIND.writer} wrote; compute it again"
            ) from None
        return found._like(like), content.metadata

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str], *, like: Array = None) -> SecondMoment:
        """Read the statistics of the released ROME code, `..._mom2_100000.npz`: a raw sum and a count.

        `mom2.mom2` is `raw_sum` and `mom2.count` is `count`. The sum is in the dtype of the run that made it,
        float32 for the published files; its rounding is remembered as `resolution`. Nothing is unpickled.

        Args:
            path: the file.
            like: as for `load_with_metadata`.

        Raises:
            InputError: there is no such file.
            FileFormatError: it is truncated, a pickle, without one of the two entries, or of another shape or dtype.
            NumericalError: the sum holds NaN or infinity.
        """
        return cls(*read_npz(path))._like(like)

    def _like(self, like: Array) -> SecondMoment:
        return self if like is None else replace(self, raw_sum=from_host(self.raw_sum, like))

    def _with(self, raw_sum: Array, count: int, resolution: float) -> SecondMoment:
        xp = array_api_compat.array_namespace(raw_sum)
        if not bool(xp.all(xp.isfinite(raw_sum))):
            raise NumericalError(
                "the sum of k kᵀ overflows float64; expected keys below 1e150; "
                "look for an overflow in the keys"
            )
        return SecondMoment(raw_sum, count, resolution)


Moment: TypeAlias = "Array | SecondMoment | FactorisedMoment"
"""The ways to give C: a matrix, a streamed moment, or one that is already factorised."""


def _require_count(count: int, *, at_least: int) -> None:
    if count < at_least:
        raise InputError(f"count is {count}; expected at least {at_least}; pass the number of keys")
