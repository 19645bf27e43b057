#!/bin/sh
# The law, table of engine/README.md: each rule names where it stands, and a test that goes red without
# it. What is named must be there: the file; in one of the row's files the word; the test, begun and added
# to its suite.
set -eu
cd "${1:-$(dirname "$0")/../..}"
table=engine/README.md

# row, cell, each word in backticks; a row without as many cells as it should have
words() {
    awk '
        /^## / { inside = $0 == "## The law" }
        !inside || !/^\|/ || /^\| *---/ { next }
        !rows++ { next }
        {
            n = split($0, cell, "|")
            row = substr(cell[2], 2, 60)
            if (n != 5) { print rows - 1 "\t0\t-\t" row; next }
            for (i = 3; i <= 4; i++) {
                found = 0
                m = split(cell[i], word, "`")
                for (k = 2; k < m; k += 2) {
                    print rows - 1 "\t" i - 1 "\t" word[k] "\t" row
                    found += (i == 3) == (word[k] ~ /\.[ch]$/) # a place is a file, a test is none
                }
                if (!found) print rows - 1 "\t" i - 1 "\t-\t" row
            }
        }
        END { print rows - 1 "\tend\t-\t-" }' "$table"
}

bad=0
say() {
    echo "law: $*"
    bad=$((bad + 1))
}

# $1 test, $2 file
is_test() {
    grep -q "^START_TEST($1)\$" "$2" &&
        tr -s ' \n' '  ' <"$2" | grep -qE "tcase_add(_loop)?_test\( ?[a-z_]+, $1 ?[,)]"
}

# In one of the files, as a word: $1 word, others: files
stands_in() {
    word=$1
    shift
    [ $# -gt 0 ] && grep -qwF -- "$word" "$@"
}

tab=$(printf '\t')
list=$(words)
last=
while IFS=$tab read -r row cell word rule; do
    [ "$row.$cell" = "$last" ] || files=
    last=$row.$cell
    case $cell.$word in
    end.*) n_rows=$row ;;
    0.*) say "\"$rule...\": a row is: rule, where it stands, a test that goes red without it" ;;
    2.-) say "\"$rule...\": names no file in which it stands" ;;
    3.-) say "\"$rule...\": names no test that goes red without it" ;;
    2.*.c | 2.*.h)
        path=$word
        [ -f "$path" ] || path=engine/$word
        if [ -f "$path" ]; then files="$files $path"; else say "\"$rule...\": there is no file $word"; fi
        ;;
    2.*)
        # shellcheck disable=SC2086
        stands_in "$word" $files || say "\"$rule...\": no $word in:$files"
        ;;
    3.*.c)
        files=$word
        [ -f "$word" ] || say "\"$rule...\": there is no file $word"
        ;;
    3.*)
        { [ -f "$files" ] && is_test "$word" "$files"; } || say "\"$rule...\": no test $word in $files"
        ;;
    esac
done <<EOT
$list
EOT
[ "$n_rows" -ge 30 ] || say "only $n_rows rules in $table: is its heading \"## The law\" still?"
[ "$bad" -eq 0 ] || exit 1
echo "law: $n_rows rules, each with its place and its test"
