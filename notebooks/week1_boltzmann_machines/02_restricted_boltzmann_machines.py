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
# # Build a restricted Boltzmann machine from its energy
#
# In statistical mechanics the energy is given and the distribution is sought. Learning turns the problem round: the samples are
# given, and an energy is sought whose Boltzmann distribution could have produced them. With spins that interact in pairs this is
# the inverse Ising problem. Add spins that nobody measures, and the machine can represent correlations of any order.
#
# :::{admonition} Plan
# :class: tip
# **You will** derive the formulas of the restricted Boltzmann machine, each checked by a sum, an integral or a derivative;
# show that maximum likelihood minimises a free-energy balance; learn a distribution exactly; and
# measure how wrong contrastive divergence is, and why.
# **You need** the Boltzmann distribution, Gibbs sampling and the eigenvalues of a transition matrix
# ({doc}`01_statistical_mechanics_and_markov_chains`). **Time** an hour to read, half a minute of CPU. On a first reading skip the
# code.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import minimize

from advml.checks import verify
from advml.datasets import bars_and_stripes
from advml.display import progress, show_source
from advml.metrics import kl_divergence
from advml.plotting import image_grid
from advml.rbm import (
    RBM,
    GaussianRBM,
    all_states,
    block_gibbs,
    contrastive_divergence,
    gibbs_transition_matrix,
    log_likelihood_gradient,
    phase,
    softplus,
)

plt.style.use("advml.course")

# %% tags=["parameters"]
seed = 0
n_hidden = 16
n_ascent = 100

# %% [markdown]
# ## From spin glass to machine
#
# A *Boltzmann machine* {cite}`ackley1985` is a set of units, each 0 or 1, with symmetric couplings between all of them: to a
# physicist a spin glass whose couplings are free parameters, with the temperature absorbed in them. Some units are *visible*,
# $\mathbf x$, and are compared with data. The others are *hidden*, $\mathbf h$, and mediate interactions. Sum out one hidden unit
# that couples to three visible ones, and these interact directly, in general with pair *and* triplet terms.
#
# There is a price. Given the data, the hidden units still interact, so even $p(\mathbf h \mid \mathbf x)$ has
# an unknown normalisation. The *restricted* Boltzmann machine {cite}`smolensky1986` drops all couplings within a layer.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two graphs with four visible and three hidden units. On the left every pair of units is joined by a line; on the right only visible-hidden pairs are."}, "figure": {"caption": "A Boltzmann machine couples all pairs. The restricted machine keeps only the couplings between the layers.", "name": "fig-rbm-graphs"}}
visible = [(i, 0.0) for i in range(4)]
hidden = [(j + 0.5, 1.6) for j in range(3)]
fig, axes = plt.subplots(1, 2, figsize=(6.5, 2.2))
for ax, title in zip(axes, ("general", "restricted"), strict=True):
    units = visible + hidden
    for k, (x, y) in enumerate(units):
        for other_x, other_y in units[k + 1 :]:
            within = y == other_y
            if within and title == "restricted":
                continue
            # Bend the lines within a layer, or they would hide each other.
            bend = (0.12 if y else -0.12) * abs(other_x - x) ** 2
            t = np.linspace(0, 1, 30)
            height = y + (other_y - y) * t + within * 4 * bend * t * (1 - t)
            colour = "C1" if within else "0.6"
            ax.plot(x + (other_x - x) * t, height, color=colour, lw=1)
    ax.scatter(*np.transpose(visible), s=330, c="w", ec="k", zorder=3)
    ax.scatter(*np.transpose(hidden), s=330, c="0.8", ec="k", zorder=3)
    for k, (x, y) in enumerate(units):
        name = f"$x_{k + 1}$" if k < 4 else f"$h_{k - 3}$"
        ax.text(x, y, name, ha="center", va="center", zorder=4)
    ax.set_title(title)
    ax.set_axis_off()
    ax.set(xlim=(-0.4, 3.4), ylim=(-1.3, 2.3))
plt.show()

# %% [markdown]
# Dropping the orange lines costs no expressive power in principle: with enough hidden units the restricted machine still
# approximates any distribution ({ref}`ex-rbm-store`). What is gained is that each layer, given the other, falls apart into
# independent units.

# %% [markdown]
# ## Binary visible, binary hidden
#
# Mind the signs, which differ between books. Here $\mathbf a$ are the visible biases, $\mathbf b$ the hidden ones, and a *positive*
# weight lowers the energy when both of its units are on:
#
# $$
# \begin{aligned}
# E(\mathbf x, \mathbf h) &= -\sum_i a_i x_i - \sum_j b_j h_j - \sum_{ij} x_i w_{ij} h_j \\
# &= -\mathbf a\cdot\mathbf x - \mathbf b\cdot\mathbf h - \mathbf x^\mathsf{T} \mathbf W \mathbf h .
# \end{aligned}
# $$ (eq-rbm-energy)
#
# The joint distribution is $p(\mathbf x, \mathbf h) = e^{-E(\mathbf x, \mathbf h)}/Z$.
#
# **The marginal.** For fixed $\mathbf x$ the energy is *linear* in $\mathbf h$. So the Boltzmann factor is a product over $j$,
# and the sum over $2^{n_h}$ states is a product of $n_h$ sums of two terms each:
#
# $$
# \sum_{\mathbf h} e^{-E(\mathbf x, \mathbf h)}
# = e^{\mathbf a\cdot\mathbf x} \prod_j \sum_{h_j = 0, 1} e^{h_j (b_j + \sum_i x_i w_{ij})}
# = e^{\mathbf a\cdot\mathbf x} \prod_j \left(1 + e^{b_j + (\mathbf x^\mathsf{T} \mathbf W)_j}\right).
# $$ (eq-rbm-marginal)
#
# Minus its logarithm is the *free energy* $F$ of the machine with its visible units clamped, which plays the role of an energy for
# them alone. With the *softplus* function $\varsigma(u) = \log(1 + e^u)$,
#
# $$
# F(\mathbf x) = -\mathbf a\cdot\mathbf x - \sum_j \varsigma\!\left(b_j + (\mathbf x^\mathsf{T} \mathbf W)_j\right),
# \qquad p(\mathbf x) = \frac{e^{-F(\mathbf x)}}{Z}.
# $$ (eq-rbm-free-energy)
#
# Here are the triplets: the softplus of a sum is no quadratic function of $\mathbf x$. (With three equal weights $w$ the
# coefficient of $x_1x_2x_3$ in $-F$ is $\varsigma(b + 3w) - 3\varsigma(b + 2w) + 3\varsigma(b + w) - \varsigma(b)$.)
#
# **The conditionals.** Divide the joint by the marginal: with $u_j = b_j + (\mathbf x^\mathsf{T} \mathbf W)_j$, the product
# $p(\mathbf h\mid\mathbf x) = \prod_j e^{h_j u_j}/(1 + e^{u_j})$ is left. Exchange $\mathbf x \leftrightarrow \mathbf h$,
# $\mathbf a \leftrightarrow \mathbf b$, $\mathbf W \leftrightarrow \mathbf W^\mathsf{T}$ for the visible units. With the sigmoid
# $\sigma(u) = 1/(1 + e^{-u}) = \varsigma'(u)$,
#
# $$
# p(h_j = 1 \mid \mathbf x) = \sigma\!\left(b_j + (\mathbf x^\mathsf{T} \mathbf W)_j\right), \qquad
# p(x_i = 1 \mid \mathbf h) = \sigma\!\left(a_i + (\mathbf W \mathbf h)_i\right).
# $$ (eq-rbm-conditionals)
#
# **The partition function** needs a sum over only one of the layers, and one takes the smaller. Written for the hidden one,
#
# $$
# Z = \sum_{\mathbf x} e^{-F(\mathbf x)}
# = \sum_{\mathbf h} e^{\mathbf b\cdot\mathbf h} \prod_i \left(1 + e^{a_i + (\mathbf W\mathbf h)_i}\right).
# $$ (eq-rbm-log-z)
#
# A machine with 784 visible and 20 hidden units is summed exactly in seconds; at 784 and 500 no computer will ever do it.
# In code the equations keep their shape. Only the softplus does not: typed as `log(1 + exp(u))` it would be infinite from
# $u \approx 710$.

# %%
show_source(
    softplus,
    RBM._free_energy,
    RBM.hidden_probability,
    RBM.visible_probability,
    RBM.log_partition,
)

# %% [markdown]
# Now brute force: a table of $e^{-E}$ for all $2^{5+4}$ joint states of a machine with random parameters, straight from
# {eq}`eq-rbm-energy`, and marginals and conditionals from it.

# %%
rng = np.random.default_rng(seed)
W = rng.standard_normal((5, 4))
a, b = rng.standard_normal(5), rng.standard_normal(4)
rbm = RBM(W, a, b)

x, h = all_states(5), all_states(4)
minus_energy = (
    (x @ a)[:, None] + (h @ b)[None, :] + np.einsum("ki,ij,lj->kl", x, W, h)
)
joint = np.exp(minus_energy)  # rows: visible states, columns: hidden states
p_x = joint.sum(1) / joint.sum()
given_x = (joint @ h) / joint.sum(1)[:, None]
given_h = (joint.T @ x) / joint.sum(0)[:, None]

# %% [markdown]
# Each line shows the state that comes closest to failing.

# %%
strong = RBM([[800.0]], [0.0], [0.0])
for claim, measured, expected in [
    ("energy of the joint states", rbm.energy(x[:, None], h), -minus_energy),
    ("free energy", rbm.free_energy(x), -np.log(joint.sum(1))),
    ("free energy where exp(u) overflows", strong.free_energy([[1]]), -800),
    ("probability of hidden units", rbm.hidden_probability(x), given_x),
    ("probability of visible units", rbm.visible_probability(h), given_h),
    ("log partition function", rbm.log_partition(), np.log(joint.sum())),
    ("log probability", rbm.log_probability(x), np.log(p_x)),
]:
    source = "sum over all joint states"
    verify(claim, measured, equals=expected, atol=1e-12, source=source)

# %% [markdown]
# ## Maximum likelihood is a free-energy balance
#
# Let $q(\mathbf x)$ be the distribution of the data, the fraction of the $N$ samples that equal $\mathbf x$. The mean
# log-likelihood of the machine is
#
# $$
# \mathcal L(\Theta) = \frac1N \sum_{n=1}^{N} \log p(\mathbf x^{(n)}; \Theta) = -\langle F \rangle_\text{data} - \log Z .
# $$ (eq-rbm-likelihood)
#
# The Kullback–Leibler divergence from data to model contains the same average, because
# $\sum_\mathbf{x} q \log p = \mathcal L$. With the entropy $H(q) = -\sum q \log q$,
#
# $$
# \begin{aligned}
# \operatorname{KL}(q\,\Vert\,p) &= \sum_{\mathbf x} q(\mathbf x) \log\frac{q(\mathbf x)}{p(\mathbf x)} = -H(q) - \mathcal L \\
# &= -H(q) + \langle F \rangle_\text{data} + \log Z \;\ge\; 0 .
# \end{aligned}
# $$ (eq-rbm-kl)
#
# To a physicist $\langle F\rangle_\text{data} - H(q)$ is $U - TS$ at $T = 1$. Its lowest value over all $q$ is $-\log Z$, taken at the
# Boltzmann distribution; the divergence is the excess, and its sign is the Gibbs–Bogoliubov inequality. Since $H(q)$ is a
# property of the data, the largest likelihood means the smallest divergence, and the
# best possible $\mathcal L$ is $-H(q)$. Two points to watch:
#
# - The average is over the *free* energy $F(\mathbf x)$. The energy $E(\mathbf x, \mathbf h)$ needs a hidden state that no data set has.
# - $\log Z$ depends on all parameters. Dropping it as a constant leaves a quantity without a minimum: just lower $F$ everywhere.
#
# We check the balance on a random target on all 32 states.

# %%
q = rng.dirichlet(np.ones(len(x)))
entropy = -(q * np.log(q)).sum()
verify(
    "KL = -H(data) + mean free energy + log Z",
    -entropy + q @ rbm.free_energy(x) + rbm.log_partition(),
    equals=kl_divergence(q, p_x),
    atol=1e-12,
    source="definition of the divergence, with p(x) by enumeration",
)

# %% [markdown]
# ## The gradient: data average minus model average
#
# Differentiate {eq}`eq-rbm-likelihood` with respect to any parameter $\theta$. The second term gives an average over the model,
#
# $$
# \frac{\partial \log Z}{\partial\theta} = \frac1Z \sum_{\mathbf x} e^{-F(\mathbf x)} \left(-\frac{\partial F}{\partial\theta}\right)
# = -\left\langle \frac{\partial F}{\partial\theta} \right\rangle_\text{model},
# $$ (eq-rbm-log-z-gradient)
#
# and the free energy {eq}`eq-rbm-free-energy` gives $-\partial F/\partial w_{ij} = x_i\, p(h_j = 1 \mid \mathbf x)$,
# $-\partial F/\partial a_i = x_i$ and $-\partial F/\partial b_j = p(h_j = 1\mid\mathbf x)$. Together:
#
# $$
# \begin{aligned}
# \frac{\partial\mathcal L}{\partial w_{ij}} &= \langle x_i h_j \rangle_\text{data} - \langle x_i h_j \rangle_\text{model}, \\
# \frac{\partial\mathcal L}{\partial a_i} &= \langle x_i \rangle_\text{data} - \langle x_i \rangle_\text{model}, \\
# \frac{\partial\mathcal L}{\partial b_j} &= \langle h_j \rangle_\text{data} - \langle h_j \rangle_\text{model} .
# \end{aligned}
# $$ (eq-rbm-gradient)
#
# Here $\langle x_i h_j\rangle_\text{data}$ means $\langle x_i\, p(h_j = 1\mid\mathbf x)\rangle$ over the data. The first average is the
# *positive phase*: it digs wells where data are. The second is the *negative phase*: it fills them where the model already has weight.
# Learning stops when machine and data agree in all these correlations, at a maximum or a saddle. Follow this gradient *uphill*;
# code that minimises $-\mathcal L$ has both signs reversed.
#
# Both phases are one function, applied to two distributions over visible states. (`model_averages`, not shown, applies it to all
# states of the smaller layer, block by block with Boltzmann weights, and divides by their sum.)

# %%
show_source(phase, log_likelihood_gradient)

# %% [markdown]
# We compare with automatic differentiation through the log-sum-exp of {eq}`eq-rbm-energy` over *all* joint states, which
# knows nothing of free energies and phases.


# %%
def flat(parts):
    """All parameters, or all slopes, as one vector: W, a, b."""
    return np.concatenate([np.ravel(part) for part in parts])


def torch_minus_energy(states):  # shape (states, hidden states)
    w, visible_bias, hidden_bias = theta
    field = (states @ visible_bias)[:, None] + H @ hidden_bias
    return field + states @ w @ H.T


data_small = x[rng.integers(0, len(x), 20)]
theta = [torch.tensor(part, requires_grad=True) for part in (W, a, b)]
X, H, D = (torch.tensor(states) for states in (x, h, data_small))
log_z = torch.logsumexp(torch_minus_energy(X).ravel(), 0)
mean_log_p = torch.logsumexp(torch_minus_energy(D), 1).mean() - log_z
verify(
    "gradient of the likelihood equals automatic differentiation",
    flat(log_likelihood_gradient(rbm, data_small)),
    equals=flat(torch.autograd.grad(mean_log_p, theta)),
    atol=1e-12,
    source="torch.autograd in float64, through the full enumeration",
)

# %% [markdown]
# ## Learn bars and stripes exactly
#
# The 4 × 4 *bars and stripes* {cite}`mackay2003` are the pictures in which every column, or every row, has one colour:
# $2\cdot 2^4 - 2 = 30$ of $2^{16} = 65\,536$. No pixel and no pair of pixels rules a picture out, since two pixels differ in
# their row or in their column. Some triples do, such as a pixel that differs from both its right and its lower neighbour. Pair
# couplings, all together, can still enforce the rule ({ref}`ex-rbm-pair-model`); the restricted machine has none within the
# layer, so its hidden units must mediate. Our data hold each pattern once, so $H(q) = \ln 30$, and no model can reach
# more than $-\ln 30 = -3.4012$ nats. (MacKay draws a direction first, and his two uniform pictures come twice as often.)
#
# With 16 visible units the gradient {eq}`eq-rbm-gradient` can be summed over all states in a few hundredths of a
# second. So we watch learning itself, without sampling noise. We go uphill with momentum,
# $v \leftarrow 0.9\,v + 0.3\,\nabla\mathcal L$. Small random weights break the symmetry between
# hidden units, which would otherwise all learn the same.


# %%
def empirical(data):
    """q(x) for all states x: the fraction of the data that equal x."""
    states = all_states(data.shape[1])
    return (data[:, None] == states).all(-1).mean(0)


def unpack(theta, n_visible, n_hidden):
    n = n_visible * n_hidden
    weights, visible_bias, hidden_bias = np.split(theta, [n, n + n_visible])
    weights = weights.reshape(n_visible, n_hidden)
    return RBM(weights, visible_bias, hidden_bias)


def ascend(slope, n_visible, n_hidden, n_steps):
    """Yield the machines on the way along `slope`, with momentum."""
    rng = np.random.default_rng(seed)
    n = n_visible * n_hidden
    biases = np.zeros(n_visible + n_hidden)
    theta = np.append(0.1 * rng.standard_normal(n), biases)
    velocity = np.zeros_like(theta)
    for _ in range(n_steps):
        machine = unpack(theta, n_visible, n_hidden)
        yield machine
        velocity = 0.9 * velocity + 0.3 * slope(machine)
        theta = theta + velocity


# %% [markdown]
# An exact gradient then deserves an optimiser that uses its precision: L-BFGS estimates the curvature from successive gradients.

# %%
data = bars_and_stripes(4).train.reshape(30, 16)


def slope(machine):
    return flat(log_likelihood_gradient(machine, data))


def kl_and_slope(theta):
    machine = unpack(theta, 16, n_hidden)
    return -np.log(30) - machine.log_likelihood(data), -slope(machine)


def record(intermediate_result):
    curve.append(intermediate_result.fun)
    if intermediate_result.fun < 0.008:
        raise StopIteration  # tells SciPy to stop


curve = []
for machine in progress(ascend(slope, 16, n_hidden, n_ascent), "momentum"):
    curve.append(-np.log(30) - machine.log_likelihood(data))
start = flat([machine.weights, machine.visible_bias, machine.hidden_bias])
solver = {"method": "L-BFGS-B", "options": {"maxiter": 300, "maxcor": 20}}
result = minimize(kl_and_slope, start, jac=True, callback=record, **solver)
learned = unpack(result.x, 16, n_hidden)

# %% [markdown]
# The curve starts close to the uniform machine, which has all parameters zero and $\mathrm{KL} = \ln(65536/30) = 7.69$.

# %% mystnb={"image": {"alt": "KL divergence on a logarithmic axis against step or iteration. It starts near 7.8, bends down after about 20 momentum steps, falls smoothly to below 1 within 100, and drops below 0.01 in some fifty L-BFGS iterations."}, "figure": {"caption": "Learning bars and stripes with the exact gradient.", "name": "fig-bars-learning"}}
fig, ax = plt.subplots()
steps = np.arange(len(curve))
ax.semilogy(steps[:n_ascent], curve[:n_ascent], label="momentum")
ax.semilogy(steps[n_ascent - 1 :], curve[n_ascent - 1 :], label="L-BFGS")
ax.axhline(np.log(2**16 / 30), color="0.6", ls=":", label="uniform machine")
ax.axhline(0.01, color="0.3", ls="--", label="goal, 0.01 nat")
ax.set(xlabel="step or iteration", ylabel="KL(data‖model) in nats")
ax.legend()
plt.show()

# %% [markdown]
# The start is slow, because it lies near a *saddle*: at zero weights and biases the gradient vanishes, since every pixel is on in
# half of the data ({ref}`ex-rbm-saddle`).
#
# We verify the result without the balance {eq}`eq-rbm-kl`: the divergence from its definition, and $\log Z$ by both sums in
# {eq}`eq-rbm-log-z`. How often does the machine draw a picture that is none of the 30? Let $p_\text{valid}$ be the probability that
# it is one. The mean of a logarithm is at most the logarithm of the mean, so
# $-\ln 30 - \mathrm{KL} = \mathcal L \le \log\left(\tfrac1{30}\sum_{n} p(\mathbf x^{(n)})\right) = \log (p_\text{valid}/30)$, and
# hence $p_\text{valid} \ge e^{-\mathrm{KL}}$: less than one draw in a hundred fails.

# %%
q_all = empirical(data)
p_all = np.exp(learned.log_probability(all_states(16)))
kl = kl_divergence(q_all, p_all)
minus_f = -learned.free_energy(all_states(16))
minus_f_hidden = -learned.swapped().free_energy(all_states(n_hidden))
verify(
    "log Z from the visible and from the hidden layer",
    [np.logaddexp.reduce(minus_f), np.logaddexp.reduce(minus_f_hidden)],
    equals=learned.log_partition(),
    rtol=1e-12,
    source="the two sums, written out",
)
verify(
    "KL after learning, in nats",
    kl,
    at_least=0,
    at_most=0.01,
    source="definition of the divergence, all 65536 pictures",
)
verify(
    "probability of a valid picture",
    p_all[q_all > 0].sum(),
    at_least=np.exp(-kl),
    at_most=1,
    source="Jensen's inequality, derived above",
)

# %% [markdown]
# We look at the weights, one image for each hidden unit, and at 30 independent samples.

# %% mystnb={"image": {"alt": "Three image grids: the 30 bars-and-stripes patterns, the weights of the 16 hidden units in red and blue, made of whole rows and columns, and 30 samples, all or nearly all of which are valid patterns."}, "figure": {"caption": "The data (black is 1), what the hidden units look for (red positive, blue negative), and exact samples of the learned machine.", "name": "fig-bars-machine"}}
samples = learned.sample_exactly(30, seed=seed)
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.6))
image_grid(data.reshape(-1, 4, 4), 6, ax=axes[0], title="data")
filters = learned.weights.T.reshape(-1, 4, 4)
largest = np.quantile(abs(filters), 0.98)
style = {"limits": (-largest, largest), "cmap": "RdBu_r"}
image_grid(filters, 4, ax=axes[1], title="weights", **style)
image_grid(samples.reshape(-1, 4, 4), 6, ax=axes[2], title="samples")
plt.show()

# %% [markdown]
# Rows and columns show through. Fit the weights of each unit, drawn as an image (its *filter*), by a sum of a row profile and a column profile: a random filter would have
# $6/15 = 0.40$ of its variance explained, as these profiles have 6 of the 15 degrees of freedom. Nobody told the machine which
# pixels share a row or a column.

# %%
centred = filters - filters.mean((1, 2), keepdims=True)
lines = centred.mean(1, keepdims=True) + centred.mean(2, keepdims=True)
verify(
    "share of a filter's variance explained by rows and columns",
    (lines**2).sum((1, 2)) / (centred**2).sum((1, 2)),
    at_least=0.75,
    source="a random filter passes with probability 0.022 (beta law)",
)

# %% [markdown]
# ## Contrastive divergence is a truncated chain
#
# For larger machines the negative phase must be sampled. A Gibbs sweep updates a whole layer at once: draw $\mathbf h$ given
# $\mathbf x$, then $\mathbf x'$ given $\mathbf h$, by {eq}`eq-rbm-conditionals`. Its transition matrix on visible states is
#
# $$
# P(\mathbf x \to \mathbf x') = \sum_{\mathbf h} p(\mathbf h\mid\mathbf x)\, p(\mathbf x'\mid\mathbf h).
# $$ (eq-rbm-transition)
#
# *Contrastive divergence*, CD-$k$ {cite}`hinton2002`, starts the chains at the data and stops them after $k$ sweeps,
# long before equilibrium. The states then have the distribution $qP^k$, row vector times matrix:
#
# $$
# \Delta w_{ij} \propto \langle x_i h_j \rangle_{q} - \langle x_i h_j \rangle_{q P^k},
# \qquad\text{in place of}\qquad \langle x_i h_j \rangle_{q} - \langle x_i h_j \rangle_{p}.
# $$ (eq-rbm-cd)
#
# How large is the error of the expected update, the *bias* of CD? As for {eq}`eq-spectral-gap`, we make the chain symmetric with
# $D = \operatorname{diag} p(\mathbf x)$:
#
# $$
# \begin{aligned}
# \left(D^{1/2} P D^{-1/2}\right)_{\mathbf x\mathbf x'} &= \sum_{\mathbf h}
# \frac{p(\mathbf x,\mathbf h)\, p(\mathbf x',\mathbf h)}{p(\mathbf h)\sqrt{p(\mathbf x)\, p(\mathbf x')}}
# = (B B^\mathsf{T})_{\mathbf x\mathbf x'}, \\
# B_{\mathbf x\mathbf h} &= \frac{p(\mathbf x,\mathbf h)}{\sqrt{p(\mathbf x)\,p(\mathbf h)}} .
# \end{aligned}
# $$ (eq-rbm-cd-symmetric)
#
# This is positive semidefinite: the eigenvalues are real, $1 = \lambda_1 > \lambda_2 \ge \dots \ge 0$, the squares of the singular
# values of $B$. The first belongs to $\sqrt p$, and $\lambda_2 < 1$ because all entries of $P$ are positive (Perron–Frobenius).
# Let $g(\mathbf x)$ be one of the functions $-\partial F/\partial\theta$ that the gradient averages, say
# $x_i\,p(h_j = 1\mid\mathbf x)$. Since $pP^k = p$ and $P^k = D^{-1/2} (BB^\mathsf{T})^k D^{1/2}$, the bias is
#
# $$
# \begin{aligned}
# \langle g\rangle_{qP^k} - \langle g\rangle_p &= (q - p)\, P^k g = r \cdot (B B^\mathsf{T})^k\, \gamma, \\
# r &= (q - p)/\sqrt p, \qquad \gamma = \sqrt p\,\bigl(g - \langle g\rangle_p\bigr),
# \end{aligned}
# $$ (eq-rbm-cd-bias)
#
# where subtracting $\langle g\rangle_p$ changes nothing, because $q - p$ sums to zero. Both $r$ and $\gamma$ are orthogonal to
# $\sqrt p$, and there $BB^\mathsf{T}$ multiplies every length by at most $\lambda_2$. Cauchy and Schwarz do the rest:
#
# $$
# \begin{aligned}
# \left|\langle g\rangle_{qP^k} - \langle g\rangle_p\right| &\le \lambda_2^k\; \chi\; \mathrm{sd}_p(g), \\
# \chi^2 &= |r|^2 = \sum_{\mathbf x} \frac{(q - p)^2}{p} .
# \end{aligned}
# $$ (eq-rbm-cd-bound)
#
# Two factors compete, the chain's $\lambda_2$ and the distance $\chi$; at $q = p$ there is no bias for any $k$. At $k = 0$ the bias
# is the whole gradient, and nothing is learned. (A bound in terms of the total variation: {cite}`fischer2011`; exact results
# for machines as small as ours: {cite}`carreira2005`.)
#
# In code, $qP^k$ needs no matrix $P$. With the table $e^{-E}$ at hand, a sweep is two products, from $q$ to the distribution of
# $\mathbf h$, and on to that of $\mathbf x'$.


# %%
def joint_weights(machine):
    """e^{-E}; rows are visible and columns hidden states."""
    x, h = all_states(machine.n_visible), all_states(machine.n_hidden)
    field = machine.hidden_bias + x @ machine.weights
    return np.exp((x @ machine.visible_bias)[:, None] + field @ h.T)


def sweeps(machine, q, n):
    """The distributions q, qP, …, qP^n."""
    joint = joint_weights(machine)
    reached = [q]
    for _ in range(n):
        hidden = (reached[-1] / joint.sum(1)) @ joint
        reached.append(joint @ (hidden / joint.sum(0)))
    return np.array(reached)


def eigenvalues(machine):
    """Eigenvalues of P: the squared singular values of B."""
    joint = joint_weights(machine)
    B = joint / np.sqrt(np.outer(joint.sum(1), joint.sum(0)))
    return np.linalg.svd(B, compute_uv=False) ** 2


# %% [markdown]
# Next, the functions $g$, one for each parameter, and the bias of their averages.


# %%
def slopes(machine):
    """The functions g: an array (states, parameters)."""
    x = all_states(machine.n_visible)
    h = machine.hidden_probability(x)
    products = x[:, :, None] * h[:, None, :]
    return np.hstack([products.reshape(len(x), -1), x, h])


def cd_bias(machine, q, n):
    """Bias of CD-k for k = 0 … n; row 0 is the exact gradient."""
    p = np.exp(machine.log_probability(all_states(machine.n_visible)))
    return (sweeps(machine, q, n) - p) @ slopes(machine)


# %% [markdown]
# We test on the random machine and target from above, for $k = 0$ to $6$ and all 29 parameters.

# %%
k = np.arange(7)
P = gibbs_transition_matrix(rbm)
lambda_2 = eigenvalues(rbm)[1]
chi = np.sqrt(((q - p_x) ** 2 / p_x).sum())
sd = np.sqrt(p_x @ (slopes(rbm) - p_x @ slopes(rbm)) ** 2)
for claim, measured, expected in [
    ("p P = p", p_x @ P, p_x),
    (
        "q P^k by two products per sweep",
        sweeps(rbm, q, 6),
        [q @ np.linalg.matrix_power(P, j) for j in k],
    ),
    (
        "second eigenvalue is a squared singular value",
        np.sort(np.linalg.eigvals(P).real)[-2],
        lambda_2,
    ),
]:
    source = "transition matrix of all 32 states"
    verify(claim, measured, equals=expected, atol=1e-10, source=source)
verify(
    "bias of CD-k relative to its bound",
    abs(cd_bias(rbm, q, 6)) / (lambda_2 ** k[:, None] * chi * sd),
    at_most=1,
    source="Cauchy-Schwarz, derived above",
)

# %% [markdown]
# In the end the slowest mode survives, unless $q$ or $g$ is orthogonal to it, and the bias falls by a factor $\lambda_2$ per
# step. To see it, take a fixed machine with four visible and three hidden units and make it stronger and stronger, with biases
# such that flipping all units leaves $E$ unchanged. The data are the patterns 1000, 1100 and 1110; nothing is
# learned yet. *Predict:* once only the slowest mode is left, how many sweeps does each machine need to make the bias ten times
# smaller?

# %%
W_0 = np.array(
    [[1, -0.5, 0.3], [-1, 0.8, 0.2], [0.6, 0.7, -1], [0.4, -1, 0.9]]
)
q_4 = empirical(np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]))


def balanced(strength):
    """E is the same with all units flipped."""
    weights = strength * W_0
    return RBM(weights, -weights.sum(1) / 2, -weights.sum(0) / 2)


curves, rates = {}, {}
for strength in (1, 2, 3):
    norm = np.linalg.norm(cd_bias(balanced(strength), q_4, 40), axis=1)
    curves[strength] = norm[norm > 1e-11]  # above the rounding error
    rates[strength] = eigenvalues(balanced(strength))[1]

# %% [markdown]
# The dashed lines, $\lambda_2^k$ through the last point, have no free slope.

# %% mystnb={"image": {"alt": "Norm of the bias of CD-k against k on a logarithmic axis for three machines. Each curve becomes a straight line parallel to its dashed line lambda-2 to the k; the stronger the weights, the flatter the line."}, "figure": {"caption": "The bias of CD-k falls geometrically, at the rate of the Gibbs chain's second eigenvalue (dashed). Strong weights make it fall slowly.", "name": "fig-cd-bias"}}
fig, ax = plt.subplots()
for strength, norm in curves.items():
    k, rate = np.arange(len(norm)), rates[strength]
    label = rf"weights × {strength}, $\lambda_2$ = {rate:.2f}"
    ax.semilogy(k, norm, "o-", ms=3, label=label)
    ax.semilogy(k, norm[-1] * rate ** (k - k[-1]), "k--", lw=1, zorder=3)
ax.lines[-1].set_label(r"$\propto \lambda_2^k$")
ax.set(xlabel="$k$", ylabel="norm of the bias of CD-$k$", ylim=(1e-11, 3))
ax.legend()
plt.show()

# %% [markdown]
# In the end it takes $\ln 10/\ln(1/\lambda_2)$: 1.5, 4.4 and 11.7 sweeps. (The first sweeps gain more, since they remove the
# fast modes.)

# %%
verify(
    "decay of the bias in the last sweep, three machines",
    [norm[-1] / norm[-2] for norm in curves.values()],
    equals=list(rates.values()),
    rtol=1e-3,
    source="squared singular value; the next mode adds less than 3e-4",
)

# %% [markdown]
# What happens while a machine learns? The first follows the exact gradient on the 3 × 3 bars and stripes, with nine hidden units.
# The second, with the same start, *follows* CD-1: it takes the expected update, so whatever goes wrong is bias and not noise.
# *Predict:* weights grow, so $\lambda_2$ grows. Does the bias? And where does the second machine end?


# %%
data_3 = bars_and_stripes(3).train.reshape(-1, 9)
q_3 = empirical(data_3)
stages = np.unique(np.geomspace(10, 1000, 20).round())


def exact_update(machine):
    return flat(log_likelihood_gradient(machine, data_3))


def cd_update(machine):
    return (q_3 - sweeps(machine, q_3, 1)[1]) @ slopes(machine)


def follow(update):
    """Lengths, cosine of CD-1 with the gradient, KL; and the end."""
    rows, path = [], ascend(update, 9, 9, 1001)
    for step, machine in enumerate(progress(path, "learning 3 x 3")):
        if step in stages:
            bias = cd_bias(machine, q_3, 10)
            gradient, cd = bias[0], bias[0] - bias[1]
            lengths = np.linalg.norm([*bias[[0, 1, 10]], cd], axis=1)
            cosine = gradient @ cd / (lengths[0] * lengths[3])
            kl = -np.log(14) - machine.log_likelihood(data_3)
            rows.append([*lengths, cosine, kl])
    return np.transpose(rows), machine


exact, exact_end = follow(exact_update)
cd, cd_end = follow(cd_update)

# %% [markdown]
# The left panel shows the exact path alone.

# %% mystnb={"image": {"alt": "Three panels against the learning step on a logarithmic axis. Left: length of the gradient and of the bias of CD-1 and CD-10 on the exact path. Both biases start far below the gradient, that of CD-10 off the scale; after some hundred steps all three nearly coincide and fall together. Middle: the KL divergence falls from 3.6 to about 0.02 on the exact path; with CD-1 it stops near 0.6 at step 200 and then rises slightly. Right: the cosine between CD-1 and the gradient falls from 1 to about 0.65 on the exact path, and to zero at step 200 for the machine that follows CD-1."}, "figure": {"caption": "Learning 3 × 3 bars and stripes. On the exact path (left) the bias of contrastive divergence becomes as large as the gradient. A machine that follows CD‑1 stops improving (middle) when its update is orthogonal to the gradient (right).", "name": "fig-cd-learning"}}
fig, axes = plt.subplots(1, 3, figsize=(8, 2.9))
labels = ("gradient", "bias of CD-1", "bias of CD-10")
styles = ("k-", "C0o-", "C1s-")
for length, label, style in zip(exact[:3], labels, styles, strict=True):
    axes[0].loglog(stages, length, style, ms=3, label=label)
axes[0].set_ylim(1e-4, 20)
labels = ("exact gradient", "expected CD-1")
for path, label, style in zip((exact, cd), labels, styles[:2], strict=True):
    axes[1].loglog(stages, path[5], style, ms=3, label=label)
    axes[2].semilogx(stages, path[4], style, ms=3)
titles = ("length, exact path", "KL in nats", "cosine of CD-1 and gradient")
for ax, title in zip(axes, titles, strict=True):
    ax.set(xlabel="step", title=title)
axes[0].legend(loc="upper right")
axes[1].legend()
plt.show()

# %% [markdown]
# On the exact path the bias grows with the weights, and later shrinks along with the divergence. But the gradient shrinks, too: at
# the end the two are about equally long, and ten sweeps do not help, for $1 - \lambda_2$ is below $10^{-3}$. The chains stay near
# the patterns they start at, and cannot see in which shares the machine holds these. But bias and gradient are not parallel, so
# CD-1 points uphill along this path (over the seeds 0 to 99 the smallest cosine was between 0.44 and 0.68, here 0.65);
# {cite:t}`bengio2009` found the signs of its components right
# most of the time.
#
# A machine that *follows* CD-1 leaves this path. It learns fast at first, but its divergence stops between half a nat and one, here at
# 0.6, and then tends to rise. Its update has all but vanished, and what is left is orthogonal to the gradient. The gradient has not
# vanished: the bias cancels it. (The bounds below are empirical, with room for other seeds; the quantities that they bound are
# exact sums over all states.) More than nine tenths of the probability are now on the 14 patterns, but in the wrong shares.
# CD-1 is good for the beginning
# of learning; in {doc}`03_rbm_pytorch` the likelihood of a larger machine falls under it.


# %%
ratio = exact[1:3] / exact[0]
p_valid = np.exp(cd_end.log_probability(data_3)).sum()
for claim, measured, low, high in [
    ("bias / gradient at first, CD-1, CD-10", ratio[:, 0], 0, 0.1),
    ("the same at the end", ratio[:, -1], 0.5, 3),
    ("second eigenvalue at the end", eigenvalues(exact_end)[1], 0.999, 1),
    ("cosine of CD-1 and gradient, exact path", exact[4], 0.3, 1 + 1e-12),
    ("KL after exact learning", exact[5, -1], 0, 0.1),
    ("smallest KL with CD-1", cd[5].min(), 0.2, 1),
    ("CD-1 update / gradient at its end", cd[3, -1] / cd[0, -1], 0, 0.05),
    ("cosine at its end", cd[4, -1], -0.2, 0.2),
    ("probability of its 14 patterns", p_valid, 0.9, 1),
]:
    source = "sums over all 512 states; empirical bounds"
    verify(claim, measured, at_least=low, at_most=high, source=source)

# %% [markdown]
# All this concerned expectations. What one runs is an estimate with one chain per datum (`_coins(p)` draws a 1 with probability
# `p`), whose average must agree with {eq}`eq-rbm-cd` within the sampling error.


# %%
show_source(contrastive_divergence, block_gibbs, docstring="none")

# %% [markdown]
# We start 10 000 chains from each of the three patterns, on the machine of strength 3. Given its start, a chain gives
# $g$ the mean $Pg$ and the variance $P g^2 - (Pg)^2$. Five standard errors tell one sweep from none or two.

# %%
machine, states = balanced(3), all_states(4)
many = np.repeat(states[q_4 > 0], 10_000, axis=0)
g, P = slopes(machine), gibbs_transition_matrix(machine)
variance = q_4 @ (P @ g**2 - (P @ g) ** 2)
bias = cd_bias(machine, q_4, 1)
verify(
    "average CD-1 update agrees with gradient minus bias",
    flat(contrastive_divergence(machine, many, 1, seed)),
    equals=bias[0] - bias[1],
    atol=5 * np.sqrt(variance / len(many)),
    source="sums over all states; 5 standard errors",
)

# %% [markdown]
# ## Break it: chains that share their random numbers
#
# In `block_gibbs` every unit of every chain draws its own uniform number. Suppose the random numbers had the shape of
# *one* state and were broadcast over the batch. No error is raised, and each single chain is still a correct Gibbs sampler.
# All chains start in the state 1000. *Predict:* what happens to the average over the batch, as the batch grows?


# %%
def shared_gibbs(machine, x, n_steps, rng):
    for _ in range(n_steps):
        p_h = machine.hidden_probability(x)
        h = (rng.random(p_h.shape[1]) < p_h).astype(float)  # the fault
        p_x = machine.visible_probability(h)
        x = (rng.random(p_x.shape[1]) < p_x).astype(float)  # and again
    return x


rng = np.random.default_rng(seed)
machine = balanced(1)
sizes, n_repeats, n_steps = np.array([1, 4, 16, 64, 256, 1024]), 400, 5
own, shared = [], []
for gibbs, spreads in ((block_gibbs, own), (shared_gibbs, shared)):
    for size in sizes:
        start = np.tile([1.0, 0, 0, 0], (size, 1))
        runs = (gibbs(machine, start, n_steps, rng) for _ in range(n_repeats))
        spreads.append(np.std([run[:, 0].mean() for run in runs]))

# %% [markdown]
# In one chain $x_1$ is a coin. Its probability is the row of $P^5$ that belongs to the start, summed over the states with
# $x_1 = 1$. Independent chains must gain a factor $1/\sqrt n$.

# %% mystnb={"image": {"alt": "Standard deviation of the batch mean against batch size, both axes logarithmic. With independent numbers it falls as one over the square root of the size; with shared numbers it stays constant at about 0.5."}, "figure": {"caption": "Standard deviation of the batch average of one unit, over 400 repetitions; all chains start equal. Chains that share their random numbers are one chain.", "name": "fig-shared-draws"}}
P = gibbs_transition_matrix(machine)
row = np.linalg.matrix_power(P, n_steps)[0b1000]  # first unit leads
p_on = row @ states[:, 0]
spread = np.sqrt(p_on * (1 - p_on))
law = spread / np.sqrt(sizes)
fig, ax = plt.subplots()
ax.loglog(sizes, law, color="0.4", label=r"exact, $\propto 1/\sqrt{n}$")
ax.loglog(sizes, own, "o", label="own random numbers")
ax.loglog(sizes, shared, "s", mfc="none", label="shared random numbers")
ax.set_xticks(sizes, labels=sizes)
ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], labels=[0.02, 0.05, 0.1, 0.2, 0.5])
ax.minorticks_off()
ax.set(xlabel="batch size $n$", ylabel="std of the batch mean of $x_1$")
ax.legend()
plt.show()

# %% [markdown]
# A standard deviation estimated from $R$ Gaussian repetitions has a relative error of $1/\sqrt{2R}$. With shared numbers the mean
# is itself a coin. Near $p = \frac12$ the estimate of $\sqrt{p(1-p)}$ is far more precise: an error of five standard errors,
# $5/(2\sqrt R)$, in $p$ lowers it only by the factor $\sqrt{1 - 25/R}$. The shared chains, which
# start equal, stay equal. Chains that start at different data soon merge, too (the second check starts one in each
# of the 16 states): the negative phase is as noisy as with a handful of chains, whatever the batch size. Training
# still works a little, and one blames the learning rate; {doc}`03_rbm_pytorch` measures what the fault costs.


# %%
verify(
    "spread of the mean of 1024 chains, with own and with shared numbers",
    [own[-1], shared[-1]],
    equals=[law[-1], spread],
    rtol=[5 / np.sqrt(2 * n_repeats), 1 - np.sqrt(1 - 25 / n_repeats)],
    source="fifth power of the transition matrix; 5 standard errors",
)
verify(
    "different states after 20 sweeps with shared random numbers",
    len(np.unique(shared_gibbs(machine, states, 20, rng), axis=0)),
    equals=1,
    source="chains that meet stay together, and 20 sweeps make them meet",
)

# %% [markdown]
# ## Gaussian visible units
#
# *You can skip this section: {doc}`03_rbm_pytorch` does not need it, {lecture}`1.6` will.* Positions and voltages are real. For
# them a linear energy has no normalisable Boltzmann factor, so each visible unit gets a harmonic well in place of the bias term
# {cite}`welling2004`. Its width is $\sigma_i$, with an index; the function $\sigma(\cdot)$ stays the sigmoid. Following
# {cite:t}`cho2011`, the coupling is measured in units of $\sigma_i^2$:
#
# $$
# E(\mathbf x, \mathbf h) = \sum_i \frac{(x_i - a_i)^2}{2\sigma_i^2} - \sum_j b_j h_j - \sum_{ij} \frac{x_i w_{ij} h_j}{\sigma_i^2}.
# $$ (eq-gaussian-rbm-energy)
#
# **The conditionals.** Call $m_i = a_i + (\mathbf W\mathbf h)_i$ and complete the square in $x_i$:
#
# $$
# \frac{(x_i - a_i)^2 - 2 x_i (\mathbf W\mathbf h)_i}{2\sigma_i^2} = \frac{(x_i - m_i)^2}{2\sigma_i^2} - \frac{m_i^2 - a_i^2}{2\sigma_i^2}.
# $$ (eq-gaussian-rbm-square)
#
# Given $\mathbf h$, the visible units are independent Gaussians whose *mean* the hidden units shift, and whose width they leave
# alone; the hidden units are again independent coins:
#
# $$
# \begin{aligned}
# p(x_i \mid \mathbf h) &= \mathcal N\!\left(a_i + \textstyle\sum_j w_{ij} h_j,\; \sigma_i^2\right), \\
# p(h_j = 1 \mid \mathbf x) &= \sigma\!\left(b_j + \textstyle\sum_i x_i w_{ij} / \sigma_i^2\right).
# \end{aligned}
# $$ (eq-gaussian-rbm-conditionals)
#
# So $w_{ij}$ carries the units of $x_i$: it is the distance by which switching on $h_j$ moves unit $i$.
#
# **Free energy and partition function** follow as before; for $Z$ the Gaussian integral over {eq}`eq-gaussian-rbm-square` leaves a
# sum over hidden states:
#
# $$
# F(\mathbf x) = \sum_i \frac{(x_i - a_i)^2}{2\sigma_i^2} - \sum_j \varsigma\!\left(b_j + \textstyle\sum_i x_i w_{ij}/\sigma_i^2\right),
# $$ (eq-gaussian-rbm-free-energy)
#
# $$
# Z = \prod_i \sqrt{2\pi\sigma_i^2}\; \sum_{\mathbf h} \exp\!\left(\mathbf b\cdot\mathbf h
# + \sum_i \frac{m_i^2 - a_i^2}{2\sigma_i^2}\right).
# $$ (eq-gaussian-rbm-log-z)
#
# **The marginal.** The terms of that sum are $p(\mathbf h)$ up to normalisation. The density is a mixture of $2^{n_h}$ Gaussians,
#
# $$
# p(\mathbf x) = \sum_{\mathbf h} p(\mathbf h)\; \mathcal N\!\left(\mathbf x;\; \mathbf a + \mathbf W\mathbf h,\;
# \operatorname{diag}\sigma_i^2\right).
# $$ (eq-gaussian-rbm-mixture)
#
# Its means are not free: they are the images of the corners of the cube $\{0,1\}^{n_h}$.
#
# **The gradient** is again $\langle g\rangle_\text{data} - \langle g\rangle_\text{model}$ with $g = -\partial F/\partial\theta$. That for
# $b_j$ stays, and
#
# $$
# -\frac{\partial F}{\partial w_{ij}} = \frac{x_i\, p(h_j = 1\mid\mathbf x)}{\sigma_i^2}, \qquad
# -\frac{\partial F}{\partial a_i} = \frac{x_i - a_i}{\sigma_i^2} .
# $$ (eq-gaussian-rbm-gradient)
#
# (Only the balance {eq}`eq-rbm-kl` has no analogue: a finite set of real points has no entropy.) In code:

# %%
show_source(
    GaussianRBM.free_energy,
    GaussianRBM.mixture,
    GaussianRBM._log_hidden_weight,
)

# %% [markdown]
# We take two visible and two hidden units. The choice $b_j = -\sum_i [(a_i + w_{ij})^2 - a_i^2]/2\sigma_i^2$ gives
# $\mathbf h = 10$ and $01$ the same weight as $00$. Where do you expect the boundary on which the first hidden unit is undecided?

# %%
W_g = np.array([[2.6, -1.35], [0.6, 2.2]])
a_g, scale = np.array([-0.6, -1.4]), np.array([0.7, 0.4])
cost = ((a_g[:, None] + W_g) ** 2 - a_g[:, None] ** 2) / scale[:, None] ** 2
gaussian = GaussianRBM(W_g, a_g, -cost.sum(0) / 2, scale)
mixture_weights, means = gaussian.mixture()

axis = np.linspace(-8, 8, 321)
grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
cell = (axis[1] - axis[0]) ** 2
on = gaussian.hidden_probability(grid)

# %% [markdown]
# The right panel has the answer.

# %% mystnb={"image": {"alt": "Left: density with four peaks at the corners of a parallelogram whose sides are the two columns of W, drawn as arrows; the peak 11 is the highest. Right: probability that the first hidden unit is on, rising from 0 to 1 across a straight line that separates the peaks 00 and 01 from 10 and 11. The line is visibly not perpendicular to the arrow of the first column."}, "figure": {"caption": "Density of a Gaussian-binary machine with two visible and two hidden units (left), and what its first hidden unit detects (right). Arrows: the columns of W. Dots: the four means. Dashed: where the unit is undecided.", "name": "fig-gaussian-rbm"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.3), sharex=True, sharey=True)
x_1, x_2 = grid.transpose(2, 0, 1)
density = np.exp(gaussian.log_probability(grid))
for ax, values in zip(axes, (density, on[..., 0]), strict=True):
    mesh = ax.pcolormesh(x_1, x_2, values, rasterized=True)
    fig.colorbar(mesh, ax=ax)
    ax.set(xlabel="$x_1$", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
for ax, column in zip(axes[[0, 0, 1]], W_g.T[[0, 1, 0]], strict=True):
    colour = "w" if ax is axes[0] else "C1"
    arrow = {"arrowstyle": "->", "color": colour, "shrinkB": 0}
    ax.annotate("", a_g + column, a_g, arrowprops=arrow)
for state, mean in zip(all_states(2).astype(int), means, strict=True):
    height = mean[1] + (0.8 if state.any() else -1.0)
    text = f"$\\mathbf{{h}}={state[0]}{state[1]}$"
    axes[0].text(mean[0], height, text, color="w", ha="center")
axes[1].contour(x_1, x_2, on[..., 0], [0.5], colors="w", linestyles="--")
axes[1].plot(*means.T, "C1o")
axes[0].set(ylabel="$x_2$", title="density")
axes[1].set_title(r"$p(h_1 = 1\mid\mathbf{x})$")
plt.show()

# %% [markdown]
# Each hidden unit is a detector with a straight edge, perpendicular to the vector $w_{ij}/\sigma_i^2$: in general to the arrow
# only if all widths are equal. The peaks are not equally high, although either unit alone is free: both together are
# favoured by the overlap $\sum_i w_{i1} w_{i2}/\sigma_i^2$, the cross term of $m_i^2$ in {eq}`eq-gaussian-rbm-log-z`. The visible
# units mediate an interaction between the hidden ones.
#
# The integrals in the checks are plain sums over the grid: for smooth functions that die out at its edges they converge faster
# than any power of the spacing.

# %%
h = all_states(2)
boltzmann = np.exp(-gaussian.energy(grid[:, :, None], h))  # (321, 321, 4)
z_h, z_x = boltzmann.sum((0, 1)) * cell, boltzmann.sum(-1)
distance = (grid[:, :, None] - means) / scale
normal = np.exp(-(distance**2).sum(-1) / 2) / (2 * np.pi * scale.prod())
grid_sum = {"atol": 1e-12, "source": "sum of exp(-E) over x and h"}
for claim, measured, expected in [
    ("density of x given h", normal, boltzmann / z_h),
    ("probability of h given x", on, boltzmann @ h / z_x[..., None]),
    ("free energy", gaussian.free_energy(grid), -np.log(z_x)),
    ("log Z", gaussian.log_partition(), np.log(z_h.sum())),
    ("weights of the mixture", mixture_weights, z_h / z_h.sum()),
    ("density, as a mixture", normal @ mixture_weights, density),
    ("overlap", np.log(z_h[3] / z_h[0]), (W_g.prod(1) / scale**2).sum()),
]:
    verify(f"Gaussian units: {claim}", measured, equals=expected, **grid_sum)

# %% [markdown]
# The slopes of $-F$ meet central differences with $\epsilon = 10^{-5}$, whose errors, of order $\epsilon^2$ and
# $10^{-14}/\epsilon$, stay below $10^{-6}$.

# %%
points = rng.standard_normal((20, 2))
theta = flat([W_g, a_g, gaussian.hidden_bias])


def minus_free_energy(theta):
    w, visible_bias, hidden_bias = np.split(theta, [4, 6])
    machine = GaussianRBM(w.reshape(2, 2), visible_bias, hidden_bias, scale)
    return -machine.free_energy(points)


p_h = gaussian.hidden_probability(points)
to_w = points[:, :, None] * p_h[:, None] / scale[:, None] ** 2
verify(
    "slopes of the Gaussian machine's -F equal finite differences",
    np.hstack([to_w.reshape(20, 4), (points - a_g) / scale**2, p_h]).T,
    equals=[
        (minus_free_energy(theta + e) - minus_free_energy(theta - e)) / 2e-5
        for e in 1e-5 * np.eye(8)
    ],
    atol=1e-6,
    source="central differences of the free energy",
)

# %% [markdown]
# ## Exercises
#
# ::::{exercise} The saddle at the start
# :label: ex-rbm-saddle
# Take zero biases and small weights that sum to zero over the hidden units, and data with every pixel on half of the time. Show
# that to first order {eq}`eq-rbm-gradient` is
#
# $$
# \frac{\partial\mathcal L}{\partial \mathbf W} = \tfrac14 \left(\mathbf C - \tfrac14 \mathbf I\right) \mathbf W,
# $$ (eq-rbm-saddle)
#
# with $\mathbf C$ the covariance of the pixels. What do hidden units discover first in the 4 × 4 bars and stripes?
# *Hint:* $p(h_j = 1\mid\mathbf x) \approx \frac12 + \frac14(\mathbf x^\mathsf{T}\mathbf W)_j$, and this machine stays uniform.
# ::::
#
# ::::{solution-start} ex-rbm-saddle
# :class: dropdown
# ::::
#
# The terms $\frac12\langle x_i\rangle$ of data and model cancel, and $\langle x_i x_k\rangle$ is $\frac14 + C_{ik}$ in the
# data and $\frac14 + \frac14\delta_{ik}$ in the uniform machine. The eigenvalues of $\mathbf C$ are 24/30 for the common brightness,
# 16/30 for three contrasts between rows and three between columns, and 0 for nine others. Along the first seven,
# weights grow exponentially, brightness fastest; along the others they decay.


# %% tags=["solution"]
C = np.cov(data.T, bias=True)
verify(
    "eigenvalues of C - I/4",
    np.linalg.eigvalsh(C - np.eye(16) / 4),
    equals=np.array(9 * [-1 / 4] + 6 * [17 / 60] + [11 / 20]),
    atol=1e-12,
    source="30 C = 16 C_rows + 16 C_columns - 2 C_uniform",
)
direction = rng.standard_normal((16, n_hidden))
direction -= direction.mean(1, keepdims=True)
near_saddle = RBM(1e-6 * direction, np.zeros(16), np.zeros(n_hidden))
verify(
    "gradient near the saddle, per size of the weights",
    1e6 * log_likelihood_gradient(near_saddle, data).weights,
    equals=(C - np.eye(16) / 4) @ direction / 4,
    atol=1e-5,
    source="first order; ten times the size of the next, 1e-6",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} A pair model of bars and stripes
# :label: ex-rbm-pair-model
# Let pixels be spins $\pm1$, and give each 2 × 2 plaquette with rows $(s_1, s_2)$ and $(s_3, s_4)$ the energy
# $-(s_1 s_2 + s_3 s_4 + s_1 s_3 + s_2 s_4) + (s_1 s_4 + s_2 s_3)$: a ferromagnet between neighbours, and an equally strong
# antiferromagnet on the diagonals. Which 4 × 4 pictures minimise the sum over the nine plaquettes, and how large is the
# gap? Can a Boltzmann machine *without* hidden units learn bars and stripes {cite}`mackay2003`?
# ::::
#
# ::::{solution-start} ex-rbm-pair-model
# :class: dropdown
# ::::
#
# The six plaquettes with two equal rows or two equal columns have energy $-2$, one deviating spin makes it 0, a checkerboard 6.
# If all nine are in their minimum, a colour step between two columns continues through all rows, one between two rows through
# all columns, and they exclude each other where they would cross: the ground states are the 30 bars and stripes.
# A deviating corner touches one plaquette, so the gap is 2. Hence $p \propto e^{-\beta E}$, without hidden units, has the 30 in equal
# shares, and its divergence vanishes for $\beta\to\infty$.


# %% tags=["solution"]
spins = 2 * all_states(16).reshape(-1, 4, 4) - 1
s1, s2 = spins[:, :-1, :-1], spins[:, :-1, 1:]
s3, s4 = spins[:, 1:, :-1], spins[:, 1:, 1:]
plaquettes = s1 * s4 + s2 * s3 - s1 * s2 - s3 * s4 - s1 * s3 - s2 * s4
pair_energy = plaquettes.sum((1, 2))
levels = np.unique(pair_energy)
ground_states = np.flatnonzero(pair_energy == levels[0])
verify(
    "ground states that are no data, or data that are no ground states",
    len(np.setxor1d(ground_states, np.flatnonzero(q_all))),
    equals=0,
    source="list of the 30 bars and stripes",
)
verify(
    "ground state energy and gap",
    [levels[0], levels[1] - levels[0]],
    equals=[-18, 2],
    atol=1e-12,
    source="nine plaquettes at -2; a corner raises one of them to 0",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Store patterns by hand
# :label: ex-rbm-store
# Let $q$ be uniform on $M$ patterns $\mathbf v$. Give each a hidden unit with weights $w_i = \kappa\,(2v_i - 1)$ and bias
# $b = \delta - \kappa\sum_i v_i$, and set $\mathbf a = 0$. Show that the unit's input is $\delta - \kappa\,d(\mathbf x, \mathbf v)$, with
# $d$ the number of pixels in which $\mathbf x$ and $\mathbf v$ differ. What is the divergence from $q$ for $\kappa \to \infty$ at fixed
# $\delta$, and what does this say about the power of restricted machines {cite}`leroux2008`?
# ::::
#
# ::::{solution-start} ex-rbm-store
# :class: dropdown
# ::::
#
# A pixel that is on in both contributes $\kappa$, off in both 0, and one that differs costs $\kappa$ against that. So
# $\sum_i x_i w_i = \kappa\sum_i v_i - \kappa\,d$. For $\kappa\to\infty$ units with $d \ge 1$ contribute nothing: a stored pattern has
# the weight $1 + e^\delta$, any other picture has 1, and
#
# $$
# \operatorname{KL} = \log\!\left(1 + \frac{2^{n} - M}{M\,(1 + e^{\delta})}\right) \longrightarrow 0 \quad\text{for } \delta\to\infty .
# $$ (eq-rbm-store)

# %% tags=["solution"]
sharpness = 60.0
for depth in (5.0, 10.0, 13.0):
    weights = sharpness * (2 * data.T - 1)
    stored = RBM(weights, np.zeros(16), depth - sharpness * data.sum(1))
    verify(
        f"divergence of 30 stored patterns with depth {depth:.0f}",
        -np.log(30) - stored.log_likelihood(data),
        equals=np.log1p((2**16 - 30) / (30 * (1 + np.exp(depth)))),
        atol=1e-10,
        source="closed form, derived above",
    )

# %% [markdown]
# One hidden unit per pattern approximates any distribution, if the depths are chosen one by one; no machine reaches a zero
# of $q$. It is a look-up table, though: at depth 13 its divergence is 0.005 with 30 hidden units, and the learned machine came
# below 0.01 with 16, because it found rows and columns.
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Without couplings inside the layers a Boltzmann machine has closed conditionals and a closed free energy, for binary and for
# Gaussian units, and only $\log Z$ remains hard. Maximum likelihood minimises $-H + \langle F\rangle_\text{data} + \log Z$, and its
# gradient compares correlations in the data with correlations in the model. Contrastive divergence replaces the model's by those of
# a chain that starts at the data; its bias falls as $\lambda_2^k$, slowly for a machine with strong weights, and a machine that
# follows it stops short of the maximum of the likelihood.
#
# **Next:** {doc}`03_rbm_pytorch` trains machines that are too large to sum, and asks how one knows that they learned anything.
