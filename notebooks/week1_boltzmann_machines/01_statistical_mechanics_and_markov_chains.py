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
# # Sample a magnet with Markov chains
#
# A generative model is a probability distribution from which you can draw. Write down an energy, and nature draws
# the states. A computer cannot do that in one go, because the normalisation is a sum over more states than there are atoms. It can walk,
# though, from state to state, by a rule so chosen that the states of the walk have the right distribution. Every energy-based model of this
# course is trained or sampled by such a walk. Here we build three, for an interacting system with exact answers, and
# measure how long you have to walk.
#
# :::{admonition} Plan
# :class: tip
# **You will** derive the Metropolis rule, the heat bath and the Wolff cluster update; predict how fast the first two forget,
# from the eigenvalues of a $512 \times 512$ matrix; and check samples of Metropolis and Wolff against exact energies and heat
# capacities.
# **You need** the canonical ensemble, eigenvalues, and the variance of a sum. **Reading time** an hour, exercises not
# included. **CPU time** 25 s.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp

from advml import ising
from advml.checks import verify
from advml.display import show_source, show_table
from advml.metrics import (
    autocorrelation_function,
    integrated_autocorrelation_time,
    mean_and_error,
    total_variation,
)
from advml.sampling import gibbs_gaussian

plt.style.use("advml.course")
T_c = ising.CRITICAL_TEMPERATURE

# %% [markdown]
# The checks below hold for other seeds and longer chains, too: a statistical one allows four standard errors, so that all of them together
# fail by chance about once in five hundred runs. Much shorter chains know too little of their own errors.

# %% tags=["parameters"]
seed = 0
n_sweeps = 20_000
n_sweeps_metropolis = 150_000

# %% [markdown]
# ## A distribution without its normalisation
#
# A system with states $x$ and energy $E(x)$ in contact with a reservoir at temperature $T$ is found in state $x$
# with the probability
#
# $$
# p(x) = \frac{e^{-E(x)/T}}{Z}, \qquad Z = \sum_x e^{-E(x)/T} .
# $$ (eq-boltzmann)
#
# Temperatures are in units of energy: Boltzmann's constant is one. The **partition function** $Z$ is more than a
# normalisation. With $K = 1/T$, the derivatives of $\log Z$ with respect to $K$ are the mean of $-E$, its variance, and so on. For $N$
# particles, energy and heat capacity per particle are therefore
#
# $$
# u = -\frac1N \frac{\partial \log Z}{\partial K} = \frac{\langle E\rangle}{N}, \qquad
# c = \frac{K^2}{N} \frac{\partial^2 \log Z}{\partial K^2} = \frac{\langle E^2\rangle - \langle E\rangle^2}{N\,T^2}.
# $$ (eq-thermodynamics)
#
# Our system is the **Ising model**: spins $s_i = \pm 1$ on an $L \times L$ square lattice that is closed to a torus, $N = L^2$.
# Neighbours want to be equal,
#
# $$
# E(s) = -\sum_{\langle ij \rangle} s_i s_j ,
# $$ (eq-ising-energy)
#
# where each of the $2N$ bonds counts once. Cold, the spins line up; hot, they are random; and at
# $T_c = 2/\ln(1+\sqrt2) = 2.269$ an infinite lattice has a phase transition. Mind the sign: *low* energy is *high* probability.

# %% [markdown]
# On a $4 \times 4$ torus the sum has $2^{16} = 65\,536$ terms. We just do it, at three temperatures.

# %%
states = ising.all_configurations(4)
energies = ising.energy(states)
enumerated = []
for temperature in [1.0, T_c, 4.0]:
    log_z = logsumexp(-energies / temperature)
    p = np.exp(-energies / temperature - log_z)
    mean = p @ energies
    variance = p @ (energies - mean) ** 2
    enumerated.append([log_z, mean / 16, variance / 16 / temperature**2])

show_table(
    ["T", "log Z", "u", "c"],
    [
        [f"{t:.4f}", *row]
        for t, row in zip([1.0, T_c, 4.0], enumerated, strict=True)
    ],
)

# %% [markdown]
# A first check. The line gives the claim, what was found, and the expected value with its tolerance; if they disagreed, the
# notebook would stop here.

# %%
verify(
    "energy of the aligned 4×4 torus",
    ising.energy(states[-1]),
    equals=-32,
    atol=1e-12,
    source="32 bonds, each of energy -1",
)

# %% [markdown]
# At $32 \times 32$ the sum has $2^{1024} \approx 10^{308}$ terms, and we must sample. Here is what the sampler of this
# lecture will produce. At $T_c$ there are domains of every size, up to the lattice itself, and that is what makes the critical point
# hard to sample.

# %% mystnb={"image": {"alt": "Three square panels of black and white pixels. Cold: almost one colour with a few specks. Critical: domains of all sizes. Hot: fine-grained noise with small clumps."}, "figure": {"caption": "Configurations of a 64 × 64 Ising torus below, at and above the critical temperature; spin up is dark.", "name": "fig-ising-configurations"}}
rng = np.random.default_rng(seed)
fig, axes = plt.subplots(1, 3, figsize=(6, 2.3))
panels = ("1.8", 1.8), ("T_c", T_c), ("3.5", 3.5)
for ax, (name, temperature) in zip(axes, panels, strict=True):
    spins = ising.sample(64, temperature, 1, seed=rng)[0]
    ax.imshow(spins, cmap="binary", vmin=-1, vmax=1)
    ax.set(title=f"$T = {name}$", xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
plt.show()

# %% [markdown]
# ## Walk, and forget where you started
#
# A **Markov chain** moves from state $s$ to state $s'$ with a probability $P(s \to s')$ that depends on nothing but $s$.
# These probabilities form a matrix with rows that sum to one. A distribution $p_n$ over states, as a row vector, becomes
#
# $$
# p_{n+1} = p_n P, \qquad p_{n+1}(s') = \sum_s p_n(s) P(s\to s').
# $$ (eq-markov-chain)
#
# A sampler needs two things. First, the Boltzmann distribution has to be **stationary**, $p P = p$. Second, every start has to end there.
# If each state can be reached from each other one in a finite number of steps (the chain is *irreducible*), and not only
# at multiples of some period (it is *aperiodic*), then the stationary distribution is unique and $p_n$ converges to it: the
# chain is **ergodic** {cite}`levin2017`. The next two rules flip one spin at a time. At a finite temperature they reach every state, flip by flip,
# and now and then reject one, so that the chain stays where it is and can have no period.
#
# Stationarity is one equation per state, each a sum over all states. The trick is to ask for more and check less: let
# the flow between each *pair* of states balance,
#
# $$
# p(s)\, P(s\to s') = p(s')\, P(s'\to s).
# $$ (eq-detailed-balance)
#
# This is **detailed balance**. Summed over $s$, the right-hand side gives $p(s')$ because rows sum to one, and so $pP = p$. Only the
# ratio $p(s')/p(s) = e^{-\Delta E/T}$ enters: the partition function has dropped out.
#
# ### Metropolis and heat bath
#
# Split a step in two: *propose* a state $s'$ with a probability that is the same in both directions, then *accept* it with
# probability $A(s\to s')$, or else stay. The proposal cancels in {eq}`eq-detailed-balance` and leaves
#
# $$
# \frac{A(s\to s')}{A(s'\to s)} = e^{-\Delta E/T}, \qquad \Delta E = E(s') - E(s).
# $$
#
# Only the ratio is fixed. Make the larger of the two one, and you have the rule of Metropolis and
# co-workers {cite}`metropolis1953`: downhill always, uphill with the Boltzmann factor,
#
# $$
# A_\mathrm{M} = \min\bigl(1, e^{-\Delta E/T}\bigr).
# $$ (eq-metropolis)
#
# Or forget the old value of spin $i$ and draw a new one from its conditional distribution, with the neighbours held fixed.
# With the local field $f_i$, the sum of the four neighbours of $i$, the two possible values have the weights $e^{\pm f_i/T}$, so that
#
# $$
# p(s_i = +1 \mid \text{rest}) = \frac{1}{1 + e^{-2 f_i/T}}, \qquad A_\mathrm{H} = \frac{1}{1 + e^{\Delta E/T}},
# $$ (eq-heat-bath)
#
# because a flip costs $\Delta E = 2 s_i f_i$. This is the **heat bath**, which statisticians call **Gibbs sampling**
# {cite}`geman1984`. Check the ratio yourself: $(1 + e^{-\Delta E/T})/(1 + e^{\Delta E/T}) = e^{-\Delta E/T}$.
#
# Here is Metropolis. The line `@njit` has the function compiled before its first use; $\Delta E$ takes five values, so the acceptances
# come from a table.

# %%
show_source(ising.metropolis_update)

# %% [markdown]
# ### The whole chain as a matrix
#
# On a $3\times3$ torus there are 512 states, and we can write down the whole matrix of a single-spin update at a random site.
# States are numbered by their bits: `^ (1 << site)` flips one spin. And `np.logaddexp(0, x)` is $\ln(1 + e^x)$.

# %%
show_source(ising.transition_matrix)

# %% [markdown]
# Does one step change the Boltzmann distribution, and does every flow balance?

# %%
small = ising.energy(ising.all_configurations(3))
boltzmann = np.exp(-small / T_c - logsumexp(-small / T_c))
matrices = {rule: ising.transition_matrix(T_c, rule) for rule in ising.RULES}
for rule, P in matrices.items():
    verify(
        f"one {rule} step leaves the Boltzmann distribution unchanged",
        boltzmann @ P,
        equals=boltzmann,
        atol=1e-13,
        source="Boltzmann weights of the 512 enumerated states",
    )
    flow = boltzmann[:, None] * P
    verify(
        f"{rule} flows balance between every pair of states",
        flow,
        equals=flow.T,
        atol=1e-13,
        source="detailed balance",
    )

# %% [markdown]
# ### How fast? Ask the second eigenvalue
#
# Detailed balance has a second gift. Let $D$ be the diagonal matrix of the $p(s)$. Then {eq}`eq-detailed-balance` says that $DP$ is symmetric,
# and so is
#
# $$
# S = D^{-1/2} (DP)\, D^{-1/2} = D^{1/2} P D^{-1/2} .
# $$
#
# $S$ and $P$ share their eigenvalues, which are therefore real, and $S$ has orthonormal eigenvectors $v_k$. The largest
# eigenvalue is $\lambda_1 = 1$ with $v_1 = \sqrt p$; no other one reaches $|\lambda| = 1$ in an ergodic chain. Order them by
# $|\lambda_k|$. Since $P^n = D^{-1/2} S^n D^{1/2}$, the start $p_0$ becomes $p_n = p_0 D^{-1/2} \sum_k \lambda_k^n v_k v_k^\mathsf{T} D^{1/2}$. The term with $k = 1$ is
# $p$ itself, because $p_0$ sums to one. What remains is
#
# $$
# p_n(s) = p(s) + \sum_{k\ge2} a_k\, \lambda_k^n\, \sqrt{p(s)}\; v_k(s), \qquad
# a_k = \sum_{s'} \frac{p_0(s')\, v_k(s')}{\sqrt{p(s')}}.
# $$ (eq-spectral-gap)
#
# In the end the slowest mode is left: the distance to equilibrium falls as $|\lambda_2|^n$, unless the start
# happens to have $a_2 = 0$. We measure it by the **total variation**, the largest error of $p_n$ in the probability of any event,
#
# $$
# \mathrm{TV}(p, q) = \tfrac12 \sum_s |p(s) - q(s)| .
# $$ (eq-total-variation)
#
# The worst event is the set of states to which $p_n$ gives too much; the excess there equals the deficit elsewhere, hence the $\tfrac12$.
# We start with all spins up.

# %%
n_steps = 1200
start = np.zeros(512)
start[-1] = 1  # all spins up
distances, second, spectra = {}, {}, {}
for rule, P in matrices.items():
    S = np.sqrt(boltzmann)[:, None] * P / np.sqrt(boltzmann)
    eigenvalues, vectors = np.linalg.eigh((S + S.T) / 2)
    order = np.argsort(-np.abs(eigenvalues))
    spectra[rule] = eigenvalues[order], vectors[:, order]
    second[rule] = abs(eigenvalues[order][1])
    p, distance = start, []
    for _ in range(n_steps):
        distance.append(total_variation(p, boltzmann))
        p = p @ P
    distances[rule] = np.array(distance)

# %% [markdown]
# The ratio of two successive distances, late in the decay, gives the **relaxation time** $1/(1-|\lambda_2|)$. Which rule is faster?
# Metropolis rejects less: every off-diagonal entry of its matrix is at least that of the heat bath. From this
# order of Peskun {cite}`peskun1973` it follows that none of its eigenvalues lies above that of the heat bath of the same rank. Here $\lambda_2 > 0$ for both, and Metropolis
# forgets faster. At the other end of the spectrum the theorem brings a mode closer to $-1$, and there Metropolis can be slower: see the
# first exercise.

# %%
rate = {rule: d[801] / d[800] for rule, d in distances.items()}
verify(
    "relaxation times of Metropolis and heat bath, in updates",
    [1 / (1 - rate[rule]) for rule in ising.RULES],
    equals=[1 / (1 - second[rule]) for rule in ising.RULES],
    rtol=1e-7,
    source="eigenvalues of the symmetrised transition matrix",
)
verify(
    "Metropolis has a smaller second eigenvalue than the heat bath",
    second["metropolis"],
    at_most=second["heat bath"],
    source="Peskun (1973)",
)
for rule, (_, vectors) in spectra.items():
    verify(
        f"{rule}: the slowest mode is odd under a flip of all spins",
        vectors[:, 1] + vectors[::-1, 1],
        equals=0,
        atol=1e-11,
        source="spin-flip symmetry; states are numbered by their bits",
    )

# %% [markdown]
# On a logarithmic axis the slowest mode is a straight line.

# %% mystnb={"image": {"alt": "Total variation distance on a logarithmic axis against the number of single-spin updates. Two curves, Metropolis below heat bath, become straight lines that coincide with dashed lines of slope log lambda 2."}, "figure": {"caption": "Distance to equilibrium of two chains on the 3 × 3 torus at the critical temperature, started with all spins up. Dashed: what is left of the slowest mode.", "name": "fig-markov-convergence"}}
n = np.arange(250)
fig, ax = plt.subplots()
for rule, distance in distances.items():
    ax.semilogy(distance[:250], label=rule)
    slowest = distance[-1] * second[rule] ** (n - n_steps + 1)
    ax.semilogy(slowest, "k--", lw=1)
ax.set(xlabel="single-spin updates $n$", ylabel="total variation distance")
ax.set_yticks([0.2, 0.3, 0.4, 0.6], ["0.2", "0.3", "0.4", "0.6"])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# After the fast modes have died, each curve runs along the line of its slowest mode. That mode carries the sign of the
# magnetisation, and dies only as fast as the whole magnet turns over, spin by spin: 274 updates for Metropolis and 386 for the heat bath,
# 30 and 43 sweeps of just nine spins. In practice the eigenvalue is unknown; one discards the first part of a chain, the
# **burn-in**, and makes it many relaxation times long.

# %% [markdown]
# ## Gibbs sampling in the plane
#
# Nothing in the derivation needs spins. Take two Gaussian variables with mean zero, variance one and correlation $\rho$.
# Given one of them, the other is Gaussian with mean $\rho$ times the given value and variance $1-\rho^2$. A sweep of Gibbs sampling draws each once,
#
# $$
# x_1' = \rho\, x_2 + \sqrt{1-\rho^2}\; w_1, \qquad x_2' = \rho\, x_1' + \sqrt{1-\rho^2}\; w_2 ,
# $$ (eq-gibbs-gaussian)
#
# with standard normal $w_1, w_2$. Put the first equation into the second: $x_2' = \rho^2 x_2 + \text{noise}$. The correlation
# between successive sweeps is $\rho^2$. (The path in the code has the shape step, chain, coordinate.)

# %%
show_source(gibbs_gaussian)

# %% [markdown]
# Thirty sweeps at $\rho = 0.5$ and thirty at $\rho = 0.95$; each is drawn as two moves parallel to the axes.

# %% mystnb={"image": {"alt": "Two panels with elliptical contours of a Gaussian and a staircase path. For correlation 0.5 the path crosses the ellipse in a few moves; for 0.95 it creeps along the narrow ellipse in small steps."}, "figure": {"caption": "Thirty sweeps of Gibbs sampling, started at the open circle. Contours contain 39 %, 86 % and 99 % of the probability.", "name": "fig-gibbs-path"}}
angle = np.linspace(0, 2 * np.pi, 200)
fig, axes = plt.subplots(1, 2, figsize=(6, 3.1), sharey=True)
for ax, rho in zip(axes, [0.5, 0.95], strict=True):
    sweeps = gibbs_gaussian(rho, [[-2.5, -2.5]], n_steps=30, seed=seed)[:, 0]
    # A staircase: x1 moves first, then x2 follows.
    x1, x2 = np.repeat(sweeps.T, 2, axis=1)
    ax.plot(x1[1:], x2[:-1], lw=1)
    for radius in (1, 2, 3):
        across = radius * np.cos(angle)
        up = rho * across + np.sqrt(1 - rho**2) * radius * np.sin(angle)
        ax.plot(across, up, color="0.75", lw=1)
    ax.plot(*sweeps[0], "o", mfc="white")
    ax.set(title=rf"$\rho = {rho}$", xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# On the left the path crosses the ellipse in a few moves. On the right its steps are as wide as the valley, and it creeps along:
# strong coupling makes local moves slow. So it will be with the magnet.
#
# For such a first-order process the estimated lag-one correlation has the variance $(1-\rho^4)/n$ (Bartlett); four of those standard errors are the
# tolerance. After ten sweeps of burn-in a share $\rho^{20} \approx 10^{-6}$ of the start is left.

# %%
rho, n = 0.5, 100_000
path = gibbs_gaussian(rho, np.zeros((1, 2)), n_steps=n + 10, seed=seed)
path = path[11:, 0]
verify(
    "Gibbs on the Gaussian: lag-one autocorrelation per sweep",
    [autocorrelation_function(x)[1] for x in path.T],
    equals=rho**2,
    atol=4 * np.sqrt((1 - rho**4) / n),
    source="two half steps, each with a factor ρ",
)

# %% [markdown]
# ## What a correlated sample is worth
#
# A chain's states are not independent. Let $C(t)$ be the covariance of $x_i$ and $x_{i+t}$ in the stationary chain, and
#
# $$
# \rho(t) = \frac{C(t)}{C(0)}
# $$ (eq-autocorrelation)
#
# the **autocorrelation function**. (Without an argument, $\rho$ is the correlation of the two Gaussian variables.)
# The variance of the mean of $n$ values is a sum over all pairs of times:
#
# $$
# \operatorname{var}(\bar x) = \frac1{n^2} \sum_{i,j} C(|i-j|)
# = \frac{C(0)}{n} \sum_{|t| < n} \Bigl(1 - \frac{|t|}{n}\Bigr) \rho(|t|)
# \;\approx\; \frac{2\tau}{n}\, C(0)
# $$ (eq-standard-error)
#
# with the **integrated autocorrelation time**
#
# $$
# \tau = \frac12 + \sum_{t=1}^{\infty} \rho(t).
# $$ (eq-tau-int)
#
# So $n$ correlated values are worth $n/(2\tau)$ independent ones, which have $\tau = \tfrac12$. (Some authors call $2\tau$ the
# autocorrelation time.)
#
# To estimate $\tau$ you must stop the sum. Beyond a few $\tau$ there is no signal left, but each further term adds noise. The sum over
# *all* estimated lags is even useless: with the sample mean subtracted, $\sum_{i,j} (x_i - \bar x)(x_j - \bar x) = 0$, and $\tau$ comes out
# zero, whatever the data. Sokal's remedy {cite}`sokal1997` is a window: stop at the first $W \ge 6\,\tau(W)$. (Where
# $\tau(W) < \tfrac12$, because successive values avoid each other, the rule puts $\tfrac12$ in its place, so that $W \ge 3$. The $\tau$
# that is returned may still be below $\tfrac12$.)

# %%
show_source(integrated_autocorrelation_time, mean_and_error)

# %% [markdown]
# For the Gibbs chain $\rho(t) = \rho^{2t}$, and the geometric series gives $\tau = \tfrac12 (1+\rho^2)/(1-\rho^2) = \tfrac56$ for $\rho = \tfrac12$.
# The estimate has a relative variance of about $2(2W+1)/n$ {cite}`madras1988`, and the window cuts off a fraction $e^{-6}$ of a single exponential.
# It can cut off much more of a weak but slow mode: look at $\rho(t)$ before you trust it.

# %%
verify(
    "the sum over all lags makes τ zero",
    0.5 + autocorrelation_function(path[:, 1])[1:].sum(),
    equals=0,
    atol=1e-10,
    source="deviations from the sample mean sum to zero",
)
exact_tau = (1 + rho**2) / (1 - rho**2) / 2
verify(
    "integrated autocorrelation time of the Gibbs sampler",
    [integrated_autocorrelation_time(x) for x in path.T],
    equals=exact_tau,
    rtol=4 * np.sqrt(2 * (12 * exact_tau + 1) / n) + np.exp(-6),
    source="geometric series of ρ²",
)

# %% [markdown]
# Is {eq}`eq-standard-error` true? Run two thousand independent chains of a thousand sweeps, each started from an exact draw, and look at how much their
# means scatter.

# %%
walkers, length = 2000, 1000
normal = np.random.default_rng([seed, 1]).standard_normal((walkers, 2))
normal[:, 1] = rho * normal[:, 0] + np.sqrt(1 - rho**2) * normal[:, 1]
many = gibbs_gaussian(rho, normal, n_steps=length, seed=seed + 1)[1:, :, 0]
verify(
    "n times the variance of the mean of n correlated values is 2τ",
    length * many.mean(axis=0).var(ddof=1),
    equals=2 * exact_tau,
    rtol=4 * np.sqrt(2 / (walkers - 1)) + 2 * exact_tau / length,
    source="geometric series of ρ²; scatter of independent chains",
)

# %% [markdown]
# ### From eigenvalues to autocorrelation times
#
# The relaxation time $1/(1-|\lambda_2|)$ belongs to a chain, $\tau$ to an *observable* $f(s)$. The modes connect them.
# In the stationary chain $\langle f(s_0) f(s_t)\rangle = \sum_{s,s'} p(s) f(s) P^t(s\to s') f(s')$. With $P^t = D^{-1/2} S^t D^{1/2}$ this is $\sum_k b_k^2 \lambda_k^t$, whose
# first term is $\langle f\rangle^2$. Hence
#
# $$
# \rho(t) = \frac{\sum_{k\ge2} b_k^2\, \lambda_k^t}{\sum_{k\ge2} b_k^2}, \qquad b_k = \sum_s \sqrt{p(s)}\; v_k(s)\, f(s) .
# $$ (eq-tau-modes)
#
# A single mode has $\tau = \tfrac12 (1+\lambda)/(1-\lambda)$, close to $1/(1-\lambda)$ if it is slow; $f$ averages these times with the
# weights $b_k^2$. An observable that does not see the slowest mode has a shorter $\tau$. Here that mode is odd:
# $M = \sum_i s_i$ sees it, while $E$ and $|M|$, which are even, cannot. We predict three $\tau$ of Metropolis from the
# matrix ($\lambda^9$ for a sweep), and measure them in a chain.

# %%
eigenvalues, vectors = spectra["metropolis"]
decay = eigenvalues[1:] ** 9  # nine updates are a sweep
n = 200_000
run = ising.chain(3, T_c, n, seed=seed, algorithm="metropolis")
M = ising.all_configurations(3).sum(axis=(1, 2))
for name, f, series in (
    ("M", M, run.magnetisations),
    ("|M|", np.abs(M), np.abs(run.magnetisations)),
    ("E", small, run.energies),
):
    weights = ((np.sqrt(boltzmann) * f) @ vectors[:, 1:]) ** 2
    tau = weights @ ((1 + decay) / (1 - decay)) / 2 / weights.sum()
    verify(
        f"τ of {name} for Metropolis on the 3×3 torus, in sweeps",
        integrated_autocorrelation_time(series),
        equals=tau,
        rtol=4 * np.sqrt(2 * (12 * tau + 1) / n) + np.exp(-6),
        source="eigenvalues and modes of the transition matrix",
    )

# %% [markdown]
# The magnetisation forgets fifteen times more slowly than its absolute value. Its sign is fair by symmetry, so we need not wait for it, and use $|M|$.

# %% [markdown]
# ## Flip a whole cluster
#
# A single-spin update inside a domain costs $\Delta E = 8$ and at $T_c$ is rejected
# 97 times out of 100; a domain moves only where its wall moves. Wolff {cite}`wolff1989`, after Swendsen and Wang
# {cite}`swendsen1987`, flips domains instead:
#
# 1. draw a spin at random, and begin a cluster with it;
# 2. for each spin of the cluster, offer a place to each aligned neighbour outside, which joins with probability $p_\mathrm{b}$ (a refused one
#    may be asked again by another spin of the cluster: each *bond* has one chance);
# 3. when no offer is left, flip the cluster.
#
# With the right $p_\mathrm{b}$, no rejection is needed. Take two states $s$ and $s'$ that differ by the flip of a cluster $\mathcal C$. The chance to grow $\mathcal C$ from a given
# first spin has two factors: one for the bonds *inside* $\mathcal C$, the same in $s$ and $s'$ because a flip leaves them aligned,
# and one for its boundary. Say that $m$ boundary bonds are aligned in $s$, and $m'$ are not. Each of the $m$ had to be refused, while the
# $m'$ were never offered. In $s'$ the roles are swapped, so
#
# $$
# \frac{P(s\to s')}{P(s'\to s)} = \frac{(1-p_\mathrm{b})^m}{(1-p_\mathrm{b})^{m'}} .
# $$
#
# This holds for every first spin, hence also for the sum over first spins. The flip breaks $m$ bonds and mends $m'$, each worth an energy of 2. Detailed balance
# asks for the ratio $e^{-\Delta E/T} = e^{-2K(m-m')}$, and gets it for *every* cluster if
#
# $$
# p_\mathrm{b} = 1 - e^{-2K}.
# $$ (eq-wolff-bond)
#
# Any single spin can be a cluster of its own, so every state can be reached. Two aligned neighbours can be flipped one by one and back together, a loop
# of three steps beside the loop of two: there is no period. In the code, `stack` lists spins that have yet to make their offers.

# %%
show_source(ising.wolff_update)

# %% [markdown]
# A test of the clusters themselves. Put a bond with probability $p_\mathrm{b}$ on every aligned pair. An aligned pair without a
# bond then has the weight $e^{K}(1-p_\mathrm{b}) = e^{-K}$, just that of an opposed pair. So, given the bonds, each cluster is up or down with probability
# $\tfrac12$, independently of the others. In $M = \sum_{\mathcal C} \sigma_{\mathcal C} |\mathcal C|$ with these signs, cross terms average to zero:
# $\langle M^2\rangle = \langle\sum_{\mathcal C} |\mathcal C|^2\rangle$. Wolff picks $\mathcal C$ with probability $|\mathcal C|/N$, so the mean size of his clusters is
# $\langle M^2\rangle/N$, which on $4\times4$ we can enumerate.
#
# `ising.chain` keeps a *record* of $E$ and $M$ after every few *updates*, here clusters; its `work` is the number of spins visited per record, over $N$.
# So `work / updates` is the mean cluster over $N$.

# %%
chain = ising.chain(4, T_c, n_sweeps, seed=seed)
p = np.exp(-energies / T_c - logsumexp(-energies / T_c))
M = states.sum(axis=(1, 2))
verify(
    "mean cluster on the 4×4 torus, as a fraction of the lattice",
    chain.work / chain.updates,
    equals=p @ (M / 16) ** 2,
    atol=4 * 0.5 * np.sqrt(2 / len(chain.energies)),
    source="enumeration of ⟨M²⟩/N²; fractions scatter by < 1/2, with τ < 1",
)

# %% [markdown]
# ## Hold it to the exact answer
#
# Onsager {cite}`onsager1944` and Kaufman {cite}`kaufman1949` did the sum. For the torus
#
# $$
# \begin{aligned}
# Z &= \tfrac12 (2 \sinh 2K)^{N/2} \Bigl[ \prod_{l\ \mathrm{odd}} 2\cosh\tfrac{L\gamma_l}{2} + \prod_{l\ \mathrm{odd}} 2\sinh\tfrac{L\gamma_l}{2} \\
#  &\qquad + \prod_{l\ \mathrm{even}} 2\cosh\tfrac{L\gamma_l}{2} + \prod_{l\ \mathrm{even}} 2\sinh\tfrac{L\gamma_l}{2} \Bigr], \\
# \cosh\gamma_l &= \cosh 2K \coth 2K - \cos\frac{\pi l}{L}, \qquad \gamma_0 = 2K + \ln\tanh K ,
# \end{aligned}
# $$ (eq-kaufman)
#
# where $l$ runs over the $L$ odd or the $L$ even numbers in $0 \ldots 2L-1$. (The positive root of $\cosh\gamma_0$ is wrong above $T_c$, where
# $\gamma_0 < 0$.) `advml.ising` evaluates {eq}`eq-kaufman` and its derivatives. We do not derive the formula; we test it
# against the enumeration, and at $T_c$ against what is known of large lattices {cite}`ferdinand1969`. The infinite one has
# $\log Z/N = \tfrac12 \ln 2 + 2G/\pi = 0.9296954$ with Catalan's constant $G$, and $u = -\sqrt2$. On a torus $\log Z$ exceeds $N$ times the former by
# $\ln(2^{1/4} + 2^{-1/2}) = 0.640$, $u$ has a correction of order $1/L$, which $2u(2L) - u(L)$ removes, and $c$
# diverges as $(8/\pi)\, T_c^{-2} \ln L$, with a correction that falls to the same trick.

# %%
functions = ising.log_partition, ising.energy_per_spin, ising.heat_capacity
exact = [[f(4, t) for f in functions] for t in [1.0, T_c, 4.0]]
verify(
    "Kaufman's log Z, u and c of the 4×4 torus at three temperatures",
    exact,
    equals=enumerated,
    atol=1e-10,
    source="enumeration of all 65536 states",
)
catalan = 0.915965594177219
log_z, u, c = np.array([[f(L, T_c) for L in (32, 64, 128)] for f in functions])
bulk = np.log(2) / 2 + 2 * catalan / np.pi
verify(
    "log Z, u and growth of c at the critical temperature of large tori",
    [log_z[1] - 64**2 * bulk, 2 * u[2] - u[1], 2 * c[2] - 3 * c[1] + c[0]],
    equals=[
        np.log(2**0.25 + 2**-0.5),
        -np.sqrt(2),
        8 / np.pi / T_c**2 * np.log(2),
    ],
    atol=[1 / 64**2, 1 / 64**3, 1 / 32**2],
    source="Onsager (1944), Ferdinand and Fisher (1969): next orders in 1/L",
)

# %% [markdown]
# Now the samples. The heat capacity is a variance. To first order in the fluctuations, its estimate is the mean of the series
#
# $$
# y_i = \frac{(E_i - \bar E)^2}{N T^2},
# $$ (eq-capacity-error)
#
# with $\bar E$ taken as a constant, because $\partial/\partial\bar E\, \sum_i (E_i - \bar E)^2 = -2\sum_i (E_i - \bar E) = 0$. So `mean_and_error` of $y$ gives $c$, up to a relative
# bias of $2\tau/n$, and its error. The table holds $\log Z$, $u$ and $c$ at $T_c$ from {eq}`eq-kaufman` in 50-digit arithmetic.

# %%
table = {
    4: (15.521915, -1.565624, 0.783267),
    8: (60.141781, -1.491589, 1.145559),
    16: (238.642257, -1.453065, 1.498705),
    32: (952.648080, -1.433658, 1.846768),
}


def energy_and_capacity(chain, size, temperature):
    """Return (u, error), (c, error) from the series of energies."""
    squares = (chain.energies - chain.energies.mean()) ** 2
    return (
        mean_and_error(chain.energies / size**2),
        mean_and_error(squares / size**2 / temperature**2),
    )


# %% [markdown]
# We hold both to it: the formula in double precision, and the Wolff chains within four of their own standard errors.

# %%
rows = []
for size, (log_z, u, c) in table.items():
    verify(
        f"log Z, u and c of the {size}×{size} torus",
        [f(size, T_c) for f in functions],
        equals=(log_z, u, c),
        atol=1e-6,
        source="Kaufman (1949), differentiated in 50-digit arithmetic",
    )
    chain = ising.chain(size, T_c, n_sweeps, seed=seed)
    measured = energy_and_capacity(chain, size, T_c)
    names = "energy", "heat capacity"
    for name, (value, error), exact in zip(
        names, measured, (u, c), strict=True
    ):
        verify(
            f"Wolff: {name} per spin of the {size}×{size} torus",
            value,
            equals=exact,
            atol=4 * error,
            source="Kaufman (1949)",
        )
    found = [f"‹{value:.4f} ± {error:.4f}›" for value, error in measured]
    rows.append([size, f"{u:.4f}", found[0], f"{c:.4f}", found[1]])

# %% [markdown]
# Side by side, with the standard errors:

# %%
show_table(["L", "u, exact", "u, Wolff", "c, exact", "c, Wolff"], rows)

# %% [markdown]
# At other temperatures, shorter chains on top of the exact curves:

# %% mystnb={"image": {"alt": "Two panels against temperature. Left: energy per spin rises from minus 2 with a steep part near 2.27. Right: heat capacity has a peak that gets higher and narrower and moves down towards 2.27 for larger lattices. Points lie on the curves within two or three error bars."}, "figure": {"caption": "Exact energy and heat capacity of L × L tori (lines) and Wolff samples (points, with standard errors). Dotted: the critical temperature of the infinite lattice.", "name": "fig-ising-thermodynamics"}}
fine, coarse = np.linspace(1.5, 3.8, 300), np.linspace(1.7, 3.7, 11)
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
rng = np.random.default_rng(seed)
for size in (4, 8, 32):
    (line,) = axes[0].plot(fine, ising.energy_per_spin(size, fine))
    color = line.get_color()
    axes[1].plot(fine, ising.heat_capacity(size, fine), label=f"L = {size}")
    for temperature in coarse:
        chain = ising.chain(size, temperature, 2_000, seed=rng)
        points = energy_and_capacity(chain, size, temperature)
        for ax, (value, error) in zip(axes, points, strict=True):
            ax.errorbar(temperature, value, error, fmt="o", ms=4, color=color)
axes[0].set(xlabel="temperature $T$", ylabel="energy per spin $u$")
axes[1].set(xlabel="temperature $T$", ylabel="heat capacity per spin $c$")
for ax in axes:
    ax.axvline(T_c, color="0.5", ls=":", lw=1)
    ax.set_xticks([1.5, 2, 2.5, 3, 3.5])
axes[1].legend()
plt.show()

# %% [markdown]
# ## Critical slowing down
#
# Why bother with clusters, when Metropolis is right as well? Because of $\tau$. At $T_c$ the **correlation length** $\xi$, over which spins are aligned, is the
# lattice itself. A local rule moves a domain wall at random by about one site per sweep, like a
# diffusing particle. To move it by $\xi$ takes of order $\xi^2$ sweeps. Precise numerical work gives a little more,
#
# $$
# \tau \sim L^z \quad\text{at } T_c, \qquad z = 2.167 \text{ for local updates}
# $$ (eq-critical-slowing)
#
# {cite}`nightingale1996`. Doubling the lattice costs four times the spins, and each of them four and a half times the sweeps. Wolff moves whole domains at once.
#
# To be fair we count work, not updates. A sweep is $N$ spins visited: $N$ attempted flips for Metropolis, $N$ spins
# flipped for Wolff. Predict before you run: what is $\tau$ of $|M|$ at $L = 32$, in sweeps, for each algorithm? An independent sample costs $2\tau$.

# %%
sizes = [8, 16, 32]
lengths = {"metropolis": n_sweeps_metropolis, "wolff": n_sweeps}
chains = {algorithm: [] for algorithm in lengths}
tau, tau_error = {}, {}  # in sweeps, by observable, algorithm and size
for algorithm, n in lengths.items():
    for size in sizes:
        run = ising.chain(size, T_c, n, seed=seed, algorithm=algorithm)
        chains[algorithm].append(run)
        M = np.abs(run.magnetisations)
        for name, series in (("|M|", M), ("E", run.energies)):
            steps = integrated_autocorrelation_time(series)
            key = name, algorithm, size
            tau[key] = steps * run.work
            tau_error[key] = tau[key] * np.sqrt(24 * steps / len(series))

# %% [markdown]
# First, are these Metropolis chains right at all? On the smaller two lattices they are long enough for a test. The square of a
# slow observable hides a slow mode, so its $\tau$ gets a wider window.

# %%
for size, run in zip((8, 16), chains["metropolis"], strict=False):
    squares = (run.energies - run.energies.mean()) ** 2 / (size * T_c) ** 2
    for name, series, exact in (
        ("energy", run.energies / size**2, table[size][1]),
        ("heat capacity", squares, table[size][2]),
    ):
        steps = integrated_autocorrelation_time(series, window=12)
        verify(
            f"Metropolis: {name} per spin of the {size}×{size} torus",
            series.mean(),
            equals=exact,
            atol=4 * np.sqrt(2 * steps / len(series)) * series.std(),
            source="Kaufman (1949)",
        )

# %% [markdown]
# By the rule above, $\tau$ has a relative standard error of $\sqrt{24\tau/n}$: a sixth for $|M|$ at $L = 32$, where $\tau$ is
# about 170 Metropolis sweeps. Our claim of a factor of ten leaves room for that; and $z = \ln(\tau_{32}/\tau_8)/\ln 4$ is
# uncertain by 0.12.

# %%
for name in "|M|", "E":
    verify(
        f"L = 32 at T_c: τ of {name} of Metropolis over that of Wolff",
        tau[name, "metropolis", 32] / tau[name, "wolff", 32],
        at_least=10,
        source="Wolff (1989): clusters nearly remove critical slowing down",
    )
    verify(
        f"Wolff: τ of {name} grows more slowly than L",
        tau[name, "wolff", 32] / tau[name, "wolff", 8],
        at_most=4,
        source="Wolff (1989)",
    )
tau_8, tau_32 = (tau["|M|", "metropolis", size] for size in (8, 32))
verify(
    "dynamic exponent of Metropolis, from τ of |M| at L = 8 and 32",
    np.log(tau_32 / tau_8) / np.log(4),
    equals=2.167,
    atol=4 * np.sqrt(24 * (tau_8 + tau_32) / n_sweeps_metropolis) / np.log(4),
    source="Nightingale and Blöte (1996)",
)

# %% [markdown]
# In sweeps, with standard errors. Most of the energy's fluctuation is short-ranged and
# forgets fast: slow modes have a small weight in {eq}`eq-tau-modes`, and on these sizes the exponent shows only in $|M|$.

# %%
rows = []
for name in "|M|", "E":
    for size in sizes:
        slow, fast = (name, "metropolis", size), (name, "wolff", size)
        row = [name, size, f"‹{tau[slow]:.1f} ± {tau_error[slow]:.1f}›"]
        row += [f"‹{tau[fast]:.2f} ± {tau_error[fast]:.2f}›"]
        rows.append([*row, f"‹{tau[slow] / tau[fast]:.0f}›"])
show_table(["observable", "L", "τ, Metropolis", "τ, Wolff", "ratio"], rows)

# %% [markdown]
# In the figure, $\rho(t)$ at $L = 32$, and $\tau$ against $L$.

# %% mystnb={"image": {"alt": "Left: autocorrelation of the absolute magnetisation against sweeps on a logarithmic time axis; Wolff falls to zero within a few sweeps, Metropolis within several hundred. Right: autocorrelation time against L on logarithmic axes; Metropolis rises nearly parallel to a line of slope 2.17, Wolff is almost flat."}, "figure": {"caption": "Critical slowing down at the critical temperature. Left: autocorrelation of |M| at L = 32. Right: integrated autocorrelation time in sweeps of work; the grey line has the slope 2.17.", "name": "fig-critical-slowing"}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
lags = np.unique(np.geomspace(1, 1000, 80).astype(int))
for algorithm, runs in chains.items():
    chain = runs[-1]
    rho = autocorrelation_function(np.abs(chain.magnetisations))
    axes[0].semilogx(chain.work * lags, rho[lags], label=algorithm)
    points = [tau["|M|", algorithm, size] for size in sizes]
    axes[1].loglog(sizes, points, "o-", label=algorithm)
guide = 2 * tau["|M|", "metropolis", 16] * (np.array(sizes) / 16) ** 2.167
axes[1].loglog(sizes, guide, color="0.6", lw=1)
axes[1].text(15, 1.2 * guide[1], "slope 2.17", color="0.4", ha="right")
axes[0].axhline(0, color="0.6", lw=1)
axes[0].set(xlabel="sweeps $t$", ylabel=r"autocorrelation $\rho(t)$ of $|M|$")
axes[1].set(xlabel="$L$", ylabel=r"$\tau$ of $|M|$ [sweeps]")
axes[1].set_xticks(sizes, sizes)
axes[1].minorticks_off()
axes[0].legend()
plt.show()

# %% [markdown]
# Wolff's $\tau$ stays below two sweeps at all three sizes; that of Metropolis would be fifteen thousand at $L = 256$. Clusters
# are no general cure, however: they need a symmetry to flip them by. Few models of the coming weeks have one, and slow modes
# will follow us through the whole course.
#
# ## Break it: a lost factor of two
#
# The most common error in a cluster code is $p_\mathrm{b} = 1 - e^{-K}$ in place of $1 - e^{-2K}$, since a bond contributes
# $K s_i s_j$ to the exponent, after all. Repeat the derivation of {eq}`eq-wolff-bond` and predict: what does this code sample at
# $T = 1.5$, deep in the ordered phase?


# %%
def wrong_wolff(size, temperature, n_clusters, rng):
    """Return energies of a cluster chain with a wrong bond probability."""
    neighbours = ising.neighbours(size)
    spins, stack = np.ones(size**2, np.int8), np.empty(size**2, np.int64)
    probability = 1 - np.exp(-1 / temperature)
    series = []
    for i in range(n_clusters):
        ising.wolff_update(spins, neighbours, probability, rng, stack)
        if i >= 500 and i % 4 == 0:
            series.append(spins.copy())
    return ising.energy(np.array(series).reshape(-1, size, size))


size, rng, wrong = 8, np.random.default_rng(seed), {}
for temperature in [0.7, 0.9, 1.0, 1.1, 1.3, 1.5, 1.7, 2.0, 2.5, 3.0]:
    energies = wrong_wolff(size, temperature, 8_000, rng)
    squares = (energies - energies.mean()) ** 2 / (size * temperature) ** 2
    wrong[temperature] = (
        mean_and_error(energies / size**2),
        mean_and_error(squares),
    )

# %% [markdown]
# Detailed balance holds with $1 - p_\mathrm{b} = e^{-2K'}$, so $K' = K/2$: the chain is a perfect sampler for the temperature $2T$, here 3, where the magnet is disordered. It shows a phase
# transition, domains, and a peak of the fluctuations, all at half the temperature where they belong.

# %% mystnb={"image": {"alt": "Energy per spin against temperature. The points of the wrong code lie on the dashed curve, the exact energy at twice the temperature, which rises steeply near 1.2; the exact curve at the true temperature rises steeply near 2.4."}, "figure": {"caption": "Wolff's algorithm with the bond probability 1 − exp(−K), on the 8 × 8 torus: the energy at temperature T is that of 2T.", "name": "fig-wrong-wolff"}}
fine = np.linspace(0.6, 3.2, 200)
fig, ax = plt.subplots(figsize=(5, 3))
ax.plot(fine, ising.energy_per_spin(size, fine), label="exact, $u(T)$")
right = ising.energy_per_spin(size, 2 * fine)
ax.plot(fine, right, "k--", lw=1, label="exact, $u(2T)$")
points = [u for (u, _), _ in wrong.values()]
ax.plot(list(wrong), points, "o", label="wrong code")
ax.set(xlabel="temperature $T$", ylabel="energy per spin $u$")
ax.legend()
plt.show()

# %% [markdown]
# No picture of the spins shows it. Two numbers do. One is the exact $u$. The other needs no exact answer: $c = du/dT$, so that $c$
# integrates to differences of $u$. The wrong code's $u$ has the slope $2\, c_\mathrm{exact}(2T)$, but it divides the variance
# of $E$ by $T^2$ in place of $(2T)^2$, and reports $4\, c_\mathrm{exact}(2T)$: a factor of two too much. We integrate from $T = 1.3$ to 1.7 by Simpson's rule.

# %%
verify(
    "with the bond probability 1 - exp(-K), u is that of temperature 2T",
    wrong[1.5][0][0],
    equals=ising.energy_per_spin(size, 3.0),
    atol=4 * wrong[1.5][0][1],
    source="detailed balance at K/2; Kaufman (1949)",
)


def integral_over_difference(runs):
    """Return ∫c dT / Δu over three temperatures 0.2 apart, and its error."""
    (u, du), (c, dc) = np.array(runs).transpose(1, 2, 0)
    simpson = np.array([1, 4, 1]) * 0.2 / 3
    integral, difference = simpson @ c, u[2] - u[0]
    # Both come from the same chains, so their errors may add up.
    relative = np.linalg.norm(simpson * dc) / integral
    relative += np.hypot(du[0], du[2]) / difference
    return integral / difference, relative * integral / difference


ratio, error = integral_over_difference([wrong[t] for t in (1.3, 1.5, 1.7)])
verify(
    "the wrong code's c integrates to twice the difference of its u",
    ratio,
    equals=2,
    atol=4 * error,
    source="c = du/dT, and T² in place of (2T)²",
)

# %% [markdown]
# A number that must come out tells what a picture hides. That is why this course compares.

# %% [markdown]
# ## Exercises
#
# ::::{exercise} Metropolis at infinite temperature
# :label: ex-infinite-temperature
# At $T = \infty$ Metropolis accepts every flip. Which eigenvalues has the $512 \times 512$ matrix? Does the chain converge? And the heat bath's?
# *Hint:* the products $\prod_{j\in A} s_j$ over subsets $A$ of the sites are eigenvectors.
# ::::
#
# ::::{solution-start} ex-infinite-temperature
# :class: dropdown
# ::::
#
# A flip of site $i$ changes the sign of $\prod_{j\in A} s_j$ if $i \in A$. With $|A| = k$ of the nine sites this gives
# $\lambda = (9 - k)/9 - k/9 = 1 - 2k/9$, from 1 down to $-1$, each $\binom9k$ times. The eigenvalue $-1$ means that the chain has period two: after an even number of steps
# the number of flipped spins is even, for ever. The heat bath resamples the spin, so that the product averages to zero if $i \in A$:
# $\lambda = 1 - k/9 \ge 0$, and it converges.

# %% tags=["solution"]
size_of_subset = ising.all_configurations(3).reshape(512, 9) > 0
k = np.sort(size_of_subset.sum(axis=1))[::-1]
for rule, exact in [("metropolis", 1 - 2 * k / 9), ("heat bath", 1 - k / 9)]:
    P = ising.transition_matrix(1e12, rule)
    verify(
        f"eigenvalues of {rule} at infinite temperature",
        np.linalg.eigvalsh((P + P.T) / 2),
        equals=exact,
        atol=1e-9,
        source="products of spins are eigenvectors",
    )

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} All spins at once
# :label: ex-synchronous
# A graphics card would rather update all spins in parallel, each from its heat bath {eq}`eq-heat-bath` with the *old* neighbours. Is
# the Boltzmann distribution still stationary? If not, find what is, from $P(s\to s') \propto \prod_i e^{K s'_i f_i(s)}$. *Hint:* normalise $P$ first. Is
# $\sum_i s'_i f_i(s)$ symmetric in $s$ and $s'$?
# ::::
#
# ::::{solution-start} ex-synchronous
# :class: dropdown
# ::::
#
# Normalised spin by spin, $P(s\to s') = \prod_i e^{K s'_i f_i(s)} / 2\cosh K f_i(s)$. The exponent $K\sum_i s'_i f_i(s)$ pairs each $s'_i$ with each neighbour $s_j$, and does not change when
# $s$ and $s'$ are swapped. So $q(s) \propto \prod_i 2\cosh K f_i(s)$ obeys detailed balance, and $q$ is not the Boltzmann distribution.

# %% tags=["solution"]
spins = ising.all_configurations(3).reshape(512, 9).astype(float)
fields = spins[:, ising.neighbours(3)].sum(axis=2)
log_norm = np.log(2 * np.cosh(fields / T_c)).sum(axis=1)
parallel = np.exp(fields @ spins.T / T_c - log_norm[:, None])
stationary = np.exp(log_norm - logsumexp(log_norm))
verify(
    "the product of 2 cosh(K f) is stationary under parallel updates",
    stationary @ parallel,
    equals=stationary,
    atol=1e-13,
    source="detailed balance, derived above",
)
verify(
    "total variation between it and the Boltzmann distribution",
    total_variation(stationary, boltzmann),
    at_least=0.05,
    source="enumeration",
)

# %% [markdown]
# The cure is a chessboard on an even lattice: all black squares at once, then all white ones. Spins of one colour are not neighbours, and
# independent given the others. A restricted Boltzmann machine is built on this idea.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} How much is a strongly coupled sample worth?
# :label: ex-gibbs-tau
# For which $\rho$ does the Gibbs sampler of the plane need ten sweeps per independent sample of $x_1$? And how many does the mean of $x_1^2$ then need?
# ::::
#
# ::::{solution-start} ex-gibbs-tau
# :class: dropdown
# ::::
#
# From $2\tau = (1+\rho^2)/(1-\rho^2) = 10$ follows $\rho^2 = 9/11$, $\rho = \pm0.905$. The covariance of the squares of two Gaussian variables is twice the square of
# theirs, so $x_1^2$ has the autocorrelation function $\rho^{4t}$, and $2\tau = (1+\rho^4)/(1-\rho^4) = (121 + 81)/(121 - 81) = 5.05$.

# %% tags=["solution"]
rho, length = np.sqrt(9 / 11), 1000
start = np.zeros((walkers, 2))
path = gibbs_gaussian(rho, start, n_steps=length + 99, seed=seed)
x = path[100:, :, 0]
cases = ("x", x, 1, 10), ("x²", x**2, 2, 5.05)
for name, series, variance, cost in cases:
    verify(
        f"ρ² = 9/11: sweeps per independent sample of {name}",
        length * series.mean(axis=0).var(ddof=1) / variance,
        equals=cost,
        rtol=4 * np.sqrt(2 / (walkers - 1)) + cost / length,
        source="geometric series of ρ² and of ρ⁴",
    )

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} A test that needs no exact answer
# :label: ex-energy-from-capacity
# Run `ising.chain` on a $16 \times 16$ lattice at $T = 2.8$, 3.0 and 3.2. Does $c$ integrate to the difference of $u$?
# ::::
#
# ::::{solution-start} ex-energy-from-capacity
# :class: dropdown
# ::::
#
# The ratio is one. Simpson's rule itself is off by less than one part in a thousand here.

# %% tags=["solution"]
runs = []
for temperature in (2.8, 3.0, 3.2):
    chain = ising.chain(16, temperature, n_sweeps, seed=seed)
    runs.append(energy_and_capacity(chain, 16, temperature))
ratio, error = integral_over_difference(runs)
verify(
    "the heat capacity of the right sampler integrates to its energy",
    ratio,
    equals=1,
    atol=4 * error + 1e-3,
    source="c = du/dT",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A Markov chain with detailed balance samples a distribution that you know only up to its normalisation, and its eigenvalues say how fast.
# Of $n$ correlated samples, $n/(2\tau)$ count; local updates make $\tau$ grow like
# $L^{2.17}$ at a critical point, while clusters hardly notice it. An exact answer, wherever there is one, is worth more than a plausible picture.
# For more, read Newman and Barkema {cite}`newman1999` and Levin and Peres {cite}`levin2017`.
#
# **Next:** in {doc}`02_restricted_boltzmann_machines` the couplings are no longer given. They are learned from data, and the same chains
# tell the model what it believes.
