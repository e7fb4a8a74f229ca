"""Small folders of pictures."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture_folder(tmp_path):
    """12 usable pictures of many sizes and kinds in two levels, two damaged, one tiny."""
    root = tmp_path / "pictures"
    (root / "deep" / "er").mkdir(parents=True)
    rng = np.random.default_rng(0)
    kinds = [("a.png", "RGB"), ("b.jpg", "RGB"), ("c.webp", "RGB"), ("d.PNG", "L")]
    kinds += [("e.jpeg", "L"), ("f.png", "RGBA")]
    for folder, width, height in ((root, 40, 24), (root / "deep" / "er", 21, 33)):
        for name, mode in kinds:
            bands = len(mode)
            pixels = rng.integers(0, 256, (height, width, bands), dtype=np.uint8)
            Image.fromarray(pixels[..., 0] if bands == 1 else pixels, mode).save(folder / name)
    (root / "text.png").write_text("this is not a picture")
    (root / "empty.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("ignored by its ending")
    Image.new("RGB", (3, 40)).save(root / "tiny.png")
    return root
