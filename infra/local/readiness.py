"""Asks each server whether it answers, and waits for it no longer than its deadline."""

import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from blocks.certificates import load_certificates
from infra.errors import StackError
from infra.local.settings import WORK_POOL, LocalStack
from infra.local.supervision import list_programs, start_programs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Generous: on two cores, cold bytecode makes the first start of the Python servers take most of a minute.
DEADLINES_S = {
    "s3": 60.0,
    "mlflow": 180.0,
    "prefect": 180.0,
    "worker": 90.0,
    "events": 90.0,
    "triton-0": 300.0,  # answers once every committed model is loaded
    "triton-1": 300.0,
}
POLL_INTERVAL_S = 0.2
PROBE_TIMEOUT_S = 3.0
CAUSES = (
    re.compile(r"(Error|Exception): "),
    re.compile(r"error|fatal|failed|critical|missing", re.IGNORECASE),
    re.compile(""),
)
QUIET_LINES = ("INFO", "WARNING", "NOTICE", "I0", "I1", "W0", "W1", "+", "|")


def make_s3_client(stack: LocalStack) -> "S3Client":
    """Return a client of the stack's S3 server that answers or fails at once."""
    quick = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=stack.s3_url,
        aws_access_key_id=stack.s3_access_key_id,
        aws_secret_access_key=stack.s3_secret_access_key,
        region_name="us-east-1",
        config=quick,
    )


def make_prefect_client(stack: LocalStack, timeout_s: float = 30) -> httpx.Client:
    """Return a client of the stack's Prefect API that may do all; to be closed."""
    user, _, password = stack.prefect_auth_string.partition(":")
    return httpx.Client(
        base_url=stack.prefect_api_url,
        auth=(user, password),
        timeout=timeout_s,
        trust_env=False,
        verify=load_certificates(),
    )


def answers(stack: LocalStack, server: str) -> bool:
    """Return whether a server answers the request its users depend on."""
    try:
        return _PROBES[server](stack)
    except (httpx.HTTPError, BotoCoreError, ClientError):
        return False


def _ask_s3(stack: LocalStack) -> bool:
    return "Buckets" in make_s3_client(stack).list_buckets()


def _ask_http(url: str) -> bool:
    answer = httpx.get(url, timeout=PROBE_TIMEOUT_S, trust_env=False, verify=load_certificates())
    return answer.status_code == httpx.codes.OK


def _ask_worker(stack: LocalStack) -> bool:
    with make_prefect_client(stack, PROBE_TIMEOUT_S) as client:
        answer = client.post(f"/work_pools/{WORK_POOL}/workers/filter", json={}).raise_for_status()
    # A worker of this name that stopped a moment ago still counts as online: only a newer heartbeat tells.
    started = datetime.now(UTC).timestamp() - list_programs(stack)["worker"].uptime_s
    heartbeats = [datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() for worker in answer.json()]
    return any(heartbeat >= started for heartbeat in heartbeats)


_PROBES: dict[str, Callable[[LocalStack], bool]] = {
    "s3": _ask_s3,
    "mlflow": lambda stack: _ask_http(f"{stack.mlflow_url}/health"),
    "prefect": lambda stack: _ask_http(f"{stack.prefect_api_url}/health"),
    "triton-0": lambda stack: _ask_http(f"{stack.triton_urls['triton-0']}/v2/health/live"),
    "triton-1": lambda stack: _ask_http(f"{stack.triton_urls['triton-1']}/v2/health/live"),
    "worker": _ask_worker,
    "events": lambda stack: _ask_http(f"{stack.events_url}/ready"),
}


class Watch:
    """Waits for servers of one starting stack, and notices any that dies meanwhile."""

    def __init__(self, stack: LocalStack, report: Callable[[str], None]) -> None:
        self._stack = stack
        self._report = report
        self._start = time.monotonic()
        self._pids: dict[str, int] = {}

    def start(self, servers: Iterable[str]) -> None:
        """Start servers that do not run, and watch them from now on."""
        self._pids.update(start_programs(self._stack, servers))

    def await_ready(self, servers: Iterable[str]) -> None:
        """Wait until every named server answers; one that dies or is late is an error with its log's path."""
        waiting, begin = list(servers), time.monotonic()
        while waiting:
            self._notice_deaths()
            for server in list(waiting):
                if answers(self._stack, server):
                    waiting.remove(server)
                    self._report(f"{server:9} {self._stack.address(server)} ({time.monotonic() - self._start:.1f} s)")
                elif time.monotonic() - begin > DEADLINES_S[server]:
                    late = f"{server} did not answer within {DEADLINES_S[server]:.0f} s"
                    raise StackError(f"{late}; {find_last_words(self._stack, server)}")
            time.sleep(POLL_INTERVAL_S if waiting else 0)

    def _notice_deaths(self) -> None:
        now = list_programs(self._stack)
        for name, pid in self._pids.items():
            if not now[name].alive or now[name].pid != pid:
                raise StackError(f"{name} died while starting; {find_last_words(self._stack, name)}")


def find_last_words(stack: LocalStack, server: str) -> str:
    """Return a server's log path and the last line in it that is likely to say what went wrong."""
    path = stack.log(server)
    lines = path.read_text(errors="replace").splitlines()[-80:] if path.exists() else []
    useful = [line.strip() for line in lines if line.strip() and not line.startswith(QUIET_LINES)]
    causes = [line for cause in CAUSES for line in reversed(useful) if cause.search(line)]
    return f"its log {path} says: {causes[0]}" if causes else f"its log is {path}"
