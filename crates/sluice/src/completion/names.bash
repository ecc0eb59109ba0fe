# Completes names of services and backends, which the daemon knows. Fails if it has none.
_sluice_names() {
    local line="${COMP_LINE:0:COMP_POINT}" names word fixed=""
    local -a words
    read -ra words <<< "${line}"
    [[ "${line}" == *[[:space:]] ]] && words+=("")
    [[ ${#words[@]} -gt 2 ]] || return 1
    names="$("$1" __complete "${words[@]:1}" 2> /dev/null)"
    [[ -n "${names}" ]] || return 1
    # Readline replaces only the part of the word after its last colon.
    word="${words[${#words[@]} - 1]}"
    [[ "${COMP_WORDBREAKS}" == *:* && "${word}" == *:* ]] && fixed="${word%:*}:"
    mapfile -t COMPREPLY <<< "${names}"
    COMPREPLY=("${COMPREPLY[@]#"${fixed}"}")
}

