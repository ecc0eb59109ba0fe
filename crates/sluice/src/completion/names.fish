
# Prints names of services and backends, which the daemon knows.
function __sluice_names
    set -l words (commandline -opc)
    command $words[1] __complete $words[2..] (commandline -ct | string unescape | string collect --allow-empty) 2>/dev/null
end

complete -c sluice -n "__fish_sluice_using_subcommand COMMANDS" -f -a "(__sluice_names)"
