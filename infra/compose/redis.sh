#!/bin/sh
# Starts Redis for one fleet: nothing is evicted, everything is logged, and there is one user, who sees the fleet's keys
# alone and may neither administer the server nor look at other keys. The file holds the password's hash.
set -eu
umask 077
hash=$(printf %s "${FOVEA_REDIS_PASSWORD:?}" | sha256sum)
acl="${FOVEA_REDIS_ACL:-/tmp/users.acl}"
prefix="${FOVEA_PREFIX:-fovea}"
cat >"${acl}" <<ACL
user default off resetkeys resetchannels -@all
user fovea on #${hash%% *} ~${prefix}:* &${prefix}:* +@all -@admin -@dangerous +info
ACL
exec redis-server --dir "${FOVEA_REDIS_DIR:-/data}" --appendonly yes --appendfsync everysec --maxmemory-policy noeviction \
  --aclfile "${acl}" "$@"
