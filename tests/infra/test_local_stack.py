"""The local stack starts whole or not at all, and says in one line why not."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from pydantic import ValidationError

from infra.errors import StackError
from infra.local import environment_file, preflight, provision, readiness, supervision
from infra.local import stack as local
from infra.local.settings import BUCKETS, ROOT, LocalStack
from tests.apparatus.faults import Fault, faulty_proxy
from tests.conftest import stack_on_free_ports


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack that does not run, on free ports; should a test start it, it is stopped."""
    stack = stack_on_free_ports(tmp_path)
    yield stack
    local.down(stack)


def silent(_: str) -> None:
    """A report nobody reads."""


def commanded(stack: LocalStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `slipway stack` as a user of this stack's settings would."""
    fields = stack.model_dump(mode="json", exclude_none=True)
    variables = {f"SLIPWAY_{name.upper()}": str(value) for name, value in fields.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    command = [sys.executable, "-m", "infra", "stack", *arguments]
    return subprocess.run(command, env=inherited | variables, cwd=ROOT, capture_output=True, text=True, timeout=200)


def test_a_taken_port_is_named_with_its_server_and_its_variable_and_nothing_starts(stopped: LocalStack) -> None:
    with socket.create_server((stopped.host, stopped.mlflow_port)):
        answer = commanded(stopped, "up")

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert f"port {stopped.mlflow_port} on 127.0.0.1, which mlflow wants" in answer.stderr
    assert "SLIPWAY_MLFLOW_PORT" in answer.stderr
    assert not supervision.find_processes(stopped)


def test_a_server_that_dies_while_starting_is_named_with_its_log_and_nothing_stays(stopped: LocalStack) -> None:
    (stopped.state / "triton").mkdir()
    (stopped.state / "triton" / "0").touch()  # where the server makes its directory

    answer = commanded(stopped, "up")

    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert answer.stderr.startswith(
        f"StackError: triton-0 died while starting; its log {stopped.log('triton-0')} says: NotADir"
    )
    assert not supervision.find_processes(stopped)


def test_the_line_of_a_log_that_names_the_cause_is_found(tmp_path: Path) -> None:
    stack = LocalStack(state=tmp_path)
    stack.log("mlflow").parent.mkdir()
    cause = "sqlalchemy.exc.DatabaseError: (sqlite3.DatabaseError) file is not a database"
    stack.log("mlflow").write_text(f"INFO Starting\n{cause}\n(Background on this error at: https://sqlalche.me)\n")

    words = readiness.find_last_words(stack, "mlflow")

    assert words == f"its log {stack.log('mlflow')} says: {cause}"


def test_every_server_answers_and_every_bucket_is_there(stack: LocalStack) -> None:
    states = {name: readiness.answers(stack, name) for name in stack.servers}
    buckets = {bucket["Name"] for bucket in readiness.make_s3_client(stack).list_buckets()["Buckets"]}

    assert states == dict.fromkeys(["s3", "mlflow", "prefect", "triton-0", "triton-1", "worker", "events"], True)
    assert buckets >= set(BUCKETS)


def test_servers_listen_on_loopback_only(stack: LocalStack) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")  # an IPv4 address as an IPv6 socket shows it
        for process in supervision.find_processes(stack)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }

    assert listening == {"127.0.0.1"}


def test_up_again_says_so_and_brings_back_what_is_down(stack: LocalStack) -> None:
    supervision.stop_program(stack, "triton-1")
    lines: list[str] = []

    local.up(stack, lines.append)

    assert lines[0].startswith("already up")
    assert readiness.answers(stack, "triton-1")


def test_a_killed_server_comes_back_by_itself(stack: LocalStack) -> None:
    before = supervision.list_programs(stack)["triton-0"].pid
    os.kill(before, signal.SIGKILL)

    watch = readiness.Watch(stack, silent)
    while supervision.list_programs(stack)["triton-0"].pid in (before, 0):
        pass
    watch.await_ready(["triton-0"])

    assert supervision.list_programs(stack)["triton-0"].alive


@pytest.mark.parametrize("status", [503, None], ids=["locked", "too busy to answer"])
def test_a_prefect_that_is_busy_for_a_moment_is_asked_again(stack: LocalStack, status: int | None) -> None:
    with faulty_proxy(stack.prefect_url, Fault("POST", "/work_pools/", times=2, status=status)) as proxy:
        provision.create_work_pool(stack.model_copy(update={"prefect_port": urlsplit(proxy.url).port}))

    assert proxy.faults[0].hits == 2


def test_a_prefect_that_never_answers_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "PREFECT_BUSY_S", 1)
    stack = stack_on_free_ports(tmp_path)

    with pytest.raises(StackError, match=f"prefect: no answer to POST {stack.prefect_api_url}/work_pools/ within 1 s"):
        provision.create_work_pool(stack)


def test_status_shows_every_server_with_its_address(stack: LocalStack) -> None:
    answer = commanded(stack, "status")

    assert answer.returncode == 0
    for server in stack.servers:
        assert server in answer.stdout
        assert stack.address(server) in answer.stdout


def test_status_without_a_stack_is_one_line(tmp_path: Path) -> None:
    answer = commanded(stack_on_free_ports(tmp_path), "status")

    assert answer.returncode == 1
    assert answer.stderr == f"StackError: no local stack runs in {tmp_path}; start it with make up\n"


def test_down_without_a_stack_is_no_error(tmp_path: Path) -> None:
    answer = commanded(stack_on_free_ports(tmp_path), "down")

    assert (answer.returncode, answer.stdout) == (0, "the local stack was not running\n")


def test_the_generated_s3_key_is_kept_and_its_owner_s_alone(tmp_path: Path) -> None:
    key = LocalStack(state=tmp_path).s3_secret_access_key

    assert LocalStack(state=tmp_path).s3_secret_access_key == key
    assert (tmp_path / "s3-secret-access-key").stat().st_mode & 0o077 == 0


def test_another_address_than_loopback_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected a loopback address"):
        LocalStack(host="0.0.0.0")


def test_a_triton_started_otherwise_takes_the_place_of_ours(tmp_path: Path) -> None:
    stack = LocalStack(state=tmp_path, triton_replicas="gpu-0:8001, gpu-1:8001")

    assert stack.servers == ("s3", "mlflow", "prefect", "worker", "events")
    assert stack.environment()["SLIPWAY_TRITON_REPLICAS"] == "gpu-0:8001,gpu-1:8001"
    assert not any(endpoint.server.startswith("triton") for endpoint in stack.endpoints)


def test_a_triton_started_otherwise_has_to_be_there(tmp_path: Path) -> None:
    stack = stack_on_free_ports(tmp_path)
    elsewhere = LocalStack(state=tmp_path, triton_replicas=f"127.0.0.1:{stack.s3_port}")

    with pytest.raises(StackError, match=f"no Triton answers at 127.0.0.1:{stack.s3_port}"):
        preflight.check_replicas(elsewhere)


def test_a_machine_without_a_triton_build_is_told_what_to_do(tmp_path: Path) -> None:
    wheel = "nvidia_pytriton-0.7.0-py3-none-manylinux_2_99_x86_64.whl"
    lock = tmp_path / "lock"
    lock.write_text(f'[[package]]\nname = "nvidia-pytriton"\nwheels = [{{ url = "https://files/{wheel}" }}]\n')

    with pytest.raises(StackError, match=r"no Triton build for this machine .*SLIPWAY_TRITON_REPLICAS"):
        preflight.check_platform(lock)


@pytest.mark.parametrize("theirs", ["MINE=1\n", "MINE=1", "# PREFECT_API_URL=x\nMINE='a\nb'\n"])
def test_what_others_keep_in_the_environment_file_stays(tmp_path: Path, theirs: str) -> None:
    stack, path = LocalStack(state=tmp_path), tmp_path / ".env"
    path.write_text(theirs)

    written = [environment_file.write(stack, path) for _ in range(2)]
    text = path.read_text()
    environment_file.remove(stack, path)

    assert written == [True, True] and path.stat().st_mode & 0o077 == 0
    assert text.startswith(theirs) and text.count("\nPREFECT_API_URL=") == 1 + theirs.count("\nPREFECT_API_URL=")
    assert path.read_text().rstrip("\n") == theirs.rstrip("\n")


def test_an_environment_file_that_points_prefect_elsewhere_is_left_alone(tmp_path: Path) -> None:
    stack, path = LocalStack(state=tmp_path), tmp_path / ".env"
    path.write_text("export PREFECT_API_URL=https://prefect.example.org/api\n")

    written = environment_file.write(stack, path)
    environment_file.remove(stack, path)

    assert not written
    assert path.read_text() == "export PREFECT_API_URL=https://prefect.example.org/api\n"


def test_our_environment_file_points_prefect_at_the_stack_while_it_runs(tmp_path: Path) -> None:
    stack, path = LocalStack(state=tmp_path), tmp_path / ".env"

    environment_file.write(stack, path)
    text = path.read_text()
    environment_file.remove(stack, path)

    assert f"PREFECT_API_URL={stack.prefect_api_url}\n" in text
    assert not path.exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_make_lists_its_targets() -> None:
    answer = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    for target in ("demo", "test", "up", "down", "status", "logs", "lint", "format"):
        assert f"make {target} " in answer.stdout
