#!/usr/bin/env bash
# Ask a vulnerability service about every locked package: deploy/audit.sh [pip-audit]
# Ends with 0: nothing known. 1: something is known. 3: it could not be asked, which says nothing either way.
set -uo pipefail
cd "$(dirname "$0")/.."
audit=${1:-.venv/bin/pip-audit}
known=$(mktemp)
trap 'rm -f "$known"' EXIT
# A service that knows nothing of a release with published holes knows nothing of ours either.
echo 'urllib3==1.24.1' >"$known"
if "$audit" --progress-spinner off --disable-pip --no-deps --timeout 15 -r "$known" >/dev/null 2>&1; then
  echo 'NOT ASKED: what answers knows no vulnerabilities, not even of urllib3 1.24.1' >&2
  exit 3
fi
status=0
for lock in prod run build dev; do
  printf '%s: ' "requirements/$lock.txt" >&2
  # --disable-pip: the hashes are ours and are not resolved again, so nothing is downloaded but the answers.
  said=$("$audit" --progress-spinner off --disable-pip --require-hashes --timeout 15 -r "requirements/$lock.txt" 2>&1)
  case $? in
    0) echo 'nothing known' >&2 ;;
    *)
      if grep -qE '^Name +Version +ID' <<<"$said"; then
        printf 'KNOWN VULNERABILITIES\n%s\n' "$said" >&2
        status=1
      else
        printf 'NOT ASKED: the service could not be reached (%s)\n' "$(tail -n 1 <<<"$said" | cut -c1-160)" >&2
        ((status)) || status=3
        break
      fi
      ;;
  esac
done
exit "$status"
