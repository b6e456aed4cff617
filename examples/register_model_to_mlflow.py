"""Registers an ONNX file with MLflow, checked as a release would check it.

    python examples/register_model_to_mlflow.py --model-path yolo11n.onnx --model-name yolo11n-onnx

The server is the one that MLFLOW_TRACKING_URI names, by default http://localhost:5000.
"""

import argparse
import os
import sys
from pathlib import Path

from blocks.errors import SlipwayError
from blocks.registry import ModelRegistry
from slipway.releases.publication import Given, publish


def main() -> int:
    """Register the file, print the version's URI, and return the code to end with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", required=True, type=Path, help="an ONNX file, or a Triton model directory")
    parser.add_argument("--model-name", required=True, help="the name to register it under")
    given = parser.parse_args()
    registry = ModelRegistry(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", "http://localhost:5000"))
    try:
        published = publish(given.model_path, given.model_name, Given(), registry=registry)
    except SlipwayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"models:/{published.model_name}/{published.version}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
