"""What a run remembers of its datasets: whether they changed, and which files are good.

`RUN_DIR/index.json` holds the fingerprint of each dataset, and for each file of a folder its
size, modification time, digest, image size and, if it cannot be used, the reason. The next start
decodes only files that are new or changed, and can refuse data that differ from the run's.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast

from uotm_keras.data.dataset import Dataset
from uotm_keras.data.image_files import FileRecord
from uotm_keras.utils.errors import InputError, printable
from uotm_keras.utils.files import write_text

__all__ = ["Index", "refuse_changed_data", "save_index", "skipped_csv"]

_VERSION = 2


class _Folder(Protocol):
    folder: Path
    records: Mapping[str, FileRecord]


class Index:
    """The content of an index file.

    Args:
        fingerprints: by role, such as `"dataset"` and `"source_dataset"`.
        folders: the files of each folder, by its real path and their relative paths.
    """

    def __init__(
        self, fingerprints: Mapping[str, str], folders: Mapping[str, Mapping[str, FileRecord]]
    ):
        self.fingerprints, self.folders = dict(fingerprints), dict(folders)

    @classmethod
    def read(cls, path: str | os.PathLike | None) -> "Index":
        """Read an index; it is empty if the file is missing, damaged or of another version."""
        try:
            content = json.loads(Path(path or "").read_text(encoding="utf-8")) if path else {}
            if content.get("version") != _VERSION:
                return cls({}, {})
            folders = {
                folder: {relative: FileRecord(*record) for relative, record in files.items()}
                for folder, files in content["folders"].items()
            }
            return cls(content["fingerprints"], folders)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls({}, {})

    def files_of(self, folder: Path) -> Mapping[str, FileRecord]:
        """Return what is known of the files of a folder."""
        return self.folders.get(os.path.realpath(folder), {})


def save_index(path: str | os.PathLike, datasets: Mapping[str, Dataset]) -> None:
    """Write an index file.

    Args:
        path: the file.
        datasets: the datasets by role.

    Raises:
        InputError: the file cannot be written.
    """
    content = {
        "version": _VERSION,
        "fingerprints": {role: dataset.fingerprint() for role, dataset in datasets.items()},
        "folders": {os.path.realpath(part.folder): part.records for part in _folders(datasets)},
    }
    write_text(path, json.dumps(content))


def refuse_changed_data(path: str | os.PathLike, datasets: Mapping[str, Dataset]) -> None:
    """Check that the datasets are those that the index was saved for.

    Args:
        path: the index file; a missing one accepts everything.
        datasets: the datasets by role.

    Raises:
        InputError: a dataset has other content; the message says what changed.
    """
    index = Index.read(path)
    for role, dataset in datasets.items():
        if index.fingerprints.get(role, dataset.fingerprint()) == dataset.fingerprint():
            continue
        changes = [
            change
            for part in _folders({role: dataset})
            if (change := _changes(index.files_of(part.folder), part.records))
        ]
        raise InputError(
            f"{role}={dataset.name} has changed since this run started "
            f"({'; '.join(changes) or 'its content is different'}): restore it, start a new run "
            f"in another folder, or delete {path} to resume with the changed data."
        )


def skipped_csv(datasets: Mapping[str, Dataset]) -> str:
    """Return a table of all skipped files, `path,reason` per line; empty if there are none."""
    rows = [row for dataset in datasets.values() for row in dataset.skipped.items()]
    if not rows:
        return ""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "reason"])
    table.writerows((printable(path), printable(reason)) for path, reason in rows)
    return text.getvalue()


def _folders(datasets: Mapping[str, Dataset]) -> Iterator[_Folder]:
    for dataset in datasets.values():
        for part in dataset.parts():
            if hasattr(part, "records"):
                yield cast(_Folder, part)


def _changes(old: Mapping[str, FileRecord], new: Mapping[str, FileRecord]) -> str:
    """What differs, as '2 files added (a.png, …), 1 removed (b.png)'."""
    groups = {
        "added": [path for path in new if path not in old],
        "removed": [path for path in old if path not in new],
        "changed": [path for path in new if path in old and new[path][2:] != old[path][2:]],
    }
    return ", ".join(
        f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {what} "
        f"({paths[0]}{', …' if len(paths) > 1 else ''})"
        for what, paths in groups.items()
        if paths
    )
