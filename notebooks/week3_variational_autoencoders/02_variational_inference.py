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
# # Bound a likelihood that you cannot integrate
#
# A free energy is hard, a bound on it is easy. Take any trial distribution, compute its mean energy and its entropy: what you get
# is an upper bound on the free energy, and the trial with the lowest bound is the best that its family has. Physicists have
# done this for a century and call it mean-field theory. A variational autoencoder does the same, once for each image, with a network
# that proposes the trial. We study it on models so small that the exact answer is a sum, an integral, or a formula.
#
# :::{admonition} Plan
# :class: tip
# **You will** derive the evidence lower bound step by step and check each step; find the two ways to differentiate an average, and
# predict how noisy each is; tighten the bound with importance weights; and solve a variational autoencoder exactly, phase transition
# included.
# **You need** entropy, Gaussian integrals, and principal components ({lecture}`3.1`).
# **Time** an hour to read, 20 s of CPU.
# :::

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import entr
from sklearn.decomposition import PCA
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from advml import ising
from advml.checks import verify
from advml.datasets import digits
from advml.display import show_source, show_table
from advml.likelihood import (
    evidence_on_grid,
    exact_importance_weighted_bound,
    gaussian_log_density,
    importance_weighted_bound,
    latent_grid,
)
from advml.metrics import gaussian_kl, jensen_shannon, kl_divergence

plt.style.use("advml.course")
torch.set_num_threads(1)  # these matrices are too small to share out

# %% tags=["parameters"]
seed = 0
n_draws = 200_000

# %% [markdown]
# ## The variational principle you know
#
# Let $p(s) = e^{-E(s)/T}/Z$, and let $q$ be any other distribution of the same states. Put $\log p = -E/T - \log Z$ into the
# **Kullback–Leibler divergence** {cite}`kullback1951`,
#
# $$
# \operatorname{KL}(q\,\Vert\,p) = \Bigl\langle \log\frac{q(s)}{p(s)} \Bigr\rangle_q
# = -S_q + \frac{\langle E\rangle_q}{T} + \log Z \;\ge\; 0,
# $$ (eq-kl)
#
# with the entropy $S_q = -\langle\log q\rangle_q$. It is never negative, because $-\log u \ge 1 - u$ gives
# $\langle -\log (p/q)\rangle_q \ge 1 - \langle p/q\rangle_q \ge 0$. Solve for $\log Z$:
#
# $$
# \log Z \;\ge\; S_q - \frac{\langle E\rangle_q}{T}, \qquad \text{that is} \qquad F \le \langle E\rangle_q - T S_q .
# $$ (eq-gibbs-bogoliubov)
#
# This is the inequality of Gibbs, Bogoliubov and Feynman {cite}`feynman1955`. What is lost is exactly $\operatorname{KL}(q\,\Vert\,p)$,
# and nobody needs $Z$ to evaluate the right-hand side.
#
# **Mean field.** Let the spins of an Ising torus be independent in $q$, each with mean $m$. Then
# $\langle s_i s_j\rangle_q = m^2$ on each of the $2N$ bonds, and
#
# $$
# \log Z \ge N\Bigl[\frac{2m^2}{T} + s(m)\Bigr], \qquad
# s(m) = -\sum_\pm \tfrac{1\pm m}{2}\log\tfrac{1\pm m}{2} .
# $$ (eq-mean-field)
#
# Its stationary points obey $m = \tanh(4m/T)$: always $m = 0$, and below $T = 4$ two more branches. On the $4\times4$ torus
# $\log Z$ is known exactly ({doc}`../week1_boltzmann_machines/01_statistical_mechanics_and_markov_chains`).


# %%
def mean_field_bound(m, temperature):
    """Bound on log Z of the 4×4 torus (eq-mean-field)."""
    entropy = entr((1 + m) / 2) + entr((1 - m) / 2)
    return 16 * (2 * m**2 / temperature + entropy)


temperatures = np.linspace(1, 6, 101)
exact = np.array([ising.log_partition(4, t) for t in temperatures])
m = np.ones(101)
for _ in range(1000):
    m = np.tanh(4 * m / temperatures)  # falls to the upper branch
ordered = mean_field_bound(m, temperatures)
disordered = mean_field_bound(0 * m, temperatures)

# %% [markdown]
# Both branches must lie below the truth, and the gap must be the divergence, which we sum over all 65 536 states.

# %%
verify(
    "both mean-field branches lie below the exact log Z",
    np.concatenate([exact - ordered, exact - disordered]),
    at_least=0,
    source="Gibbs-Bogoliubov inequality; Kaufman (1949)",
)
states = ising.all_configurations(4)
up = (states.reshape(-1, 16) > 0).sum(axis=1)
log_p = -ising.energy(states) / 2 - ising.log_partition(4, 2.0)
magnetisation = m[20]  # at T = 2
q = ((1 + magnetisation) / 2) ** up * ((1 - magnetisation) / 2) ** (16 - up)
verify(
    "log Z minus the bound is KL(q‖p), at T = 2",
    exact[20] - ordered[20],
    equals=kl_divergence(q, np.exp(log_p)),
    atol=1e-9,
    source="sum over all states",
)

# %% [markdown]
# The gap tells more than the curve.

# %% mystnb={"image": {"alt": "Left: log Z per spin against temperature. The exact curve lies above both mean-field branches, which split at T = 4. Right: the gap of the bound; the ordered branch starts at ln 2 on the left, has its maximum of 1.3 nats near T = 3.3 and joins the other branch at 4."}, "figure": {"caption": "Mean-field theory as a variational bound, on the 4 × 4 torus. Left: log Z per spin and its two bounds. Right: what the bounds lose, for all 16 spins; the dotted line is ln 2.", "name": "fig-mean-field-bound"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3))
axes[0].plot(temperatures, exact / 16, "k", label="exact")
axes[1].axhline(np.log(2), color="0.5", ls=":", lw=1)
for bound, name in ((ordered, "$m > 0$"), (disordered, "$m = 0$")):
    line = axes[0].plot(temperatures, bound / 16, label=name)
    axes[1].plot(temperatures, exact - bound, color=line[0].get_color())
axes[0].set(xlabel="temperature $T$", ylabel=r"$\log Z$ per spin")
axes[1].set(xlabel="temperature $T$", ylabel="gap (nats)", ylim=(0, 4))
axes[0].legend()
plt.show()

# %% [markdown]
# Mean field orders at $T = 4$, the infinite lattice at 2.27 and a finite torus never; between the first two, near 3.3, the
# bound is worst. Look at the left end: why does the gap tend to $\ln 2$ and not to zero? The magnet has two phases, up and
# down, each with probability one half. The trial sits in one of them, where $q/p = 2$. (Single flips cost $e^{-8}$ at $T = 1$,
# and independent spins can have them. Two flipped neighbours cost $e^{-12}$, but $e^{-16}$ if independent: these 32 pairs are
# what the trial misses there.)

# %%
verify(
    "at T = 1 the gap is ln 2: the trial sits in one of two phases",
    exact[0] - ordered[0],
    equals=np.log(2),
    atol=1e-3,
    source="two equal phases; corrections of order 32 exp(-12)",
)

# %% [markdown]
# ## The divergence is not symmetric
#
# This preference for one phase is built into $\operatorname{KL}(q\,\Vert\,p)$, which averages over the *trial*: it punishes $q$ where
# $p$ is small, and does not mind regions that $q$ never visits. The other order, $\operatorname{KL}(p\,\Vert\,q)$, is maximum
# likelihood: it averages over the *target*, and punishes a $q$ that misses anything. For a Gaussian $q$ the part that
# depends on $q$ is $\langle (z-\mu)^2\rangle_p/2\sigma^2 + \log\sigma$, smallest for the mean and the variance of $p$. We fit both
# ways to a mixture of two Gaussians, with weights 0.65 and 0.35, on a grid.

# %%
z = np.linspace(-18, 18, 1801)
step = z[1] - z[0]


def on_grid(mean, scale):
    """Probabilities of a Gaussian on the grid."""
    density = np.exp(gaussian_log_density(z[:, None], mean, scale**2))
    return density / density.sum()


target = 0.65 * on_grid(-2.5, 0.6) + 0.35 * on_grid(2.5, 0.6)


def fit(divergence, start):
    """Mean and scale of the Gaussian that minimises divergence(q)."""
    found = minimize(
        lambda p: divergence(on_grid(p[0], np.exp(p[1]))),
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-13, "maxiter": 2000},
    )
    return found.x[0], np.exp(found.x[1])


covering = fit(lambda q: kl_divergence(target, q), [0.5, 0.5])
left = fit(lambda q: kl_divergence(q, target), [-1.5, 0.0])
right = fit(lambda q: kl_divergence(q, target), [1.5, 0.0])

# %% [markdown]
# A third divergence treats both alike, and returns in week 4. With $\bar p = (p+q)/2$, the
# **Jensen–Shannon divergence** {cite}`lin1991` is
#
# $$
# \operatorname{JSD}(p, q) = \tfrac12\operatorname{KL}(p\,\Vert\,\bar p) + \tfrac12\operatorname{KL}(q\,\Vert\,\bar p) \;\le\; \ln 2,
# $$ (eq-jensen-shannon)
#
# since $p/\bar p \le 2$. The table has all three for all fits.

# %%
fits = {"KL(p‖q)": covering, "KL(q‖p), left": left, "KL(q‖p), right": right}
rows = []
for name, (mean, scale) in fits.items():
    q = on_grid(mean, scale)
    divergences = kl_divergence(target, q), kl_divergence(q, target)
    rows.append([name, mean, scale, *divergences, jensen_shannon(target, q)])
show_table(["minimised", "mean", "scale", "KL(p‖q)", "KL(q‖p)", "JSD"], rows)

# %% [markdown]
# The same fits as curves:

# %% mystnb={"image": {"alt": "A density with two peaks, the left one higher. A broad solid Gaussian covers both peaks and the gap between them; two narrow ones, dashed and dotted, each coincide with one peak in shape."}, "figure": {"caption": "One Gaussian fitted to a mixture (grey). The broad one minimises KL(p‖q); the two narrow ones are local minima of KL(q‖p).", "name": "fig-two-divergences"}}
fig, ax = plt.subplots(figsize=(5.6, 2.8))
ax.fill_between(z, target / step, color="0.85", label="target $p$")
for (name, found), style in zip(fits.items(), ("-", "--", ":"), strict=True):
    ax.plot(z, on_grid(*found) / step, style, label=name)
ax.set(xlabel="$z$", ylabel="density", xlim=(-7, 7))
ax.legend()
plt.show()

# %% [markdown]
# The covering fit puts its peak where the target has almost nothing. A seeking fit copies one mode and ignores the other, for the
# price $-\log(\text{weight})$, as the magnet did. The modes are eight standard deviations apart, so corrections are below $10^{-3}$.

# %%
variance = 0.6**2 + 0.65 * 0.35 * 5**2
verify(
    "KL(p‖q) is smallest for the mean and variance of p",
    [covering[0], covering[1] ** 2],
    equals=[-2.5 * 0.3, variance],
    atol=1e-4,
    source="moments of the mixture",
)
verify(
    "KL(q‖p) of a fit to one mode is -log of its weight",
    [rows[1][4], rows[2][4]],
    equals=[-np.log(0.65), -np.log(0.35)],
    atol=1e-3,
    source="q = p/weight on one mode",
)
entropies = entr([target, on_grid(*left)]).sum(axis=1)
middle = entr((target + on_grid(*left)) / 2).sum()
far = jensen_shannon(on_grid(-4, 0.3), on_grid(4, 0.3))
verify(
    "JSD is the entropy of the mixture minus the mean entropy, at most ln 2",
    [rows[1][5], far],
    equals=[middle - entropies.mean(), np.log(2)],
    atol=1e-9,
    source="definition of the entropy; Gaussians that do not overlap",
)

# %% [markdown]
# ## A model with something hidden
#
# Now the states are data $\mathbf x$, with a hidden cause. Draw the cause from a **prior**, and the data given the cause:
#
# $$
# p(\mathbf x) = \int p(\mathbf x\mid\mathbf z)\, p(\mathbf z)\, \mathrm d\mathbf z, \qquad
# p(\mathbf z) = \mathcal N(\mathbf 0, \mathbf I).
# $$ (eq-evidence)
#
# The prior is part of the model; in all variational autoencoders of this course it is standard normal. Be clear about what
# can be computed. $p(\mathbf x\mid\mathbf z)$ is one evaluation of a formula, or one pass through a network. The **evidence**
# $p(\mathbf x)$ is an integral over all causes, in general out of reach, and with it the **posterior**
# $p(\mathbf z\mid\mathbf x) = p(\mathbf x\mid\mathbf z)\,p(\mathbf z)/p(\mathbf x)$, what the data say about the cause.
#
# Our example has one cause and six detectors that click or do not, $x_i\in\{0, 1\}$, independently given $z$:
# $p(x_i{=}1\mid z) = 1/(1 + e^{-(b_i + w_i z)})$. One dimension can be integrated: the sum of a smooth function
# over a regular grid that ends where the function vanishes converges faster than any power of the step.

# %%
show_source(latent_grid, evidence_on_grid)

# %% [markdown]
# The probabilities of all 64 outcomes must sum to one.

# %%
slope = np.array([3.0, 2.5, 2.0, -2.0, -1.5, 1.0])
bias = np.array([-1.0, 0.0, 1.0, 0.0, 0.5, -0.5])
outcomes = (np.arange(64)[:, None] >> np.arange(6) & 1).astype(float)


def log_likelihood(z):
    """log p(x|z) of all outcomes; z has the shape (64, m, 1)."""
    logits = bias + z * slope
    terms = outcomes[:, None] * logits - np.logaddexp(0, logits)
    return terms.sum(axis=-1)


prior = {"centre": np.zeros((64, 1)), "scale": np.ones((64, 1))}
grid = {**prior, "width": 10, "n_points": 401}
evidence, error = evidence_on_grid(log_likelihood, **grid)
verify(
    "the evidence of all outcomes sums to one",
    np.exp(evidence).sum(),
    equals=1,
    atol=1e-9,
    source="a likelihood is a distribution of the data",
)
verify(
    "estimated error of the quadrature",
    error,
    at_most=1e-9,
    source="half the grid points; a grid without its ends",
)

# %% [markdown]
# ## The bound, twice
#
# Take any density $q(\mathbf z\mid\mathbf x)$ that is positive everywhere. It may be different for each datum, hence the
# $\mid\mathbf x$. **First derivation.** Multiply and divide by $q$ under the integral; then the logarithm, which is concave, of
# an average is at least the average of the logarithm (Jensen):
#
# $$
# \log p(\mathbf x) = \log\Bigl\langle \frac{p(\mathbf x, \mathbf z)}{q(\mathbf z\mid\mathbf x)} \Bigr\rangle_q
# \;\ge\; \Bigl\langle \log\frac{p(\mathbf x, \mathbf z)}{q(\mathbf z\mid\mathbf x)} \Bigr\rangle_q = \text{ELBO}.
# $$ (eq-elbo-jensen)
#
# This *evidence lower bound* does not say what is lost. **Second derivation.** For *every* $\mathbf z$,
# $p(\mathbf x) = p(\mathbf x, \mathbf z)/p(\mathbf z\mid\mathbf x)$. Take the logarithm, add and subtract $\log q$, and average over $q$;
# the left-hand side does not depend on $\mathbf z$:
#
# $$
# \log p(\mathbf x) = \Bigl\langle \log\frac{p(\mathbf x, \mathbf z)}{q(\mathbf z\mid\mathbf x)} \Bigr\rangle_q
# + \Bigl\langle \log\frac{q(\mathbf z\mid\mathbf x)}{p(\mathbf z\mid\mathbf x)} \Bigr\rangle_q
# = \text{ELBO} + \operatorname{KL}\bigl(q\,\Vert\,p(\mathbf z\mid\mathbf x)\bigr).
# $$ (eq-elbo-identity)
#
# Finally split $p(\mathbf x, \mathbf z) = p(\mathbf x\mid\mathbf z)\,p(\mathbf z)$ and collect:
#
# $$
# \log p(\mathbf x) - \operatorname{KL}\bigl(q\,\Vert\,p(\mathbf z\mid\mathbf x)\bigr)
# = \bigl\langle\log p(\mathbf x\mid\mathbf z)\bigr\rangle_q - \operatorname{KL}\bigl(q\,\Vert\,p(\mathbf z)\bigr).
# $$ (eq-elbo)
#
# On the left the log-likelihood *minus* a gap that is never negative, and that vanishes exactly for the posterior. On the right two terms that
# we can compute: how well causes drawn from $q$ explain the datum, and how far $q$ has moved from the prior. It is
# {eq}`eq-gibbs-bogoliubov` with $E/T = -\log p(\mathbf x, \mathbf z)$ and $Z = p(\mathbf x)$. We check
# every step with a poor trial, $q = \mathcal N(0.3, 0.8^2)$ for all 64 outcomes.

# %%
z, log_volume = latent_grid(**grid)
log_lik, log_prior = log_likelihood(z), gaussian_log_density(z)
log_joint = log_lik + log_prior
log_posterior = log_joint - evidence[:, None]
log_q = gaussian_log_density(z, 0.3, 0.8**2)


def average(log_density, f):
    """Average of f over a density, by quadrature."""
    return (np.exp(log_density + log_volume[:, None]) * f).sum(axis=-1)


elbo = average(log_q, log_joint - log_q)
gap = average(log_q, log_q - log_posterior)
reconstruction = average(log_q, log_lik)
ratio = average(log_q, np.exp(log_joint - log_q))
steps = {
    "log of the averaged ratio": np.log(ratio),
    "ELBO plus KL(q‖posterior)": elbo + gap,
}
two_terms = reconstruction - gaussian_kl([0.3], 0.8**2)
steps["reconstruction minus KL(q‖prior), plus the gap"] = two_terms + gap

# %% [markdown]
# Each of the three has to be the log evidence, for each outcome; and the gap must be positive.

# %%
for name, value in steps.items():
    verify(
        f"{name} is log p(x)",
        value,
        equals=evidence,
        atol=1e-9,
        source="quadrature over the prior",
    )
verify(
    "the bound lies below the evidence",
    evidence - elbo,
    at_least=0,
    source="Jensen's inequality",
)

# %% [markdown]
# ### The divergence of two Gaussians
#
# The split into two terms used a closed form. In one dimension, with $q = \mathcal N(\mu, \sigma^2)$ and $p = \mathcal N(0, 1)$,
# $\log q - \log p = -\log\sigma - (z-\mu)^2/2\sigma^2 + z^2/2$. Averaged over $q$, the squares are $\sigma^2$ and $\mu^2 + \sigma^2$.
# Independent components add:
#
# $$
# \operatorname{KL}\bigl(\mathcal N(\boldsymbol\mu, \boldsymbol\sigma^2)\,\Vert\,\mathcal N(\mathbf 0, \mathbf I)\bigr)
# = \tfrac12\sum_k\bigl(\mu_k^2 + \sigma_k^2 - 1 - \log\sigma_k^2\bigr).
# $$ (eq-gaussian-kl)
#
# It holds for this prior, $\mathcal N(\mathbf 0, \mathbf I)$, and for a $q$ with independent components; the function takes other priors as well.

# %%
show_source(gaussian_kl)

# %% [markdown]
# We compare it with quadrature, for a prior that is not standard.

# %%
log_p = gaussian_log_density(z[0], -0.5, 1.3**2)
difference = log_q[0] - log_p
verify(
    "KL of two Gaussians with general mean and variance",
    gaussian_kl([0.3], 0.8**2, -0.5, 1.3**2),
    equals=average(log_q, difference)[0],
    atol=1e-9,
    source="quadrature",
)

# %% [markdown]
# ### One bound per datum, or one network for all
#
# Now maximise. With a Gaussian $q$ we need its mean and scale, and have two choices. Give each of the 64 outcomes its own pair. Or
# *amortise*: let one function of $\mathbf x$, the **encoder**, return both. It costs one
# optimisation for all data, present and future, and in exchange it can be wrong for some of them. The gap then has two parts
# {cite}`cremer2018`: the *approximation gap*, because no Gaussian is the posterior, and the *amortisation gap*, because the encoder does not
# return the best one. Our encoder is linear in $\mathbf x$, for $\mu$ and for $\log\sigma$. All optimisations below are quasi-Newton, with
# PyTorch's gradients.


# %%
def minimise(loss, *shapes):
    """Minimise loss(*tensors) with L-BFGS from a small random start."""
    normal = np.random.default_rng(seed).standard_normal
    parameters = [
        torch.tensor(0.1 * normal(shape), requires_grad=True)
        for shape in shapes
    ]
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=10_000,
        history_size=10,
        tolerance_grad=1e-7,
        tolerance_change=1e-11,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        value = loss(*parameters)
        value.backward()
        return value

    optimiser.step(closure)
    return closure().item(), [p.detach().numpy() for p in parameters]


# %% [markdown]
# Averages over $q$ are Gauss–Hermite sums, so there is no noise. The encoder's loss weighs the outcomes with
# their probability, as a large data set would.

# %%
nodes, node_weights = np.polynomial.hermite_e.hermegauss(60)
nodes = torch.tensor(nodes)
node_weights = torch.tensor(node_weights / node_weights.sum())
x, w, b = (torch.tensor(a) for a in (outcomes, slope, bias))


def elbos(mean, log_scale):
    """ELBO of each outcome for q = N(mean, scale²) (eq-elbo)."""
    z = mean[:, None] + log_scale.exp()[:, None] * nodes
    logits = b + z[..., None] * w
    log_lik = x[:, None] * logits - torch.logaddexp(logits, 0 * logits)
    variance = (2 * log_scale).exp()
    kl = (mean**2 + variance - 1 - 2 * log_scale) / 2
    return log_lik.sum(-1) @ node_weights - kl


def encoder(weights, offset):
    return (x @ weights + offset).T


p_x = torch.tensor(np.exp(evidence))
_, free = minimise(lambda m, s: -elbos(m, s).sum(), (64,), (64,))
_, coder = minimise(lambda w, b: -p_x @ elbos(*encoder(w, b)), (6, 2), (2,))
shared = encoder(*map(torch.tensor, coder)).numpy()
gaps = {}
for name, q in (("own q", free), ("encoder", shared)):
    gaps[name] = evidence - elbos(*map(torch.tensor, q)).numpy()

# %% [markdown]
# Predict: which outcomes does the encoder serve worst? First the checks: the gap must be the divergence from the posterior, and the encoder
# cannot beat the best $q$.

# %%
for name, (mean, log_scale) in (("own q", free), ("encoder", shared)):
    variance = np.exp(2 * log_scale)[:, None, None]
    log_q = gaussian_log_density(z, mean[:, None, None], variance)
    verify(
        f"{name}: log p(x) - ELBO is KL(q‖posterior)",
        gaps[name],
        equals=average(log_q, log_q - log_posterior),
        atol=1e-6,
        source="quadrature",
    )
verify(
    "amortisation only adds to the gap",
    gaps["encoder"] - gaps["own q"],
    at_least=-1e-9,
    source="the free q is the best Gaussian for each outcome",
)

# %% [markdown]
# On the left one posterior, on the right all 64 gaps, twice.

# %% mystnb={"image": {"alt": "Left: broad prior, narrower skewed posterior at negative z, and a dashed Gaussian that nearly coincides with it. Right: gap against probability of the outcome on logarithmic axes; gaps of own q lie between 0.001 and 0.02, those of the encoder above them: 0.1 at the improbable end, about 0.02 in the middle and 0.06 at the probable end."}, "figure": {"caption": "Left: prior, posterior and best Gaussian for the most probable outcome. Right: gap of each of the 64 outcomes, with its own q and with a linear encoder.", "name": "fig-posterior-and-gap"}}
top = int(np.argmax(evidence))
line, q_top = z[top, :, 0], (free[0][top], np.exp(free[1][top]))
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3))
axes[0].plot(line, np.exp(log_prior[top]), "0.6", label="prior")
axes[0].plot(line, np.exp(log_posterior[top]), label="posterior")
log_q = gaussian_log_density(z[top], q_top[0], q_top[1] ** 2)
axes[0].plot(line, np.exp(log_q), "--", label="best Gaussian")
axes[0].set(xlabel="$z$", ylabel="density", xlim=(-4, 4))
axes[0].legend(loc="upper right")
for (name, values), marker in zip(gaps.items(), "os", strict=True):
    axes[1].loglog(np.exp(evidence), values, marker, ms=4, label=name)
axes[1].set(xlabel="probability of the outcome", ylabel="gap (nats)")
axes[1].legend()
plt.show()

# %% [markdown]
# A Gaussian loses about two hundredths of a nat at most. The encoder loses up to a tenth on improbable outcomes, about which its loss
# hardly cares, and more than its share on the two most probable ones, where all detectors point to the same sign of $z$. On the
# improbable outcomes the cause is the scale: the best $\sigma$ is large where the detectors agree and small where they contradict
# each other, but a $\log\sigma$ that is linear in $\mathbf x$ has the same sum for $\mathbf x$ and its complement $1 - \mathbf x$. On
# the two probable ones the scale is one cause, and a mean that is linear in $\mathbf x$, and falls short of the best one, is the other.

# %%
verify(
    "the encoder's log σ has one sum for all x and 1 - x: spread",
    np.ptp(shared[1] + shared[1][::-1]),
    equals=0,
    atol=1e-9,
    source="linear in x",
)
verify(
    "the best log σ has not: spread of its sums",
    np.ptp(free[1] + free[1][::-1]),
    at_least=0.7,
    source="64 separate fits; a linear log σ would have zero",
)

# %% [markdown]
# ## The gradient of an average
#
# With networks, {eq}`eq-elbo` is estimated from draws of $\mathbf z$, and we want its gradient in the parameters $\phi$ of $q_\phi$. It is
# tempting to move it inside, $\nabla_\phi\langle f\rangle_{q_\phi} = \langle\nabla_\phi f\rangle_{q_\phi}$. That is wrong: the average itself
# depends on $\phi$. There are two ways out. **The score function** {cite}`williams1992`: differentiate under the integral and use
# $\nabla q = q\,\nabla\log q$,
#
# $$
# \nabla_\phi \bigl\langle f(\mathbf z)\bigr\rangle_{q_\phi} = \int f\,\nabla_\phi q_\phi\,\mathrm d\mathbf z
# = \bigl\langle f(\mathbf z)\,\nabla_\phi\log q_\phi(\mathbf z) \bigr\rangle_{q_\phi}.
# $$ (eq-score-function)
#
# It needs only values of $f$, so it also works for discrete $\mathbf z$. (If $f$ itself contains $\phi$, $\langle\nabla_\phi f\rangle$ is
# added. For the $-\log q_\phi$ in {eq}`eq-elbo-jensen` that is $-\langle\nabla_\phi\log q_\phi\rangle = 0$, so either form of the bound
# will do; with {eq}`eq-elbo` the divergence and its gradient are exact.) **Reparameterisation** {cite}`kingma2014,rezende2014`:
# write $\mathbf z$ as a function of $\phi$ and of noise that knows nothing of $\phi$. Then the gradient does move inside:
#
# $$
# \mathbf z = \boldsymbol\mu + \boldsymbol\sigma\odot\boldsymbol\epsilon, \quad \boldsymbol\epsilon\sim\mathcal N(\mathbf 0, \mathbf I):
# \qquad \nabla_\phi\bigl\langle f(\mathbf z)\bigr\rangle_{q_\phi}
# = \bigl\langle\nabla_\phi f(\boldsymbol\mu + \boldsymbol\sigma\odot\boldsymbol\epsilon)\bigr\rangle_{\boldsymbol\epsilon}.
# $$ (eq-reparameterisation)
#
# The product is elementwise and $\boldsymbol\sigma$ are standard deviations. Both are unbiased. Which is less noisy? Take $f = z^2$ in one dimension, and
# the derivative with respect to $\mu$, which is $2\mu$. One draw of each estimator is
#
# $$
# g_\text{rep} = 2(\mu + \sigma\epsilon), \qquad
# g_\text{score} = z^2\,\frac{z-\mu}{\sigma^2} = \frac{\mu^2\epsilon + 2\mu\sigma\epsilon^2 + \sigma^2\epsilon^3}{\sigma}.
# $$
#
# With the moments $\langle\epsilon^2\rangle = 1$, $\langle\epsilon^4\rangle = 3$, $\langle\epsilon^6\rangle = 15$ both have the mean
# $2\mu$, and the variances are
#
# $$
# V_\text{rep} = 4\sigma^2, \qquad V_\text{score} = \frac{\mu^4}{\sigma^2} + 14\mu^2 + 15\sigma^2 .
# $$ (eq-gradient-variances)
#
# As $q$ narrows, one vanishes and, for $\mu\ne0$, the other diverges. Many dimensions make it worse. Let $f = \lVert\mathbf z\rVert^2$ and all
# $\mu_k = \mu$, and take the derivative in $\mu_1$. $V_\text{rep}$ stays, because $\partial f/\partial z_1$ does not know the other components. The
# score multiplies their squares, of mean sum $r = (d-1)(\mu^2+\sigma^2)$, with $\epsilon_1/\sigma$. This adds ({ref}`ex-baseline`)
#
# $$
# \frac{r^2}{\sigma^2} + (d-1)(4\mu^2 + 2\sigma^2) + \frac{2r}{\sigma^2}\bigl(\mu^2+3\sigma^2\bigr),
# $$ (eq-score-dimensions)
#
# which grows as $d^2$.


# %%
def score_variance(mu, sigma, d):
    """Variance of one score-function draw (eq-score-dimensions)."""
    own = mu**4 / sigma**2 + 14 * mu**2 + 15 * sigma**2
    r = (d - 1) * (mu**2 + sigma**2)
    others = r**2 + 2 * r * (mu**2 + 3 * sigma**2)
    return own + others / sigma**2 + (d - 1) * (4 * mu**2 + 2 * sigma**2)


def gradients(mu, sigma, d, baseline=0.0):
    """Draws of both estimators of the derivative in the first mean."""
    rng = np.random.default_rng(seed)
    epsilon = rng.standard_normal((n_draws, d))
    z = mu + sigma * epsilon
    f = (z**2).sum(axis=1) - baseline
    return {"reparameterised": 2 * z[:, 0], "score": f * epsilon[:, 0] / sigma}


settings = [(1.0, s, 1) for s in (0.1, 0.2, 0.5, 1.0, 2.0)]
settings += [(1.0, 0.5, d) for d in (2, 5, 10, 20)]
measured = {}
for setting in settings:
    for name, g in gradients(*setting).items():
        fourth = ((g - g.mean()) ** 4).mean()
        uncertainty = np.sqrt((fourth - g.var() ** 2) / n_draws)
        measured[name, setting] = g.mean(), g.var(), uncertainty

# %% [markdown]
# We allow five standard errors: $\sqrt{V/n}$ for a mean of $n$ draws, with the *predicted* $V$, and from the fourth moment for a
# variance. A score draw is cubic in a normal variable, with heavy tails.

# %%
predicted = {}
for name in ("reparameterised", "score"):
    rows = np.array([measured[name, setting] for setting in settings])
    exact = [
        4 * s**2 if name == "reparameterised" else score_variance(mu, s, d)
        for mu, s, d in settings
    ]
    predicted[name] = exact = np.array(exact)
    verify(
        f"{name}: mean gradient",
        rows[:, 0],
        equals=2,
        atol=5 * np.sqrt(exact / n_draws),
        source="derivative of μ² + σ²",
    )
    verify(
        f"{name}: variance of one draw",
        rows[:, 1],
        equals=exact,
        atol=5 * rows[:, 2],
        source="Gaussian moments, derived above",
    )

# %% [markdown]
# Points are measured, curves predicted.

# %% mystnb={"image": {"alt": "Two panels on logarithmic axes. Left: variance against sigma; the reparameterised line rises with slope two, the score curve falls, has a minimum near sigma 0.5 and rises. Right: variance against dimension; the reparameterised line is flat at one, the score rises to about 2700 at 20 dimensions. Points lie on the curves."}, "figure": {"caption": "Variance of one draw of the two gradient estimators at μ = 1; curves are the predictions. Left: in one dimension. Right: at σ = 0.5, against the dimension.", "name": "fig-gradient-variance"}}
fine, dimensions = np.geomspace(0.08, 2.5, 100), np.arange(1, 21)
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3), sharey=True)
curves = {
    "reparameterised": (4 * fine**2, np.full(20, 4 * 0.5**2)),
    "score": (score_variance(1, fine, 1), score_variance(1, 0.5, dimensions)),
}
for (name, (left, right)), marker in zip(curves.items(), "os", strict=True):
    line = axes[0].loglog(fine, left)[0]
    axes[1].loglog(dimensions, right, color=line.get_color())
    style = {"marker": marker, "color": line.get_color(), "ls": ""}
    for ax, column in zip(axes, (1, 2), strict=True):
        chosen = [
            s for s in settings if (s[2] == 1 if column == 1 else s[1] == 0.5)
        ]
        values = [measured[name, s][1] for s in chosen]
        ax.plot([s[column] for s in chosen], values, label=name, **style)
axes[0].set(xlabel=r"$\sigma$", ylabel="variance of one draw")
axes[1].set(xlabel="dimension $d$")
axes[1].set_xticks([1, 2, 5, 10, 20], [1, 2, 5, 10, 20])
axes[1].minorticks_off()
axes[0].legend()
plt.show()

# %% [markdown]
# At $d = 20$ the score function needs more than two thousand times as many draws for the same error. This is why variational autoencoders reparameterise.
#
# ## Several draws make a tighter bound
#
# The gap in {eq}`eq-elbo-jensen` comes from the logarithm of a fluctuating ratio. Average $k$ ratios first, and they fluctuate
# less {cite}`burda2016` (the weights $w_i$ are not the slopes of the detectors):
#
# $$
# L_k = \Bigl\langle \log\frac1k\sum_{i=1}^k w_i \Bigr\rangle \le \log p(\mathbf x), \qquad
# w_i = \frac{p(\mathbf x, \mathbf z_i)}{q(\mathbf z_i\mid\mathbf x)}, \quad \mathbf z_i \sim q .
# $$ (eq-iwae)
#
# $L_1$ is the ELBO, and $L_{k+1} \ge L_k$: the mean of $k+1$ weights is the average of the means of all its subsets of $k$, and Jensen does the
# rest. How fast? With $w = p(\mathbf x)(1 + \delta)$, the mean $\bar\delta$ of $k$ draws has the variance $\operatorname{Var}(\delta)/k$, and
# $\log(1+\bar\delta) \approx \bar\delta - \bar\delta^2/2$, so
#
# $$
# \log p(\mathbf x) - L_k \simeq \frac{\operatorname{Var}(w)}{2k\,p(\mathbf x)^2}, \qquad \text{if the variance and } L_1 \text{ are finite.}
# $$ (eq-iwae-rate)
#
# One can do without sampling: with the Laplace transform $\psi$ of the weight's distribution,
#
# $$
# L_k = \log p(\mathbf x) + \int_{-\infty}^{\infty}\Bigl[e^{-e^u} - \psi\bigl(e^u/k\bigr)^k\Bigr]\mathrm du, \qquad
# \psi(t) = \bigl\langle e^{-t w/p(\mathbf x)}\bigr\rangle_q .
# $$ (eq-iwae-exact)
#
# :::{dropdown} Why
# Let $S$ be the mean of $k$ weights over $p(\mathbf x)$. Frullani's integral is $\log S = \int_0^\infty (e^{-t} - e^{-tS})\,\mathrm dt/t$.
# Average: $\langle e^{-tS}\rangle = \psi(t/k)^k$, because the weights are independent. With $t = e^u$, $\mathrm dt/t = \mathrm du$, and the integrand
# is smooth and dies at both ends, so that a sum over a regular grid is exact in practice.
# :::

# %%
show_source(importance_weighted_bound, exact_importance_weighted_bound)

# %% [markdown]
# We take the most probable outcome and two trials: its best Gaussian, and the prior, which needs no encoder. At which $k$ will
# the prior catch up?

# %%
ks = np.unique(np.geomspace(1, 1e5, 26).astype(int))
curves, ratios, bounds = {}, {}, {}
rng = np.random.default_rng(seed)
for name, (mean, scale) in {"best Gaussian": q_top, "prior": (0, 1)}.items():
    log_q = gaussian_log_density(z[top], mean, scale**2)
    log_w = log_joint[top] - log_q
    q = np.exp(log_q + log_volume[top])
    curves[name] = evidence[top] - np.array(
        [exact_importance_weighted_bound(log_w, q, int(k)) for k in ks]
    )
    ratios[name] = q, np.exp(log_w - evidence[top])
    for k in (1, 5, 50):
        n = n_draws * max(1, k // 5)  # as many groups for 50 as for 5
        draws = mean + scale * rng.standard_normal((n, 1))
        logits = bias + draws * slope
        draw_w = (outcomes[top] * logits - np.logaddexp(0, logits)).sum(-1)
        draw_w += gaussian_log_density(draws)
        draw_w -= gaussian_log_density(draws, mean, scale**2)
        sampled = importance_weighted_bound(draw_w, k)
        exact = exact_importance_weighted_bound(log_w, q, k)
        bounds[name, k] = *sampled, exact

# %% [markdown]
# Sampled and exact bounds must agree within their standard error; each must rise with $k$ and stay below the evidence.

# %%
sampled, error, exact = np.array(list(bounds.values())).T
verify(
    "sampled bounds for k = 1, 5 and 50, both trials",
    sampled,
    equals=exact,
    atol=4.5 * error,
    source="Frullani integral, eq-iwae-exact",
)
for name in curves:
    low, middle, high = (bounds[name, k][2] for k in (1, 5, 50))
    verify(
        f"{name}: ELBO ≤ IWAE₅ ≤ IWAE₅₀ ≤ log p(x)",
        [middle - low, high - middle, evidence[top] - high],
        at_least=0,
        source="Burda, Grosse and Salakhutdinov (2016)",
    )
q, ratio = ratios["prior"]
half_variance = q @ (ratio - 1) ** 2 / 2
verify(
    "with the prior as trial, k times the gap is Var(w)/2p²",
    ks[-1] * curves["prior"][-1],
    equals=half_variance,
    rtol=1e-3,
    source="second-order expansion; the next order is 1/k smaller",
)

# %% [markdown]
# On logarithmic axes a law $1/k$ is a line of slope $-1$.

# %% mystnb={"image": {"alt": "Gap against k on logarithmic axes. The curve of the prior starts at 4 and soon follows a dashed line of slope minus one. The curve of the best Gaussian starts at 0.02 and falls more slowly throughout. Points with error bars at k = 1, 5 and 50 scatter about the curves."}, "figure": {"caption": "Gap of importance-weighted bounds for one outcome. Curves: exact; points: sampled; dashed: Var(w)/2kp², the prediction for the prior.", "name": "fig-iwae-gap"}}
fig, ax = plt.subplots(figsize=(5.6, 3.3))
for (name, curve), marker in zip(curves.items(), "os", strict=True):
    line = ax.loglog(ks, curve, label=name)[0]
    for k in (1, 5, 50):
        value, error, _ = bounds[name, k]
        style = {"marker": marker, "color": line.get_color(), "capsize": 2}
        ax.errorbar(k, evidence[top] - value, error, **style)
ax.loglog(ks, half_variance / ks, "k--", lw=1, label=r"Var$(w)/2kp^2$")
ax.set(xlabel="$k$", ylabel=r"$\log p(x) - L_k$ (nats)", ylim=(1e-7, 10))
ax.legend()
plt.show()

# %% [markdown]
# A bad trial with sixty-six draws is as good as the best one with a single draw. But look at the best Gaussian: its curve is not parallel to
# the law. Far out, the sigmoids saturate, and the posterior falls like the *prior*, $e^{-z^2/2}$, while $q$ falls like
# $e^{-z^2/2s^2}$. Then $\langle w^2\rangle_q = \int p^2/q$ converges only for $s^2 > \tfrac12$, and the best Gaussian has $s^2 = 0.35$. Its weights
# have infinite variance, and $k$ times the gap grows without limit: far beyond this figure, at $k\approx10^{13}$, even the prior overtakes the
# best Gaussian ({ref}`ex-weight-variance`). Importance sampling wants a broad $q$, and $\operatorname{KL}(q\,\Vert\,p)$ prefers a narrow one.

# %%
verify(
    "the best Gaussian for the ELBO is too narrow for a finite variance",
    q_top[1] ** 2,
    at_most=0.5,
    source="tails of the posterior fall like the prior",
)
q, ratio = ratios["prior"]
log_w = np.log(ratio) + evidence[top]
verify(
    "gap of 66 draws from the prior, and of one from the best Gaussian",
    evidence[top] - exact_importance_weighted_bound(log_w, q, 66),
    equals=curves["best Gaussian"][0],
    rtol=0.01,
    source="eq-iwae-exact; a draw more or less changes 1.5 %",
)

# %% [markdown]
# Nor is a tighter bound always a better objective: with growing $k$ the gradient for the encoder loses its signal faster
# than its noise {cite}`rainforth2018`. For *evaluation* more draws are better.
#
# ## The autoencoder that can be solved
#
# Let everything be linear. The decoder has a matrix $\mathbf W$ and noise of variance $\sigma^2$; data are centred:
#
# $$
# \mathbf z\sim\mathcal N(\mathbf 0, \mathbf I), \qquad \mathbf x\mid\mathbf z\sim\mathcal N(\mathbf W\mathbf z, \sigma^2\mathbf I).
# $$ (eq-ppca)
#
# This is **probabilistic PCA** {cite}`tipping1999`. A sum of Gaussians is Gaussian, so the evidence is
# $\mathcal N(\mathbf 0, \mathbf C)$ with $\mathbf C = \mathbf W\mathbf W^\mathsf T + \sigma^2\mathbf I$. The posterior follows by completing the
# square in $\mathbf z$: its precision matrix is $\mathbf P = \mathbf I + \mathbf W^\mathsf T\mathbf W/\sigma^2$, its mean
# $\mathbf P^{-1}\mathbf W^\mathsf T\mathbf x/\sigma^2$. With the covariance $\mathbf S$ of the data, the mean log-likelihood
# is
#
# $$
# \mathcal L = -\tfrac12\bigl[d\log 2\pi + \log\det\mathbf C + \operatorname{tr}\mathbf C^{-1}\mathbf S\bigr].
# $$ (eq-ppca-likelihood)
#
# To maximise it, let $\mathbf W$ have orthogonal columns of squared length $a_k$ along the $n_z$ leading eigenvectors of $\mathbf S$, with
# eigenvalues $\lambda_1\ge\lambda_2\ge\dots$; Tipping and Bishop show that the maximum has this form, up to a rotation of $\mathbf z$. Then $\mathbf C$ and $\mathbf S$ share their eigenvectors, and the $k$-th
# contributes $-\frac12[\log(a_k+\sigma^2) + \lambda_k/(a_k+\sigma^2)]$. It is largest at
#
# $$
# a_k = \max(\lambda_k - \sigma^2, 0),
# $$ (eq-ppca-columns)
#
# so a column grows only for an eigenvalue *above the noise*. With all columns alive, $\sigma^2\le\lambda_{n_z}$, the noise enters as
# $-\frac12[(d-n_z)\log\sigma^2 + \sum_{k>n_z}\lambda_k/\sigma^2]$, largest where $\sigma^2$ is the mean of the discarded eigenvalues, which is
# indeed no larger than $\lambda_{n_z}$. (More noise, with fewer columns alive, only lowers $\mathcal L$: the mean of what is then left out
# is below $\sigma^2$. So while the noise is learned, no column dies unless eigenvalues are equal.) Insert both, and the trace becomes $d$:
#
# $$
# \begin{gathered}
# \mathcal L_\text{max} = -\tfrac12\Bigl[d\log 2\pi + \sum_{k\le n_z}\log\lambda_k + (d-n_z)\log\sigma^2 + d\Bigr], \\
# \sigma^2 = \frac1{d-n_z}\sum_{k>n_z}\lambda_k .
# \end{gathered}
# $$ (eq-ppca-maximum)
#
# So far the model was fixed, or its likelihood a formula. A **variational autoencoder** has a *decoder*
# $p_\theta(\mathbf x\mid\mathbf z)$ and an *encoder* $q_\phi(\mathbf z\mid\mathbf x)$, and maximises the ELBO, averaged over the data, over
# both. In $\phi$ this narrows the gap, as far as the family of $q$ allows. In $\theta$ it is maximum likelihood minus the gap:
# it raises $\log p_\theta(\mathbf x)$, but prefers models whose posterior $q$ can imitate. In the **linear variational
# autoencoder** {cite}`lucas2019` the decoder is the model above, $\theta = (\mathbf W, \sigma^2)$, and with it comes a linear
# encoder $q = \mathcal N(\mathbf V\mathbf x, \operatorname{diag}(\mathbf v))$ with one vector of variances. All averages in
# {eq}`eq-elbo` are Gaussian. With $\mathbf x - \mathbf W\mathbf z$ of mean $(\mathbf I - \mathbf W\mathbf V)\mathbf x$ and
# covariance $\mathbf W\operatorname{diag}(\mathbf v)\mathbf W^\mathsf T$, the loss averaged over the data is
#
# $$
# \begin{aligned}
# -\text{ELBO} ={}& \frac{1}{2\sigma^2}\Bigl[\operatorname{tr}(\mathbf I-\mathbf W\mathbf V)\mathbf S(\mathbf I-\mathbf W\mathbf V)^\mathsf T
# + \sum_k v_k\lVert\mathbf w_k\rVert^2\Bigr] + \frac d2\log 2\pi\sigma^2 \\
# &+ \frac12\Bigl[\operatorname{tr}\mathbf V\mathbf S\mathbf V^\mathsf T + \sum_k(v_k - 1 - \log v_k)\Bigr].
# \end{aligned}
# $$ (eq-linear-elbo)
#
# Can it reach $\mathcal L_\text{max}$? The gap closes if $q$ is the posterior, so if $\mathbf P$ is diagonal: the columns of $\mathbf W$ have to be orthogonal, and
# among the maxima {eq}`eq-ppca-columns` there is such a one. The data are all 1797 digits, 64 pixels
# in $[0, 1]$.

# %%
data = digits()
X = np.concatenate([data.train, data.test]).reshape(-1, 64)
X = X - X.mean(axis=0)
S = X.T @ X / len(X)
eigenvalues, vectors = np.linalg.eigh(S)
eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
d = 64


def maximal_likelihood(n_latent, noise=None):
    """Mean log-likelihood of the best W (eq-ppca-maximum, eq-ppca-columns)."""
    noise = eigenvalues[n_latent:].mean() if noise is None else noise
    variance = np.full(d, noise)
    variance[:n_latent] = np.maximum(eigenvalues[:n_latent], noise)
    terms = np.log(2 * np.pi * variance) + eigenvalues / variance
    return -terms.sum() / 2


# %% [markdown]
# The loss, term by term. The encoder is $\mathbf V = \mathbf A\mathbf S^{-1/2}$ and we train $\mathbf A$, which sees *whitened* pixels: the set of
# linear encoders is the same, and the optimiser needs several times fewer steps. (Three pixels never change; the inverse root leaves
# them out.)

# %%
inverse = np.where(eigenvalues > 1e-12, eigenvalues, np.inf) ** -0.5
whiten = torch.tensor((vectors * inverse) @ vectors.T)
covariance = torch.tensor(S)


def negative_elbo(W, A, log_v, log_noise):
    """-ELBO of the linear autoencoder, mean over data (eq-linear-elbo)."""
    V, v, noise = A @ whiten, log_v.exp(), log_noise.exp()
    rest = torch.eye(d) - W @ V
    square = (rest @ covariance * rest).sum() + (W**2).sum(0) @ v
    reconstruction = square / (2 * noise)
    reconstruction += d / 2 * (math.log(2 * math.pi) + log_noise)
    kl = ((V @ covariance * V).sum() + (v - 1 - log_v).sum()) / 2
    return reconstruction + kl


trained = {}
for n_latent in (2, 5, 10, 20):
    shapes = (d, n_latent), (n_latent, d), (n_latent,), ()
    loss, parameters = minimise(negative_elbo, *shapes)
    trained[n_latent] = -loss, parameters

# %% [markdown]
# Principal components from scikit-learn are a third party; `score` is the mean log-likelihood of probabilistic PCA. It fits with the
# divisor $N-1$ and averages with $N$, which costs $\frac d2[\log\frac N{N-1} - \frac1N]\approx d/4N^2$, or $5\cdot10^{-6}$ nats.

# %%
rows = []
for n_latent, (elbo, _) in trained.items():
    score = PCA(n_latent, svd_solver="full").fit(X).score(X)
    rows.append([n_latent, elbo, maximal_likelihood(n_latent), score])
show_table(["latents", "ELBO, trained", "closed form", "PCA.score"], rows)
table = np.array(rows)
verify(
    "closed form of the maximal likelihood (nats)",
    table[:, 2],
    equals=table[:, 3] + d / (4 * len(X) ** 2),
    atol=2e-7,
    source="scikit-learn, PCA.score, corrected for its divisors",
)
verify(
    "ELBO of the trained linear autoencoder (nats)",
    table[:, 1],
    equals=[0.0057, 8.9076, 17.4519, 27.2773],
    atol=1e-3,
    source="scikit-learn, PCA.score, to four decimals",
)
verify(
    "the bound stays below the maximal likelihood",
    table[:, 2] - table[:, 1],
    at_least=-1e-9,
    source="it is a bound for every W",
)

# %% [markdown]
# The gap is zero here: not small, zero. We look inside the machine with five latent variables. Its squared column lengths should be {eq}`eq-ppca-columns`, its encoder
# variances $\sigma^2/\lambda_k$, and its noise the mean of what is left.

# %%
W, A, log_v, log_noise = trained[5][1]
order = np.argsort(-(W**2).sum(axis=0))
found = (W**2).sum(axis=0)[order], np.exp(log_v)[order]
kept, noise = eigenvalues[:5], eigenvalues[5:].mean()
verify(
    "squared columns, variances and noise of the trained autoencoder",
    [*found[0], *found[1], np.exp(log_noise)],
    equals=[*(kept - noise), *(noise / kept), noise],
    rtol=1e-3,
    source="Tipping and Bishop (1999); posterior of probabilistic PCA",
)

# %% [markdown]
# The evidence of images on grids, each placed by the encoder of two latent variables, must be the Gaussian one. So shall we judge
# networks in the next lecture.

# %%
W, A, log_v, log_noise = trained[2][1]
images, noise = X[:100], np.exp(log_noise)
on_images, _ = evidence_on_grid(
    lambda z: gaussian_log_density(z @ W.T, images[:, None], noise),
    images @ (A @ whiten.numpy()).T,
    np.broadcast_to(np.exp(log_v / 2), (100, 2)),
)
C = W @ W.T + noise * np.eye(d)
square = (images @ np.linalg.inv(C) * images).sum(axis=1)
verify(
    "evidence of images by a grid in two latent dimensions",
    on_images,
    equals=-(np.linalg.slogdet(2 * np.pi * C)[1] + square) / 2,
    atol=1e-6,
    source="Gaussian marginal, eq-ppca-likelihood",
)

# %% [markdown]
# ### A phase transition, called collapse
#
# Hold the noise fixed and count the latent variables that are used. A column is zero as soon as $\sigma^2 > \lambda_k$; then
# nothing in $\mathbf x$ depends on $z_k$, its posterior is the prior, and its divergence vanishes. This is **posterior
# collapse**. For the others $v_k = \sigma^2/\lambda_k$, the encoder's means have the variance $1 - v_k$ over the data, and so
#
# $$
# \operatorname{KL}_k = \tfrac12\bigl[(1 - v_k) + v_k - 1 - \log v_k\bigr] = \tfrac12\log\frac{\lambda_k}{\sigma^2} .
# $$ (eq-collapse)
#
# The length of a column is $(\lambda_k-\sigma^2)^{1/2}$: an order parameter that vanishes with the exponent $\tfrac12$ of mean-field
# theory, at a critical noise, one transition after another. Collapse here is the fault neither of the optimiser nor of
# the bound: the exact likelihood has its maximum there, with $\partial\mathcal L/\partial a_k = (\lambda_k-\sigma^2)/2\sigma^4 < 0$ at $a_k = 0$.
# We train twelve latent variables at seven noises.


# %%
def collapse(noise, n_latent=12):
    """ELBO, divergences and squared columns at a fixed noise."""
    fixed = torch.tensor(math.log(noise))
    loss, (W, A, log_v) = minimise(
        lambda *p: negative_elbo(*p, fixed),
        (d, n_latent),
        (n_latent, d),
        (n_latent,),
    )
    V = A @ whiten.numpy()
    kl = ((V @ S * V).sum(axis=1) + np.exp(log_v) - 1 - log_v) / 2
    return -loss, np.sort(kl)[::-1], np.sort((W**2).sum(axis=0))[::-1]


noises = np.array([0.125, 0.165, 0.21, 0.25, 0.33, 0.47, 0.8])
losses, kl, columns = map(np.array, zip(*map(collapse, noises), strict=True))

# %% [markdown]
# A latent variable counts as active above 0.01 nats; by {eq}`eq-collapse` the weakest active one in this list should have 0.02.

# %%
verify(
    "active latent variables at seven noises",
    (kl > 0.01).sum(axis=1),
    equals=(eigenvalues[:, None] > noises).sum(axis=0),
    source="eigenvalues above the noise, Lucas et al. (2019)",
)
verify(
    "divergence of each latent variable (nats)",
    kl,
    equals=np.log(np.maximum(eigenvalues[:12] / noises[:, None], 1)) / 2,
    atol=1e-3,
    source="eq-collapse",
)
verify(
    "ELBO with collapsed variables is the maximal exact likelihood",
    losses,
    equals=[maximal_likelihood(12, noise) for noise in noises],
    atol=1e-3,
    source="probabilistic PCA with fixed noise",
)

# %% [markdown]
# ### The axes are free for the likelihood, not for the bound
#
# Rotate the latent space, $\mathbf W\to\mathbf W\mathbf R$. $\mathbf C$ and the likelihood do not change. But the posterior precision becomes
# $\mathbf R^\mathsf T\mathbf P\mathbf R$, its components are correlated, and $q$ has none to offer. The best diagonal $q$ follows from
# {eq}`eq-linear-elbo`: only $v_k\,\mathbf P_{kk}/2 - \frac12\log v_k$ depends on $v_k$, so $v_k = 1/\mathbf P_{kk}$, with the right mean. Its divergence
# from the posterior is
#
# $$
# \text{gap} = \tfrac12\log\frac{\prod_k \mathbf P_{kk}}{\det\mathbf P}, \qquad
# \text{in two dimensions}\quad -\tfrac12\log(1-\rho^2),
# $$ (eq-rotation-gap)
#
# with the posterior's correlation $\rho$. It is mean-field theory again. We turn the machine with five latent variables in the plane of its first and
# last axis, and give each rotated decoder its best encoder.

# %%
W, _, _, log_noise = trained[5][1]
left, singular, _ = np.linalg.svd(W, full_matrices=False)
principal = left * singular  # columns along the principal axes
root = (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
angles, noise = np.linspace(0, np.pi, 61), np.exp(log_noise)
turned, predicted = [], []
for c, s in zip(np.cos(angles), np.sin(angles), strict=True):
    rotated = principal.copy()
    rotated[:, [0, 4]] = principal[:, [0, 4]] @ np.array([[c, -s], [s, c]])
    P = np.eye(5) + rotated.T @ rotated / noise
    V = np.linalg.solve(P, rotated.T / noise)
    posterior = np.linalg.inv(P)
    rho2 = posterior[0, 4] ** 2 / (posterior[0, 0] * posterior[4, 4])
    predicted.append(-np.log(1 - rho2) / 2)
    parts = rotated, V @ root, -np.log(P.diagonal()), log_noise
    turned.append(-negative_elbo(*map(torch.tensor, parts)).item())

# %% [markdown]
# The loss must follow the closed form.

# %%
verify(
    "rotated by any angle, the ELBO loses -log(1 - ρ²)/2",
    maximal_likelihood(5) - np.array(turned),
    equals=predicted,
    atol=1e-6,
    source="divergence of two Gaussians, eq-rotation-gap",
)

# %% [markdown]
# Columns that die one after another, and axes that the bound prefers:

# %% mystnb={"image": {"alt": "Left: squared column lengths against noise variance. Twelve straight lines of slope minus one fall to zero at the eigenvalues and stay there; points of the trained models lie on them. Right: against the rotation angle, the likelihood is a flat line; the ELBO touches it at 0, 90 and 180 degrees and dips in between."}, "figure": {"caption": "Left: squared length of each decoder column against the noise: predicted (lines) and trained (points). Right: likelihood and ELBO of the machine with five latent variables, two of whose axes are rotated.", "name": "fig-linear-autoencoder"}}
fine = np.linspace(0.1, 0.85, 300)
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3))
for value in eigenvalues[:12]:
    axes[0].plot(fine, np.maximum(value - fine, 0), "0.6", lw=1)
axes[0].plot(noises, columns, "C0o", ms=4)
axes[0].set(xlabel=r"noise $\sigma^2$", ylabel=r"$\Vert\mathbf{w}_k\Vert^2$")
likelihood = maximal_likelihood(5) + 0 * angles
axes[1].plot(np.degrees(angles), likelihood, "k", label="likelihood")
axes[1].plot(np.degrees(angles), turned, label="ELBO, best diagonal $q$")
axes[1].set(
    xlabel="angle (degrees)", ylabel="nats", xticks=[0, 45, 90, 135, 180]
)
axes[1].set_ylim(min(turned) - 0.06, maximal_likelihood(5) + 0.02)
axes[1].legend(loc="lower right")
plt.show()

# %% [markdown]
# The bound sees one thing more than the likelihood: it prefers axes in which the posterior is independent, the principal axes.
# The linear autoencoder of the last lecture found the principal *subspace* in arbitrary coordinates; this one finds the components
# themselves, up to order and sign, if their eigenvalues differ. In a network the same term acts locally {cite}`rolinek2019`.
#
# ## Break it: one word in the sampling line
#
# In PyTorch `q.rsample()` reparameterises; `q.sample()` hides where a draw came from, and the gradient of the first term of
# {eq}`eq-elbo` is lost. And it is easy to write $\mu + \sigma^2\epsilon$, with a network that returns the variance. Neither crashes.
#
# One datum $x$, one latent variable, $p(x\mid z) = \mathcal N(wz, \sigma_x^2)$; the posterior is Gaussian with
# variance $1/(1+P)$, with $P = w^2/\sigma_x^2$, the precision without the prior's. So the honest optimum of the ELBO is $\log p(x)$. Predict both failures.
# With `sample` only the divergence pulls, and it pulls to the prior: mean 0, scale 1. With the
# slip, draws have the variance $v^2$ while the divergence believes in $v$, so that the loss has $\frac12(P v^2 + v - \log v)$ and
#
# $$
# 2Pv^2 + v - 1 = 0, \qquad v = \frac{\sqrt{1 + 8P} - 1}{4P}.
# $$ (eq-wrong-variance)
#
# For $P = 9$ that is twice the true variance. And what is reported? Insert both, and the wrong 'bound' exceeds the right one by
#
# $$
# \tfrac12\bigl[\log v + \log(1+P) + 1 - v - Pv^2\bigr],
# $$ (eq-wrong-bound)
#
# half a nat *above* the evidence. The wrong code looks better. (At $P = 1$ it even finds the true variance, and reports $\frac18$ too much.)


# %%
def reported(mean, log_scale, slip):
    """ELBO of one datum as code would estimate it, right or wrong."""
    torch.manual_seed(seed)  # the same noise in each step
    scale = log_scale.exp()
    q = Normal(mean, scale)
    if slip == "variance":
        z = mean + scale**2 * torch.randn(n_noise)
    elif slip == "sample":
        z = q.sample((n_noise,))
    else:
        z = q.rsample((n_noise,))
    log_lik = Normal(w_x * z, noise_x).log_prob(datum).mean()
    return log_lik - torch_kl(q, Normal(0.0, 1.0))


n_noise, w_x, noise_x, datum = 40_000, 1.5, 0.5, torch.tensor(2.0)
found = {}
for slip in ("none", "variance", "sample"):
    parameters = torch.tensor([0.5, -0.5], requires_grad=True)
    for _ in range(300):
        value = reported(*parameters, slip)
        (gradient,) = torch.autograd.grad(value, parameters)
        with torch.no_grad():
            parameters += 0.05 * gradient
    mean, log_scale = parameters.detach().numpy().astype(float)
    found[slip] = mean, np.exp(2 * log_scale), value.item()

# %% [markdown]
# The mean of $n$ normal numbers, uncertain by $1/\sqrt n$, shifts the draws by as many scales; their second moment has the
# relative error $\sqrt{2/n}$, and the variance changes by less. The noise of the reported value is that of the mean of
# $(x-wz)^2/2\sigma_x^2$, the square of a Gaussian. The gradient of the `sample` run has no noise.

# %%
P = w_x**2 / noise_x**2
v = (np.sqrt(1 + 8 * P) - 1) / (4 * P)
x_value, marginal = datum.item(), w_x**2 + noise_x**2
log_evidence = -(np.log(2 * np.pi * marginal) + x_value**2 / marginal) / 2
excess = (np.log(v) + np.log(1 + P) + 1 - v - P * v**2) / 2
at_prior = (
    -(np.log(2 * np.pi * noise_x**2) + (x_value**2 + w_x**2) / noise_x**2) / 2
)
true_mean = w_x * x_value / marginal
expected = {  # mean, variance believed in, variance of draws, reported
    "none": (true_mean, 1 / (1 + P), 1 / (1 + P), log_evidence),
    "variance": (true_mean, v, v**2, log_evidence + excess),
    "sample": (0.0, 1.0, 1.0, at_prior),
}
rows = [[slip, *(f"‹{u:.4f}›" for u in found[slip])] for slip in expected]
show_table(["slip", "mean", "variance", "reported ELBO"], rows)

# %% [markdown]
# Every number in this table has a closed form.

# %%
for slip, (mean, variance, spread, value) in expected.items():
    noisy = slip != "sample"
    verify(
        f"slip {slip}: mean and variance that are learned",
        found[slip][:2],
        equals=[mean, variance],
        atol=np.array([np.sqrt(spread), np.sqrt(2) * variance])
        * (4 / np.sqrt(n_noise) if noisy else 1e-4),
        source="closed form, derived above",
    )
    offset, spread = x_value - w_x * mean, w_x**2 * spread
    deviation = np.sqrt(4 * offset**2 * spread + 2 * spread**2)
    verify(
        f"slip {slip}: ELBO that is reported",
        found[slip][2],
        equals=value,
        atol=4.5 * deviation / (2 * noise_x**2) / np.sqrt(n_noise),
        source="closed form, derived above",
    )

# %% [markdown]
# The `variance` run gains half a nat here; the sharper the data fix a latent variable, the more it adds, about
# $\frac14\log\frac P2 + \frac14$ for large $P$. The evidence exposes it at
# once. The `sample` run is the dangerous one: it looks exactly like posterior collapse, and you may blame the model. Its value
# is a valid bound, merely a bad one. Compare the gradient with a finite difference, at the same noise. At $\mu = \frac12$ it lacks $\partial_\mu\langle\log p(x\mid z)\rangle = w(x - w\mu)/\sigma_x^2 = 7.5$.

# %%
point, h = torch.tensor([0.5, -0.5], requires_grad=True), 0.01
missing = {}
for slip in expected:
    value = reported(*point, slip)
    (gradient,) = torch.autograd.grad(value, point)
    with torch.no_grad():
        ahead = reported(point[0] + h, point[1], slip)
        behind = reported(point[0] - h, point[1], slip)
    missing[slip] = ((ahead - behind) / (2 * h) - gradient[0]).item()
verify(
    "gradient missing from autograd: none, variance, sample",
    list(missing.values()),
    equals=[0, 0, w_x * (x_value - w_x * 0.5) / noise_x**2],
    atol=[0.02, 0.02, 0.02 + 5 * P * np.exp(-0.5) / np.sqrt(n_noise)],
    source="finite difference of a parabola; error of a mean of draws",
)

# %% [markdown]
# ## Exercises
#
# ::::{exercise} A baseline
# :label: ex-baseline
# Derive {eq}`eq-score-dimensions`. A constant $b$ may be subtracted from $f$ in {eq}`eq-score-function`, since $\langle\nabla\log q\rangle = 0$. Which
# $b$ minimises the variance of the estimate for $f = \lVert\mathbf z\rVert^2$, and what becomes of the growth as $d^2$?
# ::::
#
# ::::{solution-start} ex-baseline
# :class: dropdown
# ::::
#
# Let $R$ be the sum of squares of the other components, with the mean $r$ and the variance $(d-1)(4\mu^2\sigma^2+2\sigma^4)$. A draw is
# $(z_1^2 + R)\,\epsilon_1/\sigma$, and $R$ and $\epsilon_1$ are independent. So the second moment gains
# $\langle R^2\rangle/\sigma^2$ and $2r\langle z_1^2\epsilon_1^2\rangle/\sigma^2$, with $\langle z_1^2\epsilon_1^2\rangle = \mu^2 + 3\sigma^2$.
#
# The second moment $\langle (f-b)^2\epsilon_1^2\rangle/\sigma^2$ is smallest at $b = \langle f\epsilon_1^2\rangle = \mu^2 + 3\sigma^2 + r$, which lowers it by
# $b^2/\sigma^2$. The leading $r^2/\sigma^2$ of {eq}`eq-score-dimensions` cancels, as does $2r(\mu^2+3\sigma^2)/\sigma^2$: what is left grows as $d$.

# %% tags=["solution"]
mu, sigma, dimension = 1.0, 0.5, 20
r = (dimension - 1) * (mu**2 + sigma**2)
best = mu**2 + 3 * sigma**2 + r
g = gradients(mu, sigma, dimension, baseline=best)["score"]
reduced = score_variance(mu, sigma, dimension) - best**2 / sigma**2
verify(
    "mean gradient with a baseline",
    g.mean(),
    equals=2 * mu,
    atol=5 * np.sqrt(reduced / n_draws),
    source="a constant times the score averages to zero",
)
fourth = ((g - g.mean()) ** 4).mean()
verify(
    "variance with the best baseline, in twenty dimensions",
    g.var(),
    equals=reduced,
    atol=5 * np.sqrt((fourth - g.var() ** 2) / n_draws),
    source="Gaussian moments, derived above",
)

# %% [markdown]
# In twenty dimensions this is an improvement by a factor of 28, and still 95 times the variance of the reparameterised estimate.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} What 'squared error plus KL' has decided
# :label: ex-squared-error
# Much code minimises $\lVert\mathbf x-\hat{\mathbf x}\rVert^2 + \operatorname{KL}$, or the *mean* over pixels in place of the sum. Which $\sigma^2$ are these? How many latent
# variables can a linear variational autoencoder of the digits then use?
# ::::
#
# ::::{solution-start} ex-squared-error
# :class: dropdown
# ::::
#
# The squared error enters {eq}`eq-linear-elbo` with $1/2\sigma^2$. The sum means $\sigma^2 = \frac12$, and three eigenvalues are larger. The mean means
# $\sigma^2 = d/2 = 32$, larger than all: complete collapse, and the *mean* of every sample is the mean image. $\sigma^2$ is a parameter of the model, whether or not you name it.

# %% tags=["solution"]
for name, noise, expected_active in (("sum", 0.5, 3), ("mean", d / 2, 0)):
    verify(
        f"{name} of squared errors plus KL: active latent variables",
        int((collapse(noise)[1] > 0.01).sum()),
        equals=expected_active,
        source="eigenvalues of the digits above the noise",
    )

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} When do the weights have a variance?
# :label: ex-weight-variance
# The posterior is $\mathcal N(0, \tau^2)$, the trial $\mathcal N(0, s^2)$. Compute $\langle w^2\rangle_q/p(x)^2$ as a function of $r = s^2/\tau^2$. For which $r$ is it
# finite? Where it is not, a mean of $k$ weights fluctuates because of a *single* large one. What is the gap of $L_k$ then, and does the
# prior overtake the best Gaussian?
# ::::
#
# ::::{solution-start} ex-weight-variance
# :class: dropdown
# ::::
#
# $\int p^2/q\,\mathrm dz$ is a Gaussian integral with $e^{-z^2(1/\tau^2 - 1/2s^2)}$ and the prefactor $s/(\sqrt{2\pi}\,\tau^2)$, so
# $\langle w^2\rangle_q/p(x)^2 = r/\sqrt{2r-1}$ for $r > \frac12$, and infinite at and below $\frac12$. It is one at $r = 1$, grows slowly for broad trials and diverges for narrow ones.

# %% tags=["solution"]
for r in (0.6, 1.0, 4.0):
    # Where p²/q is narrow or broad, so must be the grid.
    scale = np.full((1, 1), max(1, (2 - 1 / r) ** -0.5))
    points, log_cell = latent_grid(np.zeros((1, 1)), scale, width=12)
    log_ratio = 2 * gaussian_log_density(points)
    log_ratio -= gaussian_log_density(points, 0.0, r)
    verify(
        f"second moment of the weights at r = {r}",
        np.exp(log_ratio + log_cell).sum(),
        equals=r / np.sqrt(2 * r - 1),
        rtol=1e-6,
        source="Gaussian integral",
    )

# %% [markdown]
# Let $y = w/kp(\mathbf x)$ be of order one for one draw. The mean of the weights over $p(\mathbf x)$ is $S \approx 1 + y$, and
# $\langle S - 1\rangle = 0$, so that each of the $k$ draws adds $\langle y - \log(1+y)\rangle$ to the gap $\langle S - 1 - \log S\rangle$:
#
# $$
# k\,\bigl[\log p(\mathbf x) - L_k\bigr] \simeq k^2\bigl\langle y - \log(1+y)\bigr\rangle_q - \tfrac12 ,
# $$ (eq-single-jump)
#
# with a half that makes it {eq}`eq-iwae-rate` where the variance exists. For the Gaussians of this exercise $w/p$ exceeds a large $t$ with a
# probability of about $t^{-1/(1-r)}$, so for $r < \frac12$ the gap falls like $k\,P(w/p > k)\sim k^{-r/(1-r)}$, up to a logarithm: slower than
# $1/k$. Hence the prior, whose weights have a variance, wins in the end. (At $k = 10^{14}$ the sum for {eq}`eq-iwae-exact` is lost in rounding.)


# %% tags=["solution"]
def single_jump(k, q, ratio):
    """k times the gap of L_k, from one large weight (eq-single-jump)."""
    y = ratio / k
    series = y**2 / 2 - y**3 / 3  # for small y, without cancellation
    return k**2 * q @ np.where(y < 1e-4, series, y - np.log1p(y)) - 0.5


jumps = {
    k: [single_jump(k, *ratios[name]) for name in curves]
    for k in (1e5, 1e12, 1e14)
}
verify(
    "k times the gap at k = 10⁵: best Gaussian, prior",
    jumps[1e5],
    equals=[1e5 * curve[-1] for curve in curves.values()],
    rtol=1e-3,
    source="eq-iwae-exact, against eq-single-jump",
)
verify(
    "the prior is worse at k = 10¹², the best Gaussian at 10¹⁴",
    [-np.subtract(*jumps[1e12]), np.subtract(*jumps[1e14])],
    at_least=0,
    source="eq-single-jump",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# For any trial $q$, reconstruction minus divergence from the prior is the log evidence minus the divergence from the posterior: a bound that needs an average
# over $q$, but neither $p(\mathbf x)$ nor the posterior, and the free energy of a mean-field theory. Its gradient is an average over noise once $\mathbf z$ is written as a
# function of it; its gap shrinks as $1/k$ with $k$ draws where the weights have a variance, and closes for the linear variational autoencoder: principal
# component analysis, with a noise that decides how many components survive. Wherever the evidence can be computed, compute it: wrong code is happy to exceed it.
# For more, read the review by Blei and co-workers {cite}`blei2017`, and section 20.10.3 of *Deep Learning*
# {cite}`goodfellow2016`.
#
# **Next:** in {lecture}`3.3` decoder and encoder become networks, and the evidence of each image is still within reach.
