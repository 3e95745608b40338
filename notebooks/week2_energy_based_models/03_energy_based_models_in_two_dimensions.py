# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learn an energy in two dimensions, and check it on a grid
#
# Statistical mechanics starts from an energy and computes what follows. An energy-based model runs backwards: given the
# configurations, find the energy. With a neural network for $E$ almost any energy can be written down, and none of them can be
# normalised. Published models of images live with that: nobody knows their $Z$, and nobody can say whether their chains
# sample what their energies claim. In two dimensions a grid answers every such question. So before we train on images we train here, where
# each popular shortcut can be caught.
#
# :::{admonition} Plan
# :class: tip
# **You will** train a network to be the energy of eight wells, judge it by quadrature, find that chains which do not hop teach
# it a wrong energy that samples well, repair them, measure the temperature of a sampler from its samples, and learn an
# energy without any chain.
# **You need** {doc}`01_langevin_sampling`; {doc}`../week1_boltzmann_machines/02_restricted_boltzmann_machines` helps. **Time** an hour to read, a minute of CPU.
# :::

# %%
import copy
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import expit, logsumexp

from advml import datasets, sampling
from advml.checks import verify
from advml.display import show_source, show_table
from advml.metrics import kl_divergence, total_variation
from advml.pytorch.ebm import (
    DenseEnergy,
    ReplayBuffer,
    input_gradient,
    langevin,
    langevin_step,
    loss,
    score_matching_loss,
    train,
)

plt.style.use("advml.course")

# %% tags=["parameters"]
seed = 0
n_updates = 1500
batch_size = 512  # as many chains as data points in an update
learning_rate = 0.01  # falls to zero
step = 0.004  # of the Langevin chains
n_steps = 5  # of each chain in an update
radius = 2.0  # of the trap

# %% [markdown]
# ## A density from any function
#
# Let $f_\Theta(\mathbf x)$ be a network with one output. As an energy it defines a density,
#
# $$
# p(\mathbf x) = \frac{e^{-E(\mathbf x)}}{Z}, \qquad
# E(\mathbf x) = \frac{|\mathbf x|^2}{2R^2} + f_\Theta(\mathbf x), \qquad
# Z = \int e^{-E(\mathbf x)}\, \mathrm d\mathbf x .
# $$ (eq-ebm-dense)
#
# The parabola is a **trap**. Without it nothing keeps $Z$ finite, because a network may be flat at infinity, or fall. With it $Z$ always
# exists: our layers, matrices and SiLUs $u/(1+e^{-u})$ of slope at most 1.1, cannot change faster than some constant $\Lambda$
# times the distance, and a parabola beats any straight line.

# %%
show_source(DenseEnergy.forward)

# %% [markdown]
# Our data are eight Gaussians of width $\sigma = 0.2$ on a circle of radius 2. Their entropy $H$ is known; without overlap it would be
# $\ln 8 + 1 + \ln 2\pi\sigma^2$. No density can have a smaller mean of $-\log p$ on fresh data (the *negative log-likelihood*, NLL); the
# excess is the Kullback–Leibler divergence from the data. We want it below 0.05 nats.

# %%
ring = datasets.gaussian_ring(10_000, radius=2.0, scale=0.2, seed=seed)
sigma, n_modes = 0.2, len(ring.centres)
verify(
    "entropy of the eight Gaussians",
    ring.entropy,
    equals=np.log(8) + 1 + np.log(2 * np.pi * sigma**2),
    atol=1e-3,
    source="closed form without overlap",
)

# %% [markdown]
# ## The judge
#
# The **grid** has a spacing of 0.05, a quarter of $\sigma$. We evaluate the network in double precision, sum $e^{-E}$ for $Z$, and have the normalised density at
# every point. Its divergence from the data's density $q$ is one more sum, and the weight $w_k$ of mode $k$ is the sum
# over a sector of the plane. (The circle is cut half-way between neighbouring centres.)

# %%
line = np.linspace(-8, 8, 321)
cell = (line[1] - line[0]) ** 2
grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
log_q = ring.log_prob(grid)


def sector(x):
    """Number of the mode in whose sector each point lies."""
    turns = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi)
    return np.round(n_modes * turns).astype(int) % n_modes


def weights(x, p=None):
    """Probability of each sector: of samples, or of points with p."""
    p = np.full(len(x), 1 / len(x)) if p is None else p
    return np.bincount(sector(x), p, n_modes)


def energies(model, x):
    """Energies in double precision, as an array."""
    with torch.no_grad():
        return copy.deepcopy(model).double()(torch.as_tensor(x)).numpy()


# %% [markdown]
# `judge` collects what the grid says about a model, or about any other density.


# %%
def judge(model, log_q=log_q):
    """Everything about e^(-E)/Z that a grid can tell."""
    e = energies(model, grid)
    log_z = logsumexp(-e) + np.log(cell)
    p, q = np.exp(-e - log_z) * cell, np.exp(log_q) * cell
    return SimpleNamespace(
        log_z=log_z,
        log_p=-e - log_z,
        nll=q @ (e + log_z),
        kl=q @ (log_q + e + log_z),
        weights=weights(grid, p),
        tv=np.abs(p - q).sum() / 2,
    )


# %% [markdown]
# Who judges the judge? For the data's own density the sums have to give one, and the entropy.

# %%
q = np.exp(log_q) * cell
verify(
    "on the grid the data's density has integral one and the known entropy",
    [q.sum(), -q @ log_q],
    equals=[1, ring.entropy],
    atol=1e-6,
    source="definition; quadrature around each mode",
)

# %% [markdown]
# ## Two gradients, one of them with $Z$
#
# Maximum likelihood needs the gradient in the parameters. From {eq}`eq-ebm-dense`, $-\log p = E + \log Z$, and
# $\nabla_\Theta \log Z = -\frac1Z \int e^{-E}\, \nabla_\Theta E\, \mathrm d\mathbf x$ is an average over the model:
#
# $$
# \nabla_\Theta\, \langle -\log p \rangle_\text{data}
# = \langle \nabla_\Theta E \rangle_\text{data} - \langle \nabla_\Theta E \rangle_\text{model} .
# $$ (eq-ebm-gradient)
#
# The *positive phase* lowers the energy at the data, the *negative phase* raises it where the model samples. The samples come from Langevin chains, which need the gradient in $\mathbf x$. That one has a single term:
#
# $$
# \mathbf x \leftarrow \mathbf x - \eta\, \nabla_{\mathbf x} E(\mathbf x) + \sqrt{2\eta}\; \mathbf w ,
# \qquad \mathbf w \sim \mathcal N(\mathbf 0, \mathbf I) .
# $$ (eq-ebm-langevin)
#
# $Z$ does not depend on $\mathbf x$ and drops out. Lectures and code have mixed up the two gradients; see the errata, entry 6.

# %%
show_source(input_gradient, langevin_step, loss)

# %% [markdown]
# `loss` is a stand-in for the likelihood: with the samples held fixed, automatic differentiation of
#
# $$
# \langle E \rangle_\text{data} - \langle E \rangle_\text{model}
# + \alpha \left( \langle E^2 \rangle_\text{data} + \langle E^2 \rangle_\text{model} \right)
# $$ (eq-ebm-loss)
#
# at $\alpha = 0$ gives {eq}`eq-ebm-gradient`. Its *value* measures no progress: for a perfect model it is zero, and also for a network
# that is constant. The second term with $\alpha > 0$ is a heuristic for images, which keeps energies near zero.
#
# Check this on an untrained network. The grid gives $\log Z$, and differentiating it gives the exact negative phase. Two independent routes: the
# average of $\nabla_\Theta E$ with the weights of the grid, and a finite difference of the likelihood in a random direction.

# %%
model = DenseEnergy(2, radius=radius, seed=seed, device="cpu").double()
coarse = np.linspace(-16, 16, 129)
points = np.stack(np.meshgrid(coarse, coarse), axis=-1).reshape(-1, 2)
points = torch.as_tensor(points)
x_data = torch.as_tensor(ring.train[:1000])
parameters = list(model.parameters())


def exact_nll():
    """⟨E⟩ + log Z, with Z from a wide, coarse grid: the trap is smooth."""
    log_z = torch.logsumexp(-model(points), 0) + 2 * np.log(0.25)
    return model(x_data).mean() + log_z


def flat_gradient(value):
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(value, parameters)]
    )


exact = flat_gradient(exact_nll())
p_points = torch.softmax(-model(points), 0).detach()
phases = flat_gradient(model(x_data).mean() - p_points @ model(points))
verify(
    "autograd of the exact likelihood is the difference of two phases",
    phases.numpy(),
    equals=exact.numpy(),
    atol=1e-10,
    source="quadrature of both averages",
)

# %% [markdown]
# The finite difference uses no derivative at all.

# %%
vector = torch.nn.utils.parameters_to_vector(parameters).detach()
direction = np.random.default_rng(seed).standard_normal(len(exact))
direction = torch.as_tensor(direction / np.sqrt(len(exact)))
h, ends = 1e-5, []
for end in (vector + h * direction, vector - h * direction, vector):
    torch.nn.utils.vector_to_parameters(end, parameters)
    ends.append(exact_nll().item())
verify(
    "slope of the exact likelihood in a random direction",
    (exact @ direction).item(),
    equals=(ends[0] - ends[1]) / (2 * h),
    atol=1e-7,
    source="finite difference of quadratures",
)

# %% [markdown]
# Third, samples. Random-walk Metropolis chains ({doc}`../week1_boltzmann_machines/01_statistical_mechanics_and_markov_chains`) have no step error. Their gradients, in a hundred
# groups, have a mean and a standard error in any direction of the 4417 parameters. We look in fifty random ones and allow five standard errors. (Single
# parameters will not do: some units respond to a handful of samples only.)

# %%
n_groups, per_group = 100, 20
x, accepted = sampling.metropolis(
    lambda x: -energies(model, x),
    np.random.default_rng(seed).normal(0, radius, (n_groups * per_group, 2)),
    step=radius,
    n_steps=400,
    seed=seed,
)
sampled = torch.stack(
    [
        flat_gradient(loss(model, x_data, group))
        for group in torch.as_tensor(x).split(per_group)
    ]
).numpy()
directions = np.random.default_rng([seed, 0]).standard_normal((50, len(exact)))
sampled, expected = (g @ directions.T for g in (sampled, exact.numpy()))
verify(
    "the sampled gradient agrees with the exact one",
    sampled.mean(0),
    equals=expected,
    atol=5 * sampled.std(0, ddof=1) / np.sqrt(n_groups),
    source="quadrature",
)

# %% [markdown]
# ## Persistent chains
#
# As for Boltzmann machines we cannot wait for equilibrium after every update. A **replay buffer** keeps the chains
# {cite}`tieleman2008,du2019`: an update takes some of them, moves them by $n$ steps in the present energy, and puts them back,
#
# $$
# \mathbf x_c \leftarrow \left( n \text{ Langevin steps in } E_\Theta \right) \mathbf x_c , \qquad
# \Theta \leftarrow \Theta - \text{rate} \times \nabla_\Theta\, \text{loss} .
# $$ (eq-ebm-buffer)
#
# Published models also restart a few per cent of the chains from noise. In ours none are restarted, at first. `train` adds Adam, without momentum, to scale the
# gradient. Step 0.004 makes the chains wider than $e^{-E}$ by the factor $1/(1-\eta/2\sigma^2)$ in variance, 5 %: the energy will learn to be narrower.
#
# **Predict** before you read on: after training, will the buffer hold the eight modes with equal weights? Will the density?

# %%
show_source(train, docstring="none")

# %% [markdown]
# Our settings, and starting points drawn from the trap alone:


# %%
def fresh(n, rng):
    """Points from the trap alone, exp(-|x|²/2R²)."""
    return (radius * rng.standard_normal((n, 2))).astype(np.float32)


def trained(callback=None, fresh_fraction=0.0, **changes):
    """Train a new network; return it with its buffer."""
    settings = {
        "n_updates": n_updates,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "step": step,
        "n_steps": n_steps,
        **changes,
    }
    model = DenseEnergy(2, radius=radius, seed=seed, device="cpu")
    buffer = ReplayBuffer(
        fresh,
        size=settings["batch_size"],
        fresh_fraction=fresh_fraction,
        seed=seed,
    )
    settings["callback"] = callback and callback(buffer)
    settings.update(final_learning_rate=0.0, buffer=buffer, seed=seed)
    train(model, ring.train, **settings)
    return model, buffer


# %% [markdown]
# Half the updates are enough for a first look.

# %%
frozen, frozen_buffer = trained(n_updates=n_updates // 2)
frozen_judge = judge(frozen)

# %% [markdown]
# Compare your prediction with chains and density.


# %% mystnb={"image": {"alt": "Left: chains of the buffer, eight equal round clouds on a circle. Middle: the learned log density, with some of the eight modes bright and others dark. Right: weights of the eight modes; those of the chains are near one eighth, those of the density differ by large factors."}, "figure": {"caption": "Persistent chains without restarts. Left: the chains at the end of training. Middle: logarithm of the density that the energy claims. Right: weights of the modes.", "name": "fig-plane-frozen"}}
def picture(ax, log_p, title, low=-8):
    """Draw the logarithm of a density, cut off below."""
    ax.set(title=title, xlabel="$x_1$")
    image = log_p.reshape(len(line), -1)[100:221, 100:221]
    extent = (-3, 3, -3, 3)
    return ax.imshow(image, origin="lower", extent=extent, vmin=low, vmax=0)


fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.6))
axes[0].plot(*frozen_buffer.states.T, ".", ms=2)
axes[0].set(title="chains", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
axes[0].set(xlim=(-3, 3), ylim=(-3, 3))
picture(axes[1], frozen_judge.log_p, "log density")
modes = np.arange(n_modes)
axes[2].bar(modes - 0.2, weights(frozen_buffer.states), 0.4, label="chains")
axes[2].bar(modes + 0.2, frozen_judge.weights, 0.4, label="density")
axes[2].axhline(1 / n_modes, color="k", lw=0.8)
axes[2].set(xlabel="mode", title="weight", xticks=modes)
axes[2].legend()
plt.show()

# %% [markdown]
# The chains look perfect. The density is far off: its modes differ by factors. How can that be? Between neighbouring centres, $d = 4 \sin(\pi/8)$ apart, the data's own energy has a
# pass of height
#
# $$
# \Delta E = \frac{(d/2)^2}{2\sigma^2} - \ln 2 \approx 6.6 ,
# $$ (eq-ebm-barrier)
#
# (the $\ln 2$: on the pass two Gaussians add). By Kramers' law ({doc}`01_langevin_sampling`) a chain crosses it at a rate proportional to $e^{-6.6} \approx 1/750$, in units of the
# relaxation in a well. Early in training, when the landscape was
# flat, the chains spread over the modes. Then the passes rose and locked them in. From there on the gradient
# {eq}`eq-ebm-gradient` compares *numbers of chains* with numbers of data. If a mode holds too few chains, its energy
# falls until some hop over, and that takes a tilt by several units. If the numbers agree, nothing pushes, whatever the relative depths of the wells are: they wander with the noise
# of the batches.
# **Training makes the sampler right, not the density.** Relative weights of wells between which nothing hops are not determined.

# %%
centre, middle = ring.centres[0], ring.centres[:2].mean(0)
barrier = np.diff(ring.log_prob(np.stack([middle, centre])))[0]
verify(
    "height of the pass between two wells",
    barrier,
    equals=(2 * np.sin(np.pi / 8)) ** 2 / (2 * sigma**2) - np.log(2),
    atol=1e-3,
    source="two Gaussians, half-way",
)
even = np.full(n_modes, 1 / n_modes)
verify(
    "the density's mode weights are further off than those of its chains",
    total_variation(frozen_judge.weights, even),
    at_least=2 * total_variation(weights(frozen_buffer.states), even),
    source="quadrature over sectors; counts in the buffer",
)

# %% [markdown]
# ## Chains that hop
#
# The cure is any move that crosses the passes and leaves $e^{-E}$ invariant. Restarting some chains from noise, as published, crosses them, but does *not*
# leave the density invariant: where a restarted chain ends is decided by which basin it falls into, not by its weight. So let Metropolis and Hastings decide
# ({doc}`../week1_boltzmann_machines/01_statistical_mechanics_and_markov_chains`). Offer a chain at $\mathbf x$ a fresh start $\mathbf x'$ from the trap alone, $g(\mathbf x') \propto e^{-|\mathbf x'|^2/2R^2}$, and accept it
# with probability
#
# $$
# A = \min\left(1,\; \frac{e^{-E(\mathbf x')}\, g(\mathbf x)}{e^{-E(\mathbf x)}\, g(\mathbf x')} \right)
# = \min\left(1,\; e^{f(\mathbf x) - f(\mathbf x')} \right) .
# $$ (eq-ebm-fresh)
#
# The trap cancels, and $Z$ with it. After each update every chain gets eight such offers.


# %%
def offer_fresh_starts(model, x, rng, n_offers=8):
    """Fresh starts for all chains, accepted by (eq-ebm-fresh)."""
    offers = torch.as_tensor(fresh(n_offers * len(x), rng))
    with torch.no_grad():
        f_x, f_offers = (model(y) - model.trap(y) for y in (x, offers))
    for y, f_y in zip(
        offers.split(len(x)), f_offers.split(len(x)), strict=True
    ):
        u = torch.as_tensor(rng.random(len(x), dtype=np.float32))
        accept = torch.log1p(-u) < f_x - f_y
        x = torch.where(accept[:, None], y, x)
        f_x = torch.where(accept, f_y, f_x)
    return x


def hopping(buffer):
    """Callback of `train`: offers to all chains of the buffer."""
    rng = np.random.default_rng([seed, 1])

    def callback(update, model, x_data, x_model):
        x = torch.as_tensor(buffer.states)
        x = offer_fresh_starts(model, x, rng).numpy()
        buffer.store(np.arange(len(x)), x)

    return callback


# %% [markdown]
# Everything else stays as it was.

# %%
learned, buffer = trained(hopping)
result = judge(learned)

# %% [markdown]
# The verdict, on the grid and on test data. (The mean over test data scatters by the spread of $\log p$, for model and entropy alike.)

# %%
verify(
    "negative log-likelihood at most the least possible plus 0.05 nats",
    result.nll,
    at_most=ring.entropy + 0.05,
    source="exact entropy of the data",
)
log_p_test = -energies(learned, ring.test) - result.log_z
verify(
    "test data agree with the grid",
    -log_p_test.mean(),
    equals=result.nll,
    atol=5 * log_p_test.std() / np.sqrt(len(ring.test)),
    source="quadrature; scatter over the test data",
)
rows = [
    [name, verdict.nll, verdict.kl, verdict.tv]
    for name, verdict in (
        ("chains that hop", result),
        ("chains that do not", frozen_judge),
    )
]
show_table(
    ["", "NLL (nats)", "KL (nats)", "total variation"],
    [["data's density", ring.entropy, 0.0, 0.0], *rows],
)

# %% [markdown]
# How far can the mode weights be off? Coarse-graining cannot increase a divergence: $\operatorname{KL}$ of the eight weights is at most that of
# the densities, and Pinsker's inequality bounds their total variation by $\sqrt{\operatorname{KL}/2}$. These hold for any model. How much noise is left? In 512 independent chains, and in as many
# data, a mode counts 64 with a relative standard error of $\sqrt{7/512} = 12\,\%$. About one offer in ten is accepted, so after two updates the chains have forgotten their modes, and the falling rate averages over ten
# independent batches or more at the end. That leaves some 5 % per weight; we allow five times as much.

# %%
verify(
    "divergence of the mode weights at most that of the density",
    kl_divergence(even, result.weights),
    at_most=result.kl,
    source="data-processing inequality",
)
verify(
    "all eight modes have the right weight, within a quarter",
    n_modes * result.weights,
    equals=1,
    atol=0.25,
    source="eight equal Gaussians",
)
verify(
    "with frozen chains some mode is off by more than that",
    np.abs(n_modes * frozen_judge.weights - 1).max(),
    at_least=0.25,
    source="eight equal Gaussians",
)

# %% [markdown]
# The landscape itself, beside the true one. An energy has no zero point; both are drawn as $-\log p$.

# %% mystnb={"image": {"alt": "Left and middle: maps of the true and the learned energy, eight wells on a circle with similar depth. Right: both energies along the circle of radius two; the learned curve follows the eight parabolas and rounds off the cusps between them."}, "figure": {"caption": "True and learned energy, −log p. Right: along the circle through the centres.", "name": "fig-plane-landscape"}}
angle = np.linspace(0, 2 * np.pi, 721)
circle = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.5))
picture(axes[0], log_q, "true")
image = picture(axes[1], result.log_p, "learned")
bar = fig.colorbar(image, ax=axes[:2], shrink=0.8)
bar.set_label(r"$\log p$")
axes[2].plot(np.degrees(angle), -ring.log_prob(circle), "k", label="true")
learned_circle = energies(learned, circle) + result.log_z
axes[2].plot(np.degrees(angle), learned_circle, "C1--", label="learned")
axes[2].set(xlabel="angle (degrees)", ylabel=r"$-\log p$", ylim=(0, 10))
axes[2].set(xticks=[0, 90, 180, 270, 360])
axes[2].legend(loc="upper right")
plt.show()

# %% [markdown]
# The wells agree. The passes are rounded off: hardly any data lie there, and the likelihood does not care. Far from the data the network knows only what its fresh starts told it:
# that nothing is there.
#
# ### Is the integral really one?
#
# The judge trusts a box of side 16 and a spacing of 0.05. Two checks. *Spacing:* every second point must give the same $\log Z$.
# *Box:* outside, $f$ has been trained by few chains or none. A network of layers with spectral norms $s_l$ and SiLUs of slope at most 1.1
# obeys $f(\mathbf x) \ge f(\mathbf 0) - \Lambda |\mathbf x|$ with $\Lambda = 1.1^2 s_1 s_2 s_3$, so that beyond a radius $\rho$
#
# $$
# \int_{|\mathbf x| > \rho} e^{-E}\, \mathrm d\mathbf x \;\le\;
# 2\pi\, e^{-f(\mathbf 0)} \int_\rho^\infty r\, e^{\Lambda r - r^2/2R^2}\, \mathrm dr ,
# $$ (eq-ebm-tail)
#
# For $\rho > 2\Lambda R^2$ the exponent is negative there and falls by more than $\Lambda$ per unit length, so that the last integral is below $\rho\, e^{\Lambda\rho - \rho^2/2R^2}$ (if $\Lambda \ge 2$).
# Such a $\rho$ is far outside. We go there from 8 in polar coordinates, on a logarithmic axis.

# %%
layers = [kernel.detach().double() for kernel, _ in learned.layers]
norms = [torch.linalg.matrix_norm(k, 2).item() for k in layers]
slope = 1.1**2 * np.prod(norms)
rho = 2 * slope * radius**2 + 10 * radius
log_r = np.linspace(np.log(8), np.log(rho), 600)
phi = np.linspace(0, 2 * np.pi, 65)[:-1]
rays = np.stack([np.cos(phi), np.sin(phi)], axis=-1)
r = np.exp(log_r)
e = energies(learned, (r[:, None, None] * rays).reshape(-1, 2))
shell = 2 * np.pi * r**2 * np.exp(-e - result.log_z).reshape(600, -1).mean(1)
outside = np.trapezoid(shell, log_r)
log_tail = np.log(2 * np.pi * rho) + slope * rho - rho**2 / (2 * radius**2)
log_tail += -energies(learned, np.zeros((1, 2)))[0] - result.log_z
half = logsumexp(result.log_p.reshape(321, 321)[::2, ::2]) + np.log(4 * cell)
verify(
    "integral of the density: half the points, and what lies outside",
    [np.exp(half), 1 + outside + np.exp(log_tail)],
    equals=1,
    atol=1e-4,
    source="refinement of the grid; rays; Lipschitz bound of the tail",
)

# %% [markdown]
# ## Samples, and what they look like on the way
#
# Now use the model as a generator: start chains from the trap, and run Langevin steps with offers in between.


# %%
def sample(model, x, n_rounds, rng, n_steps=10, offers=True, step=step):
    """Rounds of Langevin steps, each followed by offers."""
    for _ in range(n_rounds):
        x = langevin(model, x, step=step, n_steps=n_steps, seed=rng)
        x = offer_fresh_starts(model, x, rng) if offers else x
    return x


rng = np.random.default_rng([seed, 2])
snapshots = {0: torch.as_tensor(fresh(4000, rng))}
for n in (10, 50, 500):
    done = max(snapshots)
    rounds = (n - done) // 10
    snapshots[n] = sample(learned, snapshots[done], rounds, rng)

# %% [markdown]
# A bad start is no problem: the slope gathers the points, the offers sort them.

# %% mystnb={"image": {"alt": "Four scatter plots. At step zero a broad round cloud; after 10 steps most points have gathered near the circle; after 50 and 500 steps eight round clouds of equal weight."}, "figure": {"caption": "4000 chains on their way from the trap to the model.", "name": "fig-plane-chains"}}
fig, axes = plt.subplots(1, 4, figsize=(7.5, 2.2), sharey=True)
for ax, (n, x) in zip(axes, snapshots.items(), strict=True):
    ax.plot(*x[::2].T, ".", ms=1, alpha=0.5)
    ax.set(title=f"{n} steps", xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
    ax.set(xlabel="$x_1$")
axes[0].set(ylabel="$x_2$")
plt.show()

# %% [markdown]
# The chains are independent, so the number in each mode is binomial around the weight that the *density* has there.

# %%
x_learned = snapshots[500]
w = result.weights
verify(
    "the chains visit each mode with the weight that the density gives it",
    weights(x_learned.numpy()),
    equals=w,
    atol=5 * np.sqrt(w * (1 - w) / len(x_learned)),
    source="quadrature over sectors",
)

# %% [markdown]
# ## Short chains learn a wrong energy that samples well
#
# Image models often have neither buffer nor hops: every update starts its chains from noise and runs $K$ steps
# {cite}`nijkamp2019`. Here we do it with $K = 10$ and step 0.01. In a Langevin time of $K\eta = 0.1$ noise alone moves a point by $\sqrt{2K\eta} = 0.45$, so
# chains that start a distance of 2 away can only arrive if the *slope* carries them.

# %%
short = {"step": 0.01, "n_steps": 10}
hasty, _ = trained(
    fresh_fraction=1.0,
    n_updates=n_updates // 2,
    batch_size=batch_size // 2,
    learning_rate=learning_rate / 2,
    **short,
)
hasty_judge = judge(hasty)

# %% [markdown]
# To compare samples with densities we count in squares of side 0.25, and take the total variation from the data's density. Even perfect samples are not
# at zero: counts scatter.

# %%
edges = -4.025 + 0.25 * np.arange(33)  # five by five points of the grid


def squares(x, p=None):
    """Probability of each square, the rest last."""
    p = np.full(len(x), 1 / len(x)) if p is None else p
    counts = np.histogram2d(*x.T, bins=[edges, edges], weights=p)[0]
    return np.append(counts.flatten(), abs(p.sum() - counts.sum()))


def distance(x, p=None):
    """Total variation of squares, from the data's density."""
    return total_variation(squares(x, p), squares(grid, q))


# %% [markdown]
# We start 4000 chains from the trap, stop them after the ten steps of the training, and then let them run on, once with Langevin steps alone and once with offers.

# %%
p_hasty = np.exp(hasty_judge.log_p) * cell
perfect = distance(ring.test[:4000])
rng = np.random.default_rng([seed, 4])
x = {0: torch.as_tensor(fresh(4000, rng))}
x[10] = langevin(hasty, x[0], **short, seed=rng)
alone, hops = {10: distance(x[10].numpy())}, {10: distance(x[10].numpy())}
y, z = x[10], x[10]
for n in (20, 50, 100, 200, 500):
    rounds = (n - max(alone)) // 10
    y = sample(hasty, y, rounds, rng, offers=False, step=0.01)
    z = sample(hasty, z, rounds, rng, step=0.01)
    alone[n], hops[n] = distance(y.numpy()), distance(z.numpy())

# %% [markdown]
# Predict the shape of the two curves in the right panel.

# %% mystnb={"image": {"alt": "Four panels. Samples after ten steps: eight clouds of equal weight. The density: some modes bright, others dark. Samples after 500 steps with hops: unequal clouds. Right: total variation from the data against steps; small at ten steps, then rising to the value of the density where the chains hop."}, "figure": {"caption": "A model trained with ten-step chains. From left: its ten-step samples; its density; its samples after 500 steps with hops; distance from the data against steps.", "name": "fig-plane-short"}}
fig, axes = plt.subplots(1, 4, figsize=(7.8, 2.2), width_ratios=[1, 1, 1, 1.3])
for ax, cloud, title in (
    (axes[0], x[10], "10 steps"),
    (axes[2], z, "500 steps, hops"),
):
    ax.plot(*cloud[::2].T, ".", ms=1, alpha=0.5)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", title=title)
picture(axes[1], hasty_judge.log_p, "log density")
axes[3].semilogx(*zip(*hops.items(), strict=True), "o-", label="with hops")
axes[3].semilogx(*zip(*alone.items(), strict=True), "s-", label="Langevin")
axes[3].axhline(distance(grid, p_hasty), color="k", lw=1, ls="--")
axes[3].axhline(perfect, color="0.5", lw=1, ls=":")
axes[3].set(xlabel="steps", title="total variation", ylim=(0, None))
axes[3].legend(fontsize=7)
plt.show()

# %% [markdown]
# The dashed line is the density's own distance from the data, the dotted one that of perfect samples. After exactly the $K$ steps of the training the samples are good;
# the density is not. What was trained is a *flow*: ten steps downhill from noise, in which a well
# receives what its basin collects. That is a fine generator {cite}`nijkamp2019`, but $e^{-E}$ is not its density. Run the chains longer, and let them hop, and
# they leave the data for what the energy says. (Up to their own distance from it, by the triangle inequality: the scatter of the counts, and as much again for the large step.)
# Without hops they only relax inside the wells they fell into, and some of them leak.

# %%
verify(
    "what ten-step samples lack of perfect ones: half the density's distance",
    distance(x[10].numpy()) - perfect,
    at_most=distance(grid, p_hasty) / 2,
    source="quadrature; as many samples of the data's density",
)
verify(
    "chains that hop leave the data for the density",
    hops[500],
    equals=distance(grid, p_hasty),
    atol=2 * perfect,
    source="quadrature; triangle inequality",
)

# %% [markdown]
# ## Take the sampler's temperature
#
# On images no grid will help. Is there a check of a chain that needs only its samples? A physicist measures the temperature. If chains sample
# $p_T \propto e^{-E/T}$, then $\nabla p_T = -p_T\, \nabla E / T$, and partial integration gives, for any vector field $\mathbf v(\mathbf x)$,
#
# $$
# \langle \mathbf v \cdot \nabla E \rangle = -T \int \mathbf v \cdot \nabla p_T\, \mathrm d\mathbf x = T\, \langle \nabla \cdot \mathbf v \rangle .
# $$ (eq-ebm-virial)
#
# (The trap removes the boundary term.) With $\mathbf v = \mathbf x$ in $d$ dimensions this is the **virial theorem**, $\langle \mathbf x \cdot \nabla E \rangle = d\,T$. A chain with finite steps obeys it with a correction. Let a step be $\mathbf x' = \mathbf x - \eta \nabla E + \nu \mathbf w$
# with any noise $\nu$. Square it, average, and use that $\langle |\mathbf x|^2 \rangle$ no longer changes:
#
# $$
# \frac{\langle \mathbf x \cdot \nabla E \rangle}{d} - \frac{\eta}{2d}\, \langle |\nabla E|^2 \rangle = \frac{\nu^2}{2\eta} = T .
# $$ (eq-ebm-thermometer)
#
# This is exact for every $\eta$. On the right stands the temperature that you *set* ({doc}`01_langevin_sampling`), on the left one that you *measure*. They agree if, and only if,
# $\langle |\mathbf x|^2 \rangle$ is stationary. We average along the chains; independent chains give the error.


# %%
def reading(model, x, step):
    """Left-hand side of (eq-ebm-thermometer), chain by chain."""
    slope = input_gradient(model, x)
    virial = (x * slope).sum(1) - step / 2 * (slope**2).sum(1)
    return virial.double().numpy() / x.shape[1]


def thermometer(model, x, temperature, rng):
    """Mean reading and its standard error, after 300 steps."""
    settings = {"step": step, "noise": np.sqrt(2 * step * temperature)}
    x = langevin(model, x, n_steps=300, seed=rng, **settings)
    total = 0
    for _ in range(40):
        x = langevin(model, x, n_steps=10, seed=rng, **settings)
        total = total + reading(model, x, step)
    return total.mean() / 40, total.std() / 40 / np.sqrt(len(x))


# %% [markdown]
# We set five temperatures in the learned energy. $T = \frac12$ is what noise $\sqrt\eta$ for $\sqrt{2\eta}$ makes (errata, entry 4). Then two tricky ones at $T = 1$: all chains in a *single*
# well, and chains in the *wrong* energy of the last section.

# %%
rng = np.random.default_rng([seed, 5])
x = x_learned[:1500]
set_to = np.array([0.1, 0.25, 0.5, 1.0, 2.0])
measured = [thermometer(learned, x, t, rng) for t in set_to]
one_well = x[torch.as_tensor(sector(x.numpy()) == 0)].repeat(4, 1)
measured += [
    thermometer(learned, one_well, 1.0, rng),
    thermometer(hasty, y[:1500], 1.0, rng),
]
measured = np.array(measured)
names = [
    *(f"T = {t:g}" for t in set_to),
    "T = 1,\none well",
    "T = 1,\nwrong energy",
]
set_to = np.append(set_to, [1.0, 1.0])
arrived = langevin(
    hasty, torch.as_tensor(fresh(20_000, rng)), **short, seed=rng
)
arrival = reading(hasty, arrived, 0.01)

# %% [markdown]
# Which of the seven will be off?

# %% mystnb={"image": {"alt": "Measured temperature over set temperature with error bars. All seven points lie on the line at one within their errors, also those for a single well and for the wrong energy."}, "figure": {"caption": "Temperature measured from samples, divided by the one that was set.", "name": "fig-plane-temperature"}}
fig, ax = plt.subplots(figsize=(6, 2.6))
mean, error = measured.T / set_to
ax.errorbar(names, mean, error, fmt="o", capsize=3)
ax.axhline(1, color="k", lw=0.8)
ax.set(ylabel="measured / set")
plt.show()

# %% [markdown]
# Every chain has the temperature that its noise and step set, right or wrong.

# %%
verify(
    "temperature from samples is noise²/(2 step)",
    measured[:, 0],
    equals=set_to,
    atol=5 * measured[:, 1],
    source="virial theorem with the exact correction for the step",
)
show_table(
    ["", "temperature from samples"],
    [
        [name, f"‹{m:.3f} ± {e:.3f}›"]
        for name, (m, e) in zip(names, measured, strict=True)
    ]
    + [
        [
            "wrong energy, ten steps from noise",
            f"‹{arrival.mean():.2f} ± {arrival.std() / 20_000**0.5:.2f}›",
        ]
    ],
)

# %% [markdown]
# So the thermometer catches a wrong noise. It is *blind* to weights: partial integration works within one well as well, as long as the density on its border is
# negligible. And the wrong energy shows no fever once its chains have relaxed in their wells. Only on arrival, while they still flow, is the reading no temperature at all.
# A right temperature is necessary, not sufficient.
#
# ### Step 10, noise 0.005
#
# A well-known image model uses $\eta = 10$ and $\nu = 0.005$ {cite}`du2019`, and much code has copied it. That is $T = 1.25\times10^{-6}$. What does such a chain
# sample? Two readings are possible.
#
# *The energy is of order one.* On our ring, with a step that its wells can stand, the chain falls into the nearest well and trembles there with a variance of $T\sigma^2$. It is a **mode finder**.
# To see what that does to weights, give one well ten times the weight of each other, $10/17$ of the total.


# %%
def ring_energy(scale, log_weights=0.0):
    """Energy of Gaussians of a given width and weights, up to a constant."""
    centres = torch.as_tensor(ring.centres)

    def energy(x):
        square = ((x[:, None] - centres.to(x)) ** 2).sum(-1)
        return -torch.logsumexp(log_weights - square / (2 * scale**2), dim=1)

    return energy


T_published = 0.005**2 / (2 * 10)
bonus = torch.log(torch.tensor([10.0] + [1.0] * 7, dtype=torch.float64))

# %% [markdown]
# Chains start from the trap. The variance in a harmonic well contains the bias of the step, {doc}`01_langevin_sampling`.

# %%
rng = np.random.default_rng([seed, 6])
x = torch.as_tensor(radius * rng.standard_normal((2000, 2)))
cold = langevin(
    ring_energy(sigma, bonus),
    x,
    step=step,
    noise=np.sqrt(2 * step * T_published),
    n_steps=400,
    seed=rng,
).numpy()
square = ((cold - ring.centres[sector(cold)]) ** 2).mean(1)
verify(
    "variance in a well, over that at temperature one",
    square.mean() / sigma**2,
    equals=T_published / (1 - step / (2 * sigma**2)),
    atol=5 * square.std() / sigma**2 / np.sqrt(len(x)),
    source="harmonic well, with the bias of the step",
)
verify(
    "the cold chain gives the heavy well less than half its weight",
    weights(cold)[0],
    at_most=10 / 17 / 2,
    source="weights of the mixture",
)

# %% [markdown]
# It reports *basins*: about one chain in eight finds the heavy well, which has $10/17$ of the weight.
#
# *The energy is tiny.* Divide {eq}`eq-ebm-langevin` through: a chain in $E$ with step $\eta$ and noise $\nu$ is, number by number, a chain in $E/T$ at temperature *one* with step
# $\eta T = \nu^2/2 = 1.25\times10^{-5}$. If training brought the chains to equilibrium, the network would learn $E = -T \log p$, flat to one part in a million, and the density would
# be $e^{-E/T}$. **A learned energy is a density only together with the temperature of its sampler.**

# %%
tiny = ring_energy(sigma)
settings = {"x": x, "n_steps": 60, "seed": seed}
published = langevin(
    lambda x: T_published * tiny(x), step=10, noise=0.005, **settings
)
plain = langevin(tiny, step=0.005**2 / 2, **settings)
verify(
    "step 10, noise 0.005 in T·E is step noise²/2 at temperature one in E",
    published.numpy(),
    equals=plain.numpy(),
    atol=1e-9,
    source="rescaling of energy and step, same random numbers",
)

# %% [markdown]
# But sixty steps, as are usual, do not bring it to equilibrium. In them this noise diffuses by $\sqrt{60}\,\nu = 0.04$, for pixels between $-1$ and 1. Everything else is the work of the
# slope. Such models are in this respect the short chains of the last section: good generators, whose energies need not be log-densities.

# %% [markdown]
# ## A way without chains
#
# {eq}`eq-ebm-gradient` needs samples because it contains $\log Z$. The **score** $\mathbf s(\mathbf x) = \nabla_{\mathbf x} \log p = -\nabla_{\mathbf x} E$ does not. So let us fit scores. We do not know the score of the data, but we know one
# after adding noise. Let $\mathbf y = \mathbf x + s\,\mathbf w$ with a datum $\mathbf x$ and normal $\mathbf w$; then $\nabla_{\mathbf y} \log p(\mathbf y | \mathbf x) = -\mathbf w/s$.
# *Denoising score matching* {cite}`vincent2011` minimises
#
# $$
# J = \tfrac12 \left\langle \left| s\, \mathbf s(\mathbf x + s\,\mathbf w) + \mathbf w \right|^2 \right\rangle .
# $$ (eq-ebm-score-matching)
#
# What is the best $\mathbf s$? At each $\mathbf y$ a mean square is least at the mean, $\mathbf s^*(\mathbf y) = -\langle \mathbf w \rangle_{p(\mathbf w | \mathbf y)}/s$. And with $q_s(\mathbf y) = \int q(\mathbf x)\, p(\mathbf y|\mathbf x)\, \mathrm d\mathbf x$,
# the data's density blurred by the noise,
#
# $$
# \nabla \log q_s(\mathbf y) = \frac{1}{q_s(\mathbf y)} \int q(\mathbf x)\, p(\mathbf y|\mathbf x)\, \nabla_{\mathbf y} \log p(\mathbf y|\mathbf x)\, \mathrm d\mathbf x
# = -\frac1s \langle \mathbf w \rangle_{p(\mathbf w|\mathbf y)} = \mathbf s^*(\mathbf y) ,
# $$ (eq-ebm-vincent)
#
# the exact score of the *blurred* data. Around its minimum $J$ is a parabola, and $\langle |\mathbf w|^2 \rangle = d$, so with the average $\langle\cdot\rangle_s$ over $q_s$
#
# $$
# J = \tfrac12 \left( d - s^2 \langle |\mathbf s^*|^2 \rangle_s \right) + \tfrac12 s^2\, \langle |\mathbf s - \mathbf s^*|^2 \rangle_s .
# $$ (eq-ebm-fisher)
#
# The last average is the *Fisher divergence*. Our ring, blurred, is again a ring, of width $\sqrt{\sigma^2 + s^2}$: everything here can be computed.


# %%
def fit_score(blur, n_updates=n_updates // 2):
    """Energy whose slope is trained by (eq-ebm-score-matching)."""
    model = DenseEnergy(2, radius=radius, seed=seed, device="cpu")
    adam = torch.optim.Adam(model.parameters(), lr=learning_rate)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1, 1e-3, n_updates)
    dice = torch.Generator().manual_seed(seed)
    data = torch.as_tensor(ring.train, dtype=torch.float32)
    for _ in range(n_updates):
        x = data[torch.randint(len(data), (batch_size,), generator=dice)]
        w = torch.randn(x.shape, generator=dice)
        adam.zero_grad()
        score_matching_loss(model, x, w, scale=blur).backward()
        adam.step()
        fall.step()
    return model


show_source(score_matching_loss)

# %% [markdown]
# The error of a score is a sum over the grid, weighted by the blurred density.

# %%
support = grid[np.abs(grid).max(1) < 4]


def score_error(energy, blur):
    """Fisher divergence and mean square of the exact score, on the grid."""
    width = np.hypot(sigma, blur)
    blurred = datasets.gaussian_ring(10, scale=width)
    q = np.exp(blurred.log_prob(support)) * cell
    x = torch.as_tensor(support)
    exact = input_gradient(ring_energy(width), x).numpy()
    slope = input_gradient(energy, x).numpy()
    return q @ ((slope - exact) ** 2).sum(1), q @ (exact**2).sum(1)


# %% [markdown]
# We train with noise of half of $\sigma$ and of twice $\sigma$.

# %%
blurs, scores, rows = (sigma / 2, 2 * sigma), {}, []
for blur in blurs:
    fitted = fit_score(blur)
    fisher, square = score_error(copy.deepcopy(fitted).double(), blur)
    blurred = datasets.gaussian_ring(10, scale=np.hypot(sigma, blur))
    verdict = judge(fitted, blurred.log_prob(grid))
    worst = np.abs(n_modes * verdict.weights - 1).max()
    relative = np.sqrt(fisher / square)
    scores[blur] = SimpleNamespace(
        model=fitted,
        fisher=fisher,
        square=square,
        relative=relative,
        worst=worst,
    )
    rows.append([blur, relative, verdict.kl, worst])
show_table(
    ["noise s", "error of the score", "KL (nats)", "worst error of a weight"],
    rows,
)

# %% [markdown]
# First the identity. We give $J$ the exact score, in fresh samples, and then compare the learned one with it, sample by sample.

# %%
rng = np.random.default_rng([seed, 8])
w = torch.as_tensor(rng.standard_normal((100_000, 2)))
blur, wide = blurs[1], scores[blurs[1]]
y_ = torch.as_tensor(ring.sample(len(w), rng)) + blur * w
exact_energy = ring_energy(np.hypot(sigma, blur))
J, J_learned = (
    ((w - blur * input_gradient(energy, y_)) ** 2).sum(1).numpy() / 2
    for energy in (exact_energy, copy.deepcopy(wide.model).double())
)
values = [J, J_learned - J]
verify(
    "J of the exact score, and what a learned score adds to it",
    [v.mean() for v in values],
    equals=[1 - blur**2 * wide.square / 2, blur**2 * wide.fisher / 2],
    atol=5 * np.std(values, axis=1) / np.sqrt(len(w)),
    source="quadrature of the exact score and of the Fisher divergence",
)

# %% [markdown]
# Then the result.

# %%
verify(
    "relative errors of the two scores, root mean square",
    [scores[b].relative for b in blurs],
    at_most=[0.2, 0.1],
    source="exact score of the blurred ring",
)

# %% [markdown]
# The scores are good to about a tenth, without a chain, in a few seconds. But look at the weights in the table: with little noise they can be far off, although the score is
# nearly right. Why?
#
# ### The score does not see weights
#
# Take two Gaussians at $\pm a$ of width one, with weights $w$ and $1-w$ in $p$, and one half each in $p'$. A score is $(\langle c \rangle - x)$, where $\langle c \rangle$ is the mean centre
# given $x$, so the scores differ by $2a\,\Delta r$, with $r = 1/(1 + e^{-2ax - \ell})$ the probability of the right centre, $\ell$ the log-odds of the weights. With $u = 2ax$ the Fisher divergence is
#
# $$
# F = \frac{2a\, e^{-a^2/2}}{\sqrt{2\pi}} \int e^{-u^2/8a^2} \left[ w\,e^{u/2} + (1-w)\,e^{-u/2} \right]
# \Delta r(u)^2\, \mathrm du \;\le\; C\, a\, e^{-a^2/2} ,
# $$ (eq-ebm-blind)
#
# where the first factor under the integral is at most one. $F$ dies with the density on the pass, while the divergence between $p$ and $p'$ stays.


# %%
def blindness(a, w=0.8):
    """KL, Fisher divergence and the bound of (eq-ebm-blind)."""
    x = np.linspace(-a - 12, a + 12, 40_001)
    right = np.log([[w], [0.5]]) - (x - a) ** 2 / 2
    left = np.log([[1 - w], [0.5]]) - (x + a) ** 2 / 2
    log_p = np.logaddexp(left, right) - np.log(2 * np.pi) / 2
    p, r = np.exp(log_p[0]), expit(right - left)
    u = np.linspace(-80, 80, 40_001)
    odds = np.log(w / (1 - w))
    change = (expit(u + odds) - expit(u)) ** 2
    area = (w * np.exp(u / 2) + (1 - w) * np.exp(-u / 2)) * change
    bound = 2 * a * np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    return (
        np.trapezoid(p * (log_p[0] - log_p[1]), x),
        np.trapezoid(p * (2 * a * (r[0] - r[1])) ** 2, x),
        bound * np.trapezoid(area, u),
    )


half_distance = np.linspace(0.5, 7, 27)
kl, fisher, bound = np.transpose([blindness(a) for a in half_distance])

# %% [markdown]
# Predict: which curve notices that the weights are wrong, and up to which distance?

# %% mystnb={"image": {"alt": "Logarithmic plot against half the distance of two wells. The Kullback-Leibler divergence rises to 0.19 and stays. The Fisher divergence falls below it like a Gaussian to ten to the minus nine, just under its bound. Two vertical lines mark the ring with little and with much noise."}, "figure": {"caption": "Two densities with mode weights 0.8 : 0.2 and 0.5 : 0.5. Vertical lines: distance of neighbours on our ring with the two noise levels.", "name": "fig-plane-blind"}}
fig, ax = plt.subplots(figsize=(6, 3))
ax.semilogy(half_distance, kl, "C0", label="KL divergence (nats)")
ax.semilogy(half_distance, fisher, "C1", label="Fisher divergence")
ax.semilogy(half_distance, bound, "k:", lw=1, label="bound")
for b in blurs:
    a = 2 * np.sin(np.pi / n_modes) / np.hypot(sigma, b)
    ax.axvline(a, color="0.6", lw=1)
    ax.text(a + 0.08, 2e-10, f"s = {b:g}", color="0.4")
ax.set(xlabel="half the distance, in widths", ylim=(1e-10, 10))
ax.legend()
plt.show()

# %% [markdown]
# At a distance of twelve widths nothing is left to see: a network could give the wells any weights, at no cost.

# %%
verify(
    "the Fisher divergence stays below its bound",
    fisher / bound,
    at_most=1,
    source="bound derived above",
)
far = half_distance == 6
verify(
    "divergence of far modes: that of their weights",
    kl[far],
    equals=0.8 * np.log(1.6) + 0.2 * np.log(0.4),
    atol=1e-6,
    source="closed form",
)

# %% [markdown]
# On our ring, what would the score say if one well had ten times its weight? And is that more than the error that the network makes anyway?

# %%
tenfold = []
for blur in blurs:
    energy = ring_energy(np.hypot(sigma, blur), bonus)
    fisher, square = score_error(energy, blur)
    tenfold.append(np.sqrt(fisher / square) / scores[blur].relative)
verify(
    "little noise: a tenfold weight changes the score less than our error",
    tenfold[0],
    at_most=1,
    source="exact scores, quadrature",
)
verify(
    "much noise: it changes the score more, and the weights come out right",
    [tenfold[1], 1 + 0.25 - scores[blurs[1]].worst],
    at_least=1,
    source="exact scores and sectors, quadrature",
)

# %% [markdown]
# More noise fills the pass, and the weights (of the blurred density) come out right to a quarter, as those of the chains did. So learn the scores at *many* noise levels, and sample from the largest to the smallest
# {cite}`song2019`: the large ones choose the well, the small ones sharpen it. That idea grew into diffusion models.
#
# All three methods of this lecture have the same blind spot, for the same reason: a chain that does not cross a pass, a virial and a score are all local.
#
# ## Break it
#
# **Drop the negative phase.** If the data should have low energies, why not simply lower them? Predict what fifty updates do to the energy of the data, and to their likelihood.

# %%
model = DenseEnergy(2, radius=radius, seed=seed, device="cpu")
adam = torch.optim.Adam(model.parameters(), lr=learning_rate)
x = torch.as_tensor(ring.train[:2000], dtype=torch.float32)
for _ in range(50):
    adam.zero_grad()
    value = model(x).mean()
    value.backward()
    adam.step()
e = energies(model, grid)
log_z = logsumexp(-e) + np.log(cell)  # of the box: a lower bound of log Z
show_table(
    ["mean energy of the data", "lowest energy in the box", "NLL at least"],
    [[value.item(), e.min(), value.item() + log_z]],
)
verify(
    "with the positive phase alone the data lose a hundred nats",
    value.item() + log_z,
    at_least=result.nll + 100,
    source="part of the integral of a positive function",
)

# %% [markdown]
# The energy of the data falls and falls, and that of the empty plane falls faster. A slope costs nothing when nobody stands at its foot to object. The density has moved
# to the far end of the trap.
#
# **Average instead of summing.** `input_gradient` sums the energies of a batch. Training code averages. Predict the temperature of a sampler that differentiates
# the mean energy of its 16 chains (errata, entry 18).


# %%
def averaged(x):
    return learned(x) / 16  # what differentiating the mean amounts to


rng = np.random.default_rng([seed, 9])
scorched = langevin(
    averaged, x_learned[:1600], step=0.1, n_steps=2000, seed=rng
)
total = 0
for _ in range(40):
    scorched = langevin(averaged, scorched, step=0.1, n_steps=10, seed=rng)
    total = total + reading(learned, scorched, 0.1 / 16) / 40
verify(
    "averaged over 16 chains, the temperature is 16",
    total.mean(),
    equals=16,
    atol=5 * total.std() / np.sqrt(len(total)),
    source="step 1/16, noise unchanged: noise²/(2 step)",
)

# %% [markdown]
# At temperature 16 the passes, 6.6 high, are no obstacle, and the chains spread over the trap. Larger batches are hotter. No line of code looks wrong.
#
# ## Exercises
#
# ::::{exercise} Another thermometer
# :label: ex-plane-configurational
# Which identity does {eq}`eq-ebm-virial` give for $\mathbf v = \nabla E$? The ratio is the *configurational temperature* {cite}`rugh1997,butler1998`. Check it, and the virial theorem, for the learned
# density by quadrature. Which of the two would you use for cold chains far from the origin?
# ::::
#
# ::::{solution-start} ex-plane-configurational
# :class: dropdown
# ::::
#
# $\langle |\nabla E|^2 \rangle = T\, \langle \Delta E \rangle$. The Laplacian needs second derivatives, one more pass for each dimension.

# %% tags=["solution"]
inside = result.log_p > -25
x = torch.as_tensor(grid[inside]).requires_grad_()
p = np.exp(result.log_p[inside]) * cell
double = copy.deepcopy(learned).double()
(slope_,) = torch.autograd.grad(double(x).sum(), x, create_graph=True)
second = [
    torch.autograd.grad(slope_[:, i].sum(), x, retain_graph=True)[0][:, i]
    for i in range(2)
]
laplacian = torch.stack(second).sum(0).numpy()
slope_, x = slope_.detach().numpy(), x.detach().numpy()
verify(
    "temperature of the learned density: configurational and virial",
    [
        p @ (slope_**2).sum(1) / (p @ laplacian),
        p @ (x * slope_).sum(1) / 2,
    ],
    equals=1,
    atol=1e-5,
    source="partial integration",
)

# %% [markdown]
# The virial scatters: at a distance $R$ from the origin by $R\,|\nabla E|$ per sample, $R\sqrt T/\sigma$ in a well. For $T \ll 1$ this exceeds its mean $2T$ by far. The other ratio knows no origin.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Free energies of wells
# :label: ex-plane-free
# The free energy of a well is $F_k = -\log \int_{\text{sector } k} e^{-E}\, \mathrm d\mathbf x$. Give the differences $F_k - \bar F$ for the models whose chains hop and do not, and compare with the
# height of the pass. Would you have seen them in the mean energies of the chains in each well?
# ::::
#
# ::::{solution-start} ex-plane-free
# :class: dropdown
# ::::
#
# $F_k = -\log w_k$ up to a constant. $F_k = \langle E \rangle_k - S_k$; the wells have the same shape, so the entropy $S_k$ hardly differs, and the mean
# energies differ by the same amounts: visible, if one knew that they should be equal.


# %% tags=["solution"]
free, free_frozen = (-np.log(v.weights) for v in (result, frozen_judge))
show_table(
    ["", "standard deviation of the F", "largest difference"],
    [
        ["chains that hop", free.std(), np.ptp(free)],
        ["chains that do not", free_frozen.std(), np.ptp(free_frozen)],
    ],
)
verify(
    "free energies scatter less by a factor of three where chains hop",
    free.std() / free_frozen.std(),
    at_most=1 / 3,
    source="quadrature over sectors; all are equal in the data",
)

# %% [markdown]
# Without hops they scatter by nats, with a pass of 6.6.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Narrower than the data
# :label: ex-plane-narrow
# Chains of step $\eta$ in a well of variance $v$ have the variance $v/(1-\eta/2v)$. If training makes *them* match the data, what is $v$? Compare the variance in the learned wells
# with that of the training data, within 0.6 of the centres.
# ::::
#
# ::::{solution-start} ex-plane-narrow
# :class: dropdown
# ::::
#
# From $v/(1-\eta/2v) = \sigma^2$ follows $v = \frac12\sigma^2\,(1 + \sqrt{1 - 2\eta/\sigma^2}) \approx \sigma^2 - \eta/2$. The variance of a batch of 512 points in two directions has a
# relative error of $1/\sqrt{512} = 4\,\%$. Training averages over many batches, but the network rounds the wells. We allow 4.5 %, which still excludes the data's own variance.


# %% tags=["solution"]
def well_variance(x, p):
    """Variance per direction around the centres, closer than 0.6."""
    square = ((x - ring.centres[sector(x)]) ** 2).sum(1) / 2
    return np.average(square, weights=p * (2 * square < 0.36))


narrow = well_variance(grid, np.exp(result.log_p))
verify(
    "variance in the wells, over that of the training data",
    narrow / well_variance(ring.train, np.ones(len(ring.train))),
    equals=(1 + np.sqrt(1 - 2 * step / sigma**2)) / 2,
    atol=0.045,
    source="variance of a discretised chain in a harmonic well",
)

# %% [markdown]
# The model is narrower because its chains are wider. It has learned the error of its sampler.
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# An energy needs a trap to be a density, samples of itself to be trained, and chains that cross every pass for the weights of its wells to mean anything: then eight wells are learned to within a few hundredths of a nat.
# Chains that stay in their wells, or run for a few steps only, teach an energy that samples well and is wrong, and neither a look at the samples nor their temperature tells. Score matching
# needs no chains, and does not see the weights of separate wells either, unless noise fills the passes.
#
# **Next:** the same for images, where no grid will help.
