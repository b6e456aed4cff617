"""A proven candidate, as the steps hand it on and the receipt keeps it."""

from pydantic import BaseModel, ConfigDict, Field

from slipway.releases.agreement import Comparison
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.service_level import Latency, MeasuredServiceLevel


class ProvenCandidate(BaseModel):
    """A version that one replica served and answered rightly with, before any client could reach it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    address: str
    load_s: float
    comparison: Comparison | None = Field(description="With the golden samples, None where the model has none.")
    agreement: AgreementTerms = Field(default=AgreementTerms(), description="How answers were compared, and why so.")
    source: str = Field(default="", description="What it was asked.")
    batching: str = Field(default="", description="Whether Triton joins requests to it, and what shows that it may.")
    latency: Latency
    live_before_load: Latency | None = Field(description="The live version on the same replica, None where none was.")
    live_during_load: Latency | None = Field(description="The same while the candidate was loaded.")
    gpu_memory_mib: float | None = Field(
        default=None, description="Growth of its GPUs' used memory, loaded and asked; None without a GPU or metrics."
    )
    service_level: MeasuredServiceLevel | None = Field(description="Gate 3, None where it was not asked for.")
