"""The container images: what they are called, how they are built, and what pushing them needs."""

import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from infra.command import images as commands
from infra.errors import ImageError
from infra.images import ecr
from infra.images.engine import Engine, find_engine
from infra.images.names import IMAGES, Image, make_git_tag, select_images

ACCOUNT, REGION = "123456789012", "eu-central-1"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
MANIFEST = json.dumps({"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "layers": []})


def test_a_tag_names_one_state_of_the_code(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    git("init")
    tmp_path.joinpath("code.py").write_text("1")
    git("add", ".")
    git("commit", "--message", "Begin")
    tags = [make_git_tag(tmp_path)]
    for content in ("2", "3", "1"):
        tmp_path.joinpath("code.py").write_text(content)
        tags.append(make_git_tag(tmp_path))
    tmp_path.joinpath("new.py").write_text("")
    tags.append(make_git_tag(tmp_path))

    clean, second, third, restored, added = tags
    assert restored == clean
    assert re.fullmatch(r"[0-9a-f]{12}", clean)
    assert len({clean, second, third, added}) == 4
    assert all(tag.startswith(f"{clean}-dirty-") for tag in (second, third, added))


def test_without_git_a_tag_has_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="TAG="):
        make_git_tag(tmp_path)


def test_images_are_chosen_by_name() -> None:
    chosen = select_images(("servers", "deployment"), tag="1")

    assert [image.reference("localhost") for image in chosen] == [
        "localhost/slipway-servers:1",
        "localhost/slipway-deployment:1",
    ]
    assert [image.name for image in select_images((), tag="1")] == list(IMAGES)
    with pytest.raises(ImageError, match="no image server; there are deployment, servers, training, triton"):
        select_images(("server",), tag="1")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A builder that only notes how it was called: building takes minutes, and there is no registry to push to."""
    program = tmp_path / "bin" / "buildah"
    program.parent.mkdir()
    program.write_text(
        f"""#!{sys.executable}
import json, os, sys
text = sys.stdin.read() if "--password-stdin" in sys.argv else ""
login = os.environ.get("REGISTRY_AUTH_FILE")
with open({str(tmp_path / "calls")!r}, "a") as calls:
    print(json.dumps([sys.argv[1:], text, login]), file=calls)
if sys.argv[1] == "push" and sys.argv[-1].startswith("oci:"):
    with open(sys.argv[-1].split(":")[1] + "/index.json", "w") as index:
        json.dump({{"manifests": [{{}}]}}, index)
if sys.argv[1] == "images":
    print("sha256:1")
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for variable in [name for name in os.environ if name.startswith(("SLIPWAY_", "AWS_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SLIPWAY_BUILDER", "buildah")
    monkeypatch.setattr(commands, "ENVIRONMENT_FILE", tmp_path / ".env")
    yield find_engine("buildah")


def calls(tmp_path: Path, command: str) -> list[tuple[list[str], str, str | None]]:
    noted = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    return [(words, text, login) for words, text, login in noted if words[0] == command]


def test_building_takes_more_options_from_the_environment(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_BUILD_FLAGS", "--network host --volume '/a b:/c'")
    monkeypatch.setenv("SLIPWAY_REGISTRY", "registry.example.org/team")

    commands.build("deployment", tag="7")

    [(words, _, _)] = calls(tmp_path, "build")
    first = words.index("--network")
    assert words[first : first + 4] == ["--network", "host", "--volume", "/a b:/c"]
    assert "--tag=registry.example.org/team/slipway-deployment:7" in words


def test_building_names_the_base_image_and_notes_it_on_the_image(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"registry.example.org/python@sha256:{'0' * 64}"
    monkeypatch.setenv("SLIPWAY_PYTHON_IMAGE", base)

    commands.build("deployment", "triton", tag="7")

    for words, _, _ in calls(tmp_path, "build"):
        assert f"--build-arg=PYTHON_IMAGE={base}" in words
        assert f"--label=org.opencontainers.image.base.name={base}" in words


def test_an_archive_is_removed_once_it_is_loaded(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tmp_path / "loaded"
    monkeypatch.setenv("SLIPWAY_LOAD_IMAGE", f"cp -t {tmp_path}")

    commands.build("servers", tag="7", archives=loaded)

    assert (tmp_path / "slipway-servers.tar").exists()
    assert list(loaded.iterdir()) == []


def test_an_archive_that_cannot_be_loaded_fails_the_command_and_the_others_are_loaded(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = tmp_path / "load"
    load.write_text(f'#!/bin/sh\ncase $1 in *servers.tar) exit 3 ;; *) cp -t {tmp_path} "$1" ;; esac\n')
    load.chmod(0o755)
    monkeypatch.setenv("SLIPWAY_LOAD_IMAGE", str(load))

    with pytest.raises(ImageError, match=r"slipway-servers.tar ended with status 3"):
        commands.build("servers", "triton", tag="7", archives=tmp_path / "archives")

    assert (tmp_path / "slipway-triton.tar").exists()


def test_an_archive_stays_where_nothing_loads_it(engine: Engine, tmp_path: Path) -> None:
    commands.build("servers", "triton", tag="7", archives=tmp_path / "archives")

    archives = sorted((tmp_path / "archives").iterdir())
    assert [path.name for path in archives] == ["slipway-servers.tar", "slipway-triton.tar"]
    names = []
    for path in archives:
        with tarfile.open(path) as archive, archive.extractfile("./index.json") as index:  # type: ignore[union-attr]
            names += [manifest["annotations"]["io.containerd.image.name"] for manifest in json.load(index)["manifests"]]
    assert names == ["localhost/slipway-servers:7", "localhost/slipway-triton:7"]


def test_a_builder_that_does_not_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ImageError, match="none of buildah, podman, docker works here"):
        find_engine()
    with pytest.raises(ImageError, match="podman works here"):
        find_engine("podman")


@pytest.fixture
def aws(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS account in this process, and the variables that name it."""
    with mock_aws():
        for name, value in {"AWS_REGION": REGION, "AWS_ACCOUNT_ID": ACCOUNT}.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.fixture
def no_credentials(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing for boto3's chain to find."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "absent"))


def test_everything_that_pushing_lacks_is_said_at_once(no_credentials: None) -> None:
    with pytest.raises(ImageError) as raised:
        ecr.check_environment({})

    assert re.findall(r"AWS_REGION is not set|AWS_ACCOUNT_ID is not set|no credentials", str(raised.value)) == [
        "AWS_REGION is not set",
        "AWS_ACCOUNT_ID is not set",
        "no credentials",
    ]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"SLIPWAY_REGISTRY": "localhost"}, "SLIPWAY_REGISTRY is 'localhost'; expected ACCOUNT.dkr.ecr.REGION"),
        ({"AWS_REGION": REGION, "AWS_ACCOUNT_ID": "12"}, "AWS_ACCOUNT_ID is '12'; expected 12 digits"),
        ({"AWS_REGION": REGION}, "AWS_ACCOUNT_ID is not set; .* or its address in SLIPWAY_REGISTRY"),
        ({"AWS_ACCOUNT_ID": ACCOUNT}, "AWS_REGION is not set; expected the registry's region"),
    ],
)
def test_a_registry_that_is_none_is_named(aws: None, variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        ecr.check_environment(variables)


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({"AWS_REGION": REGION, "AWS_ACCOUNT_ID": ACCOUNT}, HOST),
        ({"SLIPWAY_REGISTRY": HOST, "AWS_REGION": "us-east-1"}, HOST),
        ({"AWS_REGION": "cn-north-1", "AWS_ACCOUNT_ID": ACCOUNT}, f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_environment_names_the_registry(aws: None, variables: dict[str, str], host: str) -> None:
    assert ecr.check_environment(variables).host == host


def test_repositories_have_immutable_tags_and_a_scan_however_often_they_are_created(aws: None) -> None:
    client = boto3.client("ecr", region_name=REGION)
    client.create_repository(repositoryName="slipway-servers")  # by hand, with tags that move

    commands.create_ecr()
    commands.create_ecr()

    found = client.describe_repositories()["repositories"]
    assert sorted(entry["repositoryName"] for entry in found) == [f"slipway-{name}" for name in IMAGES]
    assert {entry["imageTagMutability"] for entry in found} == {"IMMUTABLE"}
    assert all(entry["imageScanningConfiguration"]["scanOnPush"] for entry in found)


def test_the_password_is_neither_an_argument_nor_printed_nor_kept(
    aws: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands.push("deployment", tag="7")

    password = ecr.check_environment().login().password
    [(words, text, login)] = calls(tmp_path, "login")
    assert (words, text) == (["login", "--username", "AWS", "--password-stdin", HOST], password)
    assert login is not None and not Path(login).parent.exists()
    assert password not in "".join(capfd.readouterr())


def test_an_image_is_pushed_once_under_its_name_in_the_registry(aws: None, tmp_path: Path) -> None:
    target = f"{HOST}/slipway-deployment:7"

    commands.push("deployment", tag="7")
    boto3.client("ecr", region_name=REGION).put_image(
        repositoryName="slipway-deployment", imageTag="7", imageManifest=MANIFEST
    )
    commands.push("deployment", tag="7")

    assert [words for words, _, _ in calls(tmp_path, "tag")] == [["tag", "localhost/slipway-deployment:7", target]]
    assert [words for words, _, _ in calls(tmp_path, "push")] == [["push", target]]


def test_tagging_names_an_image_as_pushing_would_and_needs_no_credentials(
    engine: Engine, no_credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")  # what is set goes before the file
    (tmp_path / ".env").write_text(f"AWS_ACCOUNT_ID={ACCOUNT}\nAWS_REGION={REGION}\n")

    commands.tag("triton", tag="7")

    target = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/slipway-triton:7"
    assert [words for words, _, _ in calls(tmp_path, "tag")] == [["tag", "localhost/slipway-triton:7", target]]
    assert calls(tmp_path, "images") and not (tmp_path / "calls").read_text().count('"push"')
    del os.environ["AWS_ACCOUNT_ID"]  # which came of the file


def test_an_image_of_no_commit_is_not_pushed(aws: None, tmp_path: Path) -> None:
    image = Image("deployment", "0123456789ab-dirty-01234567")

    with pytest.raises(ImageError, match="names no commit"):
        commands.push("deployment", tag=image.tag)

    assert boto3.client("ecr", region_name=REGION).describe_repositories()["repositories"] == []
