# Completes names of services and backends, which the daemon knows. Fails if it has none.
_sluice_names() {
    local -a names
    (( CURRENT > 2 )) || return 1
    names=(${(f)"$(command ${(Q)words[1]} __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)"})
    (( $#names )) && compadd -a names
}

