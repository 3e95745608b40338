"""Claims are checked where they are made.

A sentence of a lecture that states a number, a bound or a law is followed by
:func:`verify`. It stops the notebook when the claim is wrong, shows one line
when it is right, and leaves the claim as data in the output's metadata, from
which the course pages collect the claims ledger.

Numbers stand in ‹ ›, which the notebook tests replace by ‹#› before they
compare, so that another machine's last digits are no failure while a changed
claim or relation is one. A claim must therefore not itself contain a number
that depends on the seed.
"""

import os
import re

import numpy as np
from IPython.display import publish_display_data

METADATA_KEY = "advml_claim"
# With this environment variable at 1 a claim that fails is shown and counted,
# and the notebook goes on to the next one: `python -m courseware seeds`.
GO_ON = "ADVML_COUNT_FAILED_CLAIMS"


class ClaimError(AssertionError):
    """A claim made in a lecture does not hold."""


def verify(
    claim,
    measured,
    *,
    equals=None,
    atol=0.0,
    rtol=0.0,
    at_most=None,
    at_least=None,
    source,
):
    """Check a claim and show it as one line; raise ClaimError if it fails.

    Parameters
    ----------
    claim : str
        The sentence that is checked, without numbers that depend on the seed.
    measured : float or array
        What the lecture found. Arrays are compared entry by entry, and the
        line shows the entry that comes closest to failing.
    equals : float or array, optional
        Passes if |measured - equals| <= atol + rtol |equals| everywhere.
        One of `atol` and `rtol` must be positive, unless both sides are
        integers. Tolerances come from statistics or theory.
    at_most, at_least : float or array, optional
        Bounds; both together state an interval.
    source : str
        Where the expected value comes from: a closed form, an enumeration, a
        quadrature or a publication, never an earlier run of the same code.

    Raises
    ------
    ClaimError
        If the claim fails or a value is not finite.
    TypeError, ValueError
        If the call states no claim, source or relation, two kinds of
        relation, or a tolerance that cannot be met; if shapes do not match,
        or a value is not a real number.
    """
    for name, text in (("claim", claim), ("source", source)):
        if not (isinstance(text, str) and text.strip()):
            raise ValueError(f"{name} must be a sentence, not {text!r}")
        if role := re.search(r"\{\w+\}`", text):
            raise ValueError(
                f"{name} is shown as it stands, so it cannot hold the role "
                f"{role[0]!r}: {text!r}"
            )
    bounds = at_most is not None or at_least is not None
    if (equals is None) == (not bounds):
        raise TypeError(
            "verify needs either equals or at_most and/or at_least"
        )
    if bounds and (np.any(atol) or np.any(rtol)):
        raise TypeError(
            "atol and rtol go with equals; a bound has no tolerance"
        )
    try:
        measured = _finite(claim, "measured", measured)
        if equals is not None:
            record, line = _check_equal(claim, measured, equals, atol, rtol)
        else:
            record, line = _check_bounds(claim, measured, at_most, at_least)
    except ClaimError as error:
        if os.environ.get(GO_ON) != "1":
            raise
        _show(f"✗ {error}", claim, {"failed": str(error)}, source)
    else:
        _show(f"✓ {line}", claim, record, source)


def _check_equal(claim, measured, equals, atol, rtol):
    expected = _finite(claim, "expected", equals)
    tolerance = np.asarray(atol + rtol * np.abs(expected), dtype=float)
    if not np.all(np.isfinite(tolerance)):
        raise ValueError("atol and rtol must be finite")
    exact = measured.dtype.kind in "biu" and expected.dtype.kind in "biu"
    if np.any(tolerance < 0) or (not exact and not np.all(tolerance > 0)):
        raise ValueError(
            "equals needs a positive tolerance for every entry: a positive "
            "atol, or a positive rtol where no expected value is zero"
        )
    measured, expected, tolerance = _broadcast(
        claim, measured, expected, tolerance
    )
    # Divide only where there is a tolerance: integers may ask for equality.
    distance = np.abs(measured - expected)
    excess = np.where(
        tolerance > 0,
        distance / np.where(tolerance > 0, tolerance, 1),
        np.where(distance > 0, np.inf, 0.0),
    )
    worst = int(np.argmax(excess))
    m, e, t = (float(a.flat[worst]) for a in (measured, expected, tolerance))
    if t > 0:
        text = f"‹{_number(m)}› = ‹{_number(e)} ± {t:.1g}›"
    else:
        text = f"‹{_number(m)}› = ‹{_number(e)}›"
    line = f"{claim}: {text}" + _how_many(measured)
    if excess.flat[worst] > 1:
        raise ClaimError(
            f"{claim}: measured {m:.10g}, expected {e:.10g} ± {t:.3g}, "
            f"off by {abs(m - e):.3g}{_where(measured, worst)}"
        )
    return _record("=", m, e, t, measured.size), line


def _check_bounds(claim, measured, at_most, at_least):
    worst = {}
    for symbol, sign, bound in (("≥", 1, at_least), ("≤", -1, at_most)):
        if bound is None:
            continue
        limit = _finite(claim, "expected", bound)
        values, limit = _broadcast(claim, measured, limit)
        slack = sign * (values - limit)
        index = int(np.argmin(slack))
        m, b = float(values.flat[index]), float(limit.flat[index])
        if slack.flat[index] < 0:
            raise ClaimError(
                f"{claim}: measured {m:.10g}, expected {symbol} {b:.10g}"
                f"{_where(values, index)}"
            )
        worst[symbol] = m, b
    if len(worst) == 1:
        ((symbol, (m, b)),) = worst.items()
        record = _record(symbol, m, b, None, measured.size)
        text = f"‹{_number(m)}› {symbol} ‹{_number(b)}›"
    else:
        (m, low), (m_high, high) = worst["≥"], worst["≤"]
        record = _record("in", m, [low, high], None, measured.size)
        middle = (
            _number(m) if m == m_high else f"{_number(m)} … {_number(m_high)}"
        )
        text = f"‹{_number(low)}› ≤ ‹{middle}› ≤ ‹{_number(high)}›"
    return record, f"{claim}: {text}" + _how_many(measured)


def _show(line, claim, record, source):
    publish_display_data(
        data={"text/plain": line},
        metadata={METADATA_KEY: {"claim": claim, **record, "source": source}},
    )


def _record(relation, measured, expected, tolerance, compared):
    return {
        "relation": relation,
        "measured": measured,
        "expected": expected,
        "tolerance": tolerance,
        "compared": int(compared),
    }


def _finite(claim, name, value):
    array = np.asarray(value)
    if array.dtype.kind not in "biufO":
        raise ValueError(f"{claim}: {name} must be real, not {array.dtype}")
    if array.dtype.kind == "O":
        array = array.astype(float)
    if array.size == 0:
        raise ClaimError(f"{claim}: {name} is empty")
    if array.dtype.kind in "iu" and np.any(np.abs(array * 1.0) >= 2**53):
        raise ValueError(f"{claim}: {name} is beyond 2**53; scale it")
    if not np.all(np.isfinite(array)):
        bad = array[~np.isfinite(array)].flat[0]
        raise ClaimError(f"{claim}: {name} is not finite ({bad})")
    return array


def _broadcast(claim, measured, *others):
    try:
        arrays = np.broadcast_arrays(measured, *others)
    except ValueError:
        arrays = None
    if arrays is None or arrays[0].shape != measured.shape:
        shapes = ", ".join(str(np.shape(a)) for a in others)
        raise ValueError(
            f"{claim}: measured has shape {measured.shape}, expected {shapes}"
        )
    return [a.astype(float) for a in arrays]


def _how_many(measured):
    return f" (worst of {measured.size})" if measured.size > 1 else ""


def _where(measured, index):
    if measured.size == 1:
        return ""
    position = tuple(int(i) for i in np.unravel_index(index, measured.shape))
    return f" (entry {position} of shape {measured.shape})"


def _number(value):
    """Six significant digits; whole numbers as such."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.6g}"
