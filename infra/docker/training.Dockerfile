# Runs the training flows.
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin slipway
WORKDIR /opt/slipway
COPY pyproject.toml uv.lock infra/uv.txt ./
# Installed where it stays: copying these gigabytes between stages would double the time and the builder's disk.
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=tmpfs,target=/tmp \
    pip install -qq --no-cache-dir --disable-pip-version-check --root-user-action ignore --target /tmp/uv --require-hashes -r uv.txt && \
    UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 \
    /tmp/uv/bin/uv sync --locked --no-default-groups --no-dev --no-install-project --group training
COPY prefect.yaml ./
COPY flows flows
COPY tasks tasks
COPY slipway slipway
COPY blocks blocks
COPY infra infra
RUN python -m compileall -q flows tasks slipway blocks infra
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/slipway \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    PREFECT_HOME=/tmp/prefect \
    DO_NOT_TRACK=1 \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false
USER 1000:1000
CMD ["prefect", "version"]
