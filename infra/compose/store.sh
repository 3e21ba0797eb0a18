#!/bin/sh
# Starts SeaweedFS as one S3 server with one identity, which may use the fleet's bucket alone.
set -eu
umask 077
bucket="${FOVEA_BUCKET:-fovea}"
cat >/tmp/s3.json <<JSON
{"identities": [{
  "name": "fovea",
  "credentials": [{"accessKey": "${AWS_ACCESS_KEY_ID:?}", "secretKey": "${AWS_SECRET_ACCESS_KEY:?}"}],
  "actions": ["Read:${bucket}", "Write:${bucket}", "List:${bucket}", "Tagging:${bucket}"]
}]}
JSON
exec weed server -dir=/data -ip=store -ip.bind=0.0.0.0 -volume.max=0 -master.volumeSizeLimitMB=1024 \
  -s3 -s3.config=/tmp/s3.json "$@"
