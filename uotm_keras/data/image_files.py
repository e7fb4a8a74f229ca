"""Image files: the one decoder and the one set of rules, for training and scoring.

Folders are read here, archives in `uotm_keras.data.zip_files`.

- Files ending in .png, .jpg, .jpeg or .webp are images, in all subfolders, in the order of
  their paths. Hidden files and folders (names that begin with a dot), `__MACOSX` and files with
  other endings are ignored. Symbolic links to files are followed, links to folders are not.
- An image is decoded by `pixels.fit_picture`, which states what happens to transparency,
  orientation, bit depth and animations.
- A file that cannot be decoded, has more pixels than Pillow considers safe, or is not a regular
  file is skipped, and its path and the reason are listed.
"""

import contextlib
import hashlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from uotm_keras.data.pixels import fit_picture
from uotm_keras.utils.errors import InputError

__all__ = [
    "ENDINGS",
    "FileRecord",
    "FolderFiles",
    "Found",
    "ImageFiles",
    "Listing",
    "decode_file",
    "inspect_file",
    "is_hidden",
]

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_FORMATS = ("PNG", "JPEG", "WEBP")


class Found(NamedTuple):
    """What tells whether a file is unchanged.

    Attributes:
        size: its number of bytes.
        modified: the time of its modification in nanoseconds; in an archive, its CRC-32.
    """

    size: int
    modified: int


class Listing(NamedTuple):
    """What a folder or an archive contains.

    Attributes:
        files: every image file, by relative path, sorted.
        skipped: the reason for every image file and folder that cannot be used, by relative
            path.
        others: relative paths of the files that are not images.
    """

    files: dict[str, Found]
    skipped: dict[str, str]
    others: list[str]


class FileRecord(NamedTuple):
    """What is known of an image file once it has been decoded.

    Attributes:
        size, modified: see `Found`.
        digest: 32 hexadecimal digits of the content's SHA-256.
        width, height: of the upright image.
        channels: 1 if the file is gray, else 3.
        transparent: whether it has transparent pixels that a background shows through.
        error: why the file cannot be used; empty if it can.
    """

    size: int
    modified: int
    digest: str = ""
    width: int = 0
    height: int = 0
    channels: int = 3
    transparent: bool = False
    error: str = ""


class ImageFiles(Protocol):
    """The image files of a folder or an archive."""

    def list(self) -> Listing:
        """List the files."""

    def read(self, relative: str) -> bytes:
        """Return the content of a file; called from several threads."""

    def full_path(self, relative: str) -> str:
        """Return what to call a file in messages and tables."""


class FolderFiles:
    """The image files of a folder and its subfolders.

    Args:
        folder: the folder.
        name: what the user called it, for messages.

    Raises:
        InputError: it does not exist, is not a folder, or (when listed) cannot be read.
    """

    def __init__(self, folder: Path, name: str):
        if not os.path.isdir(folder):
            what = "is not a folder" if os.path.exists(folder) else "does not exist"
            raise InputError(f"{name}: {folder} {what}; give a folder or a .zip file of images.")
        self._folder, self._name = folder, name

    def list(self) -> Listing:
        files: dict[str, Found] = {}
        skipped: dict[str, str] = {}
        others: list[str] = []
        pending = [""]
        while pending:
            relative = pending.pop()
            try:
                with os.scandir(self.full_path(relative)) as scan:
                    items = list(scan)
            except OSError as error:
                if not relative:
                    raise InputError(
                        f"{self._name}: {self._folder} cannot be read: {error.strerror}."
                    ) from error
                skipped[relative] = f"the folder cannot be read: {error.strerror}"
                continue
            for item in items:
                path = os.path.join(relative, item.name)
                if is_hidden(item.name):
                    continue
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif not item.name.lower().endswith(ENDINGS):
                    others.append(path)
                else:
                    try:
                        found = item.stat()
                    except OSError as error:  # a link that leads nowhere or to itself
                        skipped[path] = error.strerror or str(error)
                        continue
                    if stat.S_ISREG(found.st_mode):
                        files[path] = Found(found.st_size, found.st_mtime_ns)
                    else:
                        skipped[path] = "not a regular file"
        return Listing(dict(sorted(files.items())), skipped, sorted(others))

    def read(self, relative: str) -> bytes:
        # Without O_NONBLOCK, opening a pipe that took the file's place would wait forever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.open(self.full_path(relative), flags)
        with os.fdopen(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise ValueError("not a regular file")
            return stream.read()

    def full_path(self, relative: str) -> str:
        return os.path.join(self._folder, relative)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is ignored."""
    return name.startswith(".") or name == "__MACOSX"  # where macOS stores its attributes


def inspect_file(files: ImageFiles, relative: str, found: Found) -> FileRecord:
    """Read and decode a file completely; never raises."""
    from PIL import Image

    record = FileRecord(*found)
    try:
        content = files.read(relative)
        record = record._replace(digest=hashlib.sha256(content).hexdigest()[:32])
        with _quiet_pillow(), Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            pixels: int = picture.width * picture.height
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and pixels > most:
                return record._replace(error=f"{pixels} pixels, more than the {most} accepted")
            gray = picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;")
            height, width, _ = fit_picture(picture, None, 3).shape
            transparent = bool(
                picture.has_transparency_data
                and np.asarray(picture.convert("RGBA").getchannel("A")).min() < 255
            )
        return record._replace(
            width=width, height=height, channels=1 if gray else 3, transparent=transparent
        )
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        return record._replace(error=_reason(error))


def decode_file(
    files: ImageFiles,
    relative: str,
    image_size: int | None,
    channels: int,
    background: tuple[int, int, int],
) -> np.ndarray:
    """Decode an image file: uint8 (H, W, channels), see `fit_picture`.

    Raises:
        InputError: the file cannot be decoded (any more).
    """
    from PIL import Image

    try:
        content = io.BytesIO(files.read(relative))
        with _quiet_pillow(), Image.open(content, formats=_FORMATS) as picture:
            return fit_picture(picture, image_size, channels, background)
    except Exception as error:
        raise InputError(
            f"{files.full_path(relative)} could be decoded when the folder was opened, and now "
            f"cannot be: {_reason(error)}. Start again when the files no longer change."
        ) from error


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a readable PNG, JPEG or WebP file"
    text = " ".join(str(error).split()).rstrip(".")
    return getattr(error, "strerror", None) or text or type(error).__name__


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_filters: warnings.catch_warnings | None = None


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Hide Pillow's warnings (palettes, EXIF data, large images) while any thread decodes.

    `warnings.catch_warnings` alone is not safe in threads: the last to leave would restore the
    filters of another.
    """
    global _quiet_users, _quiet_filters
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0 and _quiet_filters is not None:
                _quiet_filters.__exit__(None, None, None)
                _quiet_filters = None
