"""Publishes a Triton model directory to MLflow, with the options of NVIDIA's script of this name.

    python examples/publish_model_to_mlflow.py --model_name NAME --model_directory DIRECTORY --flavor triton

The server is the one that MLFLOW_TRACKING_URI names. What could not be served is not registered.
"""

import argparse
import sys
from pathlib import Path

import mlflow

from blocks.errors import SlipwayError
from blocks.registry import ModelRegistry
from slipway.releases.publication import Given, publish


def main() -> None:
    """Register the directory and print the URI to deploy it by."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", required=True, help="the name to register it under")
    parser.add_argument("--model_directory", required=True, type=Path, help="as it lies in a Triton model repository")
    parser.add_argument("--flavor", required=True, choices=["triton"])
    given = parser.parse_args()
    registry = ModelRegistry(tracking_uri=mlflow.get_tracking_uri())
    try:
        published = publish(given.model_directory, given.model_name, Given(), registry=registry)
    except SlipwayError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(f"models:/{published.model_name}/{published.version}")  # noqa: T201


if __name__ == "__main__":
    main()
