"""The replay buffer and the constants of chains, which need no framework."""

import numpy as np
import pytest

from advml.ebm import ReplayBuffer, chain_constants, learning_rates


def zeros(n, rng):
    return np.zeros((n, 2))


def numbered(size, **options):
    """A buffer whose state i is (i, i), and whose fresh states are −1."""
    buffer = ReplayBuffer(
        lambda n, rng: np.full((n, 2), -1.0), size=size, **options
    )
    buffer.states[:] = np.arange(size)[:, None]
    return buffer


def test_places_are_different_and_hold_the_states_drawn():
    buffer = numbered(50, fresh_fraction=0.0)
    for _ in range(20):
        places, x = buffer.draw(30)
        assert len(np.unique(places)) == 30
        np.testing.assert_array_equal(x, np.stack([places, places], 1))
    assert len(np.unique(buffer.draw(50)[0])) == 50


def test_every_place_is_drawn_equally_often():
    buffer, n = numbered(20), 4000
    counts = sum(
        np.bincount(buffer.draw(5)[0], minlength=20) for _ in range(n)
    )
    expected, variance = n / 4, n / 4 * (3 / 4)
    # 19/20 as in every multinomial: the counts sum to 5n.
    chi_square = np.sum((counts - expected) ** 2) / variance * 19 / 20
    assert chi_square < 19 + 4.5 * np.sqrt(38)


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.5, 1.0])
def test_the_fraction_of_fresh_states(fraction):
    buffer = numbered(1000, fresh_fraction=fraction, seed=3)
    fresh = np.concatenate(
        [np.all(buffer.draw(1000)[1] == -1, axis=1) for _ in range(50)]
    )
    error = 4.5 * np.sqrt(fraction * (1 - fraction) / fresh.size)
    assert abs(fresh.mean() - fraction) <= error


def test_fresh_states_are_new_each_time():
    buffer = ReplayBuffer(
        lambda n, rng: rng.normal(size=(n, 2)), size=30, fresh_fraction=1.0
    )
    draws = [buffer.draw(30)[1] for _ in range(2)]
    drawn = np.concatenate([buffer.states, *draws])
    assert len(np.unique(drawn, axis=0)) == 90


def test_drawing_changes_nothing_and_storing_keeps():
    buffer = numbered(10, fresh_fraction=0.5)
    before = buffer.states.copy()
    places, x = buffer.draw(4)
    x += 100
    np.testing.assert_array_equal(buffer.states, before)
    buffer.store(places, x)
    np.testing.assert_array_equal(buffer.states[places], x)
    others = np.setdiff1d(np.arange(10), places)
    np.testing.assert_array_equal(buffer.states[others], before[others])


def test_buffers_repeat_with_the_seed():
    def history(seed):
        buffer = ReplayBuffer(
            lambda n, rng: rng.normal(size=(n, 2)), size=9, seed=seed
        )
        return np.concatenate([buffer.states, buffer.draw(9)[1]])

    np.testing.assert_array_equal(history(1), history(1))
    np.testing.assert_array_equal(
        history(1), history(np.random.default_rng(1))
    )
    assert not np.any(history(1)[:9] == history(2)[:9])


def test_a_buffer_keeps_fractions_of_whole_numbers():
    buffer = ReplayBuffer(lambda n, rng: np.zeros((n, 2), int), size=3)
    buffer.store([1], [[0.5, 0.25]])
    np.testing.assert_array_equal(buffer.states[1], [0.5, 0.25])


def test_a_buffer_keeps_single_precision_and_never_writes_into_its_source():
    source = np.zeros((5, 2), np.float32)
    buffer = ReplayBuffer(lambda n, rng: source[:n], size=5)
    buffer.store([0], [[1, 1]])
    assert buffer.states.dtype == np.float32
    assert not source.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ReplayBuffer(zeros, size=0), "size must be .* not 0"),
        (
            lambda: ReplayBuffer(zeros, size=3, fresh_fraction=1.1),
            r"fresh_fraction must lie in \[0, 1\], not 1\.1",
        ),
        (
            lambda: ReplayBuffer(lambda n, rng: np.zeros((2, 2)), size=3),
            r"fresh\(3, rng\) must return 3 states, .* \(2, 2\)",
        ),
        (lambda: numbered(3).draw(4), "n must be at most .* 3, not 4"),
        (lambda: numbered(3).draw(0), "n must be .* not 0"),
        (
            lambda: numbered(3).store([0, 1], np.zeros((1, 2))),
            r"x must have shape \(2, 2\), not \(1, 2\)",
        ),
    ],
)
def test_buffers_refuse_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_noise_is_that_of_temperature_one_if_not_given():
    assert chain_constants(0.5, None, None, None) == {"step": 0.5, "noise": 1}
    assert chain_constants(2, 0, 3, (-1, 4)) == {
        "step": 2,
        "noise": 0,
        "max_gradient": 3,
        "limits": (-1, 4),
    }


def test_learning_rates_lie_on_a_line():
    assert learning_rates(0.5, None, 3) == [0.5, 0.5, 0.5]
    assert learning_rates(0.5, 0.0, 3) == [0.5, 0.25, 0.0]
    assert learning_rates(0.5, 0.1, 1) == [0.5]
