"""The others: NVIDIA's plugin and the reference's scripts, where they are on this machine, MLflow's server, MLServer.

Of the first two nothing is here. An environment that has the plugin is named by PEERS_PLUGIN, the folder with the
scripts' `steps/` by PEERS_SCRIPTS, with an interpreter that has what they import in PEERS_SCRIPTS_PYTHON; an
environment with MLServer by PEERS_MLSERVER, the interpreter of one with mlflow-triton-control by PEERS_CONTROL.
"""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx

from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX
from tests.apparatus.ports import free_port
from tests.benchmarks.peers.asking import INVOCATION, Endpoint
from tests.benchmarks.peers.contender import COMMAND_S, WHOLE_BUCKET, Contender, Failed, Ground, Unavailable
from tests.benchmarks.peers.models import BROKEN, CLASSES, SIDE


def find(variable: str, *inside: str) -> Path:
    """Return what a variable names, or a path in it; `Unavailable` where it is not there."""
    named = os.environ.get(variable)
    if not named:
        raise Unavailable(f"not on this machine: {variable} names none")
    place = Path(named).absolute().joinpath(*inside)
    if not place.exists():
        raise Unavailable(f"not on this machine: {variable} names {place}, which is not there")
    return place


class OfficialPlugin(Contender):
    """NVIDIA's mlflow-triton-plugin, told one Triton, since it takes one."""

    title = "NVIDIA's mlflow-triton-plugin"
    slug = "official"

    def __init__(self, ground: Ground) -> None:
        self._mlflow = find("PEERS_PLUGIN", "bin", "mlflow")
        super().__init__(ground)

    def deploy(self, version: int) -> None:
        self._call("create", "--flavor", "onnx", "-m", f"models:/{self.model_name}/{version}")

    def update(self, version: int) -> None:
        self._call("update", "--flavor", "onnx", "-m", f"models:/{self.model_name}/{version}")

    def undo(self) -> None:
        self.update(1)

    def delete(self) -> None:
        self._call("delete")

    def _call(self, verb: str, *arguments: str) -> None:
        repository = f"s3://{self.ground.s3_url}/{MODELS_BUCKET}/{REPOSITORY_PREFIX}"
        command = ("deployments", verb, "-t", "triton", "--name", self.model_name, *arguments)
        self.run(self._mlflow, *command, TRITON_URL=self.ground.http[0], TRITON_MODEL_REPO=repository)


class ReferenceScripts(Contender):
    """The reference's own seven scripts, each a process, told one Triton, since they take one."""

    title = "the reference's seven scripts"
    slug = "reference"
    prefix, bucket = "", WHOLE_BUCKET

    def __init__(self, ground: Ground) -> None:
        self._scripts, self._python = find("PEERS_SCRIPTS"), find("PEERS_SCRIPTS_PYTHON")
        find("PEERS_SCRIPTS", "steps", "fetch_model.py")
        super().__init__(ground)

    def deploy(self, version: int) -> None:
        out, name = self.folder / f"{time.time_ns()}", f"--model-name={self.model_name}"
        into, bucket = f"--output-dir={out}", f"--bucket={self.bucket}"
        self._step("fetch_model", name, f"--source=version:{version}", into)
        self._step("determine_version", name, bucket, into)
        number = (out / "triton_version.txt").read_text()
        files = (f"--mlflow-metadata={out}/mlflow_metadata.json", f"--triton-version={out}/triton_version.txt")
        self._step("prepare_artifacts", *files, f"--model-file={out}/model.onnx", f"--output-dir={out}/artifacts")
        artifacts = f"--artifacts-dir={out}/artifacts"
        self._step("upload_to_s3", name, f"--triton-version={number}", bucket, artifacts, into)
        triton = f"--triton-url=http://{self.ground.http[0]}"
        self._step("reload_triton", name, triton, f"--expected-version={number}", into)
        tracking = f"--mlflow-tracking-uri={self.ground.variables['MLFLOW_TRACKING_URI']}"
        self._step("update_aliases", name, f"--mlflow-version={version}", tracking, into)
        shapes = (f"--expected-input-shape=[1,3,{SIDE},{SIDE}]", f"--expected-output-shape=[1,{CLASSES}]")
        self._step("verify_deployment", name, triton, *shapes, into)

    def undo(self) -> None:
        self.deploy(1)

    def delete(self) -> None:
        raise Unavailable("no script of the seven deletes")

    def _step(self, script: str, *arguments: str) -> None:
        path = self._scripts / "steps" / f"{script}.py"
        variables = {"AWS_ENDPOINT_URL": self.ground.s3_url, "PYTHONPATH": str(self._scripts)}
        try:
            self.run(self._python, path, *arguments, **variables)
        except Failed as failure:
            raise Failed(f"{script}: {failure}") from failure


class Served(Contender):
    """What serves by itself: a process of its own, from MLflow's artifacts, without Triton and without a repository."""

    start_s = 60.0

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def list_files(self) -> dict[str, str]:
        return {}

    def clean_up(self) -> None:
        self._stop()

    def _start(self, version: int, *command: str | Path) -> None:
        variables = os.environ | dict(self.ground.variables)
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                env=variables,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end = time.monotonic() + self.start_s
        while self.endpoints[0].ask() != f"version {version}":
            if self._process.poll() is not None or time.monotonic() > end:
                lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
                raise Failed(f"it does not start: {lines[-1] if lines else 'nothing printed'}")
            time.sleep(0.1)

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(COMMAND_S)
            with suppress(ProcessLookupError):  # what it started and did not wait for
                os.killpg(self._process.pid, signal.SIGKILL)


class MlflowServe(Served):
    """`mlflow models serve`: a process a version."""

    title = "`mlflow models serve`"
    slug = "serve"

    @property
    def endpoints(self) -> list[Endpoint]:
        return [Endpoint(f"127.0.0.1:{self.port}", "/invocations", INVOCATION)]

    def deploy(self, version: int) -> None:
        self._stop()
        serve = ("models", "serve", "-m", f"models:/{self.model_name}/{version}")
        self._start(version, "mlflow", *serve, "-p", str(self.port), "--env-manager", "local")

    def undo(self) -> None:
        self.deploy(1)

    def delete(self) -> None:
        self._stop()

    def restart(self) -> str:
        return "error: nothing says which version to start"


class MLServer(Served):
    """MLServer with its MLflow runtime, in an environment of its own from PyPI; versions are swapped by its API."""

    title = "MLServer with mlserver-mlflow"
    slug = "mlserver"

    def __init__(self, ground: Ground) -> None:
        self._mlserver = find("PEERS_MLSERVER", "bin", "mlserver")
        super().__init__(ground)
        self._settings = self.folder / "models" / "model-settings.json"
        self._settings.parent.mkdir()
        ports = {"http_port": self.port, "grpc_port": free_port(), "metrics_port": free_port()}
        (self.folder / "models" / "settings.json").write_text(json.dumps(ports | {"host": "127.0.0.1"}))

    @property
    def endpoints(self) -> list[Endpoint]:
        return [Endpoint.of_kserve(f"127.0.0.1:{self.port}", self.model_name)]

    def list_files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self._settings.parent.glob("model-settings.json")}

    def deploy(self, version: int) -> None:
        self._name(version)
        self._start(version, self._mlserver, "start", self._settings.parent)

    def update(self, version: int) -> None:
        self._name(version)
        self._ask("load")

    def undo(self) -> None:
        self.update(1)

    def delete(self) -> None:
        self._ask("unload")

    def restart(self) -> str:
        self._stop()
        try:
            self._start(BROKEN, self._mlserver, "start", self._settings.parent)
        except Failed:
            found = self.endpoints[0].ask()
            self._stop()
            self.deploy(1)  # there is something to delete
            return found
        return self.endpoints[0].ask()

    def _name(self, version: int) -> None:
        uri = f"models:/{self.model_name}/{version}"
        runtime = {"implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": uri}}
        self._settings.write_text(json.dumps({"name": self.model_name} | runtime))

    def _ask(self, verb: str) -> None:
        url = f"http://127.0.0.1:{self.port}/v2/repository/models/{self.model_name}/{verb}"
        answer = httpx.post(url, timeout=COMMAND_S)
        if not answer.is_success:
            raise Failed(f"{answer.status_code}: {answer.text.strip()[:200]}")
