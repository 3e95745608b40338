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
# logarithm is an energy with one term for each datum, and {doc}`lecture 2.1 <01_langevin_sampling>` knows how to sample an energy. But
# each Langevin step then visits every event that the detector ever recorded. Can a step look at ten of them instead? Yes, if you know what
# the missing ones do: they heat the chain. We compute by how much, for a case that is exactly solvable, and then cool.
#
# :::{admonition} Plan
# :class: tip
# **You will** derive the noise of a minibatch gradient and the temperature it adds; predict the variance of the samples, and find it;
# sample a posterior with two maxima, and check it against quadrature; and see at which temperature plain
# stochastic gradient descent samples. **You need** lecture 2.1 and Bayes' theorem. **Reading time** an hour, exercises not included.
# **CPU time** 35 s.
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
# The partition function $Z$ is the probability of the data, which statisticians call the evidence. As always in Langevin dynamics, its
# gradient in $\theta$ is zero, and we need not know it. Note what moves: $\theta$, the parameter. The data stay where they are.
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
# pair. We find $c$ with a trick: draw all $N$. Their sum is certain, $0 = N S_g^2 + N(N-1)\, c$, hence
# $c = -S_g^2/(N-1)$. The sum of $n$ draws has the variance $n S_g^2 + n(n-1)\, c = n S_g^2 (N-n)/(N-1)$. Times $(N/n)^2$:
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
# introduced as an optimiser. It is none. The noise of an optimiser has to die away faster than its steps; here $\sqrt\epsilon$ outweighs $\epsilon$ ever more
# as the steps get smaller, and in the end $\theta$ is distributed, not found. Nor is the start a prior: the prior acts in every step, through its slope,
# and the start is forgotten.
#
# Our sampler runs many chains at once, each with its own minibatches. We add a temperature to the injected noise, $\sqrt{T\epsilon}$, because we shall
# want to turn it off. `steps` is the array of the $\epsilon_t$.

# %%
show_source(sgld)

# %% [markdown]
# Minibatches without replacement come from an algorithm of Floyd, of which `advml.sampling` has a version for all chains at once; permuting $N$
# numbers to use the first ten of them would cost more than the gradient.
#
# ## How hot is a minibatch?
#
# In the Gaussian case everything can be solved. The estimate {eq}`eq-minibatch-gradient` is $-\Lambda(\theta-\mu) + \xi$, where the noise $\xi$ has variance $C$ and does not depend
# on $\theta$, because each $g_i$ has the same slope in $\theta$. Then $\delta = \theta - \mu$ obeys
#
# $$
# \delta \leftarrow \Bigl(1 - \frac{\epsilon\Lambda}2\Bigr)\delta + \frac\epsilon2\,\xi + \sqrt{T\epsilon}\; w .
# $$ (eq-sgld-gaussian)
#
# The three terms are independent. The variance after the step is $(1 - \epsilon\Lambda/2)^2 v + \epsilon^2 C/4 + T\epsilon$; in the stationary
# state it equals $v$, and solving for $v$ gives
#
# $$
# v = \frac1\Lambda\; \frac{T + \alpha}{1 - \epsilon\Lambda/4}, \qquad \alpha = \frac{\epsilon\, C}4 .
# $$ (eq-sgld-variance)
#
# Read it as a physicist. The posterior has the variance $1/\Lambda$. The denominator is the bias of lecture 2.1, where it reads $1 - \eta/2$ for
# $\epsilon = 2\eta$ and $\Lambda = 1$; at $\epsilon\Lambda = 4$ the chain blows up. And **the minibatch adds the temperature** $\alpha$ to the $T = 1$ that you injected. It is a ratio of two
# variances, that of the drift's noise, $\epsilon^2C/4$, to that of the injected noise, $\epsilon$. A sampler has a temperature, and every source of noise
# contributes to it.
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
cases = [(10, False), (50, True), (50, False), (N, False)]
noise = {case: minibatch_noise(data / width**2, *case) for case in cases}
samples = {
    (size, replace): [
        final_states(
            start[: n_chains * 20 // max(size, 20)],
            step,
            batch_size=size,
            replace=replace,
        )
        for step in steps
    ]
    for size, replace in cases
}

# %% [markdown]
# The variance of $k$ independent chains has a relative error of $\sqrt{2/k}$, as long as the samples are Gaussian. Here they are
# sums of many small terms, and the excess kurtosis of a batch mean is that of the data divided by $n$. The last case takes a "minibatch" of all 200 data. Then $\alpha = 0$,
# and this is the unadjusted Langevin algorithm of lecture 2.1.

# %%
for (size, replace), C in noise.items():
    found = [x.var() for x in samples[size, replace]]
    chains = len(samples[size, replace][0])
    how = "with" if replace else "without"
    verify(
        f"variance at five steps, minibatches of {size} {how} replacement",
        precision * np.array(found),
        equals=precision * stationary_variance(steps, C),
        rtol=4.5 * np.sqrt(2 / chains) + np.exp(-8),
        source="balance of drift, minibatch noise and injected noise",
    )
some = samples[10, False][2]
verify(
    "the mean of SGLD is the posterior mean",
    some.mean(),
    equals=mean,
    atol=4 * some.std() / np.sqrt(len(some)),
    source="closed form; the minibatch gradient is unbiased",
)

# %% [markdown]
# A factor of seven or more it is, at $\epsilon = 0.02$. All of it in one picture:

# %% mystnb={"image": {"alt": "Variance over posterior variance against step size on logarithmic axes. The curve for minibatches of ten rises from 1.2 at step 0.001 to about 20 at 0.04. Minibatches of fifty reach 5 to 6, lower without replacement. The full gradient reaches 2. All points lie on their curves."}, "figure": {"caption": "Variance of SGLD samples in units of the posterior variance. Lines: theory, points: samples. Dotted: the posterior.", "name": "fig-sgld-variance"}}
fine = np.geomspace(5e-4, 0.05, 200)
fig, ax = plt.subplots(figsize=(5.5, 3.3))
for (size, replace), C in noise.items():
    how = "with" if replace else "without"
    label = (
        "full gradient" if size == N else f"$n = {size}$, {how} replacement"
    )
    curve = precision * stationary_variance(fine, C)
    (line,) = ax.loglog(fine, curve, "--" if replace else "-", label=label)
    found = [precision * x.var() for x in samples[size, replace]]
    ax.plot(steps, found, "o", color=line.get_color())
ax.axhline(1, color="0.5", ls=":")
ax.set(xlabel=r"step $\epsilon$", ylabel="variance / posterior variance")
ax.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# The minibatch dominates the error long before the step itself becomes too long. Drawing 50 of 200 without replacement removes a quarter of the heat, by
# {eq}`eq-minibatch-noise`; drawing ten would remove a twentieth.
#
# ### When the injected noise wins, and what that costs
#
# Welling and Teh advise to take samples once $\alpha \ll 1$, when the injected noise drowns the minibatch's. (With many
# parameters $C$ is a matrix, and its largest eigenvalue counts; with a matrix of step sizes $\epsilon M$, that of $M^{1/2} C M^{1/2}$.) Now we know what a given $\alpha$ costs: a
# posterior that is too wide by a factor $1+\alpha$.
#
# For a model that fits the data, $S_g^2$ is about the curvature that one datum contributes, $\Lambda/N$ (both are the Fisher information). Then
# $C \approx N\Lambda/n$, and a tolerable $\alpha$ asks for $\epsilon = 4\alpha n/(N\Lambda)$. To forget takes $2/(\epsilon\Lambda)$ steps with $n$ data each, or
#
# $$
# \text{data visited per relaxation time} = \frac{2}{\epsilon\Lambda}\, n = \frac{N}{2\alpha} .
# $$ (eq-sgld-cost)
#
# The batch size has dropped out. Langevin with the full gradient has the error $\epsilon\Lambda/4$ instead of $\alpha$, and visits
# $2N/(\epsilon\Lambda) = N/(2\cdot\text{error})$ data: just as many. **Minibatches buy cheaper steps, not cheaper samples**
# {cite}`brosse2018,baker2019`. What they buy is a fast first approach, memory, and exploration while the data stream in. The way to really gain is
# a gradient estimate with less noise: see the last exercise.

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
# The excess is proportional to a step-weighted mean of the step. If both conditions hold it vanishes like one over the time. But do we need the second? The
# excess goes to zero for *any* $\epsilon_t \to 0$, and a faster decrease means less time, hence fewer independent samples. With $\epsilon_t \sim t^{-\gamma}$ and
# $\gamma < \tfrac12$, the time grows like $t^{1-\gamma}$, the statistical error falls like $t^{-(1-\gamma)/2}$ and the bias like $t^{-\gamma}$. They fall together at
# $\gamma = \tfrac13$, where $\sum\epsilon_t^2$ diverges, and that is the best schedule {cite}`teh2016`. So $\sum\epsilon_t^2 < \infty$ is sufficient, not necessary.
# The best error falls like $t^{-1/3}$, slower than the $t^{-1/2}$ of a sampler without bias: that is the price of having no accept step, which would have to
# look at all data.

# %%
n_steps, thin, walkers = 4000, 5, 2000
C = noise[n, False]


def decreasing_steps(n_steps, first, last, gamma):
    """Steps a(b + t)^(-γ) from `first` down to `last` (eq-sgld-schedule)."""
    ratio = (first / last) ** (1 / gamma)
    b = (n_steps - 1) / (ratio - 1)
    return first * (1 + np.arange(n_steps) / b) ** -gamma


schedule = decreasing_steps(n_steps, 0.04, 0.0004, 0.55)
zeros = np.zeros(walkers)
path = sgld(**gaussian, theta0=zeros, steps=schedule, seed=rng, thin=thin)

# %% [markdown]
# The Gaussian tells us again what must come out, at each step and for any schedule: {eq}`eq-sgld-gaussian` maps the mean square
# $\langle\delta^2\rangle$ to $(1 - \epsilon_t\Lambda/2)^2\langle\delta^2\rangle + \epsilon_t^2C/4 + \epsilon_t$. We start at $\theta = 0$, several widths away, and
# compare the step-weighted average of $\delta^2$, burn-in and all. Its error comes from the scatter of the chains, which are independent.

# %%
square = np.empty(n_steps + 1)
square[0] = mean**2  # every chain starts at zero
for t, step in enumerate(schedule):
    shrink = 1 - step * precision / 2
    added = step**2 * C / 4 + step
    square[t + 1] = shrink**2 * square[t] + added
weights = schedule[::thin] / schedule[::thin].sum()
measured = weights @ (path[:-1] - mean) ** 2  # one value for each chain
verify(
    "step-weighted mean square over the whole decreasing schedule",
    precision * measured.mean(),
    equals=precision * weights @ square[:-1:thin],
    atol=4 * precision * measured.std() / np.sqrt(walkers),
    source="recursion of the second moment, summed over the schedule",
)
late_steps = schedule[3000::thin]
late_weights = late_steps / late_steps.sum()
late = late_weights @ (path[3000 // thin : -1] - mean) ** 2
verify(
    "step-weighted variance of the last quarter, over that of the posterior",
    precision * late.mean(),
    equals=precision * late_weights @ stationary_variance(late_steps, C),
    atol=4 * precision * late.std() / np.sqrt(walkers) + 0.005,
    source="stationary variance at the late steps, which it follows",
)

# %% [markdown]
# On the left what the two noises add in each step, on the right what comes of it:

# %% mystnb={"image": {"alt": "Two panels against the step number on logarithmic axes. Left: the injected variance falls as a line; the minibatch variance starts ten times above it, falls twice as steeply, and crosses it near step 50. Right: the variance falls from four to 1.1 times that of the posterior; points lie on the exact curve."}, "figure": {"caption": "A decreasing schedule. Left: variance added per step by the minibatch and by the injected noise; where they cross (dot), α = 1. Right: variance across the chains, exact (line) and measured (points); dotted: the posterior.", "name": "fig-sgld-schedule"}}
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
# During the first fifty steps or so the minibatches dominate, and what you see is stochastic gradient descent on its way in. Then the injected noise takes
# over, and descent turns into sampling. Nobody has to switch from one to the other.

# %% [markdown]
# ## Two maxima
#
# Now a posterior that is not Gaussian, the example of Welling and Teh. The data come from two Gaussian lines of equal strength and known width, at the
# positions $\theta_1$ and $\theta_1 + \theta_2$, wider than their distance:
#
# $$
# p(x\mid\theta) = \tfrac12\, \mathcal N(x; \theta_1, \sigma_x^2) + \tfrac12\, \mathcal N(x; \theta_1 + \theta_2, \sigma_x^2),
# \qquad \theta_1 \sim \mathcal N(0, 10), \quad \theta_2 \sim \mathcal N(0, 1),
# $$ (eq-tied-mixture)
#
# with $\sigma_x^2 = 2$ and $N = 100$ data, drawn with $\theta = (0, 1)$. The likelihood does not know which line is which:
# exchanging them maps $(\theta_1, \theta_2)$ to $(\theta_1 + \theta_2, -\theta_2)$. Only the prior of $\theta_1$ objects, weakly. So whatever the
# data, the halves $\theta_2 > 0$ and $\theta_2 < 0$ have nearly equal weights.
#
# Does that mean two maxima? Fix the centre $\theta_1 + \theta_2/2 = \bar x$ and expand in half the distance, $u = \theta_2/2$. Each datum contributes
# $\log\cosh\bigl(u(x_i-\bar x)/\sigma_x^2\bigr) - u^2/2\sigma_x^2$, so that
#
# $$
# \log p = \text{const} + \frac{\bar x\, u}{10} + \frac{u^2}2 \Bigl[ \frac{N (S^2 - \sigma_x^2)}{\sigma_x^4} - 4 - \frac1{10} \Bigr] + O(u^4),
# $$ (eq-mixture-landau)
#
# with the sample variance $S^2$. This is a Landau free energy, and the transition is at $S^2 = 2.164$: a sample that is much wider than one line shows two
# maxima, any other shows one. The expected variance is $2\tfrac14$ with a scatter of 0.3, so the data decide. (We have numbered
# our random streams such that the default data set shows two. Other seeds may show one, and all checks hold for them as well.)

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
two = int(lines.var() > 2.164)
show_table(
    ["S²", "weight of θ₂ < 0", "maxima, by Landau's rule"],
    [[float(lines.var()), float(exact_share), f"‹{1 + two}›"]],
)

# %% [markdown]
# Now the chains: a thousand, minibatches of ten, and a schedule in which $\epsilon$ falls tenfold. (Welling and Teh ran one chain with minibatches of one, and
# $\epsilon$ from 0.01 to 0.0001. In the stiff direction, for typical data, their run starts at $\alpha \approx 14$.) We start half of the chains at
# $(0, 1)$ and half at its mirror image $(1, -1)$, and remember which is which. For even with the right weights in the end, one question is open: did anything cross?

# %%
schedule = decreasing_steps(n_steps_mixture, 0.004, 0.0004, 0.55)
start = np.tile([[0.0, 1.0], [1.0, -1.0]], (500, 1))
mixture = mixture_prior_slope, mixture_slope, lines, start
path = sgld(*mixture, steps=schedule, batch_size=10, seed=rng, thin=20)
time = (np.cumsum(schedule) - schedule)[::20]
late = time > 2  # the rest is burn-in
path, time, weights = path[:-1][late], time[late], schedule[::20][late]
weights = weights / weights.sum()


def histogram(path):
    """Step-weighted histogram of each chain, shape (chains, bins)."""
    i = np.digitize(path[..., 0], edges1) - 1
    j = np.digitize(path[..., 1], edges2) - 1
    outside = (i < 0) | (i >= 30) | (j < 0) | (j >= 16)
    k = np.where(outside, 480, 16 * i + j) + 481 * np.arange(len(start))
    each = np.repeat(weights, len(start))
    return np.bincount(k.ravel(), each, 481 * len(start)).reshape(-1, 481)


# %% [markdown]
# How large may the total variation be? It has two parts. One is chance: if the occupation of bin $k$ scatters with a standard error $s_k$, which the independent
# chains tell, then $\tfrac12\sum_k |\hat p_k - p_k|$ has the mean $\tfrac12\sum_k s_k \sqrt{2/\pi}$. The other is heat. A Gaussian that is wider by a factor $1+\kappa$ in
# variance differs by $\tfrac\kappa4\langle|z^2-1|\rangle = 0.24\,\kappa$ in total variation, with normal $z$. We take $\kappa$ in
# the stiff direction, which is that of the centre of the lines, across the ridge: along $(2, 1)/\sqrt5$ the slopes of single data give $C$, and
# {eq}`eq-sgld-variance` with the step-weighted mean step gives $1+\kappa$. Both parts together bound the distance; the chance part may come out twice its mean.

# %%
occupation = histogram(path)
scatter = occupation.std(axis=0, ddof=1) / np.sqrt(len(start))
chance = float(scatter.sum() / np.sqrt(2 * np.pi))
i, j = np.unravel_index(log_p.argmax(), log_p.shape)
best, stiff = np.array([fine1[i], fine2[j]]), np.array([2, 1]) / np.sqrt(5)
single = mixture_slope(np.tile(best, (N_mixture, 1)), lines[:, None]) @ stiff
along = best + 1e-4 * np.array([[-1], [0], [1]]) * stiff
stiffness = -np.diff(mixture_log_posterior(*along.T), 2)[0] / 1e-8
mean_step = (schedule**2).sum() / schedule.sum()
heat = mean_step * minibatch_noise(single, 10) / 4
kappa = float((1 + heat) / (1 - mean_step * stiffness / 4) - 1)
distance = float(total_variation(occupation.mean(axis=0), bins))
show_table(
    ["total variation", "expected by chance", "expected from heat"],
    [[distance, chance, 0.242 * kappa]],
)
verify(
    "total variation between the SGLD histogram and the posterior",
    distance,
    at_most=min(0.1, 0.242 * kappa + 2 * chance),
    source="quadrature on a grid; heat in the stiff direction plus chance",
)

# %% [markdown]
# The histogram is as close as chance and heat allow. Here it is:

# %% mystnb={"image": {"alt": "Left: contours of a posterior with two maxima in the plane of theta 1 and theta 2, a narrow ridge from lower right to upper left, covered by a cloud of SGLD samples. Right: exact density of theta 2 with two peaks near plus and minus one, and the histogram of the samples on top of it."}, "figure": {"caption": "The posterior of two blended lines. Left: contours at 0.5, 0.1 and 0.01 of the maximum, and one SGLD state of each chain. Right: distribution of θ₂, exact (line) and step-weighted histogram.", "name": "fig-sgld-mixture"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.4))
levels = log_p.max() + np.log([0.01, 0.1, 0.5])
axes[0].scatter(*path[-1].T, s=4, color="C5", label="SGLD")
axes[0].contour(fine1, fine2, log_p.T, levels, colors="k", linewidths=1)
axes[0].plot(*start[:2].T, "D", color="C1", label="start")
axes[0].set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$", ylim=(-3.5, 3.5))
axes[0].set_xlim(centre - 2, centre + 2)
axes[0].legend(loc="lower left")
heights, edges = np.histogram(
    path[..., 1], 40, (-4, 4), weights=np.outer(weights, np.ones(1000))
)
axes[1].stairs(heights / 200, edges, fill=True, color="C5", label="SGLD")
axes[1].plot(fine2, density.sum(axis=0) / 0.05, "k", label="exact")
axes[1].set(xlabel=r"$\theta_2$", ylabel="density", xlim=(-3.5, 3.5))
axes[1].set_ylim(0, 1.2 * axes[1].get_ylim()[1])
axes[1].legend(loc="upper center", ncols=2)
plt.show()

# %% [markdown]
# ### Did anything cross?
#
# A histogram cannot tell a chain that visits both maxima from two sets of chains that stay at home. The crossings can. How many to expect, the
# transition matrix tells, as in {doc}`lecture 1.1 <../week1_boltzmann_machines/01_statistical_mechanics_and_markov_chains>`. On a grid
# of spacing $h$ the diffusion behind Langevin dynamics hops from a point $i$ to its neighbour $j$ at the rate
# $\frac{1}{2h^2}\sqrt{p_j/p_i}$. This obeys detailed balance, has the right drift and the diffusion constant $\tfrac12$ as $h \to 0$, and
# becomes a symmetric matrix after scaling with $\sqrt{p_i}$. Its eigenvalues $-1/\tau_k$ and modes give the probability of $\theta_2 < 0$ at any time.


# %%
def diffusion_modes(h=0.1):
    """Grid points, √p, rates and modes of the diffusion, where p matters."""
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
# The time that chains from either start spend at $\theta_2 < 0$, averaged with the same weights: once from the modes, as in lecture 1.1, and once from the chains.

# %%
points, root_p, rates, modes = diffusion_modes()
left = np.heaviside(-points[:, 1].round(6), 0.5)
rows = []
for k, name in enumerate(("(0, 1)", "(1, −1)")):
    i = np.argmin(((points - start[k]) ** 2).sum(axis=1))
    amplitudes = modes[i] / root_p[i] * (modes.T @ (root_p * left))
    exact = weights @ np.exp(np.outer(time, rates)) @ amplitudes
    shares = weights @ (path[:, k::2, 1] < 0)  # one for each chain
    error = shares.std() / np.sqrt(len(shares))
    rows.append([name, *map(float, (exact, shares.mean(), error))])
    verify(
        f"time spent at θ₂ < 0 by chains from {name}",
        shares.mean(),
        equals=exact,
        atol=0.242 * kappa + 4 * error,
        source="eigenvalues of the diffusion on a grid; heat and statistics",
    )
show_table(["start", "exact diffusion", "SGLD", "standard error"], rows)

# %% [markdown]
# A chain that never crosses would stand at 0 or at 1. Without a barrier both rows say one half, and with a high one they stay apart for long: then
# half the chains on either side are right only because we put them there. That is the fair way to read "both modes were visited".

# %% [markdown]
# ## Gradient descent has a temperature, too
#
# Set $T = 0$ in {eq}`eq-sgld-variance`: no injected noise, only minibatches. This is plain **stochastic gradient descent** (SGD) on the energy, and with a
# constant step it does not converge. It becomes a sampler at the temperature $\alpha$. In one dimension that could be any temperature you like, also
# one. So can we tune $\epsilon$, and sample the posterior without injected noise?
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

# %% mystnb={"image": {"alt": "Two clouds of points with the ellipses of the posterior, three times taller than wide. SGLD: an upright cloud somewhat wider than the ellipses. SGD: a round cloud that is too wide in one direction and too short in the other."}, "figure": {"caption": "Two parameters at the same step and batch size, with and without injected noise. Ellipses: one, two and three standard deviations of the posterior.", "name": "fig-sgd-temperature"}}
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
# The spread of SGD's iterates is not the uncertainty of your parameters. It is learning rate over batch size, and only a gradient noise with $C$ proportional to
# the unit matrix would have given the shape of the posterior.

# %% [markdown]
# ## Break it: forget a factor
#
# Two slips that run without an error. **First**, leave out $N/n$, as public code does when it takes "the gradient of the loss" from a framework.
# Before you run it: which posterior does the chain sample then, with which mean and variance?
#
# Without $N/n$ the mean slope is that of $\log p(\theta) + \frac nN \sum_i \log p(x_i\mid\theta)$. So the likelihood is at the
# temperature $N/n = 20$ while the prior stays at one: the posterior of someone who has seen the same average in $n = 10$ data and not in 200. In {eq}`eq-conjugate-posterior`
# $N$ becomes $n$, and the noise of the gradient has the variance $(n/N)^2 C$. **Second**, the noise $\sqrt{2\epsilon}$ with the drift
# $\epsilon/2$, from a mixture of two conventions: that is $T = 2$.

# %%
step = 0.01
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
    x = final_states(np.full(n_chains, exact_mean), step, **slip)
    slipped[name] = x
    error_of_mean = 4 * x.std() / np.sqrt(n_chains)
    error = (np.exp(-8) + 4.5 * np.sqrt(2 / n_chains)) * exact_variance
    verify(
        f"mean and variance {name}, the variance over that of the posterior",
        [x.mean(), x.var() * precision],
        equals=[exact_mean, exact_variance * precision],
        atol=[error_of_mean, error * precision],
        source="stationary state of the wrong update",
    )

# %% [markdown]
# Had we not known the posterior, which of these curves would have looked wrong?

# %% mystnb={"image": {"alt": "Probability densities of theta. The exact posterior is a narrow peak near 0.5; the histogram with twice the noise is a peak of about twice its width at the same place; the histogram without N over n is broad and low, and its centre is shifted towards zero."}, "figure": {"caption": "Two slips in the update. Neither raises an error.", "name": "fig-sgld-slips"}}
grid = np.linspace(mean - 2, mean + 1.5, 400)
exact = np.exp(-precision * (grid - mean) ** 2 / 2)
fig, ax = plt.subplots(figsize=(5.5, 3))
ax.plot(grid, exact * np.sqrt(precision / 2 / np.pi), "k", label="posterior")
for k, (name, x) in enumerate(slipped.items()):
    heights, edges = np.histogram(x, 60, density=True)
    ax.stairs(heights, edges, lw=1.6, color=f"C{k}", label=name)
ax.set(xlabel=r"$\theta$", ylabel="density", xlim=grid[[0, -1]])
ax.legend()
plt.show()

# %% [markdown]
# At this step even the right code is too wide, by $1+\alpha$ and the discretisation; the wrong noise adds one more unit of temperature. Without $N/n$ the error bar is nearly four times too long, and the prior pulls harder than it should. Two thousand data or twenty would have given the same
# width at the same $n$: *the result no longer depends on how much you measured*. Nothing crashes, and the
# histogram looks like a posterior.

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
# Quadrature gives the posterior, its mean, and its covariance $V$. The grid reaches six standard deviations to either side of a first guess by Newton's
# method, for which the slopes of single events give the curvature.

# %%
best = np.zeros((1, 2))
for _ in range(30):
    each = lifetime_slopes(best, decays)[0]
    fisher = each.T @ each + np.eye(2)
    best = best + np.linalg.solve(fisher, each.sum(axis=0) - best[0])
root = np.linalg.cholesky(np.linalg.inv(fisher))
z = np.linspace(-6, 6, 61)
z = np.stack(np.meshgrid(z, z), -1).reshape(-1, 2)
theta = best + z @ root.T
log_p = lifetime_log_posterior(theta)
p = np.exp(log_p - log_p.max())
p /= p.sum()
fit_mean = p @ theta
V = (theta - fit_mean).T @ (p[:, None] * (theta - fit_mean))

h = 1e-5 * np.eye(2)
verify(
    "gradient of the lifetime fit at the origin",
    lifetime_slopes(np.zeros((1, 2)), decays)[0].sum(axis=0),
    equals=[
        np.subtract(*lifetime_log_posterior(np.array([e, -e]))) / 2e-5
        for e in h
    ],
    rtol=1e-6,
    source="central differences; the prior is flat there",
)

# %% [markdown]
# Near its maximum the energy is $\frac12\delta^{\mathsf T} A\,\delta$ with $A = V^{-1}$. Now {eq}`eq-sgld-gaussian` has matrices, and the stationary covariance $\Sigma$
# solves a linear equation, for which SciPy has a function:
#
# $$
# \Sigma = \Bigl(1 - \frac\epsilon2 A\Bigr) \Sigma \Bigl(1 - \frac\epsilon2 A\Bigr) + \frac{\epsilon^2}4\, C + \epsilon\, 1 .
# $$ (eq-sgld-lyapunov)
#
# The posterior is not quite Gaussian, and $C$ depends on $\theta$; at $N = 1000$ we expect corrections of a few per cent of $\Sigma$, and allow ten. We
# choose $\epsilon$ such that $\alpha$ is one in the stiff direction, and ask whether the error bars are too long by just that much.

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
    rtol=4 * np.sqrt(2 / len(fit)) + 0.1,
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
grid = theta.reshape(61, 61, 2).transpose(2, 0, 1)
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
# ::::{exercise} Weigh, or count?
# :label: ex-weigh-or-count
# Why weigh with $\epsilon_t$ at all, if a plain average over a decreasing schedule gives the colder, late states more say? Compare the variances of
# $\sum_t w_t\theta_t$ with $w_t \propto \epsilon_t$ and with equal weights, exactly, for the Gaussian. *Hint:* in continuous time the
# chain's autocorrelation is a short pulse. What does the Cauchy–Schwarz inequality say?
# ::::
#
# ::::{solution-start} ex-weigh-or-count
# :class: dropdown
# ::::
#
# The time average of $\theta$ over the time $\mathcal T = \sum\epsilon_t$ has the variance $4/\Lambda^2\mathcal T$, because the autocorrelation $e^{-\Lambda s/2}$ has the area
# $4/\Lambda$. Equal weights count states, and in the time $\mathrm ds$ there are $\mathrm ds/\epsilon$ of them. That gives
# $\frac{4}{\Lambda^2 n^2}\sum_t 1/\epsilon_t$, which is larger: $n^2 \le \sum\epsilon_t\,\sum 1/\epsilon_t$. Late states are many but alike. So weights have
# the smaller variance, and equal weights the smaller bias. For an exact answer with the minibatch's noise, run {eq}`eq-sgld-gaussian` backwards:
# $\sum_t w_t\delta_t$ is linear in each step's noise, with the coefficient $\lambda_{t} = w_t + (1-\epsilon_t\Lambda/2)\,\lambda_{t+1}$.

# %% tags=["solution"]
schedule = decreasing_steps(4000, 0.02, 0.0004, 0.55)
same = np.full(2000, mean)
path = sgld(**gaussian, theta0=same, steps=schedule, seed=rng)[:-1]
equal = np.full(4000, 1 / 4000)
results = {}
for name, w in (("step", schedule / schedule.sum()), ("equal", equal)):
    coefficient, exact = 0.0, 0.0
    for step, weight in zip(schedule[::-1], w[::-1], strict=True):
        exact += coefficient**2 * (step + step**2 * C / 4)
        coefficient = weight + (1 - step * precision / 2) * coefficient
    results[name] = exact
    verify(
        f"variance of the average with {name} weights, times Λ",
        precision * (w @ path).var(),
        equals=precision * exact,
        rtol=4 * np.sqrt(2 / 2000),
        source="sum over the noise of all steps",
    )
verify(
    "weighing with the step gives the smaller variance",
    results["step"] / results["equal"],
    at_most=1,
    source="Cauchy–Schwarz inequality",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Shuffle once per epoch
# :label: ex-epochs
# Most training loops shuffle the data and then work through $m = N/n$ disjoint minibatches, an epoch. Each batch has the noise $C$ of
# {eq}`eq-minibatch-noise`, but now the batches of an epoch know of each other. Compute the variance of $\theta$ at the end of an epoch, for the Gaussian.
# ::::
#
# ::::{solution-start} ex-epochs
# :class: dropdown
# ::::
#
# The same trick: over an epoch the noises sum to zero, $0 = mC + m(m-1)c$, and so $c = -C/(m-1)$. With $a = 1-\epsilon\Lambda/2$ the epoch's
# minibatch noise is $\frac\epsilon2\sum_j a^{m-1-j}\xi_j$, with the variance
#
# $$
# \frac{\epsilon^2}4\, \frac{m\,C}{m-1} \Bigl[ \sum_{j<m} a^{2j} - \frac1m \Bigl(\sum_{j<m} a^j\Bigr)^2 \Bigr].
# $$ (eq-epoch-noise)
#
# The bracket is $m$ times the *variance* of the factors $a^j$ within an epoch. If the chain hardly relaxes during one, they are all alike, and nearly all the
# noise is gone. At $\epsilon = 0.002$ an epoch is about one relaxation time, and of the heat of independent minibatches 9 % are left (at the end of an epoch, that is; in the middle
# of one there is more):

# %% tags=["solution"]
step, epochs, m = 0.002, 8, N // n
a = 1 - step * precision / 2
powers = a ** np.arange(m)
bracket = (powers**2).sum() - powers.sum() ** 2 / m
added = step**2 / 4 * C * m / (m - 1) * bracket
added += step * (powers**2).sum()
exact = added / (1 - a ** (2 * m))
theta = mean + rng.standard_normal(n_chains) / np.sqrt(precision)
for _ in range(epochs):
    order = rng.permuted(np.tile(data, (n_chains, 1)), axis=1)
    sums = order.reshape(n_chains, m, n).sum(axis=2)
    for j in range(m):
        likelihood = (sums[:, j] - n * theta) / width**2
        drift = prior_slope(theta) + N / n * likelihood
        theta = theta + step / 2 * drift
        theta += np.sqrt(step) * rng.standard_normal(n_chains)
verify(
    "variance at the end of an epoch, over that of the posterior",
    precision * theta.var(),
    equals=precision * exact,
    rtol=4.5 * np.sqrt(2 / n_chains) + np.exp(-8),
    source="covariance of disjoint minibatches",
)

# %% [markdown]
# And what is left of the heat:

# %% tags=["solution"]
cold = stationary_variance(step, 0)
verify(
    "heat left by epochs, as a fraction of that of independent minibatches",
    (exact - cold) / (stationary_variance(step, C) - cold),
    equals=0.09,
    atol=0.005,
    source="ratio of the two closed forms; the number in the text",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Control the noise
# :label: ex-control-variate
# Compute the full gradient *once*, at a point $\theta^*$ near the maximum, and estimate only the difference with minibatches,
# $\hat g = \nabla\log p(\theta) + G(\theta^*) + \frac Nn\sum_{\mathcal B}\bigl[g_i(\theta) - g_i(\theta^*)\bigr]$, a **control variate** {cite}`baker2019`.
# Is it unbiased? What is its noise for the Gaussian? Use it in the lifetime fit, at the same step, with batches of *ten*.
# ::::
#
# ::::{solution-start} ex-control-variate
# :class: dropdown
# ::::
#
# The subtracted terms have the mean $-G(\theta^*)$, so it is unbiased. For the Gaussian $g_i(\theta) - g_i(\theta^*) = -(\theta-\theta^*)/\sigma^2$ is the same for
# each datum, and the noise vanishes: a single datum per step would do. In the fit the difference is of the order of a posterior width, and its variance is
# smaller than that of $g_i$ by a factor of order $1/N$. What remains of the excess is the discretisation, {eq}`eq-sgld-lyapunov` with $C = 0$.

# %% tags=["solution"]
at_best = lifetime_slopes(fit_mean[None], decays)[0]
events = np.column_stack([decays, at_best])  # an event and its old slope
total = at_best.sum(axis=0)
controlled = sgld(
    lambda theta: -theta + total,
    lambda theta, x: (lifetime_slopes(theta, x[..., 0]) - x[..., 1:]).sum(1),
    events,
    batch_size=10,
    **common,
)[-1]
verify(
    "variances with a control variate and batches of ten",
    in_units(np.cov(controlled.T)),
    equals=in_units(stationary_covariance(np.zeros((2, 2)))),
    rtol=4 * np.sqrt(2 / len(fit)) + 0.1,
    source="Lyapunov equation without minibatch noise",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A posterior is a Boltzmann distribution with one energy term per datum, and a minibatch with the factor $N/n$ estimates its slope without bias. The
# estimate's noise adds a temperature $\alpha = \epsilon C/4$ to the one you inject; decreasing steps remove it, a constant step keeps it, and without injected noise it is all
# there is, a different one in each direction. The cost per independent sample does not depend on the batch: only a
# better gradient estimate, a control variate, lowers it.
#
# **Next:** the energy itself is unknown. In lecture 2.3 a network learns it, and Langevin dynamics
# samples it.
