"""Three ways in to slipway: the flows, `mlflow deployments -t triton`, and the seven scripts."""

from pathlib import Path

from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX
from tests.benchmarks.peers.contender import Contender, Unavailable
from tests.benchmarks.peers.models import CLASSES, SIDE


class Flows(Contender):
    """The flows, each in a process of its own, as a worker starts them."""

    title = "slipway, the flows `deploy-model`, `rollback-model`, `withdraw-model`"
    slug = "flows"

    def deploy(self, version: int) -> None:
        self._call("deploy", version)

    def undo(self) -> None:
        self._call("rollback", 0)

    def delete(self) -> None:
        self._call("withdraw", 0)

    def _call(self, flow: str, version: int) -> None:
        replicas = ",".join(self.ground.grpc)
        self.run_python("-m", "tests.benchmarks.peers.flow_process", flow, self.model_name, str(version), replicas)


class OurPlugin(Contender):
    """`mlflow deployments`, with slipway's target `triton`."""

    title = "slipway, `mlflow deployments -t triton`"
    slug = "plugin"

    def deploy(self, version: int) -> None:
        self._call("create", "--flavor", "onnx", "-m", f"models:/{self.model_name}/{version}")

    def update(self, version: int) -> None:
        self._call("update", "--flavor", "onnx", "-m", f"models:/{self.model_name}/{version}")

    def undo(self) -> None:
        self.update(1)

    def delete(self) -> None:
        self._call("delete")

    def _call(self, verb: str, *arguments: str) -> None:
        urls = ",".join(f"grpc://{address}" for address in self.ground.grpc)
        repository = f"s3://{self.ground.s3_url}/{MODELS_BUCKET}/{REPOSITORY_PREFIX}"
        command = ("-m", "mlflow", "deployments", verb, "-t", "triton", "--name", self.model_name)
        self.run_python(*command, *arguments, TRITON_URL=urls, TRITON_MODEL_REPO=repository)


class OurScripts(Contender):
    """The seven steps as the documents of the reference call them, each a process."""

    title = "slipway, the seven scripts `python -m tasks …`"
    slug = "scripts"

    def deploy(self, version: int) -> None:
        out, name = self.folder / str(version), f"--model-name={self.model_name}"
        into, bucket = f"--output-dir={out}", f"--bucket={MODELS_BUCKET}/{REPOSITORY_PREFIX}"
        self._step("fetch-model", name, f"--source=version:{version}", into)
        self._step("determine-version", name, bucket, into)
        number = (out / "triton_version.txt").read_text()
        files = (f"--mlflow-metadata={out}/mlflow_metadata.json", f"--triton-version={out}/triton_version.txt")
        self._step("prepare-artifacts", *files, f"--model-file={out}/model.onnx", f"--output-dir={out}/artifacts")
        self._step("upload-to-s3", name, f"--triton-version={number}", bucket, f"--artifacts-dir={out}/artifacts", into)
        self._reload(number, out)
        self._step("update-aliases", name, f"--mlflow-version={version}", into)
        shapes = (f"--expected-input-shape=[1,3,{SIDE},{SIDE}]", f"--expected-output-shape=[1,{CLASSES}]")
        self._step("verify-deployment", name, self._urls, *shapes, bucket, into)

    def undo(self) -> None:
        self._reload("1", self.folder / "1")

    def delete(self) -> None:
        raise Unavailable("no script of the seven deletes; `slipway withdraw` does")

    @property
    def _urls(self) -> str:
        return f"--triton-url={','.join(f'grpc://{address}' for address in self.ground.grpc)}"

    def _reload(self, number: str, out: Path) -> None:
        self._step(
            "reload-triton",
            f"--model-name={self.model_name}",
            self._urls,
            f"--expected-version={number}",
            f"--output-dir={out}",
        )

    def _step(self, *arguments: str) -> None:
        self.run_python("-m", "tasks", *arguments, AWS_ENDPOINT_URL=self.ground.s3_url)
