"""Energy-based models: PyTorch and TensorFlow give the numbers of NumPy.

Energies are compared with networks written out in NumPy, gradients with
finite differences, samplers and losses with closed forms and quadrature.

Tolerances. In single precision one operation rounds by 6e-8 and four layers
with sums of up to 600 terms by some hundred times as much at most, in double
precision by 1e-16 times as much; errors are relative to the sum of the sizes
of the terms, or to the largest entry of a gradient.
"""

import inspect
from itertools import pairwise

import keras
import numpy as np
import pytest
import scipy.signal
import scipy.stats
import tensorflow as tf
import torch
from reference import TOLERANCE, convolved
from scipy.special import expit, logsumexp

import advml.pytorch.ebm as pytorch_ebm
import advml.tensorflow.ebm as tensorflow_ebm
from advml.ebm import ReplayBuffer

PRECISIONS = list(TOLERANCE)


class PyTorch:
    """Tensors of torch."""

    module = pytorch_ebm

    @staticmethod
    def array(value, precision="float64"):
        return torch.as_tensor(np.array(value), dtype=dtype(precision))

    @staticmethod
    def numpy(value):
        return value.detach().numpy()

    @staticmethod
    def gradient(energy, function):
        """Value of function(), and its slope in the parameters, in pairs."""
        value = function()
        value.backward()
        slopes = [tuple(p.grad for p in layer) for layer in energy.layers]
        return value.item(), filled(slopes, energy)

    @staticmethod
    def sum(x):
        return x.sum(tuple(range(1, x.ndim)))


class TensorFlow:
    """Tensors of TensorFlow."""

    module = tensorflow_ebm

    @staticmethod
    def array(value, precision="float64"):
        return tf.constant(np.asarray(value), dtype=precision)

    @staticmethod
    def numpy(value):
        return value.numpy()

    @staticmethod
    def gradient(energy, function):
        with tf.GradientTape() as tape:
            value = function()
        slopes = tape.gradient(value, energy.pairs)
        return float(value), filled(slopes, energy)

    @staticmethod
    def sum(x):
        return tf.reduce_sum(x, range(1, len(x.shape)))


def filled(slopes, energy):
    """NumPy's arrays; zeros for the last bias, of which no score knows."""
    return [
        tuple(
            np.zeros_like(a) if s is None else np.asarray(s)
            for s, a in zip(pair, arrays, strict=True)
        )
        for pair, arrays in zip(slopes, energy.to_numpy(), strict=True)
    ]


FRAMEWORKS = [PyTorch, TensorFlow]
both = pytest.mark.parametrize("framework", FRAMEWORKS)
precise = pytest.mark.parametrize("precision", PRECISIONS)


def dtype(precision):
    return getattr(torch, precision)


def make(framework, name, *shape, precision="float64", seed=0, **options):
    """Build a network whose biases are not zero, as they are at the start."""
    kind = getattr(framework.module, name)
    which = dtype(precision) if framework is PyTorch else precision
    energy = kind(*shape, dtype=which, device="cpu", **options)
    rng = np.random.default_rng(seed)
    layers = [
        (np.float32(kernel), np.float32(rng.normal(0, 0.3, bias.shape)))
        for kernel, bias in energy.to_numpy()
    ]
    return energy.from_numpy(layers), layers


def quadratic(framework, stiffness=1.0):
    return lambda x: stiffness * framework.sum(x**2) / 2


# ----- networks -------------------------------------------------------------


def silu(x):
    return x * expit(x)


def dense(layers, x):
    """Output (n,), and the sum of the sizes of its last terms."""
    for kernel, bias in layers[:-1]:
        x = silu(x @ np.float64(kernel) + bias)
    kernel, bias = layers[-1]
    size = np.abs(x) @ np.abs(kernel) + np.abs(bias)
    return (x @ np.float64(kernel) + bias)[:, 0], size[:, 0]


def convolutional(layers, x):
    rows = []
    for image in x[..., None]:
        for kernel, bias in layers[:-2]:
            image = silu(convolved(image, kernel, bias))
        rows.append(image.ravel())
    return dense(layers[-2:], np.array(rows))


NETWORKS = {
    "dense": ("DenseEnergy", (3, (5, 4)), (6, 3), dense),
    "no hidden layer": ("DenseEnergy", (2, ()), (6, 2), dense),
    "8x8": ("ConvolutionalEnergy", (8, (3, 4), (3, 5)), (3, 8, 8), None),
    "7x7": ("ConvolutionalEnergy", (7, (3, 4), (5, 3)), (3, 7, 7), None),
    "9x9": ("ConvolutionalEnergy", (9, (3, 4, 2), (1, 5, 3)), (3, 9, 9), None),
    "28x28": ("ConvolutionalEnergy", (28,), (2, 28, 28), None),
    "32x32": ("ConvolutionalEnergy", (32,), (2, 32, 32), None),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def states(shape, seed=1):
    """States that both precisions hold exactly."""
    return np.float32(np.random.default_rng(seed).normal(0, 1, shape))


@both
@precise
@networks
@pytest.mark.parametrize("radius", [None, 1.5])
def test_energies_are_those_of_the_network_in_numpy(
    framework, precision, name, radius
):
    kind, shape, batch, reference = NETWORKS[name]
    x = states(batch)
    energy, layers = make(
        framework, kind, *shape, precision=precision, radius=radius
    )
    want, size = (reference or convolutional)(layers, np.float64(x))
    if radius:
        trap = np.sum(np.float64(x) ** 2, tuple(range(1, x.ndim))) / 4.5
        want, size = want + trap, size + trap
    got = framework.numpy(energy(framework.array(x, precision)))
    assert got.dtype == precision
    assert got.shape == want.shape
    assert np.all(np.abs(got - want) <= TOLERANCE[precision] * size)


@both
@networks
def test_input_gradients_are_finite_differences_of_energies(framework, name):
    kind, shape, batch, _ = NETWORKS[name]
    x, h = np.float64(states(batch)), 1e-4
    energy, _ = make(framework, kind, *shape, radius=2.0)
    got = framework.module.input_gradient(energy, framework.array(x))
    got = framework.numpy(got)
    assert got.shape == x.shape
    for seed in range(5):
        direction = np.random.default_rng(seed).normal(size=x.shape)
        up, down = (
            framework.numpy(energy(framework.array(x + s * h * direction)))
            for s in (1, -1)
        )
        slope = np.sum(got * direction, tuple(range(1, x.ndim)))
        size = np.sqrt(np.sum(got**2, tuple(range(1, x.ndim))))
        # Error h²/6 times a third derivative, and rounding 1e-16 E/h.
        assert np.all(np.abs((up - down) / (2 * h) - slope) < 1e-6 * size)


@precise
@networks
def test_input_gradients_agree(precision, name):
    kind, shape, batch, _ = NETWORKS[name]
    x = states(batch)
    one, other = (
        f.numpy(
            f.module.input_gradient(
                make(f, kind, *shape, precision=precision)[0],
                f.array(x, precision),
            )
        )
        for f in FRAMEWORKS
    )
    assert one.dtype == other.dtype == precision
    largest = np.abs(one).max()
    assert np.abs(one - other).max() < TOLERANCE[precision] * largest


@both
def test_each_state_has_the_slope_that_it_has_alone(framework):
    energy, _ = make(framework, "DenseEnergy", 2, (7,))
    x = framework.array(states((5, 2)))
    slope = framework.module.input_gradient
    together = framework.numpy(slope(energy, x))
    alone = [framework.numpy(slope(energy, x[i : i + 1])) for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-13)
    exact = framework.numpy(slope(quadratic(framework, 3.0), x))
    np.testing.assert_allclose(exact, 3 * framework.numpy(x), rtol=1e-14)


@precise
def test_both_begin_with_the_same_weights_and_exchange_them(precision):
    for name, shape in (("DenseEnergy", (3,)), ("ConvolutionalEnergy", (8,))):
        options = {"seed": 5, "device": "cpu"}
        one = getattr(pytorch_ebm, name)(
            *shape, dtype=dtype(precision), **options
        )
        other = getattr(tensorflow_ebm, name)(
            *shape, dtype=precision, **options
        )
        assert_layers_equal(one.to_numpy(), other.to_numpy())
        options["seed"] = 6
        new = getattr(pytorch_ebm, name)(
            *shape, dtype=dtype(precision), **options
        )
        assert not np.array_equal(new.to_numpy()[0][0], one.to_numpy()[0][0])
        assert other.from_numpy(new.to_numpy()) is other
        assert_layers_equal(new.to_numpy(), other.to_numpy())
        assert_layers_equal(
            one.from_numpy(other.to_numpy()).to_numpy(), new.to_numpy()
        )


def assert_layers_equal(one, other):
    for pair, same in zip(one, other, strict=True):
        for a, b in zip(pair, same, strict=True):
            np.testing.assert_array_equal(a, b)


@both
def test_copies_of_the_weights_are_copies(framework):
    energy, layers = make(framework, "DenseEnergy", 2)
    for kernel, bias in energy.to_numpy():
        kernel[:], bias[:] = 7, 7
    assert_layers_equal(energy.to_numpy(), layers)


@both
def test_weights_of_other_shapes_are_refused(framework):
    energy = make(framework, "DenseEnergy", 2, (4,))[0]
    for shape in ((3, (4,)), (2, (5,)), (2, (4, 4))):
        wrong = make(framework, "DenseEnergy", *shape)[0].to_numpy()
        with pytest.raises(ValueError, match="layers must have shapes"):
            energy.from_numpy(wrong)


@both
def test_networks_that_cannot_be_are_refused(framework):
    module = framework.module
    with pytest.raises(ValueError, match=r"radius must be positive .* -1"):
        module.DenseEnergy(2, radius=-1)
    with pytest.raises(ValueError, match=r"size of a conv.* odd, not 4"):
        module.ConvolutionalEnergy(8, (3,), (4,))
    with pytest.raises(ValueError, match="channels and sizes"):
        module.ConvolutionalEnergy(8, (3, 3), (3,))
    with pytest.raises(ValueError, match=r"side must be .* not 0"):
        module.ConvolutionalEnergy(0)


# ----- Langevin steps -------------------------------------------------------


@both
@precise
@pytest.mark.parametrize("clipped", [False, True])
def test_one_langevin_step_is_its_equation(framework, precision, clipped):
    x, w = (np.float64(states((4, 7, 7), seed)) for seed in (1, 2))
    energy, _ = make(
        framework, "ConvolutionalEnergy", 7, (3,), (3,), precision=precision
    )
    x_there, w_there = (framework.array(v, precision) for v in (x, w))
    gradient = framework.numpy(
        framework.module.input_gradient(energy, x_there)
    )
    options = {"max_gradient": 0.05, "limits": (-1, 0.5)} if clipped else {}
    if clipped:
        assert np.any(gradient > 0.05)
        gradient = np.clip(gradient, -0.05, 0.05)
    want = x - 0.4 * gradient + 0.3 * w
    if clipped:
        want = np.clip(want, -1, 0.5)
    got = framework.module.langevin_step(
        energy, x_there, w_there, step=0.4, noise=0.3, **options
    )
    got = framework.numpy(got)
    assert got.dtype == precision
    assert np.abs(got - want).max() < TOLERANCE[precision]


@both
@pytest.mark.parametrize("step", [0.1, 1.0])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_langevin_has_the_exact_variance_of_its_steps(
    framework, step, precision
):
    """E = x²/2: variance 1/(1 − step/2), and no correlation of components."""
    n = 50_000
    start = np.zeros((n, 2), precision)
    n_steps = 1 + int(4 / step)  # (1 − step)^2n is below 1e-3 of the variance
    x = framework.module.langevin(
        quadratic(framework), start, step=step, n_steps=n_steps, seed=3
    )
    x = framework.numpy(x)
    assert x.dtype == precision
    exact = (1 - (1 - step) ** (2 * n_steps)) / (1 - step / 2)
    assert x.var() == pytest.approx(exact, rel=4.5 / np.sqrt(n))
    assert abs(np.mean(x[:, 0] * x[:, 1])) < 4.5 * exact / np.sqrt(n)
    assert abs(x.mean()) < 4.5 * np.sqrt(exact / (2 * n))


@both
def test_noise_sets_the_temperature(framework):
    """Variance noise²/(2 step)/(1 − step/2), here T = 4."""
    n, step = 50_000, 0.5
    noise = np.sqrt(2 * step * 4)
    x = framework.numpy(
        framework.module.langevin(
            quadratic(framework),
            np.zeros((n, 1)),
            step=step,
            noise=noise,
            n_steps=20,
            seed=4,
        )
    )
    assert x.var() == pytest.approx(4 / 0.75, rel=4.5 * np.sqrt(2 / n))


@both
def test_langevin_without_noise_goes_downhill_exactly(framework):
    x = framework.module.langevin(
        quadratic(framework),
        np.full((3, 2), 2.0),
        step=0.25,
        noise=0,
        n_steps=5,
        seed=0,
    )
    np.testing.assert_allclose(framework.numpy(x), 2 * 0.75**5, rtol=1e-14)


@both
def test_clips_reach_the_chain(framework):
    x = framework.module.langevin(
        quadratic(framework),
        np.array([[9.0], [-0.5]]),
        step=1.0,
        noise=0,
        n_steps=3,
        seed=0,
        max_gradient=1.0,
        limits=(-1, 5),
    )
    np.testing.assert_allclose(framework.numpy(x), [[3.0], [0.0]])


@both
def test_chains_repeat_with_the_seed_and_only_then(framework):
    flat = lambda x: 0 * framework.sum(x)  # noqa: E731
    run = lambda seed, n_steps=2: framework.numpy(  # noqa: E731
        framework.module.langevin(
            flat, np.zeros((4, 5)), step=0.5, n_steps=n_steps, seed=seed
        )
    )
    one = run(1)
    np.testing.assert_array_equal(one, run(1))
    assert len(np.unique(one)) == 20
    assert not np.any(one == run(2))
    rng = np.random.default_rng(1)
    first, second = run(rng), run(rng)
    assert not np.any(first == second)
    # The second step has numbers of its own: x₂ = w₁ + w₂ is not 2w₁.
    assert not np.any(np.isclose(one, 2 * run(1, 1)))


@both
def test_chains_start_beside_the_parameters(framework):
    """A list or an array of another precision will do for a network."""
    energy = make(framework, "DenseEnergy", 2, precision="float32")[0]
    for start in ([[1, 2], [3, 4]], np.ones((2, 2)), np.ones((2, 2), int)):
        x = framework.module.langevin(
            energy, start, step=0.1, n_steps=1, seed=0
        )
        assert framework.numpy(x).dtype == np.float32


@both
def test_arrays_may_run_backwards(framework):
    energy = make(framework, "DenseEnergy", 2)[0]
    x = np.float64(states((5, 2)))[::-1]
    ends = [
        framework.module.langevin(energy, start, step=0.1, n_steps=1, seed=0)
        for start in (x, x.copy())
    ]
    np.testing.assert_array_equal(*map(framework.numpy, ends))


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0}, "step must be positive .* 0"),
        ({"step": np.nan}, "step must be positive"),
        ({"noise": -0.1}, r"noise must be .* -0\.1"),
        ({"n_steps": 0}, "n_steps must be a whole number >= 1, not 0"),
        ({"n_steps": 1.5}, r"n_steps must be .* 1\.5"),
        ({"max_gradient": 0}, "max_gradient must be positive"),
        ({"limits": (1, -1)}, r"limits must be \(low, high\), not \(1, -1\)"),
        ({"limits": 3}, r"limits must be \(low, high\), not 3"),
        ({"x": np.zeros(())}, r"x must be states \(n, ...\)"),
        ({"x": np.zeros((0, 2))}, r"x must be states .* \(0, 2\)"),
        ({"x": np.zeros((3, 2), int)}, r"x must be states .*int64"),
        ({"x": np.full((3, 2), np.nan)}, "x must be finite"),
    ],
    ids=str,
)
def test_langevin_refuses_bad_input(framework, options, message):
    good = {"x": np.zeros((3, 2)), "step": 0.1, "n_steps": 2, "seed": 0}
    with pytest.raises(ValueError, match=message):
        framework.module.langevin(quadratic(framework), **good | options)


@both
def test_an_energy_needs_one_number_per_state(framework):
    for wrong, shape in (
        (lambda x: framework.sum(x[None] ** 2)[0], r"\(\)"),
        (lambda x: x**2, r"\(3, 2\)"),
        (lambda x: framework.sum(x**2)[:, None], r"\(3, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"energy must .* to {shape}"):
            framework.module.langevin(
                wrong, np.zeros((3, 2)), step=0.1, n_steps=1, seed=0
            )


@both
def test_a_chain_that_diverges_names_x(framework):
    uphill = lambda x: -framework.sum(x**4)  # noqa: E731
    with pytest.raises(FloatingPointError, match="x is not finite after 99 L"):
        framework.module.langevin(
            uphill, np.ones((3, 2)), step=0.5, n_steps=99, seed=0
        )


# ----- losses ---------------------------------------------------------------


@precise
@pytest.mark.parametrize("name", ["dense", "8x8", "7x7"])
@pytest.mark.parametrize("which", ["loss", "regularised", "score matching"])
def test_losses_and_their_gradients_agree(precision, name, which):
    kind, shape, batch, _ = NETWORKS[name]
    x, y = states(batch), states(batch, 2)
    values, slopes = [], []
    for f in FRAMEWORKS:
        energy, _ = make(f, kind, *shape, precision=precision)
        a, b = f.array(x, precision), f.array(y, precision)
        value, slope = f.gradient(energy, lambda: of(f, which)(energy, a, b))  # noqa: B023
        values.append(value)
        slopes.append(slope)
    assert values[0] == pytest.approx(
        values[1], rel=10 * TOLERANCE[precision], abs=TOLERANCE[precision]
    )
    for pair, same in zip(*slopes, strict=True):
        for a, b in zip(pair, same, strict=True):
            assert a.dtype == b.dtype == precision
            largest = max(np.abs(a).max(), 1e-3)
            assert np.abs(a - b).max() <= TOLERANCE[precision] * largest


def of(framework, which):
    module = framework.module
    return {
        "loss": module.loss,
        "regularised": lambda energy, x, y: module.loss(
            energy, x, y, regularisation=0.3
        ),
        "score matching": lambda energy, x, y: module.score_matching_loss(
            energy, x, y, scale=0.4
        ),
    }[which]


@both
@pytest.mark.parametrize("which", ["loss", "regularised", "score matching"])
def test_gradients_of_losses_are_finite_differences(framework, which):
    energy, layers = make(framework, "DenseEnergy", 3, (5, 4))
    a, b = framework.array(states((6, 3))), framework.array(states((6, 3), 2))
    value = lambda: of(framework, which)(energy, a, b)  # noqa: E731
    _, slopes = framework.gradient(energy, value)
    rng, h = np.random.default_rng(0), 1e-4
    for _ in range(5):
        way = [tuple(rng.normal(size=s.shape) for s in p) for p in slopes]
        ends = []
        for sign in (1, -1):
            moved = [
                tuple(
                    np.float64(v) + sign * h * d
                    for v, d in zip(pair, there, strict=True)
                )
                for pair, there in zip(layers, way, strict=True)
            ]
            energy.from_numpy(moved)
            ends.append(framework.numpy(value()).item())
        want = sum(
            np.sum(s * d)
            for pair, there in zip(slopes, way, strict=True)
            for s, d in zip(pair, there, strict=True)
        )
        got = (ends[0] - ends[1]) / (2 * h)
        assert got == pytest.approx(want, rel=1e-5, abs=1e-6)


@both
def test_loss_by_hand(framework):
    x, y = (framework.array(v) for v in ([[2.0], [0.0]], [[4.0], [2.0]]))
    value = framework.module.loss(quadratic(framework), x, y)
    assert float(value) == 1 - 5  # ⟨2, 0⟩ − ⟨8, 2⟩
    value = framework.module.loss(
        quadratic(framework), x, y, regularisation=0.5
    )
    assert float(value) == -4 + 0.5 * (2 + 34)


@both
def test_without_regularisation_energies_may_be_large(framework):
    """Energies of 5e29, whose squares overflow in single precision."""
    x, y = (framework.array([[v]], "float32") for v in (1e15, 0))
    value = framework.module.loss(quadratic(framework), x, y)
    assert float(value) == pytest.approx(5e29, rel=1e-6)
    energy = make(framework, "DenseEnergy", 2, (3,), precision="float32")[0]
    options = {"buffer": buffer(), "n_updates": 2} | OPTIONS
    framework.module.train(energy, np.full((8, 2), 1e12), **options)
    weights = energy.to_numpy()[0][0]
    assert np.all(np.isfinite(weights))


@both
def test_gradient_of_the_loss_is_that_of_the_likelihood(framework):
    """log Z by quadrature; the model's states are its exact quantiles.

    Means over n midpoint quantiles are integrals up to an error 1/n².
    """
    energy, layers = make(framework, "DenseEnergy", 1, (6,), radius=1.0)
    data = states((40, 1), 3)
    grid = np.linspace(-8, 8, 20_001)[:, None]

    def minus_log_likelihood(layers):
        def e(x):
            return dense(layers, np.float64(x))[0] + x[:, 0] ** 2 / 2

        log_z = logsumexp(-e(grid)) + np.log(grid[1, 0] - grid[0, 0])
        return e(data).mean() + log_z, np.exp(-e(grid) - log_z)

    _, density = minus_log_likelihood(layers)
    cumulative = np.cumsum(density) - density / 2
    middle = (np.arange(20_000) + 0.5) / 20_000
    quantiles = np.interp(middle, cumulative / density.sum(), grid[:, 0])
    _, slopes = framework.gradient(
        energy,
        lambda: framework.module.loss(
            energy,
            framework.array(data),
            framework.array(quantiles[:, None]),
        ),
    )
    h = 1e-5
    for i, pair in enumerate(slopes):
        for j, slope in enumerate(pair):
            for place in np.ndindex(slope.shape):
                ends = []
                for sign in (1, -1):
                    moved = [[np.float64(v) for v in p] for p in layers]
                    moved[i][j][place] += sign * h
                    ends.append(minus_log_likelihood(moved)[0])
                want = (ends[0] - ends[1]) / (2 * h)
                assert slope[place] == pytest.approx(want, abs=2e-5)


def standardised_quantiles(n):
    z = scipy.stats.norm.ppf((np.arange(n) + 0.5) / n)
    return z / z.std()


@both
@pytest.mark.parametrize("sigma", [0.3, 1.5])
def test_score_matching_is_least_at_the_smoothed_density(framework, sigma):
    """Data N(0, s²), E = k x²/2: the loss is ½[(1−σ²k)² + σ²k²s²].

    Only second moments count, so that a grid with the right ones is exact.
    """
    s, z = 0.8, standardised_quantiles(60)
    x, w = (a.ravel()[:, None] for a in np.meshgrid(s * z, z))
    best = 1 / (s**2 + sigma**2)  # inverse variance of the smoothed data

    def value(k):
        return float(
            framework.module.score_matching_loss(
                quadratic(framework, k),
                framework.array(x),
                framework.array(w),
                scale=sigma,
            )
        )

    for k in (0.0, 0.5, best, 2.0):
        exact = ((1 - sigma**2 * k) ** 2 + (sigma * k * s) ** 2) / 2
        assert value(k) == pytest.approx(exact, rel=1e-12)
    assert value(best) < min(value(0.99 * best), value(1.01 * best))


@both
def test_score_matching_counts_every_component(framework):
    """A flat energy leaves ½⟨|w|²⟩, a sum over the components of a state."""
    w = states((5, 4, 4))
    value = framework.module.score_matching_loss(
        lambda x: 0 * framework.sum(x),
        framework.array(0 * w),
        framework.array(w),
        scale=1.0,
    )
    assert float(value) == pytest.approx(np.sum(w**2) / 10, rel=1e-6)


# ----- training -------------------------------------------------------------


def buffer(shape=(2,), size=30, seed=0, **options):
    return ReplayBuffer(
        lambda n, rng: rng.normal(size=(n, *shape)),
        size=size,
        seed=seed,
        **options,
    )


def reference_training(
    energy, data, chains, rates, step, n_steps, alpha, longest
):
    """Langevin without noise, the loss, a clip and Adam, written out."""
    parameters = list(energy.parameters())
    squares = [torch.zeros_like(p) for p in parameters]
    x_data = torch.as_tensor(np.float64(data))
    for t, rate in enumerate(rates, start=1):
        places, x = chains.draw(len(data))
        x = torch.as_tensor(x)
        for _ in range(n_steps):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(energy(x).sum(), x)
            x = (x - step * slope).detach()
        chains.store(places, x.numpy())
        e, f = energy(x_data), energy(x)
        value = e.mean() - f.mean() + alpha * ((e**2).mean() + (f**2).mean())
        gradient = torch.autograd.grad(value, parameters)
        length = torch.sqrt(sum((g**2).sum() for g in gradient))
        factor = min(1.0, longest / (length.item() + 1e-6))
        for p, g, v in zip(parameters, gradient, squares, strict=True):
            g = factor * g
            v.mul_(0.999).add_(0.001 * g**2)
            change = g / (torch.sqrt(v / (1 - 0.999**t)) + 1e-8)
            p.data -= rate * change


@both
@precise
@pytest.mark.parametrize("n_updates", [1, 3])
@pytest.mark.parametrize(
    ("alpha", "longest"), [(0.0, np.inf), (0.2, np.inf), (0.1, 0.05)]
)
def test_training_is_its_equations(
    framework, precision, n_updates, alpha, longest
):
    """All data in each batch and no noise: nothing is left to chance."""
    data = states((12, 7, 7), 5)
    shape = "ConvolutionalEnergy", 7, (3, 4), (3, 3)
    options = {"n_hidden": 6, "radius": 2.0}
    want, _ = make(PyTorch, *shape, **options)
    chains = buffer((7, 7), fresh_fraction=0.3)
    rates = np.linspace(2e-3, 5e-4, n_updates)
    reference_training(want, data, chains, rates, 0.1, 4, alpha, longest)
    got, _ = make(framework, *shape, precision=precision, **options)
    own = buffer((7, 7), fresh_fraction=0.3)
    framework.module.train(
        got,
        data,
        buffer=own,
        n_updates=n_updates,
        learning_rate=2e-3,
        final_learning_rate=5e-4,
        step=0.1,
        noise=0.0,
        n_steps=4,
        regularisation=alpha,
        max_norm=None if longest == np.inf else longest,
    )
    for pair, same in zip(got.to_numpy(), want.to_numpy(), strict=True):
        for a, b in zip(pair, same, strict=True):
            assert np.all(np.abs(a - b) < TOLERANCE[precision] * (1 + abs(b)))
    error = np.abs(own.states - chains.states).max()
    assert error < 10 * TOLERANCE[precision]


OPTIONS = {"step": 0.1, "n_steps": 3, "batch_size": 8}


@both
def test_training_is_reproducible_and_leaves_global_state_alone(framework):
    runs = []
    for seed in (4, 4, 5):
        torch.manual_seed(1)
        keras.utils.set_random_seed(1)
        energy = make(framework, "DenseEnergy", 2, (6,))[0]
        framework.module.train(
            energy,
            states((30, 2)),
            buffer=buffer(),
            n_updates=3,
            seed=seed,
            data_noise=0.1,
            **OPTIONS,
        )
        drawn = torch.rand(3).tolist(), keras.random.uniform((3,)).numpy()
        runs.append([energy.to_numpy()[0][0], *map(np.array, drawn)])
    torch.manual_seed(1)
    keras.utils.set_random_seed(1)
    untouched = torch.rand(3).tolist(), keras.random.uniform((3,)).numpy()
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert not np.array_equal(runs[0][0], runs[2][0])
    for run in runs:
        np.testing.assert_array_equal(run[1], np.array(untouched[0]))
        np.testing.assert_array_equal(run[2], np.array(untouched[1]))


@both
def test_training_goes_on_where_it_stopped(framework):
    parts = []
    for updates in ([5], [2, 3]):
        energy = make(framework, "DenseEnergy", 2, (6,))[0]
        chains, rng, memory = buffer(), np.random.default_rng(3), None
        for n_updates in updates:
            memory = framework.module.train(
                energy,
                states((30, 2)),
                buffer=chains,
                n_updates=n_updates,
                seed=rng,
                memory=memory,
                **OPTIONS,
            )
        parts.append((energy.to_numpy(), chains.states))
    assert_layers_equal(parts[0][0], parts[1][0])
    np.testing.assert_array_equal(parts[0][1], parts[1][1])


@both
def test_a_callback_sees_both_phases_of_every_update(framework):
    seen, chains, data = [], buffer(fresh_fraction=0.0), states((30, 2))
    energy = make(framework, "DenseEnergy", 2, (6,))[0]

    def callback(update, model, x_data, x_model):
        assert model is energy
        x_data, x_model = map(framework.numpy, (x_data, x_model))
        assert x_data.shape == x_model.shape == (8, 2)
        # Different rows of the data, and states that the buffer now keeps.
        assert len(np.unique(x_data, axis=0)) == 8
        assert np.isin(x_data, data).all()
        assert np.isin(x_model, chains.states).all()
        seen.append((update, x_data))

    framework.module.train(
        energy,
        data,
        buffer=chains,
        n_updates=3,
        callback=callback,
        **OPTIONS,
    )
    assert [update for update, _ in seen] == [1, 2, 3]
    assert not np.array_equal(seen[0][1], seen[1][1])


@both
def test_noise_on_the_data_has_its_standard_deviation(framework):
    seen = []
    framework.module.train(
        make(framework, "DenseEnergy", 2, (3,))[0],
        np.zeros((4000, 2)),
        buffer=buffer(size=4000),
        n_updates=1,
        batch_size=4000,
        step=0.1,
        n_steps=1,
        data_noise=0.3,
        callback=lambda *args: seen.append(framework.numpy(args[2])),
    )
    error = 4.5 * np.sqrt(1 / (2 * 8000))
    assert seen[0].std() == pytest.approx(0.3, rel=error)


@both
def test_training_learns_a_gaussian(framework):
    """The variance by quadrature comes from 4, the trap's, to the data's."""
    energy = make(
        framework, "DenseEnergy", 1, (8,), precision="float32", radius=2.0
    )[0]
    data = 0.6 * standardised_quantiles(500)[:, None]
    framework.module.train(
        energy,
        data,
        buffer=buffer((1,), size=500, fresh_fraction=0.02),
        n_updates=300,
        batch_size=250,
        learning_rate=0.02,
        final_learning_rate=0.001,
        step=0.05,
        n_steps=5,
        seed=1,
    )
    x = np.linspace(-6, 6, 1201)[:, None]
    e = framework.numpy(energy(framework.array(x, "float32")))
    p = np.exp(e.min() - e)
    variance = np.sum(p * x[:, 0] ** 2) / p.sum()
    # The steps' bias is 7 % there; the scatter of the chains is as large.
    assert variance == pytest.approx(0.36, rel=0.2)


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_updates": 0}, "n_updates must be .* 0"),
        ({"batch_size": 0}, "batch_size must be .* 0"),
        ({"batch_size": 31}, "n must be at most the buffer's size, 30"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"final_learning_rate": -1.0}, "final_learning_rate must be"),
        ({"regularisation": -1.0}, r"regularisation must be .* -1\.0"),
        ({"data_noise": np.nan}, "data_noise must be"),
        ({"max_norm": 0.0}, "max_norm must be positive"),
        ({"step": -1.0}, "step must be positive"),
        ({"n_steps": 0}, "n_steps must be .* 0"),
        ({"data": np.full((40, 2), np.inf)}, "data must be finite"),
        ({"data": np.zeros((0, 2))}, "data must be states"),
    ],
    ids=str,
)
def test_training_refuses_bad_input(framework, options, message):
    energy, layers = make(framework, "DenseEnergy", 2, (3,))
    good = {"data": np.zeros((40, 2)), "buffer": buffer(), "n_updates": 1}
    with pytest.raises(ValueError, match=message):
        framework.module.train(energy, **good | OPTIONS | options)
    assert_layers_equal(energy.to_numpy(), layers)


@both
def test_training_that_diverges_names_what_did(framework):
    options = {"buffer": buffer(), "n_updates": 3} | OPTIONS
    energy = make(framework, "DenseEnergy", 2, (3,))[0]
    with pytest.raises(FloatingPointError, match="x is not finite after 99"):
        framework.module.train(
            energy, states((30, 2)), **options | {"step": 1e9, "n_steps": 99}
        )
    energy = make(framework, "DenseEnergy", 2, (3,), precision="float32")[0]
    with pytest.raises(FloatingPointError, match="loss is not finite in upda"):
        framework.module.train(
            energy, 1e25 * states((30, 2)), **options | {"buffer": buffer()}
        )


@both
def test_weights_that_are_not_finite_at_the_end_are_noticed(framework):
    energy, layers = make(framework, "DenseEnergy", 2, (3,))
    layers[0][0][0] = np.nan
    with pytest.raises(FloatingPointError, match="energy is not finite after"):
        framework.module.train(
            energy,
            states((30, 2)),
            buffer=buffer(),
            n_updates=1,
            callback=lambda *_: energy.from_numpy(layers),
            **OPTIONS,
        )


# ----- names and arguments --------------------------------------------------

KERAS_ONLY = {"call", "get_config"}
TORCH_ONLY = {"forward"}


def public(module):
    """Names that a module defines, and constants that it passes on."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", "") == module.__name__
            or value is ReplayBuffer
            or name.isupper()
        )
    }


def arguments(function):
    """Names, kinds and defaults; a type has another name in each."""
    return [
        (p.name, p.kind, None if p.name == "dtype" else p.default)
        for p in inspect.signature(function).parameters.values()
    ]


def test_both_modules_have_the_same_names_and_arguments():
    names = public(pytorch_ebm)
    # Adam is that of PyTorch there, and written out in TensorFlow.
    assert names == public(tensorflow_ebm) - {"EPSILON"}
    assert len(names) >= 10
    for name in names - {"BETAS"}:
        one = getattr(pytorch_ebm, name)
        other = getattr(tensorflow_ebm, name)
        assert arguments(one) == arguments(other), name


@pytest.mark.parametrize("name", ["DenseEnergy", "ConvolutionalEnergy"])
def test_both_classes_have_the_same_methods(name):
    found = []
    for module in (pytorch_ebm, tensorflow_ebm):
        kind = getattr(module, name)
        own = [c for c in kind.__mro__ if c.__module__.startswith("advml")]
        methods = {n for c in own for n in vars(c) if not n.startswith("_")}
        found.append(methods)
    theirs, ours = found
    assert theirs - TORCH_ONLY == ours - KERAS_ONLY
    assert {"to_numpy", "from_numpy"} <= theirs


def test_networks_have_the_layers_that_were_asked_for():
    energy = pytorch_ebm.ConvolutionalEnergy(28)
    channels = [1, 16, 32, 64, 64]
    shapes = [kernel.shape for kernel, _ in energy.to_numpy()]
    assert [s[2:] for s in shapes[:4]] == list(pairwise(channels))
    assert [s[0] for s in shapes[:4]] == [5, 3, 3, 3]
    assert shapes[4:] == [(2 * 2 * 64, 64), (64, 1)]


@both
@pytest.mark.parametrize(
    "shape", [(3, 64), (0, 8, 8), (3, 8, 8, 1), (3, 7, 8)]
)
def test_images_of_a_wrong_shape_are_refused(framework, shape):
    """TensorFlow would end the process for those of a wrong rank."""
    energy, _ = make(framework, "ConvolutionalEnergy", 8, (3,), (3,))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 8, 8\)"):
        energy(framework.array(np.zeros(shape)))


def test_the_memory_of_another_energy_is_refused():
    energies = [make(PyTorch, "DenseEnergy", 2, (4,))[0] for _ in range(2)]
    options = {"step": 0.1, "n_steps": 1, "n_updates": 1, "batch_size": 4}
    options["buffer"] = ReplayBuffer(
        lambda n, rng: rng.normal(size=(n, 2)), size=8
    )
    data = np.zeros((5, 2))
    memory = pytorch_ebm.train(energies[0], data, **options)
    before = energies[0].to_numpy()
    with pytest.raises(ValueError, match="memory must be of this model"):
        pytorch_ebm.train(energies[1], data, memory=memory, **options)
    np.testing.assert_array_equal(energies[0].to_numpy()[0][0], before[0][0])
