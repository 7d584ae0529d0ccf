# What deploy/try.sh looks at, one function a step. Sourced, not run.

compose() { docker compose "$@"; }
token() { cat deploy/secrets/fresco-token; }
api() { # what follows the address, then words for curl
    on_host curl -fsS -m 10 -H "Authorization: Bearer $(token)" "${@:2}" "http://127.0.0.1:7373/$1"
}
ask_prometheus() { # EXPRESSION: succeeds where it returns anything
    on_host curl -fsS -m 10 -G --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query |
        tee "$work/answer" | grep -q '"value"'
}
firing() { ask_prometheus "ALERTS{alertname=\"$1\", alertstate=\"firing\"}"; } # ALERT
not() { if "$@"; then return 1; fi; } # `!` would not end a step
eventually() { # until the step's limit
    until "$@"; do sleep 1; done
}
inside() { # a command on the volume of results, whether or not anything is up
    compose run --rm --no-deps -T emulator "$@"
}
summary() { # EXPRESSION of the latest summary `s`
    inside python -c "import json; s = json.load(open('runs/latest/summary.json')); print($1)"
}
ended() { # the emulator's exit status, once it has one
    [ -z "$(compose ps --quiet --status running emulator)" ] &&
        docker inspect --format '{{.State.ExitCode}}' "$(compose ps --all --quiet emulator)"
}
report() { # as README.md says it
    inside cat runs/latest/report.html >"$work/results/$1.html"
    grep -q '</html>' "$work/results/$1.html"
}

secrets() {
    (umask 077 && make --no-print-directory secrets)
    ls -l deploy/secrets
}

build() {
    if [ -n "$wheels" ]; then
        serve_wheels
        export TORCH_INDEX=http://$outside:8000/
    fi
    compose build
    docker image ls
}

image_is_lean() {
    inside pip list 2>/dev/null >"$work/answer"
    grep -iE "^(ray|torch) " "$work/answer"
    not grep -iE "^(pytest|mypy|playwright|nvidia[^ ]*|triton) " "$work/answer"
    inside sh -c 'test "$(python -c "import torch; print(torch.version.cuda)")" = None'
    inside sh -c 'touch here && python -c "import agents, emulator; print(emulator.__file__)"' |
        grep packages
    docker image inspect --format '{{.Size}}' "$(named_ours)"
}

named_ours() { compose config --images | grep fresco | sort -u; }

up() {
    compose up --detach --wait
    compose ps
    docker stats --no-stream
}

live_page() {
    test "$(on_host curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:7373/)" = 401
    on_host curl -fsS -L -c "$work/cookies" "http://127.0.0.1:7373/?token=$(token)" |
        grep -q '<title>'
    not curl -s -m 3 "http://$inside_address:7373/healthz"
}

verbs() {
    compose exec -T emulator fresco status
    compose exec -T emulator fresco fault inject loss bs-0 p=0.5 --for 5s
}

scraped() {
    eventually ask_prometheus 'up{job="fresco"} == 1 and on() fresco_sim_time_seconds > 0'
    # The head, two workers and the emulator are Ray nodes.
    eventually ask_prometheus 'count(up{job="ray", instance=~".*:8080"} == 1) == 4'
}

injected() {
    api api/v1/faults -H 'Content-Type: application/json' \
        -d '{"type": "blackout", "target": "bs-0", "for_s": 600}'
    eventually ask_prometheus 'fresco_faults_active{type="blackout"} == 1'
    api api/v1/faults -X DELETE
    eventually ask_prometheus 'fresco_faults_active{type="blackout"} == 0'
}

scaled() {
    compose up --detach --wait --no-recreate --scale ray-worker=4
    eventually ask_prometheus 'count(up{job="ray", instance=~".*:8080"} == 1) == 6'
    api api/v1/run
}

stopped() {
    compose stop emulator
    test "$(ended)" = 130
    summary 's["verdict"]' | grep interrupted
    report stopped
}

again() {
    compose up --detach --wait
    compose exec -T emulator fresco status
}

emulator_killed() { # no chance to leave the cluster, which takes its node for alive for a while
    docker kill "$(compose ps --quiet emulator)"
    again
}

worker_killed() {
    docker kill "$(compose ps --quiet ray-worker | head -n 1)"
    eventually ended
    compose logs --no-log-prefix --tail 20 emulator
    test "$(ended)" = 3
    summary 's["causes"]' | grep host
    eventually firing EmulatorDown
}

own_scenario() {
    sed -n '/^name: hello/,/^```/p' README.md | grep -v '^```' >scenarios/hello.yaml
    echo 'runtime: {lateness_max_s: 10}' >>scenarios/hello.yaml # however slow this machine is
    FRESCO_SCENARIO=scenarios/hello.yaml FRESCO_DURATION_S=20 compose up --detach
    eventually ended
    compose logs --no-log-prefix --tail 20 emulator
    test "$(ended)" = 0
    summary 's["scenario"], s["verdict"]' | grep '^hello good'
    report hello
}

no_alert() {
    # Longer than the alert's patience.
    for _ in $(seq 20); do
        sleep 1
        not firing EmulatorDown
    done
    ask_prometheus 'up{job="fresco"} == 0'
}

ctrl_c() {
    compose stop emulator
    set -m # else it would not hear SIGINT
    docker compose up &
    local attached=$!
    set +m
    eventually ask_prometheus 'fresco_sim_time_seconds > 3'
    kill -INT -- -$attached
    not wait $attached
    summary 's["verdict"]' | grep interrupted
    report ctrl-c
}

down() {
    compose up --detach --wait
    eventually ask_prometheus 'fresco_sim_time_seconds > 5'
    compose down
    summary 's["verdict"]' | grep interrupted
    report down
    compose down
}

no_anonymous_volume() {
    docker volume ls
    docker volume ls --quiet | not grep -E '^[0-9a-f]{64}$'
}
