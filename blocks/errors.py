"""The errors slipway raises, all with a message that says subject, observed, expected and what to do.

SlipwayError
├── InvalidInput              what the caller gave cannot be used; nothing was changed
│   ├── NotRegistered         the registry knows no such model, alias or version
│   ├── ForeignModel          a model of that name is in the model repository and was never released by slipway
│   ├── UnusableModel         the model's files are corrupt, unsafe, incomplete or not what was expected
│   └── NoRollbackTarget      there is no version to go back to
├── Transient                 nothing is wrong with what was asked for: the same again may succeed
│   ├── ServiceUnavailable    MLflow, S3 or Triton did not answer, answered late or with a server error
│   │   └── ReplicaLost       a Triton replica went away: it ended, restarts, or nothing listens at its address
│   └── ReleaseInProgress     another release of the model did not end in time
├── GateRefused               a gate decided, on what it measured or was told: the same again is refused again
│   ├── ValidationFailed      gate 2: the ONNX export does not compute what the PyTorch model computes
│   ├── ServiceLevelMissed    gate 3: the candidate is slower or larger than the limits allow
│   ├── NoRoom                what the last version took does not fit into a replica's GPU beside what is there
│   └── ApprovalRefused       a person said no to a proven candidate
├── AccessRefused             MLflow, S3 or Triton answered, and refused the credentials or the key it was given
├── VersionConflict           the version exists with other content
├── IntegrityError            what was stored is not what was sent
├── LoadFailed                a Triton replica refused or did not finish loading a version
├── VerificationFailed        a replica serves something other than the proven model
├── ReleaseTakenOver          the model's lock was lost or is another run's now; this run changes nothing more
└── StepFailed                the run that carries out a step on another pool failed, crashed or was late
    └── StepCancelled         that run was cancelled

`docs/messages.md` says what to do about each.
"""

MESSAGE_CHARS = 4000
REASON_CHARS = 800
_LEFT_OUT = " […] "


def bounded(text: object, chars: int = REASON_CHARS) -> str:
    """Return a text on one line, its head and its tail where it is longer: ONNX Runtime and Triton put reasons last."""
    return " ".join(_ends(str(text).strip(), chars).split())


def _ends(text: str, chars: int) -> str:
    half = (chars - len(_LEFT_OUT)) // 2
    return text if len(text) <= chars else text[:half] + _LEFT_OUT + text[-half:]


class SlipwayError(Exception):
    """The base of every error slipway raises; Prefect's database keeps its message, so that is never a long one.

    Args:
        arguments: the message.
        model_name: the model it is about, where it is about one.
        version: the version of that model, where it is about one.
        address: the server it is about, where it is about one.
    """

    model_name: str | None
    version: int | None
    address: str | None

    def __init__(
        self,
        *arguments: object,
        model_name: str | None = None,
        version: int | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(*(_ends(a, MESSAGE_CHARS) if isinstance(a, str) else a for a in arguments))
        self.model_name, self.version, self.address = model_name, version, address


class InvalidInput(SlipwayError):
    """Raised when a parameter, a configuration file or a model cannot be used; nothing was changed."""


class NotRegistered(InvalidInput):
    """Raised when the registry knows no such model, alias or version."""


class ForeignModel(InvalidInput):
    """Raised when the model repository holds a model of that name that slipway has no record of; it is not touched."""


class UnusableModel(InvalidInput):
    """Raised when a model's files are corrupt, unsafe, incomplete or not what was expected."""


class NoRollbackTarget(InvalidInput):
    """Raised when a model has no version a rollback could go back to; nothing was changed."""


class Transient(SlipwayError):
    """Raised when nothing is wrong with what was asked for, so that the same again may succeed."""


class GateRefused(SlipwayError):
    """Raised when a gate decided, on what it measured or was told, so that the same again is refused again."""


class ServiceUnavailable(Transient):
    """Raised when MLflow, S3 or Triton is down, too slow or answers with a server error, retries included."""


class ReplicaLost(ServiceUnavailable):
    """Raised when a Triton replica went away: its process ended, restarts, or nothing listens at its address."""


class AccessRefused(SlipwayError):
    """Raised when MLflow, S3 or Triton refuses who asks: trying again changes nothing, other credentials may."""


class VersionConflict(SlipwayError):
    """Raised when a model version exists in the model repository with other content."""


class IntegrityError(SlipwayError):
    """Raised when a stored object's size or checksum is not that of the file sent."""


class LoadFailed(SlipwayError):
    """Raised when a Triton replica refuses a version or does not finish loading it in time."""


class ValidationFailed(GateRefused):
    """Raised when gate 2 finds that the ONNX export does not compute what the PyTorch model computes."""


class ServiceLevelMissed(GateRefused):
    """Raised when gate 3 measures a candidate that is slower or larger than the limits allow."""


class NoRoom(GateRefused):
    """Raised when what a model's last version took does not fit into a replica's GPU beside what is loaded."""


class ApprovalRefused(GateRefused):
    """Raised when a person said no to a proven candidate."""


class ReleaseInProgress(Transient):
    """Raised when another release of the same model does not end in the time a release waits for it."""


class ReleaseTakenOver(SlipwayError):
    """Raised when a release lost the model's lock, or finds what it had begun settled by another."""


class StepFailed(SlipwayError):
    """Raised when the flow run that carries out a step on another pool failed, crashed or took too long."""


class StepCancelled(StepFailed):
    """Raised when the flow run that carries out a step on another pool was cancelled."""


class VerificationFailed(SlipwayError):
    """Raised when a replica's answers are not those of the proven model."""
