#!/bin/sh
# A node of the cluster. It keeps who it is and whom it knows in /data, which outlasts the container.
set -eu
exec redis-server /opt/redis/redis.conf --dir /data --cluster-enabled yes --cluster-config-file nodes.conf \
  --cluster-node-timeout 5000 --cluster-require-full-coverage no --cluster-replica-validity-factor 0
