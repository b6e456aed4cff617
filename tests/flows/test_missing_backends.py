"""What a replica cannot serve, for want of a backend or a GPU, is refused with that, and nothing stays of it."""

from pathlib import Path

import pytest

from blocks.environment import Environment
from blocks.errors import LoadFailed
from flows.deployment import deploy_model
from flows.publication import publish_model
from tests.apparatus.consistency import list_served
from tests.apparatus.thinning import keep
from tests.apparatus.triton_directories import TENSORS, write_directory

FIL = 'backend: "fil" parameters { key: "model_type" value { string_value: "xgboost_json" } }'
ON_GPU = 'backend: "python" instance_group [ { kind: KIND_GPU } ]'


@pytest.mark.parametrize(
    ("config", "file", "lacks"),
    keep(  # tests/blocks/test_load_refusals.py reads what Triton says of each
        {
            "TensorRT": (
                'platform: "tensorrt_plan"',
                "model.plan",
                "no backend 'tensorrt', expected one; start the replicas from an",
            ),
            "FIL": (FIL, "xgboost.json", "no backend 'fil', expected one"),
            "OpenVINO": ('backend: "openvino"', "model.xml", "no backend 'openvino', expected one"),
            "a GPU": (
                ON_GPU,
                "model.py",
                "no GPU, expected one; release it to replicas with a GPU, or, .* KIND_CPU",
            ),
        },
        {"TensorRT", "a GPU"},
    ),
)
def test_what_a_replica_lacks_to_serve_a_model_is_said_when_it_is_refused(
    environment: Environment, model_name: str, tmp_path: Path, config: str, file: str, lacks: str
) -> None:
    directory = write_directory(tmp_path / "m", f"{config} {TENSORS}", {f"1/{file}": "weights"})
    publish_model(directory, model_name, deploy=True)

    with pytest.raises(LoadFailed, match=f"on Triton [^ ]+, Triton 2[^ ]+: it has {lacks}"):
        deploy_model(model_name)

    assert list_served(environment, model_name) == [
        (),
        (),
    ]
    assert "live" not in environment.registry.get_aliases(model_name)
