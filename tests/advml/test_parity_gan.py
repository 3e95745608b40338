"""Adversarial networks: both frameworks give the numbers of NumPy.

Networks are written out in NumPy, losses are those of SciPy, penalties and
gradients are compared with finite differences, and a training with one
written out in NumPy.

Tolerances as in test_parity_vae.py: in single precision an operation rounds
by 6e-8, some layers with sums of up to 600 terms by some hundred times as
much, in double precision by 1e-16 times as much.
"""

import inspect

import keras
import numpy as np
import pytest
import scipy.signal
import scipy.stats
import tensorflow as tf
import torch
from reference import TOLERANCE, close, convolved, dense, spread
from scipy.special import log_expit

import advml.pytorch.gan as pytorch_gan
import advml.tensorflow.gan as tensorflow_gan
from advml.gan import (
    MOMENTUM,
    NORMAL_EPSILON,
    Rules,
    dense_layers,
    draw,
)
from advml.networks import EPSILON


class PyTorch:
    """Tensors of torch."""

    module = pytorch_gan

    @staticmethod
    def array(value, precision="float64"):
        return torch.as_tensor(np.array(value), dtype=dtype(precision))

    @staticmethod
    def numpy(value):
        return value.detach().numpy()

    @staticmethod
    def gradient(network, function):
        trained = [p for p in network.parameters() if p.requires_grad]
        slopes = iter(
            torch.autograd.grad(function(), trained, allow_unused=True)
        )
        found = [
            next(slopes) if p.requires_grad else None
            for p in network.parameters()
        ]
        return [None if s is None else s.numpy() for s in found]


class TensorFlow:
    """Tensors of TensorFlow."""

    module = tensorflow_gan

    @staticmethod
    def array(value, precision="float64"):
        return tf.constant(np.asarray(value), dtype=precision)

    @staticmethod
    def numpy(value):
        return value.numpy()

    @staticmethod
    def gradient(network, function):
        with tf.GradientTape() as tape:
            value = function()
        slopes = tape.gradient(value, [v for p in network.pairs for v in p])
        return [None if s is None else s.numpy() for s in slopes]


FRAMEWORKS = [PyTorch, TensorFlow]
both = pytest.mark.parametrize("framework", FRAMEWORKS)
precise = pytest.mark.parametrize("precision", list(TOLERANCE))
DENSE = {
    "leaky": ((3, 2, (5, 4)), {}),
    "silu": ((2, 4, (6,)), {"activation": "silu", "reach": 2.0}),
    "tanh": ((1, 3, (4,)), {"activation": "tanh"}),
    "linear": ((3, 2, ()), {}),
}
GENERATORS = {
    **{name: ("DenseGenerator", *how) for name, how in DENSE.items()},
    "8x8": ("ConvolutionalGenerator", (8, 3, (5, 4, 3)), {"size": 3}),
    "7x7": ("ConvolutionalGenerator", (7, 2, (4, 3)), {}),
    "plain": ("ConvolutionalGenerator", (9, 2, (3,)), {"normalise": False}),
    "28x28": ("ConvolutionalGenerator", (28,), {}),
}
DISCRIMINATORS = {
    **{
        name: ("DenseDiscriminator", (shape[1], shape[2]), options)
        for name, (shape, options) in DENSE.items()
    },
    "8x8": ("ConvolutionalDiscriminator", (8, (4, 5)), {"size": 3}),
    "7x7": ("ConvolutionalDiscriminator", (7, (3,)), {}),
    "28x28": ("ConvolutionalDiscriminator", (28,), {}),
}
generators = pytest.mark.parametrize("name", GENERATORS)
discriminators = pytest.mark.parametrize("name", DISCRIMINATORS)
PAIRS = ["leaky", "8x8", "7x7"]


def dtype(precision):
    return getattr(torch, precision)


def make(framework, table, name, precision="float64"):
    """Build a network whose biases are not those that it starts from."""
    kind, shape, options = table[name]
    which = precision if framework is TensorFlow else dtype(precision)
    network = getattr(framework.module, kind)(
        *shape, dtype=which, device="cpu", **options
    )
    rng = np.random.default_rng(0)
    n_layers = getattr(network, "n_layers", None)
    layers = [
        (np.float32(kernel), np.float32(rng.normal(0, 0.3, bias.shape)))
        for kernel, bias in network.to_numpy()[:n_layers]
    ]
    layers += [
        tuple(np.float32(rng.uniform(0.5, 2, a.shape)) for a in pair)
        for pair in network.to_numpy()[len(layers) :]
    ]
    return network.from_numpy(layers), layers


def normals(*shape, seed=1):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def images(network, n=4, seed=2):
    """Data that a generator of this shape can make."""
    rng = np.random.default_rng(seed)
    return np.float32(rng.uniform(-1, 1, (n, *network.shape)))


# ----- networks, in NumPy ---------------------------------------------------

ACTIVATIONS = {
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
leaky = ACTIVATIONS["leaky_relu"]


def generated(name, layers, z, training=False):
    """G(z), and the batch's means and variances."""
    kind, shape, options = GENERATORS[name]
    z, found = np.float64(z), []
    if kind == "DenseGenerator":
        activation = options.get("activation", "leaky_relu")
        return dense(layers, z, ACTIVATIONS[activation]), found
    side, channels = shape[0], shape[2] if len(shape) > 2 else (256, 128, 64)
    normalise = options.get("normalise", True)
    sides = [side]
    for _ in channels[1:]:
        sides.insert(0, (sides[0] + 1) // 2)
    layers, statistics = layers[: len(channels) + 1], layers[len(sides) + 1 :]
    y = (z @ np.float64(layers[0][0])).reshape(
        len(z), sides[0], sides[0], channels[0]
    )
    for i, target in enumerate([sides[0], *sides[1:]]):
        if normalise:
            mean, variance = np.float64(statistics[i])
            if training:
                mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
                n = y.size // channels[i]
                found.append((mean, variance * n / (n - 1)))
            y = (y - mean) / np.sqrt(variance + NORMAL_EPSILON)
        y = leaky(y + layers[i][1])
        y = np.stack([spread(one, layers[i + 1][0], 0, target) for one in y])
    return np.tanh(y[..., 0] + layers[-1][1]), found


def odds(name, layers, x):
    kind, _, options = DISCRIMINATORS[name]
    x = np.float64(x)
    if kind == "DenseDiscriminator":
        activation = options.get("activation", "leaky_relu")
        return dense(layers, x, ACTIVATIONS[activation])[:, 0]
    rows = []
    for image in x[..., None]:
        for layer in layers[:-1]:
            image = leaky(convolved(image, *layer))
        rows.append(image.ravel())
    return dense(layers[-1:], np.array(rows), None)[:, 0]


@both
@precise
@generators
def test_generators_are_those_of_numpy(framework, precision, name):
    network, layers = make(framework, GENERATORS, name, precision)
    z = normals(2 if name == "28x28" else 4, network.n_latent)
    want, _ = generated(name, layers, z)
    got = framework.numpy(network(z))
    close(got, want, 5 * (1 + np.abs(want).max()), precision)
    assert got.shape == (len(z), *network.shape)


@both
@precise
@generators
def test_training_normalises_over_the_batch(framework, precision, name):
    network, layers = make(framework, GENERATORS, name, precision)
    z, seen = normals(2 if name == "28x28" else 4, network.n_latent), []
    want, statistics = generated(name, layers, z, training=True)
    got = network.generate(framework.array(z, precision), seen)
    close(framework.numpy(got), want, 20 * (1 + np.abs(want).max()), precision)
    assert len(seen) == len(statistics)
    network.remember(seen)
    after = network.to_numpy()
    for i, (pair, found) in enumerate(zip(seen, statistics, strict=True)):
        before = layers[len(layers) - len(seen) + i]
        now = after[len(layers) - len(seen) + i]
        for one, other, old, new in zip(pair, found, before, now, strict=True):
            size = 20 * (1 + np.abs(other).max())
            close(framework.numpy(one), other, size, precision)
            running = MOMENTUM * np.float64(old) + (1 - MOMENTUM) * other
            close(new, running, size, precision)
    n_layers = len(layers) - len(seen)
    for pair, old in zip(after[:n_layers], layers[:n_layers], strict=True):
        np.testing.assert_array_equal(pair[0], old[0])
        np.testing.assert_array_equal(pair[1], old[1])


@both
@precise
@discriminators
def test_discriminators_are_those_of_numpy(framework, precision, name):
    network, layers = make(framework, DISCRIMINATORS, name, precision)
    x = images(network, 2 if name == "28x28" else 4)
    want = odds(name, layers, x)
    size = 5 * (1 + np.abs(want).max())
    close(framework.numpy(network(x)), want, size, precision)


def test_default_layers_are_those_of_the_tutorial():
    """Counted by hand from the layers of TensorFlow's DCGAN tutorial.

    Its generator normalises each of 12544 features of the dense layer and
    has a gain beside each shift; ours one shift per channel, and no gains.
    """
    g = pytorch_gan.ConvolutionalGenerator(28).to_numpy()
    shapes = [kernel.shape for kernel, _ in g[:4]]
    assert shapes == [
        (100, 7 * 7 * 256),
        (5, 5, 128, 256),
        (5, 5, 64, 128),
        (5, 5, 1, 64),
    ]
    d = pytorch_gan.ConvolutionalDiscriminator(28).to_numpy()
    assert sum(a.size for pair in d for a in pair) == 212865


# ----- losses and penalties -------------------------------------------------


@both
@precise
def test_losses_are_those_of_scipy(framework, precision):
    real, fake = normals(5), 3 * normals(7, seed=3)
    tensors = [framework.array(a, precision) for a in (real, fake)]
    module = framework.module
    wants = {
        "saturating": log_expit(-np.float64(fake)).mean(),
        "non-saturating": -log_expit(np.float64(fake)).mean(),
        "wasserstein": -np.float64(fake).mean(),
    }
    value = -log_expit(np.float64(real)).mean()
    value -= log_expit(-np.float64(fake)).mean()
    for loss, want in wants.items():
        got = framework.numpy(module.generator_loss(tensors[1], loss))
        close(got, want, 3, precision)
        got = framework.numpy(module.discriminator_loss(*tensors, loss))
        want = value
        if loss == "wasserstein":
            want = np.float64(fake).mean() - np.float64(real).mean()
        close(got, want, 3, precision)


@both
def test_losses_of_certain_odds_do_not_overflow(framework):
    far = framework.array([1e4, 1e4])
    module = framework.module
    assert float(module.discriminator_loss(-far, far)) == 2e4
    assert float(module.discriminator_loss(far, -far)) == 0
    assert float(module.generator_loss(-far)) == 1e4
    assert float(module.generator_loss(far, "saturating")) == -1e4


def slopes_by_difference(name, layers, x, h=1e-6):
    """∇f of each x by central differences in NumPy."""
    slope = np.zeros(x.shape)
    for i in np.ndindex(x.shape[1:]):
        step = np.zeros(x.shape[1:])
        step[i] = h
        ends = [odds(name, layers, x + s * step) for s in (1, -1)]
        slope[(slice(None), *i)] = (ends[0] - ends[1]) / (2 * h)
    return slope


@both
@pytest.mark.parametrize("name", ["leaky", "silu", "tanh", "8x8", "7x7"])
def test_penalties_are_those_of_finite_differences(framework, name):
    network, layers = make(framework, DISCRIMINATORS, name)
    x, fake = (np.float64(images(network, 4, s)) for s in (2, 3))
    u = np.array([0.0, 0.3, 0.7, 1.0])
    slope = slopes_by_difference(name, layers, x)
    want = (slope**2).sum(tuple(range(1, x.ndim))).mean() / 2
    got = framework.numpy(framework.module.r1_penalty(network, x))
    assert float(got) == pytest.approx(want, rel=1e-6)
    w = u.reshape(-1, *[1] * (x.ndim - 1))
    slope = slopes_by_difference(name, layers, w * x + (1 - w) * fake)
    length = np.sqrt((slope**2).sum(tuple(range(1, x.ndim))))
    got = framework.numpy(
        framework.module.lipschitz_penalty(network, x, fake, u)
    )
    assert float(got) == pytest.approx(((length - 1) ** 2).mean(), rel=1e-6)


@both
def test_penalties_of_a_linear_discriminator(framework):
    """f = a·x: R1 is |a|²/2 and the other (|a| − 1)², whatever the data."""
    network, layers = make(framework, DISCRIMINATORS, "linear")
    a = layers[0][0][:, 0].astype(float)
    x, fake, u = normals(6, 2), normals(6, 2, seed=5), np.linspace(0, 1, 6)
    module = framework.module
    got = float(framework.numpy(module.r1_penalty(network, x)))
    assert got == pytest.approx(a @ a / 2, rel=1e-12)
    penalty = module.lipschitz_penalty(network, x, fake, u)
    got = float(framework.numpy(penalty))
    assert got == pytest.approx((np.sqrt(a @ a) - 1) ** 2, rel=1e-10)


def objectives(framework, generator, discriminator, x, z, u):
    """Everything that is differentiated, as functions of the parameters."""
    module = framework.module

    def game():
        seen = []
        fake = generator.generate(framework.array(z), seen)
        return module.generator_loss(discriminator(fake))

    def critic():
        real, fake = discriminator(x), discriminator(generator(z))
        return module.discriminator_loss(real, fake)

    return {
        "generator": (generator, game),
        "discriminator": (discriminator, critic),
        "r1": (discriminator, lambda: module.r1_penalty(discriminator, x)),
        "lipschitz": (
            discriminator,
            lambda: module.lipschitz_penalty(
                discriminator, x, framework.numpy(generator(z)), u
            ),
        ),
    }


def players(framework, name, precision="float64"):
    tables = GENERATORS, DISCRIMINATORS
    return [make(framework, table, name, precision)[0] for table in tables]


@both
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "what", ["generator", "discriminator", "r1", "lipschitz"]
)
def test_gradients_are_finite_differences(framework, name, what):
    """Rectifiers have corners: a step of 1e-6 seldom meets one."""
    g, d = players(framework, name)
    x, z, u = images(d), normals(4, g.n_latent), np.linspace(0, 1, 4)
    network, value = objectives(framework, g, d, x, z, u)[what]
    slopes = framework.gradient(network, value)
    layers = network.to_numpy()
    arrays = [np.float64(a) for pair in layers for a in pair]
    slopes = [
        np.zeros_like(a) if s is None else s
        for s, a in zip(slopes, arrays, strict=True)
    ]
    assert any(s.any() for s in slopes)
    rng, h = np.random.default_rng(0), 1e-6
    for _ in range(3):
        way = [
            rng.normal(size=a.shape) if s.any() else np.zeros(a.shape)
            for s, a in zip(slopes, arrays, strict=True)
        ]
        ends = []
        for sign in (1, -1):
            moved = [
                a + sign * h * w for a, w in zip(arrays, way, strict=True)
            ]
            network.from_numpy(list(zip(moved[::2], moved[1::2], strict=True)))
            ends.append(float(value()))
        network.from_numpy(layers)
        want = sum(np.sum(s * w) for s, w in zip(slopes, way, strict=True))
        size = np.sqrt(sum(np.sum(s**2) for s in slopes))
        got = (ends[0] - ends[1]) / (2 * h)
        assert got == pytest.approx(want, abs=1e-5 * size)


@precise
@pytest.mark.parametrize("name", [*PAIRS, "28x28"])
@pytest.mark.parametrize(
    "what", ["generator", "discriminator", "r1", "lipschitz"]
)
def test_gradients_agree(precision, name, what):
    found = []
    for framework in FRAMEWORKS:
        g, d = players(framework, name, precision)
        x, z, u = images(d), normals(4, g.n_latent), np.linspace(0, 1, 4)
        z = framework.array(z, precision) if what == "generator" else z
        network, value = objectives(framework, g, d, x, z, u)[what]
        if what == "generator":

            def value(g=g, d=d, z=z, module=framework.module):
                return module.generator_loss(d(g.generate(z, [])))

        found.append(framework.gradient(network, value))
    known = [s for s in found[0] if s is not None]
    largest = max(np.abs(s).max() for s in known)
    for one, other in zip(*found, strict=True):
        # A bias that a penalty does not depend on: no slope, or zeros.
        one, other = (0.0 if s is None else s for s in (one, other))
        size = max(np.abs(one).max(), 0.01 * largest)
        gap = np.abs(one - other).max()
        assert gap <= 30 * TOLERANCE[precision] * size


# ----- the game -------------------------------------------------------------

GAMES = {
    "plain": {},
    "saturating": {"loss": "saturating"},
    "r1": {"r1": 0.7, "rate_ratio": 0.5, "final_learning_rate": 0.0},
    "annealed": {"instance_noise": 0.5, "n_critic": 2},
    "critic": {
        "loss": "wasserstein",
        "gradient_penalty": 10.0,
        "n_critic": 3,
        "betas": (0, 0.9),
        "averaging": 0.5,
    },
}
games = pytest.mark.parametrize("game", GAMES)


def played(framework, name, game, n_updates=6, precision="float64", **more):
    g, d = players(framework, name, precision)
    log = []
    options = {
        "batch_size": 5,
        "learning_rate": 1e-2,
        "seed": 4,
        "callback": lambda t, g, d, values: log.append([t, *values.values()]),
    }
    memory = framework.module.train(
        g,
        d,
        images(d, 11),
        n_updates=n_updates,
        **(options | GAMES[game] | more),
    )
    return g, d, memory, np.array(log)


def difference(one, other):
    return max(
        np.abs(a - b).max()
        for pair in zip(one, other, strict=True)
        for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("name", PAIRS)
@games
def test_trainings_agree(name, game):
    """Rounding may tip a rectifier; six updates of rate 0.01 do not."""
    (g, d, m, log), (g2, d2, m2, log2) = (
        played(framework, name, game) for framework in FRAMEWORKS
    )
    np.testing.assert_allclose(log, log2, atol=1e-7)
    assert difference(g.to_numpy(), g2.to_numpy()) < 1e-7
    assert difference(d.to_numpy(), d2.to_numpy()) < 1e-7
    assert m.random == m2.random
    assert m.settings == m2.settings
    assert m.n_updates == m2.n_updates == 6
    if "averaging" in GAMES[game]:
        assert difference(m.average, m2.average) < 1e-7
    for who in ("generator", "discriminator"):
        assert difference(m.moments[who], m2.moments[who]) < 1e-6


def adam(memory, t, slope, rate, betas):
    """One step of Adam for a list of arrays: the change of each."""
    changes = []
    for i, g in enumerate(slope):
        m, v = memory.setdefault(i, [0 * g, 0 * g])
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        memory[i] = [m, v]
        seen = [1 - b**t for b in betas]
        size = np.sqrt(v / seen[1]) + EPSILON
        changes.append(-rate * m / seen[0] / size)
    return changes


@both
def test_training_is_the_game_by_hand(framework):
    """G = a + bz and f = c + wx in one dimension, all slopes by hand.

    D steps first, on new data and samples, then G against the new D.
    """
    module, which = framework.module, {"dtype": dtype("float64")}
    if framework is TensorFlow:
        which = {"dtype": "float64"}
    g = module.DenseGenerator(1, 1, (), device="cpu", **which)
    d = module.DenseDiscriminator(1, (), device="cpu", **which)
    data = np.random.default_rng(5).normal(2, 0.5, (50, 1))
    rate, ratio, gamma, n, betas = 0.05, 2.0, 0.3, 8, (0.5, 0.9)
    (b, a), (w, c) = (net.to_numpy()[0] for net in (g, d))
    start = [[(b, a)], [(w, c)]]
    memories, t_d, rng = ({}, {}), 0, np.random.default_rng(7)
    for t in range(1, 6):
        rows = rng.integers(50, size=(2, n))
        zs = rng.standard_normal((2, n, 1))
        rng.random((2, n))
        for x, z in zip(data[rows], zs, strict=True):
            t_d += 1
            fake = a + b * z
            p_real = 1 / (1 + np.exp(-(c + w * x)))
            p_fake = 1 / (1 + np.exp(-(c + w * fake)))
            # d/df of −log D(x) is −(1 − D), of −log(1 − D) is D.
            slope_w = np.mean(-(1 - p_real) * x + p_fake * fake) + gamma * w
            slope_c = np.mean(-(1 - p_real) + p_fake)
            slopes = [slope_w, np.full(1, slope_c)]
            moves = adam(memories[1], t_d, slopes, ratio * rate, betas)
            w, c = w + moves[0], c + moves[1]
        p = 1 / (1 + np.exp(-(c + w * fake)))
        slopes = [np.mean(-(1 - p) * w * z) + 0 * b, np.mean(-(1 - p) * w)]
        slopes[1] = np.full(1, slopes[1])
        moves = adam(memories[0], t, slopes, rate, betas)
        b, a = b + moves[0], a + moves[1]
    for net, layers in zip((g, d), start, strict=True):
        net.from_numpy(layers)
    memory = module.train(
        g,
        d,
        data,
        n_updates=5,
        batch_size=n,
        learning_rate=rate,
        rate_ratio=ratio,
        betas=betas,
        r1=gamma,
        n_critic=2,
        seed=7,
    )
    assert difference(g.to_numpy(), [(b, a)]) < 1e-12
    assert difference(d.to_numpy(), [(w, c)]) < 1e-12
    assert memory.n_updates == 5


@both
@games
@pytest.mark.parametrize("name", ["leaky", "8x8"])
def test_interrupted_training_ends_like_an_uninterrupted_one(
    framework, name, game, tmp_path
):
    """To the last bit, from a file, after an interruption in the middle."""
    want_g, want_d, want, want_log = played(framework, name, game, 9)
    path, log = tmp_path / "game.npz", []
    options = {"checkpoint": path, "checkpoint_every": 2}

    def interrupt(t, g, d, values):
        log.append([t, *values.values()])
        if t == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        played(framework, name, game, 9, callback=interrupt, **options)
    g, d, memory, rest = played(framework, name, game, 9, **options)
    assert rest[0][0] == 5  # the file is that of update 4
    np.testing.assert_array_equal(np.vstack([log[:4], rest]), want_log)
    assert difference(g.to_numpy(), want_g.to_numpy()) == 0
    assert difference(d.to_numpy(), want_d.to_numpy()) == 0
    assert memory.random == want.random
    if want.average:
        assert difference(memory.average, want.average) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["game.npz"]
    # Once more: nothing is left to do, and the weights are those of the end.
    g, _, memory, rest = played(framework, name, game, 9, **options)
    assert len(rest) == 0
    assert memory.n_updates == 9
    assert difference(g.to_numpy(), want_g.to_numpy()) == 0


@both
def test_memory_goes_on_like_a_checkpoint(framework):
    want, _, _, _ = played(framework, "8x8", "critic", 7)
    g, d, memory, _ = played(framework, "8x8", "critic", 3)
    options = {"batch_size": 5, "learning_rate": 1e-2} | GAMES["critic"]
    framework.module.train(
        g, d, images(d, 11), n_updates=7, memory=memory, **options
    )
    assert difference(g.to_numpy(), want.to_numpy()) == 0


@both
def test_a_checkpoint_takes_numbers_and_generators_of_numpy(
    framework, tmp_path
):
    """The file has single precision's 0.01, which is not Python's."""

    def play(n_updates, **more):
        return played(
            framework,
            "leaky",
            "plain",
            n_updates,
            batch_size=np.int64(5),
            n_critic=np.int32(2),
            learning_rate=np.float32(1e-2),
            r1=np.float32(0.7),
            averaging=np.float32(0.9),
            seed=np.random.Generator(np.random.MT19937(3)),
            **more,
        )

    want_g, _, want, _ = play(4)
    path = tmp_path / "game.npz"
    play(2, checkpoint=path)
    g, _, memory, log = play(4, checkpoint=path)
    assert log[:, 0].tolist() == [3, 4]
    assert difference(g.to_numpy(), want_g.to_numpy()) == 0
    assert memory.settings == want.settings
    np.testing.assert_equal(memory.random, want.random)


@pytest.mark.parametrize("first", [0, 1])
def test_the_other_framework_can_go_on(first, tmp_path):
    one, other = FRAMEWORKS[first], FRAMEWORKS[1 - first]
    want, _, _, want_log = played(one, "8x8", "critic", 6)
    options = {"checkpoint": tmp_path / "game.npz"}
    played(one, "8x8", "critic", 3, **options)
    g, _, _, log = played(other, "8x8", "critic", 6, **options)
    np.testing.assert_allclose(log, want_log[3:], atol=1e-7)
    assert difference(g.to_numpy(), want.to_numpy()) < 1e-7


@both
def test_averages_are_means_first_and_exponential_later(framework):
    """Decay 0.75: the mean of up to four weights, then a quarter of each."""
    weights = []
    g, d = players(framework, "leaky")
    memory = framework.module.train(
        g,
        d,
        images(d, 11),
        n_updates=7,
        averaging=0.75,
        learning_rate=0.01,
        callback=lambda t, g, d, values: weights.append(g.to_numpy()),
    )
    for i, pair in enumerate(memory.average):
        for j, got in enumerate(pair):
            history = np.array([w[i][j] for w in weights])
            want = history[:4].mean(0)
            for new in history[4:]:
                want = 0.75 * want + 0.25 * new
            np.testing.assert_allclose(got, want, rtol=1e-12)


@both
def test_samples_are_the_generator_of_normal_numbers(framework):
    g, _ = players(framework, "leaky", "float32")
    z = np.random.default_rng(3).standard_normal((5, g.n_latent))
    np.testing.assert_array_equal(
        framework.numpy(g.sample(5, seed=3)), framework.numpy(g(z))
    )


# ----- inversion -------------------------------------------------------------


@both
def test_posterior_energy_is_a_gaussian_density_twice(framework):
    """−log N(x; G(z), σ²) − log N(z; 0, 1), up to its constant."""
    g, _ = make(framework, GENERATORS, "8x8")
    z, x, scale = normals(4, 3), images(g, 4), 0.4
    mean = framework.numpy(g(z))
    expected = -scipy.stats.norm(mean, scale).logpdf(x).sum((1, 2))
    expected -= scipy.stats.norm.logpdf(z).sum(1)
    constant = 64 * np.log(np.sqrt(2 * np.pi) * scale)
    constant += 3 * np.log(2 * np.pi) / 2
    found = framework.numpy(framework.module.posterior_energy(g, z, x, scale))
    np.testing.assert_allclose(found, expected - constant, rtol=1e-6)


@both
def test_inversion_of_a_linear_generator_is_ridge_regression(framework):
    g, [(kernel, bias)] = make(framework, GENERATORS, "linear")
    x, scale = normals(6, 2), 0.5
    z, energy = framework.module.invert(
        g, x, scale=scale, n_steps=600, learning_rate=0.3
    )
    kernel = kernel.astype(float)
    curvature = kernel @ kernel.T + scale**2 * np.eye(3)
    expected = np.linalg.solve(curvature, kernel @ (x - bias).T).T
    np.testing.assert_allclose(framework.numpy(z), expected, atol=1e-4)
    again = framework.module.posterior_energy(g, z, x, scale)
    np.testing.assert_allclose(
        framework.numpy(energy), framework.numpy(again), rtol=1e-12
    )


def test_inversions_are_equal():
    x, found = None, []
    for framework in FRAMEWORKS:
        g, _ = make(framework, GENERATORS, "8x8")
        x = images(g, 5) if x is None else x
        pair = framework.module.invert(g, x, scale=0.3, n_steps=20, seed=3)
        found.append([framework.numpy(a) for a in pair])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@both
def test_more_starts_find_lower_energies(framework):
    """The first start is the same: the best of four is no higher."""
    g, _ = make(framework, GENERATORS, "8x8")
    x = images(g, 1)
    one, four = (
        framework.numpy(
            framework.module.invert(g, x, scale=0.1, n_starts=n, n_steps=20)[1]
        )
        for n in (1, 4)
    )
    assert four <= one


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale must be positive"),
        ({"n_starts": 0}, "n_starts must be a whole number"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"learning_rate": -1}, "learning_rate must be positive"),
        ({"x": np.zeros((2, 7, 8))}, r"x must have shape \(n, 8, 8\)"),
    ],
)
def test_inversion_refuses_bad_arguments(framework, options, message):
    g, _ = make(framework, GENERATORS, "8x8")
    options = {"x": images(g, 2), "scale": 0.3} | options
    with pytest.raises(ValueError, match=message):
        framework.module.invert(g, **options)


@both
@pytest.mark.parametrize(("n", "m"), [(3, 1), (1, 3), (3, 2)])
def test_posterior_energy_refuses_batches_of_two_lengths(framework, n, m):
    g, _ = make(framework, GENERATORS, "linear")
    message = f"z and x must have equally many rows, but have {n} and {m}"
    with pytest.raises(ValueError, match=message):
        framework.module.posterior_energy(g, normals(n, 3), normals(m, 2), 1.0)


def test_posterior_energy_takes_batches_of_unknown_length():
    """In TensorFlow's graphs, with all that NumPy's arrays give."""
    g, _ = make(TensorFlow, GENERATORS, "linear")
    shapes = [tf.TensorSpec([None, n], "float64") for n in (3, 2)]

    @tf.function(input_signature=shapes)
    def energy(z, x):
        return tensorflow_gan.posterior_energy(g, z, x, 0.5)

    z, x = np.float64(normals(4, 3)), np.float64(normals(4, 2))
    want = tensorflow_gan.posterior_energy(g, z, x, 0.5)
    np.testing.assert_allclose(energy(z, x), want, rtol=1e-12)


FUNCTIONS = [
    "posterior_energy",
    "invert",
    "train",
    "discriminator_loss",
    "generator_loss",
    "r1_penalty",
    "lipschitz_penalty",
    "save_checkpoint",
    "load_checkpoint",
]
CLASSES = [
    f"{kind}{player}"
    for kind in ("Dense", "Convolutional")
    for player in ("Generator", "Discriminator")
]


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES, "Memory"])
def test_names_arguments_and_defaults_are_the_same(name):
    one, other = (
        [
            (a.name, a.kind, None if a.name == "dtype" else a.default)
            for a in inspect.signature(
                getattr(f.module, name)
            ).parameters.values()
        ]
        for f in FRAMEWORKS
    )
    assert one == other


@pytest.mark.parametrize("name", CLASSES)
def test_networks_have_the_same_methods(name):
    """But for `forward` and `call`, and what Keras needs to save them."""
    found = []
    for framework in FRAMEWORKS:
        kind = getattr(framework.module, name)
        own = [c for c in kind.__mro__ if c.__module__.startswith("advml")]
        found.append({n for c in own for n in vars(c) if n[0] != "_"})
    theirs, ours = found
    assert theirs - {"forward"} == ours - {"call", "get_config"}
    assert {"to_numpy", "from_numpy"} <= theirs


@both
@pytest.mark.parametrize("name", PAIRS)
def test_players_do_not_begin_with_the_same_numbers(framework, name):
    """With one seed their first kernels are those, up to a factor."""
    g, d = players(framework, name)
    one, other = (net.to_numpy()[0][0].ravel() for net in (g, d))
    n = min(one.size, other.size)
    assert abs(np.corrcoef(one[:n], other[:n])[0, 1]) < 0.9


def test_steps_of_the_first_layer_lie_all_over_the_cube():
    """W·(x − c): with one input each unit has its step at x = −b/W."""
    usual = dense_layers([1, 400, 1], "tanh", 0, 1.0, 0.0)
    sharp = dense_layers([1, 400, 1], "tanh", 0, 3.0, 5.0)
    np.testing.assert_allclose(sharp[0][0], 3 * usual[0][0])
    np.testing.assert_array_equal(sharp[1][0], usual[1][0])
    steps = -sharp[0][1] / sharp[0][0][0]
    assert np.abs(steps).max() <= 5
    assert scipy.stats.kstest(steps / 10 + 0.5, "uniform").pvalue > 1e-4
    assert not usual[0][1].any()


def test_instance_noise_is_annealed_in_data_and_samples():
    """Variances of x and e at the start, in the middle and at the end."""
    rules = Rules(
        loss="saturating",
        r1=0.0,
        gradient_penalty=0.0,
        n_critic=2,
        batch_size=5000,
        learning_rate=1.0,
        final_learning_rate=None,
        rate_ratio=1.0,
        betas=(0.0, 0.0),
        instance_noise=2.0,
        averaging=None,
    )
    noises = [noise for *_, noise in rules.schedule(100, 0)]
    assert noises[0] == 2.0
    assert noises[40] == pytest.approx(2.0 * 0.5**2)
    assert noises[80:] == [0.0] * 20
    assert noises[30:] == [noise for *_, noise in rules.schedule(100, 30)]
    rng, data = np.random.default_rng(0), np.full((3, 2), 7.0)
    for noise in (2.0, 0.5, 0.0):
        x, _, _, e = draw(rng, data, 1, rules, noise)
        assert x.shape == e.shape == (2, 5000, 2)
        for part in (x - 7.0, e):
            assert part.std() == pytest.approx(noise, rel=0.03)
        assert noise == 0 or abs(np.mean((x - 7) * e)) < 0.05 * noise**2


# ----- bad input ------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of .* not 'hinge'"),
        ({"r1": -1.0}, "r1 must be finite and >= 0, not -1"),
        ({"gradient_penalty": np.nan}, "gradient_penalty must be finite"),
        ({"n_critic": 0}, "n_critic must be a whole number >= 1, not 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"final_learning_rate": -1.0}, "final_learning_rate must be"),
        ({"rate_ratio": 0}, "rate_ratio must be positive"),
        ({"instance_noise": -1.0}, "instance_noise must be finite and >= 0"),
        ({"betas": (0.5,)}, "betas must be a pair"),
        ({"betas": (0.5, 1.0)}, r"betas must lie in \[0, 1\), not 1.0"),
        ({"averaging": 1.0}, r"averaging must lie in \[0, 1\), not 1.0"),
        ({"n_updates": 0}, "n_updates must be a whole number"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole"),
        ({"checkpoint": "game.pt"}, "path must end in .npz"),
    ],
)
def test_training_refuses_bad_arguments(framework, options, message):
    with pytest.raises(ValueError, match=message):
        played(framework, "leaky", "plain", **options)


@both
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :-1], r"data must have shape \(N, 8, 8\)"),
        (lambda x: x[:0], r"data must have shape .* N >= 1"),
        (lambda x: x * np.nan, "data must lie within ±1, .* holds nan"),
        (lambda x: 3 * (1 + x), "data must lie within ±1"),
    ],
)
def test_training_refuses_bad_data_and_touches_nothing(
    framework, change, message
):
    g, d = players(framework, "8x8")
    before = g.to_numpy(), d.to_numpy()
    with pytest.raises(ValueError, match=message):
        framework.module.train(g, d, change(images(d)), n_updates=1)
    assert difference(g.to_numpy(), before[0]) == 0
    assert difference(d.to_numpy(), before[1]) == 0


@both
@pytest.mark.parametrize(
    ("value", "found"), [(np.inf, "inf"), (1e39, "inf"), (np.nan, "nan")]
)
def test_dense_games_refuse_data_that_are_not_finite(framework, value, found):
    """1e39 is not in the range of single precision."""
    g, d = players(framework, "leaky", "float32")
    data = np.float64(images(d))
    data[1, 0] = value
    message = f"data must be finite in float32, but holds {found}"
    with pytest.raises(ValueError, match=message):
        framework.module.train(g, d, data, n_updates=1)


@both
def test_a_checkpoint_without_a_folder_is_refused_at_once(framework, tmp_path):
    log, path = [], tmp_path / "none" / "game.npz"
    with pytest.raises(FileNotFoundError, match="checkpoint must be in a fo"):
        played(
            framework,
            "leaky",
            "plain",
            checkpoint=path,
            callback=lambda *values: log.append(values),
        )
    assert not log


def test_players_on_two_devices_are_refused():
    """Before the first step; "meta" stands in for a second device."""
    g, _ = players(PyTorch, "leaky")
    d = pytorch_gan.DenseDiscriminator(2, device="meta")
    with pytest.raises(ValueError, match="on one device, not on cpu and meta"):
        pytorch_gan.train(g, d, np.zeros((3, 2)), n_updates=1)


@both
def test_networks_refuse_what_does_not_fit(framework):
    module = framework.module
    g, d = players(framework, "8x8")
    with pytest.raises(ValueError, match=r"z must have shape \(n, 3\)"):
        g(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 8, 8\)"):
        d(np.zeros((4, 7, 8)))
    with pytest.raises(ValueError, match="activation must be one of"):
        module.DenseGenerator(2, 2, activation="relu")
    with pytest.raises(ValueError, match="sharpness must be positive"):
        module.DenseDiscriminator(2, sharpness=0)
    with pytest.raises(ValueError, match="reach must be finite and >= 0"):
        module.DenseGenerator(2, 2, reach=-1.0)
    with pytest.raises(ValueError, match="channels must have one entry"):
        module.ConvolutionalGenerator(8, 3, ())
    with pytest.raises(ValueError, match="odd"):
        module.ConvolutionalDiscriminator(8, size=4)
    with pytest.raises(ValueError, match="generator makes data of shape"):
        other = module.DenseDiscriminator(2)
        module.train(g, other, np.zeros((3, 2)), n_updates=1)


@both
def test_a_diverging_game_stops_with_a_name(framework):
    with pytest.raises(FloatingPointError, match="is not finite in update"):
        played(framework, "leaky", "plain", learning_rate=1e120)


@both
def test_checkpoints_of_another_training_are_refused(framework, tmp_path):
    path = tmp_path / "game.npz"
    played(framework, "8x8", "plain", 2, checkpoint=path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"r1 must be 0.0 as in the check"):
        played(framework, "8x8", "plain", 4, checkpoint=path, r1=1.0)
    with pytest.raises(ValueError, match="must have shapes"):
        played(framework, "7x7", "plain", 4, checkpoint=path)
    with pytest.raises(ValueError, match="n_updates must be at least the 2"):
        played(framework, "8x8", "plain", 1, checkpoint=path)
    assert path.read_bytes() == content
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is not a checkpoint"):
        played(framework, "8x8", "plain", 4, checkpoint=path)
    assert path.stat().st_size == len(content) // 2


@both
def test_a_refused_checkpoint_leaves_the_weights_alone(framework, tmp_path):
    path = tmp_path / "game.npz"
    played(framework, "8x8", "plain", 2, checkpoint=path)
    g, d = players(framework, "8x8")
    before = g.to_numpy(), d.to_numpy()
    with pytest.raises(ValueError, match="batch_size"):
        framework.module.train(
            g, d, images(d), n_updates=4, checkpoint=path, batch_size=3
        )
    assert difference(g.to_numpy(), before[0]) == 0
    assert difference(d.to_numpy(), before[1]) == 0


@both
def test_data_may_run_backwards_or_be_read_only(framework):
    g, d = players(framework, "8x8")
    x, z = images(d), normals(4, g.n_latent)
    for change in (
        lambda a: a[::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),
    ):
        for network, data in ((g, z), (d, x)):
            got = framework.numpy(network(change(data)))
            want = framework.numpy(network(change(data).copy()))
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
def test_widths_in_an_array_can_be_saved(kind, tmp_path):
    size = (2, 3) if kind == "Generator" else (3,)
    make_one = getattr(tensorflow_gan, f"Dense{kind}")
    network = make_one(*size, np.array([5, 4]))
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    x = normals(4, size[0])
    np.testing.assert_array_equal(loaded(x), network(x))
