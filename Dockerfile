# loraloom on a CPU: no CUDA, a compiler for loom's kernels, a user who is not root.
#
#   docker build --tag loraloom --build-arg TORCH_INDEX=ADDRESS .
#   docker run --rm --volume "$PWD:/work" --volume loraloom-cache:/cache loraloom search demo --out runs/demo
#
# ADDRESS is that of PyTorch's CPU builds, which "Get started" on pytorch.org shows for Linux, Pip and CPU: what pip
# installs by itself is made for CUDA, and some GB larger. Also: --build-arg EXTRAS=demo,report,mlflow, and
# --target serve for a server. docs/install.md says more.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim AS installed
ARG TORCH_INDEX
ARG EXTRAS=demo,report
# Versions of Debian's packages are those of the base image's release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 loraloom \
    && mkdir /cache /work \
    && chown loraloom:loraloom /cache /work
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX:?give --build-arg TORCH_INDEX=..., see the top of the Dockerfile}" \
        "torch>=2.12,<2.16" \
    && pip install --no-cache-dir "$(echo /wheel/*.whl)[$EXTRAS]"
ENV LORALOOM_CACHE=/cache/loraloom \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib \
    PYTHONUNBUFFERED=1
USER 1000
# Compiles the kernels for the processor that builds; for another one they are compiled on first use, into the volume.
# Whoever the container runs as (--user) may write there.
RUN loraloom doctor \
    && chmod -R a+rwX /cache \
    && chmod 1777 /cache
VOLUME /cache
WORKDIR /work
ENTRYPOINT ["loraloom"]

# docker run --publish 127.0.0.1:8000:8000 --volume "$PWD:/work:ro" loraloom-serve runs/demo/best
FROM installed AS serve
USER 0
RUN pip install --no-cache-dir "$(echo /wheel/*.whl)[serve]"
USER 1000
EXPOSE 8000
HEALTHCHECK --start-period=2m \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["loraloom", "serve", "--host", "0.0.0.0"]

FROM installed AS loraloom
CMD ["--help"]
