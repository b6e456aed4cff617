"""A step's parameters become options, and what was given becomes its arguments."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from cyclopts import App, Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.registry import ModelRegistry
from infra.command.options import sort_parameters
from infra.command.running import make_command
from tasks.policies import FLAT


class Fetched(BaseModel):
    """What a step before returned."""

    name: str


class Limits(BaseModel):
    """What people ask for."""

    p95_ms: float


class Terms(BaseModel):
    """How to prove it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(1e-4, gt=0, description="Largest difference.")
    requests: int = 20
    limits: Limits | None = None


class Release(BaseModel):
    """What the steps before returned, together."""

    fetched: Fetched
    versions: tuple[Fetched, ...]


def prove(
    release: Annotated[Release, FLAT],
    terms: Annotated[Terms, FLAT] = Terms(requests=5),  # noqa: B008
    earlier: Fetched | None = None,
    note: Annotated[str, Field(description="Why.")] = "",
    *,
    environment: Environment,
    registry: ModelRegistry,
) -> str:
    """Return what it was given."""
    return f"{release.fetched.name} {terms.tolerance} {terms.requests} {earlier} {note}"


def test_a_flat_parameter_has_an_option_for_each_field_and_a_system_has_none() -> None:
    parameters = sort_parameters(prove, {"tolerance": 0.5})

    found = {option.name: (option.default, option.is_file) for option in parameters.options}

    assert list(parameters.systems) == ["environment", "registry"]
    assert {name for name, (_, is_file) in found.items() if is_file} == {"fetched", "versions", "earlier"}
    assert (found["tolerance"][0], found["requests"][0], found["limits"][0]) == (0.5, 5, None)


def test_options_are_described_by_the_types_of_parameters_and_fields() -> None:
    described = {option.name: option.description for option in sort_parameters(prove, {}).options}

    assert (described["tolerance"], described["note"]) == ("Largest difference.", "Why.")
    assert described["fetched"] == "JSON file with a Fetched, as the step that returns it printed it."


def test_what_was_given_becomes_arguments_over_the_flow_s_defaults(tmp_path: Path) -> None:
    parameters = sort_parameters(prove, {"tolerance": 0.5, "epochs": 4})
    for name, value in {"fetched": {"name": "a"}, "versions": [{"name": "b"}, {"name": "c"}]}.items():
        (tmp_path / name).write_text(json.dumps(value))

    values = parameters.read_values(
        {"fetched": tmp_path / "fetched", "versions": tmp_path / "versions", "limits": Limits(p95_ms=3)}
    )
    arguments = parameters.compose_arguments(values)

    assert arguments == {
        "release": Release(fetched=Fetched(name="a"), versions=(Fetched(name="b"), Fetched(name="c"))),
        "terms": Terms(tolerance=0.5, requests=5, limits=Limits(p95_ms=3)),
    }


def test_a_value_that_does_not_fit_is_named_by_its_option() -> None:
    parameters = sort_parameters(prove, {})

    with pytest.raises(ValidationError) as refused:
        parameters.flat["terms"].compose({"tolerance": -1})

    assert [found["loc"] for found in refused.value.errors()] == [("tolerance",)]


def test_a_file_that_is_no_json_is_named_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "earlier").write_text("{")

    with pytest.raises(InvalidInput, match=r"--earlier .*earlier: no JSON file .*expected what the step"):
        sort_parameters(prove, {}).read_values({"earlier": tmp_path / "earlier"})


def count(terms: Annotated[Terms, FLAT] = Terms()) -> dict[str, object]:  # noqa: B008
    """Return the terms."""
    return terms.model_dump()


def test_limits_within_a_flat_parameter_are_options_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    app = App(default_parameter=Parameter(json_list=True))
    app.command(make_command(count, {}), name="count")

    app(["count", "--limits.p95-ms=3", "--requests=7"], result_action="return_value")

    assert json.loads(capsys.readouterr().out) == {"tolerance": 1e-4, "requests": 7, "limits": {"p95_ms": 3}}


def repeat(earlier: Fetched | None = None) -> str | None:
    """Return the name, where there is one."""
    return earlier.name if earlier else None


@pytest.mark.parametrize(("given", "returned"), [([], None), (["--earlier=earlier"], "a")])
def test_a_file_may_be_left_out_where_the_value_may(
    given: list[str],
    returned: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("earlier").write_text('{"name": "a"}')
    app = App(default_parameter=Parameter(json_list=True))
    app.command(make_command(repeat, {}), name="repeat")

    app(["repeat", *given], result_action="return_value")

    assert json.loads(capsys.readouterr().out) == returned
