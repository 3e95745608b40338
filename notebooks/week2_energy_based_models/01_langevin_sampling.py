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
# # Sample an energy with Langevin dynamics
#
# A speck from a pollen grain, afloat in water, finds the Boltzmann distribution without ever computing a partition function. It
# slides downhill, it is kicked by molecules, and after a while the chance to find it at $x$ is $e^{-E(x)/T}/Z$. Imitate it on a
# computer, and you can sample any energy whose slope you can compute, a neural network's included. So the models of this week make
# their samples, in training and after it. But the computer takes finite steps, and it is you who chooses the kicks. One question
# goes with us through the week: *a sampler has a temperature; which one is yours?*
#
# :::{admonition} Plan
# :class: tip
# **You will** derive the sampler from Brownian motion; predict its error, its temperature and the step at which it explodes; remove the
# error with an accept step, and find the best step; and see what no small step cures.
# **You need** {lecture}`1.1`: detailed balance, the second eigenvalue and $\tau$. **Reading time** an hour, without the exercises
# and what is marked *for the curious*. **CPU time** 15 s.
# :::

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm
from scipy.stats import f as f_distribution

from advml import sampling
from advml.checks import verify
from advml.display import show_source, show_table
from advml.metrics import total_variation
from advml.sampling import langevin, metropolis

plt.style.use("advml.course")

# %% [markdown]
# Statistical checks below allow four or five standard errors, for any seed.

# %% tags=["parameters"]
seed = 0
n_chains = 30_000

# %% [markdown]
# ## A slope needs no normalisation
#
# Any density is a Boltzmann distribution, $p(x) = e^{-E(x)/T}/Z$. Its logarithm is $-E(x)/T - \log Z$, and $Z$ is a number, not a function
# of $x$. The slope of $\log p$, which statisticians call the **score**, is therefore free of it:
#
# $$
# \nabla_x \log p(x) = -\frac{\nabla_x E(x)}{T}.
# $$ (eq-langevin-score)
#
# Do not mix it up with the gradient that *trains* a model with parameters $\Theta$, at $T = 1$:
#
# $$
# \nabla_\Theta \log p(x;\Theta) = -\nabla_\Theta E(x;\Theta) + \langle \nabla_\Theta E\rangle_\text{model} ,
# $$ (eq-langevin-two-phases)
#
# whose second term, the negative phase of lecture 1.2, is $-\nabla_\Theta \log Z$. A sampler moves $x$ and has one phase.
#
# Our landscape is a tilted double well: $E(x) = \theta\,(x^2-1)^2 - x/4$ with $\theta = 2$. In one dimension every integral is a
# sum over a grid, accurate to rounding.

# %%
dx = 0.01
grid = dx * np.arange(-350, 351)


def energy(x, theta=2.0):
    return theta * (x**2 - 1) ** 2 - x / 4


def slope(x):
    return 8 * x * (x**2 - 1) - 1 / 4


def boltzmann(energies, temperature=1.0):
    """Probabilities of the grid points."""
    p = np.exp(-(energies - energies.min()) / temperature)
    return p / p.sum()


# %% [markdown]
# Both gradients, from differences of the normalised $\log p$:


# %%
def log_p(x, theta=2.0):
    log_z = np.log(np.exp(-energy(grid, theta)).sum() * dx)
    return -energy(x, theta) - log_z


here, h = np.linspace(-1.5, 1.5, 13), 1e-5
verify(
    "slope of log p in x: one phase, no Z",
    (log_p(here + h) - log_p(here - h)) / (2 * h),
    equals=-slope(here),
    atol=1e-7,
    source="central differences of the normalised density",
)
well = (grid**2 - 1) ** 2
verify(
    "slope of log p in the parameter: two phases",
    (log_p(here, 2 + h) - log_p(here, 2 - h)) / (2 * h),
    equals=-((here**2 - 1) ** 2) + boltzmann(energy(grid)) @ well,
    atol=1e-7,
    source="central differences of the normalised density",
)

# %% [markdown]
# ## From Brownian motion to Boltzmann
#
# In a viscous liquid friction eats inertia, and velocity is proportional to force. With unit mobility,
#
# $$
# \mathrm dx = -E'(x)\,\mathrm dt + \sqrt{2T}\;\mathrm dW ,
# $$ (eq-langevin-sde)
#
# where the kicks $\mathrm dW$ are Gaussian, independent, and of variance $\mathrm dt$. This is the **overdamped Langevin
# equation**. What does it do to a density $p_t(x)$? Expand $f(x + \mathrm dx)$, for any smooth $f$, to order $\mathrm dt$. The kick
# enters in second order, because $\langle\mathrm dW^2\rangle = \mathrm dt$,
#
# $$
# \frac{\mathrm d}{\mathrm dt}\langle f\rangle = \bigl\langle -E' f' + T f''\bigr\rangle .
# $$ (eq-langevin-generator)
#
# Integrate by parts until $f$ stands free. As $f$ was arbitrary,
#
# $$
# \frac{\partial p_t}{\partial t} = -\frac{\partial J}{\partial x}, \qquad J = -E' p_t - T\, \frac{\partial p_t}{\partial x},
# $$ (eq-fokker-planck)
#
# the **Fokker–Planck equation**: a current of drift and of diffusion. In a stationary state $J$ is the same everywhere, and zero,
# since none flows at infinity. So $p' = -E' p/T$ and $p \propto e^{-E/T}$: Boltzmann's density, without any current, which is
# detailed balance. (In $d$ dimensions read $\nabla E$ for $E'$, $\nabla$ and $\nabla\cdot$ for $\partial$; the same $p$ makes $J$
# vanish.)
#
# Does every start end there? Substitute $p_t = e^{-E/2T}\,\psi_t$. The equation turns into one you know, in imaginary time:
#
# $$
# -\frac{\partial\psi}{\partial t} = H\psi, \qquad H = -T\frac{\partial^2}{\partial x^2} + V(x), \qquad V = \frac{E'^2}{4T} - \frac{E''}{2} .
# $$ (eq-langevin-schroedinger)
#
# $H = Q^\dagger Q$ with $Q = \sqrt T\,(\partial_x + E'/2T)$, so no eigenvalue is negative, and $\gamma_0 = 0$ belongs to
# $Q\psi = 0$ alone, which is $\psi_0 = e^{-E/2T}$. Equilibrium is a ground state. If $V$ grows without bound on both sides, the
# spectrum is discrete, every other state dies as $e^{-\gamma_k t}$, and the **gap** $\gamma_1$ is the rate at which the grain
# forgets: in a time $t$ by a factor $e^{-\gamma_1 t}$, where {lecture}`1.1` had $|\lambda_2|^n$ after $n$ steps.
#
# For numbers let the grain hop on a lattice of spacing $\delta$, in detailed balance. Its matrix, symmetrised like the $P$ of 1.1,
# is $H$ up to $O(\delta^2)$.


# %%
def rates(energies, spacing, temperature=1.0, n=2):
    """Lowest decay rates, the eigenvalues of eq-langevin-schroedinger.

    The grain hops to a neighbouring site at the rate hop · exp(-ΔE/2T).
    Across a bond the two rates multiply to hop²; so the symmetrised matrix
    has -hop off the diagonal, and on it the rates of leaving.
    """
    hop = temperature / spacing**2
    boost = np.exp(-np.diff(energies) / (2 * temperature))
    leave = hop * (np.append(boost, 0) + np.append(0, 1 / boost))
    symmetric = np.full(len(boost), -hop)
    return eigvalsh_tridiagonal(
        leave, symmetric, select="i", select_range=(0, n - 1)
    )


# %% [markdown]
# For $E = x^2/2$, $V = x^2/4T - \frac12$ is an oscillator with the levels 0, 1, 2, … at any temperature.

# %%
line = dx * np.arange(-800, 801)
for temperature in (0.5, 1.0):
    verify(
        f"decay rates in a harmonic well at T = {temperature}",
        rates(line**2 / 2, dx, temperature, n=4),
        equals=[0, 1, 2, 3],
        atol=dx**2 / temperature,
        source="levels of the harmonic oscillator; lattice error of order δ²",
    )

# %% [markdown]
# ## A finite step has a temperature
#
# Let $\eta$ be a step of time, during which the slope is held fixed (Euler and Maruyama). With noise of standard deviation $s$,
#
# $$
# x_{n+1} = x_n - \eta\,\nabla E(x_n) + s\, w_n, \qquad w_n \sim \mathcal N(0, 1).
# $$ (eq-langevin-descent)
#
# The kicks of {eq}`eq-langevin-sde` have variance $2T\eta$ in that time. So step and noise fix the temperature:
#
# $$
# T = \frac{s^2}{2\eta}.
# $$ (eq-langevin-temperature)
#
# For a density $p$ itself, $E = -\log p$ and $T = 1$. This is the **unadjusted Langevin algorithm**:
#
# $$
# x_{n+1} = x_n + \eta\,\nabla\log p(x_n) + \sqrt{2\eta}\; w_n .
# $$ (eq-langevin-update)
#
# Here is ours. For another temperature pass $-\nabla E/T$: a step $\eta T$ along it is the drift $-\eta\nabla E$.

# %%
show_source(langevin)

# %% [markdown]
# One grain in the double well, at $T = 1$, from the left valley. How often will it cross in 200 units of time?

# %% mystnb={"image": {"alt": "Three panels that share the vertical axis x. Left: energy with two valleys at minus one and one. Middle: a noisy trajectory that stays near one valley for a while and then jumps to the other, many times. Right: histogram of the trajectory beside the exact density with two peaks, the upper one higher."}, "figure": {"caption": "A double well (left), one trajectory of the Langevin sampler in it (middle), and the histogram of the trajectory beside the exact density (right, black).", "name": "fig-langevin-trajectory"}}
rng = np.random.default_rng(seed)
path = [np.array([-1.0])]
for _ in range(4000):
    path.append(
        langevin(lambda x: -slope(x), path[-1], step=0.01, n_steps=5, seed=rng)
    )
path = np.concatenate(path)

fig, axes = plt.subplots(
    1, 3, figsize=(6.6, 3), sharey=True, width_ratios=[1, 3, 1]
)
shown = np.abs(grid) < 1.75
axes[0].plot(energy(grid)[shown], grid[shown])
axes[0].set(xlabel="$E$", ylabel="$x$", xlim=(-0.5, 5))
axes[1].plot(0.05 * np.arange(len(path)), path, lw=0.5)
axes[1].set(xlabel="time", ylim=(-1.9, 1.9))
axes[2].hist(path, 40, density=True, orientation="horizontal", alpha=0.5)
axes[2].plot(boltzmann(energy(grid)) / dx, grid, "k", lw=1)
axes[2].set(xlabel="density")
plt.show()

# %% [markdown]
# The grain rattles in a valley, and now and then a run of lucky kicks takes it over. Think of two states. Their rates of crossing
# add up to the gap, $\gamma_1 = 0.46$, and in equilibrium the traffic balances. So each direction carries
# $p_\text{left}\,p_\text{right}\,\gamma_1$ per unit of time, with $p_\text{right} = 0.61$. In 200 units that makes some 44
# crossings on average, and the histogram already resembles $p$.

# %%
right = np.heaviside(grid, 0.5)  # the point x = 0 counts half
gap, share = rates(energy(grid), dx)[1], boltzmann(energy(grid)) @ right
verify(
    "gap, share on the right, and crossings in 200 units of time",
    [gap, share, 200 * 2 * share * (1 - share) * gap],
    equals=[0.46, 0.61, 44],
    atol=[5e-3, 5e-3, 0.5],
    source="eigenvalue, quadrature and two-state picture, rounded",
)

# %% [markdown]
# ### What the step costs: a Gaussian
#
# For $E = x^2/2\sigma^2$ each step multiplies $x$ by $1 - \eta/\sigma^2$ and adds the variance $s^2$. In the stationary
# state the two balance, $v = (1-\eta/\sigma^2)^2\, v + s^2$. With $s^2 = 2\eta T$,
#
# $$
# v = \frac{s^2\sigma^2}{\eta\,(2 - \eta/\sigma^2)} = \frac{T\sigma^2}{1 - \eta/2\sigma^2} .
# $$ (eq-langevin-bias)
#
# At $\eta = \sigma^2/10$ the variance is 5 % too large; and from $\eta = 2\sigma^2$ on the factor $|1 - \eta/\sigma^2|$ is no longer below one: the chain runs away.
#
# Many scripts and some lecture notes use $\sqrt\eta$ for $\sqrt{2\eta}$. By {eq}`eq-langevin-temperature` that is $T = \frac12$:
# for $\sigma = 1$ the variance becomes $1/(2-\eta)$, and any density $p$ is sampled, for small steps, as $p^{1/T} = p^2$,
# normalised. We write the loop as published code does, with step and noise apart.


# %%
def noisy_descent(slope, x, step, noise, n_steps, rng):
    """Update of eq-langevin-descent; temperature noise² / (2 step)."""
    for _ in range(n_steps):
        x = x - step * slope(x) + noise * rng.standard_normal(x.shape)
    return x


etas = np.array([0.1, 0.3, 0.6, 1.0, 1.4])
variances, rng = {2: [], 1: []}, np.random.default_rng([seed, 1])
for factor, found in variances.items():
    for eta in etas:
        noise, x = np.sqrt(factor * eta), np.zeros(n_chains)
        x = noisy_descent(lambda x: x, x, eta, noise, 80, rng)
        found.append(x.var())

# %% [markdown]
# A variance from $N$ independent chains has a relative standard error of $\sqrt{2/N}$. (After 80 steps a share $0.9^{160} = 5\cdot10^{-8}$
# of the start is left.)

# %% mystnb={"image": {"alt": "Variance against step size. Measured points lie on two curves: the upper starts at 1 and rises steeply, the lower starts at one half and has the same shape at half the height."}, "figure": {"caption": "Stationary variance of a Langevin chain on a standard normal density: theory (lines) and samples. The lower chain samples $p^2$.", "name": "fig-langevin-variance"}}
curve = np.linspace(0, 1.5, 200)
fig, ax = plt.subplots()
ax.axhline(1, color="0.7", lw=1)
names = {2: r"noise $\sqrt{2\eta}$", 1: r"noise $\sqrt{\eta}$"}
for (factor, found), marker in zip(variances.items(), "os", strict=True):
    (line,) = ax.plot(curve, factor / (2 - curve), lw=1)
    ax.plot(etas, found, marker, c=line.get_color(), label=names[factor])
ax.set(xlabel=r"step $\eta$", ylabel="variance", ylim=(0, 4))
ax.legend()
plt.show()

# %% [markdown]
# On the lower curve nothing crashes and nothing warns; the samples are just too cold.

# %%
for factor, found in variances.items():
    verify(
        f"stationary variance for a noise variance of {factor}η",
        found,
        equals=factor / (2 - etas),
        rtol=4.5 * np.sqrt(2 / n_chains),
        source="balance of contraction and noise, derived above",
    )

# %% [markdown]
# ## The whole chain as a matrix
#
# Gaussians forgive a lot. In general, do what 1.1 did with 512 spin states. A step from $x$ lands at $x'$ with the density
# $\mathcal N(x';\, x - \eta E'(x),\, s^2)$; on the grid that is a matrix, and its fixed point is the stationary density *of the
# chain*, without sampling noise.
#
# (Strictly, on a well as steep as $x^4$ there is none: sooner or later the chain runs away, as the first exercise shows. At our
# steps, $\eta \le 0.02$, that takes longer than anyone will wait, and the grid, which ends at 3.5, holds the density that you see.)


# %%
def transitions(slope, x, step, noise):
    """Matrix P[i, j] of one step from x[i] to x[j], eq-langevin-descent."""
    distance = x - (x - step * slope(x))[:, None]
    spacing = x[1] - x[0]
    return norm.pdf(distance / noise) / noise * spacing


def stationary(P):
    """Solve p P = p; one equation is replaced by sum(p) = 1."""
    equations = P.T - np.eye(len(P))
    middle = len(P) // 2
    equations[middle] = 1
    p = np.linalg.solve(equations, np.arange(len(P)) == middle)
    return p.clip(min=0)  # rounding can leave -1e-16


# %% [markdown]
# On the Gaussian it has to give {eq}`eq-langevin-bias`, now to ten digits.

# %%
wide, three = 0.02 * np.arange(-600, 601), np.array([0.1, 0.5, 1.0])
found = [
    stationary(transitions(lambda x: x, wide, eta, np.sqrt(2 * eta)))
    for eta in three
]
verify(
    "variance of the chain on a normal density, without sampling",
    np.array(found) @ wide**2,
    equals=1 / (1 - three / 2),
    atol=1e-10,
    source="balance of contraction and noise, derived above",
)

# %% [markdown]
# ### The error to first order
#
# Expand $f(x - \eta E' + \sqrt{2T\eta}\,w)$ to order $\eta^2$ and average over $w$, with $\langle w^2\rangle = 1$ and
# $\langle w^4\rangle = 3$. One step changes $\langle f\rangle$ by $\eta\langle Lf\rangle + \eta^2\langle Mf\rangle + \dots$ Here
# $L$ is the operator of {eq}`eq-langevin-generator`, and $M = \tfrac12 E'^2\partial^2 - T E'\partial^3 + \tfrac12 T^2\partial^4$.
# In the stationary state the sum vanishes for each $f$. Try $p_\eta = p\,(1 + \eta g)$ and integrate by parts until $f$ stands
# free. Order $\eta$ says that $p$ is Boltzmann's. At order $\eta^2$, use $Tp' = -E'p$ again and again:
#
# $$
# \begin{aligned}
# L \text{ takes } pg &\text{ to } T\,(p\,g')', \\
# M \text{ takes } p &\text{ to } \tfrac12 (E'^2p)'' + T(E'p)''' + \tfrac12 T^2p'''' = \tfrac12\bigl[E'^2p + T(E'p)'\bigr]'' = \tfrac12T\,(E''p)'' .
# \end{aligned}
# $$
#
# Their sum is zero. Integrate once, $p\,g' = -\tfrac12(E''p)'$, without a constant, because all decays. So
# $g' = E'E''/2T - \tfrac12E'''$. Integrate once more, with $\int p\,g\,\mathrm dx = 0$, and look what comes out:
#
# $$
# p_\eta = p\,\bigl[1 + \eta\,(V - \langle V\rangle)\bigr] + O(\eta^2), \qquad V = \frac{E'^2}{4T} - \frac{E''}{2},
# $$ (eq-langevin-first-order)
#
# the potential of {eq}`eq-langevin-schroedinger` (see also {cite}`leimkuhler2014`). The error is proportional to $\eta$ for any
# smooth energy whose slope grows at most linearly; for ours the series is asymptotic. Since
# $\langle E'^2\rangle = T\langle E''\rangle$, $\langle V\rangle = -\frac14\langle E''\rangle$. So the chain visits barriers too
# much, and the bottom of a valley too little if it is stiffer than half the average, as both of ours are (and too much if it is
# softer). The finite step smears.

# %% mystnb={"image": {"alt": "Error of the density divided by the step, against x. Curves for three steps approach a black curve that is negative in the two valleys and positive on the flanks and at the barrier."}, "figure": {"caption": "Error of the stationary density, per step size. Dashed: the first-order law; the curve of the smallest step lies under it.", "name": "fig-langevin-first-order"}}
E = energy(grid)
p = boltzmann(E)
V = slope(grid) ** 2 / 4 - 4 * (3 * grid**2 - 1)
V = V - p @ V
chain = {
    eta: stationary(transitions(slope, grid, eta, np.sqrt(2 * eta)))
    for eta in (0.02, 0.01, 0.005, 0.0025, 0.00125)
}

fig, ax = plt.subplots()
for eta in (0.02, 0.01, 0.0025):
    ax.plot(
        grid, (chain[eta] - p) / dx / eta, lw=1.2, label=rf"$\eta = {eta}$"
    )
ax.plot(grid, p * V / dx, "k--", lw=1.2, label=r"$p\,(V - \langle V\rangle)$")
ax.set(xlabel="$x$", ylabel=r"$(p_\eta - p)/\eta$", xlim=(-2, 2))
ax.legend()
plt.show()


# %% [markdown]
# The curves approach the law. How well? From values at $\eta, \eta/2, \eta/4, \dots$ Richardson's trick removes one power of $\eta$
# after another; the last change shows how far to trust the result.


# %%
def extrapolate(values):
    """Limit for step → 0 from steps η, η/2, η/4, …; and its last change."""
    power, before = 1, None
    while len(values) > 1:
        long, short = np.array(values[:-1]), np.array(values[1:])
        before = values[-1]
        values = short + (short - long) / (2**power - 1)
        power += 1
    return values[0], np.abs(values[0] - before)


for name, f in (("⟨x⟩", grid), ("⟨x²⟩", grid**2), ("⟨x⁴⟩", grid**4)):
    limit, last = extrapolate([(q - p) @ f / eta for eta, q in chain.items()])
    verify(
        f"error of {name} per step, in the limit of small steps",
        limit,
        equals=p @ (f * V),
        atol=last,
        source="first-order law, integrated on the grid",
    )

# %% [markdown]
# ## Which temperature are you at?
#
# Three ways to miss the temperature, all in use.
#
# **Half the noise variance.** $\sqrt\eta$ for $\sqrt{2\eta}$: $T = \frac12$, and the chain samples $p^2$.
#
# **The mean over the batch.** A script runs $B$ chains at once and differentiates the *mean* energy of the batch, as one does with a loss. Every chain
# then moves by $-\eta\nabla E/B$, with the full noise $\sqrt{2\eta}\,w$: by {eq}`eq-langevin-temperature`, $T = B$. Sum, do not average.
#
# **Step and noise tuned apart.** Image models choose both for the looks of the samples, and hardly ever state the temperature. From
# the published code of two of them (without the clipping, which bounds the drift of the first at 0.1):
#
# | | step | noise | temperature, in units of the model's energy |
# | --- | --- | --- | --- |
# | {cite:t}`du2019`, CIFAR-10 | 10 | 0.005 | $1.25\times10^{-6}$ |
# | {cite:t}`grathwohl2020` | 1 | 0.01 | $5\times10^{-5}$ |

# %%
verify(
    "temperatures of two image models",
    np.array([0.005, 0.01]) ** 2 / (2 * np.array([10, 1])),
    equals=[1.25e-6, 5e-5],
    rtol=1e-12,
    source="noise²/(2 step) with the values in the authors' code",
)

# %% [markdown]
# At $10^{-6}$ a chain is gradient descent with a tremor. It may make fine pictures. But the density it tends to, if its step is
# stable at all, is $e^{-E/T}$, not $e^{-E}$; and the chains of {cite:t}`du2019`, sixty steps per update, most of them continued from
# a buffer, need not reach either. Lecture 2.3 shows what
# training makes of that.
#
# Now the first two on the double well, beside a correct chain. There the share of the right valley is 0.61. What will it be with
# half the noise variance?

# %% mystnb={"image": {"alt": "Three histograms with exact curves on the double well. Correct noise: two peaks as in p. Half the noise variance: two narrower, higher peaks with the right one clearly higher, on the curve of p squared. Mean over eight: two low, broad bumps with a shallow dip, on the curve of p to the power one eighth."}, "figure": {"caption": "Samples of three chains on the same energy, with the exact Boltzmann densities of the temperatures at which they turn out to be. Dashed: the density that was asked for.", "name": "fig-langevin-temperatures"}}
eta, batch, half = 0.01, 8, n_chains // 2
start = np.where(np.arange(half) % 2, -1.0, 1.0)
cases = {
    "as it should be": (eta, np.sqrt(2 * eta)),
    "half the noise variance": (eta, np.sqrt(eta)),
    "mean over 8 chains": (eta / batch, np.sqrt(2 * eta)),
}
samples, fixed, observables = {}, {}, np.array([right, grid**2])
for k, (name, (step, noise)) in enumerate(cases.items()):
    rng = np.random.default_rng([seed, 10 + k])
    samples[name] = noisy_descent(slope, start, step, noise, 10_000, rng)
    fixed[name] = stationary(transitions(slope, grid, step, noise))

fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.8), sharey=True)
for ax, (name, x), T in zip(axes, samples.items(), (1, 0.5, 8), strict=True):
    ax.hist(x, 100, range=(-3, 3), density=True, alpha=0.45)
    ax.plot(grid, p / dx, "k--", lw=0.8)
    ax.plot(grid, boltzmann(energy(grid), T) / dx, "k", lw=1.2)
    ax.set(title=f"{name}:\n$T = {T}$", xlabel="$x$", xlim=(-2.6, 2.6))
axes[0].set_ylabel("density")
plt.show()


# %% [markdown]
# Too cold, the weights of the valleys are wrong as well as the widths: 0.72 to the right. Too hot, the barrier all but vanishes.
# The chains agree with their fixed points, within sampling errors; and the fixed points, extrapolated to $\eta \to 0$, with $p$,
# $p^2$ and $p^{1/8}$, normalised.

# %%
for name, T in zip(cases, (1, 0.5, 8), strict=True):
    x, q, step = samples[name], fixed[name], cases[name][0]
    found = observables @ q
    spread = np.sqrt(observables**2 @ q - found**2)
    verify(
        f"{name}: share to the right and ⟨x²⟩ of the samples",
        [np.mean(x > 0), np.mean(x**2)],
        equals=found,
        atol=4.5 * spread / np.sqrt(half),
        source="fixed point of the chain's matrix",
    )
    halved = [
        stationary(transitions(slope, grid, eta, np.sqrt(2 * T * eta)))
        for eta in step / 2 ** np.arange(4)
    ]
    limit, last = extrapolate([observables @ q for q in halved])
    verify(
        f"{name}: the same in the limit of small steps",
        limit,
        equals=observables @ boltzmann(energy(grid), T),
        atol=last,
        source=f"quadrature with the Boltzmann density at T = {T}",
    )
verify(
    "share on the right at half the temperature",
    boltzmann(E, 0.5) @ right,
    equals=0.72,
    atol=5e-3,
    source="quadrature, rounded in the text",
)

# %% [markdown]
# ## The stiffest direction sets the step
#
# Each principal axis of a Gaussian in many dimensions is a chain of its own, with the correlation $\rho = 1 - \eta/\sigma^2$ from
# step to step. The *narrowest* one limits the step, $\eta < 2\sigma_\text{min}^2$. The *widest* one forgets last. There an
# independent sample costs $2\tau$ steps (1.1), and $\tau = \frac12 + \rho + \rho^2 + \dots$:
#
# $$
# 2\tau = \frac{1+\rho}{1-\rho} = \frac{2\sigma_\text{max}^2}{\eta} - 1 \;>\; \kappa - 1, \qquad \kappa = \frac{\sigma_\text{max}^2}{\sigma_\text{min}^2} .
# $$ (eq-langevin-condition)
#
# So the **condition number** $\kappa$ is the *least* price of an independent sample. A variance that is right within a fraction
# $\Delta$ along the narrow axis, by {eq}`eq-langevin-bias`, costs about $\kappa/\Delta$. The variance after $n$ steps from a
# point,
#
# $$
# v_n = s^2\, \frac{1 - \rho^{2n}}{1 - \rho^2} ,
# $$ (eq-langevin-variance)
#
# also holds beyond the limit, where $|\rho| > 1$. Take $\sigma = (1, 0.1)$: the limit is $\eta = 0.02$.

# %% mystnb={"image": {"alt": "Four clouds of points with an ellipse each. Smallest step: the cloud is as high as the ellipse but covers only its middle. Medium step: about as wide as the ellipse and visibly too high. Near the limit: as wide as the ellipse but several times too high. Beyond the limit: most points have left the frame above and below, and the few that remain fill its whole height."}, "figure": {"caption": "A Gaussian with condition number 100 (ellipse: two standard deviations), sampled with 150 steps of four lengths. The limit of stability is at 0.02.", "name": "fig-langevin-stiff"}}
sigma, n_steps = np.array([1, 0.1]), 150


def pull(x):
    return -x / sigma**2


clouds, start = {}, np.zeros((n_chains, 2))
for k, eta in enumerate((0.001, 0.01, 0.0195, 0.0202)):
    clouds[eta] = langevin(
        pull, start, step=eta, n_steps=n_steps, seed=[seed, 20 + k]
    )

angle = np.linspace(0, 2 * np.pi, 100)
fig, axes = plt.subplots(1, 4, figsize=(6.8, 2.4), sharey=True)
for ax, (eta, x) in zip(axes, clouds.items(), strict=True):
    ax.plot(*x[:500].T, ".", ms=2, alpha=0.6)
    ax.plot(2 * np.cos(angle), 0.2 * np.sin(angle), "k", lw=1)
    ax.set(title=rf"$\eta = {eta}$", xlabel="$x_1$", xlim=(-3.2, 3.2))
axes[0].set(ylabel="$x_2$", ylim=(-1.5, 1.5))
plt.show()

# %% [markdown]
# Too short a step: the long axis is not explored. The second looks best, but its short axis already has twice the variance. Near the
# limit: the short axis boils. Beyond it: along $x_2$ the standard deviation is by now nearly 20, and most points have left the page. If you know the widths, change variables to make them equal
# (*preconditioning*).

# %%
found = np.array([x.var(axis=0) for x in clouds.values()])
eta = np.array(list(clouds))[:, None]
rho = 1 - eta / sigma**2
verify(
    f"variances along both axes after {n_steps} steps of four lengths",
    found,
    equals=2 * eta * (1 - rho ** (2 * n_steps)) / (1 - rho**2),
    rtol=4.5 * np.sqrt(2 / n_chains),
    source="sum of the geometric series of contracted noise",
)
verify(
    "standard deviation along the narrow axis, beyond the limit",
    np.sqrt(found[-1, 1]),
    equals=19.5,
    rtol=0.02,
    source="the same sum, by hand; 4.5 standard errors and rounding",
)

# %% [markdown]
# ## Accept or reject: MALA
#
# In 1.1 Metropolis accepted a proposal with $\min(1, p(x')/p(x))$. That rule assumes that it is as likely as its reverse.
# A Langevin step is not: downhill is more likely. Let it propose $x'$ with density $q(x'|x)$. Detailed balance,
# $p(x)\,q(x'|x)\,A(x\to x') = p(x')\,q(x|x')\,A(x'\to x)$, fixes the ratio of the two acceptances. Make the larger one 1, as before
# {cite}`hastings1970`:
#
# $$
# \begin{aligned}
# A(x\to x') &= \min\Bigl(1, \frac{p(x')\,q(x|x')}{p(x)\,q(x'|x)}\Bigr), \\
# q(x'|x) &\propto \exp\Bigl(-\frac{|x' - x - \eta\nabla\log p(x)|^2}{4\eta}\Bigr) .
# \end{aligned}
# $$ (eq-mala-acceptance)
#
# This is the **Metropolis-adjusted Langevin algorithm**, MALA {cite}`rossky1978,roberts1996`. $Z$ cancels; the bias is gone, for any $\eta$.
# (In the code, the exponent of the forward $q$ is $-|w|^2/2$, exactly.)

# %%
show_source(sampling._mala)

# %% [markdown]
# At $\eta = 1$ the unadjusted chain had twice the variance. On the double well we build MALA's whole matrix: off the diagonal, proposal times
# acceptance; on it, what was rejected.


# %%
def adjusted(P, log_ratio):
    """Accept a proposal matrix P with min(1, exp(log_ratio))."""
    P = P * np.exp(np.minimum(0, log_ratio))
    np.fill_diagonal(P, 0)
    return P + np.diag(1 - P.sum(axis=1))


x, _ = langevin(
    lambda x: -x,
    np.zeros(n_chains),
    step=1.0,
    n_steps=100,
    seed=seed,
    adjusted=True,
    log_prob=lambda x: -(x**2) / 2,
)
verify(
    "variance of MALA on a normal density at step 1",
    x.var(),
    equals=1,
    rtol=4.5 * np.sqrt(2 / n_chains),
    source="detailed balance",
)

# %% [markdown]
# We compute $\log q(x|x') - \log q(x'|x)$ from the exponents; the densities themselves underflow.


# %%
def log_q(eta):
    """Exponents of the proposal from grid[i] to grid[j]."""
    return -((grid - (grid - eta * slope(grid))[:, None]) ** 2) / (4 * eta)


metropolis_ratio = E[:, None] - E
for eta in (0.005, 0.02, 0.1):
    q = log_q(eta)
    P = transitions(slope, grid, eta, np.sqrt(2 * eta))
    verify(
        f"MALA at step {eta} leaves the double well's density unchanged",
        p @ adjusted(P, metropolis_ratio + q.T - q),
        equals=p,
        atol=1e-13,
        source="quadrature",
    )

# %% [markdown]
# ## Break it: forget the proposal
#
# A frequent slip: Langevin proposals with the plain Metropolis rule, $\min(1, p(x')/p(x))$. Everything runs, the acceptance rate looks healthy.
# Which density does this sample, for small steps? Think what each ingredient would do alone.

# %%
rows, distances = [], {"p": [], "p²": []}
for eta in (0.02, 0.01, 0.005, 0.0025):
    P = transitions(slope, grid, eta, np.sqrt(2 * eta))
    wrong = stationary(adjusted(P, metropolis_ratio))
    distances["p"].append(total_variation(wrong, p))
    distances["p²"].append(total_variation(wrong, boltzmann(E, 0.5)))
    rows.append([str(eta), *(d[-1] for d in distances.values())])
show_table(["step", "distance from p", "distance from p²"], rows)

# %% [markdown]
# It is $p^2$ again! The drift alone, with its noise, would sample $p$. The accept step alone, with a symmetric proposal $\delta$ of
# the same noise, would sample $p$, too. For rejecting uphill moves is a drift:
# $\langle\delta\,\min(0, -E'\delta)\rangle = -\frac12E'\langle\delta^2\rangle = -\eta E'$, of the very same size. Together they
# drift twice, with one noise. (We extrapolate from the last two steps. The kink of $\min$ keeps odd powers of $|w|$: the next order
# is $\eta^{3/2}$.)

# %%
distances = np.array(list(distances.values()))
verify(
    "without the proposal densities: distances from p and p² for small steps",
    2 * distances[:, -1] - distances[:, -2],
    equals=[total_variation(p, boltzmann(E, 0.5)), 0],
    atol=0.0025**1.5,
    source="half the temperature; the next order is η^(3/2)",
)

# %% [markdown]
# ## How long a step, in how many dimensions?
#
# Long steps are rejected and short ones creep; in between is a best one. For the standard normal density in $d$ dimensions most terms of
# {eq}`eq-mala-acceptance` cancel:
#
# $$
# \log\frac{p(x')\,q(x|x')}{p(x)\,q(x'|x)} = -\frac\eta4\,\bigl(|x'|^2 - |x|^2\bigr) .
# $$ (eq-mala-gaussian)
#
# (Plain Metropolis has $\frac12$ in place of $\frac\eta4$.) In equilibrium $x$ and $w$ are independent normals, and
# $x' = \alpha x + s w$, with $\alpha = 1 - \eta$ and $s = \sqrt{2\eta}$ for MALA, $\alpha = 1$ for Metropolis. So $|x'|^2 - |x|^2$
# is a quadratic form, in each dimension with the matrix
#
# $$
# \begin{pmatrix}\alpha^2 - 1 & \alpha s\\ \alpha s & s^2\end{pmatrix}, \qquad \text{trace } m = \alpha^2 + s^2 - 1, \qquad \text{determinant } -s^2 .
# $$
#
# With its eigenvalues $\mu_\pm$ the form is $\mu_+ X - |\mu_-| Y$, where $X, Y \sim \chi^2_d$ are independent. Now one more
# thought. Downhill proposals, $|x'| < |x|$, are always accepted; and by detailed balance as many accepted moves go uphill. So the
# acceptance rate $a$ is twice the probability of a downhill proposal, $X/Y < r$ with $r = |\mu_-|/\mu_+$. With the cumulative
# distribution function $F_{d,d}$ of such a ratio, Fisher's,
#
# $$
# a = 2\,F_{d,d}(r), \qquad r = \frac{\sqrt{m^2 + 4s^2} - m}{\sqrt{m^2 + 4s^2} + m} ,
# $$ (eq-mala-exact)
#
# for *every* dimension and step. What we want is a short memory: with the correlation $\rho$ of a coordinate from step to step, a
# large **squared jump** $\langle|x_\text{new} - x|^2\rangle/d = 2(1-\rho)$. It has a closed form, too.
#
# :::{dropdown} For the curious: the squared jump, exactly
# In the basis of the eigenvectors let each component $(x, w)$ be $(u, v)$, and $(\alpha - 1, s)$ be $(c_+, c_-)$: it jumps by
# $c_+u + c_-v$. The sums of $u^2$ and of $v^2$ alone decide what goes downhill. So $uv$ averages out by sign, and a $\chi^2_d$
# weighted with the square of one of its coordinates is a $\chi^2_{d+2}$. Uphill moves double the sum, as before:
#
# $$
# 2(1-\rho) = 2\,c_+^2\, \mathrm P(\chi^2_{d+2} < r\chi^2_d) + 2\,c_-^2\, \mathrm P(\chi^2_d < r\chi^2_{d+2}) .
# $$ (eq-mala-jump)
# :::
#
# Both in code:


# %%
def gaussian_step(alpha, s, d):
    """Acceptance (eq-mala-exact) and squared jump (eq-mala-jump)."""
    m = alpha**2 + s**2 - 1
    root = np.sqrt(m**2 + 4 * s**2)
    r = (root - m) / (root + m)
    axis = np.array([alpha * s, (m + root) / 2 - alpha**2 + 1])
    plus = (axis[0] * (alpha - 1) + axis[1] * s) ** 2
    plus = plus / (axis**2).sum(axis=0)  # c_+^2
    minus = (alpha - 1) ** 2 + s**2 - plus  # c_-^2
    cdf = f_distribution.cdf
    jump = plus * cdf(r * d / (d + 2), d + 2, d)
    jump = jump + minus * cdf(r * (d + 2) / d, d, d + 2)
    return 2 * cdf(r, d, d), 2 * jump


def mala_step(ell, d):
    """Step η = ell² / (2 d^(1/3))."""
    eta = ell**2 / 2 / d ** (1 / 3)
    return gaussian_step(1 - eta, np.sqrt(2 * eta), d)


def walk_step(ell, d):
    """Random walk of width ell / sqrt(d)."""
    return gaussian_step(1.0, ell / np.sqrt(d), d)


# %% [markdown]
# Both have to predict single steps of the samplers from exact draws.


# %%
def log_normal(x):
    return -(x**2).sum(axis=1) / 2


def try_step(rule, ell, d, rng):
    """One step from x, drawn from the normal density; return both."""
    x = rng.standard_normal((1_000_000 // d, d))
    if rule == "Metropolis":
        width = ell / np.sqrt(d)
        return x, *metropolis(log_normal, x, step=width, n_steps=1, seed=rng)
    return x, *langevin(
        lambda x: -x,
        x,
        step=ell**2 / 2 / d ** (1 / 3),
        n_steps=1,
        seed=rng,
        adjusted=True,
        log_prob=log_normal,
    )


# %% [markdown]
# Five lengths for each rule, in 3 and in 100 dimensions:

# %%
rules = {
    "MALA": (mala_step, np.array([0.8, 1.2, 1.6, 2.0, 2.4])),
    "Metropolis": (walk_step, np.array([0.8, 1.6, 2.4, 3.2, 4.2])),
}
measured, rng = {}, np.random.default_rng([seed, 30])
for (name, (exact, ells)), d in product(rules.items(), (3, 100)):
    found = []
    for ell in ells:
        x, y, a = try_step(name, ell, d, rng)
        jumps = ((y - x) ** 2).mean(axis=1)
        spread = np.array([np.sqrt(a * (1 - a)), jumps.std()])
        found.append([[a, jumps.mean()], spread / np.sqrt(len(x))])
    found, error = np.moveaxis(found, 0, -1)
    verify(
        f"{name}: acceptance and squared jump in {d} dimensions",
        found,
        equals=exact(ells, d),
        atol=5 * error,
        source="Fisher's F distribution, derived above",
    )
    measured[name, d] = found

# %% [markdown]
# In high dimension the exponent $\xi$ of {eq}`eq-mala-gaussian` is a sum of many terms and becomes Gaussian. Its variance,
# $v = d\eta^3/2$ to lowest order, must stay of order one: **the step shrinks only as** $d^{-1/3}$. (For Metropolis $v = ds^2$, and
# $s^2 \sim d^{-1}$.) Because $p(x)\,q(x'|x)\,e^\xi$ is a probability again, $\langle e^\xi\rangle = 1$, and a Gaussian $\xi$ must
# have the mean $-v/2$. So $a = 2\,\mathrm P(\xi > 0) = 2\,\Phi(-\sqrt v/2)$, with the normal distribution function $\Phi$. With
# $\eta = \ell^2 d^{-1/3}/2$ for MALA and $s = \ell\, d^{-1/2}$ for Metropolis,
#
# $$
# a_\text{MALA} = 2\,\Phi\bigl(-\ell^3/8\bigr), \qquad a_\text{Metropolis} = 2\,\Phi\bigl(-\ell/2\bigr), \quad \text{jump} \approx s^2 a \propto \ell^2 a(\ell) ,
# $$ (eq-mala-limit)
#
# to lowest order. Maximise the jump over $\ell$, and the best acceptance comes out as 0.574 and 0.234. Both
# hold for a wide class of densities with independent components {cite}`roberts1997,roberts1998`; only the best $\ell$ depends on the density.

# %%
limits = {
    "MALA": lambda ell: 2 * norm.cdf(-(ell**3) / 8),
    "Metropolis": lambda ell: 2 * norm.cdf(-ell / 2),
}
tuned = {"MALA": 0.574, "Metropolis": 0.234}
for name, a in limits.items():
    found = minimize_scalar(
        lambda ell, a=a: -(ell**2) * a(ell), bounds=(0.5, 4), method="bounded"
    )
    verify(
        f"{name}: best acceptance rate in the limit of many dimensions",
        a(found.x),
        equals=tuned[name],
        atol=5e-4,
        source="Roberts et al. (1997), Roberts and Rosenthal (1998), rounded",
    )
    exact, ells = rules[name]
    verify(
        f"{name}: acceptance at five lengths in a million dimensions",
        exact(ells, 10**6)[0],
        equals=a(ells),
        atol=1e-5,
        source="normal limit; corrections of order 1/d",
    )

# %% [markdown]
# Efficiency against acceptance, which unlike $\ell$ you can read off a running chain:

# %% mystnb={"image": {"alt": "Two panels, efficiency against acceptance rate. Left, MALA: curves for 3 and 100 dimensions and a limit curve, all hump-shaped with a flat top near 0.574, with measured points on them. Right, Metropolis: the same with the top near 0.32 for 3 dimensions and near 0.234 for the others."}, "figure": {"caption": "Squared jump, relative to its largest value, against the acceptance rate: exact for 3 and 100 standard normal dimensions, limit of many dimensions (black), and measured with the samplers (points). Dotted: 0.574 and 0.234.", "name": "fig-langevin-acceptance"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3), sharey=True)
for ax, (name, (exact, _)) in zip(axes, rules.items(), strict=True):
    ell = np.geomspace(0.05, 25, 800)
    for d, marker in ((3, "o"), (100, "s")):
        a, jump = exact(ell, d)
        (line,) = ax.plot(a, jump / jump.max(), label=f"$d = {d}$")
        a, points = measured[name, d]
        ax.plot(a, points / jump.max(), marker, c=line.get_color())
    a = limits[name](ell)
    speed = ell**2 * a
    ax.plot(a, speed / speed.max(), "k--", lw=1, label="limit")
    ax.axvline(tuned[name], color="0.5", ls=":", lw=1)
    ax.set(title=name, xlabel="acceptance rate", xlim=(0, 1))
axes[0].set_ylabel("relative efficiency")
axes[1].legend()
plt.show()

# %% [markdown]
# MALA's top is flat: from three dimensions on, any acceptance from 0.4 to 0.75 keeps four fifths of the best efficiency. Aim
# for 0.574 and do not polish. (Metropolis at 0.75 would keep less than a third.)

# %%
ell, kept = np.linspace(0.05, 8, 4000), []
for d in (3, 10, 100, 1000, 10**4):
    a, jump = mala_step(ell, d)
    at = np.interp([-0.75, -0.4], -a, jump)  # a falls, so -a is ordered
    kept.append(at / jump.max())
verify(
    "efficiency of MALA at acceptances 0.4 and 0.75, relative to the best",
    kept,
    at_least=0.8,
    source="Fisher's F distribution, in five dimensions from 3 to 10⁴",
)

# %% [markdown]
# ### For the curious: Langevin against Metropolis, at equal cost
#
# A step of Metropolis costs one energy. A step of MALA costs an energy and its gradient, by automatic differentiation the price of
# a few energies; we charge three. Times $2\tau = (1+\rho)/(1-\rho)$, as if one mode were left, at the best step:

# %% mystnb={"image": {"alt": "Energies per independent sample against dimension, both axes logarithmic. Metropolis is a straight line of slope one. MALA starts slightly below it at one dimension, stays below, and has slope one third."}, "figure": {"caption": "Price of an independent sample of a standard normal density, in energy evaluations, at the best step. Dashed: slopes 1 and 1/3.", "name": "fig-langevin-dimension"}}
dimensions = np.array([1, 2, 10, 100, 1000, 10**4, 10**5, 10**6])
cost = {"MALA": [], "Metropolis": []}
for (name, found), d in product(cost.items(), dimensions):
    exact = rules[name][0]
    ell = minimize_scalar(
        lambda ell, exact=exact, d=d: -exact(ell, d)[1],
        bounds=(0.5, 3.5),
        method="bounded",
    ).x
    jump = exact(ell, d)[1]  # 2 (1 - ρ)
    found.append({"MALA": 3, "Metropolis": 1}[name] * (4 - jump) / jump)

fig, ax = plt.subplots()
for (name, c), marker in zip(cost.items(), "os", strict=True):
    ax.loglog(dimensions, c, f"{marker}-", label=name)
ax.loglog(dimensions, 5 * dimensions, "k--", lw=0.8)
ax.loglog(dimensions, 3 * dimensions ** (1 / 3), "k--", lw=0.8)
ax.set(xlabel="dimension $d$", ylabel="energies per sample")
ax.legend()
plt.show()

# %% [markdown]
# MALA is cheaper in each of these dimensions, and at a thousand, a small image, more than forty times.

# %%
saving = np.divide(cost["Metropolis"], cost["MALA"])
verify(
    "MALA is cheaper; more than forty times in a thousand dimensions",
    [saving.min(), saving[4]],
    at_least=[1, 40],
    source="equal cost: three energies for a MALA step, one for Metropolis",
)

# %% [markdown]
# ## What no small step cures: a barrier
#
# Take a symmetric double well, $E = b\,(x^2-1)^2$ with the barrier $b$, at $T = 1$, and start every
# chain on the left. Soon only the mode of the gap is left, which carries
# probability over the barrier: the share on the right grows as about $\frac12(1 - e^{-\gamma_1 t})$.
#
# Kramers {cite}`kramers1940,hanggi1990` computed the rate. While almost everyone is still on the left, $p_t$ hardly changes within
# the pass, and there the current $J$ of {eq}`eq-fokker-planck` is the same at each point. Multiply it by $e^{E/T}$: then
# $J e^{E/T} = -T\,(p_t\,e^{E/T})'$, and integrate from the left bottom, where $p_t = e^{-E/T}/Z_\text{left}$, to the right one,
# where $p_t \approx 0$:
#
# $$
# k = J = \frac{T}{\int_\text{pass} e^{E/T}\,\mathrm dx\; \int_\text{left} e^{-E/T}\,\mathrm dx}
# \approx \frac{\sqrt{E''_\text{bottom}\,|E''_\text{top}|}}{2\pi}\; e^{-b/T} .
# $$ (eq-langevin-kramers)
#
# The last step replaces both integrals by Gaussian ones. Traffic goes both ways, so $\gamma_1 = 2k$. Here $E''_\text{bottom} = 8b$
# and $E''_\text{top} = -4b$, and the next order is a factor of $1 - 3T/8b$. (Each integral gains $1 + 3T/16b$.)


# %%
def kramers(b):
    """Gap 2k in Gaussian approximation (eq-langevin-kramers)."""
    return 2 * np.sqrt(8 * b * 4 * b) / (2 * np.pi) * np.exp(-b)


spacing = 0.00125
fine = spacing * np.arange(-2000, 2001)
quartic, inside = (fine**2 - 1) ** 2, np.abs(fine) <= 1
high = np.array([20, 40, 80])
top = np.exp(high[:, None] * quartic[inside]).sum(axis=1) * spacing
bottom = np.exp(-high[:, None] * quartic[fine < 0]).sum(axis=1) * spacing
verify(
    "Kramers' integrals over their Gaussian values, barriers 20, 40, 80",
    2 / (top * bottom) / kramers(high),
    equals=1 - 3 / (8 * high),
    atol=1 / high**2,
    source="next order, by hand; what is left is of order (T/b)²",
)
barriers = np.arange(1, 11)
gaps = np.array([rates(b * quartic, spacing)[1] for b in barriers])
verify(
    "exact gap over Kramers' rate, for barriers from 4 to 10",
    gaps[3:] / kramers(barriers[3:]),
    equals=1 - 3 / (8 * barriers[3:]),
    atol=1 / barriers[3:] ** 2,
    source="next order of the two integrals; what is left is of order (T/b)²",
)

# %% [markdown]
# Now the chain, with $b = 4$. Powers of its matrix predict the share on the right, twenty times.


# %%
def steep(x):
    return 16 * x * (x**2 - 1)


eta, every, records = 0.01, 100, 20
P = transitions(steep, grid, eta, np.sqrt(2 * eta))
P_many = np.linalg.matrix_power(P, every)
density = np.isclose(grid, -1.0) * 1.0  # all start there
rng = np.random.default_rng([seed, 40])
x = np.full(half, -1.0)
crossed, predicted = [], []
for _ in range(records):
    x = langevin(lambda x: -steep(x), x, step=eta, n_steps=every, seed=rng)
    density = density @ P_many
    crossed.append(np.mean(x > 0))
    predicted.append(density @ right)
time = eta * every * np.arange(1, records + 1)
predicted = np.array(predicted)
verify(
    "share of the chains beyond the barrier, twenty times",
    crossed,
    equals=predicted,
    atol=4.5 * np.sqrt(predicted * (1 - predicted) / half),
    source="powers of the chain's matrix",
)

# %% [markdown]
# Both laws in pictures:

# %% mystnb={"image": {"alt": "Two panels. Left: rate against barrier height on a logarithmic axis; exact points and Kramers' line fall together exponentially over three decades. Right: share of chains on the right against time; measured points lie on a dashed curve that rises from zero towards one half, slightly above a solid one."}, "figure": {"caption": "Left: exact gap of the symmetric double well and Kramers' formula. Right: chains that started on the left of a barrier of 4, measured (points), by the chain's matrix (dashed), and by the gap of continuous time (solid).", "name": "fig-langevin-kramers"}}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3))
axes[0].semilogy(barriers, gaps, "o", label="exact")
b = np.linspace(1, 10)
axes[0].semilogy(b, kramers(b), "k-", lw=1, label="Kramers")
axes[0].set(xlabel="barrier $b/T$", ylabel=r"gap $\gamma_1$")
axes[0].legend()
axes[1].plot(time, crossed, "o", ms=4, label="chains")
axes[1].plot(time, predicted, "k--", lw=1, label="chain's matrix")
axes[1].plot(time, (1 - np.exp(-gaps[3] * time)) / 2, "k-", lw=1, label="gap")
axes[1].set(xlabel="time", ylabel="share on the right", ylim=(0, 0.55))
axes[1].legend()
plt.show()

# %% [markdown]
# The exponential wins, and no step size stands in it. (Look closely: the chain crosses a little too fast. Rates, too, are wrong to
# first order in $\eta$, by 7 % here.)

# %%
rate = -np.diff(np.log(1 - 2 * predicted[-2:])) / np.diff(time[-2:])
verify(
    "rate of the chain over that of continuous time",
    rate / gaps[3],
    at_least=1,
    at_most=1 + 32 * eta,
    source="approach of the share to ½; the error is of order ηE'', E'' = 32",
)

# %% [markdown]
# ### Chains that look converged
#
# Cool the tilted well to $T = 0.1$, and start four chains on the left. A standard test {cite}`gelman1992`, here in its simplest
# form, compares the variance within the chains, of $n$ samples each, with that of their means:
#
# $$
# \hat R = \sqrt{\frac{n-1}{n} + \frac{v_\text{between}}{v_\text{within}}},
# $$ (eq-langevin-rhat)
#
# which tends to 1 if all chains sample one and the same distribution. Predict $\hat R$; then start two of them on the right.

# %%
cold, n = 0.1, 1000
p_cold = boltzmann(E, cold)
rows, shares, r_hat = [], [], []
for name, start in (("left", [-1.0] * 4), ("both", [-1.0, -1, 1, 1])):
    rng, x, series = np.random.default_rng([seed, 50]), np.array(start), []
    for _ in range(n):
        x = langevin(  # the step is ηT, with η = 0.01
            lambda x: -slope(x) / cold, x, step=1e-3, n_steps=10, seed=rng
        )
        series.append(x)
    series = np.array(series)
    within = series.var(axis=0, ddof=1).mean()
    between = series.mean(axis=0).var(ddof=1)
    r_hat.append(np.sqrt((n - 1) / n + between / within))
    shares.append(np.mean(series > 0))
    rows.append([name, r_hat[-1], shares[-1], p_cold @ right])
show_table(["start", "R̂", "share on the right", "exact"], rows)

# %% [markdown]
# From one side the test is content, and the answer is *totally* wrong: the right valley holds 99.3 % of the probability, and no
# chain has seen it. By {eq}`eq-langevin-kramers`, with a barrier of $17.6\,T$, the time to cross is of order $10^7$; we ran for
# 100. From both sides the test cries out, but the share is the one we put in.

# %%
near = np.abs(grid) < 1.8  # beyond, rates are so fast that rounding matters
escape_time = 1 / rates(E[near], dx, cold)[1]
barrier = E[np.abs(grid) < 0.5].max() - E[grid < 0].min()
verify(
    "at T = 0.1: weight of the right valley, and barrier of the left one",
    [p_cold @ right, barrier / cold],
    equals=[0.993, 17.6],
    atol=[5e-4, 0.05],
    source="quadrature and the energy on the grid, rounded in the text",
)
verify(
    "time to leave the left valley at T = 0.1",
    escape_time,
    at_least=1e7,
    at_most=5e7,
    source="order of magnitude in the text",
)

# %% [markdown]
# Two chains in each of two valleys, $\Delta$ apart, make $v_\text{between} = \Delta^2/3$. Of 4000 samples, $v_\text{within}$ has a
# standard error of some 2.3 %, and $\hat R$ half of it.

# %%
mean, var = np.empty(2), np.empty(2)
for k, side in enumerate((1 - right, right)):
    q = p_cold * side / (p_cold @ side)
    mean[k] = q @ grid
    var[k] = q @ (grid - mean[k]) ** 2 / (1 - 0.01 * 16 / 2)  # bias, E'' ≈ 16
verify(
    "R̂ cries out at chains in both valleys",
    r_hat[1],
    equals=np.sqrt((n - 1) / n + np.diff(mean)[0] ** 2 / 3 / var.mean()),
    rtol=0.06,
    source="quadrature within each valley, corrected for the step",
)
verify(
    "R̂ is content with chains in one",
    r_hat[0],
    at_least=0.99,
    at_most=1.02,
    source="v_between / v_within is then 2τ/n, with 2τ below 2",
)
verify(
    "shares of samples on the right, from one side and from both",
    shares,
    equals=[0, 0.5],
    atol=1e-9,
    source="Kramers: some chain crosses with a probability of about 10⁻⁵",
)

# %% [markdown]
# No diagnostic finds a mode that no chain has visited. Start chains in many places; and let *hot* chains carry cold ones over the
# barrier, as in the third exercise. (In one dimension a Metropolis step as long as the distance of the valleys jumps across. In
# many, a blind jump hardly ever lands in a valley.)

# %%
x, _ = metropolis(
    lambda x: -energy(x) / cold,
    np.full(half, -1.0),
    step=2.0,
    n_steps=400,
    seed=[seed, 51],
)
share = p_cold @ right
verify(
    "share on the right at T = 0.1, by Metropolis with a step of 2",
    np.mean(x > 0),
    equals=share,
    atol=5 * np.sqrt(share * (1 - share) / half),
    source="quadrature",
)

# %% [markdown]
# ## Exercises
#
# ::::{exercise} Walls too steep
# :label: ex-langevin-quartic
# For $E = x^4/4$, from which $|x|$ on does an unadjusted step overshoot to a larger $|x|$? What happens then? Is there a step at
# which the chain is safe? And what does MALA do out there?
# ::::
#
# ::::{solution-start} ex-langevin-quartic
# :class: dropdown
# ::::
#
# Without noise $x' = x\,(1 - \eta x^2)$, and $|x'| > |x|$ as soon as $x^2 > 2/\eta$. Each overshoot is larger than the last. Noise
# can lead there from anywhere, so for *no* $\eta$ does a stationary distribution exist {cite}`roberts1996`; a small step only makes
# the escape rare. MALA cannot run away, but out there it rejects every proposal, and sticks.

# %% tags=["solution"]
eta = 0.1
edge = np.sqrt(2 / eta)
lost, rng = [], np.random.default_rng([seed, 55])
for factor in (0.8, 1.2):
    x = np.full(1000, factor * edge)
    with np.errstate(over="ignore", invalid="ignore"):
        x = noisy_descent(lambda x: x**3, x, eta, np.sqrt(2 * eta), 30, rng)
    lost.append(np.sum(~np.isfinite(x)))
verify(
    "chains that diverge, of 1000 from inside and 1000 from outside",
    lost,
    equals=[0, 1000],
    source="|1 - ηx²| > 1 for x² > 2/η",
)

# %% [markdown]
# And MALA, from the same place outside:

# %% tags=["solution"]
_, acceptance = langevin(
    lambda x: -(x**3),
    np.full(1000, 1.2 * edge),
    step=eta,
    n_steps=30,
    seed=seed,
    adjusted=True,
    log_prob=lambda x: -(x**4) / 4,
)
verify(
    "MALA outside: fraction of accepted steps",
    acceptance,
    equals=0,
    atol=1e-9,
    source="the exponent of the acceptance is below -50",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Start at the top
# :label: ex-langevin-mode
# You start MALA in $d = 1000$ dimensions at the most probable point, $x = 0$, with the step that is best in equilibrium,
# $\eta = 0.14$. Use {eq}`eq-mala-gaussian` to find the probability that the first step is accepted. Where should you start?
# ::::
#
# ::::{solution-start} ex-langevin-mode
# :class: dropdown
# ::::
#
# From $x = 0$ the proposal is $\sqrt{2\eta}\,w$, and the exponent is $-\eta^2|w|^2/2$, never positive. Since
# $\langle e^{-u|w|^2}\rangle = (1 + 2u)^{-d/2}$ for $d$ normal variables, the first step is accepted with probability
# $(1 + \eta^2)^{-d/2}$. With $\eta \propto d^{-1/3}$ that is about $e^{-c\,d^{1/3}}$: at $d = 1000$ some $6\cdot10^{-5}$. The
# typical distance from the origin is $\sqrt d$: start there, from a draw of a Gaussian of about the right width. If you must start at
# the top, take smaller steps at first, $\eta \sim d^{-1/2}$ {cite}`christensen2005`, or unadjusted ones.

# %% tags=["solution"]
d, eta = 100, 0.15
_, accepted = langevin(
    lambda x: -x,
    np.zeros((40_000, d)),
    step=eta,
    n_steps=1,
    seed=[seed, 60],
    adjusted=True,
    log_prob=log_normal,
)
chance = (1 + eta**2) ** (-d / 2)
verify(
    "acceptance of the first step from the mode, in 100 dimensions",
    accepted,
    equals=chance,
    atol=4.5 * np.sqrt(chance * (1 - chance) / 40_000),
    source="Gaussian integral",
)
ell = minimize_scalar(
    lambda ell: -mala_step(ell, 1000)[1], bounds=(0.5, 3.5), method="bounded"
).x
eta = ell**2 / 20
verify(
    "best step in 1000 dimensions, and 10⁵ times its first acceptance",
    [eta, 1e5 * (1 + eta**2) ** -500],
    equals=[0.14, 6],
    atol=[5e-3, 0.5],
    source="exact squared jump and Gaussian integral, rounded in the text",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Let hot chains carry cold ones
# :label: ex-langevin-replicas
# Run chains at five temperatures from 0.1 to 1. After every few steps offer each pair of neighbours, at $T_1$ in state $x$ and at
# $T_2$ in state $y$, to swap states. With which probability must you accept, so that each temperature keeps its Boltzmann
# distribution? Start all chains on the left. Which share of the coldest ends on the right?
# ::::
#
# ::::{solution-start} ex-langevin-replicas
# :class: dropdown
# ::::
#
# The pair has the density $e^{-E(x)/T_1 - E(y)/T_2}$, and a swap is a symmetric proposal. Metropolis' rule gives
# $\min(1, e^{\Delta})$ with $\Delta = (1/T_1 - 1/T_2)(E(x) - E(y))$. This is **replica exchange**, or parallel tempering
# {cite}`geyer1991,hukushima1996`. We use MALA, to have no bias, and a step $\eta T$ along each score, so that all drifts are
# $-\eta\nabla E$.

# %% tags=["solution"]
temperatures = np.geomspace(0.1, 1, 5)
copies = 2000
rng = np.random.default_rng([seed, 70])
x = np.full((5, copies), -1.0)
for _ in range(400):
    for k, T in enumerate(temperatures):
        x[k], _ = langevin(
            lambda x, T=T: -slope(x) / T,
            x[k],
            step=0.06 * T,
            n_steps=5,
            seed=rng,
            adjusted=True,
            log_prob=lambda x, T=T: -energy(x) / T,
        )
    for k in range(4):
        delta = 1 / temperatures[k] - 1 / temperatures[k + 1]
        delta = delta * (energy(x[k]) - energy(x[k + 1]))
        swap = np.log1p(-rng.random(copies)) < delta
        x[k], x[k + 1] = (
            np.where(swap, x[k + 1], x[k]),
            np.where(swap, x[k], x[k + 1]),
        )

# %% [markdown]
# All five temperatures now have their exact weights. (The coldest has only 14 chains on the left, on average, so we use the
# binomial distribution itself.)

# %% tags=["solution"]
exact = np.array([boltzmann(E, T) @ right for T in temperatures])
low, high = binom.interval(1 - 1e-5, copies, exact)
verify(
    "number of chains on the right at five temperatures, of 2000",
    (x > 0).sum(axis=1),
    at_least=low,
    at_most=high,
    source="quadrature, and the binomial distribution",
)

# %% [markdown]
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Brownian motion samples $e^{-E/T}$ from slopes alone; in finite steps it has a temperature, $T = s^2/2\eta$, a bias proportional
# to $\eta$, and a limit of stability set by the stiffest direction. An accept step with the right proposal ratio removes the bias;
# its best step falls as $d^{-1/3}$ and accepts 57 % of the moves, while Metropolis, without slopes, pays $d$. No chain of small
# moves crosses a barrier in less than about $e^{b/T}$, and no test on chains from one valley tells you so.
#
# **Next:** {lecture}`2.2` replaces the slope by a noisy estimate from a minibatch. That noise heats, too: to which temperature?
