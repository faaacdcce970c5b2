# Two stages: wheels are built once, the image that runs holds no compiler and no package client state.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY relayer ./relayer
RUN python -m venv /opt/relayer \
 && /opt/relayer/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && /opt/relayer/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/relayer /opt/relayer
ENV PATH=/opt/relayer/bin:$PATH PYTHONUNBUFFERED=1
RUN mkdir -p /data && chown 10001:10001 /data
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["relayer"]
CMD ["--config", "/etc/relayer/relayer.yaml", "run"]
