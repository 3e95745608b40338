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
# So far every model could be asked for a probability, or for an energy. Give that up, and keep only what one wants in the end: samples. Draw noise
# $\mathbf z$, apply a function, $\mathbf x = G(\mathbf z)$. Nothing is simpler to sample, and no density is left to maximise. How can such a model be compared with data? By a
# second network that tries to tell its samples from data, while the first one tries to be mistaken for data: a game of two players {cite}`goodfellow2014`. Games are not minimised. They have
# equilibria, and whether one gets there is a question about dynamics: about eigenvalues, oscillations and friction. In one dimension all of it can be solved, before
# any image appears.
#
# :::{admonition} Plan
# :class: tip
# **You will** estimate a density ratio with a classifier and hold it to the exact one, derive which divergence the game measures, see a gradient vanish exponentially, find that the game rotates
# and compute how fast, damp it, meet a discriminator that is content with a wrong model, measure a distance between distributions that do not overlap, and let two small networks play.
# **You need** {lecture}`3.2` for divergences, {lecture}`2.1` for steps and stability. **Time** an hour to read; half a minute of CPU.
# :::

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.integrate import quad
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit
from scipy.stats import norm

from advml.checks import verify
from advml.display import show_source, show_table
from advml.pytorch import gan

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks here are too small to share out

# %% tags=["parameters"]
seed = 0
n = 100_000  # samples of each distribution
n_updates = 1500  # of the small game at the end

# %% [markdown]
# ## A classifier is a likelihood ratio
#
# Let $p$ be the distribution of the data and $q$ that of the generator's samples. (It exists even if nobody can evaluate it: in one dimension a monotone $G$ gives
# $q(x) = \mathcal N(z)\,|\mathrm dz/\mathrm dx|$; a network gives an integral over all $\mathbf z$ that lead to $\mathbf x$.) The **discriminator** $D(\mathbf x)\in(0,1)$ is the probability, in its opinion, that $\mathbf x$
# is real. It is rewarded by its log-likelihood:
#
# $$
# V(D, q) = \bigl\langle\log D(\mathbf x)\bigr\rangle_p + \bigl\langle\log(1 - D(\mathbf x))\bigr\rangle_q .
# $$ (eq-gan-value)
#
# Its best answer follows point by point: $p\log D + q\log(1-D)$ has the derivative $p/D - q/(1-D)$, so
#
# $$
# D^*(\mathbf x) = \frac{p(\mathbf x)}{p(\mathbf x)+q(\mathbf x)} = s\bigl(f^*(\mathbf x)\bigr), \qquad f^*(\mathbf x) = \log\frac{p(\mathbf x)}{q(\mathbf x)},
# $$ (eq-gan-optimal)
#
# with the sigmoid $s$. The **log-odds** $f$ estimate a difference of log-likelihoods from samples alone. To a physicist: two Boltzmann distributions have $f^* = -(E_p - E_q)/T + (F_p - F_q)/T$. A classifier measures free-energy
# differences; with known energies and only the constant free it is Bennett's method of 1976 ({ref}`ex-game-bennett`).
#
# For $p = \mathcal N(\mu, 1)$ and $q = \mathcal N(0,1)$ the ratio is $f^* = \mu x - \mu^2/2$: a straight line, so that logistic regression can be exactly right. We fit it by maximising $V$ on samples. Its
# errors are those of maximum likelihood, from the Fisher information $\mathbf F = \langle D^*(1-D^*)\,(1,x)^{\mathsf T}(1,x)\rangle_{p+q}$ per pair of samples.


# %%
def fit_line(x_real, x_fake):
    """Maximise V over f(x) = c + w x; returns (c, w) and V."""

    def loss(theta):
        f, g = theta[0] + theta[1] * x_real, theta[0] + theta[1] * x_fake
        value = -log_expit(f).mean() - log_expit(-g).mean()
        d_real, d_fake = -expit(-f), expit(g)
        slope = [d_real.mean() + d_fake.mean()]
        slope.append((d_real * x_real).mean() + (d_fake * x_fake).mean())
        return value, np.array(slope)

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", tol=1e-10)
    return found.x, -found.fun


def integral(function):
    """∫ over the line, for integrands that vanish beyond |x| = 20."""
    edges = [-20, -5, 0, 5, 10, 20]
    return sum(quad(function, *part, limit=200)[0] for part in pairwise(edges))


def fisher(mu, power):
    """⟨D(1 − D) x^power⟩ over p + q, without overflow."""
    f = lambda x: mu * x - mu**2 / 2  # noqa: E731
    return integral(
        lambda x: (
            expit(f(x))
            * expit(-f(x))
            * x**power
            * (norm.pdf(x, mu) + norm.pdf(x))
        )
    )


# %% [markdown]
# Now the value of the game at this best answer. Insert {eq}`eq-gan-optimal` in {eq}`eq-gan-value`, with $m = (p+q)/2$:
#
# $$
# V(D^*, q) = \Bigl\langle\log\frac{p}{2m}\Bigr\rangle_p + \Bigl\langle\log\frac{q}{2m}\Bigr\rangle_q = -\log 4 + 2\operatorname{JSD}(p, q),
# $$ (eq-gan-jsd)
#
# twice the Jensen–Shannon divergence {eq}`eq-jensen-shannon`. A *best* discriminator turns the game into the minimisation of a divergence, which is zero only for $q = p$. We check both statements: the fitted line, and the value.


# %%
def jsd(p, q):
    """Jensen–Shannon divergence of two densities, in nats."""

    def part(x):
        log_p, log_q = p.logpdf(x), q.logpdf(x)
        log_m = np.logaddexp(log_p, log_q) - np.log(2)
        return (
            np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)
        ) / 2

    return integral(part)


rng = np.random.default_rng([seed, 0])
distances = [0.5, 1.0, 2.0, 4.0]
exact, values, pulls = [], [], []
for mu in distances:
    theta, value = fit_line(rng.normal(mu, 1, n), rng.normal(0, 1, n))
    F = [[fisher(mu, 0), fisher(mu, 1)], [fisher(mu, 1), fisher(mu, 2)]]
    error = np.sqrt(np.diag(np.linalg.inv(F)) / n)
    pulls.append((theta - [-(mu**2) / 2, mu]) / error)
    exact.append(jsd(norm(mu), norm()))
    values.append(value)
verify(
    "Jensen–Shannon divergences of Gaussians at four distances",
    exact,
    equals=[0.030311, 0.111421, 0.336831, 0.632720],
    atol=1e-6,
    source="50-digit quadrature, rounded",
)
verify(
    "offset and slope of the fitted log-odds, in standard errors",
    pulls,
    equals=0,
    atol=5,
    source="eq-gan-optimal, Fisher information",
)
verify(
    "value of the game at the fitted discriminator",
    values,
    equals=-np.log(4) + 2 * np.array(exact),
    atol=0.01,
    source="eq-gan-jsd",
)

# %% [markdown]
# A word on the value: it was computed on the samples that the line was fitted to, so it is too large. By Wilks' theorem $2n\,\delta V$ is $\chi^2$ with as many degrees of freedom as there are parameters, two here:
# $\langle\delta V\rangle = 2/2n$, invisible at this $n$. For a network with more parameters than samples it can be anything: a discriminator that has memorised the data.
#
# When the line is not in the family, a network learns it where the samples are, and only there:

# %%
network = gan.DenseDiscriminator(1, (32, 32), activation="tanh", seed=seed)
adam = torch.optim.Adam(network.parameters(), 3e-3)
x_real = torch.tensor(rng.normal(2, 1, (4000, 1))).float()
x_fake = torch.tensor(rng.normal(0, 1, (4000, 1))).float()
for _ in range(400):
    loss = gan.discriminator_loss(network(x_real), network(x_fake))
    adam.zero_grad()
    loss.backward()
    adam.step()


def log_odds(x):
    """Log-odds of the trained network."""
    with torch.no_grad():
        return network(np.atleast_1d(x)[:, None]).cpu().numpy()


grid = np.linspace(-8, 10, 2001)
step, f = grid[1] - grid[0], log_odds(grid).astype(float)
value = step * np.sum(
    norm.pdf(grid, 2) * log_expit(f) + norm.pdf(grid) * log_expit(-f)
)
shortfall = -np.log(4) + 2 * exact[2] - value
verify(
    "the network's true value is below the best one, by a hundredth or less",
    shortfall,
    at_least=0,
    at_most=0.01,
    source="eq-gan-jsd is a maximum; 0.01 for training on 4000 samples",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: two Gaussian densities and the log-odds of the network, which follow the exact straight line between minus two and four and bend away from it outside. Right: the value of the game against distance, points on the exact curve, rising from minus log four to zero."}, "figure": {"caption": "Left: log-odds of a trained network and the exact log p/q; shaded: the two densities. Right: value of the game at the fitted discriminator (points), and −log 4 + 2 JSD (curve).", "name": "fig-game-ratio"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.8))
axes[0].fill_between(grid, 8 * norm.pdf(grid), color="C0", alpha=0.2)
axes[0].fill_between(grid, 8 * norm.pdf(grid, 2), color="C1", alpha=0.2)
axes[0].plot(grid, 2 * grid - 2, "k--", lw=1, label="exact")
axes[0].plot(grid, f, "C2", label="network")
axes[0].set(xlim=(-5, 7), ylim=(-9, 9), xlabel="$x$", ylabel="log-odds $f$")
axes[0].legend()
mus = np.linspace(0, 6, 31)
curve = [-np.log(4) + 2 * jsd(norm(mu), norm()) for mu in mus]
axes[1].plot(mus, curve)
axes[1].plot(distances, values, "o")
axes[1].axhline(0, color="0.6", lw=0.8)
axes[1].set(xlabel=r"distance $\mu$", ylabel="value (nats)")
plt.show()

# %% [markdown]
# ## What the generator feels
#
# The generator cannot change $p$. It descends its part of $V$, or something else that looks better. All losses of the course, in log-odds $f$, for real data $\mathbf x$ and samples $G(\mathbf z)$:
#
# $$
# \begin{aligned}
# \text{discriminator:}\quad & \bigl\langle\log(1 + e^{-f(\mathbf x)})\bigr\rangle + \bigl\langle\log(1 + e^{f(G(\mathbf z))})\bigr\rangle = -V ,\\
# \text{generator, saturating:}\quad & -\bigl\langle\log(1 + e^{f(G(\mathbf z))})\bigr\rangle = \langle\log(1-D)\rangle ,\\
# \text{generator, non-saturating:}\quad & \phantom{-}\bigl\langle\log(1 + e^{-f(G(\mathbf z))})\bigr\rangle = -\langle\log D\rangle ,\\
# \text{Wasserstein:}\quad & \langle f(G(\mathbf z))\rangle - \langle f(\mathbf x)\rangle \;\text{ and }\; -\langle f(G(\mathbf z))\rangle .
# \end{aligned}
# $$ (eq-gan-losses)

# %%
show_source(gan.discriminator_loss, gan.generator_loss)

# %% [markdown]
# The first generator makes the game zero-sum: one's loss is the other's gain. The second does not, although both agree on what is better: it has no value function $V$ to find a saddle of. Why does everybody use it? Let data be $\mathcal N(0,1)$ and samples
# $x = \mu + z$, with the best discriminator, $f^* = -\mu x + \mu^2/2$. The derivative with respect to $\mu$, at fixed $f$, goes through $x$:
#
# $$
# \frac{\partial}{\partial\mu}\langle\log(1-D)\rangle_q = \mu\,\langle D^*\rangle_q , \qquad
# \frac{\partial}{\partial\mu}\langle-\log D\rangle_q = \mu\,\langle 1 - D^*\rangle_q .
# $$ (eq-gan-forces)
#
# If the distributions are far apart, the discriminator is sure that samples are fake: $\langle D^*\rangle_q = \int pq/(p+q)\,\mathrm dx\to0$, and the first force dies just where it is needed. With $x = \mu/2 + y$ the integral becomes
# $e^{-\mu^2/8}\,\langle1/(2\cosh(\mu y/2))\rangle$ over standard normal $y$, so that the force is asymptotically
#
# $$
# \mu\,\langle D^*\rangle_q \simeq \sqrt{\pi/2}\;e^{-\mu^2/8} .
# $$ (eq-gan-saturation)
#
# The second tends to $\mu$, a spring. Their sum is exactly $\mu$, the derivative of $\operatorname{KL}(q\,\Vert\,p) = \mu^2/2$. As the first is that of $2\operatorname{JSD}$, the second belongs to $\operatorname{KL}(q\,\Vert\,p) - 2\operatorname{JSD}$ {cite}`arjovsky2017`:
# a divergence that pays for leaving the data's support and *rewards* a large $\operatorname{JSD}$. That is a first hint of trouble: nothing here punishes a mode that is never visited.


# %%
def mean_d(mu):
    """⟨D*⟩_q for data N(0, 1) and samples N(mu, 1)."""
    return integral(lambda x: norm.pdf(x, mu) * expit(-mu * x + mu**2 / 2))


h = 1e-3
for mu in (1.0, 3.0):
    slope = (jsd(norm(mu + h), norm()) - jsd(norm(mu - h), norm())) / h
    verify(
        f"forces of both losses at distance {mu:g}",
        [mu * mean_d(mu), mu * (1 - mean_d(mu))],
        equals=[slope, mu - slope],
        atol=1e-5,
        source="slopes of 2 JSD and of KL − 2 JSD by differences, h²/6",
    )
verify(
    "the saturating force at distance 12 over its asymptote",
    12 * mean_d(12.0) / (np.sqrt(np.pi / 2) * np.exp(-(12**2) / 8)),
    equals=1,
    atol=(np.pi / 12) ** 2,
    source="eq-gan-saturation; next term (π/μ)²/2",
)

# %% [markdown]
# ### Convex in what?
#
# "The game is convex in the generator": it is, if the generator's variable is the *density*. $V(D, q)$ is linear in $q$, a maximum of linear functions is convex, so $\operatorname{JSD}(p, q)$ is convex in $q$. Parameters are another matter: $\mu\mapsto\operatorname{JSD}$ saturates, and a
# bounded function on the line cannot be convex.

# %%
ts = np.linspace(0, 1, 11)


class Mixture:
    """(1 − t) N(−3, 1) + t N(3, 1)."""

    def __init__(self, t):
        self.t = t

    def logpdf(self, x):
        with np.errstate(divide="ignore"):
            return np.logaddexp(
                np.log(1 - self.t) + norm.logpdf(x, -3),
                np.log(self.t) + norm.logpdf(x, 3),
            )


along = np.array([jsd(norm(), Mixture(t)) for t in ts])
bend = lambda mu: (  # noqa: E731
    jsd(norm(mu + 0.01), norm())
    - 2 * jsd(norm(mu), norm())
    + jsd(norm(mu - 0.01), norm())
)
inflection = brentq(bend, 1, 3)
verify(
    "second differences along mixtures of densities",
    np.diff(along, 2),
    at_least=-1e-9,
    source="JSD is convex in the density",
)
verify(
    "along the mean it is convex near, and concave far away",
    [bend(0.5), -bend(3.0)],
    at_least=0,
    source="a bounded function on the line is not convex",
)
show_table(
    ["curvature of JSD(N(0, 1), N(μ, 1)) changes sign at", "μ"],
    [["found by bisection", inflection]],
)

# %% [markdown]
# ## The game rotates
#
# Nobody has the best discriminator at hand. Both players move, a small step each. The smallest such game {cite}`mescheder2018`: the data are a single point at zero, the generator makes a single point $\theta$, the discriminator is linear, $f(x) = \psi x$. By {eq}`eq-gan-losses` (saturating) with
# infinitesimal steps
#
# $$
# \dot\theta = s(\psi\theta)\,\psi , \qquad \dot\psi = -s(\psi\theta)\,\theta .
# $$ (eq-gan-dirac)
#
# **Predict** the orbits. Divide: $\mathrm d\theta/\mathrm d\psi = -\psi/\theta$, so $\theta^2+\psi^2$ is conserved, although the equations are not linear. Circles: an oscillator without friction, with frequency $s(0) = \frac12$ near the origin. The equilibrium $\theta = \psi = 0$ is never reached.
#
# With steps of size $h$, both at once (*simultaneous*), $\begin{pmatrix}1 & h/2\\ -h/2 & 1\end{pmatrix}$ has eigenvalues $1\pm ih/2$ of modulus $\sqrt{1+h^2/4} > 1$: a spiral outwards. If the generator already sees the new discriminator
# (*alternating*), the matrix has determinant one and trace $2-h^2/4$: modulus exactly one for $h<4$. It is the symplectic Euler step of mechanics, and the same reason why planets stay on their orbits in a computer.
#
# Friction is what is missing. **R1** {cite}`mescheder2018` punishes slopes of the discriminator at the data,
#
# $$
# R_1 = \tfrac12\bigl\langle\lvert\nabla f(\mathbf x)\rvert^2\bigr\rangle_p , \qquad \text{weight } \gamma .
# $$ (eq-gan-r1)
#
# Here it is $\gamma\psi^2/2$, a force $-\gamma\psi$: $\ddot\theta + \gamma\dot\theta + \frac14\theta = 0$ near the origin, the damped oscillator with
#
# $$
# \lambda_\pm = -\frac\gamma2 \pm\sqrt{\frac{\gamma^2}4 - \frac14} .
# $$ (eq-gan-damping)
#
# It is critically damped at $\gamma = 1$; more friction makes it slow. We take the eigenvalues from the code: the course's losses, differentiated by PyTorch, and the Jacobian of a whole update by a second differentiation.


# %%
def players(state, gamma=0.0, loss="saturating"):
    """Descent directions of θ and ψ, from the course's losses."""
    theta, psi = state[0], state[1]
    zero = torch.zeros(1, dtype=state.dtype)
    of_g = gan.generator_loss((psi * theta)[None], loss)
    of_d = gan.discriminator_loss(psi * zero, (psi * theta)[None])
    of_d = of_d + gamma * psi**2 / 2
    options = {"create_graph": True}
    (d_theta,) = torch.autograd.grad(of_g, theta, **options)
    (d_psi,) = torch.autograd.grad(of_d, psi, **options)
    return torch.stack([-d_theta, -d_psi])


def update(state, h, gamma=0.0, alternating=True, loss="saturating"):
    """One update of the game: ψ first, then θ."""
    if not alternating:
        return state + h * players(state, gamma, loss)
    psi = state[1] + h * players(state, gamma, loss)[1]
    moved = torch.stack([state[0], psi])
    return torch.stack([state[0] + h * players(moved, gamma, loss)[0], psi])


def eigenvalues(function):
    """Of the Jacobian at the equilibrium, θ = ψ = 0."""
    origin = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(function, origin)
    return np.sort_complex(np.linalg.eigvals(jacobian.numpy()))


# %% [markdown]
# Each formula to six digits, and beyond $h = 4$:

# %%
for h in (0.1, 1.0, 3.9):
    verify(
        f"moduli of simultaneous and alternating steps, h = {h:g}",
        [
            np.abs(
                eigenvalues(lambda s, h=h: update(s, h, alternating=False))
            ),
            np.abs(eigenvalues(lambda s, h=h: update(s, h))),
        ],
        equals=[[np.sqrt(1 + h**2 / 4)] * 2, [1, 1]],
        atol=1e-6,
        source="trace and determinant of the linear map",
    )
for gamma in (0.3, 1.0, 3.0):
    root = np.sqrt(complex(gamma**2 / 4 - 0.25))
    # Two equal roots split by the root of a rounding error.
    verify(
        f"trace and product of the eigenvalues with R1, γ = {gamma:g}",
        [
            function(eigenvalues(lambda s, g=gamma: players(s, g))).real
            for function in (np.sum, np.prod)
        ],
        equals=[-gamma, ((-gamma / 2) ** 2 - root**2).real],
        atol=1e-6,
        source="eq-gan-damping",
    )
root = np.sqrt(complex(3**2 / 4 - 0.25))
verify(
    "eigenvalues with R1, γ = 3",
    eigenvalues(lambda s: players(s, 3.0)).real,
    equals=[-1.5 - root.real, -1.5 + root.real],
    atol=1e-6,
    source="eq-gan-damping",
)
verify(
    "alternating steps of size 4.1 diverge",
    np.abs(eigenvalues(lambda s: update(s, 4.1))).max(),
    at_least=1 + 1e-3,
    source="|trace| > 2",
)

# %% [markdown]
# The orbits beside the eigenvalues:


# %%
def orbit(n_steps, **options):
    """States of the game from θ = 1, ψ = 0."""
    state, states = torch.tensor([1.0, 0.0], dtype=torch.float64), []
    for _ in range(n_steps):
        states.append(state.numpy())
        state = update(state.requires_grad_(), **options).detach()
    return np.array(states)


runs = {
    "simultaneous": {"h": 0.3, "alternating": False},
    "alternating": {"h": 0.3},
    "R1, γ = 0.3": {"h": 0.3, "gamma": 0.3},
    "R1, γ = 1": {"h": 0.3, "gamma": 1.0},
    "R1, γ = 3": {"h": 0.3, "gamma": 3.0},
}
orbits = {name: orbit(150, **options) for name, options in runs.items()}
verify(
    "squared radius after 150 steps: outwards, and nearly constant",
    [
        (orbits["simultaneous"][-1] ** 2).sum(),
        -np.abs((orbits["alternating"] ** 2).sum(1) - 1).max(),
    ],
    at_least=[4, -0.3],
    source="(1 + h²/4)^149 = 28, less where s(ψθ) < ½; a closed orbit",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Top: five orbits in the plane of theta and psi: a spiral outwards, a closed curve, a spiral inwards, and two that go to the origin with little or no oscillation. Bottom: their two eigenvalues in the complex plane with the unit circle, outside, on, and inside of it."}, "figure": {"caption": "Top: orbits of the smallest game from θ = 1, ψ = 0 (dot), steps of 0.3. Bottom: eigenvalues of an update, and the unit circle.", "name": "fig-game-orbits"}}
fig, axes = plt.subplots(2, 5, figsize=(7.6, 3.4))
circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
for column, (name, states) in zip(axes.T, orbits.items(), strict=True):
    column[0].plot(*states.T, lw=0.8)
    column[0].plot(*states[0], "k.", ms=5)
    column[0].set_title(name, fontsize=9)
    column[0].set(xlim=(-3, 3), ylim=(-3, 3), xlabel=r"$\theta$", aspect=1)
    roots = eigenvalues(lambda s, o=runs[name]: update(s, **o))
    column[1].plot(circle.real, circle.imag, color="0.7", lw=0.8)
    column[1].plot(roots.real, roots.imag, "C1o", ms=4)
    column[1].set(xlim=(0, 1.3), ylim=(-0.65, 0.65), aspect=1, xlabel="Re")
axes[0, 0].set_ylabel(r"$\psi$")
axes[1, 0].set_ylabel("Im")
plt.show()

# %% [markdown]
# And the non-saturating loss? It has the same linear part, so it rotates too. But $\dot\theta = s(-\psi\theta)\,\psi$ now, and with $u = \psi\theta$ the squared radius $\rho^2 = \theta^2+\psi^2$ changes by
#
# $$
# \frac{\mathrm d\rho^2}{\mathrm dt} = 2u\,\bigl[s(-u) - s(u)\bigr] = -2u\tanh\frac u2 \le 0 :
# $$ (eq-gan-friction)
#
# a friction of fourth order. Orbits shrink, but like $t^{-1/2}$: no exponential convergence without a penalty.

# %%
points = np.random.default_rng([seed, 1]).normal(0, 1.5, (20, 2))
rates = []
for loss in ("saturating", "non-saturating"):
    moves = [
        players(torch.tensor(s, requires_grad=True), 0.0, loss).detach()
        for s in points
    ]
    rates.append(2 * (points * torch.stack(moves).numpy()).sum(1))
u = points.prod(1)
verify(
    "change of the squared radius: saturating, non-saturating",
    rates,
    equals=[0 * u, -2 * u * np.tanh(u / 2)],
    atol=1e-12,
    source="eq-gan-dirac, eq-gan-friction",
)

# %% [markdown]
# ## Undecided is not the same as right
#
# At the equilibrium $D = \frac12$ everywhere. The converse is often believed: if the discriminator says $\frac12$, the generator has won. In the smallest game look at $(\theta, 0)$: the discriminator says $\frac12$ to everything, and the generator is wrong by $\theta$. It is a moment in an orbit.
# Or the discriminator is too weak: for $p = \mathcal N(0,1)$ and $q = \mathcal N(0,4)$ the best *straight* line is $f = 0$. Let it have $x^2$ as well, and it is not fooled.

# %%
x_real, x_fake = rng.normal(0, 1, n), rng.normal(0, 2, n)
(_, w), value = fit_line(x_real, x_fake)
_, value_square = fit_line(x_real**2, x_fake**2)
verify(
    "value of the best line, and slope, for equal means",
    [value, w],
    equals=[-np.log(4), 0],
    atol=[3e-4, 5 * np.sqrt(0.8 / n)],
    source="D = ½; χ² with two degrees of freedom over 2n",
)
verify(
    "value with a parabola",
    value_square,
    equals=-np.log(4) + 2 * jsd(norm(), norm(0, 2)),
    atol=0.01,
    source="eq-gan-jsd; log p/q is a parabola",
)

# %% [markdown]
# ## A distance for distributions that do not meet
#
# The Jensen–Shannon divergence has no sense of *how far*: it is $\log 2$ for any two distributions that do not overlap. The **Wasserstein distance** has one, the mean way that probability has to be carried; on the line it is the area between the distribution functions, and in general, by duality, the largest
# difference of means of any function whose slope is at most one {cite}`arjovsky2017wgan`:
#
# $$
# W_1(p, q) = \int\lvert F_p(x) - F_q(x)\rvert\,\mathrm dx = \max_{\lvert f(x)-f(y)\rvert\le\lvert x-y\rvert}\;\langle f\rangle_p - \langle f\rangle_q .
# $$ (eq-gan-wasserstein)
#
# The maximum is again a discriminator, called critic, with the last loss of {eq}`eq-gan-losses`. For shifted Gaussians it is $f = x$, and $W_1 = \lvert\Delta\mu\rvert$. How to keep a network's slope at one? A penalty on mixtures of data and samples {cite}`gulrajani2017`,
#
# $$
# \lambda\,\bigl\langle(\lvert\nabla f(\mathbf y)\rvert - 1)^2\bigr\rangle, \qquad \mathbf y = u\,\mathbf x + (1-u)\,G(\mathbf z), \quad u\in[0,1] .
# $$ (eq-gan-gradient-penalty)
#
# A soft constraint gives way. For $f = ax$ the critic maximises $a\,\Delta\mu - \lambda(a-1)^2$, so its slope is
#
# $$
# a = 1 + \frac{\Delta\mu}{2\lambda} ,
# $$ (eq-gan-overshoot)
#
# and what it reports is $a\,\Delta\mu$, too much by the factor $a$. We let PyTorch find it.

# %%
strength, shifts = 10.0, (0.5, 2.0, 8.0)


def trained_slope(shift):
    """Slope of a linear critic for samples and the same ones, shifted."""
    critic = gan.DenseDiscriminator(1, (), dtype=torch.float64, seed=seed)
    z = rng.standard_normal((500, 1))
    solver = torch.optim.LBFGS(critic.parameters(), tolerance_grad=1e-10)

    def loss():
        solver.zero_grad()
        value = gan.discriminator_loss(
            critic(z + shift), critic(z), "wasserstein"
        )
        value = value + strength * gan.lipschitz_penalty(
            critic, z + shift, z, np.full(500, 0.5)
        )
        value.backward()
        return value

    for _ in range(3):
        solver.step(loss)
    return critic.to_numpy()[0][0].item()


def area(shift):
    """∫|F − G| of two Gaussians."""
    return quad(
        lambda x: abs(norm.cdf(x) - norm.cdf(x, shift)),
        -10,
        20,
        points=[0, shift],
        limit=200,
    )[0]


areas = [area(shift) for shift in shifts]
slopes = [trained_slope(shift) for shift in shifts]

# %% [markdown]
# Both against their formulas:

# %%
verify(
    "area between the distribution functions",
    areas,
    equals=shifts,
    atol=1e-6,
    source="a shift of one distribution by Δμ",
)
verify(
    "slope of the trained linear critic",
    np.abs(slopes),
    equals=[1 + shift / (2 * strength) for shift in shifts],
    atol=1e-5,
    source="eq-gan-overshoot",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Against the distance of two Gaussians: twice the Jensen-Shannon divergence bends over to log four, the Wasserstein distance is a straight line. Right, on a logarithmic axis: the saturating force falls like a parabola, the non-saturating one rises, that of Wasserstein is constant."}, "figure": {"caption": "Left: what the games measure for N(0, 1) and N(μ, 1). Right: force on the generator at the best discriminator; dotted: the asymptote of the saturating one.", "name": "fig-game-forces"}}
mus = np.linspace(0.05, 8, 60)
saturating = np.array([mu * mean_d(mu) for mu in mus])
fig, axes = plt.subplots(1, 2, figsize=(7, 2.8))
axes[0].plot(mus, [2 * jsd(norm(mu), norm()) for mu in mus], label="2 JSD")
axes[0].plot(mus, mus, "--", label="$W_1$")
axes[0].set(xlabel=r"distance $\mu$", ylim=(0, 4))
axes[0].legend()
axes[1].semilogy(mus, saturating, label="saturating")
axes[1].semilogy(mus, mus - saturating, "-.", label="non-saturating")
axes[1].semilogy(mus, np.ones_like(mus), "--", label="Wasserstein")
axes[1].semilogy(mus, np.sqrt(np.pi / 2) * np.exp(-(mus**2) / 8), "k:")
axes[1].set(xlabel=r"distance $\mu$", ylabel="force", ylim=(1e-4, 20))
axes[1].legend()
plt.show()

# %% [markdown]
# ## Let two networks play
#
# The generator is $x = a + bz$, the data $\mathcal N(2, 0.5^2)$, the discriminator a small network. In each update the discriminator makes one step on a new minibatch and then the generator one: they alternate by minibatches, not by epochs, or one of them would run far ahead. (The
# generator needs a gradient through its sample: a Boltzmann machine, whose samples come from a Markov chain of coin tosses, cannot play this part.) We compare the game with and without R1.

# %%
data = 2 + 0.5 * rng.standard_normal((20_000, 1))


def play(gamma):
    """b, a and the discriminator's loss after each update."""
    generator = gan.DenseGenerator(1, 1, ())
    generator.from_numpy([(np.array([[1.0]]), np.array([0.0]))])
    discriminator = gan.DenseDiscriminator(
        1, (16, 16), activation="tanh", seed=[seed, 3]
    )
    path = []

    def watch(t, generator, discriminator, values):
        b, a = (w.item() for w in generator.to_numpy()[0])
        path.append([b, a, values["discriminator_loss"]])

    gan.train(
        generator,
        discriminator,
        data,
        n_updates=n_updates,
        batch_size=128,
        learning_rate=1e-2,
        final_learning_rate=0.0,
        betas=(0.0, 0.99),
        r1=gamma,
        seed=[seed, 4],
        callback=watch,
    )
    return np.array(path)


paths = {"without": play(0.0), "R1, γ = 1": play(1.0)}
b, a, loss = paths["R1, γ = 1"][-1]
verify(
    "with R1 the generator finds mean and width of the data",
    [a, abs(b)],
    equals=[2.0, 0.5],
    atol=0.15,
    source="the data's; 0.15 for a game of finite length, empirical",
)
final = paths["R1, γ = 1"][-200:, 2].mean()
verify(
    "and the discriminator's loss ends at log 4",
    final,
    equals=np.log(4),
    atol=0.02,
    source="eq-gan-jsd at q = p; 0.02 for the last rates",
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the mean of the samples rises from zero to two, within some hundred updates. Right: paths in the plane of mean and width; the width first grows or nearly vanishes, and both paths end near the point two, one half."}, "figure": {"caption": "The small game, without and with R1. Left: mean of the samples. Right: mean and width; cross: the data.", "name": "fig-game-small"}}
fig, axes = plt.subplots(1, 2, figsize=(7, 2.8))
for name, path in paths.items():
    axes[0].plot(path[:, 1], lw=0.8, label=name)
    axes[1].plot(path[:, 1], np.abs(path[:, 0]), lw=0.8)
axes[0].axhline(2, color="0.6", lw=0.8)
axes[0].set(xlabel="update", ylabel="mean of samples $a$")
axes[0].legend()
axes[1].plot(2, 0.5, "k+", ms=10)
axes[1].set(xlabel="$a$", ylabel="$|b|$")
plt.show()

# %% [markdown]
# ## Break it
#
# In mechanics friction with the wrong sign drives an oscillator. **Predict** what a small *negative* weight of R1 does in the smallest game, and what a learning rate beyond 4 does without any.

# %%
negative = np.abs(eigenvalues(lambda s: update(s, 0.1, gamma=-0.2)))
verify(
    "negative friction: growth per step",
    negative,
    equals=np.sqrt(1 + 0.1 * 0.2),
    atol=1e-6,
    source="determinant 1 − hγ of the alternating step",
)
verify(
    "with h = 4.5 the origin is left, however close the start",
    np.abs(eigenvalues(lambda s: update(s, 4.5))).max(),
    equals=(4.5**2 / 4 - 2) / 2 + np.sqrt(((4.5**2 / 4 - 2) / 2) ** 2 - 1),
    atol=1e-6,
    source="trace 2 − h²/4 and determinant one",
)

# %% [markdown]
# The determinant of an alternating step is $1 - h\gamma$: positive friction contracts areas of the phase space, as friction does. And a step that is too large destroys what no friction had kept: for the linear map a pair of real eigenvalues, one of them beyond $-1$.
#
# ## Exercises
#
# ::::{exercise} Bennett's method
# :label: ex-game-bennett
# Let $p\propto e^{-x^2/2}$ and $q\propto e^{-kx^2/2}$, energies known, normalisations not. Maximise $V$ over $f(x) = (k-1)x^2/2 + c$. What is the best $c$, and what does it say about free energies? Check with samples for $k = 5$, with the error from the Fisher information.
# ::::
#
# ::::{solution-start} ex-game-bennett
# :class: dropdown
# ::::

# %% [markdown]
# $f^* = \log p/q = (k-1)x^2/2 + \log(Z_q/Z_p)$, so $c = F_p - F_q$ (at $T = 1$), here $-\frac12\log k$. The condition $\partial V/\partial c = 0$ is $\langle 1-D\rangle_p = \langle D\rangle_q$, Bennett's equation {cite}`bennett1976`.

# %% tags=["solution"]
stiffness = 5.0
x_real, x_fake = rng.normal(0, 1, n), rng.normal(0, stiffness**-0.5, n)
work = lambda x: (stiffness - 1) * x**2 / 2  # noqa: E731
balance = lambda c: (  # noqa: E731
    expit(-work(x_real) - c).mean() - expit(work(x_fake) + c).mean()
)
offset = brentq(balance, -10, 10)
f = lambda x: work(x) - np.log(stiffness) / 2  # noqa: E731
information = integral(
    lambda x: (
        expit(f(x))
        * expit(-f(x))
        * (norm.pdf(x) + norm.pdf(x, 0, stiffness**-0.5))
    )
)
verify(
    "free-energy difference of two springs",
    offset,
    equals=-np.log(stiffness) / 2,
    atol=5 / np.sqrt(information * n),
    source="Gaussian integrals; five standard errors",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} Friendly labels
# :label: ex-game-smoothing
# *One-sided label smoothing* replaces the label 1 of real data by $\alpha = 0.9$: the discriminator maximises $\langle\alpha\log D + (1-\alpha)\log(1-D)\rangle_p + \langle\log(1-D)\rangle_q$. Find its best answer. Why must fake labels not be smoothed as well?
# ::::
#
# ::::{solution-start} ex-game-smoothing
# :class: dropdown
# ::::

# %% [markdown]
# $D^* = \alpha p/(p+q)$: a shrunk ratio with the same order of points. With fake labels $\beta$ one gets $(\alpha p+\beta q)/(p+q)$, whose numerator contains $q$: where $p$ is small, $D^*\to\beta$ has a plateau that the model itself has made, and no force leads away from it {cite}`salimans2016`.

# %% tags=["solution"]
where = np.array([-1.0, 0.5, 2.0])
p, q = norm.pdf(where, 1), norm.pdf(where)
best = [
    minimize(
        lambda f, a=a, b=b: (
            -(
                a * (0.9 * log_expit(f) + 0.1 * log_expit(-f))
                + b * log_expit(-f)
            ).item()
        ),
        0.0,
        tol=1e-12,
    ).x.item()
    for a, b in zip(p, q, strict=True)
]
verify(
    "best discriminator with smoothed labels",
    expit(best),
    equals=0.9 * p / (p + q),
    atol=1e-5,
    source="derivative of the smoothed value",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} The best friction
# :label: ex-game-friction
# Which $\gamma$ makes the smallest game converge fastest, in continuous time, and at which rate? What happens for large $\gamma$?
# ::::
#
# ::::{solution-start} ex-game-friction
# :class: dropdown
# ::::

# %% [markdown]
# The slowest rate is $\gamma/2$ below critical damping, and $\gamma/2-\sqrt{\gamma^2/4-1/4}\approx 1/4\gamma$ above: it is largest, $\frac12$, at $\gamma = 1$. For large $\gamma$ the discriminator is held so flat that it hardly pushes.

# %% tags=["solution"]
gammas = np.linspace(0.2, 3, 29)
rates = [-eigenvalues(lambda s, g=g: players(s, g)).real.max() for g in gammas]
verify(
    "best friction and its rate",
    [gammas[np.argmax(rates)], max(rates)],
    equals=[1.0, 0.5],
    atol=1e-6,
    source="eq-gan-damping",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ## Summary
#
# A classifier between data and samples estimates the log-ratio of their densities, and with the best classifier the game measures the Jensen–Shannon divergence, or with a bounded slope the Wasserstein distance. Played by small steps it is an oscillator: simultaneous steps drive it, alternating
# ones keep it going, and a penalty on the discriminator's slope is its friction. That the discriminator is undecided proves nothing.
#
# The game is that of {cite:t}`goodfellow2014`, and of section 20.10.4 in {cite:t}`goodfellow2016`; its dynamics is analysed in {cite:t}`mescheder2018`, its gradients in {cite:t}`arjovsky2017`.
#
# **Next:** {lecture}`4.2` plays in the plane, where a generator can forget most of the data.
