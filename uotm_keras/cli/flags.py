"""The flags of `train.py`: what each means, accepts, defaults to, and was in the paper."""

from uotm_keras.config.flags import (
    Choice,
    Command,
    Names,
    Number,
    Text,
    WholeNumber,
    WholeNumbers,
)
from uotm_keras.utils.errors import InputError

OPERATIONAL = frozenset(
    "run_dir data_dir max_steps log_every checkpoint_every sample_every grid_size "
    "num_workers resume jit_compile eval_every eval_samples eval_metrics keep_best "
    "inception_weights export rematerialize strategy virtual_devices worker_timeout "
    "accumulate steps_per_execution".split()
)
"""Flags that may change when a run goes on: they do not change what is computed."""

DIVERGENCES = ("kl", "chi2", "softplus", "softplus_plain", "jsd", "balanced")
METRICS = ("fid", "kid", "is", "pr", "dc", "digits")
ON_OFF = Choice("on", "off")

USAGE = """\
Trains a generative model by unbalanced optimal transport (UOTM).

    python train.py --flagfile=configs/digits.flags [--flag=value ...]

A flag after --flagfile overrides the file's. The backend is chosen by the environment
variable KERAS_BACKEND: tensorflow (the default), jax or torch. "Paper" below is UOTM's
CIFAR-10 run (arXiv 2305.14777), with CelebA-HQ at 256 px after a stroke.

Exit codes: 0 done; 2 a flag, a file or the environment is wrong; 3 the loss became NaN or
infinite; 4 another process of the job has ended; 130 interrupted."""


def command() -> Command:
    """The training command's flags."""
    c = Command(USAGE)
    _run(c)
    _devices(c)
    _scores(c)
    _data(c)
    _networks(c)
    _objective(c)
    _optimization(c)
    return c


def _run(c: Command) -> None:
    c.group("Run")
    c.add(
        "flagfile", Text("the path of a text file"), "none", "Reads flags from a file, one a line."
    )
    c.add(
        "run_dir", Text("the path of a folder"), None,
        "Holds config.json, metrics.jsonl, TensorBoard events, samples/ and checkpoints/.\n"
        "Needed. A run that is there already goes on from its newest checkpoint.",
    )  # fmt: skip
    c.add(
        "resume", Choice("auto", "never"), "auto",
        "auto goes on with the run in --run_dir, if any; never refuses to.",
    )  # fmt: skip
    c.add(
        "max_steps", WholeNumber(1), 10000,
        "The step at which training ends. Paper: 600 epochs of 195 steps.",
    )  # fmt: skip
    c.add("log_every", WholeNumber(1), 100, "Steps between two lines of metrics.jsonl.")
    c.add(
        "checkpoint_every", WholeNumber(1), 1000,
        "Steps between two checkpoints, of which the last two are kept.",
    )  # fmt: skip
    c.add(
        "sample_every", WholeNumber(0), 1000,
        "Steps between two pictures of samples; 0 leaves only the one at the end.",
    )  # fmt: skip
    c.add("grid_size", WholeNumber(1, 64), 8, "Rows and columns of those pictures.")
    c.add(
        "export", Choice("none", "savedmodel", "onnx"), "none",
        "Also writes the averaged generator of the end to RUN_DIR/exported, as the command\n"
        "python -m uotm_keras export does.",
    )  # fmt: skip
    c.add(
        "seed", WholeNumber(0, 2**32 - 1), 0,
        "Of the weights, the noise and the order of the data.",
    )  # fmt: skip


def _devices(c: Command) -> None:
    c.group("Devices, precision, memory")
    c.add(
        "strategy", Choice("auto", "none", "mirrored", "multiworker"), "auto",
        "mirrored shares each batch among the devices of this machine, multiworker among\n"
        "those of several processes (TF_CONFIG; KERAS_DISTRIBUTION_… under jax; torchrun);\n"
        "auto does what is there. The numbers are those of one device.",
    )  # fmt: skip
    c.add(
        "batch_statistics", Choice("global", "replica"), "global",
        "Minibatch standard deviation and --pairing=all_pairs see the whole batch, or each\n"
        "replica its own share. Paper: replica.",
    )  # fmt: skip
    c.add(
        "accumulate", WholeNumber(1), 1,
        "Micro-batches in which each replica takes its share of a batch: less memory, the\n"
        "same numbers.",
    )  # fmt: skip
    c.add(
        "jit_compile", Choice("auto", "on", "off"), "auto",
        "XLA; auto is on under jax, and under tensorflow with a GPU.",
    )  # fmt: skip
    c.add(
        "dtype_policy", Choice("float32", "mixed_bfloat16", "mixed_float16"), "float32",
        "Of the networks' arithmetic; weights stay float32. Paper: float32.",
    )  # fmt: skip
    c.add(
        "steps_per_execution", WholeNumber(1), 1,
        "Steps that Keras runs at a time; divides the intervals. Not under torch.",
    )  # fmt: skip
    c.add(
        "worker_timeout", Number(0, above=True), 300.0,
        "Seconds that the processes of a job wait for each other at the start.",
    )  # fmt: skip
    c.add(
        "virtual_devices", WholeNumber(1), 1,
        "Splits the CPU into so many devices, to try out --strategy=mirrored: no faster.",
    )  # fmt: skip


def _scores(c: Command) -> None:
    c.group("Scores while training")
    c.add(
        "eval_every", WholeNumber(0), 0,
        "Steps between two scores of the averaged generator, and at the end; 0 never scores.",
    )  # fmt: skip
    c.add(
        "eval_samples", WholeNumber(2, 10_000_000), 10000,
        "Samples scored, always of the same noise. FID depends on their number.",
    )  # fmt: skip
    c.add(
        "eval_metrics", Names(*METRICS, optional=True), "auto",
        "As of evaluate.py; auto is digits for the data sets digits and mnist5k, else fid.\n"
        "The reference is the training data, without those of --contaminate.",
    )  # fmt: skip
    c.add(
        "keep_best", ON_OFF, "off",
        "on keeps the checkpoint with the best of the first metric as checkpoints/best_N.*.",
    )  # fmt: skip
    c.add(
        "inception_weights", Text("fid, imagenet or the path of a .pth or .npz file"), "fid",
        "fid is the published file, downloaded once; imagenet's scores compare with no FID.",
    )  # fmt: skip


def _data(c: Command) -> None:
    c.group("Data")
    c.add(
        "dataset",
        Text("digits, mnist5k, tfds:NAME, folder:PATH, npz:PATH, toy:NAME or noise"), None,
        "What to learn. digits and mnist5k come with the installation. Needed.",
    )  # fmt: skip
    c.add(
        "data_dir", Text("the path of a folder"), "none",
        "Where TFDS keeps its data; none is TFDS's own default.",
    )  # fmt: skip
    c.add(
        "image_size", WholeNumber(0), 0,
        "Height and width to which images are resized and cropped; 0 keeps the data's own.\n"
        "Paper: 32 / 256.",
    )  # fmt: skip
    c.add(
        "channels", Choice("0", "1", "3"), "0",
        "1 makes images grey, 3 RGB; 0 keeps the data's own. Paper: 3.",
    )  # fmt: skip
    c.add("batch_size", WholeNumber(1), 128, "Images a step. Paper: 256 / 32.")
    c.add(
        "flip", Choice("auto", "on", "off"), "auto",
        "Random horizontal flips; auto is on where they make sense (not for digits).\n"
        "Paper: on.",
    )  # fmt: skip
    c.add(
        "augment", Text("names of augmentations separated by commas, or none"), "none",
        "keras-cv layers applied to the training images. Paper: none.",
    )  # fmt: skip
    c.add(
        "contaminate", Text("SOURCE:FRACTION or none"), "none",
        "Mixes in outliers, such as mnist5k:0.01. Paper, section 5.2: 1 % of MNIST digits.",
    )  # fmt: skip
    c.add(
        "source_dataset", Text("a data set as for --dataset, or none"), "none",
        "Transports this data set instead of Gaussian noise (image to image). Paper: none.",
    )  # fmt: skip
    c.add(
        "num_workers", WholeNumber(0, 256), 2,
        "Threads that prepare batches ahead; the batches are the same whatever their number.",
    )  # fmt: skip


def _networks(c: Command) -> None:
    c.group("Generator")
    c.add(
        "generator", Choice("ncsnpp", "resmlp", "small"), "ncsnpp",
        "ncsnpp is the paper's; small the OTM baseline's, from an 8×8 source; resmlp a\n"
        "residual perceptron for points and tiny images.",
    )  # fmt: skip
    c.add("base_channels", WholeNumber(1), 128, "ncsnpp, small: channels. Paper: 128 / 64.")
    c.add(
        "channel_multipliers", WholeNumbers(1), [1, 2, 2, 2],
        "ncsnpp: channels of each level over --base_channels. Paper: 1,2,2,2 / 1,1,2,2,4,4.",
    )  # fmt: skip
    c.add("num_res_blocks", WholeNumber(1), 2, "ncsnpp: residual blocks a level. Paper: 2.")
    c.add(
        "attention_resolutions", WholeNumbers(1, empty=True), [16],
        "ncsnpp: heights at which attention follows. Paper: 16.",
    )  # fmt: skip
    c.add(
        "latent_dim", WholeNumber(0), 100,
        "ncsnpp, resmlp: length of z; 0 (resmlp) makes a deterministic map. Paper: 100.",
    )  # fmt: skip
    c.add("style_dim", WholeNumber(1), 256, "ncsnpp: width of z's mapping. Paper: 256.")
    c.add("mapping_layers", WholeNumber(0), 4, "ncsnpp: depth of z's mapping. Paper: 4 / 3.")
    c.add("dropout", Number(0, below=1), 0.0, "ncsnpp: fraction dropped. Paper: 0.")
    c.add(
        "rematerialize", ON_OFF, "off",
        "ncsnpp: computes the inside of its blocks again for the gradient instead of keeping\n"
        "it: less memory, about a third more of the generator's work.",
    )  # fmt: skip
    c.add("width", WholeNumber(1), 128, "resmlp: width of the generator. Paper's toys: 128.")
    c.add("blocks", WholeNumber(0), 3, "resmlp: residual blocks of it. Paper's toys: 3.")
    c.add(
        "residual", ON_OFF, "off",
        "resmlp on points: adds x to T(x, z), so that training starts near the identity.",
    )  # fmt: skip

    c.group("Potential")
    c.add(
        "potential", Choice("small", "large", "small_resnet", "resmlp"), "small",
        "small (about 32 px) and large (256 px) are the paper's; small_resnet the OTM\n"
        "baseline's; resmlp for points and tiny images. Paper: small / large.",
    )  # fmt: skip
    c.add(
        "potential_base_channels", WholeNumber(1), 64,
        "small, large, small_resnet: channels. Paper: 64.",
    )  # fmt: skip
    c.add("potential_width", WholeNumber(1), 128, "resmlp: width of it. Paper's toys: 128.")
    c.add("potential_blocks", WholeNumber(0), 3, "resmlp: blocks of it. Paper's toys: 3.")


def _objective(c: Command) -> None:
    c.group("Objective")
    for name, marginal, accepted in (
        ("source_divergence", "source's", [d for d in DIVERGENCES if d != "jsd"]),
        ("target_divergence", "data's", DIVERGENCES),
    ):
        c.add(
            name, Choice(*accepted), "kl",
            f"How the {marginal} marginal is relaxed; balanced does not. Paper: kl.",
        )  # fmt: skip
    c.add(
        "tau", Number(0), 1e-3,
        "Weight of the cost ‖x − T(x)‖²; 0 leaves no transport. Paper: 1e-3 / 1e-5.",
    )  # fmt: skip
    c.add(
        "jko_step_size", Number(0), 0.0,
        "h of S-JKO: the cost ‖T_old(x) − T(x)‖²/(2·h·dim), instead of --tau's, is measured\n"
        "to the map of the phase before; 0 is plain UOTM. Paper: 0.",
    )  # fmt: skip
    c.add("jko_phase_steps", WholeNumber(1), 10000, "S-JKO: steps a phase.")
    c.add("r1_gamma", Number(0), 0.2, "Weight γ of R1; 0 is none. Paper: 0.2 / 5.")
    c.add(
        "wgan_gp_weight", Number(0), 0.0,
        "Weight λ of WGAN-GP's penalty, instead of R1; 0 is none. Paper: 0.",
    )  # fmt: skip
    c.add(
        "optimality_weight", Number(0), 0.0,
        "Weight of the penalty on ∇_y(v(y) − c(x, y)) at samples y, which leaves the optimum\n"
        "where it is, instead of R1; 0 is none. Try 1/--tau, less for images. Paper: 0.",
    )  # fmt: skip
    c.add(
        "pairing", Choice("paired", "all_pairs"), "paired",
        "all_pairs is the released code's table of all v(T(xᵢ)) − c(xⱼ). Paper: paired.",
    )  # fmt: skip
    c.add("potential_steps", WholeNumber(1), 1, "Updates of the potential a step. Paper: 1.")
    c.add("generator_steps", WholeNumber(1), 1, "Updates of the generator a step. Paper: 1.")
    c.add(
        "alpha_schedule", Choice("none", "linear", "cosine", "step"), "none",
        "Scales the divergences by α over the steps (UOTM-SD). Paper: none; UOTM-SD: linear.",
    )  # fmt: skip
    c.add("alpha_start", Number(0, above=True), 0.2, "First α. UOTM-SD: 0.2.")
    c.add("alpha_end", Number(0, above=True), 5.0, "Last α. UOTM-SD: 5.")
    c.add("alpha_until", WholeNumber(1), 150000, "Step of the last α. UOTM-SD: 150000.")
    c.add("alpha_warmup", WholeNumber(0), 0, "Steps before α starts to change. UOTM-SD: 0.")


def _optimization(c: Command) -> None:
    c.group("Optimization (Adam)")
    c.add("generator_lr", Number(0, above=True), 1.6e-4, "Learning rate. Paper: 1.6e-4 / 2e-4.")
    c.add("potential_lr", Number(0, above=True), 1e-4, "Learning rate. Paper: 1e-4.")
    c.add("beta_1", Number(0, below=1), 0.5, "Adam's β₁. Paper: 0.5.")
    c.add("beta_2", Number(0, below=1), 0.9, "Adam's β₂. Paper: 0.9.")
    c.add("ema_decay", Number(0, below=1), 0.9999, "Of T's average. Paper: 0.9999 / 0.999.")
    c.add(
        "lr_schedule", Choice("constant", "cosine"), "constant",
        "cosine goes from the learning rates to --lr_minimum in --lr_periods. Paper: cosine.",
    )  # fmt: skip
    c.add("lr_minimum", Number(0), 1e-5, "The rate at the end. Paper: 1e-5.")
    c.add("lr_periods", WholeNumber(1), 1800, "Length of the schedule. Paper: 1800 / 700.")
    c.add(
        "lr_period", Choice("epoch", "step"), "epoch",
        "Its unit: the rates change once an epoch, or each step. Paper: epoch.",
    )  # fmt: skip


def parse(arguments: list[str]) -> dict:
    """The training flags' values by name, "none" texts as None.

    Raises:
        InputError: a flag is unknown, has a bad value, is missing, or excludes another.
    """
    values = command().parse(arguments)
    values.pop("flagfile")
    for name in ("data_dir", "augment", "contaminate", "source_dataset"):
        if values[name] == "none":
            values[name] = None
    values["channels"] = int(values["channels"])
    for name in ("run_dir", "dataset"):
        if values[name] is None:
            raise InputError(f"flag --{name} is missing: give it, or a --flagfile that does.")
    _check_together(values)
    return values


def defaults() -> dict:
    """The values of `parse` where no flag is given, without --run_dir and --dataset."""
    values = parse(["--run_dir=any", "--dataset=any"])
    return {name: value for name, value in values.items() if name not in ("run_dir", "dataset")}


def _check_together(values: dict) -> None:
    many = values["steps_per_execution"]
    for name in ("log_every", "checkpoint_every", "sample_every", "eval_every", "max_steps"):
        if values[name] % many:
            raise InputError(
                f"flag --steps_per_execution={many} must divide --{name}={values[name]}."
            )
    if values["keep_best"] == "on" and not values["eval_every"]:
        raise InputError("flag --keep_best=on needs scores: give --eval_every above 0.")
    penalized = [
        f"--{name}={values[name]:g}"
        for name in ("r1_gamma", "wgan_gp_weight", "optimality_weight")
        if values[name]
    ]
    if len(penalized) > 1:
        raise InputError(
            f"flags {' and '.join(penalized)} exclude each other: set all but one to 0."
        )
    if values["jko_step_size"] and values["source_divergence"] != "balanced":
        raise InputError(
            f"flag --source_divergence={values['source_divergence']} must be balanced with "
            f"--jko_step_size={values['jko_step_size']:g}."
        )
    if values["alpha_schedule"] != "none" and values["alpha_warmup"] >= values["alpha_until"]:
        raise InputError(
            f"flag --alpha_warmup={values['alpha_warmup']} must be below "
            f"--alpha_until={values['alpha_until']}."
        )
    if values["rematerialize"] == "on" and values["dropout"]:
        raise InputError(
            f"flag --dropout={values['dropout']:g} must be 0 with --rematerialize=on: what is "
            "dropped would not be the same again."
        )
    if values["generator"] == "ncsnpp" and values["latent_dim"] < 1:
        raise InputError(
            f"flag --latent_dim={values['latent_dim']} must be at least 1 with --generator=ncsnpp."
        )
    smallest = min(values["generator_lr"], values["potential_lr"])
    if values["lr_schedule"] == "cosine" and values["lr_minimum"] > smallest:
        raise InputError(
            f"flag --lr_minimum={values['lr_minimum']:g} must be at most the smaller learning "
            f"rate, {smallest:g}."
        )
