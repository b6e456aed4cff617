"""The S3 server of the local stack: SeaweedFS, with one key, and nothing of it open to anybody else."""

import json
from pathlib import Path

import pytest

from infra.errors import StackError
from infra.local import readiness, store, supervision
from infra.local import stack as local
from infra.local.settings import MODELS_BUCKET, LocalStack
from tests.conftest import stack_on_free_ports


def silent(_: str) -> None:
    """A report nobody reads."""


def test_every_part_of_the_server_has_a_port_that_a_variable_moves(tmp_path: Path) -> None:
    stack = stack_on_free_ports(tmp_path)

    found = {endpoint.variable: endpoint.port for endpoint in stack.endpoints if endpoint.server == "s3"}

    assert found == {
        "SLIPWAY_S3_PORT": stack.s3_port,
        "SLIPWAY_S3_GRPC_PORT": stack.s3_grpc_port,
        "SLIPWAY_S3_MASTER_PORT": stack.s3_master_port,
        "SLIPWAY_S3_MASTER_GRPC_PORT": stack.s3_master_grpc_port,
        "SLIPWAY_S3_VOLUME_PORT": stack.s3_volume_port,
        "SLIPWAY_S3_VOLUME_GRPC_PORT": stack.s3_volume_grpc_port,
        "SLIPWAY_S3_FILER_PORT": stack.s3_filer_port,
        "SLIPWAY_S3_FILER_GRPC_PORT": stack.s3_filer_grpc_port,
    }


def test_the_file_with_the_key_is_its_owner_s_alone(tmp_path: Path) -> None:
    stack = LocalStack(state=tmp_path)

    for _ in range(2):
        store.write_identities(stack)

    (identity,) = json.loads(stack.s3_identities.read_text())["identities"]
    assert identity["credentials"] == [{"accessKey": "slipway", "secretKey": stack.s3_secret_access_key}]
    assert stack.s3_identities.stat().st_mode & 0o077 == 0


def test_a_state_of_the_server_before_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    stack = stack_on_free_ports(tmp_path)
    (stack.s3_data / MODELS_BUCKET).mkdir(parents=True)

    with pytest.raises(StackError, match=rf"rclone.*remove or move away {tmp_path} .*or set SLIPWAY_STATE"):
        local.up(stack, silent)


def test_exactly_one_of_two_conditional_writes_is_taken(stack: LocalStack) -> None:
    client = readiness.make_s3_client(stack)
    written = client.put_object(Bucket=MODELS_BUCKET, Key="conditions/key", Body=b"first", IfNoneMatch="*")

    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"00000000000000000000000000000000"'}):
        with pytest.raises(client.exceptions.ClientError, match="PreconditionFailed"):
            client.put_object(Bucket=MODELS_BUCKET, Key="conditions/key", Body=b"late", **condition)  # type: ignore[arg-type]
    client.put_object(Bucket=MODELS_BUCKET, Key="conditions/key", Body=b"second", IfMatch=written["ETag"])

    assert client.get_object(Bucket=MODELS_BUCKET, Key="conditions/key")["Body"].read() == b"second"
    client.delete_object(Bucket=MODELS_BUCKET, Key="conditions/key")


def test_what_was_acknowledged_is_there_after_the_server_was_killed(stack: LocalStack) -> None:
    client, content = readiness.make_s3_client(stack), bytes(9_000_000)
    client.put_object(Bucket=MODELS_BUCKET, Key="killed/key", Body=content)

    supervision.stop_program(stack, "s3")
    local.up(stack, silent)

    assert client.get_object(Bucket=MODELS_BUCKET, Key="killed/key")["Body"].read() == content
    client.delete_object(Bucket=MODELS_BUCKET, Key="killed/key")
