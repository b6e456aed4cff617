"""What a release writes: its config.pbtxt says what settings do, those before tags, and none against its author."""

from typing import Any

import pytest

from blocks.errors import InvalidInput
from blocks.labels import BATCH_SIZE_TAG
from blocks.registry import RegisteredVersion
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.artifacts import PreparedArtifacts, prepare
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import parse_config
from slipway.releases.serving_settings import ServingSettings
from tests.apparatus.paper import THEN, make_plan

AUTHOR = 'name: "m" backend: "onnxruntime" max_batch_size: 8 instance_group { count: 3 }'


def prepare_with(
    said: dict[str, Any],
    first_axis: int | str = "batch",
    author: str | None = None,
    plan: ReleasePlan | None = None,
    tagged: str | None = None,
) -> PreparedArtifacts:
    """Prepare the first release of a model with settings, or what a plan says."""
    signature = Signature(
        inputs=(TensorSpec(name="input", dtype="FP32", shape=(first_axis, 4)),),
        outputs=(TensorSpec(name="output", dtype="FP32", shape=(first_axis, 3)),),
    )
    contents = Contents(
        backend="onnxruntime", model_file="model.onnx", files=("model.onnx",), signature=signature, config=author
    )
    tags = {} if tagged is None else {BATCH_SIZE_TAG: tagged}
    registered = RegisteredVersion(model_name="m-onnx", version=3, source_uri="models:/m-1", created_at=THEN, tags=tags)
    fetched = FetchedModel(source="version:3", registered=registered, contents=contents, files=(), golden=None)
    return prepare(fetched, plan or make_plan(settings=ServingSettings.model_validate(said)))


@pytest.mark.parametrize(
    ("said", "tagged", "served"),
    [({}, None, 32), ({}, "4", 4), ({"max_batch_size": 16}, None, 16), ({"max_batch_size": 16}, "4", 16)],
)
def test_settings_go_before_the_tag_of_a_version(said: dict[str, Any], tagged: str | None, served: int) -> None:
    assert parse_config(prepare_with(said, tagged=tagged).config).max_batch_size == served


def test_without_batching_is_a_way_out_only_where_nobody_asks_for_batches() -> None:
    found = prepare_with({"instances": 2})

    assert found.without_batching is not None
    assert parse_config(found.without_batching).max_batch_size == 0
    assert parse_config(found.without_batching).instance_group[0].count == 2
    for said in ({"max_batch_size": 8}, {"queue_delay_us": 9}, {"preferred_batch_sizes": [2]}):
        assert prepare_with(said).without_batching is None


def test_a_model_without_a_dynamic_first_axis_is_not_batched_whatever_is_said() -> None:
    with pytest.raises(InvalidInput, match=r"version 3: settings say max_batch_size 8, .* unset max_batch_size"):
        prepare_with({"max_batch_size": 8}, first_axis=1)


def test_settings_add_what_an_author_left_out_and_contradict_no_author() -> None:
    config = parse_config(prepare_with({"queue_delay_us": 50}, author=AUTHOR).config)

    assert (config.instance_group[0].count, config.dynamic_batching.max_queue_delay_microseconds) == (3, 50)
    with pytest.raises(InvalidInput, match=r"settings say instances 2, .* came with the version 3"):
        prepare_with({"instances": 2}, author=AUTHOR)


def test_a_version_from_the_archive_comes_back_with_the_settings_it_had() -> None:
    before = ServingSettings(instances=4, queue_delay_us=9)
    committed = prepare_with(before.said).config.replace("count: 4", 'count: 4\n  name: "by hand"')
    plan = make_plan(
        kind="rollback", config_before=committed, settings=ServingSettings(instances=2), settings_before=before
    )

    config = parse_config(prepare_with({}, plan=plan).config)

    assert (config.instance_group[0].count, config.instance_group[0].name) == (2, "by hand")
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
