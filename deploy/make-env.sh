#!/usr/bin/env bash
# Make .env for docker-compose.yml, with secrets of its own, unless there is one. Never changes what is there.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -e .env ]] && exit 0
random_hex() { od -An -v -tx1 -N"$1" /dev/urandom | tr -d ' \n'; }

umask 077
draft=$(mktemp .env.XXXXXX)
trap 'rm -f "$draft"' EXIT
cat >"$draft" <<ENV
# Made by deploy/make-env.sh; .env.example tells what else may stand here. Keep it secret, and keep a copy: without
# POSTGRES_PASSWORD the data cannot be reached, and without PASETO_KEY everybody has to log in again.
PASETO_KEY=$(random_hex 32)
POSTGRES_PASSWORD=$(random_hex 24)
GRAFANA_PASSWORD=$(random_hex 16)
ENV
# A link fails where a move would replace: of two at once, one wins.
ln "$draft" .env 2>/dev/null || exit 0
echo 'made .env with random secrets' >&2
