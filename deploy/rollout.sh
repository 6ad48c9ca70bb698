#!/usr/bin/env bash
# Replace the replicas one by one, by ones of the present image and settings, without refusing a request.
#
#   deploy/rollout.sh [--build | --pull]
#
# For each old replica: start a new one beside it, wait until HAProxy finds it ready, let HAProxy send nothing new to
# the old one, and stop it; it sends its sockets elsewhere. If a new one does not become ready, it is removed again and
# nothing else is touched. Migrations run first: they must suit the old code too (expand now, contract a release later).
#
# Environment: COMPOSE_PROJECT_NAME and the like, as for docker compose; READY_TIMEOUT_S (90), STOP_TIMEOUT_S (30).
set -euo pipefail
cd "$(dirname "$0")/.."
ready_timeout_s=${READY_TIMEOUT_S:-90}
stop_timeout_s=${STOP_TIMEOUT_S:-30}

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# shellcheck source=deploy/runtime.sh
source deploy/runtime.sh

replicas() { docker compose ps -q api; }

# The addresses of a container, one a line; HAProxy knows one of them.
addresses() { docker inspect --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}' "$1" | grep .; }

is_up() { # container
  local mine
  mine=$(addresses "$1") || return 1
  ready_addresses | grep -qxF "$mine" && docker exec "$1" chatapp health >/dev/null 2>&1
}

wait_until_up() { # container
  local deadline=$((SECONDS + ready_timeout_s))
  until is_up "$1"; do
    [[ $(docker inspect --format '{{.State.Running}} {{.State.Restarting}}' "$1") == 'true false' ]] || return 1
    ((SECONDS < deadline)) || return 1
    sleep 1
  done
}

# The slots, as backend/server, that send to one of these addresses.
slots_of() { slots | awk -v mine="$1" 'BEGIN {split(mine, list); for (i in list) wanted[list[i]]} $3 in wanted {print $1 "/" $2}'; }

# What is said about a slot must not outlast the replica that has it, for it is given to another one later.
drained=()
reopen() {
  local slot
  for slot in ${drained[@]+"${drained[@]}"}; do haproxy "set server $slot state ready" >/dev/null || true; done
  drained=()
}
trap reopen EXIT

retire() { # container
  local slot mine deadline=$((SECONDS + stop_timeout_s + 15))
  mine=$(addresses "$1")
  for slot in $(slots_of "$mine"); do
    drained+=("$slot")
    haproxy "set server $slot state drain" >/dev/null
  done
  docker stop --time "$stop_timeout_s" "$1" >/dev/null
  docker rm "$1" >/dev/null
  until [[ -z $(slots_of "$mine") ]] || ((SECONDS >= deadline)); do sleep 0.5; done
  reopen
}

case ${1:-} in
  --build) docker compose build api ;;
  --pull) docker compose pull api ;;
  '') ;;
  *) fail "what is $1? Only --build or --pull may be given" ;;
esac

mapfile -t old < <(replicas)
((${#old[@]})) || fail 'no replica runs: start with docker compose up -d'

say 'migrating'
docker compose run --rm --no-deps -T migrate </dev/null

count=${#old[@]}
for at in "${!old[@]}"; do
  say "replica $((at + 1)) of $count: starting a new one"
  before=$(replicas | sort)
  docker compose up -d --no-deps --no-recreate --no-build --scale "api=$((count + 1))" api >/dev/null 2>&1 ||
    fail 'the new replica could not be started'
  mapfile -t new < <(comm -13 <(printf '%s\n' "$before") <(replicas | sort))
  ((${#new[@]} == 1)) || fail "expected one new replica, found ${#new[@]}"
  if ! wait_until_up "${new[0]}"; then
    docker logs --tail 20 "${new[0]}" >&2 || true
    docker rm -f "${new[0]}" >/dev/null
    fail "the new replica did not become ready within $ready_timeout_s s: it is removed, the others are as they were"
  fi
  say "replica $((at + 1)) of $count: stopping the old one"
  retire "${old[$at]}"
done
say "all $count replicas are new"
