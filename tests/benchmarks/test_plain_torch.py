"""The plain PyTorch step against ours."""

import sys
from pathlib import Path

import numpy as np
import pytest

import uotm_keras as uk

pytestmark = pytest.mark.one_backend("torch")
torch = pytest.importorskip("torch")
SHAPE = (16, 16, 3)
GENERATOR = {"base_channels": 16, "channel_multipliers": (1, 2), "num_res_blocks": 1}


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    yield __import__("plain_torch")
    sys.modules.pop("plain_torch")


def load(network, state: dict) -> None:
    """Copy weights in the order in which the networks use them."""
    parameters = list(network.parameters())
    assert len(parameters) == len(state)
    for parameter, (name, array) in zip(parameters, state.items(), strict=True):
        array = array.T if name.endswith("W") else array
        assert tuple(parameter.shape) == array.shape, name
        parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def test_parameter_counts_of_the_paper(plain):
    with torch.device("meta"):
        networks = plain.Generator(), plain.Potential()
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == [44_820_611, 12_247_809]


def test_losses_and_gradients_are_ours(plain):
    generator = uk.networks.NCSNpp(SHAPE, **GENERATOR)
    potential = uk.networks.SmallPotential(SHAPE, 8)
    rng = np.random.default_rng(0)
    for network in (generator, potential):  # so that no layer is almost zero
        network.set_weights(
            [w + 0.05 * rng.normal(size=w.shape).astype("float32") for w in network.get_weights()]
        )
    states = uk.convert.released_generator_state, uk.convert.released_potential_state
    trainer = plain.Trainer(plain.Generator(16, 3, 16, (1, 2), 1), plain.Potential(3, 8))
    load(trainer.generator, states[0](generator))
    load(trainer.potential, states[1](potential))

    model = uk.UOTM(generator, potential)
    model.compile()
    real, x = (rng.uniform(-1, 1, (8, *SHAPE)).astype("float32") for _ in range(2))
    z = rng.normal(size=(8, 100)).astype("float32")
    nchw = [torch.from_numpy(np.moveaxis(a, 3, 1).copy()) for a in (real, x)]
    theirs = trainer.potential_loss(*nchw, torch.from_numpy(z))
    of_generator = trainer.generator_loss(nchw[1], torch.from_numpy(z))

    ours = float(model.update_potential(real, x, z)["loss"])
    np.testing.assert_allclose(float(theirs.detach()), ours, rtol=1e-4)
    # Adam's first step is the sign of the gradient, whose second derivatives are R1's.
    trainer.of_potential.zero_grad()
    theirs.backward()
    trainer.of_potential.step()
    moved = trainer.generator_loss(nchw[1], torch.from_numpy(z))
    assert abs(float(moved.detach()) - float(of_generator.detach())) > 1e-3
    ours = float(model.update_generator(x, z)["loss"])
    np.testing.assert_allclose(float(moved.detach()), ours, rtol=1e-4)


def test_a_step_trains_and_averages(plain):
    torch.manual_seed(0)
    trainer = plain.Trainer(plain.Generator(16, 3, 16, (1, 2), 1), plain.Potential(3, 8), decay=0.5)
    first = [p.detach().clone() for p in trainer.generator.parameters()]
    losses = trainer.step(torch.rand(4, 3, 16, 16))
    assert all(torch.isfinite(loss) for loss in losses)
    for start, average, p in zip(
        first, trainer.average, trainer.generator.parameters(), strict=True
    ):
        torch.testing.assert_close(average, (start + p.detach()) / 2)
