"""The local stack's addresses, and the environment its servers and flows run in."""

import base64
import hashlib
import ipaddress
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

MODELS_BUCKET = "triton-models"
MLFLOW_BUCKET = "mlflow"
RESULTS_BUCKET = "prefect-results"
BUCKETS = (MODELS_BUCKET, MLFLOW_BUCKET, RESULTS_BUCKET)
REPOSITORY_PREFIX = "repository"
AUTH_FILE = "prefect-auth-string"
WORK_POOL = "local"
# what SeaweedFS listens on beside S3 itself; its parts speak to each other over these
S3_PARTS = ("grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")

Port = Annotated[int, Field(ge=1, le=65535)]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: Path(path).expanduser().absolute())]


class Endpoint(NamedTuple):
    """A port one server listens on, and the variable that moves it."""

    server: str
    port: int
    variable: str


class LocalStack(Settings):
    """Where the local stack keeps its state, and where each of its servers listens."""

    model_config = SettingsConfigDict(extra="forbid")
    read_by: ClassVar[str] = "The local stack: `slipway stack`"

    state: AbsolutePath = Field(ROOT / ".local", description="Directory of data, logs and the generated secrets.")
    host: str = Field("127.0.0.1", description="Loopback address every server listens on.")
    prefect_port: Port = Field(4200, description="Port of Prefect's pages and API.")
    mlflow_port: Port = Field(5000, description="Port of MLflow's pages and API.")
    s3_port: Port = Field(9000, description="Port of the S3 server.")
    s3_grpc_port: Port = Field(9001, description="Port of the S3 server, for its own parts.")
    s3_master_port: Port = Field(9002, description="Port of SeaweedFS's master.")
    s3_master_grpc_port: Port = Field(9003, description="Port of the master, for the other parts.")
    s3_volume_port: Port = Field(9004, description="Port of SeaweedFS's volume server.")
    s3_volume_grpc_port: Port = Field(9005, description="Port of the volume server, for the other parts.")
    s3_filer_port: Port = Field(9006, description="Port of SeaweedFS's filer.")
    s3_filer_grpc_port: Port = Field(9007, description="Port of the filer, for the other parts.")
    triton_0_http_port: Port = Field(8000, description="Port of the first Triton over HTTP.")
    triton_0_grpc_port: Port = Field(8001, description="Port of the first Triton over gRPC.")
    triton_0_metrics_port: Port = Field(8002, description="Port of the first Triton's metrics.")
    triton_1_http_port: Port = Field(8010, description="Port of the second Triton over HTTP.")
    triton_1_grpc_port: Port = Field(8011, description="Port of the second Triton over gRPC.")
    triton_1_metrics_port: Port = Field(8012, description="Port of the second Triton's metrics.")
    events_port: Port = Field(8900, description="Port of the event service, which MLflow calls.")
    s3_access_key_id: str = Field("slipway", description="Key of the S3 server; its secret is made at the first start.")
    triton_mode: Literal["explicit", "poll"] = Field(
        "explicit",
        description="`poll`: the Tritons look at a directory every 3 s; nothing is released on them then.",
    )
    triton_models: AbsolutePath | None = Field(
        None, description="That directory; by default `models` in the state directory."
    )
    triton_replicas: str | None = Field(
        None, description="gRPC addresses `host:port,host:port` of Tritons started otherwise; none starts here then."
    )
    prefect_database: str | None = Field(
        None, description="`postgresql+asyncpg://…` of Prefect's database; SQLite in the state directory by default."
    )
    worker_limit: int = Field(8, ge=1, description="Flow runs the worker executes at once.")
    worker_query_s: int = Field(1, ge=1, description="Seconds between the worker's questions for runs that are due.")

    @field_validator("host")
    @classmethod
    def _require_loopback(cls, host: str) -> str:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"host {host!r}: expected a loopback address: MLflow and Triton answer whoever calls")
        return host

    @property
    def starts_triton(self) -> bool:
        """True when the two Triton replicas belong to this stack."""
        return self.triton_replicas is None

    @property
    def triton_repository(self) -> str:
        """Where the Tritons of this stack read models: the bucket, or the directory that they poll."""
        if self.triton_mode == "poll":
            return str(self.triton_models or self.state / "models")
        return f"s3://{self.s3_url}/{MODELS_BUCKET}/{REPOSITORY_PREFIX}"

    @property
    def triton_names(self) -> tuple[str, ...]:
        """The names of the Triton replicas this stack starts."""
        return ("triton-0", "triton-1") if self.starts_triton else ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every port this stack opens."""
        fields = [(name, f"{name}_port") for name in ("prefect", "mlflow", "s3", "events")]
        fields += [("s3", f"s3_{part}_port") for part in S3_PARTS]
        fields += [
            (name, f"{name.replace('-', '_')}_{kind}_port")
            for name in self.triton_names
            for kind in ("http", "grpc", "metrics")
        ]
        return tuple(Endpoint(server, getattr(self, field), f"SLIPWAY_{field.upper()}") for server, field in fields)

    @property
    def servers(self) -> tuple[str, ...]:
        """The supervised programs of this stack, in the order they are shown."""
        return ("s3", "mlflow", "prefect", *self.triton_names, "worker", "events")

    @property
    def prefect_url(self) -> str:
        """The Prefect pages."""
        return f"http://{self.host}:{self.prefect_port}"

    @property
    def prefect_api_url(self) -> str:
        """The Prefect API."""
        return f"{self.prefect_url}/api"

    @property
    def mlflow_url(self) -> str:
        """The MLflow pages and its tracking and registry address."""
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def s3_url(self) -> str:
        """The S3 endpoint."""
        return f"http://{self.host}:{self.s3_port}"

    @property
    def events_url(self) -> str:
        """The event service, which MLflow's webhooks are delivered to."""
        return f"http://{self.host}:{self.events_port}"

    @property
    def triton_addresses(self) -> tuple[str, ...]:
        """The gRPC address of every replica."""
        if self.triton_replicas is not None:
            return tuple(part.strip() for part in self.triton_replicas.split(",") if part.strip())
        return (f"{self.host}:{self.triton_0_grpc_port}", f"{self.host}:{self.triton_1_grpc_port}")

    @property
    def triton_metrics(self) -> tuple[str, ...]:
        """The address of every replica's metrics, in the same order; none of replicas that were started otherwise."""
        if self.triton_replicas is not None:
            return ()
        return (f"{self.host}:{self.triton_0_metrics_port}", f"{self.host}:{self.triton_1_metrics_port}")

    @property
    def triton_urls(self) -> dict[str, str]:
        """The HTTP address of every replica this stack starts, by name."""
        ports = {"triton-0": self.triton_0_http_port, "triton-1": self.triton_1_http_port}
        return {name: f"http://{self.host}:{ports[name]}" for name in self.triton_names}

    def address(self, server: str) -> str:
        """Return where a server answers, or a dash for one that listens nowhere."""
        fixed = {"s3": self.s3_url, "mlflow": self.mlflow_url, "prefect": self.prefect_url, "events": self.events_url}
        return (fixed | self.triton_urls).get(server, "-")

    @property
    def s3_data(self) -> Path:
        """The directory of everything the S3 server keeps."""
        return self.state / "s3"

    @property
    def s3_identities(self) -> Path:
        """The file that tells the S3 server who may do what; it holds the key."""
        return self.state / "s3-identities.json"

    def log(self, server: str) -> Path:
        """Return the log file of a server."""
        return self.state / "logs" / f"{server}.log"

    @property
    def auth_file(self) -> Path:
        """The file with what Prefect's pages ask for."""
        return self.state / AUTH_FILE

    @property
    def memory_prefix(self) -> str:
        """The first part of the names of all shared memory of this stack, and of no other."""
        return f"slipway-{hashlib.sha256(bytes(self.state)).hexdigest()[:12]}-"

    @cached_property
    def s3_secret_access_key(self) -> str:
        """The S3 key of this state directory."""
        return self._keep_secret("s3-secret-access-key", secrets.token_hex(20))

    @cached_property
    def webhook_secret(self) -> str:
        """What MLflow signs its webhooks with."""
        return self._keep_secret("webhook-secret", secrets.token_hex(20))

    @cached_property
    def webhook_encryption_key(self) -> str:
        """What MLflow encrypts that secret with in its database; without a key of ours each start makes another."""
        return self._keep_secret("webhook-encryption-key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    @cached_property
    def prefect_auth_string(self) -> str:
        """What Prefect asks whoever calls it for, people who open its pages included."""
        return self._keep_secret(AUTH_FILE, f"slipway:{secrets.token_hex(20)}")

    @cached_property
    def triton_control_key(self) -> str:
        """What Triton asks for before it loads, unloads or is told anything: who may do that can run code in it."""
        return self._keep_secret("triton-control-key", secrets.token_hex(20))

    def _keep_secret(self, name: str, new: str) -> str:
        """Return what is kept under a name, the first time the new one; readable by its owner only."""
        path = self.state / name
        if not path.exists():
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(new)
        return path.read_text()

    def environment(self) -> dict[str, str]:
        """Return the variables that point set-up, people's shells and flows run from one at this stack."""
        return (
            self.prefect_variables()
            | self.event_variables()
            | self.control_variables()
            | self.s3_variables()
            | {
                "SLIPWAY_STATE": str(self.state),
                "SLIPWAY_MLFLOW_ARTIFACTS_DESTINATION": f"s3://{MLFLOW_BUCKET}",
                "SLIPWAY_S3_ENDPOINT_URL": self.s3_url,
                "SLIPWAY_S3_ACCESS_KEY_ID": self.s3_access_key_id,
                "SLIPWAY_S3_SECRET_ACCESS_KEY": self.s3_secret_access_key,
                "SLIPWAY_MODELS_BUCKET": MODELS_BUCKET,
                "SLIPWAY_RESULTS_BUCKET": RESULTS_BUCKET,
                "SLIPWAY_TRITON_REPLICAS": ",".join(self.triton_addresses),
                "SLIPWAY_TRITON_METRICS": ",".join(self.triton_metrics),
                "MLFLOW_TRACKING_URI": self.mlflow_url,
                "MLFLOW_S3_ENDPOINT_URL": self.s3_url,
                "OMP_WAIT_POLICY": "PASSIVE",
            }
        )

    def prefect_variables(self) -> dict[str, str]:
        """Return what a process needs to speak to Prefect."""
        return {
            "PREFECT_HOME": str(self.state / "prefect"),
            "PREFECT_API_URL": self.prefect_api_url,
            "PREFECT_API_AUTH_STRING": self.prefect_auth_string,
            "PREFECT_WORKER_QUERY_SECONDS": str(self.worker_query_s),
            "DO_NOT_TRACK": "1",
        }

    def event_variables(self) -> dict[str, str]:
        """Return what the event service needs beside Prefect's address."""
        return {
            "SLIPWAY_MLFLOW_TRACKING_URI": self.mlflow_url,
            "SLIPWAY_EVENTS_URL": f"{self.events_url}/webhooks/mlflow",
            "SLIPWAY_WEBHOOK_SECRET": self.webhook_secret,
        }

    def control_variables(self) -> dict[str, str]:
        """Return the key of the replicas this stack starts; those started otherwise have their own, or none."""
        return {"SLIPWAY_TRITON_CONTROL_KEY": self.triton_control_key} if self.starts_triton else {}

    def s3_variables(self) -> dict[str, str]:
        """Return what a program that brings its own S3 client needs."""
        return {
            "AWS_ACCESS_KEY_ID": self.s3_access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret_access_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
