"""Approval: a release stops between its proven candidate and traffic, for a person's yes in the Prefect UI."""

from typing import Annotated

from prefect import runtime, suspend_flow_run
from prefect.exceptions import Pause
from prefect.input import RunInput
from pydantic import Field

from blocks.environment import Environment
from blocks.errors import ApprovalRefused, InvalidInput
from slipway.releases.journal import close_journal
from slipway.releases.plan import ReleasePlan
from slipway.releases.proven_candidate import ProvenCandidate

ApprovalTimeout = Annotated[
    int, Field(ge=1, le=30 * 86_400, description="Seconds a person has to say yes; the run fails afterwards.")
]


class Approval(RunInput):
    """What a person answers."""

    approved: bool = Field(description="Whether the candidate may have traffic.")
    approver: str = Field(min_length=1, max_length=200, description="Who says so.")
    comment: str = Field(default="", max_length=2000, description="Why.")


def ask_for_approval(
    plan: ReleasePlan, candidate: ProvenCandidate, timeout_s: int | None, environment: Environment
) -> str | None:
    """Return who said yes; None where nobody is asked, which is where there is no timeout.

    The run is suspended and holds nothing while it waits: its process ends, its journal is closed, the model's lock is
    free, no replica has the candidate. Resumed, it starts from the top, fetches nothing again and proves the candidate
    anew, under the next number; where another release came in between, it asks again. Raises `ApprovalRefused` on a
    no.
    """
    if timeout_s is None:
        return None
    if not runtime.deployment.id:
        raise InvalidInput(
            f"model '{plan.model_name}': approval was asked for in a run without a deployment, which cannot be "
            "suspended; start it with `prefect deployment run deploy-model/…`, or leave approval out"
        )
    asking = Approval.with_initial_data(description=write_question(plan, candidate), comment="")
    key = f"approval-{plan.registry_version}-after-{plan.live_before or 'nothing'}"
    try:
        answer = suspend_flow_run(wait_for_input=asking, timeout=timeout_s, key=key)
    except Pause:
        if plan.creates_version:
            environment.repository.remove(plan.model_name, plan.version)
        close_journal(environment.repository, plan)
        raise
    if not answer.approved:
        raise ApprovalRefused(
            f"model '{plan.model_name}' version {plan.registry_version}: {answer.approver} said no"
            f"{f' ({answer.comment})' if answer.comment else ''}; the live version stays"
        )
    return f"{answer.approver}: {answer.comment}" if answer.comment else answer.approver


def write_question(plan: ReleasePlan, candidate: ProvenCandidate) -> str:
    """Return what a person is shown, as Markdown: the figures the answer rests on."""
    found, level = candidate.comparison, candidate.service_level
    rows = [
        ("MLflow version", f"{plan.registry_version}, live now: {plan.aliases_before.get('live', 'none')}"),
        ("Triton version", f"{plan.version}, served then: {', '.join(map(str, plan.serves))}"),
        ("proven on", candidate.address),
        ("golden samples", f"{found.samples}, top-1 agreement {found.top1_agreement:.1%}" if found else "none"),
        ("largest difference", f"{found.max_difference:.1e} of the outputs' scale" if found else "-"),
        ("latency", f"p50 {candidate.latency.p50_ms:.1f} ms, p99 {candidate.latency.p99_ms:.1f} ms"),
    ]
    if level is not None:
        beside = f", live {level.live.p99_ms:.1f} ms" if level.live else ""
        rows.append(("gate 3", f"p99 {level.candidate.p99_ms:.1f} ms{beside}"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"**Release {plan.model_name}?** Its candidate is proven and has no traffic.\n\n| | |\n|---|---|\n{table}"
