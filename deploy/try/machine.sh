# The engine and the base images of deploy/try.sh, and how all is undone. Sourced, not run.

on_host() { # where the containers' published ports are: what "the host" is to them
    nsenter --net="/run/netns/$net" "$@"
}

tools() {
    local need=() apt=$work/apt
    command -v dockerd >/dev/null || need+=(docker.io)
    command -v prometheus >/dev/null || need+=(prometheus)
    for tool in debootstrap iptables curl make openssl; do
        command -v $tool >/dev/null || need+=($tool)
    done
    [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || need+=(busybox-static)
    if [ ${#need[@]} -gt 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}"
    fi
    docker compose version && return
    # Before trixie Debian has version 1 only.
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
        >"$apt/sources.list"
    local options=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -qq
    (cd "$apt" && apt-get "${options[@]}" download docker-compose)
    dpkg -x "$apt"/docker-compose_*.deb "$apt/unpacked"
    install "$apt"/unpacked/usr/libexec/docker/cli-plugins/docker-compose "$work/config/cli-plugins/"
    docker compose version
}

engine() {
    ip netns add $net
    ip link add $net type veth peer name eth0 netns $net
    ip addr add $outside/30 dev $net
    ip link set $net up
    ip -n $net addr add $inside_address/30 dev eth0
    ip -n $net link set lo up
    ip -n $net link set eth0 up
    ip -n $net route add default via $outside
    cp /proc/sys/net/ipv4/ip_forward "$work/ip_forward"
    echo 1 >/proc/sys/net/ipv4/ip_forward
    iptables -t nat -A POSTROUTING "${masquerade[@]}"
    # The mounts are in a namespace of their own: they go when the daemon goes.
    setsid nsenter --net=/run/netns/$net unshare --mount --propagation private \
        dockerd --data-root "$work/docker" --exec-root "$work/exec" --pidfile "$work/dockerd.pid" \
        --host "$DOCKER_HOST" --storage-driver overlay2 >"$work/dockerd.log" 2>&1 &
    until docker version; do sleep 0.5; done
}

undo() { # whatever there is of it
    local errexit
    errexit=$(set +o | grep errexit)
    set +e
    if [ -f "$work/dockerd.pid" ]; then
        (cd "$work/tree" && timeout 120 docker compose down --volumes --timeout 10) >/dev/null 2>&1
        end "$work/dockerd.pid"
    fi
    end "$work/wheels.pid"
    ip netns del $net 2>/dev/null
    ip link del $net 2>/dev/null
    [ -n "$(ls /run/netns 2>/dev/null)" ] || umount /run/netns 2>/dev/null # as it was before the first
    iptables -t nat -D POSTROUTING "${masquerade[@]}" 2>/dev/null
    [ ! -f "$work/ip_forward" ] || cat "$work/ip_forward" >/proc/sys/net/ipv4/ip_forward
    rm -f "$work/ip_forward"
    $errexit
}

finish() {
    trap - EXIT
    [ -z "${step_pid:-}" ] || kill -- "-$step_pid" 2>/dev/null
    undo
    if [ -n "$keep" ]; then
        rm -rf "$work/tree" "$work/exec"
    else
        rm -rf "$work"
    fi
}

end() { # PIDFILE: ends that process and waits for it, half a minute at most
    [ -f "$1" ] || return 0
    local pid
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null
    for _ in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    rm -f "$1"
}

named() { # IMAGE as the tree's files name it, with its tag
    grep -hoE "(FROM|image:) +$1:[^ ]+" Dockerfile docker-compose.yml | head -n 1 | grep -oE '[^ ]+$'
}

has() { # IMAGE: kept from the last time
    docker image inspect "$1" >/dev/null 2>&1 && echo "kept: $1"
}

base_python() {
    local image root=$work/python
    image=$(named python)
    has "$image" && return
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip bookworm \
        "$root" "$mirror"
    chroot "$root" apt-get clean
    rm -rf "$root"/var/lib/apt/lists/* "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    ln -s ../../bin/python3 "$root/usr/local/bin/python"
    [ -z "$pip_config" ] || cp "$pip_config" "$root/etc/pip.conf"
    [ -z "$ca" ] || cp "$ca" "$root/etc/ssl/certs/ca-certificates.crt"
    # Wheels are served without TLS, in this machine.
    tar -C "$root" -c . | docker import --change 'CMD ["python"]' \
        --change "ENV PIP_TRUSTED_HOST=$outside" - "$image"
    rm -rf "$root"
}

base_prometheus() {
    local image root=$work/prometheus
    image=$(named prom/prometheus)
    has "$image" && return
    busybox_root "$root"
    cp "$(command -v prometheus)" "$root/bin/prometheus"
    ldd "$root/bin/prometheus" | grep -oE '/[^ ]+' | while read -r library; do
        install -D "$library" "$root$library"
    done
    mkdir "$root/prometheus"
    chown 65534:65534 "$root/prometheus"
    tar -C "$root" -c . | docker import --change 'USER 65534' \
        --change 'ENTRYPOINT ["/bin/prometheus"]' - "$image"
    rm -rf "$root"
}

base_grafana() {
    local image root=$work/grafana
    image=$(named grafana/grafana)
    has "$image" && return
    busybox_root "$root"
    mkdir -p "$root/www/api" "$root/var/lib/grafana"
    echo '{"database": "a stub"}' >"$root/www/api/health"
    chown -R 472 "$root/var/lib/grafana"
    cat >"$root/run.sh" <<'END'
test -n "$(cat "$GF_SECURITY_ADMIN_PASSWORD__FILE")" && exec httpd -f -p 3000 -h /www
END
    tar -C "$root" -c . | docker import --change 'USER 472' \
        --change 'CMD ["/bin/sh", "/run.sh"]' - "$image"
    rm -rf "$root"
}

busybox_root() { # DIR
    rm -rf "$1"
    mkdir -p "$1"/{bin,etc,tmp}
    chmod 1777 "$1/tmp"
    cp /bin/busybox "$1/bin/"
    for name in sh cat httpd wget; do ln -s busybox "$1/bin/$name"; done
    printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\nnobody:x:65534:\n' >"$1/etc/group"
}

serve_wheels() { # as an index: a folder for each project, with its wheels
    rm -rf "$work/index"
    for wheel in "$wheels"/*.whl; do
        project=$(basename "$wheel" | cut -d- -f1 | tr 'A-Z_' 'a-z-')
        mkdir -p "$work/index/$project"
        ln -s "$wheel" "$work/index/$project/"
    done
    setsid python3 -m http.server --bind $outside --directory "$work/index" 8000 \
        >/dev/null 2>&1 &
    echo $! >"$work/wheels.pid"
}
