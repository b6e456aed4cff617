"""A flow that works with values has a flat form: a field for each of theirs, described and with a default."""

from typing import Annotated, Any

import pytest
from prefect import Flow, flow
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, ConfigDict, Field

from flows.running.forms import with_form
from tasks.policies import FLAT


class Sowing(BaseModel):
    """What is sown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: Annotated[int, Field(ge=1, description="Seeds in a row.")]
    depth_cm: Annotated[float, Field(gt=0, description="How deep they lie.")]


class Care(BaseModel):
    """What the rows need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    water_l: Annotated[float, Field(ge=0, description="Water a day.")]


class Defaults(Care, Sowing):
    """What a file of defaults says."""


@flow(name="sow", flow_run_name="sow {seeds}")
@with_form(Defaults(seeds=10, depth_cm=2.5, water_l=1))
def sow(
    sowing: Annotated[Sowing, FLAT],
    care: Annotated[Care, FLAT],
    note: Annotated[str, Field(description="Why.")] = "",
) -> tuple[Sowing, Care, str]:
    """Sow a bed."""
    return sowing, care, note


@flow(name="water")
@with_form()
def water(litres: Annotated[float, Field(ge=0, description="Water.")], note: str = "") -> tuple[float, str]:
    """Water a bed."""
    return litres, note


def properties(of: Flow[Any, Any]) -> dict[str, dict[str, Any]]:
    return parameter_schema(of).properties


def test_every_field_of_a_value_is_a_field_of_the_form_in_order_and_no_value_is() -> None:
    found = properties(sow)

    assert list(found) == ["seeds", "depth_cm", "water_l", "note"]
    assert [field["default"] for field in found.values()] == [10, 2.5, 1, ""]
    assert [field["description"] for field in found.values()] == [
        "Seeds in a row.",
        "How deep they lie.",
        "Water a day.",
        "Why.",
    ]
    assert (found["seeds"]["type"], found["seeds"]["minimum"]) == ("integer", 1)


def test_a_flow_without_values_is_described_too_and_keeps_what_it_requires() -> None:
    assert properties(water)["litres"]["description"] == "Water."
    assert parameter_schema(water).required == ["litres"]
    assert water.fn(litres=2.0) == (2.0, "")


def test_the_flow_gets_the_values_made_of_what_was_given_and_of_the_defaults() -> None:
    given = sow.validate_parameters({"seeds": "3", "note": "spring"})

    assert sow.fn(**given) == (Sowing(seeds=3, depth_cm=2.5), Care(water_l=1), "spring")
    assert sow.fn() == (Sowing(seeds=10, depth_cm=2.5), Care(water_l=1), "")


def test_what_a_value_dumps_as_json_are_parameters_that_make_the_same_value() -> None:
    sowing = Sowing(seeds=7, depth_cm=0.5)

    again, *_ = sow.fn(**sow.validate_parameters(sowing.model_dump(mode="json")))

    assert again == sowing


def test_parameters_have_the_order_of_the_form() -> None:
    assert sow.fn(4, 1.5, 0) == (Sowing(seeds=4, depth_cm=1.5), Care(water_l=0), "")


@pytest.mark.parametrize(
    ("given", "named"),
    [({"seeds": 0}, "seeds"), ({"depth_cm": "deep"}, "depth_cm"), ({"sowing": {"seeds": 1}}, "sowing")],
)
def test_what_does_not_fit_is_refused_by_the_name_in_the_form(given: dict[str, Any], named: str) -> None:
    with pytest.raises((ParameterTypeError, SignatureMismatchError, TypeError), match=named):
        sow.validate_parameters(given)
