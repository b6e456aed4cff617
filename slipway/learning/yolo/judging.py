"""Gate 1 of a detector: candidate and champion, both as they are served, measured on the same pictures and machine."""

import tempfile
from pathlib import Path

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError
from blocks.events import tell_gate
from blocks.labels import CHAMPION, CHECKSUM_TAG, GATE_1_TAG, MODEL_FILE
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.run import publish_report, say
from slipway.learning.yolo.export import download_checked
from slipway.learning.yolo.gate import DetectorVerdict, judge_detector
from slipway.learning.yolo.measuring import DetectorFile, check_classes, measure, open_detector
from slipway.learning.yolo.parameters import DetectorCriteria
from slipway.learning.yolo.results import EXPORT_FOLDER, DatasetSplit, ExportedDetector


def judge_export(
    exported: ExportedDetector, split: DatasetSplit, criteria: DetectorCriteria, *, registry: ModelRegistry
) -> DetectorVerdict:
    """Measure an export and the champion, where there is one, and judge; the figures go to the training's run.

    Changes no version and no alias. Raises `InvalidInput` where the champion finds other classes.
    """
    champion = registry.find_at_alias(exported.onnx_name, CHAMPION)
    with tempfile.TemporaryDirectory(prefix="slipway-yolo-") as directory:
        path = f"{EXPORT_FOLDER}/{MODEL_FILE}"
        own = download_checked(exported.run_id, path, exported.sha256, Path(directory), registry)
        detectors = [open_detector(own, f"export of MLflow run {exported.run_id}")]
        if champion is not None:
            detectors.append(_download_champion(champion, split, Path(directory), registry))
        figures = measure(detectors, split)
    verdict = judge_detector(
        exported.model_name,
        exported.run_id,
        criteria,
        candidate=figures[0],
        champion_version=champion.version if champion else None,
        champion=figures[1] if champion else None,
    )
    _record(verdict, exported, registry)
    return verdict


def _download_champion(
    champion: RegisteredVersion, split: DatasetSplit, into: Path, registry: ModelRegistry
) -> DetectorFile:
    subject = f"champion '{champion.model_name}' version {champion.version}"
    path = registry.download(champion, into / CHAMPION) / MODEL_FILE
    expected = champion.tags.get(f"{CHECKSUM_TAG}{MODEL_FILE}")
    if expected and path.is_file() and FileDigest.of(path).sha256 != expected:
        raise IntegrityError(f"{subject}: {MODEL_FILE} is not the file that was registered; take the alias away")
    detector = open_detector(path, subject)
    check_classes(detector, split.classes, subject)
    return detector


def _record(verdict: DetectorVerdict, exported: ExportedDetector, registry: ModelRegistry) -> None:
    client = registry.connect()
    with registry.reaching(f"figures of run {verdict.run_id}"):
        client.log_metric(verdict.run_id, "test_map50_95", verdict.candidate.map50_95)
        client.log_metric(verdict.run_id, "milliseconds_per_image", verdict.candidate.milliseconds)
        client.set_tag(verdict.run_id, GATE_1_TAG, "passed" if verdict.passed else "rejected")
    say(verdict.reason)
    tell_gate(1, verdict.passed, exported.onnx_name, verdict.reason)
    publish_report("gate-1", f"# Gate 1\n\n{verdict.reason}\n", verdict.reason)
