# syntax=docker/dockerfile:1
# The whole of Fovea on a CPU: coordinator, workers and command line in one image, the command says which. Built from the
# repository's root: docker build -f infra/containers/cpu.Dockerfile -t fovea:cpu .

ARG NODE=24.21.0

FROM node:${NODE}-bookworm-slim AS build
WORKDIR /app
# The manifests alone first: dependencies are installed anew only where they changed.
COPY package.json package-lock.json .npmrc ./
COPY --parents apps/*/package.json packages/*/package.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts
COPY turbo.json LICENSE ./
COPY infra ./infra
COPY packages ./packages
COPY apps ./apps
RUN npm run build && node infra/containers/slim.mjs

FROM node:${NODE}-bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/fovea --create-home fovea
WORKDIR /app
COPY --from=build /app ./
ENV NODE_ENV=production \
    NODE_OPTIONS=--conditions=dist \
    FOVEA_HOME=/var/lib/fovea \
    FOVEA_CACHE=/var/lib/fovea/cache
USER 10001:10001
VOLUME /var/lib/fovea
EXPOSE 7070
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 \
  CMD ["node", "infra/containers/healthcheck.mjs"]
ENTRYPOINT ["node", "apps/cli/dist/start.js"]
CMD ["doctor"]
