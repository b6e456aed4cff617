"""What explain-live says: what serves, and what a rollback would do or why it would do nothing."""

from slipway.releases.explanation import explain_live
from slipway.releases.kept_settings import record_settings
from slipway.releases.serving_settings import ServingSettings
from tests.apparatus.paper import Shelf, make_plan


def test_a_rollback_is_explained_with_where_it_goes_and_what_it_marks(shelf: Shelf) -> None:
    shelf.released(3)

    explained = explain_live(shelf.model_name, shelf.environment)

    assert explained.receipt is not None and explained.receipt.version == 3
    assert explained.rollback == (
        "to version 2 (Triton 2), without a reload; version 3 would be marked, previous would be 1"
    )


def test_a_rollback_to_other_settings_says_which(shelf: Shelf) -> None:
    shelf.released(3)
    tuned = make_plan(shelf.model_name, 3, settings=ServingSettings(instances=2))
    record_settings(shelf.environment.repository, tuned)

    explained = explain_live(shelf.model_name, shelf.environment)

    assert "by a reload, with its settings of then (none); version 3 would be marked" in explained.rollback
    assert explained.settings == ServingSettings(), "the next release says nothing of instances"


def test_where_a_rollback_goes_nowhere_it_says_why(shelf: Shelf) -> None:
    shelf.released()

    rollback = explain_live(shelf.model_name, shelf.environment).rollback

    assert rollback.startswith("would change nothing: ") and "has no alias 'previous'" in rollback


def test_a_live_version_that_the_registry_has_no_more_is_explained_too(shelf: Shelf) -> None:
    shelf.released(2)
    shelf.environment.registry.connect().delete_model_version(shelf.model_name, "2")

    explained = explain_live(shelf.model_name, shelf.environment)

    assert explained.receipt is not None and explained.receipt.registry_version == 2
    assert explained.rollback == (
        "to version 1 (Triton 1), without a reload; version 2 would be marked, previous would be not set"
    )
