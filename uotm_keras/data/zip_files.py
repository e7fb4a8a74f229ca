"""The image files of a zip archive, read without extracting it.

The rules are those of `uotm_keras.data.image_files`. An archive can be made so that little of it
expands to more than a disk holds, so the size of each file and of all together is limited, and
no more is decompressed than a file's entry declares.
"""

import stat
import zipfile
from pathlib import Path, PurePosixPath

from uotm_keras.data.image_files import ENDINGS, Found, Listing, is_hidden
from uotm_keras.utils.errors import InputError
from uotm_keras.utils.files import require_regular_file

__all__ = ["ZipFiles"]

_LARGEST_FILE = 1 << 28
_LARGEST_RATIO, _ALWAYS_ACCEPTED = 100, 1 << 30  # image files are compressed already
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others have no bounded reader


class ZipFiles:
    """The image files of a zip archive.

    A file is skipped if it is encrypted, is a link, is compressed by a method other than deflate,
    or has more than 256 MiB.

    Args:
        path: the archive.
        name: what the user called it, for messages.

    Raises:
        InputError: it does not exist, is not a complete zip archive, or would expand to more
            than 1 GiB and 100 times its size.
    """

    def __init__(self, path: Path, name: str):
        require_regular_file(path, name)
        self._file = path
        try:
            # One open file for all threads: zipfile locks each read.
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # altered bytes make zipfile raise nearly any exception
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise InputError(
                f"{name}: {path} is not a complete zip archive: {reason.rstrip('.')}."
            ) from error
        # Of entries with the same name the last counts, as when an archive is extracted.
        entries = {entry.filename: entry for entry in self._archive.infolist()}
        self._entries = {
            name: entry
            for name, entry in entries.items()
            if not entry.is_dir() and not any(map(is_hidden, PurePosixPath(name).parts))
        }
        total = sum(entry.file_size for entry in self._entries.values())
        if total > max(_ALWAYS_ACCEPTED, _LARGEST_RATIO * path.stat().st_size):
            raise InputError(
                f"{name}: {path} has {path.stat().st_size} bytes and would expand to {total}: "
                f"accepted are archives that expand to at most {_LARGEST_RATIO} times their size."
            )

    def list(self) -> Listing:
        files: dict[str, Found] = {}
        skipped: dict[str, str] = {}
        others = []
        for name, entry in sorted(self._entries.items()):
            mode = stat.S_IFMT(entry.external_attr >> 16)
            if not name.lower().endswith(ENDINGS):
                others.append(name)
            elif entry.flag_bits & 1:
                skipped[name] = "encrypted"
            elif mode and not stat.S_ISREG(mode):
                skipped[name] = "not a regular file"
            elif entry.compress_type not in _METHODS:
                skipped[name] = "compressed by a method other than deflate"
            elif entry.file_size > _LARGEST_FILE:
                skipped[name] = f"{entry.file_size} bytes, more than the {_LARGEST_FILE} accepted"
            else:
                files[name] = Found(entry.file_size, entry.CRC)
        return Listing(files, skipped, others)

    def read(self, relative: str) -> bytes:
        entry = self._entries[relative]
        with self._archive.open(entry) as file:
            # Without a size, zipfile would decompress whatever there is before it truncates it.
            content = file.read(entry.file_size)
            if len(content) != entry.file_size or file.read(1):
                raise ValueError("truncated")
            return content

    def full_path(self, relative: str) -> str:
        return f"{self._file}/{relative}"
