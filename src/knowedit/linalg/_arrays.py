"""Arrays of any library: which one it is, whether it can be used, and the way to the host and back."""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from knowedit.errors import InputError, NumericalError, ShapeError

Array: TypeAlias = Any
"""An array of NumPy, PyTorch, or any other library that array-api-compat knows."""

Host: TypeAlias = NDArray[np.float64]
"""A float64 NumPy array: what every solve of this package works on."""

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""Machine epsilon of the dtypes that are accepted, by name."""


def namespace_of(name: str, array: Array) -> Any:
    """The array-API namespace of `array`; InputError when it is not an array."""
    try:
        return array_api_compat.array_namespace(array)
    except TypeError:
        raise InputError(
            f"{name} is a {type(array).__name__}; expected an array (NumPy, PyTorch or another array-API "
            f"library); convert it first, e.g. with numpy.asarray"
        ) from None


def require_one_home(**arrays: Array) -> None:
    """InputError unless all arrays belong to one library and lie on one device."""
    (first, reference), *others = arrays.items()
    home = namespace_of(first, reference), array_api_compat.device(reference)
    for name, array in others:
        found = namespace_of(name, array), array_api_compat.device(array)
        if found != home:
            raise InputError(
                f"{name} is {_home(*found)} and {first} is {_home(*home)}; expected one library and one "
                f"device; convert {name} to that of {first}"
            )


def _home(namespace: Any, device: Any) -> str:
    return f"a {namespace.__name__.removeprefix('array_api_compat.')} array on {device}"


def dtype_name(dtype: Any) -> str:
    """The plain name of a dtype of any library, e.g. `bfloat16` for `torch.bfloat16`."""
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    return str(name or dtype).rpartition(".")[2]


def require_float(**arrays: Array) -> None:
    """ShapeError unless every array has one of the four accepted floating dtypes."""
    for name, array in arrays.items():
        namespace_of(name, array)
        require_float_dtype(name, array.dtype)


def require_float_dtype(name: str, dtype: Any) -> None:
    """ShapeError unless `dtype` is one of the four accepted floating dtypes."""
    if dtype_name(dtype) not in EPSILON:
        raise ShapeError(
            f"{name} has dtype {dtype_name(dtype)}; expected one of {', '.join(EPSILON)}; "
            f"convert {name} first"
        )


def require_ndim(name: str, array: Array, axes: tuple[str, ...]) -> None:
    """ShapeError unless `array` has one dimension for each name in `axes`."""
    if array.ndim != len(axes):
        expected = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        raise ShapeError(
            f"{name} has shape {tuple(array.shape)}; expected {len(axes)} dimension(s) {expected}; "
            f"reshape {name}"
        )


def require_shape(name: str, array: Array, shape: tuple[int, ...], advice: str) -> None:
    """ShapeError unless `array` has exactly `shape`; `advice` says what to do."""
    if tuple(array.shape) != shape:
        raise ShapeError(f"{name} has shape {tuple(array.shape)}; expected {shape}; {advice}")


def to_host(name: str, array: Array) -> Host:
    """`array` as float64 NumPy, checked to be finite. It may share memory: never write to it."""
    host = _numpy(array)
    require_finite(name, host)
    return host


def _numpy(array: Array) -> Host:
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu().double().numpy()
    elif array_api_compat.is_cupy_array(array):
        array = array.get()
    elif not isinstance(array, np.ndarray):
        xp = array_api_compat.array_namespace(array)
        array = array_api_compat.to_device(array, xp.__array_namespace_info__().default_device())
    return np.asarray(array, dtype=np.float64)


def require_finite(name: str, host: Host) -> None:
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
    require_float_dtype(name, dtype)
    xp = array_api_compat.array_namespace(array)
    with np.errstate(over="ignore"):
        result = xp.astype(array, dtype)
    if not bool(xp.all(xp.isfinite(result))):
        raise NumericalError(
            f"{name} has a value of size {float(xp.max(xp.abs(array))):.3g} that does not fit "
            f"{dtype_name(dtype)}; expected finite numbers; keep it in a wider dtype"
        )
    return result
