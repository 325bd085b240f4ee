# Batchyard itself in a container. It runs jobs as containers beside it, through the daemon whose socket it is given:
#
#   docker build --tag batchyard .
#   docker compose up
#
# BASE is any image with Python 3.11 or newer, pip, mkdir and rm.
ARG BASE=python:3.12-slim
FROM ${BASE}

COPY . /src
RUN pip install --no-cache-dir /src && rm -r /src && mkdir -m 700 /var/lib/batchyard

ENV BATCHYARD_DATA_DIR=/var/lib/batchyard
VOLUME /var/lib/batchyard

ENTRYPOINT ["batchyard"]
CMD ["up", "--engine", "docker"]
