"""Puts into running servers what the flows expect: buckets, the work pool, blocks and deployments."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from infra.errors import StackError
from infra.local.environments import make_setup_environment
from infra.local.readiness import make_prefect_client, make_s3_client
from infra.local.settings import BUCKETS, MODELS_BUCKET, REPOSITORY_PREFIX, ROOT, WORK_POOL, LocalStack
from infra.local.supervision import make_mark

COMMAND_TIMEOUT_S = 180
# Prefect answers late, or 503, while others write to its SQLite, most of all when all services start
PREFECT_BUSY_S = 120
SOURCES = ("blocks", "flows", "slipway", "tasks", "infra/setup")


class Command(NamedTuple):
    """A running command that provides something, and what to call it."""

    what: str
    log_name: str
    process: subprocess.Popen[bytes]


def create_buckets(stack: LocalStack) -> None:
    """Create what is missing of the buckets and of the prefix Triton reads, which it refuses when empty."""
    client = make_s3_client(stack)
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
    """Create the process work pool of the deployments or renew its limit; its worker fills in the job template."""
    limit: dict[str, Any] = {"concurrency_limit": stack.worker_limit}
    answer = _ask_prefect(stack, "POST", "/work_pools/", {"name": WORK_POOL, "type": "process"} | limit)
    if answer.status_code == httpx.codes.CONFLICT:
        answer = _ask_prefect(stack, "PATCH", f"/work_pools/{WORK_POOL}", limit)
    if not answer.is_success:
        raise StackError(
            f"the work pool was not set up: {answer.status_code} {answer.text}; see {stack.log('prefect')}"
        )


def _ask_prefect(stack: LocalStack, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
    """Return Prefect's answer, asked again while it is busy: asking twice changes nothing more.

    Returns 503 where it was that all the time. Raises `StackError` where there was no answer all the time.
    """
    while_busy = Retrying(
        retry=retry_if_exception_type(httpx.TransportError) | retry_if_result(_is_busy),
        stop=stop_after_delay(PREFECT_BUSY_S),
        wait=wait_fixed(0.5),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    with make_prefect_client(stack) as client:
        try:
            return while_busy(client.request, method, path, json=body)
        except httpx.TransportError as exc:
            raise StackError(
                f"prefect: no answer to {method} {stack.prefect_api_url}{path} within {PREFECT_BUSY_S} s, "
                f"{type(exc).__name__}; see {stack.log('prefect')}"
            ) from exc


def _is_busy(answer: httpx.Response) -> bool:
    return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE


def start_commands(stack: LocalStack) -> list[Command]:
    """Start saving the blocks and applying prefect.yaml, at once; nothing if all is as they left it.

    Both import the flows, which takes longer than the servers' own start.
    """
    record = _locate_record(stack)
    if record.exists() and record.read_text() == _describe_provided(stack):
        return []
    return [
        _start_setup(stack, "registering the blocks", only="blocks"),
        _start_setup(stack, "deploying the flows", only="deployments"),
    ]


def remember(stack: LocalStack) -> None:
    """Keep what the finished commands provided, for the next start."""
    _locate_record(stack).write_text(_describe_provided(stack))


def _locate_record(stack: LocalStack) -> Path:
    return stack.state / "provided.json"


def _describe_provided(stack: LocalStack) -> str:
    """Return what the commands depend on and what the server now has of what they make."""
    digest = hashlib.sha256(json.dumps([stack.environment(), stack.worker_limit]).encode())
    sources = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.*") if path.suffix in (".py", ".toml")]
    others = [ROOT / name for name in ("prefect.yaml", "infra/automations.yaml", "uv.lock")]
    for path in sorted([*sources, *others]):
        digest.update(path.read_bytes() if path.exists() else b"")
    counts = {kind: _count(stack, kind) for kind in ("deployments", "block_documents", "automations")}
    return json.dumps({"sources": digest.hexdigest(), **counts})


def _count(stack: LocalStack, kind: str) -> int:
    return int(_ask_prefect(stack, "POST", f"/{kind}/count", {}).raise_for_status().json())


def _start_setup(stack: LocalStack, what: str, only: str) -> Command:
    with stack.log(only).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "infra", "setup", "local", "--only", only],
            env=make_setup_environment(stack) | make_mark(stack),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Command(what, only, process)


def finish_command(stack: LocalStack, command: Command) -> None:
    """Wait for a command; a failure is an error with its log's path and last line."""
    log = stack.log(command.log_name)
    try:
        status = command.process.wait(COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired as exc:
        raise StackError(f"{command.what} took over {COMMAND_TIMEOUT_S} s; see {log}") from exc
    if status != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise StackError(f"{command.what} failed with status {status}; its log {log} ends: {(lines or ['-'])[-1]}")
