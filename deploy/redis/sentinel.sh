#!/bin/sh
# A Sentinel. Its file is its memory, and outlasts the container. The first master is at the address MASTER.
set -eu
config=/data/sentinel.conf
if [ ! -s "$config" ]; then
  cat >"$config.new" <<CONF
port 26379
dir /data
protected-mode no
sentinel monitor mymaster $MASTER 6379 2
sentinel down-after-milliseconds mymaster 5000
sentinel failover-timeout mymaster 20000
sentinel parallel-syncs mymaster 2
CONF
  mv "$config.new" "$config"
fi
exec redis-server "$config" --sentinel
