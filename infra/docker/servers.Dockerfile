# Prefect, MLflow and an S3 server (SeaweedFS) for clusters on a laptop and for tests; a production cluster has its own.
# Everything they write is under /tmp. MLflow: `mlflow server --host 0.0.0.0`, with its SLIPWAY_HEALTH_URL on port 5000.
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin slipway
WORKDIR /opt/slipway
COPY pyproject.toml uv.lock infra/uv.txt ./
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=tmpfs,target=/tmp \
    pip install -qq --no-cache-dir --disable-pip-version-check --root-user-action ignore --target /tmp/uv --require-hashes -r uv.txt && \
    UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 \
    /tmp/uv/bin/uv sync --locked --no-default-groups --no-dev --no-install-project --group local
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_UI_STATIC_DIRECTORY=/tmp/prefect/ui \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem \
    DO_NOT_TRACK=1 \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    MLFLOW_DISABLE_TELEMETRY=true \
    SLIPWAY_HEALTH_URL=http://127.0.0.1:4200/api/health
COPY --chmod=755 infra/docker/make_buckets.py /usr/local/bin/make-buckets
WORKDIR /tmp
USER 1000:1000
EXPOSE 4200 5000 9000
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(os.environ['SLIPWAY_HEALTH_URL'], timeout=4)"]
CMD ["prefect", "server", "start", "--host", "0.0.0.0"]
