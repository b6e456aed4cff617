"""The one webhook in MLflow that delivers to this service."""

from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from blocks.registry import ModelRegistry
from infra.events.settings import EventSettings

NAME = "slipway"
EVENTS: list[WebhookEventStr | WebhookEvent] = ["model_version_alias.created", "model_version_alias.deleted"]


def subscribe(settings: EventSettings) -> Webhook:
    """Create the webhook to our address, or bring the one there is up to date; of several the oldest stays.

    MLflow accepts the same webhook twice and then delivers twice, so what another replica of this service created at
    the same time is removed. Raises `ServiceUnavailable` where MLflow does not answer.
    """
    registry = ModelRegistry(tracking_uri=settings.mlflow_tracking_uri)
    client, secret = registry.connect(), settings.webhook_secret.get_secret_value()
    with registry.reaching(f"the webhook to {settings.events_url}"):
        ours = _ours(client, settings.events_url)
        if not ours:
            client.create_webhook(NAME, settings.events_url, EVENTS, "Releases what 'deploy' is set on.", secret)
            ours = _ours(client, settings.events_url)
        kept, *others = ours
        for other in others:
            _delete(client, other)
        return client.update_webhook(kept.webhook_id, events=EVENTS, secret=secret, status="ACTIVE")


def is_subscribed(settings: EventSettings) -> bool:
    """Tell whether MLflow still has a webhook to our address; `ServiceUnavailable` where it does not answer."""
    registry = ModelRegistry(tracking_uri=settings.mlflow_tracking_uri)
    with registry.reaching(f"the webhook to {settings.events_url}"):
        return bool(_ours(registry.connect(), settings.events_url))


def _ours(client: MlflowClient, url: str) -> list[Webhook]:
    found, token = [], None
    while True:
        page = client.list_webhooks(max_results=100, page_token=token)
        found += [webhook for webhook in page if webhook.url == url]
        if not (token := page.token):
            return sorted(found, key=lambda webhook: (webhook.creation_timestamp, webhook.webhook_id))


def _delete(client: MlflowClient, webhook: Webhook) -> None:
    try:
        client.delete_webhook(webhook.webhook_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
