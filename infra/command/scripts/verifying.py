"""Step 7 as a script: every replica is asked for made-up inputs, and for what proved the version."""

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number as Limits

from blocks.errors import VerificationFailed
from blocks.repository import ModelRepository
from infra.command.screen import console
from infra.command.scripts.files import VERIFICATION_FILE, write_json
from infra.command.scripts.options import Bucket, EndpointUrl, ExpectedShape, ModelName, OutputDir, TritonUrl
from infra.command.scripts.places import choose_repository, find_fleet, find_repository
from slipway.releases.pointer import read_committed
from slipway.releases.spot_check import CheckedReplica, check_served


def verify_deployment(
    *,
    model_name: ModelName,
    triton_url: TritonUrl = None,
    expected_input_shape: ExpectedShape = None,
    expected_output_shape: ExpectedShape = None,
    num_test_requests: Annotated[
        int, Parameter(validator=Limits(gte=1, lte=10_000), help="Made-up inputs that each replica is asked for.")
    ] = 3,
    bucket: Bucket = None,
    s3_endpoint_url: EndpointUrl = None,
    output_dir: OutputDir,
) -> None:
    """Ask every replica, and write what came of it; the exit code says whether all answers were right.

    Where the model repository is named, answers are compared with those that proved the version.
    """
    fleet = find_fleet(triton_url)
    repository = None
    if choose_repository(bucket, output_dir, model_name) is not None:
        repository = find_repository(bucket, s3_endpoint_url, output_dir, model_name)
    report: dict[str, Any] = {
        "model_name": model_name,
        "triton_url": triton_url or ",".join(fleet.list_addresses()),
        "input_shape": expected_input_shape,
        "output_shape": expected_output_shape,
        "num_test_requests": num_test_requests,
    }
    try:
        checked = check_served(
            model_name,
            fleet,
            repository,
            input_shape=expected_input_shape,
            output_shape=expected_output_shape,
            requests=num_test_requests,
        )
    except VerificationFailed as error:
        failed = [{"success": False, "error": str(error)}]
        write_json(output_dir, VERIFICATION_FILE, report | _summarise(failed) | {"all_successful": False})
        raise VerificationFailed(f"{error}; {_say_way_back(model_name, repository)}") from error
    results = [result for replica in checked for result in _list_results(replica)]
    compared = {replica.address: _describe_comparison(replica) for replica in checked}
    write_json(output_dir, VERIFICATION_FILE, report | _summarise(results) | {"compared": compared})
    fastest = min(result["latency_ms"] for result in results)
    console.print(
        f"{model_name}: version {checked[0].version} answers rightly on {len(checked)} replicas, {len(results)} "
        f"requests, fastest {fastest:g} ms; {'; '.join(dict.fromkeys(compared.values()))}"
    )


def _summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    successful = sum(result["success"] for result in results)
    return {
        "successful_requests": successful,
        "all_successful": successful == len(results),
        "test_results": results,
    }


def _list_results(replica: CheckedReplica) -> list[dict[str, Any]]:
    return [
        {"success": True, "latency_ms": round(elapsed, 2), "replica": replica.address, "version": replica.version}
        for elapsed in replica.elapsed_ms
    ]


def _describe_comparison(replica: CheckedReplica) -> str:
    found = replica.comparison
    if found is None:
        return "compared with nothing, since nothing recorded was named: --bucket names the model repository"
    return f"largest difference {found.max_difference:.1e} from what proved the version"


def _say_way_back(model_name: str, repository: ModelRepository | None) -> str:
    """Return what to do about a wrong answer."""
    others = sorted(read_committed(repository, model_name), reverse=True)[1:2] if repository is not None else []
    target = str(others[0]) if others else "N, a version that was released before"
    return (
        f"to go back, without a reload where it is still served: reload-triton --expected-version={target}, or, with a "
        f"Prefect server, slipway rollback {model_name}; a reload-triton that was broken off is settled by running it "
        "again, or by slipway step settle-release"
    )
