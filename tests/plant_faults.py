"""Show that the tests bite: plant one fault at a time and see them fail.

    .venv/bin/python tests/plant_faults.py [--notebooks] [NAME ...]

Each fault is a wrong factor or sign in one formula, put into a copy of the
repository; the tests of the science, and with --notebooks the notebooks too,
have to fail there. The rule that stored outputs belong to the current code is
left out, because it would notice any change at all. The exit status says
whether every fault was caught.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
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
}


def plant(copy, file, old, new):
    """Put the fault in; complain if its place is gone or not unique."""
    path = copy / file
    code = path.read_text(encoding="utf-8")
    if code.count(old) != 1:
        sys.exit(f"{file} holds {code.count(old)} times: {old}")
    path.write_text(code.replace(old, new), encoding="utf-8")


def failures(copy, notebooks):
    """The names of the tests that fail in the copy."""
    what = ["tests/advml"]
    if notebooks:
        sanitizer = "--nbval-sanitize-with=tests/nbval_sanitize.cfg"
        what += ["notebooks", "--nbval", "--nbval-current-env", sanitizer]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-n", "2"]
    command += ["--dist", "loadfile", "-p", "no:cacheprovider"]
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
        sys.exit(f"the tests did not run:\n{ran.stdout[-2000:]}{ran.stderr}")
    return found


def main():
    """Plant the faults that were asked for, or all; tell what caught them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--notebooks", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    missed = []
    for name in arguments.names or FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "course"
            leave = shutil.ignore_patterns(".*", "_build", "__pycache__")
            shutil.copytree(ROOT, copy, ignore=leave)
            plant(copy, *FAULTS[name])
            caught = failures(copy, arguments.notebooks)
        print(f"{name}: {len(caught)} tests fail", *caught[:6], sep="\n    ")
        if not caught:
            missed.append(name)
    sys.exit(f"not caught: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
