"""A folder or a zip archive of PNG, JPEG and WebP files of any sizes."""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np

from uotm_keras.data.dataset import content_key
from uotm_keras.data.decoding import CACHE_BYTES, DecodingDataset, decoding_threads
from uotm_keras.data.image_files import (
    ENDINGS,
    FileRecord,
    FolderFiles,
    ImageFiles,
    Listing,
    decode_file,
    inspect_file,
)
from uotm_keras.data.index import Index
from uotm_keras.data.pixels import parse_background
from uotm_keras.data.zip_files import ZipFiles
from uotm_keras.utils.errors import InputError, printable

__all__ = ["FolderDataset"]

_SMALLEST = 8  # pixels per side, if no image_size says better
_CHUNK = 64  # files that a thread takes at a time


class FolderDataset(DecodingDataset):
    """All images under a folder or in a zip archive, in the order of their paths.

    Which files are images, and how they are decoded, is stated in
    `uotm_keras.data.image_files`. Every file is decoded once when the folder is opened, so that
    those that cannot be are excluded from the start, and a batch depends on nothing but the
    seed and the step. With `index_path` only new and changed files are decoded again. A file is
    also skipped if its shorter side is under half of `image_size`. A file that becomes
    unreadable later ends the work with an `InputError`; another file never takes its place.

    Subfolders are classes: if the images lie in at least two subfolders of one folder, which is
    `path` or the only folder that leads to images, and none lies in that folder itself, then the
    sorted names of these subfolders are the class names. What is below them does not matter.

    Args:
        path: the folder, searched recursively, or the archive, whose name ends in .zip; it is
            read without extracting it.
        image_size: side in pixels; the largest centered square of each image is resized to
            it. None is accepted if all images have the same size.
        channels: 1 or 3; None means 3, or 1 if every file is gray.
        index_path: JSON file with what an earlier start found out about the files (see
            `uotm_keras.data.index`), or None. It is read, not written.
        cache_bytes: see `DecodingDataset`.
        background: color on which transparent images are composited: `"white"`, `"black"` or
            `"#rrggbb"`. Defaults to `"white"`.

    Attributes:
        paths: the files that are used; those of an archive follow its path.
        skipped: {path: reason} of those that are not.
        records: what is known of each file, by relative path.

    Raises:
        InputError: the folder or archive cannot be read, contains no usable image, or needs an
            `image_size`.

    Example:
        dataset = FolderDataset("photographs", image_size=64)
        print(len(dataset), dataset.skipped_summary())
    """

    flip_by_default = True

    def __init__(
        self,
        path: str | os.PathLike,
        image_size: int | None = None,
        channels: int | None = None,
        index_path: str | os.PathLike | None = None,
        cache_bytes: int = CACHE_BYTES,
        background: str = "white",
    ):
        self.folder = Path(path)
        self.name = f"folder:{path}"
        self._image_size, self._background = image_size, parse_background(background)
        self._files = open_files(self.folder, self.name)
        listing = self._files.list()
        known = Index.read(index_path).files_of(self.folder)
        self.records = _inspect(self._files, listing, known)

        smallest = _SMALLEST if image_size is None else max(1, image_size // 2)
        reasons = dict(listing.skipped)
        usable = {}
        for relative, record in self.records.items():
            if record.error:
                reasons[relative] = record.error
            elif min(record.width, record.height) < smallest:
                reasons[relative] = (
                    f"{record.width}x{record.height} pixels, under {smallest} per side"
                )
            else:
                usable[relative] = record
        full_path = self._files.full_path
        self.skipped = {full_path(relative): reasons[relative] for relative in sorted(reasons)}
        if not usable:
            raise self._nothing_usable(listing)
        self._usable = list(usable)
        self.paths = [full_path(relative) for relative in usable]
        self.class_names, self._labels = _classes(self._usable)
        if channels is None:
            channels = 1 if all(record.channels == 1 for record in usable.values()) else 3
        height, width = _common_size(self.name, usable) if image_size is None else (image_size,) * 2
        self._transparent = sum(record.transparent for record in usable.values())
        self._content = content_key(*(record.digest for record in usable.values()))
        super().__init__(len(usable), (height, width, channels), cache_bytes)

    def _nothing_usable(self, listing: Listing) -> InputError:
        if self.skipped:
            found = self.skipped_summary()
        elif listing.others:
            one = len(listing.others) == 1
            found = (
                f"it contains {len(listing.others)} other {'file' if one else 'files'}, such as "
                f"{listing.others[0]}."
            )
            if any(other.removesuffix(".gz").endswith("-ubyte") for other in listing.others):
                found = f"{found} Write idx:{self.folder} for files in MNIST's format."
        else:
            found = "it is empty."
        return InputError(
            f"{self.name} contains no usable image: {found} Accepted are files ending in "
            f"{', '.join(ENDINGS)}."
        )

    def fingerprint(self) -> str:
        background = f" on {self._background}" if self._transparent else ""
        return content_key(self._content, f"bicubic {self.shape}{background}")

    def path_of(self, index: int) -> str:
        return printable(self.paths[int(index)])

    def skipped_summary(self, limit: int = 5) -> str:
        """Return a sentence on the files that are skipped and on transparency, if there are any."""
        text = super().skipped_summary(limit)
        if getattr(self, "_transparent", 0):
            color = "#{:02x}{:02x}{:02x}".format(*self._background)
            count = f"{self._transparent} transparent image{'s' * (self._transparent > 1)}"
            text = f"{text} composited {count} on the background {color}.".strip()
        return text

    def _decode(self, index: int) -> np.ndarray:
        relative = self._usable[index]
        image = decode_file(
            self._files, relative, self._image_size, self.shape[2], self._background
        )
        if image.shape != self.shape:
            raise InputError(
                f"{self.paths[index]} has changed since the folder was opened: its shape is "
                f"{image.shape} instead of {self.shape}. Start again when the files no longer "
                "change."
            )
        return image


def open_files(path: Path, name: str) -> ImageFiles:
    """Return the files of a folder, or of an archive if the path ends in .zip."""
    zipped = path.suffix.lower() == ".zip" and not path.is_dir()
    return (ZipFiles if zipped else FolderFiles)(path, name)


def _inspect(
    files: ImageFiles, listing: Listing, known: Mapping[str, FileRecord]
) -> dict[str, FileRecord]:
    """A record of every file: the known one if the file is unchanged, else a new one."""
    records = {
        relative: known[relative]
        for relative, found in listing.files.items()
        if relative in known and known[relative][:2] == found
    }
    new = [relative for relative in listing.files if relative not in records]

    def inspect(first: int) -> list[FileRecord]:
        return [
            inspect_file(files, relative, listing.files[relative])
            for relative in new[first : first + _CHUNK]
        ]

    if new:
        chunks = decoding_threads().map(inspect, range(0, len(new), _CHUNK))
        records.update(zip(new, itertools.chain.from_iterable(chunks), strict=True))
    return {relative: records[relative] for relative in listing.files}


def _classes(files: list[str]) -> tuple[tuple[str, ...] | None, np.ndarray | None]:
    """The class names and the class of each file, if all are in subfolders of one folder."""
    parts = [PurePath(relative).parts for relative in files]
    shared = len(os.path.commonprefix([path[:-1] for path in parts]))
    if len(files) < 2 or any(len(path) < shared + 2 for path in parts):
        return None, None
    names, labels = np.unique([path[shared] for path in parts], return_inverse=True)
    return tuple(printable(name) for name in names), labels.astype(np.int64)


def _common_size(name: str, usable: Mapping[str, FileRecord]) -> tuple[int, int]:
    sizes: dict[tuple[int, int], str] = {}
    for relative, record in usable.items():
        sizes.setdefault((record.height, record.width), relative)
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = list(sizes)[:2]
        one, other = list(sizes.values())[:2]
        raise InputError(
            f"{name} mixes sizes, {len(sizes)} different ones: {one} is {width}x{height} and "
            f"{other} is {other_width}x{other_height}; image_size must say the side in pixels "
            "to resize them to."
        )
    return next(iter(sizes))
