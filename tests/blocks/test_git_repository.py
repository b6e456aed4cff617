"""A branch on a server that asks for a token: only the one it is meant for gets it, and nothing shows it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.errors import AccessRefused, InvalidInput
from blocks.git_repository import GitRepository
from tests.apparatus.git_server import GitServer, serving

TOKEN = "a-token-nobody-sees"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    work = tmp_path / "work"
    for command in (
        ["git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "record.git")],
        ["git", "init", "-q", "-b", "main", str(work)],
    ):
        subprocess.run(command, check=True)
    (work / "values.yaml").write_text("version: 1\n")
    somebody = ["git", "-C", str(work), "-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run([*somebody, "add", "-A"], check=True)
    subprocess.run([*somebody, "commit", "-q", "-m", "first"], check=True)
    subprocess.run([*somebody, "push", "-q", str(tmp_path / "record.git"), "main"], check=True)
    with serving(tmp_path, TOKEN) as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.certificate))
        monkeypatch.delenv("GIT_TOKEN", raising=False)
        yield server


def test_a_token_of_the_environment_reads_and_commits(server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    with GitRepository(url=f"{server.url}/record.git").opened() as opened:
        found = opened.read("values.yaml")
        commit = opened.write("values.yaml", b"version: 2\n", after=found, message="Serve 2")

        assert (
            opened.read("values.yaml").content == b"version: 2\n" and opened.find_last("values.yaml").commit == commit
        )


@pytest.mark.parametrize("token", [None, "another"])
def test_without_the_token_access_is_refused_and_no_token_is_shown(
    server: GitServer, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    if token is not None:
        monkeypatch.setenv("GIT_TOKEN", token)
    with (
        GitRepository(url=f"{server.url}/record.git").opened() as opened,
        pytest.raises(AccessRefused, match=r"record\.git") as refused,
    ):
        opened.read("values.yaml")

    assert "another" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://me:secret@example.com/a.git", "https://secret@example.com/a.git"])
def test_an_address_that_holds_a_token_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        GitRepository(url=url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["--upload-pack=touch", "ext::sh -c touch"])
def test_an_address_that_git_would_run_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="is no address"):
        GitRepository(url=url)
