# The serving image: no torch, no training packages. DEVICE=gpu needs the NVIDIA container toolkit at run time.
#   docker build -f docker/serve.Dockerfile -t tidemill-serve .
#   docker run --rm --shm-size=512m -p 8000:8000 -v "$PWD/registry:/srv/registry:ro" -v "$PWD/keys.json:/srv/keys.json:ro" \
#     -v tidemill-ledger:/home/tidemill/ledger tidemill-serve --model flights keys=/srv/keys.json
# On a GPU: build with `--build-arg DEVICE=gpu`, run with `--gpus all` and the setting `provider=cuda`.
FROM python:3.12-slim
ARG DEVICE=cpu

# TensorRT has no setting of ONNX Runtime's against TF32, whose answers differ from the golden rows.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0 NVIDIA_TF32_OVERRIDE=0
WORKDIR /opt/tidemill
COPY pyproject.toml constraints.txt README.md ./
COPY src src
RUN pip install -c constraints.txt ".[signing,${DEVICE}]"

RUN useradd --create-home tidemill
USER tidemill
WORKDIR /home/tidemill
RUN mkdir ledger
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["tidemill", "serve", "--registry", "/srv/registry", "--host", "0.0.0.0"]
