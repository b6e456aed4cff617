"""What Triton and gRPC really say, and what it is taken for: never by a word that a host's name may contain."""

import pytest
from tritonclient.utils import InferenceServerException

from blocks.errors import AccessRefused, ReplicaLost, ServiceUnavailable, SlipwayError
from blocks.fleet import TritonFleet
from blocks.replica_errors import classify_error, explain_silence, read_reason
from tests.apparatus.ports import free_port

NOBODY = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: "


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        ("UNAVAILABLE", NOBODY + "Connection refused", ReplicaLost),
        ("UNAVAILABLE", "errors resolving model-server-0:8001: [field:hostname lookup error: not found]", ReplicaLost),
        ("UNAVAILABLE", "DNS resolution failed for model-server-0:8001", ReplicaLost),
        ("UNAVAILABLE", "Socket closed", ReplicaLost),
        ("UNAVAILABLE", "Server exiting", ReplicaLost),
        ("INTERNAL", "Received RST_STREAM with error code 2", ReplicaLost),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", ServiceUnavailable),
        ("DEADLINE_EXCEEDED", "failed to connect to model-server-0", ServiceUnavailable),
        ("UNIMPLEMENTED", "Method not found!", ServiceUnavailable),
        ("UNAVAILABLE", "[request id: 7] Exceeds maximum queue size", ServiceUnavailable),
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: PERMISSION_DENIED: ipv4:127.0.0.1:1: Failed parsing "
            "(Trying to connect an http1.x server (HTTP status 403))",
            ServiceUnavailable,
        ),
        ("UNAVAILABLE", "This protocol is restricted, expecting header 'triton-grpc-protocol-x'", AccessRefused),
        ("UNAUTHENTICATED", "no token for model 'm'", AccessRefused),
        ("PERMISSION_DENIED", "", AccessRefused),
        ("UNAVAILABLE", "Request for unknown model: 'm' version 3 is not at ready state", None),
        ("UNAVAILABLE", "explicit model load / unload is not allowed if polling is enabled", None),
        ("NOT_FOUND", "Request for unknown model: 'm' is not found", None),
        ("INTERNAL", "failed to load 'm', failed to poll from model repository", None),
        ("INVALID_ARGUMENT", "This protocol is restricted, expecting header", None),
    ],
)
def test_a_status_and_how_its_text_begins_say_what_happened(
    status: str, text: str, expected: type[SlipwayError] | None
) -> None:
    error = InferenceServerException(text, status=f"StatusCode.{status}")

    found = classify_error(error)
    raised = explain_silence(error, "model-server-0:8001", "liveness", 5)

    assert (found.means if found else None) is expected
    assert type(raised) is (expected or type(None))


def test_a_replica_whose_name_says_model_and_does_not_resolve_is_lost() -> None:
    fleet = TritonFleet(replicas=["model-server-0.invalid:8001", f"127.0.0.1:{free_port()}"], call_timeout_s=3)

    answering, silent = fleet.find_reached()

    assert answering == [] and {type(error) for error in silent.values()} == {ReplicaLost}


def test_the_end_of_a_long_reason_is_kept() -> None:
    text = (
        f"failed to load 'm': {'onnxruntime::Graph::Resolve ' * 500}\nUnsupported model IR version: 14, max supported"
    )

    shown = read_reason(InferenceServerException(text, status="StatusCode.INTERNAL"))

    assert shown.startswith("failed to load 'm'") and shown.endswith("Unsupported model IR version: 14, max supported")
    assert len(shown) <= 800 and "\n" not in shown
