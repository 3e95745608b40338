"""The binary restricted Boltzmann machine as a Keras model.

The model is that of :class:`advml.rbm.RBM`, on any device and in single
precision unless asked otherwise. `compile` and `fit` work as for any Keras
model; the training step is the model's own, a difference of two averages
without automatic differentiation. Names and arguments are those of the
PyTorch module.
"""

import keras
import numpy as np
import tensorflow as tf

from advml.rbm import METHODS as METHODS
from advml.rbm import RBM as NumpyRBM
from advml.rbm import Gradient, number_of_chains, start_values
from advml.validation import (
    binary_rows,
    count,
    fraction,
    nonnegative,
    positive,
)


@keras.saving.register_keras_serializable(package="advml")
class RBM(keras.Model):
    """Binary machine, E(x,h) = −a·x − b·h − xᵀWh (eq-rbm-energy).

    Parameters of the model are `weight_matrix` W (n_visible, n_hidden),
    `visible_bias` a and `hidden_bias` b. A state that training leaves behind
    is saved with them: `chains` and `random_state`. `fit` does not check its
    images; :func:`train` does.

    Parameters
    ----------
    n_visible, n_hidden : int
        Numbers of units.
    weight_scale : float
        Standard deviation of the normal initial weights. Equal weights would
        stay equal for ever; small random ones break the symmetry.
    visible_bias : array (n_visible,), optional
        Initial visible biases, zero if not given.
    seed : int or numpy.random.Generator
        Source of the initial weights.
    device, dtype
        Where and how precisely the parameters are stored. The default is
        the first GPU if there is one, and single precision.

    Source: Smolensky (1986); initial values: Hinton (2012), section 8.
    """

    def __init__(
        self,
        n_visible,
        n_hidden,
        *,
        weight_scale=0.01,
        visible_bias=None,
        seed=0,
        device=None,
        dtype=tf.float32,
    ):
        """Draw small random weights; see the class for the arguments."""
        super().__init__(dtype=tf.as_dtype(dtype).name)
        start = start_values(
            n_visible, n_hidden, weight_scale, visible_bias, seed
        )
        self.n_visible, self.n_hidden = start.n_visible, start.n_hidden
        self._device = device
        self.weight_matrix = self._variable("weight_matrix", start.weights)
        self.visible_bias = self._variable("visible_bias", start.visible_bias)
        self.hidden_bias = self._variable("hidden_bias", start.hidden_bias)
        self.random_state = self._variable(
            "random_state", np.zeros(2, np.int64), trainable=False
        )
        self.chains = None
        self.mismatch = keras.metrics.Mean("mismatch")
        self.average = keras.metrics.Mean("free_energy")
        self.built = True

    def _variable(self, name, value, **options):
        dtype = self.dtype if value.dtype.kind == "f" else value.dtype.name
        with tf.device(self._device):
            variable = self.add_weight(
                name=name,
                shape=value.shape,
                dtype=dtype,
                initializer="zeros",
                **options,
            )
            variable.assign(value)
        return variable

    @classmethod
    def from_numpy(cls, rbm, *, device=None, dtype=tf.float32):
        """Return a copy of an :class:`advml.rbm.RBM`."""
        new = cls(rbm.n_visible, rbm.n_hidden, device=device, dtype=dtype)
        values = (rbm.weights, rbm.visible_bias, rbm.hidden_bias)
        for variable, value in zip(
            new.trainable_variables, values, strict=True
        ):
            variable.assign(value)
        return new

    def to_numpy(self):
        """Return a copy as :class:`advml.rbm.RBM`, in double precision."""
        parameters = self.weight_matrix, self.visible_bias, self.hidden_bias
        return NumpyRBM(*(v.numpy() for v in parameters))

    def energy(self, x, h):
        """Energy of joint states, (..., units) → (...) (eq-rbm-energy)."""
        interaction = tf.reduce_sum(_dot(x, self.weight_matrix) * h, -1)
        return (
            -tf.reduce_sum(x * self.visible_bias, -1)
            - tf.reduce_sum(h * self.hidden_bias, -1)
            - interaction
        )

    def free_energy(self, x):
        """F(x) = −a·x − Σ_j softplus(b_j + (xW)_j) (eq-rbm-free-energy)."""
        field = _dot(x, self.weight_matrix) + self.hidden_bias
        softplus = tf.math.softplus(field)  # neither overflows nor cancels
        visible = tf.reduce_sum(x * self.visible_bias, -1)
        return -visible - tf.reduce_sum(softplus, -1)

    def hidden_probability(self, x):
        """p(h_j = 1 | x) = σ(b_j + (xW)_j) (eq-rbm-conditionals)."""
        return tf.sigmoid(_dot(x, self.weight_matrix) + self.hidden_bias)

    def visible_probability(self, h):
        """p(x_i = 1 | h) = σ(a_i + (Wh)_i) (eq-rbm-conditionals)."""
        field = _dot(h, self.weight_matrix, transpose_b=True)
        return tf.sigmoid(field + self.visible_bias)

    def sample(self, n, n_steps, seed, *, start=None):
        """Visible states (n, n_visible) after `n_steps` block Gibbs sweeps.

        Chains begin at `start`, or at fair coins. Whether `n_steps` is enough
        to forget the beginning is for the caller to know.
        """
        state = tf.Variable([_whole_number(seed), 0], dtype=tf.int64)
        x = _start(self, count("n", n), start, state)
        n_steps = count("n_steps", n_steps, at_least=0)
        return _sweeps(self, x, tf.constant(n_steps), state)

    def call(self, x):
        """Free energies: what `predict` returns."""
        return self.free_energy(tf.cast(x, self.dtype))

    def compile(
        self,
        optimizer,
        *,
        method="pcd",
        n_gibbs_steps=1,
        weight_decay=0.0,
        n_chains=64,
        seed=0,
        **options,
    ):
        """Say how `fit` is to train (eq-training-update).

        The `optimizer` knows the learning rate and the momentum. `options`
        go to `keras.Model.compile`; the other arguments are those of
        :func:`train`. Persistent chains begin at coin tosses, also when a
        model is compiled again: to go on with another rate, assign to
        `optimizer.learning_rate`.
        """
        n_gibbs_steps = count("n_gibbs_steps", n_gibbs_steps)
        nonnegative("weight_decay", weight_decay)
        n_chains = number_of_chains(method, n_chains, None, self.n_hidden)
        # XLA made a step about ten times slower on a CPU, where Keras leaves
        # it off. With a GPU it would switch it on, which nobody measured.
        options = {"jit_compile": False} | options
        super().compile(optimizer=optimizer, **options)
        if isinstance(getattr(self.optimizer, "momentum", None), float):
            # Keras rounds Python's own numbers to float32, but not NumPy's.
            self.optimizer.momentum = np.float64(self.optimizer.momentum)
        self.method, self.weight_decay = method, weight_decay
        self.n_gibbs_steps = n_gibbs_steps
        self._toss_chains(n_chains)
        self.random_state.assign([_whole_number(seed), 0])

    def _toss_chains(self, n_chains):
        """Make persistent chains at fair coins; none if `n_chains` is 0."""
        if self.chains is not None:
            del self.chains  # Keras then forgets the variable, too
        self.chains = None
        if n_chains:
            fair = np.full((n_chains, self.n_hidden), 0.5)
            self.chains = self._variable("chains", fair, trainable=False)

    def train_step(self, data):
        """One step of `fit`: two phases, and the optimiser's update."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        x = tf.cast(x, self.dtype)
        chains = self.chains
        n = tf.shape(x)[0] if chains is None else chains.shape[0]
        uniforms = _uniforms(self, self.n_gibbs_steps, n, self.random_state)
        gradient, reached = _loss_gradient(
            self, x, chains, *uniforms, self.weight_decay
        )
        self.optimizer.apply(list(gradient), self.trainable_variables)
        if chains is not None:
            chains.assign(reached)
        square = tf.reduce_mean(gradient.visible_bias**2)
        self.mismatch.update_state(tf.sqrt(square))
        return {"mismatch": self.mismatch.result()}

    def test_step(self, data):
        """One step of `evaluate`: the mean free energy, which needs no Z."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        free_energy = self.free_energy(tf.cast(x, self.dtype))
        self.average.update_state(free_energy)
        return {"free_energy": self.average.result()}

    def get_config(self):
        """Return what `load_model` needs to make a model of this shape."""
        return {
            "n_visible": self.n_visible,
            "n_hidden": self.n_hidden,
            "dtype": self.dtype,
            "n_chains": 0 if self.chains is None else self.chains.shape[0],
        }

    @classmethod
    def from_config(cls, config):
        """Return a model of this shape; Keras then loads its variables."""
        config = dict(config)
        n_chains = config.pop("n_chains")
        new = cls(**config)
        new._toss_chains(n_chains)
        return new

    def get_compile_config(self):
        """Return the arguments of `compile`, for `model.save`."""
        if not self.compiled:
            return None
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {
            "optimizer": optimizer,
            "method": self.method,
            "n_gibbs_steps": self.n_gibbs_steps,
            "weight_decay": self.weight_decay,
            "n_chains": 0 if self.chains is None else self.chains.shape[0],
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        """Compile as before saving; Keras then loads the optimiser."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)


def gibbs_steps(rbm, hidden_probability, hidden_uniforms, visible_uniforms):
    """Go h → x → p(h|x) along block Gibbs chains, k times (eq-rbm-cd).

    A chain is handed over as the probability p(h|x) of its hidden units, and
    each step begins by drawing h from it. The random numbers are arguments,
    so that every implementation can be given the same ones: uniform on
    [0, 1), shapes (k, n_chains, n_hidden) and (k, n_chains, n_visible).
    Returns the last visible states and their p(h|x).
    """
    hidden_uniforms = tf.unstack(hidden_uniforms)
    visible_uniforms = tf.unstack(visible_uniforms)
    for u_h, u_x in zip(hidden_uniforms, visible_uniforms, strict=True):
        h = _coins(hidden_probability, u_h)
        x = _coins(rbm.visible_probability(h), u_x)
        hidden_probability = rbm.hidden_probability(x)
    return x, hidden_probability


def step(
    rbm,
    x,
    chains,
    hidden_uniforms,
    visible_uniforms,
    *,
    learning_rate,
    momentum=0.0,
    weight_decay=0.0,
    velocity=None,
):
    """Change the parameters once: two phases and an update, in place.

    Implements eq-training-update. `chains` (n_chains, n_hidden) are
    persistent chains as in :func:`gibbs_steps`; None starts chains at the
    batch `x`, which is contrastive divergence. `velocity` is a Gradient of
    variables and is changed in place as well; None stands for no memory, and
    asks for `momentum` zero.
    Returns the chains after the step.

    Source: Hinton (2002); Tieleman (2008).
    """
    if velocity is None and momentum:
        raise ValueError(
            f"momentum must be 0 without a velocity, not {momentum!r}"
        )
    uniforms = hidden_uniforms, visible_uniforms
    gradient, reached = _loss_gradient(rbm, x, chains, *uniforms, weight_decay)
    for i, parameter in enumerate(rbm.trainable_variables):
        change = -learning_rate * gradient[i]
        if velocity is not None:
            change = velocity[i].assign(momentum * velocity[i] + change)
        parameter.assign_add(change)
    return reached


def _loss_gradient(rbm, x, chains, hidden_uniforms, visible_uniforms, decay):
    """Gradient of −log L (Keras minimises), and the chains after the step.

    Model average minus data average: eq-training-estimate, sign reversed.
    """
    hidden = rbm.hidden_probability(x)
    start = hidden if chains is None else tf.convert_to_tensor(chains)
    model_x, model_hidden = gibbs_steps(
        rbm, start, hidden_uniforms, visible_uniforms
    )
    data, model = _phase(x, hidden), _phase(model_x, model_hidden)
    gradient = Gradient(*(m - d for m, d in zip(model, data, strict=True)))
    if decay:
        weights = gradient.weights + decay * rbm.weight_matrix
        gradient = gradient._replace(weights=weights)
    return gradient, model_hidden


def _phase(x, hidden):
    """Averages of x hᵀ, x and h over the rows of a batch or of chains."""
    n = tf.cast(tf.shape(x)[0], x.dtype)
    return Gradient(
        tf.matmul(x, hidden / n, transpose_a=True),
        tf.reduce_mean(x, 0),
        tf.reduce_mean(hidden, 0),
    )


def train(
    rbm,
    data,
    *,
    method="pcd",
    n_gibbs_steps=1,
    epochs=10,
    batch_size=64,
    learning_rate=0.05,
    final_learning_rate=None,
    momentum=0.0,
    weight_decay=0.0,
    n_chains=None,
    chains=None,
    seed=0,
    callback=None,
):
    """Maximise the log-likelihood by stochastic gradient ascent, in place.

    Calls `compile` and `fit`, a whole epoch per call of the graph.

    Parameters
    ----------
    data : array (n, n_visible)
        Ones and zeros. Each epoch visits all rows in a new random order.
    method : "pcd" or "cd"
        Where the chains of the negative phase start: where the last step
        left them (persistent), or at the batch (contrastive divergence).
    n_gibbs_steps : int
        Length k of the chains in each step.
    learning_rate, final_learning_rate : float
        The rate goes linearly from the first to the second over the run;
        without the second it is constant.
    momentum, weight_decay : float
        As in eq-training-update; biases do not decay.
    n_chains : int
        Number of persistent chains; by default `batch_size`.
    chains : tensor or array (n_chains, n_hidden), optional
        What an earlier call returned, to go on from there.
    seed : int, numpy.random.Generator or tf.random.Generator
        Source of the order of the rows and of all Gibbs draws.
    callback : function
        Called as callback(epoch, rbm) after each epoch, from 1 on.

    Returns the persistent chains, or None for "cd". Raises
    FloatingPointError, with the name of the parameter, if one overflows.

    Source: Hinton (2002); Tieleman (2008); Hinton (2012).
    """
    data = _batch("data", rbm, data)
    size = min(count("batch_size", batch_size), len(data))
    n_batches = -(-len(data) // size)
    n_steps = count("epochs", epochs) * n_batches
    fraction("momentum", momentum)
    rate = _rates(learning_rate, final_learning_rate, n_steps)
    n_chains = size if n_chains is None else n_chains
    n_chains = number_of_chains(method, n_chains, chains, rbm.n_hidden)
    rbm.compile(
        keras.optimizers.SGD(rate, momentum=momentum),
        method=method,
        n_gibbs_steps=n_gibbs_steps,
        weight_decay=weight_decay,
        n_chains=n_chains,
        seed=(number := _whole_number(seed)),
        steps_per_execution=n_batches,
    )
    if n_chains and chains is not None:
        rbm.chains.assign(tf.cast(chains, rbm.dtype))
    rbm.fit(
        _batches(data, size, number),
        epochs=epochs,
        steps_per_epoch=n_batches,
        shuffle=False,  # the batches already come in random order
        callbacks=[_after_each_epoch(rbm, callback)],
        verbose=0,
    )
    return None if method == "cd" else tf.identity(rbm.chains)


def zero_velocity(rbm):
    """Return a Gradient of zeros: the momentum's memory at the start."""
    return Gradient(
        *(tf.Variable(tf.zeros_like(v)) for v in rbm.trainable_variables)
    )


@tf.function
def _sweeps(rbm, x, n_steps, state):
    """Run a compiled loop of block Gibbs sweeps."""
    for _ in tf.range(n_steps):
        uniforms = _uniforms(rbm, 1, x.shape[0], state)
        x, _ = gibbs_steps(rbm, rbm.hidden_probability(x), *uniforms)
    return x


def _batches(data, size, number):
    """All rows in a new random order, epoch after epoch, without end.

    The order of an epoch depends on `number` and on how many went before, and
    on nothing else. The last batch of an epoch may be smaller.
    """

    def epoch(i):
        seed = tf.stack([tf.constant(number, tf.int64), i])
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(data)), seed=seed
        )
        starts = tf.data.Dataset.range(0, len(data), size)
        return starts.map(lambda k: tf.gather(data, order[k : k + size]))

    return tf.data.Dataset.counter().flat_map(epoch).prefetch(1)


def _after_each_epoch(rbm, callback):
    """Keras callback: stop if diverged, else call callback(epoch, rbm)."""

    def after_epoch(epoch, logs):
        _stop_if_diverged(rbm, epoch + 1)
        if callback is not None:
            callback(epoch + 1, rbm)

    return keras.callbacks.LambdaCallback(on_epoch_end=after_epoch)


def _rates(first, last, n_steps):
    """Learning rates of all steps, on a straight line."""
    first = positive("learning_rate", first)
    last = first if last is None else nonnegative("final_learning_rate", last)
    return _Line(first, last, n_steps)


@keras.saving.register_keras_serializable(package="advml")
class _Line(keras.optimizers.schedules.LearningRateSchedule):
    """From `first` to `last` in `n_steps` steps, in double precision.

    Keras' own schedules compute in single precision after loading.
    """

    def __init__(self, first, last, n_steps):
        self.first, self.last = float(first), float(last)
        self.n_steps = n_steps

    def __call__(self, step):
        n_intervals = max(1, self.n_steps - 1)
        done = tf.minimum(tf.cast(step, tf.float64) / n_intervals, 1.0)
        return (1 - done) * self.first + done * self.last

    def get_config(self):
        return {
            "first": self.first,
            "last": self.last,
            "n_steps": self.n_steps,
        }


def _coins(probability, uniforms):
    """Ones with the given probabilities: one uniform number per entry."""
    return tf.cast(uniforms < probability, probability.dtype)


def _uniforms(rbm, n_steps, n_chains, state):
    """Uniform numbers for `n_steps` Gibbs sweeps: one for each coin.

    They are a function of `state`, a variable [seed, counter], which counts
    on inside a compiled graph and is saved like any other variable.
    """
    drawn = []
    for n_units in (rbm.n_hidden, rbm.n_visible):
        shape = (n_steps, n_chains, n_units)
        drawn.append(
            tf.random.stateless_uniform(shape, seed=state, dtype=rbm.dtype)
        )
        state.assign_add([0, 1])
    return drawn


def _start(rbm, n, start, state):
    if start is None:
        coins = tf.random.stateless_uniform((n, rbm.n_visible), seed=state)
        state.assign_add([0, 1])
        return tf.cast(coins < 0.5, rbm.dtype)
    start = _batch("start", rbm, start)
    if len(start) != n:
        raise ValueError(f"start must have {n} rows, but has {len(start)}")
    return start


def _batch(name, rbm, x):
    """Rows of ones and zeros, as a tensor of the parameters' precision."""
    x = tf.cast(tf.convert_to_tensor(x), rbm.dtype)
    return binary_rows(name, x, rbm.n_visible)


def _stop_if_diverged(rbm, epoch):
    for variable in rbm.trainable_variables:
        if not np.isfinite(variable.numpy()).all():
            raise FloatingPointError(
                f"{variable.name} is not finite after epoch {epoch}: the "
                "training diverged; use a smaller learning_rate"
            )


def _dot(x, matrix, transpose_b=False):
    """Product over the last axis of x: a state, a batch or a stack of them."""
    if len(x.shape) == 1:
        return tf.matmul(x[None], matrix, transpose_b=transpose_b)[0]
    return tf.matmul(x, matrix, transpose_b=transpose_b)


def _whole_number(seed):
    """Return a whole number from a seed or from any generator."""
    if isinstance(seed, tf.random.Generator):
        return int(seed.uniform_full_int([], dtype=tf.int64))
    return int(np.random.default_rng(seed).integers(2**63 - 1))
