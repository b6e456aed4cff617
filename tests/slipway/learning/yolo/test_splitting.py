"""Three parts, the same for the same seed, each picture in one of them, and nothing copied."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidInput
from slipway.learning.yolo.dataset import check_dataset
from slipway.learning.yolo.results import CheckedDataset
from slipway.learning.yolo.splitting import compute_sizes, lay_out, split_dataset
from tests.apparatus.yolo_datasets import draw_dataset


def on_paper(names: list[str]) -> CheckedDataset:
    return CheckedDataset(
        root="/data", classes=("a",), pictures=tuple(names), objects={"a": 1}, backgrounds=0, digest="0" * 64
    )


@given(st.lists(st.text(min_size=1), min_size=10, max_size=200, unique=True), st.integers(0, 2**32 - 1))
def test_every_picture_is_in_one_part_whatever_order_they_are_found_in(names: list[str], seed: int) -> None:
    split = split_dataset(on_paper(names), seed)

    assert sorted(split.train + split.validation + split.test) == sorted(names)
    assert split == split_dataset(on_paper(names[::-1]), seed)
    assert min(len(split.train), len(split.validation), len(split.test)) >= 1


@pytest.mark.parametrize(
    ("pictures", "sizes"), [(10, (7, 2, 1)), (15, (10, 3, 2)), (16, (11, 3, 2)), (100, (70, 20, 10))]
)
def test_the_parts_are_of_seven_two_and_one_tenths(pictures: int, sizes: tuple[int, int, int]) -> None:
    assert compute_sizes(pictures) == sizes


def test_a_part_without_pictures_is_refused() -> None:
    with pytest.raises(InvalidInput, match="9 pictures: expected 10 or more"):
        compute_sizes(9)


def test_another_seed_is_another_split() -> None:
    names = [f"{number}.png" for number in range(100)]

    assert split_dataset(on_paper(names), 0).test != split_dataset(on_paper(names), 1).test


def test_one_more_picture_moves_few_from_one_part_to_another() -> None:
    names = [f"{number}.png" for number in range(1000)]

    before, after = split_dataset(on_paper(names), 0), split_dataset(on_paper([*names, "new.png"]), 0)

    assert len(set(before.test) - set(after.test)) <= 1 and len(set(before.train) - set(after.train)) <= 1


def test_a_training_sees_links_and_leaves_nothing_in_the_dataset(tmp_path: Path) -> None:
    root = draw_dataset(tmp_path / "shapes")
    split = split_dataset(check_dataset(root), seed=0)

    described = yaml.safe_load(lay_out(split, tmp_path / "laid").read_text())

    links = [path for path in (tmp_path / "laid").rglob("*") if path.suffix in {".png", ".txt"}]
    assert described["names"] == {0: "red", 1: "blue"}
    assert len(links) == 24 and all(link.is_symlink() for link in links)
    assert len({link.resolve() for link in links}) == 24


def test_a_dataset_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    root = draw_dataset(tmp_path / "shapes")
    split = split_dataset(check_dataset(root), seed=0)
    (root / "labels/day/000.txt").write_text("1 .5 .5 .9 .9\n")

    with pytest.raises(InvalidInput, match="have changed since they were checked"):
        lay_out(split, tmp_path / "laid")


def test_a_dataset_that_lost_a_file_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    root = draw_dataset(tmp_path / "shapes")
    split = split_dataset(check_dataset(root), seed=0)
    (root / "images/day/000.png").unlink()

    with pytest.raises(InvalidInput, match=r"000\.png"):
        lay_out(split, tmp_path / "laid")
