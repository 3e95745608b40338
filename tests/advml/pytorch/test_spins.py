"""Energies of patches and discrete Langevin chains, on 512 states."""

import numpy as np
import pytest
import torch

from advml import ising
from advml.metrics import expected_total_variation, total_variation
from advml.pytorch import gan, spins

STATES = ising.all_configurations(3).reshape(-1, 9)


def frequencies(s):
    number = (np.asarray(s) > 0) @ (1 << np.arange(9))
    return np.bincount(number, minlength=512) / len(s)


@pytest.fixture
def model():
    """An energy with valleys and hills, and its probabilities."""
    net = spins.PatchEnergy(3, (8,), seed=3, device="cpu", dtype=torch.float64)

    def energy(s):
        return 10 * net(s)

    with torch.no_grad():
        weights = np.exp(-energy(torch.as_tensor(STATES).double()).numpy())
    return energy, weights / weights.sum()


def test_patch_energy_is_a_sum_over_patches_and_translation_invariant():
    net = spins.PatchEnergy(4, (5, 3), seed=1, device="cpu").double()
    rng = np.random.default_rng(0)
    s = rng.choice([-1.0, 1.0], (6, 4, 4))
    shifts = [(a, b) for a in (1, 0, -1) for b in (1, 0, -1)]
    rolled = [np.roll(s, shift, (1, 2)) for shift in shifts]
    patches = torch.as_tensor(np.stack(rolled, axis=-1).reshape(-1, 9))
    expected = net.f(patches).reshape(6, -1).sum(1).detach().numpy()
    for moved in (s, np.roll(s, (1, 2), (1, 2))):
        found = net(torch.as_tensor(moved.reshape(6, 16))).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patch_energy_is_where_and_as_precise_as_asked_for(dtype):
    """The device "meta" holds no numbers, but every machine has it."""
    net = spins.PatchEnergy(3, device="meta", dtype=dtype)
    assert {p.dtype for p in net.parameters()} == {dtype}
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert net.patch.device.type == "meta"


def test_flip_field_of_a_linear_energy():
    b = torch.tensor([1.0, -2.0, 0.5])
    s = torch.tensor([[1.0, 1.0, -1.0]])
    e, field = spins.flip_field(lambda x: x @ b, s, 0.5)
    assert e.item() == -1.5
    np.testing.assert_allclose(field, [[1 - 4, -2 - 4, -0.5 - 4]])


@pytest.mark.parametrize("mirror", [False, True])
def test_corrected_chains_leave_their_distribution_as_it_is(model, mirror):
    energy, p = model
    n = 60_000
    start = np.random.default_rng(0).choice(512, n, p=p)
    end, accepted = spins.discrete_langevin(
        energy,
        torch.as_tensor(STATES[start]).double(),
        step=1.0,
        n_steps=3,
        seed=1,
        mirror=mirror,
    )
    assert 0.1 < accepted < 0.99
    mean = expected_total_variation(p, n)
    bound = np.sqrt(15 / (2 * n))  # McDiarmid, five standard errors
    assert abs(total_variation(p, frequencies(end)) - mean) < bound


def test_uncorrected_chains_do_not(model):
    energy, p = model
    start = np.random.default_rng(0).choice(512, 60_000, p=p)
    options = {"step": 1.0, "n_steps": 3, "seed": 1, "adjusted": False}
    end, accepted = spins.discrete_langevin(
        energy, torch.as_tensor(STATES[start]).double(), **options
    )
    assert accepted == 1
    assert total_variation(p, frequencies(end)) > 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chains_start_beside_the_parameters(dtype):
    """A list or an array of another precision will do for a network."""
    net = spins.PatchEnergy(3, (8,), device="cpu", dtype=dtype)
    options = {"step": 1.0, "n_steps": 3, "seed": 1}
    want, _ = spins.discrete_langevin(
        net, torch.as_tensor(STATES).to(dtype), **options
    )
    for start in (STATES, np.float32(STATES), STATES.astype(int).tolist()):
        end, _ = spins.discrete_langevin(net, start, **options)
        assert end.dtype == dtype
        torch.testing.assert_close(end, want, rtol=0, atol=0)


def test_chains_of_a_function_keep_their_precision():
    for start in (np.ones((2, 9)), np.ones((2, 9), np.float32)):
        end, _ = spins.discrete_langevin(
            lambda s: s.sum(1), start, step=1.0, n_steps=1, seed=0
        )
        assert end.numpy().dtype == start.dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_chains_and_training_run_on_a_gpu():
    net = spins.PatchEnergy(3, (4,))
    for seed in (0, torch.Generator().manual_seed(0)):
        chains, _ = spins.train_energy(net, STATES, n_updates=2, seed=seed)
        end, _ = spins.discrete_langevin(
            net, STATES, step=1.0, n_steps=2, seed=seed
        )
        assert chains.is_cuda
        assert end.is_cuda


def test_training_learns_a_field():
    """One linear unit per patch is a field: tanh of it is ⟨s⟩."""
    p_up = 0.8
    data = np.where(np.random.default_rng(0).random((4000, 9)) < p_up, 1, -1)
    net = spins.PatchEnergy(3, (4,), seed=0, device="cpu")
    options = {"n_updates": 300, "batch_size": 100, "learning_rate": 2e-2}
    spins.train_energy(net, data, seed=0, **options)
    with torch.no_grad():
        e = net(torch.as_tensor(STATES).float()).double().numpy()
    p = np.exp(-e) / np.exp(-e).sum()
    assert p @ STATES.mean(axis=1) == pytest.approx(2 * p_up - 1, abs=0.05)


def test_training_repeats_itself():
    data = np.random.default_rng(0).choice([-1, 1], (50, 9))
    chains = []
    for _ in range(2):
        net = spins.PatchEnergy(3, (4,), seed=0, device="cpu")
        x, _ = spins.train_energy(net, data, n_updates=5, seed=7)
        chains.append([x.numpy(), net.f.layers[0][0].detach().numpy()])
    for one, other in zip(*chains, strict=True):
        np.testing.assert_array_equal(one, other)


def test_generator_of_spins_is_a_tanh():
    plain = gan.DenseGenerator(2, 3, (4,), seed=0, device="cpu")
    bent = spins.SpinGenerator(2, 3, (4,), seed=0, device="cpu")
    z = np.random.default_rng(0).standard_normal((5, 2))
    with torch.no_grad():
        expected = torch.tanh(plain(z))
        torch.testing.assert_close(bent(z), expected)


@pytest.mark.parametrize(
    "name, call",
    [
        ("size", lambda: spins.PatchEnergy(2)),
        ("s must", lambda: spins.PatchEnergy(3)(torch.ones(2, 8))),
        (
            "data",
            lambda: spins.train_energy(
                spins.PatchEnergy(3), np.zeros((4, 9)), n_updates=1
            ),
        ),
        (
            r"s must hold only the values \[-1, 1\], but holds 0\.0 \(and 8",
            lambda: spins.discrete_langevin(
                spins.PatchEnergy(3),
                np.zeros((1, 9)),
                step=1.0,
                n_steps=1,
                seed=0,
            ),
        ),
        (
            r"s must have shape \(n, N\), but has \(2, 3, 3\)",
            lambda: spins.discrete_langevin(
                lambda s: s.sum((1, 2)),
                np.ones((2, 3, 3)),
                step=1.0,
                n_steps=1,
                seed=0,
            ),
        ),
        (
            "step",
            lambda: spins.discrete_langevin(
                spins.PatchEnergy(3),
                torch.ones(1, 9),
                step=0,
                n_steps=1,
                seed=0,
            ),
        ),
    ],
)
def test_bad_input_is_refused(name, call):
    with pytest.raises(ValueError, match=name):
        call()


def test_training_that_diverges_names_what_did_and_when():
    data, options = np.ones((4, 9)), {"n_updates": 1, "n_steps": 1}
    broken = spins.PatchEnergy(3, (4,), device="cpu")
    with torch.no_grad():
        broken.f.layers[0][0].fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"loss is .* in update 1:"):
        spins.train_energy(broken, data, **options)
    net = spins.PatchEnergy(3, (4,), device="cpu")
    net.f.layers[0][0].register_hook(lambda slope: torch.nan * slope)
    with pytest.raises(FloatingPointError, match=r"energy is .* after 1 upd"):
        spins.train_energy(net, data, **options)


def test_the_weights_of_the_second_half_are_averaged(monkeypatch):
    seen = []

    class Recording(torch.optim.Adam):
        def step(self, *arguments):
            super().step(*arguments)
            (group,) = self.param_groups
            seen.append([p.detach().clone() for p in group["params"]])

    monkeypatch.setattr(torch.optim, "Adam", Recording)
    energy = spins.PatchEnergy(3, (4,), seed=1)
    data = np.random.default_rng(2).choice([-1, 1], (40, 9))
    spins.train_energy(energy, data, n_updates=5, batch_size=8, seed=3)
    for i, parameter in enumerate(energy.parameters()):
        mean = sum(weights[i] for weights in seen[2:]) / 3
        torch.testing.assert_close(parameter.detach(), mean)
