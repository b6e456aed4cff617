"""Step 6 of the detector's flow, register-detector: what passed both gates becomes champion, and asks for release."""

from prefect import task

from blocks.errors import InvalidInput
from blocks.labels import AGREEMENT_TAG, GATE_1_TAG, GOLDEN_FILE, MODEL_FILE, PARENT_RUN_TAG, VALIDATION_PASSED_TAG
from blocks.registry import ModelRegistry
from slipway.learning.yolo.gate import DetectorVerdict
from slipway.learning.yolo.results import EXPORT_FOLDER, ExportedDetector
from slipway.releases.champion_publication import publish_champion
from slipway.releases.publication import Publication
from tasks.policies import PER_RUN


@task(name="register-detector", task_run_name="register-detector", cache_policy=PER_RUN)
def register_detector(exported: ExportedDetector, verdict: DetectorVerdict, *, registry: ModelRegistry) -> Publication:
    """Register an export that gate 1 passed as `<model>-onnx`; set `champion` on the version, and last `deploy`.

    Raises `InvalidInput` for a refused one, and `VersionConflict` where another became champion meanwhile.
    """
    if not verdict.passed or verdict.run_id != exported.run_id:
        raise InvalidInput(f"{verdict.reason}; only an export that its own verdict passed is registered")
    return publish_champion(
        exported.onnx_name,
        run_id=exported.run_id,
        folder=EXPORT_FOLDER,
        sha256={MODEL_FILE: exported.sha256, GOLDEN_FILE: exported.golden_sha256},
        replaces=verdict.champion_version,
        tags={
            PARENT_RUN_TAG: exported.run_id,
            AGREEMENT_TAG: exported.agreement,
            GATE_1_TAG: "passed",
            VALIDATION_PASSED_TAG: "true",
        },
        registry=registry,
    )
