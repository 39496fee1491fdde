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
