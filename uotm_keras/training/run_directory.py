"""The directory of a run: its files, its configuration, and whether it may resume."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from uotm_keras.config.fields import flags_of, from_flags, to_flags, value_of
from uotm_keras.config.schema import TrainConfig
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import local_path, remove_leftovers, write_text
from uotm_keras.version import __version__

_FILES = ("config.json", "index.json", "skipped.csv", "report.html", "exported")
_RECORDED_PACKAGES = ("keras", "numpy", "tensorflow", "jax", "torch", "grain")


class RunDirectory:
    """The files of one training run.

    - `config.json`: every flag, versions, git commit, backend and device;
    - `metrics.jsonl`: one JSON object per log interval;
    - `samples/`, `checkpoints/`, `tensorboard/`;
    - `report.html`: the run's page;
    - `index.json`: what is known about the files of a folder dataset;
    - `skipped.csv`: files that could not be used, with the reason, if there are any.

    Args:
        path: the directory, which need not exist yet.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = local_path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.page = self.path / "report.html"
        self.index = self.path / "index.json"
        self.skipped = self.path / "skipped.csv"

    def check(self, config: TrainConfig, backend: str) -> bool:
        """Return whether the directory holds a run, which the config may then resume.

        Nothing is written. Flags that a run of an earlier version did not have count as
        their defaults; operational flags may differ.

        Args:
            config: the configuration of the run that is about to start.
            backend: the name of its Keras backend.

        Raises:
            InputError: the run is of another configuration, or must not be resumed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"flag --run_dir={self.path} is a file: give a folder.")
        if not self.config.exists():
            if self.metrics.exists() or self.checkpoints.exists():
                raise InputError(
                    f"flag --run_dir={self.path} holds a run without its config.json: restore "
                    "that file, or give another folder."
                )
            return False
        if config.run.resume == "never":
            raise InputError(
                f"flag --run_dir={self.path} already holds a run, which --resume=never does not "
                "resume: give another folder, or --resume=auto."
            )
        record = self.read_config()
        differing = _differences(self.read_flags(), config)
        known = flags_of(TrainConfig)
        differing += [
            f"--{name} (there {value})"
            for name, value in sorted(record["flags"].items())
            if name not in known
        ]
        if record["backend"] != backend:
            # Each backend has its own random numbers: no single command could repeat the run.
            differing.append(f"KERAS_BACKEND={backend} (there {record['backend']})")
        if differing:
            raise InputError(
                f"flag --run_dir={self.path} holds a run of another configuration, which differs "
                f"in {', '.join(differing)}: give these values, or another folder."
            )
        return True

    def write_config(
        self,
        config: TrainConfig,
        backend: str,
        device: str,
        data_shape: tuple[int, ...],
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Write `config.json`, or update the flags of the one that is there.

        Args:
            config: the run's configuration.
            backend: the name of its Keras backend.
            device: a description of its devices.
            data_shape: the shape of one example, so that the networks can be built without
                the data.
            num_classes: the number of classes of a conditional model, likewise.
            class_names: their names, if they have any.
        """
        flags = to_flags(config)
        if self.config.exists():
            known = self.read_config()
            if known["flags"] == flags:
                return
            record = {**known, "flags": flags}
        else:
            record = {
                "flags": flags,
                "backend": backend,
                "device": device,
                "data_shape": list(data_shape),
                **({} if num_classes is None else {"num_classes": num_classes}),
                **({} if class_names is None else {"class_names": list(class_names)}),
                "versions": _versions(),
                "git_commit": _git_commit(),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        write_text(self.config, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def read_config(self) -> dict[str, Any]:
        """Return the content of `config.json`.

        Raises:
            InputError: it cannot be read, or is not the record of a run.
        """
        try:
            record = json.loads(self.config.read_text(encoding="utf-8"))
            shape = record.get("data_shape", [])  # Runs of early versions have none.
            versions = record.get("versions", {})
            if (
                isinstance(record["flags"], dict)
                and isinstance(record["backend"], str)
                and isinstance(shape, list)
                and all(type(size) is int and 0 < size < 2**31 for size in shape)
                and isinstance(versions, dict)
                and isinstance(record.get("num_classes", 1), int)
                and isinstance(record.get("class_names", []), list)
            ):
                return record
        except OSError as error:
            raise InputError(f"cannot read {self.config}: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise InputError(
            f"{self.config} is not the configuration of a run: restore the file, or give "
            "another --run_dir."
        )

    def read_flags(self) -> TrainConfig:
        """Return the run's configuration from `config.json`.

        Raises:
            InputError: the file cannot be read, or a value is not accepted.
        """
        try:
            return from_flags(TrainConfig, self.read_config()["flags"])
        except InputError as error:
            if str(self.config) in str(error):
                raise
            raise InputError(f"{self.config}: {error}") from None

    def sample_grid(self, step: int) -> Path:
        """Return the path of the sample grid of a step."""
        return self.samples / f"step_{step:06d}.png"

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half-written; only with the `lock`."""
        remove_leftovers(self.path, *_FILES)
        remove_leftovers(self.samples, "*.png")
        remove_leftovers(self.checkpoints, "*.json", "*.weights.h5")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the run until the context or this process ends.

        Where the file system has no locks, a note on stderr says so.

        Raises:
            InputError: another process is training here, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "w")
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}.") from None
        with file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:
                pass  # not a POSIX system
            except BlockingIOError:
                raise InputError(
                    f"flag --run_dir={self.path} is in use by another process: wait for it, or "
                    "give another folder."
                ) from None
            except OSError as error:
                print(
                    f"note: {self.path} is not locked against other processes: {error.strerror}.",
                    file=sys.stderr,
                )
            yield


def _differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What a run must not change when it resumes, as "--tau=0.5 (there 0.001)"."""
    return [
        f"--{name}={flag.text(value_of(new, flag))} (there {flag.text(value_of(old, flag))})"
        for name, flag in sorted(flags_of(TrainConfig).items())
        if not flag.operational and value_of(new, flag) != value_of(old, flag)
    ]


def _versions() -> dict[str, str]:
    versions = {"uotm_keras": __version__, "python": platform.python_version()}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _git_commit() -> str | None:
    """Return the commit of the checkout that holds this package, with a + if it is modified."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
