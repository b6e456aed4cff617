"""A dataset is refused with all that is wrong with it, or is sound."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from blocks.errors import InvalidInput
from slipway.learning.yolo.dataset import check_dataset
from slipway.learning.yolo.label_lines import find_faults
from tests.apparatus.yolo_datasets import draw_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_dataset(tmp_path / "shapes")


def refusal(root: Path, *, backgrounds: bool = False) -> str:
    with pytest.raises(InvalidInput) as refused:
        check_dataset(root, backgrounds=backgrounds)
    return str(refused.value)


def test_a_sound_dataset_is_counted(root: Path) -> None:
    found = check_dataset(root)

    assert (len(found.pictures), found.objects, found.backgrounds) == (12, {"red": 6, "blue": 6}, 0)
    assert found.pictures[0] == "day/000.png"


def test_names_may_be_a_mapping_and_labels_have_blank_lines(root: Path) -> None:
    sound = check_dataset(root)
    (root / "data.yaml").write_text("path: ../elsewhere\nnames: {0: red, 1: blue}\n")
    with (root / "labels/day/000.txt").open("a") as label:
        label.write("\n  \n")

    found = check_dataset(root)

    assert (found.classes, found.objects) == (sound.classes, sound.objects)


def test_the_digest_is_that_of_contents_wherever_they_lie(root: Path, tmp_path: Path) -> None:
    copy = draw_dataset(tmp_path / "copy")
    other = draw_dataset(tmp_path / "other", seed=1)

    digests = [check_dataset(each).digest for each in (root, copy, other)]

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2 .5 .5 .1 .1", "class 2, expected a whole number from 0 to 1"),
        ("-1 .5 .5 .1 .1", "class -1, expected"),
        ("0.5 .5 .5 .1 .1", "class 0.5, expected"),
        ("0 1.2 .5 .1 .1", "centre 1.2, 0.5, expected shares"),
        ("0 .5 -.1 .1 .1", "centre 0.5, -0.1, expected shares"),
        ("0 .5 .5 0 .1", "size 0 by 0.1, expected shares above 0"),
        ("0 .5 .5 .1 320", "size 0.1 by 320, expected shares"),
        ("0 .5 .5 .1", "is not 5 finite numbers"),
        ("0 .1 .1 .2 .1 .2 .2", "is not 5 finite numbers"),
        ("0 .5 nan .1 .1", "is not 5 finite numbers"),
        ("0 .5 inf .1 .1", "is not 5 finite numbers"),
        ("red .5 .5 .1 .1", "is not 5 finite numbers"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(line: str, fault: str) -> None:
    (found,) = find_faults(f"0 .5 .5 .2 .2\n\n{line}\n", classes=2)

    assert found.startswith("line 3: ") and fault in found


def test_an_object_that_is_labelled_twice_is_a_fault() -> None:
    assert find_faults("0 .5 .5 .2 .2\n0 0.5 0.5 0.20 0.2\n", classes=2) == ["line 2: says what line 1 says"]


def copy_picture(root: Path, name: str) -> None:
    (root / "images/day" / name).write_bytes((root / "images/day/000.png").read_bytes())


def cut_jpeg(root: Path) -> None:
    (root / "images/day/000.png").unlink()
    path = root / "images/day/000.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-40])


def shrink(root: Path) -> None:
    Image.new("RGB", (9, 40)).save(root / "images/day/000.png")


def name_twice(root: Path) -> None:
    Image.new("RGB", (64, 64), "green").save(root / "images/day/000.bmp")


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("label gone", lambda root: (root / "labels/day/003.txt").unlink(), "1 pictures without a label file"),
    ("picture gone", lambda root: (root / "images/day/003.png").unlink(), "1 label files without a picture"),
    ("label empty", lambda root: (root / "labels/day/003.txt").write_text(" \n"), "1 empty label files"),
    ("label binary", lambda root: (root / "labels/day/003.txt").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    ("label wrong", lambda root: (root / "labels/day/003.txt").write_text("9 .5 .5 .1 .1"), "1 wrong label lines"),
    ("no picture", lambda root: (root / "images/day/003.png").write_text("<html>"), "1 pictures that cannot be used"),
    ("empty picture", lambda root: (root / "images/day/003.png").write_bytes(b""), "cannot be decoded"),
    ("cut jpeg", cut_jpeg, "is cut off"),
    ("tiny picture", shrink, "is 9 by 40 pixels"),
    ("same stem", name_twice, "1 label files of several pictures"),
    ("no names", lambda root: (root / "data.yaml").write_text("nc: 2\n"), "data.yaml has the names None"),
    ("a gap", lambda root: (root / "data.yaml").write_text("names: {0: a, 2: b}\n"), "mapping of the numbers from 0"),
    ("a class twice", lambda root: (root / "data.yaml").write_text("names: [a, a]\n"), "names a class twice"),
    ("no yaml", lambda root: (root / "data.yaml").write_text("names: [a\n"), "cannot be read"),
    ("no data.yaml", lambda root: (root / "data.yaml").unlink(), "data.yaml cannot be read"),
    ("no labels", lambda root: (root / "labels").rename(root / "annotations"), "there is no folder labels/"),
]


@pytest.mark.parametrize(("breaks", "says"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_is_wrong_is_refused(root: Path, breaks: Callable[[Path], object], says: str) -> None:
    breaks(root)

    assert says in refusal(root)


def test_a_picture_that_is_there_twice_is_refused_since_two_parts_could_have_it(root: Path) -> None:
    copy_picture(root, "900.png")
    (root / "labels/day/900.txt").write_text((root / "labels/day/000.txt").read_text())

    assert "1 pictures that are there twice (of 13 pictures)" in (said := refusal(root))
    assert "images/day/900.png is images/day/000.png" in said


def test_one_error_counts_every_kind_and_shows_the_first(root: Path) -> None:
    for number in range(12):
        (root / f"labels/day/{number:03}.txt").write_text("9 .5 .5 .1 .1\n0 .5 .5 .1\n")
    (root / "labels/day/000.txt").unlink()

    said = refusal(root)

    assert "22 wrong label lines, 1 pictures without a label file (of 12 pictures), expected none" in said
    assert "labels/day/001.txt line 2: '0 .5 .5 .1' is not 5 finite numbers" in said and "; and 13 more; mend" in said


def test_an_empty_label_is_a_picture_of_nothing_where_that_is_said(root: Path) -> None:
    (root / "labels/day/003.txt").write_text("")

    assert check_dataset(root, backgrounds=True).backgrounds == 1


def test_pictures_of_nothing_alone_are_no_dataset(root: Path) -> None:
    for path in (root / "labels/day").iterdir():
        path.write_text("")

    assert "no object is labelled in 12 pictures" in refusal(root, backgrounds=True)


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    assert "9 pictures, expected 10 or more" in refusal(draw_dataset(tmp_path / "few", pictures=9))


def test_hidden_files_and_a_program_s_list_of_classes_are_no_findings(root: Path) -> None:
    (root / "images/.DS_Store").write_bytes(b"?")
    (root / "labels/classes.txt").write_text("red\nblue\n")
    (root / "images/Thumbs.db").write_bytes(b"?")

    assert len(check_dataset(root).pictures) == 12
