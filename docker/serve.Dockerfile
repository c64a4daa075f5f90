# The serving image: no torch, no training packages.
#   docker build -f docker/serve.Dockerfile -t tidemill-serve .
#   docker run --rm --shm-size=512m -p 8000:8000 -v "$PWD/registry:/srv/registry:ro" tidemill-serve --model flights
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /opt/tidemill
COPY pyproject.toml constraints.txt README.md ./
COPY src src
RUN pip install -c constraints.txt ".[cpu]"

RUN useradd --create-home tidemill
USER tidemill
WORKDIR /home/tidemill
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["tidemill", "serve", "--registry", "/srv/registry", "--host", "0.0.0.0"]
