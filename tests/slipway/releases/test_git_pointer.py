"""The pointer in Git, on a real bare repository with a second committer."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import AccessRefused, InvalidInput, ServiceUnavailable, VersionConflict
from blocks.git_repository import GitRepository
from slipway.releases.git_pointer import GitPointer, choose_version
from slipway.releases.version_line import read_line

PATH = "charts/triton/values.yaml"
VALUES = b"""# kept  as it is\r
tritonServers:
- name: onnx-model   # ours
  env:
  - {name: MLFLOW_MODEL_NAME, value: yolo11n-onnx}
  - name: MLFLOW_MODEL_VERSION
    value: '1'       # the version
  replicas: 1
- name: other
  environment: {MLFLOW_MODEL_VERSION: "1"}
"""
CONFIG = b'# key: "mlflow_model_version" value: { string_value: "9" }\nparameters: {\n  key: "mlflow_model_version"\n'
CONFIG += b'  value: { string_value: "3" } # it\n}\n'


class Committer:
    """Somebody else with a work tree of his own."""

    def __init__(self, bare: Path, place: Path) -> None:
        self.bare, self.place = bare, place
        self.git("init", "-q", "-b", "main", str(place), cwd=bare.parent)
        self.git("config", "user.name", "second")
        self.git("config", "user.email", "second@example.com")

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=cwd or self.place, check=True, capture_output=True, text=True
        ).stdout

    def push(self, path: str, content: bytes) -> None:
        if self.git("ls-remote", str(self.bare), "main"):
            self.git("pull", "-q", str(self.bare), "main")
        (self.place / path).parent.mkdir(parents=True, exist_ok=True)
        (self.place / path).write_bytes(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "theirs")
        self.git("push", "-q", str(self.bare), "HEAD:main")

    def show(self, path: str) -> bytes:
        return subprocess.run(["git", "show", f"main:{path}"], cwd=self.bare, check=True, capture_output=True).stdout


@pytest.fixture
def second(tmp_path: Path) -> Committer:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    committer = Committer(bare, tmp_path / "second")
    committer.push(PATH, VALUES)
    return committer


@pytest.fixture
def pointer(second: Committer) -> Iterator[GitPointer]:
    with GitRepository(url=f"file://{second.bare}").opened() as opened:
        yield GitPointer(opened, PATH, "yolo11n-onnx")


@pytest.mark.parametrize(("path", "content", "before"), [(PATH, VALUES, 1), ("m/onnx-model/config.pbtxt", CONFIG, 3)])
def test_changes_the_number_and_no_other_byte(path: str, content: bytes, before: int) -> None:
    line = read_line(content, path, "onnx-model")

    old, new = content.splitlines(True), line.replace(12).encode().splitlines(True)
    changed = [(one, two) for one, two in zip(old, new, strict=True) if one != two]
    assert line.version == before
    assert len(changed) == 1 and changed[0][0].replace(str(before).encode(), b"12") == changed[0][1]


@pytest.mark.parametrize("content", [b"a: [", b"\xff", VALUES.replace(b"'1'", b"latest"), b"{}\n"])
def test_refuses_a_file_that_says_no_version_clearly(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_line(content, PATH, "yolo11n-onnx")


def test_commits_on_top_of_what_another_pushed_meanwhile(
    second: Committer, pointer: GitPointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, written = pointer.repository, pointer.repository.write

    def be_slower(*given: object, **named: object) -> str | None:
        monkeypatch.setattr(repository, "write", written)
        second.push("README", b"theirs\n")
        return written(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "write", be_slower)
    pointer.write(2, before=1)

    assert second.show(PATH) == VALUES.replace(b"'1'", b"'2'")
    assert second.show("README") == b"theirs\n"


def test_never_overwrites_a_version_that_another_committed(second: Committer, pointer: GitPointer) -> None:
    second.push(PATH, VALUES.replace(b"'1'", b"'5'"))

    with pytest.raises(VersionConflict, match="says version 5, expected 1"):
        pointer.write(2, before=1)

    assert pointer.read().version == 5


def test_reverts_its_commit_and_not_what_another_committed_since(second: Committer, pointer: GitPointer) -> None:
    bump = pointer.write(2, before=1)
    assert pointer.find_bump(2) == bump

    assert pointer.revert(bump, "no proof") is not None
    assert second.show(PATH) == VALUES
    second.push(PATH, VALUES.replace(b"'1'", b"'7'"))

    assert pointer.revert(bump, "no proof") is None
    assert pointer.read().version == 7


def test_a_refused_push_is_an_error_and_changes_nothing(second: Committer, pointer: GitPointer) -> None:
    hook = second.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected branch >&2\nexit 1\n")
    hook.chmod(0o755)

    with pytest.raises(AccessRefused, match="protected branch"):
        pointer.write(2, before=1)

    assert second.show(PATH) == VALUES


def test_says_which_branch_file_or_server_is_not_there(second: Committer) -> None:
    with (
        GitRepository(url=f"file://{second.bare}", branch="none").opened() as opened,
        pytest.raises(InvalidInput, match="no such branch"),
    ):
        opened.read(PATH)
    with (
        GitRepository(url=f"file://{second.bare}").opened() as opened,
        pytest.raises(InvalidInput, match="has no file 'charts'"),
    ):
        opened.read("charts")
    with (
        GitRepository(url="http://127.0.0.1:9/r.git").opened() as opened,
        pytest.raises(ServiceUnavailable, match="no usable answer"),
    ):
        opened.read(PATH)


@pytest.mark.parametrize("user", ["me:secret", "secret", "secret:", "secret:x-oauth-basic"])
def test_takes_no_token_in_the_address(user: str) -> None:
    with pytest.raises(InvalidInput, match="credential helper") as refused:
        GitRepository(url=f"https://{user}@example.com/r.git")

    assert "secret" not in str(refused.value)


def test_takes_the_user_that_ssh_needs() -> None:
    assert GitRepository(url="ssh://git@example.com/r.git").url == "ssh://git@example.com/r.git"


def test_an_older_version_is_committed_only_where_it_is_named() -> None:
    line = read_line(VALUES.replace(b"'1'", b"'5'"), PATH, "onnx-model")

    assert choose_version(line, 3, "version:3", "m") == 3
    for source in (None, "alias:deploy"):
        with pytest.raises(InvalidInput, match="none that is older"):
            choose_version(line, 3, source, "m")
