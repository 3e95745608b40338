"""Show that the tests bite: plant one fault at a time and see them fail.

    .venv/bin/python tests/plant_faults.py [--notebooks] [NAME ...]

Each fault is a wrong factor or sign in one formula, put into a copy of the
repository. There the tests with the module's name have to fail, or else those
that use it, or any of the science; three failures are enough. With --notebooks
the notebooks are executed as well. The rule that stored outputs belong to the
current code is left out, because it would notice any change at all. As many
faults as there are cores are tried at a time. The exit status says whether
every fault was caught.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# name: (file, what stands there, what is put there)
FAULTS = {
    "Ising energy": (
        "src/advml/ising.py",
        "return -(spins * (right + below)).sum(",
        "return -0.5 * (spins * (right + below)).sum(",
    ),
    "RBM energy": (
        "src/advml/rbm.py",
        "return -x @ self.visible_bias - h @ self.hidden_bias - interaction",
        "return -x @ self.visible_bias - h @ self.hidden_bias + interaction",
    ),
    "RBM gradient": (
        "src/advml/rbm.py",
        "return Gradient((p[:, None] * x).T @ h, p @ x, p @ h)",
        "return Gradient(0.5 * (p[:, None] * x).T @ h, p @ x, p @ h)",
    ),
    "RBM gradient in PyTorch": (
        "src/advml/pytorch/rbm.py",
        "change.weights.addmm_(x.T, hidden, alpha=rate)",
        "change.weights.addmm_(x.T, hidden, alpha=0.5 * rate)",
    ),
    "RBM gradient in TensorFlow": (
        "src/advml/tensorflow/rbm.py",
        "tf.matmul(x, hidden / n, transpose_a=True)",
        "tf.matmul(x, 0.5 * hidden / n, transpose_a=True)",
    ),
    "Random numbers of the Keras model": (
        "src/advml/tensorflow/rbm.py",
        "        state.assign_add([0, 1])\n    return drawn",
        "    return drawn",
    ),
    "AIS weights": (
        "src/advml/likelihood.py",
        "log_w += (softplus(new * field) - softplus(old * field)).sum(-1)",
        "log_w += 0.98 * (softplus(new*field) - softplus(old*field)).sum(-1)",
    ),
    "Langevin noise": (
        "src/advml/sampling.py",
        "x = x + drift + np.sqrt(2 * step) * noise",
        "x = x + drift + np.sqrt(step) * noise",
    ),
    "Ising model as an RBM": (
        "src/advml/rbm.py",
        "np.arccosh(np.exp(2 * np.abs(k[first, second]))) / 2",
        "np.arccosh(np.exp(np.abs(k[first, second]))) / 2",
    ),
    "Local energy of the quantum chain": (
        "src/advml/quantum.py",
        "flips = np.exp(log_ratio / 2).sum(-1)",
        "flips = np.exp(log_ratio).sum(-1)",
    ),
    "Kinetic energy of the quantum dot": (
        "src/advml/quantum.py",
        "kinetic = -(dot_laplacian(rbm, x, jastrow) + (drift**2).sum(1)) / 2",
        "kinetic = -(dot_laplacian(rbm, x, jastrow) - (drift**2).sum(1)) / 2",
    ),
    "MALA proposal ratio": (
        "src/advml/sampling.py",
        "< log_p_new - log_p + log_q",
        "< log_p_new - log_p",
    ),
    "SGLD scale of the minibatch": (
        "src/advml/sampling.py",
        "gradient = gradient + len(data) / n * likelihood",
        "gradient = gradient + likelihood",
    ),
    "SGLD drawing without replacement": (
        "src/advml/sampling.py",
        "chosen[k] = np.where(there, j, drawn)",
        "chosen[k] = drawn",
    ),
    "Slope of an energy in PyTorch": (
        "src/advml/pytorch/ebm.py",
        "total = energy(x).sum()",
        "total = energy(x).mean()",
    ),
    "Slope of an energy in TensorFlow": (
        "src/advml/tensorflow/ebm.py",
        "total = tf.reduce_sum(energy(x))",
        "total = tf.reduce_mean(energy(x))",
    ),
    "Noise of an energy's chains": (
        "src/advml/ebm.py",
        "noise = (2 * step) ** 0.5 if",
        "noise = step**0.5 if",
    ),
    "Loss of an energy in PyTorch": (
        "src/advml/pytorch/ebm.py",
        "value = e_data.mean() - e_model.mean()",
        "value = e_model.mean() - e_data.mean()",
    ),
    "Score matching in TensorFlow": (
        "src/advml/tensorflow/ebm.py",
        "_row_sums((w - scale * slope) ** 2)",
        "_row_sums((w - scale**2 * slope) ** 2)",
    ),
    "Padding in TensorFlow": (
        "src/advml/tensorflow/networks.py",
        "padding = [[0, 0], width, width, [0, 0]]",
        'padding = "SAME"',
    ),
    "a turned image that is not turned back": (
        "src/advml/tensorflow/networks.py",
        "return _turned(y) + bias",
        "return y + bias",
    ),
    "Divergence in the evidence bound": (
        "src/advml/pytorch/vae.py",
        "terms.sum(-1) / 2\n\n\ndef _log_weights",
        "terms.sum(-1)\n\n\ndef _log_weights",
    ),
    "Reparameterisation in TensorFlow": (
        "src/advml/tensorflow/vae.py",
        "tf.exp(log_variance / 2) * noise",
        "tf.exp(log_variance) * noise",
    ),
    "Gaussian likelihood of an autoencoder": (
        "src/advml/pytorch/vae.py",
        "math.log(2 * math.pi * vae.scale**2)",
        "math.log(vae.scale**2)",
    ),
    "Noise of a batch of latent variables": (
        "src/advml/vae.py",
        "noise = rng.standard_normal((k, len(x), n_latent))",
        "noise = np.repeat(rng.standard_normal((k, 1, n_latent)), len(x), 1)",
    ),
    "Adam in TensorFlow": (
        "src/advml/tensorflow/ebm.py",
        "tf.sqrt(square / seen)",
        "tf.sqrt(square)",
    ),
    "Replay buffer": (
        "src/advml/ebm.py",
        "        self.states[places] = x\n",
        "        self.states[places] = self.states[places]\n",
    ),
    "Fréchet distance": (
        "src/advml/metrics.py",
        "- 2 * overlap)",
        "- overlap)",
    ),
    "Ising correlations": (
        "src/advml/ising.py",
        "(inside[:, None] + inside) / 2",
        "(inside[:, None] + inside)",
    ),
    "Divergence of two Gaussians": (
        "src/advml/metrics.py",
        "- 1 - np.log(v / V)",
        "- 1 - np.log(v / V) / 2",
    ),
    "Importance-weighted bound": (
        "src/advml/likelihood.py",
        "shift = 0, log_ratio - np.log(k)",
        "shift = 0, log_ratio - 0.98 * np.log(k)",
    ),
    "Evidence on a grid": (
        "src/advml/likelihood.py",
        "    log_joint = log_joint + gaussian_log_density(z)\n",
        "",
    ),
    "Wolff cluster": (
        "src/advml/ising.py",
        "return -np.expm1(-2 / positive",
        "return -np.expm1(-1 / positive",
    ),
    "phase of the magnetisation's characteristic function": (
        "src/advml/ising.py",
        "0.5j * angle * m",
        "1j * angle * m",
    ),
    "PyTorch generator's loss": (
        "src/advml/pytorch/gan.py",
        "return softplus(-fake).mean()",
        "return softplus(fake).mean()",
    ),
    "PyTorch R1 penalty": (
        "src/advml/pytorch/gan.py",
        "return _squared_slopes(discriminator(x), x).mean() / 2",
        "return _squared_slopes(discriminator(x), x).mean()",
    ),
    "TensorFlow Adam": (
        "src/advml/tensorflow/networks.py",
        "m.assign(beta * m + (1 - beta) * g)",
        "m.assign(beta * m + g)",
    ),
    "TensorFlow Adam without the weight of its averages": (
        "src/advml/tensorflow/networks.py",
        "tf.sqrt(v / seen[1])",
        "tf.sqrt(v)",
    ),
    "random numbers of a resumed game": (
        "src/advml/gan.py",
        "kind.state = memory.random",
        "pass",
    ),
    "weight of the divergence in Keras": (
        "src/advml/tensorflow/vae.py",
        "tf.reduce_mean(self.beta * terms[1] - terms[0])",
        "tf.reduce_mean(terms[1] - terms[0])",
    ),
    "PyTorch gradient penalty": (
        "src/advml/pytorch/gan.py",
        "return ((torch.sqrt(slopes + 1e-12) - 1) ** 2).mean()",
        "return ((slopes - 1) ** 2).mean()",
    ),
    "running variance of a normalised layer": (
        "src/advml/tensorflow/gan.py",
        "seen.append((mean, variance * n / (n - 1)))",
        "seen.append((mean, variance))",
    ),
    "annealing of the instance noise": (
        "src/advml/gan.py",
        "noises = (self.instance_noise * left**2).tolist()",
        "noises = (self.instance_noise * left).tolist()",
    ),
    "share of good samples": (
        "src/advml/metrics.py",
        "good = distance <= limit",
        "good = distance <= 2 * limit",
    ),
    "variance of the copying score": (
        "src/advml/metrics.py",
        "n * m / 12 * (total + 1 - tied)",
        "n * m / 12 * (total - 1 - tied)",
    ),
    "tail of the hypergeometric law": (
        "src/advml/metrics.py",
        "hypergeom.sf(found - 1",
        "hypergeom.sf(found",
    ),
    "noise of an inversion": (
        "src/advml/pytorch/gan.py",
        'misfit / (2 * positive("scale", scale) ** 2)',
        'misfit / positive("scale", scale) ** 2',
    ),
    "best of several starts": (
        "src/advml/pytorch/gan.py",
        ".reshape(starts, n).min(0)",
        ".reshape(starts, n).max(0)",
    ),
    "averages that a resumed game forgets": (
        "src/advml/tensorflow/gan.py",
        "start = memory.average if memory else None",
        "start = None",
    ),
    "ratio of Metropolis and Hastings for spins": (
        "src/advml/pytorch/spins.py",
        "e - e_new + back - there",
        "e - e_new + there - back",
    ),
    "flips of discrete Langevin dynamics": (
        "src/advml/pytorch/spins.py",
        "s.detach() * slope - 2 / step",
        "s.detach() * slope / 2 - 2 / step",
    ),
    "angles of the distribution of energy": (
        "src/advml/ising.py",
        "(n * step)",
        "(n * step + step)",
    ),
    "standard error of a chain": (
        "src/advml/metrics.py",
        "np.sqrt(2 * tau / len(x))",
        "np.sqrt(tau / len(x))",
    ),
    "autocorrelation time": (
        "src/advml/metrics.py",
        "tau = np.cumsum(rho) - 0.5",
        "tau = np.cumsum(rho)",
    ),
    "Jensen-Shannon divergence": (
        "src/advml/metrics.py",
        "kl_divergence(q, middle)) / 2",
        "kl_divergence(q, middle))",
    ),
    "total variation": (
        "src/advml/metrics.py",
        "return np.abs(p - q).sum(axis=-1) / 2",
        "return np.abs(p - q).sum(axis=-1)",
    ),
    "total variation that counting makes": (
        "src/advml/metrics.py",
        "xlog1py(n - nu + 1, -p)",
        "xlog1py(n - nu, -p)",
    ),
    "jackknife": (
        "src/advml/metrics.py",
        "(n_blocks - 1) / n_blocks * off.T @ off",
        "off.T @ off / n_blocks",
    ),
    "precision for recall": (
        "src/advml/metrics.py",
        "return _inside(fake, real, k), _inside(real, fake, k)",
        "return _inside(real, fake, k), _inside(fake, real, k)",
    ),
    "nearest distances": (
        "src/advml/metrics.py",
        "(square - 2 * part @ points.T)",
        "(square - part @ points.T)",
    ),
    "Metropolis' rule": (
        "src/advml/sampling.py",
        "< log_p_new - log_p\n        x = np.where",
        "< (log_p_new - log_p) / 2\n        x = np.where",
    ),
    "Gibbs sampling of Gaussians": (
        "src/advml/sampling.py",
        "noise = np.sqrt(1 - rho**2) *",
        "noise = (1 - rho**2) *",
    ),
    "temperature of a Langevin step": (
        "src/advml/sampling.py",
        'np.square(noise) / (2 * positive("step", step))',
        'np.square(noise) / positive("step", step)',
    ),
    "heat capacity": (
        "src/advml/ising.py",
        "2 * curvature / n_spins",
        "curvature / n_spins",
    ),
    "heat bath": (
        "src/advml/ising.py",
        "np.exp(-np.logaddexp(0, change))",
        "np.exp(-np.logaddexp(0, 2 * change))",
    ),
    "Metropolis on the lattice": (
        "src/advml/ising.py",
        "np.maximum([-8, -4, 0, 4, 8], 0) / temperature)",
        "np.maximum([-8, -4, 0, 2, 8], 0) / temperature)",
    ),
    "neighbours on the torus": (
        "src/advml/ising.py",
        "(1, 0), (-1, 0), (1, 1), (-1, 1)",
        "(1, 0), (-1, 0), (1, 1), (1, 1)",
    ),
    "free energy of a machine": (
        "src/advml/rbm.py",
        "return -x @ self.visible_bias - softplus(hidden_field).sum(-1)",
        "return x @ self.visible_bias - softplus(hidden_field).sum(-1)",
    ),
    "log Z of a Gaussian machine": (
        "src/advml/rbm.py",
        "np.log(2 * np.pi * self.scale**2).sum() / 2)",
        "np.log(2 * np.pi * self.scale**2).sum())",
    ),
    "hidden weights of a Gaussian machine": (
        "src/advml/rbm.py",
        "shift = mean**2 - self.visible_bias**2",
        "shift = mean**2",
    ),
    "biases of spins as units": (
        "src/advml/rbm.py",
        "return RBM(4 * v, -2 * v.sum(axis=1),",
        "return RBM(4 * v, -v.sum(axis=1),",
    ),
    "couplings that a machine learned": (
        "src/advml/rbm.py",
        "    return total / 4\n",
        "    return total / 2\n",
    ),
    "momentum in PyTorch": (
        "src/advml/pytorch/rbm.py",
        "v.mul_(momentum)",
        "v.mul_(momentum / 2)",
    ),
    "weight decay in PyTorch": (
        "src/advml/pytorch/rbm.py",
        "decay = learning_rate * weight_decay",
        "decay = weight_decay",
    ),
    "weight decay in TensorFlow": (
        "src/advml/tensorflow/rbm.py",
        "gradient.weights + decay * rbm",
        "gradient.weights - decay * rbm",
    ),
    "momentum in TensorFlow": (
        "src/advml/tensorflow/rbm.py",
        "assign(momentum * velocity[i] + change)",
        "assign(momentum * (velocity[i] + change))",
    ),
    "reverse annealing": (
        "src/advml/likelihood.py",
        "_base_log_partition(rbm, base) - log_mean, error",
        "_base_log_partition(rbm, base) + log_mean, error",
    ),
    "error of annealing": (
        "src/advml/likelihood.py",
        "error = w.std(ddof=1) / (w.mean() * np.sqrt(len(w)))",
        "error = w.std(ddof=1) / w.mean()",
    ),
    "sampled importance-weighted bound": (
        "src/advml/likelihood.py",
        "logsumexp(groups, axis=-1) - np.log(k)",
        "logsumexp(groups, axis=-1)",
    ),
    "nodes of Gauss and Hermite": (
        "src/advml/likelihood.py",
        "hermite_e.hermegauss",
        "hermite.hermgauss",
    ),
    "Gaussian log-density": (
        "src/advml/likelihood.py",
        "(square + np.log(2 * np.pi * variance))",
        "(square + np.log(np.pi * variance))",
    ),
    "cells of a grid of latents": (
        "src/advml/likelihood.py",
        "np.log((axis[1] - axis[0]) * scale).sum",
        "np.log(axis[1] - axis[0] + 0 * scale).sum",
    ),
    "gradient of a variational energy": (
        "src/advml/quantum.py",
        "2 * weighted.T @ excess",
        "weighted.T @ excess",
    ),
    "metric of amplitudes": (
        "src/advml/quantum.py",
        "centred = derivatives - p @ derivatives",
        "centred = derivatives",
    ),
    "stochastic reconfiguration": (
        "src/advml/quantum.py",
        "return -rate / 2 * np.linalg.solve",
        "return -rate * np.linalg.solve",
    ),
    "fidelity": (
        "src/advml/quantum.py",
        "(psi @ phi) ** 2 /",
        "abs(psi @ phi) /",
    ),
    "push of two electrons": (
        "src/advml/quantum.py",
        "np.hstack([push, -push])",
        "np.hstack([push, push])",
    ),
    "Laplacian in three dimensions": (
        "src/advml/quantum.py",
        "2 * (curvature + slope / r)",
        "2 * (curvature + 2 * slope / r)",
    ),
    "curvature of Jastrow's factor": (
        "src/advml/quantum.py",
        "-2 * cusp * decay / s**3",
        "-cusp * decay / s**3",
    ),
    "derivative in the width of a dot": (
        "src/advml/quantum.py",
        "offset**2 - 2 * x *",
        "offset**2 - x *",
    ),
    "density of two electrons": (
        "src/advml/quantum.py",
        "lambda y: 2 * dot_log_amplitude(rbm, y, jastrow)",
        "lambda y: dot_log_amplitude(rbm, y, jastrow)",
    ),
    "initial weights": (
        "src/advml/networks.py",
        "_normal(rng, shape, gain / n_in), np.zeros(n_out)",
        "_normal(rng, shape, gain / n_out), np.zeros(n_out)",
    ),
    "Wasserstein loss in PyTorch": (
        "src/advml/pytorch/gan.py",
        "return fake.mean() - real.mean()",
        "return real.mean() - fake.mean()",
    ),
    "points of the gradient penalty": (
        "src/advml/pytorch/gan.py",
        "y = (u * x + (1 - u) * fake)",
        "y = (u * x + u * fake)",
    ),
    "R1 penalty in TensorFlow": (
        "src/advml/tensorflow/gan.py",
        "return tf.reduce_mean(slopes) / 2",
        "return tf.reduce_mean(slopes)",
    ),
    "saturating loss in TensorFlow": (
        "src/advml/tensorflow/gan.py",
        "return -tf.reduce_mean(tf.nn.softplus(fake))",
        "return tf.reduce_mean(tf.nn.softplus(-fake))",
    ),
    "density of a ring": (
        "src/advml/datasets.py",
        "- np.log(2 * np.pi * scale**2)",
        "- np.log(2 * np.pi * scale**2) / 2",
    ),
    "patches of a magnet": (
        "src/advml/pytorch/spins.py",
        "[(a, b) for a in (1, 0, -1) for b in (1, 0, -1)]",
        "[(a, 0) for a in (1, 0, -1) for b in (1, 0, -1)]",
    ),
    "tolerance of a claim": (
        "src/advml/checks.py",
        "if excess.flat[worst] > 1:",
        "if excess.flat[worst] > 2:",
    ),
    "bounds of a claim": (
        "src/advml/checks.py",
        "slack = sign * (values - limit)",
        "slack = np.abs(values - limit)",
    ),
}


def plant(copy, file, old, new):
    """Put the fault in; complain if its place is gone or not unique."""
    path = copy / file
    code = path.read_text(encoding="utf-8")
    if code.count(old) != 1:
        raise ValueError(f"{file} holds {code.count(old)} times: {old}")
    path.write_text(code.replace(old, new), encoding="utf-8")


def failures(copy, what):
    """The names of the tests that fail in the copy, three at most."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--maxfail=3"]
    command += ["-p", "no:cacheprovider"]
    # The copy's modules come before those of the installed course.
    variables = os.environ | {
        "PYTHONPATH": str(copy / "src"),
        "ADVML_NO_PROGRESS": "1",
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run(
        [*command, *what],
        cwd=copy,
        env=variables,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    if bool(found) != bool(ran.returncode):
        raise RuntimeError(f"no tests ran:\n{ran.stdout[-2000:]}{ran.stderr}")
    return found


def caught_by(name, notebooks):
    """Plant one fault and return the tests, and notebooks, that fail."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "course"
        leave = shutil.ignore_patterns(".*", "_build", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=leave)
        plant(copy, *FAULTS[name])
        module = Path(FAULTS[name][0]).stem
        tests = sorted((copy / "tests/advml").glob("**/test_*.py"))
        named = [x for x in tests if module in x.stem]
        using = [
            x
            for x in tests
            if x not in named
            and re.search(rf"\b{module}\b", x.read_text("utf-8"))
        ]
        found = []
        for paths in (named, using, tests):
            found = found or (paths and failures(copy, map(str, paths)))
        if notebooks:
            options = ["--nbval", "--nbval-current-env"]
            options += ["--nbval-sanitize-with=tests/nbval_sanitize.cfg"]
            found = found + failures(copy, ["notebooks", *options])
    return [test.replace(f"{copy}/", "") for test in found]


def main():
    """Plant the faults that were asked for, or all; tell what caught them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--notebooks", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    names, missed = arguments.names or list(FAULTS), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = pool.map(
            partial(caught_by, notebooks=arguments.notebooks), names
        )
        for name, caught in zip(names, tried, strict=True):
            print(
                f"{name}:", *caught or ["NOT CAUGHT"], sep="\n    ", flush=True
            )
            if not caught:
                missed.append(name)
    print(f"{len(names) - len(missed)} of {len(names)} faults caught")
    sys.exit(f"not caught: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
