#!/usr/bin/env bash
# Try the whole compose file: three replicas behind HAProxy, people who talk meanwhile, scaling out and in, a rollout,
# the loss of Redis or of a master. Needs Docker with Compose, curl, and the development environment (make deps). Leaves
# nothing behind.
#
#   deploy/acceptance.sh [single | sentinel | cluster]
#
# Environment: PORT (18080), COMPOSE_PROJECT_NAME (chatapp-acceptance), PYTHON (.venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-single}
[[ $mode =~ ^(single|sentinel|cluster)$ ]] || { printf 'what is %s? Give single, sentinel or cluster\n' "$mode" >&2; exit 2; }

export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-chatapp-acceptance} COMPOSE_FILE=docker-compose.yml
export COMPOSE_DISABLE_ENV_FILE=1 COMPOSE_PROGRESS=quiet
set -a
# shellcheck source=/dev/null
source "deploy/redis/$mode.env"
set +a
export PORT=${PORT:-18080} CHATAPP_IMAGE=$COMPOSE_PROJECT_NAME:try
PASETO_KEY=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
POSTGRES_PASSWORD=$(od -An -v -tx1 -N24 /dev/urandom | tr -d ' \n')
export PASETO_KEY POSTGRES_PASSWORD
python=${PYTHON:-.venv/bin/python}
base=http://127.0.0.1:$PORT
work=$(mktemp -d)
load_pid=

# shellcheck source=deploy/runtime.sh
source deploy/runtime.sh

say() { printf '\n%s  == %s\n' "$(date +%T)" "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

clean_up() {
  local status=$?
  trap - EXIT
  if [[ -n $load_pid ]]; then kill -KILL "$load_pid" 2>/dev/null || true; fi
  if ((status)); then docker compose ps -a >&2; docker compose logs --tail 15 api haproxy migrate >&2; fi
  docker compose down -v --remove-orphans --timeout 20 >/dev/null 2>&1 || true
  docker image rm "$CHATAPP_IMAGE" >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

wait_for() { # seconds, what, command …
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "waited in vain for $what"
    sleep 0.5
  done
}

replicas_are() { [[ $(ready_addresses | sort -u | grep -c .) -eq $1 ]]; }

status_is() { [[ $(curl -s --path-as-is -o /dev/null -w '%{http_code}' "$base$2") -eq $1 ]]; }

start_load() { # options …
  rm -f "$work/started"
  "$python" -m tests.deploy.load --base "$base" --started "$work/started" "$@" >"$work/report.json" &
  load_pid=$!
  wait_for 60 'everybody to be connected' test -e "$work/started"
}

stop_load() {
  local status=0
  kill -TERM "$load_pid"
  wait "$load_pid" || status=$?
  load_pid=
  cat "$work/report.json"
  ((status == 0)) || fail 'see the report above'
}

metric() { # container, name: the sum over its labels
  docker exec "$1" python -c 'import sys, urllib.request
text = urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=5).read().decode()
print(int(sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith((sys.argv[1] + " ", sys.argv[1] + "{")))))' "$2"
}

every_replica_works() {
  local replica
  for replica in $(docker compose ps -q api); do
    (($(metric "$replica" chatapp_connections) > 0)) || return 1
    (($(metric "$replica" chatapp_messages_stored_total) > 0)) || return 1
    (($(metric "$replica" chatapp_deliveries_total) > 0)) || return 1
  done
}

scale() { # replicas
  docker compose up -d --no-recreate --no-build --scale "api=$1"
  wait_for 60 "$1 ready replicas" replicas_are "$1"
}

# The service that the talk goes through. In a cluster each chat has a topic, at one of the masters.
redis_master() {
  local node
  case $mode in
    single) echo redis ;;
    sentinel)
      for node in redis-server-{1..3}; do
        if [[ $(redis_of "$node" role | head -n 1) == master ]]; then echo "$node"; fi
      done
      ;;
    cluster)
      for node in redis-cluster-{1..6}; do
        if [[ -n $(redis_of "$node" pubsub shardchannels 'chatapp:chat:*') ]]; then echo "$node"; fi
      done
      ;;
  esac
}

redis_of() { docker compose exec -T "$1" redis-cli "${@:2}" </dev/null 2>/dev/null || true; }

another_is_master() {
  local now
  now=$(redis_master) && [[ -n $now && $now != "$1" ]]
}

redis_is_healthy() { ! docker compose ps --format '{{.Service}} {{.Health}}' | grep '^redis' | grep -qv ' healthy$'; }

# Whose address a replica believes: what HAProxy saw, whatever the client claims.
address_of_client() { # a name for the user
  docker compose exec -T --index 1 api python - "$1" <<'PYTHON'
import json, socket, sys, urllib.request

def call(method, path, body=None, **headers):
    headers |= {"Content-Type": "application/json", "X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://haproxy:8080/api/v1{path}", data, headers, method=method)
    return json.load(urllib.request.urlopen(request, timeout=10))

with socket.create_connection(("haproxy", 8080), timeout=10) as connection:
    mine = connection.getsockname()[0]
account = call("POST", "/auth/register", {"username": sys.argv[1], "password": "a password for nobody"})
(session,) = call("GET", "/auth/sessions", Authorization=f"Bearer {account['token']}")
print(session["address"], mine)
PYTHON
}

say "starting with 3 replicas, and Redis in mode $mode"
docker compose up -d --build --scale api=3
wait_for 60 '3 ready replicas' replicas_are 3
wait_for 10 'an answer' status_is 200 /health

say 'what is for operators alone'
for path in /metrics //metrics /%6detrics /api/v1/metrics; do
  status_is 404 "$path" || fail "$path can be reached from outside"
done

say 'a client is who it is, and not who it says'
read -r believed real < <(address_of_client somebody)
[[ -n $real && $believed == "$real" ]] || fail "a client at $real was taken for $believed"

say 'talking over all of them, while they become 5, and then 2'
start_load --none-refused
wait_for 30 'every replica to store and deliver' every_replica_works
scale 5
sleep 3
scale 2
sleep 3
stop_load

say 'talking while each is replaced'
start_load --none-refused
before=$(docker compose ps -q api | sort)
deploy/rollout.sh
after=$(docker compose ps -q api | sort)
[[ -z $(comm -12 <(printf '%s\n' "$before") <(printf '%s\n' "$after")) ]] || fail 'a replica was not replaced'
[[ $(wc -l <<<"$after") -eq 2 ]] || fail 'there are not as many replicas as before'
stop_load

say 'talking while Redis, or a master of it, is killed and comes back'
start_load --none-refused
victim=$(redis_master)
[[ -n $victim ]] || fail 'no Redis that the talk goes through'
docker compose kill "$victim"
echo "$victim is dead"
if [[ $mode == single ]]; then sleep 5; else wait_for 60 'another master' another_is_master "$victim"; fi
sleep 2
docker compose start "$victim"
wait_for 60 'every Redis to be healthy' redis_is_healthy
sleep 2
stop_load

say 'no token in any log'
if docker compose logs 2>/dev/null | grep -qE 'v4\.local\.[A-Za-z0-9_-]{8}'; then fail 'a token was logged'; fi

say 'all is well'
