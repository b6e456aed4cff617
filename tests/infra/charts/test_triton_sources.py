"""Where the chart triton has a server's models come from: a bucket, a branch that git-sync follows, a directory."""

from typing import Any

import pytest

from tests.apparatus.charts import environment, one, refusal, render, server

GIT = {"modelSource": "git", "git": {"repository": "https://git.example.org/ours/models.git", "path": "models/served"}}
CLAIM = {"modelSource": "directory", "directory": {"claim": "models", "path": "served"}}
HOST = {"modelSource": "directory", "directory": {"hostPath": "/srv/models"}}


def pod(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = one(render("triton", values), "Deployment")["spec"]["template"]["spec"]
    return found


def git_syncs(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container that ends with the first commit, and the one that goes on."""
    found = pod(values)
    (first,) = found["initContainers"]
    return first, found["containers"][1]


def volume(values: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (item for item in pod(values)["volumes"] if item["name"] == name)
    return {key: value for key, value in found.items() if key != "name"}


@pytest.mark.parametrize(
    ("values", "repository"),
    [(GIT, "/git/current/models/served"), (CLAIM, "/models/served"), (HOST, "/models")],
    ids=["git", "claim", "host"],
)
def test_polls_what_lies_in_a_branch_or_a_directory(values: dict[str, Any], repository: str) -> None:
    words = server(**values, pollSeconds=5)["args"]

    assert words[:3] == [
        f"--model-repository={repository}",
        "--model-control-mode=poll",
        "--repository-poll-secs=5",
    ]
    assert not [word for word in words if word.startswith("--load-model")]


def test_loads_everything_of_a_directory_at_start_where_it_is_told_to_load_when_asked() -> None:
    words = server(modelSource="directory", directory={"claim": "models", "mode": "explicit"})["args"]

    assert words[:3] == ["--model-repository=/models", "--model-control-mode=explicit", "--load-model=*"]


def test_follows_the_branch_from_before_the_server_starts() -> None:
    first, ever = git_syncs(GIT)

    asked = [
        "--repo=https://git.example.org/ours/models.git",
        "--ref=main",
        "--root=/git",
        "--link=current",
        "--period=10s",
    ]
    assert first["args"] == [*asked, "--one-time", "--max-failures=6"]
    assert ever["args"] == [*asked, "--max-failures=-1"]  # a Git server that is away stops no replica
    assert first["image"] == ever["image"] == "registry.k8s.io/git-sync/git-sync:v4.7.1"


def test_shows_the_server_what_git_sync_writes_and_lets_it_change_nothing() -> None:
    (models,) = (mount for mount in server(**GIT)["volumeMounts"] if mount["name"] == "models")
    written = [mount for item in git_syncs(GIT) for mount in item["volumeMounts"] if mount["name"] == "models"]

    assert models == {"name": "models", "mountPath": "/git", "readOnly": True}
    assert written == [{"name": "models", "mountPath": "/git"}] * 2
    assert volume(GIT, "models") == {"emptyDir": {"sizeLimit": "10Gi"}}


def test_gives_the_repositorys_password_to_git_sync_alone() -> None:
    values = {**GIT, "git": {**GIT["git"], "secret": {"name": "reader", "password": "token"}}}  # type: ignore[dict-item]

    for container in git_syncs(values):
        assert "--password-file=/git-secret/password" in container["args"]
        assert environment(container)["GITSYNC_USERNAME"] == {"secretKeyRef": {"name": "reader", "key": "username"}}
        assert {"name": "git-secret", "mountPath": "/git-secret", "readOnly": True} in container["volumeMounts"]
    items = [{"key": "token", "path": "password"}]
    assert volume(values, "git-secret") == {"secret": {"secretName": "reader", "defaultMode": 0o440, "items": items}}
    assert not [mount for mount in server(**values)["volumeMounts"] if mount["name"] == "git-secret"]


def test_asks_for_no_secret_of_a_repository_that_everybody_reads() -> None:
    assert not [word for item in git_syncs(GIT) for word in item["args"] if "password" in word]
    assert not [item for item in pod(GIT)["volumes"] if "secret" in item]


def test_mounts_a_directory_read_only() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}

    assert (volume(CLAIM, "models"), volume(HOST, "models")) == (
        claim,
        {"hostPath": {"path": "/srv/models", "type": "Directory"}},
    )
    for values in (CLAIM, HOST):
        assert {"name": "models", "mountPath": "/models", "readOnly": True} in server(**values)["volumeMounts"]
        assert "initContainers" not in pod(values)


@pytest.mark.parametrize("values", [GIT, CLAIM, HOST], ids=["git", "claim", "host"])
def test_tells_a_server_nothing_of_s3_that_reads_nothing_there(values: dict[str, Any]) -> None:
    found = pod({**values, "s3": {"secret": {"name": "keys"}}})

    assert not [name for item in found["containers"] for name in environment(item) if "AWS" in name]
    assert "downloads" not in {item["name"] for item in found["volumes"]}


def test_asks_for_the_control_key_where_it_polls_too() -> None:
    assert [word for word in server(**GIT)["args"] if word.startswith("--http-restricted-api=model-repository,")]


@pytest.mark.parametrize("address", ["https://me:s3cret@git.example.org/m.git", "HTTP://s3cret@git.example.org/m.git"])
def test_refuses_a_token_in_the_repositorys_address_without_showing_it(address: str) -> None:
    for values in (
        {"git": {"repository": address}},
        {"tritonServers": [{"name": "a", "git": {"repository": address}}]},
    ):
        said = refusal("triton", modelSource="git", **values)

        assert "git.repository has a user or a token in its address (not shown)" in said
        assert "git.secret.name" in said and "s3cret" not in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"modelSource": "git"},
            "modelSource is git and git.repository is empty, expected https://host/group/name.git",
        ),
        (
            {"modelSource": "git", "git": {"repository": "git@git.example.org:models.git"}},
            "git.repository is git@git.example.org:models.git, expected https://host/group/name.git",
        ),
        ({"git": {"repository": "https://g.org/m.git"}}, "git.repository is set and modelSource is s3"),
        ({"modelSource": "directory"}, "0 of directory.claim and directory.hostPath are set, expected one"),
        (
            {"modelSource": "directory", "directory": {"claim": "a", "hostPath": "/b"}},
            "2 of directory.claim and directory.hostPath are set, expected one",
        ),
        ({"directory": {"claim": "a"}}, "directory is set and modelSource is s3"),
        ({"modelSource": "ftp"}, "modelSource"),
        ({**GIT, "git": {"repository": "https://g.org/m.git", "path": "../etc"}}, "/git/path"),
        ({**GIT, "git": {"repository": "https://g.org/m.git", "ref": "--upload-pack=x"}}, "/git/ref"),
        ({**GIT, "git": {"repository": "https://g.org/m.git", "image": {"tag": "latest"}}}, "/git/image/tag"),
        ({**HOST, "directory": {"hostPath": "models"}}, "/directory/hostPath"),
        ({"extraArguments": ["--repository-poll-secs=1"]}, "extraArguments"),
    ],
)
def test_refuses_a_source_that_says_not_enough_or_too_much(values: dict[str, Any], said: str) -> None:
    assert said in refusal("triton", **values)
