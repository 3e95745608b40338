# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, batch_size: 100, epochs: 10, n_runs: 5}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train the same RBM in TensorFlow and Keras
#
# A result that one group finds with one apparatus is a claim; when a second group finds it with another apparatus, it becomes knowledge.
# Numerical physics works the same way. This lecture builds the machine of {doc}`03_rbm_pytorch` a second time, in another framework
# with other kernels, another compiler and another random number generator, and asks the experimenter's question: do the two agree, and
# how closely *should* they? Where chance plays no part, to rounding. Where it does, within the scatter of repeated runs.
#
# :::{admonition} Plan
# :class: tip
# **You will** hold NumPy, PyTorch and TensorFlow to the same numbers, estimate when two correct programs part company, see how an RBM
# becomes a Keras model with its own training step, compare both frameworks in exact likelihood, save a training run and go on with
# it, look at what tracing does to your Python code, and break it with a random number that is drawn only once.
# **You need** {doc}`03_rbm_pytorch`; no knowledge of TensorFlow. **Time** 45 minutes to read, without the exercises; about a minute of CPU.
# :::
#
# The course's package comes first: it makes TensorFlow the engine of Keras and stops its notes about the processor.

# %%
import advml.tensorflow.rbm as in_keras  # isort: skip

# %% [markdown]
# Then everything else. The two modules hold the same names, so we call them `in_keras` and `in_torch`.

# %%
import tempfile
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import torch
from scipy import stats

from advml import datasets
from advml.checks import verify
from advml.display import progress, show_source, show_table
from advml.plotting import image_grid
from advml.pytorch import rbm as in_torch
from advml.rbm import RBM as NumpyRBM
from advml.rbm import phase
from advml.tensorflow.rbm import (
    RBM,
    _batches,
    _loss_gradient,
    _phase,
    _uniforms,
    gibbs_steps,
    step,
)

plt.style.use("advml.course")
torch.set_num_threads(1)  # two thread pools in one process get in the way

# %% [markdown]
# As before, `dataset = "mnist"` runs the same notebook on 28×28 images.

# %% tags=["parameters"]
seed = 0
dataset = "digits"
threshold = 0.5  # a pixel is 1 where its grey value exceeds this
n_hidden = 16  # at most 20: the exact likelihood sums 2^n_hidden terms
batch_size = 60
learning_rate = 0.2
epochs = 60
n_runs = 6  # of each framework
n_twin_steps = 400

# %% [markdown]
# The data, in whole batches, the visible biases of {eq}`eq-training-baseline`, and the exact likelihood are those of the last lecture.

# %%
data = getattr(datasets, dataset)()
side = data.train.shape[-1]
x_train, x_test = (
    datasets.binarise(images, threshold).reshape(len(images), -1)
    for images in (data.train, data.test)
)
n_batches = len(x_train) // batch_size
x_train = x_train[: n_batches * batch_size]
n_visible = x_train.shape[1]
on_digits = dataset == "digits"
p = (x_train.sum(0) + 1) / (len(x_train) + 2)
data_bias = np.log(p / (1 - p))
shape = {"n_visible": n_visible, "n_hidden": n_hidden}


def log_likelihood(rbm, x=x_train):
    """Exact mean log p(x) of images, in nats."""
    return rbm.to_numpy().log_likelihood(x)


# %% [markdown]
# ## The same equations in other words
#
# **TensorFlow** computes. Its *tensors* are arrays whose entries never change; a *variable* holds a tensor that can be replaced. It takes
# derivatives, and it can turn a Python function into a *graph*, a list of operations that runs without Python (more on this below). **Keras** is the
# layer above, which knows models, optimisers and files. (It can run on PyTorch or JAX as well; here it runs on TensorFlow.) A
# `keras.Variable` wraps one of TensorFlow's and may be used like a tensor; `.numpy()` gives the values. Tensors of different precision do not mix, hence the many `tf.cast`.
#
# Most of what changes is vocabulary:
#
# | | PyTorch | TensorFlow and Keras |
# | --- | --- | --- |
# | number that learns | `torch.nn.Parameter` | `keras.Variable`, from `add_weight` |
# | change it in place | `w.add_(v)` | `w.assign_add(v)` |
# | derivatives | recorded, unless under `no_grad` | recorded only under a `GradientTape` |
# | execution | line by line | line by line, or as a graph |
# | training loop | yours | `fit`, which calls *your* `train_step` |
# | what happens between epochs | your code in the loop | callbacks |
# | memory on disk | `state_dict` | `model.save`: variables, optimiser and how to rebuild both |
#
# Here are a free energy, {eq}`eq-rbm-free-energy`, one conditional, {eq}`eq-rbm-conditionals`, and the Gibbs chain, which you
# can read if you could read PyTorch's. (The weights are called `weight_matrix`, because Keras uses `weights` for the list of all variables.)

# %%
show_source(RBM.free_energy, RBM.hidden_probability, gibbs_steps)

# %% [markdown]
# ### How equal is equal?
#
# A processor rounds each result to a relative accuracy $\epsilon$: $6\cdot10^{-8}$ in single precision (`float32`), $1.1\cdot10^{-16}$ in double (`float64`). Sums of
# many terms are where libraries differ, because each adds in its own order. A partial sum rounds by at most $\epsilon$ times its size, which is at
# most $S = \sum_i |t_i|$. Over $n$ terms these errors add up like a random walk, or, if they conspire, like a straight line {cite}`higham2002`:
#
# $$
# \Big|\, \delta \sum_{i=1}^n t_i \,\Big| \;\lesssim\; \sqrt{n}\; \epsilon\, S \quad\text{(typical)}, \qquad \leq\; n\, \epsilon\, S \;\text{ to first order in } \epsilon \quad\text{(always)}.
# $$ (eq-keras-rounding)
#
# The error is relative to $S$ and not to the result, because terms may cancel: an $F(\mathbf{x}) = -\mathbf{a}\cdot\mathbf{x} - \sum_j \operatorname{softplus}(b_j + (\mathbf{x}\mathbf{W})_j)$ that happens to be
# near zero is not known to seven digits. So we measure it in units of $S(\mathbf{x})$, the same sum with the absolute values of all parameters. Probabilities $p = \sigma(\text{field})$ are more
# forgiving, $\delta p = p(1-p)\,\delta(\text{field}) \leq \tfrac14\,\delta(\text{field})$, and fields are sums of size $S \approx 5$ to 10. For both we tolerate
# $2\sqrt{n_v}\,\epsilon$, about $10^{-6}$ in single and $2\cdot10^{-15}$ in double precision.

# %%
rng = np.random.default_rng(seed)
exact = NumpyRBM(
    np.float32(rng.normal(0, 0.3, (n_visible, n_hidden))),
    np.float32(data_bias),
    np.float32(rng.normal(0, 1, n_hidden)),
)  # numbers that single precision holds exactly
tolerance = {
    precision: np.sqrt(n_visible) * np.finfo(precision).eps  # eps is 2ε
    for precision in ("float32", "float64")
}

# %% [markdown]
# `copies` puts a machine into both frameworks.


# %%
def copies(rbm, precision):
    """In each framework: its module, the machine, how to make tensors."""
    dtype = getattr(torch, precision)
    torch_rbm = in_torch.RBM.from_numpy(rbm, device="cpu", dtype=dtype)
    keras_rbm = in_keras.RBM.from_numpy(rbm, dtype=precision)
    return {
        "PyTorch": (
            in_torch,
            torch_rbm,
            lambda v: torch.as_tensor(v).to(dtype),
        ),
        "TensorFlow": (
            in_keras,
            keras_rbm,
            lambda v: tf.constant(v, precision),
        ),
    }


def to_numpy(tensor):
    if torch.is_tensor(tensor):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor, dtype=np.float64)


# %% [markdown]
# The reference is the NumPy machine of {doc}`02_restricted_boltzmann_machines`, which was compared there with sums over all states.

# %%
h = rng.integers(0, 2, (len(x_test), n_hidden)).astype(float)
absolute = NumpyRBM(
    *(
        np.abs(v)
        for v in (exact.weights, exact.visible_bias, exact.hidden_bias)
    )
)
quantities = [
    ("free_energy", x_test, -absolute.free_energy(x_test)),  # in units of S
    ("hidden_probability", x_test, 1),
    ("visible_probability", h, 1),
]
rows, worst = [], {"float32": [], "float64": []}
for precision, errors in worst.items():
    for framework, (_, machine, tensor) in copies(exact, precision).items():
        found = []
        for name, states, scale in quantities:
            value = to_numpy(getattr(machine, name)(tensor(states)))
            error = np.abs(value - getattr(exact, name)(states))
            found.append((error / scale).max())
        rows.append([framework, precision, *(f"‹{e:.0e}›" for e in found)])
        errors.extend(found)
show_table(["framework", "precision", "F", "p(h│x)", "p(x│h)"], rows)

# %% [markdown]
# The claim is for the worst of all images and units.

# %%
for precision, errors in worst.items():
    verify(
        f"NumPy, PyTorch and TensorFlow agree in {precision}",
        errors,
        at_most=tolerance[precision],
        source="rounding errors of a sum",
    )

# %% [markdown]
# ### One step, three times
#
# Training differs in one sign. Keras *minimises*: its optimisers take the gradient of a loss and walk against it. We hand them the gradient of
# $-\mathcal L$, $\mathbf G = -\mathbf g$, so the two phases of {eq}`eq-training-estimate` change places:
#
# $$
# \begin{aligned}
# \mathbf G_t &= -\frac{\partial \mathcal L}{\partial \mathbf W} \approx \langle \mathbf x\, \mathbf p(\mathbf h{=}1 | \mathbf{x})^\mathsf{T} \rangle_\text{chains}
# - \langle \mathbf x\, \mathbf p(\mathbf h{=}1 | \mathbf{x})^\mathsf{T} \rangle_\text{batch}, \\
# \mathbf V_t &= \mu\, \mathbf V_{t-1} - \eta\, (\mathbf G_t + \lambda \mathbf W_t), \qquad \mathbf W_{t+1} = \mathbf W_t + \mathbf V_t .
# \end{aligned}
# $$ (eq-keras-descent)
#
# This is {eq}`eq-training-update` again. `_loss_gradient` computes $\mathbf G + \lambda\mathbf W$, and `step` makes the update by hand, as in PyTorch.

# %%
show_source(_loss_gradient, _phase)

# %% [markdown]
# Equal weights, images and random numbers must give equal weights afterwards. There is one trap: a coin shows
# $h = 1$ if its uniform number lies below $p$, and if it lies *very* close to $p$, the rounding error decides. So for now we move random
# numbers that lie within $10^{-5}$ of their probability: there is one in every tenth step of 4800 coins. Further down we let them go.


# %%
def draw(rng):
    """Uniform numbers for one Gibbs step of all chains: hidden, visible."""
    shapes = (1, batch_size, n_hidden), (1, batch_size, n_visible)
    return [rng.random(shape, np.float32) for shape in shapes]


def away_from(p, u):
    """Move random numbers that lie within 1e-5 of the probability."""
    return np.float32(np.where(np.abs(u - p) < 1e-5, (p + 0.5) % 1, u))


def flat(parts):
    """All parameters, or their gradient, as one vector."""
    names = ("weights", "visible_bias", "hidden_bias")
    return np.concatenate([np.ravel(getattr(parts, name)) for name in names])


batch = x_train[:batch_size]
u_h, u_x = draw(rng)
u_h = away_from(exact.hidden_probability(batch), u_h)
h = np.float64(u_h < exact.hidden_probability(batch))[0]
u_x = away_from(exact.visible_probability(h), u_x)
moved = np.float64(u_x < exact.visible_probability(h))[0]
gradient = flat(phase(exact, moved)) - flat(phase(exact, batch))
want = flat(exact) - learning_rate * gradient
feed = batch, u_h, u_x

# %% [markdown]
# That was the step in NumPy. Now the other two, in both precisions, with all new parameters against the NumPy ones.


# %%
def cd_step(step, machine, x, u_h, u_x, rate):
    """One step of CD-1: no persistent chains."""
    return step(machine, x, None, u_h, u_x, learning_rate=rate)


for precision in tolerance:
    errors = []
    for module, machine, tensor in copies(exact, precision).values():
        cd_step(module.step, machine, *map(tensor, feed), learning_rate)
        error = np.abs(flat(machine.to_numpy()) - want)
        errors.append((error / (1 + np.abs(want))).max())
    verify(
        f"a training step agrees with NumPy in {precision}",
        errors,
        at_most=tolerance[precision],
        source="the two phases, written out in NumPy",
    )

# %% [markdown]
# ### What automatic differentiation would do
#
# The usual pattern is to compute $\langle F \rangle_\text{batch} - \langle F \rangle_\text{chains}$ under a `GradientTape`, which
# records every operation on variables, and to differentiate the record. The samples must not be part of it (`stop_gradient`): the model average is taken at fixed states.
# The gradient is the same; the price is in the matrix products. Ours costs $3 + 2k = 5$, as in {doc}`03_rbm_pytorch`. **Predict** how many the tape needs.


# %%
def explicit(machine, x, u_h, u_x):
    return _loss_gradient(machine, x, None, u_h, u_x, decay=0.0)


def with_tape(machine, x, u_h, u_x):
    start = machine.hidden_probability(x)
    chain_x, reached = gibbs_steps(machine, start, u_h, u_x)
    chain_x = tf.stop_gradient(chain_x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(machine.free_energy(x))
        loss -= tf.reduce_mean(machine.free_energy(chain_x))
    return tape.gradient(loss, machine.trainable_variables), reached


# %% [markdown]
# Both return the gradient and the chains, as PCD needs. We compare the gradients, and count products in both graphs.

# %%
_, machine, tensor = copies(exact, "float64")["TensorFlow"]
arguments = machine, *map(tensor, feed)
gradients, products = [], []
for function in (explicit, with_tape):
    graph = tf.function(function).get_concrete_function(*arguments).graph
    products.append(sum(op.type == "MatMul" for op in graph.get_operations()))
    gradients.append([to_numpy(g) for g in function(*arguments)[0]])
difference = [np.abs(a - b).max() for a, b in zip(*gradients, strict=True)]
verify(
    "the tape finds the same gradient",
    difference,
    at_most=1e-14,
    source="the two explicit phases",
)

# %% [markdown]
# And the number of products:

# %%
verify(
    "matrix products: two explicit phases, and the tape",
    products,
    equals=[5, 7],
    source="count below",
)

# %% [markdown]
# Seven. The tape needs one for the start of the chain and two for its step, one for each free energy, and one for each on the way back. It computes
# the fields of both batches a second time. (Products are not yet seconds.)
#
# ## How long do two correct programs agree?
#
# Now let them run for hundreds of steps, fed with the same batches and random numbers. A coin falls differently in two programs if its random number
# lies between the two probabilities. That happens with probability
# $|p - p'|$. Coins are independent, so the chance that *no* coin of the first $t$ steps fell differently is
#
# $$
# \begin{aligned}
# P(\text{no difference until } t) &= \prod_\text{coins} \left(1 - |p - p'|\right) \approx e^{-\Lambda(t)}, \\
# \Lambda(t) &= \sum_{\text{coins until } t} |p - p'| .
# \end{aligned}
# $$ (eq-keras-hazard)
#
# This is radioactive decay, with a rate that grows with the distance of the weights. A step tosses $60\cdot(16+64) = 4800$ coins. If
# probabilities differed by one rounding, $6\cdot10^{-8}$, for ever, the hazard $\Lambda$ would grow by $3\cdot10^{-4}$ per step, and the first coin would fall differently after some
# 3500 steps; in double precision after $10^{12}$. **Predict first**: will it be earlier or later, and what happens to the weights then?
#
# When it happens, typically one pixel of one fantasy particle differs, and its bias jumps by $\eta/C = 0.2/60$ (or a hidden unit
# differs, whose change then moves pixels); all
# probabilities follow, and soon many coins fall differently. At that moment $P(\Lambda > \lambda) = e^{-\lambda}$, whatever the machine, up to the hazard of one step. So values above 12 have
# probability $6\cdot10^{-6}$. What this law does *not* find is a program that does something else, one that reads its random numbers in another order, say: its weights differ after one
# step, and the hazard is of order one at once. The pair in double precision finds that, for there the hazard must stay below $10^{-4}$, and no coin may differ.
#
# A twin is a machine with its chains, and with the two things that we ask of it: where will the coins fall, and one step of training. Before each step we
# compare how the coins of a pair will fall, and add to its hazard until one differs.


# %% tags=["hide-input"]
class Twin:
    """One machine in one framework and precision, with its chains."""

    def __init__(self, module, machine, tensor):
        self.step, self.machine, self.tensor = module.step, machine, tensor
        self.chains = tensor(np.full((batch_size, n_hidden), 0.5))

    def probabilities(self, u_h):
        """Of the next hidden coins; and, given these, of the visible ones."""
        p_h = to_numpy(self.chains)
        yield p_h
        h = self.tensor(np.float64(u_h[0] < p_h))
        yield to_numpy(self.machine.visible_probability(h))

    def move(self, x, u_h, u_x):
        x, u_h, u_x = map(self.tensor, (x, u_h, u_x))
        numbers = self.machine, x, self.chains, u_h, u_x
        self.chains = self.step(*numbers, learning_rate=learning_rate)

    def distance(self, other):
        a, b = (t.machine.to_numpy().weights for t in (self, other))
        return np.abs(a - b).max()


# %% [markdown]
# The comparison of a pair:


# %%
def compare_coins(a, b, u_h, u_x):
    """Hazard of a step, up to the layer in which a coin differs, if any."""
    hazard = 0.0
    layers = [t.probabilities(u_h) for t in (a, b)]
    for u, p_a, p_b in zip((u_h, u_x), *layers, strict=True):
        hazard += np.abs(p_a - p_b).sum()
        if np.any((u < p_a) != (u < p_b)):
            return hazard, True
    return hazard, False


# %% [markdown]
# Two frameworks in two precisions make four twins.

# %%
start = NumpyRBM(0.01 * exact.weights, exact.visible_bias, np.zeros(n_hidden))
twins = {
    precision: [Twin(*parts) for parts in copies(start, precision).values()]
    for precision in tolerance
}
hazard = {precision: [0.0] for precision in twins}
first = dict.fromkeys(twins)  # step of the first different coin
distances = []
twin_rng = np.random.default_rng([seed, 1])
for t in progress(range(n_twin_steps), "steps"):
    x = x_train[twin_rng.integers(0, len(x_train), batch_size)]
    uniforms = draw(twin_rng)
    for precision, pair in twins.items():
        if first[precision] is None:
            more, differ = compare_coins(*pair, *uniforms)
            hazard[precision].append(hazard[precision][-1] + more)
            first[precision] = t if differ else None
        for twin in pair:
            twin.move(x, *uniforms)
    (a32, b32), (a64, b64) = twins["float32"], twins["float64"]
    distances.append([a64.distance(b64), a32.distance(b32)])
distances = np.array(distances)
end = n_twin_steps if first["float32"] is None else first["float32"]

# %% [markdown]
# The left panel shows the largest difference of any weight, the right one the hazard. Look for the jump, and for its size.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: largest weight difference against training step, logarithmic. The double-precision pair grows from 1e-16 to about 1e-13, fastest between steps 100 and 200. That in single precision grows in parallel, nine decades higher, then jumps to 3e-3 and levels off near 0.2. Right: both hazards on a logarithmic axis; that of the single-precision pair reaches the order of one where the jump comes, that of the double-precision pair stays below 1e-6."}, "figure": {"caption": "PyTorch against TensorFlow, fed the same random numbers. Left: largest difference of their weights. Right: hazard, the expected number of coins that fall differently. Dotted: the first coin that did, in the pair in single precision.", "name": "fig-keras-twins"}}
steps = np.arange(1, n_twin_steps + 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4), width_ratios=[3, 2])
for i, precision in enumerate(("float64", "float32")):
    curve = np.maximum(distances[:, i], 1e-18)
    axes[0].plot(steps, curve, lw=1.2, label=precision)
    axes[1].plot(hazard[precision][1:], label=precision)
axes[0].set(yscale="log", xlabel="training step", ylim=(1e-17, 10))
axes[0].set(ylabel="largest weight difference")
axes[0].legend(loc="upper left")
axes[1].axhline(1, color="0.4", lw=1)
axes[1].set(xlabel="training step", ylabel=r"hazard $\Lambda$", yscale="log")
for ax in axes:
    ax.axvline(end + 1, color="0.4", ls=":")
plt.show()

# %% [markdown]
# Much earlier: the distance does not stay at one rounding. In the first hundred steps the errors add up, and between step 100 and 200 the distance
# grows tenfold or more. Learning starts near a symmetric point, all weights almost zero, like a ball on top of a hill. Whatever breaks the symmetry is amplified, rounding
# errors included, and by the same factor in both precisions: the two curves keep the ratio of the rounding units, $2^{53-24} = 2^{29}$. Then one coin
# falls differently, the distance jumps to about $\eta/C$, and a hundred steps later the two programs are two independent
# experiments. Neither is wrong. **Nobody can promise you equal training runs in two
# frameworks, or on two processors**; equal steps and equal distributions are what one can ask for, and test.

# %%
verify(
    "single precision: hazard when the first coin differs",
    hazard["float32"][-1],
    at_most=12,
    source="exponential distribution with mean one, up to one step",
)

# %% [markdown]
# In double precision nothing happens, for good reason. And the amplification is equal in both, and more than a random walk.

# %%
verify(
    "double precision: hazard of all steps",
    hazard["float64"][-1],
    at_most=1e-4,
    source="rounding errors of 1e-16, amplified as in the figure",
)
verify(
    "double precision: no coin differs",
    first["float64"] is None,
    equals=True,
    source="the hazard",
)
bits = np.log2(distances[: max(end, 1), 1] / distances[: max(end, 1), 0])
verify(
    "until then both precisions amplify rounding alike: log2 of the ratio",
    bits.mean(),
    equals=29,
    atol=1.5,
    source="53 and 24 binary digits, up to the luck of single errors",
)
if on_digits:
    verify(
        "from step 100 to 200 rounding errors outgrow a random walk",
        distances[199, 0] / distances[99, 0],
        at_least=3,
        source="a random walk would grow by √2",
    )

# %% [markdown]
# ## Let Keras run the loop
#
# A `keras.Model` brings `compile`, which takes an optimiser, and `fit`, which cuts batches, calls callbacks,
# keeps records and calls `train_step` for each batch. Here is how ours is made. `_variable` calls `add_weight`, which makes a variable that the model knows and saves;
# `trainable=False` marks those that do not learn.

# %%
show_source(RBM.__init__, RBM.compile)

# %% [markdown]
# (`compile` has two meanings. This one only notes down the optimiser and our options. The other, making a graph, comes below.)
# The default `train_step` differentiates a loss. We override it: two phases, and the optimiser does the last line of {eq}`eq-keras-descent`.

# %%
show_source(RBM.train_step, _uniforms)

# %% [markdown]
# `unpack_x_y_sample_weight` strips labels, of which we have none. Chains and the state of the random numbers are variables that do not learn: both must survive from step to step, and
# be saved. `fit` reports what the last `train_step` of an epoch returns. Ours returns the running mean of a `keras.metrics.Mean`, which `fit` sets back at the start of each epoch; a bare number would be that of the last batch. What it averages, the *mismatch*, costs nothing: it is the root mean square of $\langle x_i \rangle_\text{batch} - \langle x_i \rangle_\text{chains}$ over the pixels. It is no
# likelihood, but has a floor that we can predict. When both phases have equal means $p_i$, all that is left is the scatter of $B$ images and $C$ chains, $\sum_i p_i (1 - p_i) \,(1/B + 1/C) / n_v$ for its square. A machine
# at rest, at a rate of $10^{-12}$, must show it, within the scatter of a few per cent.


# %%
def fresh(rate, momentum=0.0):
    """A machine that is ready to be trained."""
    rbm = RBM(**shape, visible_bias=data_bias, seed=seed)
    optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    rbm.compile(optimizer, n_chains=batch_size, seed=seed)
    return rbm


def batches_of(images):
    """Epoch after epoch, each in a new order, and how `fit` reads them."""
    batches = _batches(tf.constant(images), batch_size, seed)
    n = len(images) // batch_size
    return batches, {"steps_per_epoch": n, "shuffle": False, "verbose": 0}


batches, options = batches_of(x_train)
record = fresh(rate=1e-12).fit(batches, epochs=1, **options).history
floor = np.sqrt((p * (1 - p)).mean() * 2 / batch_size)
verify(
    "a machine at rest shows the floor of the mismatch",
    record["mismatch"][0],
    equals=floor,
    rtol=0.1,
    source="scatter of independent pixels",
)

# %% [markdown]
# ### A callback that knows the likelihood
#
# A callback is an object whose methods `fit` calls before and after each epoch. This one writes the exact likelihood into `logs`, the dictionary of the epoch's
# numbers, where other callbacks can find it. So `EarlyStopping` may watch the number that counts: the likelihood of images that are not trained on.
# We set a fifth of the training images aside for it. (Stopping by the *test* images would train on them.)


# %%
class ExactLikelihood(keras.callbacks.Callback):
    """Write the exact mean log-likelihood of images into the logs."""

    def __init__(self, **images):
        super().__init__()
        self.images = images

    def on_epoch_end(self, epoch, logs):
        rbm = self.model.to_numpy()
        log_z = rbm.log_partition()
        for name, x in self.images.items():
            logs[name] = -rbm.free_energy(x).mean() - log_z


# %% [markdown]
# `EarlyStopping` ends the training when `held` has not reached a new maximum for ten epochs, and brings back the weights of the best one. It has to come second in the
# list: the likelihood must be in the logs before it looks. Half the rate with momentum ½ is the same effective rate ({ref}`ex-training-momentum`).

# %%
order = np.random.default_rng([seed, 2]).permutation(len(x_train))
held, kept = np.split(order, [len(order) // 5])
kept = kept[: len(kept) // batch_size * batch_size]
early = fresh(0.5 * learning_rate, momentum=0.5)
batches, options = batches_of(x_train[kept])
history = early.fit(
    batches,
    epochs=epochs,
    callbacks=[
        ExactLikelihood(train=x_train[kept], held=x_train[held]),
        keras.callbacks.EarlyStopping(
            "held", mode="max", patience=10, restore_best_weights=True
        ),
    ],
    **options,
).history
verify(
    "early stopping brings back the best held-out likelihood",
    log_likelihood(early, x_train[held]),
    equals=max(history["held"]),
    atol=1e-9,
    source="enumeration of the hidden layer after each epoch",
)

# %% [markdown]
# What `fit` returns has a `history`: one list per name in the logs. Here they are.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: exact log-likelihood of training and held-out images against epoch. Both are flat for a few epochs, then rise together and swing by a nat or more. Right: the mismatch starts a little above the dashed floor and rises while the likelihood improves."}, "figure": {"caption": "What `fit` recorded. Left: exact likelihoods, from the callback; the dot is where early stopping went back to. Right: the mismatch of the two phases, and its floor for equal means.", "name": "fig-keras-history"}}
best = int(np.argmax(history["held"]))
epoch = np.arange(1, len(history["held"]) + 1)
fig, axes = plt.subplots(1, 2, figsize=(7, 2.9))
axes[0].plot(epoch, history["train"], label="training images")
axes[0].plot(epoch, history["held"], label="held-out images")
axes[0].plot(best + 1, history["held"][best], "o", color="C1")
axes[0].set(xlabel="epoch", ylabel="mean log-likelihood (nats)")
fig.legend(loc="outside upper left", ncols=2)
axes[1].plot(epoch, history["mismatch"], color="C2")
axes[1].axhline(floor, color="0.4", ls="--", lw=1)
axes[1].set(xlabel="epoch", ylabel="mismatch", ylim=(0, None))
plt.show()

# %% [markdown]
# At first little happens: the ball on the hill again. The two likelihoods stay together; no memory yet. The cheap number starts near its floor and then *rises* while the likelihood improves. The chains
# follow the moving weights with a delay, and the two push each other back and forth: at a constant rate the likelihood swings by a nat or more. So early
# stopping has picked the top of a swing, not the end of learning, and the best of many noisy values flatters itself. From here on the rate falls to zero.
#
# ## The same experiment in both frameworks
#
# The `train` of both modules has the same arguments; in TensorFlow it wraps `compile` and `fit`. Each run has its own initial weights and its own random numbers, so every run ends elsewhere, and we compare means over
# several runs. With means $m$, variances $s^2$ and $n$ runs each, Welch's $t$ {cite}`welch1947` is
#
# $$
# t = \frac{m_1 - m_2}{\sqrt{s_1^2/n + s_2^2/n}}, \qquad
# \nu = \frac{(n - 1)\,(s_1^2 + s_2^2)^2}{s_1^4 + s_2^4},
# $$ (eq-keras-welch)
#
# distributed like Student's $t$ with about $\nu$ degrees of freedom if both programs do the same. We ask for a value that occurs by chance
# once in $10^4$. A test that nothing can fail proves nothing, so we also say what it would notice.


# %%
def curve_of(module, *which):
    """Train one machine; return it and its likelihoods on the way."""
    weights, training = (
        np.random.default_rng([seed, *which, i]) for i in range(2)
    )
    rbm = module.RBM(**shape, visible_bias=data_bias, seed=weights)
    curve = []

    def record(epoch, rbm):
        if epoch % max(1, epochs // 6) == 0:
            curve.append([epoch, log_likelihood(rbm)])

    module.train(
        rbm,
        x_train,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        final_learning_rate=0.0,
        seed=training,
        callback=record,
    )
    return rbm, curve


# %% [markdown]
# The frameworks take turns.

# %%
curves, trained = {"PyTorch": [], "TensorFlow": []}, {}
for run in progress(range(n_runs), "runs of each"):
    for i, module in enumerate((in_torch, in_keras)):
        name = list(curves)[i]
        trained[name], curve = curve_of(module, run, i)
        curves[name].append(curve)
curves = {name: np.array(runs) for name, runs in curves.items()}

# %% [markdown]
# The interval is for the difference of the means, at that level.

# %%
ends = np.array([runs[:, -1, 1] for runs in curves.values()])
mean, variance = ends.mean(1), ends.var(1, ddof=1)
standard_error = np.sqrt(variance.sum() / n_runs)
freedom = (n_runs - 1) * variance.sum() ** 2 / (variance**2).sum()
interval = stats.t.isf(0.5e-4, freedom) * standard_error
verify(
    "both frameworks reach the same exact likelihood",
    mean[1] - mean[0],
    equals=0,
    atol=interval,
    source="Welch's t at a level of 1e-4; enumeration of the hidden layer",
)
rows = [*zip(curves, mean, np.sqrt(variance), strict=True)]
show_table(["framework", "mean (nats)", "standard deviation"], rows)

# %% [markdown]
# All runs on the left, where they ended on the right.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: exact log-likelihood against epoch, two bands, PyTorch and TensorFlow, wide at first, that overlap and become narrow. Right: the end points of all runs as two columns of dots with equal means within their scatter, and a bar as long as the interval of the test."}, "figure": {"caption": "The same training in two frameworks, with different random numbers. Left: range of the exact likelihood over runs. Right: end points, with mean and standard error; the grey bar shows how far apart the means may be.", "name": "fig-keras-runs"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3), width_ratios=[3, 2])
for i, (name, runs) in enumerate(curves.items()):
    at, values = runs[0, :, 0], runs[:, :, 1]
    colour = f"C{i}"
    axes[0].fill_between(
        at, values.min(0), values.max(0), color=colour, alpha=0.3, lw=0
    )
    axes[0].plot(at, values.mean(0), color=colour, label=name)
    error = np.sqrt(variance[i] / n_runs)
    axes[1].plot(np.full(n_runs, i), values[:, -1], ".", color=colour)
    axes[1].errorbar(i + 0.2, mean[i], error, fmt="o", color=colour)
axes[0].set(xlabel="epoch", ylabel="mean log-likelihood (nats)")
axes[0].legend(loc="lower right")
axes[1].plot([0.6, 0.6], mean[0] + interval * np.array([-1, 1]), "0.6", lw=4)
axes[1].set(xticks=[0, 1], xticklabels=curves, xlim=(-0.5, 1.6))
axes[1].set(ylabel="final log-likelihood (nats)")
plt.show()

# %% [markdown]
# Early on single runs differ by one to two nats or more, whichever the framework: persistent chains at a large rate. (The means
# of the two may then differ by a nat as well. When the machine leaves the hill differs from run to run, and six runs do not
# average that out.) As the rate falls the scatter falls with it, to a tenth of a nat, and only the end points are compared.
#
# The test notices almost every difference of twice the interval, between half a nat and a nat. What is that worth? Measured once, outside this
# notebook, with four runs each: a halved gradient costs 1.3 nats, a forgotten average over the batch 5.4. But CD-1 in place of PCD
# costs 0.1, half the chains less, and a rate 10 % too large *gains* 0.1: the test notices none of these. A comparison with equal random numbers does. The two need each other.

# %% mystnb={"image": {"alt": "Two panels with 24 samples each, one of the machine trained in PyTorch, one of the machine trained in TensorFlow: strokes, and among them some readable digits, of the same quality in both."}, "figure": {"caption": "Fantasy particles of the last run of each, 1000 Gibbs steps from coin tosses.", "name": "fig-keras-fantasies"}}
fig, axes = plt.subplots(1, 2, figsize=(6, 2.2))
for ax, (name, rbm) in zip(axes, trained.items(), strict=True):
    fantasies = to_numpy(rbm.sample(24, 1000, seed))
    image_grid(fantasies.reshape(-1, side, side), 6, ax=ax, title=name)
plt.show()

# %% [markdown]
# Strokes, and among them some digits that one can read, in both.
#
# ## Save, load, go on
#
# To go on after an interruption as if nothing had happened, a file must hold everything that the next step depends on: the
# parameters, but also the velocity of the momentum, the number of the step (for a falling rate), the fantasy particles, and the state of the random
# numbers. `model.save` stores all variables of model and optimiser, and how to rebuild both. (Keras does not
# store the state of its own `SeedGenerator`, which is why the machine keeps `random_state` as a variable.) The order of the images is not part of
# the model: that of an epoch depends on the seed and on the number of the epoch, and `skip` goes to the right place.
#
# Four epochs in one go, against two, a file, and two more; and against a careless third run, which keeps only weights and biases.

# %%
falling = keras.optimizers.schedules.PolynomialDecay(
    0.5 * learning_rate, decay_steps=4 * n_batches, end_learning_rate=0.0
)
whole, half, careless = (fresh(falling, momentum=0.6) for _ in range(3))
batches, options = batches_of(x_train)
whole.fit(batches, epochs=4, **options)
half.fit(batches, epochs=2, **options)
with tempfile.TemporaryDirectory() as folder:
    half.save(Path(folder) / "rbm.keras")
    loaded = keras.saving.load_model(Path(folder) / "rbm.keras")
for new, old in zip(
    careless.trainable_variables, half.trainable_variables, strict=True
):
    new.assign(old)
later = batches.skip(2 * n_batches)
for rbm in (loaded, careless):
    rbm.fit(later, epochs=4, initial_epoch=2, **options)

# %% [markdown]
# We compare all variables, those of the optimiser included.

# %%
same = [
    np.array_equal(a.numpy(), b.numpy())
    for a, b in zip(
        whole.variables + whole.optimizer.variables,
        loaded.variables + loaded.optimizer.variables,
        strict=True,
    )
]
verify(
    "the resumed run equals the uninterrupted one to the last bit",
    np.array(same),
    equals=True,
    source="the uninterrupted run",
)
off = careless.weight_matrix.numpy() - whole.weight_matrix.numpy()
verify(
    "with the weights alone it does not: largest difference of a weight",
    np.abs(off).max(),
    at_least=learning_rate / batch_size,
    source="one coin, times the learning rate",
)

# %% [markdown]
# On one machine, that is, and with a library that adds in a fixed order. The section on twins says what to expect elsewhere.
#
# ## Eager and graph
#
# Called directly, `step` runs *eagerly*, as in PyTorch: Python starts each operation by itself. The decorator `@tf.function`
# changes this, and `fit` uses it for you. A call is now looked up by its **signature**: the shapes and types of the tensors among its
# arguments, and the *values* of everything else. For a new signature Python runs the function once, with placeholders that have a shape but no value. TensorFlow
# records which operations are asked for: this is **tracing**, and the record is the graph. For a known signature the graph runs, without Python. **Predict** what this prints:


# %%
@tf.function
def square(x):
    print("Python sees", x)
    return x**2


print([float(square(tf.constant(v))) for v in (1.0, 2.0, 3.0)])

# %% [markdown]
# Three calls, but Python saw one of them, and no number in it. Now a training step, called three times with different learning rates. How often is it traced if the rate is a Python number, and how often if it is a
# tensor?

# %%
arguments = machine, *map(tensor, feed)  # in double precision


def traces_with(convert):
    """How often a step is traced that is called with three rates."""
    traces = []

    @tf.function
    def traced(rate):
        traces.append("Python was here")  # runs only while tracing
        return cd_step(step, *arguments, rate)

    for n in range(1, 4):
        traced(convert(learning_rate / n))
    return len(traces)


verify(
    "traces with three Python numbers, and with three tensors",
    [traces_with(float), traces_with(tensor)],
    equals=[3, 1],
    source="one trace for each different signature",
)

# %% [markdown]
# Three, and one: Python numbers become constants of the graph, and each new one makes a new graph. (Believe TensorFlow when it warns that *5 out of the last 5 calls triggered tf.function
# retracing*.) The same goes for shapes: a last, smaller batch
# costs a second trace, unless the signature leaves the number of rows open, as data sets do. What does the graph gain? One step of 60 images:

# %%
speeds = []
for name, function in (("eager", cd_step), ("graph", tf.function(cd_step))):
    call = step, *arguments, tf.constant(0.0, tf.float64)
    for _ in range(5):
        function(*call)  # to warm up
    begin = time.perf_counter()
    for _ in range(50):
        function(*call)
    per_step = (time.perf_counter() - begin) / 50
    speeds.append([name, f"‹{1e6 * per_step:.0f}›"])
show_table(["step", "microseconds"], speeds)

# %% [markdown]
# The arithmetic is the same in both lines, so most of an eager step of this small machine is Python. The larger the
# matrices, the smaller the gain.
#
# ## Break it: a random number that is drawn once
#
# Someone knows NumPy's generator, and uses it inside the training step. Run eagerly this is correct, and nothing
# crashes when `tf.function` is put in front. **Predict** what happens: when does Python run the line with `draw`, and how often? The right
# version draws outside and hands the numbers over as tensors.


# %%
def train_pcd(machine, n_steps, frozen):
    """PCD with a falling rate and NumPy's random numbers."""
    rng = np.random.default_rng([seed, 3])
    chains = tf.Variable(tf.fill((batch_size, n_hidden), 0.5))

    @tf.function
    def right(x, rate, u_h, u_x):
        chains.assign(step(machine, x, chains, u_h, u_x, learning_rate=rate))

    @tf.function
    def wrong(x, rate):
        right(x, rate, *draw(rng))

    for t in range(n_steps):
        rows = rng.integers(0, len(x_train), batch_size)
        x = tf.constant(x_train[rows], tf.float32)
        rate = tf.constant(learning_rate * (1 - t / n_steps), tf.float32)
        if frozen:
            wrong(x, rate)
        else:
            right(x, rate, *map(tf.constant, draw(rng)))


# %% [markdown]
# Python draws once, while tracing, and the numbers become constants of the graph. Two predictions follow. Without couplings a Gibbs step does not look at the state it comes from, so each chain shows the *same* picture in all
# steps: after one step no fantasy particle ever moves again. With couplings the frozen Gibbs step is a deterministic map, and the model average is
# an average over one fixed set of random numbers, which the weights will learn by heart. So the likelihood must suffer.
#
# For the first prediction we call the *same* function as it is and behind `tf.function`, and count the pixels that change in
# twenty sweeps. Eagerly, a pixel with mean $p_i$ takes both values with probability $1 - p_i^{20} - (1 - p_i)^{20}$.

# %%
free = RBM.from_numpy(
    NumpyRBM(np.zeros((n_visible, n_hidden)), data_bias, np.zeros(n_hidden))
)


def sweep(x):
    return gibbs_steps(free, free.hidden_probability(x), *draw(free_rng))[0]


changed = []
for function in (sweep, tf.function(sweep)):
    free_rng = np.random.default_rng([seed, 4])
    x, states = tf.zeros((batch_size, n_visible)), []
    for _ in range(20):
        x = function(x)
        states.append(x.numpy())
    changed.append(np.ptp(states, axis=0).mean())
both = 1 - p**20 - (1 - p) ** 20
scatter = np.sqrt((both * (1 - both)).sum() / batch_size) / n_visible
verify(
    "pixels that change in twenty sweeps: run eagerly, and traced",
    changed,
    equals=[both.mean(), 0],
    atol=[5 * scatter, 1e-12],
    source="independent coins; conditionals that ignore the state",
)

# %% [markdown]
# The decorator alone has stopped the chains. For the second prediction we train both ways, and ask for a loss of half a nat; with five seeds it
# lay between 1.3 and 2.4 nats.

# %%
outcome = []
for frozen in (False, True):
    rbm = RBM(**shape, visible_bias=data_bias, seed=seed)
    train_pcd(rbm, 40 * n_batches, frozen)
    outcome.append(log_likelihood(rbm))
show_table(
    ["random numbers", "log-likelihood (nats)"],
    [["new in every step", outcome[0]], ["frozen in the graph", outcome[1]]],
)
if on_digits:
    verify(
        "frozen random numbers cost at least half a nat",
        outcome[0] - outcome[1],
        at_least=0.5,
        source="enumeration of the hidden layer",
    )

# %% [markdown]
# The cure is to let the graph draw, from a state that can change. With a Python seed, `tf.random.stateless_uniform` is as frozen
# as NumPy's numbers, because it is a function of its seed. Our `_uniforms` hands it a variable `[seed, counter]` and counts on in every step. `tf.random.Generator` keeps its state in a variable, too. (`tf.random.uniform` gives new
# numbers, but hides its state where no file finds it.)
# Everything that is to change from step to step must be a tensor or a variable; everything else is frozen.
#
# ## Exercises
#
# ::::{exercise} A training step of your own
# :label: ex-keras-tape
# Write a subclass `Taped` of `RBM` whose `train_step` finds the gradient of PCD-1 with a `GradientTape`. Train it for twenty steps with `fit`, in double precision, and
# compare its parameters with those of `RBM`.
# ::::
#
# ::::{solution-start} ex-keras-tape
# :class: dropdown
# ::::
#
# The chains start at `self.chains`, and the place that they reach must be assigned to them. Random numbers come from `_uniforms`.


# %% tags=["solution"]
class Taped(RBM):
    """The RBM with a gradient from automatic differentiation."""

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        x = tf.cast(x, self.dtype)
        uniforms = _uniforms(self, 1, batch_size, self.random_state)
        chain_x, reached = gibbs_steps(self, self.chains, *uniforms)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.free_energy(x))
            loss -= tf.reduce_mean(self.free_energy(chain_x))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.chains.assign(reached)
        return {"gap": loss}


after = []
for kind in (RBM, Taped):
    rbm = kind(**shape, visible_bias=data_bias, seed=seed, dtype="float64")
    rbm.compile(keras.optimizers.SGD(learning_rate), n_chains=batch_size)
    rbm.fit(batches, epochs=1, **options | {"steps_per_epoch": 20})
    after.append(flat(rbm.to_numpy()))
verify(
    "after twenty steps both have the same parameters",
    np.abs(after[0] - after[1]).max(),
    at_most=1e-11,
    source="the two explicit phases; rounding",
)

# %% [markdown]
# The chain is computed before the tape runs, so nothing of it is recorded, and `stop_gradient` is not needed. Inside the tape a chain of samples would do no harm either: a
# sample is a comparison, $u < p$, whose derivative is zero almost everywhere. Through *probabilities*, as in the mean-field reconstructions of
# many scripts, a gradient would flow that does not belong to {eq}`eq-training-estimate`.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Two optimisers of one name
# :label: ex-keras-momentum
# `keras.optimizers.SGD` keeps $v \leftarrow \mu v - \eta g$ and moves by $v$. `torch.optim.SGD` keeps $v \leftarrow \mu v + g$ and moves by $-\eta v$. Show that the two agree as long as
# $\eta$ is constant. Now set $\eta$ to zero after many steps with a constant gradient $g = 1$, $\mu = \tfrac34$ and $\eta = \tfrac18$: how far does each one still travel?
# ::::
#
# ::::{solution-start} ex-keras-momentum
# :class: dropdown
# ::::
#
# With constant $\eta$ Keras' velocity is $-\eta$ times PyTorch's. Keras remembers *distances*: at $\eta = 0$ it coasts on, by $v(\mu + \mu^2 + \dots) = v\,\mu/(1-\mu)$ with
# $v = -\eta/(1-\mu)$, so by $-\tfrac12\cdot 3 = -1.5$. PyTorch remembers *gradients* and stops dead.

# %% tags=["solution"]
mu, eta = 0.75, 0.125
w, v = tf.Variable(0.0), torch.zeros((), requires_grad=True)
sgd = keras.optimizers.SGD(eta, momentum=mu)
other = torch.optim.SGD([v], lr=eta, momentum=mu)
v.grad = torch.ones(())
places = []
for t in range(400):
    if t == 200:
        sgd.learning_rate = other.param_groups[0]["lr"] = 0.0
        places.append([float(w), v.item()])
    sgd.apply([tf.constant(1.0)], [w])
    other.step()
places.append([float(w), v.item()])
verify(
    "after the rate is set to zero only Keras travels on",
    np.subtract(places[1], places[0]),
    equals=[-eta * mu / (1 - mu) ** 2, 0],
    atol=1e-4,
    source="geometric series of the velocity",
)

# %% [markdown]
# With a schedule that falls quickly the two are different algorithms. Our modules both follow {eq}`eq-training-update`, which is Keras' convention. (The words
# *weight decay* also have two meanings: `torch.optim.SGD` adds it to the gradient, `keras.optimizers.SGD` shrinks outside of the velocity. Both include the biases.)
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Written in TensorFlow the machine is the same to rounding, per step, and the same within the scatter of runs, per training; in between lies the first
# coin that falls differently, whose hazard we could compute. A Keras model needs only its own `train_step`; `fit`, callbacks, optimisers and files then work as for
# any other model. Python runs while a graph is traced and not afterwards, and whatever should change later has to be a tensor or a variable.
# **Next:** in {lecture}`1.5` the machine leaves the digits and learns a phase transition.
