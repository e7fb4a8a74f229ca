"""The identity of a feature extractor, stored with every score."""

from dataclasses import asdict, dataclass
from typing import Any

NOT_COMPARABLE = "not comparable with published FIDs"


@dataclass(frozen=True)
class Network:
    """Identifies a feature extractor, so that only comparable scores are compared.

    Attributes:
        name: name for people.
        weights: hash of the weights; empty if it is unknown, and then nothing is cached.
        preprocessing: how images are prepared; for FID, `"pytorch_fid"` or `"tf1"`.
        published: whether this is the network of published FIDs.
    """

    name: str
    weights: str
    preprocessing: str
    published: bool = False

    @property
    def note(self) -> str:
        """A remark that belongs next to a score; empty for the published network."""
        return "" if self.published else NOT_COMPARABLE

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict."""
        return asdict(self)

    def differences(self, other: "Network") -> list[str]:
        """Return what differs, as phrases such as 'preprocessing tf1 and pytorch_fid'."""
        return [
            f"{field} {_short(mine)} and {_short(theirs)}"
            for field in ("name", "weights", "preprocessing")
            if (mine := getattr(self, field)) != (theirs := getattr(other, field))
        ]


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value or "unknown"
