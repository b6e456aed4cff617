"""Puts into running servers what the flows expect: buckets, the work pool, blocks and deployments."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

from botocore.exceptions import ClientError

from infra.local.errors import StackError
from infra.local.readiness import s3_client
from infra.local.settings import BUCKETS, MODELS_BUCKET, REPOSITORY_PREFIX, ROOT, WORK_POOL, LocalStack
from infra.local.supervision import base_environment

COMMAND_TIMEOUT_S = 180


def create_buckets(stack: LocalStack) -> None:
    """Create what is missing of the buckets and of the prefix Triton reads, which it refuses when empty."""
    client = s3_client(stack)
    existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in BUCKETS:
        if bucket not in existing:
            client.create_bucket(Bucket=bucket)
    marker = f"{REPOSITORY_PREFIX}/.keep"
    try:
        client.head_object(Bucket=MODELS_BUCKET, Key=marker)
    except ClientError:
        client.put_object(Bucket=MODELS_BUCKET, Key=marker, Body=b"")


def create_work_pool(stack: LocalStack) -> None:
    """Create or renew the process work pool the deployments run in."""
    arguments = ("work-pool", "create", WORK_POOL, "--type", "process", "--overwrite")
    _run(stack, "creating the work pool", ("prefect", "--no-prompt", *arguments))


def register_blocks(stack: LocalStack) -> None:
    """Save the blocks the flows load, with this stack's values."""
    if importlib.util.find_spec("blocks.register") is not None:
        _run(stack, "registering the blocks", ("blocks.register",))


def deploy_flows(stack: LocalStack) -> None:
    """Apply the deployments of prefect.yaml."""
    if (ROOT / "prefect.yaml").exists():
        _run(stack, "deploying the flows", ("prefect", "--no-prompt", "deploy", "--all"))


def _run(stack: LocalStack, what: str, module: Sequence[str]) -> None:
    command = [sys.executable, "-m", *module]
    variables = base_environment() | stack.environment()
    log = stack.log("setup")
    with log.open("a") as output:
        try:
            answer = subprocess.run(  # noqa: S603
                command, env=variables, cwd=ROOT, stdout=output, stderr=output, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise StackError(f"{what} took over {COMMAND_TIMEOUT_S} s; see {log}") from exc
    if answer.returncode != 0:
        lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
        raise StackError(f"{what} failed with status {answer.returncode}; its log {log} ends: {(lines or ['-'])[-1]}")
