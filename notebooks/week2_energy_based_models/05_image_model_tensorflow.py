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
# and the temperature
# stays one all the while. This lecture moves the energy of {doc}`04_image_model_pytorch` into TensorFlow, checks that it is the
# same to rounding,
# goes on training it there, and then asks it other questions: what was the image before the noise, and what was in the half
# that is
# missing? Both have exact answers for a Gaussian, which keep us honest twice: they test the code, and they are the competitor
# to beat.
#
# :::{admonition} Plan
# :class: tip
# **You will** compare energies and slopes in two frameworks, look inside a compiled sampler and its random numbers, continue a
# PyTorch model in
# TensorFlow, save it and load it, denoise images with one slope and estimate your error without knowing the truth, fill in
# missing halves at temperature one, and
# break the sampler with one random number too few.
# **You need** {doc}`04_image_model_pytorch`; {doc}`../week1_boltzmann_machines/04_rbm_tensorflow` for graphs and
# tracing. **Time** 45 minutes to read; a minute of CPU.
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
n_fast = 500  # updates in PyTorch, rate from 2e-3 to 1e-4
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
# The network in TensorFlow's words: images have their channels last, and zeros are put around them by hand, because the
# `"same"` of Keras pads only on one
# side where the width is even and the stride two. Weights that are moved from PyTorch would then belong to pixels one step
# away, and no shape would tell.

# %%
show_source(in_keras.ConvolutionalEnergy.call, in_keras.input_gradient)

# %% [markdown]
# The target of `tape.gradient` is the *sum* of energies, so that each image gets the slope that it would have alone.
#
# We move random weights and compare energies and slopes in both precisions. An energy is a difference of large numbers: the
# trap $|\mathbf x|^2/2\sigma^2$ is some hundreds,
# and so is $f$ after training. As in {eq}`eq-keras-rounding`, rounding is relative to the size $S$ of what is added:
# $S = |\mathbf x|^2/2\sigma^2 + |f|$ for energies, the largest component for slopes.
# Four layers with sums of some hundred terms each give $4\sqrt{256}\,\epsilon$, that is $8\cdot10^{-6}$ in single precision.


# %%
def to_numpy(tensor):
    if torch.is_tensor(tensor):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor, dtype=np.float64)


def disagreement(layers, x, precision):
    """Largest difference of energies and of slopes, relative to S."""
    x = np.asarray(x, precision)
    trap = (x**2).sum((1, 2)) / (2 * sigma**2)
    found = []
    for module, kind, make in (
        (in_torch, getattr(torch, precision), torch.as_tensor),
        (in_keras, precision, tf.constant),
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
    for precision in ("float32", "float64"):
        verify(
            f"{what}: energies and slopes agree in {precision}",
            disagreement(layers, x_test, precision),
            at_most=64 * np.finfo(precision).eps,
            source="rounding errors of sums in four layers",
        )


rng = np.random.default_rng(seed)
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
# length may be a tensor. With Python's `range` the graph would contain
# each step separately. And the random numbers are *stateless*: those of step $t$ are a function of a seed and of $t$, nothing
# else. A chain can be repeated to the last bit, on any thread, in any order.
# **Predict** how many times Python runs `_chains` if we call it with three lengths, then with two more batch sizes.

# %%
energy = in_keras.ConvolutionalEnergy(side, **shape)
energy.from_numpy(layers)
options = {"step": step, "seed": seed}


def traces():
    return in_keras._chains.experimental_get_tracing_count()


before, x = traces(), x_test[:8]
chains = [
    in_keras.langevin(energy, x, n_steps=n, **options).numpy()
    for n in (3, 5, 5)
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
    np.array_equal(chains[1], chains[2]),
    equals=True,
    source="stateless random numbers",
)

# %% [markdown]
# One and one. The length is a tensor. A new number of rows is a new signature, but with `reduce_retracing` TensorFlow notices
# on the second occasion that this number varies, and
# leaves it open from then on.
#
# ## A model that moves
#
# Training begins in PyTorch, as before but shorter, and stops where the rate has come down to $10^{-4}$. From there it goes on
# in both frameworks.

# %%
training = {
    "batch_size": batch_size,
    "step": step,
    "n_steps": n_steps,
    "data_noise": sigma,
}


def fresh(n, rng):
    return np.float32(rng.uniform(-1, 1, (n, side, side)))


torch_energy = in_torch.ConvolutionalEnergy(side, **shape, seed=seed)
buffer = ReplayBuffer(fresh, size=n_chains, fresh_fraction=0, seed=seed)
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
# question of statistics. From the same 512 chains both run
# 300 steps in the same energy. We compare three means: energy, squared length, and temperature by {eq}`eq-image-thermometer`.


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
seen = [observables(energy, to_numpy(x)) for x in ends.values()]
means = np.array([s.mean(1) for s in seen])
errors = np.array([s.std(1, ddof=1) for s in seen]) / np.sqrt(n_chains)
verify(
    "both samplers give equal mean energy, length and temperature",
    means[1] - means[0],
    equals=0,
    atol=5 * np.hypot(*errors),
    source="two samples of one distribution",
)
show_table(
    ["sampler", "energy (nats)", "|x|²/d", "temperature"],
    [[name, *m] for name, m in zip(ends, means, strict=True)],
)

# %% [markdown]
# ### Training goes on
#
# An update is compiled, too: the loss, its gradient in the parameters, and a step of Adam. The buffer stays outside, in NumPy,
# since it is a list of places that are read and written, and
# no arithmetic. Everything that changes from update to update (the rate, the factor that corrects Adam's first averages) enters
# as a tensor; as Python numbers they would cost one trace each.

# %%
show_source(in_keras._descend)

# %% [markdown]
# Why is Adam written out here, where Keras has one? Both divide by $\sqrt{\hat v} + \varepsilon$, with $\hat v$ the running
# mean of squared gradients. PyTorch corrects $\hat v$ for its start at zero *before* it adds $\varepsilon$, Keras
# after. With equal arguments the same $\varepsilon$ is thirty times as large in the first updates: harmless with large
# gradients, and a different algorithm with small ones. When two frameworks are to be compared, such
# things must be equal or known. Note also what is *not* on the tape: the chains. They are constants for it, or it would
# differentiate through all Langevin steps.
#
# Now both train on, with their own random numbers, from the same weights and the same chains. (The memory of Adam starts anew
# in both.)

# %%
last = {"learning_rate": 1e-4, "final_learning_rate": 0.0, "n_updates": n_slow}
models = {"PyTorch": torch_energy, "TensorFlow": energy}
for module, model in zip((in_torch, in_keras), models.values(), strict=True):
    buffer = ReplayBuffer(
        lambda n, rng: chains.copy(), size=n_chains, fresh_fraction=0, seed=1
    )
    module.train(
        model, y_train, buffer=buffer, seed=seed + 1, **last, **training
    )
energy_of = {
    name: observables(model, x_test)[0] for name, model in models.items()
}
centred = [e - e.mean() for e in energy_of.values()]
verify(
    "energies of held-out images after both trainings are correlated",
    np.corrcoef(*centred)[0, 1],
    at_least=0.95,
    source="the same data, from the same weights",
)

# %% [markdown]
# Image by image, and with samples of the model that went on in TensorFlow:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: energies of held-out images after training in TensorFlow against those after training in PyTorch, a narrow cloud along the diagonal. Right: thirty samples, most of them readable digits, without noise."}, "figure": {"caption": "Left: energies of held-out images, less their mean, after the last updates in either framework. Right: chains of the model that went on in TensorFlow, cleaned by one slope.", "name": "fig-mend-transfer"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3), width_ratios=[1, 1.3])
axes[0].plot(*centred, ".", ms=3, alpha=0.6)
axes[0].axline((0, 0), slope=1, color="0.4", lw=1)
axes[0].set(xlabel="after PyTorch (nats)", ylabel="after TensorFlow (nats)")
samples = buffer.states[:30]
slope = in_keras.input_gradient(energy, tf.constant(samples, tf.float32))
image_grid(
    samples - sigma**2 * slope.numpy(), 6, ax=axes[1], limits=(-1.2, 1.2)
)
plt.show()

# %% [markdown]
# The constants differ, so the means were taken off: energies of two models can only be compared with their $\log Z$. What is
# left differs by a fraction of the
# width, and from the diagonal by chance.
#
# ### Save, load
#
# A registered `keras.Model` saves its weights together with what is needed to build it again (`get_config`). The loaded model
# must give the same energies, bit by bit.

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
# if $E$ is the energy of the blurred images at temperature one. A wrong temperature or a wrong noise would show at once: the
# slope would be too steep or too flat by that factor. No other constant appears, and no chain.
# For a Gaussian energy this is the **Wiener filter**, the best *linear* guess. For the kernel density it is a weighted mean of
# training images. So three energies make three
# cleaners, and their mean square errors per pixel can be compared.
#
# How would you estimate this error *without* knowing the clean images? Write
# $\mathbf g = \nabla E(\mathbf y + \sigma\mathbf w)$. Then $\hat{\mathbf y} - \mathbf y = \sigma\mathbf w - \sigma^2\mathbf g$,
# and integrating by parts over the normal
# noise turns $\langle \mathbf w\cdot\mathbf g\rangle$ into $\sigma\langle\nabla\cdot\mathbf g\rangle$:
#
# $$
# \frac1d\left\langle |\hat{\mathbf y} - \mathbf y|^2 \right\rangle = \sigma^2 + \frac{\sigma^4}{d}\left\langle |\nabla E|^2 - 2\,\nabla^2 E \right\rangle .
# $$ (eq-mend-sure)
#
# This is Stein's unbiased risk estimate {cite}`stein1981`. It holds for *any* energy, right or wrong, and contains no clean
# image. The Laplacian is a trace, which random signs $v_i = \pm1$
# estimate: $\langle \mathbf v\cdot \mathsf H\mathbf v\rangle = \operatorname{tr}\mathsf H$. The product $\mathsf H\mathbf v$ is
# the derivative of the slope in the direction $\mathbf v$. TensorFlow takes it in forward mode, in one pass: a
# `ForwardAccumulator` carries a direction along with every number.

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


def denoise(energy, x):
    """x - σ²∇E(x) (eq-mend-denoise)."""
    x = tf.constant(x, tf.float32)
    return to_numpy(x - sigma**2 * in_keras.input_gradient(energy, x))


# %% [markdown]
# And Stein's estimate for each image, to be compared with the true error image by image. Each test image is used with four
# different noises.


# %%
def stein(energy, x, v):
    """Error of each image by (eq-mend-sure), without the clean image."""
    x, v = (tf.constant(a, tf.float32) for a in (x, v))
    with tf.autodiff.ForwardAccumulator(x, v) as forward:
        slope = in_keras.input_gradient(energy, x)
    laplacian = to_numpy(forward.jvp(slope) * v).mean((1, 2))
    square = to_numpy(slope**2).mean((1, 2))
    return sigma**2 + sigma**4 * (square - 2 * laplacian)


# %% [markdown]
# All cleaners see the same noisy images.

# %%
y_four = np.concatenate([y_test] * 4)
x_four = blur(y_four)
signs = noise_rng.choice([-1.0, 1.0], x_four.shape)
twin = in_keras.ConvolutionalEnergy(side, **shape)
cleaners = {
    "Gaussian (Wiener filter)": gaussian_energy,
    "kernel density": kernel_energy,
    "network, went on in PyTorch": twin.from_numpy(torch_energy.to_numpy()),
    "network, went on in TensorFlow": energy,
}
error, estimate = {}, {}
for name, model in cleaners.items():
    error[name] = ((denoise(model, x_four) - y_four) ** 2).mean((1, 2))
    estimate[name] = stein(model, x_four, signs)
show_table(
    ["cleaner", "mean square error", "by Stein", "of the noise removed"],
    [["none", sigma**2, sigma**2, 0.0]]
    + [
        [name, e.mean(), estimate[name].mean(), 1 - e.mean() / sigma**2]
        for name, e in error.items()
    ],
)

# %% [markdown]
# **Predict** the order before you look. A network that beats the covariance matrix here has learned something about digits that
# is not in the
# second moments; both frameworks must agree; and Stein must know all of it.

# %%
wiener = error["Gaussian (Wiener filter)"]
network = error["network, went on in TensorFlow"]
torch_network = error["network, went on in PyTorch"]


def by_image(difference):
    """Mean and standard error; the four noises of an image belong together."""
    each = difference.reshape(4, -1).mean(0)
    return each.mean(), each.std(ddof=1) / np.sqrt(len(each))


# %% [markdown]
# Differences are taken image by image, because some images are harder than others for everyone.

# %%
stein_gap = [by_image(error[n] - estimate[n]) for n in error]
verify(
    "Stein's estimate equals the true error, for all four energies",
    [gap for gap, _ in stein_gap],
    equals=0,
    atol=[5 * e for _, e in stein_gap],
    source="integration by parts over the noise",
)
if on_digits:
    lead, lead_error = by_image(wiener - network)
    verify(
        "the network cleans better than the best linear filter",
        lead,
        at_least=3 * lead_error,
        source="mean square error of held-out images",
    )
    verify(
        "error after PyTorch, over that after TensorFlow",
        torch_network.mean() / network.mean(),
        equals=1,
        atol=0.03,
        source="the same training with other random numbers",
    )

# %% [markdown]
# The kernel density, which remembers every training image, cleans worse: for a new image it can only answer with old ones. Here
# are some of the images.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five rows of twelve digits: clean, with noise, cleaned by the Wiener filter (blurry, grey background), by the kernel density (sharp, sometimes another digit), and by the network (sharper than Wiener, faithful)."}, "figure": {"caption": "Top to bottom: held-out images, the same with noise, cleaned by the Wiener filter, by the kernel density, and by one slope of the network.", "name": "fig-mend-denoise"}}
rows = [y_four[:12], x_four[:12]]
for name in list(cleaners)[:2] + list(cleaners)[3:]:
    rows.append(denoise(cleaners[name], x_four[:12]))
fig, ax = plt.subplots(figsize=(6.5, 2.9))
image_grid(np.concatenate(rows), 12, ax=ax, limits=(-1.2, 1.2))
plt.show()

# %% [markdown]
# ## Fill in what is missing
#
# Of each image only the upper half is known. What was in the lower one? There is not one answer but a distribution,
# $p(\mathbf x_u \mid \mathbf x_k) \propto e^{-E(\mathbf x_k,\, \mathbf x_u)}$: the
# same energy with the known pixels held fixed. $Z$ has become another one, which no sampler needs. So the whole change is one
# line: after each step, put the known pixels back.
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
# First the exact case. For a Gaussian energy with precision matrix $\mathsf P$ the missing pixels given the known ones are
# Gaussian as well, and so is the stationary state of a
# Langevin chain with step $\eta$ ({doc}`01_langevin_sampling`), with
#
# $$
# \mathbf m = \boldsymbol\mu_u - \mathsf P_{uu}^{-1}\,\mathsf P_{uk}\,(\mathbf x_k - \boldsymbol\mu_k), \qquad
# \mathsf C_\eta = \mathsf P_{uu}^{-1}\left(1 - \tfrac\eta2\,\mathsf P_{uu}\right)^{-1} .
# $$ (eq-mend-conditional)
#
# 256 chains, one image: the mean of each missing pixel, and the mean square length of
# $\mathsf C_\eta^{-1/2}(\mathbf x_u - \mathbf m)$, which is the number of missing pixels.

# %%
k = known.ravel()
inside = precision[np.ix_(~k, ~k)]
pull = np.linalg.solve(inside, precision[np.ix_(~k, k)])


def conditional_mean(x):
    """Exact conditional mean of the missing pixels (eq-mend-conditional)."""
    x = x.reshape(-1, d)
    return mean[~k] - (x[:, k] - mean[k]) @ pull.T


# %% [markdown]
# The chains start at uniform noise and forget it at a rate $\eta\lambda_\text{min}$, with the smallest eigenvalue of
# $\mathsf P_{uu}$: six relaxation times leave a quarter of a per cent.

# %%
rng = np.random.default_rng([seed, 2])
one = np.repeat(x_test[:1], 256, axis=0)
settle = tf.constant(int(6 / (step * np.linalg.eigvalsh(inside)[0])))
x = fill_in(gaussian_energy, torn(one, rng), settle, key)
x = to_numpy(x).reshape(-1, d)[:, ~k] - conditional_mean(x_test[:1])
wide = np.linalg.inv(inside - step / 2 * inside @ inside)
length = np.einsum("ni,ij,nj->n", x, np.linalg.inv(wide), x)
verify(
    "filling in for a Gaussian gives the exact conditional mean",
    x.mean(0),
    equals=0,
    atol=5 * np.sqrt(np.diag(wide) / len(x)),
    source="Schur complement",
)
verify(
    "and the exact covariance of a chain with this step",
    length.mean() / (~k).sum(),
    equals=1,
    atol=5 * np.sqrt(2 / (~k).sum() / len(x)),
    source="stationary variance of a Langevin step",
)

# %% [markdown]
# Now the network: 160 held-out images, four chains each, 400 steps. The competitor draws from the Gaussian's conditional
# distribution, exactly.

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

# %% tags=["hide-input"] mystnb={"image": {"alt": "Rows of ten images. First the true image, then the upper half alone, then three completions by the network, most of which are digits that continue the strokes, and differ where the upper half is ambiguous, then one completion drawn from the Gaussian, with blotches in the lower half."}, "figure": {"caption": "Top to bottom: held-out images; what is known; three completions by the network, cleaned by one slope; one by the Gaussian's exact conditional distribution, cleaned by its own.", "name": "fig-mend-inpaint"}}
shown = np.arange(0, n_images, n_images // 10)
rows = [y_test[choice[shown]]]
rows.append(np.where(known, x_test[choice[shown]], np.nan))
for j in range(3):
    rows.append(denoise(energy, filled[shown * n_each + j]))
rows.append(denoise(gaussian_energy, drawn[shown * n_each]))
fig, ax = plt.subplots(figsize=(6, 3.7))
image_grid(np.concatenate(rows), 10, ax=ax, limits=(-1.2, 1.2))
plt.show()

# %% [markdown]
# Two numbers. Is a completed image *a digit*: its energy under the kernel density, which looks for similar training images. And
# is the *mean* completion close to
# the truth, in mean square over the missing pixels? The two need not agree: the Gaussian's conditional mean is the best linear
# guess, averaged over all that could be.


# %%
def mend_scores(x, energy):
    """Kernel energy of each image; square error of the mean completion."""
    fit = to_numpy(kernel_energy(tf.constant(x, tf.float32)))
    guess = denoise(energy, x).reshape(n_images, n_each, side, side).mean(1)
    miss = ((guess - y_test[choice])[:, ~known] ** 2).mean(1)
    return fit.reshape(n_images, n_each).mean(1), miss


# %% [markdown]
# In the same table: the exact conditional mean of the Gaussian, and the answer of someone who has not looked at the image.

# %%
scores = {
    "network": mend_scores(filled, energy),
    "Gaussian": mend_scores(drawn, gaussian_energy),
}
linear = conditional_mean(x_test[choice])
linear = (linear - y_test[choice][:, ~known]) ** 2
blank = (y_test[choice] - y_train.mean(0))[:, ~known] ** 2
show_table(
    ["completion", "kernel energy (nats)", "error of the mean completion"],
    [[n, fit.mean(), miss.mean()] for n, (fit, miss) in scores.items()]
    + [
        ["exact conditional mean of the Gaussian", "", linear.mean()],
        ["mean of all training images", "", blank.mean()],
    ],
)
better = scores["Gaussian"][0] - scores["network"][0]
if on_digits:
    verify(
        "lead of the network's completions in kernel energy, in nats",
        better.mean(),
        at_least=-3 * better.std(ddof=1) / np.sqrt(n_images),
        source="exact energy of the blurred training images",
    )

# %% [markdown]
# Completions by the network lie closer to real images, by a few nats, not in every run by more than chance. In the error of their mean it has no clear lead:
# a mean of two digits is no digit, and the square error
# rewards exactly that blur. (Four chains also leave a quarter of their variance in the mean; the exact mean of the Gaussian has
# none.) Which number counts depends on what you
# want to do with the image.
#
# ## Break it: one random number too few
#
# A shape that is wrong by one entry: the noise is drawn for one image, `(1, side, side)`, and broadcasting hands it to all
# chains. Each chain by itself is a perfect sampler, at temperature one.
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
# In the trained energy, 64 chains from 64 different images, with noise of their own and with shared noise:

# %%
start = tf.constant(x_test[:64], tf.float32)
rows, spreads = [], []
for name, shared in (("each its own", False), ("shared", True)):
    x = run(energy, start, tf.constant(800), key, shared)
    e, _, t = observables(energy, to_numpy(x))
    spreads.append(to_numpy(x).std(0).mean() / x_test.std(0).mean())
    rows.append([name, spreads[-1], e.std(), t.mean()])
show_table(
    ["noise", "spread", "std of E", "temperature"],
    rows,
)
verify(
    "spread of the chains: with shared noise, over that with their own",
    spreads[1] / spreads[0],
    at_most=0.9,
    source="chains in one valley merge",
)

# %% [markdown]
# How fast? The distance of each of 32 pairs, step by step:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Distance of pairs of chains against the step, logarithmic. With shared noise the median falls, with setbacks, by a factor of ten or so in 800 steps, for some pairs by a hundred and more; with noise of their own it stays at the level of two different images."}, "figure": {"caption": "Distance of pairs of chains in the trained energy (median, and range from 10 to 90 % of the pairs), with shared noise and with noise of their own.", "name": "fig-mend-coalesce"}}
fig, ax = plt.subplots(figsize=(6, 2.8))
for name, shared in (("each its own", False), ("shared", True)):
    x, apart = start, []
    for i in range(40):
        apart.append(np.linalg.norm(to_numpy(x[::2] - x[1::2]), axis=(1, 2)))
        x = run(energy, x, tf.constant(20), key + i, shared)
    low, middle, high = np.quantile(apart, [0.1, 0.5, 0.9], axis=1)
    at = 20 * np.arange(40)
    (line,) = ax.plot(at, middle, label=name)
    ax.fill_between(at, low, high, color=line.get_color(), alpha=0.2, lw=0)
ax.set(xlabel="Langevin step", ylabel="distance of a pair", yscale="log")
ax.legend(title="noise")
plt.show()

# %% [markdown]
# ("Spread" is the scatter of pixels between chains, in units of that between images.) Chains in the same valley approach each
# other; at a ridge, one may fall to either side, and a pair is torn apart again, until both have followed the noise into the
# same valley. Averages over the batch are in the end averages over a handful of
# states, with errors that no larger batch reduces; in training, that is the negative phase. No crash, no warning, and a mean
# temperature that scatters around one. Broadcasting is silent in all frameworks: check the shape of the noise, or let a test
# compare two chains.
#
# ## Exercises
#
# ::::{exercise} The error of the Wiener filter
# :label: ex-mend-wiener
# Show that for the Gaussian fit, with eigenvalues $\lambda_k$ of the covariance of the blurred images, the mean square error on
# the images that were fitted is $\frac{\sigma^2}{d}\sum_k (1 - \sigma^2/\lambda_k)$,
# although their distribution is not Gaussian. Compare with a measurement.
# ::::
#
# ::::{solution-start} ex-mend-wiener
# :class: dropdown
# ::::
#
# The filter is linear, so its square error contains second moments only, and those the fit has right. In {eq}`eq-mend-sure`
# $\langle|\nabla E|^2\rangle = \operatorname{tr}\mathsf P$ and $\nabla^2E = \operatorname{tr}\mathsf P$,
# with $\operatorname{tr}\mathsf P = \sum_k 1/\lambda_k$.

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
# ::::{exercise} Zeros on one side
# :label: ex-mend-padding
# With `padding="SAME"`, width 8, kernel 3 and stride 2, TensorFlow adds *one* column of zeros, on the right. Where do the
# windows of the first layer begin, and where do ours? Show that away from the edge the two give equal
# results if the image is moved by one pixel. What would have happened to weights trained in PyTorch?
# ::::
#
# ::::{solution-start} ex-mend-padding
# :class: dropdown
# ::::
#
# Ours begin at $2i - 1$, those of `SAME` at $2i$. So `SAME` sees, in the interior, what ours see of an image moved by one pixel
# to the left and upwards.

# %% tags=["solution"]
if on_digits:
    kernel = tf.constant(energy.to_numpy()[0][0])
    x = tf.constant(x_test[:5, :, :, None], tf.float32)
    same = tf.nn.conv2d(x, kernel, 2, "SAME")
    zeros = [[0, 0], [1, 1], [1, 1], [0, 0]]
    moved = tf.roll(x, [-1, -1], [1, 2])
    ours = tf.nn.conv2d(moved, kernel, 2, zeros)
    verify(
        "SAME is our convolution of an image that was moved by one pixel",
        to_numpy(same)[:, 1:-1, 1:-1],
        equals=to_numpy(ours)[:, 1:-1, 1:-1],
        atol=1e-5,
        source="position of the windows",
    )

# %% [markdown]
# All weights would still fit, and every energy would be that of a shifted image with another edge: no error message, only worse
# numbers. Comparing *values* between frameworks finds it, comparing shapes does not.
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# An energy that was trained in PyTorch is the same function in TensorFlow to rounding, gives the same statistics to a compiled
# sampler with stateless random numbers, and can be trained on there. At temperature one its slope is a denoiser
# whose error Stein's formula knows without the truth, better than the best linear filter on images that it has never seen; its
# conditional distribution fills in what is missing, by one changed line. A Gaussian, for which all of this is exact, is both
# the
# test of the code and the competitor, and where the network does not beat it, the table says so.
#
# **Next:** week 3, in which latent variables make both sampling and likelihoods cheap, at the price of a bound.
