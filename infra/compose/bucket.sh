#!/bin/sh
# Makes the fleet's bucket where it is not there yet.
set -eu
bucket="${FOVEA_BUCKET:-fovea}"
shell() {
  echo "$1" | weed shell -master=store:9333
}
buckets=$(shell s3.bucket.list)
case "${buckets}" in
  *"${bucket}"*) ;;
  *) shell "s3.bucket.create -name ${bucket}" ;;
esac
