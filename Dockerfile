# One image for the Ray head, the workers and the emulator: the same Ray and Python everywhere.
FROM python:3.11.9-slim-bookworm
ENV PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /fresco
COPY requirements.lock ./
RUN pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY agents ./agents
COPY emulator ./emulator
COPY models ./models
COPY scenarios ./scenarios
RUN pip install --no-cache-dir --no-deps . \
    && useradd --create-home --uid 1000 fresco \
    && mkdir /runs && chown fresco /runs
USER fresco
VOLUME /runs
CMD ["fresco", "--help"]
