"""Three iterations of ours against three of the authors' networks."""

import numpy as np
import pytest
from keras import ops

import uotm_keras as uk


@pytest.fixture
def model(golden) -> uk.UOTM:
    cfg = golden.meta["cfg"]
    shape = (cfg["image_size"], cfg["image_size"], 3)
    generator = uk.networks.NCSNpp(
        shape,
        base_channels=cfg["num_channels_dae"],
        channel_multipliers=cfg["ch_mult"],
        num_res_blocks=cfg["num_res_blocks"],
        attention_resolutions=cfg["attn_resolutions"],
        latent_dim=cfg["nz"],
        style_dim=cfg["z_emb_dim"],
        mapping_layers=cfg["n_mlp"],
    )
    potential = uk.networks.SmallPotential(shape, cfg["ngf"])
    uk.convert.load_released_generator(generator, golden.weights("init/generator"))
    uk.convert.load_released_potential(potential, golden.weights("init/potential"))
    model = uk.UOTM(
        generator,
        potential,
        cost=uk.costs.Quadratic(golden.meta["tau"]),
        gradient_penalty=uk.penalties.R1(golden.meta["gamma"]),
        pairing={"paper": "paired", "pairwise": "all_pairs"}[golden.meta["mode"]],
        ema_decay=0.0,
    )
    model.compile(uk.optimizers.Adam(golden.meta["lr_g"]), uk.optimizers.Adam(golden.meta["lr_d"]))
    return model


class Recorder(uk.optimizers.Adam):
    """Keeps the first gradients that it is given."""

    seen = None

    def apply(self, grads, trainable_variables=None):
        if self.seen is None:
            self.seen = [ops.convert_to_numpy(g) for g in grads]
        return super().apply(grads, trainable_variables)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        if self.seen is None:
            self.seen = [ops.convert_to_numpy(g) for g in grads]
        return super().stateless_apply(optimizer_variables, grads, trainable_variables)


def relative(ours, theirs) -> float:
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-12)


def test_outputs(model, golden):
    generated = model.transport(golden["noise_d"][0], golden["z_d"][0], use_ema=False)
    np.testing.assert_allclose(generated, golden["step0/generated_d"], atol=1e-5)
    values = ops.convert_to_numpy(model.potential(golden["real"][0]))
    np.testing.assert_allclose(values[:, 0], golden["potential_real"][0], atol=1e-5)
    values = ops.convert_to_numpy(model.potential(golden["step0/generated_d"]))
    np.testing.assert_allclose(values[:, 0], golden["potential_fake_d"][0], atol=1e-5)
    cost = ops.convert_to_numpy(model.cost(golden["noise_d"][0], golden["step0/generated_d"]))
    np.testing.assert_allclose(cost, golden["cost_d"][0], rtol=1e-5)


def test_losses_gradients_and_final_weights(model, golden):
    model.compile(Recorder(golden.meta["lr_g"]), Recorder(golden.meta["lr_d"]))
    for step in range(golden.meta["steps"]):
        logs = model.update_potential(
            golden["real"][step], golden["noise_d"][step], golden["z_d"][step]
        )
        logs = {name: float(value) for name, value in logs.items()}
        # The released code drops kl's −1 from each term.
        np.testing.assert_allclose(logs["real"] + 1, golden["loss_real"][step], rtol=1e-5)
        np.testing.assert_allclose(logs["fake"] + 1, golden["loss_fake"][step], rtol=1e-5)
        # The penalty's own gradients are some 1e-4 of its size apart after a step.
        np.testing.assert_allclose(logs["penalty"], golden["r1"][step], rtol=1e-3)
        np.testing.assert_allclose(
            logs["loss"] + 2 - logs["penalty"], golden["loss_potential"][step], rtol=1e-5
        )
        logs = model.update_generator(golden["noise_g"][step], golden["z_g"][step])
        np.testing.assert_allclose(float(logs["loss"]), golden["loss_generator"][step], rtol=1e-5)
        np.testing.assert_allclose(float(logs["cost"]), golden["cost_g"][step].mean(), rtol=1e-5)

    for player, network, state in (
        ("generator", model.generator, uk.convert.released_generator_state),
        ("potential", model.potential, uk.convert.released_potential_state),
    ):
        final = golden.weights(f"final/{player}")
        ours = state(network)
        assert set(final) - set(ours) == {n for n in final if ".Dense_0." in n}
        for name, value in ours.items():
            # The keys' biases have no true gradient: rounding alone moves them.
            if not name.endswith("NIN_1.b"):
                assert relative(value, final[name]) < 5e-5, (player, name)

        optimizer = getattr(model, f"{player}_optimizer")
        network.set_weights(optimizer.seen)  # to read the gradients under the released names
        gradients = golden.weights(f"step0/grad_{player}")
        for name, value in state(network).items():
            if not name.endswith("NIN_1.b"):
                assert relative(value, gradients[name]) < 1e-4, (player, name)
