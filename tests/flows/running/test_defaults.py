"""The file the flows take their default parameters from."""

from pathlib import Path

import pytest

from blocks.errors import InvalidInput
from flows.running.defaults import LOCATION, load_defaults

SHIPPED = Path(__file__).parents[3] / "flows" / "defaults.toml"


@pytest.fixture
def defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped file, which is the one in use."""
    copy = tmp_path / "defaults.toml"
    copy.write_text(SHIPPED.read_text())
    monkeypatch.setenv(LOCATION, str(copy))
    return copy


def test_the_shipped_file_holds_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOCATION, raising=False)

    found = load_defaults()

    assert (found.train_model.model_name, found.train_model.dataset) == ("resnet18-digits", "digits")
    assert (found.train_model.metric_threshold, found.train_model.min_improvement) == (0.90, 0.005)
    assert (found.deploy_model.model_name, found.deploy_model.source) == ("resnet18-digits-onnx", "alias:deploy")


def test_another_file_takes_its_place(defaults: Path) -> None:
    defaults.write_text(defaults.read_text().replace("# epochs = 4", "epochs = 40"))

    assert load_defaults().train_model.epochs == 40


def test_an_unknown_key_is_named_with_its_file_and_the_allowed_ones(defaults: Path) -> None:
    defaults.write_text(defaults.read_text().replace("seed = 0", "seed = 0\nepoch = 5"))

    with pytest.raises(InvalidInput) as refusal:
        load_defaults()

    assert str(defaults) in str(refusal.value)
    assert "unknown key 'epoch' in section [train-model], allowed are model_name, dataset, recipe, epochs" in str(
        refusal.value
    )


def test_an_unknown_section_is_named(defaults: Path) -> None:
    defaults.write_text(defaults.read_text() + "\n[serve-model]\n")

    with pytest.raises(
        InvalidInput, match="unknown key 'serve-model' in the file, allowed are train-model, deploy-model"
    ):
        load_defaults()


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("# epochs = 4", "epochs = 0", "key 'epochs' in section \\[train-model\\]"),
        ("seed = 0", "", "key 'seed' in section \\[train-model\\]: Field required"),
        ('source = "alias:deploy"', 'source = "latest"', "expected 'alias:NAME'"),
        ("[train-model]", "[train-model", "defaults.toml"),
    ],
)
def test_a_wrong_value_is_refused(defaults: Path, before: str, after: str, found: str) -> None:
    defaults.write_text(defaults.read_text().replace(before, after))

    with pytest.raises(InvalidInput, match=found):
        load_defaults()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(LOCATION, str(tmp_path / "none.toml"))

    with pytest.raises(InvalidInput, match=r"none\.toml"):
        load_defaults()
