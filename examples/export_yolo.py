"""Exports a YOLO network to ONNX, by ultralytics.

    python examples/export_yolo.py --model-path yolo11n.pt --format onnx

ultralytics is not among slipway's packages: its licence is the AGPL-3.0. Install it beside: pip install ultralytics.
A path that ends in .yaml, say yolo11n.yaml, makes the network with random weights.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Export the network, print where it is, and return the code to end with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", default="yolo11n.pt", help="weights (.pt), or a network's description (.yaml)")
    parser.add_argument("--format", default="onnx", help="as ultralytics names it")
    parser.add_argument("--size", default=640, type=int, help="pixels a side")
    parser.add_argument("--dynamic", action="store_true", help="let pictures and batches have any size")
    parser.add_argument("--nms", action="store_true", help="suppress overlaps inside the graph: [n, 6]")
    given = parser.parse_args()
    try:
        from ultralytics import YOLO
    except ImportError as error:
        print(f"ultralytics cannot be imported ({error}); pip install ultralytics", file=sys.stderr)  # noqa: T201
        return 1
    exported = YOLO(given.model_path).export(
        format=given.format, imgsz=given.size, dynamic=given.dynamic, nms=given.nms
    )
    if not exported or not Path(exported).exists():
        print(f"{given.model_path}: nothing was exported; see the lines above", file=sys.stderr)  # noqa: T201
        return 1
    print(exported)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
