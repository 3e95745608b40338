"""Refuse bad input with one clear sentence that names the argument.

Every function here returns the checked value, converted, so that a caller
validates and converts in one line.
"""

import numpy as np


def finite(name, value, dtype=np.float64):
    """Return `value` as an array of `dtype` without nan or infinity."""
    try:
        array = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numeric: {error}") from None
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite, but {int(bad.sum())} of {array.size} "
            f"entries are not; {name}{list(first)} = {array[first]}"
        )
    return array


def one_of(name, value, allowed, dtype=np.float64):
    """Return `value` as an array whose entries all lie in `allowed`."""
    array = finite(name, value, dtype)
    bad = ~np.isin(array, allowed)
    if bad.any():
        raise ValueError(
            f"{name} must hold only the values {list(allowed)}, but holds "
            f"{array[bad].flat[0]} (and {int(bad.sum()) - 1} more like it)"
        )
    return array


def shaped(name, array, shape):
    """Return `array` if its trailing axes are `shape` (None: any length)."""
    tail = array.shape[array.ndim - len(shape) :] if shape else ()
    matches = array.ndim >= len(shape) and all(
        want is None or want == got
        for want, got in zip(shape, tail, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name} must have shape (..., {wanted}), but has {array.shape}"
        )
    return array


def positive(name, value):
    """Return `value` as a float if it is a finite number above zero."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a positive number, not {value!r}"
        ) from None
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, not {value!r}")
    return number


def count(name, value, at_least=1):
    """Return `value` as an int if it is a whole number >= `at_least`."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(
        value, bool
    )
    if not is_whole or value < at_least:
        raise ValueError(
            f"{name} must be a whole number >= {at_least}, not {value!r}"
        )
    return int(value)
