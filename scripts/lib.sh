# shellcheck shell=bash
# Shared by the scripts here; to be sourced. What a machine lacks is installed, and nothing else.

# Installs Debian packages. Silent where it can do without asking; says what to type where it cannot.
install_packages() {
    [ "$#" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing: $*. This is no Debian system: install them with your package manager." >&2
        return 1
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing: $*. As root: apt-get install -y --no-install-recommends $*" >&2
            return 1
        fi
        # Without a terminal nobody can answer a question.
        if [ -t 0 ]; then as_root=(sudo); else as_root=(sudo -n); fi
    fi
    echo "installing $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What building needs besides Rust: LuaJIT is C, built with make.
build_packages() {
    command -v cc >/dev/null || echo gcc
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    command -v make >/dev/null || echo make
}

require_rust() {
    # rustup's folder is not in the PATH of a shell that was open while it was installed.
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; return 1; }
}

# What is hostile once more, with LuaJIT's compiler and with a worker for each run: what ends it is not the same.
# Without the word `whole`, of those runs that each take a process only what differs most.
hostile_matrix() {
    local status=0 isolation jit some
    for isolation in tenant invocation; do
        for jit in '' on; do
            [ "$isolation$jit" != tenant ] || continue
            some=(endless_runs_end compiled_loops_end memory_bombs deep_recursion output_and_logs)
            [ "$isolation" != tenant ] && [ "${1:-}" != whole ] || some=()
            echo "isolation $isolation, compiler ${jit:-off}"
            export MSGSCRIPT_TEST_ISOLATION=$isolation MSGSCRIPT_TEST_JIT=$jit
            timeout 10m cargo test --workspace --locked --test escapes || status=1
            timeout 15m cargo test --workspace --locked --test hostile -- "${some[@]}" || status=1
        done
    done
    unset MSGSCRIPT_TEST_ISOLATION MSGSCRIPT_TEST_JIT
    return "$status"
}
