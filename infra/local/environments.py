"""What each server runs with: the variables it needs, and no other server's secrets."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.local.settings import ROOT, LocalStack

# what a program needs of the machine and of the person it runs for
PERSON = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "COLUMNS", "NO_COLOR")
MACHINE = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TEMP", "TMP", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
OWN_FILES = ("SLIPWAY_DATA", "SLIPWAY_DEFAULTS", "SLIPWAY_WORKSPACE")
INHERITED = {*PERSON, *MACHINE, *PROXIES, *map(str.lower, PROXIES), *OWN_FILES}
INHERITED_PREFIXES = ("LC_", "XDG_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "TORCH_")
EVENT_SETTINGS = ("SLIPWAY_WEBHOOK_", "SLIPWAY_PREFECT_TIMEOUT_S")
WEED_KEYS = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


def inherit_environment() -> dict[str, str]:
    """Return what every process takes over from this one: where programs, home and proxies are, and no secrets."""
    return {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }


def select_variables(*prefixes: str) -> dict[str, str]:
    """Return the variables of this process that start so: settings that people made themselves."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def make_setup_environment(stack: LocalStack) -> dict[str, str]:
    """Return what set-up and the demo run with: every address and secret of the stack, to put them into blocks."""
    return inherit_environment() | select_variables("SLIPWAY_") | stack.environment()


def make_supervisor_environment(stack: LocalStack, triton_python: str | None) -> dict[str, str]:
    """Return what `supervisord.conf` expands, which every server takes over from it: nothing that is secret."""
    ports = {f"SLIPWAY_{name.upper()}": str(port) for name, port in stack if name.endswith("_port")}
    return ports | {
        "SLIPWAY_STATE": str(stack.state),
        "SLIPWAY_HOST": stack.host,
        "SLIPWAY_PYTHON": sys.executable,
        "SLIPWAY_BIN": str(Path(sys.executable).parent),
        "SLIPWAY_ROOT": str(ROOT),
        "SLIPWAY_MEMORY_PREFIX": stack.memory_prefix,
        "SLIPWAY_TRITON_PYTHON": triton_python or "false",
        "SLIPWAY_S3_ENDPOINT_URL": stack.s3_url,
        "SLIPWAY_TRITON_MODE": stack.triton_mode,
        "SLIPWAY_TRITON_REPOSITORY": stack.triton_repository,
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
    }


def make_program_environments(stack: LocalStack) -> dict[str, dict[str, str]]:
    """Return what each supervised program has beside that, by name; each secret only where it is used."""
    triton = stack.s3_variables() | stack.control_variables()
    if stack.triton_mode == "poll":  # a model there may pull from MLflow, as examples/model_repository does
        triton |= {"MLFLOW_TRACKING_URI": stack.mlflow_url} | select_variables("MLFLOW_MODEL_")
    return {
        "s3": _make_s3_variables(stack),
        "mlflow": _make_mlflow_variables(stack),
        "prefect": stack.prefect_variables() | _make_prefect_variables(stack),
        **dict.fromkeys(stack.triton_names, triton),
        "worker": stack.prefect_variables() | {"MLFLOW_TRACKING_URI": stack.mlflow_url},
        "events": select_variables(*EVENT_SETTINGS) | stack.prefect_variables() | stack.event_variables(),
    }


def _make_s3_variables(stack: LocalStack) -> dict[str, str]:
    return {
        # keys of each start, which the server's parts ask each other for
        **{f"WEED_JWT_{kind}_KEY": secrets.token_hex(20) for kind in WEED_KEYS},
        "WEED_JWT_SIGNING_EXPIRES_AFTER_SECONDS": "60",  # ten, the default, is short on a machine that stands still
        "HOME": str(stack.s3_data),  # a security.toml in a person's own is not meant for this server
        "GOMEMLIMIT": "400MiB",
    }


def _make_mlflow_variables(stack: LocalStack) -> dict[str, str]:
    return stack.s3_variables() | {
        "MLFLOW_S3_ENDPOINT_URL": stack.s3_url,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": stack.webhook_encryption_key,
    }


def _make_prefect_variables(stack: LocalStack) -> dict[str, str]:
    database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": stack.prefect_database} if stack.prefect_database else {}
    return database | {
        "PREFECT_SERVER_API_AUTH_STRING": stack.prefect_auth_string,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{stack.prefect_url},http://localhost:{stack.prefect_port}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # each step's states written together, not one by one, which took a quarter of the server's time
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "20",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # in whole seconds
        # in memory, the default, a restarted server can block a limit for good
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # two stacks must not write their pages into the one installed package
        "PREFECT_UI_STATIC_DIRECTORY": str(stack.state / "prefect" / "ui"),
    }


def format_configuration(environments: Mapping[str, Mapping[str, str]]) -> str:
    """Return the sections that give each program its environment, as supervisord reads them."""
    return "".join(
        f"\n[program:{program}]\nenvironment={','.join(f'{name}={_quote(value)}' for name, value in given.items())}\n"
        for program, given in environments.items()
    )


def _quote(value: str) -> str:
    return '"' + value.replace("%", "%%") + '"'
