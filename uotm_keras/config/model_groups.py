"""The settings of the networks, the objective, and the optimization; see `groups`."""

import dataclasses

from uotm_keras.config.fields import flag
from uotm_keras.config.parsers import Boolean, Enum, Float, Integer, Integers

DIVERGENCES = ("kl", "chi2", "softplus", "softplus_plain", "jsd", "jsd_logits", "balanced")


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """The network of the generator T(x, z)."""

    generator: str = flag(
        "ncsnpp", Enum("ncsnpp", "light", "resmlp", "small"),
        "Generator network. ncsnpp is the paper's; light is a small convolutional network for "
        "CPUs; small is that of the OTM baseline; both start from 8×8 noise; resmlp is a "
        "residual MLP for points and tiny images. auto, the default on the command line, also "
        "makes auto the default of every other flag that accepts it: these are then chosen from "
        "the data, the device and --budget.",
        automatic=True,
    )  # fmt: skip
    base_channels: int = flag(
        128, Integer(1),
        "Number of channels of ncsnpp and small at the highest resolution. Paper: 128 / 64.",
    )  # fmt: skip
    channel_multipliers: tuple[int, ...] = flag(
        (1, 2, 2, 2), Integers(1),
        "Channels of each level of ncsnpp as multiples of --base_channels. Paper: 1,2,2,2 / "
        "1,1,2,2,4,4.",
    )  # fmt: skip
    num_res_blocks: int = flag(
        2, Integer(1), "Number of residual blocks per level of ncsnpp. Paper: 2."
    )  # fmt: skip
    attention_resolutions: tuple[int, ...] = flag(
        (16,), Integers(1, empty=True),
        "Heights in pixels at which ncsnpp has self-attention. Paper: 16.",
    )  # fmt: skip
    latent_dim: int = flag(
        100, Integer(0),
        "Length of the latent vector z of ncsnpp, light and resmlp. 0 makes light and resmlp "
        "deterministic maps. Paper: 100.",
        automatic=True,
    )  # fmt: skip
    style_dim: int = flag(
        256, Integer(1), "Width of the MLP that ncsnpp applies to z. Paper: 256."
    )  # fmt: skip
    mapping_layers: int = flag(
        4, Integer(0), "Number of layers of the MLP that ncsnpp applies to z. Paper: 4 / 3."
    )  # fmt: skip
    dropout: float = flag(
        0.0, Float(0, below=1), "Dropout rate of the residual blocks of ncsnpp. Paper: 0."
    )  # fmt: skip
    rematerialize: bool = flag(
        False, Boolean(),
        "Whether ncsnpp recomputes the activations of its blocks for the gradient instead of "
        "storing them. This saves memory and costs about a third more of the generator's work.",
        operational=True,
    )  # fmt: skip
    width: int = flag(
        128, Integer(1),
        "Width of the ResMLP generator, and channels of light at 32 px. Paper (toy data): 128.",
        automatic=True,
    )  # fmt: skip
    blocks: int = flag(
        3, Integer(0), "Number of residual blocks of the ResMLP generator. Paper (toy data): 3."
    )  # fmt: skip
    residual: bool = flag(
        False, Boolean(),
        "Whether the ResMLP generator of points adds x to its output, so that training starts "
        "near the identity.",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PotentialConfig:
    """The network of the potential v(y)."""

    potential: str = flag(
        "small", Enum("small", "large", "light", "small_resnet", "resmlp"),
        "Potential network. small (about 32 px) and large (256 px) are the paper's; light is a "
        "small convolutional network for CPUs; small_resnet is that of the OTM baseline; resmlp "
        "is for points and tiny images. Paper: "
        "small / large.",
        automatic=True,
    )  # fmt: skip
    potential_base_channels: int = flag(
        64, Integer(1), "Number of channels of small, large and small_resnet. Paper: 64."
    )  # fmt: skip
    potential_width: int = flag(
        128, Integer(1),
        "Width of the ResMLP potential, and channels of light at 32 px. Paper (toy data): 128.",
        automatic=True,
    )  # fmt: skip
    potential_blocks: int = flag(
        3, Integer(0), "Number of residual blocks of the ResMLP potential. Paper (toy data): 3."
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The semi-dual objective of the two networks."""

    source_divergence: str = flag(
        "kl", Enum(*(name for name in DIVERGENCES if not name.startswith("jsd"))),
        "Divergence that relaxes the source marginal; balanced keeps it hard. Paper: kl.",
    )  # fmt: skip
    target_divergence: str = flag(
        "kl", Enum(*DIVERGENCES),
        "Divergence that relaxes the data marginal; balanced keeps it hard. jsd_logits is the JSD "
        "variant of S-JKO as released, whose generator uses the logits. Paper: kl.",
    )  # fmt: skip
    tau: float = flag(
        1e-3, Float(0),
        "Weight τ of the cost τ·‖x − T(x, z)‖². 0 removes the transport cost. Paper: 1e-3 / "
        "1e-5.",
        automatic=True,
    )  # fmt: skip
    jko_step_size: float = flag(
        0.0, Float(0),
        "Step size h of S-JKO, whose cost ‖T_old(x) − T(x)‖²/(2·h·dim) to the map of the "
        "previous phase replaces that of --tau. 0 trains plain UOTM. Paper: 0. S-JKO: 0.1.",
    )  # fmt: skip
    jko_phase_steps: int = flag(
        10000, Integer(1), "Number of steps per phase of S-JKO. S-JKO: 2000."
    )  # fmt: skip
    jko_first_phase_steps: int = flag(
        0, Integer(0),
        "Number of steps of the first phase of S-JKO. 0 takes --jko_phase_steps. S-JKO: 10000.",
    )  # fmt: skip
    jko_data_noise: float = flag(
        0.0, Float(0),
        "Standard deviation of Gaussian noise that S-JKO adds to the images that the potential "
        "sees, divided by the number of the phase from 1. 0 adds none. S-JKO: 0.03125.",
    )  # fmt: skip
    r1_gamma: float = flag(
        0.2, Float(0), "Weight γ of the R1 gradient penalty; 0 turns it off. Paper: 0.2 / 5.",
        automatic=True,
    )  # fmt: skip
    r1_fraction: float = flag(
        1.0, Float(0, exclusive=True, upper=1.0),
        "Fraction of each batch at which the R1 penalty is computed. Less is faster. Paper: 1.",
        automatic=True,
    )  # fmt: skip
    wgan_gp_weight: float = flag(
        0.0, Float(0),
        "Weight λ of the gradient penalty of WGAN-GP, instead of R1; 0 turns it off. Paper: 0.",
    )  # fmt: skip
    source_gradient_weight: float = flag(
        0.0, Float(0),
        "Weight λ of the penalty on ‖∇_x v(T(x, z))‖², instead of R1; 0 turns it off. Paper: 0 "
        "(0.01 for the outliers on a line).",
    )  # fmt: skip
    optimality_weight: float = flag(
        0.0, Float(0),
        "Weight of the penalty on ∇_y(v(y) − c(x, y)) at samples y, instead of R1; 0 turns it "
        "off. It does not move the optimum. Try 1/--tau, and less for images. Paper: 0.",
    )  # fmt: skip
    pairing: str = flag(
        "paired", Enum("paired", "all_pairs"),
        "paired evaluates Ψ1* at v(T(xᵢ)) − c(xᵢ, T(xᵢ)); all_pairs, as in the released code, "
        "at v(T(xᵢ)) − c(xⱼ, T(xⱼ)) for all i and j of the batch, which does not relax the source "
        "marginal. Paper: paired.",
    )  # fmt: skip
    potential_steps: int = flag(
        1, Integer(1), "Number of updates of the potential per step. Paper: 1."
    )  # fmt: skip
    generator_steps: int = flag(
        1, Integer(1), "Number of updates of the generator per step. Paper: 1."
    )  # fmt: skip
    alpha_schedule: str = flag(
        "none", Enum("none", "linear", "cosine", "step"),
        "Schedule of the factor α that scales the divergences (UOTM-SD); none keeps α = 1. "
        "Paper: none. UOTM-SD: linear.",
    )  # fmt: skip
    alpha_start: float = flag(
        0.2, Float(0, exclusive=True), "First value of α. UOTM-SD: 0.2."
    )  # fmt: skip
    alpha_end: float = flag(
        5.0, Float(0, exclusive=True), "Last value of α. UOTM-SD: 5."
    )  # fmt: skip
    alpha_until: int = flag(
        150000, Integer(1), "Step at which α reaches its last value. UOTM-SD: 150000."
    )  # fmt: skip
    alpha_warmup: int = flag(
        0, Integer(0), "Number of steps before α starts to change. UOTM-SD: 0."
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OptimizationConfig:
    """Adam's settings for both networks, and the average of the generator."""

    generator_lr: float = flag(
        1.6e-4, Float(0, exclusive=True),
        "Initial learning rate of the generator. Paper: 1.6e-4 / 2e-4.",
        automatic=True,
    )  # fmt: skip
    potential_lr: float = flag(
        1e-4, Float(0, exclusive=True), "Initial learning rate of the potential. Paper: 1e-4.",
        automatic=True,
    )  # fmt: skip
    beta_1: float = flag(
        0.5, Float(0, below=1), "Decay rate β₁ of Adam's first moment. Paper: 0.5.", automatic=True
    )  # fmt: skip
    beta_2: float = flag(
        0.9, Float(0, below=1), "Decay rate β₂ of Adam's second moment. Paper: 0.9.", automatic=True
    )  # fmt: skip
    ema_decay: float = flag(
        0.9999, Float(0, below=1),
        "Decay rate of the generator's exponential moving average. Paper: 0.9999 / 0.999.",
        automatic=True,
    )  # fmt: skip
    lr_schedule: str = flag(
        "constant", Enum("constant", "cosine"),
        "Learning-rate schedule. cosine decays from the initial rates to --lr_minimum within "
        "--lr_periods. Paper: cosine.",
        automatic=True,
    )  # fmt: skip
    lr_minimum: float = flag(
        1e-5, Float(0), "Final learning rate of the cosine schedule. Paper: 1e-5.", automatic=True
    )  # fmt: skip
    lr_periods: int = flag(
        1800, Integer(1),
        "Length of the cosine schedule in units of --lr_period. Paper: 1800 / 700.",
        automatic=True,
    )  # fmt: skip
    lr_period: str = flag(
        "epoch", Enum("epoch", "step"),
        "Unit of --lr_periods, and how often the rates change. Paper: epoch.",
        automatic=True,
    )  # fmt: skip
