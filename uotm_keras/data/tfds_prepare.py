"""Prepare a dataset of TensorFlow Datasets, or say exactly what is missing."""

import difflib
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from uotm_keras.utils.errors import InputError, unknown_name
from uotm_keras.utils.files import local_path

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

__all__ = ["check_obtainable", "is_prepared", "main", "open_builder", "prepare_tfds"]

FILE_FORMAT = "array_record"
_PATIENCE = 5.0  # seconds to wait for a host's first answer
_NAMED = 4  # files named in a message


def prepare_tfds(name: str, data_dir: str | os.PathLike | None = None) -> Path:
    """Download and prepare a TFDS dataset in the format that `tfds:NAME` reads.

    Archives in DATA_DIR/downloads/manual are used instead of downloads. TensorFlow is required.

    Args:
        name: TFDS's name, such as "cifar10" or "celeb_a_hq/256".
        data_dir: TFDS's folder. Defaults to TFDS_DATA_DIR or ~/tensorflow_datasets.

    Returns:
        The folder of the prepared dataset.

    Raises:
        InputError: the dataset is unknown or cannot be obtained; the message says which
            file to place where.
    """
    builder = open_builder(name, data_dir)
    if is_prepared(builder):
        return Path(builder.data_dir)
    check_obtainable(name, builder)
    import tensorflow_datasets as tfds

    downloads = _root(builder) / "downloads"
    try:
        builder.download_and_prepare(
            download_dir=str(downloads),
            download_config=tfds.download.DownloadConfig(
                manual_dir=str(downloads / "manual"), try_download_gcs=False
            ),
        )
    except tfds.download.DownloadError as error:
        raise _unobtainable(name, builder, _checksums(str(error)) or str(error)) from error
    except Exception as error:  # the builders of TFDS raise many kinds
        reason = _checksums(str(error)) or f"{type(error).__name__}: {error}"
        raise _unobtainable(name, builder, reason) from error
    return Path(builder.data_dir)


def _checksums(text: str) -> str:
    """The two checksums in TFDS's message on a download that is not the expected file."""
    sums = dict(re.findall(r"(Expected|Got): UrlInfo\(.*?checksum='?([0-9a-f]{64})", text, re.S))
    if len(sums) < 2:
        return ""
    url = re.search(r"Artifact (\S+?),", text)
    file = url[1].rsplit("/", 1)[-1] if url else "a file"
    return (
        f"{file} has a wrong checksum: SHA-256 {sums['Expected']} is expected, and the file has "
        f"{sums['Got']}"
    )


_ALIASES = {"lsun/church": "lsun/church_outdoor"}


def open_builder(name: str, data_dir: str | os.PathLike | None) -> "DatasetBuilder":
    """Return TFDS's builder, which reads what is prepared without importing TensorFlow."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"tfds:{name} needs the package tensorflow-datasets, which cannot be imported "
            f"({error})."
        ) from error
    if data_dir is not None and "://" not in os.fspath(data_dir):  # gs://… is for TFDS to open
        data_dir = os.path.abspath(local_path(data_dir))
    name = _ALIASES.get(name, name)
    known = tfds.list_builders(with_community_datasets=False)
    plain = name.split("/")[0].split(":")[0]
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(f'tfds:{n}' for n in near)}? " if near else ""
        raise InputError(
            f"unknown TFDS dataset {name!r}: {hint}accepted are the {len(known)} names of the "
            "TensorFlow Datasets catalog."
        )
    config = name.split(":")[0].split("/")[1:2]
    configs = list(tfds.builder_cls(plain).builder_configs)
    if config and configs and config[0] not in configs and not re.match(r"\d+\.", config[0]):
        raise unknown_name(f"configuration of tfds:{plain}", config[0], configs)
    try:
        return tfds.builder(name, data_dir=data_dir, file_format=FILE_FORMAT)
    except Exception as error:  # unknown version, other file format, …
        text = " ".join(str(error).split())
        raise InputError(f"tfds:{name} cannot be opened: {text[:400]}") from error


def is_prepared(builder: "DatasetBuilder") -> bool:
    """Return whether the dataset is on the disk, without TFDS's warning if it is not."""
    verbosity = logging.get_verbosity()
    try:
        logging.set_verbosity(logging.ERROR)
        return builder.is_prepared()
    finally:
        logging.set_verbosity(verbosity)


def check_obtainable(name: str, builder: "DatasetBuilder") -> None:
    """Raise the `InputError` that says what is missing, without TFDS's minutes of retries."""
    needed = _needed_files(builder)
    manual = _root(builder) / "downloads" / "manual"
    own_file = getattr(builder.builder_config, "file_name", None)
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and own_file and not (manual / own_file).exists():
        raise _unobtainable(name, builder, f"there is no {manual / own_file}")
    hosts: dict[str, str] = {}
    for url in needed:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("http", "https"):
            hosts.setdefault(parts.netloc, url)
    for host, url in hosts.items():
        reason = _unreachable(url)
        if reason:
            raise _unobtainable(name, builder, f"{host} cannot be reached ({reason})")


def _needed_files(builder: "DatasetBuilder") -> dict[str, str]:
    """{url: file name} of the downloads that are not on the disk yet."""
    from tensorflow_datasets.core.download.resource import get_dl_fname

    infos = dict(builder.url_infos)
    config = builder.builder_config
    if config is not None and any(config.name in url for url in infos):
        infos = {url: info for url, info in infos.items() if config.name in url}
    downloads = _root(builder) / "downloads"
    needed = {}
    for url, info in infos.items():
        filename = info.filename or Path(urllib.parse.urlsplit(url).path).name
        cached = get_dl_fname(url, info.checksum)
        places = (
            downloads / "manual" / filename,
            downloads / builder.name / cached,
            downloads / cached,
        )
        if not any(place.exists() for place in places):
            needed[url] = filename
    return needed


def _unreachable(url: str) -> str:
    """Why a host does not answer, or nothing; it may refuse HEAD and still serve files."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP error {error.code}" if error.code >= 500 else ""
    except OSError as error:  # URLError, timeouts, refused connections
        return str(getattr(error, "reason", error))


def _root(builder: "DatasetBuilder") -> Path:
    """TFDS's folder, above NAME/CONFIG/VERSION."""
    return Path(builder.data_dir).parents[len(builder.info.full_name.split("/")) - 1]


def _unobtainable(name: str, builder: "DatasetBuilder", reason: str) -> InputError:
    root = _root(builder)
    files = list(dict.fromkeys(_needed_files(builder).values()))
    own_file = getattr(builder.builder_config, "file_name", None)
    if own_file:
        files = [own_file]
    if files:
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        what = f"place {', '.join(files[:_NAMED])}{more} in {root / 'downloads' / 'manual'}"
    elif builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        steps = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        what = f"follow its instructions for {root / 'downloads' / 'manual'} ({steps})"
    else:
        what = f"check the files in {root / 'downloads'}"
    command = (
        f'python -c "from uotm_keras.data import prepare_tfds as p; p({name!r}, {str(root)!r})"'
    )
    reason = " ".join(reason.split()).rstrip(".")
    return InputError(
        f"tfds:{name} is not prepared in {root} and cannot be: {reason[:400]}; {what}, or run "
        f"{command} on a computer with network access and copy {root / builder.name} from there."
    )


def main(name: str, data_dir: str | None = None) -> None:
    """Prepare a dataset; an error is the last line printed, and the exit code is 2."""
    try:
        prepare_tfds(name, data_dir)
    except InputError as error:
        print(error, flush=True)
        sys.exit(2)
