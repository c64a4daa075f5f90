# The training image. DEVICE=gpu needs the NVIDIA container toolkit at run time.
#   docker build -f docker/train.Dockerfile -t tidemill-train .
#   docker run --rm --shm-size=1g -v "$PWD/registry:/srv/tidemill/registry" -v "$PWD/outputs:/srv/tidemill/outputs" \
#     tidemill-train +experiment=flights
FROM python:3.12-slim
ARG DEVICE=cpu

# LightGBM needs OpenMP at run time.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /srv/tidemill
COPY pyproject.toml constraints.txt README.md ./
COPY src src
RUN pip install -c constraints.txt ".[train,sql,bulk,signing,demo,${DEVICE}]"
COPY train.py ./
COPY conf conf

RUN useradd --create-home tidemill && mkdir -p registry outputs multirun && chown -R tidemill /srv/tidemill
USER tidemill
ENTRYPOINT ["python", "train.py"]
