# docker build -t uotm_keras . && docker run --rm -v "$PWD/runs:/home/uotm/app/runs" uotm_keras
FROM python:3.11-slim-bookworm
RUN useradd --create-home uotm
USER uotm
WORKDIR /home/uotm/app
COPY --chown=uotm . .
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir .
ENV PATH="/home/uotm/app/.venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL=3
CMD ["uotm", "train", "--config=digits"]
