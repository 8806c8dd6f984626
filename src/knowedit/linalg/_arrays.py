"""Arrays of any library: which one it is, whether it can be used, and the way to the host and back."""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from knowedit.errors import InputError, NumericalError, ShapeError

Array: TypeAlias = Any
"""An array of NumPy, PyTorch, JAX, CuPy, or any other library that array-api-compat knows."""

Host: TypeAlias = NDArray[np.float64]
"""A float64 NumPy array: what every solve of this package works on."""

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""Machine epsilon of the dtypes that are accepted, by name."""


def require_arrays(**arrays: Array) -> None:
    """InputError unless all are arrays of one library and on one device, ShapeError unless they are floating."""
    for name, array in arrays.items():
        _namespace(name, array)
        epsilon(array.dtype, name)
    (first, reference), *others = arrays.items()
    home = _namespace(first, reference), array_api_compat.device(reference)
    for name, array in others:
        found = _namespace(name, array), array_api_compat.device(array)
        if found != home:
            raise InputError(
                f"{name} is {_home(*found)} and {first} is {_home(*home)}; expected one library and one "
                f"device; convert {name} to that of {first}"
            )


def _namespace(name: str, array: Array) -> Any:
    try:
        return array_api_compat.array_namespace(array)
    except TypeError:
        raise InputError(
            f"{name} is a {type(array).__name__}; expected an array (NumPy, PyTorch or another array-API "
            f"library); convert it first, e.g. with numpy.asarray"
        ) from None


def _home(namespace: Any, device: Any) -> str:
    return f"a {namespace.__name__.removeprefix('array_api_compat.')} array on {device}"


def epsilon(dtype: Any, name: str = "dtype") -> float:
    """Machine epsilon of a dtype of any library; ShapeError unless it is one of the four that are accepted."""
    plain = str(getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype).rpartition(".")[2]
    if plain not in EPSILON:
        raise ShapeError(
            f"{name} has dtype {plain}; expected one of {', '.join(EPSILON)}; convert {name} first"
        )
    return EPSILON[plain]


def require_shape(
    name: str, array: Array, axes: tuple[int | str, ...], advice: str | None = None, *, filled: bool = False
) -> None:
    """ShapeError unless `array` has one dimension for each of `axes`.

    Args:
        name: what the caller calls it.
        array: of any library.
        axes: the length of each dimension, or its name where any length will do.
        advice: what to do; by default to reshape it.
        filled: whether no dimension may be 0.
    """
    shape = tuple(array.shape)
    fits = len(shape) == len(axes) and all(
        isinstance(axis, str) or axis == found for axis, found in zip(axes, shape, strict=True)
    )
    if not fits or (filled and 0 in shape):
        expected = f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"
        least = ", each at least 1" if filled else ""
        raise ShapeError(
            f"{name} has shape {shape}; expected {expected}{least}; {advice or f'reshape {name}'}"
        )


def to_host(name: str, array: Array, *, finite: bool = True) -> Host:
    """`array` as float64 NumPy, checked to be finite if asked for. It may share memory: never write to it."""
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu().double().numpy()
    elif array_api_compat.is_cupy_array(array):
        array = array.get()
    elif not isinstance(array, np.ndarray):
        xp = array_api_compat.array_namespace(array)
        array = array_api_compat.to_device(array, xp.__array_namespace_info__().default_device())
    host = np.asarray(array, dtype=np.float64)
    if finite:
        _require_finite(name, host)
    return host


def _require_finite(name: str, host: Host) -> None:
    """NumericalError that names the argument, the number of bad values and the first of them."""
    bad = ~np.isfinite(host)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise NumericalError(
            f"{name} holds {int(bad.sum())} value(s) that are NaN or infinite, the first at index {first}; "
            f"expected finite numbers; look for an overflow where {name} was computed"
        )


def from_host(host: Host, like: Array) -> Array:
    """A float64 array in the library and on the device of `like`."""
    xp = array_api_compat.array_namespace(like)
    return xp.asarray(host, device=array_api_compat.device(like))


def as_float64(array: Array) -> Array:
    """`array` in float64, in its own library and on its own device, outside any gradient graph."""
    if array_api_compat.is_torch_array(array):
        array = array.detach()
    xp = array_api_compat.array_namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def rounded(name: str, array: Array, dtype: Any) -> Array:
    """`array` (finite float64) rounded once to `dtype`; NumericalError when a value does not fit."""
    epsilon(dtype, name)
    xp = array_api_compat.array_namespace(array)
    with np.errstate(over="ignore"):
        result = xp.astype(array, dtype)
    if not bool(xp.all(xp.isfinite(result))):
        raise NumericalError(
            f"{name} has a value of size {float(xp.max(xp.abs(array))):.3g} that does not fit "
            f"{dtype}; expected finite numbers; keep it in a wider dtype"
        )
    return result
