#!/usr/bin/env bash
# Runs docker-compose.yml for real on a Debian machine, where no image registry is reached.
#
# As root: deploy/try.sh [options]. Not part of CI: about ten minutes, 8 GB of disk, 4 GB of memory.
# dockerd gets a network namespace, a mount namespace and a folder of its own, so that nothing of this
# machine's Docker is touched; all of it is taken away at the end. Base images are stand-ins under the
# tags that the files name: Debian's Python, Debian's Prometheus, and for Grafana a stub that only
# answers its health check. A step that fails is told with its last lines, and ends the script with 1.
#
#   --pip-config FILE   becomes /etc/pip.conf of the Python base image
#   --ca FILE           certificates that the image trusts instead of Debian's
#   --wheels DIR        wheels served as the index TORCH_INDEX while the image is built
#   --mirror URL        of Debian (http://deb.debian.org/debian)
#   --work DIR          all is kept in DIR/fresco-try, which is removed at the end (/var/tmp)
#   --keep              keep that: base images and layers make the next time quicker
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

pip_config= ca= wheels= mirror=http://deb.debian.org/debian work=/var/tmp/fresco-try keep=
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }
while [ $# -gt 0 ]; do
    case $1 in
        --pip-config) pip_config=$(realpath "$2"); shift 2 ;;
        --ca) ca=$(realpath "$2"); shift 2 ;;
        --wheels) wheels=$(realpath "$2"); shift 2 ;;
        --mirror) mirror=$2; shift 2 ;;
        --work) work=$(realpath -m "$2")/fresco-try; shift 2 ;;
        --keep) keep=1; shift ;;
        --help | -h) usage; exit ;;
        *) echo "try.sh: $1 is no option; --help names them" >&2; exit 2 ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "try.sh: it makes namespaces: run it as root" >&2; exit 2; }
for tool in apt-get ip nsenter unshare; do
    command -v $tool >/dev/null || { echo "try.sh: $tool is missing; is this Debian?" >&2; exit 2; }
done

# One at a time: the namespace and its addresses are fixed.
mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || { echo "try.sh: another one is at work in $work" >&2; exit 2; }
net=fresco-try outside=10.213.47.1 inside_address=10.213.47.2
export DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/config
export COMPOSE_PROJECT_NAME=fresco-try COMPOSE_PROGRESS=plain
masquerade=(-s "$inside_address/32" ! -o $net -j MASQUERADE)
. "$here/deploy/try/machine.sh"
. "$here/deploy/try/steps.sh"

set -m # a step is a process group, so that all of it can be ended
step() { # LIMIT_S WHAT FUNCTION
    local since_s log=$work/results/$3.log
    since_s=$(date +%s)
    printf '%-64s' "$2"
    (set -e && "$3") >"$log" 2>&1 9>&- </dev/null &
    step_pid=$!
    while kill -0 $step_pid 2>/dev/null && [ $(($(date +%s) - since_s)) -lt "$1" ]; do sleep 0.2; done
    local status=0
    if kill -0 $step_pid 2>/dev/null; then
        kill -- -$step_pid
        echo "longer than $1 s" >>"$log"
        status=124
    fi
    { wait $step_pid || status=$?; } 2>/dev/null
    step_pid=
    printf '%-6s %5d s\n' "$([ $status = 0 ] && echo OK || echo failed)" $(($(date +%s) - since_s))
    [ $status = 0 ] && return
    tail -n 20 "$log" | cut -c 1-200 | sed 's/^/    /'
    cp -r "$work/results" "/tmp/fresco-try.$$"
    echo "all logs: /tmp/fresco-try.$$"
    exit 1
}
undo # what an earlier try that was killed has left
trap finish EXIT
trap 'exit 130' INT TERM HUP
began_s=$(date +%s)

# Nothing of the tree that is tried is written to.
rm -rf "$work/tree"
mkdir -p "$work/tree" "$work/config/cli-plugins" "$work/results"
tar -C "$here" --exclude=./.venv --exclude=./.git --exclude=./runs --exclude=./deploy/secrets \
    --exclude='*_cache' -cf - . | tar -xf - -C "$work/tree"
cd "$work/tree"

step 600 "tools from Debian" tools
step 60 "engine in a namespace of its own" engine
step 600 "base image python (stand-in)" base_python
step 60 "base image prometheus (stand-in)" base_prometheus
step 30 "base image grafana (stub)" base_grafana
step 10 "secrets, made with umask 077" secrets
step 1200 "docker compose build" build
step 30 "only what a run needs is in the image" image_is_lean
step 300 "docker compose up: all are healthy" up
step 60 "the live page answers the host, with the token only" live_page
step 60 "docker compose exec emulator fresco status" verbs
step 60 "Prometheus scrapes the emulator" scraped
step 60 "a fault injected from the host shows in Prometheus" injected
step 180 "four workers" scaled
step 120 "docker compose stop: the report is there" stopped
step 240 "up again at once: it runs" again
step 240 "the emulator is killed, and up again at once: it runs" emulator_killed
step 120 "a worker is killed: the run ends, exit status 3, and names it" worker_killed
step 240 "one's own scenario, to its end" own_scenario
step 60 "no alert after a run that ended well" no_alert
step 240 "Ctrl-C on an attached docker compose up: the report is there" ctrl_c
step 240 "docker compose down: the report is still there" down
step 30 "no volume without a name was left" no_anonymous_volume
echo "all steps OK; $(($(date +%s) - began_s)) s in all"
