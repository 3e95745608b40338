"""The PyTorch machine against NumPy formulas, enumeration and statistics."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from advml import rbm as numpy_rbm
from advml.pytorch import rbm as module
from advml.pytorch.rbm import RBM, gibbs_steps, step, train, zero_velocity
from advml.rbm import Gradient, all_states

PRECISION = [(torch.float64, 1e-12), (torch.float32, 1e-6)]


def random_rbm(n_visible=7, n_hidden=5, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return numpy_rbm.RBM(
        rng.normal(0, scale, (n_visible, n_hidden)),
        rng.normal(0, 1, n_visible),
        rng.normal(0, 1, n_hidden),
    )


def tensors(dtype, *arrays):
    return [torch.as_tensor(a).to(dtype) for a in arrays]


def arrays_of(rbm):
    numpy = rbm.to_numpy()
    return numpy.weights, numpy.visible_bias, numpy.hidden_bias


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_the_formulas_agree_with_numpy_on_all_states(dtype, tolerance):
    exact = random_rbm()
    rbm = RBM.from_numpy(exact, dtype=dtype, device="cpu")
    x, h = all_states(7), all_states(5)
    tx, th = tensors(dtype, x, h)
    pairs = [
        (rbm.free_energy(tx), exact.free_energy(x)),
        (rbm.hidden_probability(tx), exact.hidden_probability(x)),
        (rbm.visible_probability(th), exact.visible_probability(h)),
        (rbm.energy(tx[:32], th), exact.energy(x[:32], h)),
    ]
    for measured, expected in pairs:
        np.testing.assert_allclose(
            measured.detach().numpy(),
            expected,
            rtol=tolerance,
            atol=tolerance,
        )


def test_free_energy_keeps_its_digits_at_large_fields():
    exact = numpy_rbm.RBM([[25.0], [800.0]], [0.0, 0.0], [0.0])
    rbm = RBM.from_numpy(exact, dtype=torch.float64, device="cpu")
    x = torch.eye(2, dtype=torch.float64)
    expected = [-25 - np.log1p(np.exp(-25.0)), -800.0]
    np.testing.assert_allclose(
        rbm.free_energy(x).detach(), expected, rtol=1e-15
    )


def test_a_batch_may_have_several_leading_axes():
    rbm = RBM.from_numpy(random_rbm(), device="cpu")
    x = torch.ones(2, 3, 7)
    assert rbm.free_energy(x).shape == (2, 3)
    assert rbm.hidden_probability(x).shape == (2, 3, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_conversion_there_and_back_copies(dtype):
    exact = random_rbm()
    rbm = RBM.from_numpy(exact, dtype=dtype, device="cpu")
    back = rbm.to_numpy()
    with torch.no_grad():
        rbm.weight_matrix.zero_()
    numpy_type = np.float64 if dtype == torch.float64 else np.float32
    for name in ("weights", "visible_bias", "hidden_bias"):
        want = getattr(exact, name).astype(numpy_type)
        np.testing.assert_array_equal(getattr(back, name), want)


def numpy_step(rbm, x, chains, u_h, u_x, rate, momentum, decay, velocity):
    """The update written out in NumPy, unit by unit of the equations."""
    w, a, b = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    positive = expit(x @ w + b)
    q = positive if chains is None else chains
    for uh, ux in zip(u_h, u_x, strict=True):
        h = (uh < q).astype(float)
        v = (ux < expit(h @ w.T + a)).astype(float)
        q = expit(v @ w + b)
    gradient = (
        np.einsum("ni,nj->ij", x, positive) / len(x)
        - np.einsum("ni,nj->ij", v, q) / len(v)
        - decay * w,
        x.mean(0) - v.mean(0),
        positive.mean(0) - q.mean(0),
    )
    velocity = [
        momentum * old + rate * g
        for old, g in zip(velocity, gradient, strict=True)
    ]
    return [p + v for p, v in zip((w, a, b), velocity, strict=True)], q


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("n_persistent", [4, 9, None])
@pytest.mark.parametrize("n_gibbs_steps", [1, 3])
@pytest.mark.parametrize("momentum", [0.6, None])
def test_one_step_equals_the_numpy_formula(
    dtype, tolerance, n_persistent, n_gibbs_steps, momentum
):
    rng = np.random.default_rng(1)
    exact = random_rbm(scale=0.5)
    x = rng.integers(0, 2, (9, 7)).astype(float)
    n_chains = n_persistent or len(x)
    chains = rng.random((n_chains, 5)) if n_persistent else None
    # Multiples of 1/1024 are the same number in both precisions.
    u_h = rng.integers(0, 1024, (n_gibbs_steps, n_chains, 5)) / 1024
    u_x = rng.integers(0, 1024, (n_gibbs_steps, n_chains, 7)) / 1024
    old = [rng.normal(0, 0.1, p.shape) for p in arrays_of_numpy(exact)]
    if momentum is None:  # no memory
        old = [np.zeros_like(v) for v in old]
    expected, q = numpy_step(
        exact, x, chains, u_h, u_x, 0.1, momentum or 0.0, 0.02, old
    )

    rbm = RBM.from_numpy(exact, dtype=dtype, device="cpu")
    start = None if chains is None else tensors(dtype, chains)[0]
    velocity = momentum and Gradient(*tensors(dtype, *old))
    reached = step(
        rbm,
        *tensors(dtype, x),
        start,
        *tensors(dtype, u_h, u_x),
        learning_rate=0.1,
        momentum=momentum or 0.0,
        weight_decay=0.02,
        velocity=velocity,
    )
    for measured, want in zip(arrays_of(rbm), expected, strict=True):
        np.testing.assert_allclose(
            measured, want, rtol=tolerance, atol=tolerance
        )
    np.testing.assert_allclose(reached, q, rtol=tolerance, atol=tolerance)
    if velocity is not None:
        change = expected[0] - exact.weights
        np.testing.assert_allclose(
            velocity.weights, change, rtol=tolerance, atol=tolerance
        )


def arrays_of_numpy(rbm):
    return rbm.weights, rbm.visible_bias, rbm.hidden_bias


def test_long_persistent_chains_give_the_exact_gradient():
    """The mean step is the exact gradient, within five standard errors."""
    exact = random_rbm(5, 4, scale=0.7)
    rng = np.random.default_rng(3)
    data = rng.integers(0, 2, (6, 5)).astype(float)
    want = numpy_rbm.log_likelihood_gradient(exact, data)
    n_chains, k = 4000, 60  # sixty sweeps forget the start to 1e-6
    generator = torch.Generator().manual_seed(5)
    steps = []
    for _ in range(20):
        rbm = RBM.from_numpy(exact, dtype=torch.float64, device="cpu")
        u = [
            torch.rand((k, n_chains, n), generator=generator).double()
            for n in (4, 5)
        ]
        chains = torch.full((n_chains, 4), 0.5, dtype=torch.float64)
        step(rbm, torch.as_tensor(data), chains, *u, learning_rate=1.0)
        steps.append(
            [
                new - old
                for new, old in zip(
                    arrays_of(rbm), arrays_of_numpy(exact), strict=True
                )
            ]
        )
    for i in range(3):
        changes = np.array([s[i] for s in steps])
        error = changes.std(0, ddof=1) / np.sqrt(len(changes))
        # Student's t with 19 degrees of freedom: 8 errors are p < 1e-6.
        assert np.all(np.abs(changes.mean(0) - want[i]) < 8 * error + 1e-12)
        assert np.all(error < 0.01)


def test_contrastive_divergence_has_numpy_s_mean():
    """CD-1 of data that are one state: all four outcomes can be summed."""
    exact = random_rbm(3, 2, scale=1.0)
    x = np.array([[1.0, 0.0, 1.0]])
    p_h = numpy_rbm.all_states(2)
    q = expit(x @ exact.weights + exact.hidden_bias)[0]
    weight = np.prod(np.where(p_h == 1, q, 1 - q), axis=1)
    p_x = expit(p_h @ exact.weights.T + exact.visible_bias)
    want = x[0] - weight @ p_x
    n = 200_000
    rbm = RBM.from_numpy(exact, dtype=torch.float64, device="cpu")
    generator = torch.Generator().manual_seed(1)
    u = [torch.rand((1, n, m), generator=generator) for m in (2, 3)]
    step(rbm, torch.as_tensor(x).repeat(n, 1), None, *u, learning_rate=1.0)
    change = arrays_of(rbm)[1] - exact.visible_bias
    assert np.all(np.abs(change - want) < 5 * 0.5 / np.sqrt(n))


def test_the_last_smaller_batch_is_averaged_over_its_own_rows():
    """With zero weights the mean change of a bias is known exactly."""
    data = np.ones((5, 3))
    rbm = RBM(3, 2, weight_scale=1e-12, dtype=torch.float64, device="cpu")
    train(
        rbm,
        data,
        epochs=1,
        batch_size=4,
        n_chains=200_000,
        learning_rate=0.1,
        seed=0,
    )
    # Both batches give 1 − σ(a): a number of rows in the wrong place
    # would make the second step four times as large, or as small.
    a = 0.0
    for _ in range(2):
        a += 0.1 * (1 - expit(a))
    measured = rbm.visible_bias.detach().numpy()
    np.testing.assert_allclose(measured, a, atol=5 * 0.1 / np.sqrt(200_000))


def test_every_chain_has_its_own_random_numbers():
    rbm = RBM(4, 3, device="cpu", weight_scale=1e-9)
    x = rbm.sample(1000, 1, seed=0)
    assert len(torch.unique(x, dim=0)) == 16


def torch_generator(seed):
    return torch.Generator().manual_seed(seed)


GENERATORS = pytest.mark.parametrize(
    "make", [np.random.default_rng, torch_generator]
)


@GENERATORS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform_and_all_different(make, dtype):
    """Both sources: NumPy's serves the CPU, PyTorch's another device."""
    generator, rbm = make(3), RBM(40, 30, dtype=dtype, device="cpu")
    u = [*module._uniforms(rbm, 2, 50, generator)]
    u += module._uniforms(rbm, 2, 50, generator)
    again = module._uniforms(rbm, 2, 50, make(3))
    assert all(map(torch.equal, u, again))  # of the generator alone
    assert [v.shape for v in u] == 2 * [(2, 50, 30), (2, 50, 40)]
    assert {v.dtype for v in u} == {dtype}
    values = np.concatenate([v.numpy().ravel() for v in u])
    # Of 14 000 numbers with 24 bits, six pairs are equal by chance.
    allowed = 25 if dtype == torch.float32 else 0
    assert len(values) - allowed <= len(np.unique(values)) <= 14_000
    assert np.all((values >= 0) & (values < 1))
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert np.sum((counts - 700) ** 2 / 700) < 62  # 19 dof: p = 2e-6


@GENERATORS
def test_orders_are_permutations_without_preference(make):
    generator = make(1)
    orders = [module._permutation(4, generator).numpy() for _ in range(2400)]
    assert torch.equal(*(module._permutation(64, make(2)) for _ in range(2)))
    ranks, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(ranks) == 24
    assert np.all(np.sort(ranks, axis=1) == np.arange(4))
    assert np.sum((counts - 100) ** 2 / 100) < 68  # 23 dof: p = 2e-6


@GENERATORS
def test_every_kind_of_seed_repeats_and_moves_on(make):
    rbm = RBM.from_numpy(random_rbm(20, 5), device="cpu")
    x, generator = rbm.sample(8, 3, seed=make(1)), make(1)
    assert torch.equal(x, rbm.sample(8, 3, seed=generator))
    assert not torch.equal(x, rbm.sample(8, 3, seed=generator))
    assert not torch.equal(x, rbm.sample(8, 3, seed=make(2)))


def test_columns_of_the_weights_stay_together_in_memory():
    rbm = RBM(6, 4, device="cpu")
    copy = RBM.from_numpy(rbm.to_numpy(), device="cpu")
    velocity = zero_velocity(rbm)
    for weights in (rbm.weight_matrix, copy.weight_matrix, velocity.weights):
        assert weights.shape == (6, 4)
        assert weights.T.is_contiguous()


def test_samples_follow_the_exact_distribution():
    exact = random_rbm(4, 3, scale=0.8)
    rbm = RBM.from_numpy(exact, device="cpu")
    n = 40_000
    x = rbm.sample(n, 50, seed=2).numpy()
    index = (x @ [8, 4, 2, 1]).astype(int)
    counts = np.bincount(index, minlength=16)
    p = np.exp(exact.log_probability(all_states(4)))
    chi_square = np.sum((counts - n * p) ** 2 / (n * p))
    assert chi_square < 50  # 15 degrees of freedom: p = 1e-5


@GENERATORS
@pytest.mark.parametrize(
    "options", [{"method": "pcd"}, {"method": "cd", "n_gibbs_steps": 10}]
)
def test_training_comes_close_to_the_entropy_of_a_ring_of_spins(
    options, make, monkeypatch
):
    """The best mean log p(x) is minus the entropy of the data."""
    monkeypatch.setattr(module, "_generator", lambda seed, device: make(seed))
    spins = 2 * all_states(4) - 1
    bonds = (spins * np.roll(spins, 1, axis=1)).sum(1)
    counts = np.rint(400 * np.exp(bonds / 2) / np.exp(bonds / 2).sum())
    data = np.repeat(all_states(4), counts.astype(int), axis=0)
    p = counts / counts.sum()
    best = np.sum(p * np.log(p))
    rbm = RBM(4, 6, weight_scale=0.1, device="cpu", seed=1)
    assert rbm.to_numpy().log_likelihood(data) < best - 0.5
    train(
        rbm,
        data,
        epochs=200,
        batch_size=50,
        learning_rate=0.2,
        final_learning_rate=0.005,
        momentum=0.5,
        seed=1,
        **options,
    )
    assert best - 0.1 < rbm.to_numpy().log_likelihood(data) <= best


def test_training_is_reproducible_and_leaves_global_state_alone():
    data = np.random.default_rng(0).integers(0, 2, (30, 6))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    runs = []
    for _ in range(2):
        rbm = RBM(6, 4, device="cpu", seed=3)
        train(rbm, data, epochs=3, batch_size=8, seed=4)
        runs.append(arrays_of(rbm)[0])
    np.testing.assert_array_equal(*runs)
    assert torch.equal(before, torch.random.get_rng_state())
    rbm = RBM(6, 4, device="cpu", seed=3)
    train(rbm, data, epochs=3, batch_size=8, seed=5)
    assert not np.array_equal(arrays_of(rbm)[0], runs[0])


def test_shuffling_visits_every_row_once_per_epoch(monkeypatch):
    data = (np.arange(10)[:, None] >> np.arange(4)) & 1
    seen = []

    def record(rbm, x, chains, *u, **options):
        seen.append(x.numpy() @ [1, 2, 4, 8])
        return chains

    monkeypatch.setattr(module, "step", record)
    module.train(RBM(4, 2, device="cpu"), data, epochs=2, batch_size=4)
    assert [len(s) for s in seen] == [4, 4, 2] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    np.testing.assert_array_equal(np.sort(first), np.arange(10))
    np.testing.assert_array_equal(np.sort(second), np.arange(10))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.arange(10))


def test_the_learning_rate_falls_on_a_straight_line(monkeypatch):
    rates = []

    def record(rbm, x, chains, *u, learning_rate, **options):
        rates.append(learning_rate)
        return chains

    monkeypatch.setattr(module, "step", record)
    module.train(
        RBM(4, 2, device="cpu"),
        np.zeros((4, 4)),
        epochs=3,
        batch_size=2,
        learning_rate=0.5,
        final_learning_rate=0.0,
    )
    np.testing.assert_allclose(rates, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_momentum_is_remembered_from_step_to_step(monkeypatch):
    drifts = []

    def record(rbm, x, chains, *u, momentum, velocity, **options):
        velocity.visible_bias.mul_(momentum).add_(1)
        drifts.append(velocity.visible_bias[0].item())
        return chains

    monkeypatch.setattr(module, "step", record)
    rbm = RBM(4, 2, device="cpu")
    module.train(rbm, np.zeros((3, 4)), epochs=3, momentum=0.5)
    assert drifts == [1, 1.5, 1.75]


def test_callback_and_persistent_chains_are_handed_on():
    data = np.random.default_rng(0).integers(0, 2, (12, 6))
    rbm, epochs = RBM(6, 4, device="cpu"), []
    chains = train(
        rbm,
        data,
        epochs=2,
        n_chains=5,
        callback=lambda epoch, model: epochs.append((epoch, model)),
    )
    assert epochs == [(1, rbm), (2, rbm)]
    assert chains.shape == (5, 4)
    assert train(rbm, data, epochs=1, chains=chains).shape == (5, 4)
    double = chains.numpy(force=True).astype(float)
    assert train(rbm, data, epochs=1, chains=double).shape == (5, 4)
    assert train(rbm, data, epochs=1, method="cd") is None


def test_divergence_stops_and_names_the_parameter():
    data = np.random.default_rng(0).integers(0, 2, (8, 4))
    rbm = RBM(4, 2, device="cpu")
    with pytest.raises(FloatingPointError, match=r"weight_matrix.*epoch"):
        train(rbm, data, epochs=99, learning_rate=1.0, weight_decay=4.0)


def test_autograd_of_the_free_energies_gives_the_same_step():
    """The explicit phases are the gradient of F(model) − F(data)."""
    exact = random_rbm()
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.integers(0, 2, (6, 7)).astype(float))
    u_h, u_x = (torch.as_tensor(rng.random((1, 6, n))) for n in (5, 7))
    rbm = RBM.from_numpy(exact, dtype=torch.float64, device="cpu")
    model_x, _ = gibbs_steps(rbm, rbm.hidden_probability(x), u_h, u_x)
    gap = rbm.free_energy(model_x.detach()).mean() - rbm.free_energy(x).mean()
    gradient = torch.autograd.grad(gap, list(rbm.parameters()))
    velocity = zero_velocity(rbm)
    step(rbm, x, None, u_h, u_x, learning_rate=1.0, velocity=velocity)
    for measured, want in zip(velocity, gradient, strict=True):
        torch.testing.assert_close(measured, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: train(r, np.full((4, 3), 0.5)),
            r"data must hold only.*0.5",
        ),
        (
            lambda r: train(r, np.full((4, 3), np.nan)),
            "data must hold only.*nan",
        ),
        (lambda r: train(r, np.zeros((4, 2))), r"data must be.*\(4, 2\)"),
        (lambda r: train(r, np.zeros((0, 3))), r"data must be.*\(0, 3\)"),
        (lambda r: train(r, np.zeros((4, 3)), method="cd-1"), "method.*cd-1"),
        (
            lambda r: train(r, np.zeros((4, 3)), learning_rate=-1),
            "learning_rate",
        ),
        (
            lambda r: train(r, np.zeros((4, 3)), final_learning_rate=-1),
            "final_learning_rate",
        ),
        (lambda r: train(r, np.zeros((4, 3)), momentum=1.0), "momentum.*1.0"),
        (
            lambda r: train(r, np.zeros((4, 3)), weight_decay=-1),
            "weight_decay",
        ),
        (lambda r: train(r, np.zeros((4, 3)), epochs=0), "epochs.*0"),
        (lambda r: train(r, np.zeros((4, 3)), batch_size=0), "batch_size.*0"),
        (lambda r: train(r, np.zeros((4, 3)), n_chains=0), "n_chains.*0"),
        (
            lambda r: train(r, np.zeros((4, 3)), n_gibbs_steps=0),
            "n_gibbs_steps",
        ),
        (
            lambda r: train(r, np.zeros((4, 3)), chains=torch.zeros(4, 3)),
            r"chains must have shape.*\(4, 3\)",
        ),
        (
            lambda r: train(r, np.zeros((4, 3)), chains=torch.zeros(0, 2)),
            r"chains must have shape.*\(0, 2\)",
        ),
        (lambda r: r.sample(0, 1, 0), "n must be.*0"),
        (lambda r: r.sample(2, -1, 0), "n_steps.*-1"),
        (lambda r: r.sample(2, 1, 0, start=np.zeros((3, 3))), "start.*2 rows"),
        (lambda r: RBM(0, 2), "n_visible.*0"),
        (lambda r: RBM(3, 2, visible_bias=np.zeros(4)), "visible_bias.*4"),
        (lambda r: RBM(3, 2, visible_bias=[0, np.inf, 0]), "visible_bias"),
        (lambda r: RBM(3, 2, weight_scale=0), "weight_scale.*0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(RBM(3, 2, device="cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_runs_on_cuda_as_it_stands():
    data = np.random.default_rng(0).integers(0, 2, (32, 6))
    rbm = RBM(6, 4)
    assert rbm.weight_matrix.device.type == "cuda"
    train(rbm, data, epochs=2, batch_size=8)
    assert rbm.sample(3, 2, seed=0).device.type == "cuda"
    assert np.isfinite(rbm.to_numpy().log_likelihood(data))
