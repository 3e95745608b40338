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
# **You will** derive every formula of the restricted Boltzmann machine, for binary and for Gaussian visible units, and hold each
# against a sum over all states; show that maximum likelihood minimises a free-energy balance; learn a distribution exactly; and
# measure how wrong contrastive divergence is, and why.
# **You need** the Boltzmann distribution, Gibbs sampling and the eigenvalues of a transition matrix
# ({doc}`01_statistical_mechanics_and_markov_chains`). **Time** over an hour
# to read, half a minute of CPU.
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
# A *Boltzmann machine* {cite}`ackley1985` is a set of units $s_i \in \{0, 1\}$ with symmetric couplings between all of them,
#
# $$
# E(\mathbf s) = -\sum_i c_i s_i - \sum_{i<j} s_i J_{ij} s_j, \qquad p(\mathbf s) = \frac{e^{-E(\mathbf s)}}{Z}.
# $$ (eq-boltzmann-machine)
#
# To a physicist it is a spin glass whose couplings are free parameters, with the temperature absorbed in them. Some of the units
# are *visible*, $\mathbf x$: they are
# compared with data. The others are *hidden*, $\mathbf h$: they are there to mediate interactions. Sum out one hidden unit that
# couples to three visible ones, and these three interact directly, in general with pair *and* triplet terms.
#
# There is a price. Given the data, the hidden units still interact with each other, so even $p(\mathbf h \mid \mathbf x)$ has
# an unknown normalisation, and units must be updated one at a time. The *restricted* Boltzmann machine
# {cite}`smolensky1986` drops all couplings within a layer. The next figure shows what remains.

# %% mystnb={"image": {"alt": "Two graphs with four visible and three hidden units. On the left every pair of units is joined by a line; on the right only visible-hidden pairs are."}, "figure": {"caption": "A Boltzmann machine couples all pairs. The restricted machine keeps only the couplings between the layers.", "name": "fig-rbm-graphs"}}
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
# Dropping the orange lines costs no expressive power: with enough hidden units the restricted machine still approximates any
# distribution over $\mathbf x$ to any accuracy ({ref}`ex-rbm-store`). What is gained is that each layer, given the other, falls
# apart into independent units.

# %% [markdown]
# ## Binary visible, binary hidden
#
# Mind the signs, which differ between books. Here $\mathbf a$ are the visible biases, $\mathbf b$ the hidden ones, and a *positive*
# weight lowers the energy when both of its units are on:
#
# $$
# \begin{aligned}
# E(\mathbf x, \mathbf h) &= -\sum_i a_i x_i - \sum_j b_j h_j - \sum_{ij} x_i w_{ij} h_j \\
# &= -\mathbf a\cdot\mathbf x - \mathbf b\cdot\mathbf h - \mathbf x^\mathsf{T} W \mathbf h .
# \end{aligned}
# $$ (eq-rbm-energy)
#
# **The joint distribution** is $p(\mathbf x, \mathbf h) = e^{-E(\mathbf x, \mathbf h)}/Z$, with $Z$ the sum over all
# $2^{n_x + n_h}$ states.
#
# **The marginal.** For fixed $\mathbf x$ the energy is *linear* in $\mathbf h$. So the Boltzmann factor is a product over $j$,
# and the sum over $2^{n_h}$ states is a product of $n_h$ sums of two terms each:
#
# $$
# \sum_{\mathbf h} e^{-E(\mathbf x, \mathbf h)}
# = e^{\mathbf a\cdot\mathbf x} \prod_j \sum_{h_j = 0, 1} e^{h_j (b_j + \sum_i x_i w_{ij})}
# = e^{\mathbf a\cdot\mathbf x} \prod_j \left(1 + e^{b_j + (\mathbf x^\mathsf{T} W)_j}\right).
# $$ (eq-rbm-marginal)
#
# Minus its logarithm is the *free energy* $F$ of the machine with its visible units clamped, which plays the role of an energy for
# them alone. With the *softplus* function $\varsigma(u) = \log(1 + e^u)$,
#
# $$
# F(\mathbf x) = -\mathbf a\cdot\mathbf x - \sum_j \varsigma\!\left(b_j + (\mathbf x^\mathsf{T} W)_j\right),
# \qquad p(\mathbf x) = \frac{e^{-F(\mathbf x)}}{Z}.
# $$ (eq-rbm-free-energy)
#
# The softplus of a sum is no quadratic function of $\mathbf x$: there are the triplets.
#
# **The conditionals.** Divide the joint by the marginal: with $u_j = b_j + (\mathbf x^\mathsf{T} W)_j$, the product
# $p(\mathbf h\mid\mathbf x) = \prod_j e^{h_j u_j}/(1 + e^{u_j})$ is left. Exchange $\mathbf x \leftrightarrow \mathbf h$,
# $\mathbf a \leftrightarrow \mathbf b$, $W \leftrightarrow W^\mathsf{T}$ for the visible units. With the sigmoid
# $\sigma(u) = 1/(1 + e^{-u}) = \varsigma'(u)$,
#
# $$
# p(h_j = 1 \mid \mathbf x) = \sigma\!\left(b_j + (\mathbf x^\mathsf{T} W)_j\right), \qquad
# p(x_i = 1 \mid \mathbf h) = \sigma\!\left(a_i + (W \mathbf h)_i\right).
# $$ (eq-rbm-conditionals)
#
# **The partition function** needs a sum over only one of the layers, and one takes the smaller. Written for the hidden one,
#
# $$
# Z = \sum_{\mathbf x} e^{-F(\mathbf x)}
# = \sum_{\mathbf h} e^{\mathbf b\cdot\mathbf h} \prod_i \left(1 + e^{a_i + (W\mathbf h)_i}\right).
# $$ (eq-rbm-log-z)
#
# A machine with 784 visible and 20 hidden units is summed exactly in seconds; at 784 and 500 no computer will ever do it.
# In code the equations keep their shape:

# %%
show_source(
    softplus,
    RBM._free_energy,
    RBM.hidden_probability,
    RBM.visible_probability,
    RBM.log_partition,
)

# %% [markdown]
# Now the formulas against brute force. We fill a table with $e^{-E}$ for all $2^{5+4}$ joint states of a machine with random
# parameters, straight from {eq}`eq-rbm-energy`, and take marginals and conditionals from it.

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
# The claims are about all states at once; each line shows the state that comes closest to failing.

# %%
enumeration = {"atol": 1e-12, "source": "sum over all 512 joint states"}
for claim, measured, expected in [
    ("energy of the joint states", rbm.energy(x[:, None], h), -minus_energy),
    ("free energy", rbm.free_energy(x), -np.log(joint.sum(1))),
    ("probability of hidden units", rbm.hidden_probability(x), given_x),
    ("probability of visible units", rbm.visible_probability(h), given_h),
    ("log partition function", rbm.log_partition(), np.log(joint.sum())),
    ("log probability", rbm.log_probability(x), np.log(p_x)),
]:
    verify(claim, measured, equals=expected, **enumeration)

# %% [markdown]
# ## Gaussian visible, binary hidden
#
# Pixels may be binary, but positions and voltages are not. For real $\mathbf x$ a linear energy has no normalisable Boltzmann
# factor, so each visible unit gets a harmonic well in place of the bias term
# {cite}`welling2004`. Its width is $\sigma_i$, with an index; the function $\sigma(\cdot)$ stays the sigmoid. Following
# {cite:t}`cho2011`, the coupling is measured in units of $\sigma_i^2$:
#
# $$
# E(\mathbf x, \mathbf h) = \sum_i \frac{(x_i - a_i)^2}{2\sigma_i^2} - \sum_j b_j h_j - \sum_{ij} \frac{x_i w_{ij} h_j}{\sigma_i^2}.
# $$ (eq-gaussian-rbm-energy)
#
# **The conditionals.** Call $m_i = a_i + (W\mathbf h)_i$ and complete the square in $x_i$:
#
# $$
# \frac{(x_i - a_i)^2 - 2 x_i (W\mathbf h)_i}{2\sigma_i^2} = \frac{(x_i - m_i)^2}{2\sigma_i^2} - \frac{m_i^2 - a_i^2}{2\sigma_i^2}.
# $$ (eq-gaussian-rbm-square)
#
# Given $\mathbf h$, the visible units are independent Gaussians whose *mean* the hidden units shift, and whose width they leave
# alone; the hidden units are again independent coins, because the energy is again linear in $\mathbf h$:
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
# **Free energy and partition function** follow as before. The sum over $\mathbf h$ factorises, and for $Z$ the Gaussian integral over
# {eq}`eq-gaussian-rbm-square` leaves a sum over hidden states:
#
# $$
# F(\mathbf x) = \sum_i \frac{(x_i - a_i)^2}{2\sigma_i^2} - \sum_j \varsigma\!\left(b_j + \textstyle\sum_i x_i w_{ij}/\sigma_i^2\right),
# $$ (eq-gaussian-rbm-free-energy)
#
# $$
# Z = \prod_i \sqrt{2\pi\sigma_i^2}\; \sum_{\mathbf h} \exp\!\left(\mathbf b\cdot\mathbf h
# + \sum_i \frac{(a_i + (W\mathbf h)_i)^2 - a_i^2}{2\sigma_i^2}\right).
# $$ (eq-gaussian-rbm-log-z)
#
# **The marginal.** The terms of that sum are $p(\mathbf h)$ up to normalisation, and so the density is a mixture of $2^{n_h}$
# Gaussians of equal covariance,
#
# $$
# p(\mathbf x) = \sum_{\mathbf h} p(\mathbf h)\; \mathcal N\!\left(\mathbf x;\; \mathbf a + W\mathbf h,\;
# \operatorname{diag}\sigma_i^2\right).
# $$ (eq-gaussian-rbm-mixture)
#
# Its means are not free: they are the images of the corners of the cube $\{0,1\}^{n_h}$, a parallelepiped as long as the columns of
# $W$ are independent. In code:

# %%
show_source(
    GaussianRBM.free_energy,
    GaussianRBM.mixture,
    GaussianRBM._log_hidden_weight,
)

# %% [markdown]
# We take two visible and two hidden units. The choice $b_j = -\sum_i [(a_i + w_{ij})^2 - a_i^2]/2\sigma_i^2$ gives
# $\mathbf h = 10$ and $01$ the same weight as $00$.

# %%
W_g = np.array([[2.6, -0.3], [0.6, 2.4]])
a_g, scale = np.array([-1.2, -1.4]), np.array([0.6, 0.7])
cost = ((a_g[:, None] + W_g) ** 2 - a_g[:, None] ** 2) / scale[:, None] ** 2
gaussian = GaussianRBM(W_g, a_g, -cost.sum(0) / 2, scale)

axis = np.linspace(-7, 7, 281)
grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
cell = (axis[1] - axis[0]) ** 2
log_density = gaussian.log_probability(grid)
mixture_weights, means = gaussian.mixture()

# %% [markdown]
# Where do you expect the boundary on which the first hidden unit is undecided? The right panel has the answer.

# %% mystnb={"image": {"alt": "Left: density with four peaks at the corners of a parallelogram whose sides are the two columns of W, drawn as arrows. Right: probability that the first hidden unit is on, rising from 0 to 1 across a straight line between the two left and the two right peaks. The line is not perpendicular to the arrow."}, "figure": {"caption": "Density of a Gaussian-binary machine with two visible and two hidden units (left), and what its first hidden unit detects (right).", "name": "fig-gaussian-rbm"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.3), sharex=True, sharey=True)
on = gaussian.hidden_probability(grid)[..., 0]
for ax, values, label in zip(
    axes,
    (np.exp(log_density), on),
    ("density", r"$p(h_1 = 1\mid\mathbf{x})$"),
    strict=True,
):
    mesh = ax.pcolormesh(*grid.transpose(2, 0, 1), values, rasterized=True)
    fig.colorbar(mesh, ax=ax)
    ax.set_title(label)
    ax.set(xlabel="$x_1$", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
for column in W_g.T:
    axes[0].annotate(
        "",
        a_g + column,
        a_g,
        arrowprops={"arrowstyle": "->", "color": "w", "shrinkB": 0},
    )
for state, mean in zip(all_states(2).astype(int), means, strict=True):
    text = f"$\\mathbf{{h}}={state[0]}{state[1]}$"
    height = mean[1] + (0.9 if state.any() else -0.8)
    axes[0].text(mean[0], height, text, color="w", ha="center")
axes[1].contour(*grid.transpose(2, 0, 1), np.exp(log_density), 4, colors="C1")
axes[0].set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# Each hidden unit is a detector with a straight edge, perpendicular to the vector $w_{ij}/\sigma_i^2$: to the arrow itself only if
# all widths are equal. The four peaks are not equally high, although either unit alone is free: both together are favoured by the overlap
# $\sum_i w_{i1} w_{i2}/\sigma_i^2$ of their columns, the cross term of the square in {eq}`eq-gaussian-rbm-log-z`. The visible units
# mediate an interaction between the hidden ones.
#
# The quadrature that checks this is a plain sum over the grid, which converges faster than any power of the spacing for a smooth
# function that dies out at the edges. (In `einsum`, `a` and `b` run over the grid,
# `l` over hidden states, `i` over visible units.)

# %%
h2 = all_states(2)
boltzmann = np.exp(-gaussian.energy(grid[:, :, None], h2))  # (281, 281, 4)
z_h, z_x = boltzmann.sum((0, 1)) * cell, boltzmann.sum(-1)
mean = np.einsum("abl,abi->li", boltzmann, grid) * cell / z_h[:, None]
square = np.einsum("abl,abi->li", boltzmann, grid**2) * cell / z_h[:, None]
total = np.exp(log_density).sum() * cell
hidden_on, given_grid = (
    gaussian.hidden_probability(grid),
    boltzmann @ h2 / z_x[..., None],
)
for claim, measured, expected in [
    ("integral of the density", total, 1),
    ("log Z of the machine", gaussian.log_partition(), np.log(z_h.sum())),
    ("mean of x given h", gaussian.visible_mean(h2), mean),
    ("variance of x given h", np.tile(scale**2, (4, 1)), square - mean**2),
    ("weights of the mixture", mixture_weights, z_h / z_h.sum()),
    ("free energy", gaussian.free_energy(grid), -np.log(z_x)),
    ("hidden probability", hidden_on, given_grid),
]:
    verify(
        f"Gaussian-binary: {claim}",
        measured,
        equals=expected,
        atol=1e-12,
        source="sums of exp(-E) over 281 x 281 points and hidden states",
    )

# %% [markdown]
# ## Maximum likelihood is a free-energy balance
#
# Let $q$ be the distribution of the data: $q(\mathbf x)$ is the fraction of the $N$ samples that equal $\mathbf x$. The mean
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
# property of the data, the largest likelihood and the smallest divergence are the same thing, and the
# best possible $\mathcal L$ is $-H(q)$. Two points to watch:
#
# - The average is over the *free* energy $F(\mathbf x)$. The energy $E(\mathbf x, \mathbf h)$ needs a hidden state that no data set has.
# - $\log Z$ depends on all parameters. Dropping it as a constant leaves a quantity without a minimum: just lower $F$ everywhere.
#
# We check the balance on a target without any structure, drawn at random on all 32 states.

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
# Learning stops when machine and data agree in all these correlations, at a maximum or a saddle. This is the gradient of
# $+\mathcal L$, to be followed *uphill*;
# code that minimises $-\mathcal L$ has both signs reversed.
#
# Both phases are one function, applied to two distributions over visible states. `model_averages` applies it to all states, block
# by block, with the weights $p(\mathbf x)$:

# %%
show_source(phase, log_likelihood_gradient)

# %% [markdown]
# We compare with automatic differentiation, which goes through the log-sum-exp of
# {eq}`eq-rbm-energy` over *all* joint states, and knows nothing of free energies and phases.

# %%
data_small = x[rng.integers(0, len(x), 20)]
positive, negative = phase(rbm, data_small), phase(rbm, x, p_x)
gradient = log_likelihood_gradient(rbm, data_small)

theta = [torch.tensor(p, requires_grad=True) for p in (W, a, b)]
X, H, D = (torch.tensor(states) for states in (x, h, data_small))


def torch_minus_energy(states):
    w, visible_bias, hidden_bias = theta
    field = (states @ visible_bias)[:, None] + (H @ hidden_bias)[None, :]
    return field + states @ w @ H.T


log_z = torch.logsumexp(torch_minus_energy(X).ravel(), 0)
mean_log_p = torch.logsumexp(torch_minus_energy(D), 1).mean() - log_z
mean_log_p.backward()
for name, plus, minus, part, parameter in zip(
    gradient._fields, positive, negative, gradient, theta, strict=True
):
    verify(
        f"gradient in the {name} equals automatic differentiation",
        np.stack([plus - minus, part]),
        equals=np.stack(2 * [parameter.grad.numpy()]),
        atol=1e-8,
        source="torch.autograd in float64, through the full enumeration",
    )

# %% [markdown]
# **Gaussian visible units** change one factor. From {eq}`eq-gaussian-rbm-free-energy`, $-\partial F/\partial b_j$ stays, and
#
# $$
# -\frac{\partial F}{\partial w_{ij}} = \frac{x_i\, p(h_j = 1\mid\mathbf x)}{\sigma_i^2}, \qquad
# -\frac{\partial F}{\partial a_i} = \frac{x_i - a_i}{\sigma_i^2} .
# $$ (eq-gaussian-rbm-gradient)
#
# The check takes the model's averages from the grid, and the slopes of the likelihood from central differences. With a step
# $\epsilon = 10^{-5}$ their errors, of order $\epsilon^2$ (truncation) and $10^{-15}/\epsilon$ (rounding), stay below $10^{-7}$.


# %%
def minus_free_energy_slopes(points):
    on = gaussian.hidden_probability(points)
    to_w = points[..., :, None] * on[..., None, :] / scale[:, None] ** 2
    to_w = to_w.reshape(*points.shape[:-1], 4)
    return np.concatenate([to_w, (points - a_g) / scale**2, on], axis=-1)


data_g = rng.standard_normal((20, 2))
model = np.exp(log_density)[..., None] * minus_free_energy_slopes(grid)
flat = np.concatenate([W_g.ravel(), a_g, gaussian.hidden_bias])


def gaussian_likelihood(flat):
    w, visible_bias, hidden_bias = np.split(flat, [4, 6])
    machine = GaussianRBM(w.reshape(2, 2), visible_bias, hidden_bias, scale)
    return machine.log_likelihood(data_g)


verify(
    "gradient of the Gaussian machine equals finite differences",
    minus_free_energy_slopes(data_g).mean(0) - model.sum((0, 1)) * cell,
    equals=[
        (gaussian_likelihood(flat + e) - gaussian_likelihood(flat - e)) / 2e-5
        for e in 1e-5 * np.eye(len(flat))
    ],
    atol=1e-7,
    source="central differences of the likelihood",
)

# %% [markdown]
# ## Learn bars and stripes exactly
#
# The 4 × 4 *bars and stripes* {cite}`mackay2003` are the pictures in which every column, or every row, has one colour. There are
# $2\cdot 2^4 - 2 = 30$ of them among $2^{16} = 65\,536$ pictures. No pixel and no pair of pixels tells for certain whether a
# picture is valid; some triples do, such as a pixel that differs from both its right and its lower neighbour. Couplings within
# the visible layer could enforce the rule ({ref}`ex-rbm-pair-model`). The restricted machine has none, so its hidden units must
# mediate. The data hold each pattern once, so $H(q) = \ln 30$, and no model can reach more than $-\ln 30 = -3.4012$ nats.

# %%
patterns = bars_and_stripes(4)
data = patterns.train.reshape(30, 16)
verify(
    "best possible mean log-likelihood of bars and stripes",
    -patterns.entropy,
    equals=-3.4012,
    atol=5e-5,
    source="30 equally likely patterns: -ln 30",
)
on_on, on_off = data.T @ data, data.T @ (1 - data)
off_diagonal = ~np.eye(16, dtype=bool)
verify(
    "valid pictures with given values of two pixels",
    np.concatenate([on_on[off_diagonal], on_off[off_diagonal]]),
    at_least=1,
    at_most=29,
    source="counts; exchanging the colours gives the other two",
)

# %% [markdown]
# With 16 visible units the gradient {eq}`eq-rbm-gradient` can be summed over all $65\,536$ states in a few hundredths of a
# second. So we can watch learning itself, without sampling noise. The optimiser sees all parameters as one long vector.

# %%
n_visible = data.shape[1]


def unpack(theta):
    sizes = n_visible * n_hidden, n_visible * n_hidden + n_visible
    weights, visible_bias, hidden_bias = np.split(theta, sizes)
    shape = n_visible, n_hidden
    return RBM(weights.reshape(shape), visible_bias, hidden_bias)


def kl_and_slope(theta):
    machine = unpack(theta)
    gradient = log_likelihood_gradient(machine, data)
    kl = -patterns.entropy - machine.log_likelihood(data)
    return kl, -np.concatenate([part.ravel() for part in gradient])


# %% [markdown]
# Small random weights break the symmetry between hidden units, which would otherwise all learn the same. First we go downhill in KL
# with momentum, $v \leftarrow 0.9\,v - 0.3\,\nabla\mathrm{KL}$, as one would with a noisy gradient. But an exact gradient deserves
# an optimiser that uses its precision: L-BFGS estimates the curvature from successive gradients and finishes the job.

# %%
rng = np.random.default_rng(seed)
theta = np.zeros(n_visible * n_hidden + n_visible + n_hidden)
theta[: n_visible * n_hidden] = 0.1 * rng.standard_normal(n_visible * n_hidden)
velocity, curve = np.zeros_like(theta), []
for _ in progress(range(n_ascent), "momentum"):
    kl, slope = kl_and_slope(theta)
    curve.append(kl)
    velocity = 0.9 * velocity - 0.3 * slope
    theta = theta + velocity


def record(intermediate_result):
    curve.append(intermediate_result.fun)
    if intermediate_result.fun < 0.008:
        raise StopIteration


result = minimize(
    kl_and_slope,
    theta,
    jac=True,
    method="L-BFGS-B",
    callback=record,
    options={"maxiter": 300, "maxcor": 20},
)
learned = unpack(result.x)

# %% [markdown]
# A machine with all parameters zero is uniform over all pictures, with $\mathrm{KL} = \ln(65536/30) = 7.69$. Small random weights
# are no better than none, so the curve starts close to that.

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
# The slow start is a *saddle*. At zero weights the gradient vanishes, since every pixel is on in half of the data. Nearby, for
# zero biases and weights that sum to zero over the hidden units, {eq}`eq-rbm-gradient` is to first order
#
# $$
# \frac{\partial\mathcal L}{\partial W} = \tfrac14 \left(C - \tfrac14 I\right) W,
# $$ (eq-rbm-saddle)
#
# with $C$ the covariance of the pixels in the data. Its eigenvalues are 24/30 for the common brightness, 16/30 for three contrasts
# between rows and three between columns, and 0 for nine other directions. Along the first seven, weights grow exponentially;
# along the others they decay.

# %%
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
    atol=1e-4,
    source="expansion to first order; the next order is of size 1e-6",
)

# %% [markdown]
# To verify the result of learning we do not trust the balance {eq}`eq-rbm-kl` but compute the divergence from its definition, with
# all $65\,536$ pictures, and $\log Z$ by the other sum in {eq}`eq-rbm-log-z` as well.

# %%
p_all = np.exp(learned.log_probability(all_states(16)))
index = (data @ 2 ** np.arange(15, -1, -1)).astype(int)
q_all = np.zeros(2**16)
q_all[index] = 1 / 30
kl = kl_divergence(q_all, p_all)
verify(
    "log Z from the visible layer",
    learned.log_partition(),
    equals=learned.swapped().log_partition(),
    rtol=1e-12,
    source="sum over the hidden layer",
)
verify(
    "KL after learning, in nats",
    kl,
    at_least=0,
    at_most=0.01,
    source="definition of the divergence, all 65536 pictures",
)
verify(
    "mean log-likelihood after learning",
    learned.log_likelihood(data),
    equals=-np.log(30) - kl,
    atol=1e-10,
    source="balance of KL derived above, KL by its definition",
)

# %% [markdown]
# How often does the machine draw a picture that is none of the 30? Let $P$ be its probability of drawing a valid one. The mean of
# a logarithm is at most the logarithm of the mean, so
# $-\ln 30 - \mathrm{KL} = \mathcal L \le \log\left(\tfrac1{30}\sum_{n} p(\mathbf x^{(n)})\right) = \log (P/30)$, and hence
# $P \ge e^{-\mathrm{KL}}$.

# %%
verify(
    "probability of a valid picture",
    p_all[index].sum(),
    at_least=np.exp(-kl),
    at_most=1,
    source="Jensen's inequality, derived above",
)

# %% [markdown]
# We look at the weights, one image for each hidden unit, and at 30 independent samples from the enumerated distribution.

# %% mystnb={"image": {"alt": "Three image grids: the 30 bars-and-stripes patterns, the weights of the 16 hidden units in red and blue, made of whole rows and columns, and 30 samples, all or nearly all of which are valid patterns."}, "figure": {"caption": "The data (black is 1), what the hidden units look for (red positive, blue negative), and exact samples of the learned machine.", "name": "fig-bars-machine"}}
samples = learned.sample_exactly(30, seed=seed)
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.6))
image_grid(data.reshape(-1, 4, 4), 6, ax=axes[0], title="data")
filters = learned.weights.T.reshape(-1, 4, 4)
largest = np.quantile(abs(filters), 0.98)
image_grid(
    filters,
    4,
    ax=axes[1],
    title="weights",
    limits=(-largest, largest),
    cmap="RdBu_r",
)
image_grid(samples.reshape(-1, 4, 4), 6, ax=axes[2], title="samples")
plt.show()

# %% [markdown]
# Rows and columns show through. Fit each filter by a sum of a row profile and a column profile: a random filter would have
# $6/15 = 0.40$ of its variance explained, as these profiles have 6 of the 15 degrees of freedom. Nobody told the machine which
# pixels share a row or a column.

# %%
centred = filters - filters.mean((1, 2), keepdims=True)
lines = centred.mean(1, keepdims=True) + centred.mean(2, keepdims=True)
verify(
    "share of a filter's variance explained by rows and columns",
    (lines**2).sum((1, 2)) / (centred**2).sum((1, 2)),
    at_least=0.75,
    at_most=1,
    source="analysis of variance; 0.40 for a random filter",
)

# %% [markdown]
# ## Contrastive divergence is a truncated chain
#
# For larger machines the negative phase must be sampled. By {eq}`eq-rbm-conditionals` a Gibbs sweep updates a whole layer at once:
# draw $\mathbf h$ given $\mathbf x$, then $\mathbf x'$ given $\mathbf h$. As a Markov chain on visible states it has the
# transition matrix
#
# $$
# T(\mathbf x \to \mathbf x') = \sum_{\mathbf h} p(\mathbf h\mid\mathbf x)\, p(\mathbf x'\mid\mathbf h).
# $$ (eq-rbm-transition)
#
# *Contrastive divergence* with $k$ steps, CD-$k$ {cite}`hinton2002`, starts the chains at the data and stops them after $k$ sweeps,
# long before equilibrium. The distribution of the states is then $qT^k$, row vector times matrix:
#
# $$
# \Delta w_{ij} \propto \langle x_i h_j \rangle_{q} - \langle x_i h_j \rangle_{q T^k},
# \qquad\text{in place of}\qquad \langle x_i h_j \rangle_{q} - \langle x_i h_j \rangle_{p}.
# $$ (eq-rbm-cd)
#
# How large is the error of the expected update, the *bias* of CD? As for {eq}`eq-spectral-gap`, we make the chain symmetric with
# $D = \operatorname{diag} p(\mathbf x)$:
#
# $$
# \begin{aligned}
# \left(D^{1/2} T D^{-1/2}\right)_{\mathbf x\mathbf x'} &= \sum_{\mathbf h}
# \frac{p(\mathbf x,\mathbf h)\, p(\mathbf x',\mathbf h)}{p(\mathbf h)\sqrt{p(\mathbf x)\, p(\mathbf x')}}
# = (B B^\mathsf{T})_{\mathbf x\mathbf x'}, \\
# B_{\mathbf x\mathbf h} &= \frac{p(\mathbf x,\mathbf h)}{\sqrt{p(\mathbf x)\,p(\mathbf h)}} .
# \end{aligned}
# $$ (eq-rbm-cd-symmetric)
#
# This is positive semidefinite: the eigenvalues are real, $1 = \lambda_1 > \lambda_2 \ge \dots \ge 0$, the squares of the singular
# values of $B$. The first belongs to $\sqrt p$, and $\lambda_2 < 1$ because all entries of $T$ are positive (Perron–Frobenius).
# Let $g(\mathbf x)$ be one component of the gradient, say $x_i\,p(h_j = 1\mid\mathbf x)$. Write $r = (q - p)/\sqrt p$ and
# $\gamma = \sqrt p\,(g - \langle g\rangle_p)$. Both are orthogonal to $\sqrt p$, where the chain shrinks everything by at least
# the factor $\lambda_2$. Cauchy and Schwarz do the rest:
#
# $$
# \begin{aligned}
# \left|\langle g\rangle_{qT^k} - \langle g\rangle_p\right|
# &= \left|\, r \cdot (B B^\mathsf{T})^k\, \gamma\, \right| \le \lambda_2^k\; \chi\; \mathrm{sd}_p(g), \\
# \chi^2 &= |r|^2 = \sum_{\mathbf x} \frac{(q - p)^2}{p} .
# \end{aligned}
# $$ (eq-rbm-cd-bound)
#
# Two factors compete, the chain's $\lambda_2$ and the distance $\chi$; at $q = p$ there is no bias for any $k$.
# {cite:t}`fischer2011` bound the bias in terms of $k$, the number of units, the largest energy change by one unit, and the
# distance of the start from the model; {cite:t}`carreira2005` computed what it does to learning, for machines as small as ours.
# We test our bound on the random machine from above, with the random target $q$.


# %%
def gradient_statistics(machine, states):
    hidden = machine.hidden_probability(states)
    products = states[:, :, None] * hidden[:, None, :]
    return np.concatenate(
        [products.reshape(len(states), -1), states, hidden], axis=1
    )


def cd_bias(machine, q, steps):
    states = all_states(machine.n_visible)
    p = np.exp(machine.log_probability(states))
    g = gradient_statistics(machine, states)
    T = gibbs_transition_matrix(machine)
    power = [q @ np.linalg.matrix_power(T, k) for k in steps]
    return (np.array(power) - p) @ g, g, p, T


def symmetric_chain(machine):
    """Left singular vectors of B and the squared singular values."""
    x, h = all_states(machine.n_visible), all_states(machine.n_hidden)
    joint = np.exp(-machine.energy(x[:, None], h))
    B = joint / np.sqrt(np.outer(joint.sum(1), joint.sum(0)))
    vectors, singular, _ = np.linalg.svd(B, full_matrices=False)
    return vectors, singular**2


# %% [markdown]
# On the random machine, all ingredients of the bound take five lines.

# %%
k = np.arange(11)
bias, g, p, T = cd_bias(rbm, q, k)
vectors, spectrum = symmetric_chain(rbm)
lambda_2 = spectrum[1]
chi = np.sqrt(((q - p) ** 2 / p).sum())
sd = np.sqrt(p @ (g - p @ g) ** 2)

# %% [markdown]
# First the spectrum and the fixed point, then the bound for eleven values of $k$ and all 29 components of the gradient. The bound
# is attained if $r$ and $\gamma$ both lie along the second eigenvector, and we construct that case, too.

# %%
verify(
    "the model is stationary under block Gibbs",
    p @ T,
    equals=p_x,
    atol=1e-13,
    source="p(x) by enumeration",
)
verify(
    "second eigenvalue is a squared singular value",
    np.sort(np.linalg.eigvals(T).real)[-2],
    equals=lambda_2,
    atol=1e-10,
    source="singular values of B",
)
verify(
    "bias of CD-k relative to its bound",
    abs(bias) / (lambda_2 ** k[:, None] * chi * sd),
    at_most=1,
    source="Cauchy-Schwarz, derived above",
)
mode = vectors[:, 1] / np.sqrt(p)  # mean 0 and variance 1 under p
start = p * (1 + 0.5 * mode / abs(mode).max())
verify(
    "bias where the bound is attained, relative to chi",
    [(start @ np.linalg.matrix_power(T, j) - p) @ mode for j in k]
    / np.sqrt(((start - p) ** 2 / p).sum()),
    equals=lambda_2**k,
    atol=1e-12,
    source="bound with sd = 1, second eigenvector by singular values",
)

# %% [markdown]
# Asymptotically the *rate* is also the law, unless $q$ or $g$ is orthogonal to the second mode: the slowest mode survives, and the
# bias falls by a factor $\lambda_2$ for each further step. To see it, take a fixed machine with four visible and three hidden units
# and make it stronger and stronger, with $\mathbf a$ and $\mathbf b$ such that on average no unit prefers 0 or 1. The data are the
# three patterns 1000, 1100 and 1110; nothing is learned yet. *Predict:* how many sweeps does each machine need to make the bias ten
# times smaller?

# %%
W_0 = np.array(
    [[1, -0.5, 0.3], [-1, 0.8, 0.2], [0.6, 0.7, -1], [0.4, -1, 0.9]]
)
q_4 = np.zeros(16)
q_4[[0b1000, 0b1100, 0b1110]] = 1 / 3
k = np.arange(1, 41)
curves, rates = {}, {}
for strength in (1, 2, 3):
    W_s = strength * W_0
    machine = RBM(W_s, -W_s.sum(1) / 2, -W_s.sum(0) / 2)
    bias, *_ = cd_bias(machine, q_4, k)
    curves[strength] = np.linalg.norm(bias, axis=1)
    rates[strength] = symmetric_chain(machine)[1][1:3]

# %% [markdown]
# The dashed lines have no free slope, only a height: $\lambda_2^k$ through the last point above the rounding error.

# %% mystnb={"image": {"alt": "Norm of the bias of CD-k against k on a logarithmic axis for three machines. Each curve becomes a straight line parallel to its dashed line lambda-2 to the k; the stronger the weights, the flatter the line."}, "figure": {"caption": "The bias of CD-k falls geometrically, at the rate of the Gibbs chain's second eigenvalue (dashed). Strong weights make it fall slowly.", "name": "fig-cd-bias"}}
fig, ax = plt.subplots()
for strength, norm in curves.items():
    seen = norm > 1e-11
    rate = rates[strength][0]
    label = rf"weights × {strength}, $\lambda_2$ = {rate:.2f}"
    ax.semilogy(k[seen], norm[seen], "o-", ms=3, label=label)
    last = np.flatnonzero(seen)[-1]
    law = norm[last] * rate ** (k[seen] - k[last])
    ax.semilogy(k[seen], law, "k--", lw=1, zorder=3)
ax.set(xlabel="$k$", ylabel="norm of the bias of CD-$k$", ylim=(1e-11, 3))
ax.legend()
plt.show()

# %% [markdown]
# The answer is $\ln 10/\ln(1/\lambda_2)$: 1.5, 4.4 and 11.7 sweeps. To measure the rate we go so far that the third eigenvalue has
# died out, to $(\lambda_3/\lambda_2)^k$, while the bias is still far above rounding.

# %%
for strength, (rate, third) in rates.items():
    W_s = strength * W_0
    machine = RBM(W_s, -W_s.sum(1) / 2, -W_s.sum(0) / 2)
    far = int(np.ceil(np.log(1e-7) / np.log(rate)))
    bias, *_ = cd_bias(machine, q_4, [far, far + 1])
    late, later = np.linalg.norm(bias, axis=1)
    verify(
        f"decay of the bias per step, weights times {strength}",
        later / late,
        equals=rate,
        rtol=(third / rate) ** far + 1e-6,
        source="squared singular value of B",
    )

# %% [markdown]
# What happens to the two factors while a machine learns? We follow the exact gradient on the 3 × 3 bars and stripes with nine
# hidden units, and compute at each stage what CD-1 and CD-10 would have done instead.
#
# *Predict:* weights grow, so $\lambda_2$ grows. Does the bias?

# %%
data_3 = bars_and_stripes(3).train.reshape(-1, 9)
q_3 = np.zeros(2**9)
q_3[(data_3 @ 2 ** np.arange(8, -1, -1)).astype(int)] = 1 / len(data_3)
rng = np.random.default_rng(seed)
parts = [0.1 * rng.standard_normal((9, 9)), np.zeros(9), np.zeros(9)]
velocity = [np.zeros_like(part) for part in parts]
stages = np.unique(np.geomspace(1, 1000, 25).round())
norms, cosines, divergences, gaps = [], [], [], []
for step in progress(range(1001), "learning 3 x 3"):
    machine = RBM(*parts)
    if step in stages:
        bias, g, p, _ = cd_bias(machine, q_3, [1, 10])
        exact = (q_3 - p) @ g
        update = exact - bias[0]
        norms.append(np.linalg.norm([exact, *bias], axis=1))
        length = np.linalg.norm(exact) * np.linalg.norm(update)
        cosines.append(exact @ update / length)
        divergences.append(kl_divergence(q_3, p))
        gaps.append(1 - symmetric_chain(machine)[1][1])
    slope = log_likelihood_gradient(machine, data_3)
    velocity = [
        0.9 * v + 0.3 * s for v, s in zip(velocity, slope, strict=True)
    ]
    parts = [part + v for part, v in zip(parts, velocity, strict=True)]
norms = np.array(norms)

# %% [markdown]
# Compare the bias with the gradient that it distorts.

# %% mystnb={"image": {"alt": "Left, against the learning step on logarithmic axes: the gradient, and the bias of CD-1 and of CD-10. Both biases start far below the gradient, that of CD-10 off the scale, and rise by more than an order of magnitude. After some hundred steps all three curves nearly coincide and fall together. Right: the KL divergence stays near 3.6, then falls to about 0.02, while the spectral gap falls from 1 to below 0.001."}, "figure": {"caption": "Learning 3 × 3 bars and stripes by the exact gradient. The bias of contrastive divergence first grows, then shrinks, and so does the gradient: their ratio goes to order one.", "name": "fig-cd-learning"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2), sharex=True)
labels = ("gradient", "bias of CD-1", "bias of CD-10")
styles = ("k-", "C0o-", "C1s-")
for norm, label, style in zip(norms.T, labels, styles, strict=True):
    left.loglog(stages, norm, style, ms=3, label=label)
left.set(xlabel="step", ylabel="norm", ylim=(1e-4, 1))
right.loglog(stages, divergences, "C2-", label="KL in nats")
right.loglog(stages, gaps, "C3--", label=r"gap $1 - \lambda_2$")
right.set(xlabel="step")
left.legend()
right.legend()
plt.show()

# %% [markdown]
# The bias grows with the weights, and then shrinks, because $\chi$ falls along with the divergence. But the gradient shrinks, too:
# at the end the bias is about as large as the gradient itself, and ten sweeps hardly help. The chains stay close to the patterns
# they start at, and cannot see that these have the wrong probabilities. CD works nonetheless because its update still points
# uphill; {cite:t}`bengio2009` found the same for the signs of its components, most of the time.

# %%
ratio = norms[:, 1:] / norms[:, :1]
for claim, measured, low, high in [
    ("bias / gradient at the start, CD-1 and CD-10", ratio[0], 0, 0.1),
    ("bias / gradient at the end, CD-1 and CD-10", ratio[-1], 0.5, 3),
    (
        "largest bias of CD-1 relative to start and end",
        norms[:, 1].max() / norms[[0, -1], 1],
        5,
        None,
    ),
    ("cosine between CD-1 and the gradient", cosines, 0.1, 1 + 1e-12),
    ("spectral gap at the end", gaps[-1], 0, 0.02),
]:
    verify(
        claim,
        measured,
        at_least=low,
        at_most=high,
        source="transition matrix of all 512 states",
    )

# %% [markdown]
# All this concerned expectations. What one runs is a Monte Carlo estimate with one chain per datum, where `_coins(p)` draws a 1
# with probability `p` for each entry. Its average over many data must agree with {eq}`eq-rbm-cd` within the sampling error.

# %%
show_source(contrastive_divergence, block_gibbs, docstring="none")

# %% [markdown]
# The chains start from 10 000 copies of each of the three patterns, on the machine of strength 3. Given its start, a chain gives
# $g$ the mean $Tg$ and the variance $T g^2 - (Tg)^2$. The tolerance of 5 standard errors tells one sweep from none or two.

# %%
machine = RBM(3 * W_0, -1.5 * W_0.sum(1), -1.5 * W_0.sum(0))
states = all_states(4)
many = np.repeat(states[q_4 > 0], 10_000, axis=0)
estimate = contrastive_divergence(machine, many, 1, seed)
g, T = gradient_statistics(machine, states), gibbs_transition_matrix(machine)
variance = q_4 @ (T @ g**2 - (T @ g) ** 2)
verify(
    "average CD-1 update agrees with its expectation",
    np.concatenate([part.ravel() for part in estimate]),
    equals=(q_4 - q_4 @ T) @ g,
    atol=5 * np.sqrt(variance / len(many)),
    source="transition matrix; 5 standard errors",
)

# %% [markdown]
# ## Break it: two silent faults
#
# In `block_gibbs` every unit of every chain draws its own uniform number. Suppose the array of random numbers had the shape of
# *one* state and was broadcast over the batch. No error is raised, and each single chain is still a perfectly correct Gibbs sampler.
# All chains start in the state 1000. Before you run the next cell: what happens to the average over the batch, as the batch grows?


# %%
def shared_gibbs(machine, x, n_steps, rng):
    for _ in range(n_steps):
        p_h = machine.hidden_probability(x)
        h = (rng.random(p_h.shape[1]) < p_h).astype(float)  # the fault
        p_x = machine.visible_probability(h)
        x = (rng.random(p_x.shape[1]) < p_x).astype(float)  # and again
    return x


rng = np.random.default_rng(seed)
machine = RBM(W_0, -W_0.sum(1) / 2, -W_0.sum(0) / 2)
sizes, n_repeats, n_steps = [1, 4, 16, 64, 256, 1024], 400, 5
own, shared = [], []
for size in sizes:
    start = np.tile(states[0b1000], (size, 1))
    runs = [
        (f(machine, start, n_steps, rng)[:, 0]).mean()
        for f in (block_gibbs, shared_gibbs)
        for _ in range(n_repeats)
    ]
    own.append(np.std(runs[:n_repeats]))
    shared.append(np.std(runs[n_repeats:]))

# %% [markdown]
# The exact spread of $x_1$ in one chain follows from the transition matrix: $x_1$ is a coin, and its probability is the row of
# $T^5$ that belongs to the start, summed over the states with $x_1 = 1$. Independent chains must gain a factor $1/\sqrt n$.

# %% mystnb={"image": {"alt": "Standard deviation of the batch mean against batch size, both axes logarithmic. With independent numbers it falls as one over the square root of the size; with shared numbers it stays constant at about 0.5."}, "figure": {"caption": "Standard deviation of the batch average of one unit, over 400 repetitions; all chains start equal. Chains that share their random numbers are one chain.", "name": "fig-shared-draws"}}
row = np.linalg.matrix_power(gibbs_transition_matrix(machine), n_steps)[0b1000]
p_on = row @ states[:, 0]
spread = np.sqrt(p_on * (1 - p_on))
fig, ax = plt.subplots()
ax.loglog(
    sizes,
    spread / np.sqrt(sizes),
    color="0.4",
    label=r"exact, $\propto 1/\sqrt{n}$",
)
ax.loglog(sizes, own, "o", label="own random numbers")
ax.loglog(sizes, shared, "s", mfc="none", label="shared random numbers")
ax.set_xticks(sizes, labels=sizes)
ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], labels=[0.02, 0.05, 0.1, 0.2, 0.5])
ax.minorticks_off()
ax.set(xlabel="batch size $n$", ylabel="std of the batch mean of $x_1$")
ax.legend()
plt.show()

# %% [markdown]
# A standard deviation estimated from $R$ Gaussian repetitions has a relative error of $1/\sqrt{2R}$. And the shared chains, which
# start equal, stay equal to the last bit. Chains that start at different data soon merge, too: the negative phase is as noisy as
# with a handful of chains, whatever the batch size. The second check starts one chain in each of the 16 states.

# %%
verify(
    "with own random numbers, 1024 chains average like 1024 samples",
    own[-1],
    equals=spread / np.sqrt(sizes[-1]),
    rtol=4.5 / np.sqrt(2 * n_repeats),
    source="fifth power of the transition matrix",
)
verify(
    "different states after 20 sweeps with shared random numbers",
    len(np.unique(shared_gibbs(machine, states, 20, rng), axis=0)),
    equals=1,
    source="chains that have met stay together",
)

# %% [markdown]
# Training with this fault still works a little, and one blames the learning rate. The second fault is in
# {eq}`eq-rbm-free-energy`: `log(1 + exp(u))`, typed as it is written.
# What does it return at $u = 800$?

# %%
strong = RBM([[800.0]], [0.0], [0.0])
with np.errstate(over="ignore"):
    naive = -np.log(1 + np.exp(800.0))
verify(
    "the naive formula overflows to infinity",
    int(np.isinf(naive)),
    equals=1,
    source="exp(800) exceeds the largest float64, 1.8e308",
)
verify(
    "free energy with the stable softplus",
    strong.free_energy([[1.0]]),
    equals=-800,
    rtol=1e-14,
    source="softplus(u) = u + log(1 + e^-u), and e^-800 is negligible",
)

# %% [markdown]
# The cure is one line of algebra, $\varsigma(u) = \max(u, 0) + \log(1 + e^{-|u|})$: the exponential can then only underflow,
# harmlessly.

# %% [markdown]
# ## Exercises
#
# ::::{exercise} Spins instead of bits
# :label: ex-rbm-spins
# Physicists prefer $v_i, s_j = \pm1$. Insert $x_i = (1 + v_i)/2$ and $h_j = (1 + s_j)/2$ into {eq}`eq-rbm-energy`. Which couplings and
# fields does the spin machine $E = -\sum_i A_i v_i - \sum_j B_j s_j - \sum_{ij} v_i J_{ij} s_j$ have, and by which constant do the
# energies differ? Check $\log Z$ and a probability.
# ::::
#
# ::::{solution-start} ex-rbm-spins
# :class: dropdown
# ::::
#
# The product $x_i h_j = (1 + v_i + s_j + v_i s_j)/4$ feeds all terms: $J = W/4$, $A_i = a_i/2 + \sum_j w_{ij}/4$,
# $B_j = b_j/2 + \sum_i w_{ij}/4$, and the bits' energy is the spins' energy minus
# $C = \sum_i a_i/2 + \sum_j b_j/2 + \sum_{ij} w_{ij}/4$.

# %% tags=["solution"]
J, A, B = W / 4, a / 2 + W.sum(1) / 4, b / 2 + W.sum(0) / 4
C = a.sum() / 2 + b.sum() / 2 + W.sum() / 4
v, s = 2 * all_states(5) - 1, 2 * all_states(4) - 1
spin_joint = np.exp((v @ A)[:, None] + s @ B + v @ J @ s.T)
verify(
    "log Z of the bits from the spins",
    np.log(spin_joint.sum()) + C,
    equals=rbm.log_partition(),
    atol=1e-12,
    source="sum over all states of the machine of bits",
)
verify(
    "spins and bits have the same probabilities",
    spin_joint.sum(1) / spin_joint.sum(),
    equals=p_x,
    atol=1e-13,
    source="sum over all states of the machine of bits",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} A pair model of bars and stripes
# :label: ex-rbm-pair-model
# Let pixels be spins $\pm1$, and give each 2 × 2 plaquette with rows $(s_1, s_2)$ and $(s_3, s_4)$ the energy
# $-(s_1 s_2 + s_3 s_4 + s_1 s_3 + s_2 s_4) + (s_1 s_4 + s_2 s_3)$: a ferromagnet between neighbours, and an equally strong
# antiferromagnet on the diagonals. Which pictures of 4 × 4 pixels minimise the sum over the nine plaquettes, and how large is the
# gap above them?
# ::::
#
# ::::{solution-start} ex-rbm-pair-model
# :class: dropdown
# ::::
#
# The six plaquettes with two equal rows or two equal columns have energy $-2$, one deviating spin makes it 0, a checkerboard 6.
# If all nine are in their minimum, a colour step between two columns continues through all rows, one between two rows through
# all columns, and the two kinds exclude each other where they would cross. So the ground states are the 30 bars and stripes.
# A deviating corner touches one plaquette: the gap is 2.

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
    len(np.setxor1d(ground_states, index)),
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
# Give each of the $M$ patterns $\mathbf v$ a hidden unit with weights $w_i = s\,(2v_i - 1)$ and bias $b = \lambda - s\sum_i v_i$, and set
# $\mathbf a = 0$. Show that the unit's input is $\lambda - s\,d(\mathbf x, \mathbf v)$, with $d$ the number of pixels in which
# $\mathbf x$ and $\mathbf v$ differ. What is the divergence for $s \to \infty$, and what does this say about the power of
# restricted machines {cite}`leroux2008`?
# ::::
#
# ::::{solution-start} ex-rbm-store
# :class: dropdown
# ::::
#
# A pixel that agrees contributes $s$ if it is on in both and 0 if it is off in both; one that differs costs $s$ against that.
# So $\sum_i x_i w_i = s\sum_i v_i - s\,d$. For large $s$ a stored pattern has the weight $1 + e^\lambda$, any other picture has 1, and
#
# $$
# \operatorname{KL} = \log\!\left(1 + \frac{2^{n} - M}{M\,(1 + e^{\lambda})}\right) \longrightarrow 0 \quad\text{for } \lambda\to\infty .
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
# One hidden unit per pattern approximates any distribution to any accuracy, if the depths are chosen one by one; no machine reaches
# a zero of $q$, since $p(\mathbf x) > 0$ always. It is a look-up table, though. At depth 13 its divergence is 0.005 with 30 hidden
# units; the learned machine came below 0.01 with 16, because it found rows and columns.
#
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# Without couplings inside the layers a Boltzmann machine has closed conditionals and a closed free energy, for binary and for
# Gaussian units, and only $\log Z$ remains hard. Maximum likelihood minimises $-H + \langle F\rangle_\text{data} + \log Z$, and its
# gradient compares correlations in the data with correlations in the model. Contrastive divergence replaces the model's by those of
# a chain that starts at the data; its bias falls as $\lambda_2^k$, slowly for a machine with strong weights.
#
# **Next:** {doc}`03_rbm_pytorch` trains machines that are too large to sum, and asks how one knows that they learned anything.
