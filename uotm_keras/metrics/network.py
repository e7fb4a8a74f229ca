"""What a feature extractor says of itself, so that numbers say what they were made with."""

from dataclasses import asdict, dataclass

NOT_COMPARABLE = "not comparable with published FIDs"


@dataclass(frozen=True)
class Network:
    """Names a feature extractor exactly enough to know whether two scores may be compared.

    Attributes:
        name: for people.
        weights: hash of its weights; empty if it is unknown, and then nothing is cached.
        preprocessing: how images reach it; for FID, `"pytorch_fid"` or `"tf1"`.
        published: whether this is the network and the preprocessing of published FIDs.
    """

    name: str
    weights: str
    preprocessing: str
    published: bool = False

    @property
    def note(self) -> str:
        return "" if self.published else NOT_COMPARABLE

    def as_dict(self) -> dict:
        return asdict(self)

    def differences(self, other: "Network") -> list[str]:
        """What differs, as phrases 'preprocessing tf1 and pytorch_fid'."""
        return [
            f"{field} {_short(mine)} and {_short(theirs)}"
            for field in ("name", "weights", "preprocessing")
            if (mine := getattr(self, field)) != (theirs := getattr(other, field))
        ]


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value or "unknown"
