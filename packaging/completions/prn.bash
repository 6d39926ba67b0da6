# Completion of prn's command line in bash: `. <(prn completion bash)`, or this file among those of bash-completion.
# prn itself says what could stand at the cursor, one a line, a description behind a tab.

_prn() {
    local line=${COMP_LINE:0:COMP_POINT} current=$2 head='' typed offer
    local -a offers found
    typed=${line##*[[:space:]]}
    # Of a word with = or : in it, bash completes what stands behind that alone.
    if [[ $typed == *[=:]* && $COMP_WORDBREAKS == *=* ]]; then
        current=${typed##*[=:]}
        head=${typed%"$current"}
    fi
    COMPREPLY=()
    mapfile -t offers < <("$1" __complete bash -- "$line" 2>/dev/null)
    for offer in "${offers[@]}"; do
        case $offer in
            :files | :directories)
                if [[ $offer == :files ]]; then
                    mapfile -t found < <(compgen -f -- "$current")
                else
                    mapfile -t found < <(compgen -d -- "$current")
                fi
                COMPREPLY+=("${found[@]}")
                compopt -o filenames 2>/dev/null
                ;;
            *)
                offer=${offer%%$'\t'*}
                [[ $offer != *: ]] || compopt -o nospace 2>/dev/null
                COMPREPLY+=("${offer#"$head"}")
                ;;
        esac
    done
}

complete -o nosort -F _prn prn 2>/dev/null || complete -F _prn prn
