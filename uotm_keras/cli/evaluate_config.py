"""The command line of `evaluate.py`."""

import dataclasses
from collections.abc import Sequence

from uotm_keras.cli.shared_flags import checkpoint_flag
from uotm_keras.config import Command, Enum, Enums, Integer, Text, TrainConfig, flag
from uotm_keras.config.groups import DATASET, FOLDER, INCEPTION_WEIGHTS, METRICS
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.seeds import MAX_SEED


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What is scored, against what, and how."""

    run_dir: str | None = flag(
        None, FOLDER, "Folder of a run of train.py, whose averaged generator is scored.",
        none="none",
    )  # fmt: skip
    checkpoint: str = checkpoint_flag()
    samples: str | None = flag(
        None, Text("the path of a folder of images or of an .npz file"),
        "Images to score instead of a run's. A --run_dir in a flagfile is then ignored.",
        none="none",
    )  # fmt: skip
    reference: str | None = flag(
        None, Text("a dataset as for train.py, a folder of images, an .npz or an .npy file"),
        "Real images, or their mean and covariance (also the authors' .npy). auto is the run's "
        "training data, or --dataset, without the outliers of --contaminate.",
        none="auto",
    )  # fmt: skip
    metrics: tuple[str, ...] | None = flag(
        None, Enums(*METRICS),
        "pr is precision and recall, dc density and coverage, digits the digit Fréchet distance "
        "(not FID), own the Fréchet distance of the features of an encoder that is trained on the "
        "reference in minutes (not FID). auto is fid,kid,is,pr,dc; if no Inception weights are "
        "given or stored, digits for the datasets digits and mnist5k and own for other images; "
        "only fid,is for a reference without images.",
        none="auto",
    )  # fmt: skip
    num_samples: int | None = flag(
        None, Integer(2, 10_000_000),
        "Number of samples to score. auto is 50000, or with --samples all images up to 50000.",
        none="auto",
    )  # fmt: skip
    seed: int = flag(0, Integer(0, MAX_SEED), "Seed for the samples of a run.")
    protocol: str = flag(
        "uint8", Enum("uint8", "jpeg"),
        "jpeg scores images after JPEG compression of quality 75, as the authors of UOTM do, and "
        "only whole batches of a run: 50000 // batch_size · batch_size samples.",
    )  # fmt: skip
    batch_size: int = flag(64, Integer(1, 100_000), "Number of samples per generator call.")
    inception_weights: str | None = flag(
        None, INCEPTION_WEIGHTS,
        "Weights of InceptionV3. auto and fid are the published file, downloaded once; scores "
        "with imagenet cannot be compared with published FIDs.",
        none="auto",
    )  # fmt: skip
    preprocessing: str = flag(
        "pytorch_fid", Enum("pytorch_fid", "tf1"),
        "How images are resized for the FID network: as in pytorch-fid, or as in torch-fidelity.",
    )  # fmt: skip
    output: str | None = flag(
        None, Text("the path of a file"), "File to which the JSON object is also written.",
        none="none",
    )  # fmt: skip
    dataset: str | None = flag(
        None, DATASET, "Dataset that is the reference. auto is the run's.", none="auto"
    )
    data_dir: str | None = flag(
        None, FOLDER, "Folder for TFDS data. none is the run's, or the default of TFDS.",
        none="none",
    )  # fmt: skip
    image_size: int | None = flag(
        None, Integer(0),
        "Height and width in pixels to which the reference's images are resized; 0 keeps the "
        "dataset's size. auto is the run's.",
        none="auto",
    )  # fmt: skip
    channels: int | None = flag(
        None, Enum(0, 1, 3),
        "1 converts the reference's images to gray, 3 to RGB; 0 keeps the dataset's channels. "
        "auto is the run's.",
        none="auto",
    )  # fmt: skip


class _EvaluateCommand(Command[EvaluateConfig]):
    def parse(self, arguments: Sequence[str]) -> EvaluateConfig:
        config = super().parse(arguments)
        if config.samples is None:
            if config.run_dir is None:
                raise InputError("flag --run_dir or --samples is missing: give one of them.")
            return config
        if "run_dir" in self.given(arguments):
            raise InputError(
                f"flags --run_dir={config.run_dir} and --samples={config.samples} exclude each "
                "other: give one of them."
            )
        if config.checkpoint != "newest":
            raise InputError(
                f"flag --checkpoint={config.checkpoint} needs --run_dir instead of --samples."
            )
        return dataclasses.replace(config, run_dir=None)


COMMAND = _EvaluateCommand(
    """\
Score generated images: FID, KID, Inception Score, precision and recall, density and coverage.

    python evaluate.py --run_dir=runs/digits
    python evaluate.py --config=cifar10 --run_dir=runs/cifar10
    python evaluate.py --samples=my_images --reference=tfds:cifar10 --output=scores.json

Give --run_dir or --samples. The last line of the output is one JSON object with the scores and
everything they depend on. docs/fid.md defines the scores.

Every flag of train.py is accepted, so that the flagfile of a run can be given. Those that are
not listed here are ignored.

Exit codes: 0 done; 2 a flag, a file or the environment is wrong; 130 interrupted.""",
    EvaluateConfig,
    ignored=TrainConfig,
    show_flagfiles=True,
)
