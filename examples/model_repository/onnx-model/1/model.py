"""A Triton model in Python that serves an ONNX file it pulls from MLflow when it is loaded.

MLFLOW_TRACKING_URI, MLFLOW_MODEL_NAME and MLFLOW_MODEL_VERSION or MLFLOW_MODEL_ALIAS say which; parameters of the same
names in config.pbtxt go before them. MLFLOW_MODEL_CACHE is where files are kept. Loading the model again, or setting
another alias and loading it again, is how another version comes into service.
"""

import json
from collections import defaultdict
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from mlflow_model import Refused, Unreachable, pull, read_wanted

Arrays = dict[str, Any]


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Pull the model and open it; what is missing, or disagrees with the configuration, is the load's error."""
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        wanted = read_wanted(given)
        try:
            pulled = pull(wanted)
        except (Refused, Unreachable) as error:
            raise pb_utils.TritonModelException(str(error)) from None
        where = f"the cache {wanted.cache}, MLflow does not answer" if pulled.from_cache else wanted.tracking_uri
        pb_utils.Logger.log_info(f"{config['name']}: serves '{wanted.name}' version {pulled.version} from {where}")
        self._session = onnxruntime.InferenceSession(str(pulled.path), providers=_choose_providers(args))
        self._subject = f"'{wanted.name}' version {pulled.version}"
        self._check(config)
        self._outputs = [output["name"] for output in config["output"]]
        self._batched = config["max_batch_size"] > 0
        # one row at a time where the file was exported for one
        self._joins = all(isinstance(tensor.shape[0], str) for tensor in self._session.get_inputs() if tensor.shape)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; those of one shape share a run, and an error stays one request's."""
        feeds = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        groups: dict[Any, list[int]] = defaultdict(list)
        for index, feed in enumerate(feeds):
            shape = tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in feed.items()))
            groups[shape if self._batched and self._joins else index].append(index)
        answers: list[Any] = [None] * len(requests)
        for indexes in groups.values():
            for index, answer in zip(indexes, self._answer([feeds[index] for index in indexes]), strict=True):
                answers[index] = answer
        return answers

    def _answer(self, feeds: list[Arrays]) -> list[Any]:
        try:
            outputs = self._run({name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
        except Exception as error:  # noqa: BLE001, the session's errors have no common type
            if len(feeds) > 1:
                return [answer for feed in feeds for answer in self._answer([feed])]
            return [pb_utils.InferenceResponse([], pb_utils.TritonError(f"{self._subject}: {error}"))]
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])[:-1] if self._batched else []
        parts = {name: np.split(array, ends) if len(ends) else [array] for name, array in outputs.items()}
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(name, parts[name][index]) for name in self._outputs])
            for index in range(len(feeds))
        ]

    def _run(self, feed: Arrays) -> Arrays:
        """Return the outputs of all rows, run together, or one by one where the file takes one."""
        if self._joins or not self._batched:
            return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        rows = len(next(iter(feed.values())))
        runs = [
            self._session.run(self._outputs, {name: array[row : row + 1] for name, array in feed.items()})
            for row in range(rows)
        ]
        return {name: np.concatenate([run[place] for run in runs]) for place, name in enumerate(self._outputs)}

    def _check(self, config: dict[str, Any]) -> None:
        known = {
            "input": {tensor.name: tensor.shape for tensor in self._session.get_inputs()},
            "output": {tensor.name: tensor.shape for tensor in self._session.get_outputs()},
        }
        skipped = 1 if config["max_batch_size"] > 0 else 0
        for kind, shapes in known.items():
            for tensor in config[kind]:
                real = shapes.get(tensor["name"])
                if real is None or not _fits(tensor["dims"], real[skipped:]):
                    raise pb_utils.TritonModelException(
                        f"{self._subject}: config.pbtxt says {kind} '{tensor['name']}' with dims {tensor['dims']}, the "
                        f"file has {shapes}; correct config.pbtxt"
                    )


def _fits(dims: list[int], real: list[Any]) -> bool:
    return len(dims) == len(real) and all(
        not isinstance(size, int) or int(dim) in (-1, size) for dim, size in zip(dims, real, strict=True)
    )


def _choose_providers(args: dict[str, str]) -> list[Any]:
    if args["model_instance_kind"] == "GPU" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"]}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
