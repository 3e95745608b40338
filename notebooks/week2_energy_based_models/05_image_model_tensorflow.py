# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 10000, n_test: 1000, channels: [16, 32, 64, 64], sizes: [5, 3, 3, 3], n_chains: 2048, n_fast: 6000, n_slow: 2000}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same image model in TensorFlow mends broken images
#
# Who has an energy has more than a generator. Its slope cleans noisy images, its conditional distribution completes torn ones,
# and the temperature stays one all the while. This lecture moves the energy of {lecture}`2.4` into TensorFlow, checks that it is
# the same to rounding, goes on training it there, and then asks it other questions: what was the image before the noise, and
# what was in the half that is missing? Both have exact answers for a Gaussian, which keep us honest twice: they test the code,
# and they are the competitor to beat.
#
# :::{admonition} Plan
# :class: tip
# **You will** compare energies and slopes in two frameworks, look inside a compiled sampler and its random numbers, continue a
# PyTorch model in TensorFlow, save it and load it, denoise images with one slope, correct that slope for the step of its
# training, estimate your error without knowing the truth, fill in missing halves at temperature one, and break the sampler with
# one random number too few.
# **You need** {lecture}`2.4`, and {lecture}`2.1` for the error of a finite step; {lecture}`1.4` for graphs and tracing;
# {lecture}`2.3`, if training by two phases is new to you. **Time** an hour to read; a minute of CPU.
# :::
#
# The course's package comes first: it makes TensorFlow the engine of Keras.

# %%
import advml.tensorflow.ebm as in_keras  # isort: skip

# %% [markdown]
# Then everything else. The two modules hold the same names.

# %%
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import torch

from advml import datasets
from advml.checks import verify
from advml.display import show_source, show_table
from advml.ebm import ReplayBuffer
from advml.plotting import image_grid
from advml.pytorch import ebm as in_torch

plt.style.use("advml.course")
torch.set_num_threads(1)  # two thread pools in one process get in the way

# %% tags=["parameters"]
seed = 0
dataset = "digits"
n_train = 1442  # images to train on
n_test = 355  # held-out images
data_noise = 0.3  # σ, in units in which a pixel is in [-1, 1]
relative_step = 0.2  # Langevin step in units of σ²
channels = [32, 64]
sizes = [3, 3]
n_chains = 512  # in the replay buffer
batch_size = 128
n_steps = 4  # Langevin steps per update
n_fast = 650  # updates in PyTorch, rate from 2e-3 to 1e-4
n_slow = 200  # in both, rate from 1e-4 to zero

# %% [markdown]
# Data and noise are those of the last lecture: an image $\mathbf y$ is blurred to $\mathbf x = \mathbf y + \sigma\mathbf w$,
# and the energy is $-\log$ of the density of
# $\mathbf x$, {eq}`eq-image-exact`, up to a constant.

# %%
data = getattr(datasets, dataset)()
on_digits = dataset == "digits"
y_train, y_test = (
    2 * images.astype(float) - 1
    for images in (data.train[:n_train], data.test[:n_test])
)
side, d = y_train.shape[-1], y_train[0].size
sigma, step = data_noise, relative_step * data_noise**2
noise_rng = np.random.default_rng([seed, 1])


def blur(y):
    """Add the stated noise."""
    return y + sigma * noise_rng.standard_normal(y.shape)


x_train, x_test = blur(y_train), blur(y_test)
shape = {"channels": channels, "sizes": sizes, "radius": sigma}

# %% [markdown]
# ## The same numbers
#
# The network in TensorFlow's words: images have their channels last, and zeros are put around them by hand. The `"same"` of
# Keras puts one zero less on the left where the width is even and the stride two. Weights that are moved from PyTorch would then
# belong to pixels one step away: no error message, no wrong shape, only worse numbers. Comparing *values* finds it.

# %%
show_source(in_keras.ConvolutionalEnergy.call, in_keras.input_gradient)

# %% [markdown]
# The target of `tape.gradient` is the *sum* of energies, so that each image gets the slope that it would have alone.
#
# We move random weights and compare energies and slopes in both precisions. An energy is a difference of large numbers: the
# trap $|\mathbf x|^2/2\sigma^2$ is some hundreds,
# and so is $f$ after training. As in {eq}`eq-keras-rounding`, rounding is relative to the size $S$ of what is added:
# $S = |\mathbf x|^2/2\sigma^2 + |f|$ for energies, the largest component for slopes.
# Four layers with sums of some hundred terms each give $4\sqrt{256}\,\epsilon = 64\,\epsilon$. With NumPy's `eps`, the distance
# from one to the next number and twice the $\epsilon$ of {lecture}`1.4`, that is $8\cdot10^{-6}$ in single precision.


# %%
def to_numpy(tensor):
    if torch.is_tensor(tensor):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor, dtype=np.float64)


def disagreement(layers, x, floats):
    """Largest difference of energies and of slopes, relative to S."""
    x = np.asarray(x, floats)
    trap = (x**2).sum((1, 2)) / (2 * sigma**2)
    found = []
    for module, kind, make in (
        (in_torch, getattr(torch, floats), torch.as_tensor),
        (in_keras, floats, tf.constant),
    ):
        energy = module.ConvolutionalEnergy(side, **shape, dtype=kind)
        energy.from_numpy(layers)
        if module is in_torch:
            energy.cpu()
        e, g = energy(make(x)), module.input_gradient(energy, make(x))
        found.append([to_numpy(e), to_numpy(g)])
    (e, g), (e_other, g_other) = found
    scale = trap + np.abs(e - trap)
    energy_error = np.max(np.abs(e - e_other) / scale)
    return energy_error, np.max(np.abs(g - g_other)) / np.abs(g).max()


# %% [markdown]
# The claim is for the worst of all test images.


# %%
def compare(layers, what):
    """Verify that both frameworks agree, in both precisions."""
    for floats in ("float32", "float64"):
        verify(
            f"{what}: energies and slopes agree in {floats}",
            disagreement(layers, x_test, floats),
            at_most=64 * np.finfo(floats).eps,
            source="rounding errors of sums in four layers",
        )


rng = np.random.default_rng([seed, 2])
layers = [
    (np.float32(w), np.float32(rng.normal(0, 1, b.shape)))
    for w, b in in_torch.ConvolutionalEnergy(
        side, **shape, seed=seed
    ).to_numpy()
]
compare(layers, "random weights")

# %% [markdown]
# ## A compiled chain
#
# A Langevin step is one forward pass, one backward pass, and a little arithmetic: Python's overhead would count. In TensorFlow
# the whole chain is one graph.

# %%
show_source(in_keras.langevin_step, in_keras._chains)

# %% [markdown]
# Two details deserve a look. The loop runs over `tf.range`, not over `range`: so it becomes *one* loop in the graph, and its
# length may be a tensor. With Python's `range` the graph would contain each step separately. And the random numbers are
# *stateless*: those of step $t$ are a function of a seed and of $t$, nothing else, on any thread and in any order. On one
# machine a chain can so be repeated to the last bit. (On another one sums may be taken in another order, and round differently.)
# **Predict** how many times Python runs `_chains` if we call it with three lengths, then with three more batch sizes.

# %%
energy = in_keras.ConvolutionalEnergy(side, **shape)
energy.from_numpy(layers)
options = {"step": step, "seed": seed}


def traces():
    return in_keras._chains.experimental_get_tracing_count()


before, x = traces(), x_test[:8]
chains = [
    in_keras.langevin(energy, x, n_steps=n, **options).numpy()
    for n in (3, 5, 9, 9)
]
lengths = traces() - before
for n in (16, 24, 32):
    in_keras.langevin(energy, x_test[:n], n_steps=3, **options)
verify(
    "traces for three lengths, and for three more batch sizes",
    [lengths, traces() - before - lengths],
    equals=[1, 1],
    source="one trace for each signature; a size that varies becomes open",
)
verify(
    "equal seeds give equal chains, to the last bit",
    np.array_equal(chains[2], chains[3]),
    equals=True,
    source="stateless random numbers",
)

# %% [markdown]
# One and one. The length is a tensor. A new number of rows is a new signature, but with `reduce_retracing` TensorFlow notices
# on the second occasion that this number varies, and leaves it open from then on.
#
# ## A model that moves
#
# Training begins in PyTorch, as before but shorter, and stops where the rate has come down to $10^{-4}$. From there it goes on
# in both frameworks.

# %%
training = {"batch_size": batch_size, "data_noise": sigma}
training |= {"step": step, "n_steps": n_steps}


def fresh(n, rng):
    return np.float32(rng.uniform(-1, 1, (n, side, side)))


torch_energy = in_torch.ConvolutionalEnergy(side, **shape, seed=seed)
buffer = ReplayBuffer(
    fresh,
    size=n_chains,
    fresh_fraction=0,
    seed=np.random.default_rng([seed, 3]),
)
in_torch.train(
    torch_energy,
    y_train,
    buffer=buffer,
    n_updates=n_fast,
    learning_rate=2e-3,
    final_learning_rate=1e-4,
    seed=seed,
    **training,
)
halfway, chains = torch_energy.to_numpy(), buffer.states.copy()
compare(halfway, "trained weights")

# %% [markdown]
# Equal energies, so equal distributions. Do the two *samplers* agree as well? Their random numbers differ, so this is a
# question of statistics. From the same 512 chains both run 300 steps in the same energy. We compare four means: energy, squared
# length, temperature by the first two terms of {eq}`eq-image-thermometer`, and the squared distance from the start ("way"),
# without which a sampler that stands still would pass.


# %%
def observables(energy, x):
    """Energy, |x|²/d and temperature of each state, in double precision."""
    double = in_keras.ConvolutionalEnergy(side, **shape, dtype="float64")
    double.from_numpy(energy.to_numpy())
    x = tf.constant(x, tf.float64)
    slope = in_keras.input_gradient(double, x)
    mean = lambda a: tf.reduce_mean(a, [1, 2])  # noqa: E731
    t = mean(x * slope) - step / 2 * mean(slope**2)
    return np.array([double(x), mean(x**2), t])


# %% [markdown]
# Here are the two runs, with an error for each mean from the scatter of the chains.

# %%
energy.from_numpy(halfway)
ends = {
    "PyTorch": in_torch.langevin(
        torch_energy, chains, step=step, n_steps=300, seed=seed
    ),
    "TensorFlow": in_keras.langevin(
        energy, chains, step=step, n_steps=300, seed=seed
    ),
}
seen = []
for x in map(to_numpy, ends.values()):
    way = ((x - chains) ** 2).mean((1, 2))
    seen.append(np.array([*observables(energy, x), way]))
means = np.array([s.mean(1) for s in seen])
errors = np.array([s.std(1, ddof=1) for s in seen]) / np.sqrt(n_chains)
verify(
    "both samplers give equal mean energy, length, temperature and way",
    means[1] - means[0],
    equals=0,
    atol=5 * np.hypot(*errors),
    source="two samples of one distribution",
)
show_table(
    ["sampler", "energy (nats)", "|x|²/d", "temperature", "way²/d"],
    [[name, *m] for name, m in zip(ends, means, strict=True)],
)

# %% [markdown]
# ### Training goes on
#
# An update is compiled, too: the loss, its gradient in the parameters, and a step of Adam. The buffer stays outside, in NumPy: it
# only reads and writes places. Everything that changes from update to update (the rate, the factor that corrects Adam's first
# averages) enters as a tensor; as Python numbers they would cost one trace each.

# %%
show_source(in_keras._descend)

# %% [markdown]
# This is Adam without momentum ($\beta_1 = 0$): `squares` are its running averages, and `seen` corrects for their start at zero.
# It is written out because PyTorch adds its $\varepsilon$ after the correction of the running averages for their start at
# zero, and Keras before it, where the same number counts thirty times as much in the first updates. When two frameworks are to
# be compared, such things must be equal or known. Note what is *not* on the tape: the chains. They are constants for it, or it
# would differentiate through all Langevin steps.
#
# Now both train on, from the same weights and the same chains, each with its own batches and noise. (The memory of Adam starts
# anew in both.) We compare what the last updates *changed* in the energies of held-out images: without any relation this
# correlation would have a standard error of $1/\sqrt{n}$.

# %%
last = {"learning_rate": 1e-4, "final_learning_rate": 0.0, "n_updates": n_slow}
models = {"PyTorch": torch_energy, "TensorFlow": energy}
before = observables(energy, x_test)[0]
modules = (in_torch, in_keras)
for i, (module, model) in enumerate(
    zip(modules, models.values(), strict=True)
):
    buffer = ReplayBuffer(
        lambda n, rng: chains.copy(),
        size=n_chains,
        fresh_fraction=0,
        seed=np.random.default_rng([seed, 4 + i]),
    )
    module.train(
        model, y_train, buffer=buffer, seed=seed + 1, **last, **training
    )
changes = [observables(m, x_test)[0] - before for m in models.values()]
changes = [change - change.mean() for change in changes]
verify(
    "both trainings change the energies of held-out images alike",
    np.corrcoef(*changes)[0, 1],
    at_least=5 / np.sqrt(n_test),
    source="five standard errors of two unrelated changes",
)

# %% [markdown]
# Image by image, and with samples of the model that went on in TensorFlow:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: changes of the energies of held-out images by the last updates in TensorFlow against those in PyTorch, a cloud along the diagonal. Right: thirty samples, most of them readable digits, without noise."}, "figure": {"caption": "Left: what the last updates changed in the energies of held-out images, less the mean change, in either framework. Right: chains of the model that went on in TensorFlow, cleaned by one slope.", "name": "fig-mend-transfer"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3), width_ratios=[1, 1.3])
axes[0].plot(*changes, ".", ms=3, alpha=0.6)
axes[0].axline((0, 0), slope=1, color="0.4", lw=1)
axes[0].set(
    xlabel="change in PyTorch (nats)", ylabel="change in TensorFlow (nats)"
)
samples = buffer.states[:30]
slope = in_keras.input_gradient(energy, tf.constant(samples, tf.float32))
image_grid(
    samples - sigma**2 * slope.numpy(), 6, ax=axes[1], limits=(-1.2, 1.2)
)
plt.show()

# %% [markdown]
# The mean change was taken off, because a constant in $E$ means nothing: energies of two models can only be compared with their
# $\log Z$. What scatters across the diagonal is chance, what follows it has been learned.
#
# ### Noise becomes digits
#
# The chains on the right are old. Here are fresh ones, from uniform noise, in the compiled loop; and the energies that the model
# gives to them, to held-out images, and to outliers: the same images with their halves swapped, and noise.

# %%
x, path = fresh(200, np.random.default_rng([seed, 30])), []
for i, length in enumerate((10, 90, 900)):
    path.append(x)
    x = in_keras.langevin(
        energy,
        tf.constant(x, tf.float32),
        step=step,
        n_steps=length,
        seed=[seed, 31 + i],
    ).numpy()
path.append(x)
groups = {
    "held-out images": x_test,
    "chains": x,
    "halves swapped": np.roll(x_test, side // 2, axis=1),
    "uniform noise": fresh(n_test, np.random.default_rng([seed, 35])),
}
values = {k: observables(energy, v)[0] for k, v in groups.items()}
real, noisy = values["held-out images"], values["uniform noise"]
verify(
    "probability that uniform noise has the higher energy (AUROC)",
    np.mean(real < noisy[:, None]),
    at_least=0.99,
    source="labels; all pairs of an image and a noise",
)

# %% [markdown]
# Predict where the swapped images lie: a pixel histogram cannot tell them from images.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: four rows of ten images, uniform noise at the top, grainy strokes below, digit-like shapes in the last two rows. Right: histograms of energies; images and chains overlap, swapped images lie higher and overlap partly, noise lies far to the right."}, "figure": {"caption": "Left: ten chains from noise (top), after 10, 100 and 1000 steps. Right: energies of held-out images, chains and outliers.", "name": "fig-mend-energies"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.6), width_ratios=[1.3, 1])
strip = np.concatenate([stage[:10] for stage in path])
image_grid(strip, 10, ax=axes[0], limits=(-1.3, 1.3))
edges = np.histogram_bin_edges(np.concatenate([*values.values()]), 80)
for name, v in values.items():
    axes[1].hist(v, edges, density=True, histtype="step", label=name)
axes[1].set(xlabel="energy (nats, up to a constant)", ylabel="density")
axes[1].legend(fontsize="x-small")
plt.show()

# %% [markdown]
# The swapped images lie above most images: the energy knows where strokes belong. If it did not, an image and a swapped one
# would be ordered by a coin toss, and the probability of $n$ against $n$ would be $\frac12$ with a standard error of $1/\sqrt{6n}$.

# %%
swapped = values["halves swapped"]
verify(
    "probability that a swapped image has the higher energy",
    np.mean(real < swapped[:, None]),
    at_least=0.5 + 5 / np.sqrt(6 * n_test),
    source="five standard errors of a coin toss",
)

# %% [markdown]
# ### Save, load
#
# A registered `keras.Model` saves its weights with what is needed to build it again (`get_config`). The loaded model must give
# the same energies, bit by bit.

# %%
with tempfile.TemporaryDirectory() as folder:
    energy.save(Path(folder) / "energy.keras")
    loaded = keras.saving.load_model(Path(folder) / "energy.keras")
x = tf.constant(x_test, tf.float32)
verify(
    "a loaded model gives the same energies",
    np.array_equal(loaded(x).numpy(), energy(x).numpy()),
    equals=True,
    source="the model that was saved",
)

# %% [markdown]
# ## One slope cleans an image
#
# By {eq}`eq-image-tweedie` the best guess at the clean image, given the noisy one, is
#
# $$
# \hat{\mathbf y}(\mathbf x) = \mathbf x - \sigma^2\,\nabla E(\mathbf x),
# $$ (eq-mend-denoise)
#
# if $E$ is $-\log$ of the density of the blurred images. For a Gaussian energy this is the **Wiener filter**, the best guess that
# is linear in $\mathbf x$. For the kernel density it is a weighted mean of training images.
#
# Is our network's $E$ that energy? Not quite. What training fits to the blurred images is the stationary density
# of a *chain with step* $\eta$. Trained to its end, the slope would be too steep in stiff directions, by up to 13 %. Ours stops long
# before: in the stiffest directions {lecture}`2.4` found no sign of it yet. {lecture}`2.1` has the density of the chain to first order,
# {eq}`eq-langevin-first-order`; with partial derivatives, in $d$ dimensions and at $T = 1$, it is $e^{-E_\eta}$ with
#
# $$
# \begin{aligned}
# E_\eta &= E - \frac\eta4\,|\nabla E|^2 + \frac\eta2\,\nabla^2 E, \\
# \nabla E_\eta &= \nabla E - \frac\eta2\,\mathsf H\,\nabla E + \frac\eta2\,\nabla(\nabla^2E)
# \approx \nabla E\bigl(\mathbf x - \tfrac\eta2\nabla E(\mathbf x)\bigr),
# \end{aligned}
# $$ (eq-mend-half)
#
# with the matrix $\mathsf H$ of second derivatives. (The derivation of {lecture}`2.1`, with its $L$, $M$ and $g$: $L$ takes $pg$ to
# $\nabla\cdot(p\,\nabla g)$, and $M$ takes $p$ to $\frac12\sum_{ij}\partial_i\partial_j(H_{ij}\,p)$. Their sum is zero if
# $p\,\partial_j g = -\frac12\sum_i\partial_i(H_{ij}\,p)$. With $\partial_i p = -p\,\partial_i E$ the right-hand side is
# $p\,\partial_j V$, where $V = \frac14|\nabla E|^2 - \frac12\nabla^2E$. So $g = V$ up to a constant, and $E_\eta = E - \eta V$.)
# The last form is the first two terms to
# order $\eta$: *take the slope after half a step downhill*. It leaves out third derivatives, so it is right to first order
# where the curvature does not vary. For a Gaussian with precision $\mathsf P$ it is right to all orders: it makes the slope
# $\mathsf P(1 - \eta\mathsf P/2)\,\mathbf x$, and that matrix *is* the inverse covariance of the chain ({ref}`ex-mend-half`).
# The Gaussian fit and the kernel density were not trained by a chain: they keep the plain slope.
#
# How would you estimate the error *without* knowing the clean images? Let $\mathbf g$ be the slope used, at
# $\mathbf y + \sigma\mathbf w$. Then $\hat{\mathbf y} - \mathbf y = \sigma\mathbf w - \sigma^2\mathbf g$. The density
# of the noise has $w_i\,e^{-|\mathbf w|^2/2} = -\partial_{w_i} e^{-|\mathbf w|^2/2}$, and
# $\partial/\partial w_i = \sigma\,\partial/\partial x_i$ on $\mathbf g$: integrating by parts turns
# $\langle \mathbf w\cdot\mathbf g\rangle$ into $\sigma\langle\nabla\cdot\mathbf g\rangle$. With $\langle\cdot\rangle$ over $\mathbf w$,
#
# $$
# \frac1d\left\langle |\hat{\mathbf y} - \mathbf y|^2 \right\rangle =
# \sigma^2 + \frac{\sigma^4}{d}\left\langle |\mathbf g|^2 - 2\,\nabla\cdot\mathbf g \right\rangle .
# $$ (eq-mend-sure)
#
# This is Stein's unbiased risk estimate {cite}`stein1981`. It holds for *any* slope, right or wrong, and contains no clean
# image. It even says by which factor $c$ all slopes should be stretched: with $c\,\mathbf g$ the error is least at
# $c = \langle\nabla\cdot\mathbf g\rangle/\langle|\mathbf g|^2\rangle$, averaged over images as well. Slopes with $c < 1$ are too
# steep. The exact slope has $c = 1$: by parts over $e^{-E}$, $\langle\nabla^2E\rangle = \langle|\nabla E|^2\rangle$.
#
# The divergence is a trace, which random signs $v_i = \pm1$ estimate: $\langle \mathbf v\cdot \mathsf J\mathbf v\rangle =
# \operatorname{tr}\mathsf J$, with $J_{ij} = \partial g_i/\partial x_j$. The product $\mathsf J\mathbf v$ is the derivative of
# the slope in the direction $\mathbf v$. TensorFlow takes it in one pass, *forward over reverse*: a `ForwardAccumulator` carries
# a direction along with every number, also through the backward pass of the tape inside it.

# %%
flat_train = y_train.reshape(-1, d)
mean = flat_train.mean(0)
covariance = np.cov(flat_train.T) + sigma**2 * np.eye(d)
precision = np.linalg.inv(covariance)


def flat(x):
    return tf.reshape(x, (-1, d))


def gaussian_energy(x):
    """The Gaussian fit to the blurred images, up to a constant."""
    u = flat(x) - tf.constant(mean, x.dtype)
    return tf.reduce_sum((u @ tf.constant(precision, x.dtype)) * u, 1) / 2


def kernel_energy(x):
    """The kernel density (eq-image-exact), up to a constant."""
    y = tf.constant(flat_train, x.dtype)
    fields = flat(x) @ tf.transpose(y) - tf.reduce_sum(y**2, 1) / 2
    trap = tf.reduce_sum(flat(x) ** 2, 1) / (2 * sigma**2)
    return trap - tf.reduce_logsumexp(fields / sigma**2, 1)


# %% [markdown]
# The two slopes, and the denoiser that takes either:


# %%
def settled_slope(energy, x):
    """Slope after half a step downhill (eq-mend-half)."""
    half = x - step / 2 * in_keras.input_gradient(energy, x)
    return in_keras.input_gradient(energy, half)


def denoise(energy, x, slope=in_keras.input_gradient):
    """x - σ²∇E(x) (eq-mend-denoise)."""
    x = tf.constant(x, tf.float32)
    return to_numpy(x - sigma**2 * slope(energy, x))


# %% [markdown]
# And the two moments in Stein's estimate, per pixel. For one image they are noisy; only their mean is meant.


# %%
def moments(energy, slope, x, v):
    """|g|²/d and an estimate of ∇·g/d of each image (eq-mend-sure)."""
    x, v = (tf.constant(a, tf.float32) for a in (x, v))
    with tf.autodiff.ForwardAccumulator(x, v) as forward:
        g = slope(energy, x)
    divergence = to_numpy(forward.jvp(g) * v).mean((1, 2))
    return to_numpy(g**2).mean((1, 2)), divergence


# %% [markdown]
# All cleaners see the same noisy images, each test image with four different noises. **Predict** the order before you look. A
# network that beats the covariance matrix here has learned something about digits that is not in the second moments.

# %%
y_four = np.concatenate([y_test] * 4)
x_four = blur(y_four)
signs = noise_rng.choice([-1.0, 1.0], x_four.shape)
early, twin = (in_keras.ConvolutionalEnergy(side, **shape) for _ in range(2))
early.from_numpy(halfway)
twin.from_numpy(torch_energy.to_numpy())
plain = in_keras.input_gradient
cleaners = {
    "Gaussian (Wiener filter)": (gaussian_energy, plain),
    "kernel density": (kernel_energy, plain),
    "network": (energy, plain),
    "network, half a step": (energy, settled_slope),
    "the same, trained to the end in PyTorch": (twin, settled_slope),
    "the same, before the last updates": (early, settled_slope),
}
error, estimate, best = {}, {}, {}
for name, (model, slope) in cleaners.items():
    cleaned = denoise(model, x_four, slope)
    error[name] = ((cleaned - y_four) ** 2).mean((1, 2))
    square, divergence = moments(model, slope, x_four, signs)
    estimate[name] = sigma**2 + sigma**4 * (square - 2 * divergence)
    best[name] = divergence.mean() / square.mean()
show_table(
    ["cleaner", "mean square error", "by Stein", "best c"],
    [["none", sigma**2, "", ""]]
    + [[n, error[n].mean(), estimate[n].mean(), best[n]] for n in best],
)

# %% [markdown]
# Differences are taken image by image, because some images are harder than others for everyone.


# %%
def by_image(difference):
    """Mean and standard error; the four noises of an image belong together."""
    each = difference.reshape(4, -1).mean(0)
    return each.mean(), each.std(ddof=1) / np.sqrt(len(each))


stein_gap = [by_image(error[n] - estimate[n]) for n in error]
verify(
    "Stein's estimate equals the true error, for all six cleaners",
    [gap for gap, _ in stein_gap],
    equals=0,
    atol=[5 * e for _, e in stein_gap],
    source="integration by parts over the noise",
)
wiener, _, as_trained, network, in_torch_too, at_first = error.values()
verify(
    "error after PyTorch, over that after TensorFlow",
    in_torch_too.mean() / network.mean(),
    equals=1,
    atol=0.005,
    source="other random numbers; empirical",
)

# %% [markdown]
# Three leads are claimed for the network, each by some standard errors over images.

# %%
if on_digits:
    for what, other, n_errors in (
        ("half a step lowers the network's error", as_trained, 3),
        ("the last updates improve the cleaner", at_first, 3),
        ("and it beats the linear filter fitted to the images", wiener, 4),
    ):
        lead, lead_error = by_image(other - network)
        verify(
            what,
            lead,
            at_least=n_errors * lead_error,
            source="mean square error of held-out images",
        )

# %% [markdown]
# The standard error counts images. Trainings with other seeds scatter as well, by a few times as much; even so the lead over
# the linear filter is far from chance. Half a step uses neither $c$ nor clean images, and brings $c$ closer to one. But do not
# read $c < 1$ as the bias of the step alone. Any error $\mathbf e$ of the slope that is uncorrelated with the exact slope
# $\nabla E$ lowers it, $c = 1/(1 + \langle|\mathbf e|^2\rangle/\langle|\nabla E|^2\rangle)$. And half a step downhill makes a
# slope a little smaller wherever the energy curves upwards along it, and where that prevails it raises $c$ whatever made it too
# low. Where training has not yet made up for the step, half a step overcorrects; so $c$ may end on either side of one. The
# kernel density, which remembers every training image, can only answer with old ones. Its $c$ is far below one: for new images
# its slopes are far too steep. Here are some of the images.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five rows of twelve digits: clean, with noise, cleaned by the Wiener filter (blurry, grey background), by the kernel density (sharp, sometimes another digit), and by the network, hardly to be told from the Wiener filter by eye."}, "figure": {"caption": "Top to bottom: held-out images, the same with noise, cleaned by the Wiener filter, by the kernel density, and by the network's slope after half a step.", "name": "fig-mend-denoise"}}
rows = [y_four[:12], x_four[:12]]
for name in ("Gaussian (Wiener filter)", "kernel density"):
    rows.append(denoise(cleaners[name][0], x_four[:12]))
rows.append(denoise(energy, x_four[:12], settled_slope))
fig, ax = plt.subplots(figsize=(6.5, 2.9))
image_grid(np.concatenate(rows), 12, ax=ax, limits=(-1.2, 1.2))
plt.show()

# %% [markdown]
# ## Fill in what is missing
#
# Of each image only the upper half $\mathbf x_k$ is known, with its noise, since $E$ is an energy of blurred images. What was in the lower one, $\mathbf x_u$? There is not one answer but a
# distribution, $p(\mathbf x_u \mid \mathbf x_k) \propto e^{-E(\mathbf x_k,\, \mathbf x_u)}$: the same energy with the known pixels
# held fixed. $Z$ has become another one, which no sampler needs. So the whole change is one line: after each step, put the known
# pixels back.
#
# Our sampler for this is written here, compiled, with a stateless random number for each step.

# %%
key = tf.constant(seed)  # a tensor: a new number makes no new graph
known = np.zeros((side, side), bool)
known[: side // 2] = True


@tf.function(reduce_retracing=True)
def fill_in(energy, x, n_steps, seed):
    """Langevin at temperature one on the pixels that are not known."""
    for t in tf.range(n_steps):
        w = tf.random.stateless_normal(tf.shape(x), tf.stack([seed, t]))
        moved = in_keras.langevin_step(
            energy, x, w, step=step, noise=(2 * step) ** 0.5
        )
        x = tf.where(known, x, moved)
    return x


def torn(x, rng):
    """The known pixels of x, and uniform noise elsewhere."""
    return np.float32(np.where(known, x, rng.uniform(-1, 1, x.shape)))


# %% [markdown]
# First the exact case. For a Gaussian energy with precision matrix $\mathsf P$ the unknown pixels given the known ones are
# Gaussian as well. In blocks of $\mathsf P$ their mean is
#
# $$
# \mathbf m = \boldsymbol\mu_u - \mathsf P_{uu}^{-1}\,\mathsf P_{uk}\,(\mathbf x_k - \boldsymbol\mu_k),
# $$ (eq-mend-conditional)
#
# and their covariance $\mathsf P_{uu}^{-1}$. A chain need not even settle for a test. Each step is linear,
# $\mathbf x_u - \mathbf m \leftarrow \mathsf A\,(\mathbf x_u - \mathbf m) + \sqrt{2\eta}\,\mathbf w$ with
# $\mathsf A = 1 - \eta\mathsf P_{uu}$, so after $t$ steps from any start $\mathbf x_0$ the law is normal, with
#
# $$
# \begin{aligned}
# \text{mean}\quad & \mathbf m + \mathsf A^t(\mathbf x_0 - \mathbf m), \\
# \text{covariance}\quad & 2\eta\sum_{s<t}\mathsf A^{2s} = \mathsf C_\eta\,(1 - \mathsf A^{2t}), \qquad
# \mathsf C_\eta = \mathsf P_{uu}^{-1}\left(1 - \tfrac\eta2\,\mathsf P_{uu}\right)^{-1},
# \end{aligned}
# $$ (eq-mend-finite)
#
# where $1 - \mathsf A^2 = 2\eta\,\mathsf P_{uu}(1 - \frac\eta2\mathsf P_{uu})$ sums the series. At $t = \infty$ it is the
# chain's own, slightly too wide, stationary state.

# %%
k = known.ravel()
inside = precision[np.ix_(~k, ~k)]
pull = np.linalg.solve(inside, precision[np.ix_(~k, k)])


def conditional_mean(x):
    """Exact conditional mean of the missing pixels (eq-mend-conditional)."""
    x = x.reshape(-1, d)
    return mean[~k] - (x[:, k] - mean[k]) @ pull.T


# %% [markdown]
# 2048 chains of one image make 100 steps from uniform noise. In the eigenvectors of $\mathsf P_{uu}$ ("axes", with eigenvalues
# "rates") the components are independent; less their mean and over their standard deviation by {eq}`eq-mend-finite` they must
# be standard normal.

# %%
rng = np.random.default_rng([seed, 6])
start = torn(np.repeat(x_test[:1], 2048, axis=0), rng)
x = fill_in(gaussian_energy, start, tf.constant(100), key)
rates, axes = np.linalg.eigh(inside)
keep = (1 - step * rates) ** 100
at_first, at_end = (
    (to_numpy(a).reshape(-1, d)[:, ~k] - conditional_mean(x_test[:1])) @ axes
    for a in (start, x)
)
width = np.sqrt((1 - keep**2) / (rates * (1 - step / 2 * rates)))
z = (at_end - keep * at_first) / width
verify(
    "filling in for a Gaussian: mean of each component after 100 steps",
    z.mean(0),
    equals=0,
    atol=5 / np.sqrt(len(z)),
    source="powers of a matrix",
)
verify(
    "and variance, with the broadening by the step",
    (z**2).mean(),
    equals=1,
    atol=5 * np.sqrt(2 / z.size),
    source="a geometric series",
)

# %% [markdown]
# Without the broadening the variance would be off by about twice its tolerance.
#
# Now the network: 160 held-out images, four chains each, 400 steps. The competitor draws from the Gaussian's conditional
# distribution exactly: a normal vector times a root of the covariance.

# %%
n_images, n_each = 160, 4
choice = np.linspace(0, n_test - 1, n_images).astype(int)
many = np.repeat(x_test[choice], n_each, axis=0)
filled = to_numpy(fill_in(energy, torn(many, rng), tf.constant(400), key))
drawn = many.copy().reshape(-1, d)
root = np.linalg.cholesky(np.linalg.inv(inside))
noise = rng.standard_normal((len(drawn), len(root))) @ root.T
drawn[:, ~k] = conditional_mean(many) + noise
drawn = drawn.reshape(many.shape)

# %% [markdown]
# **Predict**: for which upper halves will the chains disagree?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Rows of ten images. First the true image, then the upper half alone, then three completions by the network, most of which are digits that continue the strokes, and differ where the upper half is ambiguous, then one completion drawn from the Gaussian, with blotches in the lower half."}, "figure": {"caption": "Top to bottom: held-out images; what is known; three completions by the network, cleaned by the slope after half a step; one by the Gaussian's exact conditional distribution, cleaned by its own.", "name": "fig-mend-inpaint"}}
shown = np.arange(0, n_images, n_images // 10)
rows = [y_test[choice[shown]]]
rows.append(np.where(known, x_test[choice[shown]], np.nan))
for j in range(3):
    rows.append(denoise(energy, filled[shown * n_each + j], settled_slope))
rows.append(denoise(gaussian_energy, drawn[shown * n_each]))
fig, ax = plt.subplots(figsize=(6, 3.7))
image_grid(np.concatenate(rows), 10, ax=ax, limits=(-1.2, 1.2))
plt.show()

# %% [markdown]
# Chains agree where the upper half leaves one digit, and disagree where it can begin several.
#
# Two numbers. Is a completed image *a digit*? The kernel density looks for similar training images. (Its energy is taken here
# up to a constant: for the numbers of {lecture}`2.4` subtract 11.0.) Completions of one image have the same upper half, so they
# differ in kernel energy as in $-\log p(\mathbf x_u\mid\mathbf x_k)$ of the kernel density. Lower is not better by itself:
# chains frozen at training images would have the lowest. The reference is the real lower half, of the same held-out image with
# its noise. And is the *mean* completion close to the truth, in mean square over the missing pixels? Four completions leave a
# quarter of their variance in their mean, so that is taken off.


# %%
def mend_scores(x, energy, slope=in_keras.input_gradient):
    """Kernel energy of each image; square error of the mean completion."""
    fit = to_numpy(kernel_energy(tf.constant(x, tf.float32)))
    guess = denoise(energy, x, slope)
    guess = guess.reshape(n_images, n_each, side, side)
    miss = (guess.mean(1) - y_test[choice]) ** 2
    miss = (miss - guess.var(1, ddof=1) / n_each)[:, ~known].mean(1)
    return fit.reshape(n_images, n_each).mean(1), miss


# %% [markdown]
# The completions are cleaned before they are averaged. In the same table: the exact conditional mean of the Gaussian, and the
# answer of someone who has not looked at the image. The mean of the Gaussian's draws must agree with the former, which is not
# cleaned: the noise of the missing pixels has mean zero whatever the known ones are, so cleaning does not change the mean.

# %%
scores = {
    "network": mend_scores(filled, energy, settled_slope),
    "Gaussian": mend_scores(drawn, gaussian_energy),
}
real = to_numpy(kernel_energy(tf.constant(x_test[choice], tf.float32)))
linear = conditional_mean(x_test[choice])
linear = ((linear - y_test[choice][:, ~known]) ** 2).mean(1)
blank = (y_test[choice] - y_train.mean(0))[:, ~known] ** 2
show_table(
    ["completion", "kernel energy (nats)", "error of the mean completion"],
    [["real lower half", real.mean(), ""]]
    + [[n, fit.mean(), miss.mean()] for n, (fit, miss) in scores.items()]
    + [
        ["exact conditional mean of the Gaussian", "", linear.mean()],
        ["mean of all training images", "", blank.mean()],
    ],
)

# %% [markdown]
# Each claim is on differences, image by image.

# %%
root_n = np.sqrt(n_images)
gap = scores["Gaussian"][1] - linear
verify(
    "mean of the Gaussian's draws, and the exact one: equal errors",
    gap.mean(),
    equals=0,
    atol=5 * gap.std(ddof=1) / root_n,
    source="the quarter of the variance is taken off",
)
if on_digits:
    above = scores["network"][0] - real
    below = scores["Gaussian"][0] - scores["network"][0]
    verify(
        "kernel energy of completions: above real halves, below the Gaussian",
        [above.mean(), below.mean()],
        at_least=[3 * a.std(ddof=1) / root_n for a in (above, below)],
        source="exact energy of the blurred training images",
    )

# %% [markdown]
# The network's completions are closer to real lower halves than the Gaussian's, on average; how much closer depends on the
# training. Both are far from real. In the error of their mean the network has no clear lead: a mean of two digits is no digit,
# and the square error rewards exactly that blur. Which number counts depends on what you want to do with the image.
#
# ## Break it: one random number too few
#
# A shape that is wrong by one entry: the noise is drawn for one image, `(1, side, side)`, and broadcasting hands it to all
# chains. Each chain by itself is as good as before, at temperature one.
# What happens to a *pair* of chains in a Gaussian energy? The noise drops out of their difference $\mathbf x - \mathbf x'$,
# which shrinks in every step,
#
# $$
# \mathbf x_{t} - \mathbf x'_{t} = (1 - \eta\,\mathsf P)^t\,(\mathbf x_0 - \mathbf x'_0),
# $$ (eq-mend-coalesce)
#
# to zero, with certainty. **Predict** whether chains also merge in the trained energy, which has many valleys.


# %%
@tf.function(reduce_retracing=True)
def run(energy, x, n_steps, seed, shared):
    """Langevin; all chains get the same noise if `shared`."""
    for t in tf.range(n_steps):
        rows = 1 if shared else tf.shape(x)[0]
        w = tf.random.stateless_normal(
            [rows, side, side], tf.stack([seed, t]), dtype=x.dtype
        )
        x = in_keras.langevin_step(
            energy, x, w, step=step, noise=(2 * step) ** 0.5
        )
    return x


# %% [markdown]
# The prediction for a Gaussian, in double precision:

# %%
x = tf.constant(x_test[:2], tf.float64)
apart = to_numpy(run(gaussian_energy, x, tf.constant(40), key, True))
shrink = np.linalg.matrix_power(np.eye(d) - step * precision, 40)
verify(
    "two chains with the same noise approach each other as predicted",
    (apart[0] - apart[1]).ravel(),
    equals=shrink @ (x_test[0] - x_test[1]).ravel(),
    atol=1e-10,
    source="powers of a matrix",
)

# %% [markdown]
# In the trained energy, 64 chains from 64 different images, with noise of their own and with shared noise (from another seed),
# in 40 pieces of 20 steps. "Spread" is the scatter of pixels between chains, in units of that between images.

# %%
start = tf.constant(x_test[:64], tf.float32)
paths, rows, spreads = {}, [], []
for name, shared in (("each its own", False), ("shared", True)):
    path = [start]
    for i in range(40):
        seed_of_piece = key + 1 + i + 1000 * shared
        path.append(
            run(energy, path[-1], tf.constant(20), seed_of_piece, shared)
        )
    paths[name] = to_numpy(tf.stack(path))
    e, _, t = observables(energy, paths[name][-1])
    spreads.append(paths[name][-1].std(0).mean() / x_test.std(0).mean())
    rows.append([name, spreads[-1], e.std(), t.mean(), t.std()])
show_table(["noise", "spread", "std of E", "temperature", "its std"], rows)
verify(
    "spread of the chains: with shared noise, over that with their own",
    spreads[1] / spreads[0],
    at_most=0.5,
    source="chains in one valley merge",
)

# %% [markdown]
# How fast? The distances of 32 pairs, every twenty steps:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Distance of pairs of chains against the step, logarithmic. With shared noise the distances fall by orders of magnitude, with setbacks, and some pairs are still apart; with noise of their own they stay at the level of two different images."}, "figure": {"caption": "Distance of pairs of chains in the trained energy (median, and range from 10 to 90 % of the pairs), with shared noise and with noise of their own.", "name": "fig-mend-coalesce"}}
fig, ax = plt.subplots(figsize=(6, 2.8))
for name, path in paths.items():
    apart = np.linalg.norm(path[:, ::2] - path[:, 1::2], axis=(2, 3))
    low, middle, high = np.quantile(apart, [0.1, 0.5, 0.9], axis=1)
    at = 20 * np.arange(len(path))
    (line,) = ax.plot(at, middle, label=name)
    ax.fill_between(at, low, high, color=line.get_color(), alpha=0.2, lw=0)
ax.set(xlabel="Langevin step", ylabel="distance of a pair", yscale="log")
ax.legend(title="noise")
plt.show()

# %% [markdown]
# Chains in the same valley approach each other; at a ridge, one may fall to either side, and a pair is torn apart again, until
# both have followed the noise into the same valley. Averages over the batch are in the end averages over one state, or a few.
# Look at the temperature: for chains with noise of their own its error is the scatter in the last column over $\sqrt{64}$. Merged
# chains all show the reading of *one* state. It can miss by the whole scatter of single readings (the last column of the first
# row) or more, and looks like a sampler that is too hot or too cold; and since copies agree with each other, their own small
# scatter makes the wrong number look precise. No larger batch reduces such errors, and in training that is the negative phase. No crash, no
# warning. Broadcasting is silent in all frameworks: check the shape of the noise, or let a test compare two chains.
#
# ## Exercises
#
# ::::{exercise} The error of the Wiener filter
# :label: ex-mend-wiener
# Show that for the Gaussian fit, with eigenvalues $\lambda_i$ of the covariance of the blurred images, the mean square error on
# the images that were fitted is $\frac{\sigma^2}{d}\sum_i (1 - \sigma^2/\lambda_i)$,
# although their distribution is not Gaussian. Compare with a measurement.
# ::::
#
# ::::{solution-start} ex-mend-wiener
# :class: dropdown
# ::::
#
# The filter is linear, so its square error contains second moments only, and those the fit has right. In {eq}`eq-mend-sure`
# $\langle|\mathbf g|^2\rangle = \operatorname{tr}\mathsf P$ and $\nabla\cdot\mathbf g = \operatorname{tr}\mathsf P$,
# with $\operatorname{tr}\mathsf P = \sum_i 1/\lambda_i$.

# %% tags=["solution"]
again = blur(y_train)
each = ((denoise(gaussian_energy, again) - y_train) ** 2).mean((1, 2))
verify(
    "error of the Wiener filter on the images that were fitted",
    each.mean(),
    equals=sigma**2
    / d
    * (1 - sigma**2 / np.linalg.eigvalsh(covariance)).sum(),
    atol=5 * each.std() / np.sqrt(len(each)),
    source="eigenvalues of the covariance",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Half a step downhill
# :label: ex-mend-half
# Show that for a Gaussian the slope after half a step is that of the chain's stationary density, to all orders. Then take
# $E = x^2/2 + \frac12\cos x$, whose curvature varies, and find from the matrix of one step that
# what {eq}`eq-mend-half` leaves out is $\frac\eta2E'''$, up to terms in $\eta^2$.
# ::::
#
# ::::{solution-start} ex-mend-half
# :class: dropdown
# ::::
#
# $\mathsf P\,(\mathbf x - \frac\eta2\mathsf P\mathbf x) = \mathsf P(1 - \frac\eta2\mathsf P)\,\mathbf x$, and this matrix is
# $\mathsf C_\eta^{-1}$ of {eq}`eq-mend-finite` with all pixels unknown. In the second case $p_\eta$ is the fixed vector of the
# transition matrix, and its slope follows without differences: $p_\eta$ is a sum of normal densities around the points that one
# step downhill reaches, and each of them has a known slope. If $\frac\eta2E''' = \frac\eta4\sin x$ is all that is missing to
# first order, the rest falls by four when $\eta$ is halved; otherwise it would fall by two. The next order changes the four by a
# relative amount of the order of $\eta$.

# %% tags=["solution"]
grid = np.linspace(-8, 8, 401)


def left_over(eta):
    """Largest slope missing after half a step and ηE'''/2, |x| ≤ 3."""
    downhill = lambda x: x - np.sin(x) / 2  # noqa: E731
    gap = grid[:, None] - (grid - eta * downhill(grid))
    kernel = np.exp(-(gap**2) / (4 * eta))
    kernel /= kernel.sum(0)
    p = np.linalg.matrix_power(kernel, 1024)[:, len(grid) // 2]
    exact = (gap * kernel) @ p / (2 * eta * p)
    half = downhill(grid - eta / 2 * downhill(grid))
    rest = exact - half - eta / 4 * np.sin(grid)
    return np.abs(rest[np.abs(grid) <= 3]).max()


verify(
    "half a step and the third derivative are right to first order",
    left_over(0.05) / left_over(0.025),
    equals=4,
    atol=0.5,
    source="the rest is of second order in the step",
)

# %% [markdown]
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# An energy that was trained in PyTorch is the same function in TensorFlow to rounding, gives the same statistics to a compiled
# sampler with stateless random numbers, and can be trained on there. At temperature one its slope, taken after half a step, is a
# denoiser whose error Stein's formula knows without the truth, and which beats the linear filter fitted to the same images;
# its conditional distribution fills in what is missing, by one changed line. A Gaussian, for which all of this is exact, is both
# the test of the code and the competitor, and where the network does not beat it, the table says so.
#
# **Next:** week 3 ({lecture}`3.1`), in which latent variables make both sampling and likelihoods cheap, at the price of a bound.
