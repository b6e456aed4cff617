"""Settings: read as they are given, refused where they contradict each other, kept with who said them."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.errors import ForeignModel, IntegrityError, InvalidInput, NotRegistered, VersionConflict
from slipway.releases.kept_settings import (
    KeptSettings,
    keep_settings,
    read_kept,
    read_recorded,
    record_settings,
    take_back,
)
from slipway.releases.serving_settings import ServingSettings
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import Shelf, make_plan

NONE = ServingSettings()
TWO = ServingSettings(instances=2)
FOUR = ServingSettings(instances=4)
EIGHT = ServingSettings(instances=8)


@pytest.mark.parametrize(
    ("field", "given", "read"),
    [
        ("max_batch_size", "16", 16),
        ("preferred_batch_sizes", "4, 8", (4, 8)),
        ("queue_timeout_action", "delay", "delay"),
        ("gpus", "0,1", (0, 1)),
        ("rate_resources", "memory=4,R2=1", {"memory": 4, "R2": 1}),
        ("warm_up_shapes", "image=3x640x640,ids=128", {"image": (3, 640, 640), "ids": (128,)}),
        ("tensorrt_precision", "fp16", "FP16"),
        ("tensorrt_options", "trt_tactic_sources=-CUDNN,+CUBLAS", {"trt_tactic_sources": "-CUDNN,+CUBLAS"}),
        ("use_tf32", "false", False),
        ("response_cache", "true", True),
    ],
)
def test_a_text_from_the_prompt_is_read_as_its_field_has_it(field: str, given: str, read: Any) -> None:
    assert getattr(NONE.change({field: given}), field) == read


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("max_batch_size", "-1"),
        ("max_batch_size", "many"),
        ("preferred_batch_sizes", ""),
        ("queue_timeout_action", "drop"),
        ("instances", "0"),
        ("gpus", "-1"),
        ("rate_resources", "memory"),
        ("rate_resources", "a b=1"),
        ("warm_up_shapes", "ids=0"),
        ("tensorrt_precision", "FP8"),
        ("gpu_mem_limit_bytes", "10"),
    ],
)
def test_a_value_that_a_field_cannot_have_is_refused(field: str, given: str) -> None:
    with pytest.raises(ValidationError, match=field):
        NONE.change({field: given})


def test_a_name_that_is_no_field_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidInput, match="'instance' is none, expected instances"):
        NONE.change({"instance": 2})
    with pytest.raises(InvalidInput, match=r"'x' is none, expected one of max_batch_size, "):
        NONE.change({}, unset=("x",))


def test_what_is_not_named_stays_said() -> None:
    settings = ServingSettings(instances=4, warm_up="zeros", use_tf32=False)

    changed = settings.change({"instances": "2"}, unset=("warm_up",))

    assert changed.said == {"instances": 2, "use_tf32": False}


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (
            {"max_batch_size": 8, "preferred_batch_sizes": [16]},
            r"preferred_batch_sizes are \(16,\), max_batch_size is 8",
        ),
        ({"max_batch_size": 8, "warm_up": "zeros", "warm_up_batch_sizes": [9]}, "expected none above it"),
        ({"max_batch_size": 0, "queue_delay_us": 5}, "expected nothing of how requests are joined"),
        ({"queue_timeout_action": "delay"}, "set queue_timeout_us, too"),
        ({"gpus": [0]}, r"instance_kind is None, expected gpu"),
        ({"gpus": [0], "instance_kind": "cpu"}, r"instance_kind is cpu, expected gpu"),
        ({"openvino": True, "instance_kind": "gpu"}, "OpenVINO computes"),
        ({"openvino": True, "tensorrt_precision": "FP16"}, "expected one of them"),
        ({"tensorrt_precision": "FP16", "instance_kind": "cpu"}, "expected nothing of GPUs"),
        ({"use_tf32": False, "instance_kind": "cpu"}, "expected nothing of GPUs"),
        ({"tensorrt_cache_path": "/engines"}, "set tensorrt_precision, too"),
        ({"tensorrt_precision": "FP16", "tensorrt_options": {"trt_speed": "1"}}, "names 'trt_speed', expected one of"),
        ({"warm_up_batch_sizes": [4]}, "set warm_up, too"),
    ],
)
def test_what_contradicts_itself_is_refused(said: dict[str, Any], refused: str) -> None:
    with pytest.raises(InvalidInput, match=r"^model 'm': .*" + refused):
        ServingSettings.model_validate(said).check("model 'm'")


def test_settings_are_kept_with_who_said_them_and_what_was_said_before(shelf: Shelf) -> None:
    shelf.registered()
    first = keep_settings(shelf.model_name, FOUR, after=KeptSettings(), by="ann", environment=shelf.environment)

    keep_settings(shelf.model_name, EIGHT, after=first, by="bob", reason="busy", environment=shelf.environment)

    kept = read_kept(shelf.environment.repository, shelf.model_name)
    assert kept.now == EIGHT
    assert [(change.by, change.reason, change.settings) for change in kept.changes] == [
        ("bob", "busy", EIGHT),
        ("ann", "", FOUR),
    ]


def test_who_read_older_settings_overwrites_nothing(shelf: Shelf) -> None:
    shelf.registered()
    keep_settings(shelf.model_name, FOUR, after=KeptSettings(), by="ann", environment=shelf.environment)

    with pytest.raises(VersionConflict, match="changed by somebody else"):
        keep_settings(shelf.model_name, EIGHT, after=KeptSettings(), by="bob", environment=shelf.environment)

    assert read_kept(shelf.environment.repository, shelf.model_name).now == FOUR


def test_a_model_that_is_not_slipways_gets_no_settings(shelf: Shelf) -> None:
    with pytest.raises(NotRegistered):
        keep_settings(shelf.model_name, FOUR, after=KeptSettings(), by="ann", environment=shelf.environment)
    shelf.registered()
    commit_by_hand(shelf.environment.repository, shelf.model_name, "")

    with pytest.raises(ForeignModel, match="adopt it first"):
        keep_settings(shelf.model_name, FOUR, after=KeptSettings(), by="ann", environment=shelf.environment)


def test_settings_that_cannot_be_read_say_where_they_are(shelf: Shelf) -> None:
    shelf.environment.repository.write_settings(shelf.model_name, '{"changes": 1}', None)

    with pytest.raises(IntegrityError, match=re.escape(f"settings/{shelf.model_name}.json")):
        read_kept(shelf.environment.repository, shelf.model_name)


def test_a_version_knows_what_it_was_released_with(shelf: Shelf) -> None:
    repository, name = shelf.environment.repository, shelf.model_name

    record_settings(repository, make_plan(name, 3, settings=FOUR))

    assert read_recorded(repository, name, 3) == FOUR
    assert read_recorded(repository, name, 2) == read_recorded(repository, name, None) == NONE
    record_settings(repository, make_plan(name, 3, creates_version=False))
    assert read_recorded(repository, name, 3) == NONE


@pytest.mark.parametrize(
    ("said", "then"), [(EIGHT, FOUR), (ServingSettings(instances=2), ServingSettings(instances=2))]
)
def test_a_rollback_takes_its_settings_back_unless_others_were_set_since(
    shelf: Shelf, said: ServingSettings, then: ServingSettings
) -> None:
    shelf.registered()
    keep_settings(shelf.model_name, said, after=KeptSettings(), by="ann", environment=shelf.environment)
    plan = make_plan(
        shelf.model_name, kind="rollback", reason="slow", settings=FOUR, settings_before=EIGHT, flow_run_id="r"
    )

    for _ in range(2):
        take_back(plan, shelf.environment.repository)

    kept = read_kept(shelf.environment.repository, shelf.model_name)
    assert kept.now == then
    assert len(kept.changes) == (2 if said == EIGHT else 1)
