"""The Dockerfiles: what each image is made of, runs as, and leaves out."""

import re
import subprocess
import sys
import tomllib

import pytest

from infra.images.names import DOCKERFILES, IMAGES, ROOT, ImageSettings

CREDENTIAL = re.compile(r"(?i)password|passwd|token|access_key|secret|api_key")
# Python's name of each package that the deployment image leaves out, where it is not the package's own
MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "graphql-core": "graphql", "fonttools": "fontTools"}
# mlflow itself stays importable: mlflow-skinny brings its client
CLIENTS = {"mlflow"}


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile and their arguments, continued lines joined, comments left out."""
    lines = (DOCKERFILES / f"{name}.Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    parts = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word.upper(), rest.strip()) for word, _, rest in parts]


def arguments(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(name) if word == instruction]


def left_out(name: str) -> list[str]:
    return re.findall(r"--no-install-package (\S+)", " ".join(arguments(name, "RUN")))


@pytest.mark.parametrize("name", IMAGES)
class TestDockerfile:
    def test_it_starts_from_one_version_of_a_base_image(self, name: str) -> None:
        assert arguments(name, "FROM") == ["${PYTHON_IMAGE}"]
        assert arguments(name, "ARG") == ["PYTHON_IMAGE"]  # infra/images/names.py alone says which
        assert ImageSettings().python_image.rpartition(":")[2] == "3.11-slim-bookworm"

    def test_it_is_built_with_the_one_uv_whose_hash_is_known(self, name: str) -> None:
        (install,) = (rest for rest in arguments(name, "RUN") if "pip install" in rest)

        assert "--require-hashes -r uv.txt" in install
        assert "infra/uv.txt" in " ".join(arguments(name, "COPY"))

    def test_it_ends_as_a_numbered_user_who_is_not_root(self, name: str) -> None:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", arguments(name, "USER")[-1])

    def test_it_installs_what_the_lock_names(self, name: str) -> None:
        installs = [rest for rest in arguments(name, "RUN") if "uv sync" in rest]

        assert len(installs) == 1
        assert "--locked" in installs[0]
        assert "--mount=type=cache,target=/root/.cache/uv" in installs[0]

    def test_its_dependencies_are_a_layer_before_the_source(self, name: str) -> None:
        steps = [rest for word, rest in instructions(name) if word in ("COPY", "RUN")]
        install = next(index for index, step in enumerate(steps) if "uv sync" in step)
        copied = " ".join(step for step in steps[:install] if not step.startswith("--mount"))

        assert ".lock" in copied
        assert not re.search(r"\b(flows|tasks|blocks|backends)\b", copied)

    def test_it_fetches_nothing_but_packages(self, name: str) -> None:
        assert arguments(name, "ADD") == []
        assert not re.search(r"\b(curl|wget|git clone)\b", " ".join(arguments(name, "RUN")))

    def test_it_holds_no_credential(self, name: str) -> None:
        given = [pair for rest in arguments(name, "ENV") + arguments(name, "ARG") for pair in rest.split()]

        assert [pair for pair in given if CREDENTIAL.search(pair.partition("=")[0])] == []

    def test_a_server_says_whether_it_is_healthy(self, name: str) -> None:
        assert bool(arguments(name, "EXPOSE")) == bool(arguments(name, "HEALTHCHECK"))

    def test_its_home_is_the_one_directory_that_can_be_written(self, name: str) -> None:
        assert "HOME=/tmp" in " ".join(arguments(name, "ENV")).split()


def test_one_uv_is_named_with_the_hashes_of_its_builds() -> None:
    text = (ROOT / "infra" / "uv.txt").read_text()

    assert re.findall(r"^(\S+)==\d+\.\d+\.\d+ ", text, re.MULTILINE) == ["uv"]
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text)) > 1


def test_a_machine_without_uv_gets_the_same() -> None:
    script = (ROOT / "infra" / "local" / "install-uv").read_text()

    assert '--require-hashes --requirement "$pinned"' in script
    assert "/uv.txt" in script


def test_only_the_training_image_has_torch() -> None:
    assert [name for name in IMAGES if "--group training" in " ".join(arguments(name, "RUN"))] == ["training"]


def test_what_the_deployment_image_leaves_out_is_in_the_lock() -> None:
    locked = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}

    assert set(left_out("deployment")) - locked == set()


@pytest.mark.parametrize(
    "modules",
    [
        "flows.deployment, flows.rollback, flows.reconciliation",
        "infra.command.models",
        "infra.command.events",
        "flows.training, flows.yolo_training, flows.tuning",
    ],
)
def test_the_deployment_image_runs_without_what_it_leaves_out(modules: str) -> None:
    missing = [name for name in left_out("deployment") if name not in CLIENTS]
    names = [MODULES.get(name, name.replace("-", "_")) for name in missing]
    # None in sys.modules makes an import fail as if the module were not there
    code = f"import sys; sys.modules.update(dict.fromkeys({[*names, 'torch', 'onnxruntime']})); import {modules}"

    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr
