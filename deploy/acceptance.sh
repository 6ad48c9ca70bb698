#!/usr/bin/env bash
# Try the whole compose file: three replicas behind HAProxy, people who talk meanwhile, scaling out and in, a rollout.
# Needs Docker with Compose, curl, and the development environment (make deps). Leaves nothing behind.
#
#   deploy/acceptance.sh
#
# Environment: PORT (18080), COMPOSE_PROJECT_NAME (chatapp-acceptance), PYTHON (.venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."

export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-chatapp-acceptance} COMPOSE_FILE=docker-compose.yml
export COMPOSE_DISABLE_ENV_FILE=1 COMPOSE_PROGRESS=quiet
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

metric() { # container, name
  docker exec "$1" python -c 'import sys, urllib.request
text = urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=5).read().decode()
print(next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith(sys.argv[1] + " ")))' "$2"
}

every_replica_works() {
  local replica
  for replica in $(docker compose ps -q api); do
    (($(metric "$replica" chatapp_connections) > 0)) || return 1
    (($(metric "$replica" chatapp_messages_stored_total) > 0)) || return 1
    (($(metric "$replica" chatapp_events_delivered_total) > 0)) || return 1
  done
}

scale() { # replicas
  docker compose up -d --no-recreate --no-build --scale "api=$1"
  wait_for 60 "$1 ready replicas" replicas_are "$1"
}

say 'starting with 3 replicas'
docker compose up -d --build --scale api=3
wait_for 60 '3 ready replicas' replicas_are 3
wait_for 10 'an answer' status_is 200 /health

say 'what is for operators alone'
for path in /metrics //metrics /%6detrics /api/v1/metrics; do
  status_is 404 "$path" || fail "$path can be reached from outside"
done

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

say 'no token in any log'
if docker compose logs 2>/dev/null | grep -qE 'v4\.local\.[A-Za-z0-9_-]{8}'; then fail 'a token was logged'; fi

say 'all is well'
