"""What a training can use of its machine."""

from collections.abc import Iterator

import pytest
import torch

from slipway.learning import machine
from slipway.learning.machine import keep_to_share, look_at_machine


@pytest.fixture
def threads() -> Iterator[int]:
    """PyTorch's number of threads, which is the same again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_this_machine_has_a_device() -> None:
    assert look_at_machine().device in ("cpu", "cuda")


@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_pytorch_computes_in_no_more_threads_than_there_are_cores_and_never_in_more_than_before(
    threads: int, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(machine, "count_cores", lambda: cores)

    keep_to_share()

    assert torch.get_num_threads() == min(threads, cores)
