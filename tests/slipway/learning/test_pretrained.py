"""The weights that a training begins with."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet18_Weights

from blocks.errors import ServiceUnavailable, UnusableModel
from blocks.registry import ModelRegistry
from slipway.learning.pretrained import load_pretrained
from slipway.learning.resnet import ResNet18

NOWHERE = ModelRegistry(tracking_uri="http://127.0.0.1:9")


def test_a_file_s_weights_are_taken_over_and_of_other_classes_all_but_the_last_layer_s(tmp_path: Path) -> None:
    given, other, same = ResNet18(1000).network, ResNet18(3), ResNet18(1000)
    torch.save({"state_dict": given.state_dict()}, tmp_path / "weights.pth")
    weights = load_pretrained(str(tmp_path / "weights.pth"), NOWHERE)
    head = other.network.fc.weight.clone()

    other.begin_with(weights, "weights.pth")
    same.begin_with(weights, "weights.pth")

    assert torch.equal(other.network.conv1.weight, given.conv1.weight)
    assert torch.equal(other.network.layer4[1].bn2.running_var, given.layer4[1].bn2.running_var)
    assert torch.equal(other.network.fc.weight, head) and torch.equal(same.network.fc.weight, given.fc.weight)


@pytest.mark.parametrize("content", [torch.zeros(3), {"weights": 3}, Path("code that would run")])
def test_a_file_that_is_no_state_dict_is_refused_and_nothing_in_it_is_run(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")

    with pytest.raises(UnusableModel, match="expected a state dict"):
        load_pretrained(str(tmp_path / "weights.pth"), NOWHERE)


def test_weights_of_another_network_are_refused_and_one_of_them_is_named() -> None:
    weights = ResNet18(10).state_dict() | {"network.layer1.0.conv1.weight": torch.zeros(2)}

    with pytest.raises(UnusableModel, match=r"1 of 122 tensors .* 'layer1.0.conv1.weight'"):
        ResNet18(10).begin_with(weights, "theirs")


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fail)

    with pytest.raises(ServiceUnavailable, match=r"download of https://.* failed .*give the path of the file"):
        load_pretrained("imagenet", NOWHERE)
