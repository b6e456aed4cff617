"""Marks a load test on Grafana's dashboards: one annotation, open while it runs, then with its end and figures."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import httpx
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from blocks.errors import bounded
from infra.errors import LoadTestError
from infra.settings import Settings

TAG = "loadtest"  # what the dashboard's annotation asks for
_TIMEOUT_S = 10.0


class GrafanaSettings(Settings):
    """Whose dashboards show when a load test ran."""

    model_config = SettingsConfigDict(env_ignore_empty=True)
    read_by: ClassVar[str] = "Load tests: `slipway loadtest`"

    grafana_url: str | None = Field(None, description="Grafana that load tests are marked in; none: nowhere.")
    grafana_token: SecretStr | None = Field(None, description="Token of a service account that may write annotations.")


@contextmanager
def annotated(model_name: str, text: str, settings: GrafanaSettings | None = None) -> Iterator[Callable[[str], None]]:
    """Mark the time of the block, of a model, on the dashboards; what is yielded takes the words for its end.

    Where no Grafana is named nothing is marked. Raises `LoadTestError` before the block where Grafana refuses the mark.
    """
    settings = settings or GrafanaSettings()
    ending = [f"{text}: broke off"]
    if settings.grafana_url is None:
        yield ending.append
        return
    with _connect(settings) as client:
        begun = {"time": _now_ms(), "tags": [TAG, model_name], "text": text}
        number = _send(client, "POST", "/api/annotations", begun)["id"]
        try:
            yield ending.append
        finally:
            _send(client, "PATCH", f"/api/annotations/{number}", {"timeEnd": _now_ms(), "text": ending[-1]})


def _connect(settings: GrafanaSettings) -> httpx.Client:
    token = settings.grafana_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    return httpx.Client(base_url=str(settings.grafana_url).rstrip("/"), headers=headers, timeout=_TIMEOUT_S)


def _send(client: httpx.Client, method: str, place: str, content: dict[str, object]) -> dict[str, object]:
    try:
        answer = client.request(method, place, json=content)
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise LoadTestError(
            f"Grafana at {client.base_url}: the load test cannot be marked there ({bounded(error)}); correct "
            "SLIPWAY_GRAFANA_URL and SLIPWAY_GRAFANA_TOKEN, or unset both"
        ) from error


def _now_ms() -> int:
    return int(time.time() * 1000)
