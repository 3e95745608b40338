"""What is PyTorch's own in the autoencoders; test_parity_vae.py has more."""

import numpy as np
import pytest
import torch

from advml.pytorch import vae as module
from advml.pytorch.networks import halve, transposed


@pytest.mark.parametrize("side", [8, 7, 1])
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("n_in", [1, 2])
def test_the_way_back_is_the_transpose_of_the_convolution(side, size, n_in):
    """⟨y, halve(x)⟩ = ⟨transposed(y), x⟩ for all x and y."""
    rng, left = np.random.default_rng(0), (side + 1) // 2
    kernel, x, y = (
        torch.as_tensor(rng.normal(size=shape))
        for shape in (
            (size, size, n_in, 4),
            (3, n_in, side, side),
            (3, 4, left, left),
        )
    )
    none = torch.zeros(4, dtype=torch.float64)
    back = transposed(y, kernel, none[:n_in], side)
    assert back.shape == x.shape
    one, other = (y * halve(x, kernel, none)).sum(), (back * x).sum()
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_parameters_are_those_of_a_module(tmp_path):
    vae = module.DenseVAE(6, 2, (4,))
    assert len(vae.state_dict()) == len(list(vae.parameters())) == 8
    torch.save(vae.state_dict(), tmp_path / "vae.pt")
    other = module.DenseVAE(6, 2, (4,), seed=1)
    other.load_state_dict(torch.load(tmp_path / "vae.pt"))
    x = torch.ones(3, 6)
    torch.testing.assert_close(vae(x), other(x), rtol=0, atol=0)


def test_samples_and_reconstructions_leave_no_trace():
    vae, x = module.ConvolutionalVAE(8), torch.ones(3, 8, 8)
    assert not vae.reconstruct(x).requires_grad
    assert not vae.sample(2, seed=0).requires_grad
    assert vae(x).requires_grad
    assert all(p.grad is None for p in vae.parameters())


def test_data_may_be_a_tensor_and_stays_as_it_is():
    vae, x = module.ConvolutionalVAE(8), torch.ones(5, 8, 8)
    module.train(vae, x, epochs=1)
    assert torch.all(x == 1)
    images = np.ones((5, 8, 8), int)
    one, other = (
        module.evidence_lower_bound(vae, data, torch.zeros(5, 2))
        for data in (x, images)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_memory_of_another_model_is_refused():
    """Its optimiser would train that one, and leave this as it is."""
    vae, other = (module.DenseVAE(6, 2, (4,), seed=seed) for seed in (0, 1))
    memory = module.train(other, torch.ones(5, 6), epochs=1)
    before = other.to_numpy()[0][0]
    with pytest.raises(ValueError, match="memory must be of this model"):
        module.train(vae, torch.ones(5, 6), epochs=1, memory=memory)
    np.testing.assert_array_equal(other.to_numpy()[0][0], before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_training_runs_on_a_gpu():
    vae = module.ConvolutionalVAE(8)
    module.train(vae, np.ones((10, 8, 8)), epochs=2, n_weights=3)
    assert vae.sample(3, seed=0).is_cuda
    noise = np.zeros((10, 2))
    bound = module.evidence_lower_bound(vae, np.ones((10, 8, 8)), noise)
    assert bound.is_cuda
    assert np.all(np.isfinite(vae.to_numpy()[0][0]))
