"""What a gRPC status from a Triton replica means: one table, the most specific first.

A status alone does not tell: Triton answers UNAVAILABLE for a key that is missing, for a model that is not served and
for a queue that is full, and gRPC says the same where nothing listens. What Triton says itself is known by how its
text begins; the rest is a replica that cannot be reached.
"""

from tritonclient.utils import InferenceServerException

from blocks.errors import AccessRefused, ReplicaLost, ServiceUnavailable, SlipwayError, bounded
from blocks.meanings import Answer, Meaning, find_meaning

_REQUEST = r"(\[request id: [^\]]*\] )?"
_CONNECTING = r"(failed to connect to all addresses; last error: \w+: \S+: )"
_KEY = "give the fleet the key that this server's model control asks for (SLIPWAY_TRITON_CONTROL_KEY)"
_TLS = "see the fleet's TLS settings (SLIPWAY_TRITON_TLS_…) and that server's certificate"
_ADDRESS = "nothing there speaks Triton's gRPC protocol: see the fleet's addresses, a port for HTTP is another one"

MEANINGS = (
    Meaning("UNAVAILABLE", "This protocol is restricted, expecting header", AccessRefused, _KEY),
    Meaning("UNAUTHENTICATED", "", AccessRefused, _KEY),
    Meaning("PERMISSION_DENIED", "", AccessRefused, _KEY),
    Meaning("UNAVAILABLE", f"{_CONNECTING}(Tls|Ssl) handshake failed", AccessRefused, _TLS),
    Meaning(
        "UNAVAILABLE",
        f"{_CONNECTING}.*(Hostname Verification Check failed|Peer name .* is not in peer cert)",
        AccessRefused,
        _TLS,
    ),
    Meaning("UNAVAILABLE", f"{_CONNECTING}.*Trying to connect an http1.x server", ServiceUnavailable, _ADDRESS),
    Meaning("UNAVAILABLE", f"{_REQUEST}Request for unknown model: ", Answer.REFUSED),
    Meaning("UNAVAILABLE", "explicit model load / unload is not allowed", Answer.REFUSED),
    Meaning(
        "UNAVAILABLE",
        f"{_REQUEST}(Exceeds maximum queue size|Request timeout expired)",
        ServiceUnavailable,
        "that replica has more requests than it can answer: try again when it has fewer",
    ),
    Meaning("UNAVAILABLE", "", ReplicaLost, "start that replica and try again"),
    Meaning("UNKNOWN", "Stream removed", ReplicaLost, "start that replica and try again"),
    Meaning("INTERNAL", "Received RST_STREAM", ReplicaLost, "start that replica and try again"),
    Meaning("CANCELLED", "", ServiceUnavailable, "try again"),
    Meaning("DEADLINE_EXCEEDED", "", ServiceUnavailable, "check that replica and try again"),
    Meaning("UNIMPLEMENTED", "", ServiceUnavailable, _ADDRESS),
)


def classify_error(error: InferenceServerException) -> Meaning | None:
    """Return what an error means, None where the replica answered and refused what was asked for."""
    status, text = str(error.status()).removeprefix("StatusCode."), str(error.message())
    known = find_meaning(MEANINGS, status, text)
    return None if known is None or known.means is Answer.REFUSED else known


def explain_silence(error: InferenceServerException, address: str, subject: str, bound_s: float) -> SlipwayError | None:
    """Return the error to raise where a replica did not answer or refused who asks, None where it gave an answer."""
    known = classify_error(error)
    if known is None or isinstance(known.means, Answer):
        return None
    if known.means is AccessRefused:
        text = f"Triton {address}: access refused to {subject} ({read_reason(error)}); {known.advice}"
        return AccessRefused(text, address=address)
    within = f" within {bound_s:g} s" if known.status == "DEADLINE_EXCEEDED" else ""
    text = f"Triton {address}: no answer to {subject}{within} ({read_reason(error)}); {known.advice}"
    return known.means(text, address=address)


def read_reason(error: InferenceServerException) -> str:
    """Return what the server said, its end included: that is where the cause stands."""
    return bounded(error.message())
