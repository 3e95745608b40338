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
# # Play the adversarial game where it can be solved
#
# Every model so far could be asked for an energy, a probability, or a bound. Give that up, and keep what one wants in the
# end: samples. Draw noise $\mathbf z$ and apply a function, $\mathbf x = G(\mathbf z)$. Nothing is easier to sample, and no
# likelihood is left to maximise. So a second network learns to tell these samples from data, and $G$ learns to deceive it: a
# game of two players {cite}`goodfellow2014`. Games are not minimised. They have equilibria, and whether one gets there is a
# question about oscillations and friction, which physicists know how to ask. In one dimension all of it can be answered.
#
# :::{admonition} Plan
# :class: tip
# **You will** measure a density ratio, and a free energy, with a classifier; derive which divergence the game minimises, and where its
# slope vanishes; compute the eigenvalues of the game and find its friction; and let two small players reach the equilibrium,
# at a temperature that you predict.
# **You need** divergences ({lecture}`3.2`), steps and stability ({lecture}`2.1`), and noise
# as temperature ({lecture}`2.2`).
# **Time** an hour to read, 20 s of CPU.
# :::

# %%
import functools

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.integrate import quad, solve_ivp
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import brentq
from scipy.special import expit, log_expit
from scipy.stats import kstest, norm
from torch.nn.functional import logsigmoid

from advml.checks import verify
from advml.display import show_table
from advml.metrics import gaussian_kl, jensen_shannon, kl_divergence

plt.style.use("advml.course")
torch.set_num_threads(1)  # these networks are too small to share out
torch.set_default_dtype(torch.float64)

# %% [markdown]
# Statistical checks below allow five standard errors, for any seed.

# %% tags=["parameters"]
seed = 0
n = 200_000  # samples of each kind

# %% [markdown]
# ## Samples without a density
#
# In one dimension a monotone $G$ has a density, because probability is carried along:
# $p_g(x)\,\mathrm dx = p(z)\,\mathrm dz$, so
#
# $$
# p_g(x) = \frac{p(z)}{\lvert G'(z)\rvert}, \qquad x = G(z), \quad z\sim\mathcal N(0, 1).
# $$ (eq-gan-pushforward)
#
# For $G = a + bz$ that is $\mathcal N(a, b^2)$. Ours is $G = \sinh$, with tails far from Gaussian. In many dimensions one
# would need all $\mathbf z$ that lead to $\mathbf x$, and a determinant at each; and with fewer $z$ than $x$ the samples lie
# on a surface, and there is no density at all. Samples are still there, and so is their derivative in the parameters of $G$.
# That derivative is essential. A Boltzmann machine cannot play this part: its samples come from a chain of coin tosses, not
# from a differentiable map of $\mathbf z$.
#
# The generator also never sees data. All that it learns of them comes from the other player, through that derivative
# (entry 13 of the {doc}`../errata`).
#
# The data come from a double well, half $\mathcal N(-\frac32, \frac14)$ and half $\mathcal N(\frac32, \frac14)$.

# %%
grid = np.linspace(-30, 30, 12_001)
dx = grid[1] - grid[0]


def log_data(x):
    """log p_data of the double well."""
    left, right = (norm.logpdf(x, m, 0.5) for m in (-1.5, 1.5))
    return np.logaddexp(left, right) - np.log(2)


def log_generated(x):
    """log p_g of x = sinh z (eq-gan-pushforward)."""
    return norm.logpdf(np.arcsinh(x)) - np.log1p(x**2) / 2


def draw(n, rng):
    """n samples of the data and n of the generator."""
    wells = rng.choice([-1.5, 1.5], n) + 0.5 * rng.standard_normal(n)
    return wells, np.sinh(rng.standard_normal(n))


# %% [markdown]
# The density has to be normalised, and samples have to follow it.

# %%
rng = np.random.default_rng([seed, 0])
fakes = draw(n, rng)[1]
total, _ = quad(lambda x: np.exp(log_generated(x)), -np.inf, np.inf)
verify(
    "the density of x = sinh z is normalised",
    total,
    equals=1,
    atol=1e-7,
    source="probability is carried along; quadrature",
)
verify(
    "samples of x = sinh z follow it: Kolmogorov-Smirnov distance times √n",
    kstest(fakes, lambda x: norm.cdf(np.arcsinh(x))).statistic * n**0.5,
    at_most=3.2,
    source="Kolmogorov's law: above 3.2 with probability 3e-9",
)

# %% [markdown]
# ## A classifier measures a density ratio
#
# Mix data and fakes half and half, and let a **discriminator** $D(\mathbf x)\in(0,1)$ say with which probability $\mathbf x$
# is real. Score it by the log-likelihood of its answers,
#
# $$
# V(D, G) = \bigl\langle\log D(\mathbf x)\bigr\rangle_\text{data} + \bigl\langle\log\bigl(1 - D(G(\mathbf z))\bigr)\bigr\rangle_{\mathbf z} .
# $$ (eq-gan-value)
#
# $D$ maximises $V$, $G$ minimises it: $\min_G\max_D V$. First hold $G$ fixed. At each $\mathbf x$ separately
# $p_\text{data}\log D + p_g\log(1-D)$ has the derivative $p_\text{data}/D - p_g/(1-D)$, which vanishes at
#
# $$
# D^*(\mathbf x) = \frac{p_\text{data}(\mathbf x)}{p_\text{data}(\mathbf x) + p_g(\mathbf x)} = \sigma\bigl(\ell^*(\mathbf x)\bigr), \qquad
# \ell^*(\mathbf x) = \log\frac{p_\text{data}(\mathbf x)}{p_g(\mathbf x)},
# $$ (eq-gan-optimal-discriminator)
#
# with the sigmoid $\sigma$. The **logit** $\ell$, or log-odds ($f$ from {lecture}`4.2` on), is a log-likelihood ratio,
# learned from samples alone. To compare it with a threshold is the most powerful test there is between two hypotheses
# {cite}`neyman1933`. Insert $D^*$, with $\bar p = (p_\text{data}+p_g)/2$:
#
# $$
# V^* = \Bigl\langle\log\frac{p_\text{data}}{2\bar p}\Bigr\rangle_\text{data} + \Bigl\langle\log\frac{p_g}{2\bar p}\Bigr\rangle_g
# = -\log 4 + 2\operatorname{JSD}(p_\text{data}, p_g),
# $$ (eq-gan-jsd)
#
# the Jensen–Shannon divergence {eq}`eq-jensen-shannon`. And for any other $D$, by collecting logarithms at each $\mathbf x$,
#
# $$
# V^* - V(D) = \int (p_\text{data} + p_g)\Bigl[D^*\log\frac{D^*}{D} + (1 - D^*)\log\frac{1-D^*}{1-D}\Bigr]\mathrm d\mathbf x \;\ge\; 0 ,
# $$ (eq-gan-gap)
#
# a divergence again. So any discriminator gives a lower bound on $2\operatorname{JSD}$, and a weak one underestimates how
# different $p_g$ is. In {lecture}`3.2` a lower bound was raised. Here the generator *lowers* one: it may win because $p_g$
# is good, or because the discriminator is bad.
#
# Two discriminators: logistic regression with the features $(1, x, x^2)$, a concave problem that Newton's method solves
# exactly, and a small network. **Predict** where each will go wrong.


# %%
def parabola(x):
    """Features 1, x, x² of a quadratic logit."""
    return np.stack([np.ones_like(x), x, x**2], axis=-1)


def fit(real, fake, features=parabola, known=0.0, n_steps=15):
    """Newton's method for max V, logit = known + features · w.

    `real` and `fake` have shape (..., n): one problem for each leading index.
    """
    phi = features(np.concatenate([real, fake], axis=-1))
    is_real = np.arange(phi.shape[-2]) < real.shape[-1]
    w = np.zeros(phi.shape[:-2] + phi.shape[-1:])
    for _ in range(n_steps):
        D = expit(known + np.einsum("...ik,...k->...i", phi, w))
        slope = np.einsum("...i,...ik->...k", is_real - D, phi)
        weighted = phi * (D * (1 - D))[..., None]
        curvature = np.swapaxes(phi, -1, -2) @ weighted
        w = w + np.linalg.solve(curvature, slope[..., None])[..., 0]
    return w


# %% [markdown]
# The parabola is fitted to one sample, the network by stochastic gradients to a new one in each step:

# %%
real, fake = draw(20_000, rng)
w_wells = fit(real, fake)
torch.manual_seed(seed)
network = torch.nn.Sequential(
    torch.nn.Linear(1, 32),
    torch.nn.Tanh(),
    torch.nn.Linear(32, 32),
    torch.nn.Tanh(),
    torch.nn.Linear(32, 1),
)
adam = torch.optim.Adam(network.parameters(), 5e-3)
for t in range(1500):
    adam.param_groups[0]["lr"] = 5e-3 * (1 - t / 1500)
    real, fake = (torch.from_numpy(x)[:, None] for x in draw(500, rng))
    value = logsigmoid(network(real)).mean()
    value = value + logsigmoid(-network(fake)).mean()
    adam.zero_grad()
    (-value).backward()
    adam.step()

# %% [markdown]
# The same integrals give the value of any discriminator, the best one, and the gap of {eq}`eq-gan-gap`.


# %%
def value_of(logit, log_p, log_g):
    """V(D) by quadrature (eq-gan-value)."""
    terms = np.exp(log_p) * log_expit(logit) + np.exp(log_g) * log_expit(
        -logit
    )
    return terms.sum() * dx


def gap_of(logit, log_p, log_g):
    """V* - V(D), a mean divergence (eq-gan-gap)."""
    best = log_p - log_g
    kl = expit(best) * (log_expit(best) - log_expit(logit))
    kl += expit(-best) * (log_expit(-best) - log_expit(-logit))
    return ((np.exp(log_p) + np.exp(log_g)) * kl).sum() * dx


# %% [markdown]
# What each of the two loses, computed in both ways:

# %%
with torch.no_grad():
    l_net = network(torch.from_numpy(grid)[:, None])[:, 0].numpy()
logits = {"parabola": parabola(grid) @ w_wells, "network": l_net}
log_p, log_g = log_data(grid), log_generated(grid)
best = value_of(log_p - log_g, log_p, log_g)
gaps = {k: gap_of(logit, log_p, log_g) for k, logit in logits.items()}
for name, logit in logits.items():
    verify(
        f"what the {name} loses is the mean divergence of its answers",
        best - value_of(logit, log_p, log_g),
        equals=gaps[name],
        atol=1e-9,
        source="eq-gan-gap, by quadrature",
    )
# %% [markdown]
# Which is better, and where?

# %%
verify(
    "the network is closer to the best value than 0.02 nats",
    gaps["network"],
    at_most=0.02,
    source="eq-gan-gap; 0.02 is empirical",
)
verify(
    "and the parabola is hardly better than D = ½, which loses 2 JSD",
    gaps["parabola"],
    equals=best + np.log(4),
    atol=0.005,
    source="eq-gan-jsd; 0.005 is empirical",
)
at = np.searchsorted(grid, [-5, 5])
steepness = np.gradient([l_net, log_p - log_g], dx, axis=1)[:, at]
verify(
    "slope of the network's logit at x = -5 and 5, over the exact one",
    steepness[0] / steepness[1],
    at_most=0.1,
    source="derivative of the log ratio; 0.1 is empirical",
)

# %% [markdown]
# The parabola cannot bend twice, and does hardly better than $D = \frac12$. The network follows the ratio where there are
# both data and fakes. Farther out, where only fakes are, it is wrong by many nats, and it loses next to nothing:
# {eq}`eq-gan-gap` compares probabilities, and to say $10^{-2}$ in place of $10^{-4}$ costs one hundredth of a nat per fake
# there. But a generator is moved by the *slope* of the logit, and at $x = \pm5$ the network offers less than a tenth of it
# (2.5 to 4.3 % with seven seeds).

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the density of the data with two peaks and that of the generator with one peak and long tails. Right: the exact log ratio with two maxima; the network lies on it between minus three and three and departs outside, the parabola is flat and misses both maxima and the dip between them."}, "figure": {"caption": "Left: data and generator. Right: the exact logit, and those of two trained discriminators. Shaded: hardly any data.", "name": "fig-game-ratio"}}
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
axes[0].plot(grid, np.exp(log_p), label=r"$p_\mathrm{data}$")
axes[0].plot(grid, np.exp(log_g), "--", label="$p_g$")
axes[0].set(xlim=(-5, 5), xlabel="$x$", ylabel="density")
axes[1].plot(grid, log_p - log_g, "k", lw=3, alpha=0.4, label="exact")
for (name, logit), style in zip(logits.items(), ("--", "-"), strict=True):
    axes[1].plot(grid, logit, style, label=name)
for side in (-1, 1):
    axes[1].axvspan(3.2 * side, 5 * side, color="0.9")
axes[1].set(xlim=(-5, 5), ylim=(-9, 4), xlabel="$x$", ylabel=r"logit $\ell$")
for ax in axes:
    ax.legend(loc="lower center" if ax is axes[1] else "upper left")
plt.show()

# %% [markdown]
# ### What physicists call it
#
# Let both densities be Boltzmann's, $p = e^{-E}/Z$ with $F = -\log Z$. Then
#
# $$
# \ell^*(x) = E_g(x) - E_\text{data}(x) + C, \qquad C = F_\text{data} - F_g .
# $$ (eq-gan-bennett)
#
# If the energies are known, one number is left to learn. $\partial V/\partial C = 0$ reads
# $\langle 1-D\rangle_\text{data} = \langle D\rangle_g$, with Fermi functions on both sides: this is **Bennett's acceptance
# ratio** {cite}`bennett1976`, the standard method for free-energy differences, found in 1976 by minimising a variance and
# recognised later as logistic regression {cite}`shirts2003`. With
# $I = \int p_\text{data}\,p_g/(p_\text{data}+p_g)\,\mathrm dx$, which is $\frac12$ for equal densities and 0 without
# overlap, $-nV$ has in $C$ the curvature $n\int(p_\text{data}+p_g)D(1-D)\,\mathrm dx = nI$. The slope
# $\sum_\text{data}(1-D) - \sum_gD$ has the variance $n(I - 2I^2)$, as
# $\langle(1-D)^2\rangle_\text{data} + \langle D^2\rangle_g = I$ and both means are $I$. So
#
# $$
# \operatorname{var}\hat C = \frac1n\Bigl(\frac1I - 2\Bigr).
# $$ (eq-gan-bennett-error)
#
# We try it on two springs, $E = kx^2/2$ with $k = 4$ and $1$, where $C = \frac12\log 4$. (Averaging $e^{-\Delta E}$ over the
# stiff one alone has an infinite variance.)


# %%
def overlap(log_p, log_g):
    """∫ p g / (p + g) by quadrature."""
    return (np.exp(log_p) * expit(log_g - log_p)).sum() * dx


def constant(x):
    return np.ones_like(x)[..., None]


repeats, n_small = 1000, 500
stiff = rng.normal(0, 0.5, (repeats, n_small))
soft = rng.normal(0, 1, (repeats, n_small))
difference = -1.5 * np.concatenate([stiff, soft], axis=1) ** 2
C = fit(stiff, soft, constant, known=difference)[:, 0]
I_springs = overlap(norm.logpdf(grid, 0, 0.5), norm.logpdf(grid))
variance = (1 / I_springs - 2) / n_small
verify(
    "free-energy difference of two springs, mean of 1000 classifiers",
    C.mean(),
    equals=np.log(4) / 2,
    atol=5 * np.sqrt(variance / repeats) + 1 / n_small,
    source="Gaussian integrals; a bias of order 1/n",
)
verify(
    "its variance over the 1000",
    C.var(),
    equals=variance,
    rtol=5 * np.sqrt(2 / repeats) + 5 / n_small,
    source="eq-gan-bennett-error",
)

# %% [markdown]
# ## The value, and what a finite sample adds to it
#
# Now data $\mathcal N(0, 1)$ and fakes $\mathcal N(\mu, 1)$. The ratio of two Gaussians is a parabola, here even a line,
# $\ell^* = \mu^2/2 - \mu x$: the family contains the optimum, and training must find it within its statistical error.
#
# Which error, and which *bias*? $V$ is maximised on the sample on which it is measured. Near the optimum $nV$ is a parabola
# in the $k$ parameters, with curvature $n\mathbf J$,
# $\mathbf J = \int\frac{p_\text{data}p_g}{p_\text{data}+p_g}\,\boldsymbol\phi\boldsymbol\phi^{\mathsf T}\mathrm dx$ for
# features $\boldsymbol\phi$. Its slope at the true parameters has, as above, a covariance $n\mathbf C$. There are exactly
# $n$ data and $n$ fakes, so fluctuations of these numbers are missing:
# $\mathbf C = \mathbf J - 2\,\mathbf m\mathbf m^{\mathsf T}$ with $\mathbf m = \mathbf J\mathbf e$, where $\mathbf e$
# selects the constant feature {cite}`prentice1979`. The maximum of $nV$ gains
# $\frac12\operatorname{tr}\mathbf J^{-1}\mathbf C$ on average, and $\mathbf e^{\mathsf T}\mathbf J\mathbf e = I$:
#
# $$
# \langle V_\text{in-sample}\rangle - V^* = \frac{k - 2I}{2n}, \qquad V^* - \langle V_\text{fresh}\rangle = \frac{k - 2I}{2n} .
# $$ (eq-gan-bias)
#
# On fresh samples the fitted parameters lose what they gained. (Their covariance is
# $\mathbf J^{-1}\mathbf C\mathbf J^{-1}/n = (\mathbf J^{-1} - 2\,\mathbf e\mathbf e^{\mathsf T})/n$.) With three parameters
# this is nothing. With a network of a million parameters and 60 000 images, $V$ on the training set says little about the
# divergence.


# %%
def fit_variance(mu):
    """n times the variance of the three fitted parameters."""
    overlap_density = np.exp(log_p) * expit(mu * grid - mu**2 / 2) * dx
    phi = parabola(grid)
    J = np.einsum("i,ik,il->kl", overlap_density, phi, phi)
    return np.diag(np.linalg.inv(J)) - [2, 0, 0]


distances = np.array([0.5, 1, 2, 4])
pulls, values, errors, divergences = [], [], [], []
log_p = norm.logpdf(grid)
for mu in distances:
    log_g = norm.logpdf(grid, mu)
    real, fake = rng.normal(0, 1, n), rng.normal(mu, 1, n)
    w = fit(real, fake)
    in_sample = log_expit(parabola(real) @ w), log_expit(-parabola(fake) @ w)
    values.append(sum(terms.mean() for terms in in_sample))
    errors.append(np.sqrt(sum(terms.var() for terms in in_sample) / n))
    exact = np.array([mu**2 / 2, -mu, 0])
    pulls.append((w - exact) / np.sqrt(fit_variance(mu) / n))
    p, g = np.exp(log_p) * dx, np.exp(log_g) * dx
    divergences.append(jensen_shannon(p / p.sum(), g / g.sum()))
predicted = -np.log(4) + 2 * np.array(divergences)
rows = zip(distances, divergences, predicted, values, strict=True)
show_table(
    ["μ", "JSD", "V* = -log 4 + 2 JSD", "V of the fit"],
    [[*exact, f"‹{found:.4f}›"] for *exact, found in rows],
)

# %% [markdown]
# Five standard errors are below 0.01 at our $n$.

# %%
verify(
    "Jensen–Shannon divergences of shifted Gaussians",
    divergences,
    equals=[0.030311, 0.111421, 0.336831, 0.632720],
    atol=1e-6,
    source="quadrature, six digits",
)
verify(
    "three fitted parameters at four distances, in standard errors",
    np.array(pulls),
    equals=0,
    atol=5,
    source="eq-gan-optimal-discriminator; covariance J⁻¹CJ⁻¹/n",
)
verify(
    "five standard errors of the value",
    5 * np.array(errors),
    at_most=0.01,
    source="variance of the sampled logarithms",
)
verify(
    "value of the fitted discriminators",
    values,
    equals=predicted,
    atol=0.01,
    source="eq-gan-jsd",
)

# %% [markdown]
# And the bias, from a thousand small samples at $\mu = 1$:

# %%
real = rng.normal(0, 1, (repeats, n_small))
fake = rng.normal(1, 1, (repeats, n_small))
w, exact = fit(real, fake), np.array([0.5, -1, 0])


def in_sample_value(w):
    """V of each repetition, on the samples that it was fitted to."""
    l_real, l_fake = (parabola(x) @ w[..., None] for x in (real, fake))
    return (log_expit(l_real).mean(1) + log_expit(-l_fake).mean(1))[:, 0]


log_g = norm.logpdf(grid, 1)
I_one = overlap(log_p, log_g)
coarse = slice(None, None, 20)  # the sum stays exact to rounding
fitted_logits = w @ parabola(grid[coarse]).T
fresh = np.exp(log_p[coarse]) * log_expit(fitted_logits)
fresh = 20 * dx * (fresh + np.exp(log_g[coarse]) * log_expit(-fitted_logits))
gain = in_sample_value(w) - in_sample_value(exact)
loss = value_of(parabola(grid) @ exact, log_p, log_g) - fresh.sum(axis=1)
verify(
    "2n times the bias: gain on its own samples, loss on all others",
    [2 * n_small * gain.mean(), 2 * n_small * loss.mean()],
    equals=3 - 2 * I_one,
    atol=5 * np.sqrt(2 * 3 / repeats) + 9 / n_small,
    source="eq-gan-bias; χ² with at most three degrees of freedom",
)

# %% [markdown]
# The same thousand fits also show whether the missing fluctuations, the $-2\,\mathbf e\mathbf e^{\mathsf T}$, are right:

# %%
verify(
    "variance of the three parameters over the 1000 fits",
    w.var(axis=0),
    equals=fit_variance(1.0) / n_small,
    rtol=5 * np.sqrt(2 / repeats) + 10 / n_small,
    source="diagonal of J⁻¹ - 2 e eᵀ; for corrections of order 1/n",
)

# %% [markdown]
# ## What the generator feels
#
# The generator changes only the second term of $V$. With $\log(1-D) = -\varsigma(\ell)$ and $\log D = -\varsigma(-\ell)$, where
# $\varsigma$ is the softplus, the losses in use are
#
# $$
# \begin{aligned}
# \text{discriminator:}\quad & \bigl\langle\varsigma(-\ell)\bigr\rangle_\text{data} + \bigl\langle\varsigma(\ell)\bigr\rangle_g = -V ,\\
# \text{generator, saturating:}\quad & -\bigl\langle\varsigma(\ell)\bigr\rangle_g = \langle\log(1-D)\rangle_g ,\\
# \text{generator, non-saturating:}\quad & \phantom{-}\bigl\langle\varsigma(-\ell)\bigr\rangle_g = -\langle\log D\rangle_g ,\\
# \text{Wasserstein (below):}\quad & \langle\ell\rangle_g - \langle\ell\rangle_\text{data} \;\text{ and }\; -\langle\ell\rangle_g .
# \end{aligned}
# $$ (eq-gan-losses)
#
# The saturating loss makes a zero-sum game. The non-saturating one is usual in practice {cite}`goodfellow2014`, and its game
# is *not* zero-sum: there is no common $V$ with a saddle. Both generators want a large $\ell$. What differs is the pull.
#
# Hold a best $D^*$ fixed and differentiate in the parameters of $G$. At fixed $D^*$, $\langle\log(1-D^*)\rangle_g$ has the
# slope of $2\operatorname{JSD}$, since $V$ is stationary in $D$. For the other write
# $-\log D^* = \log(p_g/p_\text{data}) - \log(1-D^*)$. The slope of the first part, with the logarithm held fixed, is that of
# $\operatorname{KL}(p_g\,\Vert\,p_\text{data})$: what is missing, $\langle\nabla\log p_g\rangle_g$, is zero. So
#
# $$
# \nabla\bigl\langle-\log D^*\bigr\rangle_g = \nabla\bigl[\operatorname{KL}(p_g\,\Vert\,p_\text{data}) - 2\operatorname{JSD}(p_g, p_\text{data})\bigr]
# $$ (eq-gan-nonsaturating)
#
# {cite}`arjovsky2017`. The divergence is the mode-seeking one of {lecture}`3.2`, and the other is *subtracted*. To leave out
# half of the data costs only $\log2 - \frac32\log\frac43 = 0.26$ nats; to make one fake where there are no data costs as
# much as you like. {lecture}`4.2` is about that.
#
# Take data $\mathcal N(0,1)$ and $G = \theta + z$. The slope of the logit is $-\theta$, so the two forces toward the data are
#
# $$
# \theta\,\langle D^*\rangle_g = \theta I(\theta) \quad\text{(saturating)}, \qquad \theta\,\langle 1 - D^*\rangle_g = \theta - \theta I(\theta) ,
# $$ (eq-gan-forces)
#
# with the overlap $I$ from above. Put $x = \theta/2 + u$: $I = e^{-\theta^2/8}\int\varphi(u)\,\mathrm du/2\cosh(\theta u/2)$
# with the normal density $\varphi$. Since $1 - u^2/2\le\sqrt{2\pi}\,\varphi\le1$, and
# $\int\mathrm du/2\cosh(\theta u/2) = \pi/\theta$, $\int u^2\,\mathrm du/2\cosh(\theta u/2) = \pi^3/\theta^3$,
#
# $$
# \sqrt{\tfrac\pi2}\,e^{-\theta^2/8}\Bigl(1 - \frac{\pi^2}{2\theta^2}\Bigr) \;\le\; \theta I(\theta) \;\le\; \sqrt{\tfrac\pi2}\,e^{-\theta^2/8} .
# $$ (eq-gan-saturation)
#
# A saturating generator ten widths away from its goal feels $4.5\cdot10^{-6}$; the other is on a spring of stiffness one.


# %%
def forces(theta, s=1.0):
    """Slopes in (θ, log s) of both losses at fixed D*; G = θ + s z.

    The gradient takes the path D(G(z)): slope of the logit times ∂x/∂θ = 1,
    or times ∂x/∂log s = s z = x - θ. Rows: saturating, non-saturating.
    """
    log_g = norm.logpdf(grid, theta, s)
    logit = norm.logpdf(grid) - log_g
    pull = np.exp(log_g) * (-grid + (grid - theta) / s**2)
    paths = np.stack([np.ones_like(grid), grid - theta], axis=1)
    return -np.array([expit(logit), expit(-logit)]) * pull @ paths * dx


# %% [markdown]
# They have to be slopes of divergences, which we differentiate numerically.
#
#


# %%
def divergence_pair(theta, log_scale):
    """2 JSD and KL(p_g‖p_data), by quadrature and in closed form."""
    log_g = norm.logpdf(grid, theta, np.exp(log_scale))
    best = value_of(log_p - log_g, log_p, log_g)
    kl = gaussian_kl([theta], np.exp([2 * log_scale]))
    return np.array([best + np.log(4), kl])


half, whole = np.array([1.0, 0.0]), np.array([0.5, 0.5])
verify(
    "KL - 2 JSD of a generator that makes one of two equal modes",
    kl_divergence(half, whole) - 2 * jensen_shannon(half, whole),
    equals=np.log(2) - 1.5 * np.log(4 / 3),
    atol=1e-12,
    source="sum over two states",
)
here, eps = np.array([1.5, np.log(0.7)]), 1e-4
two_jsd, kl = np.transpose(
    [
        divergence_pair(*(here + e)) - divergence_pair(*(here - e))
        for e in eps * np.eye(2)
    ]
) / (2 * eps)
verify(
    "slopes of both losses in mean and width, at fixed best D",
    forces(1.5, 0.7),
    equals=[two_jsd, kl - two_jsd],
    atol=1e-6,
    source="eq-gan-nonsaturating: 2 JSD, and KL - 2 JSD",
)
# %% [markdown]
# And for shifted Gaussians, forces and bounds:

# %%
thetas = np.linspace(0.25, 10, 40)
overlaps = np.array([overlap(log_p, norm.logpdf(grid, m)) for m in thetas])
envelope = np.sqrt(np.pi / 2) * np.exp(-(thetas**2) / 8)
verify(
    "forces on the mean: θI and θ - θI",
    [forces(m)[:, 0] for m in (1.0, 4.0)],
    equals=[
        [m * overlaps[k], m - m * overlaps[k]] for m, k in ((1, 3), (4, 15))
    ],
    atol=1e-6,
    source="eq-gan-forces",
)
verify(
    "saturating force, between its bounds",
    thetas * overlaps / envelope,
    at_most=1 + 1e-12,
    at_least=1 - np.pi**2 / (2 * thetas**2),
    source="eq-gan-saturation",
)
verify(
    "saturating force at a distance of ten widths, times 10⁶",
    1e6 * thetas[-1] * overlaps[-1],
    equals=4.5,
    atol=0.05,
    source="eq-gan-saturation, rounded in the text",
)

# %% [markdown]
# ### Convex in what?
#
# One reads that the game is convex in the generator (entry 16 of the {doc}`../errata`). It is, if the generator's variable is the *density*:
# $V$ is linear in $p_g$, and a maximum of linear functions is convex. Along a mixture $p_t = (1-t)\,p_0 + t\,p_1$ the
# curvature of $2\operatorname{JSD}$ is
#
# $$
# \frac{\mathrm d^2}{\mathrm dt^2}\,2\operatorname{JSD}(p_\text{data}, p_t) = \int\frac{(p_1 - p_0)^2\,p_\text{data}}{p_t\,(p_\text{data} + p_t)}\,\mathrm dx \;\ge\; 0 .
# $$ (eq-gan-convex)
#
# But gradients act on parameters. As a function of $\theta$, JSD has the slope $\theta I/2$ and the limit $\log 2$. A bounded
# function cannot be convex on the whole line, unless it is constant.

# %%
weights = np.linspace(0.05, 0.95, 19)
ends = norm.pdf(grid, -3), norm.pdf(grid, 1.5)


def along_mixture(t):
    """2 JSD of data and mixture, and its curvature (eq-gan-convex)."""
    p_t = (1 - t) * ends[0] + t * ends[1]
    near = np.abs(grid) < 15  # beyond, densities are too small to divide by
    p, q, change = np.exp(log_p[near]), p_t[near], (ends[1] - ends[0])[near]
    logit = np.log(p) - np.log(q)
    value = p @ log_expit(logit) + q @ log_expit(-logit)
    return value * dx + np.log(4), (change**2 * expit(logit) / q).sum() * dx


mixed, curvature = np.transpose([along_mixture(t) for t in weights])
h = 1e-3
values_near = [
    [along_mixture(t + k * h)[0] for t in weights] for k in (-1, 0, 1)
]
second = np.diff(values_near, 2, axis=0)[0] / h**2
verify(
    "curvature along a mixture of densities",
    second,
    equals=curvature,
    rtol=1e-3,
    source="eq-gan-convex; second differences",
)
verify("and its sign", curvature, at_least=0, source="convex in the density")


# %% [markdown]
# The same question along $\theta$. Where does the curvature change its sign?


# %%
def jsd_slope(theta):
    """Slope of JSD in θ (eq-gan-forces)."""
    return theta * overlap(log_p, norm.logpdf(grid, theta)) / 2


inflection = brentq(lambda m: jsd_slope(m + h) - jsd_slope(m - h), 0.5, 4)
curvatures = [
    np.diff([divergence_pair(m + k * h, 0)[0] for k in (-1, 0, 1)], 2)[0]
    for m in (0.8 * inflection, 1.2 * inflection, inflection)
]
verify(
    "in θ: convex nearer than 1.636, concave farther, flat there",
    [curvatures[0], -curvatures[1], -np.abs(curvatures[2])],
    at_least=[0.01 * h**2, 0.01 * h**2, -1e-5 * h**2],
    source="second differences of the divergence itself, times h²",
)
verify(
    "where the curvature changes sign",
    inflection,
    equals=1.636,
    atol=5e-4,
    source="root by bisection, rounded in the text",
)

# %% [markdown]
# So the saturating force is largest at $\theta = 1.636$, and beyond it weakens with distance. In the middle of
# {numref}`fig-game-forces` the density moves on a straight line from one Gaussian to the other, and the divergence is an
# honest convex curve. With the mean of *one* Gaussian it is not.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the best value against distance rises from minus log four, steepest at the marked inflection, and bends over to zero; fitted points lie on it. Middle: twice the divergence along a mixture is a curve with positive curvature. Right, logarithmic: the saturating force follows its dotted upper bound from a distance of three on, the non-saturating one grows linearly."}, "figure": {"caption": "Left: best value for data N(0, 1) and fakes N(θ, 1): theory (line), fitted discriminators (points), inflection (dotted). Middle: 2 JSD along a mixture of N(−3, 1) and N(3/2, 1). Right: forces on θ, with the upper bound of the saturating one (dotted).", "name": "fig-game-forces"}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.8))
fine = np.linspace(0, 6, 61)
axes[0].plot(fine, [divergence_pair(m, 0)[0] - np.log(4) for m in fine])
axes[0].plot(distances, values, "C1o")
axes[0].axvline(inflection, color="0.5", ls=":")
axes[0].set(xlabel=r"distance $\theta$", ylabel="$V$ (nats)")
axes[1].plot(weights, mixed)
axes[1].set(xlabel="weight $t$", ylabel="2 JSD (nats)", ylim=(0, None))
axes[2].semilogy(thetas, thetas * overlaps, label="saturating")
axes[2].semilogy(thetas, thetas - thetas * overlaps, "--", label="non-sat.")
axes[2].semilogy(thetas, envelope, "k:")
axes[2].set(xlabel=r"distance $\theta$", ylabel="force", ylim=(1e-6, 30))
axes[2].legend(loc="lower left")
plt.show()

# %% [markdown]
# ## The game rotates
#
# So much for a discriminator at its best. Now both move, a small step each. The smallest game {cite}`mescheder2018`: all
# data sit at zero, all fakes at $\theta$, and the logit is a line, $\ell = \psi x$. Then
# $V = -\log 2 - \varsigma(\theta\psi)$, and gradient ascent and descent in continuous time are
#
# $$
# \dot\theta = \sigma(\theta\psi)\,\psi , \qquad \dot\psi = -\sigma(\theta\psi)\,\theta .
# $$ (eq-gan-dirac)
#
# **Predict** the orbits before you read on. Multiply the first by $\theta$, the second by $\psi$, and add:
#
# $$
# \frac{\mathrm d}{\mathrm dt}\bigl(\theta^2 + \psi^2\bigr) = 0 .
# $$ (eq-gan-conserved)
#
# Circles, however far from the origin; only the speed, $\sigma(\theta\psi)$, varies. Near the origin $\sigma = \frac12$ and
# the eigenvalues are $\pm i/2$: an oscillator, $\ddot\theta = -\frac14\theta$. The generator runs past its goal at full
# speed, because the discriminator still says "go on": it needs time to notice. Nobody loses, and nobody arrives.
#
# **Finite steps.** *Simultaneous* steps of size $h$ add $h$ times a velocity at right angles to the state: $\theta^2+\psi^2$
# grows by $1 + h^2\sigma^2$ in each step, by Pythagoras, and the modulus of the eigenvalues is $\sqrt{1 + h^2/4}$.
# *Alternating* steps show the generator the new $\psi$. Near the origin
#
# $$
# \begin{pmatrix}\theta\\ \psi\end{pmatrix} \leftarrow \begin{pmatrix}1 - h^2/4 & h/2\\ -h/2 & 1\end{pmatrix}\begin{pmatrix}\theta\\ \psi\end{pmatrix},
# \qquad \det = 1, \quad \operatorname{tr} = 2 - \frac{h^2}4 .
# $$ (eq-gan-alternating)
#
# Eigenvalues with product one and sum between $-2$ and 2 are $e^{\pm i\omega}$: modulus exactly one for $h < 4$. With
# position $\theta$ and momentum $\psi$ this step is symplectic Euler, which keeps planets on their orbits
# {cite}`hairer2006`. It does not conserve $\theta^2+\psi^2$, but a *shadow* of it,
#
# $$
# \theta^2 + \psi^2 - \tfrac h2\,\theta\psi ,
# $$ (eq-gan-shadow)
#
# an ellipse, for $h < 4$. Beyond, it is a hyperbola, and the state flies off, jumping between its two branches. All this is
# linear. Farther out $\sigma$ varies, the step is no longer symplectic, and the orbit drifts outward, slowly: at $h = 1$ from a
# radius of one to more than four in 20 000 steps.
#
# **Friction.** The penalty **R1** {cite}`mescheder2018` holds the discriminator flat at the data,
#
# $$
# V \;\to\; V - \gamma R_1, \qquad R_1 = \tfrac12\bigl\langle\lvert\nabla\ell(\mathbf x)\rvert^2\bigr\rangle_\text{data} .
# $$ (eq-gan-r1)
#
# Here it takes $\gamma\psi$ from $\dot\psi$: $\ddot\theta + \gamma\dot\theta + \frac14\theta = 0$ near the origin, a damped
# oscillator with
#
# $$
# \nu_\pm = -\frac\gamma2 \pm \sqrt{\frac{\gamma^2}4 - \frac14} ,
# $$ (eq-gan-damping)
#
# critically damped at $\gamma = 1$. Simultaneous steps have eigenvalues $1 + h\nu_\pm$. An alternating step has the
# determinant $1 - h\gamma$, and so the modulus $\sqrt{1 - h\gamma}$ while it oscillates.
#
# We write the game down by its value only. PyTorch finds the steps, and the Jacobian of a whole update.


# %%
def velocity(state, gamma=0.0):
    """(θ̇, ψ̇) of the smallest game with R1, from its value."""
    theta, psi = state
    V = logsigmoid(0 * psi) + logsigmoid(-theta * psi)
    penalised = V - gamma / 2 * psi**2
    (down,) = torch.autograd.grad(V, theta, create_graph=True)
    (up,) = torch.autograd.grad(penalised, psi, create_graph=True)
    return torch.stack([-down, up])


def update(state, h, gamma=0.0, alternating=True):
    """One step of the discriminator ψ, one of the generator θ."""
    move = velocity(state, gamma)
    if not alternating:
        return state + h * move
    new = torch.stack([state[0], state[1] + h * move[1]])
    return torch.stack([state[0] + h * velocity(new)[0], new[1]])


def eigenvalues(function, size=2):
    """Eigenvalues of the Jacobian of a map of the state, at zero."""
    origin = torch.zeros(size)
    jacobian = torch.autograd.functional.jacobian(function, origin)
    return np.sort_complex(np.linalg.eigvals(jacobian.numpy()))


# %% [markdown]
# Continuous time first, then steps up to four and beyond.

# %%
flow = eigenvalues(velocity)
verify(
    "continuous time: eigenvalues ±i/2",
    [flow.real, flow.imag],
    equals=[[0, 0], [-0.5, 0.5]],
    atol=1e-6,
    source="eq-gan-dirac, linearised",
)
for h in (0.1, 1.0, 3.9, 4.5):
    trace = 2 - h**2 / 4
    root = np.sqrt(complex(trace**2 / 4 - 1))
    verify(
        f"moduli of simultaneous and of alternating steps, h = {h}",
        [
            np.abs(
                eigenvalues(
                    lambda state, h=h: update(state, h, alternating=False)
                )
            ),
            np.sort(np.abs(eigenvalues(lambda state, h=h: update(state, h)))),
        ],
        equals=[
            [np.sqrt(1 + h**2 / 4)] * 2,
            np.sort(np.abs([trace / 2 + root, trace / 2 - root])),
        ],
        atol=1e-6,
        source="eq-gan-alternating; both are one for h < 4",
    )

# %% [markdown]
# With friction, in continuous time and in steps. (At $\gamma = 1$ the two eigenvalues coincide; rounding
# of $10^{-16}$ splits them by $10^{-8}$.)

# %%
h = 0.3
for gamma in (0.3, 1.0, 3.0):
    root = np.sqrt(complex(gamma**2 / 4 - 0.25))
    rates = eigenvalues(lambda state, g=gamma: velocity(state, g))
    exact = np.sort_complex([-gamma / 2 - root, -gamma / 2 + root])
    step = eigenvalues(
        lambda state, g=gamma: update(state, h, g, alternating=False)
    )
    both = np.array([rates, (step - 1) / h])
    verify(
        f"eigenvalues with R1, γ = {gamma}: flow, and simultaneous steps",
        [both.real, both.imag],
        equals=[[exact.real] * 2, [exact.imag] * 2],
        atol=1e-6,
        source="eq-gan-damping",
    )


# %% [markdown]
# Alternating steps, the moduli where they oscillate:

# %%
for gamma in (0.3, 1.0, 3.0):
    both = eigenvalues(lambda state, g=gamma: update(state, h, g))
    verify(
        f"determinant of an alternating step, γ = {gamma}",
        both.prod().real,
        equals=1 - h * gamma,
        atol=1e-6,
        source="product of the two half steps",
    )
    if gamma < 1 - h / 4:  # (tr/2)² < det
        verify(
            f"both moduli of an alternating step, γ = {gamma}",
            np.abs(both),
            equals=np.sqrt(1 - h * gamma),
            atol=1e-6,
            source="square root of the determinant",
        )
critical = eigenvalues(lambda state: update(state, h, 1 - h / 4))
verify(
    "both moduli of an alternating step, γ = 1 - h/4",
    np.abs(critical),
    equals=1 - h / 2,
    atol=1e-6,
    source="(tr/2)² = det",
)


# %% [markdown]
# And the conserved quantities, along real orbits:


# %%
def orbit(start, n_steps, update):
    """States of the game, shape (n_steps + 1, 2)."""
    states = [torch.tensor(start)]
    for _ in range(n_steps):
        state = states[-1].clone().requires_grad_()
        states.append(update(state).detach())
    return torch.stack(states).numpy()


def dirac_flow(t, state, sign=1):
    """eq-gan-dirac; sign = -1 is the non-saturating generator."""
    theta, psi = state
    speed = expit(theta * psi)
    return [expit(sign * theta * psi) * psi, -speed * theta]


def crossing(t, state):
    return state[1]


# %% [markdown]
# The flow stays on its circle. Simultaneous steps gain what Pythagoras says:

# %%
solution = solve_ivp(
    dirac_flow, (0, 60), [2.0, 1.0], events=crossing, rtol=1e-10, atol=1e-12
)
verify(
    "θ² + ψ² along the nonlinear flow",
    (solution.y**2).sum(axis=0),
    equals=5,
    atol=1e-6,
    source="eq-gan-conserved",
)
h = 0.3
outward = orbit(
    [1.0, 0.0], 60, lambda state: update(state, h, alternating=False)
)
speed = expit(outward.prod(axis=1))[:-1]
square = (outward**2).sum(axis=1)
verify(
    "growth of θ² + ψ² in each simultaneous step",
    square[1:] / square[:-1],
    equals=1 + h**2 * speed**2,
    atol=1e-12,
    source="Pythagoras",
)
# %% [markdown]
# Alternating steps, near the origin and far from it:

# %%
tiny = orbit([1e-6, 0.0], 200, lambda state: update(state, h)) * 1e6
shadow = (tiny**2).sum(axis=1) - h / 2 * tiny.prod(axis=1)
verify(
    "shadow energy of alternating steps, close to the origin",
    shadow,
    equals=1,
    atol=1e-6,
    source="eq-gan-shadow",
)
theta, psi = 1.0, 0.0
for _ in range(20_000):  # alternating, h = 1, with σ as it is
    psi -= expit(theta * psi) * theta
    theta += expit(theta * psi) * psi
verify(
    "radius of the orbit from θ = 1 after 20 000 steps of h = 1",
    np.hypot(theta, psi),
    at_least=4,
    source="eq-gan-dirac, in steps; the number is empirical",
)

# %% [markdown]
# Orbits beside their eigenvalues:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Top: four orbits in the plane of theta and psi: a spiral outward, a nearly closed curve, a spiral inward, and one that goes to the origin with hardly a turn. Bottom: below each its two eigenvalues with the unit circle: outside, on the circle, inside, and two different ones on the real axis inside."}, "figure": {"caption": "Top: the smallest game from θ = 1 (dot) in steps of 0.3. The two on the right alternate, with R1. Bottom: eigenvalues of one update, and the unit circle.", "name": "fig-game-orbits"}}
h = 0.3
cases = {
    "simultaneous": {"alternating": False},
    "alternating": {},
    r"$\gamma = 0.3$": {"gamma": 0.3},
    r"$\gamma = 1$": {"gamma": 1.0},
}
fig, axes = plt.subplots(2, 4, figsize=(7.2, 3.9))
unit = np.exp(1j * np.linspace(0, 2 * np.pi, 400))
for (top, bottom), (name, options) in zip(axes.T, cases.items(), strict=True):
    one = functools.partial(update, h=h, **options)
    states = orbit([1.0, 0.0], 90, one)
    top.plot(*states.T, ".-", lw=0.6, ms=2)
    top.plot(*states[0], "ko", ms=4)
    top.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect=1, title=name)
    top.set_xlabel(r"$\theta$")
    roots = eigenvalues(one)
    bottom.plot(unit.real, unit.imag, "0.6", lw=1)
    bottom.plot(roots.real, roots.imag, "C1o")
    bottom.set(xlim=(0.75, 1.05), ylim=(-0.22, 0.22), xlabel="real part")
axes[0, 0].set_ylabel(r"$\psi$")
axes[1, 0].set_ylabel("imaginary part")
plt.show()

# %% [markdown]
# From left to right the eigenvalues move from outside the unit circle onto it, then inside; at $\gamma = 1$ they have met on
# the real axis and parted. (Alternating steps are critical at $1 - h/4$.)
#
# In time, too little friction rings and too much creeps: for large
# $\gamma$ the slow rate tends to $1/4\gamma$, because a discriminator that is held flat can hardly push.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Theta against time. Without friction an undamped oscillation between minus one and one; with gamma 0.3 it decays; with gamma one it goes to zero without crossing; with gamma three it creeps slowly to zero."}, "figure": {"caption": "Error of the generator against time: no friction, under-damped, critical, over-damped.", "name": "fig-game-friction"}}
fig, ax = plt.subplots(figsize=(6, 2.6))
for gamma, style in ((0, ":"), (0.3, "-"), (1, "-."), (3, "--")):
    run = solve_ivp(
        lambda t, y, g=gamma: np.array(dirac_flow(t, y)) - [0, g * y[1]],
        (0, 40),
        [1, 0],
        t_eval=np.linspace(0, 40, 400),
        rtol=1e-8,
        atol=1e-10,
    )
    ax.plot(run.t, run.y[0], style, label=rf"$\gamma = {gamma}$")
ax.axhline(0, color="0.7", lw=0.8)
ax.set(xlabel="time", ylabel=r"$\theta$")
ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
plt.show()

# %% [markdown]
# The slow rate, to the order in which the square root was expanded:

# %%
stiff_rate = -eigenvalues(lambda state: velocity(state, 20.0)).real.max()
verify(
    "slow rate of the over-damped game, times 4γ, at γ = 20",
    stiff_rate * 80,
    equals=1,
    atol=1 / 20**2,
    source="eq-gan-damping; next term 1/4γ²",
)

# %% [markdown]
# ### Undecided is not the same as right
#
# At the equilibrium $D = \frac12$ everywhere. The converse is widely believed: if $D = \frac12$, training has converged
# (entry 15 of the {doc}`../errata`). Look at the orbit where $\psi = 0$. The discriminator says $\frac12$ to everything, $V = -\log 4$, and
# by {eq}`eq-gan-conserved` $|\theta|$ is as large as it ever gets. Or let the discriminator be too weak. For data
# $\mathcal N(0,1)$ and fakes $\mathcal N(0, 4)$ and a *linear* logit, the slope of $V$ at $w = 0$ is half the difference of the
# means of $1$ and of $x$, both zero. $V$ is concave, so $D = \frac12$ is its best answer, forever. The parabola is not fooled.
# Hence the test of a generator is a *new* discriminator, strong, trained to its end against fixed samples, and judged on
# others.

# %%
passages = solution.y_events[0]
verify(
    "at each passage of ψ = 0 the error is the radius of the circle",
    np.abs(passages[:, 0]),
    equals=np.sqrt(5),
    atol=1e-6,
    source="eq-gan-conserved",
)


def line(x):
    return parabola(x)[..., :2]


real, fake = rng.normal(0, 1, n), rng.normal(0, 2, n)
w_line, w_both = fit(real, fake, line), fit(real, fake)
log_g = norm.logpdf(grid, 0, 2)
# At D = ½ the slope has the covariance of φ over four, for each sample.
sigma_w = np.sqrt((1 + 4) / 4 / n) / ((1 + 4) / 4)
# %% [markdown]
# The value of each, by quadrature, without the sample's bias:

# %%
verify(
    "best line: no slope, and the value -log 4, with a wrong generator",
    [w_line[1], value_of(line(grid) @ w_line, log_p, log_g)],
    equals=[0, -np.log(4)],
    atol=[5 * sigma_w, 20 / n],
    source="equal means; loss χ² over 2n, as in eq-gan-bias",
)
verify(
    "best parabola: the divergence",
    value_of(parabola(grid) @ w_both, log_p, log_g),
    equals=value_of(log_p - log_g, log_p, log_g),
    atol=20 / n,
    source="eq-gan-jsd; loss χ² over 2n, below 40 with p = 1e-8",
)
verify(
    "and that is far from -log 4",
    value_of(log_p - log_g, log_p, log_g) + np.log(4),
    at_least=0.1,
    source="quadrature",
)

# %% [markdown]
# ## A distance for distributions that do not meet
#
# JSD has no sense of how far: it is $\log 2$ for any two distributions without overlap. The **Wasserstein distance** is the
# least mean distance over which probability has to be carried. In one dimension, with $H$ the distribution function of the
# fakes minus that of the data, it is an area, and by duality
#
# $$
# W_1(p_\text{data}, p_g) = \int\lvert H(x)\rvert\,\mathrm dx
# = \max_{\lvert f'\rvert\le1}\;\langle f\rangle_\text{data} - \langle f\rangle_g .
# $$ (eq-gan-wasserstein)
#
# (Integrate by parts: the difference of means is $\int f'H\,\mathrm dx$; the best slope is the sign of $H$.) What attains it
# is a discriminator without sigmoid, a **critic** {cite}`arjovsky2017wgan`, with the last losses of {eq}`eq-gan-losses`. For
# a shift, $W_1 = \lvert\Delta\mu\rvert$: a force of one at any distance. To keep a network's slope at one, punish deviations
# {cite}`gulrajani2017`,
#
# $$
# \bigl\langle(\lvert\nabla f(\mathbf y)\rvert - 1)^2\bigr\rangle, \qquad \mathbf y = u\,\mathbf x + (1-u)\,G(\mathbf z), \quad u\sim\mathcal U(0, 1),
# $$ (eq-gan-gradient-penalty)
#
# with weight $\lambda$. A soft constraint gives way. Let $r$ be the density of $y$, and let the data lie to the right, so that
# $H\ge0$ and $f'>0$. At each $x$ the slope maximises $f'H - \lambda r\,(f'-1)^2$:
#
# $$
# f'(x) = 1 + \frac{H(x)}{2\lambda\,r(x)} , \qquad \langle f\rangle_\text{data} - \langle f\rangle_g = W_1 + \int\frac{H^2}{2\lambda r}\,\mathrm dx .
# $$ (eq-gan-overshoot)
#
# A line $f = \psi x$ gets $\psi = 1 + \Delta\mu/2\lambda$ with $\Delta\mu = \mu_\text{data} - \mu_g$. What these critics
# report is *not* $W_1$: at four widths and the usual $\lambda = 10$ it is 4.80 from the line and 4.81 from the free one. The
# line's reading over its slope is $W_1$, exactly 4.
#
# We start each critic twice, once from $+x/2$, once from $-x/2$. **Predict** what the second one does.

# %%
shift, strength = 4.0, 10.0
x = np.linspace(-8, 12, 401)
step = x[1] - x[0]
u = (np.arange(200) + 0.5) / 200
r = norm.pdf(x[:, None], shift * u, np.hypot(u, 1 - u)).mean(axis=1)
H = norm.cdf(x) - norm.cdf(x, shift)  # data at 4, fakes at 0
contrast = torch.from_numpy((norm.pdf(x, shift) - norm.pdf(x)) * step)
between, points = torch.from_numpy(r * step), torch.from_numpy(x)[:, None]


def small_network():
    """A network with 32 hidden units."""
    torch.manual_seed(seed)
    ends = torch.nn.Linear(1, 32), torch.nn.Linear(32, 1)
    return torch.nn.Sequential(ends[0], torch.nn.Tanh(), ends[1])


# %% [markdown]
# The critic is $f = \psi x$, or $\psi x$ plus a network. Averages are integrals, without noise, so that a method of second
# order converges.


# %%
def train_critic(sign, network=None):
    """Maximise reading - λ penalty; returns reading, objective, slope."""
    psi = torch.tensor(sign * 0.5, requires_grad=True)

    def parts():
        x = points.clone().requires_grad_()
        f = psi * x + (network(x) if network else 0)
        (slope,) = torch.autograd.grad(f.sum(), x, create_graph=True)
        penalty = between @ (slope[:, 0].abs() - 1) ** 2
        reading = contrast @ f[:, 0]
        return reading, reading - strength * penalty, slope[:, 0]

    def loss():
        solver.zero_grad()
        (negative := -parts()[1]).backward()
        return negative

    solver = torch.optim.LBFGS(
        [psi, *(network.parameters() if network else [])],
        max_iter=400,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )
    solver.step(loss)
    return [part.detach().numpy() for part in parts()]


overshoot = (H**2 / (2 * strength * r)).sum() * step
critics = {s: train_critic(s, small_network()) for s in (1, -1)}
lines = {s: train_critic(s) for s in (1, -1)}

# %% [markdown]
# How exact must a trained critic be? Its objective falls short of the best by
# $\delta = \lambda\int r\,(f'-f'_*)^2\mathrm dx$, which we can measure, and Cauchy and Schwarz bound the error of its
# reading by $(\delta\int H^2/\lambda r\,\mathrm dx)^{1/2}$.

# %%
areas = [
    quad(lambda y, m=m: norm.cdf(y) - norm.cdf(y, m), -12, 12 + m)[0]
    for m in (0.5, 1, 2, 4, 8)
]
verify(
    "area between the distribution functions of shifted Gaussians",
    areas,
    equals=[0.5, 1, 2, 4, 8],
    atol=1e-7,
    source="W₁ of a shift",
)
verify(
    "slope of the linear critic, from both starts",
    [lines[1][2].mean(), lines[-1][2].mean()],
    equals=[1 + shift / (2 * strength), -1 + shift / (2 * strength)],
    atol=1e-6,
    source="derivative of ψ Δμ - λ(|ψ| - 1)²",
)
verify(
    "what the linear critic reports, and the same over its slope",
    [lines[1][0], lines[1][0] / lines[1][2].mean()],
    equals=[4.80, 4],
    atol=1e-5,
    source="ψ Δμ; the second by construction, up to quadrature",
)

# %% [markdown]
# Now the networks, each against the maximum on its own side:

# %%
for sign, name in ((1, "+x/2"), (-1, "-x/2")):
    reading, objective, _ = critics[sign]
    deficit = sign * shift + overshoot / 2 - objective
    verify(
        f"critic from {name}: shortfall of its objective",
        deficit,
        at_least=-1e-6,
        at_most=0.01,
        source="the maximum on this side; 0.01 is empirical",
    )
    verify(
        f"critic from {name}: what it reports",
        reading,
        equals=sign * shift + overshoot,
        atol=np.sqrt(max(deficit, 0) * 2 * overshoot) + 1e-4,
        source="eq-gan-overshoot, with f' near ±1; Cauchy-Schwarz",
    )
verify(
    "what the right critic reports, rounded",
    shift + overshoot,
    equals=4.81,
    atol=5e-3,
    source="quadrature of eq-gan-overshoot",
)
verify(
    "H over 2λr, in the range of x of the critics",
    H / (2 * strength * r),
    at_most=1,
    source="quadrature; 0.65 at the ends",
)

# %% [markdown]
# The second critic is trapped with the wrong sign, and would *repel* the generator: $(\lvert f'\rvert-1)^2$ has two minima,
# and between them a barrier, which the pull of $H$ overcomes only where $H > 2\lambda r$, nowhere near the samples. In the plane the
# minima form a circle, and a linear critic can turn around on it. (A magnet of Ising's kind has to flip; one with continuous
# spins turns.)

# %%
pull, a = np.array([shift, 0.0]), np.array([-0.5, 0.01])
for _ in range(2000):  # ascent of a · pull - λ (|a| - 1)²
    length = np.linalg.norm(a)
    a = a + 0.01 * (pull - 2 * strength * (length - 1) * a / length)
verify(
    "a linear critic in the plane, started backward, turns around",
    a,
    equals=[1 + shift / (2 * strength), 0],
    atol=1e-6,
    source="derivative of a · Δμ - λ(|a| - 1)²",
)

# %% [markdown]
# The two trained networks, beside what JSD and the distance have to say:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: twice the Jensen-Shannon divergence of shifted Gaussians saturates at log four, the Wasserstein distance is a straight line. Right: the slope of the trained critic lies on the predicted curve, above one everywhere, and highest at the ends; that of the critic with the wrong start is lower by two."}, "figure": {"caption": "Left: 2 JSD and the Wasserstein distance of two Gaussians at distance θ; dotted: log 4. Right: slopes of two trained critics (upper line: started from +x/2, lower: from −x/2), and the prediction (points); grey: where data and fakes lie.", "name": "fig-game-critic"}}
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.8))
fine = np.linspace(0, 8, 81)
jsds = [divergence_pair(m, 0)[0] for m in fine]
axes[0].plot(fine, jsds, label="2 JSD")
axes[0].plot(fine, fine, "--", label="$W_1$")
axes[0].axhline(np.log(4), color="0.6", ls=":")
axes[0].set(xlabel=r"distance $\theta$", ylim=(0, 4))
axes[0].legend()
for center in (0, shift):
    axes[1].fill_between(x, 2 * norm.pdf(x, center) - 1.2, -1.2, color="0.9")
for sign, color in ((1, "C0"), (-1, "C1")):
    axes[1].plot(x, critics[sign][2], color)
    predicted_slope = sign + H / (2 * strength * r)
    axes[1].plot(x[::12], predicted_slope[::12], "k.", ms=4)
axes[1].set(xlim=(-3, 7), ylim=(-1.2, 1.8), xlabel="$x$", ylabel="slope $f'$")
plt.show()

# %% [markdown]
# ## Let two players meet
#
# A whole game: data $\mathcal N(2, s^2)$ with $s = \frac12$, generator $x = a + bz$ ($-b$ makes the same fakes), and a
# parabola as logit, $\ell = w_0 + w_1u + w_2u^2$ with $u = x - 2$. Non-saturating loss
# (near the equilibrium the other has the same slopes). In each update the discriminator makes a step on a minibatch, then
# the generator on a new one.
#
# Predict first. At the equilibrium $\mathbf w = 0$; let $\boldsymbol\delta = (a - 2, b - s)$. Linearise, with
# $\boldsymbol\phi = (1, u, u^2)$:
#
# $$
# \dot{\mathbf w} = -\bigl(\tfrac12\mathbf A + \gamma\mathbf K\bigr)\mathbf w - \tfrac12\mathbf B\,\boldsymbol\delta, \qquad
# \dot{\boldsymbol\delta} = \tfrac12\mathbf B^{\mathsf T}\mathbf w ,
# $$ (eq-gan-linear-game)
#
# with $\mathbf A = \langle\boldsymbol\phi\boldsymbol\phi^{\mathsf T}\rangle$,
# $\mathbf K = \langle\boldsymbol\phi'\boldsymbol\phi'^{\mathsf T}\rangle$,
# $\mathbf B = \partial\langle\boldsymbol\phi\rangle_g/\partial(a, b)$. $\mathbf B$ rotates, $\mathbf K$ is the friction of
# R1, and there is a new term: $\mathbf A/2$, a friction that the smallest game lacked. In the pair $(w_1, a)$ the equation
# is $\nu^2 + (s^2/2 + \gamma)\nu + \frac14 = 0$: the *width* of the data damps. Where data and fakes overlap, the game
# converges by itself {cite}`nagarajan2017`; narrow data, like images on a surface in the space of pixels, need R1.


# %%
s = 0.5
nodes, node_weights = np.polynomial.hermite_e.hermegauss(40)
nodes = torch.from_numpy(nodes)
node_weights = torch.from_numpy(node_weights / node_weights.sum())


def field(state, gamma):
    """Velocity of (w₀, w₁, w₂, a - 2, b): exact averages, from the losses."""
    w, a, b = state[:3], state[3], state[4]
    u, x = s * nodes, a + b * nodes
    real, fake = (w[0] + w[1] * v + w[2] * v**2 for v in (u, x))
    V = node_weights @ (logsigmoid(real) + logsigmoid(-fake))
    r1 = node_weights @ (w[1] + 2 * w[2] * u) ** 2 / 2
    generator_loss = -(node_weights @ logsigmoid(fake))
    options = {"create_graph": True}
    (up,) = torch.autograd.grad(V - gamma * r1, state, **options)
    (down,) = torch.autograd.grad(generator_loss, state, **options)
    return torch.cat([up[:3], -down[3:]])


def linear_game(gamma):
    """Jacobian of the flow at the equilibrium (eq-gan-linear-game)."""
    A = np.array([[1, 0, s**2], [0, s**2, 0], [s**2, 0, 3 * s**4]])
    K = np.diag([0, 1, 4 * s**2])
    B = np.array([[0, 0], [1, 0], [0, 2 * s]])
    top = np.hstack([-A / 2 - gamma * K, -B / 2])
    return np.vstack([top, np.hstack([B.T / 2, np.zeros((2, 2))])])


# %% [markdown]
# The Jacobian of the real losses, against the matrices:

# %%
equilibrium = torch.tensor([0, 0, 0, 0, s])
for gamma in (0.0, 1.0):
    jacobian = torch.autograd.functional.jacobian(
        lambda state, g=gamma: field(state, g), equilibrium
    )
    verify(
        f"Jacobian of the full game, γ = {gamma:g}",
        jacobian.numpy(),
        equals=linear_game(gamma),
        atol=1e-9,
        source="eq-gan-linear-game",
    )
    rates = np.linalg.eigvals(linear_game(gamma))
    friction = s**2 / 2 + gamma
    pair = np.roots([1, friction, 0.25])
    verify(
        f"eigenvalues of the pair (w₁, a), γ = {gamma:g}",
        np.abs(rates - pair[:, None]).min(axis=1),
        equals=0,
        atol=1e-9,
        source="roots of ν² + (s²/2 + γ)ν + 1/4",
    )

# %% [markdown]
# The minibatches make noise. At the equilibrium the slope of $V$ in $\mathbf w$ is
# $\frac12(\bar{\boldsymbol\phi}_\text{data} - \bar{\boldsymbol\phi}_g)$, with means over $B$ samples each: covariance
# $\operatorname{cov}(\boldsymbol\phi)/2B$. The force on the generator is proportional to $\mathbf w$, so it has no noise of
# its own. As in {lecture}`2.2`, noise against friction is a temperature. With $\mathbf M$ the matrix of one alternating
# update, and $\mathbf Q$ the covariance of its noise, the stationary covariance solves
#
# $$
# \boldsymbol\Sigma = \mathbf M\boldsymbol\Sigma\mathbf M^{\mathsf T} + \mathbf Q .
# $$ (eq-gan-temperature)
#
# R1 does not move the equilibrium, where all slopes are zero. **Predict** whether it makes the generator more or less
# accurate, at $\gamma = 1$. We play 200 games at once, from $a = -1$, $b = \frac32$.

# %%
h, batch, games, n_updates = 0.2, 100, 200, 1500


def spread(gamma):
    """Deviations of (w, a, b) (eq-gan-temperature), updates to forget.

    Of the latter one for each mode, the slowest first.
    """
    J = linear_game(gamma)
    first, second = np.eye(5), np.eye(5)
    first[:3] += h * J[:3]
    second[3:] += h * J[3:]
    phi_2 = np.diag([0, s**2, 2 * s**4])  # covariance of (1, u, u²)
    noise = np.zeros((5, 5))
    noise[:3, :3] = h**2 * phi_2 / (2 * batch)
    Q = second @ noise @ second.T
    M = second @ first
    memory = -1 / np.log(np.sort(np.abs(np.linalg.eigvals(M)))[::-1])
    return np.sqrt(np.diag(solve_discrete_lyapunov(M, Q))), memory


# %% [markdown]
# The games; each of the 200 has a row in every array.


# %%
def play(gamma):
    """(w, a, b) of all games after each update."""
    rng = np.random.default_rng([seed, 1])
    w, a, b = np.zeros((3, games, 1)), -3 * np.ones((games, 1)), 1.5
    path = np.empty((n_updates, 5, games))
    for t in range(n_updates):
        u = s * rng.standard_normal((games, batch))
        z, new = rng.standard_normal((2, games, batch))
        fake = a + b * z
        on_real = expit(-(w[0] + w[1] * u + w[2] * u**2))
        on_fake = expit(w[0] + w[1] * fake + w[2] * fake**2)
        slope = w[1] + 2 * w[2] * u
        for k in range(3):  # one step of the discriminator
            up = on_real * u**k - on_fake * fake**k
            if k > 0:
                up -= gamma * slope * k * u ** (k - 1)
            w[k] += h * up.mean(axis=1, keepdims=True)
        fake = a + b * new  # one step of the generator
        push = expit(-(w[0] + w[1] * fake + w[2] * fake**2))
        push *= w[1] + 2 * w[2] * fake
        a = a + h * push.mean(axis=1, keepdims=True)
        b = b + h * (push * new).mean(axis=1, keepdims=True)
        path[t] = np.concatenate([*w, a, b], axis=1).T
    path[:, 3] += 2  # from a - 2 to a
    return path


paths = {gamma: play(gamma) for gamma in (0.0, 1.0)}

# %% [markdown]
# The mean over the 200 games at the end, and the spread over three moments of each game, 250 updates apart:

# %%
rows, tolerance = [], {}
for gamma, path in paths.items():
    a, b = path[-1, 3], np.abs(path[-1, 4])
    expected = spread(gamma)[0][3:]
    tolerance[gamma] = 5 * expected / np.sqrt(games) + 2 * expected**2
    verify(
        f"learned mean and width, γ = {gamma:g}",
        [a.mean(), b.mean()],
        equals=[2, s],
        atol=tolerance[gamma],
        source="the data's; second term: curvature of the game",
    )
    late = np.abs(path[[-501, -251, -1], 3:])
    found = np.sqrt(late.var(axis=2).mean(axis=0))
    verify(
        f"spread of mean and width over the games, γ = {gamma:g}",
        found,
        equals=expected,
        rtol=5 / np.sqrt(2 * 3 * games),
        source="eq-gan-temperature",
    )
    rows.append([gamma, *(f"‹{v:.4f}›" for v in (found[0], expected[0]))])
show_table(["γ", "spread of a", "predicted"], rows)

# %% [markdown]
# Against its best discriminator the mean generator has the value $-\log4$:

# %%
log_p = norm.logpdf(grid, 2, s)
for gamma, path in paths.items():
    a, b = np.abs(path[-1, 3:]).mean(axis=1)
    log_g = norm.logpdf(grid, a, b)
    verify(
        f"value of the mean generator over -log 4, γ = {gamma:g}",
        value_of(log_p - log_g, log_p, log_g) + np.log(4),
        at_least=-1e-9,
        at_most=tolerance[gamma] ** 2 @ [1, 2] / (2 * s**2),
        source="twice the leading order ¼ (Δa² + 2Δb²)/s² of 2 JSD",
    )

# %% [markdown]
# Friction makes the players cool as well as calm: at the same noise it grows from $\frac18$ to $\frac98$, the variance of
# $a$ falls by nine, its spread by three. Without R1 the overlap alone damps: to forget by a factor of $e$ takes the width
# 128 updates and the mean 79; with it the slowest of all takes 17.

# %%
verify(
    "spread of a without and with R1, ratio; updates to forget",
    [spread(0.0)[0][3] / spread(1.0)[0][3], *spread(0.0)[1][[0, 2]]],
    equals=[3, 128, 79],
    atol=[0.01, 0.5, 0.5],
    source="eq-gan-temperature, and eigenvalues of M, rounded in the text",
)
verify(
    "updates to forget: the mean's from its determinant; longest with R1",
    [spread(0.0)[1][2], spread(1.0)[1][0]],
    equals=[-2 / np.log(1 - h * s**2 / 2), 17],
    atol=[1e-6, 0.5],
    source="1 - h s²/2 for the pair (w₁, a); eigenvalues of M",
)

# %% [markdown]
# One game in time, and all games at the end:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: learned mean against updates; without R1 it overshoots to above two and keeps oscillating, with R1 it settles within a hundred updates and fluctuates less. Right: final mean and width of two hundred games; without R1 a broad cloud around the exact point, with R1 a narrow one inside it."}, "figure": {"caption": "Left: one game, after each update, without and with R1. Right: the 200 games at the end; cross: the data.", "name": "fig-game-play"}}
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
for (gamma, path), color in zip(paths.items(), ("C1", "C0"), strict=True):
    name = rf"$\gamma = {gamma:g}$"
    axes[0].plot(path[:500, 3, 0], color, lw=1, label=name)
    axes[1].plot(path[-1, 3], np.abs(path[-1, 4]), color + ".", ms=3)
axes[0].axhline(2, color="0.6", lw=0.8)
axes[0].set(xlabel="update", ylabel="mean of the fakes $a$")
axes[0].legend(loc="lower right")
axes[1].plot(2, s, "k+", ms=12)
axes[1].set(xlabel="$a$", ylabel="$|b|$")
plt.show()

# %% [markdown]
# ## Break it: an epoch for each player
#
# Some notes let the players alternate by *epochs* (entry 14 of the {doc}`../errata`): $m$ steps of the discriminator, then $m$ of the
# generator. **Predict** for the smallest game, near the origin: from which $m$ on, at $h = 0.1$, does it diverge? And can R1
# save it?
#
# While the opponent stands still, the slope does not change, so $m$ steps of $h$ are one step of $mh$. Everything said of
# {eq}`eq-gan-alternating` holds with $mh$ for $h$: at $m > 40$ it explodes. With R1 the discriminator relaxes to
# $\psi = -\theta/2\gamma$, up to a rest $q = (1-h\gamma)^m$, and then the generator jumps:
#
# $$
# \det = q, \qquad \operatorname{tr} = 1 + q - \frac{mh}{4\gamma}(1 - q) .
# $$ (eq-gan-epochs)
#
# Once $q$ is negligible, $\theta\leftarrow\theta\,(1 - mh/4\gamma)$, which explodes for $mh > 8\gamma$. So R1 can save it,
# if the friction grows with the epoch: $m = 100$ needs $\gamma > 1.25$. (The discriminator's own steps explode beyond
# $\gamma = 2/h$.)


# %%
def epoch(state, m, h, gamma):
    """m steps of the discriminator, then m steps of the generator."""
    theta, psi = state
    for _ in range(m):
        now = torch.stack([theta, psi])
        psi = psi + h * velocity(now, gamma)[1]
    for _ in range(m):
        theta = theta + h * velocity(torch.stack([theta, psi]))[0]
    return torch.stack([theta, psi])


# %% [markdown]
# Its eigenvalues at the origin:

# %%
h, rows = 0.1, []
for m in (1, 10, 100):
    for gamma in (0.0, 1.0, 2.0):
        q = (1 - h * gamma) ** m
        relaxed = (1 - q) / gamma if gamma else m * h
        trace, det = 1 + q - m * h / 4 * relaxed, q
        root = np.sqrt(complex(trace**2 / 4 - det))
        expected = np.sort(np.abs([trace / 2 + root, trace / 2 - root]))
        now = functools.partial(epoch, m=m, h=h, gamma=gamma)
        found = eigenvalues(now)
        rows.append([m, gamma, np.abs(found).max()])
        verify(
            f"moduli with {m} steps for each player, γ = {gamma:g}",
            np.sort(np.abs(found)),
            equals=expected,
            atol=1e-6,
            source="eq-gan-epochs; for γ = 0 eq-gan-alternating with mh",
        )
show_table(["steps m", "γ", "largest modulus"], rows)
verify(
    "m = 100: growth with γ = 1, and decay with γ = 2",
    [rows[-2][2] - 1, 1 - rows[-1][2]],
    at_least=0,
    source="eq-gan-epochs: the limit is γ = mh/8 = 1.25",
)

# %% [markdown]
# Far from the origin the other failure waits: a discriminator that has been trained to its end, with the saturating loss.
# Data $\mathcal N(0, 1)$, fakes start at $\theta = 8$: how long, in the time of $\dot\theta = -\text{force}$, to
# $\theta = 4$?

# %%


def travel(force):
    """Time from 8 to 4 under a force toward the data."""
    return quad(lambda m: 1 / force(m), 4, 8, epsrel=1e-6)[0]


def shared(m):
    return overlap(norm.logpdf(grid), norm.logpdf(grid, m))


slow = travel(lambda m: m * shared(m))
quick = travel(lambda m: m - m * shared(m))
bound = travel(lambda m: np.sqrt(np.pi / 2) * np.exp(-(m**2) / 8))
rows = [["saturating", slow], ["non-saturating", quick]]
show_table(["loss, with a finished discriminator", "time from 8 to 4"], rows)
# %% [markdown]
# Against the bound, and the spring:

# %%
verify(
    "saturating: slower than the bound, which is over a thousand",
    [slow - bound, bound - 1000],
    at_least=0,
    source="integral of eq-gan-saturation",
)
verify(
    "non-saturating: close to log 2",
    quick,
    equals=np.log(2),
    rtol=shared(4) / (1 - shared(4)),
    source="integral of eq-gan-forces; the overlap is largest at 4",
)
verify(
    "their ratio",
    slow / quick,
    equals=2000,
    rtol=0.02,
    source="quadrature, rounded in the text",
)

# %% [markdown]
# Two thousand times slower. So the rule is: alternate per minibatch, one or a few steps of the discriminator, then one of
# the generator, and let the generator use the loss that does not saturate.
#
# ## Exercises
#
# ::::{exercise} The game that is not zero-sum
# :label: ex-game-nonsaturating
# In the smallest game replace the generator's loss by the non-saturating one. What are the eigenvalues at the origin? Show
# that the orbits are not closed, and find the law by which $\theta^2+\psi^2$ changes in the long run.
# ::::
#
# ::::{solution-start} ex-game-nonsaturating
# :class: dropdown
# ::::
#
# $\dot\theta = \sigma(-\theta\psi)\psi$ has the same linear part, so $\pm i/2$. But with $\rho^2 = \theta^2+\psi^2$ and
# $v = \theta\psi$
#
# $$
# \frac{\mathrm d\rho^2}{\mathrm dt} = 2v\,[\sigma(-v) - \sigma(v)] = -2v\tanh\frac v2 \;\le\; 0 ,
# $$ (eq-gan-slow-friction)
#
# a friction of fourth order. For a small circle $v = \frac12\rho^2\sin2\varphi$ and the mean of $v^2$ over a turn is
# $\rho^4/8$, so that $\mathrm d\rho^2/\mathrm dt = -\rho^4/8$ and $1/\rho^2$ grows by one eighth per unit of time. The game
# converges, but as $\rho\sim\sqrt{8/t}$, never exponentially. No eigenvalue can see that.

# %% tags=["solution"]
run = solve_ivp(
    lambda t, y: dirac_flow(t, y, sign=-1),
    (0, 8000),
    [0.3, 0.0],
    t_eval=np.linspace(0, 8000, 2001),
    rtol=1e-9,
    atol=1e-12,
)
squares = (run.y**2).sum(axis=0)
verify(
    "growth of 1/ρ² per unit of time, non-saturating",
    (1 / squares[-1] - 1 / squares[0]) / 8000,
    equals=1 / 8,
    rtol=0.01,
    source="average over a turn; corrections of order ρ⁴",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Unequal numbers
# :label: ex-game-labels
# You mix $n_r$ data with $n_f$ fakes, $n_f = 3n_r$, and maximise the *sum* of the log-likelihoods. What is the best logit?
# Which free energy would you report for the two springs if you forgot this?
# ::::
#
# ::::{solution-start} ex-game-labels
# :class: dropdown
# ::::
#
# Weights multiply the densities, $n_rp_\text{data}/(n_rp_\text{data}+n_fp_g)$: the logit shifts by $\log(n_r/n_f)$, here
# $-\log 3$, and so does $C$: $-0.41$, not $0.69$. Bennett's method subtracts it.

# %% tags=["solution"]
stiff, soft = rng.normal(0, 0.5, n // 4), rng.normal(0, 1, 3 * n // 4)
known = -1.5 * np.concatenate([stiff, soft]) ** 2
C = fit(stiff, soft, constant, known=known)[0]
log_ratio = norm.logpdf(grid, 0, 0.5) - norm.logpdf(grid) - np.log(3)
I_unequal = (norm.pdf(grid, 0, 0.5) * expit(-log_ratio)).sum() * dx
verify(
    "offset with three fakes for each datum",
    C,
    equals=np.log(4) / 2 - np.log(3),
    atol=5 / np.sqrt(n / 4 * I_unequal),
    source="Gaussian integrals; inverse curvature bounds the variance",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} A penalty that never finds the goal
# :label: ex-game-wgan
# Play the smallest game with the critic $f = \psi x$, losses of Wasserstein, and the penalty {eq}`eq-gan-gradient-penalty`.
# Show that $\psi$ can change its sign only where $\lvert\theta\rvert \ge 2\lambda$. Where does the game end?
# ::::
#
# ::::{solution-start} ex-game-wgan
# :class: dropdown
# ::::
#
# $\dot\theta = \psi$ and $\dot\psi = -\theta - 2\lambda(\lvert\psi\rvert - 1)\operatorname{sign}\psi$. Just above
# $\psi = 0$, $\dot\psi = -\theta + 2\lambda$, which points away from zero unless $\theta\ge2\lambda$. Until then the
# generator drifts on, past its goal. For $\psi > 0$ the game is an oscillator around $(2\lambda, 0)$ with the eigenvalues
# $-\lambda\pm\sqrt{\lambda^2-1}$. For $\lambda < 1$ it crosses, and by symmetry swings forever: half a turn shrinks the
# distance $A + 2\lambda$ from the other centre by $q = \exp(-\pi\lambda/\sqrt{1-\lambda^2})$, so
# $A = 2\lambda + q(A + 2\lambda)$ in the end. For $\lambda \ge 1$ and a start with $\psi > 0$ it creeps to $\theta = 2\lambda$,
# unless the critic starts very steep or the generator beyond $2\lambda$ (then it ends at $-2\lambda$). At $2\lambda$ the critic
# is flat: undecided, and wrong by 20 at $\lambda = 10$. A nudge to $\psi < 0$ sends it to $-2\lambda$. This penalty wants a
# slope where the equilibrium has none {cite}`mescheder2018`; R1 does not.


# %% tags=["solution"]
def penalised_game(strength, time, start=(0.1, 0.1)):
    """The flow from a start, with the passages of ψ = 0."""

    def flow(t, state):
        theta, psi = state
        return [psi, -theta - 2 * strength * (abs(psi) - 1) * np.sign(psi)]

    options = {"max_step": 0.05, "rtol": 1e-8, "events": crossing}
    return solve_ivp(flow, (0, time), start, **options)


# %% [markdown]
# The swings for $\lambda < 1$:

# %% tags=["solution"]
turning = np.abs(penalised_game(0.5, 100).y_events[0][:, 0])
q = np.exp(-np.pi * 0.5 / np.sqrt(1 - 0.5**2))
verify(
    "λ = 0.5: times that the critic changed sign",
    len(turning),
    equals=100 * np.sqrt(1 - 0.5**2) / np.pi,
    atol=1,
    source="half a turn takes π/√(1 - λ²)",
)
verify(
    "λ = 0.5: error of the generator at each of them",
    turning,
    at_least=2 * 0.5,
    source="sign of dψ/dt at ψ = 0",
)
verify(
    "λ = 0.5: and at the last",
    turning[-1],
    equals=2 * 0.5 * (1 + q) / (1 - q),
    atol=1e-5,
    source="A = 2λ + q (A + 2λ)",
)

# %% [markdown]
# And for $\lambda = 10$, undisturbed and after a nudge:

# %% tags=["solution"]
nudged = penalised_game(10.0, 400, start=(20.0, -0.001))
verify(
    "λ = 10: where the game ends, and where from there after a nudge",
    [penalised_game(10.0, 400).y[:, -1], nudged.y[:, -1]],
    equals=[[20, 0], [-20, 0]],
    atol=1e-4,
    source="nodes at (±2λ, 0); slow rate λ - √(λ² - 1) = 0.05",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A classifier between data and fakes measures the logarithm of a density ratio, a free energy included; with the best one,
# the game minimises the Jensen–Shannon divergence, whose pull dies as $e^{-\theta^2/8}$, and with a bounded slope the
# Wasserstein distance, whose pull does not. Played by small steps the game is an oscillator: simultaneous steps heat it,
# alternating ones are, near the equilibrium, symplectic, and the overlap of the distributions and a penalty on slopes are
# its friction. That the discriminator is undecided proves nothing, unless it has had the time and the means to find out. For
# more, read section 20.10.4 of *Deep Learning* {cite}`goodfellow2016`, and {cite:t}`mescheder2018` on the dynamics.
#
# **Next:** {lecture}`4.2` plays in the plane, where a generator can forget most of the data.
