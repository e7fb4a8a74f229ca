"""The settings of a training run around its model: defaults, bounds and help of every flag.

"Paper" is UOTM (arXiv 2305.14777): its CIFAR-10 run, and after a slash CelebA-HQ at 256 px.
"""

import dataclasses

from uotm_keras.config.fields import flag
from uotm_keras.config.parsers import Boolean, Duration, Enum, Enums, Float, Integer, Text

METRICS = ("fid", "kid", "is", "pr", "dc", "digits", "own")
INCEPTION_WEIGHTS = Text("fid, imagenet or the path of a .pth or .npz file")
DATASET = Text("digits, mnist5k, tfds:NAME, folder:PATH, idx:PATH, npz:PATH, toy:NAME or noise")
FOLDER = Text("the path of a folder")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run is stored, how long it is, and how often it is recorded."""

    run_dir: str = flag(
        "auto", FOLDER,
        "Folder for config.json, metrics.jsonl, TensorBoard events, samples/, checkpoints/ and "
        "report.html. If it already holds a run, training resumes from its latest checkpoint. "
        "auto is runs/NAME, with the name of the dataset or the last part of its path.",
        operational=True,
    )  # fmt: skip
    budget: str = flag(
        "60m", Duration(60.0),
        "How long training may take, such as 20m or 1.5h, from which --max_steps=auto follows.",
        operational=True,
    )  # fmt: skip
    resume: str = flag(
        "auto", Enum("auto", "never"),
        "auto resumes the run in --run_dir if there is one; never exits with an error instead.",
        operational=True,
    )  # fmt: skip
    max_steps: int = flag(
        10000, Integer(1),
        "Step at which training ends. Paper: 117000 (600 epochs of 195 steps) / 421650.",
        operational=True, automatic=True,
    )  # fmt: skip
    log_every: int = flag(
        100, Integer(1), "Number of steps between two lines of metrics.jsonl.", operational=True,
        automatic=True,
    )  # fmt: skip
    checkpoint_every: int = flag(
        1000, Integer(1),
        "Number of steps between two checkpoints. The last two checkpoints are kept.",
        operational=True, automatic=True,
    )  # fmt: skip
    sample_every: int = flag(
        1000, Integer(0),
        "Number of steps between two pictures of samples. 0 saves only the one at the end.",
        operational=True, automatic=True,
    )  # fmt: skip
    grid_size: int = flag(
        8, Integer(1, 64), "Number of rows and columns of the pictures of samples.",
        operational=True,
    )  # fmt: skip
    export: str = flag(
        "none", Enum("none", "savedmodel", "onnx", "litert"),
        "Format in which the averaged generator is also exported to RUN_DIR/exported at the "
        "end, as by python -m uotm_keras export.",
        operational=True,
    )  # fmt: skip
    seed: int = flag(
        0, Integer(0, 2**32 - 1),
        "Seed for the initial weights, the training noise and the order of the data.",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """On which devices, at which precision and with how much memory a run computes."""

    strategy: str = flag(
        "auto", Enum("auto", "none", "mirrored", "multiworker"),
        "mirrored splits each batch among the devices of this machine; multiworker among the "
        "devices of several processes (TF_CONFIG under TensorFlow, KERAS_DISTRIBUTION_… under "
        "JAX, torchrun under PyTorch); auto uses all available devices. Results match "
        "single-device training.",
        operational=True,
    )  # fmt: skip
    batch_statistics: str = flag(
        "global", Enum("global", "replica"),
        "Whether the minibatch standard deviation and --pairing=all_pairs use the global batch "
        "or each replica's share of it. Paper: replica.",
    )  # fmt: skip
    accumulate: int = flag(
        1, Integer(1),
        "Number of micro-batches into which each replica splits its share of a batch. More of "
        "them need less memory; the results are the same.",
        operational=True,
    )  # fmt: skip
    jit_compile: str = flag(
        "auto", Enum("auto", "on", "off"),
        "Whether to compile with XLA. auto compiles under JAX, and under TensorFlow on a GPU.",
        operational=True,
    )  # fmt: skip
    dtype_policy: str = flag(
        "float32", Enum("float32", "mixed_bfloat16", "mixed_float16"),
        "Keras dtype policy of the networks. Weights are always float32. Paper: float32.",
        automatic=True,
    )  # fmt: skip
    matmul_precision: str = flag(
        "default", Enum("default", "tf32", "highest"),
        "How a GPU multiplies float32 numbers in matrix products and convolutions: tf32 rounds "
        "the factors to 11 bits and is several times as fast; highest does not round; default is "
        "the backend's own choice (tf32, but highest for PyTorch's matrix products). No effect on "
        "CPUs. Paper: default of PyTorch.",
    )  # fmt: skip
    deterministic: bool = flag(
        False, Boolean(),
        "Whether a GPU uses only kernels whose results are the same in every run, so that a "
        "resumed run equals an uninterrupted one bit for bit. They are slower. CPUs always do.",
        operational=True,
    )  # fmt: skip
    steps_per_execution: int = flag(
        1, Integer(1),
        "Number of steps per call of the compiled function. It must divide the intervals, and "
        "must be 1 under PyTorch.",
        operational=True,
    )  # fmt: skip
    worker_timeout: float = flag(
        300.0, Float(0, exclusive=True),
        "Number of seconds that the processes of a job wait for each other at the start.",
        operational=True,
    )  # fmt: skip
    virtual_devices: int = flag(
        1, Integer(1),
        "Number of virtual devices into which the CPU is split, to try --strategy=mirrored "
        "without GPUs. Training does not become faster.",
        operational=True,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """How samples are scored during training."""

    eval_every: int = flag(
        0, Integer(0),
        "Number of steps between two scores of the averaged generator, which is also scored at "
        "the end. 0 turns scoring off.",
        operational=True,
    )  # fmt: skip
    eval_samples: int = flag(
        10000, Integer(2, 10_000_000),
        "Number of samples per score, always drawn from the same noise. FID depends on it.",
        operational=True,
    )  # fmt: skip
    eval_metrics: tuple[str, ...] | None = flag(
        None, Enums(*METRICS),
        "Metrics, as for evaluate.py. auto is digits for the datasets digits and mnist5k; "
        "otherwise fid if the Inception weights are given or stored, and own if not. The "
        "reference is the training data without the outliers of --contaminate.",
        none="auto", operational=True,
    )  # fmt: skip
    keep_best: bool = flag(
        False, Boolean(),
        "Whether to keep the checkpoint with the best score by the first metric, as "
        "checkpoints/best_N.*.",
        operational=True,
    )  # fmt: skip
    inception_weights: str = flag(
        "fid", INCEPTION_WEIGHTS,
        "Weights of InceptionV3: fid is the published file, downloaded once; scores with "
        "imagenet cannot be compared with published FIDs.",
        operational=True,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a run learns from, and in which batches."""

    dataset: str = flag(
        "", DATASET,
        "Dataset to learn. digits and mnist5k come with the installation.",
        required=True,
    )  # fmt: skip
    data_dir: str | None = flag(
        None, FOLDER, "Folder for TFDS data. none uses the default of TFDS.",
        none="none", operational=True,
    )  # fmt: skip
    image_size: int = flag(
        0, Integer(0),
        "Height and width in pixels to which images are resized and cropped. 0 keeps the "
        "dataset's size. Paper: 32 / 256.",
        automatic=True,
    )  # fmt: skip
    channels: int = flag(
        0, Enum(0, 1, 3),
        "1 converts images to gray, 3 to RGB; 0 keeps the dataset's channels. Paper: 3.",
    )  # fmt: skip
    batch_size: int = flag(
        128, Integer(1), "Number of examples per batch, over all devices. Paper: 256 / 32.",
        automatic=True,
    )  # fmt: skip
    flip: str = flag(
        "auto", Enum("auto", "on", "off"),
        "Whether to flip images horizontally at random. auto flips unless the dataset is known "
        "to change its meaning (digits). Paper: on.",
    )  # fmt: skip
    augment: str | None = flag(
        None, Text("names of augmentations, separated by commas"),
        "keras-cv layers that augment the training images. They are slow: every batch creates the "
        "layers anew and runs them eagerly, one thread at a time, so compare the steps per second "
        "with and without. --flip costs next to nothing. Paper: none.",
        none="none",
    )  # fmt: skip
    background: str = flag(
        "white", Text("white, black, or #rrggbb"),
        "Color that shows through the transparent parts of images.",
    )  # fmt: skip
    contaminate: str | None = flag(
        None, Text("DATASET:FRACTION"),
        "Mixes outliers into the training data, such as mnist5k:0.01. Paper (section 5.2): 1 % "
        "MNIST digits.",
        none="none",
    )  # fmt: skip
    conditional: bool = flag(
        False, Boolean(),
        "Whether the networks are conditioned on the dataset's classes, so that samples of a "
        "given class can be drawn. Needs a dataset with labels. Paper: off.",
    )  # fmt: skip
    source_dataset: str | None = flag(
        None, Text("a dataset as for --dataset"),
        "Dataset to transport to --dataset (image to image). none transports Gaussian noise. "
        "Paper: none.",
        none="none",
    )  # fmt: skip
    source: str = flag(
        "gaussian", Enum("gaussian", "fitted"),
        "Distribution of the noise x that the cost compares with the data. gaussian is N(0, I); "
        "fitted has the mean and the variance of the data, without which the weights of "
        "examples depend on how far they are from 0. Paper: gaussian.",
        automatic=True,
    )  # fmt: skip
    num_workers: int = flag(
        2, Integer(0, 256),
        "Number of threads that prepare batches in advance. The batches do not depend on it.",
        operational=True,
    )  # fmt: skip
