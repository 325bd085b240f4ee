# Batchyard itself in a container. It runs jobs as containers beside it, through the daemon whose socket it is given:
#
#   docker build --tag batchyard .
#   docker compose up
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir /src && rm -r /src

ENV BATCHYARD_DATA_DIR=/var/lib/batchyard
VOLUME /var/lib/batchyard

ENTRYPOINT ["batchyard"]
CMD ["up", "--engine", "docker"]
