#!/bin/sh
# Purity: the undefined symbols of each object against the allow-list of its kind.
#   core   decides: no allocation, no JSON, no library
#   data   transforms: memory and jansson (qmp/tls.c: OpenSSL over memory), but no clock and no I/O
#   edge   *_uv.c and tools: not checked here
# usage: pure.sh BUILD_DIR
set -eu
build=$1
nm=${NM:-nm}

core='policy/(trend|policy|say|schedule|forecast|foresee|pace|pace_try|pace_goal|rhythm|model|model_world|simulate)\.c|qmp/qapi_names\.c|netsel/(netsel|ip)\.c|engine/(network|channels|mig|mig_[a-z]+|preflight_[a-z_]+|configure_[a-z]+|recover_[a-z]+|recipe|owner|spec|record|phase_[a-z]+)\.c|engine/base/(err|units)\.c'

# libc that neither allocates nor touches the world
libc='mem(cpy|set|move|cmp|chr)|str(len|cmp|ncmp|chr|rchr|spn|cspn|str|ncat|ncpy)|v?snprintf|__assert_fail|__stack_chk_fail|__v?snprintf_chk|__mem(cpy|set|move)_chk|abort|qsort|bsearch|__udivti3|__umodti3|__mulodi4|__muloti4|_GLOBAL_OFFSET_TABLE_'
memory='malloc|calloc|realloc|free|strto(u?ll?|ull)|json_[a-z_]+|jsonp_[a-z_]+|__errno_location|__isoc99_sscanf|floor|ceil'
# OpenSSL, for qmp/tls.c and qmp/cert.c: what reads a file by name or talks to a socket is not in it
openssl='(ASN1|BIO|ERR|EVP_PKEY|GENERAL_NAMES?|OPENSSL_sk|PEM_read_bio|SSL|SSL_CTX|TLS|X509)_[A-Za-z0-9_]+'
openssl_world='BIO_(new_|s_)(file|fd|socket|connect|accept|dgram|fp).*|BIO_s_sock|SSL_set_[rw]?fd|.*_[Ff]ile|.*_dir|.*_locations|.*_fp'
sanitizers='__(asan|ubsan|sanitizer|lsan)_.*|__gcov_.*|__llvm_.*'
ours='(again|postcopy|qf|qmp|qapi|cert|policy|presets?|netsel|networks?|channels|mig|owner|recipe|recover|phase|spec|record|journal|session|replay|request|configure|preflight|fields?|steps|fault|say|view|schedule|pace|forecast|model|simulate|curve|select|selectors|labels?|operator|control)_[a-z0-9_]+|replay|fields'

objects=$(find "$build" -name '*.c.o' -path '*.dir/*' | grep -vE '/(tests|CMakeFiles/3|CompilerId)' | sort)
[ -n "$objects" ] || { echo "pure: no objects in $build"; exit 1; }
bad=0
seen=0
for object in $objects; do
    source=$(echo "$object" | sed -E 's,.*\.dir/,,; s,\.o$,,')
    case $source in
    *_uv.c | tools/*) continue ;;
    */*) ;;
    *) continue ;;
    esac
    seen=$((seen + 1))
    if echo "$source" | grep -qE "^($core)\$"; then
        kind=core
        allowed="$libc|$sanitizers|$ours"
    else
        kind=data
        allowed="$libc|$memory|$sanitizers|$ours"
    fi
    if [ "$source" = qmp/tls.c ] || [ "$source" = qmp/cert.c ]; then
        allowed="$allowed|$openssl"
        for symbol in $($nm -u "$object" | awk '{print $2}' | grep -E "^($openssl_world)\$" || true); do
            echo "pure: $source is $kind, but uses $symbol"
            bad=$((bad + 1))
        done
    fi
    for symbol in $($nm -u "$object" | awk '{print $2}' | grep -vE "^($allowed)\$" || true); do
        echo "pure: $source is $kind, but uses $symbol"
        bad=$((bad + 1))
    done
    # "No mutable globals": nothing in .data or .bss of ours
    for symbol in $($nm "$object" | awk '$2 ~ /^[dDbBC]$/ {print $3}' | grep -vE '^(__|\.L|_?asan|policy_presets|policy_models)' || true); do
        section=$($nm -f sysv "$object" 2>/dev/null | awk -F'|' -v s="$symbol" '{gsub(/ /,"",$1); if ($1==s) print $7}' | head -n 1)
        case $section in
        *.data.rel.ro*) ;;
        *) [ "$kind" = core ] && { echo "pure: $source has a mutable global: $symbol"; bad=$((bad + 1)); } || true ;;
        esac
    done
done
[ "$seen" -gt 15 ] || { echo "pure: only $seen objects found"; exit 1; }
[ "$bad" -eq 0 ] || exit 1
echo "pure: $seen objects, each of its kind"
