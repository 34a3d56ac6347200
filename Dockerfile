# The kit with its tests, for any user id, installed where nobody can write.
#
#   docker build -t cdrl .
#   docker run --rm -u $(id -u) -v "$PWD/runs:/out" cdrl                      the main job, into runs/demo
#   docker run --rm -u $(id -u) -v "$PWD/runs:/out" --gpus all cdrl cdrl run --preset gpu --out /out/gpu
#   docker run --rm -it -u $(id -u) cdrl sh                                    the tests, in a copy:
#       mkdir /tmp/kit && tar -c -C /opt/cdrl --exclude=./.venv . | tar -x -C /tmp/kit
#       chmod -R u+w /tmp/kit && cd /tmp/kit && python -m pytest -n 2
#
# PyPI's torch brings CUDA. An index of torch's CPU builds makes a smaller image:
#   docker build --build-arg TORCH_INDEX=URL -t cdrl .
#
# `python scripts/try_container.py FOLDER` does these steps in a folder, without docker.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
ARG TORCH_INDEX=

RUN apt-get update && apt-get install --yes --no-install-recommends make

COPY . /opt/cdrl
WORKDIR /opt/cdrl
RUN PIP_NO_CACHE_DIR=1 PIP_EXTRA_INDEX_URL="$TORCH_INDEX" make .venv/installed
RUN chmod -R a+rX,a-w /opt/cdrl

ENV PATH=/opt/cdrl/.venv/bin:$PATH
ENV HOME=/tmp
ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /out
CMD ["cdrl", "run", "--preset", "cpu", "--out", "/out/demo"]
