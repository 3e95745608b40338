"""NumPy, PyTorch and TensorFlow hold the same numbers.

Equal weights and equal random numbers go in; what comes out is compared with
sums over all states, or with the equations written out in double precision.
Another model joins by its own reference and its own list of quantities.

Tolerances. One operation rounds by at most u = 6e-8 (float32) or 1.1e-16
(float64) of its result, and a sum of n terms by some √n u of the sum of their
sizes: it is that sum, not the result, to which an error is relative, because
terms may cancel. n is at most 64 here, so that 1e-6 of it leaves a factor of
two in single precision, and 1e-12 three digits in double precision.
"""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import torch
from scipy.special import expit, logsumexp

import advml.pytorch.rbm as pytorch_rbm
import advml.tensorflow.rbm as tensorflow_rbm
from advml import rbm as numpy_rbm
from advml.rbm import Gradient, all_states

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
PRECISIONS = list(TOLERANCE)


class NumPy:
    """The course's own arrays, always in double precision."""

    array = staticmethod(lambda value, precision: np.asarray(value))
    numpy = staticmethod(np.asarray)
    rbm = staticmethod(lambda rbm, precision: rbm)


class PyTorch:
    """Tensors of torch."""

    module = pytorch_rbm

    @staticmethod
    def array(value, precision):
        return torch.as_tensor(np.asarray(value), dtype=dtype(precision))

    @staticmethod
    def numpy(value):
        return value.detach().numpy()

    @staticmethod
    def rbm(rbm, precision):
        return pytorch_rbm.RBM.from_numpy(
            rbm, device="cpu", dtype=dtype(precision)
        )


class TensorFlow:
    """Tensors of TensorFlow."""

    module = tensorflow_rbm

    @staticmethod
    def array(value, precision):
        return tf.constant(np.asarray(value), dtype=precision)

    @staticmethod
    def numpy(value):
        return tf.convert_to_tensor(value).numpy()

    @staticmethod
    def rbm(rbm, precision):
        return tensorflow_rbm.RBM.from_numpy(
            rbm, device="cpu", dtype=precision
        )


FRAMEWORKS = [PyTorch, TensorFlow]
IMPLEMENTATIONS = [(NumPy, "float64")] + [
    (framework, precision)
    for framework in FRAMEWORKS
    for precision in PRECISIONS
]


def name(value):
    return getattr(value, "__name__", None)


def dtype(precision):
    return getattr(torch, precision)


def assert_same(measured, expected, scale, precision):
    """Compare up to rounding, relative to `scale`."""
    error = np.abs(measured - expected)
    assert measured.shape == np.shape(expected)
    assert np.all(error <= TOLERANCE[precision] * scale), error.max()


def machine(n_visible=7, n_hidden=5, seed=0, scale=1.0):
    """Random parameters that both precisions hold exactly."""
    rng = np.random.default_rng(seed)
    shapes = (n_visible, n_hidden), n_visible, n_hidden
    return numpy_rbm.RBM(
        *(np.float32(rng.normal(0, scale, shape)) for shape in shapes)
    )


# ----- energies and conditionals, against sums over all states -------------


def enumerated(rbm):
    """Energies, free energies and conditionals from the energy alone."""
    x, h = all_states(rbm.n_visible), all_states(rbm.n_hidden)
    w, a, b = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    energy = -np.add.outer(x @ a, h @ b) - np.einsum("xi,ij,hj->xh", x, w, h)
    p = np.exp(-energy - logsumexp(-energy))
    return {
        "energy": energy,
        "free_energy": -logsumexp(-energy, axis=1),
        "hidden_probability": p @ h / p.sum(1)[:, None],
        "visible_probability": p.T @ x / p.sum(0)[:, None],
    }


def sizes(rbm):
    """Sum of the sizes of all terms in the energies; 1 for probabilities."""
    x, h = all_states(rbm.n_visible), all_states(rbm.n_hidden)
    w, a, b = map(np.abs, (rbm.weights, rbm.visible_bias, rbm.hidden_bias))
    energy = np.add.outer(x @ a, h @ b) + np.einsum("xi,ij,hj->xh", x, w, h)
    free = x @ a + np.log1p(np.exp(b + x @ w)).sum(1)
    return {"energy": energy, "free_energy": free}


@pytest.mark.parametrize(("framework", "precision"), IMPLEMENTATIONS, ids=name)
@pytest.mark.parametrize(
    "quantity",
    ["energy", "free_energy", "hidden_probability", "visible_probability"],
)
def test_formulas_equal_sums_over_all_states(framework, precision, quantity):
    exact = machine()
    rbm = framework.rbm(exact, precision)
    x, h = (framework.array(all_states(n), precision) for n in (7, 5))
    arguments = {
        "energy": (x[:, None], h[None]),
        "visible_probability": (h,),
    }.get(quantity, (x,))
    measured = framework.numpy(getattr(rbm, quantity)(*arguments))
    scale = sizes(exact).get(quantity, 1)
    assert_same(measured, enumerated(exact)[quantity], scale, precision)


@pytest.mark.parametrize(("framework", "precision"), IMPLEMENTATIONS, ids=name)
def test_formulas_equal_their_definition_on_the_digits_scale(
    framework, precision
):
    exact = machine(64, 16, scale=0.5)
    x = np.random.default_rng(1).integers(0, 2, (50, 64)).astype(float)
    field = x @ exact.weights + exact.hidden_bias
    largest = x @ np.abs(exact.weights) + np.abs(exact.hidden_bias)
    free = -x @ exact.visible_bias - np.logaddexp(0, field).sum(1)
    size = x @ np.abs(exact.visible_bias) + np.logaddexp(0, largest).sum(1)
    rbm, tensor = (
        framework.rbm(exact, precision),
        framework.array(x, precision),
    )
    measured = framework.numpy(rbm.free_energy(tensor))
    assert_same(measured, free, size, precision)
    measured = framework.numpy(rbm.hidden_probability(tensor))
    assert_same(measured, expit(field), np.maximum(1, largest), precision)


@pytest.mark.parametrize(("framework", "precision"), IMPLEMENTATIONS, ids=name)
def test_a_state_a_batch_and_a_stack_have_the_same_numbers(
    framework, precision
):
    rbm = framework.rbm(machine(), precision)
    x = all_states(7)[:6].reshape(2, 3, 7)
    stack = framework.array(x, precision)
    for method in ("free_energy", "hidden_probability"):
        function = getattr(rbm, method)
        of_stack = framework.numpy(function(stack))
        for i, j in np.ndindex(2, 3):
            alone = framework.numpy(function(stack[i, j]))
            assert_same(alone, of_stack[i, j], 50, precision)


@pytest.mark.parametrize(("framework", "precision"), IMPLEMENTATIONS, ids=name)
def test_free_energies_keep_their_digits_at_large_fields(framework, precision):
    exact = numpy_rbm.RBM([[25.0], [800.0], [-800.0]], np.zeros(3), [0.0])
    rbm = framework.rbm(exact, precision)
    x = framework.array(np.eye(3), precision)
    expected = np.array([-25 - np.log1p(np.exp(-25.0)), -800.0, 0.0])
    measured = framework.numpy(rbm.free_energy(x))
    rounding = np.finfo(precision).eps
    np.testing.assert_allclose(measured, expected, rtol=rounding, atol=0)


# ----- one step, and several -------------------------------------------------


def reference_step(rbm, x, chains, uniforms, rate, momentum, decay, velocity):
    """eq-training-update in NumPy; coins that rounding could turn are refused.

    Returns the new machine, the chains and the new velocity.
    """
    w, a, b = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    data_h = expit(x @ w + b)
    q = data_h if chains is None else chains
    for u_h, u_x in zip(*uniforms, strict=True):
        p_x = expit((u_h < q) @ w.T + a)
        assert np.abs(u_h - q).min() > 1e-5
        assert np.abs(u_x - p_x).min() > 1e-5
        model_x = (u_x < p_x).astype(float)
        q = expit(model_x @ w + b)
    gradient = (
        np.einsum("ni,nj->ij", x, data_h) / len(x)
        - np.einsum("ni,nj->ij", model_x, q) / len(q)
        - decay * w,
        x.mean(0) - model_x.mean(0),
        data_h.mean(0) - q.mean(0),
    )
    new = [
        momentum * v + rate * g
        for v, g in zip(velocity, gradient, strict=True)
    ]
    moved = [p + v for p, v in zip((w, a, b), new, strict=True)]
    return numpy_rbm.RBM(*moved), q, new


def parameters(rbm):
    return rbm.weights, rbm.visible_bias, rbm.hidden_bias


def zeros(rbm):
    return [np.zeros(p.shape) for p in parameters(rbm)]


def draw(rng, n_steps, n_chains, n_units):
    """Uniform numbers that both precisions hold exactly."""
    return rng.integers(0, 2**20, (n_steps, n_chains, n_units)) / 2**20


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=name)
@pytest.mark.parametrize("n_persistent", [4, 9, None])
@pytest.mark.parametrize("n_gibbs_steps", [1, 3])
def test_one_step_equals_the_equations(
    framework, precision, n_persistent, n_gibbs_steps
):
    rng = np.random.default_rng(6)
    exact = machine(64, 16, scale=0.3)
    x = rng.integers(0, 2, (9, 64)).astype(float)
    n_chains = n_persistent or len(x)
    chains = draw(rng, 1, n_chains, 16)[0] if n_persistent else None
    uniforms = [draw(rng, n_gibbs_steps, n_chains, n) for n in (16, 64)]
    old = [rng.integers(-99, 99, p.shape) / 1024 for p in parameters(exact)]
    constants = 0.125, 0.6, 0.02
    want = reference_step(exact, x, chains, uniforms, *constants, old)

    rbm = framework.rbm(exact, precision)
    velocity = framework.module.zero_velocity(rbm)
    for slot, value in zip(velocity, old, strict=True):
        value = framework.array(value, precision)
        slot.copy_(value) if framework is PyTorch else slot.assign(value)
    start = None if chains is None else framework.array(chains, precision)
    reached = framework.module.step(
        rbm,
        framework.array(x, precision),
        start,
        *(framework.array(u, precision) for u in uniforms),
        learning_rate=constants[0],
        momentum=constants[1],
        weight_decay=constants[2],
        velocity=velocity,
    )
    new, want_chains, want_velocity = want
    for got, expected in zip(
        parameters(rbm.to_numpy()), parameters(new), strict=True
    ):
        assert_same(got, expected, 1 + np.abs(expected), precision)
    assert_same(framework.numpy(reached), want_chains, 1, precision)
    for got, expected in zip(velocity, want_velocity, strict=True):
        assert_same(framework.numpy(got), expected, 1, precision)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=name)
def test_momentum_without_a_velocity_is_refused(framework):
    rbm = framework.rbm(exact := machine(), "float64")
    x, u_h, u_x = (
        framework.array(np.zeros(shape), "float64")
        for shape in ((3, 7), (1, 3, 5), (1, 3, 7))
    )
    with pytest.raises(ValueError, match=r"momentum must be 0 .* not 0\.5"):
        framework.module.step(
            rbm, x, None, u_h, u_x, learning_rate=0.1, momentum=0.5
        )
    for same, before in zip(
        parameters(rbm.to_numpy()), parameters(exact), strict=True
    ):
        np.testing.assert_array_equal(same, before)


class Supply:
    """The same batches and random numbers for every implementation."""

    def __init__(self, data, size, epochs, seed):
        self.rng = np.random.default_rng(seed)
        self.size = size
        self.epochs = [self.rng.permutation(data) for _ in range(epochs)]
        self.seed = int(self.rng.integers(2**31))

    def batches(self):
        for rows in self.epochs:
            yield from np.split(rows, range(self.size, len(rows), self.size))

    def uniforms(self):
        """Return a function (k, n, n_units) → numbers that starts afresh."""
        rng = np.random.default_rng(self.seed)
        return lambda *shape: draw(rng, *map(int, shape))

    def patch(self, monkeypatch, framework, precision):
        feed = self.uniforms()
        if framework is PyTorch:
            pieces = self.batches()
            per_epoch = -(-len(self.epochs[0]) // self.size)

            def batches(data, size, generator):
                for _ in range(per_epoch):
                    yield PyTorch.array(next(pieces), precision)

            def uniforms(rbm, k, n, generator):
                units = rbm.n_hidden, rbm.n_visible
                return [PyTorch.array(feed(k, n, m), precision) for m in units]

        else:

            def batches(data, size, number):
                return tf.data.Dataset.from_generator(
                    self.batches,
                    output_signature=tf.TensorSpec((None, data.shape[1])),
                )

            def uniforms(rbm, k, n, state):
                return [later(feed, precision, k, n, m) for m in units_of(rbm)]

        monkeypatch.setattr(framework.module, "_batches", batches)
        monkeypatch.setattr(framework.module, "_uniforms", uniforms)


def units_of(rbm):
    return rbm.n_hidden, rbm.n_visible


def later(feed, precision, k, n, m):
    """Numbers that are fed whenever the graph runs, not when it is traced."""
    drawn = tf.numpy_function(
        lambda n: feed(k, n, m).astype(precision), [n], precision
    )
    drawn.set_shape((k, None, m))
    return drawn


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("framework", FRAMEWORKS, ids=name)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "cd", "n_gibbs_steps": 3},
        {"momentum": 0.6},
        {"momentum": 0.6, "weight_decay": 0.02, "n_gibbs_steps": 3},
        {"method": "cd", "weight_decay": 0.1, "final_learning_rate": 0.0},
        {"momentum": 0.7, "final_learning_rate": 0.03},
    ],
    ids=str,
)
def test_training_equals_the_equations(
    framework, precision, options, monkeypatch
):
    """Two epochs of two batches, the second of which is smaller."""
    exact = machine(20, 6, seed=2, scale=0.3)
    data = np.random.default_rng(4).integers(0, 2, (7, 20)).astype(float)
    supply = Supply(data, 4, 2, seed=5)
    k, rate = options.get("n_gibbs_steps", 1), 0.3
    rates = np.linspace(rate, options.get("final_learning_rate", rate), 4)
    constants = [options.get(n, 0.0) for n in ("momentum", "weight_decay")]
    persistent = options.get("method") != "cd"
    feed = supply.uniforms()
    want, velocity = exact, zeros(exact)
    chains = np.full((4, 6), 0.5) if persistent else None
    for x, rate_now in zip(supply.batches(), rates, strict=True):
        n = 4 if persistent else len(x)
        uniforms = feed(k, n, 6), feed(k, n, 20)
        want, reached, velocity = reference_step(
            want, x, chains, uniforms, rate_now, *constants, velocity
        )
        chains = reached if persistent else None

    supply.patch(monkeypatch, framework, precision)
    rbm = framework.rbm(exact, precision)
    got_chains = framework.module.train(
        rbm, data, epochs=2, batch_size=4, learning_rate=rate, **options
    )
    for got, expected in zip(
        parameters(rbm.to_numpy()), parameters(want), strict=True
    ):
        assert_same(got, expected, 1 + np.abs(expected), precision)
    if persistent:
        got = framework.numpy(got_chains)
        assert_same(got, chains, 1, precision)
    else:
        assert got_chains is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_automatic_differentiation_agrees_in_both(precision):
    """∇[⟨F⟩_chains − ⟨F⟩_batch] at fixed states is the step at rate 1."""
    exact = machine(64, 16, scale=0.3)
    x, model_x = np.random.default_rng(2).integers(0, 2, (2, 9, 64))
    a, b = (PyTorch.array(s, precision) for s in (x, model_x))
    rbm = PyTorch.rbm(exact, precision)
    gap = rbm.free_energy(b).mean() - rbm.free_energy(a).mean()
    of_torch = torch.autograd.grad(gap, list(rbm.parameters()))
    a, b = (TensorFlow.array(s, precision) for s in (x, model_x))
    rbm = TensorFlow.rbm(exact, precision)
    with tf.GradientTape() as tape:
        gap = tf.reduce_mean(rbm.free_energy(b))
        gap -= tf.reduce_mean(rbm.free_energy(a))
    of_tensorflow = tape.gradient(gap, rbm.trainable_variables)
    want = Gradient(
        *(
            d - m
            for d, m in zip(
                numpy_rbm.phase(exact, x.astype(float)),
                numpy_rbm.phase(exact, model_x.astype(float)),
                strict=True,
            )
        )
    )
    for one, other, expected in zip(
        of_torch, of_tensorflow, want, strict=True
    ):
        assert_same(one.numpy(), expected, 1, precision)
        assert_same(other.numpy(), expected, 1, precision)


# ----- names, arguments and starting points ---------------------------------

# What Keras asks of a model, and PyTorch does not.
KERAS_ONLY = {
    "call",
    "compile",
    "train_step",
    "test_step",
    "get_config",
    "from_config",
    "get_compile_config",
    "compile_from_config",
}


def public(module):
    """Names that a module defines, constants included."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", "") == module.__name__
            or name.isupper()
        )
        and value is not numpy_rbm.RBM
    }


def arguments(function):
    """Names, kinds and defaults; a type has another name in each."""
    return [
        (p.name, p.kind, None if p.name == "dtype" else p.default)
        for p in inspect.signature(function).parameters.values()
    ]


def test_both_modules_have_the_same_names():
    assert public(pytorch_rbm) == public(tensorflow_rbm)
    assert pytorch_rbm.METHODS == tensorflow_rbm.METHODS
    ours, theirs = (
        {n for n in vars(m.RBM) if not n.startswith("_")}
        for m in (tensorflow_rbm, pytorch_rbm)
    )
    assert ours - theirs == KERAS_ONLY
    assert theirs <= ours


def test_both_modules_take_the_same_arguments():
    compared = 0
    for name in public(pytorch_rbm) - {"METHODS"}:
        one, other = getattr(pytorch_rbm, name), getattr(tensorflow_rbm, name)
        assert arguments(one) == arguments(other), name
        compared += 1
    for name, method in vars(pytorch_rbm.RBM).items():
        if callable(getattr(pytorch_rbm.RBM, name)) and name[0] != "_":
            other = getattr(tensorflow_rbm.RBM, name)
            assert arguments(getattr(pytorch_rbm.RBM, name)) == arguments(
                other
            ), method
            compared += 1
    assert compared >= 12


@pytest.mark.parametrize("precision", PRECISIONS)
def test_both_start_from_the_same_numbers(precision):
    options = {"visible_bias": np.arange(6.0), "seed": 3, "device": "cpu"}
    one = pytorch_rbm.RBM(6, 4, dtype=dtype(precision), **options)
    other = tensorflow_rbm.RBM(6, 4, dtype=precision, **options)
    for a, b in zip(
        parameters(one.to_numpy()), parameters(other.to_numpy()), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_go_round_all_three_without_a_change(precision):
    exact = machine()
    there = PyTorch.rbm(exact, precision).to_numpy()
    back = TensorFlow.rbm(there, precision).to_numpy()
    for a, b in zip(parameters(exact), parameters(back), strict=True):
        np.testing.assert_array_equal(a, b)
