# The image of a replica. Needs no BuildKit:
#   docker build -t chatapp .
# A mirror of the package index is given with --build-arg PIP_INDEX_URL=…; it stays in the first stage.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS builder
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# What changes seldom comes first. --only-binary: nothing is compiled, so no compiler is needed here either.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/chatapp
COPY requirements/prod.txt requirements/build.txt requirements/
RUN pip --python /opt/chatapp/bin/python install --no-compile --only-binary :all: --no-deps --require-hashes -r requirements/prod.txt
RUN /opt/build/bin/pip install --only-binary :all: --no-deps --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md ./
COPY migrations migrations
COPY src src
# Byte code is made here once, since the container's file system is read-only; "unchecked" spares a stat for each module.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && pip --python /opt/chatapp/bin/python install --no-compile --no-deps --no-index dist/*.whl \
 && /opt/chatapp/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/chatapp/lib

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chatapp" \
      org.opencontainers.image.description="A chat backend that scales by adding replicas" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 chatapp \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin chatapp \
 # Nothing in here is to change to another user, least of all to root.
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=builder /opt/chatapp /opt/chatapp
ENV PATH=/opt/chatapp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A config.yaml may be mounted here; without one the environment says everything.
WORKDIR /etc/chatapp
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=40s --retries=3 CMD ["chatapp", "health"]
ENTRYPOINT ["chatapp"]
CMD ["server", "start"]
