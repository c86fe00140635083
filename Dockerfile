FROM rust:1-bookworm AS build
# zlib-ng is built with it.
# The suite is fixed, its security fixes are wanted: no versions are pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# Members and targets of the workspace, which cargo wants to see although it builds none of them here.
COPY bench bench
COPY benches benches
COPY conf conf
COPY crates crates
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --no-default-features --bin remuda \
    && cp target/release/remuda /usr/local/bin/remuda

FROM debian:bookworm-slim
# The authorities that https servers are checked against.
# The suite is fixed, its security fixes are wanted: no versions are pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/remuda /usr/local/bin/remuda
# For usage.path; a volume that is mounted here for the first time takes over its owner.
RUN install --directory --mode=700 --owner=65532 --group=65532 /var/lib/remuda
USER 65532:65532
# Clients; and metrics and health, which only this container reaches unless server.admin says otherwise.
EXPOSE 11434 11435
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["remuda", "health"]
ENTRYPOINT ["remuda"]
CMD ["serve"]
