"""Bad input is refused with the argument's name and value."""

import warnings

import numpy as np
import pytest

from advml.validation import (
    count,
    counts,
    finite,
    fraction,
    nonnegative,
    one_of,
    positive,
    shaped,
)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_finite_converts():
    array = finite("x", [1, 2])
    assert array.dtype == np.float64 and array.tolist() == [1.0, 2.0]
    assert finite("x", [True], dtype=np.int8).dtype == np.int8
    same = np.ones(3)
    assert finite("x", same) is same
    assert finite("x", 2.0).shape == ()
    assert finite("x", [1.0, -1.0], dtype=np.int8).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [[0, 1], [np.nan, 2]],
            r"x must be finite, .* 1 of 4 .*x\[1, 0\] = nan",
        ),
        ([np.inf, -np.inf], r"2 of 2 .*x\[0\] = inf"),
        (np.nan, r"x = nan"),
        ("hello", r"x must be real"),
        (["1.5"], r"x must be real"),
        ([1j], r"x must be real.*complex"),
        ([[1], [1, 2]], r"x must be numeric"),
        ([object()], r"x must be numeric"),
    ],
)
def test_finite_refuses(value, message):
    with pytest.raises(ValueError, match=message):
        finite("x", value)


@pytest.mark.parametrize("value", [[0.5], [257], [-129], [np.nan], [1e300]])
def test_finite_never_changes_a_value_to_make_it_fit(value):
    with pytest.raises(ValueError, match=r"x must be .*x\[0\] = "):
        finite("x", value, dtype=np.int8)


def test_finite_refuses_what_overflows():
    with pytest.raises(ValueError, match=r"range of float32"):
        finite("x", [1e300], dtype=np.float32)


def test_one_of():
    assert one_of("h", [0, 1, 1], (0, 1)).dtype == np.float64
    assert one_of("s", [-1.0, 1.0], (-1, 1), np.int8).dtype == np.int8
    with pytest.raises(ValueError, match=r"h must hold only .*\[0, 1\].*0.5"):
        one_of("h", [0, 0.5], (0, 1))
    with pytest.raises(ValueError, match=r"h must hold only .*2.0 .*1 more"):
        one_of("h", [2, 2, 0], (0, 1))
    # An integer type must not turn one half into an allowed zero ...
    with pytest.raises(ValueError, match=r"h must hold only .*0.5"):
        one_of("h", [0, 0.5], (0, 1), np.int8)
    # ... or 257 into an allowed one.
    with pytest.raises(ValueError, match=r"h must hold only .*257"):
        one_of("h", np.array([257]), (0, 1), np.int8)
    with pytest.raises(ValueError, match=r"h must be finite"):
        one_of("h", [0, np.nan], (0, 1))


def test_shaped():
    array = np.zeros((5, 4, 3))
    assert shaped("x", array, (4, 3)) is array
    assert shaped("x", array, (None, 3)) is array
    assert shaped("x", array, ()) is array
    with pytest.raises(
        ValueError, match=r"x .*\(\.\.\., any, 2\).*\(5, 4, 3\)"
    ):
        shaped("x", array, (None, 2))
    with pytest.raises(ValueError, match=r"x .*\(\.\.\., any, 4\)"):
        shaped("x", array, (None, 4))
    with pytest.raises(ValueError, match=r"x .*\(3,\)"):
        shaped("x", np.zeros(3), (None, 3))
    with pytest.raises(ValueError, match=r"x .*\(\)"):
        shaped("x", np.zeros(()), (1,))


def test_positive():
    assert positive("t", np.float32(2)) == 2.0
    assert isinstance(positive("t", 3), float)
    for value in (0, -1.5, np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=r"t must be positive and finite"):
            positive("t", value)
    for value in ("2", None, [1, 2], 1j, b"2", 10**400):
        with pytest.raises(ValueError, match=r"t must be a positive number"):
            positive("t", value)


def test_count():
    assert count("n", np.int64(3)) == 3 and type(count("n", np.int8(3))) is int
    assert count("n", 0, at_least=0) == 0
    for value in (0, -1, 2.0, 2.5, True, np.bool_(True), "2", None, np.nan):
        with pytest.raises(ValueError, match=r"n must be a whole number >= 1"):
            count("n", value)


def test_counts():
    assert counts("n_hidden", (np.int64(3), 1)) == [3, 1]
    assert counts("n_hidden", []) == []
    with pytest.raises(ValueError, match=r"n_hidden must be .* not 0"):
        counts("n_hidden", (3, 0))
    for value in (3, None):
        with pytest.raises(ValueError, match=r"n_hidden must be a list"):
            counts("n_hidden", value)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (nonnegative, (0, 2.5), (-1, np.inf, np.nan)),
        (fraction, (0, 0.999), (-0.1, 1, np.nan)),
    ],
)
def test_numbers_within_bounds(check, good, bad):
    for value in good:
        assert check("t", value) == value
        assert type(check("t", np.float32(value))) is float
    for value in (*bad, "0.5", None, [0.5, 0.5], 1j, np.zeros(2)):
        with pytest.raises(ValueError, match="t must"):
            check("t", value)
