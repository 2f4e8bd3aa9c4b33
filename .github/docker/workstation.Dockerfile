# The workstation half: trains, converts, measures and reports. From a clone:
#
#     docker build --file .github/docker/workstation.Dockerfile --tag edgeseq .
#     docker run --rm --volume "$PWD:/work" edgeseq demo
FROM debian:bookworm-slim

# gcc builds the native runner at its first use.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /src/
COPY edgeseq /src/edgeseq
COPY converters /src/converters
COPY benchmarks/edgeseq_benchmarks /src/benchmarks/edgeseq_benchmarks
COPY docs/schemas /src/docs/schemas
RUN python3 -m venv /opt/edgeseq \
    && /opt/edgeseq/bin/pip install --no-cache-dir '/src[convert,report,search,hub]' \
    && rm -rf /src \
    && install --directory --owner=1000 --group=1000 /work

# The mounted folder also keeps the caches. Another account: docker run --user "$(id -u):$(id -g)"
ENV PATH=/opt/edgeseq/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV HOME=/work
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["edgeseq"]
CMD ["--help"]
