"""The adopting flow: a model that somebody else put into service becomes slipway's, and nothing stops for it.

find-served [-> register-unknown] -> take-over
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import RESULT_STORAGE
from blocks.names import ModelName
from flows.running.forms import with_form
from flows.running.hooks import settle_what_was_begun
from flows.running.turns import journaled, turn_of
from slipway.releases.adoption import Adoption, make_rows
from slipway.releases.receipt import Receipt
from slipway.releases.release import InputShapes
from slipway.releases.settlement import is_left_to_settle
from tasks.adoption.find_served import find_served
from tasks.adoption.register_unknown import register_unknown
from tasks.adoption.take_over import take_over
from tasks.deployment.settle_release import settle_release


class AdoptedModel(BaseModel):
    """What an adoption found and did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adoption: Adoption | None = Field(default=None, description="None where the model is slipway's already.")
    receipt: Receipt | None = Field(default=None, description="Of the live version; None where nothing was done.")

    @property
    def versions(self) -> list[dict[str, Any]]:
        """A table with one row a version folder."""
        return make_rows(self.adoption) if self.adoption else []


@flow(
    name="adopt-model",
    flow_run_name="adopt {model_name}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    on_cancellation=[settle_what_was_begun],
    on_crashed=[settle_what_was_begun],
)
@with_form()
def adopt_model(
    model_name: ModelName,
    dry_run: Annotated[bool, Field(description="Show what would be matched and written, change nothing.")] = False,
    register_unknown_versions: Annotated[
        bool, Field(description="Register the versions that MLflow does not know, from the bucket.")
    ] = False,
    input_shapes: InputShapes = {},  # noqa: B006, Prefect copies it
) -> AdoptedModel | State[AdoptedModel]:
    """Take over a model that is served and that slipway has no record of, matched with MLflow, proven as it is served.

    No replica loads anything, and nothing that is served stops. Folders that are not served go to the archive.
    """
    with turn_of(model_name) as environment:
        if not dry_run and is_left_to_settle(model_name, environment):
            settle_release(model_name=model_name, environment=environment)
        adoption = find_served(model_name=model_name, environment=environment)
        if adoption is None:
            message = f"model '{model_name}': is slipway's already, nothing was changed"
            return Completed(name="AlreadyAdopted", message=message, data=AdoptedModel())
        if dry_run:
            message = f"model '{model_name}': would adopt versions {list(adoption.found.served)} as they are served"
            return Completed(name="DryRun", message=message, data=AdoptedModel(adoption=adoption))
        if register_unknown_versions:
            adoption = register_unknown(adoption=adoption, environment=environment)
        with journaled(adoption.plan, environment):
            receipt = take_over(adoption=adoption, input_shapes=input_shapes, environment=environment)
        return AdoptedModel(adoption=adoption, receipt=receipt)
