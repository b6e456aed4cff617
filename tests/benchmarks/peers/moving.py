"""What others made becomes slipway's: their repositories adopted under load, their registered models released."""

from collections.abc import Callable
from dataclasses import replace

from blocks.environment import Environment, using
from flows.adoption import adopt_model
from flows.deployment import deploy_model
from flows.rollback import rollback_model
from infra.mlflow_deployments.settings import REPOSITORY, make_repository
from tests.benchmarks.peers.asking import asked
from tests.benchmarks.peers.contender import WHOLE_BUCKET, Contender, Failed
from tests.benchmarks.peers.course import timed
from tests.benchmarks.peers.models import CLASSES, GOOD, SIDE, register, write_version
from tests.benchmarks.peers.theirs import find

_LOG = """
import sys
from mlflow_triton_control import triton
triton.log_model(sys.argv[1], registered_model_name=sys.argv[2])
"""
_CONFIG = f"""
backend: "onnxruntime"
max_batch_size: 8
input [ {{ name: "input" data_type: TYPE_FP32 dims: [ 3, {SIDE}, {SIDE} ] }} ]
output [ {{ name: "output" data_type: TYPE_FP32 dims: [ {CLASSES} ] }} ]
"""


def adopt(contender: Contender) -> str:
    """Deploy by the contender, then adopt, release over and go back while clients ask; return what was seen."""
    name, fleet = contender.model_name, contender.ground.environment.fleet
    for version in GOOD:
        register(contender.ground.variables["MLFLOW_TRACKING_URI"], name, write_version(version))
    try:
        contender.deploy(1)
        fleet.load_model(contender.ground.grpc[1], name)  # theirs loads it on one
        with using(_find_environment(contender)):
            adopted = _asked(contender, lambda: adopt_model(name))
            released = _asked(contender, lambda: deploy_model(name, source="version:2"))
            assert {each.ask() for each in contender.endpoints} == {"version 2"}
            back = _asked(contender, lambda: rollback_model(name))
        assert {each.ask() for each in contender.endpoints} == {"version 1"}
    finally:
        contender.clean_up()
    return f"{contender.title}: adopted in {adopted}; released over in {released}; rolled back in {back}"


def release_logged(contender: Contender) -> str:
    """Register a Triton directory by mlflow-triton-control's `log_model`, and release it; return what was seen."""
    python, name = find("PEERS_CONTROL"), contender.model_name
    directory = contender.folder / "model"
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(_CONFIG)
    (directory / "1" / "model.onnx").write_bytes((write_version(1) / "model.onnx").read_bytes())
    said = "ends well"
    try:
        contender.run(python, "-c", _LOG, directory, name)
    except Failed as failure:
        said = f"ends with {failure}"
    try:
        with using(contender.ground.environment):
            seconds = timed(lambda: deploy_model(name, source="version:1"))
        assert {each.ask() for each in contender.endpoints} == {"version 1"}
    finally:
        contender.clean_up()
    return f"mlflow-triton-control's log_model {said}; its version 1 is released in {seconds:.1f} s"


def _find_environment(contender: Contender) -> Environment:
    """Return where the contender puts models, as slipway sees it."""
    environment = contender.ground.environment
    if contender.bucket != WHOLE_BUCKET:
        return environment
    place = {REPOSITORY: f"s3://{contender.ground.s3_url}/{WHOLE_BUCKET}"}
    return replace(environment, repository=make_repository({**contender.ground.variables, **place}))


def _asked(contender: Contender, change: Callable[[], object]) -> str:
    """Return the seconds a change took, and how many requests failed meanwhile: it fails unless none did."""
    with asked(contender.endpoints) as answers:
        seconds = timed(change)
    assert not answers.failures and not answers.by_version["other"], answers.failures[:3]
    return f"{seconds:.1f} s, {answers} requests failed"
