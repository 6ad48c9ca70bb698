# To be sourced: HAProxy's runtime interface, which is reached from within its container alone.

# One command, and its answer.
haproxy() {
  docker compose exec -T haproxy bash -c \
    'exec 3<>/dev/tcp/127.0.0.1/9999 && printf "%s\n" "$1" >&3 && exec cat <&3' _ "$1" </dev/null
}

# "backend server address operational-state administrative-state" of each slot that a replica has.
slots() { haproxy 'show servers state' | awk 'NF > 7 && $1 != "#" && $5 != "-" && $5 != "0.0.0.0" {print $2, $4, $5, $6, $7}'; }

# The addresses of the replicas that HAProxy has asked and found ready, and that are not being retired. (A slot that has
# just been given an address counts as up until the first check has failed, hence the look at the check's own result.)
ready_addresses() {
  haproxy 'show stat' | awk -F, '
    /^# / {sub(/^# /, ""); for (i = 1; i <= NF; i++) column[$i] = i; next}
    $column["pxname"] == "ready" && $column["status"] == "UP" && $column["check_status"] ~ /L7OK$/ {
      address = $column["addr"]; sub(/:[0-9]+$/, "", address); print address
    }'
}
