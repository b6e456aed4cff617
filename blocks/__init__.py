"""What slipway reads and writes: servers, stores, replicas. Whatever of slipway runs begins with this package."""

import os

# Where its server cannot be reached, a thread of MLflow takes a variable out of the environment; a request that reads
# the environment for its proxies meanwhile ends in a KeyError (mlflow.telemetry.client, requests.utils).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
