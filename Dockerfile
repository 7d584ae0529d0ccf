# One image for the Ray head, the workers and the emulator: the same Ray and Python everywhere.
FROM python:3.11.9-slim-bookworm AS package
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY agents ./agents
COPY emulator ./emulator
COPY models ./models
COPY scenarios ./scenarios
RUN pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /package .

FROM python:3.11.9-slim-bookworm
ENV PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
# Where torch comes from: deploy/install.sh has the default.
ARG TORCH_INDEX
COPY requirements.lock deploy/install.sh /install/
RUN PIP_NO_CACHE_DIR=1 /install/install.sh python /install/requirements.lock
COPY --from=package /package /install/
COPY deploy/emulator.sh /usr/local/bin/
# No sources here, so that nothing shadows the package; `runs` is made for the volume to take its owner.
WORKDIR /fresco
RUN pip install --quiet --no-cache-dir --no-deps /install/*.whl \
    && useradd --create-home --uid 1000 fresco \
    && mkdir runs && chown -R fresco .
USER fresco
CMD ["fresco", "--help"]
