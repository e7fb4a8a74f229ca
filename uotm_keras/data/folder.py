"""A folder of PNG, JPEG and WebP files of any sizes."""

import itertools
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uotm_keras.data.dataset import content_key
from uotm_keras.data.decoding import CACHE_BYTES, DecodingDataset, decoding_threads
from uotm_keras.data.pixels import fit_picture
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import write_text

__all__ = ["FolderDataset"]

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
_SMALLEST = 8  # pixels a side, where no image_size says better
_INDEX_VERSION = 1
_CHUNK = 256  # headers a thread reads at a time
_ATTEMPTS = 1000  # broken files in a row before giving up


class _Entry(NamedTuple):
    """What the index knows of a file; `error` is why it cannot be used, or empty."""

    size: int
    modified: int
    width: int = 0
    height: int = 0
    channels: int = 3
    error: str = ""


class FolderDataset(DecodingDataset):
    """All images under a folder, in the order of their paths.

    At the start only the headers are read, and with `index_path` only those of files that
    are new or changed. A file is skipped if its header cannot be read or if its shorter
    side is under half of `image_size`. A file whose header is good but whose pixels are
    not is found later: the next good file in the list takes its place, always the same,
    and `skipped` and `report()` name it from then on.

    Args:
        path: the folder, searched recursively.
        image_size: side in pixels; the largest centred square of each image is resized to
            it. None is accepted where all images have one size.
        channels: 1 or 3; None means 3, or 1 if every file is grey.
        index_path: JSON file to keep the headers in (written atomically), or None.
        cache_bytes: see `DecodingDataset`.

    Attributes:
        paths: the files that are used.
        skipped: {path: reason} of those that are not.
    """

    flip_by_default = True

    def __init__(
        self,
        path: str | os.PathLike,
        image_size: int | None = None,
        channels: int | None = None,
        index_path: str | os.PathLike | None = None,
        cache_bytes: int = CACHE_BYTES,
    ):
        self.folder = Path(path)
        self.name = f"folder:{path}"
        known = _read_index(index_path, self.folder)
        found = _list_files(self.folder, self.name)
        entries = _scan(self.folder, found, known)
        if index_path is not None and entries != known:
            _write_index(index_path, self.folder, entries)

        smallest = _SMALLEST if image_size is None else max(1, image_size // 2)
        self.skipped: dict[str, str] = {}
        usable = {}
        for relative, entry in entries.items():
            if entry.error:
                self.skipped[self._full(relative)] = entry.error
            elif min(entry.width, entry.height) < smallest:
                self.skipped[self._full(relative)] = (
                    f"{entry.width}x{entry.height} pixels, under {smallest} a side"
                )
            else:
                usable[relative] = entry
        if not usable:
            raise InputError(
                f"{self.name} has no usable image: {self.report() or 'there is no file'} "
                f"Accepted are files ending in {', '.join(ENDINGS)}."
            )
        self.paths = [self._full(relative) for relative in usable]
        if channels is None:
            channels = 1 if all(entry.channels == 1 for entry in usable.values()) else 3
        self._image_size = image_size
        height, width = _common_size(self.name, usable) if image_size is None else (image_size,) * 2
        self._entries_key = content_key(
            *(f"{relative} {entry.size} {entry.modified}" for relative, entry in usable.items())
        )
        super().__init__(len(usable), (height, width, channels), cache_bytes)

    def _full(self, relative: str) -> str:
        return os.path.join(self.folder, relative)

    def fingerprint(self) -> str:
        return content_key(self._entries_key, f"bicubic {self.shape}")

    def path_of(self, index: int) -> str:
        return self.paths[int(index)]

    def report(self, limit: int = 5) -> str:
        """One sentence counting and naming the skipped files; empty if there are none."""
        if not self.skipped:
            return ""
        named = [f"{path} ({reason})" for path, reason in list(self.skipped.items())[:limit]]
        more = len(self.skipped) - len(named)
        rest = f" and {more} more" if more else ""
        files = "file" if len(self.skipped) == 1 else "files"
        return f"skipped {len(self.skipped)} {files}: {', '.join(named)}{rest}."

    def _decode(self, index: int) -> np.ndarray:
        for attempt in range(min(len(self), _ATTEMPTS)):
            path = self.paths[(index + attempt) % len(self)]
            try:
                return self._read(path)
            except Exception as error:  # Pillow's decoders raise many kinds for broken files
                self.skipped[path] = _reason(error)
        raise InputError(
            f"{self.name} has no readable image near {self.paths[index]}: {self.report()}"
        )

    def _read(self, path: str) -> np.ndarray:
        from PIL import Image

        with Image.open(path, formats=FORMATS) as picture:
            image = fit_picture(picture, self._image_size, self.shape[2])
        if image.shape != self.shape:
            raise ValueError(f"{image.shape} where {self.shape} was indexed")
        return image


def _list_files(folder: Path, name: str) -> dict[str, os.stat_result]:
    """{relative path: stat} of the files with an image's ending, sorted."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{name}: {folder} {what}: accepted is a folder of images.")
    found = {}
    pending = [""]
    while pending:
        relative = pending.pop()
        try:
            with os.scandir(folder / relative) as items:
                for item in items:
                    path = os.path.join(relative, item.name)
                    if item.is_dir(follow_symlinks=False):
                        pending.append(path)
                    elif item.name.lower().endswith(ENDINGS) and item.is_file():
                        found[path] = item.stat()
        except OSError as error:
            raise InputError(
                f"{name}: {folder / relative} cannot be read: {error.strerror}."
            ) from error
    return dict(sorted(found.items()))


def _scan(
    folder: Path, found: dict[str, os.stat_result], known: dict[str, _Entry]
) -> dict[str, _Entry]:
    """An entry for every file found: the known one if unchanged, else from its header."""

    entries = {
        relative: known[relative]
        for relative, stat in found.items()
        if relative in known and known[relative][:2] == (stat.st_size, stat.st_mtime_ns)
    }
    unread = [relative for relative in found if relative not in entries]

    def read(first: int) -> list[_Entry]:
        some = unread[first : first + _CHUNK]
        return [_read_header(os.path.join(folder, relative), found[relative]) for relative in some]

    if unread:
        chunks = decoding_threads().map(read, range(0, len(unread), _CHUNK))
        entries.update(zip(unread, itertools.chain.from_iterable(chunks), strict=True))
    return {relative: entries[relative] for relative in found}


def _read_header(path: str, stat: os.stat_result) -> _Entry:
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            # Orientations 5 … 8 are stored on their side.
            if "exif" in picture.info and picture.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
            grey = picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;")
            return _Entry(stat.st_size, stat.st_mtime_ns, width, height, channels=1 if grey else 3)
    except Exception as error:  # Pillow's parsers raise many kinds for broken files
        return _Entry(stat.st_size, stat.st_mtime_ns, error=_reason(error))


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a readable PNG, JPEG or WebP file"
    text = str(error).strip().rstrip(".")
    return getattr(error, "strerror", None) or text or type(error).__name__


def _common_size(name: str, usable: dict[str, _Entry]) -> tuple[int, int]:
    sizes = {(entry.height, entry.width) for entry in usable.values()}
    if len(sizes) > 1:
        raise InputError(
            f"{name} has images of {len(sizes)} different sizes: image_size must say the side "
            "in pixels to bring them to."
        )
    return sizes.pop()


def _read_index(index_path: str | os.PathLike | None, folder: Path) -> dict[str, _Entry]:
    """The entries kept by an earlier run; none if the file is absent or of another kind."""
    if index_path is None:
        return {}
    try:
        index = json.loads(Path(index_path).read_text(encoding="utf-8"))
        if (index["version"], index["folder"]) != (_INDEX_VERSION, str(folder.resolve())):
            return {}
        return {relative: _Entry(*entry) for relative, entry in index["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # only a cache: it is made anew


def _write_index(index_path: str | os.PathLike, folder: Path, entries: dict[str, _Entry]) -> None:
    index = {"version": _INDEX_VERSION, "folder": str(folder.resolve()), "files": entries}
    write_text(index_path, json.dumps(index))
