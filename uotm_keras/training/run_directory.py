"""A run's directory: what was run, with what, and whether it may go on."""

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import write_text
from uotm_keras.version import __version__

_RECORDED_PACKAGES = ("keras", "numpy", "tensorflow", "jax", "torch", "grain")


class RunDirectory:
    """The files of one training run.

    - `config.json`: every flag, versions, git commit, backend and device;
    - `metrics.jsonl`: one JSON object a log interval;
    - `samples/`, `checkpoints/`, `tensorboard/`;
    - `report.html`: all of it to look at (`report_page`).

    Args:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.page = self.path / "report.html"

    def check(
        self, flags: Mapping, backend: str, operational: frozenset[str], defaults: Mapping
    ) -> bool:
        """Whether a run is here already; touches nothing.

        Args:
            flags: every flag of the run that wants to start.
            backend: its Keras backend.
            operational: names of flags that may differ.
            defaults: what flags are that a run of an earlier version does not have.

        Raises:
            InputError: the run here is another one, or must not go on.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"flag --run_dir={self.path} is a file: give a folder.")
        if not self.config.exists():
            if self.metrics.exists() or self.checkpoints.exists():
                raise InputError(
                    f"flag --run_dir={self.path} holds a run without its config.json: put that "
                    "file back, or give another folder."
                )
            return False
        if flags["resume"] == "never":
            raise InputError(
                f"flag --run_dir={self.path} already holds a run, which --resume=never must not "
                "go on with: give another folder, or --resume=auto."
            )
        known = self.read_config()
        differing = _differences({**defaults, **known["flags"]}, flags, operational)
        if known["backend"] != backend:
            # Each backend has its own random numbers: the run would become one of a kind
            # that no single command repeats.
            differing.append(f"KERAS_BACKEND={backend} (there {known['backend']})")
        if differing:
            raise InputError(
                f"flag --run_dir={self.path} holds a run of another configuration, which differs "
                f"in {', '.join(differing)}: give these values, or another folder."
            )
        return True

    def write_config(
        self, flags: Mapping, backend: str, device: str, data_shape: tuple[int, ...]
    ) -> None:
        """Writes `config.json`, or brings its operational flags up to date.

        Args:
            data_shape: of one example, so that the networks can be built without the data.
        """
        if self.config.exists():
            known = self.read_config()
            if known["flags"] == dict(flags):
                return
            record = {**known, "flags": dict(flags)}
        else:
            record = {
                "flags": dict(flags),
                "backend": backend,
                "device": device,
                "data_shape": list(data_shape),
                "versions": _versions(),
                "git_commit": _git_commit(),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        write_text(self.config, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def read_config(self) -> dict:
        try:
            record = json.loads(self.config.read_text(encoding="utf-8"))
            if isinstance(record["flags"], dict) and isinstance(record["backend"], str):
                return record
        except OSError as error:
            raise InputError(f"cannot read {self.config}: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError):
            pass
        raise InputError(
            f"{self.config} is not a run's configuration: put the file back, or give another "
            "--run_dir."
        )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second process out of the run; the system lifts it when this one ends.

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
                pass  # no such locks on this system
            except BlockingIOError:
                raise InputError(
                    f"flag --run_dir={self.path} is in use by another process: wait for it, or "
                    "give another folder."
                ) from None
            yield


def _differences(old: dict, new: Mapping, operational: frozenset[str]) -> list[str]:
    names = sorted((old.keys() | new.keys()) - operational)
    missing = object()
    return [
        f"--{name}={_shown(new.get(name))} (there {_shown(old.get(name))})"
        for name in names
        if old.get(name, missing) != new.get(name, missing)
    ]


def _shown(value) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _versions() -> dict[str, str]:
    versions = {"uotm_keras": __version__, "python": platform.python_version()}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _git_commit() -> str | None:
    """The commit of the checkout that this package lies in, with a + if it was changed."""
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
