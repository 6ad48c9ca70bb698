#!/bin/sh
# A Redis behind Sentinels. Who is the master is theirs to say: they write it into the server's own file, which outlasts
# the container. Only a server that has none yet follows the address MASTER, unless that is its own.
set -eu
config=/data/redis.conf
if [ ! -s "$config" ]; then
  if hostname -i | grep -qwF "$MASTER"; then echo '# a master'; else echo "replicaof $MASTER 6379"; fi >"$config.new"
  mv "$config.new" "$config"
fi
exec redis-server "$config" --include /opt/redis/redis.conf --dir /data --repl-diskless-sync-delay 0
