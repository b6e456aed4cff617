"""The automations of infra/automations.yaml, created or brought up to date by name."""

from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from pydantic import SecretStr

from infra.setup.settings import AlertSettings

FILE = Path(__file__).resolve().parents[1] / "automations.yaml"
RECEIVER = "slipway-alerts"
TEXT = (
    "{{ automation.name }}: {{ automation.description }} {{ event.resource.name }} {{ event.payload | tojson }} "
    "{{ flow_run | ui_url }}"
)


def apply_automations(client: SyncPrefectClient, settings: AlertSettings) -> None:
    """Create each automation or update the one of that name; doubles of a name are removed."""
    receiver = _save_receiver(settings)
    for wanted in read_automations(receiver):
        existing = client.read_automations_by_name(wanted.name)
        if existing:  # one that people have paused stays paused
            client.update_automation(existing[0].id, wanted.model_copy(update={"enabled": existing[0].enabled}))
        else:
            client.create_automation(wanted)
        for double in existing[1:]:
            client.delete_automation(double.id)


def read_automations(receiver: Any = None) -> list[AutomationCore]:
    """Return the file's automations; with the receiver's document id, those that notify do so."""
    notification = {
        "type": "send-notification",
        "block_document_id": receiver,
        "subject": "{{ automation.name }}",
        "body": TEXT,
    }
    found = []
    for entry in yaml.safe_load(FILE.read_text()):
        actions = entry.pop("actions", [])
        if entry.pop("notify") and receiver:
            actions.append(notification)
        found.append(AutomationCore.model_validate(entry | {"actions": actions or [{"type": "do-nothing"}]}))
    return found


def _save_receiver(settings: AlertSettings) -> Any:
    if settings.alerts_url is None:
        return None
    block = CustomWebhookNotificationBlock(
        name=RECEIVER,
        url="{{receiver}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets={"receiver": SecretStr(settings.alerts_url.get_secret_value())},
    )
    return block.save(RECEIVER, overwrite=True)
