FROM python:3.13.9-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# For the hot path, which is compiled here; the image that runs has no compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# Dependencies first: this layer changes only when the lock does.
COPY requirements/ requirements/
RUN python -m venv /opt/processor \
    && /opt/processor/bin/pip install --no-deps --require-hashes --only-binary=:all: -r requirements/runtime.txt \
    && pip install --no-deps --require-hashes --only-binary=:all: -r requirements/build.txt

COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY schemas/ schemas/
COPY processor/ processor/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/processor/bin/pip install --no-deps /wheels/*.whl \
    && /opt/processor/bin/pip check \
    && /opt/processor/bin/processor --version | grep '(compiled)'


FROM python:3.13.9-slim-bookworm
# The state is a cache of the status topic: it may be lost with the container.
RUN groupadd --gid 10001 processor \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin processor \
    && install -d -o processor -g processor -m 0700 /var/lib/processor
COPY --from=build /opt/processor /opt/processor

ENV PATH=/opt/processor/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 9108
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["processor", "health"]
ENTRYPOINT ["processor"]
CMD ["run"]
