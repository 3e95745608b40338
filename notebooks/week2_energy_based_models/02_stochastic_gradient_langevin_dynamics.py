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
# # Sample a posterior with minibatches
#
# A measurement does not give you a number, it gives you a distribution: the posterior of a parameter, given the data. Its negative
# logarithm is an energy with one term for each datum, and {lecture}`2.1` knows how to sample an energy. But
# each Langevin step then visits every event that the detector ever recorded. Can a step look at ten of them instead? Yes, if you know what
# the missing ones do: they heat the chain. We compute by how much, for a case that is exactly solvable, and then cool.
#
# :::{admonition} Plan
# :class: tip
# **You will** derive the noise of a minibatch gradient and the temperature it adds; predict the variance of the samples, and find it;
# sample a posterior with two maxima, and check it against quadrature; and see at which temperature plain
# stochastic gradient descent samples. **You need** {lecture}`2.1` and Bayes' theorem. **Reading time** an hour, exercises not included.
# **CPU time** 25 s.
# :::

# %%
from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import expit

from advml.checks import verify
from advml.display import show_source, show_table
from advml.metrics import total_variation
from advml.sampling import sgld

plt.style.use("advml.course")

# %% tags=["parameters"]
seed = 0
n_chains = 20_000
n_steps_mixture = 20_000

# %% [markdown]
# ## A posterior is a Boltzmann distribution
#
# A parameter $\theta$ with prior $p(\theta)$ and independent data $x_1, \dots, x_N$ with likelihoods $p(x_i\mid\theta)$ has the posterior
#
# $$
# p(\theta\mid x_1 \dots x_N) = \frac{e^{-E(\theta)}}{Z}, \qquad
# E(\theta) = -\log p(\theta) - \sum_{i=1}^N \log p(x_i\mid\theta) .
# $$ (eq-posterior-energy)
#
# The partition function $Z$ is the probability of the data, which statisticians call the evidence. It does not depend on $\theta$, so
# Langevin dynamics need not know it. Note what moves: $\theta$, the parameter. The data stay where they are.
#
# Our laboratory is a case with an answer. A quantity $\theta$ has been measured $N = 200$ times with Gaussian errors of
# known width $\sigma = 2$, and the prior is $\mathcal N(0, \sigma_0^2)$ with $\sigma_0 = 1$. The energy is a parabola,
# and completing the square gives the posterior
#
# $$
# \mathcal N(\mu, 1/\Lambda), \qquad \Lambda = \frac1{\sigma_0^2} + \frac N{\sigma^2}, \qquad
# \mu = \frac1\Lambda \sum_i \frac{x_i}{\sigma^2} .
# $$ (eq-conjugate-posterior)
#
# In code, with the two slopes that the sampler will need. One row of `theta` is one chain, and each chain will get its own minibatch, so
# that `x` has the shape (chains, $n$).

# %%
N, prior_width, width = 200, 1.0, 2.0
rng = np.random.default_rng(seed)
data = 0.5 + width * rng.standard_normal(N)
precision = 1 / prior_width**2 + N / width**2
mean = data.sum() / width**2 / precision


def prior_slope(theta):
    """Slope of the logarithm of the prior."""
    return -theta / prior_width**2


def slope(theta, x):
    """Slope of log p(x|θ), summed over each chain's minibatch."""
    return (x - theta[:, None]).sum(axis=1) / width**2


grid = mean + np.linspace(-8, 8, 4001) / np.sqrt(precision)
log_p = -(grid**2) / 2 / prior_width**2
log_p -= ((data[:, None] - grid) ** 2).sum(axis=0) / 2 / width**2
p = np.exp(log_p - log_p.max())
p /= p.sum()
verify(
    "mean and variance of the Gaussian posterior",
    [p @ grid, p @ (grid - mean) ** 2],
    equals=[mean, 1 / precision],
    atol=1e-12,
    source="quadrature of prior times likelihood",
)

# %% [markdown]
# ## What a minibatch knows of the gradient
#
# Take a **minibatch** $\mathcal B$, $n$ of the $N$ data drawn at random, and estimate the slope of $\log p(\theta\mid x_1 \dots x_N)$ by
#
# $$
# \hat g(\theta) = \nabla\log p(\theta) + \frac Nn \sum_{i\in\mathcal B} \nabla\log p(x_i\mid\theta) .
# $$ (eq-minibatch-gradient)
#
# The factor $N/n$ is not decoration. Each datum is in the batch with probability $n/N$, so the sum over the batch has the mean $n/N$ times the
# full sum, and $N/n$ makes the estimate **unbiased**. The prior is there once, and is not scaled.
#
# How large is its variance? Write $g_i = \nabla\log p(x_i\mid\theta)$ and $S_g^2 = \frac1N\sum_i (g_i - \bar g)^2$. Draws *with*
# replacement are independent, and the sum of $n$ of them has the variance $n S_g^2$. *Without* replacement two draws have a covariance $c$, the same for each
# pair. So the sum of $n$ draws has the variance $n S_g^2 + n(n-1)\, c$, for any $n$. At $n = N$ all data are drawn, their sum is certain,
# and $0 = N S_g^2 + N(N-1)\, c$ tells us $c = -S_g^2/(N-1)$. Hence the variance of the sum is $n S_g^2 (N-n)/(N-1)$. Times $(N/n)^2$:
#
# $$
# C = \operatorname{var}\hat g = \frac{N^2}{n}\, S_g^2 \times
# \begin{cases} 1 & \text{with replacement,} \\ \dfrac{N-n}{N-1} & \text{without.} \end{cases}
# $$ (eq-minibatch-noise)
#
# Six data have 20 subsets of three, and 216 ordered draws with replacement. That is a check with no statistics at all.


# %%
def minibatch_noise(g, n, replace=False):
    """Covariance of the minibatch gradient (eq-minibatch-noise).

    `g` holds the slope of log p(x_i|θ) of each datum, shape (N,) or (N, d).
    """
    total = len(g)
    without = 1 if replace else (total - n) / (total - 1)
    return total**2 / n * without * np.cov(g.T, bias=True)


six = data[:6] / width**2
for replace, draws in (
    (False, list(combinations(six, 3))),
    (True, list(product(six, repeat=3))),
):
    estimates = 6 / 3 * np.sum(draws, axis=1)
    how = "with" if replace else "without"
    verify(
        f"mean and variance of the minibatch gradient {how} replacement",
        [estimates.mean(), estimates.var()],
        equals=[six.sum(), minibatch_noise(six, 3, replace)],
        atol=1e-12,
        source=f"enumeration of all {len(draws)} minibatches",
    )

# %% [markdown]
# ## The algorithm
#
# Put {eq}`eq-minibatch-gradient` into a Langevin step. With $\epsilon = 2\eta$, the convention of Welling and
# Teh {cite}`welling2011`, it reads
#
# $$
# \theta \leftarrow \theta + \frac{\epsilon_t}2 \Bigl( \nabla\log p(\theta) + \frac Nn \sum_{i\in\mathcal B_t} \nabla\log p(x_i\mid\theta) \Bigr)
# + \sqrt{\epsilon_t}\; w, \qquad w \sim \mathcal N(0, 1) .
# $$ (eq-sgld)
#
# This is **stochastic-gradient Langevin dynamics** (SGLD). It looks like stochastic gradient descent with a little noise, and is often
# introduced as an optimiser. It is none. In an optimiser the *variance* of the noise has to die away faster than the step, as
# $\epsilon^2$ does in stochastic gradient descent: then their ratio, the temperature, goes to zero. Here the injected variance is
# $\epsilon$ itself, the temperature stays at one, and in the end $\theta$ is distributed, not found. Nor is the start a prior: the prior acts
# in every step, through its slope, and the start is forgotten.
#
# Our sampler runs many chains at once, each with its own minibatches, which it draws without replacement by an algorithm of Floyd. We add a
# temperature to the injected noise, $\sqrt{T\epsilon}$, because we shall want to turn it off. `steps` is the array of the $\epsilon_t$.

# %%
show_source(sgld)

# %% [markdown]
# ## How hot is a minibatch?
#
# In the Gaussian case everything can be solved. The estimate {eq}`eq-minibatch-gradient` is $-\Lambda(\theta-\mu) + \xi$, where the noise
# $\xi$ has variance $C$ and does not depend on $\theta$, because each $g_i$ has the same slope in $\theta$. Then $\delta = \theta - \mu$ obeys
#
# $$
# \delta \leftarrow \Bigl(1 - \frac{\epsilon\Lambda}2\Bigr)\delta + \frac\epsilon2\,\xi + \sqrt{T\epsilon}\; w .
# $$ (eq-sgld-gaussian)
#
# The three terms are independent, so their variances add, whatever the shape of $\xi$. After the step the variance is
# $(1 - \epsilon\Lambda/2)^2 v + \epsilon^2 C/4 + T\epsilon$; in the stationary state it equals $v$, and solving for $v$ gives
#
# $$
# v = \frac1\Lambda\; \frac{T + \alpha}{1 - \epsilon\Lambda/4}, \qquad \alpha = \frac{\epsilon\, C}4 .
# $$ (eq-sgld-variance)
#
# Read it as a physicist. The posterior has the variance $1/\Lambda$. The denominator is the bias of {lecture}`2.1`, where it reads $1 - \eta/2$ for
# $\epsilon = 2\eta$ and $\Lambda = 1$; at $\epsilon\Lambda = 4$ the chain blows up. And **the minibatch adds the temperature** $\alpha$ to
# the $T = 1$ that you injected. Why a temperature? In {lecture}`2.1` noise of the variance $s^2$ per step, against a drift of $\eta$
# times the force, made the temperature $s^2/2\eta$. Here $\eta = \epsilon/2$, so $s^2 = T\epsilon$ makes $T$. The minibatch's $\epsilon^2C/4$ is $\alpha\epsilon$, one more such noise.
#
# In code, with a small helper that runs the chains until a share $(1-\epsilon\Lambda/2)^{2t} \approx e^{-\epsilon\Lambda t} = e^{-8}$ of the start's variance is left:


# %%
def stationary_variance(step, noise, temperature=1.0, curvature=precision):
    """Variance of SGLD on a Gaussian (eq-sgld-variance)."""
    heat = step * noise / 4
    return (temperature + heat) / curvature / (1 - step * curvature / 4)


n = 10
gaussian = {
    "grad_log_prior": prior_slope,
    "grad_log_likelihood": slope,
    "data": data,
    "batch_size": n,
}


def final_states(theta0, step, curvature=precision, **options):
    """States after 8/(εΛ) steps, when exp(-8) of the start is left."""
    t = int(np.ceil(8 / curvature / step))
    options = gaussian | options | {"steps": np.full(t, step), "thin": t}
    return sgld(theta0=theta0, seed=rng, **options)[-1]


# %% [markdown]
# Before you run the next cell: at $\epsilon = 0.02$ and $n = 10$, is the variance too large by 20 %, by a factor of two, or by a factor of seven?
# All chains start from exact draws of the posterior, so that no burn-in is in the way: what you see is the sampler leaving the right answer.

# %%
steps = np.array([0.001, 0.003, 0.008, 0.02, 0.04])
start = mean + rng.standard_normal(n_chains) / np.sqrt(precision)
noise = {k: minibatch_noise(data / width**2, k) for k in (10, 50, N)}
samples = {
    size: [
        final_states(
            start[: n_chains * 20 // max(size, 20)], step, batch_size=size
        )
        for step in steps
    ]
    for size in noise
}

# %% [markdown]
# The variance of $k$ independent chains has a relative error of $\sqrt{2/k}$, as long as the samples are Gaussian. Here they are
# sums of many small terms: the excess kurtosis of a batch mean is that of the data divided by $n$. To save time, larger batches get fewer chains: the full gradient a tenth as many, so its points scatter by 3 %. The checks allow four or five
# standard errors. The last case takes a "minibatch" of all 200 data. Then $\alpha = 0$,
# and this is the unadjusted Langevin algorithm of {lecture}`2.1`.

# %%
for size, C in noise.items():
    found = [x.var() for x in samples[size]]
    chains = len(samples[size][0])
    verify(
        f"variance at five steps, minibatches of {size}",
        precision * np.array(found),
        equals=precision * stationary_variance(steps, C),
        rtol=4.5 * np.sqrt(2 / chains) + np.exp(-8),
        source="balance of drift, minibatch noise and injected noise",
    )
some = samples[10][2]
verify(
    "the mean of SGLD is the posterior mean",
    some.mean(),
    equals=mean,
    atol=4 * some.std() / np.sqrt(len(some)),
    source="closed form; the minibatch gradient is unbiased",
)

# %% [markdown]
# It is the last, about seven, at $\epsilon = 0.02$. All of it in one picture:

# %% mystnb={"image": {"alt": "Variance over posterior variance against step size on logarithmic axes. The curve for minibatches of ten rises from about 1.2 at step 0.001 to about 20 at 0.04. That for minibatches of fifty reaches about 5, that for the full gradient 2. All points lie on their curves."}, "figure": {"caption": "Variance of SGLD samples in units of the posterior variance. Lines: theory, points: samples. Dotted: the posterior.", "name": "fig-sgld-variance"}}
fine = np.geomspace(5e-4, 0.05, 200)
fig, ax = plt.subplots(figsize=(5.5, 3.3))
for size, C in noise.items():
    label = "full gradient" if size == N else f"$n = {size}$"
    curve = precision * stationary_variance(fine, C)
    (line,) = ax.loglog(fine, curve, label=label)
    found = [precision * x.var() for x in samples[size]]
    ax.plot(steps, found, "o", color=line.get_color())
ax.axhline(1, color="0.5", ls=":")
ax.set(xlabel=r"step $\epsilon$", ylabel="variance / posterior variance")
ax.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# The minibatch dominates the error long before the step itself becomes too long. And drawing without replacement is worth it for large
# batches: with $n = 50$ it removes a quarter of the heat, with $n = 10$ only a twentieth.
#
# ### What a cold sampler costs
#
# Welling and Teh advise to take samples once $\alpha \ll 1$, when the injected noise drowns the minibatch's. (With many
# parameters $C$ is a matrix, and its largest eigenvalue counts.) Now we know what a given $\alpha$ does: the variance of your posterior is too
# large by a factor $1+\alpha$. What does a small one cost?
#
# For a model that fits the data, $S_g^2$ is about the curvature that one datum contributes, $\Lambda/N$. In the Gaussian case $g_i = (x_i-\theta)/\sigma^2$ has
# the variance $\sigma^2/\sigma^4$ if the data scatter by $\sigma$, and the curvature is $1/\sigma^2$, too. (In general both are the Fisher information.)
# Then $C \approx \frac{N\Lambda}n\,\frac{N-n}{N-1}$, and $\alpha \ll 1$ asks for $\epsilon \ll 4n/N\Lambda$, smaller than the limit of stability by a
# factor $n/N$. Add the discretisation. To first order the variance is too large by a fraction $\Delta$, and to forget takes $2/\epsilon\Lambda$
# steps of $n$ data each:
#
# $$
# \begin{aligned}
# \Delta &= \frac{\epsilon\Lambda}4 \Bigl[ \frac Nn\,\frac{N-n}{N-1} + 1 \Bigr] \approx \frac{\epsilon\Lambda}4\,\frac Nn, \\
# \text{data visited per relaxation time} &= \frac{2}{\epsilon\Lambda}\, n \approx \frac{N}{2\Delta} .
# \end{aligned}
# $$ (eq-sgld-cost)
#
# The batch size has dropped out, for any $n$ up to the full gradient. **Independent minibatches buy cheaper steps, not cheaper samples**
# {cite}`brosse2018,baker2019`. What they buy is a fast first approach, memory, and exploration while the data stream in. Cheaper samples
# need a gradient with less noise: two exercises find one. The exact {eq}`eq-sgld-variance` tells what the
# first order leaves out: at the same $25\,N$ data per relaxation time $\Delta$ is 0.02 at all batch sizes, within 3 %. (We scale the data such that the model
# fits exactly. This is algebra and no run; the runs above have tested the formula.)

# %%
sizes = np.array([1, 10, 50, 100, N])
fits = data / data.std() * np.sqrt(precision / N)
error = [
    precision * stationary_variance(step, minibatch_noise(fits, size)) - 1
    for size, step in zip(sizes, 0.08 * sizes / N / precision, strict=True)
]
verify(
    "excess variance at a fixed number of data, for batches of 1 to 200",
    error,
    equals=np.full(5, 0.02),
    rtol=0.03,
    source="solution of (eq-sgld-cost) for the excess",
)

# %% [markdown]
# ## Cool down
#
# The alternative to accepting a bias is to let $\epsilon$ fall, as Robbins and Monro taught for optimisation {cite}`robbins1951`. The usual schedule is
#
# $$
# \epsilon_t = a\,(b + t)^{-\gamma}, \qquad \sum_t \epsilon_t = \infty, \quad \sum_t \epsilon_t^2 < \infty \quad (\tfrac12 < \gamma \le 1) .
# $$ (eq-sgld-schedule)
#
# The first sum is the time that the diffusion has run: it has to be infinite, or the chain would never forget its start. The second bounds the total
# harm. A state is left after the time $\epsilon_t$, so an average over *time* is
#
# $$
# \langle f\rangle \approx \frac{\sum_t \epsilon_t f(\theta_t)}{\sum_t \epsilon_t},
# \qquad \text{with the excess heat}\quad \bar\alpha = \frac C4\, \frac{\sum_t \epsilon_t^2}{\sum_t \epsilon_t} .
# $$ (eq-sgld-average)
#
# The excess is a step-weighted mean of the step. It goes to zero for *any* $\epsilon_t \to 0$ with $\sum\epsilon_t = \infty$, so the second
# condition is sufficient, not necessary. Let $\epsilon_t \sim t^{-\gamma}$, and replace sums by integrals. The statistical error, one over the root of the
# diffusion's time, falls like $t^{-(1-\gamma)/2}$. The bias falls like $t^{-\gamma}$ for $\gamma < \tfrac12$, and beyond only like $t^{-(1-\gamma)}$, the square of
# the statistical error. The best root-mean-square error is $t^{-1/3}$ (mean square: $t^{-2/3}$), where the two exponents agree, at $\gamma = \tfrac13$; and
# there $\sum\epsilon_t^2$ diverges {cite}`teh2016`. A sampler
# without bias has $t^{-1/2}$. That is the price of having no accept step, which would look at all data.

# %%
n_steps, thin, walkers = 4000, 5, 2000
C = noise[n]


def decreasing_steps(n_steps, first, last, gamma):
    """Steps a(b + t)^(-γ) from `first` down to `last` (eq-sgld-schedule)."""
    ratio = (first / last) ** (1 / gamma)
    b = (n_steps - 1) / (ratio - 1)
    return first * (1 + np.arange(n_steps) / b) ** -gamma


schedule = decreasing_steps(n_steps, 0.04, 0.0004, 0.55)
zeros = np.zeros(walkers)
path = sgld(**gaussian, theta0=zeros, steps=schedule, seed=rng, thin=thin)

# %% [markdown]
# The Gaussian tells us again what must come out, for any schedule: {eq}`eq-sgld-gaussian` maps the mean square
# $\langle\delta^2\rangle$ to $(1 - \epsilon_t\Lambda/2)^2\langle\delta^2\rangle + \epsilon_t^2C/4 + \epsilon_t$. We start at $\theta = 0$, several widths away, and
# compare the step-weighted average of $\delta^2$ over the whole run, start and all, and over its last quarter. The errors come from the scatter of the chains, which are independent.

# %%
square = np.empty(n_steps + 1)
square[0] = mean**2  # every chain starts at zero
for t, step in enumerate(schedule):
    shrink = 1 - step * precision / 2
    added = step**2 * C / 4 + step
    square[t + 1] = shrink**2 * square[t] + added
for name, first in (("whole run", 0), ("last quarter", 3000)):
    weights = schedule[first::thin] / schedule[first::thin].sum()
    found = weights @ (path[first // thin : -1] - mean) ** 2  # each chain's
    verify(
        f"step-weighted mean square, {name}, over the posterior variance",
        precision * found.mean(),
        equals=precision * weights @ square[first:-1:thin],
        atol=4 * precision * found.std() / np.sqrt(walkers),
        source="recursion of the second moment",
    )

# %% [markdown]
# On the left what the two noises add in each step, on the right what comes of it:

# %% mystnb={"image": {"alt": "Two panels against the step number on logarithmic axes. Left: the injected variance falls as a line; the minibatch variance starts about ten times above it, falls twice as steeply, and crosses it after several dozen steps. Right: the variance falls from several times that of the posterior to about 1.1 times; points lie on the exact curve."}, "figure": {"caption": "A decreasing schedule. Left: variance added per step by the minibatch and by the injected noise; where they cross (dot), α = 1. Right: variance across the chains, exact (line) and measured (points); dotted: the posterior.", "name": "fig-sgld-schedule"}}
t = np.arange(1, n_steps + 1)
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.2))
axes[0].loglog(t, schedule, label=r"injected, $\epsilon_t$")
minibatch = schedule**2 * C / 4
axes[0].loglog(t, minibatch, "--", label=r"minibatch, $\epsilon_t^2 C/4$")
crossing = np.argmax(minibatch < schedule)
axes[0].plot(t[crossing], schedule[crossing], "ko")
axes[0].set(xlabel="step $t$", ylabel="variance added per step")
shown = np.unique(np.geomspace(4, n_steps // thin, 30).astype(int))
axes[1].loglog(t[10:], precision * square[11:], label="exact")
found = precision * ((path[shown] - mean) ** 2).mean(axis=1)
axes[1].loglog(thin * shown, found, "o", ms=4, label="chains")
axes[1].axhline(1, color="0.5", ls=":")
axes[1].set(xlabel="step $t$", ylabel="variance / posterior variance")
axes[1].set_yticks([1, 1.5, 2, 3, 4], ["1", "1.5", "2", "3", "4"])
axes[1].minorticks_off()
for ax in axes:
    ax.legend(loc="lower left" if ax is axes[0] else "upper right")
plt.show()

# %% [markdown]
# The start is forgotten in a single step, because $1 - \epsilon\Lambda/2$ is nearly zero there. For the next dozens of steps $\alpha > 1$: what you see is
# stochastic gradient descent, hot, and in equilibrium with its own step as that falls. Then the injected noise takes over, and descent turns into sampling. Nobody has to switch from one to the other.

# %% [markdown]
# ## Two maxima
#
# Now a posterior that is not Gaussian, the example of Welling and Teh. The data come from two Gaussian lines of equal strength and known width, at the
# positions $\theta_1$ and $\theta_1 + \theta_2$, wider than their distance:
#
# $$
# \begin{gathered}
# p(x\mid\theta) = \tfrac12\, \mathcal N(x; \theta_1, \sigma_x^2) + \tfrac12\, \mathcal N(x; \theta_1 + \theta_2, \sigma_x^2), \\
# \theta_1 \sim \mathcal N(0, 10), \qquad \theta_2 \sim \mathcal N(0, 1),
# \end{gathered}
# $$ (eq-tied-mixture)
#
# with $\sigma_x^2 = 2$ and $N = 100$ data, drawn with $\theta = (0, 1)$. The likelihood does not know which line is which:
# exchanging them maps $(\theta_1, \theta_2)$ to $(\theta_1 + \theta_2, -\theta_2)$. Only the prior of $\theta_1$ objects, weakly. So as long as
# the mean $\bar x$ of the data is small against 10, the halves $\theta_2 > 0$ and $\theta_2 < 0$ have nearly equal weights.
#
# Does that mean two maxima? Fix the centre $\theta_1 + \theta_2/2 = \bar x$ and expand in half the distance, $u = \theta_2/2$. Each datum contributes
# $\log\cosh\bigl(u(x_i-\bar x)/\sigma_x^2\bigr) - u^2/2\sigma_x^2$, so that
#
# $$
# \log p = \text{const} + \frac{\bar x\, u}{10} + \frac{u^2}2 \Bigl[ \frac{N (S^2 - \sigma_x^2)}{\sigma_x^4} - 4 - \frac1{10} \Bigr] + O(u^4),
# $$ (eq-mixture-landau)
#
# with the sample variance $S^2$. This is a Landau free energy in a weak field. Without the field $\bar x/10$ the transition would be at $S^2 = 2.164$; the field moves it to
# about 2.20 (keep the $u^4$ term, which is about $-7.5\,u^4$ there, with $\bar x \approx \tfrac12$, and ask when a second maximum appears). So a sample that is some 5 % wider than one line shows two maxima, a narrower one shows one. The expected variance is $2\tfrac14$
# with a scatter of 0.3: the data decide. (Our default data set shows two. Other seeds may show one, and all checks hold for them as well.)

# %%
variances, variance_x, N_mixture = np.array([10.0, 1.0]), 2.0, 100
rng = np.random.default_rng([seed, 13])
second = rng.random(N_mixture) < 0.5
lines = second + np.sqrt(variance_x) * rng.standard_normal(N_mixture)
centre = lines.mean()


def mixture_prior_slope(theta):
    """Gradient of the log prior of (θ1, θ2)."""
    return -theta / variances


def mixture_slope(theta, x):
    """Gradient of log p(x|θ), summed over the batch (eq-tied-mixture).

    `share` is the probability that a datum belongs to the second line.
    """
    d, shift = x - theta[:, :1], theta[:, 1:]
    share = expit(shift * (d - shift / 2) / variance_x)
    first = (d - share * shift).sum(axis=1)
    return np.stack([first, (share * (d - shift)).sum(axis=1)], 1) / variance_x


def mixture_log_posterior(theta1, theta2):
    """Log posterior up to a constant; any shapes that broadcast."""
    prior = -(theta1**2) / 2 / variances[0] - theta2**2 / 2 / variances[1]
    d = lines - np.asarray(theta1)[..., None]
    far = d - np.asarray(theta2)[..., None]
    both = np.logaddexp(-(d**2) / 2 / variance_x, -(far**2) / 2 / variance_x)
    return prior + both.sum(axis=-1)


# %% [markdown]
# Check the gradient against differences of the log posterior, and the Landau coefficient against its second derivative.

# %%
theta, h = np.array([[0.3, 1.2], [1.5, -0.8]]), 1e-5
gradient = mixture_slope(theta, np.tile(lines, (2, 1)))
shifts = theta[:, None] + h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
values = mixture_log_posterior(shifts[..., 0], shifts[..., 1])
verify(
    "gradient of the mixture's log posterior at two points",
    gradient + mixture_prior_slope(theta),
    equals=(values[:, ::2] - values[:, 1::2]) / (2 * h),
    atol=1e-7,
    source="central differences",
)
u = 1e-3 * np.array([-1, 0, 1])
values = mixture_log_posterior(centre - u, 2 * u)
verify(
    "curvature of the log posterior where the two lines coincide",
    (values[0] - 2 * values[1] + values[2]) / 1e-6,
    equals=N_mixture * (lines.var() - variance_x) / variance_x**2 - 4.1,
    atol=1e-3,
    source="expansion in half the distance of the lines",
)

# %% [markdown]
# Next, the truth: quadrature on a grid of $300\times160$ points, summed into $30\times16$ bins for the comparison. A last "bin" takes whatever lies outside.

# %%
edges1, edges2 = centre + np.linspace(-3, 3, 31), np.linspace(-4, 4, 17)
fine1 = centre + (np.arange(300) + 0.5) / 50 - 3
fine2 = (np.arange(160) + 0.5) / 20 - 4
log_p = mixture_log_posterior(fine1[:, None], fine2)
density = np.exp(log_p - log_p.max())
density /= density.sum()
bins = density.reshape(30, 10, 16, 10).sum(axis=(1, 3)).ravel()
bins = np.append(bins, 0.0)
exact_share = density[:, fine2 < 0].sum()
show_table(
    ["S²", "weight of θ₂ < 0"], [[float(lines.var()), float(exact_share)]]
)

# %% [markdown]
# Now the chains: a thousand, minibatches of ten, and a schedule in which $\epsilon$ falls tenfold. (Welling and Teh ran one chain with minibatches of one, and
# $\epsilon$ from 0.01 to 0.0001. In the stiff direction, for typical data, their run starts at $\alpha \approx 14$.) We start half of the chains at
# $(0, 1)$ and half at its mirror image $(1, -1)$, and remember which is which. For even with the right weights in the end, one question is open: did anything cross?

# %%
schedule = decreasing_steps(n_steps_mixture, 0.004, 0.0004, 0.55)
start = np.tile([[0.0, 1.0], [1.0, -1.0]], (500, 1))
mixture = mixture_prior_slope, mixture_slope, lines, start
path = sgld(*mixture, steps=schedule, batch_size=10, seed=rng, thin=20)[:-1]
time = (np.cumsum(schedule) - schedule)[::20]
late = time > 2  # the rest is burn-in
states = path[late].reshape(-1, 2)
weights = np.repeat(schedule[::20][late], len(start))
weights /= weights.sum()
occupation, _, _ = np.histogram2d(
    *states.T, bins=(edges1, edges2), weights=weights
)
occupation = np.append(occupation, max(0.0, 1 - occupation.sum()))

# %% [markdown]
# How far may this be from the truth? The minibatch heats the stiff direction most. That is the centre of the lines, across the ridge, with
# $\Lambda \approx 1.25\,N/\sigma_x^2$: the centre $\theta_1 + \theta_2/2$ itself has the curvature $N/\sigma_x^2$, and its
# gradient $(1, \tfrac12)$ the squared length 1.25. And {eq}`eq-sgld-cost` with the step-weighted mean step after the burn-in
# gives an excess $\Delta$ of 0.13. A Gaussian with a variance larger by $\Delta$ is about $\Delta/4 = 0.03$ away in total
# variation. We allow 0.1; the rest is for chance, which a thousand independent chains keep small.

# %%
verify(
    "total variation between the SGLD histogram and the posterior",
    total_variation(occupation, bins),
    at_most=0.1,
    source="quadrature on a grid; heat in the stiff direction and chance",
)

# %% [markdown]
# The samples, in two dimensions and in one:

# %% mystnb={"image": {"alt": "Left: contours of a posterior with two maxima in the plane of theta 1 and theta 2, a narrow ridge from lower right to upper left, covered by a cloud of SGLD samples. Right: exact density of theta 2 with two peaks near plus and minus one, and the histogram of the samples on top of it."}, "figure": {"caption": "The posterior of two blended lines. Left: contours at 0.5, 0.1 and 0.01 of the maximum, and one SGLD state of each chain. Right: distribution of θ₂, exact (line) and step-weighted histogram.", "name": "fig-sgld-mixture"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.4))
levels = log_p.max() + np.log([0.01, 0.1, 0.5])
style = dict(levels=levels, colors="k", linestyles="solid")
axes[0].scatter(*path[-1].T, s=4, color="C5", label="SGLD")
axes[0].contour(fine1, fine2, log_p.T, linewidths=1, **style)
axes[0].plot(*start[:2].T, "D", color="C1", label="start")
axes[0].set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$", ylim=(-3.5, 3.5))
axes[0].set_xlim(centre - 2, centre + 2)
axes[0].legend(loc="lower left")
heights, edges = np.histogram(states[:, 1], 40, (-4, 4), weights=weights)
axes[1].stairs(heights / 0.2, edges, fill=True, color="C5", label="SGLD")
axes[1].plot(fine2, density.sum(axis=0) / 0.05, "k", label="exact")
axes[1].set(xlabel=r"$\theta_2$", ylabel="density", xlim=(-3.5, 3.5))
axes[1].set_ylim(0, 1.2 * axes[1].get_ylim()[1])
axes[1].legend(loc="upper center", ncols=2)
plt.show()

# %% [markdown]
# ### Did anything cross?
#
# A histogram cannot tell a chain that visits both maxima from two sets of chains that stay at home. The crossings can. How many to expect, the
# transition matrix tells, as in {lecture}`1.1`. On a grid
# of spacing $h$ the diffusion behind Langevin dynamics hops from a point $i$ to its neighbour $j$ at the rate
# $\frac{1}{2h^2}\sqrt{p_j/p_i}$. This obeys detailed balance, and has the right drift and the diffusion constant $\tfrac12$ as $h \to 0$. (Time is $\sum\epsilon_t$ here, twice that of
# {lecture}`2.1`: in a time $\epsilon$ the kicks have the variance $\epsilon$, which is $2D\epsilon$ with $D = \tfrac12$.)
# Times $\sqrt{p_i/p_j}$ the matrix of rates is symmetric. With its eigenvalues $-1/\tau_k$ and orthonormal modes $\varphi_k$, a chain from $i$ is at
# $\theta_2 < 0$ after the time $s$ with the probability
#
# $$
# P_i(s) = \sum_k e^{-s/\tau_k}\, \frac{\varphi_k(i)}{\sqrt{p_i}} \sum_{j:\, \theta_2 < 0} \varphi_k(j)\, \sqrt{p_j} .
# $$ (eq-mixture-crossing)


# %%
def diffusion_modes(h=0.1):
    """Grid points, √p, -1/τ and modes φ for (eq-mixture-crossing)."""
    axes = centre + np.arange(-30, 31) * h, np.arange(-40, 41) * h
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    log_p = mixture_log_posterior(*points.T)
    near = log_p > log_p.max() - 16
    points, log_p = points[near], log_p[near]
    apart = np.abs(points[:, None] - points).sum(axis=2)
    neighbours = (apart > 0.5 * h) & (apart < 1.5 * h)
    leave = neighbours * np.exp((log_p - log_p[:, None]) / 2)
    generator = neighbours - np.diag(leave.sum(axis=1))
    return points, np.exp(log_p / 2), *np.linalg.eigh(generator / 2 / h**2)


# %% [markdown]
# Chains from the two starts spend different fractions of their time at $\theta_2 < 0$, and what crosses makes them more alike. We compare the difference over
# one slowest relaxation time from the start. Along the ridge the slopes of single data vary little, so the minibatch hardly heats the crossing: we allow 5 % for its heat and the finite step, and four standard errors.

# %%
points, root_p, rates, modes = diffusion_modes()
left = np.heaviside(-points[:, 1].round(6), 0.5)
early = time < -1 / rates[-2]
weights = schedule[::20][early] / schedule[::20][early].sum()
rows = []
for k, name in enumerate(("(0, 1)", "(1, −1)")):
    i = np.argmin(((points - start[k]) ** 2).sum(axis=1))
    amplitudes = modes[i] / root_p[i] * (modes.T @ (root_p * left))
    exact = weights @ np.exp(np.outer(time[early], rates)) @ amplitudes
    shares = weights @ (path[early, k::2, 1] < 0)  # one for each chain
    error = shares.std() / np.sqrt(len(shares))
    rows.append([name, *map(float, (exact, shares.mean(), error))])
show_table(["start", "exact diffusion", "SGLD", "standard error"], rows)
(_, *first), (_, *second) = rows
exact, measured = np.subtract(second, first)[:2]
verify(
    "difference of the time spent at θ₂ < 0, between the two starts",
    measured,
    equals=exact,
    atol=0.05 * exact + 4 * np.hypot(first[2], second[2]),
    source="eigenvalues of the diffusion on a grid; heat and statistics",
)

# %% [markdown]
# Chains that never cross would stand at 0 and at 1, for a difference of one. If only the slowest mode counts, the difference falls like $e^{-s/\tau}$, and its mean
# over the time $\tau$ is about $1 - 1/e = 0.63$, close to what the table shows: they do cross. If the barrier is so high that the slowest $\tau$ is longer than your run,
# half the chains on either side are right only because you put them there. That is the fair way to read "both modes were visited". For our default data
# $\tau\approx5$, the run lasts 15, and the burn-in of 2 is one of the fast modes only: averaged over the histogram a quarter of the start is still there.
# Our half and half was a good guess, and this table, not the histogram, is the evidence.

# %% [markdown]
# ## Gradient descent has a temperature, too
#
# Set $T = 0$ in {eq}`eq-sgld-variance`: no injected noise, only minibatches. This is plain **stochastic gradient descent** (SGD) on the energy, and with a
# constant step it does not converge. It becomes a sampler at the temperature $\alpha$. In one dimension that could be any temperature you like, also
# one. Can we tune $\epsilon$, and sample the posterior without injected noise?
#
# Take two quantities, measured with errors of widths 1 and 3. For each one $\alpha_k = \epsilon C_k/4$, and since $C_k \approx N\Lambda_k/n$ for
# a model that fits,
#
# $$
# T_k = \alpha_k \approx \frac{\epsilon N}{4n}\,\Lambda_k, \qquad v_k \approx \frac{T_k}{\Lambda_k} \approx \frac{\epsilon N}{4n} .
# $$ (eq-sgd-temperature)
#
# Each direction has its own temperature. The stiff directions have the noisiest gradients and are hottest, and the cloud comes out *round*, whatever
# the shape of the posterior {cite}`mandt2017`. In the words of machine learning, where SGD acts on $E/N$ with the learning rate $\ell = \epsilon N/2$, its variance is
# $\ell/2n$: the ratio of learning rate and batch size. Predict the figure, then look.

# %%
widths = np.array([1.0, 3.0])
channels = widths * np.random.default_rng([seed, 2]).standard_normal((N, 2))
precisions = 1 + N / widths**2
means = channels.sum(axis=0) / widths**2 / precisions
step, clouds = 0.001, {}
channel_noise = np.diag(minibatch_noise(channels / widths**2, n))
for temperature in (0, 1):
    cloud = clouds[temperature] = final_states(
        np.tile(means, (8000, 1)),
        step,
        precisions.min(),
        data=channels,
        grad_log_likelihood=lambda t, x: (x - t[:, None]).sum(1) / widths**2,
        temperature=temperature,
    )
    exact = stationary_variance(step, channel_noise, temperature, precisions)
    verify(
        f"variances with injected noise of temperature {temperature}",
        precisions * cloud.var(axis=0),
        equals=precisions * exact,
        rtol=4.5 * np.sqrt(2 / len(cloud)) + np.exp(-8),
        source="stationary variance, one direction at a time",
    )

# %% [markdown]
# Ellipses for the posterior, points for the samples:

# %% mystnb={"image": {"alt": "Two clouds of points with the ellipses of the posterior, three times taller than wide. SGLD: an upright cloud somewhat wider than the ellipses. SGD: a nearly round cloud, about as wide as the ellipses and three times too short."}, "figure": {"caption": "Two parameters at the same step and batch size, with and without injected noise. Ellipses: one, two and three standard deviations of the posterior.", "name": "fig-sgd-temperature"}}
fig, axes = plt.subplots(1, 2, figsize=(5, 4), sharex=True, sharey=True)
angle = np.linspace(0, 2 * np.pi, 100)
for ax, temperature in zip(axes, (1, 0), strict=True):
    ax.scatter(*clouds[temperature][:1500].T, s=3, color="C5")
    for radius in (1, 2, 3):
        circle = radius * np.stack([np.cos(angle), np.sin(angle)])
        ax.plot(*(means[:, None] + circle / np.sqrt(precisions)[:, None]), "k")
    title = "SGLD, $T = 1$" if temperature else "SGD, $T = 0$"
    ax.set(title=title, xlabel=r"$\theta_1$", aspect="equal")
    ax.set_ylim(means[1] + np.array([-0.85, 0.85]))
axes[0].set_ylabel(r"$\theta_2$")
plt.show()

# %% [markdown]
# One direction happens to look right: we have chosen the step such that $\alpha_1 \approx 1$. The other is three times too short. The spread of SGD's iterates is not
# the uncertainty of your parameters. It is learning rate over batch size, and only a gradient noise with $C$ proportional to the unit matrix would have given the shape of the posterior.

# %% [markdown]
# ## Break it: forget a factor
#
# Two slips that run without an error. **First**, leave out $N/n$, as code does that simply adds up the loss over a batch. (With the mean that
# frameworks return by default it is worse: $1/n$ is left, and in what follows $n$ becomes one datum.) Before you run it: which posterior does the chain sample then, with which mean and variance?
#
# Without $N/n$ the mean slope is that of $\log p(\theta) + \frac nN \sum_i \log p(x_i\mid\theta)$. So the likelihood is at the
# temperature $N/n = 20$ while the prior stays at one: the posterior of someone who has seen the same average in $n = 10$ data and not in 200. In {eq}`eq-conjugate-posterior`
# $N$ becomes $n$, and the noise of the gradient has the variance $(n/N)^2 C$. **Second**, the noise $\sqrt{2\epsilon}$ with the drift
# $\epsilon/2$, from a mixture of two conventions: that is $T = 2$. We take the shortest step of {numref}`fig-sgld-variance`, where the right
# code is not far off.

# %%
step, chains = steps[0], 4000
few = 1 / prior_width**2 + n / width**2
few_mean = n * data.mean() / width**2 / few
unscaled = {"grad_log_likelihood": lambda t, x: n / N * slope(t, x)}
slips = {
    "without N/n": (
        unscaled | {"curvature": few},
        few_mean,
        stationary_variance(step, (n / N) ** 2 * C, 1.0, few),
    ),
    "with noise √(2ε)": (
        {"temperature": 2.0},
        mean,
        stationary_variance(step, C, 2.0),
    ),
}
slipped = {}
for name, (slip, exact_mean, exact_variance) in slips.items():
    x = final_states(np.full(chains, exact_mean), step, **slip)
    slipped[name] = x
    error_of_mean = 4 * x.std() / np.sqrt(chains)
    error = (np.exp(-8) + 4.5 * np.sqrt(2 / chains)) * exact_variance
    verify(
        f"mean and variance {name}, the variance over that of the posterior",
        [x.mean(), x.var() * precision],
        equals=[exact_mean, exact_variance * precision],
        atol=[error_of_mean, error * precision],
        source="stationary state of the wrong update",
    )

# %% [markdown]
# Had we not known the posterior, which of these histograms would have looked wrong?

# %% mystnb={"image": {"alt": "Probability densities of theta. The posterior is a narrow peak near 0.5, and the histogram of the right code nearly agrees with it. With too much noise the peak is half as wide again, at the same place. Without N over n it is broad and low, and its centre is shifted towards zero."}, "figure": {"caption": "Two slips in the update, and the right code at the same step. No slip raises an error.", "name": "fig-sgld-slips"}}
grid = np.linspace(mean - 2, mean + 1.5, 400)
exact = np.exp(-precision * (grid - mean) ** 2 / 2)
fig, ax = plt.subplots(figsize=(5.5, 3))
ax.plot(grid, exact * np.sqrt(precision / 2 / np.pi), "k", label="posterior")
shown = {"right code": samples[n][0]} | slipped
for k, (name, x) in enumerate(shown.items()):
    heights, edges = np.histogram(x, 60, density=True)
    ax.stairs(heights, edges, lw=1.6, color=f"C{k}", label=name)
ax.set(xlabel=r"$\theta$", ylabel="density", xlim=grid[[0, -1]])
ax.legend()
plt.show()

# %% [markdown]
# The wrong noise adds one unit of temperature, and nothing in the histogram tells. Without $N/n$ the error bar is nearly four times too long, and the prior pulls harder
# than it should. Two thousand data or twenty would have given the same width at the same $n$: *the result no longer depends on how much you measured*. Nothing
# crashes, and the histogram looks like a posterior.

# %% [markdown]
# ## An unbinned lifetime fit
#
# Last, physics: $N = 1000$ decays with times $t_i$ in a window of length $L = 5$, a fraction $f$ of them signal with lifetime $\tau$, the rest flat
# background,
#
# $$
# p(t\mid\tau, f) = f\,\frac{e^{-t/\tau}}{\tau(1 - e^{-L/\tau})} + \frac{1-f}{L} .
# $$ (eq-lifetime-fit)
#
# We draw them with $\tau = 1$ and $f = 0.6$, and shall use minibatches of 50.
# The parameters are $\theta = (\log\tau, \operatorname{logit} f)$, unbounded, each with a standard normal prior. With the probability $r$ that an event is signal, the
# slopes of $\log p$ are $r\,(t/\tau - 1 + u/(e^u - 1))$, where $u = L/\tau$, and $r - f$. (Derive them; the code checks them below.)


# %%
window, N_decays = 5.0, 1000
rng = np.random.default_rng([seed, 3])
signal = rng.random(N_decays) < 0.6
decays = np.where(
    signal,
    -np.log1p(-rng.random(N_decays) * (1 - np.exp(-window))),
    window * rng.random(N_decays),
)


# %% [markdown]
# The model, its slopes, and the log posterior:


# %%
def lifetime_parts(theta, t):
    """Signal and background parts of p(t|τ, f), and (τ, f)."""
    tau, f = np.exp(theta[:, :1]), expit(theta[:, 1:])
    signal = f * np.exp(-t / tau) / tau / -np.expm1(-window / tau)
    return signal, (1 - f) / window, tau, f


def lifetime_slopes(theta, t):
    """Gradient in (log τ, logit f) for each event, shape (chains, n, 2)."""
    signal, background, tau, f = lifetime_parts(theta, t)
    share = signal / (signal + background)
    ratio = window / tau
    lifetime = share * (t / tau - 1 + ratio / np.expm1(ratio))
    return np.stack([lifetime, share - f], axis=-1)


def lifetime_log_posterior(theta):
    """Log posterior of all events, one value for each row of θ."""
    signal, background, _, _ = lifetime_parts(theta, decays)
    prior = -(theta**2).sum(axis=1) / 2
    return prior + np.log(signal + background).sum(axis=1)


# %% [markdown]
# Quadrature gives the posterior, its mean, and its covariance $V$. The grid reaches six standard deviations to either side of a first guess by
# Newton's method, with the empirical Fisher matrix $\sum_i g_i\, g_i^{\mathsf T}$, plus the prior's unit matrix, in place of the curvature.

# %%
best = np.zeros((1, 2))
for _ in range(30):
    each = lifetime_slopes(best, decays)[0]
    fisher = each.T @ each + np.eye(2)
    best = best + np.linalg.solve(fisher, each.sum(axis=0) - best[0])
root = np.linalg.cholesky(np.linalg.inv(fisher))
z = np.linspace(-6, 6, 61)
z = np.stack(np.meshgrid(z, z), -1).reshape(-1, 2)
theta_grid = best + z @ root.T
log_p = lifetime_log_posterior(theta_grid)
p = np.exp(log_p - log_p.max())
p /= p.sum()
fit_mean = p @ theta_grid
spread = theta_grid - fit_mean
V = spread.T @ (p[:, None] * spread)

h = 1e-5 * np.eye(2)
verify(
    "gradient of the lifetime fit at the origin",
    lifetime_slopes(np.zeros((1, 2)), decays)[0].sum(axis=0),
    equals=[
        np.subtract(*lifetime_log_posterior(np.array([e, -e]))) / 2e-5
        for e in h
    ],
    atol=1e-4,
    source="central differences; the prior is flat there",
)

# %% [markdown]
# Near its maximum the energy is $\frac12\delta^{\mathsf T} A\,\delta$ with $A = V^{-1}$. Now {eq}`eq-sgld-gaussian` has matrices: a step multiplies
# $\delta$ by $1 - \frac\epsilon2 A$, hence its covariance $\Sigma$ from both sides, and adds those of the two noises. In the stationary state
#
# $$
# \Sigma = \Bigl(1 - \frac\epsilon2 A\Bigr) \Sigma \Bigl(1 - \frac\epsilon2 A\Bigr) + \frac{\epsilon^2}4\, C + \epsilon\, 1 ,
# $$ (eq-sgld-lyapunov)
#
# a linear equation, for which SciPy has a function. The posterior is not quite Gaussian, and $C$ depends on $\theta$; both are corrections of a few per
# cent at $N = 1000$, and we allow five. We choose $\epsilon$ such that $\alpha$ is one in the stiff direction, and ask whether the error bars are too long by just that much.

# %%
A = np.linalg.inv(V)
fit_noise = minibatch_noise(lifetime_slopes(fit_mean[None], decays)[0], 50)
curvatures, axes_A = np.linalg.eigh(A)
fit_step = 4 / (axes_A[:, 1] @ fit_noise @ axes_A[:, 1])


def stationary_covariance(C):
    """Σ for a matrix of curvatures A and noise C (eq-sgld-lyapunov)."""
    drift = np.eye(2) - fit_step / 2 * A
    added = fit_step**2 / 4 * C + fit_step * np.eye(2)
    return solve_discrete_lyapunov(drift, added)


n_steps = int(8 / fit_step / curvatures[0])
normal = rng.standard_normal((4000, 2))
common = {
    "theta0": fit_mean + normal @ np.linalg.cholesky(V).T,
    "steps": np.full(n_steps, fit_step),
    "thin": n_steps,
    "seed": rng,
}
fit = sgld(
    lambda theta: -theta,
    lambda theta, t: lifetime_slopes(theta, t).sum(axis=1),
    decays,
    batch_size=50,
    **common,
)[-1]

# %% [markdown]
# In units of the posterior's variances, along the soft and the stiff direction of $A$:


# %%
def in_units(covariance):
    """Variances along the axes of A, over those of the posterior."""
    return curvatures * np.diag(axes_A.T @ covariance @ axes_A)


measured = in_units(np.cov(fit.T))
expected = in_units(stationary_covariance(fit_noise))
rows = zip(("soft", "stiff"), expected, measured, strict=True)
show_table(["direction", "predicted", "SGLD"], list(rows))
verify(
    "variances of the lifetime fit in the soft and the stiff direction",
    measured,
    equals=expected,
    rtol=4 * np.sqrt(2 / len(fit)) + 0.05,
    source="quadrature for V, then the Lyapunov equation",
)

# %% [markdown]
# The errors are too long across the ridge, where the fit is precise:

# %% mystnb={"image": {"alt": "Left: histogram of decay times that falls from the left to a flat background, with the fitted curve on top. Right: contours of a tilted, nearly elliptical posterior in the plane of log lifetime and logit of the signal fraction, a cloud of SGLD samples that is wider than the contours across, and a dashed ellipse of the predicted covariance."}, "figure": {"caption": "The lifetime fit. Left: data, and the density at the posterior mean. Right: posterior by quadrature (solid: one and two standard deviations of a Gaussian), SGLD samples at α = 1, and the two-sigma ellipse predicted for them (dashed).", "name": "fig-lifetime-fit"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.2))
t = np.linspace(0, window, 200)
counts, edges = np.histogram(decays, 40)
axes[0].stairs(counts, edges, fill=True, color="0.8", label="data")
fitted, flat, _, _ = lifetime_parts(fit_mean[None], t)
fitted = (fitted + flat)[0] * N_decays * window / 40
axes[0].plot(t, fitted, label="posterior mean")
axes[0].set(xlabel="time $t$", ylabel="decays per bin")
axes[1].scatter(*fit[:1500].T, s=4, color="C5", label="SGLD")
grid = theta_grid.reshape(61, 61, 2).transpose(2, 0, 1)
levels = dict(levels=log_p.max() - np.array([2, 0.5]), linestyles="solid")
axes[1].contour(*grid, log_p.reshape(61, 61), colors="k", **levels)
circle = np.stack([np.cos(angle), np.sin(angle)])
root = np.linalg.cholesky(stationary_covariance(fit_noise))
ellipse = fit_mean[:, None] + 2 * root @ circle
axes[1].plot(*ellipse, "--", color="C1", label="predicted")
axes[1].set(xlabel=r"$\log\tau$", ylabel=r"$\operatorname{logit} f$")
axes[1].set_xlim(*(fit_mean[0] + np.array([-4, 4]) * np.sqrt(V[0, 0])))
axes[1].set_ylim(*(fit_mean[1] + np.array([-4, 6]) * np.sqrt(V[1, 1])))
for ax in axes:
    ax.legend()
plt.show()

# %% [markdown]
# ## Exercises
#
# ::::{exercise} Shuffle once per epoch
# :label: ex-epochs
# Most training loops shuffle the data and then work through $m = N/n$ disjoint minibatches, an epoch. Each batch has the noise $C$ of
# {eq}`eq-minibatch-noise`, but now the batches of an epoch know of each other. Compute the minibatch heat, that is, the variance of $\delta$ at $T = 0$, after $k$ steps of an epoch, for the Gaussian. *Hint:* what is the sum of the $m$
# noises $\xi_j$ of one epoch? Which covariance of two of them follows?
# ::::
#
# ::::{solution-start} ex-epochs
# :class: dropdown
# ::::
#
# The same trick: over an epoch the noises sum to zero, $0 = mC + m(m-1)c$, and so $c = -C/(m-1)$. With $a = 1-\epsilon\Lambda/2$ the
# minibatch noise after $k$ steps is $\frac\epsilon2\sum_{j<k} a^{k-1-j}\xi_j$. At $T = 0$ all variance is minibatch heat, $v_k$, and
#
# $$
# v_k = a^{2k} v_0 + \frac{\epsilon^2}4\, \frac{m\,C}{m-1} \Bigl[ \sum_{j<k} a^{2j} - \frac1m \Bigl(\sum_{j<k} a^j\Bigr)^2 \Bigr],
# \qquad v_m = v_0 .
# $$ (eq-epoch-noise)
#
# At $k = m$ the bracket is $m$ times the *variance* of the factors $a^j$ within an epoch. If the chain hardly relaxes during one, they are all alike, and nearly all the
# noise is gone. At $\epsilon = 0.002$ an epoch is about one relaxation time, and of the heat of independent minibatches 9 % are left at the end of an epoch, and
# 29 % on average over it. So epochs do make samples cheaper {cite}`shaw2025`. We turn the injected noise off, and look at the heat alone:

# %% tags=["solution"]
step, epochs, m = 0.002, 8, N // n
a = 1 - step * precision / 2
powers = a ** np.arange(m)
bracket = np.cumsum(powers**2) - np.cumsum(powers) ** 2 / m
added = step**2 / 4 * C * m / (m - 1) * bracket
exact = added + a ** (2 * np.arange(1, m + 1)) * added[-1] / (1 - a ** (2 * m))
theta, heat = np.full(n_chains, mean), np.empty(m)
for _ in range(epochs):
    order = rng.permuted(np.tile(data, (n_chains, 1)), axis=1)
    sums = order.reshape(n_chains, m, n).sum(axis=2)
    for j in range(m):
        likelihood = (sums[:, j] - n * theta) / width**2
        drift = prior_slope(theta) + N / n * likelihood
        theta = theta + step / 2 * drift
        heat[j] = theta.var()
independent = step**2 / 4 * C / (1 - a**2)
verify(
    "heat after each step of an epoch, over that of independent minibatches",
    heat / independent,
    equals=exact / independent,
    rtol=5 * np.sqrt(2 / n_chains),
    source="covariance of disjoint minibatches",
)

# %% [markdown]
# And the two numbers of the text:

# %% tags=["solution"]
verify(
    "heat left at the end of an epoch, and averaged over it",
    [heat[-1] / independent, heat.mean() / independent],
    equals=[0.086, 0.29],
    rtol=5 * np.sqrt(2 / n_chains) + 0.01,
    source="(eq-epoch-noise), rounded",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Control the noise
# :label: ex-control-variate
# Compute the slope of the whole likelihood *once*, $G(\theta^*) = \sum_{i=1}^N g_i(\theta^*)$ at a point $\theta^*$ near the maximum, with
# $g_i(\theta) = \nabla\log p(x_i\mid\theta)$ as before, and estimate only the difference with minibatches,
# $\hat g = \nabla\log p(\theta) + G(\theta^*) + \frac Nn\sum_{\mathcal B}\bigl[g_i(\theta) - g_i(\theta^*)\bigr]$, a **control variate** {cite}`baker2019`.
# Is it unbiased? What is its noise for the Gaussian? Use it in the lifetime fit, at the same step, with batches of *ten*.
# ::::
#
# ::::{solution-start} ex-control-variate
# :class: dropdown
# ::::
#
# The subtracted terms have the mean $-G(\theta^*)$, so it is unbiased. For the Gaussian $g_i(\theta) - g_i(\theta^*) = -(\theta-\theta^*)/\sigma^2$ is the same for
# each datum, and the noise vanishes: a single datum per step would do. In the fit the difference is of the order of a posterior width, and its variance falls
# like $1/N$, but with a large prefactor: about half of what remains of the excess in the stiff direction is still minibatch heat. To predict it we average the noise of the
# difference over the posterior. To see a few per cent, we average each chain over the second half of its run. One per cent is for what the
# prediction leaves out: the chains are a little wider than the posterior, and not quite Gaussian.

# %% tags=["solution"]
at_best = lifetime_slopes(fit_mean[None], decays)[0]
keep = p > 1e-3 * p.max()
controlled_noise = np.average(
    [
        minibatch_noise(lifetime_slopes(x[None], decays)[0] - at_best, 10)
        for x in theta_grid[keep]
    ],
    axis=0,
    weights=p[keep],
)
events = np.column_stack([decays, at_best])  # an event and its old slope
total = at_best.sum(axis=0)
path = sgld(
    lambda theta: -theta + total,
    lambda theta, x: (lifetime_slopes(theta, x[..., 0]) - x[..., 1:]).sum(1),
    events,
    batch_size=10,
    **common | {"thin": 5},
)

# %% [markdown]
# The tolerance is four standard errors, from the scatter of the chains, and one per cent:

# %% tags=["solution"]
along = (path[len(path) // 2 :] - fit_mean) @ axes_A
squares = curvatures * (along**2).mean(axis=0)  # one row for each chain
verify(
    "variances with a control variate and batches of ten",
    squares.mean(axis=0),
    equals=in_units(stationary_covariance(controlled_noise)),
    atol=4 * squares.std(axis=0) / np.sqrt(len(squares)) + 0.01,
    source="Lyapunov equation with the noise of the difference",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A posterior is a Boltzmann distribution with one energy term per datum, and a minibatch with the factor $N/n$ estimates its slope without bias. The
# estimate's noise adds a temperature $\alpha = \epsilon C/4$ to the one you inject; decreasing steps remove it, a constant step keeps it, and without injected noise it is all
# there is, a different one in each direction. At a given error, the cost per independent sample does not depend on the
# size of independent minibatches; epochs and control variates lower it.
#
# **Next:** the energy itself is unknown. In {lecture}`2.3` a network learns it, and Langevin dynamics
# samples it.
