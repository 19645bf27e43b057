#!/bin/sh
# The doors between rooms: every #include "..." against the table of engine/README.md. A door that
# is not in the table is shut.
set -eu
cd "${1:-$(dirname "$0")/../..}"

# room -> rooms that it may include
doors() {
    case $1 in
    engine/base) echo "engine/base" ;;
    policy) echo "policy engine/base" ;;
    qmp) echo "qmp engine/base" ;;
    netsel) echo "netsel engine/base" ;;
    engine) echo "engine engine/base policy qmp netsel" ;;
    # policy files, the choice of one and simulations are about that room and nothing else: they ask
    # it directly
    tools) echo "tools engine engine/base policy" ;;
    esac
}

# what no file of a room may include from outside: the edges are *_uv.[ch] and tools
system_ban() {
    case $1 in
    *_uv.c | *_uv.h | tools/*) echo "" ;;
    engine/request.h | engine/request.c) echo "uv.h" ;;
    *) echo "uv.h unistd.h fcntl.h sys/socket.h time.h sys/time.h pthread.h signal.h" ;;
    esac
}

bad=0
files=0
say() {
    echo "layers: $*"
    bad=$((bad + 1))
}
for file in $(find engine policy qmp netsel tools -name '*.[ch]' 2>/dev/null | sort); do
    files=$((files + 1))
    room=$(dirname "$file")
    allowed=$(doors "$room")
    [ -n "$allowed" ] || say "$file: no such room"
    for inc in $(sed -n 's/^#include "\(.*\)"/\1/p' "$file"); do
        case " $allowed " in
        *" $(dirname "$inc") "*) ;;
        *) say "$file: $room may not include $inc" ;;
        esac
        # An edge is not included by core or data: only other edges and tools may.
        case $inc in
        *_uv.h)
            case $file in
            *_uv.[ch] | tools/*) ;;
            *) say "$file: is no edge, but includes $inc" ;;
            esac
            ;;
        esac
    done
    for inc in $(sed -n 's/^#include <\(.*\)>/\1/p' "$file"); do
        case " $(system_ban "$file") " in
        *" $inc "*) say "$file: is no edge, but includes <$inc>" ;;
        esac
    done
    # one-way doors of the standard library, which no header bans
    case $file in
    *_uv.c | tools/*) ;;
    *)
        if grep -nE '\b(fopen|printf|getenv|time|clock)\(' "$file" | grep -vE '^\S*\s*(\*|/\*)' | grep -vE 'QF_PRINTF|format\(printf' >/dev/null; then
            say "$file: touches the world (fopen, printf, getenv, time or clock)"
        fi
        ;;
    esac
done
for entry in $(git ls-files 2>/dev/null | sed 's,/.*,,' | sort -u); do
    case $entry in
    .* | engine | qmp | policy | netsel | tests | tools | CMakeLists.txt | README.md | LICENSE) ;;
    *) say "$entry does not belong at the top" ;;
    esac
done
[ "$files" -gt 20 ] || say "only $files files found: run it in the source tree"
[ "$bad" -eq 0 ] || exit 1
echo "layers: $files files, every door shut"
