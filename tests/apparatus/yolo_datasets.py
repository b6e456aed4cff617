"""YOLO datasets of drawn rectangles, small enough to learn from in seconds."""

from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

CLASSES = ("red", "blue")


def draw_dataset(root: Path, pictures: int = 12, seed: int = 0, side: int = 64) -> Path:
    """Write pictures with one rectangle each, wider than high, and their labels; return the directory."""
    random = Random(seed)
    for folder in ("images/day", "labels/day"):
        (root / folder).mkdir(parents=True)
    (root / "data.yaml").write_text("names: [" + ", ".join(CLASSES) + "]\n")
    for number in range(pictures):
        width, height = side + side // 2, side
        label = number % len(CLASSES)
        left, top = random.randint(0, width // 2), random.randint(0, height // 2)
        across, down = random.randint(side // 5, side // 2), random.randint(side // 5, side // 2 - 1)
        picture = Image.new("RGB", (width, height), "white")
        ImageDraw.Draw(picture).rectangle((left, top, left + across, top + down), fill=CLASSES[label])
        picture.save(root / f"images/day/{number:03}.png")
        x, y = (left + across / 2) / width, (top + down / 2) / height
        line = f"{label} {x:.6f} {y:.6f} {across / width:.6f} {down / height:.6f}\n"
        (root / f"labels/day/{number:03}.txt").write_text(line)
    return root
