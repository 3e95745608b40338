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
# normalised. Published models of images live with that: nobody knows their $Z$, and hardly anyone checks whether their chains
# sample what their energies claim. In two dimensions a grid answers every such question. So we train here first, where
# each popular shortcut can be caught.
#
# :::{admonition} Plan
# :class: tip
# **You will** train a network to be the energy of eight wells, judge it by quadrature, find that chains which do not hop teach
# it a wrong energy that samples well, repair them, take the temperature of a sampler, and learn an
# energy without any chain.
# **You need** {lecture}`2.1`; {lecture}`1.2` helps. **Time** an hour to read, a minute of CPU.
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
# exists: $f_\Theta$, made of matrices and SiLUs $u/(1+e^{-u})$ of slope at most 1.1, cannot change faster than some constant
# times the distance, and a parabola beats any straight line. (An exercise makes this a bound.)

# %%
show_source(DenseEnergy.forward)

# %% [markdown]
# Our data are eight Gaussians of width $\sigma = 0.2$ on a circle of radius 2, which is the trap's $R$ only by chance. Their entropy is known;
# without overlap it would be $\ln 8 + 1 + \ln 2\pi\sigma^2$. No density can have a smaller expected $-\log p$ on fresh data (the *negative log-likelihood*, NLL); the
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
# every point. Its divergence from the data's density $q$ is one more sum. A *mode* of the density is a *well* of the energy; its weight $p_k$ is the sum
# over a sector of the plane, cut half-way between neighbouring centres.

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
# $Z$ does not depend on $\mathbf x$ and drops out. Lectures and code have mixed up the two gradients; see entry 6 of the {doc}`../errata`.

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
# at $\alpha = 0$ gives {eq}`eq-ebm-gradient`. Its *value* measures no progress: for a perfect model it is zero, and for a network that
# has learned nothing, $f = 0$, it is $\langle|\mathbf x|^2\rangle_\text{data}/2R^2 - 1 \approx -\frac12$, lower. The second term with $\alpha > 0$ is a heuristic for images, which keeps energies near zero.
#
# Check this on an untrained network. A grid gives $\log Z$, and automatic differentiation of $\langle E \rangle + \log Z$ the exact gradient.
# %%
model = DenseEnergy(2, radius=radius, seed=seed, device="cpu").double()
coarse = np.linspace(-16, 16, 129)
points = np.stack(np.meshgrid(coarse, coarse), axis=-1).reshape(-1, 2)
points = torch.as_tensor(points)
x_data = torch.as_tensor(ring.train[:1000])
parameters = list(model.parameters())


def fresh(n, rng):
    """Points from the trap alone, exp(-|x|²/2R²)."""
    return (radius * rng.standard_normal((n, 2))).astype(np.float32)


def exact_nll():
    """⟨E⟩ + log Z, with Z from a wide, coarse grid: the trap is smooth."""
    log_z = torch.logsumexp(-model(points), 0) + 2 * np.log(0.25)
    return model(x_data).mean() + log_z


def flat_gradient(value):
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(value, parameters)]
    )


exact = flat_gradient(exact_nll())

# %% [markdown]
# Is it the slope of the likelihood? A finite difference in a random direction tells, without any derivative.

# %%
vector = torch.nn.utils.parameters_to_vector(parameters).detach()
direction = np.random.default_rng([seed, 10]).standard_normal(len(exact))
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
# Then samples, and {eq}`eq-ebm-gradient`. Random-walk Metropolis chains ({lecture}`1.1`) have no step error. Their gradients, in a hundred
# groups, have a mean and a standard error in any direction of the 4417 parameters. We look in fifty random ones.


# %%
n_groups, per_group = 100, 20
x, _ = sampling.metropolis(
    lambda x: -energies(model, x),
    fresh(n_groups * per_group, np.random.default_rng([seed, 11])),
    step=radius,
    n_steps=400,
    seed=np.random.default_rng([seed, 12]),
)
sampled = torch.stack(
    [
        flat_gradient(loss(model, x_data, group))
        for group in torch.as_tensor(x).split(per_group)
    ]
).numpy()
directions = np.random.default_rng([seed, 13]).standard_normal(
    (50, len(exact))
)
sampled, expected = (g @ directions.T for g in (sampled, exact.numpy()))
error = sampled.std(0, ddof=1) / np.sqrt(n_groups)
verify(
    "sampled less exact gradient, in standard errors",
    (sampled.mean(0) - expected) / error,
    equals=0,
    atol=5,
    source="quadrature",
)

# %% [markdown]
# ## Persistent chains
#
# As for Boltzmann machines we cannot wait for equilibrium after every update. A **replay buffer** keeps the chains
# {cite}`tieleman2008,du2019`: an update takes chains (ours, all of them), moves them by $n$ steps in the present energy, and puts them back,
#
# $$
# \mathbf x_c \leftarrow \left( n \text{ Langevin steps in } E_\Theta \right) \mathbf x_c , \qquad
# \Theta \leftarrow \Theta - \text{rate} \times \nabla_\Theta\, \text{loss} .
# $$ (eq-ebm-buffer)
#
# Published models also restart a few per cent of the chains from noise; ours restart none. The loop of `advml.pytorch.ebm.train`, without
# its options:
#
# ```python
# for rate in rates:
#     x_data = batch(data)
#     places, x = buffer.draw(batch_size)
#     x_model = langevin(energy, x, step=step, n_steps=n_steps)
#     buffer.store(places, x_model)
#     value = loss(energy, x_data, x_model)
#     adam_step(value, rate)
# ```
#
# Adam, without momentum, divides each component of the gradient by the root of its mean square. Step 0.004 makes the chains wider than $e^{-E}$ by the factor $1/(1-\eta/2\sigma^2)$ in variance, 5 %: the energy will learn to be narrower.
#
# **Predict** before you read on: after training, will the buffer hold the eight modes with equal weights? Will the density?

# %% [markdown]
# Our settings; all chains start from the trap alone.


# %%
def trained(make_callback=None, fresh_fraction=0.0, **changes):
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
        seed=[seed, 15],
    )
    if make_callback is not None:
        settings["callback"] = make_callback(buffer)
    settings.update(final_learning_rate=0, buffer=buffer, seed=[seed, 16])
    train(model, ring.train, **settings)
    return model, buffer


# %% [markdown]
# Train, and judge.

# %%
frozen, frozen_buffer = trained()
frozen_judge = judge(frozen)

# %% [markdown]
# Compare your prediction with chains and density.


# %% mystnb={"image": {"alt": "Left: chains of the buffer, eight equal round clouds on a circle. Middle: the learned log density, with some of the eight modes bright and others dark. Right: weights of the eight modes; those of the chains are near one eighth, those of the density differ by large factors."}, "figure": {"caption": "Persistent chains without restarts. Left: the chains at the end of training. Middle: logarithm of the density that the energy claims (dark: −8 or less). Right: weights of the modes.", "name": "fig-plane-frozen"}}
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
# The chains look perfect. The density is far off: its modes differ by factors. How can that be? Between neighbouring centres, $2a = 4 \sin(\pi/8)$ apart, the data's own energy has a
# pass of height
#
# $$
# \Delta E = \frac{a^2}{2\sigma^2} - \ln 2 \approx 6.6 .
# $$ (eq-ebm-barrier)
#
# (The $\ln 2$: on the pass two Gaussians add.) Kramers' law ({lecture}`2.1`), with the curvatures $1/\sigma^2$ of the well and $\kappa = a^2/\sigma^4 - 1/\sigma^2$ across the pass, gives
# a chain the rate $2 \cdot \sqrt{\kappa}\, e^{-\Delta E}/2\pi\sigma$ over its two passes. An update lasts $n\eta/\sigma^2 = \frac12$ of the relaxation time in a well. So a chain hops about *once in the whole training*:


# %%
def ring_energy(scale, log_weights=0.0):
    """Energy of Gaussians of a given width and weights, up to a constant."""
    centres = torch.as_tensor(ring.centres)

    def energy(x):
        square = ((x[:, None] - centres.to(x)) ** 2).sum(-1)
        return -torch.logsumexp(log_weights - square / (2 * scale**2), dim=1)

    return energy


a = 2 * np.sin(np.pi / 8)
barrier = a**2 / (2 * sigma**2) - np.log(2)
kappa = a**2 / sigma**4 - 1 / sigma**2
hops_per_time = 2 * np.sqrt(kappa) / sigma * np.exp(-barrier) / (2 * np.pi)
x = torch.as_tensor(ring.test[:4000])
later = langevin(ring_energy(sigma), x, step=step, n_steps=750, seed=seed)
hopped = (sector(later.numpy()) != sector(x.numpy())).mean()
verify(
    "hops in the data's energy over Kramers' law, to a factor of two",
    hopped / (hops_per_time * 750 * step),
    at_least=1 / 2,
    at_most=2,
    source="Kramers' law for small steps; here ηκ is of order one",
)

# %% [markdown]
# Early in training, when the landscape was flat, the chains spread over the modes. Then the passes rose and locked them in. From there on the gradient
# {eq}`eq-ebm-gradient` compares *numbers of chains* with numbers of data. If these agree, nothing pushes, whatever the relative depths of the wells. Noise does: with 512 chains and 512 data
# a mode counts $64 \pm 8$, and each update tilts the wells by such accidents. The chains would answer a tilt by hopping, but the next update comes a thousand times sooner. So the depths wander,
# and more updates at this rate do not help. What would help is a learning rate so small that the wells change more slowly than
# the chains hop, and that takes many times as many updates.
# **Training makes the sampler right, not the density.** Weights of wells between which chains hardly hop during the training are not determined in time.

# %%
verify(
    "height of the pass between two wells",
    np.diff(ring.log_prob([ring.centres[:2].mean(0), ring.centres[0]]))[0],
    equals=barrier,
    atol=1e-3,
    source="log density of the data",
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
# leave the density invariant: a restarted chain ends in the well whose *basin* it starts in (the points from which the slope
# leads there), whatever its weight. So let Metropolis and Hastings decide ({lecture}`2.1`). Offer a chain at $\mathbf x$ a
# fresh start $\mathbf x'$ from the trap alone, $g(\mathbf x') \propto e^{-|\mathbf x'|^2/2R^2}$, and accept it with probability
#
# $$
# A = \min\left(1,\; \frac{e^{-E(\mathbf x')}\, g(\mathbf x)}{e^{-E(\mathbf x)}\, g(\mathbf x')} \right)
# = \min\left(1,\; e^{f(\mathbf x) - f(\mathbf x')} \right) .
# $$ (eq-ebm-fresh)
#
# The trap cancels, and $Z$ with it. After each update every chain gets eight such offers. (Among images none would ever be accepted. There one has to lead
# chains over the passes, through a sequence of densities as in {lecture}`1.3`.)


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
# Everything else stays as it was, the number of updates too.

# %%
learned, buffer = trained(hopping)
result = judge(learned)

# %% [markdown]
# First the move itself: offers alone, in this energy, must end up in its density, whose $\langle|\mathbf x|^2\rangle$ the grid knows. (With the trap left in $f$ it would be lower by about 0.08.)

# %%
rng = np.random.default_rng([seed, 14])
x = torch.as_tensor(fresh(20_000, rng))
for _ in range(12):
    x = offer_fresh_starts(learned, x, rng)
square = (x.double() ** 2).sum(1).numpy()
p = np.exp(result.log_p) * cell
verify(
    "offers alone sample the density: mean of |x|²",
    square.mean(),
    equals=p @ (grid**2).sum(1),
    atol=5 * square.std() / np.sqrt(len(x)),
    source="quadrature",
)

# %% [markdown]
# Then the verdict, on the grid and on test data. There we compare $\log q - \log p$ point by point, with its own scatter.

# %%
verify(
    "negative log-likelihood at most the least possible plus 0.05 nats",
    result.nll,
    at_most=ring.entropy + 0.05,
    source="exact entropy of the data",
)
lost = ring.log_prob(ring.test) + energies(learned, ring.test) + result.log_z
verify(
    "divergence on test data, mean of log q - log p",
    lost.mean(),
    equals=result.kl,
    atol=5 * lost.std() / np.sqrt(len(lost)),
    source="quadrature; scatter over the test data",
)
rows = [
    [name, verdict.nll, verdict.kl, verdict.tv]
    for name, verdict in (
        ("chains that hop", result),
        ("chains that hardly do", frozen_judge),
    )
]
show_table(
    ["", "NLL (nats)", "KL (nats)", "total variation"],
    [["data's density", ring.entropy, 0.0, 0.0], *rows],
)

# %% [markdown]
# How far are the mode weights off? Coarse-graining cannot increase a divergence: that of the eight weights, $\operatorname{KL}(\frac18\,\Vert\,p_k)$, is at most that of
# the densities, for any model. During training the weights still wander around one eighth, by an amount that grows like the root of the learning rate, so that the divergence
# which they cost is proportional to the rate; letting it fall to zero freezes them there. Of our 0.05 nats they may take a fifth. That is an error of 14 % per weight.

# %%
weights_kl = kl_divergence(even, result.weights)
verify(
    "divergence of the mode weights at most that of the density",
    weights_kl,
    at_most=result.kl,
    source="data-processing inequality",
)
verify(
    "divergence of the mode weights at most a fifth of 0.05 nats",
    weights_kl,
    at_most=0.01,
    source="eight equal Gaussians",
)
verify(
    "with chains that hardly hop the weights alone cost more than 0.05 nats",
    kl_divergence(even, frozen_judge.weights),
    at_least=0.05,
    source="eight equal Gaussians",
)

# %% [markdown]
# The landscape itself, beside the true one.

# %% mystnb={"image": {"alt": "Left and middle: maps of the true and the learned log density, eight modes on a circle with similar height. Right: both energies along the circle of radius two; the learned curve follows the eight parabolas and has lower, rounded passes between them."}, "figure": {"caption": "Logarithm of the true and of the learned density (dark: −8 or less). Right: the energies −log p along the circle through the centres.", "name": "fig-plane-landscape"}}
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
# The wells agree. The learned passes are lower, unevenly, by up to a few units: hardly any data lie there, and the likelihood does not care. Far out the network knows only what its fresh starts told it:
# that nothing is there.
#
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
p_k = result.weights
verify(
    "the chains visit each mode with the weight that the density gives it",
    weights(x_learned.numpy()),
    equals=p_k,
    atol=5 * np.sqrt(p_k * (1 - p_k) / len(x_learned)),
    source="quadrature over sectors",
)

# %% [markdown]
# ## Short chains learn a wrong energy that samples well
#
# Image models often have neither buffer nor hops: every update starts its chains from noise and runs $K$ steps
# {cite}`nijkamp2019`. Here we do it with $K = 10$ and step 0.01. In a Langevin time of $K\eta = 0.1$ noise alone moves a point by $\sqrt{2K\eta} = 0.45$, so
# chains that start a distance of 2 away can only arrive if the *slope* carries them. (Half the updates, the rate and the batch are enough here.)

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
start = torch.as_tensor(fresh(4000, rng))
ten = langevin(hasty, start, **short, seed=rng)
alone, hops = {10: distance(ten.numpy())}, {10: distance(ten.numpy())}
stay, hop = ten, ten
for n in (20, 50, 100, 200, 500):
    rounds = (n - max(alone)) // 10
    stay = sample(hasty, stay, rounds, rng, offers=False, step=0.01)
    hop = sample(hasty, hop, rounds, rng, step=0.01)
    alone[n], hops[n] = distance(stay.numpy()), distance(hop.numpy())

# %% [markdown]
# Predict the shape of the two curves in the right panel.

# %% mystnb={"image": {"alt": "Four panels. Samples after ten steps: eight clouds of equal weight. The density: some modes bright, others dark. Samples after 500 steps with hops: unequal clouds. Right: total variation from the data against steps; small at ten steps, then rising to the value of the density where the chains hop."}, "figure": {"caption": "A model trained with ten-step chains. From left: its ten-step samples; its log density (dark: −8 or less); its samples after 500 steps with hops; distance from the data against steps.", "name": "fig-plane-short"}}
fig, axes = plt.subplots(1, 4, figsize=(7.8, 2.2), width_ratios=[1, 1, 1, 1.3])
for ax, cloud, title in (
    (axes[0], ten, "10 steps"),
    (axes[2], hop, "500 steps, hops"),
):
    ax.plot(*cloud[::2].T, ".", ms=1, alpha=0.5)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", title=title)
picture(axes[1], hasty_judge.log_p, "log density")
axes[3].semilogx(*zip(*hops.items(), strict=True), "o-", label="with hops")
axes[3].semilogx(*zip(*alone.items(), strict=True), "s-", label="Langevin")
axes[3].axhline(distance(grid, p_hasty), color="k", lw=1, ls="--")
axes[3].axhline(perfect, color="0.5", lw=1, ls=":")
axes[3].set(xlabel="steps", title="total variation", ylim=(0, 0.6))
axes[3].legend(fontsize=7, loc="upper left")
plt.show()

# %% [markdown]
# The dashed line is the density's own distance from the data, the dotted one that of perfect samples. After the $K$ steps of the training the samples are not perfect, but
# about as good as they get, and far better than the density. What was trained is a *flow*: ten steps downhill from noise, in which a well
# receives what its basin collects. That is a fine generator {cite}`nijkamp2019`, but $e^{-E}$ is not its density. Let the chains run longer, and hop, and
# they leave the data for what the energy says. Without hops they mostly relax inside the wells they fell into.
#
# How sure is that? Let $n$ samples come from a density with probabilities $P_i$ of the squares. Their total variation from it has a mean of at most $S = \frac12 \sum_i \sqrt{P_i(1-P_i)/n}$, the scatter of the counts.
# One sample more or less here or there changes it by $1/n$ at most, so it exceeds $S$ by $\sqrt{\ln 10^6/2n}$ with a probability below $10^{-6}$ (McDiarmid's inequality). The ten-step samples exceed
# that: they are *not* samples of $e^{-E}/Z$. Long chains with hops may, apart from their large step, which makes Gaussians wider by a factor $\rho$ in variance (last exercise).
# In the plane the total variation of two such Gaussians is $\rho^{-1/(\rho-1)}(1 - 1/\rho)$.

# %%
P = squares(grid, p_hasty)
n = len(start)
scatter = np.sqrt(P * (1 - P) / n).sum() / 2 + np.sqrt(np.log(1e6) / (2 * n))
rho = 2 / (1 + np.sqrt(1 - 2 * short["step"] / sigma**2))
widening = rho ** (-1 / (rho - 1)) * (1 - 1 / rho)
verify(
    "ten-step samples are further from the density than its samples can be",
    total_variation(squares(ten.numpy()), P),
    at_least=scatter,
    source="quadrature; McDiarmid's inequality",
)
verify(
    "chains that run longer, and hop, end up in the density",
    total_variation(squares(hop.numpy()), P),
    at_most=scatter + widening,
    source="quadrature; McDiarmid's inequality; width of a harmonic well",
)
verify(
    "ten-step samples are closer to the data than the density is",
    alone[10],
    at_most=distance(grid, p_hasty),
    source="quadrature",
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
# (The trap removes the boundary term.) With $\mathbf v = \mathbf x$ in $d$ dimensions this is the **virial theorem**, $\langle \mathbf x \cdot \nabla E \rangle = d\,T$. A chain with finite steps obeys it with a correction. Let a step be $\mathbf x' = \mathbf x - \eta \nabla E + s\, \mathbf w$
# with any noise $s$. Square it, average, and use that $\langle |\mathbf x|^2 \rangle$ no longer changes:
#
# $$
# \frac{\langle \mathbf x \cdot \nabla E \rangle}{d} - \frac{\eta}{2d}\, \langle |\nabla E|^2 \rangle = \frac{s^2}{2\eta} = T .
# $$ (eq-ebm-thermometer)
#
# This is exact for every $\eta$. On the right stands the temperature that you *set* ({lecture}`2.1`), on the left one that you *measure*. They agree if, and only if,
# $\langle |\mathbf x|^2 \rangle$ is stationary. We average along the chains; independent chains give the error.


# %%
def reading(model, x, step):
    """Left-hand side of (eq-ebm-thermometer), chain by chain."""
    slope = input_gradient(model, x)
    virial = (x * slope).sum(1) - step / 2 * (slope**2).sum(1)
    return virial.double().numpy() / x.shape[1]


def thermometer(model, x, temperature, rng, step=step):
    """Mean reading and its standard error, after 300 steps."""
    settings = {"step": step, "noise": np.sqrt(2 * step * temperature)}
    x = langevin(model, x, n_steps=300, seed=rng, **settings)
    total = 0
    for _ in range(40):
        x = langevin(model, x, n_steps=10, seed=rng, **settings)
        total = total + reading(model, x, step)
    return total.mean() / 40, total.std() / 40 / np.sqrt(len(x))


# %% [markdown]
# We set four temperatures in the learned energy. $T = \frac12$ is what noise $\sqrt\eta$ for $\sqrt{2\eta}$ makes (entry 4 of the {doc}`../errata`). Then three tricky ones at $T = 1$: a *step* four times as large,
# all chains started in a *single* well, and chains in the *wrong* energy of the last section.

# %%
rng = np.random.default_rng([seed, 5])
x = x_learned[:1500]
set_to = np.array([0.1, 0.5, 1.0, 2.0])
measured = [thermometer(learned, x, t, rng) for t in set_to]
one_well = x[torch.as_tensor(sector(x.numpy()) == 0)].repeat(4, 1)
measured += [
    thermometer(learned, x, 1.0, rng, step=4 * step),
    thermometer(learned, one_well, 1.0, rng),
    thermometer(hasty, stay[:1500], 1.0, rng),
]
measured = np.array(measured)
names = [
    *(f"T = {t:g}" for t in set_to),
    "step × 4",
    "one well",
    "wrong energy",
]
set_to = np.append(set_to, [1.0, 1.0, 1.0])

# %% [markdown]
# Which of the seven will be off?

# %% mystnb={"image": {"alt": "Measured temperature over set temperature with error bars. All seven points lie near the line at one, within about twice their errors, also those for a large step, a single well and the wrong energy."}, "figure": {"caption": "Temperature measured from samples, divided by the one that was set.", "name": "fig-plane-temperature"}}
fig, ax = plt.subplots(figsize=(6.5, 2.6))
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
    ],
)

# %% [markdown]
# So the thermometer catches a wrong noise. (Differentiate the *mean* energy of a batch of 16 and it reads 16; {lecture}`2.1`, and entry 18 of the {doc}`../errata`.) It is *blind* to weights: partial integration works within one well as well, as long as the density on its border is
# negligible. And the wrong energy shows no fever once its chains have relaxed in their wells. While they still *flow*, the same algebra gives
#
# $$
# \text{reading} = T - \frac{\langle |\mathbf x'|^2 \rangle - \langle |\mathbf x|^2 \rangle}{2\eta d} ,
# $$ (eq-ebm-fever)
#
# no temperature: from noise, $\langle|\mathbf x|^2\rangle = 8$, to the data, 4, in ten steps of 0.01 its mean is about $1 + 4/(2 \cdot 10 \cdot 0.01 \cdot 2) = 11$.

# %%
x = torch.as_tensor(fresh(20_000, rng))
first, readings = (x**2).sum(1), []
for _ in range(10):
    readings.append(reading(hasty, x, 0.01))
    x = langevin(hasty, x, step=0.01, n_steps=1, seed=rng)
shrunk = (first - (x**2).sum(1)).double().numpy() / (2 * 10 * 0.01 * 2)
fever = np.mean(readings, axis=0)
verify(
    "mean reading of chains that flow from noise to the data",
    fever.mean(),
    equals=1 + shrunk.mean(),
    atol=5 * (fever - shrunk).std() / np.sqrt(len(x)),
    source="one, and what the cloud has shrunk",
)
show_table(
    ["steps from noise", "reading"],
    [[k, f"‹{readings[k].mean():.2f}›"] for k in (0, 2, 5, 9)],
)

# %% [markdown]
# The fever is over when the cloud stands still, right or wrong. A right temperature is necessary, not sufficient.
#
# ### Step 10, noise 0.005
#
# A well-known image model uses $\eta = 10$ and $s = 0.005$ {cite}`du2019`, and much code has copied it. That is $T = 1.25\times10^{-6}$ (as long as its clipping of the slope, at 0.01, does not act).
# If the energy were of order one, such a chain would only fall to the bottom of a well (an exercise). The other reading: the energy is *tiny*. Since $\eta \nabla E = (\eta T)\, \nabla (E/T)$ and $s = \sqrt{2\,(\eta T)}$,
# a chain in $E$ with step $\eta$ and noise $s$ is, number by number, a chain in $E/T$ at temperature *one* with step
# $\eta T = s^2/2 = 1.25\times10^{-5}$. If training brought the chains to equilibrium, the network would learn $E = -T \log p$, flat to one part in a million, and the density would
# be $e^{-E/T}$. **A learned energy is a density only together with the temperature of its sampler.**

# %%
T_published = 0.005**2 / (2 * 10)
ring_e = ring_energy(sigma)
settings = {"x": torch.as_tensor(ring.test[:2000]), "n_steps": 60}
published = langevin(
    lambda x: T_published * ring_e(x),
    step=10,
    noise=0.005,
    seed=seed,
    **settings,
)
plain = langevin(ring_e, step=0.005**2 / 2, seed=seed, **settings)
verify(
    "step 10, noise 0.005 in T·E is step noise²/2 at temperature one in E",
    published.numpy(),
    equals=plain.numpy(),
    atol=1e-9,
    source="rescaling of energy and step, same random numbers",
)

# %% [markdown]
# But sixty steps per update, as are usual, do not bring it to equilibrium. In them this noise diffuses by $\sqrt{60}\,s = 0.04$, and by 0.17 in the 1200 steps that a chain of the buffer
# lives on average if 5 % are restarted in each update, for pixels between 0 and 1. The rest is the work of the slope. Like the
# model of the short chains above, such a model can be a good generator, although its energy need not be a log-density.

# %% [markdown]
# ## A way without chains
#
# {eq}`eq-ebm-gradient` needs samples because it contains $\log Z$. The **score** $\nabla_{\mathbf x} \log p = -\nabla_{\mathbf x} E$ does not. So let us fit slopes. We do not know the score of the data, but we know one
# after adding noise. Let $\mathbf y = \mathbf x + b\,\mathbf w$ with a datum $\mathbf x$, normal $\mathbf w$ and a *blur* $b$; then $\nabla_{\mathbf y} \log p(\mathbf y | \mathbf x) = -\mathbf w/b$.
# *Denoising score matching* {cite}`vincent2011` minimises
#
# $$
# J = \tfrac12 \left\langle \left| \mathbf w - b\, \nabla E(\mathbf x + b\,\mathbf w) \right|^2 \right\rangle .
# $$ (eq-ebm-score-matching)
#
# What is the best slope? At each $\mathbf y$ a mean square is least at the mean, $b\,\nabla E^*(\mathbf y) = \langle \mathbf w \rangle_{p(\mathbf w | \mathbf y)}$. And with $q_b(\mathbf y) = \int q(\mathbf x)\, p(\mathbf y|\mathbf x)\, \mathrm d\mathbf x$,
# the data's density blurred by the noise,
#
# $$
# \begin{aligned}
# \nabla \log q_b(\mathbf y)
# &= \frac{1}{q_b(\mathbf y)} \int q(\mathbf x)\, p(\mathbf y|\mathbf x)\, \nabla_{\mathbf y} \log p(\mathbf y|\mathbf x)\, \mathrm d\mathbf x \\
# &= -\frac1b \langle \mathbf w \rangle_{p(\mathbf w|\mathbf y)} = -\nabla E^*(\mathbf y) ,
# \end{aligned}
# $$ (eq-ebm-vincent)
#
# the exact score of the *blurred* data. Write $\mathbf w - b\nabla E = (\mathbf w - b\nabla E^*) - b\,(\nabla E - \nabla E^*)$ and square. The cross term vanishes, because the first bracket has mean zero at each $\mathbf y$.
# For the same reason $\langle |\mathbf w - b\nabla E^*|^2 \rangle = \langle |\mathbf w|^2 \rangle - b^2 \langle |\nabla E^*|^2 \rangle$, and $\langle |\mathbf w|^2 \rangle = d$. So with the average $\langle\cdot\rangle_b$ over $q_b$
#
# $$
# J = \tfrac12 \left( d - b^2 \langle |\nabla E^*|^2 \rangle_b \right) + \tfrac12 b^2\, \langle |\nabla E - \nabla E^*|^2 \rangle_b .
# $$ (eq-ebm-fisher)
#
# The last average is the *Fisher divergence*. Our ring, blurred, is again a ring, of width $\sqrt{\sigma^2 + b^2}$: everything here can be computed.


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
# We train with a blur of half of $\sigma$ and of twice $\sigma$. (The last column: relative error of the worst of the eight weights.)

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
        weights=verdict.weights,
    )
    rows.append([blur, relative, verdict.kl, worst])
show_table(
    ["blur b", "error of the score", "KL to blurred data", "worst weight"],
    rows,
)

# %% [markdown]
# First the identity, on fresh samples: for the exact score, and for one that is wrong in a known way, of a ring whose variance is a quarter too large.

# %%
rng = np.random.default_rng([seed, 8])
w = torch.as_tensor(rng.standard_normal((100_000, 2)))
blur = blurs[1]
y = torch.as_tensor(ring.sample(len(w), rng)) + blur * w
width = np.hypot(sigma, blur)
wrong = ring_energy(width * 1.25**0.5)
J, J_wrong = (
    ((w - blur * input_gradient(energy, y)) ** 2).sum(1).numpy() / 2
    for energy in (ring_energy(width), wrong)
)
fisher, square = score_error(wrong, blur)
values = [J, J_wrong - J]
verify(
    "J of the exact score, and what a wrong score adds to it",
    [v.mean() for v in values],
    equals=[1 - blur**2 * square / 2, blur**2 * fisher / 2],
    atol=5 * np.std(values, axis=1) / np.sqrt(len(w)),
    source="quadrature of the exact score and of the Fisher divergence",
)

# %% [markdown]
# Then the result. A score should be no worse than the exact score of a ring with the variance wrong by a quarter (little blur) or by a tenth (much).

# %%
allowed = []
for blur, ratio in zip(blurs, (1.25, 1.1), strict=True):
    wrong = ring_energy(np.hypot(sigma, blur) * ratio**0.5)
    fisher, square = score_error(wrong, blur)
    allowed.append(np.sqrt(fisher / square))
verify(
    "relative errors of the two scores, root mean square",
    [scores[b].relative for b in blurs],
    at_most=allowed,
    source="quadrature: exact scores of rings that are too wide",
)

# %% [markdown]
# The scores are good to about a tenth, without a chain. But look at the weights in the table: with little blur they can be far off. Why?
#
# ### The score does not see weights
#
# Take two Gaussians on a line, at $\pm a$, of width one, with weights $p_+$ and $p_-$ in $p$, and one half each in $p'$. A score is (mean centre given $x$) $- x$, and the mean centre is $a\,(2r - 1)$,
# with $r_\ell(x) = 1/(1 + e^{-2ax - \ell})$ the probability of the right centre and $\ell = \ln p_+/p_-$. So the scores differ by $2a\,\Delta r$, with $\Delta r = r_\ell - r_0$. Substitute $u = 2ax$ in
# $p(x) = e^{-a^2/2 - x^2/2}\, [p_+ e^{ax} + p_- e^{-ax}]/\sqrt{2\pi}$. The Fisher divergence is
#
# $$
# F = \frac{2a\, e^{-a^2/2}}{\sqrt{2\pi}} \int e^{-u^2/8a^2} \left[ p_+ e^{u/2} + p_- e^{-u/2} \right]
# \Delta r(u)^2\, \mathrm du \;\le\; C\, a\, e^{-a^2/2} ,
# $$ (eq-ebm-blind)
#
# where the first factor under the integral is at most one, and $C$ is finite because $\Delta r^2$ falls like $e^{-2|u|}$. $F$ dies with the density on the pass, while the divergence between $p$ and $p'$ stays.


# %%
def blindness(a, right=0.8):
    """KL, Fisher divergence and the bound of (eq-ebm-blind)."""
    x = np.linspace(-a - 12, a + 12, 40_001)
    plus = np.log([[right], [0.5]]) - (x - a) ** 2 / 2
    minus = np.log([[1 - right], [0.5]]) - (x + a) ** 2 / 2
    log_p = np.logaddexp(minus, plus) - np.log(2 * np.pi) / 2
    p, r = np.exp(log_p[0]), expit(plus - minus)
    u = np.linspace(-80, 80, 40_001)
    odds = np.log(right / (1 - right))
    change = (expit(u + odds) - expit(u)) ** 2
    area = right * np.exp(u / 2) + (1 - right) * np.exp(-u / 2)
    area = area * change
    bound = 2 * a * np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    return (
        np.trapezoid(p * (log_p[0] - log_p[1]), x),
        np.trapezoid(p * (2 * a * (r[0] - r[1])) ** 2, x),
        bound * np.trapezoid(area, u),
    )


half_distance = np.linspace(0.5, 7, 27)
kl, fisher, bound = np.transpose([blindness(a) for a in half_distance])

# %% [markdown]
# Predict: which curve notices that the weights are wrong, and up to which distance? The dots are the Fisher divergences that our two *networks* have from their exact scores.

# %% mystnb={"image": {"alt": "Logarithmic plot against half the distance of two wells. The Kullback-Leibler divergence rises to 0.19 and stays. The Fisher divergence falls below it like a Gaussian, just under its bound, and leaves the plot below ten to the minus ten. Two vertical lines mark the ring with little and with much blur; the dot of the network with little blur lies above the Fisher curve, that with much blur below it."}, "figure": {"caption": "Two densities with mode weights 0.8 : 0.2 and 0.5 : 0.5. Vertical lines: half the distance of neighbours on our ring with the two blurs. Dots: error of our networks, in the unit of the Fisher divergence, one over width squared.", "name": "fig-plane-blind"}}
fig, ax = plt.subplots(figsize=(6, 3))
ax.semilogy(half_distance, kl, "C0", label="KL divergence (nats)")
ax.semilogy(half_distance, fisher, "C1", label="Fisher divergence (1/width²)")
ax.semilogy(half_distance, bound, "k:", lw=1, label="its bound")
for b in blurs:
    width = np.hypot(sigma, b)
    a = 2 * np.sin(np.pi / n_modes) / width
    ax.axvline(a, ymax=0.88, color="0.6", lw=1)
    ax.plot(a, scores[b].fisher * width**2, "ko", ms=5)
    ax.text(a + 0.08, 2e-10, f"b = {b:g}", color="0.4")
ax.set(xlabel="half the distance, in widths", ylim=(1e-10, 1e3))
ax.legend(loc="upper center", ncols=3, fontsize=8)
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
# On our ring, what would the score say if one well had ten times its weight? Compare with the errors of the networks in the table.

# %%
bonus = torch.log(torch.tensor([10.0] + [1.0] * 7, dtype=torch.float64))
tenfold = []
for blur in blurs:
    energy = ring_energy(np.hypot(sigma, blur), bonus)
    fisher, square = score_error(energy, blur)
    tenfold.append(np.sqrt(fisher / square))
verify(
    "little blur: a tenfold weight changes the score by less than 1/20",
    tenfold[0],
    at_most=1 / 20,
    source="exact scores, quadrature",
)
verify(
    "much blur: it changes the score by more than a third",
    tenfold[1],
    at_least=1 / 3,
    source="exact scores, quadrature",
)
verify(
    "so the weights come out: they cost less than 0.05 nats",
    kl_divergence(even, scores[blurs[1]].weights),
    at_most=0.05,
    source="eight equal Gaussians",
)

# %% [markdown]
# More blur fills the pass, and the weights (of the blurred density) come out to within our 0.05 nats. So learn the scores at *many* blurs, and sample from the largest to the smallest
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
    model(x).mean().backward()
    adam.step()
e = energies(model, grid)
log_z = logsumexp(-e) + np.log(cell)  # of the box: a lower bound of log Z
value = energies(model, ring.train[:2000]).mean()
show_table(
    ["mean energy of the data", "lowest in the box", "NLL at least"],
    [[value, e.min(), value + log_z]],
)
verify(
    "with the positive phase alone the data lose a hundred nats",
    value + log_z,
    at_least=result.nll + 100,
    source="part of the integral of a positive function",
)

# %% [markdown]
# The energy of the data falls and falls, and that of the empty plane falls faster. A slope costs nothing when nobody stands at its foot to object. The density has left
# the box altogether (look: `grid[e.argmin()]` is one of its corners). The trap stops a slope $\Lambda$ only at $r = \Lambda R^2$, here thousands
# of units away; so the likelihood is far worse still than the bound in the table.
#
# ## Exercises
#
# ::::{exercise} Another thermometer
# :label: ex-plane-configurational
# Which identity does {eq}`eq-ebm-virial` give for $\mathbf v = \nabla E$? The ratio of the two averages is the *configurational temperature* {cite}`rugh1997,butler1998`. Check it, and the virial theorem, for the learned
# density by quadrature. (Second derivatives: `create_graph=True` in the first.) Which of the two would you use for cold chains far from the origin?
# ::::
#
# ::::{solution-start} ex-plane-configurational
# :class: dropdown
# ::::
#
# $\langle |\nabla E|^2 \rangle = T\, \langle \nabla^2 E \rangle$. The Laplacian needs second derivatives, one more pass for each dimension.

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
# The virial scatters: at a distance $r$ from the origin by $r\,|\nabla E|$ per sample, $r\sqrt T/\sigma$ in a well. For $T \ll 1$ this exceeds its mean $2T$ by far. The other ratio knows no origin.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Is the integral really one?
# :label: ex-plane-tail
# The judge trusts a box of side 16. Layers with spectral norms $\lambda_l$ (largest singular values) and SiLUs of slope at most 1.1 give $f(\mathbf x) \ge f(\mathbf 0) - \Lambda |\mathbf x|$ with $\Lambda = 1.1^2 \lambda_1 \lambda_2 \lambda_3$.
# Bound the integral of $e^{-E}$ beyond a radius $\rho > 2\Lambda R^2$. Then go there from 8, in polar coordinates.
# ::::
#
# ::::{solution-start} ex-plane-tail
# :class: dropdown
# ::::
#
# $$
# \int_{|\mathbf x| > \rho} e^{-E}\, \mathrm d\mathbf x \;\le\;
# 2\pi\, e^{-f(\mathbf 0)} \int_\rho^\infty r\, e^{\Lambda r - r^2/2R^2}\, \mathrm dr
# \;\le\; 2\pi\, e^{-f(\mathbf 0)}\, \rho\, e^{\Lambda\rho - \rho^2/2R^2} ,
# $$ (eq-ebm-tail)
#
# because the exponent falls by more than $\Lambda$ per unit length (if $\Lambda \ge 2$). And every second point of the grid must give the same $\log Z$.

# %% tags=["solution"]
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
show_table(
    ["radius ρ", "from 8 to ρ", "log of the bound beyond"],
    [[rho, outside, log_tail]],
)
verify(
    "integral of the density: half the points, and what lies outside",
    [np.exp(half), 1 + outside + np.exp(log_tail)],
    equals=1,
    atol=1e-4,
    source="refinement of the grid; rays; Lipschitz bound of the tail",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} A cold chain
# :label: ex-plane-cold
# Run chains at $T = 1.25\times10^{-6}$, with step 0.016, from the trap, in the energy of a ring where one well has the weight $10/17$ and the others $1/17$. Predict the variance in the wells and the share of the heavy one.
# ::::
#
# ::::{solution-start} ex-plane-cold
# :class: dropdown
# ::::
#
# They fall into the nearest well and tremble there with a variance of $T\sigma^2/(1-\eta/2\sigma^2)$: *mode finders*.

# %% tags=["solution"]
rng = np.random.default_rng([seed, 6])
cold_step = 0.016
cold = langevin(
    ring_energy(sigma, bonus),
    torch.as_tensor(radius * rng.standard_normal((2000, 2))),
    step=cold_step,
    noise=np.sqrt(2 * cold_step * T_published),
    n_steps=400,
    seed=rng,
).numpy()
square = ((cold - ring.centres[sector(cold)]) ** 2).mean(1)
verify(
    "variance in a well, over that at temperature one",
    square.mean() / sigma**2,
    equals=T_published / (1 - cold_step / (2 * sigma**2)),
    atol=5 * square.std() / sigma**2 / np.sqrt(len(cold)),
    source="harmonic well, with the bias of the step",
)
verify(
    "the cold chain gives the heavy well less than half its weight",
    weights(cold)[0],
    at_most=10 / 17 / 2,
    source="weights of the mixture",
)

# %% [markdown]
# They report *basins*: about one chain in eight finds the heavy well.
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
# From $v/(1-\eta/2v) = \sigma^2$ follows $v = \frac12\sigma^2\,(1 + \sqrt{1 - 2\eta/\sigma^2}) \approx \sigma^2 - \eta/2$. Since we cut at 0.6, we compare with the quadrature of a ring of this $v$, cut likewise.
# The learned wells are not quite harmonic; we ask for the effect to a factor of two.


# %% tags=["solution"]
def well_variance(x, p):
    """Variance per direction around the centres, closer than 0.6."""
    square = ((x - ring.centres[sector(x)]) ** 2).sum(1) / 2
    return np.average(square, weights=p * (2 * square < 0.36))


v = sigma**2 * (1 + np.sqrt(1 - 2 * step / sigma**2)) / 2
thin = datasets.gaussian_ring(10, scale=np.sqrt(v))
predicted, exact, narrow = (
    well_variance(grid, np.exp(log_p))
    for log_p in (thin.log_prob(grid), log_q, result.log_p)
)
narrow = narrow / well_variance(ring.train, np.ones(len(ring.train)))
verify(
    "how much narrower the wells are, over the prediction",
    (1 - narrow) / (1 - predicted / exact),
    at_least=1 / 2,
    at_most=2,
    source="variance of a discretised chain in a harmonic well; quadrature",
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
# Chains that stay in their wells, or run for a few steps only, teach an energy that samples well and is wrong, and neither the samples nor their temperature tell. Score matching
# needs no chains, and does not see the weights of separate wells either, unless noise fills the passes.
#
# **Next:** {lecture}`2.4` does the same for images, where no grid will help.
