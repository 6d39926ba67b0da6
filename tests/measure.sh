#!/usr/bin/env bash
# Measures Rust sources: what `tests/budgets.sh` holds to its limits and `tests/density.sh` prints. Counts code, which is what
# stock rustfmt leaves: neither blank nor a comment nor for tests alone.
#
#   tests/measure.sh PATH…     folders or files
#
# Prints one row for each file, and one for each function in it:
#
#   file PATH LINES CHARACTERS LINES-OVER-100 TESTS
#   fn PATH:LINE NAME LINES
#
# A function's lines are those of code between the line with `fn` and its closing brace.
# shellcheck disable=SC2016  # awk's own variables
set -euo pipefail
export LC_ALL=C

files=$(find "$@" -name target -prune -o -name '*.rs' -print | sort)

# Modules of tests in files of their own: `#[cfg(test)]` stands above `mod name;`, and a path perhaps between them.
modules=$(xargs -r awk '
    FNR == 1 {
        folder = FILENAME
        if (folder !~ /\/(main|lib|mod)\.rs$/) sub(/\.rs$/, "", folder)
        else sub(/\/[^\/]*$/, "", folder)
    }
    above ~ /^#\[cfg\(test\)\]/ && match($0, /^(pub(\([a-z]+\))? )?mod [a-z0-9_]+;/) {
        name = $0
        sub(/.*mod /, "", name)
        sub(/;.*/, "", name)
        if (path != "") {
            name = path
            sub(/\.rs$/, "", name)
            parent = FILENAME
            sub(/[^\/]*$/, "", parent)
            print parent name
        } else print folder "/" name
    }
    { path = "" }
    /^#\[path = "/ {
        path = $0
        gsub(/^#\[path = "|"\]$/, "", path)
    }
    # Attributes of several lines stand between them, too.
    /^#\[cfg\(test\)\]/ || !/^(#\[|\)\]| )/ { above = $0 }' <<<"$files")

xargs -r awk -v modules="$modules" '
    function report() {
        if (file != "") print "file", file, lines, characters, over, tests
    }
    function indentation(line) {
        match(line, /^ */)
        return RLENGTH
    }
    BEGIN {
        n = split(modules, list, "\n")
    }
    FNR == 1 {
        report()
        file = FILENAME
        lines = characters = over = tests = depth = in_tests = is_tests = 0
        for (i = 1; i <= n; i++)
            if (list[i] != "" && (file == list[i] ".rs" || index(file, list[i] "/") == 1)) is_tests = 1
    }
    /^ *#\[(tokio::)?test/ { tests++ }
    is_tests || !NF || /^ *\/\// { next }
    # What is for tests alone, wherever it stands: attributes, an item, its end in the first column.
    /^#\[cfg\(test\)\]/ { in_tests = 1; next }
    in_tests == 1 && /^(#\[|\)\]| )/ { next }
    in_tests == 1 { in_tests = /[;}]$/ ? 0 : 2; next }
    in_tests == 2 { if (/^[])}]/) in_tests = 0; next }
    {
        lines++
        characters += length($0)
        if (length($0) > 100) over++
    }
    # The innermost open function ends where a brace stands in its own column; one that is declared only, with a semicolon.
    depth && indentation($0) == column[depth] {
        if (/^ *\}/ || (!body[depth] && /;$/)) {
            if (body[depth]) print "fn", file ":" begin[depth], name[depth], lines - first[depth] - 1
            depth--
            next
        }
        if (/\{$/) body[depth] = 1
    }
    match($0, /^ *((pub(\([a-z: ]+\))?|default|const|async|unsafe|extern( "[A-Za-z]+")?) )*fn [a-z0-9_]+/) {
        # Declared only, or all on one line.
        if (/[;}]$/) next
        word = substr($0, RSTART, RLENGTH)
        sub(/.*fn /, "", word)
        depth++
        name[depth] = word
        column[depth] = indentation($0)
        begin[depth] = FNR
        first[depth] = lines
        body[depth] = /\{$/
    }
    END { report() }' <<<"$files"
