"""The one webhook in MLflow that delivers to this service."""

from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr, WebhookStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from infra.events.settings import EventSettings

NAME = "slipway"
EVENTS: list[WebhookEventStr | WebhookEvent] = ["model_version_alias.created", "model_version_alias.deleted"]


def subscribe(settings: EventSettings) -> Webhook:
    """Create the webhook to our address, or bring the one there is up to date; of several the oldest stays.

    MLflow accepts the same webhook twice and then delivers twice, so what another replica of this service created at
    the same time is removed. Raises `ServiceUnavailable` where MLflow does not answer.
    """
    registry = settings.registry
    client, secret = registry.connect(), settings.webhook_secret.get_secret_value()
    with registry.reaching(f"the webhook to {settings.events_url}"):
        ours = _list_ours(client, settings.events_url)
        if not ours:
            client.create_webhook(NAME, settings.events_url, EVENTS, "Releases what 'deploy' is set on.", secret)
            ours = _list_ours(client, settings.events_url)
        kept, *others = ours
        for other in others:
            _delete(client, other)
        return client.update_webhook(kept.webhook_id, events=EVENTS, secret=secret, status="ACTIVE")


def look_for_fault(settings: EventSettings) -> str | None:
    """Return what keeps MLflow from delivering everything to our address, None where nothing does.

    Raises `ServiceUnavailable` where it does not answer.
    """
    with settings.registry.reaching(f"the webhook to {settings.events_url}"):
        return find_fault(_list_ours(settings.registry.connect(), settings.events_url))


def find_fault(ours: list[Webhook]) -> str | None:
    """Return what is wrong with the webhooks to one address, None where one delivers everything."""
    if not ours:
        return "was missing and is made anew"
    if not any(WebhookStatus(webhook.status) is WebhookStatus.ACTIVE for webhook in ours):
        return "was disabled and is enabled again; to keep aliases from releasing, pause the trigger of deploy-model"
    if missing := sorted(
        {str(event) for event in EVENTS} - {str(event) for webhook in ours for event in webhook.events}
    ):
        return f"did not tell {' and '.join(missing)} and does again"
    return None


def _list_ours(client: MlflowClient, url: str) -> list[Webhook]:
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
