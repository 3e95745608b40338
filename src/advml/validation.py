"""Refuse bad input with one clear sentence that names the argument.

Every function here returns the checked value, converted, so that a caller
validates and converts in one line.
"""

import numpy as np


def finite(name, value, dtype=np.float64):
    """Return `value` as an array of `dtype` without nan or infinity.

    An integer `dtype` takes whole numbers in its range and nothing else.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":  # Fractions, integers beyond 64 bits
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be numeric: {error}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, not {array.dtype}")
    _refuse(name, array, ~np.isfinite(array), "finite")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype, copy=False)
    if converted.dtype.kind in "biu":
        changed = converted.astype(np.float64) != array
        _refuse(
            name, array, changed, f"whole numbers of type {np.dtype(dtype)}"
        )
    else:
        overflow = ~np.isfinite(converted)
        _refuse(name, array, overflow, f"in the range of {np.dtype(dtype)}")
    return converted


def _refuse(name, array, bad, wanted):
    """Raise ValueError with the first entry of `array` that is `bad`."""
    if not bad.any():
        return
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f"{name}{list(first)}" if first else name
    raise ValueError(
        f"{name} must be {wanted}, but {int(bad.sum())} of {array.size} "
        f"entries are not; {where} = {array[first]}"
    )


def one_of(name, value, allowed, dtype=np.float64):
    """Return `value` as an array whose entries all lie in `allowed`."""
    # Compare before the conversion, which could turn 0.5 into an integer 0.
    array = finite(name, value)
    bad = ~np.isin(array, allowed)
    if bad.any():
        raise ValueError(
            f"{name} must hold only the values {list(allowed)}, but holds "
            f"{array[bad].flat[0]} (and {int(bad.sum()) - 1} more like it)"
        )
    return array.astype(dtype, copy=False)


def shaped(name, array, shape):
    """Return `array` if its trailing axes are `shape` (None: any length)."""
    tail = array.shape[-len(shape) :] if shape else ()
    matches = len(tail) == len(shape) and all(
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
    number = _number(name, value, "a positive number")
    if not 0 < number < np.inf:
        raise ValueError(f"{name} must be positive and finite, not {value!r}")
    return number


def _number(name, value, wanted):
    """Return `value` as a float; a text, a list or None is no number."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be {wanted}, not {value!r}") from None


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


def counts(name, values):
    """Return a list of whole numbers >= 1, as the widths of some layers."""
    try:
        return [count(name, value) for value in values]
    except TypeError:
        raise ValueError(
            f"{name} must be a list of whole numbers, not {values!r}"
        ) from None


def nonnegative(name, value):
    """Return `value` as a float if it is a finite number, zero or above."""
    number = _number(name, value, "a number >= 0")
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be finite and >= 0, not {value!r}")
    return number


def fraction(name, value):
    """Return `value` as a float if it is a number in [0, 1)."""
    number = _number(name, value, "a number in [0, 1)")
    if not 0 <= number < 1:
        raise ValueError(f"{name} must lie in [0, 1), not {value!r}")
    return number


def batch(name, x, shape):
    """Return x if it has shape (n, *shape), n >= 1 or unknown in a graph."""
    if tuple(x.shape[1:]) != shape or not len(x.shape) or x.shape[0] == 0:
        refuse_shape(name, x, shape)
    return x


def refuse_shape(name, x, shape):
    """Raise ValueError: x is no batch (n, *shape)."""
    wanted = ", ".join(map(str, shape))
    raise ValueError(
        f"{name} must have shape (n, {wanted}) with n >= 1, but has "
        f"{tuple(x.shape)}"
    )


def numbers(x):
    """Return anything like an array as one of real numbers.

    It can be written to and does not run backwards: PyTorch wants both.
    """
    x = np.require(x, requirements="CW")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"arrays must hold real numbers, not {x.dtype}")
    return x


def binary_rows(name, x, n_units):
    """Return `x` if it is a batch (n, n_units) of ones and zeros, n >= 1.

    `x` may be an array of NumPy or a tensor of PyTorch or TensorFlow.
    """
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != n_units:
        raise ValueError(
            f"{name} must be a batch of shape (n, {n_units}) with "
            f"n >= 1, but has shape {tuple(x.shape)}"
        )
    bad = x[(x != 0) & (x != 1)]
    if len(bad):
        raise ValueError(
            f"{name} must hold only the values [0, 1], but holds "
            f"{float(bad[0])} (and {len(bad) - 1} more like it)"
        )
    return x
