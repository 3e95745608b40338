"""What is PyTorch's own in the energies; test_parity_ebm.py has the rest."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from advml.pytorch import ebm
from advml.pytorch.networks import halve


def test_parameters_are_those_of_a_module(tmp_path):
    energy, other = (
        ebm.DenseEnergy(2, (4,), seed=seed, device="cpu") for seed in (0, 1)
    )
    assert sum(p.numel() for p in energy.parameters()) == 3 * 4 + 5
    torch.save(energy.state_dict(), tmp_path / "energy.pt")
    other.load_state_dict(torch.load(tmp_path / "energy.pt"))
    x = torch.randn(3, 2)
    torch.testing.assert_close(energy(x), other(x), rtol=0, atol=0)


def test_slopes_leave_no_trace():
    """Neither in the parameters' gradients, nor in a graph, nor in x."""
    energy, x = ebm.DenseEnergy(2, device="cpu"), torch.zeros(3, 2)
    with torch.no_grad():
        slope = ebm.input_gradient(energy, x)
    assert slope.abs().sum() > 0
    y = ebm.langevin(energy, x.requires_grad_(), step=0.1, n_steps=2, seed=0)
    assert not slope.requires_grad
    assert not y.requires_grad
    assert x.grad is None
    assert all(p.grad is None for p in energy.parameters())
    assert not x.any()


@pytest.mark.parametrize("side", [8, 9])
def test_the_first_convolution_equals_the_plain_one(side):
    """Stride 1 over four images of every second pixel, against stride 2."""
    kernel = torch.randn(5, 5, 1, 3, dtype=torch.float64)
    bias = torch.randn(3, dtype=torch.float64)
    y = torch.randn(4, 1, side, side, dtype=torch.float64)
    want = torch.nn.functional.conv2d(
        y, kernel.permute(3, 2, 0, 1), bias, stride=2, padding=2
    )
    got = halve(y, kernel, bias)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_chains_take_a_generator_of_torch():
    flat = lambda x: 0 * x.sum(1)  # noqa: E731
    generator = torch.Generator().manual_seed(3)
    options = {"step": 0.5, "n_steps": 2, "seed": generator}
    one = ebm.langevin(flat, torch.zeros(2, 3), **options)
    other = ebm.langevin(flat, torch.zeros(2, 3), **options)
    assert not torch.any(one == other)
    generator.manual_seed(3)
    again = ebm.langevin(flat, torch.zeros(2, 3), **options)
    torch.testing.assert_close(one, again, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_chains_and_training_run_on_a_gpu():
    """Also with a generator of the CPU, which is drawn from each time."""
    energy = ebm.ConvolutionalEnergy(8, (4,), (3,))
    generator = torch.Generator().manual_seed(3)
    buffer = ebm.ReplayBuffer(
        lambda n, rng: rng.normal(size=(n, 8, 8)), size=20
    )
    ebm.train(
        energy,
        np.zeros((10, 8, 8)),
        buffer=buffer,
        n_updates=2,
        step=0.1,
        n_steps=2,
        seed=generator,
    )
    start, options = np.zeros((3, 8, 8)), {"step": 0.1, "n_steps": 2}
    one = ebm.langevin(energy, start, seed=generator, **options)
    other = ebm.langevin(energy, start, seed=generator, **options)
    assert one.is_cuda
    assert not torch.any(one == other)
    assert np.all(np.isfinite(energy.to_numpy()[0][0]))


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library"
)
def test_freed_memory_is_used_again():
    """Without the package's first lines every tensor takes page faults."""
    code = """
        import resource, torch
        import advml.pytorch
        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        def work():
            for _ in range(20):
                [torch.ones(2**20) for _ in range(4)]
        work()
        before = faults()
        work()
        print(faults() - before)
    """
    code = "\n".join(line[8:] for line in code.splitlines())
    # Dask leaves a setting of the allocator behind that forbids it to learn.
    variables = {
        k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")
    }
    found = []
    for _ in range(3):  # now and then the heap of a process cannot grow
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        found.append(int(done.stdout))
    # 20 · 16 MB are 82 000 pages, or 160 of the largest kind.
    assert min(found) < 80
