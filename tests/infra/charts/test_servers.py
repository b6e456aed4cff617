"""The chart servers: Prefect, MLflow and S3 for a laptop's cluster."""

from tests.infra.charts.rendering import containers, environment, pods, rendered


def test_have_short_addresses() -> None:
    services = [item for item in rendered("servers") if item["kind"] == "Service"]

    found = {item["metadata"]["name"]: item["spec"]["ports"][0]["port"] for item in services}
    assert found == {"prefect": 4200, "mlflow": 5000, "s3": 9000}


def test_let_mlflow_answer_to_its_names_and_deliver_inside_the_cluster() -> None:
    container = next(item for item in containers(rendered("servers")) if item["name"] == "mlflow")
    found = environment(container)

    hosts = found["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow:*", "mlflow.ours:*", "mlflow.ours.svc.cluster.local:*", "localhost:*"} <= set(hosts)
    assert found["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] == "http,https"
    assert found["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"
    assert found["MLFLOW_S3_ENDPOINT_URL"] == "http://s3.ours.svc.cluster.local:9000"


def test_keep_their_data_where_they_are_told_to() -> None:
    kept, lost = rendered("servers", "values-laptop.yaml"), rendered("servers")

    claims = {item["metadata"]["name"] for item in kept if item["kind"] == "PersistentVolumeClaim"}
    used = [
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(kept)
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == set(used) == {"prefect", "mlflow", "s3"}
    assert not [item for item in lost if item["kind"] == "PersistentVolumeClaim"]
