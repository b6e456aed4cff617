# A real Triton Inference Server for tests, on the CPU, from the wheel and the lock the local stack has.
# Its `tritonserver` takes the options of the one in NVIDIA's image, which production uses instead: this wheel's
# version lies in the ranges of known vulnerabilities.
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin slipway
# The Python backend's stub links libpython, which the public image brings and Debian's own Python does not.
RUN ldconfig -p | grep -q libpython3.11.so.1.0 || { \
    apt-get update -qq && apt-get install -qq -y --no-install-recommends libpython3.11 && rm -rf /var/lib/apt/lists/*; }
WORKDIR /opt/slipway
COPY infra/uv.txt ./
COPY infra/local/triton/serve.py infra/local/triton/serve.py.lock infra/local/triton/
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=tmpfs,target=/tmp \
    pip install -qq --no-cache-dir --disable-pip-version-check --root-user-action ignore --target /tmp/uv --require-hashes -r uv.txt && \
    python -m venv --without-pip /opt/venv && \
    VIRTUAL_ENV=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 \
    /tmp/uv/bin/uv sync --locked --active --script infra/local/triton/serve.py
COPY infra/local/triton/backends infra/local/triton/backends
COPY --chmod=755 infra/docker/tritonserver.py /usr/local/bin/tritonserver
RUN /opt/venv/bin/python infra/local/triton/serve.py --assemble /opt/tritonserver/backends && \
    /opt/venv/bin/python -m compileall -q /opt/tritonserver/backends infra
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/slipway \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    SLIPWAY_HEALTH_URL=http://127.0.0.1:8000/v2/health/live
WORKDIR /tmp
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(os.environ['SLIPWAY_HEALTH_URL'], timeout=4)"]
CMD ["tritonserver", "--model-repository=/models"]
