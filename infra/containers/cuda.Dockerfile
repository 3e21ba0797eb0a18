# syntax=docker/dockerfile:1
# Fovea on NVIDIA GPUs: as cpu.Dockerfile, on CUDA 12 with cuDNN 9 and onnxruntime's CUDA provider. The host needs NVIDIA's
# driver and container toolkit. docker build -f infra/containers/cuda.Dockerfile -t fovea:cuda .

ARG NODE=24.21.0
ARG CUDA=12.8.1

FROM node:${NODE}-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY --parents apps/*/package.json packages/*/package.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts
COPY turbo.json LICENSE ./
COPY infra ./infra
COPY packages ./packages
COPY apps ./apps
# The package's own script fetches the provider's libraries of its own version; `fovea doctor` looks for them where it
# puts them. The one for TensorRT is of no use here and is large.
RUN npm run build \
  && node --conditions=dist apps/cli/dist/start.js doctor --install-cuda \
  && node infra/containers/slim.mjs

FROM nvidia/cuda:${CUDA}-cudnn-runtime-ubuntu24.04
COPY --from=build /usr/local/bin/node /usr/local/bin/node
RUN useradd --system --uid 10001 --home-dir /var/lib/fovea --create-home fovea
WORKDIR /app
COPY --from=build /app ./
ENV NODE_ENV=production \
    NODE_OPTIONS=--conditions=dist \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    FOVEA_HOME=/var/lib/fovea \
    FOVEA_CACHE=/var/lib/fovea/cache
USER 10001:10001
VOLUME /var/lib/fovea
EXPOSE 7070
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 \
  CMD ["node", "infra/containers/healthcheck.mjs"]
ENTRYPOINT ["node", "apps/cli/dist/start.js"]
CMD ["doctor"]
