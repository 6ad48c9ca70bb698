# To be sourced: HAProxy's runtime interface, which is reached from within its container alone.

# One command, and its answer.
haproxy() {
  docker compose exec -T haproxy bash -c \
    'exec 3<>/dev/tcp/127.0.0.1/9999 && printf "%s\n" "$1" >&3 && exec cat <&3' _ "$1" </dev/null
}

# "backend server address operational-state administrative-state" of each slot that a replica has.
slots() { haproxy 'show servers state' | awk 'NF > 7 && $1 != "#" && $5 != "-" && $5 != "0.0.0.0" {print $2, $4, $5, $6, $7}'; }

# The addresses of the replicas that are asked and found ready (operational state 2), and are not being retired.
ready_addresses() { slots | awk '$1 == "ready" && $4 == 2 && $5 == 0 {print $3}'; }
