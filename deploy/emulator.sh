#!/bin/bash
# emulator.sh HEAD WORD...: `fresco run WORD...` on the Ray cluster at HEAD, from a node of it that
# offers no processors. A Ray driver needs a node on its machine.
#
# It leaves the cluster when the run is over: the head would take a node that is merely gone for alive
# for half a minute, and have the next run wait for it.
head=$1
shift
set -m # a job with a process group of its own hears SIGINT; a shell's other background jobs do not
trap 'stopped=1; [ -z "$run" ] || kill -INT "$run"' INT TERM
ray start --address="$head" --num-cpus=0 --metrics-export-port=8080 \
    --object-store-memory=200000000 || exit 3
if [ -z "$stopped" ]; then
    fresco run "$@" --runtime ray --address auto &
    run=$!
    # A signal ends `wait`, not the run.
    until wait "$run"; status=$?; ! kill -0 "$run" 2>/dev/null; do :; done
fi
ray stop --grace-period 5 >/dev/null
exit "${status:-130}"
