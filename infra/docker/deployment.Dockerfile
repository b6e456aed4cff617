# Runs the workers, the release, rollback and reconciliation flows, the service that receives events, and the set-up of
# a cluster, which imports every flow.
# 640 MB on its base image, 159 MB of which is bytecode, since nothing can be compiled on a read-only file system, and
# 100 MB git.
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE}
# for deploy-by-git
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends git && \
    apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin slipway
WORKDIR /opt/slipway
COPY pyproject.toml uv.lock infra/uv.txt ./
# What only MLflow's server and its other model flavours need is left out: no flow of this image imports it.
# tests/infra/test_images.py runs these imports without it.
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=tmpfs,target=/tmp \
    pip install -qq --no-cache-dir --disable-pip-version-check --root-user-action ignore --target /tmp/uv --require-hashes -r uv.txt && \
    UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 \
    /tmp/uv/bin/uv sync --locked --no-default-groups --no-dev --no-install-project \
    --no-install-package mlflow \
    --no-install-package blinker \
    --no-install-package contourpy \
    --no-install-package cycler \
    --no-install-package flask \
    --no-install-package flask-cors \
    --no-install-package fonttools \
    --no-install-package graphene \
    --no-install-package graphql-core \
    --no-install-package graphql-relay \
    --no-install-package gunicorn \
    --no-install-package huey \
    --no-install-package itsdangerous \
    --no-install-package joblib \
    --no-install-package kiwisolver \
    --no-install-package matplotlib \
    --no-install-package narwhals \
    --no-install-package pandas \
    --no-install-package pillow \
    --no-install-package prettytable \
    --no-install-package pyarrow \
    --no-install-package pyparsing \
    --no-install-package scikit-learn \
    --no-install-package scipy \
    --no-install-package skops \
    --no-install-package threadpoolctl \
    --no-install-package werkzeug
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
    SLIPWAY_HEALTH_URL=http://127.0.0.1:8080/health
USER 1000:1000
EXPOSE 8080 8900
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(os.environ['SLIPWAY_HEALTH_URL'], timeout=4)"]
CMD ["prefect", "worker", "start", "--pool", "slipway", "--type", "kubernetes", "--with-healthcheck"]
