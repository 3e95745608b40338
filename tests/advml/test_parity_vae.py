"""Variational autoencoders: both frameworks give the numbers of NumPy.

Networks are written out in NumPy, likelihoods are those of SciPy, bounds are
compared with quadrature, gradients with finite differences.

Tolerances as in test_parity_ebm.py: in single precision an operation rounds
by 6e-8, and some layers with sums of up to 600 terms by some hundred times as
much, in double precision by 1e-16 times as much; errors are relative to the
sum of the sizes of the terms, or to the largest entry of a gradient.
"""

import inspect
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from reference import TOLERANCE, close, convolved, dense, spread
from scipy.special import expit, log_expit
from scipy.stats import multivariate_normal, norm

import advml.pytorch.vae as pytorch_vae
import advml.tensorflow.vae as tensorflow_vae
from advml import likelihood
from advml.metrics import gaussian_kl
from advml.vae import epochs_of_batches


class PyTorch:
    """Tensors of torch."""

    module = pytorch_vae

    @staticmethod
    def numpy(value):
        return value.detach().numpy()

    @staticmethod
    def gradient(vae, function):
        """Value of function(), and its slope in the parameters, in pairs."""
        value = function()
        slopes = torch.autograd.grad(value, list(vae.parameters()))
        return value.item(), [s.numpy() for s in slopes]


class TensorFlow:
    """Tensors of TensorFlow."""

    module = tensorflow_vae

    @staticmethod
    def numpy(value):
        return value.numpy()

    @staticmethod
    def gradient(vae, function):
        with tf.GradientTape() as tape:
            value = function()
        slopes = tape.gradient(value, [v for p in vae.pairs for v in p])
        return float(value), [s.numpy() for s in slopes]


FRAMEWORKS = [PyTorch, TensorFlow]
both = pytest.mark.parametrize("framework", FRAMEWORKS)
precise = pytest.mark.parametrize("precision", list(TOLERANCE))
MODELS = {
    "coins": ("DenseVAE", (6, 2, (5, 4)), {}),
    "relu": ("DenseVAE", (6, 3, (5,)), {"activation": "relu"}),
    "gauss": ("DenseVAE", (3, 2, (5,)), {"activation": "silu", "scale": 0.7}),
    "linear": ("DenseVAE", (4, 3, ()), {"scale": 2.0}),
    "8x8": ("ConvolutionalVAE", (8, 2, (3, 4)), {"n_hidden": 5}),
    "7x7": ("ConvolutionalVAE", (7, 1, (3, 4)), {"scale": 0.4}),
    "9x9": ("ConvolutionalVAE", (9, 2, (2, 3, 2)), {"size": 5}),
    "28x28": ("ConvolutionalVAE", (28,), {}),
}
models = pytest.mark.parametrize("name", MODELS)


def make(framework, name, precision="float64"):
    """Build a network whose biases are not zero, as they are at the start."""
    kind, shape, options = MODELS[name]
    which = precision if framework is TensorFlow else getattr(torch, precision)
    vae = getattr(framework.module, kind)(
        *shape, dtype=which, device="cpu", **options
    )
    rng = np.random.default_rng(0)
    layers = [
        (np.float32(kernel), np.float32(rng.normal(0, 0.3, bias.shape)))
        for kernel, bias in vae.to_numpy()
    ]
    return vae.from_numpy(layers), layers


def states(vae, n=4, seed=1):
    """Data that the model can produce, and both precisions hold exactly."""
    rng = np.random.default_rng(seed)
    if vae.scale is None:
        return rng.integers(0, 2, (n, *vae.shape)).astype(np.float32)
    return np.float32(rng.normal(0, 1, (n, *vae.shape)))


def normals(vae, *lead, seed=2):
    rng = np.random.default_rng(seed)
    return np.float32(rng.normal(size=(*lead, vae.n_latent)))


# ----- networks, in NumPy ---------------------------------------------------

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * expit(x),
}


def encoded(name, vae, layers, x):
    kind, _, options = MODELS[name]
    layers, x = layers[: vae.n_encoder], np.float64(x)
    activation = ACTIVATIONS[options.get("activation", "tanh")]
    if kind == "ConvolutionalVAE":
        activation, rows = ACTIVATIONS["relu"], []
        for image in x[..., None]:
            for layer in layers[:-2]:
                image = activation(convolved(image, *layer))
            rows.append(image.ravel())
        layers, x = layers[-2:], np.array(rows)
    return np.split(dense(layers, x, activation), 2, -1)


def decoded(name, vae, layers, z):
    kind, shape, options = MODELS[name]
    layers, z = layers[vae.n_encoder :], np.float64(z)
    if kind == "DenseVAE":
        activation = ACTIVATIONS[options.get("activation", "tanh")]
        return dense(layers, z, activation)
    sides = [shape[0]]
    for _ in range(len(layers) - 2):
        sides.append((sides[-1] + 1) // 2)
    images = []
    for row in dense(layers[:1], z, None):
        image = row.reshape(sides[-1], sides[-1], -1)
        back = [*sides[-2::-1], shape[0]]
        for layer, side in zip(layers[1:], back, strict=True):
            image = spread(ACTIVATIONS["relu"](image), *layer, side)
        images.append(image[..., 0])
    return np.array(images)


def reference(name, vae, layers, x, z):
    """log p(x|z) by SciPy, and the sum of the sizes of its terms."""
    y, x = decoded(name, vae, layers, z), np.float64(x)
    if vae.scale is None:
        terms = np.where(x == 1, log_expit(y), log_expit(-y))
    else:
        terms = norm.logpdf(x, y, vae.scale)
    axes = tuple(range(1, x.ndim))
    return terms.sum(axes), np.abs(terms).sum(axes)


@both
@precise
@models
def test_networks_are_those_of_numpy(framework, precision, name):
    vae, layers = make(framework, name, precision)
    x, z = states(vae), normals(vae, 4)
    for got, want in zip(
        vae.encode(x), encoded(name, vae, layers, x), strict=True
    ):
        close(framework.numpy(got), want, 5 * np.abs(want).max(), precision)
    want = decoded(name, vae, layers, z)
    got = framework.numpy(vae.decode(z))
    close(got, want, 5 * np.abs(want).max(), precision)
    stacked = framework.numpy(vae.decode(z.reshape(2, 2, -1)))
    np.testing.assert_array_equal(stacked.reshape(want.shape), got)
    mean = framework.numpy(vae.expectation(z))
    want = expit(want) if vae.scale is None else want
    close(mean, want, 5 * (1 + np.abs(want).max()), precision)


@both
@precise
@models
def test_likelihood_bound_and_weights_are_those_of_scipy(
    framework, precision, name
):
    vae, layers = make(framework, name, precision)
    x, noise = states(vae), normals(vae, 3, 4)
    mean, log_variance = encoded(name, vae, layers, x)
    scale = np.exp(log_variance / 2)
    z = mean + scale * np.float64(noise)
    log_p, size = np.transpose(
        [reference(name, vae, layers, x, one) for one in z], (1, 0, 2)
    )
    close(framework.numpy(vae.log_likelihood(x, z)), log_p, size, precision)
    divergence = gaussian_kl(mean, scale**2)
    for beta in (1.0, 0.0, 2.5):
        got = framework.module.evidence_lower_bound(vae, x, noise, beta)
        want, terms = log_p - beta * divergence, size + beta * divergence + 1
        close(framework.numpy(got), want, terms, precision)
    log_q, log_prior = (
        norm.logpdf(z, *which).sum(-1) for which in ((mean, scale), (0, 1))
    )
    got = framework.numpy(framework.module.log_weights(vae, x, noise))
    terms = size + np.abs(log_q) + np.abs(log_prior)
    close(got, log_p + log_prior - log_q, terms, precision)
    loss = framework.module.importance_weighted_loss(vae, x, noise)
    want = np.log(np.exp(log_p + log_prior - log_q).mean(0)).mean()
    assert framework.numpy(loss) == pytest.approx(
        -want, abs=TOLERANCE[precision] * terms.max()
    )


@both
@precise
def test_certain_coins_neither_overflow_nor_lose_their_tails(
    framework, precision
):
    """Logits of ±1000, and a tail of e⁻³⁰ that 1 − sigmoid rounds to zero."""
    vae, _ = make(framework, "coins", precision)
    layers = [(0 * kernel, 0 * bias) for kernel, bias in vae.to_numpy()]
    layers[-1][1][:] = [1000, -1000, 1000, -1000, 30, -30]
    vae.from_numpy(layers)
    z = np.zeros((3, 2))
    x = np.array([[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 1, 0], [1, 0, 1, 0, 0, 1]])
    got = framework.numpy(vae.log_likelihood(x, z))
    np.testing.assert_allclose(got[1:], [-4000, -60], rtol=1e-6)
    assert got[0] == pytest.approx(-2 * np.log1p(np.exp(-30)), abs=1e-12)


# ----- gradients ------------------------------------------------------------


def losses(framework, vae, x, noise):
    mean = torch.mean if framework is PyTorch else tf.reduce_mean
    module = framework.module
    return {
        "bound": lambda: mean(
            module.evidence_lower_bound(vae, x, noise[0], 0.7)
        ),
        "weights": lambda: mean(module.log_weights(vae, x, noise)),
        "loss": lambda: module.importance_weighted_loss(vae, x, noise),
    }


@precise
@models
@pytest.mark.parametrize("which", ["bound", "weights", "loss"])
def test_gradients_agree(precision, name, which):
    slopes = []
    for framework in FRAMEWORKS:
        vae, _ = make(framework, name, precision)
        x, noise = states(vae), normals(vae, 3, 4)
        function = losses(framework, vae, x, noise)[which]
        slopes.append(framework.gradient(vae, function)[1])
    largest = max(np.abs(s).max() for s in slopes[0])
    assert len(slopes[0]) == 2 * len(vae.pairs)
    for one, other in zip(*slopes, strict=True):
        assert one.dtype == other.dtype == precision
        size = max(np.abs(one).max(), 0.01 * largest)
        assert np.abs(one - other).max() <= 3 * TOLERANCE[precision] * size
        assert one.any()


@both
@pytest.mark.parametrize("name", ["coins", "gauss", "8x8"])
@pytest.mark.parametrize("which", ["bound", "weights", "loss"])
def test_gradients_are_finite_differences(framework, name, which):
    """The noise is held fixed: errors h²/6 f''' and 1e-16 f/h."""
    vae, layers = make(framework, name)
    x, noise = states(vae), normals(vae, 3, 4)
    value = losses(framework, vae, x, noise)[which]
    slopes = framework.gradient(vae, value)[1]
    rng, h = np.random.default_rng(0), 1e-5
    for _ in range(4):
        way = [rng.normal(size=s.shape) for s in slopes]
        ends = []
        for sign in (1, -1):
            moved = [np.float64(a) for pair in layers for a in pair]
            moved = [a + sign * h * d for a, d in zip(moved, way, strict=True)]
            vae.from_numpy(list(zip(moved[::2], moved[1::2], strict=True)))
            ends.append(float(value()))
        want = sum(np.sum(s * d) for s, d in zip(slopes, way, strict=True))
        size = np.sqrt(sum(np.sum(s**2) for s in slopes))
        got = (ends[0] - ends[1]) / (2 * h)
        assert got == pytest.approx(want, abs=1e-5 * size)


# ----- bounds, by quadrature ------------------------------------------------


def small(framework, n_latent=1, scale=None, n_inputs=5):
    """A network that is not too flat, and all data or some."""
    vae = framework.module.DenseVAE(
        n_inputs,
        n_latent,
        (4,),
        scale=scale,
        seed=3,
        device="cpu",
        dtype=torch.float64 if framework is PyTorch else "float64",
    )
    layers = [(1.2 * k, b + 0.3) for k, b in vae.to_numpy()]
    layers[1][0][:, n_latent:] *= 0.3  # q narrower than the prior
    layers[1][1][n_latent:] = -1.5
    return vae.from_numpy(layers)


OUTCOMES = (np.arange(32)[:, None] >> np.arange(5) & 1).astype(float)


def evidence(framework, vae, x, width=8.0, n_points=321):
    prior = np.zeros((len(x), vae.n_latent)), np.ones((len(x), vae.n_latent))
    return likelihood.evidence_on_grid(
        lambda z: framework.numpy(vae.log_likelihood(x[:, None], z)),
        *prior,
        width=width,
        n_points=n_points,
    )


@both
def test_evidence_of_all_outcomes_sums_to_one(framework):
    log_p, error = evidence(framework, small(framework), OUTCOMES)
    assert error.max() < 1e-9
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-9)


@both
@pytest.mark.parametrize("scale", [0.3, 1.7])
def test_evidence_of_real_data_is_normalised(framework, scale):
    """∫ p(x) dx = 1 by a sum over a grid, for one input."""
    vae = small(framework, scale=scale, n_inputs=1)
    x, step = np.linspace(-16, 16, 801, retstep=True)
    log_p, _ = evidence(framework, vae, x[:, None], n_points=321)
    assert np.exp(log_p).sum() * step == pytest.approx(1, abs=1e-7)


@both
@pytest.mark.parametrize(("n_latent", "n_points"), [(1, 321), (2, 121)])
@pytest.mark.parametrize("scale", [None, 0.8])
def test_bounds_are_ordered_and_the_gap_is_the_divergence(
    framework, n_latent, n_points, scale
):
    """ELBO ≤ IWAE₅ ≤ IWAE₅₀ ≤ log p(x); log p(x) − ELBO = KL(q‖posterior).

    All are integrals over z: no sampling, so that no inequality needs room.
    """
    vae, module = small(framework, n_latent, scale), framework.module
    x = OUTCOMES[3:9]
    mean, log_variance = (framework.numpy(v) for v in vae.encode(x))
    sigma = np.exp(log_variance / 2)
    z, log_volume = likelihood.latent_grid(
        mean, sigma, width=7.5, n_points=n_points
    )
    noise = ((z - mean[:, None]) / sigma[:, None]).swapaxes(0, 1)
    log_w = framework.numpy(module.log_weights(vae, x, noise)).T
    log_q = norm.logpdf(z, mean[:, None], sigma[:, None]).sum(-1)
    q = np.exp(log_q + log_volume[:, None])
    bounds = [
        likelihood.exact_importance_weighted_bound(log_w, q, k)
        for k in (1, 5, 50)
    ]
    log_p, error = evidence(framework, vae, x, n_points=n_points)
    assert error.max() < 1e-3  # of half the points; of all it is the square
    for lower, upper in itertools.pairwise([*bounds, log_p]):
        assert np.all(lower < upper)
    # Gauss–Hermite over the noise: the ELBO as an average of its estimate.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    points = np.array(list(itertools.product(nodes, repeat=n_latent)))
    weights = np.prod(list(itertools.product(weights, repeat=n_latent)), 1)
    noise = np.repeat(points[:, None], len(x), 1)
    terms = framework.numpy(module.evidence_lower_bound(vae, x, noise))
    elbo = weights @ terms / weights.sum()
    np.testing.assert_allclose(elbo, bounds[0], rtol=0, atol=1e-6)
    log_posterior = (
        framework.numpy(vae.log_likelihood(x[:, None], z))
        + norm.logpdf(z).sum(-1)
        - log_p[:, None]
    )
    gap = np.sum(q * (log_q - log_posterior), -1)
    np.testing.assert_allclose(log_p - elbo, gap, rtol=0, atol=1e-6)


@both
def test_sampled_bounds_agree_with_the_exact_ones(framework):
    vae, x, n = small(framework), OUTCOMES[:3], 20_000
    log_w = framework.module.log_weights(vae, x, normals(vae, n, 3))
    log_w = framework.numpy(log_w).T
    for k in (1, 5):
        got, error = likelihood.importance_weighted_bound(log_w, k)
        mean, log_variance = (framework.numpy(v) for v in vae.encode(x))
        z, _ = likelihood.latent_grid(
            mean, np.exp(log_variance / 2), width=7.5, n_points=201
        )
        noise = (z - mean[:, None]) / np.exp(log_variance / 2)[:, None]
        exact = likelihood.exact_importance_weighted_bound(
            framework.numpy(
                framework.module.log_weights(vae, x, noise.swapaxes(0, 1))
            ).T,
            np.exp(norm.logpdf(noise).sum(-1)) * 0.075,
            k,
        )
        assert np.all(np.abs(got - exact) < 5 * error)


def linear(framework, scale):
    return framework.module.DenseVAE(
        3,
        1,
        (),
        scale=scale,
        device="cpu",
        dtype=torch.float64 if framework is PyTorch else "float64",
    )


@both
def test_with_the_exact_posterior_every_weight_is_the_evidence(framework):
    """x = wz + b + σε: q can be exact, and no noise changes anything."""
    rng, scale = np.random.default_rng(0), 0.7
    w, b, x = rng.normal(size=(1, 3)), rng.normal(size=3), np.eye(3)
    precision = (w @ w.T).item() / scale**2 + 1
    kernel = np.concatenate([w / scale**2 / precision, 0 * w]).T
    offset = np.array([-b @ kernel[:, 0], -np.log(precision)])
    vae = linear(framework, scale).from_numpy([(kernel, offset), (w, b)])
    noise = rng.normal(size=(5, 3, 1))
    log_w = framework.numpy(framework.module.log_weights(vae, x, noise))
    covariance = w.T @ w + scale**2 * np.eye(3)
    want = multivariate_normal.logpdf(x, b, covariance)
    np.testing.assert_allclose(log_w, np.tile(want, (5, 1)), rtol=1e-12)


def best_of_ppca(data, q):
    """Largest mean log-likelihood of probabilistic PCA, and its σ².

    Source: M. E. Tipping & C. M. Bishop (1999).
    """
    values = np.linalg.eigvalsh(np.cov(data.T, bias=True))[::-1]
    d, variance = len(values), values[q:].mean()
    log_det = np.log(values[:q]).sum() + (d - q) * np.log(variance)
    return -(d * np.log(2 * np.pi) + log_det + d) / 2, np.sqrt(variance)


@both
def test_a_linear_autoencoder_reaches_the_likelihood_of_ppca(framework):
    """Its bound is never above, and tight where training ends."""
    mixing = np.array([[1.5, 0.3, -0.8], [0.0, 0.4, 0.1], [0.2, 0.0, 0.5]])
    data = np.random.default_rng(0).normal(size=(60, 3)) @ mixing + 1
    best, scale = best_of_ppca(data, 1)
    vae = linear(framework, scale)
    # Adam remembers the steep slopes of the start: three times it forgets.
    for first, last in ((0.1, 0.1), (0.05, 0.05), (0.05, 1e-3)):
        framework.module.train(
            vae,
            data,
            epochs=100,
            batch_size=60,
            learning_rate=first,
            final_learning_rate=last,
            seed=1,
        )
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)  # a parabola
    noise = np.tile(nodes[:, None, None], (1, 60, 1))
    terms = framework.module.evidence_lower_bound(vae, data, noise)
    elbo = weights @ framework.numpy(terms).mean(1) / weights.sum()
    assert elbo <= best + 1e-12
    assert elbo == pytest.approx(best, abs=0.02)


# ----- training -------------------------------------------------------------


def reference_training(vae, data, beta, **options):
    """Adam on the bound, written out, over the same batches."""
    parameters = list(vae.parameters())
    m, v = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    t = 0
    for epoch in epochs_of_batches(data, vae.n_latent, **options):
        for x, noise, rate in epoch:
            t += 1
            if len(noise) == 1:
                bound = pytorch_vae.evidence_lower_bound(
                    vae, x, noise[0], beta
                )
                value = -bound.mean()
            else:
                value = pytorch_vae.importance_weighted_loss(vae, x, noise)
            gradient = torch.autograd.grad(value, parameters)
            for i, (p, g) in enumerate(zip(parameters, gradient, strict=True)):
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g**2
                size = torch.sqrt(v[i] / (1 - 0.999**t)) + 1e-8
                p.data -= rate * m[i] / (1 - 0.9**t) / size


@both
@precise
@pytest.mark.parametrize(
    ("name", "beta", "n_weights", "binarise"),
    [
        ("gauss", 0.5, 1, False),
        ("coins", 1.0, 3, True),
        ("8x8", 2.0, 1, True),
        ("coins", 1.0, 1, False),
    ],
)
def test_training_is_its_equations(
    framework, precision, name, beta, n_weights, binarise
):
    """The same numbers in both: what NumPy draws is the same.

    Adam divides by the size of a slope, so that rounding counts relative to
    the step, rate, and not to the parameter.
    """
    want, _ = make(PyTorch, name)
    data = states(want, 10)
    if binarise:
        data = np.float32(np.random.default_rng(5).random(data.shape))
    options = {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "final_learning_rate": 5e-4,
        "n_weights": n_weights,
        "binarise": binarise,
        "seed": 7,
    }
    reference_training(want, np.float64(data), beta, **options)
    got, before = make(framework, name, precision)
    framework.module.train(got, data, beta=beta, **options)
    flat = lambda layers: np.concatenate(  # noqa: E731
        [np.ravel(a) for pair in layers for a in pair]
    )
    one, other = flat(got.to_numpy()), flat(want.to_numpy())
    error = np.abs(one - other) / (1 + np.abs(other))
    assert np.abs(other - flat(before)).max() > 2e-3
    # Slopes that are nearly zero are rounded by more than their size.
    assert np.quantile(error, 0.95) < TOLERANCE[precision]
    assert error.max() < 100 * TOLERANCE[precision]


OPTIONS = {"batch_size": 8, "learning_rate": 0.01}


def equal(one, other):
    for pair, same in zip(one, other, strict=True):
        for a, b in zip(pair, same, strict=True):
            np.testing.assert_array_equal(a, b)


@both
def test_training_is_reproducible_and_leaves_global_state_alone(framework):
    def seeded():
        torch.manual_seed(1)
        keras.utils.set_random_seed(1)

    def drawn():
        return [
            torch.rand(3).numpy(),
            keras.random.uniform((3,)).numpy(),
            np.random.random(3),  # noqa: NPY002
        ]

    runs = []
    for seed in (4, 4, 5):
        seeded()
        vae, _ = make(framework, "coins")
        data = states(vae, 30)
        framework.module.train(vae, data, epochs=2, seed=seed, **OPTIONS)
        runs.append([vae.to_numpy(), drawn()])
    seeded()
    untouched = drawn()
    equal(runs[0][0], runs[1][0])
    assert not np.array_equal(runs[0][0][0][0], runs[2][0][0][0])
    for _, numbers in runs:
        equal([numbers], [untouched])


@both
def test_training_goes_on_where_it_stopped(framework):
    parts = []
    for epochs in ([5], [2, 3]):
        vae, _ = make(framework, "coins")
        rng, memory = np.random.default_rng(3), None
        data = np.random.default_rng(0).random((30, 6))
        for n in epochs:
            memory = framework.module.train(
                vae,
                data,
                epochs=n,
                binarise=True,
                seed=rng,
                memory=memory,
                **OPTIONS,
            )
        parts.append(vae.to_numpy())
    equal(*parts)


@both
def test_a_callback_is_told_the_mean_bound_of_the_epoch(framework):
    """With steps too small to matter it is that of the same noise."""
    vae, _ = make(framework, "gauss")
    data, seen = states(vae, 10), []
    options = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-13, "seed": 2}
    framework.module.train(
        vae, data, callback=lambda *args: seen.append(args), **options
    )
    plan = epochs_of_batches(
        np.float64(data),
        vae.n_latent,
        final_learning_rate=None,
        n_weights=1,
        binarise=False,
        **options,
    )
    bound = framework.module.evidence_lower_bound
    for (epoch, model, got), batches in zip(seen, plan, strict=True):
        terms = [framework.numpy(bound(vae, x, e[0])) for x, e, _ in batches]
        assert got == pytest.approx(np.concatenate(terms).mean(), rel=1e-9)
        assert model is vae
        assert epoch in (1, 2)
    assert seen[0][2] != seen[1][2]


@both
def test_training_with_weights_beats_the_bound_without(framework):
    """Both raise the exact evidence of a set of outcomes, ten weights more."""
    data, reached = np.repeat(OUTCOMES[[0, 3, 28, 31]], 8, axis=0), []
    for n_weights in (1, 10):
        vae = small(framework)
        before = evidence(framework, vae, data)[0].mean()
        framework.module.train(
            vae,
            data,
            epochs=60,
            batch_size=32,
            learning_rate=0.03,
            n_weights=n_weights,
        )
        reached.append(evidence(framework, vae, data)[0].mean())
        # The best is −log 4 = −1.39; independent pixels give −3.47.
        assert before < -3
        assert reached[-1] > -2.5
    # Five seeds give differences from 0.04 to 0.08.
    assert reached[1] > reached[0] + 0.02


# ----- samples --------------------------------------------------------------


@both
def test_samples_have_the_frequencies_of_the_evidence(framework):
    vae, n = small(framework), 40_000
    x = framework.numpy(vae.sample(n, seed=3))
    counts = np.bincount((x @ 2 ** np.arange(5)).astype(int), minlength=32)
    want = n * np.exp(evidence(framework, vae, OUTCOMES)[0])
    pooled = want > 5
    chi_square = np.sum((counts - want)[pooled] ** 2 / want[pooled])
    assert chi_square < 77  # at most 31 degrees of freedom: p = 1e-5
    assert x.dtype == np.float64


@both
def test_samples_of_a_linear_model_have_its_covariance(framework):
    """x = Wz + b + σε has the covariance WWᵀ + σ²I."""
    vae, layers = make(framework, "linear")
    n, (kernel, bias) = 40_000, layers[-1]
    x = framework.numpy(vae.sample(n, seed=0))
    want = kernel.T @ kernel + 4 * np.eye(4)
    error = 5 * np.sqrt(2 / n) * np.diag(want).max()
    assert np.abs(np.cov(x.T) - want).max() < error
    assert np.abs(x.mean(0) - bias).max() < 5 * np.sqrt(want.max() / n)


def test_samples_and_reconstructions_agree_and_repeat():
    for name in ("8x8", "gauss"):
        one, other = (make(f, name)[0] for f in FRAMEWORKS)
        x = one.sample(5, seed=1).numpy()
        np.testing.assert_allclose(x, other.sample(5, seed=1), atol=1e-12)
        assert not np.array_equal(x, one.sample(5, seed=2))
        again = one.reconstruct(x).numpy()
        np.testing.assert_allclose(again, other.reconstruct(x), atol=1e-12)
        want = one.expectation(one.encode(x)[0]).detach().numpy()
        np.testing.assert_array_equal(again, want)
        assert again.shape == x.shape


# ----- what is refused ------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("coins", {"epochs": 0}, "epochs must be .* 0"),
        ("coins", {"batch_size": 0}, "batch_size must be .* 0"),
        ("coins", {"learning_rate": 0.0}, "learning_rate must be positive"),
        ("coins", {"final_learning_rate": -1.0}, "final_learning_rate must"),
        ("coins", {"beta": -0.1}, r"beta must be .* -0\.1"),
        ("coins", {"beta": 2.0, "n_weights": 5}, r"beta must be 1 .* 2\.0"),
        ("coins", {"n_weights": 0}, "n_weights must be .* 0"),
        ("gauss", {"binarise": True}, r"binarise must be False .* 0\.7"),
        ("coins", {"data": np.full((4, 6), 0.5)}, r"data must hold .* 0\.5"),
        ("coins", {"data": np.full((4, 6), np.nan)}, "data must hold .* nan"),
        (
            "coins",
            {"data": np.full((4, 6), 1.5), "binarise": True},
            r"data must lie in \[0, 1\], but holds 1\.5",
        ),
        ("gauss", {"data": np.full((4, 3), np.inf)}, "data must be finite"),
        ("coins", {"data": np.zeros((4, 5))}, r"\(n, 6\) .* \(4, 5\)"),
        ("coins", {"data": np.zeros(6)}, r"data must have shape .* \(6,\)"),
        ("coins", {"data": np.zeros((0, 6))}, r"n >= 1, but has \(0, 6\)"),
        ("coins", {"data": np.zeros((4, 4, 6))}, r"data must .* \(4, 4, 6\)"),
        ("8x8", {"data": np.zeros((4, 64))}, r"data must .* \(4, 64\)"),
        ("coins", {"data": np.full((4, 6), "1")}, "real numbers, not <U1"),
        ("coins", {"data": np.full((4, 6), 1j)}, "real numbers, not complex"),
    ],
    ids=str,
)
def test_training_refuses_bad_input(framework, name, options, message):
    vae, layers = make(framework, name)
    good = {"data": np.zeros((4, *vae.shape)), "epochs": 1}
    with pytest.raises(ValueError, match=message):
        framework.module.train(vae, **good | options)
    equal(vae.to_numpy(), layers)


@both
def test_bounds_refuse_what_does_not_fit(framework):
    module = framework.module
    vae, _ = make(framework, "coins")
    x, noise = states(vae), normals(vae, 4)
    for function in (module.evidence_lower_bound, module.log_weights):
        with pytest.raises(ValueError, match=r"x must hold only .* 0\.5"):
            function(vae, x / 2, noise)
        with pytest.raises(ValueError, match=r"x must have shape \(n, 6\)"):
            function(vae, x[:, :3], noise)
        with pytest.raises(ValueError, match=r"x must .* \(4, 4, 6\)"):
            function(vae, np.ones((4, 4, 6)), noise)
        for wrong in (noise[:1], noise[:, :1], noise[0]):  # shared, or narrow
            with pytest.raises(ValueError, match=r"noise must .* 4, 2\)"):
                function(vae, x, wrong)
        with pytest.raises(ValueError, match=r"noise must be finite.* nan"):
            function(vae, x, np.where(noise < 0, np.nan, noise))
        with pytest.raises(ValueError, match=r"length 0, but has \(0, 4, 2\)"):
            function(vae, x, np.zeros((0, 4, 2)))
    with pytest.raises(ValueError, match=r"beta must be .* -1"):
        module.evidence_lower_bound(vae, x, noise, -1)
    with pytest.raises(ValueError, match=r"noise must have shape \(k, n"):
        module.importance_weighted_loss(vae, x, noise)
    with pytest.raises(ValueError, match=r"x must hold only .* 2\.0"):
        vae.log_likelihood(2 * np.ones((4, 6)), noise)
    with pytest.raises(ValueError, match=r"z must have shape \(..., 2\)"):
        vae.decode(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"x and z .* \(4,\) and \(3,\)"):
        vae.log_likelihood(x, noise[:3])
    with pytest.raises(ValueError, match="n must be a whole number"):
        vae.sample(0, seed=0)


@both
@pytest.mark.parametrize("name", ["coins", "8x8"])
def test_codes_of_what_is_no_batch_are_refused(framework, name):
    """Frameworks may crash, or encode some of it as if it were right."""
    vae, _ = make(framework, name)
    x = states(vae)
    for wrong in (x[:0], x[0], x[None], x[..., :-1], x[..., None]):
        for function in (vae.encode, vae.reconstruct):
            with pytest.raises(ValueError, match=r"x must have shape \(n, "):
                function(wrong)
    for function in (vae.decode, vae.expectation):
        with pytest.raises(ValueError, match=r"z must .* has \(0, 2\)"):
            function(np.zeros((0, 2)))


@both
@pytest.mark.filterwarnings("error")
def test_arrays_may_run_backwards_and_be_read_only(framework):
    vae, _ = make(framework, "coins")
    x = states(vae)
    want = framework.numpy(vae.encode(x[::-1].copy())[0])
    x.flags.writeable = False
    got = framework.numpy(vae.encode(x[::-1])[0])
    np.testing.assert_array_equal(got, want)
    got = framework.numpy(vae.encode(x)[0])
    np.testing.assert_array_equal(got, want[::-1])


@both
def test_networks_that_cannot_be_are_refused(framework):
    module = framework.module
    for scale in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=f"scale must be .* {scale}"):
            module.DenseVAE(3, 2, scale=scale)
    with pytest.raises(ValueError, match=r"activation must be one of .* 'x'"):
        module.DenseVAE(3, 2, activation="x")
    with pytest.raises(ValueError, match=r"n_latent must be .* 0"):
        module.DenseVAE(3, 0)
    with pytest.raises(ValueError, match=r"size of a conv.* odd, not 4"):
        module.ConvolutionalVAE(8, size=4)
    with pytest.raises(ValueError, match=r"side must be .* not 0"):
        module.ConvolutionalVAE(0)
    vae, _ = make(framework, "coins")
    with pytest.raises(ValueError, match="layers must have shapes"):
        vae.from_numpy(make(framework, "relu")[0].to_numpy())


@both
def test_training_that_diverges_names_what_did(framework, monkeypatch):
    vae, _ = make(framework, "gauss", "float32")
    data = states(vae)
    train = framework.module.train
    with pytest.raises(FloatingPointError, match="loss is not finite in ep"):
        train(vae, data, epochs=3, learning_rate=1e30)
    vae, layers = make(framework, "gauss")
    layers[0][0][0] = np.nan
    descend = framework.module._descend

    def one_step_too_far(*args):
        value = descend(*args)
        vae.from_numpy(layers)
        return value

    monkeypatch.setattr(framework.module, "_descend", one_step_too_far)
    with pytest.raises(FloatingPointError, match="vae is not finite after"):
        train(vae, data, epochs=1)


# ----- names, arguments, weights --------------------------------------------


def test_both_begin_with_the_same_weights():
    for name in ("coins", "8x8"):
        kind, shape, options = MODELS[name]
        one, other, new = (
            getattr(f.module, kind)(*shape, seed=seed, **options).to_numpy()
            for f, seed in ((PyTorch, 5), (TensorFlow, 5), (PyTorch, 6))
        )
        equal(one, other)
        assert not np.array_equal(one[0][0], new[0][0])


@both
@pytest.mark.parametrize(
    ("activation", "gain"), [("relu", 2), ("silu", 2), ("tanh", 1)]
)
def test_the_first_weights_suit_the_activation(framework, activation, gain):
    """2 before what keeps half of the mean square, 1 before tanh."""
    vae = framework.module.DenseVAE(
        300, 2, (200,), activation=activation, device="cpu"
    )
    kernel = vae.to_numpy()[0][0]
    error = 5 * np.sqrt(2 / kernel.size)
    assert kernel.var() * 300 == pytest.approx(gain, rel=error)


def test_the_published_layers():
    """784-200-200-50 of Burda et al.; 134 165 parameters of Keras' example."""
    vae = pytorch_vae.DenseVAE(784, 50, device="cpu")
    widths = [(784, 200), (200, 200), (200, 100)]
    widths += [(50, 200), (200, 200), (200, 784)]
    assert [kernel.shape for kernel, _ in vae.to_numpy()] == widths
    vae = pytorch_vae.ConvolutionalVAE(28, device="cpu")
    assert sum(p.numel() for p in vae.parameters()) == 69_076 + 65_089


KERAS_ONLY = {
    "call",
    "compile",
    "compile_from_config",
    "get_compile_config",
    "get_config",
    "metrics",
    "test_step",
    "train_step",
}


def public(module):
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    }


def arguments(function):
    """Names, kinds and defaults; a type has another name in each."""
    return [
        (p.name, p.kind, None if p.name == "dtype" else p.default)
        for p in inspect.signature(function).parameters.values()
    ]


def test_both_modules_have_the_same_names_and_arguments():
    names = public(pytorch_vae)
    assert names == public(tensorflow_vae)
    assert len(names) == 6
    for name in names:
        one, other = (getattr(f.module, name) for f in FRAMEWORKS)
        assert arguments(one) == arguments(other), name


@pytest.mark.parametrize("name", ["DenseVAE", "ConvolutionalVAE"])
def test_both_classes_have_the_same_methods(name):
    found = []
    for f in FRAMEWORKS:
        kind = getattr(f.module, name)
        own = [c for c in kind.__mro__ if c.__module__.startswith("advml")]
        found.append({n for c in own for n in vars(c) if n[0] != "_"})
    theirs, ours = found
    assert theirs - {"forward"} == ours - KERAS_ONLY
    for method in theirs - {"forward", "encoder", "decoder"}:
        one, other = (
            getattr(getattr(f.module, name), method) for f in FRAMEWORKS
        )
        assert arguments(one) == arguments(other), method
