"""What the embedded S3 server, SeaweedFS, needs before it starts and leaves behind when it has stopped."""

import json
from pathlib import Path

from infra.errors import StackError
from infra.local.settings import BUCKETS, LocalStack

SOCKETS = Path("/tmp")  # noqa: S108  # where the server puts them, whatever TMPDIR says


def check_data(stack: LocalStack) -> None:
    """Raise a StackError where the state was made on rclone, the S3 server of earlier versions, which kept plain files.

    MLflow's and Prefect's databases beside them name objects that are only there, so nothing of it is of use alone.
    """
    if any((stack.s3_data / bucket).is_dir() for bucket in BUCKETS):
        raise StackError(
            f"{stack.s3_data} holds the objects of an earlier version's S3 server (rclone), which SeaweedFS cannot "
            f"read; remove or move away {stack.state} to start anew, or set SLIPWAY_STATE to another directory"
        )


def write_identities(stack: LocalStack) -> None:
    """Write who may do what on the S3 server, readable by its owner only: the one key of this stack may do all."""
    key = {"accessKey": stack.s3_access_key_id, "secretKey": stack.s3_secret_access_key}
    everything = ["Admin", "Read", "List", "Tagging", "Write"]
    identities = [{"name": stack.s3_access_key_id, "credentials": [key], "actions": everything}]
    stack.s3_identities.touch(mode=0o600)
    stack.s3_identities.write_text(json.dumps({"identities": identities}))


def remove_sockets(stack: LocalStack) -> None:
    """Remove the sockets that the server leaves behind when it is killed; it has stopped."""
    ports = {
        "master": stack.s3_master_grpc_port,
        "volume": stack.s3_volume_grpc_port,
        "filer": stack.s3_filer_grpc_port,
        "s3": stack.s3_grpc_port,
    }
    shared = [SOCKETS / f"seaweedfs-{part}-grpc-{port}.sock" for part, port in ports.items()]
    for socket in (stack.state / "s3.sock", stack.state / "filer.sock", *shared):
        socket.unlink(missing_ok=True)
