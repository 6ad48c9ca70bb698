#!/bin/bash
# Makes one cluster of the nodes, and keeps it one: introduces those that do not know each other, hands out the slots
# once, and makes a node without slots a replica. Does nothing while all is well.
#
#   cluster-keeper.sh            until it is told to stop
#   cluster-keeper.sh --check    exit status 0 when most nodes answer, and say that every slot is served
#
# Environment: NODES, as address:port with commas between, of which the first half become masters; INTERVAL_S (2).
set -uo pipefail
IFS=, read -ra nodes <<<"${NODES:?are not set}"
interval_s=${INTERVAL_S:-2}
declare -A id view # of the nodes that answer: their ids, and what each says of all

ask() { timeout 3 redis-cli -h "${1%:*}" -p "${1##*:}" "${@:2}" 2>/dev/null | tr -d '\r'; }

look() {
  local node
  id=() view=()
  for node in "${nodes[@]}"; do
    view[$node]=$(ask "$node" cluster nodes) || true
    id[$node]=$(awk '$3 ~ /myself/ {print $1}' <<<"${view[$node]}")
    if [[ -z ${id[$node]} ]]; then unset "view[$node]" "id[$node]"; fi
  done
}

# Whether the first reaches the second, by the id that it has now.
knows() {
  awk -v id="${id[$2]}" -v at="$2@" \
    '$1 == id && index($2, at) == 1 && $3 !~ /fail|handshake|noaddr/ && $8 == "connected" {found = 1} END {exit !found}' \
    <<<"${view[$1]}"
}

introduce() {
  local one other
  everybody_knows_all=true
  for one in "${!id[@]}"; do
    for other in "${!id[@]}"; do
      if [[ $one == "$other" ]] || knows "$one" "$other"; then continue; fi
      everybody_knows_all=false
      ask "$one" cluster meet "${other%:*}" "${other##*:}" >/dev/null
    done
  done
}

assigned() { ask "$1" cluster info | awk -F: '$1 == "cluster_slots_assigned" {print $2}'; }

# A range that has an owner already is refused by the node, so that nothing is taken from anybody.
hand_out_slots() {
  local at masters=$((${#nodes[@]} / 2))
  for ((at = 0; at < masters; at++)); do
    ask "${nodes[$at]}" cluster addslotsrange $((16384 * at / masters)) $((16384 * (at + 1) / masters - 1)) >/dev/null
  done
  echo "handed the slots out to the first $masters nodes"
}

# The master with slots that has the fewest replicas, as this node sees it.
loneliest_master() {
  awk '$3 ~ /master/ && $3 !~ /fail|myself/ && NF > 8 {masters[$1]} $3 ~ /slave/ && $3 !~ /fail/ {has[$4]++}
    END {for (m in masters) if (best == "" || has[m] + 0 < has[best] + 0) best = m; print best}' <<<"${view[$1]}"
}

employ() {
  local node master
  for node in "${nodes[@]}"; do
    awk '$3 ~ /myself/ {idle = $3 ~ /master/ && NF == 8} END {exit !idle}' <<<"${view[$node]}" || continue
    master=$(loneliest_master "$node")
    [[ -n $master ]] || continue
    ask "$node" cluster replicate "$master" >/dev/null && echo "made $node a replica of $master"
    return # and look again before the next: it counts as that master's replica then
  done
}

if [[ ${1:-} == --check ]]; then
  served=0
  for node in "${nodes[@]}"; do
    info=$(ask "$node" cluster info) || continue
    if [[ $info == *cluster_state:ok* && $info == *cluster_slots_assigned:16384* && $info == *cluster_slots_fail:0* ]]; then
      served=$((served + 1))
    fi
  done
  ((served > ${#nodes[@]} / 2))
  exit
fi

trap 'exit 0' TERM INT
while :; do
  look
  introduce
  if $everybody_knows_all && ((${#id[@]} == ${#nodes[@]})); then
    if [[ $(assigned "${nodes[0]}") -lt 16384 ]]; then hand_out_slots; else employ; fi
  fi
  sleep "$interval_s" &
  wait $!
done
