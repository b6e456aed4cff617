"""A webhook counts as ours only where it is enabled and tells everything."""

from typing import Any

import pytest
from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr, WebhookStatus
from pydantic import SecretStr

from infra.events.settings import EventSettings
from infra.events.subscription import find_fault

SET: WebhookEventStr = "model_version_alias.created"
REMOVED: WebhookEventStr = "model_version_alias.deleted"


def webhook(status: Any = "ACTIVE", events: tuple[WebhookEventStr, ...] = (SET, REMOVED)) -> Webhook:
    return Webhook("1", "slipway", "http://us", [WebhookEvent.from_str(event) for event in events], 0, 0, status=status)


@pytest.mark.parametrize("status", ["ACTIVE", WebhookStatus.ACTIVE])
def test_one_that_is_enabled_and_tells_everything_is_as_it_should_be(status: Any) -> None:
    assert find_fault([webhook(status)]) is None


@pytest.mark.parametrize("status", ["DISABLED", WebhookStatus.DISABLED])
def test_one_that_somebody_disabled_is_not(status: Any) -> None:
    assert "was disabled" in (find_fault([webhook(status)]) or "")
    assert "was missing" in (find_fault([]) or "")


def test_one_that_tells_less_is_named_with_what_it_does_not_tell() -> None:
    assert find_fault([webhook(events=(SET,))]) == f"did not tell {REMOVED} and does again"


def test_mlflow_is_asked_by_whom_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TRACKING_URI": "http://mlflow", "USERNAME": "ann", "PASSWORD": "secret", "TOKEN": ""}
    for name, value in given.items():
        monkeypatch.setenv(f"SLIPWAY_MLFLOW_{name}", value)
    settings = EventSettings(events_url="http://us", webhook_secret=SecretStr("s" * 20))

    registry = settings.registry

    assert (registry.tracking_uri, registry.username, registry.token) == ("http://mlflow", "ann", None)
    assert registry.password and registry.password.get_secret_value() == "secret"
