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
# # Start here: learn one density in four ways
#
# Give a physicist the energy of a system and she writes down the probability of every state. Give her only the states,
# a few thousand snapshots of spins, electrons or galaxies, and ask for the probability: this is the inverse problem,
# and a **generative model** is an answer to it. It is a density $p(x; \Theta)$ with adjustable parameters $\Theta$, or at least
# a recipe that draws from one, fitted until its samples look like the data. You gain new samples; in most families,
# the probability of an event that you have not seen; and now and then, parameters that can be read.
#
# Boltzmann machines, energy-based models, variational autoencoders and generative adversarial networks are four families
# of such models. They look unrelated. They are four answers to one question, which fits in one line:
# *what do you do about the normalisation?*
#
# :::{admonition} Plan
# :class: tip
# **You will** see why the normalisation is hard, fit all four families to one distribution whose exact density you know,
# and measure how far each is from it.
# **You need** the Boltzmann distribution, Gaussian integrals, and what a standard error is. PyTorch helps, but you can
# read on without it.
# **Reading time** 45 minutes, exercises not counted. On a first reading skip the code: text and figures carry the story.
# **CPU time** 25 s.
# :::

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import erf, erfc
from torch import nn
from torch.nn.functional import softplus

from advml.checks import ClaimError, verify
from advml.display import progress, show_table

plt.style.use("advml.course")
torch.set_num_threads(1)  # the networks here are too small to share out

# %% [markdown]
# Each notebook has one cell with the settings that you may want to change. Every check below holds for other seeds too.

# %% tags=["parameters"]
seed = 0
n_data = 4000

# %% [markdown]
# ## A density, and a number that nobody can compute
#
# Any positive density can be written as a Boltzmann distribution at temperature one. Take $E = -\log p$, up to a constant:
#
# $$
# p(x; \Theta) = \frac{e^{-E(x;\,\Theta)}}{Z(\Theta)}, \qquad
# Z(\Theta) = \sum_x e^{-E(x;\,\Theta)} .
# $$ (eq-start-density)
#
# For continuous $x$ the sum is an integral. The numerator can come from any function $E$ you like, a quadratic form or a deep network.
# The denominator makes it a probability, and it is a sum over *all* states. We meet it at once when we fit the model.
# **Maximum likelihood** picks the parameters under which the data are most probable. The mean log-likelihood of the data is
#
# $$
# L(\Theta) = \big\langle \log p(x;\Theta) \big\rangle_\text{data}
#           = -\big\langle E(x;\Theta) \big\rangle_\text{data} - \log Z(\Theta) .
# $$ (eq-start-likelihood)
#
# Its unit, with natural logarithms, is the **nat**.
#
# How hard is $\log Z$? Take a ring of $N$ Ising spins, $E = -K \sum_i s_i s_{i+1}$. The brute-force sum has $2^N$ terms. But the sum over
# each spin is a product with the transfer matrix $M_{ss'} = e^{K s s'}$, so that
# $Z = \operatorname{Tr} M^N = \lambda_+^N + \lambda_-^N$ with the eigenvalues $\lambda_+ = 2\cosh K$ and $\lambda_- = 2\sinh K$.

# %%
K, rows = 0.8, []
for N in (4, 8, 12, 16):
    bits = np.arange(2**N)[:, None] >> np.arange(N) & 1  # row k: k in binary
    spins = 2 * bits - 1
    bonds = (spins * np.roll(spins, 1, axis=1)).sum(axis=1)
    by_enumeration = np.log(np.exp(K * bonds).sum())
    eigenvalues = 2 * np.cosh(K), 2 * np.sinh(K)
    by_structure = np.log(sum(value**N for value in eigenvalues))
    rows.append([N, 2**N, by_enumeration, by_structure])
show_table(["spins", "states", "log Z, sum", "log Z, transfer matrix"], rows)
verify(
    "the transfer matrix gives the log Z of the sum over all states",
    [row[3] for row in rows],
    equals=[row[2] for row in rows],
    rtol=1e-12,
    source="enumeration of all states",
)

# %% [markdown]
# Two eigenvalues replace 65 536 terms, because the chain has *structure*. Such luck is rare. A binary image of
# 28 × 28 pixels has $2^{784} \approx 10^{236}$ states, and no transfer matrix.
#
# The line with a tick is no decoration. In this course a number or a law that the text builds on is followed by a check,
# `verify`, that stops the notebook if it fails. It prints *claim: ‹measured› = ‹expected ± tolerance›*, or ≤ or ≥ for a bound, and of many values
# the one that came closest to failing (for an interval, one for each end). Numbers in ‹ ›, on the course pages in typewriter, may differ between machines.
#
# Do we need $\log Z$ at all? To *climb* the likelihood we need only its slope, and that is an average:
#
# $$
# \nabla_\Theta \log Z = \frac{1}{Z} \sum_x \big( -\nabla_\Theta E \big)\, e^{-E}
#                      = -\big\langle \nabla_\Theta E \big\rangle_{p},
# $$
#
# so that
#
# $$
# \nabla_\Theta L = -\big\langle \nabla_\Theta E \big\rangle_\text{data}
#                  + \big\langle \nabla_\Theta E \big\rangle_{p} .
# $$ (eq-start-two-phases)
#
# The first average, the *positive phase*, pulls the energy down where the data are. The second, the *negative phase*, pushes
# it up where the model puts its own probability. Training ends when the two balance. This is the central equation of
# weeks 1 and 2. It has turned a sum over all states into samples from the model, and physicists know how to sample.

# %% [markdown]
# ## A test case with a known answer
#
# A model can only be judged where the truth is known. Our test case is an old friend, the Mexican hat. A
# particle moves in the plane in the energy
#
# $$
# E(x) = \big( |x|^2 - 1 \big)^2
# $$ (eq-start-hat)
#
# at temperature $T$: $E/T$ takes the place of $E$ in {eq}`eq-start-density`, and $T$ that of $\Theta$.
# It costs energy to leave the circle $|x| = 1$, and none to move along it. For once we can do the integral.
# In polar coordinates $\mathrm{d}^2x = r\,\mathrm{d}r\,\mathrm{d}\varphi$, and with $u = r^2 - 1$, $\mathrm{d}u = 2r\,\mathrm{d}r$,
#
# $$
# Z(T) = 2\pi \int_0^\infty e^{-(r^2-1)^2/T}\, r\,\mathrm{d}r
#      = \pi \int_{-1}^\infty e^{-u^2/T}\,\mathrm{d}u
#      = \tfrac{1}{2} \pi \sqrt{\pi T}\; \mathrm{erfc}\big(-1/\sqrt{T}\big) ,
# $$ (eq-start-hat-z)
#
# with $\mathrm{erfc}(y) = \tfrac{2}{\sqrt{\pi}} \int_y^\infty e^{-t^2}\,\mathrm{d}t$. The substitution also tells us how to draw exact
# samples: the angle is uniform, and $u$ is a Gaussian of variance $T/2$, cut off at $-1$.
# The mean energy follows from $\langle E \rangle = T^2\, \partial_T \log Z$:
#
# $$
# \langle E \rangle = \frac{T}{2}
#   - \sqrt{\frac{T}{\pi}}\; \frac{e^{-1/T}}{\mathrm{erfc}(-1/\sqrt{T})} .
# $$ (eq-start-hat-energy)
#
# The first term is equipartition: $T/2$ for the one stiff direction, nothing for the free one. The second is the tip of the
# hat at $r = 0$, which a cold particle never sees.

# %%
T = 0.2


def energy(x):
    return ((x**2).sum(axis=-1) - 1) ** 2


def draw(n, seed):
    rng = np.random.default_rng(seed)
    u = np.sqrt(T / 2) * rng.standard_normal(2 * n + 100)
    radius = np.sqrt(1 + u[u > -1][:n])
    angle = rng.uniform(0, 2 * np.pi, n)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


Z = np.pi / 2 * np.sqrt(np.pi * T) * erfc(-1 / np.sqrt(T))
tip = np.sqrt(T / np.pi) * np.exp(-1 / T) / erfc(-1 / np.sqrt(T))
mean_energy = T / 2 - tip
x_data = draw(n_data, seed)

# %% [markdown]
# Look at the energy along one axis, and at the data: this cloud is all that the four models will be given.

# %% mystnb={"image": {"alt": "Left: a double-well curve with minima at plus and minus one, a bump of height one between them, and a dashed line at energy 0.2 near the bottom. Right: two thousand points that form a ring of radius one with a standard deviation of about 0.17."}, "figure": {"caption": "The energy along a cut through the Mexican hat (left) and exact samples at $T = 0.2$ (right).", "name": "fig-start-hat"}}
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 2.9))
cut = np.linspace(-1.45, 1.45, 200)
left.plot(cut, energy(np.stack([cut, 0 * cut], axis=1)))
left.axhline(T, color="0.4", linestyle="--")
left.text(0, T + 0.03, "$T$", color="0.3", ha="center")
left.set(xlabel="$x_1$ at $x_2 = 0$", ylabel="energy $E$")
right.plot(*x_data[:2000].T, ".", markersize=2)
right.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
right.set(xlim=(-1.8, 1.8), ylim=(-1.8, 1.8))
plt.show()

# %% [markdown]
# Before we lean on the two closed forms, a quadrature that knows nothing of the substitution has to agree with them, and the
# samples have to have the right mean energy. A mean of $n$ independent samples has the standard error $\sigma/\sqrt{n}$; we allow
# five of them, which chance exceeds once in 1.7 million runs.

# %%
weight = lambda r: 2 * np.pi * r * np.exp(-((r**2 - 1) ** 2) / T)  # noqa: E731
z_quadrature = quad(weight, 0, 4, epsabs=1e-13)[0]
e_quadrature = quad(lambda r: (r**2 - 1) ** 2 * weight(r), 0, 4)[0]
verify(
    "closed form of the partition function",
    Z,
    equals=z_quadrature,
    rtol=1e-9,
    source="quadrature over the radius",
)
verify(
    "closed form of the mean energy",
    mean_energy,
    equals=e_quadrature / z_quadrature,
    rtol=1e-8,
    source="quadrature over the radius",
)
verify(
    "the data have the exact mean energy",
    energy(x_data).mean(),
    equals=mean_energy,
    atol=5 * energy(x_data).std() / np.sqrt(n_data),
    source="closed form above",
)

# %% [markdown]
# ## Break it: forget the normalisation
#
# Suppose that you know the hat but not its temperature, and want to fit $T$ to the data. Maximum likelihood minimises
# $\langle E \rangle_\text{data}/T + \log Z(T)$. What does the fit give if you drop $\log Z$, because it is a nuisance, and minimise
# $\langle E \rangle_\text{data}/T$ alone? Predict before you look.

# %% mystnb={"image": {"alt": "Two curves against temperature on a logarithmic axis. The full objective has a clear minimum at 0.2, marked by a vertical line. The objective without log Z falls monotonically to zero as the temperature grows."}, "figure": {"caption": "The negative log-likelihood of a temperature, with and without $\\log Z$.", "name": "fig-start-forget"}}
temperatures = np.geomspace(0.05, 5, 4001)
log_z = np.log(
    np.sqrt(np.pi * temperatures) * erfc(-1 / np.sqrt(temperatures))
) + np.log(np.pi / 2)
first_term = energy(x_data).mean() / temperatures
fitted = temperatures[np.argmin(first_term + log_z)]

fig, ax = plt.subplots(figsize=(5.4, 2.9))
ax.semilogx(temperatures, first_term + log_z, label="with $\\log Z$")
ax.semilogx(temperatures, first_term, "--", label="without")
ax.axvline(T, color="0.6", linewidth=1)
ax.set(xlabel="temperature $T$ of the model", ylabel="nats per sample")
ax.set(ylim=(-0.1, 3))
ax.legend()
plt.show()

# %% [markdown]
# Without the second term the fit runs to $T \to \infty$: an infinitely hot model charges nothing for any state, and
# nothing reminds it that probabilities sum to one. With it the temperature comes out as it should, and we know how well it
# can come out. The curvature of $L$ in $\beta = 1/T$ is $-\operatorname{Var} E$, so that $n$ samples fix $\beta$ up to the variance
# $1/(n \operatorname{Var} E)$. For a Gaussian $u$, $\operatorname{Var} E = T^2/2$, and the relative error is $\sqrt{2/n}$. The cut at the tip
# changes it by a few per cent.

# %%
verify(
    "the fit finds the temperature of the data",
    fitted,
    equals=T,
    rtol=5 * np.sqrt(2 / n_data),
    source="the data were drawn at this T; error from the Fisher information",
)
verify(
    "without log Z the objective falls with T everywhere",
    np.diff(first_term).max(),
    at_most=0,
    source="E >= 0, so that <E>/T falls with T",
)

# %% [markdown]
# ## Four ways around the normalisation
#
# Now the four families, each trained for a few seconds on the same data, in as few
# lines as we could honestly write. Do not follow each line now. Look for the one, marked with an arrow, that deals with $Z$;
# the rest is explained in its own week.
#
# Three of the families use a small *network*: a function $x \mapsto A_3\,f(A_2\,f(A_1x + c_1) + c_2) + c_3$ with adjustable matrices and
# vectors, in which $f(u) = u/(1 + e^{-u})$ acts on each of 32 entries. The two vectors in between are its hidden *layers*. (The hidden
# *units* of the Boltzmann machine below are something else, spins.) Three families are trained by the loop `descend` below, the fourth
# needs its own. The optimiser `Adam` follows the gradient of a function called the **loss**, averaged over a batch of 256 random data points.

# %%
dice = torch.Generator().manual_seed(seed)
torch.manual_seed(seed)
data = torch.tensor(x_data, dtype=torch.float32)


def noise(*shape):
    return torch.randn(shape, generator=dice)


def network(n_in, n_out):
    layers = nn.Linear(n_in, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU()
    return nn.Sequential(*layers, nn.Linear(32, n_out))


def batches(n_steps, name):
    for _ in progress(range(n_steps), name):
        yield data[torch.randint(len(data), (256,), generator=dice)]


def descend(loss, parameters, rate, n_steps, name):
    optimiser = torch.optim.Adam(parameters, lr=rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    for batch in batches(n_steps, name):
        optimiser.zero_grad()
        loss(batch).backward()
        optimiser.step()
        slower.step()


# %% [markdown]
# ### Boltzmann machine: choose an energy that is easy to sample (week 1)
#
# Add **hidden units** $h_j \in \{0, 1\}$ that interact with $x$ but not with each other. For continuous $x$,
#
# $$
# E(x, h) = \frac{|x - a|^2}{2\sigma^2} - b \cdot h - \frac{x^\top W h}{\sigma^2} .
# $$ (eq-start-rbm)
#
# No hidden unit couples to another: this is the *restricted* Boltzmann machine, or RBM. Given $x$, the $h_j$ are independent, with
# $p(h_j{=}1\,|\,x) = 1/(1 + e^{-\phi_j})$ and $\phi_j = b_j + (x^\top W)_j/\sigma^2$. Given $h$, $x$ is a Gaussian around $a + Wh$. Drawing from
# the two in turn is **Gibbs sampling**, two matrix products per step, and supplies the negative phase of {eq}`eq-start-two-phases`.
# The sum over $h$ can be done by hand and leaves the **free energy** $F(x) = |x-a|^2/2\sigma^2 - \sum_j \log(1 + e^{\phi_j})$.

# %%
n_hidden, sigma = 10, 0.2
W = (0.3 * noise(2, n_hidden)).requires_grad_()
a = torch.zeros(2, requires_grad=True)
b = torch.zeros(n_hidden, requires_grad=True)


def free_energy(x):
    phi = b + x @ W / sigma**2
    return ((x - a) ** 2).sum(1) / (2 * sigma**2) - softplus(phi).sum(1)


@torch.no_grad()
def gibbs(x, n_steps):
    for _ in range(n_steps):
        on = torch.sigmoid(b + x @ W / sigma**2)
        h = torch.bernoulli(on, generator=dice)
        x = a + h @ W.T + sigma * noise(*x.shape)
    return x


def machine_loss(batch):
    walkers[:] = gibbs(walkers, 5)  # <- the model's own samples replace Z
    return free_energy(batch).mean() - free_energy(walkers).mean()


walkers = noise(256, 2)
descend(machine_loss, [W, a, b], 0.005, 1500, "Boltzmann machine")
samples = {"Boltzmann machine": gibbs(noise(n_data, 2), 200)}

# %% [markdown]
# The loss is $\langle F\rangle$ over the batch minus $\langle F\rangle$ over the *walkers*, 256 points that Gibbs sampling moves by five
# steps before each change of the parameters. It is a strange loss. Its *value* says nothing and need not fall. Only its *gradient* is meant, and only with the walkers held fixed:
# then it is minus {eq}`eq-start-two-phases`. That is why `gibbs` runs without gradients. The walkers
# are *persistent*: they go on from where they were, while the parameters creep. Week 1 says when such chains can be trusted.

# %% [markdown]
# ### Energy-based model: any energy, sampled by its slope (week 2)
#
# Why restrict the energy at all? Let $E(x)$ be a network, plus a harmonic trap that keeps $Z$ finite. There are no simple
# conditionals any more, but the slope of $\log p$ in $x$ is free of the normalisation,
#
# $$
# \nabla_x \log p(x;\Theta) = -\nabla_x E(x;\Theta) ,
# $$ (eq-start-score)
#
# because $Z$ does not depend on $x$. Follow the slope, add noise of the matching size, and you have a thermostat:
# **Langevin dynamics**, $x \leftarrow x - \eta \nabla_x E + \sqrt{2\eta}\, w$ with Gaussian $w$. (This is exact for small
# $\eta$ only. In a valley with the ring's curvature, $8/T = 40$, our $\eta = 0.01$ makes the chain a quarter too wide in
# variance, and the energy learns to compensate: week 2.) The loss is the same two phases as before, again with the walkers held
# fixed (`detach`). Only the sampler has changed.

# %%
net = network(2, 1)


def model_energy(x):
    return net(x)[:, 0] + 2 * (x**2).sum(1)


def langevin(x, n_steps, eta=0.01):
    for _ in range(n_steps):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(model_energy(x).sum(), x)
        x = x - eta * slope + np.sqrt(2 * eta) * noise(*x.shape)
    return x.detach()


def ebm_loss(batch):
    walkers[:] = langevin(walkers, 10)  # <- the slope in x needs no Z
    return model_energy(batch).mean() - model_energy(walkers).mean()


walkers = noise(256, 2)
descend(ebm_loss, net.parameters(), 0.01, 600, "energy-based model")
samples["energy-based model"] = langevin(noise(n_data, 2), 200)

# %% [markdown]
# ### Variational autoencoder: normalised by construction, then bounded (week 3)
#
# Or avoid $Z$ from the start. Draw a **latent** $z$ from the *prior* $p(z)$, a standard Gaussian, send it through a network $\mu(z)$,
# and add Gaussian noise. The *decoder* is $p(x|z) = \mathcal{N}(x;\, \mu(z),\, s^2 I)$, and
#
# $$
# p(x;\Theta) = \int p(x|z)\; p(z)\;\mathrm{d}z .
# $$ (eq-start-vae)
#
# This is normalised for any network, and a sample costs one pass. The trouble has moved: now we cannot do the integral
# over $z$. A second network, the *encoder* $q(z|x)$, guesses which $z$ may have made a given $x$. Its error is measured by the
# **Kullback–Leibler divergence** $\mathrm{KL}(q\,\|\,p) = \langle \log q/p \rangle_q \ge 0$. Insert Bayes' rule
# $p(x) = p(x|z)\,p(z)/p(z|x)$ into $\log p(x)$, average over $q(z|x)$, and add and subtract $\log q$:
#
# $$
# \begin{aligned}
# \log p(x;\Theta) = \big\langle \log p(x|z) \big\rangle_{q(z|x)} &- \mathrm{KL}\big(q(z|x)\,\|\,p(z)\big) \\
#   &+ \mathrm{KL}\big(q(z|x)\,\|\,p(z|x)\big) .
# \end{aligned}
# $$ (eq-start-elbo)
#
# The last term needs $p(z|x)$, which we do not have, but it is not negative. Drop it, and the rest is a lower bound of the
# log-likelihood, the **evidence lower bound** or ELBO. Training raises the bound; no Markov chain is needed.

# %%
encoder, decoder = network(2, 4), network(2, 2)
log_s = torch.tensor(-1.0, requires_grad=True)


def minus_elbo(x):
    mean, log_var = encoder(x).chunk(2, dim=1)
    z = mean + torch.exp(log_var / 2) * noise(*mean.shape)
    misfit = ((x - decoder(z)) ** 2).sum(1) / (2 * torch.exp(2 * log_s))
    minus_log_p = misfit + 2 * log_s + np.log(2 * np.pi)
    # KL of the Gaussian q(z|x) from the standard Gaussian p(z)
    kl = (mean**2 + log_var.exp() - 1 - log_var).sum(1) / 2
    return (minus_log_p + kl).mean()  # <- a bound; no Z anywhere


parameters = [*encoder.parameters(), *decoder.parameters(), log_s]
descend(minus_elbo, parameters, 0.01, 1500, "autoencoder")
with torch.no_grad():
    clean = decoder(noise(n_data, 2))
    samples["variational autoencoder"] = clean + log_s.exp() * noise(n_data, 2)

# %% [markdown]
# ### Generative adversarial network: give up the density (week 4)
#
# The boldest way is to have no density at all. A **generator** $G$ turns noise into samples, $x = G(z)$, and a second network,
# the **discriminator** $D$, learns to tell them from the data. It minimises
#
# $$
# \big\langle \log(1 + e^{-D(x)}) \big\rangle_\text{data} + \big\langle \log(1 + e^{D(x)}) \big\rangle_G .
# $$ (eq-start-gan)
#
# Set the derivative with respect to $D(x)$ to zero, point by point: $e^{D(x)} = p_\text{data}(x)/p_G(x)$. A perfect discriminator
# knows the ratio of two densities that nobody ever wrote down. (On this page $D$ is a log-odds, or *logit*: the
# discriminator gives the probability $1/(1 + e^{-D})$, the *sigmoid* of $D$, that $x$ is a datum. The literature, and this course from
# week 4 on, calls that probability $D$.)
# The generator minimises $\langle \log(1 + e^{-D}) \rangle_G$: it follows the slope of $D$ to where data are missed. Two players who answer
# each other can circle the solution for ever, like position and momentum of an oscillator. The penalty
# on the slope of $D$ is the friction {cite}`mescheder2018`.

# %%
G, D = network(2, 2), network(2, 1)
players = []
for player in (G, D):
    adam = torch.optim.Adam(player.parameters(), lr=0.002, betas=(0.5, 0.9))
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 1500)
    players.append((adam, slower))


def play(player, loss):
    adam, slower = player
    adam.zero_grad()
    loss.backward()
    adam.step()
    slower.step()


for real in batches(1500, "adversarial network"):
    fake = G(noise(256, 2))
    real.requires_grad_()
    score = D(real)
    (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    penalty = 0.15 * (slope**2).sum(1).mean()
    told_apart = softplus(-score).mean() + softplus(D(fake.detach())).mean()
    play(players[1], told_apart + penalty)
    play(players[0], softplus(-D(fake)).mean())  # <- no density anywhere

with torch.no_grad():
    samples["adversarial network"] = G(noise(n_data, 2))

# %% [markdown]
# ## One picture
#
# Here are the samples of all four. For comparison, the last panel shows the best single Gaussian: a disc and no ring, what no effort at all
# would give. Its variance per axis is $v = \langle r^2 \rangle/2$.

# %% mystnb={"image": {"alt": "Six square panels with point clouds. Data: an even ring. Boltzmann machine: a ring like the data, a little wider. Energy-based model: a ring much like the data. Variational autoencoder: a soft, wide ring with points inside the hole. Adversarial network: a thin, sharp ring of uneven thickness, with many points scattered over the hole. Best Gaussian: a round blob with no hole."}, "figure": {"caption": "Samples of the four families, trained for a few seconds each on the same data, and of the best Gaussian.", "name": "fig-start-families"}}
v = (1 + tip) / 2  # <r²> = 1 + <u>, and <u> = tip by the same integral
disc = np.random.default_rng(seed).standard_normal((n_data, 2))
clouds = {"data": x_data}
clouds |= {name: x.double().numpy() for name, x in samples.items()}
clouds["best Gaussian"] = np.sqrt(v) * disc

fig, axes = plt.subplots(2, 3, figsize=(6.4, 4.5), sharex=True, sharey=True)
colours = ["black", "C0", "C1", "C2", "C3", "0.5"]
for ax, name, colour in zip(axes.flat, clouds, colours, strict=True):
    ax.plot(*clouds[name].T, ".", markersize=1, color=colour)
    ax.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal")
    ax.set_title(name, fontsize=10)
fig.supxlabel("$x_1$", fontsize=10)
fig.supylabel("$x_2$", fontsize=10)
plt.show()

# %% [markdown]
# All four have learned a ring, and each betrays its construction. The Boltzmann machine lays Gaussian blobs around
# the circle. Their width $\sigma = 0.2$, set by hand, is a little more than the ring's 0.17. The energy-based model looks most like the data, and pays for it with ten Langevin steps for each step of
# training. The autoencoder is soft. Its latent disc has no hole, the ring has one. A smooth decoder could open the ring at a seam, as our
# function `draw` does at angle 0, but neighbours across the seam would have distant latents, and a smooth encoder cannot jump.
# Training settles for a disc laid over the ring, and some samples land inside. The adversarial network fills the hole too, and its
# ring is too thin.

# %% [markdown]
# ## Measure the distance to the truth
#
# Pictures persuade, numbers decide. For the three families with a density we can compute the divergence from the true one,
#
# $$
# \mathrm{KL}(p\,\|\,p_\Theta) = \int p(x) \log \frac{p(x)}{p(x;\Theta)}\;\mathrm{d}^2x \;\ge\; 0 ,
# $$ (eq-start-kl)
#
# the number of nats by which the model's mean log-likelihood on fresh data stays below the best possible.
# In the plane we can afford the missing sums; in applications we cannot, and each week teaches what to do instead. For the
# machine we complete the square in $x$. It is a mixture of $2^{10}$ Gaussians around $a + Wh$, and
#
# $$
# Z = 2\pi\sigma^2 \sum_h \exp\Big[ b \cdot h + \frac{|a + Wh|^2 - |a|^2}{2\sigma^2} \Big] .
# $$ (eq-start-rbm-z)

# %%
line = np.linspace(-2.4, 2.4, 121)
cell = (line[1] - line[0]) ** 2
grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
x_grid = torch.tensor(grid, dtype=torch.float32)


def blobs():
    n = len(b)
    h = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1  # (2^n, n)
    centres = a + h.float() @ W.T  # (2^n, 2)
    square = (centres**2).sum(1) - (a**2).sum()
    return centres, h.float() @ b + square / (2 * sigma**2)


@torch.no_grad()
def machine_log_p(x):
    _, log_weights = blobs()
    log_z = torch.logsumexp(log_weights, 0) + np.log(2 * np.pi * sigma**2)
    return (-free_energy(x) - log_z).double().numpy()


log_p = {"Boltzmann machine": machine_log_p(x_grid)}

# %% [markdown]
# For the energy-based model $Z$ is a sum over a grid in $x$. A wider and finer grid must not change it.


# %%
@torch.no_grad()
def ebm_log_z(reach, n):
    ticks = torch.linspace(-reach, reach, n)
    e = model_energy(torch.cartesian_prod(ticks, ticks))
    return torch.logsumexp(-e, 0).item() + 2 * np.log(2 * reach / (n - 1))


with torch.no_grad():
    minus_e = -model_energy(x_grid).double().numpy()
log_p["energy-based model"] = minus_e - ebm_log_z(2.4, 121)
verify(
    "log Z of the energy-based model does not depend on the grid",
    ebm_log_z(2.4, 121),
    equals=ebm_log_z(3.5, 301),
    atol=1e-4,
    source="a wider and finer grid",
)

# %% [markdown]
# For the autoencoder a grid over $z$ turns the integral {eq}`eq-start-vae` into a sum of Gaussians around $\mu(z)$.

# %%
with torch.no_grad():
    z_line = torch.linspace(-5, 5, 161)
    z = torch.cartesian_prod(z_line, z_line)  # (161², 2)
    prior = torch.softmax(-(z**2).sum(1) / 2, dim=0)
    mu, s = decoder(z), log_s.exp()
    steps = torch.tensor(line) - mu[..., None]  # (161², 2, 121)
    bell = torch.exp(-(steps**2) / (2 * s**2))
    p_vae = bell[:, 1].T @ (prior[:, None] * bell[:, 0]) / (2 * np.pi * s**2)
log_p["variational autoencoder"] = np.log(p_vae.numpy().ravel() + 1e-300)

normalised = "Boltzmann machine", "variational autoencoder"
verify(
    "machine and autoencoder are normalised on the grid in x",
    [np.exp(log_p[name]).sum() * cell for name in normalised],
    equals=1,
    atol=1e-3,
    source="log Z by enumeration of h; a mixture of densities",
)

# %% [markdown]
# For the best Gaussian the divergence is the difference of two entropies, $1 + \log 2\pi v - (\log Z + \langle E \rangle/T)$.

# %%
log_p["best Gaussian"] = -(grid**2).sum(1) / (2 * v) - np.log(2 * np.pi * v)
p_exact = np.exp(-energy(grid) / T) / Z
divergence = {
    name: np.sum(p_exact * (np.log(p_exact) - value)) * cell
    for name, value in log_p.items()
}
kl_gaussian = 1 + np.log(2 * np.pi * v) - (np.log(Z) + mean_energy / T)
verify(
    "divergence of the best Gaussian",
    divergence["best Gaussian"],
    equals=kl_gaussian,
    rtol=1e-5,
    source="difference of two exact entropies",
)

# %% [markdown]
# The adversarial network has no $\log p$ to compare. For it, and for all, we count samples in 100 squares and take the **total
# variation distance** to the exact probabilities, half the sum of the absolute differences. A finite sample is never
# at zero: the data show where 'perfect' lies.

# %%
edges = np.linspace(-2, 2, 11)
inner = np.linspace(-2, 2, 401)[:-1] + 0.005
points = np.stack(np.meshgrid(inner, inner), axis=-1)
fine = np.exp(-energy(points) / T) / Z * 0.01**2
p_squares = fine.reshape(10, 40, 10, 40).sum(axis=(1, 3))


def distance(x):
    counts, _, _ = np.histogram2d(x[:, 1], x[:, 0], bins=[edges, edges])
    outside = 1 - counts.sum() / len(x)
    return (np.abs(counts / len(x) - p_squares).sum() + outside) / 2


def digits(value):
    return float(f"{value:.2g}")


distances = {name: distance(x) for name, x in clouds.items()}
rows = [["exact density", "0", "0", digits(mean_energy)]]
for name, x in clouds.items():
    kl = digits(divergence[name]) if name in divergence else "none"
    rows.append([name, kl, digits(distances[name]), digits(energy(x).mean())])
show_table(["", "KL in nats", "distance of samples", "mean energy"], rows)

# %% [markdown]
# Read the table with the pictures. The squares are wider than the ring: they forgive the adversarial network that its ring is too thin.
# Nor does one mean decide: that network has almost the exact mean energy, while the histogram of its radius, below, is the most wrong of all.
# In the seeds we tried, the energy-based model always came closest. Our claims have to hold for any seed, so their bounds are generous.
# Still, they separate a ring from a failure: the best Gaussian is 0.74 nats away, and a perfect half of a ring, cut at whatever angle,
# is further than all our clouds. The distance of perfect samples is known too: a count scatters by
# $\sqrt{nq(1-q)}$ around $nq$, and the mean absolute value of a Gaussian is $\sqrt{2/\pi}$ times its standard deviation.

# %%
variance = p_squares * (1 - p_squares) / n_data
verify(
    "distance of the data",
    distances["data"],
    equals=np.sqrt(2 / np.pi * variance).sum() / 2,
    atol=5 * np.sqrt((1 - 2 / np.pi) * variance.sum()) / 2,
    source="mean and scatter of absolute Gaussian deviations",
)
strip = np.diff(erf(edges / np.sqrt(2 * v))) / 2
q_squares = np.outer(strip, strip)
gaussian = (np.abs(q_squares - p_squares).sum() + 1 - q_squares.sum()) / 2
half_rings = []
for angle in np.linspace(0, np.pi / 4, 16):
    half = points @ [np.cos(angle), np.sin(angle)] > 0
    q = 2 * (fine * half).reshape(10, 40, 10, 40).sum(axis=(1, 3))
    half_rings.append(np.abs(q - p_squares).sum() / 2)
verify(
    "all four clouds are closer than the best Gaussian or half a ring",
    [distances[name] for name in samples],
    at_most=min(gaussian, *half_rings),
    source="error functions; exact density on one side of a line",
)

# %% [markdown]
# The two energies are the closest densities. For the autoencoder we can also see what the bound {eq}`eq-start-elbo` gives away: over
# fresh data it lies below the exact likelihood, and about half of what it lacks is the encoder's fault.

# %%
verify(
    "machine and energy-based model: a fifth of the best Gaussian's KL",
    [divergence["Boltzmann machine"], divergence["energy-based model"]],
    at_least=0,
    at_most=kl_gaussian / 5,
    source="difference of two exact entropies",
)
kl_vae = divergence["variational autoencoder"]
verify(
    "autoencoder: half of the best Gaussian's KL",
    kl_vae,
    at_least=0,
    at_most=kl_gaussian / 2,
    source="difference of two exact entropies",
)
fresh = torch.tensor(draw(20_000, seed + 2000), dtype=torch.float32)
with torch.no_grad():
    gap = minus_elbo(fresh).item() - (np.log(Z) + mean_energy / T)
verify(
    "the bound stays further below the best likelihood than the likelihood",
    gap,
    at_least=kl_vae,
    source="the dropped term of the bound is not negative",
)

# %% [markdown]
# Is a bad number the fault of the model or of its sampler? Gibbs samples have to agree with the machine's own density. For Langevin
# dynamics, note that $\langle |x|^2 \rangle$ does not change in a step once the chain is stationary. Insert the step, and
# $\langle x \cdot \nabla_x E \rangle - \tfrac{1}{2} \eta\, \langle |\nabla_x E|^2 \rangle = 2$: equipartition in two dimensions, with the error of a finite step.
# (A hundred snapshots, five steps apart, make the average over each walker precise enough to see that error:
# $\langle x \cdot \nabla_x E \rangle$ alone is about 2.3.)

# %%
p_machine = np.exp(log_p["Boltzmann machine"]) * cell
e_samples = energy(clouds["Boltzmann machine"])
verify(
    "the Gibbs chain samples the machine: mean of the hat's energy",
    e_samples.mean(),
    equals=p_machine @ energy(grid),
    atol=5 * e_samples.std() / np.sqrt(n_data),
    source="grid in x, Z by enumeration",
)
x, virials = samples["energy-based model"], []
for _ in range(100):
    x = langevin(x, 5).requires_grad_()
    (slope,) = torch.autograd.grad(model_energy(x).sum(), x)
    size = 0.01 / 2 * (slope**2).sum(1)
    virials.append(((x * slope).sum(1) - size).detach())
virial = torch.stack(virials).mean(0)  # one mean for each walker
verify(
    "equipartition in the Langevin samples",
    virial.mean().item(),
    equals=2,
    atol=5 * virial.std().item() / np.sqrt(n_data),
    source="stationary mean of the squared distance; two dimensions",
)

# %% [markdown]
# One more picture shows *what* is wrong with each. The distribution of the radius is exact,
# $p(r) = 2\pi r\, e^{-(r^2-1)^2/T}/Z$. A wide histogram means blur, a narrow peak overconfidence.

# %% mystnb={"image": {"alt": "Four histograms of the radius, each with the exact curve, which peaks near one. Energy-based model: follows the curve roughly, shifted a little inward. Boltzmann machine: somewhat wider. Variational autoencoder: lower and wider, with samples near radius zero. Adversarial network: a high narrow peak, and a low tail towards zero."}, "figure": {"caption": "Distribution of the radius: exact (black) and in the samples of each family.", "name": "fig-start-radius"}}
fig, axes = plt.subplots(2, 2, figsize=(6.2, 4), sharex=True, sharey=True)
r = np.linspace(0, 1.8, 300)
for k, (ax, name) in enumerate(zip(axes.flat, samples, strict=True)):
    radius = np.hypot(*clouds[name].T)
    bins = np.linspace(0, 1.8, 37)
    ax.hist(radius, bins=bins, density=True, color=f"C{k}", alpha=0.6)
    ax.plot(r, weight(r) / Z, color="black", linewidth=1.2)
    ax.set_title(name, fontsize=10)
fig.supxlabel("radius $|x|$", fontsize=10)
fig.supylabel("probability density", fontsize=10)
plt.show()

# %% [markdown]
# Here is the bargain of each family in one table. The rest of the course is about its fine print.
#
# | family | what it does about $Z$ | log p(x) | sampling | typical failure |
# | --- | --- | --- | --- | --- |
# | Boltzmann machine {cite}`ackley1985,hinton2002` | $\nabla_\Theta \log Z$ as a model average, by Gibbs sampling | up to $Z$ | Gibbs chain | the chain stays in one region (week 1) |
# | energy-based model {cite}`du2019` | the same, by Langevin dynamics | up to $Z$ | Langevin chain | a wrong energy that still samples well (week 2) |
# | variational autoencoder {cite}`kingma2014,rezende2014` | normalised mixture, likelihood bounded | lower bound | one pass | blur; latents that carry nothing (week 3) |
# | adversarial network {cite}`goodfellow2014` | no density | none | one pass | whole kinds of data never made (week 4) |

# %% [markdown]
# ## A map of the course
#
# One lecture is one notebook: about an hour to read, and a quarter of a minute to a minute and a half to compute on a fast
# laptop, two to three times that on a slow one. All of them together take ten to twenty minutes on two cores.
#
# | week | lectures | you need |
# | --- | --- | --- |
# | 1 Boltzmann machines | {doc}`1.1 Sample a magnet with Markov chains <week1_boltzmann_machines/01_statistical_mechanics_and_markov_chains>` | the canonical ensemble, eigenvalues |
# | | {doc}`1.2 Build a restricted Boltzmann machine from its energy <week1_boltzmann_machines/02_restricted_boltzmann_machines>` | 1.1 |
# | | {doc}`1.3 Train an RBM in PyTorch <week1_boltzmann_machines/03_rbm_pytorch>` | 1.2; tensors and automatic differentiation in PyTorch |
# | | {doc}`1.4 Train the same RBM in TensorFlow and Keras <week1_boltzmann_machines/04_rbm_tensorflow>` | 1.3; no TensorFlow |
# | | {doc}`1.5 Teach a phase transition to an RBM <week1_boltzmann_machines/05_rbm_phase_transition>` | 1.1 to 1.3 |
# | | {doc}`1.6 Find quantum ground states with Boltzmann machines <week1_boltzmann_machines/06_rbm_quantum_states>` | 1.1, 1.2 with its section on Gaussian units, persistent chains from 1.3; quantum mechanics |
# | 2 Energy-based models | {doc}`2.1 Sample an energy with Langevin dynamics <week2_energy_based_models/01_langevin_sampling>` | 1.1 |
# | | {doc}`2.2 Sample a posterior with minibatches <week2_energy_based_models/02_stochastic_gradient_langevin_dynamics>` | 2.1, Bayes' theorem |
# | | {doc}`2.3 Learn an energy in two dimensions, and check it on a grid <week2_energy_based_models/03_energy_based_models_in_two_dimensions>` | 2.1; 1.2 helps |
# | | {doc}`2.4 An energy-based model of images, at a stated temperature <week2_energy_based_models/04_image_model_pytorch>` | 2.1, 2.3, annealing from 1.3 |
# | | {doc}`2.5 The same image model in TensorFlow mends broken images <week2_energy_based_models/05_image_model_tensorflow>` | 2.4, 2.1, 1.4 |
# | 3 Variational autoencoders | {doc}`3.1 Compress data with autoencoders, and see why that is not enough <week3_variational_autoencoders/01_autoencoders_and_principal_components>` | eigenvectors, PyTorch |
# | | {doc}`3.2 Bound a likelihood that you cannot integrate <week3_variational_autoencoders/02_variational_inference>` | 3.1, Gaussian integrals |
# | | {doc}`3.3 Train a variational autoencoder, and know its likelihood <week3_variational_autoencoders/03_vae_pytorch>` | 3.2 |
# | | {doc}`3.4 Put a symmetry into the network: a convolutional autoencoder in Keras <week3_variational_autoencoders/04_convolutional_vae_keras>` | 3.2, 3.3, 1.4 |
# | | {doc}`3.5 Let a VAE discover the order parameter <week3_variational_autoencoders/05_vae_order_parameter>` | 3.1 to 3.3 |
# | 4 Generative adversarial networks | {doc}`4.1 Play the adversarial game where it can be solved <week4_generative_adversarial_networks/01_adversarial_game>` | 3.2, 2.1, 2.2 |
# | | {doc}`4.2 Watch modes collapse, and cool the game until they return <week4_generative_adversarial_networks/02_mode_collapse>` | 4.1, 2.3 |
# | | {doc}`4.3 Teach a convolutional GAN to draw digits, in TensorFlow <week4_generative_adversarial_networks/03_convolutional_gan_tensorflow>` | 4.1, 4.2, 3.4, 2.4, 1.4 |
# | | {doc}`4.4 A convolutional GAN in PyTorch, with gradient penalties, and judged by numbers <week4_generative_adversarial_networks/04_convolutional_gan_pytorch>` | 4.1, 4.3, 2.4 |
# | | {doc}`4.5 Explore a latent space, and test whether the generator copies <week4_generative_adversarial_networks/05_latent_space>` | 4.4, 3.2 |
# | 5 Capstone | {doc}`5.1 Which model learned the physics? <week5_capstone/01_which_model_learned_the_physics>` | 1.3, 2.3, 3.3, 4.2; parts of 1.5, 1.6 and 3.5 |
#
# For background reading, the review by {cite:t}`mehta2019` introduces machine learning to physicists.

# %% [markdown]
# ## Run, change and check a notebook
#
# In a terminal, in the folder of the course:
#
# | command | what it does |
# | --- | --- |
# | `make run` | executes every notebook afresh and builds the course pages, `_build/html/index.html` |
# | `make lab` | opens JupyterLab on this page, to read, run and change the lectures |
# | `make test` | tests the code and compares every notebook with its stored outputs |
#
# To read, use the pages: there references are links, and solutions are closed until you ask. In JupyterLab a bare '2.1' means that
# lecture, and the code of solutions stands open below each exercise.
#
# To play, change a value in the parameters cell of a notebook and run all cells. All claims have to hold for another `seed`;
# with other values, such as a much smaller network or a much shorter chain, some may fail. To see one fail, change a formula:
# `Z = np.pi / 2 * …` above to `Z = np.pi * …`, say, and the notebook stops at the next claim about it. `make run SEED=7` runs
# the course with another seed. The `README` says how to change a lecture for good.
#
# What does a failed check look like? Here is a famous slip, the Jacobian $r$ forgotten in polar coordinates:

# %% tags=["shows-failed-claim"]
z_slip = 2 * np.pi * quad(lambda r: np.exp(-((r**2 - 1) ** 2) / T), 0, 4)[0]
try:
    verify(
        "partition function without the Jacobian",
        z_slip,
        equals=Z,
        rtol=1e-9,
        source="closed form above",
    )
except ClaimError:
    print(f"stopped: {z_slip:.3f} is not {Z:.3f}")

# %% [markdown]
# We caught the error; without the `try` the notebook would end there. Treat your own claims the same way:
# write down where the expected value comes from *before* you look at the measured one.

# %% [markdown]
# ## Exercises
#
# Try each before you open its solution. The solutions are cells like all others: they run and are checked.
#
# ::::{exercise} Fluctuations of the energy
# :label: ex-start-fluctuations
# Show from {eq}`eq-start-density`, with $E/T$ in the exponent, that $\operatorname{Var} E = T^2\, \partial_T \langle E \rangle$. Check it: compare the
# variance of the energy in the data with a numerical derivative of {eq}`eq-start-hat-energy`.
# ::::
#
# ::::{solution-start} ex-start-fluctuations
# :class: dropdown
# ::::
#
# With $\beta = 1/T$, $\langle E \rangle = -\partial_\beta \log Z$ and $\partial^2_\beta \log Z = \langle E^2 \rangle - \langle E \rangle^2$. Hence
# $\operatorname{Var} E = -\partial_\beta \langle E \rangle = T^2\, \partial_T \langle E \rangle$. The standard error of a variance is
# $\sqrt{(m_4 - m_2^2)/n}$ with the central moments $m_k$.


# %% tags=["solution"]
def mean_energy_at(t):
    tip = np.sqrt(t / np.pi) * np.exp(-1 / t) / erfc(-1 / np.sqrt(t))
    return t / 2 - tip


step = 1e-4
slope = (mean_energy_at(T + step) - mean_energy_at(T - step)) / (2 * step)
deviation = energy(x_data) - energy(x_data).mean()
m2, m4 = np.mean(deviation**2), np.mean(deviation**4)
verify(
    "energy fluctuations of the data",
    m2,
    equals=T**2 * slope,
    atol=5 * np.sqrt((m4 - m2**2) / n_data),
    source="derivative of the closed form of the mean energy",
)

# %% [markdown]
# ::::{solution-end}
# ::::
#
# ::::{exercise} The hole in the ring
# :label: ex-start-hole
# What is the exact probability of $|x| < 0.4$? Use the variable $u$. Which of the four families put more than three times as much there,
# and why?
# ::::
#
# ::::{solution-start} ex-start-hole
# :class: dropdown
# ::::
#
# With $u_0 = 0.4^2 - 1$ the integral of the Gaussian from $-1$ to $u_0$, divided by the one from $-1$ to infinity, is
#
# $$
# P(|x| < 0.4) = \frac{\mathrm{erf}(u_0/\sqrt{T}) + \mathrm{erf}(1/\sqrt{T})}{1 + \mathrm{erf}(1/\sqrt{T})} .
# $$
#
# Only 13 of 4000 samples are due, so we check the formula with 400 000.

# %% tags=["solution"]
u_0 = 0.4**2 - 1
below = erf(u_0 / np.sqrt(T)) + erf(1 / np.sqrt(T))
p_hole = below / (1 + erf(1 / np.sqrt(T)))
verify(
    "probability of the hole",
    p_hole,
    equals=quad(weight, 0, 0.4)[0] / Z,
    rtol=1e-8,
    source="quadrature over the radius",
)
many = draw(400_000, seed + 1000)
verify(
    "fraction of exact samples in the hole",
    np.mean(np.hypot(*many.T) < 0.4),
    equals=p_hole,
    atol=5 * np.sqrt(p_hole / len(many)),
    source="error functions, derived above",
)

# %% [markdown]
# Now count in the samples of the four families.

# %% tags=["solution"]
in_hole = {name: np.mean(np.hypot(*clouds[name].T) < 0.4) for name in samples}
show_table(
    ["", "samples in the hole", "times too many"],
    [[name, digits(p), digits(p / p_hole)] for name, p in in_hole.items()],
)
verify(
    "autoencoder and adversarial network fill the hole more than threefold",
    [in_hole["variational autoencoder"], in_hole["adversarial network"]],
    at_least=3 * p_hole,
    source="three times the exact probability",
)
verify(
    "the two families with an energy do not",
    [in_hole["Boltzmann machine"], in_hole["energy-based model"]],
    at_most=3 * p_hole,
    source="three times the exact probability",
)

# %% [markdown]
# These two push a disc of noise through a smooth network. Such a map can avoid the hole only by cutting the ring at a seam; the solution
# that training finds crosses the hole instead. An energy only has to be high there, so the other two can keep it empty.
#
# ::::{solution-end}
# ::::
#
# ::::{exercise} Three hidden units
# :label: ex-start-hexagon
# How many of the $2^3$ Gaussians of a machine with three hidden units can lie on the circle? Predict the picture of its samples, then train it.
# ::::
#
# ::::{solution-start} ex-start-hexagon
# :class: dropdown
# ::::
#
# The centres $a + Wh$ are the corners of a cube, projected onto the plane. Six of them can form a regular hexagon with side and radius one;
# the other two then meet in its middle, where by {eq}`eq-start-rbm-z` each has $e^{-1/2\sigma^2} = e^{-12.5}$ times the weight of a corner.
# With $n$ units at most $2n$ centres are corners of the outline, so ten units can lay 20 blobs around the ring.

# %% tags=["solution"]
W = (0.3 * noise(2, 3)).requires_grad_()
a, b = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
walkers = noise(256, 2)
descend(machine_loss, [W, a, b], 0.01, 500, "three hidden units")

with torch.no_grad():
    centres, log_weights = blobs()
blob = torch.softmax(log_weights, dim=0).double().numpy()
order = np.argsort(-blob)
show_table(
    ["radius of the centre", "probability"],
    [[digits(centres[k].norm()), digits(blob[k])] for k in order],
)
verify(
    "the two least probable Gaussians hardly count",
    blob[order[6:]].sum(),
    at_most=0.05,
    source="empirical; 2 e^-12.5/(6 + 2 e^-12.5) for a regular hexagon",
)
value = np.sum(p_exact * (np.log(p_exact) - machine_log_p(x_grid))) * cell
verify(
    "three hidden units stay further from the truth than ten",
    value,
    at_least=divergence["Boltzmann machine"],
    source="the run with ten hidden units",
)

# %% [markdown]
# ::::{solution-end}
# ::::

# %% [markdown]
# ## Summary
#
# A generative model is a normalised density or a sampler, and the normalisation is what makes it hard. The
# four families of this course avoid it in four ways: by averages over samples that a structured energy makes cheap, by a slope
# that does not need it, by a mixture whose likelihood can be bounded, and by a game without a density. On a problem with a known
# answer each can be measured, and each fails in its own way.
#
# **Next:** {doc}`week1_boltzmann_machines/01_statistical_mechanics_and_markov_chains` builds the Markov chains on which the
# first two families rest.
