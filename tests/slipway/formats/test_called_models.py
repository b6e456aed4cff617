"""What a model calls: the steps of an ensemble, and what the author says of code."""

import pytest
from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import UnusableModel
from slipway.formats.called_models import Called, list_called, name_called, read_said, say_called


def config(said: str | None, *steps: tuple[str, int]) -> pb.ModelConfig:
    parsed = pb.ModelConfig()
    for name, version in steps:
        parsed.ensemble_scheduling.step.add(model_name=name, model_version=version)
    if said is not None:
        parsed.parameters["slipway.depends_on"].string_value = said
    return parsed


@pytest.mark.parametrize(
    ("said", "called"),
    [
        ("tokenizer", [("tokenizer", 0)]),
        ("tokenizer,encoder:3", [("tokenizer", 0), ("encoder", 3)]),
        (" team.tokenizer ,  encoder:12 ", [("team.tokenizer", 0), ("encoder", 12)]),
        ("encoder:1,encoder:2", [("encoder", 1), ("encoder", 2)]),
    ],
)
def test_what_code_calls_is_read_as_its_author_says_it(said: str, called: list[tuple[str, int]]) -> None:
    assert list(read_said(config(said), "m")) == called
    assert list(list_called(config(said))) == called


@pytest.mark.parametrize("said", ["", ",", "a,,b", "a:0", "a:-1", "a:x", "../a", "a b", "a:1:2", "a:9999999999", "a;b"])
def test_what_names_no_models_is_refused(said: str) -> None:
    with pytest.raises(UnusableModel, match=r"m: config.pbtxt says slipway.depends_on .* say tokenizer, encoder:3"):
        read_said(config(said), "m")


def test_a_model_that_says_nothing_calls_nothing() -> None:
    assert (list_called(config(None)), name_called(config(None))) == ((), ())


def test_steps_and_code_of_a_model_are_called_alike() -> None:
    both = config("b:2", ("a", -1), ("b", 1))

    assert list_called(both) == (Called("a"), Called("b", 1), Called("b", 2))
    assert name_called(both) == ("a", "b")


def test_what_is_written_is_read_again() -> None:
    found = config("a, b:2")

    say_called(found, (Called("a", 7), Called("b", 2)))

    assert read_said(found, "m") == (Called("a", 7), Called("b", 2))
