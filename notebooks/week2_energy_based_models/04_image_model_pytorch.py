# ---
# jupyter:
#   advml:
#     full: {dataset: mnist, n_train: 10000, n_test: 1000, channels: [16, 32, 64, 64], sizes: [5, 3, 3, 3], n_chains: 2048, n_fast: 6000, n_slow: 3000, n_temperatures: 1000, n_recipe: 1000, recipe_steps: 60, classifier_epochs: 15}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An energy-based model of images, at a stated temperature
#
# A network that looks at an image and returns one number, its energy: nothing in machine learning is closer to statistical
# mechanics. Samples
# come from Langevin dynamics, and Langevin dynamics has a temperature. Published models of images rarely say which. This
# lecture trains
# one at temperature one, so that the energy is $-\log p$ up to a constant, and then finds the constant: the model is compared
# in *nats* with two
# densities that we know exactly. The usual recipe, scaled down, then runs on the same images. It makes better-looking digits,
# from an energy that is almost flat. Both facts are worth understanding.
#
# :::{admonition} Plan
# :class: tip
# **You will** find the exact energy of a smoothed set of images, train a convolutional energy with a replay buffer, measure its
# $\log Z$ from both sides, watch digits form out of noise, look for outliers with it (and see simpler models do as well), run
# the recipe of the literature, and break a training that works.
# **You need** {lecture}`2.1` and {lecture}`2.3`, and annealed importance sampling from {lecture}`1.3`. **Reading time** an
# hour; a minute of CPU.
# :::

# %%
import copy
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from advml import datasets
from advml.checks import verify
from advml.display import show_source, show_table
from advml.metrics import frechet_distance
from advml.plotting import image_grid
from advml.pytorch import ebm

plt.style.use("advml.course")

# %% [markdown]
# With `dataset = "mnist"` the same notebook runs on 28×28 images, without the checks marked `if on_digits`.

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
n_fast = 650  # updates with a rate that falls from 2e-3 to 1e-4
n_slow = 300  # and from there to zero
n_temperatures = 200
n_recipe = 100  # updates of the published recipe
recipe_steps = 30
classifier_epochs = 60

# %% [markdown]
# ## A density that exists
#
# Half of the pixels of the digits are exactly white. Along these directions the images have no density at all: a model could put
# ever narrower peaks there, and gain likelihood without end. So we *choose* a resolution. Every image $\mathbf y$ is blurred by
# normal
# noise of width $\sigma = 0.3$, in units in which white is $-1$ and black $+1$ (two or three of the 16 steps of grey), and the
# density
# of $\mathbf x = \mathbf y + \sigma\mathbf w$ is what we model. For a finite set of $N$ images it can be written down:
#
# $$
# \begin{aligned}
# E(\mathbf x) = -\log p_\sigma(\mathbf x) &= \frac{|\mathbf x|^2}{2\sigma^2} + f(\mathbf x) + \frac d2 \log 2\pi\sigma^2, \\
# f(\mathbf x) &= -\log \frac1N \sum_{n=1}^N \exp\!\left( \frac{\mathbf x \cdot \mathbf y_n}{\sigma^2} - \frac{|\mathbf y_n|^2}{2\sigma^2} \right),
# \end{aligned}
# $$ (eq-image-exact)
#
# with $d$ pixels. (Throughout, $\mathbf y$ is clean, and $\mathbf x$ blurred. Densities are judged on `x_test`; only the recipe
# of the literature gets clean images.)
# A parabola of width $\sigma$, and a function $f$ whose slope is bounded: it is $-1/\sigma^2$ times an average
# of images,
# because differentiating the logarithm gives
#
# $$
# \nabla E(\mathbf x) = \frac{\mathbf x - \langle \mathbf y \rangle_{\mathbf x}}{\sigma^2}, \qquad
# \langle \mathbf y \rangle_{\mathbf x} = \sum_n \mathbf y_n\, p(n \mid \mathbf x) .
# $$ (eq-image-tweedie)
#
# Here $p(n \mid \mathbf x)$, each term of the sum in {eq}`eq-image-exact` over the whole sum, is the probability that
# $\mathbf x$ is a blurred $\mathbf y_n$. So the slope of the energy points to the blurred image from the *mean* of all clean
# ones that it may have come from (Tweedie's formula {cite}`efron2011`). Two lessons before any network is built. First, the *shape* of the answer is known: trap of radius
# $R = \sigma$, plus something with a bounded slope,
# so $Z$ is finite. That is what `radius` of our networks is for. Second, we can read what the network learned as a picture:
# $\mathbf x - \sigma^2\nabla E$ is its guess at the clean image.

# %%
data = getattr(datasets, dataset)()
on_digits = dataset == "digits"
y_train, y_test = (
    2 * images.astype(float) - 1
    for images in (data.train[:n_train], data.test[:n_test])
)
train_labels, test_labels = data.train_labels, data.test_labels[:n_test]
side, d = y_train.shape[-1], y_train[0].size
sigma, step = data_noise, relative_step * data_noise**2
noise_rng = np.random.default_rng([seed, 1])
device = "cuda" if torch.cuda.is_available() else "cpu"


def blur(y):
    """Add the stated noise."""
    return y + sigma * noise_rng.standard_normal(y.shape)


def tensor(x, dtype=torch.float32):
    return torch.as_tensor(x, dtype=dtype, device=device)


def array(x):
    return x.detach().cpu().numpy().astype(float)


x_train, x_test = blur(y_train), blur(y_test)
x_some = x_train[noise_rng.permutation(len(x_train))[:n_test]]
centres = tensor(y_train.reshape(-1, d), torch.float64)
constant = d / 2 * np.log(2 * np.pi * sigma**2)

# %% [markdown]
# Here is {eq}`eq-image-exact`, a *kernel density estimate* of the training images. Its slope by automatic differentiation must
# be {eq}`eq-image-tweedie`.


# %%
def kernel_energy(x):
    """-log p of the blurred training images (eq-image-exact)."""
    y = centres.to(x)
    fields = x.flatten(1) @ y.T - (y**2).sum(1) / 2
    f = np.log(len(y)) - torch.logsumexp(fields / sigma**2, 1)
    return (x**2).sum((1, 2)) / (2 * sigma**2) + f + constant


x = x_test[:20]
y = y_train.reshape(-1, d)
distance = (y**2).sum(1) - 2 * x.reshape(-1, d) @ y.T  # and |x|², for all
weight = np.exp((distance.min(1, keepdims=True) - distance) / 2 / sigma**2)
weight /= weight.sum(1, keepdims=True)
plausible = (weight @ y).reshape(x.shape)
slope = ebm.input_gradient(kernel_energy, tensor(x, torch.float64))
verify(
    "the slope of the exact energy points away from the mean clean image",
    array(slope),
    equals=(x - plausible) / sigma**2,
    atol=1e-8,
    source="posterior mean over all training images",
)

# %% [markdown]
# The other exact density is the Gaussian with the mean and covariance of the blurred images, which also knows its $Z$.

# %%
mean = y_train.reshape(-1, d).mean(0)
covariance = np.cov(y_train.reshape(-1, d).T) + sigma**2 * np.eye(d)
root = np.linalg.cholesky(covariance)
whiten = np.linalg.inv(root)
constant_gauss = np.log(np.diag(root)).sum() + d / 2 * np.log(2 * np.pi)


def gaussian_energy(x):
    """-log p of the Gaussian fit."""
    u = (x.flatten(1) - tensor(mean, x.dtype)) @ tensor(whiten.T, x.dtype)
    return (u**2).sum(1) / 2 + constant_gauss


def gaussian_samples(n, rng):
    u = rng.standard_normal((n, d))
    return (mean + u @ root.T).reshape(n, side, side)


# %% [markdown]
# What follows depends on both constants. SciPy computes the densities in its own way.

# %%
fit = multivariate_normal(mean, covariance)
x = x_test[:3]
single = norm(y_train, sigma).logpdf(x[:, None]).sum((2, 3))
verify(
    "both energies are -log p, with their constants",
    [
        array(e(tensor(x, torch.float64)))
        for e in (gaussian_energy, kernel_energy)
    ],
    equals=[
        -fit.logpdf(x.reshape(-1, d)),
        np.log(len(y_train)) - logsumexp(single, axis=1),
    ],
    atol=1e-8,
    source="scipy.stats: a multivariate normal, and a sum over images",
)

# %% [markdown]
# Every density is judged on the same blurred images, as many of the training part as of the test part.


# %%
def energies(energy, x):
    """Energies of an array of images, without derivatives."""
    with torch.no_grad():
        parts = [
            array(energy(tensor(x[i : i + 500])))
            for i in range(0, len(x), 500)
        ]
    return np.concatenate(parts)


log_p = {
    name: [-energies(e, x) for x in (x_some, x_test)]
    for name, e in (
        ("Gaussian fit", gaussian_energy),
        ("kernel density", kernel_energy),
    )
}
rows = [[name, *(v.mean() for v in both)] for name, both in log_p.items()]
show_table(["log p (nats per image)", "train", "test"], rows)

# %% [markdown]
# The kernel density is perfect for the images that it has memorised, and worse than a plain Gaussian for others: overfitting, in
# nats. **The Gaussian's test entry is the number to beat.** (Noise of $\sigma = 0.3$ alone costs
# $\tfrac d2(1 + \log 2\pi\sigma^2) = 13.8$ nats for $d = 64$;
# blurred images have at least the entropy of the noise, and a mean $-\log p$ is never below the entropy. So no density can have a
# mean $\log p$ above $-13.8$, except by the luck of a finite sample.)

# %%
if on_digits:
    ceiling = -d / 2 * (1 + np.log(2 * np.pi * sigma**2))
    verify(
        "no entry for held-out images exceeds the bound that noise sets",
        [v.mean() - 5 * v.std() / np.sqrt(n_test) for _, v in log_p.values()],
        at_most=ceiling,
        source="entropy of the noise",
    )

# %% [markdown]
# ## A thermometer
#
# The first question to a sampler is its temperature. For $n$ Langevin steps
# $\mathbf x' = \mathbf x - \eta\nabla E + \sqrt{2\eta T}\,\mathbf w$, the squared length gives, as in {lecture}`2.3`,
#
# $$
# T = \frac{\langle \mathbf x\cdot\nabla E\rangle}{d} - \frac{\eta\,\langle|\nabla E|^2\rangle}{2d}
# + \frac{\langle |\mathbf x_n|^2\rangle - \langle|\mathbf x_0|^2\rangle}{2\eta d\, n} ,
# $$ (eq-image-thermometer)
#
# with averages over all $n$ states from which a step was made. The last term is zero in a stationary state; with it, the
# balance is exact also for chains that still drift, at any step, in any
# energy. It reads the temperature of the chain that you run, not of the one that you wished to run.
# We test it where all is known: on the exact energy, with noise for $T = 1$ and $T = \tfrac12$. All chains start at blurred
# images; the colder ones are far from equilibrium then, and have only twenty steps.


# %%
def thermometer(energy, x, step):
    """First two terms of eq-image-thermometer, for each state."""
    x = tensor(x)
    slope = array(ebm.input_gradient(energy, x))
    terms = slope * array(x) - step / 2 * slope**2
    return terms.reshape(len(terms), -1).mean(1)


def readings(energy, x, step, noise, n_steps):
    """Temperature of each chain (eq-image-thermometer)."""
    generator = torch.Generator(device).manual_seed(seed)
    options = {"step": step, "noise": noise, "seed": generator}
    x, total = tensor(x), 0.0
    start = array(x)
    for _ in range(n_steps):
        total = total + thermometer(energy, x, step)
        x = ebm.langevin(energy, x, n_steps=1, **options)
    drift = (array(x) ** 2 - start**2).reshape(len(x), -1).mean(1)
    return (total + drift / (2 * step)) / n_steps


# %% [markdown]
# Chains are independent, so their scatter gives the standard error.

# %%
t = np.array(
    [
        readings(kernel_energy, x_train[:800], step, (2 * step * T) ** 0.5, 20)
        for T in (1.0, 0.5)
    ]
)
verify(
    "the thermometer reads the temperature of chains in the exact energy",
    t.mean(1),
    equals=[1.0, 0.5],
    atol=5 * t.std(1) / np.sqrt(t.shape[1]),
    source="exact balance of Langevin steps",
)

# %% [markdown]
# ## The network, and how to train it
#
# Our energy has the form of {eq}`eq-image-exact`, with a convolutional network for $f$. Strides of two replace pooling, SiLU is
# smooth
# (the sampler needs $\nabla E$ everywhere), and there is no normalisation across the batch, since an image has an energy of its
# own.

# %%
show_source(ebm.ConvolutionalEnergy.forward, ebm.input_gradient)

# %% [markdown]
# Training is that of {lecture}`2.3`: the mean slope in the parameters over the data minus that over chains. Both phases hold
# equally many images and are averaged separately. (Code that marks "sample or image" by a mask made once, for full batches,
# counts real images as samples in the last, smaller one.) The data get new noise in every batch.

# %%
show_source(ebm.train)

# %% [markdown]
# The choices, each with its reason:
#
# - **Step** $\eta = 0.2\,\sigma^2$. The stiffest directions have curvature $1/\sigma^2$; there the chain's variance is
#   $1/(1-\eta/2\sigma^2) = 1.11$ times the right one ({lecture}`2.1`). Training compares the data with this very chain; if
#   it ran long enough, it would make the curvature 13 % too large, so that the *chain* gets the right variance. Our training stops long before ({ref}`ex-image-thermometer`). So the *pictures*
#   below come from chains that are slightly too wide; $\log p$ is that of $e^{-E}$ itself.
# - **Noise** $\sqrt{2\eta}$, temperature one. No clipping of slopes, and none of pixels.
# - **Buffer** of 512 chains, without fresh starts: each makes four steps in every fourth update, on average, for the whole training.
# - **Rate** falling to $10^{-4}$, then, in a second call, slowly to zero. We will see what a large rate does. No energy
#   regularisation: the trap and the noise bound the energy.
#
# *Protocol.* Widths, rates and numbers of updates were found by trial, and we looked at statistics of the test images while
# trying. So held-out numbers favour our energy slightly; the Gaussian had nothing to tune. A lead of many standard errors does
# not come from a few dozen trials.
#
# On the way, we note the gap $\langle E\rangle_\text{data} - \langle E\rangle_\text{chains}$, by how much the energy of test
# images exceeds that of training images, and the temperature.

# %%
energy = ebm.ConvolutionalEnergy(
    side, channels, sizes, radius=sigma, seed=[seed, 10], device=device
)


def fresh(n, rng):
    return np.float32(rng.uniform(-1, 1, (n, side, side)))


buffer = ebm.ReplayBuffer(
    fresh, size=n_chains, fresh_fraction=0, seed=[seed, 11]
)

# %% [markdown]
# And the notes that we take:

# %%
record = []


def note(update, energy, x_data, x_model):
    """Keep what we want to see of the training."""
    e_train, e_test = (energies(energy, x) for x in (x_some, x_test))
    gap = energies(energy, array(x_data)) - energies(energy, array(x_model))
    t = thermometer(energy, array(x_model), step).mean()
    record.append([gap.mean(), e_test.mean() - e_train.mean(), t])


def every(n, function):
    return lambda update, *rest: update % n or function(update, *rest)


options = {
    "buffer": buffer,
    "batch_size": batch_size,
    "step": step,
    "n_steps": n_steps,
    "data_noise": sigma,
}
# %% [markdown]
# Now the two calls. (`every(10, note)` is a callback that takes notes in every tenth update.)

# %%
for i, (first, last, n) in enumerate(
    [(2e-3, 1e-4, n_fast), (1e-4, 0.0, n_slow)]
):
    _ = ebm.train(
        energy,
        y_train,
        n_updates=n,
        learning_rate=first,
        final_learning_rate=last,
        seed=[seed, 12 + i],
        callback=every(10, note),
        **options,
    )
record = np.array(record)

# %% [markdown]
# **Predict**: does the gap measure progress? What will the temperature be while the energy is changing?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels against the update. Left: the gap between data and chain energies falls from a hundred or more to near zero within a hundred updates and stays there. Middle: the temperature of the chains is off at first and then scatters around one. Right: mean energy of test minus training images, scattering around zero within a fraction of a nat."}, "figure": {"caption": "Training. Left: gap of the two phases, which says nothing once it is near zero. Middle: temperature by the first two terms of {eq}`eq-image-thermometer`. Right: energy of held-out minus training images; memory would lift it above the dotted standard error.", "name": "fig-image-training"}}
at = 10 * np.arange(1, len(record) + 1)
spread = energies(energy, x_test).std() * np.sqrt(2 / n_test)
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.6))
axes[0].plot(at, record[:, 0])
axes[0].set(ylabel="gap (nats)", ylim=(-10, 60))
axes[1].plot(at, record[:, 2])
axes[1].set(ylabel="temperature of chains", ylim=(0, 2))
axes[1].axhline(1, color="0.4", lw=1)
axes[2].plot(at, record[:, 1])
axes[2].set(ylabel="E(test) − E(train)", ylim=(-4 * spread, 4 * spread))
for height in (-spread, spread):
    axes[2].axhline(height, color="0.4", ls=":", lw=1)
for ax in axes:
    ax.set(xlabel="update")
plt.show()

# %% [markdown]
# The gap is a difference of two averages that the training pulls together: near zero it says that chains and data have nearly
# equal mean energy, not that the model is good. (What remains, a nat or two, differs from seed to seed. Notes are taken *after*
# the update, which has just raised the energy of these very chains; and the trap is no parameter, so nothing makes *its* mean
# equal.) The thermometer (without the last term) deviates while the chains run after a moving energy, and comes to rest at one.
# No memory of the training images shows.
#
# ## How good is it? Log Z of a network
#
# Because the temperature is one, $p = e^{-E}/Z$, and a likelihood needs only $Z$. Annealed importance sampling
# ({lecture}`1.3`) leads from the Gaussian fit, with $Z_0 = 1$, to our energy, and back:
#
# $$
# E_\beta = (1-\beta)\,E_\text{Gauss} + \beta\,E, \qquad
# \log w = -\sum_k (\beta_{k+1} - \beta_k)\,\bigl[E - E_\text{Gauss}\bigr](\mathbf x_k),
# $$ (eq-image-anneal)
#
# with one Metropolis-adjusted step (MALA, {lecture}`2.1`) at each new $\beta$. (Unadjusted steps leave a slightly different
# density invariant; here that would put the result off by about 0.3 nats.)


# %%
def both(energy, x):
    """Energies (2, n) and slopes (2, n, ...) of Gaussian and model."""
    pair = gaussian_energy, energy
    with torch.no_grad():
        value = torch.stack([e(x) for e in pair])
    return value, torch.stack([ebm.input_gradient(e, x) for e in pair])


def anneal(energy, x, betas, seed):
    """Chains along betas; log weights (eq-image-anneal); acceptance."""
    generator = torch.Generator(device).manual_seed(seed)
    x, log_w, accepted = tensor(x), 0.0, []
    e, g = both(energy, x)
    for old, new in pairwise(betas):
        log_w = log_w - (new - old) * (e[1] - e[0])
        mix = tensor([1 - new, new])
        w = torch.randn(x.shape, generator=generator, device=device)
        y = x - step * torch.tensordot(mix, g, 1) + (2 * step) ** 0.5 * w
        e_y, g_y = both(energy, y)
        back = x - y + step * torch.tensordot(mix, g_y, 1)
        log_q = (w**2 / 2 - back**2 / (4 * step)).sum((1, 2))
        u = torch.rand(len(x), generator=generator, device=device)
        yes = torch.log(u) < mix @ (e - e_y) + log_q
        x = torch.where(yes[:, None, None], y, x)
        e = torch.where(yes, e_y, e)
        g = torch.where(yes[:, None, None], g_y, g)
        accepted.append(yes.float().mean().item())
    return array(x), array(log_w), np.mean(accepted)


# %% [markdown]
# Chains from the Gaussian give $\log Z$ from below, on average. Chains of the model, annealed back, give it from above, if they
# start in equilibrium.

# %%
n_ais = 128
betas = np.linspace(0, 1, n_temperatures + 1)
base = gaussian_samples(n_ais, np.random.default_rng([seed, 2]))


def log_mean(log_w):
    """log ⟨w⟩ and its standard error."""
    w = np.exp(log_w - log_w.max())
    error = w.std(ddof=1) / w.mean() / np.sqrt(len(w))
    return logsumexp(log_w) - np.log(len(log_w)), error


def log_z_both(energy, samples):
    """log Z from below and from above, and their standard errors."""
    _, up, _ = anneal(energy, base, betas, seed)
    _, down, _ = anneal(energy, samples, betas[::-1], seed + 1)
    (low, low_error), (high, high_error) = log_mean(up), log_mean(down)
    return np.array([low, -high]), np.array([low_error, high_error])


# %% [markdown]
# First a case with a known answer: the kernel density has $\log Z = 0$, and blurred training images are exact samples of it.
# On average the two sides enclose it; in a single run it lies between them only up to their errors. The sides need not agree within
# their standard errors: each is ruled by the few largest
# weights, and where the largest are missing from the sample, so is their share of the error. So count half of their distance
# as an error, as we do below. (With 128 chains it is a coarse test, to some nats.)

# %%
(low, high), error = log_z_both(kernel_energy, x_some[:n_ais])
if on_digits:
    verify(
        "log Z of the kernel density, middle of the two sides",
        (low + high) / 2,
        equals=0,
        atol=abs(high - low) / 2 + 5 * np.hypot(*error) / 2,
        source="it is normalised; half of the distance, 5 standard errors",
    )
    verify(
        "distance of the two sides, in nats",
        abs(high - low),
        at_most=3,
        source="empirical: no more than the gain that is claimed below",
    )

# %% [markdown]
# Then the network. The chains of the buffer get fifty adjusted steps in the final energy. That settles the noise; whether the
# buffer has the right weights of the digits is another question, to which we return.

# %%
settled, _, acceptance = anneal(
    energy, buffer.states[:n_ais], np.ones(51), seed + 2
)
if on_digits:
    verify(
        "fraction of adjusted steps that are accepted",
        acceptance,
        at_least=0.5,
        source="Metropolis rule; the step is small against σ²",
    )
(low, high), error = log_z_both(energy, settled)
log_z = (low + high) / 2
width = abs(high - low) / 2 + np.hypot(*error)
log_p["our energy"] = [-energies(energy, x) - log_z for x in (x_some, x_test)]
rows = [[name, *(v.mean() for v in both)] for name, both in log_p.items()]
show_table(["log p (nats per image)", "train", "test"], rows)
show_table(
    ["mean E (test)", "log Z from below", "from above"],
    [
        [
            energies(energy, x_test).mean(),
            f"‹{low:.2f} ± {error[0]:.2f}›",
            f"‹{high:.2f} ± {error[1]:.2f}›",
        ]
    ],
)


# %% [markdown]
# The other two densities are normalised, so the bound that noise sets had to hold for them. Here $Z$ is only an estimate, and
# one that is too small by tens of nats would show:

# %%
if on_digits:
    held_out = log_p["our energy"][1]
    verify(
        "nor does our energy exceed the bound that noise sets",
        held_out.mean() - 5 * held_out.std() / np.sqrt(n_test) - width,
        at_most=ceiling,
        source="entropy of the noise",
    )

# %% [markdown]
# The second table says how $\log p = -E - \log Z$ comes about. ("Below" and "above" hold on average. Where the two agree, each
# scatters by its error, and they may well come out in the other order.)
# A convolutional energy that was trained for seconds beats the Gaussian in likelihood of images it has never seen, and the
# kernel density by more. We
# compare image by image, since the same images are hard for all models, and let the disagreement of the two estimates of
# $\log Z$ count as an error. Does the model remember its training images? In the difference of its gains on training and on
# test images $\log Z$ drops out. (The Gaussian remembers a little, too: it is memory in excess of that.)

# %%
gain = log_p["our energy"][1] - log_p["Gaussian fit"][1]
gain_error = gain.std() / np.sqrt(n_test)
leads = [
    ours - theirs
    for ours, theirs in zip(
        log_p["our energy"], log_p["Gaussian fit"], strict=True
    )
]
memory = leads[0].mean() - leads[1].mean()
memory_error = np.hypot(*(lead.std() for lead in leads)) / np.sqrt(n_test)
if on_digits:
    verify(
        "held-out gain over the Gaussian fit, less all errors, in nats",
        gain.mean() - 3 * gain_error - width,
        at_least=0,
        source="annealed importance sampling from both sides",
    )
    verify(
        "the gain is no larger for training images, up to 5 standard errors",
        memory,
        at_most=5 * memory_error,
        source="spread of energies over images",
    )

# %% [markdown]
# ## Digits out of noise
#
# Now the model samples by itself: chains start at uniform noise, which no training chain has seen for a long time, and run at
# temperature one
# for a thousand steps in the frozen energy. The lowest row shows the clean images that the network sees in the last states,
# $\mathbf x - \sigma^2\nabla E$.

# %%
times = [0, 3, 10, 30, 100, 300, 1000]
n_samples = 256
x = fresh(n_samples, np.random.default_rng([seed, 3]))
path, generator = [x], torch.Generator(device).manual_seed(seed)
for a, b in pairwise(times):
    x = array(
        ebm.langevin(
            energy, tensor(x), step=step, n_steps=b - a, seed=generator
        )
    )
    path.append(x)


def clean(energy, x):
    """Mean clean image, x - σ²∇E (eq-image-tweedie)."""
    return x - sigma**2 * array(ebm.input_gradient(energy, tensor(x)))


# %% [markdown]
# Ten chains, one per column:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Eight rows of ten images. From top to bottom uniform noise turns into grainy strokes within thirty steps and into digits and digit-like shapes by a hundred; in the last row the same shapes without noise."}, "figure": {"caption": "Ten chains from uniform noise, at steps 0, 3, 10, 30, 100, 300, 1000 (top to bottom), and the clean images that belong to the last row.", "name": "fig-image-chain"}}
strip = np.concatenate([x[:10] for x in (*path, clean(energy, path[-1]))])
fig, ax = plt.subplots(figsize=(5.2, 4.3))
image_grid(strip, 10, ax=ax, limits=(-1.3, 1.3))
plt.show()

# %% [markdown]
# Many are digits, and some are strokes that no one would write. To put a number on it, papers use the Fréchet distance
# {cite}`heusel2017` of two sets of images. It sees their
# means $\boldsymbol\mu$ and covariances $\boldsymbol\Sigma$ only:
#
# $$
# D^2 = |\boldsymbol\mu - \boldsymbol\mu'|^2 + \operatorname{tr}\left(\boldsymbol\Sigma + \boldsymbol\Sigma' - 2(\boldsymbol\Sigma\boldsymbol\Sigma')^{1/2}\right).
# $$ (eq-frechet)
#
# In pixel space a Gaussian fit has the right mean and covariance, and wins by construction. So we need other statistics, and
# use three:
#
# 1. **Fréchet distance** of features: the last hidden layer (32 units) of a classifier on samples and on test images. It is
#    trained on the blurred training
#    images. Finite samples make $D^2$ positive; real training images of the same number show how much.
# 2. **Sure**: the fraction of samples to which the classifier gives one digit with probability above 0.95.
# 3. **Kernel energy**, $-\log p$ under {eq}`eq-image-exact`: small where training images are close. Memorised images would
#    have *less* than test images.

# %%
classifier = MLPClassifier((64, 64, 32), alpha=1e-2, random_state=seed)
for _ in range(classifier_epochs):
    classifier.partial_fit(
        x_train.reshape(-1, d), train_labels[:n_train], classes=np.arange(10)
    )
accuracy = classifier.score(x_test.reshape(-1, d), test_labels)


def features(x):
    """Last hidden layer of the classifier."""
    h = x.reshape(len(x), -1)
    for kernel, bias in zip(
        classifier.coefs_[:-1], classifier.intercepts_[:-1], strict=True
    ):
        h = np.maximum(h @ kernel + bias, 0)
    return h


def scores(x):
    """Fréchet distance, fraction of sure images, kernel energies."""
    sure = classifier.predict_proba(x.reshape(len(x), -1)).max(1) > 0.95
    distance = frechet_distance(features(x), features(x_test))
    return distance, sure.mean(), energies(kernel_energy, x)


# %% [markdown]
# The table, with the same number of images in each row. The last column is the network's own energy:

# %%
contestants = {
    "test images": x_test[:n_samples],
    "training images, new noise": blur(y_train[-n_samples:]),
    "uniform noise": path[0],
    "Gaussian fit": gaussian_samples(
        n_samples, np.random.default_rng([seed, 4])
    ),
    "100 steps": path[times.index(100)],
    "1000 steps": path[-1],
    "buffer": buffer.states[:n_samples].astype(float),
}
table = {name: scores(x) for name, x in contestants.items()}
show_table(
    ["images", "Fréchet D²", "sure", "kernel energy", "energy"],
    [
        [name, f, s, k.mean(), energies(energy, contestants[name]).mean()]
        for name, (f, s, k) in table.items()
    ],
)
if on_digits:
    verify(
        "the classifier names held-out images correctly",
        accuracy,
        at_least=0.9,
        source="labels of the test images",
    )

# %% [markdown]
# From noise to the samples the Fréchet distance falls by a large factor. But the Gaussian fit is nearly as good as real images by
# this score, and our samples are better or worse from seed to seed. $D^2$ sees only means and covariances again, if of other features:
# a Gaussian in pixels does well, and our samples pay for digits that appear too often. Do not rank models by it. What the
# Gaussian cannot do is make *single* images that are right: its samples lie in the gaps between the digits, far from any
# training image, and the classifier is unsure. Ours lie closer, but not nearly as close as test images, and the
# classifier is sure of fewer of them. Copies of training images, on the other hand, would have a kernel energy of
# $\log N + \tfrac d2(1 + \log 2\pi\sigma^2)$, with a scatter of $\sqrt{d/2}$ from the noise. We count samples below that
# value plus three times the scatter. Test images, which are no copies, may lie there as well, when a similar digit is among the
# training images; a model that copies would have *more* there than they have.

# %%
samples, gauss = table["1000 steps"], table["Gaussian fit"]
if on_digits:
    verify(
        "Fréchet D²: samples after 1000 steps, over that of the noise",
        samples[0] / table["uniform noise"][0],
        at_most=0.2,
        source="classifier features of test images",
    )
    verify(
        "by D² a Gaussian is as good as real images, to a factor of three",
        gauss[0],
        at_most=3 * table["training images, new noise"][0],
        source="classifier features of training images",
    )
    sure = table["training images, new noise"][1]
    verify(
        "but the classifier is sure of fewer of its images",
        sure - gauss[1],
        at_least=5 * np.sqrt((sure * (1 - sure) + 0.25) / n_samples),
        source="binomial errors of two fractions",
    )

# %% [markdown]
# And for single images:

# %%
if on_digits:
    error = np.hypot(samples[2].std(), gauss[2].std()) / n_samples**0.5
    verify(
        "kernel energy: samples lie closer to the images than a Gaussian's",
        gauss[2].mean() - samples[2].mean(),
        at_least=5 * error,
        source="exact energy of the blurred training images",
    )
    copies = np.log(len(y_train)) - ceiling + 3 * np.sqrt(d / 2)
    verify(
        "samples as near to a training image as a copy: no more than of test",
        np.mean(samples[2] < copies),
        at_most=np.mean(table["test images"][2] < copies),
        source="kernel energy of held-out images",
    )

# %% [markdown]
# And the temperature? Ours, in the frozen energy, within five standard errors over chains:

# %%
t = readings(energy, path[-1], step, (2 * step) ** 0.5, 120)
verify(
    "chains in the trained energy are at temperature one",
    t.mean(),
    equals=1,
    atol=5 * t.std() / np.sqrt(len(t)),
    source="exact balance of Langevin steps",
)

# %% [markdown]
# ## What does not belong
#
# An energy is small where images are likely. Does it find images that do not belong to the data? A threshold on the energy
# makes two kinds of errors;
# the **AUROC** $A$ summarises all thresholds: the probability that an outlier has a higher energy than an image, ½ for a coin. For
# $n$ images and $m$ outliers its
# standard error is about {cite}`hanley1982`
#
# $$
# \mathrm{SE}^2 = \frac{A(1-A) + (m-1)\left(\tfrac{A}{2-A} - A^2\right) + (n-1)\left(\tfrac{2A^2}{1+A} - A^2\right)}{nm},
# $$ (eq-image-auroc)
#
# two per cent for a few hundred each and $A = 0.8$. All outliers get the same noise as the images, or the noise alone would
# give them away. And each of them is also given to the two
# *simple* models: a network that detects no more than a covariance matrix has earned nothing. **Predict** which outliers are
# hard.


# %%
def auroc(energy, x):
    """Area under the ROC curve, held-out images against outliers x."""
    is_outlier = np.repeat([0, 1], [n_test, len(x)])
    e = np.concatenate([energies(energy, x_test), energies(energy, x)])
    return roc_auc_score(is_outlier, e)


def auroc_error(a, n, m):
    """Standard error of an AUROC (eq-image-auroc)."""
    q, r = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2
    return np.sqrt((a * (1 - a) + (m - 1) * q + (n - 1) * r) / (n * m))


# %% [markdown]
# Now the outliers. The list goes from crude to subtle; the last two are samples of models.


# %%
def ising_outliers(rng):
    """Ising configurations, repeated to fill the image."""
    spins = datasets.ising(8).train
    spins = spins[rng.choice(len(spins), n_test)].astype(float)
    times = -(-side // 8)
    return np.tile(spins, (1, times, times))[:, :side, :side]


rng = np.random.default_rng([seed, 6])
order = rng.permutation(d)
flat = y_test.reshape(-1, d)
outliers = {
    "uniform noise": rng.uniform(-1, 1, y_test.shape),
    "permuted pixels": flat[:, order].reshape(y_test.shape),
    "black and white swapped": -y_test,
    "Ising configurations": ising_outliers(rng),
    "left and right swapped": y_test[:, :, ::-1],
    "top and bottom swapped": y_test[:, ::-1],
    "empty images": -np.ones_like(y_test),
    "the mean image": np.broadcast_to(y_train.mean(0), y_test.shape),
}
outliers = {name: blur(y) for name, y in outliers.items()}
outliers["samples of the Gaussian fit"] = gaussian_samples(n_test, rng)
outliers["samples of our model"] = path[-1]

# %% [markdown]
# One row for each kind, one column for each model.

# %%
judges = {
    "our energy": energy,
    "Gaussian fit": gaussian_energy,
    "kernel density": kernel_energy,
}
areas = {
    name: np.array([auroc(e, x) for e in judges.values()])
    for name, x in outliers.items()
}
rows = []
for name, a in areas.items():
    errors = auroc_error(a, n_test, len(outliers[name]))
    cells = [f"‹{v:.3f} ± {s:.3f}›" for v, s in zip(a, errors, strict=True)]
    rows.append([name, *cells])
show_table(["outliers (AUROC)", *judges], rows)

# %% [markdown]
# Read the table from top to bottom.
#
# - Noise, permuted and inverted images, Ising snapshots: solved by everyone, the covariance matrix included. Numbers like 0.999
#   against such outliers are often printed as an achievement of a deep model. They are not. Empty images the covariance matrix
#   rejects at least as well as our network.
# - Mirror images are hard for all. The best judge is the kernel density, which remembers every training image, *although it has
#   the worst likelihood* of
#   held-out images. AUROC and likelihood are different questions.
# - The Gaussian cannot see its own samples. Our energy can: that is what it knows beyond second moments.
# - The mean of all images is a grey blob that no one would write. For the Gaussian it is the *most* probable image of all, and
#   the area is near zero: far
#   *below* ½. In $d$ dimensions typical states do not sit at the minimum of the energy but on a shell around it. Simple images
#   with a low energy have
#   fooled many likelihoods {cite}`nalisnick2019`; ask for energies that are unusual in either direction.
# - Our own samples should give ½. The distance from it measures what the training left undone, and the finite step of the
#   chains, which makes samples too wide.
#
# We check that each of the crude outliers is easier than mirrored images by more than five standard errors. The errors describe
# the draw of images; trainings scatter as well. For the Gaussian fit nothing is trained, and 0.99 is safe.

# %%
if on_digits:
    easy = [
        "uniform noise",
        "permuted pixels",
        "black and white swapped",
        "Ising configurations",
    ]
    mirrored = ["left and right swapped", "top and bottom swapped"]
    low = min(areas[name][0] for name in easy)
    top = max(areas[name][0] for name in mirrored)
    verify(
        "AUROC: worst of the crude outliers above best of the mirrored",
        low - top,
        at_least=5
        * np.hypot(*auroc_error(np.array([low, top]), n_test, n_test)),
        source="labels; scikit-learn's roc_auc_score",
    )
    verify(
        "AUROC of the Gaussian fit: the crude outliers are easy",
        [areas[name][1] for name in easy],
        at_least=0.99,
        source="labels; scikit-learn's roc_auc_score",
    )

# %% [markdown]
# Beyond second moments:

# %%
if on_digits:
    a, a_gauss, _ = areas["samples of the Gaussian fit"]
    error = np.hypot(*auroc_error(np.array([a, a_gauss]), n_test, n_test))
    verify(
        "our energy sees a Gaussian's samples, the Gaussian not: gap",
        a - a_gauss,
        at_least=5 * error,
        source="labels; scikit-learn's roc_auc_score",
    )

# %% [markdown]
# The energies behind the table:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Histograms of the energy. Held-out images and samples of the model overlap almost entirely. Samples of the Gaussian fit lie higher and overlap partly, mirrored images as well; uniform noise lies far to the right; the mean image forms a peak near the images or below."}, "figure": {"caption": "Energies of held-out images, of samples and of outliers, in nats.", "name": "fig-image-energies"}}
fig, ax = plt.subplots(figsize=(7, 3))
shown = [
    "samples of our model",
    "samples of the Gaussian fit",
    "top and bottom swapped",
    "the mean image",
    "uniform noise",
]
groups = {"held-out images": x_test} | {n: outliers[n] for n in shown}
values = {name: energies(energy, x) for name, x in groups.items()}
edges = np.linspace(
    min(v.min() for v in values.values()),
    np.quantile(values["uniform noise"], 0.99),
    80,
)
for i, (name, v) in enumerate(values.items()):
    kind = {"color": "0.3", "alpha": 0.4} if i == 0 else {"histtype": "step"}
    ax.hist(v, edges, density=True, label=name, lw=1.4, **kind)
ax.set(xlabel="energy (nats)", ylabel="density", ylim=(0, 0.12))
ax.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## The recipe of the literature
#
# Now what most code does: step 10, noise 0.005, slopes clipped to $\pm0.03$, pixels clamped to $[-1, 1]$, a penalty
# $\alpha = 0.1$ on squared energies, hardly any noise on the data, 5 % fresh chains, no trap. Its nominal temperature is
# $0.005^2/20 = 1.25\cdot10^{-6}$ ({lecture}`2.1`). This is the recipe of {cite}`foster2023`, after {cite}`lippe2024`, with the
# $\beta_1 = 0$ of Adam from {cite}`du2019`, scaled down: $8\times8$ pixels, two convolutions instead of four, half the steps,
# half the batch, an eighth of the buffer, ten times the rate, and 100 updates instead of 28 000; at that rate we also limit the
# gradient in the parameters. What follows is measured on this version.

# %%
recipe = {
    "step": 10.0,
    "noise": 0.005,
    "max_gradient": 0.03,
    "limits": (-1, 1),
}
popular = ebm.ConvolutionalEnergy(
    side, channels, sizes, seed=[seed, 20], device=device
)
kept = ebm.ReplayBuffer(fresh, size=1024, fresh_fraction=0.05, seed=[seed, 21])
_ = ebm.train(
    popular,
    y_train,
    buffer=kept,
    n_updates=n_recipe,
    batch_size=64,
    learning_rate=1e-3,
    n_steps=recipe_steps,
    regularisation=0.1,
    max_norm=0.1,
    data_noise=0.005,
    seed=[seed, 22],
    **recipe,
)

# %% [markdown]
# We look at its buffer, and then let fresh chains run in the finished energy: as many steps as one update makes, and ten times
# more. **Predict** what they show.

# %%
generator = torch.Generator(device).manual_seed(seed)
runs = [fresh(n_samples, np.random.default_rng([seed, 7]))]
for n in (recipe_steps, 9 * recipe_steps):
    x = ebm.langevin(
        popular, tensor(runs[-1]), n_steps=n, seed=generator, **recipe
    )
    runs.append(array(x))

# %% [markdown]
# The buffer first, then the fresh chains:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three pairs of rows of images. The buffer of the recipe shows crisp digits. Fresh chains after the steps of one update show grey blobs in the shape of a stroke. After ten times more the chains show black-and-white shapes, many alike, and many of them no digits."}, "figure": {"caption": "The recipe, scaled down: its buffer (top), fresh chains after as many steps as one update makes (middle), and after ten times more (bottom).", "name": "fig-image-recipe"}}
fig, axes = plt.subplots(3, 1, figsize=(6.5, 2.7))
for ax, x in zip(axes, (kept.states, *runs[1:]), strict=True):
    image_grid(x[:40], 20, ax=ax, limits=(-1, 1))
plt.show()

# %% [markdown]
# The buffer holds crisp digits, after less than half as many steps of chains as ours made. But chains that run in
# the *finished* energy do not stop there: they crowd into fewer shapes, many of which are no digits. What is the *density* that
# this energy stands for, if we take it at its word, $p \propto e^{-E}$ on $[-1, 1]^d$?
# Noise, images, and chains that have run downhill all have nearly the same energy, so that $Z$ is easy:
# $Z = 2^d\,\langle e^{-E}\rangle$ over uniform noise, with hardly any scatter. Even if the whole cube had the lowest energy
# found, $\log p$ would change by no more than the range of these energies.

# %%
cube = fresh(2000, np.random.default_rng([seed, 8]))
e_cube, e_test = energies(popular, cube), energies(popular, y_test)
log_mean_weight, cube_error = log_mean(-e_cube)
uniform = -d * np.log(2)
gain_popular = -e_test.mean() - log_mean_weight
walls = [np.mean(np.abs(x) == 1) for x in (y_test, *runs[1:])]
slope = array(ebm.input_gradient(popular, tensor(runs[1])))
easy_area = roc_auc_score(
    np.repeat([0, 1], [n_test, len(cube)]), np.r_[e_test, e_cube]
)
found = np.r_[e_cube, e_test, energies(popular, runs[2])]
sharp = multivariate_normal(
    mean, covariance + (0.005**2 - sigma**2) * np.eye(d)
)
sharp = sharp.logpdf(
    flat + 0.005 * np.random.default_rng([seed, 9]).standard_normal(flat.shape)
)
# %% [markdown]
# The table also counts slopes beyond the clip and pixels that sit exactly on the walls of the cube. Its densities are of sharp
# images, and not to be compared with the table above, which is of blurred ones.

# %%
show_table(
    ["recipe", "value"],
    [
        ["log p of held-out images (nats)", uniform + gain_popular],
        ["of the uniform density", uniform],
        ["of a Gaussian fit at σ = 0.005", sharp.mean()],
        ["range of all energies found", np.ptp(found)],
        ["slopes that are clipped", np.mean(np.abs(slope) > 0.03)],
        ["pixels at ±1: images", walls[0]],
        ["fresh chains, steps of one update", walls[1]],
        ["fresh chains, ten times longer", walls[2]],
        ["AUROC against uniform noise", easy_area],
    ],
)
# %% [markdown]
# Claims to be read together: hardly any gain over uniform noise, and chains that do not stay.

# %%
if on_digits:
    verify(
        "nats per image that the recipe's density gains over uniform noise",
        [gain_popular - 5 * cube_error, gain_popular + 5 * cube_error],
        at_least=0,
        at_most=1,
        source="mean of exp(-E) over the cube",
    )
    verify(
        "range of its energies over noise, images and chains, in nats",
        np.ptp(found),
        at_most=2,
        source="energies of all states that were found",
    )
    verify(
        "ten times longer, chains go far below the energy of the images",
        e_test.mean() - energies(popular, runs[2]).mean(),
        at_least=5 * e_test.std() / np.sqrt(n_test),
        source="the energy of held-out images",
    )

# %% [markdown]
# As a density, the recipe's energy says next to nothing: it is uniform noise up to a fraction of a nat. (It cannot say much.
# With the penalty the loss, $\pm E + \alpha E^2$ for data and chains, is minimal at $E = \mp 1/2\alpha$: the two phases never
# differ by more than about $1/\alpha = 10$, while
# {eq}`eq-image-exact` needs differences of hundreds.) Then how can there be digits? Because its chains are *not* samples of
# $e^{-E}$. At $10^{-6}$ of that temperature they run downhill, in an energy that training keeps moving under them: wherever
# they gather, the next updates lift the ground. The buffer shows this chase, not the energy that is left when it stops. What
# has been trained is a generator: noise, dynamics, and number of steps together {cite}`nijkamp2019`. {lecture}`2.3` showed the
# same for short runs in the plane. None of the slopes counted here is clipped; the clamp, however, acts on many pixels, and
# puts atoms on the walls. (Many pixels of the data lie there, too: in this respect clamping is the better model of clean
# images, which have no density.) Such an energy can still rank outliers, because ranks know no temperature.
#
# So the recipe is not wrong. It answers another question. State the temperature, and what you show in pictures and what you
# claim about $p$ will be about the same object.
#
# ## Break it: a model that its own chains have not met
#
# While we trained, the rate fell to zero. Does it matter? We go on from the trained model at a large constant rate for a short
# while, stop, and look at two things: the *buffer*, whose pictures one would publish, and the same chains after they have run
# on in the *frozen* energy. We count digits (by the classifier), $a_k$ in the buffer and $b_k$ afterwards. If nothing but
# chance has changed them, $\chi^2 = \sum_k (a_k - b_k)^2/(a_k + b_k)$ has 9 degrees of freedom: it is $9 \pm 4$, exceeds 20 in
# two of a hundred cases, and 45 in one of a million. (Chains that remember their digit make it smaller.) We
# test for a large change; a value above 20 hints at a small one. **Predict** $\chi^2$ for both models.


# %%
def digits(x):
    digit = classifier.predict(x.reshape(len(x), -1))
    return np.bincount(digit, minlength=10)


def chi_squared(a, b):
    return ((a - b) ** 2 / np.maximum(a + b, 1)).sum()


# %% [markdown]
# The model that goes on:

# %%
restless, chains = copy.deepcopy(energy), copy.deepcopy(buffer)
_ = ebm.train(
    restless,
    y_train,
    n_updates=100,
    learning_rate=2e-3,
    seed=[seed, 14],
    **options | {"buffer": chains},
)
rows = []
for name, e, store in (
    ("rate to zero", energy, buffer),
    ("large rate", restless, chains),
):
    x = store.states[:n_samples]
    frozen = ebm.langevin(e, tensor(x), step=step, n_steps=500, seed=seed)
    a, b = digits(x), digits(array(frozen))
    t = thermometer(e, frozen, step).mean()
    rows.append([name, max(a) / sum(a), max(b) / sum(b), chi_squared(a, b), t])
show_table(
    [
        "training",
        "largest class: buffer",
        "frozen energy",
        "χ² of the digits",
        "temperature",
    ],
    rows,
)

# %% [markdown]
# The buffer of the restless model holds all ten digits. Its energy, frozen at an arbitrary moment, condenses into a few of
# them. The relative weight of two digits is a difference of free energies, and nothing but the chains' own traffic between
# digits tells the model about it. That takes some hundred steps. If the energy moves faster, weights tip over, chains follow,
# weights tip back: digits take turns, and only the average over time is right. The cure is a rate that falls below the rate of
# that traffic, the same as for the RBM of week 1. The thermometer reads about one in both cases: it vouches for noise and step,
# not for the weights of the digits.

# %%
if on_digits:
    verify(
        "large rate: the frozen energy has other digits than the buffer, χ²",
        rows[1][3],
        at_least=45,
        source="χ² distribution, 9 degrees of freedom",
    )
    verify(
        "rate to zero: it has the same",
        rows[0][3],
        at_most=45,
        source="χ² distribution, 9 degrees of freedom",
    )

# %% [markdown]
# ## Exercises
#
# ::::{exercise} The thermometer of a Gaussian
# :label: ex-image-thermometer
# For $E = x^2/2\sigma^2$ the Langevin chain has the variance $v = \sigma^2 T/(1 - \eta/2\sigma^2)$. Show that
# {eq}`eq-image-thermometer` gives exactly $T$, and the virial theorem alone $T/(1-\eta/2\sigma^2)$. Along pixels without ink the
# blurred images are such a Gaussian. What is the variance of the chain there, relative to that of the data, in the exact energy?
# And what if training has corrected the bias of the step? Measure both.
# ::::
#
# ::::{solution-start} ex-image-thermometer
# :class: dropdown
# ::::
#
# In a stationary state $\langle x E'\rangle = v/\sigma^2$ and $\langle E'^2\rangle = v/\sigma^4$, so
# $T = v/\sigma^2 - \eta v/2\sigma^4 = (v/\sigma^2)(1 - \eta/2\sigma^2)$. The exact energy gives 1.11. A network that has
# corrected the bias has a chain with the right variance $\sigma^2$, and the curvature $k$ with
# $\sigma^2 = 1/k(1 - \eta k/2)$, that is $k\sigma^2 = 5 - \sqrt{15} = 1.127$. We measure along the ten directions in which
# the clean images vary least, forty times at intervals of five steps.

# %% tags=["solution"]
spread, vectors = np.linalg.eigh(np.cov(y_train.reshape(-1, d).T))
quiet = vectors[:, :10]
expected = sigma**2 / (1 - relative_step / 2) + spread[:10].mean()
in_data = sigma**2 + spread[:10].mean()


def quiet_variance(energy, x):
    """Variance of each chain in the quiet directions, over the data's."""
    generator, total = torch.Generator(device).manual_seed(seed), 0.0
    x = tensor(x)
    for _ in range(40):
        x = ebm.langevin(energy, x, step=step, n_steps=5, seed=generator)
        along = (array(x).reshape(len(x), -1) - mean) @ quiet
        total = total + (along**2).mean(1) / 40
    return total / in_data


# %% [markdown]
# The exact energy, where we know the answer, and the network beside it:

# %% tags=["solution"]
v = quiet_variance(kernel_energy, x_train[:n_samples])
verify(
    "variance of chains in the exact energy, without ink, over the data's",
    v.mean(),
    equals=expected / in_data,
    atol=5 * v.std() / np.sqrt(len(v)),
    source="stationary variance of a Langevin step",
)
ours = quiet_variance(energy, path[-1])
show_table(
    ["energy", "variance over the data's"],
    [
        [name, f"‹{v.mean():.3f} ± {v.std() / np.sqrt(len(v)):.3f}›"]
        for name, v in (("exact", v), ("our network", ours))
    ],
)

# %% [markdown]
# A network that has corrected the bias would read 1 in this table (the 1.127 above is its curvature, not its variance). Training
# of this length has not corrected it.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} The temperature of the batch size
# :label: ex-image-batch
# A slip that never crashes: the slope of the *mean* energy of a batch of $B$ images. Each image then gets $1/B$ of its drift and
# all of its noise. Which temperature does {eq}`eq-image-thermometer` read, in the trained energy, with the drift that is really
# applied? Measure it for $B = 16$. What would be the temperature of the recipe with $B = 64$?
# ::::
#
# ::::{solution-start} ex-image-batch
# :class: dropdown
# ::::
#
# The step is $\eta/B$ and the noise $\sqrt{2\eta}$, so $T = B$. (`input_gradient` adds the energies up for that reason.)

# %% tags=["solution"]
B = 16
hot = readings(energy, x_train[:128], step / B, (2 * step) ** 0.5, 120)
verify(
    "slope of the mean energy of 16 images: temperature",
    hot.mean(),
    equals=B,
    atol=5 * hot.std() / np.sqrt(len(hot)),
    source="exact balance with step η/B and noise √(2η)",
)

# %% [markdown]
# The recipe would run at $8\cdot10^{-5}$, and no one would notice.
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Blurred by a stated noise, images have a density, and its energy is a parabola plus a function of bounded slope, whose
# gradient is a denoiser. Trained with persistent chains at temperature one and a rate that falls to zero, a small network beats
# a Gaussian fit by nats on held-out images, and a thermometer that is exact at any step vouches for noise and step of its
# sampler, though not for the weights of the digits. The recipe of the literature, scaled down, makes crisper digits from an
# energy that, as a density, is almost uniform: pictures, outlier scores and likelihoods are three different claims, and each
# needs numbers of its own.
#
# **Next:** {lecture}`2.5` has the same energy in TensorFlow, which mends broken images.
